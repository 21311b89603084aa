//! Streams of RPCs simulated: callers that begin many, write, end, reset and abandon them and read when they
//! like; a service that sends back what it gets, or does as it pleases; links with faults; all following from a
//! seed. [`run`] plays one seed.
//!
//! What must hold: frames of a stream come in order, each once, and to nobody else; each stream has one end, and
//! none before its time unless someone saw to it; nothing is left when all is over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use sluice_perf::memory::Setup;
use sluice_perf::scripted::Scripted;
use sluice_stack::rng::Rng;
use sluice_wire::Parsed;
use sluice_wire::ttheader::{Flags, Head, Limits, NewHead, StreamFrame, integer};

use crate::links::lanes;
use crate::rpc_world::{Patience, Waiting, over, rules};
use crate::sim::Report;

/// A stream as its caller sees it.
#[derive(Default)]
struct Stream {
    /// What it has sent and not got back yet.
    out: VecDeque<Vec<u8>>,
    ended: bool,
}

struct Caller {
    connection: usize,
    streams: BTreeMap<i32, Stream>,
    /// Those it has reset: something of them may still come.
    reset: BTreeSet<i32>,
    next: i32,
    received: Vec<u8>,
    paused: bool,
    /// It has reset its connection.
    gone: bool,
}

struct Play {
    rng: Rng,
    world: Scripted,
    callers: Vec<Caller>,
    asked: Vec<Vec<u8>>,
    /// Streams may end before their time: links, the service or bounds see to it.
    may_fail: bool,
    rough: bool,
    misbehaving: bool,
    /// Callers may rest: their streams have connections of their own, or may fail.
    may_rest: bool,
    left: u64,
    report: Report,
}

struct Frame {
    id: i32,
    kind: Option<StreamFrame>,
    body: Vec<u8>,
}

fn frame(id: i32, kind: &[u8], body: &[u8]) -> Vec<u8> {
    let head = NewHead {
        flags: Flags::STREAMING,
        sequence: id,
        protocol_id: 0x10,
        integers: &[(integer::FRAME_TYPE, kind), (integer::TO_METHOD, b"chat")],
        ..NewHead::default()
    };
    let mut out = Vec::new();
    // Such a head is never too large.
    let _ = head.write(&mut out, body.len());
    out.extend_from_slice(body);
    out
}

/// Takes the frame at the front of `bytes`; `None` while it is not complete.
fn take(bytes: &mut Vec<u8>) -> Result<Option<Frame>, String> {
    let limits = Limits {
        frame: 64 << 20,
        ..Limits::default()
    };
    let head = match Head::parse(bytes, &limits).map_err(|error| error.to_string())? {
        Parsed::Complete(head) => head,
        Parsed::Incomplete { .. } => return Ok(None),
    };
    let len = head.frame_len();
    let Some(body) = bytes.get(head.bytes().len()..len) else {
        return Ok(None);
    };
    let frame = Frame {
        id: head.sequence(),
        kind: head.stream_frame(),
        body: body.to_vec(),
    };
    bytes.drain(..len);
    Ok(Some(frame))
}

/// Plays a seed.
pub fn run(seed: u64) -> Report {
    let mut rng = Rng::new(seed ^ 0x73_7472);
    let level = [0.0, 0.0, 0.01, 0.05][rng.below(4) as usize];
    let faults = lanes(&mut rng, level, 2_000);
    let mut links = Rng::new(seed ^ 0x6c61_6e73);
    let setup = Setup {
        seed,
        mtu: [576, 1_500, 9_000][links.below(3) as usize],
        vlan: links.chance(0.5).then(|| 1 + links.below(4_094) as u16),
        faults,
        buffer: [16, 64][rng.below(2) as usize] * 1024,
        ..Setup::default()
    };
    let multiplex = ["none", "message", "frame"][rng.below(3) as usize];
    let service = format!(
        "protocol: ttheader, multiplex: {multiplex}, shared_connections: 2, max_connections: 12"
    );
    let misbehaving = rng.chance(0.5);
    let streams = 10 + rng.below(60);
    let mut report = Report {
        requests: streams,
        ..Report::default()
    };
    let world = match Scripted::new(&setup, &rules(&setup, &service)) {
        Ok(world) => world,
        Err(problems) => {
            report.violations.push(problems);
            return report;
        }
    };
    let rough = level > 0.0 || misbehaving;
    let mut play = Play {
        callers: Vec::new(),
        asked: Vec::new(),
        may_fail: rough || multiplex == "none",
        rough,
        misbehaving,
        may_rest: rough || multiplex == "none",
        left: streams,
        report,
        world,
        rng,
    };
    for _ in 0..1 + play.rng.below(6) {
        play.open_caller();
    }
    play.play();
    over(&mut play.world, play.rough, &mut play.report);
    play.report
}

