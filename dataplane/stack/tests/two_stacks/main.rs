//! Two stacks with a simulated link between them: streams arrive whole, whatever the link does, and
//! every frame and flow is accounted for.

mod bulk;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sluice_stack::counters::Counted;
use sluice_stack::fate::{FrameFate, StackEvent};
use sluice_stack::io::PacketIo;
use sluice_stack::sim::{Faults, Net, SimPort};
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, FlowId, Limits, Owner, Phase, PortSetup, Secrets, Stack, StackStats};

struct Host {
    stack: Stack<SimPort>,
    stats: Arc<StackStats>,
}

fn host(
    port: SimPort,
    address: &str,
    prefix: u8,
    vlan: Option<u16>,
    seed: u64,
    limits: Limits,
) -> Host {
    let stats = Arc::new(StackStats::default());
    let setup = PortSetup {
        addresses: vec![(address.parse().unwrap(), prefix)],
        vlan,
        ..PortSetup::default()
    };
    let stack = Stack::new(
        vec![(port, setup)],
        limits,
        Secrets::from_seed(seed),
        stats.clone(),
    );
    Host { stack, stats }
}

struct Pair {
    net: Net,
    client: Host,
    server: Host,
    server_at: SocketAddr,
}

fn pair(seed: u64, v6: bool, mtu: u16, faults: Faults, buffers: Buffers) -> Pair {
    pair_on(None, seed, v6, mtu, faults, buffers)
}

fn pair_on(
    vlan: Option<u16>,
    seed: u64,
    v6: bool,
    mtu: u16,
    faults: Faults,
    buffers: Buffers,
) -> Pair {
    pair_within(Limits::default(), vlan, seed, v6, mtu, faults, buffers)
}

fn pair_within(
    limits: Limits,
    vlan: Option<u16>,
    seed: u64,
    v6: bool,
    mtu: u16,
    faults: Faults,
    buffers: Buffers,
) -> Pair {
    let mut net = Net::new(seed);
    let ports = net.link(mtu, [faults, faults]);
    pair_of(net, ports, (limits, buffers), (vlan, v6), seed)
}

/// The two hosts at the ends of a link.
fn pair_of(
    net: Net,
    (a, b): (SimPort, SimPort),
    (limits, buffers): (Limits, Buffers),
    (vlan, v6): (Option<u16>, bool),
    seed: u64,
) -> Pair {
    let (from, to, prefix) = if v6 {
        ("fd00::1", "fd00::2", 64)
    } else {
        ("10.0.0.1", "10.0.0.2", 24)
    };
    let client = host(a, from, prefix, vlan, seed, limits);
    let mut server = host(b, to, prefix, vlan, seed + 1, limits);
    let server_at = SocketAddr::new(to.parse::<IpAddr>().unwrap(), 80);
    server.stack.listen(0, server_at, 7, buffers);
    Pair {
        net,
        client,
        server,
        server_at,
    }
}

