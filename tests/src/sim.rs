//! The whole gateway simulated: clients, links with faults, the gateway's real worker and backends
//! in one thread and virtual time, all following from a seed. [`run`] plays one seed and says what
//! was not as it has to be.

mod steering;

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use sluice_engine::WorkerStats;
use sluice_engine::stats::EngineEvent;
use sluice_perf::bytes::{self, Ask, Form};
use sluice_perf::client::{End, Outcome, Request, Workload};
use sluice_perf::memory::{Memory, Setup, Side, Workers, compiled, rules};
use sluice_stack::Limits;
use sluice_stack::counters::Counted;
use sluice_stack::fate::StackEvent;
use sluice_stack::io::IoStats;
use sluice_stack::rng::Rng;
use sluice_stack::time::Instant;
use sluice_wire::http1::RequestKind;

use crate::links::lanes;
use steering::SteeringChanges;

/// Virtual time in which every request must have ended.
const PATIENCE: Duration = Duration::from_secs(7_200);
/// Virtual time after which a client gives up.
const CLIENT_PATIENCE: Duration = Duration::from_secs(200);
/// Virtual time after which nothing may be left of what was under way.
const QUIET: Duration = Duration::from_secs(120);

/// Flows of the gateway at most.
const FLOWS: usize = 4_096;

/// What one seed came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Requests played.
    pub requests: u64,
    /// Faults the links committed.
    pub faults: u64,
    /// Everything that was not as it has to be, in words.
    pub violations: Vec<String>,
}

/// What a seed's world is like.
#[derive(Debug)]
struct Scene {
    setup: Setup,
    requests: u64,
    /// Links lose, double, delay or damage frames, or backends restart: a request may then fail, but
    /// only in a way that its client is told of.
    rough: bool,
    restarts: bool,
    reloads: bool,
    misbehaving: bool,
    /// How flows are steered to workers changes, and with it what devices do.
    steering_changes: bool,
}

impl Scene {
    fn of(seed: u64) -> Scene {
        let mut rng = Rng::new(seed);
        let level = [0.0, 0.0, 0.01, 0.05, 0.1][rng.below(5) as usize];
        let faults = lanes(&mut rng, level, 3_000);
        let v6 = rng.chance(0.4);
        let mtus = if v6 {
            [1280, 1500, 9000]
        } else {
            [576, 1500, 9000]
        };
        let restarts = rng.chance(0.2);
        let front = Side {
            v6,
            mtu: mtus[rng.below(3) as usize],
            vlan: None,
        };
        let [front, back] = sides(seed, front);
        Scene {
            setup: Setup {
                window: Limits::default().window,
                seed,
                v6,
                mtu: front.mtu,
                vlan: front.vlan,
                back: Some(back),
                faults,
                connections: 1 + rng.below(12) as usize,
                buffer: [16, 20, 64][rng.below(3) as usize] * 1024,
                flows: FLOWS,
                workers: workers(seed),
            },
            requests: 20 + rng.below(80),
            rough: level > 0.0 || restarts,
            restarts,
            reloads: rng.chance(0.3),
            misbehaving: rng.chance(0.5),
            steering_changes: Rng::new(seed ^ 0x7365_6174).chance(0.5),
        }
    }
}

/// In half of the worlds frames of the client's link have a VLAN, in half those of the backend's; in a
/// third the backend's link is one of its own, so that what comes in as IPv4 may go out as IPv6, and large
/// frames as small ones. From a chance of its own as well.
fn sides(seed: u64, front: Side) -> [Side; 2] {
    let mut rng = Rng::new(seed ^ 0x6c61_6e73);
    let mut vlan = || rng.chance(0.5).then(|| 1 + rng.below(4_094) as u16);
    let [near, far] = [vlan(), vlan()];
    let own = rng.chance(0.3);
    let v6 = if own { rng.chance(0.5) } else { front.v6 };
    let mtu = match (own, v6) {
        (true, true) => 1_280 + rng.below(9_216 - 1_280 + 1) as u16,
        (true, false) => 576 + rng.below(9_216 - 576 + 1) as u16,
        (false, _) => front.mtu,
    };
    let back = Side { v6, mtu, vlan: far };
    [
        Side {
            vlan: near,
            ..front
        },
        back,
    ]
}

/// Half of the worlds have several workers, with a queue for each or fewer, and a device that steers
/// right or as it pleases. From a chance of its own, so that a seed's world is otherwise what it was.
fn workers(seed: u64) -> Workers {
    let mut rng = Rng::new(seed ^ 0x3072_6b73);
    let count = [1, 1, 1, 2, 2, 3, 4, 16][rng.below(8) as usize];
    Workers {
        count,
        queues: 1 + rng.below(u64::from(count)) as u16,
        at_random: rng.chance(0.5),
    }
}

