//! The order of work: rounds in which every system takes its turn at every test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::thread::available_parallelism;
use std::time::Duration;

use sluice_port::cores;

use super::bed::{Bed, CORES, Place};
use super::error::CompareError;
use super::measure::{Load, Observation, Subject};
use super::process::output_of;
use super::results::{Comparison, Failure, Memory, Seen, Test, Trial};
use super::systems::{Speaks, System, Wire};
use super::{CompareArgs, GENERATOR_CORE, PROXY_CORE, envoy};
use crate::report::LimitedBy;
use crate::report::tables::{figure, grouped, percent, short};

/// Foreign processor use, by the time of a core, above which a measurement is discarded.
const FOREIGN_AT_MOST: f64 = 0.04;
/// Connections of the tests under load.
const CONNECTIONS: u32 = 64;
/// Connections whose memory is measured.
const MANY_CONNECTIONS: u32 = 2_000;
/// How long each way for the kernel to receive is tried.
const TRIED: Duration = Duration::from_secs(1);
/// Below this share of its core a proxy under a closed loop waits for something else.
const FULL: f64 = 0.9;

/// Runs all rounds. The bed is gone when this returns, whichever way.
///
/// # Errors
///
/// What a comparison needs is missing, or it was stopped. Measurements that fail are noted, and the others go on.
pub(super) fn run(args: &CompareArgs, stop: &AtomicBool) -> Result<Comparison, CompareError> {
    let contenders = args.contenders();
    let envoy = check(&contenders)?;
    // And with it all it starts that is not the system under test.
    cores::bind(&[GENERATOR_CORE as usize]).map_err(CompareError::Bind)?;
    let bed = Bed::up(stop)?;
    let mut comparison = Comparison::new(args.length());
    note_versions(&mut comparison, &contenders, envoy.as_deref())?;
    let rounds = args.rounds();
    try_receive(&bed, envoy.as_deref(), args, &mut comparison)?;
    for round in 1..=rounds {
        for &(system, wire) in &contenders {
            let at = Round {
                number: round,
                words: format!(
                    "round {round} of {rounds}, {} {}",
                    system.word(),
                    wire.word()
                ),
            };
            let subject = Subject {
                bed: &bed,
                system,
                wire,
                envoy: envoy.as_deref(),
                hops: 1,
                speaks: Speaks::Http1,
                receive: comparison.receive(system),
            };
            turn(&subject, args, &at, &mut comparison)?;
            if round == 1 && system != System::Direct && args.test.is_empty() {
                match memory(&subject, &at.words) {
                    Ok(memory) => comparison.memory.push(memory),
                    Err(error) => note(error, &subject, ("memory", round), &mut comparison)?,
                }
            }
        }
    }
    Ok(comparison)
}

/// Which round it is, and whose turn in it.
struct Round {
    number: u32,
    words: String,
}

/// A failure of one measurement is noted. Every other one ends the comparison.
fn note(
    error: CompareError,
    subject: &Subject<'_>,
    (what, round): (&str, u32),
    comparison: &mut Comparison,
) -> Result<(), CompareError> {
    if !error.is_of_one() {
        return Err(error);
    }
    // Ctrl-C reaches all that was started, and may end it first.
    subject.bed.go_on()?;
    let failure = Failure {
        system: subject.system,
        wire: subject.wire,
        what: what.to_owned(),
        round,
        reason: error.line(),
    };
    let (system, wire) = (failure.system.word(), failure.wire.word());
    eprintln!("compare: failed, {system} {wire} {what}: {error}");
    comparison.failures.push(failure);
    Ok(())
}

/// One measurement, and once more where it fails.
fn observe(subject: &Subject<'_>, name: &str, load: &Load) -> Result<Observation, CompareError> {
    match subject.observe(name, load) {
        Err(error) if error.is_of_one() => {
            subject.bed.go_on()?;
            eprintln!("compare: {name} failed, once more: {error}");
            subject.observe(name, load)
        }
        other => other,
    }
}

