//! Medians and spread of what was measured, as rows, tables and a document.

mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measure::Observation;
use super::rounds::pinning;
use super::systems::{Receive, System, Wire};
use crate::report::fingerprint::Fingerprint;
use crate::report::gaps::Gaps;
use crate::report::noise::Noise;
use crate::report::tables::Table;
use crate::report::{LimitedBy, RunReport};
use tables::{
    added_table, failure_table, gap_table, memory_table, ratio_table, receive_table, test_table,
};

/// The form of the document.
const FORM: &str = "sluice-bench-compare/1";

/// What is measured.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    ValueEnum,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum Test {
    /// 64 connections, each asking again as soon as it has its answer.
    #[serde(rename = "http1-keepalive")]
    #[value(name = "http1-keepalive")]
    KeepAlive,
    /// One connection likewise.
    #[serde(rename = "http1-one-connection")]
    #[value(name = "http1-one-connection")]
    OneConnection,
    /// 64 connections at half the rate that the system reached in the same round, open loop.
    #[serde(rename = "http1-half-load")]
    #[value(name = "http1-half-load")]
    HalfLoad,
    /// 64 at once, a new connection for each request.
    #[serde(rename = "http1-close")]
    #[value(name = "http1-close")]
    Close,
    /// 64 connections through two proxies in a row that share a core.
    #[serde(rename = "http1-two-hop")]
    #[value(name = "http1-two-hop")]
    TwoHop,
    /// 64 callers by TTHeader, their calls together on shared connections to the service. The proxies on the
    /// kernel's TCP don't speak it.
    #[serde(rename = "ttheader")]
    #[value(name = "ttheader")]
    TtHeader,
    /// The same with one call at a time on each connection to the service.
    #[serde(rename = "ttheader-one-call")]
    #[value(name = "ttheader-one-call")]
    TtHeaderOneCall,
}

impl Test {
    /// In the order of a turn: the half load follows from what was reached before.
    pub const ALL: [Test; 7] = [
        Test::KeepAlive,
        Test::OneConnection,
        Test::HalfLoad,
        Test::Close,
        Test::TwoHop,
        Test::TtHeader,
        Test::TtHeaderOneCall,
    ];

    /// As it stands in the JSON.
    pub fn word(self) -> &'static str {
        match self {
            Test::KeepAlive => "http1-keepalive",
            Test::OneConnection => "http1-one-connection",
            Test::HalfLoad => "http1-half-load",
            Test::Close => "http1-close",
            Test::TwoHop => "http1-two-hop",
            Test::TtHeader => "ttheader",
            Test::TtHeaderOneCall => "ttheader-one-call",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Test::KeepAlive => "http1-keepalive: 64 connections",
            Test::OneConnection => "http1-one-connection: one connection",
            Test::HalfLoad => "http1-half-load: half of what was reached, open loop",
            Test::Close => "http1-close: a new connection for each request, 64 at once",
            Test::TwoHop => "http1-two-hop: 64 connections, two proxies in a row on one core",
            Test::TtHeader => {
                "ttheader: 64 callers, calls together on shared connections to the service"
            }
            Test::TtHeaderOneCall => {
                "ttheader-one-call: 64 callers, one call at a time on a connection to the service"
            }
        }
    }

    /// What is spoken.
    pub(super) fn is_ttheader(self) -> bool {
        matches!(self, Test::TtHeader | Test::TtHeaderOneCall)
    }

    /// Whether a system can be measured so.
    pub(super) fn suits(self, system: System) -> bool {
        !self.is_ttheader() || matches!(system, System::Direct | System::Sluice)
    }
}

/// One measurement that counts.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) observation: Observation,
    /// Others used the processor more than is allowed.
    pub(super) noisy: bool,
}

impl Seen {
    /// Of the generator and of Sluice, where it was told.
    fn gaps(&self) -> Gaps {
        let own = self.observation.run.generator_gaps;
        own.and(self.observation.system_gaps.unwrap_or_default())
    }
}

/// Memory of one system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    /// Which.
    pub system: System,
    /// How it was reached.
    pub wire: Wire,
    /// Connections of clients that were open.
    pub connections: u32,
    /// Resident with 64 connections or fewer, MiB.
    pub idle_mib: f64,
    /// Growth with the connections, KiB for each: the process alone, not what the kernel keeps for it.
    pub kib_per_connection: f64,
    /// Requests that failed meanwhile.
    pub errors: u64,
}

