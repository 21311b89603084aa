//! What stands beside calls: copies of them, PROXY headers, the order of replies, and how long a connection
//! takes calls.

use std::time::Duration;

use sluice_perf::raw::End;
use sluice_wire::proxy_protocol::{self, Version};
use sluice_wire::thrift::MessageKind;
use sluice_wire::ttheader::integer;

use super::frames::{BY_MESSAGE, ONE, Sent, frames, rules, text, world, world_of};
use crate::world::World;

/// Calls go to `hello`, and a share of them to `copies` as well.
fn mirrored(share: &str, copies: &str) -> World {
    world_of(
        "",
        &format!(
            r#"services:
  hello: {{ endpoints: ["10.77.2.2:8080"], protocol: ttheader, multiplex: message }}
  copies: {{ endpoints: ["10.77.2.3:8080"], response_timeout: 2s, {copies} }}
routes:
  - {{ rpc: {{}}, service: hello, mirror: {{ service: copies, share: {share} }} }}"#
        ),
    )
}

#[test]
fn copies_of_calls_go_to_another_service_and_touch_nothing() {
    for copies in [
        "protocol: ttheader",
        "protocol: ttheader, multiplex: message",
    ] {
        let mut w = mirrored("100%", copies);
        let c = w.open();
        w.send(c, [1, 2].map(|n| Sent::call(n).with("hi")).concat());
        let connections = w.backend.connections();
        let mut asked = Vec::new();
        for connection in 0..connections {
            for got in w.requests(connection) {
                asked.push((connection, got));
            }
        }
        assert_eq!(asked.len(), 4);
        let own = |w: &World, connection: usize| {
            w.backend.local(connection).map(|local| local.ip()) == Some([10, 77, 2, 2].into())
        };
        // Copies are answered, well or not, before those that they are made of.
        let (originals, copied): (Vec<_>, Vec<_>) = asked
            .into_iter()
            .partition(|(connection, _)| own(&w, *connection));
        assert_eq!((originals.len(), copied.len()), (2, 2));
        for (connection, got) in &copied {
            assert_eq!(got.body, text("hi"));
            w.answer(*connection, got.answer("nobody reads this"));
        }
        assert_eq!(w.replies(c), []);
        for (connection, got) in &originals {
            w.answer(*connection, got.answer("ho"));
        }
        let replies = w.replies(c);
        assert!(replies.len() == 2 && replies.iter().all(|reply| reply.body == text("ho")));
        let opened = connections;
        w.counts(&format!(
            "downstream_opened, upstream_opened {opened}, answered 2, mirror_begun 2, mirror_answered 2"
        ));
        w.rpc_over();
    }
}

#[test]
fn a_copy_that_fails_or_is_not_answered_is_counted_alone() {
    let mut w = mirrored("100%", "protocol: ttheader");
    let c = w.open();
    for sequence in 1..=3 {
        let oneway = Sent {
            kind: if sequence == 3 {
                MessageKind::Oneway
            } else {
                MessageKind::Call
            },
            ..Sent::call(sequence)
        };
        w.send(c, oneway.with("hi"));
    }
    let copies: Vec<usize> = (0..w.backend.connections())
        .filter(|&at| w.backend.local(at).map(|l| l.ip()) == Some([10, 77, 2, 3].into()))
        .collect();
    assert_eq!(copies.len(), 3);
    w.reset_backend(copies[0]);
    w.seconds(3);
    let original = (0..w.backend.connections()).find(|at| !copies.contains(at));
    let original = original.expect("a connection of the calls themselves");
    for got in w.requests(original) {
        if got.kind == MessageKind::Call {
            w.answer(original, got.answer("ho"));
        }
    }
    assert_eq!(w.replies(c).len(), 2);
    let stats = w.stats.clone();
    use sluice_engine::stats::{EngineEvent, RequestFate};
    assert_eq!(stats.events.get(EngineEvent::Mirrored), 3);
    assert_eq!(stats.events.get(EngineEvent::MirrorFailed), 2);
    assert_eq!(stats.events.get(EngineEvent::MirrorAnswered), 1);
    assert_eq!(stats.requests.get(RequestFate::Answered), 2);
    assert_eq!(stats.requests.sum(), 3);
    w.rpc_over();
}

