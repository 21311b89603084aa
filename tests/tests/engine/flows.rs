//! The stack below: handshakes, resets, TIME-WAIT, limits and floods.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sluice_perf::memory::Setup;
use sluice_perf::raw::End;
use sluice_stack::counters::{Counted, Counters};
use sluice_stack::fate::{FrameFate, StackEvent};
use sluice_stack::io::PacketIo;
use sluice_stack::sim::{Faults, Net, SimPort};
use sluice_stack::time::Instant;
use sluice_stack::{
    Buffers, ConnectError, Limits, Owner, Phase, PortSetup, Secrets, Stack, StackStats,
};

use crate::frames::{ACK, FIN, RST, SYN, Segment, arp, segments, send};
use crate::world::{OK, Rules, World, get, setup};

const SERVER: [u8; 4] = [10, 0, 0, 1];

/// A stack that listens on 10.0.0.1:80, and a peer played by hand at the other end of its link.
struct Bench {
    net: Net,
    stack: Stack<SimPort>,
    stats: Arc<StackStats>,
    peer: SimPort,
    mac: [u8; 6],
}

impl Bench {
    fn new(limits: Limits) -> Bench {
        Bench::with_addresses(limits, &[SERVER])
    }

    fn with_addresses(limits: Limits, addresses: &[[u8; 4]]) -> Bench {
        let mut net = Net::new(1);
        let (ours, peer) = net.link(1500, [Faults::default(); 2]);
        net.vouch_for_checksums();
        let stats = Arc::new(StackStats::default());
        let mac = ours.caps().mac;
        let link = PortSetup {
            addresses: addresses.iter().map(|a| ((*a).into(), 24)).collect(),
            routes: vec![(([0, 0, 0, 0].into(), 0), [10, 0, 0, 2].into())],
            vlan: None,
        };
        let secrets = Secrets::from_seed(1);
        let mut stack = Stack::new(vec![(ours, link)], limits, secrets, stats.clone());
        stack.listen(0, SocketAddr::from((SERVER, 80)), 7, Buffers::default());
        let mut bench = Bench {
            net,
            stack,
            stats,
            peer,
            mac,
        };
        // Routed peers are behind 10.0.0.2; it has to be asked for once.
        bench.play(&bench.segment(9, SYN, 0, 0));
        send(&mut bench.peer, &arp([10, 0, 0, 2], bench.mac, SERVER));
        bench.turn();
        segments(&mut bench.peer);
        bench.play(&bench.segment(9, RST, 1, 0));
        segments(&mut bench.peer);
        bench
    }

    /// A segment of a routed peer's port.
    fn segment(&self, port: u16, flags: u8, seq: u32, ack: u32) -> Segment {
        Segment {
            from: SocketAddr::from(([192, 0, 2, 1], port)),
            to: SocketAddr::from((SERVER, 80)),
            flags,
            seq,
            ack,
            payload: Vec::new(),
        }
    }

    fn turn(&mut self) {
        let now = self.net.now();
        while self.stack.receive(now) > 0 {}
        self.stack.expire(now);
        self.stack.flush(now);
    }

    /// Sends a segment and takes what comes back.
    fn play(&mut self, segment: &Segment) -> Vec<Segment> {
        send(&mut self.peer, &segment.frame(self.mac));
        self.turn();
        segments(&mut self.peer)
    }

    /// Lets time pass; returns what came to the peer meanwhile.
    fn wait(&mut self, millis: u64) -> Vec<Segment> {
        let mut all = Vec::new();
        for _ in 0..millis.div_ceil(50) {
            self.net
                .advance_to(self.net.now() + Duration::from_millis(50));
            self.turn();
            all.extend(segments(&mut self.peer));
        }
        all
    }

    /// A handshake from `port`; returns our next sequence number towards the peer's `1001`.
    fn open(&mut self, port: u16) -> u32 {
        let answer = self.play(&self.segment(port, SYN, 1000, 0));
        let [syn_ack] = &answer[..] else {
            panic!("one SYN-ACK, not {answer:?}");
        };
        assert_eq!((syn_ack.flags, syn_ack.ack), (SYN | ACK, 1001));
        let ours = syn_ack.seq.wrapping_add(1);
        self.play(&self.segment(port, ACK, 1001, ours));
        ours
    }
}