/// Where the kernel does the receiving for a proxy on its TCP, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// Which.
    pub system: System,
    /// The way that all its rows were measured with: the one with which it was faster.
    pub used: Receive,
    /// Answers per second on the sender's core; `null` where it was not tried.
    pub sender_rps: Option<f64>,
    /// Answers per second in threads on the proxy's core; `null` where it was not tried.
    pub threaded_rps: Option<f64>,
}

impl Trial {
    /// The best of what was tried; `None` of nothing.
    pub(super) fn of(system: System, tried: &[(Receive, Option<f64>)]) -> Option<Trial> {
        let speed = |rps: Option<f64>| rps.unwrap_or(0.0);
        let best = tried
            .iter()
            .max_by(|one, other| speed(one.1).total_cmp(&speed(other.1)))?;
        let of = |way| tried.iter().find(|(other, _)| *other == way)?.1;
        Some(Trial {
            system,
            used: best.0,
            sender_rps: of(Receive::Sender),
            threaded_rps: of(Receive::Threaded),
        })
    }
}

/// Least and greatest of a figure over the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// Least.
    pub min: f64,
    /// Greatest.
    pub max: f64,
}

/// Medians over the rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// What was measured.
    pub system: System,
    /// Under which load.
    pub test: Test,
    /// How it was reached.
    pub wire: Wire,
    /// Answers per second; of `http1-close`, that is connections per second.
    pub rps: f64,
    /// Busy time of both cores on the system's account, microseconds per answer: its own core's, and
    /// interrupts on the generator's. Of Sluice, polls that found work count, others do not. `null`
    /// where a system polls without saying what was work, and of direct.
    pub busy_us: Option<f64>,
    /// Median latency, microseconds; `null` where no round had an answer, as the other latencies.
    pub p50_us: Option<f64>,
    /// 99th percentile, microseconds.
    pub p99_us: Option<f64>,
    /// 99.9th percentile, microseconds.
    pub p999_us: Option<f64>,
    /// Requests that failed, in all rounds.
    pub errors: u64,
    /// Share of its time that the generator's core had something to do.
    pub generator_busy: f64,
    /// What kept it from being faster, in most rounds.
    pub limited_by: LimitedBy,
    /// What limits `p99_us`: `noise` where, in most rounds, gaps in the loops of the generator and of Sluice
    /// delayed 1 % of the requests or more; otherwise as `limited_by`.
    pub p99_limited_by: LimitedBy,
    /// Share of the time that the generator's loop was without its core.
    pub generator_gaps: f64,
    /// Share of the time that Sluice's worker was; `null` of other systems.
    pub system_gaps: Option<f64>,
    /// The longest gap of both in all rounds, microseconds.
    pub longest_gap_us: f64,
    /// About the share of requests that gaps delayed.
    pub delayed: f64,
    /// Rounds that the medians are of.
    pub rounds: u32,
    /// Rounds among them in which others used the processor more than is allowed.
    pub noisy_rounds: u32,
    /// Spread of `rps`.
    pub rps_spread: Spread,
    /// Spread of `p50_us`.
    pub p50_spread: Option<Spread>,
    /// Spread of `p99_us`.
    pub p99_spread: Option<Spread>,
}

/// A measurement that failed, and again when it was repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// What was measured.
    pub system: System,
    /// How it was reached.
    pub wire: Wire,
    /// The test, `memory` or `trial`.
    pub what: String,
    /// The round, from 1; 0 of a trial, which comes before them.
    pub round: u32,
    /// Why, in a line.
    pub reason: String,
}

type Key = (Test, System, Wire);

/// All that was measured.
#[derive(Debug)]
pub struct Comparison {
    length: Duration,
    seen: BTreeMap<Key, Vec<Seen>>,
    /// Memory, a row each.
    pub memory: Vec<Memory>,
    /// Where the kernel receives for whom.
    pub trials: Vec<Trial>,
    /// What could not be measured.
    pub failures: Vec<Failure>,
    /// Versions of other systems.
    pub peers: BTreeMap<String, String>,
    /// Hashes of configurations, as they stand in the repository.
    pub configurations: BTreeMap<String, String>,
}

