//! The `sluice` command.
#![forbid(unsafe_code)]

mod admin;
mod args;
mod check;
mod clock;
mod control;
mod cores;
mod log;
mod loop_stats;
mod ports;
mod run;
mod signals;
mod status;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run { config, verbose } => run::command(&config, verbose),
        Command::Check { config } => check::command(&config),
        Command::Schema => check::schema(),
    }
}
