//! Plays the whole gateway in simulation. `scripts/sim` builds and runs it, and says how it is used.
#![forbid(unsafe_code)]

use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sluice_tests::{calls, changing, rpc_streams, sim, streams};

#[derive(Clone, Copy)]
enum Plan {
    Seeds(u64),
    Minutes(u64),
    Seed(u64),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let plan = match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Some(Plan::Seeds(100)),
        ["--seeds", n] => n.parse().ok().filter(|n| *n > 0).map(Plan::Seeds),
        ["--minutes", n] => n.parse().ok().filter(|n| *n > 0).map(Plan::Minutes),
        ["--seed", n] => n.parse().ok().map(Plan::Seed),
        _ => None,
    };
    let Some(plan) = plan else {
        eprintln!("scripts/sim: no such options; see scripts/sim --help");
        return ExitCode::from(2);
    };
    let tally = play(plan);
    println!(
        "seeds={} requests={} faults={} violations={}",
        tally.seeds, tally.requests, tally.faults, tally.violations
    );
    if tally.violations == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Of all seeds that were played.
#[derive(Default)]
struct Tally {
    seeds: u64,
    requests: u64,
    faults: u64,
    violations: usize,
}

/// Plays seeds on every core: a seed plays the same wherever it is played, and whatever plays beside it.
fn play(plan: Plan) -> Tally {
    let began = Instant::now();
    let next = AtomicU64::new(1);
    let tally = Mutex::new(Tally::default());
    // The number of the seed to be played, while there is one.
    let draw = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let is_wanted = match plan {
            Plan::Seeds(n) => number <= n,
            Plan::Minutes(n) => began.elapsed() < Duration::from_secs(60 * n),
            Plan::Seed(_) => number == 1,
        };
        is_wanted.then_some(if let Plan::Seed(seed) = plan {
            seed
        } else {
            number
        })
    };
    let players = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..players {
            scope.spawn(|| {
                while let Some(seed) = draw() {
                    // What panics is told with its seed, and the other seeds are played on.
                    let report =
                        std::panic::catch_unwind(|| report_of(seed)).unwrap_or_else(|_| {
                            sim::Report {
                                violations: vec!["panicked".to_owned()],
                                ..sim::Report::default()
                            }
                        });
                    let mut tally = tally.lock().expect("no player panics while it counts");
                    tally.add(seed, &report);
                    if tally.seeds.is_multiple_of(100) {
                        println!("{} seeds played in {:.0?}", tally.seeds, began.elapsed());
                    }
                }
            });
        }
    });
    tally
        .into_inner()
        .expect("no player panics while it counts")
}

/// All worlds that a seed makes.
fn report_of(seed: u64) -> sim::Report {
    let mut report = sim::run(seed);
    let others = [
        calls::run(seed),
        rpc_streams::run(seed),
        changing::run(seed),
        streams::run(seed),
    ];
    for other in others {
        report.requests += other.requests;
        report.faults += other.faults;
        report.violations.extend(other.violations);
    }
    report
}

impl Tally {
    fn add(&mut self, seed: u64, report: &sim::Report) {
        self.seeds += 1;
        self.requests += report.requests;
        self.faults += report.faults;
        self.violations += report.violations.len();
        for violation in &report.violations {
            println!("seed {seed}: {violation}");
        }
        if !report.violations.is_empty() {
            println!("play it again: scripts/sim --seed {seed}");
        }
    }
}
