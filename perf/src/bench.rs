//! `sluice bench`: load from the command line, and what becomes of it.

mod args;
mod asked;
mod core_time;
mod deliver;
mod error;
mod expect;
mod from_log;
mod poller;
mod port_spec;
mod ports;
mod progress;
mod run;
mod steps;
mod summary;
mod table;
mod values;
mod wire;

pub use args::{BenchCommand, RequestsArgs, RunArgs, WireArgs};

use std::fmt::Display;
use std::io::{Write, stderr};
use std::process::ExitCode;

/// Runs a command to its end.
pub fn command(command: &BenchCommand) -> ExitCode {
    match command {
        BenchCommand::Run(args) => run::command(args),
        BenchCommand::Requests(args) => from_log::command(args),
        BenchCommand::Compare(args) => crate::compare::command(args),
        BenchCommand::Wire(args) => wire::command(args),
        BenchCommand::Report(args) => crate::report::command::command(args),
    }
}

/// Why a command goes no further, on stderr.
fn refuse(what: impl Display) -> ExitCode {
    say(format_args!("error: {what}"));
    ExitCode::FAILURE
}

/// A line on stderr. A reader that went away is no reason to stop.
fn say(what: impl Display) {
    let _ = stderr().write_all(format!("sluice bench: {what}\n").as_bytes());
}