/// What counters moved by.
fn delta<C: Counted>(counters: &Counters<C>, before: &[(C, u64)]) -> Vec<(&'static str, u64)> {
    counters
        .iter()
        .zip(before)
        .map(|((what, now), (_, was))| (what.name(), now - was))
        .filter(|(_, n)| *n > 0)
        .collect()
}

fn totals<C: Counted>(counters: &Counters<C>) -> Vec<(C, u64)> {
    counters.iter().collect()
}

#[test]
fn a_syn_without_a_listener_and_a_stray_segment_are_reset() {
    let mut b = Bench::new(Limits::default());
    let before = totals(&b.stats.frames);
    let mut syn = b.segment(5000, SYN, 77, 0);
    syn.to.set_port(81);
    let [reset] = &b.play(&syn)[..] else {
        panic!("one answer");
    };
    assert_eq!((reset.flags, reset.seq, reset.ack), (RST | ACK, 0, 78));
    let [reset] = &b.play(&b.segment(5001, ACK, 5, 4242))[..] else {
        panic!("one answer");
    };
    assert_eq!((reset.flags, reset.seq), (RST, 4242));
    assert_eq!(
        b.play(&b.segment(5002, RST, 5, 0)),
        [],
        "no reset for a reset"
    );
    assert_eq!(
        delta(&b.stats.frames, &before),
        [("no_flow", 2), ("no_flow_silent", 1)]
    );
}

#[test]
fn a_handshake_with_a_wrong_acknowledgement_is_reset_and_can_still_succeed() {
    let mut b = Bench::new(Limits::default());
    let answer = b.play(&b.segment(5000, SYN, 1000, 0));
    let ours = answer[0].seq.wrapping_add(1);
    let answer = b.play(&b.segment(5000, ACK, 1001, ours.wrapping_add(9)));
    assert_eq!(
        (answer[0].flags, answer[0].seq),
        (RST, ours.wrapping_add(9))
    );
    assert_eq!(b.stats.flows.get(), 0);
    b.play(&b.segment(5000, ACK, 1001, ours));
    assert_eq!((b.stats.flows.get(), b.stats.half_open.get()), (1, 0));
}

#[test]
fn a_half_open_flow_is_forgotten_after_ten_seconds() {
    let mut b = Bench::new(Limits::default());
    let events = totals(&b.stats.events);
    let first = b.play(&b.segment(5000, SYN, 1000, 0));
    let again = b.play(&b.segment(5000, SYN, 1000, 0));
    assert_eq!(first, again, "a SYN that comes again gets the same answer");
    b.wait(9_900);
    assert_eq!(b.stats.half_open.get(), 1);
    b.wait(200);
    assert_eq!(b.stats.half_open.get(), 0);
    let answer = b.play(&b.segment(5000, ACK, 1001, first[0].seq.wrapping_add(1)));
    assert_eq!(answer[0].flags, RST);
    assert_eq!(delta(&b.stats.events, &events), [("half_open_expired", 1)]);
}

#[test]
fn a_reset_counts_only_with_the_right_sequence_number() {
    let mut b = Bench::new(Limits::default());
    let ours = b.open(5000);
    let (flow, owner) = b.stack.next_ready().unwrap();
    assert_eq!(owner, Owner::Listener(7));
    b.stack.adopt(flow, 1);
    for seq in [1000, 5, 1001 + 200_000] {
        b.play(&b.segment(5000, RST, seq, 0));
        assert_eq!(b.stack.view(flow).phase, Phase::Open, "RST at {seq}");
    }
    let mut data = b.segment(5000, ACK, 1001, ours);
    data.payload = b"still here".to_vec();
    b.play(&data);
    assert_eq!(b.stack.view(flow).readable, 10);
    b.play(&b.segment(5000, RST, 1011, 0));
    assert_eq!(b.stack.view(flow).phase, Phase::Closed);
    assert_eq!(b.stats.events.get(StackEvent::FlowReset), 1);
}

