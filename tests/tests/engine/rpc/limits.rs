//! Limits of listeners on what callers do, and what callers are told of them.

use sluice_perf::raw::End;
use sluice_wire::thrift::MessageKind;

use super::frames::{BY_MESSAGE, Sent, message, rules, text};
use crate::world::World;

const FIVE: &str = "limits: { requests: 5 }";

#[test]
fn a_connection_ends_with_the_last_of_the_calls_that_it_may_have() {
    let mut w = World::with(&rules(FIVE, BY_MESSAGE));
    let c = w.open();
    for n in 1..=5 {
        w.send(c, Sent::call(n).with("hi"));
        assert_eq!(w.client.end(c), None);
        let asked = w.request(0);
        w.answer(0, asked.answer("ho"));
        let last = (n == 5).then_some(&b"1"[..]);
        assert_eq!(w.reply(c).head().string(b"crrst"), last, "{n}");
    }
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.counts(
        "downstream_opened, downstream_closed, downstream_requests_spent, upstream_opened, answered 5",
    );
    w.rpc_over();
}

/// Those beyond the limit are told so, and nothing of them is sent on.
#[test]
fn calls_under_way_are_answered_before_a_connection_ends_that_has_had_enough() {
    let mut w = World::with(&rules(FIVE, BY_MESSAGE));
    let c = w.open();
    w.send(
        c,
        (1..=8)
            .flat_map(|n| Sent::call(n).with("hi"))
            .collect::<Vec<_>>(),
    );
    let asked = w.requests(0);
    assert_eq!(asked.len(), 5);
    for refused in w.replies(c) {
        assert!(refused.frame > 5, "{refused:?}");
        let (kind, text) = refused.exception();
        assert_eq!(kind, 6);
        assert_eq!(
            text,
            "this connection has had as many calls as it may; make this one on another"
        );
        assert_eq!(refused.head().string(b"crrst"), Some(&b"1"[..]));
    }
    for asked in asked {
        assert_eq!(w.client.end(c), None);
        w.answer(0, asked.answer("ho"));
        assert_eq!(w.reply(c).body, text("ho"));
    }
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.counts(
        "downstream_opened, downstream_closed, downstream_requests_spent, upstream_opened, \
         answered 5, unavailable 3",
    );
    w.rpc_over();
}

#[test]
fn a_connection_of_plain_thrift_ends_with_the_last_of_its_calls() {
    let mut w = World::with(&rules("limits: { requests: 2 }", "protocol: thrift"));
    let c = w.open();
    let call = |n| message(MessageKind::Call, "echo", n, &text("hi"));
    let reply = |n| message(MessageKind::Reply, "echo", n, &text("ho"));
    w.send(c, [call(1), call(2)].concat());
    for (connection, n) in [(0, 1), (1, 2)] {
        assert_eq!(w.client.end(c), None);
        assert_eq!(w.backend.take(connection), call(n));
        w.answer(connection, reply(n));
        assert_eq!(w.client.take(c), reply(n));
    }
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.rpc_over();
}

#[test]
fn a_frame_above_the_limit_is_answered_before_its_connection_ends() {
    const SAYS: &str =
        "this request is larger than the listener allows (limits.frame, or buffer without a frame)";
    let mut w = World::with(&rules("limits: { frame: 64KiB }", BY_MESSAGE));
    let c = w.open();
    w.send(c, Sent::call(1).with("before"));
    let asked = w.request(0);
    w.send(c, Sent::call(2).with(&"x".repeat(70_000)));
    let refused = w.reply(c);
    assert_eq!((refused.frame, refused.message), (2, 2));
    assert_eq!(refused.exception(), (7, SAYS.to_owned()));
    assert_eq!(refused.head().string(b"crrst"), Some(&b"1"[..]));
    assert_eq!(w.client.end(c), None);
    w.answer(0, asked.answer("ho"));
    assert_eq!(w.reply(c).body, text("ho"));
    assert_eq!(w.client.end(c), Some(End::Closed));
    // Nobody waits for an answer to this one.
    let c = w.open();
    let oneway = Sent {
        kind: MessageKind::Oneway,
        ..Sent::call(3)
    };
    w.send(c, oneway.with(&"x".repeat(70_000)));
    assert_eq!(w.replies(c), []);
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.counts("downstream_opened 2, downstream_closed 2, upstream_opened, answered, malformed 2");
    w.rpc_counts("bad_frame 2, waited");
    w.refused("frame_too_large 2", "");
    w.rpc_over();
}

/// The service is not to blame, whose reply may take less long.
#[test]
fn a_caller_that_stops_within_a_large_request_is_told_and_ended() {
    let mut w = World::with(&rules(
        "body_timeout: 5s",
        "protocol: ttheader, response_timeout: 2s",
    ));
    let c = w.open();
    let request = Sent::call(1).with(&"x".repeat(900_000));
    w.send(c, &request[..400_000]);
    w.seconds(4);
    w.send(c, &request[400_000..500_000]);
    w.seconds(4);
    assert_eq!((w.replies(c), w.client.end(c)), (vec![], None));
    w.seconds(2);
    let (kind, text) = w.reply(c).exception();
    assert_eq!(
        (kind, text.as_str()),
        (6, "the request body came too slowly")
    );
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, upstream_closed, body_timeout",
    );
    w.rpc_over();
}

/// A service that takes a large request and does not answer is.
#[test]
fn a_service_that_leaves_a_large_request_unanswered_is_told_of() {
    let mut w = World::with(&rules(
        "body_timeout: 1s",
        "protocol: ttheader, response_timeout: 3s",
    ));
    let c = w.open();
    w.send(c, Sent::call(1).with(&"x".repeat(900_000)));
    w.seconds(2);
    assert_eq!(w.replies(c), []);
    w.seconds(2);
    assert_eq!(
        w.reply(c).exception(),
        (6, "the service did not answer in time".to_owned())
    );
    assert_eq!(w.client.end(c), None);
    w.counts("downstream_opened, upstream_opened, response_timeout");
    w.rpc_over();
}
