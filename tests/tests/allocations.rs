//! The data path allocates nothing per request once its connections and buffers are there.

use std::time::Duration;

use sluice_perf::calls::Calls;
use sluice_perf::client::{End, Outcome, Request, Workload};
use sluice_perf::memory::{Memory, Setup, rules};
use sluice_stack::time::Instant;
use sluice_wire::http1::RequestKind;

struct Same {
    request: Request,
    left: u64,
    answered: u64,
}

impl Workload for Same {
    fn next(&mut self, _slot: usize, _now: Instant) -> Option<&Request> {
        self.left = self.left.checked_sub(1)?;
        Some(&self.request)
    }

    fn ended(&mut self, _slot: usize, outcome: Outcome) {
        self.answered += u64::from(matches!(outcome.end, End::Answered { status: 200, .. }));
    }
}

/// Serves `requests`; returns how often the gateway's polls allocated meanwhile.
fn serve(memory: &mut Memory, path: &str, requests: u64) -> u64 {
    let bytes = format!("GET {path} HTTP/1.1\r\nHost: sluice.test\r\nAccept: */*\r\n\r\n");
    let request = Request {
        id: 1,
        bytes: bytes.into_bytes(),
        kind: RequestKind::Other,
        half_close: false,
        abandon_after: None,
    };
    let mut same = Same {
        request,
        left: requests,
        answered: 0,
    };
    let mut allocations = 0;
    memory.client.kick(&mut same, memory.net.now());
    for _ in 0..requests * 10 + 1_000 {
        memory.turn(&mut same, |worker, now| {
            let counted = allocation_counter::measure(|| {
                worker.poll_once(now);
            });
            allocations += counted.count_total;
        });
        if same.answered == requests {
            break;
        }
        memory.advance(Duration::from_millis(1));
    }
    // What the access log's thread does, in another place.
    while let Some(record) = memory.handoff.access_log().pop() {
        memory.handoff.access_log().give_back(record);
    }
    assert_eq!(same.answered, requests, "{:?}", memory.stats);
    allocations
}

#[test]
fn no_allocation_per_request_that_is_logged() {
    let setup = Setup {
        connections: 16,
        ..Setup::default()
    };
    let text = format!("{}\naccess_log: {{ file: a.json }}\n", rules(&setup));
    let mut memory = Memory::with_rules(&setup, &text).expect("the rules compile");
    memory.handoff.access_log().fill();
    for _ in 0..20 {
        serve(&mut memory, "/", 200);
    }
    serve(&mut memory, "/", 1_000);
    assert_eq!(serve(&mut memory, "/", 1_000), 0);
    assert_eq!(memory.handoff.access_log().dropped(), 0);
    // Nobody takes them: the queue fills, and the next are dropped. At first there are records for
    // the queue alone.
    serve(&mut memory, "/", 10_000);
    assert_eq!(serve(&mut memory, "/", 10_000), 0);
    assert!(memory.handoff.access_log().dropped() >= 2 * (10_000 - 4_096));
}

#[test]
fn no_allocation_per_request_in_steady_state() {
    let setup = Setup {
        connections: 16,
        ..Setup::default()
    };
    for path in ["/", "/t/1/20000/length", "/t/1/20000/chunked-3000"] {
        let mut memory = Memory::new(&setup).expect("the rules compile");
        // Round robin opens connections to an endpoint while others wait idle at the next one;
        // after some bursts there are as many as can be needed at once.
        let warming: u64 = [200; 20]
            .into_iter()
            .chain([1_000])
            .map(|n| serve(&mut memory, path, n))
            .sum();
        assert!(
            warming > 0,
            "opening connections allocates; the counter does not count"
        );
        assert_eq!(serve(&mut memory, path, 1_000), 0, "{path}");
    }
}

#[test]
fn no_allocation_per_call_in_steady_state() {
    for service in [
        "protocol: ttheader",
        "protocol: ttheader, multiplex: message",
        "protocol: ttheader, multiplex: frame",
    ] {
        let mut calls = Calls::new(16, service).expect("the rules compile");
        let mut rounds = |rounds: usize| {
            let mut allocations = 0;
            for _ in 0..rounds {
                calls.round(|worker, now| {
                    let counted = allocation_counter::measure(|| {
                        worker.poll_once(now);
                    });
                    allocations += counted.count_total;
                });
            }
            allocations
        };
        assert!(rounds(100) > 0, "opening connections allocates");
        assert_eq!(rounds(100), 0, "{service}");
    }
}