#[test]
fn a_syn_for_an_open_flow_does_not_harm_it() {
    let mut b = Bench::new(Limits::default());
    let ours = b.open(5000);
    let (flow, _) = b.stack.next_ready().unwrap();
    b.stack.adopt(flow, 1);
    for seq in [1000, 90_000_000, 4_000_000_000] {
        let answer = b.play(&b.segment(5000, SYN, seq, 0));
        let [challenge] = &answer[..] else {
            panic!("one challenge ACK, not {answer:?}");
        };
        assert_eq!(
            (challenge.flags, challenge.seq, challenge.ack),
            (ACK, ours, 1001)
        );
        assert_eq!(b.stack.view(flow).phase, Phase::Open, "SYN at {seq}");
        b.wait(1_100);
    }
    let mut data = b.segment(5000, ACK, 1001, ours);
    data.payload = b"hello".to_vec();
    b.play(&data);
    assert_eq!(b.stack.view(flow).readable, 5);
}

#[test]
fn time_wait_answers_for_thirty_seconds_and_gives_way_to_a_new_connection() {
    let mut b = Bench::new(Limits::default());
    let ours = b.open(5000);
    let (flow, _) = b.stack.next_ready().unwrap();
    let now = b.net.now();
    b.stack.close(flow, now);
    b.turn();
    let fin = segments(&mut b.peer);
    assert_eq!((fin[0].flags, fin[0].seq), (FIN | ACK, ours));
    let last = b.play(&b.segment(5000, FIN | ACK, 1001, ours + 1));
    assert_eq!((last[0].flags, last[0].ack), (ACK, 1002));
    assert_eq!((b.stats.flows.get(), b.stats.time_wait.get()), (0, 1));
    let before = totals(&b.stats.frames);
    // The last ACK was lost: their FIN comes again.
    let again = b.play(&b.segment(5000, FIN | ACK, 1001, ours + 1));
    assert_eq!(
        (again[0].flags, again[0].seq, again[0].ack),
        (ACK, ours + 1, 1002)
    );
    assert_eq!(b.play(&b.segment(5000, RST, 1002, 0)), []);
    assert_eq!(
        b.stats.time_wait.get(),
        1,
        "RFC 1337: a reset does not end TIME-WAIT"
    );
    let old = b.play(&b.segment(5000, SYN, 900, 0));
    assert_eq!(old[0].flags, ACK, "an old SYN");
    assert_eq!(b.play(&b.segment(5000, RST, 1001, 0)), []);
    assert_eq!(b.stats.time_wait.get(), 1, "a reset that is not exact");
    assert_eq!(delta(&b.stats.frames, &before), [("time_wait", 4)]);
    let new = b.play(&b.segment(5000, SYN, 2000, 0));
    assert_eq!(
        (new[0].flags, new[0].ack),
        (SYN | ACK, 2001),
        "the port is used anew"
    );
    b.wait(31_000);
    assert_eq!((b.stats.time_wait.get(), b.stats.half_open.get()), (0, 0));
}

/// A client that was started anew has forgotten the connection, and its SYN has a lower number.
#[test]
fn time_wait_gives_way_to_a_client_that_resets_the_answer_to_its_syn() {
    let mut b = Bench::new(Limits::default());
    let ours = b.open(5000);
    let (flow, _) = b.stack.next_ready().unwrap();
    let now = b.net.now();
    b.stack.close(flow, now);
    b.turn();
    b.play(&b.segment(5000, FIN | ACK, 1001, ours + 1));
    assert_eq!(b.stats.time_wait.get(), 1);
    let before = totals(&b.stats.frames);
    let challenge = b.play(&b.segment(5000, SYN, 900, 0));
    assert_eq!((challenge[0].flags, challenge[0].ack), (ACK, 1002));
    assert_eq!(b.play(&b.segment(5000, RST, 1002, 0)), []);
    assert_eq!(delta(&b.stats.frames, &before), [("time_wait", 2)]);
    let again = b.play(&b.segment(5000, SYN, 900, 0));
    assert_eq!((again[0].flags, again[0].ack), (SYN | ACK, 901));
    assert_eq!((b.stats.time_wait.get(), b.stats.half_open.get()), (0, 1));
}

