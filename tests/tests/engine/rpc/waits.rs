//! Calls that wait: for a connection, for a reply, for their caller to take it.

use sluice_perf::raw::End;
use sluice_wire::ttheader::integer;

use super::frames::{BY_MESSAGE, ONE, Sent, frames, rules, text, world};
use crate::world::{BUFFER, Rules, World};

const TIMES: &str = "protocol: ttheader, multiplex: message, shared_connections: 1, \
                     response_timeout: 2s, request_timeout: 5s, connect_timeout: 1s";

#[test]
fn a_service_that_does_not_answer_in_time_ends_its_call_alone() {
    let mut w = world(TIMES);
    let (a, b) = (w.open(), w.open());
    w.send(a, Sent::call(1).with("from a"));
    let slow = w.request(0);
    w.seconds(1);
    w.send(b, Sent::call(1).with("from b"));
    let asked = w.request(0);
    w.seconds(1);
    let (kind, text) = w.reply(a).exception();
    assert_eq!(kind, 6);
    assert_eq!(text, "the service did not answer in time");
    w.answer(0, slow.answer("too late"));
    w.answer(0, asked.answer("to b"));
    assert_eq!(w.reply(b).body, super::frames::text("to b"));
    assert_eq!(w.replies(a), []);
    w.counts("downstream_opened 2, upstream_opened, answered, response_timeout");
    w.rpc_counts("waited, late_reply");
    w.rpc_over();
}

#[test]
fn a_shared_connection_on_which_nothing_is_ever_answered_is_given_up() {
    let mut w = world(TIMES);
    let c = w.open();
    w.send(c, [1, 2].map(|n| Sent::call(n).with("hi")).concat());
    let asked = w.requests(0);
    w.seconds(3);
    // Something comes, though late: its service is slow and no more.
    w.answer(0, asked[0].answer("late"));
    let calls = |from: i32| [0, 1, 2].map(|n| Sent::call(from + n).with("hi")).concat();
    w.send(c, calls(3));
    assert_eq!(w.requests(0).len(), 3);
    w.seconds(1);
    w.send(c, Sent::call(6).with("hi"));
    let last = w.request(0);
    w.seconds(1);
    assert_eq!(w.replies(c).len(), 5);
    // It goes on for the one that is under way.
    w.answer(0, last.answer("ho"));
    assert_eq!(w.reply(c).body, text("ho"));
    w.send(c, Sent::call(7).with("hi"));
    assert_eq!(w.requests(0), []);
    let asked = w.request(1);
    w.answer(1, asked.answer("ho"));
    assert_eq!(w.reply(c).body, text("ho"));
    w.counts(
        "downstream_opened, upstream_opened 2, upstream_closed, answered 2, response_timeout 5",
    );
    w.rpc_counts("waited 3, late_reply, service_silent");
    w.rpc_over();
}

#[test]
fn the_time_that_a_caller_gives_is_kept_to() {
    let mut w = world(TIMES);
    let c = w.open();
    let call = Sent {
        integers: &[(integer::RPC_TIMEOUT, b"300")],
        ..Sent::call(1)
    };
    w.send(c, call.with("hi"));
    let asked = w.request(0);
    // Less than a millisecond has gone by: nothing is changed.
    assert_eq!(
        asked.head().integer(integer::RPC_TIMEOUT),
        Some(&b"300"[..])
    );
    w.pass(std::time::Duration::from_millis(302));
    assert_eq!(w.reply(c).exception().0, 6);
    w.counts("downstream_opened, upstream_opened, request_timeout");
    w.rpc_over();
}

/// The first call holds the only connection; the second waits for it, and goes on with the time that is
/// left.
#[test]
fn the_time_that_a_call_waited_is_taken_from_what_its_caller_gave() {
    let mut w = world("protocol: ttheader, max_connections: 1");
    let (a, b) = (w.open(), w.open());
    w.send(a, Sent::in_order(1).with("from a"));
    let first = w.request(0);
    let timed = |timeout| Sent {
        integers: timeout,
        ..Sent::in_order(1)
    };
    w.send(b, timed(&[(integer::RPC_TIMEOUT, b"1000")]).with("from b"));
    w.pass(std::time::Duration::from_millis(400));
    w.answer(0, first.answer("to a"));
    let second = w.request(0);
    let left = second.head().integer(integer::RPC_TIMEOUT);
    assert_eq!(left, Some(&b"600"[..]));
    w.answer(0, second.answer("to b"));
    assert_eq!(w.reply(b).body, text("to b"));
    w.counts("downstream_opened 2, upstream_opened, answered 2");
    w.rpc_over();
}

