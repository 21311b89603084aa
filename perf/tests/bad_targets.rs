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
use sluice_perf::raw::Host;
use sluice_stack::sim::{Faults, Net, SimPort};
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, Limits, PortSetup, Secrets, Stack, StackStats};

const SERVER: &str = "10.0.0.2:80";

struct Pair {
    net: Net,
    generator: Generator<SimPort>,
    backend: Backend<SimPort>,
    /// How many requests a step has.
    requests: u64,
    /// How long the last step opened connections.
    opening: Duration,
}

fn stack(port: SimPort, address: &str, seed: u64) -> Stack<SimPort> {
    let setup = PortSetup {
        addresses: vec![(address.parse().unwrap(), 24)],
        ..PortSetup::default()
    };
    let (limits, secrets) = (Limits::default(), Secrets::from_seed(seed));
    let stats = Arc::new(StackStats::default());
    Stack::new(vec![(port, setup)], limits, secrets, stats)
}

fn pair(target: &str, requests: &str, reuse: Reuse) -> Pair {
    pair_of(4, target, requests, reuse)
}

fn pair_of(connections: u32, target: &str, requests: &str, reuse: Reuse) -> Pair {
    let (net, generator, server) = ends(connections, target, requests, reuse);
    let listen: SocketAddr = SERVER.parse().unwrap();
    Pair {
        net,
        generator,
        backend: Backend::new(server, &[listen], Buffers::default()),
        requests: 200,
        opening: Duration::ZERO,
    }
}

/// The link, the generator at its one end, and what is at the other.
fn ends(
    connections: u32,
    target: &str,
    requests: &str,
    reuse: Reuse,
) -> (Net, Generator<SimPort>, Stack<SimPort>) {
    let mut net = Net::new(1);
    let wire = Faults {
        delay: Duration::from_micros(50),
        ..Faults::default()
    };
    let (near, far) = net.link(1500, [wire; 2]);
    let client = stack(near, "10.0.0.1", 1);
    let server = stack(far, "10.0.0.2", 2);
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
        connections,
        calls: 1,
        reuse,
        buffers: Buffers::default(),
        // Longer than a neighbour is asked for.
        connect_timeout: Duration::from_secs(4),
        timeout: Duration::from_millis(200),
    };
    let plan = Plan::new(&file, &common).unwrap();
    let generator = Generator::new(client, Some((setup, plan)), None, 1);
    (net, generator, server)
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
                requests: self.requests,
            },
            interval: Duration::from_secs(1),
        };
        self.generator.begin(step, began);
        while self.generator.stage() != Stage::Done {
            let now = self.net.now();
            let spent = now.since(began);
            assert!(spent < duration + Duration::from_secs(20), "it hangs");
            if self.generator.stage() == Stage::Opening {
                self.opening = spent;
            }
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

/// More than the flows of one poll, so that some are handled behind the poll in which the neighbour was given up.
#[test]
fn a_thousand_connections_to_a_target_that_is_not_there_are_all_unreachable() {
    let mut pair = pair_of(1_000, "10.0.0.3:80", "requests: [{}]", Reuse::KeepAlive);
    pair.requests = 1_000;
    let stats = pair.run();
    assert_eq!(stats.faults.get(Fault::Unreachable), 1_000);
    assert_eq!((stats.answers, stats.requests), (0, 1_000));
    // A batch of them showed it: the others were not tried ahead.
    assert_eq!(stats.unopened.get(Fault::Unreachable), 128);
    assert_eq!(stats.unopened.sum(), 128);
    assert!(pair.opening < Duration::from_secs(4), "{:?}", pair.opening);
}

#[test]
fn opening_ends_when_too_many_attempts_are_in_vain_though_some_connections_open() {
    let mut pair = pair_of(20_000, SERVER, "requests: [{}]", Reuse::KeepAlive);
    let lossy = Faults {
        loss: 0.5,
        delay: Duration::from_micros(50),
        ..Faults::default()
    };
    pair.net.set_faults(0, [lossy; 2]);
    let stats = pair.run();
    let vain = stats.unopened.sum();
    assert!((128..256).contains(&vain), "{:?}", stats.unopened);
    let kinds = [Fault::ConnectTimeout, Fault::Unreachable];
    let of_kinds: u64 = kinds.map(|fault| stats.unopened.get(fault)).iter().sum();
    assert_eq!(of_kinds, vain, "{:?}", stats.unopened);
    assert!(pair.backend.seen.connections > 0);
    // Twenty thousand would take eighty batches of four seconds.
    assert!(pair.opening < Duration::from_secs(20), "{:?}", pair.opening);
}

#[test]
fn connections_that_a_target_says_it_closes_and_does_not_are_counted() {
    let (net, mut generator, server) = ends(1, SERVER, "requests: [{}]", Reuse::Close);
    let mut host = Host::new(server);
    host.listen(SERVER.parse().unwrap(), Buffers::default());
    let step = Step {
        pace: Pace::Closed,
        warm_up: Duration::ZERO,
        length: Length {
            duration: Duration::from_millis(1_100),
            requests: u64::MAX,
        },
        interval: Duration::from_secs(1),
    };
    generator.begin(step, net.now());
    while generator.stage() != Stage::Done {
        let now = net.now();
        generator.poll_once(now);
        host.poll_once(now);
        for number in 0..host.connections() {
            if !host.take(number).is_empty() {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                host.send(number, answer, now);
            }
        }
        host.poll_once(now);
        net.advance_to(now + Duration::from_micros(50));
    }
    let stats = generator.take_stats();
    // Each takes its quarter of a second. The first request was sent before anything counted; the last connection
    // is still open at the end.
    assert_eq!((stats.requests, stats.answers, stats.unclosed), (4, 4, 4));
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
