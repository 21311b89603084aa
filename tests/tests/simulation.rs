//! The whole gateway in simulation: some different worlds, and the ones that once went wrong.

use std::time::Duration;

use sluice_perf::client::{End, Outcome, Request, Workload};
use sluice_perf::memory::{Memory, Setup};
use sluice_perf::two_hop::TwoHop;
use sluice_stack::sim::Faults;
use sluice_stack::time::Instant;
use sluice_tests::{calls, changing, rpc_streams, sim, streams};
use sluice_wire::http1::RequestKind;

fn play(seeds: impl IntoIterator<Item = u64>) {
    for seed in seeds {
        let report = sim::run(seed);
        let violations = report.violations.join("\n");
        assert!(
            violations.is_empty(),
            "scripts/sim --seed {seed}\n{violations}"
        );
    }
}

#[test]
fn simulated_worlds_hold_what_must_hold_part_one() {
    play(1_000..1_015);
}

#[test]
fn simulated_worlds_hold_what_must_hold_part_two() {
    play(2_000..2_015);
}

#[test]
fn simulated_client_learns_of_a_cut_answer_although_a_frame_is_lost() {
    // A reset that was lost left the client waiting; a close is sent again.
    play([2_931, 2_959]);
}

#[test]
fn simulated_restart_of_a_backend_that_had_answered_repeats_the_request_once() {
    play([1_224]);
}

#[test]
fn simulated_calls_get_one_outcome_each_and_the_right_one() {
    for seed in 1..=60 {
        let violations = calls::run(seed).violations.join("\n");
        assert!(
            violations.is_empty(),
            "scripts/sim --seed {seed}\n{violations}"
        );
    }
}

#[test]
fn simulated_streams_of_rpcs_get_their_frames_in_order_and_one_end_each() {
    for seed in 1..=25 {
        let violations = rpc_streams::run(seed).violations.join("\n");
        assert!(
            violations.is_empty(),
            "scripts/sim --seed {seed}\n{violations}"
        );
    }
}

fn change_rules(seeds: impl IntoIterator<Item = u64>) {
    for seed in seeds {
        let violations = changing::run(seed).violations.join("\n");
        assert!(
            violations.is_empty(),
            "scripts/sim --seed {seed}\n{violations}"
        );
    }
}

#[test]
fn rules_that_change_under_load_lose_no_request_and_give_each_what_they_allow() {
    change_rules(1..=12);
}

#[test]
fn a_request_that_was_held_reaches_its_service_although_newer_rules_do_not_have_it() {
    // The turn among its endpoints was looked for in the newest rules alone.
    change_rules([21]);
}

#[test]
fn simulated_streams_arrive_whole_and_end_where_they_were_ended() {
    for seed in 1..=40 {
        let violations = streams::run(seed).violations.join("\n");
        assert!(
            violations.is_empty(),
            "scripts/sim --seed {seed}\n{violations}"
        );
    }
}

#[test]
fn a_seed_plays_the_same_every_time() {
    let (first, second) = (sim::run(4_711), sim::run(4_711));
    assert!(first.faults > 0);
    assert_eq!(
        (first.requests, first.faults),
        (second.requests, second.faults)
    );
}

struct One {
    request: Option<Request>,
    outcome: Option<Outcome>,
}

impl Workload for One {
    fn next(&mut self, _slot: usize, _now: Instant) -> Option<&Request> {
        if self.outcome.is_some() {
            None
        } else {
            self.request.as_ref()
        }
    }

