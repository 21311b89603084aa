//! The corpus through Sluice, nginx and HAProxy to the same backend.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sluice_tests::lab::Lab;

use crate::backend::{Asked, Backend, Reply};
use crate::proxies::{Proxy, play, statuses};
use crate::requests::{Case, Why, corpus};

/// A connection on which nothing came for this long is done with.
const QUIET: Duration = Duration::from_millis(100);

/// Where the outcome is not the expected one, it is looked at again with more patience than any
/// pause of a busy machine.
const LONG_QUIET: Duration = Duration::from_millis(700);

/// What became of a case.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    asked: Vec<Asked>,
    statuses: Vec<u16>,
    closed: bool,
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
fn nothing_ambiguous_reaches_a_backend_and_every_difference_is_explained() {
    let corpus = corpus();
    let (sluice, nginx, haproxy) = thread::scope(|scope| {
        let nginx = scope.spawn(|| play_all(&corpus, |lab| Proxy::nginx(lab)));
        let haproxy = scope.spawn(|| play_all(&corpus, |lab| Proxy::haproxy(lab)));
        let sluice = play_all(&corpus, |lab| Proxy::sluice(lab));
        let [nginx, haproxy] = [nginx, haproxy].map(|other| other.join().expect("see above"));
        (sluice, nginx, haproxy)
    });
    let mut wrong = Vec::new();
    for (at, case) in corpus.iter().enumerate() {
        let (ours, others) = (&sluice[at], [&nginx[at], &haproxy[at]]);
        println!("{}: {:?}", case.name, case.why);
        println!(
            "    sluice  {ours}\n    nginx   {}\n    haproxy {}",
            others[0], others[1]
        );
        let differs = others.iter().any(|other| !ours.agrees(other));
        if ours.to_string() != case.sluice {
            wrong.push(format!(
                "{}: expected {}, got {ours}",
                case.name, case.sluice
            ));
        }
        if ours.asked.iter().any(|asked| !asked.faults.is_empty()) {
            wrong.push(format!(
                "{}: an ambiguous request reached the backend: {ours}",
                case.name
            ));
        }
        if differs && case.why == Why::Same {
            wrong.push(format!(
                "{}: nobody says why the others do otherwise",
                case.name
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Plays every case through one proxy.
fn play_all(corpus: &[Case], start: fn(&Lab) -> Proxy<'_>) -> Vec<Outcome> {
    // Kernel proxies are looked at again only where nobody expects them to differ.
    let lab = Lab::up();
    let backend = Backend::start(&lab, Arc::new(answer));
    let proxy = start(&lab);
    let is_sluice = matches!(proxy, Proxy::Sluice(_));
    let one = |case: &Case, quiet| {
        let (got, closed) = play(&lab, &case.bytes, quiet);
        let mut asked = backend.take();
        // They may have come by several connections, whose order says nothing.
        asked.sort_by_key(Asked::shown);
        Outcome {
            asked,
            statuses: statuses(&got),
            closed,
        }
    };
    // What a proxy sent to try the backend, if it did.
    backend.take();
    let again = |case| {
        let first = one(case, QUIET);
        let explained = !is_sluice && case.why != Why::Same;
        if explained || first.to_string() == case.sluice {
            first
        } else {
            one(case, LONG_QUIET)
        }
    };
    corpus.iter().map(again).collect()
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
