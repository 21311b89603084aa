//! The load generator against targets that are not there or misbehave: every run ends at its limit, and
//! says what went wrong by its kind.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_perf::backend::Backend;
use sluice_perf::load::plan::{Common, RequestFile};
use sluice_perf::load::run::Stage;
use sluice_perf::load::stats::StepStats;
use sluice_perf::load::{ClientSetup, Fault, Generator, Length, Pace, Plan, Protocol, Reuse, Step};
use sluice_stack::sim::{Faults, Net, SimPort};
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, Limits, PortSetup, Secrets, Stack, StackStats};

const SERVER: &str = "10.0.0.2:80";

struct Pair {
    net: Net,
    generator: Generator<SimPort>,
    backend: Backend<SimPort>,
}

fn stack(port: SimPort, address: &str, seed: u64) -> (Stack<SimPort>, Arc<StackStats>) {
    let stats = Arc::new(StackStats::default());
    let setup = PortSetup {
        addresses: vec![(address.parse().unwrap(), 24)],
        ..PortSetup::default()
    };
    let (limits, secrets) = (Limits::default(), Secrets::from_seed(seed));
    let stack = Stack::new(vec![(port, setup)], limits, secrets, stats.clone());
    (stack, stats)
}

fn pair(target: &str, requests: &str, reuse: Reuse) -> Pair {
    let mut net = Net::new(1);
    let wire = Faults {
        delay: Duration::from_micros(50),
        ..Faults::default()
    };
    let (near, far) = net.link(1500, [wire; 2]);
    let (client, stats) = stack(near, "10.0.0.1", 1);
    let (server, _) = stack(far, "10.0.0.2", 2);
    let listen: SocketAddr = SERVER.parse().unwrap();
    let backend = Backend::new(server, &[listen], Buffers::default());
    let file: RequestFile = serde_saphyr::from_str(requests).expect("valid YAML");
    let common = Common {
        protocol: Protocol::Http1,
        calls: 1,
        timeout: Duration::from_secs(5),
        host: "bad.test".into(),
        close: reuse == Reuse::Close,
        backend: None,
        think: Duration::ZERO,
    };
    let setup = ClientSetup {
        port: 0,
        target: target.parse().unwrap(),
        connections: 4,
        calls: 1,
        reuse,
        buffers: Buffers::default(),
        // Longer than a neighbour is asked for.
        connect_timeout: Duration::from_secs(4),
        timeout: Duration::from_millis(200),
    };
    let plan = Plan::new(&file, &common).unwrap();
    Pair {
        net,
        generator: Generator::new(client, stats, Some((setup, plan)), None, 1),
        backend,
    }
}

impl Pair {
    /// A step of ten seconds of virtual time.
    fn run(&mut self) -> StepStats {
        let duration = Duration::from_secs(10);
        let began = self.net.now();
        let step = Step {
            pace: Pace::Closed,
            warm_up: Duration::ZERO,
            length: Length {
                duration,
                requests: 200,
            },
            interval: Duration::from_secs(1),
        };
        self.generator.begin(step, began);
        while self.generator.stage() != Stage::Done {
            let now = self.net.now();
            let spent = now.since(began);
            assert!(spent < duration + Duration::from_secs(10), "it hangs");
            self.generator.poll_once(now);
            self.backend.poll_once(now);
            let next = [self.net.next_arrival(), self.backend.next_wake()];
            let next = next
                .into_iter()
                .flatten()
                .fold(self.generator.next_wake(now), Instant::min);
            self.net
                .advance_to(next.max(now + Duration::from_micros(10)));
        }
        let stats = self.generator.take_stats();
        assert_eq!(stats.requests, stats.answers + stats.faults.sum());
        assert_eq!(self.generator.under_way(), 0);
        stats
    }
}

/// The only fault of every request there was.
fn only_fault(mut pair: Pair) -> (Option<Fault>, StepStats) {
    use sluice_stack::counters::Counted;
    let stats = pair.run();
    assert_eq!(stats.answers, 0);
    assert!(stats.requests > 0);
    let only = Fault::ALL
        .iter()
        .copied()
        .find(|fault| stats.faults.get(*fault) == stats.requests);
    (only, stats)
}

#[test]
fn a_target_that_misbehaves_is_told_by_its_kind() {
    for (path, fault) in [
        ("/t/1/100/reset", Fault::Reset),
        ("/t/1/100/early", Fault::ClosedEarly),
        ("/t/1/100/truncate", Fault::ClosedEarly),
        ("/t/1/100/garbage", Fault::BadAnswer),
        ("/t/1/100/stall", Fault::Timeout),
    ] {
        let requests = format!("requests: [{{path: {path}}}]");
        let (only, stats) = only_fault(pair(SERVER, &requests, Reuse::KeepAlive));
        assert_eq!(only, Some(fault), "{path}: {:?}", stats.faults);
    }
}

#[test]
fn bytes_behind_an_answer_are_told_by_their_kind() {
    let requests = "requests: [{path: /t/1/100/excess}]";
    let (only, stats) = only_fault(pair(SERVER, requests, Reuse::KeepAlive));
    assert_eq!(only, Some(Fault::Unexpected), "{:?}", stats.faults);
}

#[test]
fn an_answer_other_than_expected_is_told_by_its_kind() {
    for (wanted, fault) in [
        ("status: 404", Fault::WrongStatus),
        ("response: 99B", Fault::WrongBody),
    ] {
        let requests = format!("requests: [{{path: /t/1/100/length, {wanted}}}]");
        let (only, stats) = only_fault(pair(SERVER, &requests, Reuse::KeepAlive));
        assert_eq!(only, Some(fault), "{wanted}: {:?}", stats.faults);
    }
}

#[test]
fn answers_of_every_framing_are_read_to_their_end() {
    for (form, reopens) in [
        ("length", false),
        ("chunked-7", false),
        ("interim", false),
        ("close", true),
    ] {
        let requests = format!("requests: [{{path: /t/1/3000/{form}, response: 3000B}}]");
        let mut pair = pair(SERVER, &requests, Reuse::KeepAlive);
        let stats = pair.run();
        assert_eq!((stats.answers, stats.requests), (200, 200), "{form}");
        let all = pair.backend.seen.connections;
        assert_eq!(all > 100, reopens, "{form}: {all} connections");
    }
}

#[test]
fn a_target_that_is_not_there_is_told_by_its_kind() {
    for (target, fault) in [
        ("10.0.0.2:81", Fault::Refused),
        ("10.0.0.3:80", Fault::Unreachable),
        ("192.0.2.1:80", Fault::NoConnection),
    ] {
        let pair = pair(target, "requests: [{}]", Reuse::KeepAlive);
        let (only, stats) = only_fault(pair);
        assert_eq!(only, Some(fault), "{target}: {:?}", stats.faults);
    }
}

#[test]
fn a_target_that_falls_silent_is_told_by_its_kind() {
    let mut pair = pair(SERVER, "requests: [{}]", Reuse::Close);
    let stats = pair.run();
    assert_eq!(stats.answers, stats.requests);
    let lost = Faults {
        loss: 1.0,
        ..Faults::default()
    };
    pair.net.set_faults(0, [lost; 2]);
    let (_, stats) = only_fault(pair);
    // Once a SYN is not answered the neighbour is asked for, and gives no answer either.
    let (silent, gone) = (Fault::ConnectTimeout, Fault::Unreachable);
    let [silent, gone] = [silent, gone].map(|fault| stats.faults.get(fault));
    assert!(silent > 0 && gone > 0, "{:?}", stats.faults);
    assert_eq!(silent + gone, stats.faults.sum(), "{:?}", stats.faults);
}
