//! One remote procedure call through the gateway in memory: a TTHeader frame of some 200 bytes from one of
//! many callers, over connections that they share. The time and (under callgrind) the instructions of
//! the gateway's polls alone.
//!
//! `cargo bench -p sluice-perf --bench proxied_call` prints nanoseconds; `perf/icount` runs it under
//! callgrind and prints instructions.

use std::time::{Duration, Instant as Clock};

use sluice_engine::Worker;
use sluice_perf::calls::Calls;
use sluice_stack::sim::SimPort;
use sluice_stack::time::Instant;

/// The gateway's polls, kept out of line so that callgrind can be told to count only them.
#[inline(never)]
fn gateway_poll(worker: &mut Worker<SimPort>, now: Instant) {
    worker.poll_once(now);
}

pub(crate) fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)
    };
    let number = |name: &str| value(name)?.parse::<u64>().ok();
    // `cargo test` passes --test; a bench is not a test, so there it only shows that it runs.
    let calls = number("--requests").unwrap_or(if flag("--bench") { 200_000 } else { 2_000 });
    let flows = number("--flows").unwrap_or(64) as usize;
    for (name, service) in [
        ("message", "protocol: ttheader, multiplex: message"),
        ("frame", "protocol: ttheader, multiplex: frame"),
        ("none", "protocol: ttheader"),
    ] {
        if value("--only").is_some_and(|only| only != name) {
            continue;
        }
        let mut world = Calls::new(flows, service).unwrap_or_else(|problems| panic!("{problems}"));
        let mut gateway = Duration::ZERO;
        while world.answered < calls {
            world.round(|worker, now| {
                let began = Clock::now();
                gateway_poll(worker, now);
                gateway += began.elapsed();
            });
        }
        println!(
            "proxied_call multiplex={name} flows={flows} calls={} ns={:.0}",
            world.answered,
            gateway.as_nanos() as f64 / world.answered as f64
        );
    }
}
