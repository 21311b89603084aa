//! Rules that are swapped under load: what it costs the worker, what it costs the control thread, and
//! that no request notices.
//!
//! `cargo bench -p sluice-perf --bench rule_swaps` swaps 1,000 snapshots of 10,000 routes and 1,000
//! services, 100 in a second of virtual time: in each one service has changed, and each twentieth is read
//! from text anew with another route, as a file is that was changed. `--routes`, `--services` and
//! `--swaps` are other numbers of them. `snapshot_kib` is what a snapshot holds that is compiled alone,
//! `service_kib` and `route_kib` what one holds beside the snapshot that it follows on, where one service or
//! one route has changed.
//!
//! `poll_us_longest` is the longest poll that takes up a snapshot, `plain_us_longest` the longest of as many
//! polls in the same place that take up nothing, one after each: what both have is the machine's. For each it
//! is printed how many page faults it had, and how many times the thread was put aside in it, and how many of
//! the polls had any of that: `undisturbed_us_longest` is the longest of the others. `after_us_longest` and
//! `plain_after_us_longest` are of the five milliseconds behind such polls. Under callgrind with `--toggle-collect='*adopting_poll*'` the
//! instructions of the polls are counted that take up a snapshot.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use sluice_engine::Worker;
use sluice_perf::client::{End, Outcome, Request, Workload};
use sluice_perf::memory::{Memory, Setup};
use sluice_policy::rules::Rules;
use sluice_policy::{Problem, Snapshot, compile, parse, recompile};
use sluice_stack::sim::SimPort;
use sluice_stack::time::Instant;
use sluice_wire::http1::RequestKind;

/// Requests for each snapshot.
const REQUESTS: u64 = 200;

/// The same small GET on every connection, one at a time, so many in all.
struct Same {
    request: Request,
    left: u64,
    answered: u64,
    failed: u64,
}

impl Workload for Same {
    fn next(&mut self, _slot: usize, _now: Instant) -> Option<&Request> {
        self.left = self.left.checked_sub(1)?;
        Some(&self.request)
    }

    fn ended(&mut self, _slot: usize, outcome: Outcome) {
        match outcome.end {
            End::Answered { status: 200, .. } => self.answered += 1,
            _ => self.failed += 1,
        }
    }
}

/// Rules of so many routes and services, which differ by a number.
fn text(routes: usize, services: usize, number: usize) -> String {
    let mut text = String::from(
        "ports:
  front: { device: net_memory0, addresses: [10.77.1.1/24] }
  back: { device: net_memory1, addresses: [10.77.2.1/24] }
listeners: { web: { address: 10.77.1.1:80 } }
services:
  hello: { endpoints: [10.77.2.2:8080, 10.77.2.3:8080] }
",
    );
    for n in 0..services {
        let (high, low) = (n / 250, n % 250 + 4);
        let _ = writeln!(
            text,
            "  s{n:05}: {{ endpoints: [10.77.2.{low}:{}] }}",
            9000 + high
        );
    }
    let _ = writeln!(text, "routes:\n  - {{ service: hello }}");
    let _ = writeln!(
        text,
        "  - {{ host: changed-{number}.example, service: hello }}"
    );
    for n in 0..routes {
        let service = n % services;
        let _ = writeln!(
            text,
            "  - {{ host: h{n}.example, path: /p{n}, service: s{service:05} }}"
        );
    }
    text
}

/// One poll, with what the kernel did to its thread meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Timed {
    took: Duration,
    faults: u64,
    put_aside: u64,
}

impl Timed {
    fn of(poll: impl FnOnce()) -> Timed {
        let (faults, put_aside) = kernel_counts();
        let began = Clock::now();
        poll();
        let took = began.elapsed();
        let (faults_then, put_aside_then) = kernel_counts();
        Timed {
            took,
            faults: faults_then - faults,
            put_aside: put_aside_then - put_aside,
        }
    }

    fn is_undisturbed(&self) -> bool {
        self.faults == 0 && self.put_aside == 0
    }
}

/// Page faults of this thread, and how often it was put aside for another; 0 where they are not told.
fn kernel_counts() -> (u64, u64) {
    let read = |name: &str| std::fs::read_to_string(name).unwrap_or_default();
    let stat = read("/proc/thread-self/stat");
    // Behind the command's name in brackets, the eighth is that of faults without input or output.
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let faults = behind.split_whitespace().nth(7);
    let status = read("/proc/thread-self/status");
    let mut lines = status.lines();
    let put_aside = lines.find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    let number = |text: Option<&str>| text.and_then(|text| text.trim().parse().ok());
    (
        number(faults).unwrap_or_default(),
        number(put_aside).unwrap_or_default(),
    )
}

