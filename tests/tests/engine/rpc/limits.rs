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
