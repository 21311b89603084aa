//! The gateway simulated while its rules change at random under load: no request is lost, and what becomes
//! of each is what some rules allow that were in force while it lived. [`run`] plays one seed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sluice_engine::stats::EngineEvent;
use sluice_perf::bytes::{self, Ask, Form};
use sluice_perf::client::{End, Outcome, Request, Workload};
use sluice_perf::memory::{Memory, Setup, Workers, compiled};
use sluice_policy::{Problem, Snapshot, parse, recompile};
use sluice_stack::Buffers;
use sluice_stack::rng::Rng;
use sluice_stack::sim::Faults;
use sluice_stack::time::Instant;
use sluice_wire::http1::RequestKind;

use crate::changing_rules::{Allowed, Asked, COPIES, HOSTS, Rules, USERS, ports};
use crate::sim::{Report, turn, worker_settled};

/// Virtual time after which a client gives up: nothing here takes that long.
const CLIENT_PATIENCE: Duration = Duration::from_secs(100);
/// Virtual time after which nothing may be left of what was under way.
const QUIET: Duration = Duration::from_secs(120);

/// A request that was made.
#[derive(Debug)]
struct Made {
    asked: Asked,
    length: u64,
    /// The oldest rules that any worker went by when it was made.
    since: u64,
    /// How it ended, and the newest rules by then.
    ended: Option<(End, u64)>,
}

struct Play {
    rng: Rng,
    left: u64,
    made: HashMap<u64, Made>,
    next: Option<Request>,
    oldest: u64,
    newest: u64,
    violations: Vec<String>,
}

impl Workload for Play {
    fn next(&mut self, _slot: usize, _now: Instant) -> Option<&Request> {
        self.left = self.left.checked_sub(1)?;
        self.next = Some(self.request(self.left));
        self.next.as_ref()
    }

    fn ended(&mut self, _slot: usize, outcome: Outcome) {
        let newest = self.newest;
        match self.made.get_mut(&outcome.id) {
            Some(made) if made.ended.is_none() => made.ended = Some((outcome.end, newest)),
            other => {
                let text = format!("an outcome too many: {outcome:?} of {other:?}");
                self.violations.push(text);
            }
        }
    }
}

impl Play {
    fn request(&mut self, id: u64) -> Request {
        let rng = &mut self.rng;
        let asked = Asked {
            host: rng.below(HOSTS as u64) as usize,
            user: [None, Some(USERS[0]), Some(USERS[1])][rng.below(3) as usize],
        };
        let form = match rng.below(3) {
            0 => Form::Chunked(1 + rng.below(5_000) as u16),
            _ => Form::Length,
        };
        let length = match rng.below(4) {
            0 => rng.below(60_000),
            _ => rng.below(2_000),
        };
        let upload = rng.chance(0.4).then(|| rng.below(12_000));
        let method = if upload.is_some() { "PUT" } else { "GET" };
        let path = Ask { id, length, form }.path();
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: h{}.test\r\n", asked.host);
        if let Some(user) = asked.user {
            text.push_str(&format!("X-User: {user}\r\n"));
        }
        let chunked = rng.chance(0.5);
        let mut bytes = Vec::new();
        match upload {
            Some(size) if chunked && size > 0 => {
                text.push_str("Transfer-Encoding: chunked\r\n\r\n");
                bytes.extend_from_slice(format!("{text}{size:x}\r\n").as_bytes());
                bytes::append(&mut bytes, id, 0, size);
                bytes.extend_from_slice(b"\r\n0\r\n\r\n");
            }
            Some(size) => {
                bytes.extend_from_slice(format!("{text}Content-Length: {size}\r\n\r\n").as_bytes());
                bytes::append(&mut bytes, id, 0, size);
            }
            None => bytes.extend_from_slice(format!("{text}\r\n").as_bytes()),
        }
        let made = Made {
            asked,
            length,
            since: self.oldest,
            ended: None,
        };
        self.made.insert(id, made);
        Request {
            id,
            bytes,
            kind: RequestKind::Other,
            half_close: false,
            abandon_after: None,
        }
    }
}