#[test]
fn a_full_flow_table_drops_syns_and_takes_them_again_later() {
    let mut b = Bench::new(Limits {
        flows: 2,
        ..Limits::default()
    });
    b.open(5000);
    b.open(5001);
    let events = totals(&b.stats.events);
    assert_eq!(b.play(&b.segment(5002, SYN, 1, 0)), []);
    assert_eq!(b.stats.frames.get(FrameFate::Refused), 1);
    assert_eq!(delta(&b.stats.events, &events), [("flows_full", 1)]);
    let now = b.net.now();
    let full = b.stack.connect(
        0,
        SocketAddr::from(([192, 0, 2, 1], 80)),
        1,
        Buffers::default(),
        now,
    );
    assert_eq!(full, Err(ConnectError::FlowsFull));
    b.play(&b.segment(5000, RST, 1001, 0));
    while let Some((flow, _)) = b.stack.next_ready() {
        if b.stack.view(flow).phase == Phase::Closed {
            b.stack.close(flow, now);
        }
    }
    b.turn();
    assert_eq!(b.stats.flows.get(), 1);
    b.open(5002);
    assert_eq!(b.stats.flows.get(), 2);
}

#[test]
fn a_hundred_thousand_syns_neither_grow_the_stack_nor_stop_its_flows() {
    let mut b = Bench::new(Limits {
        half_open: 1_000,
        ..Limits::default()
    });
    let ours = b.open(5000);
    let (flow, _) = b.stack.next_ready().unwrap();
    b.stack.adopt(flow, 1);
    let mut received = 0u32;
    for n in 0..100_000u32 {
        let mut syn = b.segment(1024 + (n % 60_000) as u16, SYN, n, 0);
        // On and off the link.
        let net = if n % 8 == 0 {
            [10, 0, 0]
        } else {
            [198, 51, (n >> 8) as u8]
        };
        syn.from
            .set_ip([net[0], net[1], net[2], 3 + (n % 250) as u8].into());
        send(&mut b.peer, &syn.frame(b.mac));
        if n % 64 == 0 {
            b.turn();
            segments(&mut b.peer);
            assert!(b.stats.half_open.get() <= 1_000);
        }
        if n % 10_000 == 0 {
            let mut data = b.segment(5000, ACK, 1001 + received, ours);
            data.payload = b"0123456789".to_vec();
            let mut acks = b.play(&data);
            // An ACK may wait for more to acknowledge.
            acks.extend(b.wait(50));
            received += 10;
            let ack = acks.iter().find(|s| s.to.port() == 5000 && s.flags == ACK);
            assert_eq!(ack.map(|s| s.ack), Some(1001 + received), "after {n} SYNs");
        }
        if n % 1_000 == 0 {
            b.net.advance_to(b.net.now() + Duration::from_millis(10));
        }
    }
    b.turn();
    assert_eq!(b.stack.view(flow).readable, received as usize);
    assert_eq!((b.stats.flows.get(), b.stats.half_open.get()), (1, 1_000));
    segments(&mut b.peer);
    let newcomer = b.open(5001);
    assert!(newcomer > 0);
    assert_eq!(b.stats.flows.get(), 2, "a real client gets in meanwhile");
    b.wait(11_000);
    assert_eq!(b.stats.half_open.get(), 0);
}

#[test]
fn when_source_ports_run_out_a_connection_is_refused_not_mixed_up() {
    let mut b = Bench::new(Limits::default());
    let to = SocketAddr::from(([192, 0, 2, 1], 80));
    let tiny = Buffers {
        receive: 512,
        send: 512,
    };
    let mut opened = 0;
    let now = b.net.now();
    let error = loop {
        match b.stack.connect(0, to, opened, tiny, now) {
            Ok(_) => opened += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, ConnectError::PortsExhausted);
    assert_eq!(b.stats.events.get(StackEvent::PortsExhausted), 1);
    assert!(opened > 25_000, "{opened} of 28,231 ports were used");
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 81));
    assert!(b.stack.connect(0, elsewhere, opened, tiny, now).is_ok());
}