/// What `sluice bench compare --json` writes.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Comparison")]
struct Document<'a> {
    /// Which form this document has: `sluice-bench-compare/1`. The number grows when a reader of the old form could
    /// not read the new one.
    form: &'static str,
    /// Where and with what it was measured; its noise is the mean over all measurements. `null` where none succeeded.
    fingerprint: Option<Fingerprint>,
    /// Length of each measurement, seconds.
    seconds: f64,
    /// A row for each test, system and wire: medians over the rounds.
    rows: Vec<Row>,
    /// Resident memory of the systems.
    memory: &'a [Memory],
    /// Where the kernel received for proxies on its TCP.
    receive: &'a [Trial],
    /// Measurements that failed twice: in no row. The exit code was 1 where there is one.
    failures: &'a [Failure],
}

/// The JSON Schema of the document, indented, with a line end.
pub(super) fn schema() -> String {
    let schema = schemars::schema_for!(Document<'static>);
    format!("{:#}\n", schema.as_value())
}

impl Comparison {
    pub(super) fn new(length: Duration) -> Comparison {
        Comparison {
            length,
            seen: BTreeMap::new(),
            memory: Vec::new(),
            trials: Vec::new(),
            failures: Vec::new(),
            peers: BTreeMap::new(),
            configurations: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, system: System, wire: Wire, test: Test, mut seen: Seen) {
        let fingerprint = &mut seen.observation.run.fingerprint;
        fingerprint.peers = self.peers.clone();
        fingerprint.configurations = self.configurations.clone();
        fingerprint.pinning.extend(pinning(std::iter::once(system)));
        fingerprint.noise = Some(seen.observation.noise.clone());
        self.seen
            .entry((test, system, wire))
            .or_default()
            .push(seen);
    }

    /// Where the kernel receives for a system.
    pub(super) fn receive(&self, system: System) -> Receive {
        let trial = self.trials.iter().find(|trial| trial.system == system);
        trial.map_or(Receive::Sender, |trial| trial.used)
    }

    /// A row for each test, system and wire.
    pub fn rows(&self) -> Vec<Row> {
        self.seen
            .iter()
            .filter_map(|(key, seen)| row(*key, seen))
            .collect()
    }

    /// The document as indented JSON with a line end.
    pub fn json(&self) -> String {
        let document = Document {
            form: FORM,
            fingerprint: self.fingerprint(),
            seconds: self.length.as_secs_f64(),
            rows: self.rows(),
            memory: &self.memory,
            receive: &self.trials,
            failures: &self.failures,
        };
        let text = serde_json::to_string_pretty(&document);
        text.expect("numbers and text are always JSON") + "\n"
    }

    /// What to plot: the last round at half load, where latency tells most, or else of the first test.
    pub fn plotted(&self) -> Vec<RunReport> {
        let tests = || self.seen.keys().map(|(test, _, _)| *test);
        let half = tests().find(|test| *test == Test::HalfLoad);
        let chosen = half.or_else(|| tests().next());
        self.seen
            .iter()
            .filter(|((test, _, _), _)| Some(*test) == chosen)
            .filter_map(|(_, seen)| Some(seen.last()?.observation.run.clone()))
            .collect()
    }

    /// Of the generator, with every system's core.
    fn fingerprint(&self) -> Option<Fingerprint> {
        let last = self.seen.values().flatten().last()?;
        let mut fingerprint = last.observation.run.fingerprint.clone();
        fingerprint
            .pinning
            .extend(pinning(self.seen.keys().map(|(_, system, _)| *system)));
        // Each wire has devices of its own.
        let devices = self.seen.values().flatten();
        let devices = devices.flat_map(|seen| &seen.observation.run.fingerprint.devices);
        let devices = devices.map(|device| without_mac(device));
        fingerprint.devices = devices.collect::<BTreeSet<_>>().into_iter().collect();
        fingerprint.noise = self.noise();
        Some(fingerprint)
    }

    /// What else went on, on average over all measurements.
    fn noise(&self) -> Option<Noise> {
        let all: Vec<&Noise> = self
            .seen
            .values()
            .flatten()
            .map(|seen| &seen.observation.noise)
            .collect();
        let mean = |of: fn(&Noise) -> f64| {
            all.iter().map(|noise| of(noise)).sum::<f64>() / all.len() as f64
        };
        Some(Noise {
            cores: all.first()?.cores.clone(),
            steal: mean(|noise| noise.steal),
            foreign: mean(|noise| noise.foreign),
        })
    }

    /// A table for each test, and those of latency, ratios and memory.
    pub fn tables(&self) -> Vec<Table> {
        let rows = self.rows();
        let mut tables: Vec<Table> = Test::ALL
            .iter()
            .map(|test| test_table(*test, &rows, &self.failures))
            .collect();
        tables.push(gap_table(&rows));
        tables.push(added_table(&rows));
        tables.push(ratio_table(&rows));
        tables.push(memory_table(&self.memory));
        tables.push(receive_table(&self.trials));
        tables.push(failure_table(&self.failures));
        tables.retain(|table| !table.rows.is_empty());
        tables
    }
}

/// A device's description but for its address, which memif draws anew for each measurement.
fn without_mac(device: &str) -> String {
    let parts = device.split(", ").filter(|part| !part.starts_with("MAC "));
    parts.collect::<Vec<_>>().join(", ")
}

fn row((test, system, wire): Key, seen: &[Seen]) -> Option<Row> {
    let runs = || seen.iter().map(|seen| &seen.observation.run);
    let all = |value: fn(&RunReport) -> f64| sorted(runs().map(value).collect());
    // Rounds without an answer have no latency.
    let latency = |value: fn(&RunReport) -> Option<f64>| sorted(runs().filter_map(value).collect());
    let spread = |values: Vec<f64>| {
        Some(Spread {
            min: *values.first()?,
            max: *values.last()?,
        })
    };
    let share = |seconds: f64, run: &RunReport| seconds / run.duration_s.max(1e-9);
    let of_system: Vec<f64> = seen
        .iter()
        .filter_map(|seen| Some((seen.observation.system_gaps?, &seen.observation.run)))
        .map(|(gaps, run)| share(gaps.seconds, run))
        .collect();
    let gaps = || seen.iter().map(|seen| (seen.gaps(), &seen.observation.run));
    let busy: Vec<f64> = seen
        .iter()
        .filter_map(|seen| seen.observation.busy_us)
        .collect();
    Some(Row {
        system,
        test,
        wire,
        rps: median(&all(|run| run.rps))?,
        busy_us: median(&sorted(busy)),
        p50_us: median(&latency(|run| run.latency.p50_us)),
        p99_us: median(&latency(|run| run.latency.p99_us)),
        p999_us: median(&latency(|run| run.latency.p999_us)),
        errors: runs().map(|run| run.totals.all_errors()).sum(),
        generator_busy: median(&all(|run| run.generator_busy))?,
        limited_by: most(runs().map(|run| run.limited_by))?,
        p99_limited_by: most(gaps().map(|(gaps, run)| {
            let limit = gaps.limit_p99(run);
            limit.unwrap_or(run.limited_by)
        }))?,
        generator_gaps: median(&all(|run| {
            run.generator_gaps.seconds / run.duration_s.max(1e-9)
        }))?,
        system_gaps: median(&sorted(of_system)),
        longest_gap_us: gaps().map(|(gaps, _)| gaps.longest_us).fold(0.0, f64::max),
        delayed: median(&sorted(
            gaps().map(|(gaps, run)| gaps.delayed(run)).collect(),
        ))?,
        rounds: seen.len() as u32,
        noisy_rounds: seen.iter().filter(|seen| seen.noisy).count() as u32,
        rps_spread: spread(all(|run| run.rps))?,
        p50_spread: spread(latency(|run| run.latency.p50_us)),
        p99_spread: spread(latency(|run| run.latency.p99_us)),
    })
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// Of sorted values; of an even number, the mean of the two in the middle.
fn median(values: &[f64]) -> Option<f64> {
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().checked_sub(1)? / 2)?;
    Some((lower + upper) / 2.0)
}

/// The most frequent; of equally frequent ones the first seen.
fn most(values: impl Iterator<Item = LimitedBy>) -> Option<LimitedBy> {
    let values: Vec<LimitedBy> = values.collect();
    let count = |value: &LimitedBy| values.iter().filter(|other| *other == value).count();
    values
        .iter()
        .rev()
        .max_by_key(|value| count(value))
        .copied()
}

#[cfg(test)]
mod tests;
