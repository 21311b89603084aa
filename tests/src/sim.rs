//! The whole gateway simulated: clients, links with faults, the gateway's real worker and backends
//! in one thread and virtual time, all following from a seed. [`run`] plays one seed and says what
//! was not as it has to be.

mod play;
mod scene;
mod steering;

use std::collections::HashMap;
use std::time::Duration;

use sluice_engine::WorkerStats;
use sluice_engine::stats::EngineEvent;
use sluice_perf::client::Workload;
use sluice_perf::memory::{Memory, compiled, rules};
use sluice_stack::Limits;
use sluice_stack::counters::Counted;
use sluice_stack::fate::StackEvent;
use sluice_stack::io::IoStats;
use sluice_stack::rng::Rng;
use sluice_stack::time::Instant;

use play::Play;
use scene::Scene;
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
