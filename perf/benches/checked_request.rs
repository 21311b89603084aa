//! One checked request of the load generator around the gateway in memory: its client and its backend on
//! one stack, as on real ports. The time and (under callgrind) the instructions of the generator's polls
//! alone, its TCP included.
//!
//! `cargo bench -p sluice-perf --bench checked_request` prints nanoseconds; for instructions:
//!
//!     valgrind --tool=callgrind --toggle-collect='*generator_poll*' BENCH --requests N

use std::time::{Duration, Instant as Clock};

use sluice_perf::load::plan::{RequestFile, RequestSpec};
use sluice_perf::load::run::Stage;
use sluice_perf::load::{Generator, Length, Pace, Reuse, Step};
use sluice_perf::memory::Setup;
use sluice_perf::rig::Rig;
use sluice_stack::sim::SimPort;
use sluice_stack::time::Instant;

/// The generator's polls, kept out of line so that callgrind can be told to count only them.
#[inline(never)]
fn generator_poll(generator: &mut Generator<SimPort>, now: Instant) {
    generator.poll_once(now);
}

/// Nanoseconds per request.
fn run(rig: &mut Rig, requests: u64) -> f64 {
    let step = Step {
        pace: Pace::Closed,
        warm_up: Duration::ZERO,
        length: Length {
            duration: Duration::from_secs(3_600),
            requests,
        },
        interval: Duration::from_secs(10),
    };
    let now = rig.net.now();
    rig.generator.begin(step, now);
    let mut spent = Duration::ZERO;
    while rig.generator.stage() != Stage::Done {
        rig.turn(|generator, now| {
            let began = Clock::now();
            generator_poll(generator, now);
            spent += began.elapsed();
        });
        rig.advance();
    }
    let stats = rig.generator.take_stats();
    assert_eq!(stats.answers, requests, "{:?}", stats.faults);
    spent.as_nanos() as f64 / requests as f64
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let number = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse::<u64>().ok()
    };
    // `cargo test` passes --test; a bench is not a test, so there it only shows that it runs.
    let requests = number("--requests").unwrap_or(if flag("--bench") { 400_000 } else { 2_000 });
    let rounds = number("--rounds").unwrap_or(if flag("--bench") { 5 } else { 1 });
    for connections in number("--flows").map_or_else(|| vec![1, 64, 1_000], |n| vec![n]) {
        let setup = Setup {
            connections: connections as usize,
            ..Setup::default()
        };
        let file = RequestFile {
            requests: vec![RequestSpec::default()],
        };
        let mut rig = Rig::new(&setup, &file, Reuse::KeepAlive).expect("it is set up");
        run(&mut rig, connections * 4);
        let mut all: Vec<f64> = (0..rounds).map(|_| run(&mut rig, requests)).collect();
        all.sort_by(f64::total_cmp);
        println!(
            "checked_request flows={connections} requests={requests} rounds={rounds} ns_min={:.0} \
             ns_median={:.0} ns_max={:.0}",
            all[0],
            all[all.len() / 2],
            all[all.len() - 1],
        );
    }
}