impl Play {
    fn play(&mut self) {
        let mut waiting = Waiting::default();
        loop {
            self.act();
            let step = Duration::from_micros(50 + self.rng.below(4_000));
            self.world.pass(step);
            self.serve();
            self.check();
            let now = self.world.now();
            if self.left > 0 {
                continue;
            }
            if self.callers.iter().all(|caller| caller.streams.is_empty()) {
                break;
            }
            match waiting.on(now, self.rough) {
                Patience::Wait => {}
                Patience::GiveUp => self.give_up(),
                Patience::Over => {
                    let open: Vec<_> = self.callers.iter().map(|c| c.streams.keys()).collect();
                    let text = format!("streams that never end: {open:?}");
                    self.report.violations.push(text);
                    break;
                }
            }
            let pause = Duration::from_millis(self.rng.below(20));
            self.world.pass(pause);
        }
    }

    fn give_up(&mut self) {
        let now = self.world.now();
        for caller in self.callers.drain(..) {
            self.world.client.reset(caller.connection, now);
        }
    }

    fn open_caller(&mut self) {
        let (to, buffers, now) = (self.world.target, self.world.buffers, self.world.now());
        if let Some(connection) = self.world.client.open(to, buffers, now) {
            self.callers.push(Caller {
                connection,
                streams: BTreeMap::new(),
                reset: BTreeSet::new(),
                next: self.rng.below(1 << 32) as i32,
                received: Vec::new(),
                paused: false,
                gone: false,
            });
        }
    }

    /// What callers do.
    fn act(&mut self) {
        let now = self.world.now();
        for caller in &mut self.callers {
            let connection = caller.connection;
            if self.misbehaving && self.rng.chance(0.002) {
                self.world.client.reset(connection, now);
                caller.gone = true;
                continue;
            }
            if self.may_rest && self.rng.chance(0.05) {
                caller.paused = true;
                self.world.client.pause(connection);
            } else if caller.paused && self.rng.chance(0.1) {
                caller.paused = false;
                self.world.client.resume(connection, now);
            }
            let mut out = Vec::new();
            if self.left > 0 && caller.streams.len() < 8 && self.rng.chance(0.3) {
                self.left -= 1;
                // Not 0, and not one that is in use.
                caller.next = caller.next.wrapping_add(1);
                if caller.next == 0 {
                    caller.next = 1;
                }
                caller.streams.insert(caller.next, Stream::default());
                out.append(&mut frame(caller.next, b"2", b""));
            }
            let mut over = Vec::new();
            for (&id, stream) in &mut caller.streams {
                if stream.ended || !self.rng.chance(0.4) {
                    continue;
                }
                match self.rng.below(20) {
                    0..4 => {
                        stream.ended = true;
                        out.append(&mut frame(id, b"4", b""));
                    }
                    4 if self.rng.chance(0.3) => {
                        out.append(&mut frame(id, b"5", b""));
                        over.push(id);
                    }
                    _ => {
                        let size = match self.rng.below(50) {
                            0 => self.rng.below(400_000),
                            1..6 => self.rng.below(20_000),
                            _ => self.rng.below(300),
                        };
                        let salt = self.rng.below(251);
                        let body: Vec<u8> = (0..size)
                            .map(|at| ((at * 31 + salt + id as u64 % 7) % 251) as u8)
                            .collect();
                        out.append(&mut frame(id, b"3", &body));
                        stream.out.push_back(body);
                    }
                }
            }
            for id in over {
                caller.streams.remove(&id);
                caller.reset.insert(id);
            }
            if !out.is_empty() {
                self.world.client.send(connection, &out, now);
            }
        }
        self.forget_ended();
    }