/// What the answer to a request may be.
#[derive(Debug, Clone)]
struct Expected {
    form: Form,
    length: u64,
    slot: usize,
    may_abandon: bool,
    ended: bool,
}

struct Play {
    rng: Rng,
    left: u64,
    rough: bool,
    misbehaving: bool,
    expected: HashMap<u64, Expected>,
    next: Option<Request>,
    violations: Vec<String>,
}

impl Workload for Play {
    fn next(&mut self, slot: usize, _now: Instant) -> Option<&Request> {
        self.left = self.left.checked_sub(1)?;
        let id = self.left;
        let request = self.request(id, slot);
        self.next = Some(request);
        self.next.as_ref()
    }

    fn ended(&mut self, slot: usize, outcome: Outcome) {
        let Some(expected) = self.expected.get_mut(&outcome.id) else {
            self.violations
                .push(format!("an outcome for a request never made: {outcome:?}"));
            return;
        };
        if expected.ended || expected.slot != slot {
            let text = format!("a second or misplaced outcome: {outcome:?} for {expected:?}");
            self.violations.push(text);
        }
        expected.ended = true;
        if !self.rough_or_right(outcome) {
            let expected = &self.expected[&outcome.id];
            self.violations
                .push(format!("{outcome:?} for {expected:?}"));
        }
    }
}

impl Play {
    fn rough_or_right(&self, outcome: Outcome) -> bool {
        let expected = &self.expected[&outcome.id];
        let good = match outcome.end {
            // Whatever else happens: a 200 is whole and right.
            End::Answered {
                status: 200,
                length,
                right,
            } => {
                return right
                    && length == expected.length
                    && matches!(
                        expected.form,
                        Form::Length | Form::Chunked(_) | Form::UntilClose | Form::Interim
                    );
            }
            End::Answered { status: 502, .. } => {
                matches!(
                    expected.form,
                    Form::CloseEarly | Form::Reset | Form::Garbage
                )
            }
            End::Answered { status: 504, .. } => expected.form == Form::Stall,
            End::Broken => expected.form == Form::Truncate,
            End::Abandoned => return expected.may_abandon,
            End::Answered { .. } | End::Garbage | End::Refused | End::TimedOut => false,
        };
        let told = matches!(
            outcome.end,
            End::Answered { status: 408 | 502 | 503 | 504, .. }
                | End::Broken
                | End::Refused
                // A reset that got lost is not sent again: only the client's own patience ends it.
                | End::TimedOut
        );
        good || (self.rough && told)
    }

