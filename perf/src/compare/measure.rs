//! One measurement: the generator against one system, and what that cost the system.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::account::{Account, Ends};
use super::bed::{Bed, CORES, Place};
use super::error::CompareError;
use super::process::{Running, command, stop, wait};
use super::systems::{Receive, Speaks, System, Wire, admin};
use super::{GENERATOR_CORE, PROXY_CORE};
use crate::report::RunReport;
use crate::report::gaps::Gaps;
use crate::report::noise::{Noise, Watch};

/// Load before each measurement.
pub(super) const WARM_UP: Duration = Duration::from_millis(500);
/// Longest beyond load and measurement: start of DPDK, connections, answers that are waited for.
const OVERHEAD: Duration = Duration::from_secs(40);
/// Time between two looks at the kernel's meters. Each takes the generator or the system some 100 us of its
/// core: rare enough not to be seen in a 99.9th percentile.
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// What the generator does.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// Connections at once.
    pub(super) connections: u32,
    /// One request per connection.
    pub(super) close: bool,
    /// Requests per second of an open loop.
    pub(super) rate: Option<f64>,
    /// Further options.
    pub(super) options: &'static [&'static str],
    /// How long is measured.
    pub(super) length: Duration,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Observation {
    /// The generator's report.
    pub(super) run: RunReport,
    /// Busy time of both cores on the system's account, microseconds per answer; `None` where that
    /// can't be told.
    pub(super) busy_us: Option<f64>,
    /// The same per second.
    pub(super) busy_share: Option<f64>,
    /// Resident memory of the system before, KiB.
    pub(super) resident_kib: u64,
    /// The most it had meanwhile, KiB.
    pub(super) most_resident_kib: u64,
    /// When Sluice's worker was without its core; `None` of other systems.
    pub(super) system_gaps: Option<Gaps>,
    /// What else went on.
    pub(super) noise: Noise,
}

/// Who is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) bed: &'a Bed<'a>,
    pub(super) system: System,
    pub(super) wire: Wire,
    /// Envoy's binary.
    pub(super) envoy: Option<&'a Path>,
    /// How many of it in a row.
    pub(super) hops: usize,
    /// What it and the generator speak.
    pub(super) speaks: Speaks,
    /// Of a proxy on the kernel's TCP.
    pub(super) receive: Receive,
}

impl Subject<'_> {
    /// Starts the system, runs the generator once, stops the system. Each time anew, since a system
    /// does not learn that a generator's connections are gone with it. `name` is the run's.
    ///
    /// # Errors
    ///
    /// The generator wrote no report, the system ended, or this process was told to stop.
    pub(super) fn observe(&self, name: &str, load: &Load) -> Result<Observation, CompareError> {
        let mut running = self.system.start(self)?;
        let report = self.bed.directory().join("run.json");
        let log = self.bed.directory().join("generator.log");
        let _ = fs::remove_file(&report);
        let argv = self.argv(name, load, &report);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let output = File::create(&log).map_err(|error| CompareError::File(log.clone(), error))?;
        let errors = output
            .try_clone()
            .map_err(|error| CompareError::File(log.clone(), error))?;

        let watch = Watch::start(&CORES);
        let mut generator = command(&argv)
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|error| CompareError::Start(argv.join(" "), error))?;
        let asked = self.system == System::Sluice && self.hops == 1;
        let mut ends = asked.then(|| Ends::new(&log));
        let mut looks = Vec::new();
        let mut next_look = Instant::now();
        let resident_kib = resident(&running);
        let mut most_resident_kib = resident_kib;
        let within = WARM_UP + load.length + OVERHEAD;
        let ended = wait(&mut generator, within, || {
            if Instant::now() >= next_look {
                next_look = Instant::now() + LOOK_EVERY;
                looks.extend(self.look());
                most_resident_kib = most_resident_kib.max(resident(&running));
            }
            if let Some(ends) = &mut ends {
                ends.look(|| self.account());
            }
            self.bed.go_on().is_err()
        });
        if let Some(ends) = &mut ends {
            // The generator may have ended between two looks.
            ends.look(|| self.account());
        }
        let noise = watch.noise(&[]);
        stop(&mut generator);
        self.bed.go_on()?;
        running.iter_mut().try_for_each(Running::check)?;
        let failed = |why: &str| CompareError::Generator {
            against: name.to_owned(),
            output: format!("{why}\n{}", fs::read_to_string(&log).unwrap_or_default()),
        };
        ended.map_err(|error| failed(&format!("{error} after {within:?}")))?;
        let text = fs::read_to_string(&report).map_err(|_| failed("it wrote no report"))?;
        let run: RunReport = serde_json::from_str(&text).map_err(|e| failed(&e.to_string()))?;
        let own = ends.as_ref().and_then(Ends::work_per_request);
        let system_gaps = ends.and_then(|ends| ends.gaps(run.duration_s));
        let busy_us = self.busy_us(&run, &looks, own);
        let busy_share = busy_us.map(|us| us * run.rps / 1e6);
        Ok(Observation {
            run,
            busy_us,
            busy_share,
            resident_kib,
            most_resident_kib,
            system_gaps,
            noise,
        })
    }

    fn argv(&self, name: &str, load: &Load, report: &Path) -> Vec<String> {
        let mut options: Vec<String> = vec![self.bed.sluice(), "bench".into(), "run".into()];
        options.extend(self.bed.load_options(self.system, self.wire, self.speaks));
        let seconds = |time: Duration| format!("{}ms", time.as_millis());
        options.extend([
            "--name".to_owned(),
            name.to_owned(),
            "--connections".to_owned(),
            load.connections.to_string(),
            "--warm-up".to_owned(),
            seconds(WARM_UP),
            "--duration".to_owned(),
            seconds(load.length),
            "--core".to_owned(),
            GENERATOR_CORE.to_string(),
            "--quiet".to_owned(),
            "--stages".to_owned(),
            "--json".to_owned(),
            report.display().to_string(),
        ]);
        if load.close {
            options.push("--close".to_owned());
        }
        if let Some(rate) = load.rate {
            options.extend(["--rate".to_owned(), format!("{:.0}", rate.max(1.0))]);
        }
        options.extend(load.options.iter().map(|&option| option.to_owned()));
        let argv: Vec<&str> = options.iter().map(String::as_str).collect();
        self.bed.argv(Place::Load, &[GENERATOR_CORE], &argv)
    }

    /// Busy time of both cores on the system's account per answer, microseconds: `own` is Sluice's word for
    /// its own core.
    fn busy_us(&self, run: &RunReport, looks: &[Look], own: Option<f64>) -> Option<f64> {
        let per_answer = |share: f64| (run.rps > 0.0).then(|| share * 1e6 / run.rps);
        let shares = busy_shares(run, looks)?;
        match self.system {
            System::Direct => None,
            system if system.polls_blindly() => None,
            System::Sluice => Some(own? + per_answer(shares.generator_interrupts)?),
            _ => per_answer(shares.proxy + shares.generator_interrupts),
        }
    }

    /// What Sluice has done so far.
    fn account(&self) -> Option<Account> {
        Account::of(&self.bed.admin(admin(0), "/metrics")?)
    }

    fn look(&self) -> Option<Look> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        Some(Look {
            at: SystemTime::now(),
            proxy: core_seconds(&stat, PROXY_CORE)?.busy,
            generator_interrupts: core_seconds(&stat, GENERATOR_CORE)?.interrupts,
        })
    }
}