    /// What the service does with what it got.
    fn serve(&mut self) {
        let now = self.world.now();
        let backend = &mut self.world.backend;
        self.asked.resize(backend.connections(), Vec::new());
        for (connection, asked) in self.asked.iter_mut().enumerate() {
            asked.append(&mut backend.take(connection));
            let mut out = Vec::new();
            loop {
                let frame = match take(asked) {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    Err(error) => {
                        let text = format!("the service got no frame: {error}");
                        self.report.violations.push(text);
                        asked.clear();
                        break;
                    }
                };
                out.append(&mut reply(&frame, self.misbehaving, &mut self.rng));
            }
            if self.misbehaving && self.rng.chance(0.001) {
                backend.reset(connection, now);
            } else if !out.is_empty() {
                backend.send(connection, &out, now);
            }
            if self.misbehaving && self.rng.chance(0.01) {
                backend.pause(connection);
            } else if self.rng.chance(0.1) {
                backend.resume(connection, now);
            }
        }
    }

    /// What callers got.
    fn check(&mut self) {
        let mut violations = Vec::new();
        for caller in &mut self.callers {
            let bytes = self.world.client.take(caller.connection);
            caller.received.extend_from_slice(&bytes);
            loop {
                match take(&mut caller.received) {
                    Ok(Some(frame)) => judge(caller, &frame, self.may_fail, &mut violations),
                    Ok(None) => break,
                    Err(error) => {
                        violations.push(format!("a caller got no frame: {error}"));
                        caller.received.clear();
                        break;
                    }
                }
            }
            if self.world.client.end(caller.connection).is_some() {
                if !caller.streams.is_empty() && !self.rough {
                    violations.push(format!("ended with {:?} open", caller.streams.keys()));
                }
                caller.streams.clear();
            }
        }
        self.report.violations.append(&mut violations);
        self.forget_ended();
    }

    /// Callers whose connection is over are followed by others.
    fn forget_ended(&mut self) {
        let before = self.callers.len();
        let client = &self.world.client;
        self.callers
            .retain(|caller| !caller.gone && client.end(caller.connection).is_none());
        for _ in self.callers.len()..before {
            self.open_caller();
        }
    }
}

/// What the service sends for a frame.
fn reply(got: &Frame, misbehaving: bool, rng: &mut Rng) -> Vec<u8> {
    let odd = if misbehaving { rng.below(300) } else { 300 };
    match (got.kind, odd) {
        (_, 0) => frame(got.id, b"5", b"enough"),
        (_, 1) => [frame(got.id, b"4", b""), frame(got.id, b"3", b"late")].concat(),
        (_, 2) => Vec::new(),
        (Some(StreamFrame::Header), _) if rng.chance(0.5) => frame(got.id, b"2", b""),
        (Some(StreamFrame::Data), _) => frame(got.id, b"3", &got.body),
        (Some(StreamFrame::Trailer), _) => frame(got.id, b"4", b""),
        _ => Vec::new(),
    }
}

fn judge(caller: &mut Caller, got: &Frame, may_fail: bool, violations: &mut Vec<String>) {
    let id = got.id;
    let Some(stream) = caller.streams.get_mut(&id) else {
        if !caller.reset.contains(&id) {
            violations.push(format!("a frame of no stream, or one behind its end: {id}"));
        }
        return;
    };
    match got.kind {
        Some(StreamFrame::Header) => {}
        Some(StreamFrame::Data) => {
            // Where the service leaves some out, those behind them are still in order.
            let place = stream.out.iter().position(|sent| *sent == got.body);
            match place {
                Some(0) => {}
                Some(_) if may_fail => {}
                _ => violations.push(format!("{id}: {} bytes nobody sent now", got.body.len())),
            }
            stream.out.drain(..place.map_or(0, |place| place + 1));
        }
        Some(StreamFrame::Trailer) => {
            let whole = stream.ended && stream.out.is_empty() && got.body.is_empty();
            if !whole && !may_fail {
                let said = String::from_utf8_lossy(&got.body).into_owned();
                violations.push(format!("{id}: ended before its time: {said}"));
            }
            caller.streams.remove(&id);
        }
        Some(StreamFrame::Reset) if may_fail => {
            caller.streams.remove(&id);
        }
        _ => violations.push(format!("{id}: a frame of kind {:?}", got.kind)),
    }
}
