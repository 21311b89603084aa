//! What a caller or a service sends that is wrong: a defined answer or a close, and a count.

use sluice_perf::raw::End;
use sluice_wire::thrift::MessageKind;
use sluice_wire::ttheader::Flags;

use super::frames::{BY_MESSAGE, Sent, rules, text, world};
use crate::world::World;

/// A frame that a test breaks.
fn broken(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = Sent::call(1).with("hi");
    change(&mut frame);
    frame
}

#[test]
fn frames_whose_end_is_not_known_end_their_connection() {
    let cases: [(&str, Vec<u8>); 8] = [
        ("negative length", broken(|f| f[0] = 0x80)),
        ("a length of 1 GiB", broken(|f| f[0] = 0x40)),
        ("a length above the limit", broken(|f| f[0] = 0x02)),
        ("no header", broken(|f| f[12..14].fill(0))),
        ("a header past the frame", broken(|f| f[12] = 0x01)),
        ("transforms past the header", broken(|f| f[15] = 0xff)),
        ("an unknown block", broken(|f| f[16] = 0x77)),
        ("a count past the header", broken(|f| f[17] = 0xff)),
    ];
    for (name, frame) in cases {
        let mut w = World::with(&rules("protocol: ttheader", BY_MESSAGE));
        let c = w.open();
        w.send(c, Sent::call(7).with("before"));
        let asked = w.request(0);
        w.send(c, [frame, Sent::call(2).with("behind")].concat());
        // What was asked before is still answered.
        w.answer(0, asked.answer("ho"));
        assert_eq!(w.reply(c).frame, 7, "{name}");
        assert_eq!(w.client.end(c), Some(End::Closed), "{name}");
        assert_eq!(w.requests(0), [], "{name}");
        w.counts("downstream_opened, downstream_closed, upstream_opened, answered, malformed");
        w.rpc_counts("bad_frame, waited");
        w.rpc_over();
    }
}

#[test]
fn messages_that_are_malformed_are_answered_and_their_connection_goes_on() {
    let head = Sent::call(1).with("hi").len() - (4 + 4 + 4 + 4 + text("hi").len());
    let cases: [(&str, Vec<u8>); 4] = [
        ("a version", broken(|f| f[head + 2] = 1)),
        ("a kind", broken(|f| f[head + 3] = 9)),
        ("a negative method", broken(|f| f[head + 4] = 0x80)),
        ("a method past the payload", broken(|f| f[head + 7] = 0xf0)),
    ];
    for (name, frame) in cases {
        let mut w = world(BY_MESSAGE);
        let c = w.open();
        w.send(c, [frame, Sent::call(2).with("behind")].concat());
        let (kind, text) = w.reply(c).exception();
        assert_eq!(
            (kind, text.as_str()),
            (7, "the message in this frame is malformed"),
            "{name}"
        );
        let asked = w.request(0);
        w.answer(0, asked.answer("ho"));
        assert_eq!(w.reply(c).frame, 2, "{name}");
        w.counts("downstream_opened, upstream_opened, answered, malformed");
        w.rpc_counts("bad_message, waited");
        w.rpc_over();
    }
}

#[test]
fn what_is_no_request_ends_its_connection() {
    for (kind, sequence) in [
        (MessageKind::Reply, 1),
        (MessageKind::Exception, 1),
        // Where replies come in any order, 0 is for control frames.
        (MessageKind::Call, 0),
    ] {
        let mut w = world(BY_MESSAGE);
        let c = w.open();
        let sent = Sent {
            kind,
            ..Sent::call(sequence)
        };
        w.send(c, sent.with("hi"));
        assert_eq!(w.replies(c), []);
        assert_eq!(w.client.end(c), Some(End::Closed));
        w.counts("downstream_opened, downstream_closed, not_a_request");
        w.rpc_over();
    }
}

/// A ping-pong client of Volo has 0 everywhere.
#[test]
fn sequence_0_is_served_in_order() {
    let mut w = world(BY_MESSAGE);
    let c = w.open();
    w.send(c, Sent::in_order(0).with("hi"));
    let asked = w.request(0);
    assert_ne!((asked.frame, asked.message), (0, 0));
    w.answer(0, asked.answer("ho"));
    let reply = w.reply(c);
    assert_eq!((reply.frame, reply.message), (0, 0));
    w.rpc_over();
}

#[test]
fn a_sequence_that_is_used_twice_at_a_time_is_answered_twice() {
    let mut w = world(BY_MESSAGE);
    let c = w.open();
    w.send(
        c,
        [Sent::call(1).with("a"), Sent::call(1).with("b")].concat(),
    );
    let asked = w.requests(0);
    w.answer(0, asked[0].answer("to a"));
    w.answer(0, asked[1].answer("to b"));
    let replies = w.replies(c);
    assert_eq!([replies[0].frame, replies[1].frame], [1, 1]);
    assert_eq!(replies[1].body, text("to b"));
    w.rpc_over();
}

#[test]
fn streams_are_refused_by_their_trailer() {
    let mut w = world(BY_MESSAGE);
    let c = w.open();
    let stream = Sent {
        flags: Flags::STREAMING.0,
        integers: &[(27, b"2"), (9, b"echo")],
        ..Sent::call(3)
    };
    w.send(c, stream.with("hi"));
    let reply = w.reply(c);
    assert_eq!(reply.frame, 3);
    assert_eq!(reply.head().integer(27), Some(&b"4"[..]));
    w.counts("downstream_opened, unsupported");
    w.rpc_over();
}

