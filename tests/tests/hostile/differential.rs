//! The corpus through Sluice, nginx and HAProxy to the same backend.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sluice_tests::lab::Lab;

use crate::backend::{Asked, Backend, Reply};
use crate::counted::Counted;
use crate::proxies::{Proxy, play, statuses};
use crate::requests::{Case, Why, corpus};

/// A connection on which nothing came for this long is done with.
const QUIET: Duration = Duration::from_millis(100);

/// Where the outcome is not the expected one, it is looked at again with more patience than any
/// pause of a busy machine.
const LONG_QUIET: Duration = Duration::from_millis(1_000);

/// What became of a case.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    asked: Vec<Asked>,
    statuses: Vec<u16>,
    closed: bool,
    /// Where the proxy is Sluice, the fates it counted.
    fates: String,
}

impl Outcome {
    /// Whether two proxies did the same: the backend saw the same, and both refused something or
    /// neither did. Which status says so is each one's own affair.
    fn agrees(&self, other: &Outcome) -> bool {
        let shown = |outcome: &Outcome| outcome.asked.iter().map(Asked::shown).collect::<Vec<_>>();
        shown(self) == shown(other) && self.refused() == other.refused()
    }

    fn refused(&self) -> bool {
        self.statuses.iter().any(|&status| status >= 400) || self.statuses.is_empty()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked: Vec<_> = self.asked.iter().map(Asked::shown).collect();
        write!(f, "{} ->", asked.join(" + "))?;
        for status in &self.statuses {
            write!(f, " {status}")?;
        }
        f.write_str(if self.closed { " closed" } else { " open" })
    }
}

#[test]
fn lengths_are_never_ambiguous_and_nginx_and_haproxy_do_as_stated() {
    play_group(0);
}

#[test]
fn codings_are_never_ambiguous_and_nginx_and_haproxy_do_as_stated() {
    play_group(1);
}

#[test]
fn chunks_are_never_ambiguous_and_nginx_and_haproxy_do_as_stated() {
    play_group(2);
}

#[test]
fn fields_are_never_ambiguous_and_nginx_and_haproxy_do_as_stated() {
    play_group(3);
}

#[test]
fn request_lines_are_never_ambiguous_and_nginx_and_haproxy_do_as_stated() {
    play_group(4);
}

/// Plays a group of the corpus through all three.
fn play_group(number: usize) {
    let (_, cases) = &corpus()[number];
    let (sluice, nginx, haproxy) = thread::scope(|scope| {
        let nginx = scope.spawn(|| play_all(cases, |lab| Proxy::nginx(lab), |case| case.others[0]));
        let haproxy =
            scope.spawn(|| play_all(cases, |lab| Proxy::haproxy(lab), |case| case.others[1]));
        let sluice = play_all(cases, |lab| Proxy::sluice(lab), |case| case.sluice);
        let [nginx, haproxy] = [nginx, haproxy].map(|other| other.join().expect("see above"));
        (sluice, nginx, haproxy)
    });
    let mut wrong = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let (ours, others) = (&sluice[at], [&nginx[at], &haproxy[at]]);
        println!(
            "{:?}: [{:?}, {:?}], [{:?}, {:?}]",
            case.name,
            ours.to_string(),
            ours.fates,
            others[0].to_string(),
            others[1].to_string()
        );
        wrong.extend(judge(case, ours, others).map(|what| format!("{}: {what}", case.name)));
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What is not as it has to be.
fn judge(case: &Case, ours: &Outcome, others: [&Outcome; 2]) -> impl Iterator<Item = String> {
    let mut wrong = Vec::new();
    let mut expect = |who: &str, expected: &str, got: String| {
        if !expected.split(" or ").any(|one| one == got) {
            wrong.push(format!("{who}: expected {expected}, got {got}"));
        }
    };
    expect("Sluice", case.sluice, ours.to_string());
    expect("its counters", case.fates, ours.fates.clone());
    expect("nginx", case.others[0], others[0].to_string());
    expect("HAProxy", case.others[1], others[1].to_string());
    if ours.asked.iter().any(|asked| !asked.faults.is_empty()) {
        wrong.push(format!("an ambiguous request reached the backend: {ours}"));
    }
    let differs = others.iter().any(|other| !ours.agrees(other));
    if differs != (case.why != Why::Same) {
        wrong.push("the reason for a difference is missing, or there is none".into());
    }
    wrong.into_iter()
}

/// Plays every case through one proxy.
fn play_all(
    cases: &[Case],
    start: fn(&Lab) -> Proxy<'_>,
    expected: fn(&Case) -> &'static str,
) -> Vec<Outcome> {
    let lab = Lab::up();
    let backend = Backend::start(&lab, Arc::new(answer));
    let proxy = start(&lab);
    // What a proxy sent to try the backend, if it did.
    backend.take();
    let one = |case: &Case, quiet| {
        let before = proxy
            .gateway()
            .map(|gateway| Counted::after(gateway, None, 0));
        let (got, closed) = play(&lab, &case.bytes, quiet);
        let mut asked = backend.take();
        // They may have come by several connections, whose order says nothing.
        asked.sort_by_key(Asked::shown);
        let fates = proxy
            .gateway()
            .zip(before.as_ref())
            .map(|(gateway, before)| Counted::after(gateway, Some(before), 1).fates_since(before));
        Outcome {
            asked,
            statuses: statuses(&got),
            closed,
            fates: fates.unwrap_or_default(),
        }
    };
    let again = |case| {
        let first = one(case, QUIET);
        let expected = expected(case);
        if expected.split(" or ").any(|one| one == first.to_string()) {
            first
        } else {
            one(case, LONG_QUIET)
        }
    };
    cases.iter().map(again).collect()
}

fn answer(asked: &Asked) -> Reply {
    let (length, body) = if asked.word(0) == "HEAD" {
        (0, "")
    } else {
        (2, "ok")
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
    Reply {
        bytes: head.into_bytes(),
        close: false,
    }
}
