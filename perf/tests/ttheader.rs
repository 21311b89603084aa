//! The load generator in TTHeader, its client against its own backend over a link in virtual time.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use sluice_perf::load::plan::{Common, RequestFile};
use sluice_perf::load::run::Stage;
use sluice_perf::load::server::{Served, ServerSetup};
use sluice_perf::load::stats::StepStats;
use sluice_perf::load::{
    Arrivals, ClientSetup, Encoding, Fault, Generator, Length, Pace, Plan, Protocol, Rate, Replies,
    Reuse, Step,
};
use sluice_perf::raw::Host;
use sluice_stack::counters::Counted;
use sluice_stack::sim::{Faults, Net, SimPort};
use sluice_stack::{Buffers, Limits, PortSetup, Secrets, Stack, StackStats};
use sluice_wire::Parsed;
use sluice_wire::thrift::{AnswerTo, ExceptionKind as ThriftException};
use sluice_wire::ttheader::{Head, NewHead};

/// How the generator is set up.
#[derive(Clone, Copy)]
struct Setup {
    encoding: Encoding,
    replies: Replies,
    connections: u32,
    calls: u16,
    reuse: Reuse,
    faults: Faults,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            encoding: Encoding::FramedBinary,
            replies: Replies::Frame,
            connections: 4,
            calls: 8,
            reuse: Reuse::KeepAlive,
            faults: Faults {
                delay: Duration::from_micros(100),
                ..Faults::default()
            },
        }
    }
}

struct Loop {
    net: Net,
    generator: Generator<SimPort>,
}

const MIXED: &str = "
requests:
  - { weight: 6, service: shop, method: get, body: 200B }
  - { weight: 3, method: list, response: 20KiB, keys: { 10: prod, RPC_PERSIST_LANE: blue } }
  - { service: shop, method: put, body: 30KiB, response: 300KiB }
  - { service: '', method: bare, body: 3KiB, echo: true }
  - { method: tell, oneway: true, body: 1KiB }
";

impl Loop {
    /// Client and backend over one stack, a link between its two ports.
    fn new(setup: Setup, requests: &str) -> Loop {
        Loop::between(setup, requests, requests)
    }

    /// The same, of a backend that knows other requests.
    fn between(setup: Setup, requests: &str, known: &str) -> Loop {
        let mut net = Net::new(7);
        let (near, far) = net.link(1500, [setup.faults; 2]);
        let port = |address: [u8; 4]| PortSetup {
            addresses: vec![(address.into(), 24)],
            ..PortSetup::default()
        };
        let stack = Stack::new(
            vec![(near, port([10, 0, 0, 1])), (far, port([10, 0, 0, 2]))],
            Limits::default(),
            Secrets::from_seed(3),
            Arc::new(StackStats::default()),
        );
        let [file, known] =
            [requests, known].map(|text| serde_saphyr::from_str(text).expect("valid YAML"));
        let file: RequestFile = file;
        let target = ([10, 0, 0, 2], 9000).into();
        let protocol = Protocol::TtHeader(setup.encoding);
        let common = Common {
            protocol,
            host: "unused".into(),
            calls: setup.calls,
            close: setup.reuse == Reuse::Close,
            backend: Some(100),
            think: Duration::ZERO,
            timeout: Duration::from_secs(2),
        };
        let plan = Plan::new(&file, &common).unwrap_or_else(|error| panic!("{error}"));
        let buffers = Buffers {
            receive: 32 * 1024,
            send: 32 * 1024,
        };
        let client = ClientSetup {
            port: 0,
            target,
            connections: setup.connections,
            calls: setup.calls,
            reuse: setup.reuse,
            buffers,
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(2),
        };
        let server = ServerSetup {
            protocol,
            replies: setup.replies,
            port: 1,
            addresses: vec![target],
            body: 100,
            buffers,
        };
        let server = Some((&server, &known));
        let generator = Generator::new(stack, Some((client, plan)), server, 1);
        Loop { net, generator }
    }

