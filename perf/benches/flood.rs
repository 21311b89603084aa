//! What frames of a flood cost a worker, and whom it serves meanwhile: the gateway's polls alone, in memory,
//! its clock going on by the time they take.
//!
//! `cargo bench -p sluice-perf --bench flood` prints a row for each kind of flood: nanoseconds per frame and
//! frames per second of a core that does nothing else; then, with 64 clients that ask all the time and come
//! back with a new connection for each third request, requests and frames of the flood per second of a core,
//! beside what those clients get without a flood. Bytes sent for each byte of the flood are of the first run.

use std::net::SocketAddr;
use std::time::{Duration, Instant as Clock};

use sluice_perf::flood::{Clients, Flood, Kind, rules};
use sluice_perf::memory::{Memory, Setup};
use sluice_stack::fate::StackEvent;

/// Frames of a flood between two turns of everything.
const AT_ONCE: u64 = 2_048;

struct World {
    memory: Memory,
    clients: Clients,
    flood: Option<Flood>,
    busy: Duration,
    frames: u64,
    most_half_open: u64,
}

impl World {
    fn new(kind: Option<Kind>, v6: bool) -> World {
        let setup = Setup {
            v6,
            ..Setup::default()
        };
        let memory = Memory::with_rules(&setup, &rules(&setup));
        let memory = memory.unwrap_or_else(|problems| panic!("{problems}"));
        let target: SocketAddr = if v6 {
            ([0xfd77, 1, 0, 0, 0, 0, 0, 1], 80).into()
        } else {
            ([10, 77, 1, 1], 80).into()
        };
        let mut world = World {
            memory,
            clients: Clients::new(64),
            flood: None,
            busy: Duration::ZERO,
            frames: 0,
            most_half_open: 0,
        };
        // Neighbours are known and connections pooled when the count begins.
        while world.clients.answered < 64 {
            world.turn();
        }
        world.busy = Duration::ZERO;
        world.clients.answered = 0;
        world.flood = kind.map(|kind| Flood::new(kind, target, 1));
        world
    }

    fn turn(&mut self) {
        if let Some(flood) = &mut self.flood {
            for _ in 0..AT_ONCE {
                self.memory.net.inject(0, flood.frame());
            }
            self.frames += AT_ONCE;
        }
        let (memory, clients) = (&mut self.memory, &mut self.clients);
        memory.client.kick(clients, memory.net.now());
        let mut busy = Duration::ZERO;
        memory.turn(clients, |worker, now| {
            let clock = Clock::now();
            worker.poll_once(now);
            busy += clock.elapsed();
        });
        self.busy += busy;
        let half_open = memory.stats.stack.half_open.get();
        self.most_half_open = self.most_half_open.max(half_open);
        memory.net.advance_to(memory.net.now() + busy);
    }

    fn run(&mut self, turns: u64) {
        for _ in 0..turns {
            self.turn();
        }
        assert!(self.clients.failed.is_empty(), "{:?}", self.clients.failed);
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.busy.as_secs_f64()
    }
}

/// Bytes received and sent at the front.
fn bytes(world: &World) -> (u64, u64) {
    world.memory.worker.publish_ports();
    let front = world.memory.stats.ports[1].get();
    (front.rx_bytes, front.tx_bytes)
}

fn row(kind: Kind, v6: bool, turns: u64) {
    let mut alone = World::new(Some(kind), v6);
    let before = bytes(&alone);
    alone.run(turns);
    let after = bytes(&alone);
    let back = (after.1 - before.1) as f64 / (after.0 - before.0) as f64;
    let cost = alone.busy.as_nanos() as f64 / alone.frames as f64;

    let mut quiet = World::new(None, v6);
    quiet.clients.left = u64::MAX;
    quiet.run(turns);
    let mut both = World::new(Some(kind), v6);
    both.clients.left = u64::MAX;
    both.run(turns);
    let cookies = both
        .memory
        .stats
        .stack
        .events
        .get(StackEvent::SynCookieAccepted);
    println!(
        "{:<10} {:>4}  {cost:>8.0}  {:>9.0}  {back:>10.2}  {:>14.0}  {:>10.0}  {:>9.0}  {:>9}  {cookies:>7}",
        kind.name(),
        if v6 { "IPv6" } else { "IPv4" },
        alone.per_second(alone.frames),
        quiet.per_second(quiet.clients.answered),
        both.per_second(both.clients.answered),
        both.per_second(both.frames),
        both.most_half_open,
    );
}

fn main() {
    // `cargo test` passes --test; a bench is not a test, so there it only shows that it runs.
    let bench = std::env::args().any(|argument| argument == "--bench");
    let turns = if bench { 500 } else { 12 };
    println!(
        "flood           ns/frame   frames/s  bytes back  requests alone  requests/s   frames/s  half-open  cookies"
    );
    for kind in Kind::ALL {
        for v6 in [false, true] {
            row(kind, v6, turns);
        }
    }
}