    fn request(&mut self, id: u64, slot: usize) -> Request {
        let rng = &mut self.rng;
        let form = match rng.below(20) {
            0..=7 => Form::Length,
            8..=11 => Form::Chunked(1 + rng.below(5_000) as u16),
            12 => Form::Interim,
            13 | 14 => Form::UntilClose,
            15 if self.misbehaving => Form::CloseEarly,
            16 if self.misbehaving => Form::Reset,
            17 if self.misbehaving => Form::Truncate,
            18 if self.misbehaving => Form::Garbage,
            19 if self.misbehaving && rng.chance(0.3) => Form::Stall,
            _ => Form::Length,
        };
        let length = match rng.below(10) {
            0 => 0,
            1..=6 => rng.below(2_000),
            7 | 8 => rng.below(40_000),
            _ => rng.below(300_000),
        };
        // Half of nothing is all of it: a truncated answer has to lack something.
        let length = if form == Form::Truncate {
            length.max(2)
        } else {
            length
        };
        let ask = Ask { id, length, form };
        let kind = if rng.chance(0.05) && form != Form::Truncate {
            RequestKind::Head
        } else {
            RequestKind::Other
        };
        let upload = (kind == RequestKind::Other && rng.chance(0.3)).then(|| match rng.below(4) {
            0 => rng.below(100_000),
            _ => rng.below(3_000),
        });
        let (chunked, old) = (rng.chance(0.5), upload.is_none() && rng.chance(0.1));
        let mut text = String::new();
        let method = match (kind, upload) {
            (RequestKind::Head, _) => "HEAD",
            (_, Some(_)) => "POST",
            _ => "GET",
        };
        let version = if old { "HTTP/1.0" } else { "HTTP/1.1" };
        let _ = write!(
            text,
            "{method} {} {version}\r\nHost: sluice.test\r\n",
            ask.path()
        );
        match upload {
            Some(_) if chunked => text.push_str("Transfer-Encoding: chunked\r\n\r\n"),
            Some(size) => {
                let _ = write!(text, "Content-Length: {size}\r\n\r\n");
            }
            None => text.push_str("\r\n"),
        }
        let mut bytes = text.into_bytes();
        if let Some(size) = upload {
            if chunked {
                let mut at = 0;
                while at < size {
                    let to = (at + 1 + rng.below(3_000)).min(size);
                    bytes.extend_from_slice(format!("{:x}\r\n", to - at).as_bytes());
                    bytes::append(&mut bytes, id, at, to);
                    bytes.extend_from_slice(b"\r\n");
                    at = to;
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            } else {
                bytes::append(&mut bytes, id, 0, size);
            }
        }
        let abandon_after = (self.misbehaving && rng.chance(0.1)).then(|| rng.below(10_000));
        let half_close = rng.chance(0.05);
        let length = if kind == RequestKind::Head { 0 } else { length };
        let may_abandon = abandon_after.is_some();
        let expected = Expected {
            form,
            length,
            slot,
            may_abandon,
            ended: false,
        };
        self.expected.insert(id, expected);
        Request {
            id,
            bytes,
            kind,
            half_close,
            abandon_after,
        }
    }
}

/// Plays a seed.
pub fn run(seed: u64) -> Report {
    let scene = Scene::of(seed);
    // Few connections that may wait, so that they are opened and closed a lot.
    let text = rules(&scene.setup).replace(
        "max_idle: 100000",
        "max_idle: 4\n    idle_timeout: 20s\n    connect_timeout: 30s",
    );
    let mut report = Report {
        requests: scene.requests,
        ..Report::default()
    };
    let mut memory = match Memory::with_rules(&scene.setup, &text) {
        Ok(memory) => memory,
        Err(problems) => {
            report.violations.push(problems);
            return report;
        }
    };
    let mut play = Play {
        rng: Rng::new(seed ^ 0x5eed),
        left: scene.requests,
        rough: scene.rough,
        misbehaving: scene.misbehaving,
        expected: HashMap::new(),
        next: None,
        violations: Vec::new(),
    };
    let mut events = Rng::new(seed ^ 0xe7e2);
    let mut generation = 1;
    let mut steering = SteeringChanges::new(seed, &scene.setup.workers);
    let now = memory.net.now();
    memory.client.kick(&mut play, now);
    while memory.client.under_way() > 0 || play.left > 0 {
        turn(&mut memory, &mut play, &mut report);
        let now = memory.net.now();
        if scene.restarts && events.chance(0.002) {
            memory.backend.restart(now);
        }
        if scene.reloads && events.chance(0.01) {
            generation += 1;
            match compiled(&text, generation) {
                Ok(snapshot) => memory.offer(&snapshot),
                Err(problems) => report.violations.push(problems),
            }
        }
        if scene.steering_changes {
            steering.step(&mut memory);
        }
        memory.client.give_up(CLIENT_PATIENCE, &mut play, now);
        memory.client.kick(&mut play, now);
        if now.since(Instant::ZERO) > PATIENCE {
            let stuck: Vec<_> = play.expected.iter().filter(|(_, e)| !e.ended).collect();
            report
                .violations
                .push(format!("not ended after {PATIENCE:?}: {stuck:?}"));
            break;
        }
        memory.advance(Duration::from_secs(1));
    }
    memory.client.close_all(memory.net.now());
    let quiet = memory.net.now() + QUIET;
    while memory.net.now() < quiet {
        turn(&mut memory, &mut play, &mut report);
        memory.advance(Duration::from_secs(1));
    }
    memory.handoff.free_retired();
    for other in &memory.others {
        other.handoff.free_retired();
    }
    report.violations.append(&mut play.violations);
    settled(&memory, &play, generation, &mut report);
    report.faults = memory.net.faults_done();
    report
}

/// One turn, and what must hold after every one.
pub(crate) fn turn(memory: &mut Memory, play: &mut impl Workload, report: &mut Report) {
    memory.turn(play, |worker, now| {
        worker.poll_once(now);
    });
    memory.worker.publish_ports();
    for other in &memory.others {
        other.worker.publish_ports();
    }
    let mut beyond = Vec::new();
    if !memory.net.is_bounded() {
        beyond.push("a queue of a link is longer than it may be".to_owned());
    }
    for (worker, stats) in memory.all_stats().enumerate() {
        let levels = [
            (
                "half-open flows",
                &stats.stack.half_open,
                Limits::default().half_open,
            ),
            (
                "TIME-WAIT records",
                &stats.stack.time_wait,
                Limits::default().time_wait,
            ),
            ("flows", &stats.stack.flows, FLOWS),
        ];
        for (what, level, bound) in levels {
            if level.get() > bound as u64 {
                beyond.push(format!(
                    "worker {worker}: {} {what}, at most {bound}",
                    level.get()
                ));
            }
        }
        let ports = stats.ports.iter().map(|port| port.get().rx_frames);
        let events = |event| stats.stack.events.get(event);
        let received = ports.sum::<u64>() + events(StackEvent::TakenOver);
        let fates = stats.stack.frames.sum() + events(StackEvent::HandedOver);
        if received != fates && report.violations.is_empty() {
            report.violations.push(format!(
                "worker {worker}: {received} frames received or taken over, {fates} fates or handed over"
            ));
        }
    }
    if report.violations.is_empty() {
        report.violations = beyond;
    }
}

/// What must hold when everything is over.
fn settled(memory: &Memory, play: &Play, generation: u64, report: &mut Report) {
    for stats in memory.all_stats() {
        worker_settled(stats, memory, generation, report);
    }
    let workers = std::iter::once(&memory.worker).chain(memory.others.iter().map(|o| &o.worker));
    let held = workers.map(|worker| ("a worker", worker.held()));
    let client = ("the client", memory.client.stack().held().to_vec());
    let backend = ("the backend", memory.backend.stack().held().to_vec());
    // Of a reset that got lost a backend never learns.
    let hosts = if play.rough {
        vec![client]
    } else {
        vec![client, backend]
    };
    for (who, held) in held.chain(hosts) {
        let left: Vec<_> = held.into_iter().filter(|(_, n)| *n > 0).collect();
        if !left.is_empty() {
            report
                .violations
                .push(format!("{who} holds at the end: {left:?}"));
        }
    }
    // Each port of each worker, client and backend keeps a buffer to send from.
    let (in_hand, spare) = (memory.net.in_hand(), 2 * (2 + memory.others.len()));
    if in_hand > spare {
        let text = format!("{in_hand} frames in hand at the end, at most {spare} are kept");
        report.violations.push(text);
    }
    let all = || memory.all_stats();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            let stats: Vec<_> = all().collect();
            let seen = &memory.backend.seen;
            report
                .violations
                .push(format!("{what}\n{stats:?}\n{seen:?}"));
        }
    };
    must(
        play.expected.values().all(|e| e.ended),
        "a request has no outcome",
    );
    must(
        memory.backend.seen.malformed == 0,
        "a malformed request reached the backend",
    );
    must(
        memory.backend.seen.wrong_bodies == 0,
        "a wrong body reached the backend",
    );
    let fates: u64 = all().map(|stats| stats.requests.sum()).sum();
    let repeated = all().map(|stats| stats.events.get(EngineEvent::RetriedStale));
    must(
        fates + repeated.sum::<u64>() >= memory.backend.seen.answers,
        "the backend answered what nobody asked",
    );
    let event = |event| -> u64 { all().map(|stats| stats.stack.events.get(event)).sum() };
    must(
        event(StackEvent::HandedOver) == event(StackEvent::TakenOver),
        "a frame was lost between workers",
    );
}