    fn run(&mut self, pace: Pace, requests: u64) -> StepStats {
        let step = Step {
            pace,
            warm_up: Duration::from_millis(2),
            length: Length {
                duration: Duration::from_secs(60),
                requests,
            },
            interval: Duration::from_millis(100),
        };
        let began = self.net.now();
        self.generator.begin(step, began);
        while self.generator.stage() != Stage::Done {
            let now = self.net.now();
            assert!(
                now.since(began) < Duration::from_secs(90),
                "it does not end"
            );
            self.generator.poll_once(now);
            let next = [self.net.next_arrival(), Some(self.generator.next_wake(now))];
            let next = next.into_iter().flatten().min().expect("there is one");
            self.net
                .advance_to(next.max(now + Duration::from_micros(10)));
        }
        self.generator.take_stats()
    }

    fn served(&self) -> Served {
        self.generator.served()
    }
}

fn faults(stats: &StepStats) -> Vec<(&'static str, u64)> {
    let faults = stats.faults.iter().filter(|(_, count)| *count > 0);
    faults.map(|(fault, count)| (fault.name(), count)).collect()
}

#[test]
fn every_call_is_checked_in_every_encoding_and_order() {
    for encoding in [
        Encoding::Binary,
        Encoding::Compact,
        Encoding::FramedBinary,
        Encoding::FramedCompact,
    ] {
        for replies in [Replies::Frame, Replies::Message, Replies::Ordered] {
            let setup = Setup {
                encoding,
                replies,
                ..Setup::default()
            };
            let mut test = Loop::new(setup, MIXED);
            let stats = test.run(Pace::Closed, 1_000);
            assert_eq!(faults(&stats), [], "{encoding:?} {replies:?}");
            assert_eq!((stats.requests, stats.answers), (1_000, 1_000));
            let served = test.served();
            assert_eq!((served.malformed, served.wrong_bodies), (0, 0));
            assert!(served.requests >= 1_000, "{served:?}");
            assert_eq!(served.early > 0, replies == Replies::Ordered, "{served:?}");
            assert_eq!(served.connections, 4);
        }
    }
}

#[test]
fn one_call_at_a_time_never_overtakes_another() {
    let setup = Setup {
        calls: 1,
        replies: Replies::Ordered,
        ..Setup::default()
    };
    let mut test = Loop::new(setup, "requests: [{ body: 200B }]");
    let stats = test.run(Pace::Closed, 500);
    assert_eq!((stats.answers, faults(&stats)), (500, vec![]));
    assert_eq!(test.served().early, 0);
}

#[test]
fn one_call_per_connection_is_closed_by_the_client() {
    let setup = Setup {
        calls: 1,
        reuse: Reuse::Close,
        ..Setup::default()
    };
    let mut test = Loop::new(setup, "requests: [{ body: 200B }]");
    let stats = test.run(Pace::Closed, 500);
    assert_eq!((stats.answers, faults(&stats)), (500, vec![]));
    let served = test.served();
    assert_eq!(served.connections, served.requests);
    assert_eq!(served.malformed, 0);
}

#[test]
fn an_open_loop_uses_every_place_of_a_connection() {
    let setup = Setup {
        connections: 1,
        calls: 32,
        faults: Faults {
            delay: Duration::from_millis(5),
            ..Faults::default()
        },
        ..Setup::default()
    };
    // Ten milliseconds a call: 3,200 in a second with 32 at a time.
    let mut test = Loop::new(setup, "requests: [{}]");
    let rate = Rate::constant(2_500.0, Arrivals::Constant);
    let stats = test.run(Pace::Open(rate), 2_000);
    assert_eq!((stats.answers, faults(&stats)), (2_000, vec![]));
    assert!(stats.latency.max() < 15_000_000, "{}", stats.latency.max());
    assert_eq!(test.served().connections, 1);
}

