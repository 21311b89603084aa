//! How calls of volo-thrift end through a gateway, and what travels beside them.

use std::time::{Duration, Instant};

use sluice_tests::lab::Lab;

use super::volo::config;
use super::{METADATA, METADATA_SEEN, OUTCOMES, call, serve};

/// Longest that something may take which will happen.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn volo_sees_exceptions_biz_errors_and_timeouts() {
    let lab = Lab::up();
    let server = serve(&lab, "--multiplex");
    let _gateway = lab.gateway(&config("message").replace("20s", "1s"));
    for transport in ["ttheader-framed", "ttheader"] {
        for (act, expected) in OUTCOMES {
            let ends = call(&lab, &format!("--transport {transport} --act {act}"));
            assert_eq!(ends.outcomes(), expected, "{transport}");
        }
    }
    // The service may take a second.
    let told = call(&lab, "--act wait:5000").outcomes();
    assert_eq!(told, "1 application 6 the service did not answer in time");
    // A server that is gone, and comes back.
    drop(server);
    let told = call(&lab, "--calls 2").outcomes();
    assert!(told.contains(" application 6 "), "{told}");
    let _server = serve(&lab, "--multiplex");
    let deadline = Instant::now() + SOON;
    while call(&lab, "").outcomes() != "1 ok" {
        assert!(Instant::now() < deadline, "the service does not come back");
    }
}

#[test]
fn volo_metadata_and_oneway_calls_arrive() {
    let lab = Lab::up();
    let _server = serve(&lab, "--multiplex");
    let _gateway = lab.gateway(&config("message"));
    for mode in ["", "--multiplex"] {
        let ends = call(&lab, &format!("{mode} {METADATA}"));
        for line in METADATA_SEEN {
            assert_eq!(ends.count(line), 1, "{mode} {line}: {ends:?}");
        }
    }
    let tell = "--method tell --calls 5 --clients 3";
    assert_eq!(call(&lab, tell).outcomes(), "15 ok");
    let deadline = Instant::now() + SOON;
    while call(&lab, "").count("seen told=15") != 1 {
        assert!(Instant::now() < deadline, "they do not arrive");
    }
}

/// Key 12 says how long the caller still waits when its call gets to the server, and none gets there too late.
#[test]
fn volo_servers_see_the_time_that_is_left_and_no_call_whose_time_has_passed() {
    let lab = Lab::up();
    let _server = serve(&lab, "--multiplex");
    let delay = "fault: { delay: { time: 400ms }, until: \"2099-01-01T00:00:00Z\" }";
    let held = config("message").replace(
        "  - { rpc: {}, service: echo }",
        &format!(
            "  - {{ rpc: {{ method: call }}, service: echo }}\n  - {{ rpc: {{}}, service: echo, {delay} }}"
        ),
    );
    let slow = config("message").replace("service: echo }", &format!("service: echo, {delay} }}"));
    {
        let _gateway = lab.gateway(&slow);
        let ends = call(&lab, "--timeout 30000");
        let left = ends.seen("timeout").parse::<u64>().expect("milliseconds");
        assert!((10_000..=29_600).contains(&left), "{ends:?}");
    }
    let _gateway = lab.gateway(&held);
    // Oneway calls: whether they get there shows in the count that the server gives.
    assert_eq!(
        call(&lab, "--method tell --timeout 300 --calls 3").outcomes(),
        "3 ok"
    );
    assert_eq!(
        call(&lab, "--method tell --timeout 30000").outcomes(),
        "1 ok"
    );
    let deadline = Instant::now() + SOON;
    while call(&lab, "").seen("told") != "1" {
        assert!(Instant::now() < deadline, "it does not arrive");
    }
    assert_eq!(call(&lab, "").seen("told"), "1");
}
