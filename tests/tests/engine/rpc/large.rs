//! Frames that are larger than what can come together: on a connection of their own, ring to ring.

use sluice_wire::ttheader::integer;

use super::frames::{BY_MESSAGE, ONE, Sent, frames, rules, text, world};
use crate::world::{World, pattern};

/// Larger than any ring here, and than what may share a connection.
const LARGE: usize = 900_000;

fn large() -> String {
    pattern(LARGE)
        .iter()
        .map(|byte| char::from(b'a' + byte % 26))
        .collect()
}

#[test]
fn a_large_request_goes_on_a_connection_of_its_own_and_others_go_on_meanwhile() {
    let mut w = world(BY_MESSAGE);
    let (a, b) = (w.open(), w.open());
    w.send(b, Sent::call(1).with("first"));
    let first = w.request(0);
    let request = Sent::call(1).with(&large());
    let (beginning, rest) = request.split_at(request.len() - 10);
    w.send(a, beginning);
    w.seconds(1);
    w.send(b, Sent::call(2).with("second"));
    let second = w.request(0);
    w.answer(0, second.answer("to b"));
    w.answer(0, first.answer("to b"));
    assert_eq!(w.replies(b).len(), 2);
    w.send(a, rest);
    w.seconds(1);
    let asked = w.request(1);
    assert!(asked.bytes == request, "byte for byte");
    w.answer(1, asked.answer("to a"));
    assert_eq!(w.reply(a).body, text("to a"));
    w.counts("downstream_opened 2, upstream_opened 2, answered 3");
    w.rpc_counts("own_connection, waited 2");
    w.rpc_over();
}

#[test]
fn a_large_reply_comes_whole_from_shared_connections_and_others() {
    for service in [ONE, BY_MESSAGE] {
        let mut w = world(service);
        let (a, b) = (w.open(), w.open());
        w.send(a, Sent::call(1).with("hi"));
        let asked = w.request(0);
        w.answer(0, asked.answer(&large()));
        w.seconds(1);
        let reply = w.reply(a);
        assert_eq!((reply.frame, reply.message), (1, 1));
        assert!(reply.body == text(&large()));
        w.send(b, Sent::call(1).with("hi"));
        let asked = w.request(0);
        w.answer(0, asked.answer("ho"));
        assert_eq!(w.reply(b).body, text("ho"));
        w.counts("downstream_opened 2, upstream_opened, answered 2");
        w.rpc_over();
    }
}

/// `response_timeout` is the time between the end of a request and the beginning of its reply.
#[test]
fn large_requests_and_replies_may_take_longer_than_a_reply_may_take_to_begin() {
    for service in [ONE, BY_MESSAGE] {
        let mut w = world(&format!("{service}, response_timeout: 2s"));
        let c = w.open();
        let request = Sent::call(1).with(&large());
        for piece in request.chunks(200_000) {
            w.send(c, piece);
            w.seconds(1);
        }
        let asked = w.request(0);
        assert!(asked.bytes == request);
        for piece in asked.answer(&large()).chunks(200_000) {
            w.answer(0, piece);
            w.seconds(1);
        }
        assert!(w.reply(c).body == text(&large()));
        w.send(c, Sent::call(2).with(&large()));
        w.seconds(1);
        w.request(0);
        w.seconds(1);
        let (_, text) = w.reply(c).exception();
        assert_eq!(text, "the service did not answer in time");
        w.counts("downstream_opened, upstream_opened, answered, response_timeout");
        w.rpc_over();
    }
}

/// What can come together was settled when the connection was opened.
#[test]
fn a_larger_buffer_is_for_connections_opened_later() {
    let mut w = world(BY_MESSAGE);
    let old = w.open();
    w.send(old, Sent::call(1).with("hi"));
    let asked = w.request(0);
    w.answer(0, asked.answer("ho"));
    assert_eq!(w.reply(old).frame, 1);
    let larger = rules("", BY_MESSAGE).text().replace("16384B", "128KiB");
    w.reload(&larger).expect("right rules");
    w.seconds(1);
    let new = w.open();
    let body = "x".repeat(60_000);
    for (caller, connection) in [(old, 1), (new, 0)] {
        w.send(caller, Sent::call(2).with(&body));
        w.seconds(1);
        let asked = w.request(connection);
        w.answer(connection, asked.answer("ho"));
        assert_eq!(w.reply(caller).frame, 2);
    }
    w.rpc_over();
}

/// The caller does not read its large reply, but others of the same connection get theirs.
#[test]
fn a_large_reply_to_a_slow_caller_holds_up_nobody() {
    let mut w = world(BY_MESSAGE);
    let (a, b) = (w.open(), w.open());
    w.client.pause(a);
    w.send(a, Sent::call(1).with("hi"));
    let asked = w.request(0);
    w.answer(0, asked.answer(&large()));
    w.send(b, Sent::call(1).with("hi"));
    let asked = w.request(0);
    w.answer(0, asked.answer("ho"));
    assert_eq!(w.reply(b).body, text("ho"));
    let now = w.now();
    w.client.resume(a, now);
    w.seconds(1);
    assert!(w.reply(a).body == text(&large()));
    w.rpc_over();
}