#[test]
fn a_lossy_wire_costs_time_and_no_answer() {
    let setup = Setup {
        faults: Faults {
            loss: 0.01,
            reorder: 0.01,
            duplicate: 0.01,
            delay: Duration::from_micros(100),
            ..Faults::default()
        },
        ..Setup::default()
    };
    let mut test = Loop::new(setup, MIXED);
    let stats = test.run(Pace::Closed, 500);
    let wrong = [
        Fault::WrongBody,
        Fault::WrongStatus,
        Fault::BadAnswer,
        Fault::Unexpected,
    ];
    assert_eq!(wrong.map(|fault| stats.faults.get(fault)), [0; 4]);
    assert_eq!(stats.answers + stats.faults.sum(), 500);
    let served = test.served();
    assert_eq!((served.malformed, served.wrong_bodies), (0, 0));
}

/// The frames that a host got, by their sequences.
fn sequences(bytes: &[u8]) -> Vec<i32> {
    let mut all = Vec::new();
    let mut rest = bytes;
    while let Ok(Parsed::Complete(head)) = Head::parse(rest, &Default::default()) {
        all.push(head.sequence());
        rest = &rest[head.frame_len()..];
    }
    assert!(rest.is_empty(), "a call is cut");
    all
}

/// An empty reply to the call with this sequence.
fn reply(sequence: i32) -> Vec<u8> {
    let mut message = b"\x80\x01\x00\x02\x00\x00\x00\x04call".to_vec();
    message.extend_from_slice(&sequence.to_be_bytes());
    message.extend_from_slice(b"\x0b\x00\x00\x00\x00\x00\x00\x00");
    frame(sequence, &message)
}

/// An exception in place of it.
fn exception(sequence: i32) -> Vec<u8> {
    let mut message = Vec::new();
    let answer = AnswerTo {
        protocol: sluice_wire::thrift::Protocol::Binary,
        framed: false,
        method: b"call",
        sequence,
    };
    answer.write_exception(&mut message, ThriftException::Internal, "sold out");
    frame(sequence, &message)
}

fn frame(sequence: i32, message: &[u8]) -> Vec<u8> {
    let head = NewHead {
        sequence,
        ..NewHead::default()
    };
    let mut out = Vec::new();
    head.write(&mut out, message.len()).expect("a small head");
    out.extend_from_slice(message);
    out
}

/// One of two calls on a connection is not answered in time, and answered by an exception after that; the last
/// one is answered so in time.
#[test]
fn a_call_that_times_out_ends_alone_and_exceptions_are_told_by_what_they_say() {
    let mut net = Net::new(5);
    let (near, far) = net.link(1500, [Faults::default(); 2]);
    let stack = |io, address: [u8; 4], seed| {
        let port = PortSetup {
            addresses: vec![(address.into(), 24)],
            ..PortSetup::default()
        };
        Stack::new(
            vec![(io, port)],
            Limits::default(),
            Secrets::from_seed(seed),
            Arc::new(StackStats::default()),
        )
    };
    let client = stack(near, [10, 0, 0, 1], 1);
    let server = stack(far, [10, 0, 0, 2], 2);
    let target = ([10, 0, 0, 2], 9000).into();
    let mut host = Host::new(server);
    host.listen(target, Buffers::default());
    let timeout = Duration::from_millis(200);
    let common = Common {
        protocol: Protocol::TtHeader(Encoding::Binary),
        host: String::new(),
        calls: 2,
        close: false,
        backend: None,
        think: Duration::ZERO,
        timeout,
    };
    let file: RequestFile = serde_saphyr::from_str("requests: [{}]").expect("valid YAML");
    let plan = Plan::new(&file, &common).expect("it can be sent");
    let setup = ClientSetup {
        port: 0,
        target,
        connections: 1,
        calls: 2,
        reuse: Reuse::KeepAlive,
        buffers: Buffers::default(),
        connect_timeout: timeout,
        timeout,
    };
    let mut generator = Generator::new(client, Some((setup, plan)), None, 1);
    let began = net.now();
    let step = Step {
        pace: Pace::Closed,
        warm_up: Duration::ZERO,
        length: Length {
            duration: Duration::from_secs(2),
            requests: 4,
        },
        interval: Duration::from_secs(1),
    };
    generator.begin(step, began);
    let mut asked: Vec<i32> = Vec::new();
    // When which call is answered: the first one late, when the fourth is under way. The first two are sent
    // before anything counts, but what fails counts.
    let mut plan = vec![(10, 1), (205, 2), (250, 0), (260, 3), (270, 4)];
    while generator.stage() != Stage::Done {
        let now = net.now();
        assert!(now.since(began) < Duration::from_secs(3), "it does not end");
        generator.poll_once(now);
        host.poll_once(now);
        if host.connections() > 0 {
            asked.extend(sequences(&host.take(0)));
        }
        if let Some(&(at, call)) = plan.first()
            && now.since(began) >= Duration::from_millis(at)
        {
            let answer = match call {
                0 | 4 => exception(asked[call]),
                _ => reply(asked[call]),
            };
            host.send(0, &answer, now);
            host.poll_once(now);
            plan.remove(0);
        }
        net.advance_to(now + Duration::from_micros(500));
    }
    let stats = generator.take_stats();
    assert_eq!(faults(&stats), [("wrong_status", 1), ("timeout", 1)]);
    assert_eq!((stats.requests, stats.answers), (4, 2));
    let told: Vec<String> = stats.exceptions.iter().map(|e| e.to_string()).collect();
    assert_eq!(told, ["exception 6: sold out"]);
    assert_eq!(stats.exceptions[0].count, 1);
    assert_eq!((host.connections(), host.end(0)), (1, None));
}

