//! The `sluice` command.
#![forbid(unsafe_code)]

mod access_log;
mod admin;
mod args;
mod capture;
mod check;
mod client;
mod control;
mod diff;
mod explain;
mod flows;
mod links;
mod log;
mod loop_stats;
mod notify;
mod panics;
mod permission;
mod ports;
mod rates;
mod rollback;
mod room;
mod run;
mod shared;
mod signals;
mod status;
mod steering;
mod wall;
mod watchdog;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run { config, verbose } => run::command(&config, verbose),
        Command::Check { config } => check::command(&config),
        Command::Diff { old, new } => diff::command(&old, &new),
        Command::Explain(args) => explain::command(args),
        Command::Rollback(args) => rollback::command(&args),
        Command::Schema => check::schema(),
        Command::Flows(args) => flows::command(&args),
        Command::Capture(args) => capture::command(&args),
        Command::Bench(command) => sluice_perf::bench::command(&command),
    }
}