/// What must be there; the binary of Envoy where it takes part.
fn check(contenders: &[(System, Wire)]) -> Result<Option<PathBuf>, CompareError> {
    if !rustix::process::geteuid().is_root() {
        return Err(CompareError::NotRoot);
    }
    let cores = available_parallelism().map_or(1, usize::from);
    if cores < CORES.len() {
        return Err(CompareError::Cores(cores));
    }
    let takes_part = |system: &System| contenders.iter().any(|(other, _)| other == system);
    let needed = [
        (true, "ip", "iproute2"),
        (true, "ethtool", "ethtool"),
        (true, "setpriv", "util-linux"),
        (true, "taskset", "util-linux"),
        (takes_part(&System::Nginx), "nginx", "nginx"),
        (
            takes_part(&System::Haproxy) || takes_part(&System::HaproxyBusy),
            "haproxy",
            "haproxy",
        ),
        (takes_part(&System::Envoy), "python3", "python3-venv"),
    ];
    for (_, program, package) in needed.iter().filter(|(needed, _, _)| *needed) {
        output_of(&["sh", "-c", &format!("command -v {program}")])
            .map_err(|_| CompareError::Missing(program, package))?;
    }
    takes_part(&System::Envoy).then(envoy::binary).transpose()
}

fn note_versions(
    comparison: &mut Comparison,
    contenders: &[(System, Wire)],
    envoy: Option<&Path>,
) -> Result<(), CompareError> {
    for (system, _) in contenders {
        if let Some(version) = system.version(envoy)? {
            comparison.peers.insert(system.word().to_owned(), version);
        }
        if let Some((name, text)) = system.configuration() {
            let hash = crate::report::fingerprint::hash(text.as_bytes());
            comparison.configurations.insert(name.to_owned(), hash);
        }
    }
    Ok(())
}

/// Finds out for each proxy on the kernel's TCP where the kernel does its receiving best. It differs between
/// machines and proxies, and none of them is to be measured at less than its best.
fn try_receive(
    bed: &Bed<'_>,
    envoy: Option<&Path>,
    args: &CompareArgs,
    comparison: &mut Comparison,
) -> Result<(), CompareError> {
    for (system, wire) in args.contenders() {
        if system.place() != Place::Kernel || system == System::Direct {
            continue;
        }
        let mut tried = Vec::new();
        for receive in args.receive() {
            let subject = Subject {
                bed,
                system,
                wire,
                envoy,
                hops: 1,
                speaks: Speaks::Http1,
                receive,
            };
            // One that is given is not in question.
            let rps = match args.receive().len() {
                1 => None,
                _ => match observe(&subject, "trial", &closed(TRIED)) {
                    Ok(seen) => Some(seen.run.rps),
                    Err(error) => {
                        note(error, &subject, ("trial", 0), comparison)?;
                        None
                    }
                },
            };
            if let Some(rps) = rps {
                let (name, way) = (system.word(), receive.word());
                eprintln!(
                    "compare: trial, {name}, receiving {way}: {}/s",
                    grouped(rps)
                );
            }
            tried.push((receive, rps));
        }
        comparison.trials.extend(Trial::of(system, &tried));
    }
    Ok(())
}

/// 64 connections, each asking again as soon as it has its answer.
fn closed(length: Duration) -> Load {
    Load {
        connections: CONNECTIONS,
        close: false,
        rate: None,
        options: &[],
        length,
    }
}

/// All tests of one system, in a row.
fn turn(
    subject: &Subject<'_>,
    args: &CompareArgs,
    round: &Round,
    comparison: &mut Comparison,
) -> Result<(), CompareError> {
    let mut capacity = None;
    let suiting = Test::ALL.into_iter();
    for test in suiting.filter(|test| args.takes(*test) && test.suits(subject.system)) {
        if test == Test::HalfLoad && capacity.is_none() {
            let error = CompareError::NoCapacity;
            note(error, subject, (test.word(), round.number), comparison)?;
            continue;
        }
        let load = Load {
            connections: if test == Test::OneConnection {
                1
            } else {
                CONNECTIONS
            },
            close: test == Test::Close,
            rate: capacity
                .filter(|_| test == Test::HalfLoad)
                .map(|capacity| capacity / 2.0),
            ..closed(args.length())
        };
        let subject = Subject {
            hops: if test == Test::TwoHop { 2 } else { 1 },
            speaks: Speaks::of(test),
            ..*subject
        };
        match quiet(&subject, test, &load, args.repeats(), &round.words) {
            Ok(seen) => {
                if test == Test::KeepAlive {
                    capacity = Some(seen.observation.run.rps);
                }
                comparison.add(subject.system, subject.wire, test, seen);
            }
            Err(error) => note(error, &subject, (test.word(), round.number), comparison)?,
        }
    }
    Ok(())
}

