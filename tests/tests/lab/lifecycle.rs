//! From start to stop of the gateway's process.

use std::time::{Duration, Instant};

use sluice_tests::gateway::run_to_end;
use sluice_tests::http::Connection;
use sluice_tests::lab::{Lab, printed};

use crate::{CONFIG, GATEWAY, get};

#[test]
fn sigterm_lets_a_request_in_flight_finish() {
    let lab = Lab::up();
    let mut gateway = lab.gateway(&CONFIG.replace("response_timeout: 1s", "response_timeout: 60s"));
    let listener = lab.listen("10.77.2.5:8080");
    let mut client = lab.connect(GATEWAY).expect("the gateway does not accept");
    client.send(get("own.test", "/")).expect("cannot send");
    let mut backend = Connection::accept(&listener).expect("the gateway does not connect");
    backend.read_head().expect("no request came");

    gateway.terminate();
    let deadline = Instant::now() + Duration::from_secs(1);
    while lab.connect(GATEWAY).is_ok() {
        assert!(
            Instant::now() < deadline,
            "a gateway that stops still accepts"
        );
    }
    backend
        .send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        .expect("cannot answer");
    let reply = client.read_reply().expect("the request in flight was cut");
    assert_eq!((reply.status, reply.text().as_str()), (200, "done"));
    assert!(gateway.wait().success());
}

#[test]
fn sigterm_ends_a_gateway_whose_backend_never_answers() {
    let lab = Lab::up();
    // Longer than drain_timeout, so that the deadline is what ends the request.
    let gateway = lab.gateway(&CONFIG.replace("response_timeout: 1s", "response_timeout: 60s"));
    let listener = lab.listen("10.77.2.5:8080");
    let mut client = lab.connect(GATEWAY).expect("the gateway does not accept");
    client.send(get("own.test", "/")).expect("cannot send");
    let mut backend = Connection::accept(&listener).expect("the gateway does not connect");
    backend.read_head().expect("no request came");

    let begun = Instant::now();
    assert!(gateway.stop().success());
    let took = begun.elapsed().as_millis();
    assert!(
        (2_500..8_000).contains(&took),
        "drain_timeout is 3s, the stop took {took} ms"
    );
}

#[test]
fn idle_gateway_stops_at_once() {
    let lab = Lab::up();
    let gateway = lab.gateway(CONFIG);
    let mut idle = lab.connect(GATEWAY).expect("the gateway does not accept");
    idle.send(get("nginx.test", "/")).expect("cannot send");
    assert_eq!(idle.read_reply().expect("no answer").status, 200);
    let begun = Instant::now();
    assert!(gateway.stop().success());
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "an idle connection held the gateway up"
    );
}

#[test]
fn restart_after_a_crash_needs_no_cleaning() {
    let lab = Lab::up();
    for _ in 0..3 {
        let gateway = lab.gateway(CONFIG);
        assert_eq!(lab.curl(&["http://nginx.test/"]).status, 200);
        gateway.kill();
    }
    let gateway = lab.gateway(CONFIG);
    assert_eq!(lab.curl(&["http://nginx.test/"]).status, 200);
    assert!(gateway.stop().success());
}

#[test]
fn two_gateways_run_side_by_side() {
    let (one, other) = (Lab::up(), Lab::up());
    let first = one.gateway(CONFIG);
    let second = other.gateway(CONFIG);
    assert_eq!(one.curl(&["http://nginx.test/"]).status, 200);
    assert_eq!(other.curl(&["http://nginx.test/"]).status, 200);
    assert!(first.stop().success());
    assert_eq!(other.curl(&["http://nginx.test/"]).status, 200);
    assert!(second.stop().success());
}

#[test]
fn a_missing_interface_is_one_readable_error() {
    let lab = Lab::up();
    let output = run_to_end(&lab, &CONFIG.replace("sluice-front", "no-such-link"));
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("no-such-link") && !text.contains("panicked"),
        "{text}"
    );
}