/// Rules in force one after the other: generation 1 first.
struct History {
    setup: Setup,
    rng: Rng,
    all: Vec<Rules>,
    last: (sluice_policy::rules::Rules, Arc<Snapshot>),
}

fn lines(problems: Vec<Problem>) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl History {
    fn new(setup: Setup, seed: u64) -> Result<History, String> {
        let mut rng = Rng::new(seed ^ 0x4e3e);
        let first = Rules::by_chance(&mut rng);
        let text = first.yaml(&setup);
        let snapshot = compiled(&text, 1).map_err(|said| format!("{said}\n{text}"))?;
        Ok(History {
            rng,
            last: (parse(&text, "1.yaml").map_err(lines)?, snapshot),
            all: vec![first],
            setup,
        })
    }

    /// The next ones, which share with the last what did not change.
    fn change(&mut self) -> Result<Arc<Snapshot>, String> {
        let next = Rules::by_chance(&mut self.rng);
        let text = next.yaml(&self.setup);
        let explain = |problems| format!("{}\n{text}", lines(problems));
        let rules = parse(&text, "next.yaml").map_err(explain)?;
        let (before, snapshot) = &self.last;
        let resolved = Arc::default();
        let mut snapshot = recompile(&rules, &resolved, before, snapshot).map_err(explain)?;
        self.all.push(next);
        snapshot.generation = self.all.len() as u64;
        let snapshot = Arc::new(snapshot);
        self.last = (rules, snapshot.clone());
        Ok(snapshot)
    }

    /// What may have become of a request that lived from the one to the other generation.
    fn allow(&self, asked: Asked, since: u64, until: u64) -> Vec<Allowed> {
        let lived = self.all.get(since as usize - 1..until as usize);
        let lived = lived.unwrap_or_default().iter();
        lived.flat_map(|rules| rules.allow(asked)).collect()
    }
}

/// A world without losses: whatever fails there, the change of rules has brought about.
fn setup(seed: u64) -> Setup {
    let mut rng = Rng::new(seed ^ 0xc4a6);
    let mut lane = || Faults {
        duplicate: [0.0, 0.02][rng.below(2) as usize],
        delay: Duration::from_micros(rng.below(3_000)),
        jitter: Duration::from_micros(rng.below(300)),
        rate: None,
        ..Faults::default()
    };
    let faults = [[lane(), lane()], [lane(), lane()]];
    let count = [1, 1, 2, 4][rng.below(4) as usize];
    Setup {
        seed,
        v6: rng.chance(0.3),
        faults,
        connections: 2 + rng.below(14) as usize,
        buffer: [16, 64][rng.below(2) as usize] * 1024,
        flows: 4096,
        workers: Workers {
            count,
            queues: count,
            at_random: rng.chance(0.3),
        },
        ..Setup::default()
    }
}

/// Plays a seed.
pub fn run(seed: u64) -> Report {
    let mut report = Report::default();
    if let Err(problem) = play(seed, &mut report) {
        report.violations.push(problem);
    }
    report
}