impl Pair {
    /// One turn of both hosts, then on to the next thing that happens.
    fn step(&mut self, mut act: impl FnMut(&mut Pair, Instant)) {
        let now = self.net.now();
        for _ in 0..64 {
            let frames = self.client.stack.receive(now) + self.server.stack.receive(now);
            self.client.stack.expire(now);
            self.server.stack.expire(now);
            act(self, now);
            self.client.stack.flush(now);
            self.server.stack.flush(now);
            if frames == 0 {
                break;
            }
        }
        let next = [
            self.net.next_arrival(),
            self.client.stack.next_wake(),
            self.server.stack.next_wake(),
        ];
        let next = next.into_iter().flatten().min().unwrap_or(now);
        self.net
            .advance_to(next.max(now + Duration::from_micros(50)));
    }
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

/// Sends `len` bytes from client to server, which echoes them; both close. Returns the pair.
fn echo(mut pair: Pair, len: usize, limit: Duration) -> Pair {
    let data = payload(len);
    let flow = pair
        .client
        .stack
        .connect(0, pair.server_at, 1, Buffers::default(), Instant::ZERO);
    let flow = flow.unwrap();
    let (mut sent, mut received, mut done) = (0, Vec::new(), false);
    let mut accepted: Option<FlowId> = None;
    let mut server_done = false;
    let mut scratch = Vec::new();
    while !(done && server_done) {
        assert!(
            pair.net.now() < Instant::ZERO + limit,
            "stuck: {} of {len}",
            received.len()
        );
        pair.step(|pair, now| {
            while let Some((id, owner)) = pair.server.stack.next_ready() {
                if owner == Owner::Listener(7) {
                    pair.server.stack.adopt(id, 3);
                    accepted = Some(id);
                }
                let view = pair.server.stack.view(id);
                pair.server.stack.front(id, 1, &mut scratch);
                let n = view.readable.min(view.writable);
                let bytes = pair.server.stack.front(id, n, &mut scratch).to_vec();
                let written = pair.server.stack.write(id, &bytes);
                pair.server.stack.consume(id, written);
                let view = pair.server.stack.view(id);
                if view.finished && view.readable == 0 && !server_done {
                    pair.server.stack.close(id, now);
                    server_done = true;
                }
            }
            if let Some(id) = accepted {
                pair.server.stack.wake(id);
            }
            while pair.client.stack.next_ready().is_some() {}
            if done {
                return;
            }
            let view = pair.client.stack.view(flow);
            assert_ne!(view.phase, Phase::Closed, "the flow ended early");
            if view.phase == Phase::Open {
                let n = pair
                    .client
                    .stack
                    .write(flow, &data[sent..(sent + 3000).min(len)]);
                sent += n;
                let bytes = pair
                    .client
                    .stack
                    .front(flow, usize::MAX, &mut scratch)
                    .to_vec();
                pair.client.stack.consume(flow, bytes.len());
                received.extend(bytes);
                if received.len() == len {
                    pair.client.stack.close(flow, now);
                    done = true;
                }
            }
        });
    }
    assert!(received == data, "the echoed bytes differ");
    for _ in 0..2_000 {
        pair.step(|pair, _| {
            while pair.client.stack.next_ready().is_some() {}
            while pair.server.stack.next_ready().is_some() {}
        });
    }
    pair
}

fn settled(pair: &Pair) {
    for host in [&pair.client, &pair.server] {
        assert_eq!(host.stats.flows.get(), 0, "flows are left");
        assert_eq!(host.stats.half_open.get(), 0);
        let received = host.stack.ports().next().unwrap().stats().rx_frames;
        assert_eq!(
            host.stats.frames.sum(),
            received,
            "frames = fates: {:?}",
            host.stats.frames
        );
    }
}

fn small() -> Buffers {
    Buffers {
        receive: 16 * 1024,
        send: 16 * 1024,
    }
}

#[test]
fn a_clean_link_carries_an_echo_with_exactly_these_counts() {
    let pair = echo(
        pair(1, false, 1500, Faults::default(), small()),
        100,
        Duration::from_secs(5),
    );
    settled(&pair);
    let fates = |host: &Host| -> Vec<(&str, u64)> {
        host.stats
            .frames
            .iter()
            .filter(|(_, n)| *n > 0)
            .map(|(c, n)| (c.name(), n))
            .collect()
    };
    // ARP, SYN, ACK that accepts, data, FIN, ACK of FIN (and of the echoed data in between).
    let server = fates(&pair.server);
    assert_eq!(server[0..1], [("flow", server[0].1)]);
    assert_eq!(server[1..], [("syn", 1), ("accepted", 1), ("arp", 1)]);
    assert_eq!(pair.server.stats.events.get(StackEvent::FlowAccepted), 1);
    assert_eq!(pair.client.stats.events.get(StackEvent::FlowConnecting), 1);
    for host in [&pair.client, &pair.server] {
        assert_eq!(host.stats.events.get(StackEvent::FlowClosed), 1);
        assert_eq!(host.stats.events.get(StackEvent::FlowReset), 0);
        assert_eq!(host.stats.events.get(StackEvent::FlowAborted), 0);
    }
    // Who closed first keeps the record.
    assert_eq!(
        pair.client.stats.time_wait.get() + pair.server.stats.time_wait.get(),
        0
    );
}

#[test]
fn ipv6_and_jumbo_frames_carry_a_megabyte() {
    for (v6, mtu) in [(true, 1500), (true, 9000), (false, 9000)] {
        for vlan in [None, Some(1), Some(4094)] {
            let pair = pair_on(vlan, 5, v6, mtu, Faults::default(), Buffers::default());
            let pair = echo(pair, 1 << 20, Duration::from_secs(60));
            settled(&pair);
            // Segments were as large as they can be: so many, and acknowledgements of what came back.
            let data = (1 << 20) / (u64::from(mtu) - 72);
            let frames = pair.client.stack.ports().next().unwrap().stats().tx_frames;
            assert!(frames < 5 * data, "{frames} frames of up to {mtu} bytes");
        }
    }
}

#[test]
fn a_message_that_straddles_the_end_of_a_ring_arrives_whole() {
    // 16 KiB rings and writes of 3,000 bytes: every sixth straddles.
    let pair = pair(6, false, 1500, Faults::default(), small());
    settled(&echo(pair, 300_000, Duration::from_secs(60)));
}

#[test]
fn loss_reordering_duplication_and_damage_are_mended() {
    let faults = Faults {
        loss: 0.05,
        duplicate: 0.03,
        reorder: 0.05,
        corrupt: 0.02,
        no_buffer: 0.02,
        delay: Duration::from_micros(200),
        jitter: Duration::from_micros(100),
        rate: None,
    };
    for seed in 0..12 {
        let vlan = (seed % 3 == 0).then_some(seed as u16 + 1);
        let pair = pair_on(vlan, seed, seed % 2 == 0, 1500, faults, Buffers::default());
        let pair = echo(pair, 200_000, Duration::from_secs(600));
        assert!(pair.net.faults_done() > 10, "seed {seed} had no faults");
        settled(&pair);
    }
}

#[test]
fn a_port_without_a_listener_answers_with_reset() {
    let mut pair = pair(9, false, 1500, Faults::default(), small());
    let nobody = SocketAddr::new(pair.server_at.ip(), 81);
    let flow = pair
        .client
        .stack
        .connect(0, nobody, 1, small(), Instant::ZERO)
        .unwrap();
    for _ in 0..20 {
        pair.step(|pair, _| while pair.client.stack.next_ready().is_some() {});
    }
    assert_eq!(pair.client.stack.view(flow).phase, Phase::Closed);
    assert_eq!(pair.server.stats.frames.get(FrameFate::NoFlow), 1);
    assert_eq!(pair.client.stats.events.get(StackEvent::FlowReset), 1);
    let now = pair.net.now();
    pair.client.stack.close(flow, now);
    pair.step(|_, _| {});
    settled(&pair);
}

/// As after a restart that gave it another, and whose announcement was lost.
#[test]
fn a_neighbour_with_another_mac_than_known_is_found_when_a_segment_is_not_acknowledged() {
    let mut pair = pair(11, false, 1500, Faults::default(), small());
    let stack = &mut pair.client.stack;
    let flow = stack.connect(0, pair.server_at, 1, small(), Instant::ZERO);
    let flow = flow.unwrap();
    let mut accepted = None;
    while accepted.is_none() {
        pair.step(|pair, _| {
            if let Some((flow, Owner::Listener(_))) = pair.server.stack.next_ready() {
                pair.server.stack.adopt(flow, 1);
                accepted = Some(flow);
            }
        });
    }
    // To the server: the client is where it is not.
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 9, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend([2, 0, 0, 0, 9, 9, 10, 0, 0, 1]);
    arp.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    pair.net.inject(0, &arp);
    let asked = pair.net.now() + Duration::from_millis(1_500);
    while pair.net.now() < asked {
        pair.step(|_, _| {});
    }
    let served = accepted.unwrap();
    assert_eq!(pair.server.stack.write(served, b"hello"), 5);
    while pair.client.stack.view(flow).readable < 5 {
        let late = pair.net.now() > asked + Duration::from_secs(1);
        assert!(!late, "nothing within a second");
        pair.step(|_, _| {});
    }
    // What went elsewhere, a tail loss probe perhaps, and the first timeout; the next one found it.
    assert_eq!(
        pair.server
            .stats
            .events
            .get(StackEvent::RetransmissionTimeout),
        2
    );
}

#[test]
fn a_neighbour_that_never_answers_is_given_up_and_the_flow_with_it() {
    let mut pair = pair(
        10,
        false,
        1500,
        Faults {
            loss: 1.0,
            ..Faults::default()
        },
        small(),
    );
    let flow = pair
        .client
        .stack
        .connect(0, pair.server_at, 1, small(), Instant::ZERO)
        .unwrap();
    while pair.net.now() < Instant::ZERO + Duration::from_secs(5) {
        pair.step(|_, _| {});
    }
    assert_eq!(pair.client.stats.events.get(StackEvent::NeighbourFailed), 1);
    assert!(pair.client.stats.events.get(StackEvent::NeighbourLost) >= 1);
    let now = pair.net.now();
    pair.client.stack.abort(flow, now);
    for _ in 0..200 {
        pair.step(|_, _| {});
    }
    while pair.net.now() < now + Duration::from_secs(30) {
        pair.step(|_, _| {});
    }
    settled(&pair);
}
