//! `sluice check` and `sluice schema`: answers without a gateway.

use std::fmt::Display;
use std::fs::read_to_string;
use std::io::{Write, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;

use sluice_engine::{Footprint, limits};
use sluice_policy::{Problem, Snapshot, compile, load};

use crate::log;
use crate::ports::check_memory;

/// Says whether a file would run.
pub(crate) fn command(config: &Path) -> ExitCode {
    let snapshot = match load(config).and_then(|rules| compile(&rules)) {
        Ok(snapshot) => snapshot,
        Err(problems) => {
            show(&problems, SHOWN);
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = check_memory(&snapshot) {
        let line = format!("{}: {error}\n", config.display());
        let _ = stderr().write_all(line.as_bytes());
        return ExitCode::FAILURE;
    }
    let said = print(format_args!(
        "{}: ok ({})\n{}\n",
        config.display(),
        Counts(&snapshot),
        Memory(&snapshot)
    ));
    if let Some(notice) = beyond_machine(&snapshot) {
        log::info(notice);
    }
    said
}

/// Prints the JSON Schema of the rules.
pub(crate) fn schema() -> ExitCode {
    print(sluice_policy::schema())
}

/// Most problems that a command prints.
pub(crate) const SHOWN: usize = 100;

/// Problems on stderr, one per line, as editors and people can jump to them: so many, and a count of the others.
pub(crate) fn show(problems: &[Problem], most: usize) {
    let _ = stderr().write_all(Problem::lines(problems, most).as_bytes());
}

fn print(what: impl Display) -> ExitCode {
    match write!(stdout(), "{what}").and_then(|()| stdout().flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(format_args!("stdout takes no output: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// How much a set of rules holds, in words.
pub(crate) struct Counts<'a>(pub(crate) &'a Snapshot);

impl Display for Counts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = [
            (self.0.listeners.len(), "listener"),
            (self.0.routes.len(), "route"),
            (self.0.services.len(), "service"),
        ];
        for (position, (count, what)) in counts.into_iter().enumerate() {
            let (before, plural) = (
                if position == 0 { "" } else { ", " },
                if count == 1 { "" } else { "s" },
            );
            write!(f, "{before}{count} {what}{plural}")?;
        }
        Ok(())
    }
}

/// The most memory that a gateway with these rules takes, in words.
pub(crate) struct Memory<'a>(pub(crate) &'a Snapshot);

impl Memory<'_> {
    fn workers(&self) -> u64 {
        u64::from(self.0.workers.cores.count())
    }

    fn of_worker(&self) -> Footprint {
        Footprint::of(self.0, &limits(self.0))
    }

    /// Bytes in all.
    fn total(&self) -> u64 {
        self.workers() * self.of_worker().total() + self.0.workers.memory
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}

impl Display for Memory<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (workers, worker) = (self.workers(), self.of_worker());
        let packets = self.0.workers.memory;
        write!(
            f,
            "memory: at most {:.1} GiB: {:.1} for packets, {:.1} for tables, {:.1} for the bytes of {} \
             connections if all are full both ways",
            gib(self.total()),
            gib(packets),
            gib(workers * worker.tables),
            gib(workers * worker.connections),
            workers * worker.flows
        )
    }
}

/// What to say where that is more than this machine has.
pub(crate) fn beyond_machine(rules: &Snapshot) -> Option<String> {
    notice(rules, total_memory(&read_to_string("/proc/meminfo").ok()?)?)
}

fn notice(rules: &Snapshot, machine: u64) -> Option<String> {
    let memory = Memory(rules);
    let worker = memory.of_worker();
    let each = worker.connections.checked_div(worker.flows)?;
    (memory.total() > machine).then(|| {
        format!(
            "this machine has {:.1} GiB, less than connections could take if all were full at once: {} KiB each. \
             `max_connections` of listeners and services says how many there may be, `buffer` of listeners \
             what each holds, `tcp.window_memory` ({:.1} GiB per worker) what they hold beyond it",
            gib(machine),
            each / 1024,
            gib(rules.tcp.window_memory as u64)
        )
    })
}

/// Bytes of memory by `/proc/meminfo`.
fn total_memory(meminfo: &str) -> Option<u64> {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "
workers: { memory: 64MiB }
ports: { front: { device: net_ring0, addresses: [10.99.1.1/24] } }
listeners: { web: { address: 10.99.1.1:80 } }
services: { hello: { endpoints: [10.99.1.2:8080] } }
routes: [{ service: hello }]
";

    #[test]
    fn what_lowers_the_bound_is_said_where_the_machine_has_less() {
        let rules = sluice_policy::parse(RULES, "g.yaml").unwrap();
        let rules = compile(&rules).unwrap();
        let most = Memory(&rules).total();
        assert_eq!(notice(&rules, most), None);
        let said = notice(&rules, most - 1).unwrap();
        for option in ["`max_connections`", "`buffer`", "`tcp.window_memory`"] {
            assert!(said.contains(option), "{said}");
        }
    }

    #[test]
    fn the_machines_memory_is_read_from_what_the_kernel_says() {
        let said = "MemTotal:       24689764 kB\nMemFree:         1189764 kB\n";
        assert_eq!(total_memory(said), Some(24_689_764 << 10));
        assert_eq!(total_memory("MemFree: 12 kB\n"), None);
        assert_eq!(total_memory("MemTotal: many kB\n"), None);
    }
}
