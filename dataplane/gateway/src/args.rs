//! What can be typed. Wrong usage ends with exit code 2, which clap sees to.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  sluice check --config configs/quickstart.yaml     is the file right?
  sudo sluice run --config configs/quickstart.yaml  run it; Ctrl-C drains, then stops
  kill -HUP PID                                     take up a changed file now
  curl http://127.0.0.1:9901/ready                  is it serving?
  curl http://127.0.0.1:9901/metrics                what is it doing?

Exit codes: 0 fine, 1 the answer is no (stderr says why and what to do), 2 wrong usage.";

const RUN_EXAMPLES: &str = "\
Signals:
  SIGTERM, SIGINT  accept nothing more, let requests finish for node.drain_timeout, exit 0;
                   a second one ends the process at once with exit code 1
  SIGHUP           read the file now; a changed file is also noticed within some 2 seconds

Examples:
  sudo sluice run --config configs/quickstart.yaml
  sudo sluice run --config configs/ingress.yaml --verbose";

fn version() -> String {
    format!(
        "{} with {}",
        env!("CARGO_PKG_VERSION"),
        sluice_port::version()
    )
}

/// An L7 gateway with a TCP/IP stack of its own on DPDK.
#[derive(Debug, Parser)]
#[command(name = "sluice", version = version(), about, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway until SIGTERM or Ctrl-C.
    #[command(after_help = RUN_EXAMPLES)]
    Run {
        /// The rules, a YAML file that is followed while the gateway runs.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Show DPDK's own log too.
        #[arg(short, long)]
        verbose: bool,
    },
    /// Say whether a file would run: exit 0, or 1 with every problem and its place.
    Check {
        /// The rules, a YAML file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print the JSON Schema of the rules, which editors complete them by.
    Schema,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn run_takes_a_file_and_verbose() {
        let args = Args::try_parse_from(["sluice", "run", "--config", "a.yaml", "-v"]).unwrap();
        let Command::Run { config, verbose } = args.command else {
            panic!("not run")
        };
        assert_eq!((config, verbose), (PathBuf::from("a.yaml"), true));
    }

    #[test]
    fn a_missing_file_is_wrong_usage() {
        for command in ["run", "check"] {
            let error = Args::try_parse_from(["sluice", command]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
            assert_eq!(error.exit_code(), 2);
        }
    }
}