fn play(seed: u64, report: &mut Report) -> Result<(), String> {
    let mut history = History::new(setup(seed), seed)?;
    let mut memory = Memory::with_snapshot(&history.setup, &history.last.1)?;
    let buffers = Buffers {
        receive: history.setup.buffer,
        send: history.setup.buffer,
    };
    let host = if history.setup.v6 {
        "[fd77:2::2]"
    } else {
        "10.77.2.2"
    };
    for port in ports() {
        let address = format!("{host}:{port}");
        let address = address
            .parse()
            .map_err(|error| format!("{address}: {error}"))?;
        memory.backend.listen(address, buffers);
    }
    memory.backend.log = Some(Vec::new());
    memory.worker.set_wall_clock(1_800_000_000);
    for other in &mut memory.others {
        other.worker.set_wall_clock(1_800_000_000);
    }
    let mut events = Rng::new(seed ^ 0x0e7e);
    let requests = 60 + events.below(120);
    report.requests = requests;
    let mut play = Play {
        rng: Rng::new(seed ^ 0x3eed),
        left: requests,
        made: HashMap::new(),
        next: None,
        oldest: 1,
        newest: 1,
        violations: Vec::new(),
    };
    memory.client.kick(&mut play, memory.net.now());
    while memory.client.under_way() > 0 || play.left > 0 {
        turn(&mut memory, &mut play, report);
        if events.chance(0.03) {
            memory.offer(&history.change()?);
            play.newest = history.all.len() as u64;
        }
        let at = memory.all_stats().map(|stats| stats.generation.get());
        play.oldest = at.min().unwrap_or(1).max(1);
        let now = memory.net.now();
        memory.client.give_up(CLIENT_PATIENCE, &mut play, now);
        memory.client.kick(&mut play, now);
        memory.advance(Duration::from_secs(1));
    }
    memory.client.close_all(memory.net.now());
    let quiet = memory.net.now() + QUIET;
    while memory.net.now() < quiet {
        turn(&mut memory, &mut play, report);
        memory.advance(Duration::from_secs(1));
    }
    memory.handoff.free_retired();
    for other in &memory.others {
        other.handoff.free_retired();
    }
    report.violations.append(&mut play.violations);
    for stats in memory.all_stats() {
        worker_settled(stats, &memory, play.newest, report);
    }
    judge(&memory, &play, &history, report);
    report.faults = memory.net.faults_done();
    Ok(())
}

/// Says which requests became what no rules of their time allow.
fn judge(memory: &Memory, play: &Play, history: &History, report: &mut Report) {
    let mut answered: HashMap<u64, Vec<u16>> = HashMap::new();
    let mut copies: HashMap<u64, u64> = HashMap::new();
    for (id, address) in memory.backend.log.iter().flatten() {
        if address.port() == COPIES {
            *copies.entry(*id).or_default() += 1;
        } else {
            answered.entry(*id).or_default().push(address.port());
        }
    }
    for (id, made) in &play.made {
        let reached = answered.get(id).map_or(&[][..], |ports| &ports[..]);
        let Some((end, until)) = made.ended else {
            report.violations.push(format!("no outcome: {made:?}"));
            continue;
        };
        let allowed = history.allow(made.asked, made.since, until);
        let holds = |allowed: &Allowed| match (allowed, end, reached) {
            (
                Allowed::Ports(ports),
                End::Answered {
                    status: 200,
                    length,
                    right,
                },
                [port],
            ) => ports.contains(port) && right && length == made.length,
            (Allowed::Status(wanted), End::Answered { status, .. }, []) => *wanted == status,
            (Allowed::Closed, End::Broken, []) => true,
            _ => false,
        };
        if !allowed.iter().any(holds) {
            report.violations.push(format!(
                "request {id}: {made:?} reached {reached:?}, allowed was {allowed:?}"
            ));
        }
    }
    let event = |event| -> u64 {
        memory
            .all_stats()
            .map(|stats| stats.events.get(event))
            .sum()
    };
    let mut must = |holds: bool, what: &str| {
        if !holds {
            let seen = &memory.backend.seen;
            report
                .violations
                .push(format!("{what}: {seen:?}, {} copies", copies.len()));
        }
    };
    must(
        memory.backend.seen.malformed == 0,
        "a malformed request reached a service",
    );
    must(
        memory.backend.seen.wrong_bodies == 0,
        "a wrong body reached a service",
    );
    must(
        copies.values().all(|times| *times == 1),
        "a request was copied twice",
    );
    must(
        event(EngineEvent::MirrorAnswered) == copies.len() as u64,
        "a copy was not answered",
    );
    must(event(EngineEvent::MirrorFailed) == 0, "a copy failed");
}
