//! `sluice bench compare`: Sluice and others as the same proxy, in front of the same backend, under the
//! same generator, on a pinned core each, in turn.
//!
//! [`bed`] makes the namespaces and links and takes them away; [`systems`] knows how each proxy is started;
//! [`measure`] runs the generator against one and meters the proxy's core ([`account`] is Sluice's own); [`results`] makes medians, ratios
//! and the document of them. The order of work is in [`rounds`].
//!
//! The generator is this same program, started as `sluice bench run` in the generator's namespace, where
//! it is the client and the backend at once, on core 0. The proxy has core 1.

mod account;
mod bed;
mod envoy;
mod error;
mod measure;
mod process;
mod results;
mod rounds;
mod systems;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::report::command::ReportError;
use crate::report::html;
use crate::report::output::{print, print_beside, try_out, write};

pub use error::CompareError;
pub use results::{Comparison, Failure, Row, Test, Trial};
pub use systems::{Receive, System, Wire};

/// Core of the generator, client and backend.
const GENERATOR_CORE: u32 = 0;
/// Core of the proxy.
const PROXY_CORE: u32 = 1;

/// How often a discarded measurement is repeated before it is taken as it is, and marked.
const REPEATS: u32 = 2;

/// What to compare, and how long.
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// One round of one second for each measurement, which is taken however busy the machine is: to see
    /// that it works; no figures to quote.
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Rounds; each takes every system in turn.
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of each measurement, seconds, after a warm-up of half a second.
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Only this system; may be given again. Without it, all of them.
    #[arg(long, value_enum, value_name = "SYSTEM")]
    system: Vec<System>,
    /// Only this wire; may be given again. Without it, both.
    #[arg(long, value_enum, value_name = "WIRE")]
    wire: Vec<Wire>,
    /// Only this test; may be given again. Without it, all of them, and memory per connection. Half load
    /// brings http1-keepalive with it, which says what is half.
    #[arg(long, value_enum, value_name = "TEST")]
    test: Vec<Test>,
    /// Where the kernel does the receiving half of a virtual link for proxies on its TCP. Without it, both are
    /// tried for a second and each proxy has what makes it faster; with --quick it is the sender's core.
    #[arg(long, value_enum, value_name = "WHERE")]
    receive: Option<Receive>,
    /// Write medians and spread of all rows as JSON; "-" is standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write one HTML page with tables and plots, which needs no network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the JSON Schema of what --json writes and exit.
    #[arg(long, exclusive = true)]
    schema: bool,
}

impl CompareArgs {
    fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    fn length(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { self.seconds.into() })
    }

    /// How often a measurement that others disturbed is repeated.
    fn repeats(&self) -> u32 {
        if self.quick { 0 } else { REPEATS }
    }

    /// The ways to receive that are in question.
    fn receive(&self) -> Vec<Receive> {
        match self.receive {
            Some(receive) => vec![receive],
            None if self.quick => vec![Receive::Sender],
            None => vec![Receive::Sender, Receive::Threaded],
        }
    }

    fn takes(&self, test: Test) -> bool {
        let brought = test == Test::KeepAlive && self.test.contains(&Test::HalfLoad);
        self.test.is_empty() || self.test.contains(&test) || brought
    }

    /// Whether anything is left of what was chosen.
    fn something(&self) -> Result<(), CompareError> {
        let contenders = self.contenders();
        if contenders.is_empty() {
            return Err(CompareError::NoWire);
        }
        let tests = || Test::ALL.into_iter().filter(|test| self.takes(*test));
        let any = contenders
            .iter()
            .any(|(system, _)| tests().any(|test| test.suits(*system)));
        any.then_some(()).ok_or(CompareError::NoTest)
    }

    /// Every system with each wire it can be reached by, in the order they take turns.
    fn contenders(&self) -> Vec<(System, Wire)> {
        let all = System::ALL.iter().flat_map(|system| {
            let wires = system.wires().iter();
            wires.map(|wire| (*system, *wire))
        });
        all.filter(|(system, wire)| {
            (self.system.is_empty() || self.system.contains(system))
                && (self.wire.is_empty() || self.wire.contains(wire))
        })
        .collect()
    }
}

/// Runs the command: tables go to stdout, what happens meanwhile to stderr.
pub fn command(args: &CompareArgs) -> ExitCode {
    match compare(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sluice bench compare: {error}");
            match error.is_usage() {
                true => ExitCode::from(2),
                false => ExitCode::FAILURE,
            }
        }
    }
}