/// What must hold of each worker when everything is over.
pub(crate) fn worker_settled(
    stats: &WorkerStats,
    memory: &Memory,
    generation: u64,
    report: &mut Report,
) {
    let mut must = |holds: bool, what: &str| {
        if !holds {
            report
                .violations
                .push(format!("{what}\n{stats:?}\n{:?}", memory.backend.seen));
        }
    };
    // One is contained, and must not go unnoticed for that.
    let panics = stats.stack.events.get(StackEvent::Panicked);
    must(
        panics + stats.events.get(EngineEvent::Panicked) == 0,
        "something panicked",
    );
    must(stats.downstream.get() == 0, "client connections are left");
    must(
        stats.upstream.get() == 0,
        "connections to endpoints are left",
    );
    must(stats.exchanges.get() == 0, "exchanges are left");
    must(stats.stack.flows.get() == 0, "flows are left");
    must(stats.stack.half_open.get() == 0, "half-open flows are left");
    must(
        stats.stack.time_wait.get() == 0,
        "TIME-WAIT records are left",
    );
    must(
        stats.generation.get() == generation,
        "the newest rules were not adopted",
    );
    let fates = stats.requests.sum();
    let answers: u64 = stats.statuses.iter().map(|(_, n)| n).sum();
    must(fates >= answers, "more answers than fates");
    let lost: u64 = stats
        .ports
        .iter()
        .map(|port| unexplained(&port.get()))
        .sum();
    must(lost == 0, "frames were lost in a port");
    let named = stats
        .stack
        .frames
        .iter()
        .all(|(fate, _)| !fate.name().is_empty());
    must(named, "a fate has no name");
}

fn unexplained(stats: &IoStats) -> u64 {
    stats.rx_unusable + stats.rx_linearised
}