#[test]
fn what_comes_back_wrong_is_told() {
    let asked = "requests: [{ method: a, body: 5KiB }]";
    for (known, expected) in [
        // Another length of the answer, other bytes in it.
        ("requests: [{ method: a, response: 101B }]", "wrong_body"),
        ("requests: [{ method: b }]", "wrong_body"),
    ] {
        let mut test = Loop::between(Setup::default(), asked, known);
        let stats = test.run(Pace::Closed, 50);
        assert_eq!(faults(&stats), [(expected, 50)], "{known}");
    }
    // The backend checks what it is sent as well: it expects this text's service to send the pattern.
    let mut test = Loop::between(
        Setup::default(),
        "requests: [{ method: a, text: hello }]",
        "requests: [{ method: a, body: 5B }]",
    );
    let stats = test.run(Pace::Closed, 50);
    assert_eq!((stats.answers, faults(&stats)), (50, vec![]));
    assert!(test.served().wrong_bodies >= 50);
}

#[test]
fn requests_of_the_other_protocol_are_refused_by_name() {
    let common = |protocol| Common {
        protocol,
        host: "a".into(),
        calls: 1,
        close: false,
        backend: None,
        think: Duration::ZERO,
        timeout: Duration::from_secs(1),
    };
    let rpc = Protocol::TtHeader(Encoding::Binary);
    for (protocol, yaml, words) in [
        (
            rpc,
            "path: /",
            "request 1 has `path`, which TTHeader does not have",
        ),
        (rpc, "status: 200", "`status`"),
        (rpc, "headers: { a: b }", "`headers`"),
        (rpc, "host: a", "`host`"),
        (rpc, "keys: { 70000: a }", "70000 is no integer key"),
        (
            rpc,
            "oneway: true, response: 1B",
            "is oneway and has no answer",
        ),
        (
            rpc,
            "echo: true, text: a",
            "has `echo`, which goes with neither",
        ),
        (Protocol::Http1, "service: a", "which HTTP does not have"),
        (Protocol::Http1, "keys: { 1: a }", "`keys`"),
        (Protocol::Http1, "oneway: true", "`oneway`"),
    ] {
        let text = format!("requests: [{{ {yaml} }}]");
        let file: RequestFile = serde_saphyr::from_str(&text).expect("valid YAML");
        let error = Plan::new(&file, &common(protocol)).expect_err(yaml);
        assert!(error.to_string().contains(words), "{yaml}: {error}");
    }
    let long = "x".repeat(70_000);
    let text = format!("requests: [{{ keys: {{ long: {long} }} }}]");
    let file: RequestFile = serde_saphyr::from_str(&text).expect("valid YAML");
    let error = Plan::new(&file, &common(rpc)).expect_err("too long");
    assert!(error.to_string().contains("cannot be encoded"), "{error}");
}