/// False where a measurement failed.
fn compare(args: &CompareArgs) -> Result<bool, CompareError> {
    if args.schema {
        print(&results::schema()).map_err(ReportError::from)?;
        return Ok(true);
    }
    // Before minutes go by for nothing.
    args.something()?;
    try_out(&[("json", &args.json), ("html", &args.html)]).map_err(ReportError::from)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone()).map_err(CompareError::Signal)?;
    }
    let comparison = rounds::run(args, &stop)?;
    if let Some(path) = &args.json {
        write(path, &comparison.json()).map_err(ReportError::from)?;
    }
    if let Some(path) = &args.html {
        let page = html::page("Comparison", &comparison.tables(), &comparison.plotted())
            .map_err(ReportError::from)?;
        write(path, &page).map_err(ReportError::from)?;
    }
    let tables = comparison
        .tables()
        .iter()
        .map(|table| format!("{table}\n"))
        .collect::<String>();
    print_beside(&tables, &[&args.json, &args.html]).map_err(ReportError::from)?;
    let failed = comparison.failures.len();
    if failed > 0 {
        eprintln!(
            "sluice bench compare: {failed} measurements failed, see `What failed`; the others stand"
        );
    }
    Ok(failed == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Typed {
        #[command(flatten)]
        args: CompareArgs,
    }

    fn typed(words: &[&str]) -> CompareArgs {
        let words = std::iter::once(&"compare").chain(words);
        <Typed as clap::Parser>::parse_from(words).args
    }

    #[test]
    fn everyone_has_the_same_wire_and_two_have_memif() {
        let names: Vec<String> = typed(&[])
            .contenders()
            .iter()
            .map(|(system, wire)| format!("{} {}", system.word(), wire.word()))
            .collect();
        let wanted = [
            "direct veth-af_xdp",
            "direct memif",
            "sluice veth-af_xdp",
            "sluice memif",
            "nginx veth-af_xdp",
            "haproxy veth-af_xdp",
            "haproxy-busy veth-af_xdp",
            "envoy veth-af_xdp",
        ];
        assert_eq!(names, wanted);
    }

    #[test]
    fn systems_and_wires_can_be_chosen() {
        let args = typed(&[
            "--system",
            "haproxy-busy",
            "--system",
            "sluice",
            "--wire",
            "memif",
        ]);
        assert_eq!(args.contenders(), [(System::Sluice, Wire::Memif)]);
    }

    #[test]
    fn a_choice_that_leaves_nothing_is_refused_with_the_reason() {
        let refused = |words: &[&str]| match typed(words).something() {
            Ok(()) => String::new(),
            Err(error) => {
                assert!(error.is_usage());
                error.to_string()
            }
        };
        let wire = refused(&["--system", "nginx", "--wire", "memif"]);
        assert!(wire.contains("only sluice and direct have memif"), "{wire}");
        let test = refused(&["--system", "nginx", "--test", "ttheader"]);
        assert!(
            test.contains("only sluice and direct speak TTHeader"),
            "{test}"
        );
        assert_eq!(refused(&["--system", "nginx"]), "");
        let one_of_two = [
            "--system", "nginx", "--system", "sluice", "--test", "ttheader",
        ];
        assert_eq!(refused(&one_of_two), "");
    }

    #[test]
    fn half_load_brings_what_it_is_the_half_of() {
        let args = typed(&["--test", "http1-half-load"]);
        let taken: Vec<Test> = Test::ALL
            .into_iter()
            .filter(|test| args.takes(*test))
            .collect();
        assert_eq!(taken, [Test::KeepAlive, Test::HalfLoad]);
    }

    #[test]
    fn both_ways_to_receive_are_tried_unless_one_is_given_or_it_has_to_be_quick() {
        use Receive::{Sender, Threaded};
        assert_eq!(typed(&[]).receive(), [Sender, Threaded]);
        assert_eq!(typed(&["--quick"]).receive(), [Sender]);
        let given = typed(&["--quick", "--receive", "threaded"]);
        assert_eq!(given.receive(), [Threaded]);
    }

    #[test]
    fn quick_is_one_round_of_a_second() {
        let args = typed(&["--quick"]);
        assert_eq!((args.rounds(), args.length()), (1, Duration::from_secs(1)));
        let args = typed(&[]);
        assert_eq!((args.rounds(), args.length()), (3, Duration::from_secs(4)));
    }
}
