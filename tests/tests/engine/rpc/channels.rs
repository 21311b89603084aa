//! Calls of several callers over connections to a service.

use sluice_perf::raw::End;
use sluice_wire::thrift::MessageKind;
use sluice_wire::ttheader::{Flags, integer};

use super::frames::{BY_FRAME, BY_MESSAGE, ONE, Sent, world};

#[test]
fn a_call_to_a_service_that_is_not_known_goes_on_byte_for_byte() {
    let mut w = world(ONE);
    let c = w.open();
    let request = Sent::in_order(7).with("hi");
    w.send(c, &request);
    let asked = w.request(0);
    assert_eq!(asked.bytes, request);
    let answer = asked.answer("ho");
    w.answer(0, &answer);
    assert_eq!(w.reply(c).bytes, answer);
    w.counts("downstream_opened, upstream_opened, answered");
    assert_eq!(w.levels(), [1, 1, 1, 0]);
    w.rpc_over();
}

#[test]
fn connections_for_one_call_at_a_time_are_used_again() {
    let mut w = world(ONE);
    let (a, b) = (w.open(), w.open());
    for (client, sequence) in [(a, 1), (b, 1), (a, 2)] {
        w.send(client, Sent::in_order(sequence).with("hi"));
        let asked = w.request(0);
        w.answer(0, asked.answer("ho"));
        assert_eq!(w.reply(client).frame, sequence);
    }
    w.counts("downstream_opened 2, upstream_opened, answered 3");
    w.rpc_over();
}

#[test]
fn callers_with_the_same_sequences_share_a_connection_to_a_server_that_goes_by_the_message() {
    let mut w = world(BY_MESSAGE);
    let (a, b) = (w.open(), w.open());
    w.send(a, Sent::call(1).with("from a"));
    w.send(b, Sent::call(1).with("from b"));
    let asked = w.requests(0);
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0].message, asked[1].message);
    for asked in &asked {
        assert_eq!(asked.frame, asked.message);
        assert_eq!(asked.flags & Flags::OUT_OF_ORDER.0, Flags::OUT_OF_ORDER.0);
    }
    // The later one first.
    w.answer(0, asked[1].answer("to b"));
    w.answer(0, asked[0].answer("to a"));
    for (client, text) in [(a, "to a"), (b, "to b")] {
        let reply = w.reply(client);
        assert_eq!((reply.frame, reply.message), (1, 1));
        assert_eq!(reply.body, super::frames::text(text));
    }
    w.counts("downstream_opened 2, upstream_opened, answered 2");
    w.rpc_counts("waited");
    w.rpc_over();
}

#[test]
fn callers_with_the_same_sequences_share_a_connection_to_a_server_that_goes_by_the_frame() {
    let mut w = world(BY_FRAME);
    let (a, b) = (w.open(), w.open());
    w.send(a, Sent::call(5).with("from a"));
    w.send(b, Sent::call(5).with("from b"));
    let asked = w.requests(0);
    assert_ne!(asked[0].frame, asked[1].frame);
    // The messages are not touched.
    assert_eq!([asked[0].message, asked[1].message], [5, 5]);
    w.answer(0, asked[1].answer_by_frame("to b"));
    w.answer(0, asked[0].answer_by_frame("to a"));
    for (client, text) in [(a, "to a"), (b, "to b")] {
        let reply = w.reply(client);
        assert_eq!((reply.frame, reply.message), (5, 5));
        assert_eq!(reply.body, super::frames::text(text));
    }
    w.rpc_over();
}

/// Many calls of one caller, answered from the last to the first.
#[test]
fn replies_come_in_any_order_where_the_caller_allows_it() {
    let mut w = world(BY_MESSAGE);
    let c = w.open();
    let requests: Vec<u8> = (1..=40).flat_map(|n| Sent::call(n).with("hi")).collect();
    w.send(c, requests);
    let asked = w.requests(0);
    assert_eq!(asked.len(), 40);
    for asked in asked.iter().rev() {
        w.answer(0, asked.answer("ho"));
    }
    let order: Vec<i32> = w.replies(c).iter().map(|reply| reply.frame).collect();
    assert_eq!(order, (1..=40).rev().collect::<Vec<_>>());
    w.rpc_over();
}

#[test]
fn replies_come_in_order_where_the_caller_goes_by_it() {
    let mut w = world(BY_MESSAGE);
    let c = w.open();
    w.send(c, [1, 2, 3].map(|n| Sent::in_order(n).with("hi")).concat());
    let asked = w.requests(0);
    w.answer(0, asked[2].answer("third"));
    w.answer(0, asked[1].answer("second"));
    assert_eq!(w.replies(c), []);
    w.answer(0, asked[0].answer("first"));
    let order: Vec<i32> = w.replies(c).iter().map(|reply| reply.frame).collect();
    assert_eq!(order, [1, 2, 3]);
    w.counts("downstream_opened, upstream_opened, answered 3");
    w.rpc_counts("waited 3, in_order 2");
    w.rpc_over();
}

#[test]
fn oneway_calls_get_no_reply_and_leave_no_trace() {
    for service in [ONE, BY_MESSAGE, BY_FRAME] {
        let mut w = world(service);
        let c = w.open();
        let oneway = Sent {
            kind: MessageKind::Oneway,
            ..Sent::call(1)
        };
        w.send(c, oneway.with("hi"));
        assert_eq!(w.request(0).kind, MessageKind::Oneway);
        w.send(c, Sent::call(2).with("hi"));
        let asked = w.request(0);
        w.answer(
            0,
            if service == BY_FRAME {
                asked.answer_by_frame("ho")
            } else {
                asked.answer("ho")
            },
        );
        assert_eq!(w.reply(c).frame, 2);
        w.counts("downstream_opened, upstream_opened, answered, oneway");
        w.rpc_over();
    }
}