/// What polls of one kind took, and the longest of those in the five milliseconds behind each.
#[derive(Default)]
struct Polls {
    own: Vec<Timed>,
    after: Duration,
}

impl Polls {
    /// In microseconds: `poll_us_median=...`, and so on.
    fn words(&mut self, name: &str, after: &str) -> String {
        self.own.sort();
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        let longest = self.own.last().copied().unwrap_or_default();
        let median = self
            .own
            .get(self.own.len() / 2)
            .copied()
            .unwrap_or_default();
        let mut quiet = self.own.iter().rev().filter(|poll| poll.is_undisturbed());
        format!(
            "{name}us_median={:.1} {name}us_longest={:.1} {name}longest_faults={} \
             {name}longest_put_aside={} {name}disturbed={} {name}undisturbed_us_longest={:.1} \
             {after}us_longest={:.1}",
            us(median.took),
            us(longest.took),
            longest.faults,
            longest.put_aside,
            self.own
                .iter()
                .filter(|poll| !poll.is_undisturbed())
                .count(),
            us(quiet.next().copied().unwrap_or_default().took),
            us(self.after),
        )
    }
}

/// A poll that takes up a snapshot, out of line so that callgrind can be told to count only it.
#[inline(never)]
fn adopting_poll(worker: &mut Worker<SimPort>, now: Instant) {
    worker.poll_once(now);
}

/// What the control thread spends, and what it works with.
struct Control {
    rules: Rules,
    snapshot: Arc<Snapshot>,
    /// Of one service, and of the whole text with its parsing.
    compile: [Vec<Duration>; 2],
    offer: Duration,
}

impl Control {
    fn take(&mut self, rules: Rules, generation: u64, began: Clock, kind: usize) {
        let resolved = Arc::default();
        let compiled = recompile(&rules, &resolved, &self.rules, &self.snapshot);
        let mut snapshot = compiled.unwrap_or_else(|problems| panic!("{}", problems[0]));
        snapshot.generation = generation;
        self.compile[kind].push(began.elapsed());
        self.rules = rules;
        self.snapshot = Arc::new(snapshot);
    }
}

/// KiB that compiled rules hold beside what there was before, and the rules.
fn held(compile: impl FnOnce() -> Result<Snapshot, Vec<Problem>>) -> (i64, Option<Snapshot>) {
    let mut snapshot = None;
    let counted = allocation_counter::measure(|| snapshot = compile().ok());
    (counted.bytes_current / 1024, snapshot)
}

/// What [`held`] says of a snapshot alone, of one with another service, and of one with another route.
fn memory_of_snapshots(routes: usize, services: usize) -> Option<[i64; 3]> {
    let rules = parse(&text(routes, services, 0), "swaps.yaml").ok()?;
    let (alone, snapshot) = held(|| compile(&rules));
    let snapshot = snapshot?;
    let mut other_service = rules.clone();
    other_service.services.get_mut("s00001")?.max_idle = 1;
    let other_route = parse(&text(routes, services, 1), "swaps.yaml").ok()?;
    let after = |changed: &Rules| {
        let (held, next) = held(|| recompile(changed, &Arc::default(), &rules, &snapshot));
        next.map(|_| held)
    };
    Some([alone, after(&other_service)?, after(&other_route)?])
}

/// Bytes of memory that the process has touched.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}

