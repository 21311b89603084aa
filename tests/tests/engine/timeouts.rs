//! Every wait has an end.

use std::time::Duration;

use sluice_perf::raw::End;

use crate::world::{OK, Rules, World, get, local, pattern};

fn world() -> World {
    let mut rules = Rules::listener("idle_timeout: 20s, head_timeout: 5s, body_timeout: 20s");
    rules.service = "response_timeout: 8s, idle_timeout: 12s".into();
    World::with(&rules)
}

#[test]
fn a_fresh_connection_without_a_byte_is_closed_after_the_head_timeout() {
    let mut w = world();
    let c = w.open();
    w.pass(Duration::from_millis(4_900));
    assert_eq!(w.client.end(c), None);
    w.pass(Duration::from_millis(200));
    assert_eq!(
        (w.got(c), w.client.end(c)),
        (String::new(), Some(End::Closed))
    );
    w.counts("downstream_opened, downstream_closed, downstream_idle_timeout");
    w.over();
}

#[test]
fn a_head_that_does_not_end_gets_408() {
    let mut w = world();
    let c = w.open();
    w.seconds(4);
    // A byte per second does not keep it open.
    for byte in "GET /".bytes() {
        w.send(c, [byte]);
        w.pass(Duration::from_millis(990));
    }
    assert_eq!(w.client.end(c), None);
    w.pass(Duration::from_millis(100));
    let reply = local(
        "408 Request Timeout",
        "the request head took too long",
        true,
    );
    assert_eq!((w.got(c), w.client.end(c)), (reply, Some(End::Closed)));
    w.counts("downstream_opened, downstream_closed, head_timeout, 408");
    w.over();
}

#[test]
fn the_head_timeout_holds_for_later_requests_too() {
    let mut w = world();
    let c = w.open();
    w.exchange(c, 0, "/");
    w.seconds(10);
    w.send(c, "GET ");
    w.pass(Duration::from_millis(4_900));
    assert_eq!(w.client.end(c), None);
    w.pass(Duration::from_millis(200));
    assert!(w.got(c).starts_with("HTTP/1.1 408 "));
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, upstream_closed, \
         upstream_idle_timeout, answered, 200, head_timeout, 408",
    );
    w.over();
}

#[test]
fn idle_connections_on_both_sides_are_closed_after_their_timeouts() {
    let mut w = world();
    let c = w.open();
    w.exchange(c, 0, "/");
    w.pass(Duration::from_millis(11_900));
    assert_eq!(w.levels(), [1, 1, 1, 0]);
    w.pass(Duration::from_millis(200));
    assert_eq!(
        (w.levels(), w.backend.end(0)),
        ([1, 0, 0, 0], Some(End::Closed))
    );
    w.pass(Duration::from_millis(7_800));
    assert_eq!(w.client.end(c), None);
    w.pass(Duration::from_millis(200));
    assert_eq!(
        (w.got(c), w.client.end(c)),
        (String::new(), Some(End::Closed))
    );
    w.counts(
        "downstream_opened, downstream_closed, downstream_idle_timeout, upstream_opened, \
         upstream_closed, upstream_idle_timeout, answered, 200",
    );
    w.over();
}

#[test]
fn use_puts_the_idle_timeouts_off() {
    let mut w = world();
    let c = w.open();
    for _ in 0..5 {
        w.exchange(c, 0, "/");
        w.seconds(11);
    }
    w.counts("downstream_opened, upstream_opened, upstream_reused 4, answered 5, 200 5");
    w.over();
}

#[test]
fn an_answer_that_does_not_begin_504() {
    let mut w = world();
    let c = w.open();
    w.send(c, get("/"));
    w.pass(Duration::from_millis(7_900));
    assert_eq!(w.got(c), "");
    w.pass(Duration::from_millis(200));
    let reply = local(
        "504 Gateway Timeout",
        "the service did not answer in time",
        false,
    );
    assert_eq!(w.got(c), reply);
    assert_eq!(w.backend.end(0), Some(End::Reset));
    w.exchange(c, 1, "/after");
    w.counts(
        "downstream_opened, upstream_opened 2, upstream_closed, response_timeout, 504, answered, 200",
    );
    w.over();
}

#[test]
fn the_response_timeout_begins_with_the_end_of_the_request() {
    let mut w = world();
    let c = w.open();
    w.send(
        c,
        "POST / HTTP/1.1\r\nHost: sluice.test\r\nContent-Length: 2\r\n\r\na",
    );
    w.seconds(15);
    w.send(c, "b");
    w.pass(Duration::from_millis(7_900));
    w.answer(0, OK);
    assert_eq!(w.got(c), OK);
    w.counts("downstream_opened, upstream_opened, answered, 200");
    w.over();
}

#[test]
fn an_answer_may_take_as_long_as_it_moves() {
    let mut w = world();
    let c = w.open();
    w.send(c, get("/"));
    w.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    for byte in *b"12345" {
        w.seconds(19);
        w.answer(0, [byte]);
    }
    assert!(w.got(c).ends_with("\r\n\r\n12345"));
    w.counts("downstream_opened, upstream_opened, answered, 200");
    w.over();
}

#[test]
fn a_client_that_stops_in_its_body_gets_408() {
    let mut w = world();
    let c = w.open();
    w.send(
        c,
        "POST / HTTP/1.1\r\nHost: sluice.test\r\nContent-Length: 9\r\n\r\nabc",
    );
    w.pass(Duration::from_millis(19_900));
    assert_eq!(w.client.end(c), None);
    w.pass(Duration::from_millis(200));
    let text = "the request body came too slowly";
    assert_eq!(w.got(c), local("408 Request Timeout", text, true));
    assert_eq!(
        (w.client.end(c), w.backend.end(0)),
        (Some(End::Closed), Some(End::Reset))
    );
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, upstream_closed, body_timeout, 408",
    );
    w.over();
}

#[test]
fn a_backend_that_stops_in_its_answer_is_given_up() {
    let mut w = world();
    let c = w.open();
    w.send(c, get("/"));
    w.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    w.seconds(21);
    assert_eq!(
        (w.client.end(c), w.backend.end(0)),
        (Some(End::Reset), Some(End::Reset))
    );
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, upstream_closed, stalled, 200",
    );
    w.over();
}

#[test]
fn a_client_that_stops_reading_is_given_up() {
    let mut w = world();
    let c = w.open();
    w.client.pause(c);
    w.send(c, get("/"));
    w.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n");
    w.answer(0, pattern(200_000));
    w.seconds(25);
    assert_eq!(w.levels(), [0; 4]);
    assert_eq!(w.backend.end(0), Some(End::Reset));
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, upstream_closed, client_stalled, 200",
    );
    w.over();
}

#[test]
fn a_client_that_reads_nothing_of_a_finished_answer_is_given_up() {
    let mut w = world();
    let c = w.open();
    w.client.pause(c);
    w.send(c, get("/"));
    w.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 25000\r\n\r\n");
    w.answer(0, pattern(25_000));
    w.seconds(60);
    assert_eq!(w.stats.stack.flows.get(), 0);
    w.counts(
        "downstream_opened, downstream_closed, downstream_idle_timeout, upstream_opened, \
         upstream_closed, upstream_idle_timeout, answered, 200",
    );
    w.over();
}