#[test]
fn a_share_of_calls_is_copied_and_large_ones_are_not() {
    let mut w = mirrored("50%", "protocol: ttheader, multiplex: message");
    let c = w.open();
    for sequence in 1..=200 {
        w.send(c, Sent::call(sequence).with("hi"));
    }
    let begun = w
        .stats
        .events
        .get(sluice_engine::stats::EngineEvent::Mirrored);
    assert!((60..140).contains(&begun), "{begun}");
    for sequence in 201..=210 {
        w.send(c, Sent::call(sequence).with(&"x".repeat(20_000)));
    }
    let skipped = w
        .stats
        .events
        .get(sluice_engine::stats::EngineEvent::MirrorSkipped);
    assert!(skipped > 0);
    w.rpc_over();
}

fn header(version: Version, client: std::net::SocketAddr) -> Vec<u8> {
    let mut out = Vec::new();
    proxy_protocol::write(&mut out, version, client, "10.77.1.1:80".parse().unwrap());
    out
}

#[test]
fn each_caller_has_a_connection_of_its_own_to_a_service_that_wants_its_address() {
    for (name, version) in [("v1", Version::V1), ("v2", Version::V2)] {
        for multiplex in ["none", "message"] {
            let mut w = world(&format!(
                "protocol: ttheader, multiplex: {multiplex}, proxy_protocol: {name}"
            ));
            let callers = [w.open(), w.open()];
            for (at, &caller) in callers.iter().enumerate() {
                let expected = header(version, w.client.local(caller).unwrap());
                w.send(caller, Sent::call(1).with("hi"));
                let got = w.backend.take(at);
                assert!(got.starts_with(&expected));
                let asked = frames(&got[expected.len()..]).remove(0);
                w.answer(at, asked.answer("ho"));
                assert_eq!(w.reply(caller).frame, 1);
            }
            // Each goes on where it was, without another header.
            for (at, &caller) in callers.iter().enumerate().rev() {
                w.send(caller, Sent::call(2).with("hi"));
                let asked = w.request(at);
                w.answer(at, asked.answer("ho"));
                assert_eq!(w.reply(caller).frame, 2);
            }
            // What belongs to a caller ends with it.
            w.reset(callers[0]);
            assert_eq!(w.backend.end(0), Some(End::Closed));
            assert_eq!(w.backend.end(1), None);
            w.counts("downstream_opened 2, downstream_closed, upstream_opened 2, upstream_closed, answered 4");
            w.rpc_over();
        }
    }
}

/// What waits for one caller is not needed as much as what another asks for.
#[test]
fn callers_take_turns_where_there_may_be_few_connections() {
    let mut w = world("protocol: ttheader, proxy_protocol: v1, max_connections: 1");
    let callers: Vec<usize> = (0..4).map(|_| w.open()).collect();
    for &caller in &callers {
        w.send(caller, Sent::call(1).with("hi"));
    }
    for (at, &caller) in callers.iter().enumerate() {
        let expected = header(Version::V1, w.client.local(caller).unwrap());
        let got = w.backend.take(at);
        assert!(got.starts_with(&expected), "{at}");
        let asked = frames(&got[expected.len()..]).remove(0);
        w.answer(at, asked.answer("ho"));
        assert_eq!(w.reply(caller).frame, 1);
    }
    w.send(callers[0], Sent::call(2).with("hi"));
    let got = w.backend.take(4);
    assert!(got.starts_with(b"PROXY TCP4 "));
    w.rpc_over();
}