fn main() {
    // `cargo test` passes --test; a bench is not a test, so there it only shows that it runs.
    let arguments: Vec<String> = std::env::args().collect();
    let bench = arguments.iter().any(|argument| argument == "--bench");
    let number = |name: &str, bench_default: usize, test_default: usize| {
        let place = arguments.iter().position(|argument| argument == name);
        let given = place.and_then(|place| arguments.get(place + 1)?.parse::<usize>().ok());
        given.unwrap_or(if bench { bench_default } else { test_default })
    };
    let (routes, services) = (
        number("--routes", 10_000, 200),
        number("--services", 1_000, 50),
    );
    let swaps = number("--swaps", 1_000, 60);
    let snapshots = memory_of_snapshots(routes, services);
    let [snapshot, service, route] = snapshots.unwrap_or_else(|| panic!("the rules are wrong"));
    let setup = Setup {
        connections: 64,
        ..Setup::default()
    };
    let first = text(routes, services, 0);
    let memory = Memory::with_rules(&setup, &first);
    let mut memory = memory.unwrap_or_else(|problems| panic!("{problems}"));
    memory.handoff.access_log().fill();
    let mut control = Control {
        rules: parse(&first, "swaps.yaml").unwrap_or_else(|problems| panic!("{}", problems[0])),
        snapshot: memory.handoff.current(),
        compile: [Vec::new(), Vec::new()],
        offer: Duration::ZERO,
    };
    let mut work = Same {
        request: Request {
            id: 0,
            bytes: b"GET / HTTP/1.1\r\nHost: sluice.test\r\n\r\n".to_vec(),
            kind: RequestKind::Other,
            half_close: false,
            abandon_after: None,
        },
        left: REQUESTS,
        answered: 0,
        failed: 0,
    };
    let (mut adopting, mut plain) = (Polls::default(), Polls::default());
    let turn = |memory: &mut Memory, work: &mut Same| {
        let mut longest = Duration::ZERO;
        memory.turn(work, |worker, now| {
            let began = Clock::now();
            worker.poll_once(now);
            longest = longest.max(began.elapsed());
        });
        longest
    };
    let now = memory.net.now();
    memory.client.kick(&mut work, now);
    turn(&mut memory, &mut work);
    let before = resident();
    for swap in 1..=swaps {
        let began = Clock::now();
        let (rules, kind) = if swap % 20 == 0 {
            let text = text(routes, services, swap);
            (
                parse(&text, "swaps.yaml").unwrap_or_else(|problems| panic!("{}", problems[0])),
                1,
            )
        } else {
            let mut rules = control.rules.clone();
            let name = format!("s{:05}", swap % services);
            if let Some(service) = rules.services.get_mut(&name) {
                service.max_idle = swap as u32;
            }
            (rules, 0)
        };
        control.take(rules, swap as u64 + 1, began, kind);
        for (polls, takes_up) in [(&mut adopting, true), (&mut plain, false)] {
            // Requests are under way to their endpoints when the snapshot comes.
            work.left += REQUESTS / 2;
            let now = memory.net.now();
            memory.client.kick(&mut work, now);
            memory.client.poll_once(&mut work, now);
            memory.worker.poll_once(now);
            if takes_up {
                let began = Clock::now();
                memory.handoff.offer(control.snapshot.clone());
                control.offer += began.elapsed();
                polls
                    .own
                    .push(Timed::of(|| adopting_poll(&mut memory.worker, now)));
            } else {
                polls.own.push(Timed::of(|| {
                    memory.worker.poll_once(now);
                }));
            }
            assert_eq!(memory.stats.generation.get(), control.snapshot.generation);
            // 5 ms of both: 100 snapshots in a second.
            let end = memory.net.now() + Duration::from_millis(5);
            while memory.net.now() < end {
                polls.after = polls.after.max(turn(&mut memory, &mut work));
                memory.advance(Duration::from_millis(1));
            }
        }
    }
    for _ in 0..10_000 {
        turn(&mut memory, &mut work);
        if memory.client.under_way() == 0 {
            break;
        }
        memory.advance(Duration::from_millis(1));
    }
    let grown = resident().saturating_sub(before);
    assert_eq!(work.failed, 0, "{:?}", memory.stats);
    assert_eq!(
        adopting.own.len(),
        swaps,
        "every snapshot is taken up, each by one poll"
    );
    let mean = |times: &[Duration]| {
        times.iter().sum::<Duration>().as_secs_f64() * 1e3 / times.len().max(1) as f64
    };
    println!(
        "rule_swaps routes={routes} services={services} swaps={swaps} requests={} failed=0 \
         {} {} service_compile_ms={:.2} file_compile_ms={:.1} \
         offer_ms={:.2} grown_kib={} snapshot_kib={snapshot} service_kib={service} route_kib={route}",
        work.answered,
        adopting.words("poll_", "after_"),
        plain.words("plain_", "plain_after_"),
        mean(&control.compile[0]),
        mean(&control.compile[1]),
        control.offer.as_secs_f64() * 1e3 / swaps as f64,
        grown / 1024,
    );
}