#[test]
fn a_service_that_sends_nonsense_ends_its_connection_and_its_calls() {
    for nonsense in [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[0; 64], &[0xff; 14]] {
        let mut w = world(BY_MESSAGE);
        let c = w.open();
        w.send(c, Sent::call(1).with("hi"));
        w.request(0);
        w.answer(0, nonsense);
        let (kind, text) = w.reply(c).exception();
        assert_eq!(kind, 6);
        assert_eq!(text, "the service sent something that is no reply");
        assert_eq!(w.backend.end(0), Some(End::Reset));
        w.counts("downstream_opened, upstream_opened, upstream_closed, upstream_bad_response");
        w.rpc_counts("bad_reply, waited");
        w.rpc_over();
    }
}

#[test]
fn a_call_is_no_reply() {
    for kind in [MessageKind::Call, MessageKind::Oneway] {
        let mut w = world(BY_MESSAGE);
        let c = w.open();
        w.send(c, Sent::call(1).with("hi"));
        let asked = w.request(0);
        let call = Sent {
            kind,
            ..Sent::call(asked.message)
        };
        w.answer(0, call.with("ho"));
        let (_, text) = w.reply(c).exception();
        assert_eq!(text, "the service sent something that is no reply");
        w.counts("downstream_opened, upstream_opened, upstream_closed, upstream_bad_response");
        w.rpc_counts("bad_reply, waited");
        w.rpc_over();
    }
}

/// Calls behind half a reply can't be answered: their connection is given up, whether the reply was to come
/// together or is a large one, and others go on with the next.
#[test]
fn a_shared_connection_that_stops_within_a_reply_is_given_up() {
    let large = "x".repeat(600_000);
    for (reply, sent) in [("ho", 20), (&large[..], 500_000)] {
        let mut w = world(
            "protocol: ttheader, multiplex: message, shared_connections: 1, response_timeout: 30s",
        );
        let a = w.open();
        w.send(a, Sent::call(1).with("from a"));
        let asked = w.request(0);
        let answer = asked.answer(reply);
        w.answer(0, &answer[..sent]);
        w.seconds(8);
        // It went on.
        w.answer(0, &answer[sent..=sent]);
        w.seconds(8);
        let b = w.open();
        w.send(b, Sent::call(1).with("from b"));
        w.request(0);
        assert_eq!(w.replies(a), []);
        w.seconds(3);
        for caller in [a, b] {
            let (kind, text) = w.reply(caller).exception();
            assert_eq!(kind, 6);
            assert_eq!(text, "the service stopped in the middle of a reply");
        }
        assert_eq!(w.backend.end(0), Some(End::Reset));
        w.send(b, Sent::call(2).with("from b"));
        let asked = w.request(1);
        w.answer(1, asked.answer("to b"));
        assert_eq!(w.reply(b).body, text("to b"));
        w.counts(
            "downstream_opened 2, upstream_opened 2, upstream_closed, upstream_bad_response 2, answered",
        );
        w.rpc_counts("bad_reply, waited 2");
        w.rpc_over();
    }
}

#[test]
fn a_service_that_stops_within_a_reply_ends_its_call_in_time() {
    let mut w = world("protocol: ttheader, response_timeout: 2s");
    let c = w.open();
    w.send(c, Sent::in_order(1).with("hi"));
    let asked = w.request(0);
    let answer = asked.answer("ho");
    w.answer(0, &answer[..answer.len() - 1]);
    w.seconds(3);
    assert_eq!(w.reply(c).exception().0, 6);
    // The rest comes late, and the connection can be used again.
    w.answer(0, &answer[answer.len() - 1..]);
    w.send(c, Sent::in_order(2).with("hi"));
    let asked = w.request(0);
    w.answer(0, asked.answer("ho"));
    assert_eq!(w.reply(c).frame, 2);
    w.counts("downstream_opened, upstream_opened, response_timeout, answered");
    w.rpc_counts("late_reply, waited");
    w.rpc_over();
}

/// Every byte of some frames comes by itself, and ends anywhere.
#[test]
fn frames_in_pieces_are_frames() {
    let mut w = world(BY_MESSAGE);
    let c = w.open();
    let request = Sent::call(1).with("hi");
    for byte in &request {
        w.send(c, [*byte]);
    }
    let asked = w.request(0);
    for byte in asked.answer("ho") {
        w.answer(0, [byte]);
    }
    assert_eq!(w.reply(c).body, text("ho"));
    w.counts("downstream_opened, upstream_opened, answered");
    w.rpc_over();
}

#[test]
fn other_protocols_are_refused_as_before() {
    for (first, end) in [
        (&b"\x16\x03\x01\x00\x05\x01\x00\x00"[..], Some(End::Closed)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(End::Closed)),
        (b"\x00\x00\x00\x20\x0f\xff\x00\x00", Some(End::Closed)),
    ] {
        let mut w = world(BY_MESSAGE);
        let c = w.open();
        w.send(c, first);
        assert!(w.got(c).starts_with("HTTP/1.1 "), "{first:?}");
        assert_eq!(w.client.end(c), end, "{first:?}");
        w.over();
    }
}
