//! Floods of every kind: clients are served throughout, nothing grows beyond its bound, each frame has its
//! fate, and nobody can have more bytes sent to a victim than he sends himself.

use std::net::SocketAddr;
use std::time::Duration;

use sluice_perf::flood::{Clients, Flood, Kind, rules};
use sluice_perf::memory::{Memory, Setup};
use sluice_stack::fate::{FrameFate, StackEvent};

/// Half-open flows that are recorded.
const HALF_OPEN: u64 = 16_384;
/// Frames of a flood at once, each ten milliseconds.
const AT_ONCE: u64 = 100;
/// Answers to strangers, per second.
const STRANGERS: u64 = 1_000;

struct World {
    memory: Memory,
    clients: Clients,
    flood: Flood,
}

impl World {
    fn new(kind: Kind, v6: bool, vlan: Option<u16>) -> World {
        let setup = Setup {
            v6,
            vlan,
            connections: 8,
            ..Setup::default()
        };
        let memory = Memory::with_rules(&setup, &rules(&setup)).expect("the rules compile");
        let target: SocketAddr = if v6 {
            ([0xfd77, 1, 0, 0, 0, 0, 0, 1], 80).into()
        } else {
            ([10, 77, 1, 1], 80).into()
        };
        let mut world = World {
            memory,
            clients: Clients::new(16),
            flood: Flood::new(kind, target, 1),
        };
        // From here on neighbours are known.
        world.run(0, 16);
        world.idle(Duration::from_secs(1));
        world
    }

    /// Time in which nothing is begun.
    fn idle(&mut self, time: Duration) {
        let World {
            memory, clients, ..
        } = self;
        let end = memory.net.now() + time;
        while memory.net.now() < end {
            memory.turn(clients, |worker, now| {
                worker.poll_once(now);
            });
            memory.advance(Duration::from_millis(200));
        }
        memory.worker.publish_ports();
    }

    /// So many frames of the flood, while so many requests are made.
    fn run(&mut self, frames: u64, requests: u64) {
        let World {
            memory,
            clients,
            flood,
        } = self;
        clients.left = requests;
        let wanted = clients.answered + requests;
        let mut left = frames;
        while left > 0 || clients.answered < wanted {
            for _ in 0..AT_ONCE.min(left) {
                memory.net.inject(0, flood.frame());
            }
            left = left.saturating_sub(AT_ONCE);
            memory.client.kick(clients, memory.net.now());
            memory.turn(clients, |worker, now| {
                worker.poll_once(now);
            });
            assert!(memory.stats.stack.half_open.get() <= HALF_OPEN);
            assert!(memory.stats.stack.flows.get() <= 64);
            assert_eq!(clients.failed, []);
            memory
                .net
                .advance_to(memory.net.now() + Duration::from_millis(10));
        }
        memory.worker.publish_ports();
    }

    fn fates(&self) -> Vec<(FrameFate, u64)> {
        self.memory.stats.stack.frames.iter().collect()
    }

    fn event(&self, event: StackEvent) -> u64 {
        self.memory.stats.stack.events.get(event)
    }

    /// Bytes received and sent at the front.
    fn bytes(&self) -> [u64; 2] {
        let front = self.memory.stats.ports[1].get();
        [front.rx_bytes, front.tx_bytes]
    }
}

/// More frames than are recorded or answered.
fn enough(kind: Kind) -> u64 {
    match kind {
        Kind::Syn | Kind::BareSyn => HALF_OPEN + 1_000,
        _ => 4 * STRANGERS,
    }
}

/// Without a client, so that every byte is the flood's.
fn alone(kind: Kind, v6: bool) {
    let mut world = World::new(kind, v6, None);
    let (fates, bytes) = (world.fates(), world.bytes());
    let frames = enough(kind);
    world.run(frames, 0);
    let after = world.fates();
    let since = |fate: FrameFate| -> u64 {
        let at =
            |fates: &[(FrameFate, u64)]| fates.iter().find(|(f, _)| *f == fate).map_or(0, |f| f.1);
        at(&after) - at(&fates)
    };
    let all: u64 = after
        .iter()
        .zip(&fates)
        .map(|((_, now), (_, before))| now - before)
        .sum();
    assert_eq!(all, frames, "{kind:?}");
    let [received, sent] = [0, 1].map(|way| world.bytes()[way] - bytes[way]);
    assert!(
        sent <= received,
        "{kind:?} v6 {v6}: {sent} bytes for {received}"
    );
    // Half a second, perhaps of two.
    let answered = |fate| {
        let n = since(fate);
        assert!(
            (STRANGERS..=2 * STRANGERS).contains(&n),
            "{kind:?}: {n} answers"
        );
        n + since(FrameFate::NoFlowSilent)
    };
    let expected = match kind {
        Kind::Syn | Kind::BareSyn => {
            assert_eq!(world.memory.stats.stack.half_open.get(), HALF_OPEN);
            assert_eq!(world.event(StackEvent::SynCookie), frames - HALF_OPEN);
            since(FrameFate::Syn)
        }
        Kind::Ack | Kind::Fin => answered(FrameFate::NoFlow),
        Kind::Echo => answered(FrameFate::Echo),
        Kind::Rst => since(FrameFate::NoFlowSilent),
        Kind::Fragment => since(FrameFate::Fragment),
        Kind::Udp => since(FrameFate::UnknownProtocol),
    };
    assert_eq!(expected, frames, "{kind:?}");
    // All of it is forgotten.
    world.idle(Duration::from_secs(20));
    assert_eq!(world.memory.stats.stack.half_open.get(), 0, "{kind:?}");
}

#[test]
fn a_flood_of_any_kind_gets_nobody_more_bytes_than_it_takes() {
    for kind in Kind::ALL {
        for v6 in [false, true] {
            alone(kind, v6);
        }
    }
}

#[test]
fn clients_are_served_and_come_back_while_a_flood_of_any_kind_goes_on() {
    for (number, kind) in Kind::ALL.into_iter().enumerate() {
        for v6 in [false, true] {
            let mut world = World::new(kind, v6, None);
            // Beyond what is recorded, so that newcomers meet cookies.
            world.run(enough(kind), 0);
            let accepted = world.event(StackEvent::SynCookieAccepted);
            world.run(2_000, 300);
            let cookies = world.event(StackEvent::SynCookieAccepted) - accepted;
            let by_cookie = matches!(kind, Kind::Syn | Kind::BareSyn);
            // Each third request is the last of its connection.
            let (least, most) = if by_cookie { (50, 150) } else { (0, 0) };
            assert!(
                (least..=most).contains(&cookies),
                "{number} {kind:?}: {cookies}"
            );
        }
    }
}
