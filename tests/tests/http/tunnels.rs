//! Connections that change to another protocol.

use sluice_perf::raw::End;

use crate::world::{OK, Rules, World, forwarded, local, pattern};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: sluice.test\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: WebSocket\r\nSec-WebSocket-Key: x\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: y\r\n\
    Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

fn world() -> World {
    World::with(&Rules::service(
        "upgrade: [websocket], tunnel_timeout: 100s",
    ))
}

/// A tunnel on the backend's first connection.
fn tunnel(w: &mut World) -> usize {
    let c = w.open();
    w.send(c, ASK);
    let fields = "Sec-WebSocket-Key: x\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n";
    assert_eq!(w.asked(0), forwarded("GET /chat", fields));
    w.answer(0, SWITCH);
    assert_eq!(w.got(c), SWITCHED);
    c
}

const OVER: &str = "downstream_opened, downstream_closed, upstream_opened, upstream_closed, 101";

#[test]
fn bytes_go_both_ways_until_both_sides_have_ended() {
    for client_first in [true, false] {
        let mut w = world();
        let c = tunnel(&mut w);
        w.send(c, [0, 1, 2, 255]);
        w.answer(0, b"\r\n\r\nHTTP/1.1 500 No\r\n\r\n");
        assert_eq!(w.backend.take(0), [0, 1, 2, 255]);
        assert_eq!(w.got(c), "\r\n\r\nHTTP/1.1 500 No\r\n\r\n");
        if client_first {
            w.finish(c);
            assert_eq!(
                (w.backend.end(0), w.client.end(c)),
                (Some(End::Closed), None)
            );
            w.answer(0, "last words");
            w.finish_backend(0);
            assert_eq!(w.got(c), "last words");
        } else {
            w.finish_backend(0);
            assert_eq!(
                (w.backend.end(0), w.client.end(c)),
                (None, Some(End::Closed))
            );
            w.send(c, "last words");
            w.finish(c);
            assert_eq!(w.asked(0), "last words");
        }
        assert_eq!(
            (w.backend.end(0), w.client.end(c)),
            (Some(End::Closed), Some(End::Closed))
        );
        w.counts(&format!("{OVER}, tunnelled"));
        w.over();
    }
}

#[test]
fn what_comes_right_behind_either_head_belongs_to_the_tunnel() {
    let mut w = world();
    let c = w.open();
    w.send(c, format!("{ASK}early"));
    assert!(
        !w.asked(0).contains("early"),
        "not before the service agrees"
    );
    w.answer(0, format!("{SWITCH}at once"));
    assert_eq!(w.got(c), format!("{SWITCHED}at once"));
    assert_eq!(w.asked(0), "early");
    w.over();
}

#[test]
fn a_tunnel_has_backpressure_and_loses_nothing() {
    let mut w = world();
    let c = tunnel(&mut w);
    let bytes = pattern(300_000);
    w.client.pause(c);
    w.answer(0, &bytes);
    w.seconds(5);
    assert!(
        w.backend.unsent(0) > 200_000,
        "{} unsent",
        w.backend.unsent(0)
    );
    let now = w.now();
    w.client.resume(c, now);
    w.seconds(5);
    assert!(w.client.take(c) == bytes);
    w.send(c, &bytes);
    w.finish(c);
    w.seconds(5);
    assert!(w.backend.take(0) == bytes);
    w.finish_backend(0);
    w.counts(&format!("{OVER}, tunnelled"));
    w.over();
}

#[test]
fn a_silent_tunnel_is_closed() {
    let mut w = world();
    let c = tunnel(&mut w);
    w.seconds(90);
    w.send(c, "x");
    w.seconds(99);
    assert_eq!(w.client.end(c), None);
    w.seconds(2);
    assert_eq!(
        (w.backend.end(0), w.client.end(c)),
        (Some(End::Closed), Some(End::Closed))
    );
    w.counts(&format!("{OVER}, tunnel_idle"));
    w.over();
}

#[test]
fn a_reset_of_one_side_resets_the_other() {
    let mut w = world();
    let c = tunnel(&mut w);
    w.reset_backend(0);
    assert_eq!(w.client.end(c), Some(End::Reset));
    w.counts(&format!("{OVER}, tunnelled"));
    w.over();
    let mut w = world();
    let c = tunnel(&mut w);
    w.reset(c);
    assert_eq!(w.backend.end(0), Some(End::Reset));
    w.counts(&format!("{OVER}, client_gone"));
    w.over();
}

#[test]
fn a_service_may_answer_without_changing() {
    let mut w = world();
    let c = w.open();
    w.send(c, ASK);
    w.asked(0);
    w.answer(0, OK);
    assert_eq!(w.got(c), OK);
    w.exchange(c, 0, "/after");
    w.counts("downstream_opened, upstream_opened, upstream_reused, answered 2, 200 2");
    w.over();
}

#[test]
fn protocols_that_are_not_allowed_are_not_asked_for() {
    let ask = |fields: &str, body: &str| {
        format!("POST /chat HTTP/1.1\r\nHost: sluice.test\r\n{fields}\r\n{body}")
    };
    for (fields, body) in [
        ("Connection: Upgrade\r\nUpgrade: h2c\r\n", ""),
        ("Upgrade: websocket\r\n", ""),
        ("Connection: Upgrade\r\n", ""),
    ] {
        let mut w = world();
        let c = w.open();
        w.send(c, ask(fields, body));
        assert_eq!(w.asked(0), forwarded("POST /chat", ""), "{fields}");
        w.answer(0, SWITCH);
        let text = "the service's answer is not valid HTTP";
        assert_eq!(w.got(c), local("502 Bad Gateway", text, false));
        w.over();
    }
}

#[test]
fn a_request_with_a_body_asks_for_no_other_protocol() {
    let mut w = world();
    let c = w.open();
    w.send(
        c,
        "POST /chat HTTP/1.1\r\nHost: sluice.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Content-Length: 2\r\n\r\nhi",
    );
    let asked = w.asked(0);
    assert!(asked.ends_with("\r\n\r\nhi"), "{asked}");
    assert!(!asked.to_lowercase().contains("upgrade"), "{asked}");
    w.answer(0, OK);
    assert!(w.got(c).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_change_to_something_else_is_refused() {
    for answer in [
        "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 X\r\n\r\n",
    ] {
        let mut w = world();
        let c = w.open();
        w.send(c, ASK);
        w.answer(0, answer);
        let text = "the service's answer is not valid HTTP";
        assert_eq!(w.got(c), local("502 Bad Gateway", text, false), "{answer}");
        w.counts("downstream_opened, upstream_opened, upstream_closed, upstream_bad_response, 502");
        w.over();
    }
}