#[test]
fn replies_behind_a_large_one_come_behind_it() {
    let mut w = world(ONE);
    let c = w.open();
    w.send(c, [1, 2].map(|n| Sent::call(n).with("hi")).concat());
    let (first, second) = (w.request(0), w.request(1));
    let answer = first.answer(&large());
    let (beginning, rest) = answer.split_at(400_000);
    w.answer(0, beginning);
    w.answer(1, second.answer("second"));
    w.answer(0, rest);
    w.seconds(1);
    let replies = w.replies(c);
    let order: Vec<i32> = replies.iter().map(|reply| reply.frame).collect();
    assert_eq!(order, [1, 2]);
    assert!(replies[0].body == text(&large()));
    w.rpc_over();
}

#[test]
fn a_reply_above_the_limit_is_dropped_and_its_call_told() {
    let mut w = World::with(&rules("limits: { frame: 100KiB }", BY_MESSAGE));
    let c = w.open();
    w.send(c, Sent::call(1).with("hi"));
    let asked = w.request(0);
    w.answer(0, asked.answer(&large()));
    w.seconds(1);
    let (kind, text) = w.reply(c).exception();
    assert_eq!(
        (kind, text.as_str()),
        (6, "the reply of the service is larger than allowed here")
    );
    w.send(c, Sent::call(2).with("hi"));
    let asked = w.request(0);
    w.answer(0, asked.answer("ho"));
    assert_eq!(w.reply(c).frame, 2);
    w.rpc_counts("large_reply, waited");
    w.rpc_over();
}

/// A frame once begun can't be taken back: its connection ends, and nobody else is on it.
#[test]
fn a_caller_that_dies_within_a_large_request_ends_that_connection_alone() {
    let mut w = world(BY_MESSAGE);
    let (a, b) = (w.open(), w.open());
    let request = Sent::call(1).with(&large());
    w.send(a, &request[..request.len() / 2]);
    w.seconds(1);
    w.reset(a);
    assert_eq!(w.backend.end(0), Some(sluice_perf::raw::End::Reset));
    w.send(b, Sent::call(1).with("hi"));
    let asked = w.request(1);
    w.answer(1, asked.answer("ho"));
    assert_eq!(frames(&w.client.take(b)).len(), 1);
    w.rpc_over();
}

#[test]
fn a_service_that_dies_within_a_large_request_leaves_the_caller_its_connection() {
    let mut w = world(BY_MESSAGE);
    let c = w.open();
    let request = Sent::call(1).with(&large());
    let (beginning, rest) = request.split_at(request.len() / 2);
    w.send(c, beginning);
    w.seconds(1);
    w.reset_backend(0);
    assert_eq!(w.reply(c).exception().0, 6);
    w.send(c, rest);
    w.seconds(1);
    w.send(c, Sent::call(2).with("hi"));
    let asked = w.request(1);
    w.answer(1, asked.answer("ho"));
    assert_eq!(w.reply(c).frame, 2);
    w.rpc_over();
}

/// A service that answers before it has read everything: the rest is thrown away, and the next request
/// goes on.
#[test]
fn an_early_reply_to_a_large_request_is_given_and_the_rest_thrown_away() {
    let mut w = world(BY_MESSAGE);
    let c = w.open();
    let request = Sent::call(1).with(&large());
    let (beginning, rest) = request.split_at(request.len() / 2);
    w.send(c, beginning);
    w.seconds(1);
    let early = Sent {
        flags: 0,
        kind: sluice_wire::thrift::MessageKind::Reply,
        ..Sent::call(1)
    };
    w.answer(0, early.with("enough"));
    assert_eq!(w.reply(c).body, text("enough"));
    w.send(c, rest);
    w.seconds(1);
    w.send(c, Sent::call(2).with("hi"));
    let asked = w.request(1);
    w.answer(1, asked.answer("ho"));
    assert_eq!(w.reply(c).frame, 2);
    w.rpc_over();
}

/// To cut a reply off would end every other call of its caller: it may go on while it moves.
#[test]
fn a_large_reply_that_has_begun_is_finished_though_its_time_is_over() {
    let mut w = world(ONE);
    let c = w.open();
    let timed = |sequence| Sent {
        integers: &[(integer::RPC_TIMEOUT, b"1000")],
        ..Sent::call(sequence)
    };
    w.send(c, [1, 2].map(|n| timed(n).with("hi")).concat());
    let (first, second) = (w.request(0), w.request(1));
    let answer = first.answer(&large());
    w.answer(0, &answer[..400_000]);
    w.seconds(2);
    w.answer(0, &answer[400_000..]);
    w.seconds(1);
    // The other one's time was over as well, and nothing of its reply had come.
    w.answer(1, second.answer("late"));
    let replies = w.replies(c);
    assert_eq!(replies.len(), 2);
    assert!(replies[0].frame == 1 && replies[0].body == text(&large()));
    assert_eq!((replies[1].frame, replies[1].exception().0), (2, 6));
    w.counts("downstream_opened, upstream_opened 2, answered, request_timeout");
    w.rpc_over();
}

#[test]
fn a_large_reply_that_stops_ends_its_caller_after_the_idle_timeout() {
    let mut w = World::with(&rules("idle_timeout: 5s", ONE));
    let c = w.open();
    w.send(c, Sent::call(1).with("hi"));
    let asked = w.request(0);
    w.answer(0, &asked.answer(&large())[..400_000]);
    w.seconds(4);
    assert_eq!(w.client.end(c), None);
    w.seconds(2);
    assert_eq!(w.client.end(c), Some(sluice_perf::raw::End::Reset));
    w.rpc_over();
}
