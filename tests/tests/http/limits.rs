//! Time limits of bodies and of whole requests.

use std::time::Duration;

use sluice_perf::raw::End;

use crate::world::{OK, Rules, World, get, local};

const SLOW: &str = "the request body came too slowly";

fn post(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: sluice.test\r\nContent-Length: {length}\r\n\r\n")
}

/// A client that sends this each second.
fn dripping(settings: &str, piece: &str, seconds: u64) -> (World, usize) {
    let mut w = World::with(&Rules::listener(settings));
    let c = w.open();
    w.send(c, post(1_000));
    for _ in 0..seconds {
        w.send(c, piece);
        w.seconds(1);
    }
    (w, c)
}

#[test]
fn a_body_slower_than_the_least_rate_is_refused() {
    let (mut w, c) = dripping("body_timeout: 10s, limits: { body_rate: 2B }", "x", 9);
    assert_eq!(w.got(c), "");
    w.seconds(2);
    assert_eq!(w.got(c), local("408 Request Timeout", SLOW, true));
    assert_eq!(w.backend.end(0), Some(End::Reset));
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, upstream_closed, body_timeout, 408",
    );
    w.over();
}

#[test]
fn a_slow_body_that_keeps_the_rate_is_taken() {
    for settings in [
        "body_timeout: 10s, limits: { body_rate: 1B }",
        "body_timeout: 2s, limits: { body_rate: 0B }",
    ] {
        let (mut w, c) = dripping(settings, "xx", 100);
        assert_eq!(w.got(c), "", "{settings}");
        w.send(c, "x".repeat(800));
        w.answer(0, OK);
        assert_eq!(w.got(c), OK);
        w.counts("downstream_opened, upstream_opened, answered, 200");
        w.over();
    }
}

#[test]
fn chunk_lines_byte_by_byte_are_no_body() {
    let mut w = World::with(&Rules::listener(
        "body_timeout: 5s, limits: { body_rate: 0B }",
    ));
    let c = w.open();
    w.send(
        c,
        "POST / HTTP/1.1\r\nHost: sluice.test\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    for byte in *b"00000" {
        w.send(c, [byte]);
        w.seconds(1);
    }
    w.pass(Duration::from_millis(200));
    assert_eq!(w.got(c), local("408 Request Timeout", SLOW, true));
    w.over();
}

#[test]
fn a_service_that_does_not_read_is_not_the_clients_fault() {
    let mut w = World::with(&Rules::listener(
        "body_timeout: 5s, idle_timeout: 60s, limits: { body_rate: 1KiB }",
    ));
    let c = w.open();
    w.send(c, post(200_000));
    w.backend.pause(0);
    w.send(c, "x".repeat(200_000));
    w.seconds(30);
    assert_eq!((w.got(c), w.client.end(c)), (String::new(), None));
    let now = w.now();
    w.backend.resume(0, now);
    w.seconds(2);
    w.answer(0, OK);
    assert_eq!(w.got(c), OK);
    w.counts("downstream_opened, upstream_opened, answered, 200");
    w.over();
}

#[test]
fn a_request_has_a_time_as_a_whole() {
    let text = "the request as a whole took too long";
    let rules = Rules::service("request_timeout: 20s, response_timeout: 60s");
    let mut w = World::with(&rules);
    let c = w.open();
    // The answer does not begin.
    w.send(c, get("/"));
    w.seconds(21);
    assert_eq!(w.got(c), local("504 Gateway Timeout", text, false));
    // It begins, and goes on for too long.
    w.send(c, get("/"));
    w.answer(1, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
    for _ in 0..19 {
        w.seconds(1);
        w.answer(1, "x");
    }
    assert_eq!(w.client.end(c), None);
    w.seconds(2);
    assert_eq!(
        (w.client.end(c), w.backend.end(1)),
        (Some(End::Closed), Some(End::Reset))
    );
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened 2, upstream_closed 2, \
         request_timeout 2, 504, 200",
    );
    w.over();

    let own = Rules {
        routes: "{ host: sluice.test, service: hello, request_timeout: 5s }".into(),
        ..rules
    };
    let mut w = World::with(&own);
    let c = w.open();
    w.send(c, get("/"));
    w.seconds(6);
    assert_eq!(w.got(c), local("504 Gateway Timeout", text, false));
    w.over();
}
