//! Byte streams simulated: two hosts with a link between them that loses, delays, doubles and damages frames,
//! tagged or not, of any size and either family; connections on which both sides write, read when they like,
//! and end as they like, all following from a seed. [`run`] plays one seed.
//!
//! What must hold after every step: what a side has received is what the other has written, up to a point; a
//! stream that ends, ends where its writer ended it; each frame has one fate; nothing is left at the end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sluice_perf::raw::{End, Host};
use sluice_stack::io::PacketIo;
use sluice_stack::rng::Rng;
use sluice_stack::sim::{Net, SimPort};
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, Limits, PortSetup, Secrets, Stack, StackStats};

use crate::links::lane;
use crate::sim::Report;

/// Virtual time in which every stream must have ended.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// Virtual time after which nothing may be left.
const QUIET: Duration = Duration::from_secs(150);
/// A stream begins with the number of its connection.
const NUMBER: usize = 4;

/// One side of a connection.
struct Side {
    /// All that it writes.
    text: Vec<u8>,
    written: usize,
    finished: bool,
    /// Bytes it has received.
    received: usize,
    end: Option<End>,
}

struct Stream {
    /// Who opened it, who accepted it.
    sides: [Side; 2],
    /// Its number at each host; at the second it is not known at first.
    numbers: [Option<usize>; 2],
    /// One side ends it by a reset.
    cut: bool,
}

struct Play {
    rng: Rng,
    net: Net,
    hosts: [Host<SimPort>; 2],
    stats: [Arc<StackStats>; 2],
    streams: Vec<Stream>,
    /// Connections of the second host, by the stream they are of.
    accepted: Vec<Option<usize>>,
    rough: bool,
    report: Report,
}

/// Plays a seed.
pub fn run(seed: u64) -> Report {
    let mut rng = Rng::new(seed ^ 0x57e4);
    let level = [0.0, 0.0, 0.01, 0.05, 0.1][rng.below(5) as usize];
    let mut lane = || lane(&mut rng, level, 30_000, 2_000);
    let faults = [lane(), lane()];
    let v6 = rng.chance(0.5);
    let least = if v6 { 1_280 } else { 576 };
    let mtu = [least, 1_500, 9_000, least + rng.below(8_000) as u16][rng.below(4) as usize];
    let vlan = rng.chance(0.5).then(|| 1 + rng.below(4_094) as u16);
    let mut net = Net::new(seed);
    let (near, far) = net.link(mtu, faults);
    let stats = [(); 2].map(|()| Arc::new(StackStats::default()));
    let address = |host: u16| -> (IpAddr, u8) {
        match v6 {
            true => ([0xfd00, 0, 0, 0, 0, 0, 0, host].into(), 64),
            false => ([10, 0, 0, host as u8].into(), 24),
        }
    };
    let host = |port, number: u16, stats: &Arc<StackStats>| {
        let setup = PortSetup {
            addresses: vec![address(number)],
            routes: vec![],
            vlan,
        };
        let secrets = Secrets::from_seed(seed + u64::from(number));
        Host::new(Stack::new(
            vec![(port, setup)],
            Limits::default(),
            secrets,
            stats.clone(),
        ))
    };
    let buffers = Buffers {
        receive: [2_048, 16_384, 1 << 18][rng.below(3) as usize],
        send: [2_048, 16_384, 1 << 18][rng.below(3) as usize],
    };
    let mut hosts = [host(near, 1, &stats[0]), host(far, 2, &stats[1])];
    let to = SocketAddr::new(address(2).0, 80);
    hosts[1].listen(to, buffers);
    let mut play = Play {
        rng,
        net,
        hosts,
        stats,
        streams: Vec::new(),
        accepted: Vec::new(),
        rough: level > 0.0,
        report: Report::default(),
    };
    for _ in 0..1 + play.rng.below(24) {
        play.open(to, buffers);
    }
    play.report.requests = play.streams.len() as u64;
    play.play();
    play.report.faults = play.net.faults_done();
    play.report
}

/// What a side of a stream writes.
fn text(number: usize, side: usize, length: usize) -> Vec<u8> {
    let mut text = (number as u32).to_be_bytes().to_vec();
    text.extend((0..length).map(|at| ((at * 31 + number * 7 + side * 101) % 251) as u8));
    text
}

impl Play {
    fn open(&mut self, to: SocketAddr, buffers: Buffers) {
        let number = self.streams.len();
        let sides = [0, 1].map(|side| {
            let length = match self.rng.below(8) {
                0 => 0,
                1..=5 => self.rng.below(20_000),
                _ => self.rng.below(300_000),
            };
            Side {
                text: text(number, side, length as usize),
                written: 0,
                finished: false,
                received: 0,
                end: None,
            }
        });
        let opened = self.hosts[0].open(to, buffers, self.net.now());
        let cut = self.rng.chance(0.2);
        self.streams.push(Stream {
            sides,
            numbers: [opened, None],
            cut,
        });
    }