#[test]
fn a_call_whose_time_has_passed_is_not_sent() {
    let mut w = world("protocol: ttheader, max_connections: 1");
    let (a, b) = (w.open(), w.open());
    w.send(a, Sent::in_order(1).with("from a"));
    let first = w.request(0);
    let timed = Sent {
        integers: &[(integer::RPC_TIMEOUT, b"100")],
        ..Sent::in_order(1)
    };
    w.send(b, timed.with("from b"));
    w.pass(std::time::Duration::from_millis(200));
    assert_eq!(w.reply(b).exception().0, 6);
    w.answer(0, first.answer("to a"));
    assert_eq!(w.requests(0), []);
    w.counts("downstream_opened 2, upstream_opened, answered, request_timeout");
    w.rpc_over();
}

#[test]
fn calls_wait_their_turn_for_the_connections_there_may_be() {
    let mut w = world("protocol: ttheader, max_connections: 2, max_idle: 2");
    let callers: Vec<usize> = (0..10).map(|_| w.open()).collect();
    for &caller in &callers {
        w.send(caller, Sent::in_order(1).with("hi"));
    }
    for turn in 0..5 {
        for connection in 0..2 {
            let asked = w.request(connection);
            w.answer(connection, asked.answer(&format!("{turn}")));
        }
    }
    for caller in callers {
        assert_eq!(w.reply(caller).frame, 1);
    }
    w.counts("downstream_opened 10, upstream_opened 2, answered 10");
    w.rpc_over();
}

#[test]
fn an_endpoint_that_refuses_leaves_its_calls_to_the_next() {
    let mut w = World::with(&rules("", BY_MESSAGE).endpoints(Rules::BOTH));
    // Nobody listens at the first endpoint.
    w.backend.unlisten();
    let second = ([10, 77, 2, 3], 8080).into();
    let buffers = w.buffers;
    w.backend.listen(second, buffers);
    let c = w.open();
    w.send(c, [1, 2].map(|n| Sent::call(n).with("hi")).concat());
    let asked = w.requests(0);
    assert_eq!(asked.len(), 2);
    for asked in asked {
        w.answer(0, asked.answer("ho"));
    }
    assert_eq!(w.replies(c).len(), 2);
    w.counts(
        "downstream_opened, upstream_opened 2, upstream_closed, endpoint_suspected, \
         retried_connect, answered 2",
    );
    w.rpc_over();
}

#[test]
fn when_no_endpoint_can_be_connected_to_every_call_is_told() {
    let mut w = world(BY_MESSAGE);
    w.backend.unlisten();
    let c = w.open();
    w.send(c, [1, 2].map(|n| Sent::call(n).with("hi")).concat());
    let replies = w.replies(c);
    assert_eq!(replies.len(), 2);
    for reply in replies {
        let (kind, text) = reply.exception();
        assert_eq!(kind, 6);
        assert_eq!(text, "no endpoint of the service accepted a connection");
    }
    assert_eq!(w.levels(), [1, 0, 0, 0]);
    w.rpc_over();
}

/// One caller does not read. The others of the same connection get their replies all the same.
#[test]
fn a_caller_that_takes_nothing_holds_up_nobody_and_is_ended() {
    let mut w = World::with(&rules("idle_timeout: 20s", BY_MESSAGE));
    let (slow, other) = (w.open(), w.open());
    w.client.pause(slow);
    let large = "x".repeat(BUFFER);
    let requests = |from: i32| -> Vec<u8> {
        let calls = from..from + 8;
        calls.flat_map(|n| Sent::call(n).with("hi")).collect()
    };
    w.send(slow, requests(1));
    for asked in w.requests(0) {
        w.answer(0, asked.answer(&large));
    }
    w.send(other, Sent::call(1).with("hi"));
    let asked = w.request(0);
    w.answer(0, asked.answer("ho"));
    assert_eq!(w.reply(other).body, text("ho"));
    w.seconds(15);
    // Nothing of it is lost for a caller that takes it late.
    let now = w.now();
    w.client.resume(slow, now);
    w.seconds(1);
    let replies = w.replies(slow);
    let order: Vec<i32> = replies.iter().map(|reply| reply.frame).collect();
    assert_eq!(order, (1..=8).collect::<Vec<_>>());
    w.client.pause(slow);
    w.send(slow, requests(11));
    for asked in w.requests(0) {
        w.answer(0, asked.answer(&large));
    }
    // It has not taken what it got: nothing more is read from it.
    w.send(slow, Sent::call(20).with("hi"));
    assert_eq!(w.requests(0), []);
    w.seconds(25);
    assert_eq!(w.client.end(slow), Some(End::Reset));
    w.rpc_over();
}