#[test]
fn a_caller_that_dies_leaves_the_shared_connection_to_others() {
    let mut w = world(BY_MESSAGE);
    let (a, b) = (w.open(), w.open());
    w.send(a, Sent::call(1).with("from a"));
    w.send(b, Sent::call(1).with("from b"));
    let asked = w.requests(0);
    w.reset(a);
    w.answer(0, asked[0].answer("too late"));
    w.answer(0, asked[1].answer("to b"));
    assert_eq!(w.reply(b).body, super::frames::text("to b"));
    w.counts("downstream_opened 2, downstream_closed, upstream_opened, answered, client_gone");
    w.rpc_counts("waited, late_reply");
    w.rpc_over();
}

/// The reply to a call that is over is waited for: nobody else may get it.
#[test]
fn a_connection_for_one_call_at_a_time_is_not_used_before_the_reply_to_a_dead_caller_has_come() {
    let mut w = world(ONE);
    let (a, b) = (w.open(), w.open());
    w.send(a, Sent::in_order(1).with("from a"));
    let late = w.request(0);
    w.reset(a);
    w.send(b, Sent::in_order(1).with("from b"));
    let asked = w.request(1);
    w.answer(1, asked.answer("to b"));
    assert_eq!(w.reply(b).body, super::frames::text("to b"));
    w.answer(0, late.answer("too late"));
    assert_eq!(w.replies(b), []);
    // Both connections wait now.
    assert_eq!(w.levels(), [1, 2, 2, 0]);
    w.rpc_counts("waited 2, late_reply");
    w.rpc_over();
}

#[test]
fn a_service_that_closes_answers_every_call_of_it_and_keeps_the_callers() {
    let mut w = world(BY_MESSAGE);
    let (a, b) = (w.open(), w.open());
    w.send(a, Sent::call(1).with("from a"));
    w.send(b, Sent::call(9).with("from b"));
    w.requests(0);
    w.reset_backend(0);
    for (client, sequence) in [(a, 1), (b, 9)] {
        let reply = w.reply(client);
        assert_eq!((reply.frame, reply.message), (sequence, sequence));
        let (kind, text) = reply.exception();
        assert_eq!(kind, 6);
        assert_eq!(text, "the service closed the connection before it answered");
        assert_eq!(reply.head().integer(integer::MSG_TYPE), Some(&b"3"[..]));
    }
    w.send(a, Sent::call(2).with("again"));
    let asked = w.request(1);
    w.answer(1, asked.answer("ho"));
    assert_eq!(w.reply(a).frame, 2);
    w.counts(
        "downstream_opened 2, upstream_opened 2, upstream_closed, answered, \
         upstream_closed_early 2",
    );
    w.rpc_over();
}

#[test]
fn a_reply_to_nobody_ends_the_connection() {
    let mut w = world(BY_MESSAGE);
    let c = w.open();
    w.send(c, Sent::call(1).with("hi"));
    w.request(0);
    let stranger = Sent {
        flags: 0,
        kind: MessageKind::Reply,
        ..Sent::call(123_456)
    };
    w.answer(0, stranger.with("who?"));
    assert_eq!(w.reply(c).exception().0, 6);
    assert_eq!(w.backend.end(0), Some(End::Reset));
    w.counts("downstream_opened, upstream_opened, upstream_closed, upstream_bad_response");
    w.rpc_counts("stranger, waited");
    w.rpc_over();
}

#[test]
fn a_service_that_leaves_gets_no_further_calls_and_its_callers_are_not_told() {
    let mut w = world(BY_MESSAGE);
    let c = w.open();
    w.send(c, [1, 2].map(|n| Sent::call(n).with("hi")).concat());
    let asked = w.requests(0);
    let leaving = Sent {
        flags: 0,
        kind: MessageKind::Reply,
        frame: asked[0].frame,
        message: asked[0].message,
        strings: &[(b"crrst", b"1")],
        ..Sent::call(0)
    };
    w.answer(0, leaving.with("ho"));
    let reply = w.reply(c);
    assert_eq!(reply.head().string(b"crrst"), None);
    w.send(c, Sent::call(3).with("hi"));
    let other = w.request(1);
    w.answer(1, other.answer("ho"));
    assert_eq!(w.backend.end(0), None);
    w.answer(0, asked[1].answer("ho"));
    assert_eq!(w.replies(c).len(), 2);
    assert_eq!(w.backend.end(0), Some(End::Closed));
    w.rpc_counts("waited 3, service_leaves");
    w.rpc_over();
}

/// A service that closes its connections behind one reply is given a new one for each call, whoever waits, and
/// also where there may be one at a time.
#[test]
fn a_connection_of_a_service_that_keeps_none_has_one_call() {
    for connections in [1, 8] {
        let terms = format!("protocol: ttheader, max_idle: 0, max_connections: {connections}");
        let mut w = world(&terms);
        let callers = [w.open(), w.open(), w.open()];
        for caller in callers {
            w.send(caller, Sent::in_order(7).with("hi"));
        }
        for number in 0..callers.len() {
            let asked = w.request(number);
            w.answer(number, asked.answer("ho"));
            assert_eq!(w.backend.end(number), Some(End::Closed), "{connections}");
        }
        for caller in callers {
            assert_eq!(w.reply(caller).frame, 7, "{connections}");
        }
        w.counts("downstream_opened 3, upstream_opened 3, upstream_closed 3, answered 3");
        assert_eq!(w.levels(), [3, 0, 0, 0]);
        w.rpc_over();
    }
}