/// One measurement, repeated while other processes disturb it.
fn quiet(
    subject: &Subject<'_>,
    test: Test,
    load: &Load,
    most_repeats: u32,
    place: &str,
) -> Result<Seen, CompareError> {
    let name = format!(
        "{} {} {}",
        subject.system.word(),
        subject.wire.word(),
        test.word()
    );
    let mut repeats = 0;
    loop {
        let mut observation = observe(subject, &name, load)?;
        observation.run.limited_by = judged(subject.system, test, &observation);
        eprintln!("compare: {place}, {}: {}", test.word(), told(&observation));
        let foreign = observation.noise.foreign;
        let noisy = foreign > FOREIGN_AT_MOST;
        if noisy && repeats < most_repeats {
            repeats += 1;
            eprintln!(
                "compare: discarded, other processes took {} of a core; again ({repeats} of {most_repeats})",
                percent(foreign)
            );
            continue;
        }
        if noisy {
            eprintln!(
                "compare: taken as it is and marked, other processes took {} of a core",
                percent(foreign)
            );
        }
        return Ok(Seen { observation, noisy });
    }
}

/// What the limit was, with what the generator can't know: how full the proxy's core was.
fn judged(system: System, test: Test, observation: &Observation) -> LimitedBy {
    let said = observation.run.limited_by;
    if said != LimitedBy::Target || matches!(test, Test::OneConnection | Test::HalfLoad) {
        return said;
    }
    match observation.busy_share {
        _ if system == System::Direct => LimitedBy::Wire,
        Some(share) if share < FULL => LimitedBy::Wire,
        _ => said,
    }
}

fn told(observation: &Observation) -> String {
    let run = &observation.run;
    let errors = match run.totals.all_errors() {
        0 => String::new(),
        errors => format!(", {errors} errors"),
    };
    let gaps = run
        .generator_gaps
        .and(observation.system_gaps.unwrap_or_default());
    let gaps = match gaps.count {
        0 => String::new(),
        count => format!(
            ", {count} gaps up to {} us delayed {}",
            short(gaps.longest_us),
            percent(gaps.delayed(run))
        ),
    };
    let busy = observation.busy_us;
    let busy = busy.map_or(String::new(), |us| {
        format!(", {} us of core time each", short(us))
    });
    format!(
        "{}/s, p50 {} p99 {} us{busy}{gaps}{errors}, limited by {}",
        grouped(run.rps),
        figure(run.latency.p50_us),
        figure(run.latency.p99_us),
        run.limited_by.word()
    )
}

/// How much resident memory grows by with many connections that ask now and then.
fn memory(subject: &Subject<'_>, place: &str) -> Result<Memory, CompareError> {
    let load = Load {
        connections: MANY_CONNECTIONS,
        close: false,
        rate: None,
        options: &["--think", "500ms", "--buffer", "4KiB"],
        length: Duration::from_secs(2),
    };
    let name = format!("{} {} memory", subject.system.word(), subject.wire.word());
    let observation = observe(subject, &name, &load)?;
    let grown = observation
        .most_resident_kib
        .saturating_sub(observation.resident_kib);
    let memory = Memory {
        system: subject.system,
        wire: subject.wire,
        connections: MANY_CONNECTIONS,
        idle_mib: observation.resident_kib as f64 / 1_024.0,
        kib_per_connection: grown as f64 / f64::from(MANY_CONNECTIONS),
        errors: observation.run.totals.all_errors(),
    };
    eprintln!(
        "compare: {place}, memory: {} KiB for each of {MANY_CONNECTIONS} connections",
        short(memory.kib_per_connection)
    );
    Ok(memory)
}

/// Which core does what, for the fingerprint.
pub(super) fn pinning(systems: impl Iterator<Item = System>) -> BTreeMap<String, u32> {
    systems
        .filter(|system| *system != System::Direct)
        .map(|system| (system.word().to_owned(), PROXY_CORE))
        .collect()
}