/// Resident memory of a system's processes, KiB, hugepages among it.
fn resident(running: &[Running]) -> u64 {
    let mut pending: Vec<u32> = running.iter().map(Running::id).collect();
    let mut sum = 0;
    while let Some(id) = pending.pop() {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        sum += status
            .lines()
            .filter_map(|line| {
                line.strip_prefix("VmRSS:")
                    .or(line.strip_prefix("HugetlbPages:"))
            })
            .filter_map(|value| value.split_whitespace().next()?.parse::<u64>().ok())
            .sum::<u64>();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        pending.extend(
            children
                .split_whitespace()
                .filter_map(|id| id.parse::<u32>().ok()),
        );
    }
    sum
}

/// A reading of the kernel's meters, seconds so far.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: SystemTime,
    /// All that the proxy's core did.
    proxy: f64,
    /// Interrupts on the generator's core.
    generator_interrupts: f64,
}

/// The same, per second.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Shares {
    proxy: f64,
    generator_interrupts: f64,
}

/// While the run was measured.
fn busy_shares(run: &RunReport, looks: &[Look]) -> Option<Shares> {
    let began = humantime::parse_rfc3339(&run.started).ok()?;
    let ended = began + Duration::try_from_secs_f64(run.duration_s).ok()?;
    let inside = || {
        looks
            .iter()
            .filter(|look| look.at >= began && look.at <= ended)
    };
    let (first, last) = (inside().next()?, inside().next_back()?);
    let elapsed = last.at.duration_since(first.at).ok()?.as_secs_f64();
    (elapsed > 0.0).then(|| Shares {
        proxy: (last.proxy - first.proxy) / elapsed,
        generator_interrupts: (last.generator_interrupts - first.generator_interrupts) / elapsed,
    })
}

/// What the kernel says of a core.
#[derive(Debug, Clone, Copy, PartialEq)]
struct CoreSeconds {
    /// In processes, in the kernel and in interrupts.
    busy: f64,
    /// In interrupts, deferred ones (softirq) among them.
    interrupts: f64,
}

/// Of /proc/stat, which counts hundredths of seconds.
fn core_seconds(stat: &str, core: u32) -> Option<CoreSeconds> {
    let name = format!("cpu{core} ");
    let line = stat.lines().find(|line| line.starts_with(&name))?;
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else {
        return None;
    };
    Some(CoreSeconds {
        busy: (user + nice + system + irq + softirq) / 100.0,
        interrupts: (irq + softirq) / 100.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_busy_with_everything_but_waiting() {
        let stat = "cpu  1 1 1 1 1 1 1 1 0 0\ncpu1 100 10 200 5000 60 7 30 8 0 0\n";
        let seconds = core_seconds(stat, 1).unwrap();
        assert!((seconds.busy - 3.47).abs() < 1e-9);
        assert!((seconds.interrupts - 0.37).abs() < 1e-9);
        assert_eq!(core_seconds(stat, 0), None);
    }

    #[test]
    fn only_looks_while_it_was_measured_count() {
        let run = crate::report::tests::run("a");
        let began = humantime::parse_rfc3339(&run.started).unwrap();
        let look = |millis: u64, proxy| Look {
            at: began + Duration::from_millis(millis) - Duration::from_secs(1),
            proxy,
            generator_interrupts: proxy / 2.0,
        };
        // The run took two seconds.
        let looks = [
            look(0, 0.0),
            look(1_100, 5.0),
            look(2_900, 5.9),
            look(3_200, 9.0),
        ];
        let shares = busy_shares(&run, &looks).unwrap();
        assert!((shares.proxy - 0.5).abs() < 1e-9);
        assert!((shares.generator_interrupts - 0.25).abs() < 1e-9);
        assert_eq!(busy_shares(&run, &looks[..2]), None);
    }
}
