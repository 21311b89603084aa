//! The data path allocates nothing per request once its connections and buffers are there.

use std::time::Duration;

use sluice_engine::Footprint;
use sluice_perf::calls::Calls;
use sluice_perf::client::{End, Outcome, Request, Workload};
use sluice_perf::memory::{Memory, Setup, compiled, rules};
use sluice_stack::Limits;
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

/// Has every connection ask once, all at the same time, then nothing for a while; returns the bytes that
/// the gateway's polls hold more than before, at most and in the end.
fn held(memory: &mut Memory, path: &str, idle: Duration) -> (i64, i64) {
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
        left: memory.client.connections() as u64,
        answered: 0,
    };
    let (mut now_held, mut most) = (0, 0);
    memory.client.kick(&mut same, memory.net.now());
    let end = memory.net.now() + idle;
    while memory.net.now() < end {
        memory.turn(&mut same, |worker, now| {
            let counted = allocation_counter::measure(|| {
                worker.poll_once(now);
            });
            most = most.max(now_held + counted.bytes_max as i64);
            now_held += counted.bytes_current;
        });
        memory.advance(Duration::from_secs(1));
    }
    assert_eq!(
        (same.left, same.answered),
        (0, memory.client.connections() as u64)
    );
    (most, now_held)
}

#[test]
fn idle_connections_hold_little_memory_and_none_for_bytes() {
    let setup = Setup {
        connections: 1_000,
        ..Setup::default()
    };
    let text = rules(&setup).replace("buffer:", "idle_timeout: 1h, buffer:");
    let mut memory = Memory::with_rules(&setup, &text).expect("the rules compile");
    // Some SYNs are sent again after a second: so many don't wait for a neighbour's answer.
    let (_, at_once) = held(&mut memory, "/", Duration::from_secs(3));
    let all = at_once + 1_000 * Limits::idle_flow() as i64;
    assert!(all <= 1_000 * 8 * 1024, "{all} bytes");
    let mut memory = Memory::with_rules(&setup, &text).expect("the rules compile");
    let (_, after_a_minute) = held(&mut memory, "/", Duration::from_secs(70));
    let all = after_a_minute + 1_000 * Limits::idle_flow() as i64;
    assert!(all <= 1_000 * 2_048, "{all} bytes");
}

#[test]
fn full_connections_hold_no_more_than_was_computed() {
    let setup = Setup {
        connections: 8,
        flows: 20,
        ..Setup::default()
    };
    let text = rules(&setup);
    let snapshot = compiled(&text, 1).expect("the rules compile");
    let limits = Limits {
        flows: setup.flows,
        ..Limits::default()
    };
    let bound = Footprint::of(&snapshot, &limits).connections as i64;
    let mut memory = Memory::with_rules(&setup, &text).expect("the rules compile");
    let (most, _) = held(&mut memory, "/t/1/300000/length", Duration::from_secs(2));
    assert!(most <= bound, "{most} bytes, {bound} computed");
    assert!(
        most > bound / 20,
        "{most} bytes are far below the {bound} computed"
    );
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

/// Rules with so many routes and services; the service of this number has another address, all have where
/// it is `None`.
fn many(count: usize, generation: u64, other: Option<usize>) -> String {
    let mut text = rules(&Setup::default());
    let (services, routes) = text.split_once("routes:\n").expect("they have routes");
    let routes = routes.to_owned();
    text = services.to_owned();
    for n in 0..count {
        let changes = other.is_none_or(|other| other == n);
        let port = if changes { 9_000 + generation } else { 8_999 };
        let (high, low) = (n / 200, n % 200 + 10);
        text += &format!(
            "  s{n}: {{ endpoints: [\"10.77.2.{low}:{port}\", \"10.77.2.9:{}\"] }}\n",
            100 + high * 200 + n % 200
        );
    }
    text += "routes:\n";
    for n in 0..count {
        text += &format!("  - {{ host: h{n}.test, service: s{n} }}\n");
    }
    text + &routes
}

/// Offers rules and polls until they are taken up: polls, allocations, and bytes more or fewer.
fn take_up(memory: &mut Memory, text: &str, generation: u64) -> (u64, u64, i64) {
    let rules = compiled(text, generation).expect("the rules compile");
    memory.handoff.offer(rules);
    let now = memory.net.now();
    let (mut polls, mut allocated, mut bytes) = (0, 0, 0);
    loop {
        let mut adopting = false;
        let counted = allocation_counter::measure(|| {
            adopting = memory.worker.poll_once(now).is_adopting;
        });
        polls += 1;
        allocated += counted.count_total;
        bytes += counted.bytes_current;
        if !adopting {
            break;
        }
    }
    assert_eq!(memory.stats.generation.get(), generation);
    (polls, allocated, bytes)
}

#[test]
fn taking_up_rules_allocates_and_frees_nothing_and_does_not_grow_with_their_number() {
    for count in [10, 1_000] {
        let setup = Setup {
            connections: 16,
            ..Setup::default()
        };
        let mut memory =
            Memory::with_rules(&setup, &many(count, 1, Some(0))).expect("the rules compile");
        memory.handoff.access_log().fill();
        serve(&mut memory, "/", 200);
        for generation in 2..6 {
            let text = many(count, generation, Some(generation as usize));
            let one = take_up(&mut memory, &text, generation);
            assert_eq!(one, (1, 0, 0), "{count} services, one changed");
        }
        // Of each service one endpoint comes and one goes, and then is looked at: 32 of them in one poll.
        let (polls, allocated, bytes) = take_up(&mut memory, &many(count, 7, None), 7);
        let steps = 3 * count as u64;
        assert!(
            (steps / 32..=steps / 32 + 4).contains(&polls),
            "{polls} polls for {count}"
        );
        assert_eq!((allocated, bytes), (0, 0), "{count} services, all changed");
        assert_eq!(serve(&mut memory, "/", 200), 0);
    }
}