    fn play(&mut self) {
        while !self.is_over() {
            self.act();
            self.step();
            if self.net.now().since(Instant::ZERO) > PATIENCE {
                let open: Vec<usize> = (0..self.streams.len())
                    .filter(|n| !self.ended(*n))
                    .collect();
                self.wrong(format!("not ended after {PATIENCE:?}: streams {open:?}"));
                break;
            }
        }
        for host in &mut self.hosts {
            host.close_all(self.net.now());
        }
        let end = self.net.now() + QUIET;
        while self.net.now() < end {
            self.step();
        }
        for (number, host) in self.hosts.iter().enumerate() {
            let left: Vec<_> = host
                .stack()
                .held()
                .into_iter()
                .filter(|(_, n)| *n > 0)
                .collect();
            if !left.is_empty() {
                let text = format!("host {number} holds at the end: {left:?}");
                self.report.violations.push(text);
            }
        }
        // A buffer each to send from.
        if self.net.in_hand() > 2 {
            self.wrong(format!("{} frames in hand at the end", self.net.in_hand()));
        }
    }

    fn wrong(&mut self, text: String) {
        self.report.violations.push(text);
    }

    /// Each side writes, pauses, reads on, or ends, as chance will have it.
    fn act(&mut self) {
        let now = self.net.now();
        for stream in &mut self.streams {
            for (side, host) in self.hosts.iter_mut().enumerate() {
                let Some(number) = stream.numbers[side] else {
                    continue;
                };
                let state = &mut stream.sides[side];
                if state.end == Some(End::Reset) || stream.cut && stream.numbers == [None; 2] {
                    continue;
                }
                if stream.cut && self.rng.chance(0.005) {
                    host.reset(number, now);
                    stream.numbers = [None; 2];
                    break;
                }
                match self.rng.below(20) {
                    0 => host.pause(number),
                    1..=4 => host.resume(number, now),
                    _ => {}
                }
                if state.written < state.text.len() && self.rng.chance(0.5) {
                    let most = (state.text.len() - state.written) as u64;
                    let end = state.written + 1 + self.rng.below(most.min(40_000)) as usize;
                    let end = end.min(state.text.len());
                    host.send(number, &state.text[state.written..end], now);
                    state.written = end;
                }
                if state.written == state.text.len() && !state.finished && self.rng.chance(0.5) {
                    state.finished = true;
                    host.finish(number, now);
                }
            }
        }
    }

    /// Time passes, everything that follows happens, and is looked at.
    fn step(&mut self) {
        let next = [
            self.net.next_arrival(),
            self.hosts[0].next_wake(),
            self.hosts[1].next_wake(),
        ];
        let now = self.net.now();
        let longest = now + Duration::from_millis(500);
        let next = next.into_iter().flatten().min().unwrap_or(longest);
        self.net
            .advance_to(next.max(now + Duration::from_micros(50)).min(longest));
        let now = self.net.now();
        for host in &mut self.hosts {
            while host.poll_once(now) > 0 {}
        }
        self.look();
    }

    fn look(&mut self) {
        self.match_accepted();
        let mut wrong = Vec::new();
        for (number, stream) in self.streams.iter_mut().enumerate() {
            for side in 0..2 {
                let (Some(own), host) = (stream.numbers[side], &self.hosts[side]) else {
                    continue;
                };
                let received = host.received(own);
                let sent = &stream.sides[1 - side];
                let place = stream.sides[side].received;
                if sent.text[..sent.written].get(place..received.len()) != received.get(place..) {
                    wrong.push(format!(
                        "stream {number}, side {side}: other bytes from {place} on"
                    ));
                }
                let end = host.end(own);
                if end == Some(End::Closed) && (!sent.finished || received.len() != sent.text.len())
                {
                    wrong.push(format!(
                        "stream {number}, side {side}: ended after {} bytes",
                        received.len()
                    ));
                }
                if end == Some(End::Reset) && !self.rough && !stream.cut {
                    wrong.push(format!("stream {number}, side {side}: reset"));
                }
                let received = received.len();
                let state = &mut stream.sides[side];
                (state.received, state.end) = (received, end);
            }
        }
        for (number, (host, stats)) in self.hosts.iter().zip(&self.stats).enumerate() {
            let received: u64 = host
                .stack()
                .ports()
                .map(|port| port.stats().rx_frames)
                .sum();
            if received != stats.frames.sum() {
                wrong.push(format!(
                    "host {number}: {received} frames, {} fates",
                    stats.frames.sum()
                ));
            }
        }
        if !self.net.is_bounded() {
            wrong.push("a queue is longer than it may be".into());
        }
        if self.report.violations.is_empty() {
            self.report.violations = wrong;
        }
    }

    /// Finds out which stream a connection of the second host is of.
    fn match_accepted(&mut self) {
        let host = &self.hosts[1];
        self.accepted.resize(host.connections(), None);
        for (connection, stream) in self.accepted.iter_mut().enumerate() {
            let Some(number) = host.received(connection).first_chunk::<NUMBER>() else {
                continue;
            };
            let number = u32::from_be_bytes(*number) as usize;
            if stream.is_none()
                && let Some(found) = self.streams.get_mut(number)
                && found.numbers[0].is_some()
            {
                *stream = Some(number);
                found.numbers[1] = Some(connection);
            }
        }
    }

    fn ended(&self, number: usize) -> bool {
        let stream = &self.streams[number];
        let reset = stream.sides.iter().any(|side| side.end == Some(End::Reset));
        let closed = stream
            .sides
            .iter()
            .all(|side| side.end == Some(End::Closed));
        reset || closed || stream.numbers[0].is_none()
    }

    fn is_over(&self) -> bool {
        (0..self.streams.len()).all(|number| self.ended(number))
    }
}