#[test]
fn a_caller_is_who_the_header_of_its_connection_says() {
    let listener = "proxy_protocol: true";
    let mut w = World::with(&rules(listener, "protocol: ttheader, proxy_protocol: v1"));
    let c = w.open();
    let line = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n";
    w.send(c, [line.as_bytes(), &Sent::call(1).with("hi")].concat());
    let got = w.backend.take(0);
    assert!(
        got.starts_with(line.as_bytes()),
        "{}",
        String::from_utf8_lossy(&got)
    );
    let asked = frames(&got[line.len()..]).remove(0);
    w.answer(0, asked.answer("ho"));
    assert_eq!(w.reply(c).frame, 1);
    w.rpc_over();
}

/// A client that multiplexes and does not say that it takes replies in any order.
#[test]
fn replies_come_as_they_are_ready_where_the_listener_says_so() {
    let mut w = World::with(&rules("replies: any", BY_MESSAGE));
    let c = w.open();
    w.send(c, [1, 2].map(|n| Sent::in_order(n).with("hi")).concat());
    let asked = w.requests(0);
    w.answer(0, asked[1].answer("second"));
    assert_eq!(w.reply(c).frame, 2);
    w.answer(0, asked[0].answer("first"));
    assert_eq!(w.reply(c).frame, 1);
    w.rpc_counts("waited 2");
    w.rpc_over();
}

#[test]
fn a_connection_takes_calls_for_its_lifetime() {
    let mut w = World::with(&rules("limits: { lifetime: 10s }", BY_MESSAGE));
    let (idle, busy) = (w.open(), w.open());
    for caller in [idle, busy] {
        w.send(caller, Sent::call(1).with("hi"));
        let asked = w.request(0);
        w.answer(0, asked.answer("ho"));
        assert_eq!(w.reply(caller).head().string(b"crrst"), None);
    }
    w.seconds(9);
    w.send(busy, Sent::call(2).with("hi"));
    let asked = w.request(0);
    w.seconds(2);
    // One that is not used is closed; another is asked to leave.
    assert_eq!(w.client.end(idle), Some(End::Closed));
    assert_eq!(w.client.end(busy), None);
    w.send(busy, Sent::call(3).with("hi"));
    let late = w.request(0);
    w.answer(0, asked.answer("ho"));
    assert_eq!(w.reply(busy).head().string(b"crrst"), Some(&b"1"[..]));
    // After five seconds more nothing is taken from it.
    w.seconds(5);
    w.send(busy, Sent::call(4).with("hi"));
    assert_eq!(w.requests(0), []);
    w.answer(0, late.answer("ho"));
    assert_eq!(w.reply(busy).frame, 3);
    assert_eq!(w.client.end(busy), Some(End::Closed));
    w.counts(
        "downstream_opened 2, downstream_closed 2, downstream_lifetime_over 2, upstream_opened, \
         answered 4",
    );
    w.rpc_over();
}

/// The time that a caller gives is lessened at each hop by what was spent there.
#[test]
fn a_call_that_was_held_goes_on_with_what_is_left_of_its_time() {
    let mut w = world(&format!("{ONE}, max_connections: 1"));
    let (a, b, c) = (w.open(), w.open(), w.open());
    let timed = |timeout| Sent {
        integers: timeout,
        ..Sent::in_order(1)
    };
    w.send(a, Sent::in_order(1).with("a"));
    let first = w.request(0);
    w.send(b, timed(&[(integer::RPC_TIMEOUT, b"900")]).with("b"));
    w.send(c, timed(&[(integer::RPC_TIMEOUT, b"600")]).with("c"));
    w.pass(Duration::from_millis(250));
    w.answer(0, first.answer("a"));
    let second = w.request(0);
    assert_eq!(
        second.head().integer(integer::RPC_TIMEOUT),
        Some(&b"650"[..])
    );
    w.pass(Duration::from_millis(400));
    // The time of the third is over: it is told, and its call is not sent.
    assert_eq!(w.reply(c).exception().0, 6);
    w.answer(0, second.answer("b"));
    assert_eq!(w.requests(0), []);
    w.counts("downstream_opened 3, upstream_opened, answered 2, request_timeout");
    w.rpc_over();
}
