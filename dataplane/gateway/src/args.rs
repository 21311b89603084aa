//! What can be typed. Wrong usage ends with exit code 2, which clap sees to.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use sluice_perf::bench::BenchCommand;

use crate::capture::CaptureArgs;
use crate::explain::ExplainArgs;
use crate::flows::FlowsArgs;
use crate::rollback::RollbackArgs;

const EXAMPLES: &str = "\
Examples:
  sluice check --config configs/quickstart.yaml     is the file right?
  sudo sluice run --config configs/quickstart.yaml  run it; Ctrl-C drains, then stops
  kill -HUP PID                                     take up a changed file now
  curl http://127.0.0.1:9901/ready                  is it serving?
  curl http://127.0.0.1:9901/metrics                what is it doing?
  sluice diff old.yaml new.yaml                     what would change?
  sluice explain --config F 'GET http://host/path'  which route takes this, and why?
  sluice rollback                                   back to the rules before
  sluice flows                                      which connections are there?
  sluice capture --tcp-port 80 --write a.pcapng     what goes over the wire?
  sluice bench run --help                           how much does it stand?

Exit codes: 0 fine, 1 the answer is no (stderr says why and what to do), 2 wrong usage.";

const RUN_EXAMPLES: &str = "\
Signals:
  SIGTERM, SIGINT  accept nothing more, let requests finish for node.drain_timeout, exit 0;
                   a second one ends the process at once with exit code 1
  SIGUSR1          open the access log's file anew, after it was renamed
  SIGHUP           read the file now; a changed file is also noticed within some 2 seconds

Examples:
  sudo sluice run --config configs/quickstart.yaml
  sudo sluice run --config configs/ingress.yaml --verbose";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  sluice explain --config gateway.yaml 'GET http://shop.example.com/cart'
  sluice explain --config gateway.yaml 'GET http://shop.example.com/cart' -H 'x-user: alice' --json";

const FLOWS_EXAMPLES: &str = "\
Examples:
  sluice flows
  sluice flows --json --limit 10000 | jq '.list[] | select(.retransmissions > 0)'";

const CAPTURE_EXAMPLES: &str = "\
Every condition must hold. It ends at the first bound that is reached, or with Ctrl-C.

Examples:
  sluice capture --host 192.0.2.7 --tcp-port 80 --write a.pcapng
  sluice capture --port front --seconds 5 --snaplen 96 --write a.pcapng
  ssh gateway sluice capture | wireshark -k -i -";

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
    /// Say whether a file is right: exit 0, or 1 with every problem and its place; of what is no YAML only
    /// the first is told. Whether the devices, cores and
    /// hugepages that it asks for are there is said at the start of `sluice run`.
    Check {
        /// The rules, a YAML file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Say in words what a new file would change, and what of it a running gateway would refuse.
    Diff {
        /// The rules as they are.
        #[arg(value_name = "OLD")]
        old: PathBuf,
        /// The rules as they would be.
        #[arg(value_name = "NEW")]
        new: PathBuf,
    },
    /// Say what the rules of a file make of one request, and why: listener, lane, route, what is done,
    /// endpoints, and why routes that come near do not take it.
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Have a running gateway go back to rules that it had before. The file stays as it is; its next
    /// change is taken up as always.
    Rollback(RollbackArgs),
    /// Print the JSON Schema of the rules, which editors complete them by.
    Schema,
    /// List the TCP flows of a running gateway.
    #[command(after_help = FLOWS_EXAMPLES)]
    Flows(FlowsArgs),
    /// Copy frames of a running gateway to a pcapng file, which Wireshark and tshark read.
    #[command(after_help = CAPTURE_EXAMPLES)]
    Capture(CaptureArgs),
    /// Generate load, and measure what serves it.
    #[command(subcommand)]
    Bench(BenchCommand),
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