#[test]
fn every_source_address_has_its_ports_for_every_destination() {
    let limits = Limits {
        flows: 100_000,
        ..Limits::default()
    };
    let second = [10, 0, 0, 9];
    let mut b = Bench::with_addresses(limits, &[SERVER, second]);
    let to = |port| SocketAddr::from(([192, 0, 2, 1], port));
    let (tiny, now) = (
        Buffers {
            receive: 512,
            send: 512,
        },
        b.net.now(),
    );
    let mut opened = Vec::new();
    let error = loop {
        match b.stack.connect(0, to(80), 1, tiny, now) {
            Ok(flow) => opened.push(flow),
            Err(error) => break error,
        }
    };
    assert_eq!(error, ConnectError::PortsExhausted);
    assert_eq!(b.stats.events.get(StackEvent::PortsExhausted), 1);
    let sources: Vec<_> = opened
        .iter()
        .map(|flow| b.stack.key(*flow).unwrap().local())
        .collect();
    let of = |address: [u8; 4]| {
        sources
            .iter()
            .filter(|s| s.ip() == IpAddr::from(address))
            .count()
    };
    assert!(
        of(SERVER) > 25_000 && of(second) > 20_000,
        "{} {}",
        of(SERVER),
        of(second)
    );
    assert_eq!(sources.iter().collect::<HashSet<_>>().len(), opened.len());
    // Another destination has all of them anew, and ports that are given back are there again.
    let elsewhere = b.stack.connect(0, to(81), 1, tiny, now).unwrap();
    assert_eq!(
        b.stack.key(elsewhere).unwrap().local().ip(),
        IpAddr::from(SERVER)
    );
    for flow in &opened[..5_000] {
        b.stack.abort(*flow, now);
    }
    b.turn();
    assert!(b.stack.connect(0, to(80), 1, tiny, now).is_ok());
}

// ---- the whole gateway -------------------------------------------------------------------------

#[test]
fn without_a_free_flow_a_request_gets_503() {
    let rules = Rules::default();
    let setup = Setup {
        flows: 2,
        ..setup()
    };
    let mut w = World::set_up(&setup, &rules.text());
    let (a, b) = (w.open(), w.open());
    w.send(a, get("/"));
    assert!(w.got(a).starts_with("HTTP/1.1 503 "));
    w.reset(b);
    w.exchange(a, 0, "/");
    w.counts(
        "downstream_opened 2, downstream_closed, upstream_opened, unavailable, 503, answered, 200",
    );
    w.over();
}

#[test]
fn damaged_and_foreign_frames_do_not_reach_a_flow() {
    let mut w = World::new();
    let c = w.open();
    w.exchange(c, 0, "/");
    let damaged = Faults {
        corrupt: 1.0,
        ..Faults::default()
    };
    w.net.set_faults(0, [damaged, Faults::default()]);
    let now = w.now();
    w.client.send(c, get("/again").as_bytes(), now);
    w.settle();
    assert_eq!(w.asked(0), "");
    w.net.set_faults(0, [Faults::default(); 2]);
    w.seconds(5);
    w.answer(0, OK);
    assert_eq!(w.got(c), OK, "sent again by TCP");
    w.counts("downstream_opened, upstream_opened, upstream_reused, answered 2, 200 2");
    w.over();
}

#[test]
fn a_client_that_comes_back_with_the_same_port_is_served() {
    let mut w = World::new();
    let c = w.open();
    let first = w.client.local(c).unwrap();
    w.exchange(c, 0, "/");
    // It vanishes without a word, and its successor picks ports until one is the same.
    let lost = Faults {
        loss: 1.0,
        ..Faults::default()
    };
    w.net.set_faults(0, [lost, Faults::default()]);
    w.reset(c);
    w.net.set_faults(0, [Faults::default(); 2]);
    let mut again = None;
    for _ in 0..40_000 {
        let next = w.open();
        let local = w.client.local(next);
        if local == Some(first) {
            again = Some(next);
            break;
        }
        w.reset(next);
    }
    let again = again.expect("the port comes up again");
    w.seconds(10);
    if w.client.end(again) == Some(End::Reset) {
        panic!("the old flow's remains refused the new connection");
    }
    w.exchange(again, 0, "/again");
    assert_eq!(w.levels(), [1, 1, 1, 0]);
    w.over();
}

#[test]
fn virtual_time_starts_anywhere() {
    let mut w = World::new();
    w.net
        .advance_to(Instant::from_nanos(u64::from(u32::MAX) * 5_000_000));
    let c = w.open();
    w.exchange(c, 0, "/");
    w.seconds(61);
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.counts(
        "downstream_opened, downstream_closed, downstream_idle_timeout, upstream_opened, \
         upstream_closed, upstream_idle_timeout, answered, 200",
    );
    w.over();
}
