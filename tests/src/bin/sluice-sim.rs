//! Plays the whole gateway in simulation. `scripts/sim` builds and runs it.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sluice_tests::{calls, changing, rpc_streams, sim, streams};

const USAGE: &str = "usage: scripts/sim [--seeds N | --minutes M | --seed S]
  --seeds N    play seeds 1 to N, at least 1 (default 100)
  --minutes M  play seeds from 1 on for M minutes, at least 1
  --seed S     play seed S alone and say what was wrong

The last line is `seeds=N requests=N faults=N violations=N`; the exit code is 1 unless
violations=0, 2 for wrong usage. A seed that fails prints itself: play it again with --seed.";

enum Plan {
    Seeds(u64),
    Minutes(u64),
    Seed(u64),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let plan = match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Some(Plan::Seeds(100)),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        ["--seeds", n] => n.parse().ok().filter(|n| *n > 0).map(Plan::Seeds),
        ["--minutes", n] => n.parse().ok().filter(|n| *n > 0).map(Plan::Minutes),
        ["--seed", n] => n.parse().ok().map(Plan::Seed),
        _ => None,
    };
    let Some(plan) = plan else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    let more = |played: u64| match plan {
        Plan::Seeds(n) => played < n,
        Plan::Minutes(n) => began.elapsed() < Duration::from_secs(60 * n),
        Plan::Seed(_) => played < 1,
    };
    let (mut seeds, mut requests, mut faults, mut violations) = (0, 0, 0, 0);
    while more(seeds) {
        let seed = if let Plan::Seed(seed) = plan {
            seed
        } else {
            seeds + 1
        };
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
        seeds += 1;
        requests += report.requests;
        faults += report.faults;
        violations += report.violations.len();
        for violation in &report.violations {
            println!("seed {seed}: {violation}");
        }
        if !report.violations.is_empty() {
            println!("play it again: scripts/sim --seed {seed}");
        }
        if seeds.is_multiple_of(100) {
            println!("{seeds} seeds played in {:.0?}", began.elapsed());
        }
    }
    println!("seeds={seeds} requests={requests} faults={faults} violations={violations}");
    if violations == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