#[test]
fn a_caller_that_stops_within_a_frame_is_closed() {
    let mut w = World::with(&rules("head_timeout: 3s", BY_MESSAGE));
    let c = w.open();
    let request = Sent::call(1).with("hi");
    w.send(c, &request[..request.len() - 1]);
    w.seconds(4);
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.counts("downstream_opened, downstream_closed, head_timeout");
    w.refused("truncated", "");
    w.rpc_over();
}

#[test]
fn a_caller_that_closes_within_a_frame_is_counted() {
    let mut w = world(BY_MESSAGE);
    let c = w.open();
    let request = Sent::call(1).with("hi");
    w.send(c, &request[..request.len() - 1]);
    w.finish(c);
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.counts("downstream_opened, downstream_closed, client_gone");
    w.refused("truncated", "");
    w.rpc_over();
}

#[test]
fn a_service_that_closes_within_a_reply_is_counted() {
    let mut w = world(BY_MESSAGE);
    let c = w.open();
    w.send(c, Sent::call(1).with("hi"));
    let answer = w.request(0).answer("ho");
    w.answer(0, &answer[..answer.len() - 1]);
    w.finish_backend(0);
    assert_eq!(w.reply(c).exception().0, 6);
    w.refused("", "truncated");
    w.rpc_over();
}

/// A half-closed connection gets the replies that it waits for.
#[test]
fn a_caller_that_has_sent_its_last_request_gets_its_replies() {
    let mut w = world(BY_MESSAGE);
    let c = w.open();
    w.send(c, Sent::call(1).with("hi"));
    w.finish(c);
    let asked = w.request(0);
    w.answer(0, asked.answer("ho"));
    assert_eq!(w.reply(c).frame, 1);
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.rpc_over();
}

#[test]
fn connections_without_calls_are_closed_in_time() {
    for service in [ONE, BY_MESSAGE] {
        let settings = format!("{service}, idle_timeout: 8s");
        // One that is shared never counts as waiting.
        let idle = u64::from(service == ONE);
        let mut w = World::with(&rules("idle_timeout: 5s", &settings));
        let c = w.open();
        w.send(c, Sent::call(1).with("hi"));
        let asked = w.request(0);
        w.answer(0, asked.answer("ho"));
        assert_eq!(frames(&w.client.take(c)).len(), 1);
        w.seconds(4);
        assert_eq!(w.levels(), [1, 1, idle, 0]);
        w.seconds(2);
        assert_eq!(w.levels(), [0, 1, idle, 0]);
        w.seconds(15);
        assert_eq!(w.levels(), [0, 0, 0, 0]);
        w.counts(
            "downstream_opened, downstream_closed, downstream_idle_timeout, upstream_opened, \
             upstream_closed, upstream_idle_timeout, answered",
        );
        w.rpc_over();
    }
}

#[test]
fn a_gateway_that_drains_asks_callers_to_leave_and_finishes_what_has_begun() {
    let mut w = world(BY_MESSAGE);
    let (busy, idle) = (w.open(), w.open());
    w.send(idle, Sent::call(1).with("hi"));
    let asked = w.request(0);
    w.answer(0, asked.answer("ho"));
    assert_eq!(w.reply(idle).head().string(b"crrst"), None);
    w.send(busy, Sent::call(1).with("hi"));
    let asked = w.request(0);
    let now = w.now();
    w.worker.drain(now);
    w.settle();
    assert_eq!(w.client.end(idle), Some(End::Closed));
    assert_eq!(w.client.end(busy), None);
    w.answer(0, asked.answer("ho"));
    let reply = w.reply(busy);
    assert_eq!(reply.head().string(b"crrst"), Some(&b"1"[..]));
    assert_eq!(reply.body, text("ho"));
    assert_eq!(w.client.end(busy), Some(End::Closed));
    assert!(w.worker.is_drained());
    w.rpc_over();
}
