//! The load generator in TTHeader around the real gateway, in virtual time.
#![forbid(unsafe_code)]

use std::time::Duration;

use sluice_engine::stats::RequestFate;
use sluice_perf::load::plan::RequestFile;
use sluice_perf::load::stats::StepStats;
use sluice_perf::load::{Encoding, Fault, Length, Pace, Replies, Reuse, Step};
use sluice_perf::memory::Setup;
use sluice_perf::rig::{Calls, Rig};
use sluice_stack::counters::Counted;
use sluice_stack::sim::Faults;

const MIXED: &str = "
requests:
  - { weight: 6, service: shop, method: get, body: 200B }
  - { weight: 3, method: list, response: 20KiB, keys: { 10: prod, RPC_PERSIST_LANE: blue } }
  - { service: shop, method: put, body: 30KiB, response: 100KiB }
  - { service: '', method: bare, body: 3KiB, echo: true }
  - { method: tell, oneway: true, body: 1KiB }
";

fn file(yaml: &str) -> RequestFile {
    serde_saphyr::from_str(yaml).expect("valid YAML")
}

fn calls(multiplex: &'static str, replies: Replies) -> Calls {
    Calls {
        at_a_time: 8,
        encoding: Encoding::FramedBinary,
        replies,
        multiplex,
        shared_connections: 2,
    }
}

fn step(requests: u64) -> Step {
    Step {
        pace: Pace::Closed,
        warm_up: Duration::from_millis(1),
        length: Length {
            duration: Duration::from_secs(60),
            requests,
        },
        interval: Duration::from_millis(100),
    }
}

fn setup(connections: usize, faults: Faults) -> Setup {
    Setup {
        connections,
        faults: [[faults; 2]; 2],
        ..Setup::default()
    }
}

fn slow() -> Faults {
    Faults {
        delay: Duration::from_micros(100),
        ..Faults::default()
    }
}

fn faults(stats: &StepStats) -> Vec<(&'static str, u64)> {
    let faults = stats.faults.iter().filter(|(_, count)| *count > 0);
    faults.map(|(fault, count)| (fault.name(), count)).collect()
}

/// Sixteen callers whose calls all have the same sequences.
#[test]
fn callers_with_the_same_sequences_get_their_own_answers() {
    for (multiplex, replies) in [
        ("frame", Replies::Frame),
        ("message", Replies::Message),
        ("none", Replies::Ordered),
    ] {
        for encoding in [Encoding::FramedBinary, Encoding::Binary, Encoding::Compact] {
            let calls = Calls {
                encoding,
                ..calls(multiplex, replies)
            };
            let setup = setup(16, slow());
            let rig = Rig::rpc(&setup, &calls, &file(MIXED), Reuse::KeepAlive);
            let mut rig = rig.unwrap_or_else(|error| panic!("{error}"));
            assert!(rig.run(step(2_000), Duration::from_secs(60)));
            let stats = rig.generator.take_stats();
            assert_eq!(faults(&stats), [], "{multiplex} {encoding:?}");
            assert_eq!((stats.requests, stats.answers), (2_000, 2_000));
            let served = rig.generator.served();
            assert_eq!(
                (served.malformed, served.wrong_bodies, served.early),
                (0, 0, 0)
            );
            if multiplex == "frame" {
                assert_eq!(served.connections, 2, "{served:?}");
            }
        }
    }
}

/// The short connections of callers become calls on few long ones.
#[test]
fn a_connection_per_call_needs_no_connection_per_call_upstream() {
    let calls = Calls {
        at_a_time: 1,
        shared_connections: 8,
        ..calls("message", Replies::Message)
    };
    let setup = setup(64, slow());
    let body = file("requests: [{ body: 200B }]");
    let rig = Rig::rpc(&setup, &calls, &body, Reuse::Close);
    let mut rig = rig.unwrap_or_else(|error| panic!("{error}"));
    assert!(rig.run(step(10_000), Duration::from_secs(60)));
    let stats = rig.generator.take_stats();
    assert_eq!((stats.answers, faults(&stats)), (10_000, vec![]));
    assert!(stats.connections >= 9_900, "{}", stats.connections);
    let served = rig.generator.served();
    assert!(served.connections <= 8, "{served:?}");
    let through = rig.stats.requests.get(RequestFate::Answered);
    assert_eq!(through, served.requests);
}

#[test]
fn a_lossy_wire_costs_time_and_no_answer() {
    let bad = Faults {
        loss: 0.01,
        reorder: 0.01,
        duplicate: 0.01,
        ..slow()
    };
    let rig = Rig::rpc(
        &setup(8, bad),
        &calls("message", Replies::Message),
        &file(MIXED),
        Reuse::KeepAlive,
    );
    let mut rig = rig.unwrap_or_else(|error| panic!("{error}"));
    assert!(rig.run(step(1_000), Duration::from_secs(600)));
    let stats = rig.generator.take_stats();
    let wrong = [Fault::WrongBody, Fault::BadAnswer, Fault::Unexpected];
    assert_eq!(wrong.map(|fault| stats.faults.get(fault)), [0; 3]);
    assert_eq!(stats.answers + stats.faults.sum(), 1_000);
    let served = rig.generator.served();
    assert_eq!((served.malformed, served.wrong_bodies), (0, 0));
}