    fn ended(&mut self, _slot: usize, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

fn one_request(memory: &mut Memory) -> Option<Outcome> {
    let bytes = b"GET /t/7/5000/length HTTP/1.1\r\nHost: sluice.test\r\n\r\n".to_vec();
    let request = Request {
        id: 7,
        bytes,
        kind: RequestKind::Other,
        half_close: false,
        abandon_after: None,
    };
    let mut one = One {
        request: Some(request),
        outcome: None,
    };
    memory.client.kick(&mut one, memory.net.now());
    while one.outcome.is_none() && memory.net.now() < Instant::ZERO + Duration::from_secs(120) {
        memory.turn(&mut one, |worker, now| {
            worker.poll_once(now);
        });
        memory.advance(Duration::from_secs(1));
    }
    one.outcome
}

#[test]
fn a_proxied_request_completes_under_five_percent_loss_both_ways() {
    let lossy = Faults {
        loss: 0.05,
        ..Faults::default()
    };
    for seed in 1..=50 {
        let setup = Setup {
            seed,
            faults: [[lossy; 2]; 2],
            connections: 1,
            ..Setup::default()
        };
        let mut memory = Memory::new(&setup).expect("the rules compile");
        let end = one_request(&mut memory).map(|outcome| outcome.end);
        let right = Some(End::Answered {
            status: 200,
            length: 5000,
            right: true,
        });
        assert_eq!(end, right, "seed {seed}: {:?}", memory.stats);
    }
}

#[test]
fn a_request_passes_two_gateways_that_take_turns_in_one_thread() {
    let setup = Setup {
        connections: 1,
        ..Setup::default()
    };
    let mut two = TwoHop::new(&setup).expect("the rules compile");
    let bytes = b"GET /t/7/5000/length HTTP/1.1\r\nHost: sluice.test\r\n\r\n".to_vec();
    let mut one = One {
        request: Some(Request {
            id: 7,
            bytes,
            kind: RequestKind::Other,
            half_close: false,
            abandon_after: None,
        }),
        outcome: None,
    };
    two.client.kick(&mut one, two.net.now());
    while one.outcome.is_none() && two.net.now() < Instant::ZERO + Duration::from_secs(5) {
        two.turn(&mut one, |worker, now| {
            worker.poll_once(now);
        });
        two.advance(Duration::from_secs(1));
    }
    let end = one.outcome.map(|outcome| outcome.end);
    let right = Some(End::Answered {
        status: 200,
        length: 5000,
        right: true,
    });
    assert_eq!(end, right);
    let answered = two
        .gateways
        .each_ref()
        .map(|gateway| gateway.stats.statuses.get(200));
    assert_eq!(answered, [1, 1]);
}

/// Damage that no checksum catches reaches every parser. Nothing may panic or leak; what the bytes
/// mean then is another matter.
#[test]
fn damaged_frames_that_pass_every_checksum_harm_nobody() {
    let damaged = Faults {
        corrupt: 0.2,
        ..Faults::default()
    };
    for seed in 1..=60 {
        let setup = Setup {
            seed,
            v6: seed % 2 == 0,
            faults: [[damaged; 2]; 2],
            connections: 8,
            ..Setup::default()
        };
        let mut memory = Memory::new(&setup).expect("the rules compile");
        memory.net.vouch_for_checksums();
        let mut flood = Flood {
            left: 200,
            id: 0,
            request: None,
        };
        memory.client.kick(&mut flood, memory.net.now());
        let busy = Instant::ZERO + Duration::from_secs(100);
        let end = Instant::ZERO + Duration::from_secs(400);
        while memory.net.now() < end {
            memory.turn(&mut flood, |worker, now| {
                worker.poll_once(now);
            });
            let now = memory.net.now();
            if now < busy {
                memory
                    .client
                    .give_up(Duration::from_secs(20), &mut flood, now);
                memory.client.kick(&mut flood, now);
            } else {
                // From here on everything has to come to its end, on clean links.
                memory.net.set_faults(0, [Faults::default(); 2]);
                memory.net.set_faults(1, [Faults::default(); 2]);
                flood.left = 0;
                memory
                    .client
                    .give_up(Duration::from_secs(20), &mut flood, now);
                memory.client.close_all(now);
            }
            memory.advance(Duration::from_secs(1));
        }
        memory.worker.publish_ports();
        let stats = &memory.stats;
        let received: u64 = stats.ports.iter().map(|port| port.get().rx_frames).sum();
        assert_eq!(received, stats.stack.frames.sum(), "seed {seed}");
        let left = [
            &stats.stack.flows,
            &stats.downstream,
            &stats.upstream,
            &stats.exchanges,
        ]
        .map(|gauge| gauge.get());
        assert_eq!(left, [0; 4], "seed {seed}: {stats:?}");
    }
}

struct Flood {
    left: u64,
    id: u64,
    request: Option<Request>,
}

impl Workload for Flood {
    fn next(&mut self, _slot: usize, _now: Instant) -> Option<&Request> {
        self.left = self.left.checked_sub(1)?;
        self.id += 1;
        let form = ["length", "chunked-700", "close", "truncate"][self.id as usize % 4];
        let (id, length) = (self.id, self.id * 97 % 9_000);
        let mut bytes = format!(
            "POST /t/{id}/{length}/{form} HTTP/1.1\r\nHost: sluice.test\r\nContent-Length: 900\r\n\r\n"
        )
        .into_bytes();
        sluice_perf::bytes::append(&mut bytes, id, 0, 900);
        let kind = RequestKind::Other;
        self.request = Some(Request {
            id,
            bytes,
            kind,
            half_close: false,
            abandon_after: None,
        });
        self.request.as_ref()
    }

    fn ended(&mut self, _slot: usize, _outcome: Outcome) {}
}
