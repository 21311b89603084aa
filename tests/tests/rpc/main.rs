//! RPC frameworks that are not ours, and `sluice bench` as one, with and without gateways between them.
//!
//! These need root and what `scripts/setup` installs; `tests/peers/volo/build` builds volo-thrift on first use.
#![forbid(unsafe_code)]

mod bench;
mod loopback;
mod outcomes;
mod thriftpy;
mod two_gateways;
mod volo;

use std::process::{Command, Output};

use sluice_tests::lab::{Lab, Server, printed};
use sluice_tests::peers;

/// The gateway's address that callers connect to.
const GATEWAY: &str = "10.77.1.1:8888";

/// Where servers are.
const SERVER: &str = "10.77.2.2:9000";

/// What the service does when asked, and how a call ends then.
const OUTCOMES: [(&str, &str); 3] = [
    ("deny", "1 denied 403 not today"),
    ("fail", "1 application 6 it failed"),
    ("biz", "1 biz 1001 out of stock {\"shelf\": \"7\"}"),
];

/// A call with metadata for every hop and for one, which asks for some back; and what its ends see of it.
const METADATA: &str = "--persist LANE=blue --transit ONCE=1 --act backward:FROM=there";
const METADATA_SEEN: [&str; 4] = [
    "ok",
    "seen persist LANE=blue",
    "seen transit ONCE=1",
    "backward FROM=there",
];

/// The program of volo-thrift.
fn volo() -> String {
    let path = peers::volo();
    path.to_str().expect("its path is text").to_owned()
}

/// A server of volo-thrift where the backends are.
fn serve(lab: &Lab, options: &str) -> Server {
    let volo = volo();
    lab.serve(&[&[&*volo, "serve", "--listen", SERVER], &*words(options)].concat())
}

/// Calls by volo-thrift from where the clients are to the gateway.
fn call(lab: &Lab, options: &str) -> Ends {
    let volo = volo();
    let command = [&[&*volo, "call", "--to", GATEWAY], &*words(options)].concat();
    Ends::of(&lab.client(&command))
}

/// The same on this machine's loopback interface.
fn call_here(to: &str, options: &str) -> Ends {
    let mut command = Command::new(volo());
    command.args(["call", "--to", to]).args(words(options));
    Ends::of(&command.output().expect("volo-peer starts"))
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// How calls have ended, a line for each kind, with its number in front.
#[derive(Debug, PartialEq, Eq)]
struct Ends(String);

impl Ends {
    fn of(output: &Output) -> Ends {
        assert!(output.status.success(), "{}", printed(output));
        Ends(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// How many ended so.
    fn count(&self, end: &str) -> u64 {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(' '));
        let found = lines.find(|(_, what)| *what == end);
        found.map_or(0, |(count, _)| count.parse().expect("a number"))
    }

    /// What the server says that it has seen of this.
    fn seen(&self, what: &str) -> &str {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(" seen "));
        let found = lines.find_map(|(_, seen)| seen.strip_prefix(what)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("{what}: {self:?}"))
    }

    /// Those lines that are about metadata left out.
    fn outcomes(&self) -> String {
        let about = |line: &&str| !line.contains(" seen ") && !line.contains(" backward ");
        self.0.lines().filter(about).collect::<Vec<_>>().join("\n")
    }
}
