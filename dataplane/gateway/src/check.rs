//! `sluice check` and `sluice schema`: answers without a gateway.

use std::fmt::Display;
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
    print(format_args!(
        "{}: ok ({})\n{}\n",
        config.display(),
        Counts(&snapshot),
        Memory(&snapshot)
    ))
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

impl Display for Memory<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
        let workers = u64::from(self.0.workers.cores.count());
        let worker = Footprint::of(self.0, &limits(self.0));
        let packets = self.0.workers.memory;
        write!(
            f,
            "memory: at most {:.1} GiB: {:.1} for packets, {:.1} for tables, {:.1} for the bytes of {} \
             connections if all are full both ways",
            gib(workers * worker.total() + packets),
            gib(packets),
            gib(workers * worker.tables),
            gib(workers * worker.connections),
            workers * worker.flows
        )
    }
}
