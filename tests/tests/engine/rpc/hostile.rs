//! What a caller or a service sends that is wrong: a defined answer or a close, and a count.

use sluice_perf::raw::End;
use sluice_wire::thrift::MessageKind;

use super::frames::{BY_MESSAGE, Sent, rules, text, world};
use crate::world::World;

/// A frame that a test breaks.
fn broken(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = Sent::call(1).with("hi");
    change(&mut frame);
    frame
}

fn with_two_tokens() -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 22, 0x10, 0, 0, 0, 0, 0, 0, 1, 0, 3, 0, 0];
    frame.extend_from_slice(&[0x11, 0, 1, b'a', 0x11, 0, 1, b'b', 0, 0]);
    frame
}

/// Nothing of it is waited for, or made room for.
#[test]
fn a_length_of_1_gib_is_refused_by_its_four_bytes() {
    for (listener, sent) in [
        ("protocol: ttheader", vec![0x40, 0, 0, 0]),
        ("protocol: thrift", vec![0x40, 0, 0, 0, 0x80, 1]),
    ] {
        let mut w = World::with(&rules(listener, BY_MESSAGE));
        let c = w.open();
        w.send(c, sent);
        assert_eq!(w.client.end(c), Some(End::Closed));
        w.counts("downstream_opened, downstream_closed, malformed");
        w.refused("frame_too_large", "");
        w.rpc_over();
    }
}

/// A listener that goes by the first bytes knows it for what it is, and refuses it as such: nothing that HTTP
/// would say.
#[test]
fn a_first_frame_of_an_impossible_length_is_refused_as_ttheader_where_bytes_tell() {
    for (length, reason) in [
        ([0xff; 4], "negative_length"),
        ([0x80, 0, 0, 40], "negative_length"),
        ([0x82, 0, 0, 40], "negative_length"),
        ([0x40, 0, 0, 0], "frame_too_large"),
    ] {
        for at_once in [true, false] {
            let mut w = World::with(&rules("", BY_MESSAGE));
            let c = w.open();
            let frame = broken(|f| f[..4].copy_from_slice(&length));
            if at_once {
                w.send(c, &frame);
            } else {
                for piece in frame[..8].chunks(3) {
                    w.send(c, piece);
                }
            }
            assert_eq!(w.client.end(c), Some(End::Closed), "{length:x?}");
            // Of a frame that is too large it is known whose it is, if its head has come.
            match (reason, at_once) {
                ("frame_too_large", true) => assert_eq!(w.reply(c).exception().0, 7),
                _ => assert_eq!(w.client.take(c), b"", "{length:x?}"),
            }
            w.counts("downstream_opened, downstream_closed, malformed");
            w.rpc_counts("bad_frame");
            w.refused(reason, "");
            w.rpc_over();
        }
    }
}

#[test]
fn frames_whose_end_is_not_known_end_their_connection() {
    let cases: [(&str, Vec<u8>); 13] = [
        ("negative_length", broken(|f| f[0] = 0x80)),
        ("negative_length", broken(|f| f[..4].fill(0xff))),
        // 1 GiB.
        ("frame_too_large", broken(|f| f[0] = 0x40)),
        (
            "frame_too_large",
            broken(|f| f[..4].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff])),
        ),
        ("magic", broken(|f| f[4] = 0x11)),
        ("header_empty", broken(|f| f[12..14].fill(0))),
        ("header_past_frame", broken(|f| f[12] = 0x01)),
        (
            "header_too_large",
            broken(|f| {
                f[1..3].copy_from_slice(&[4, 1]);
                f[12..14].fill(0xff);
            }),
        ),
        ("transforms", broken(|f| f[15] = 0xff)),
        ("unknown_info", broken(|f| f[16] = 0x77)),
        // A count, the length of a value.
        ("info_past_header", broken(|f| f[17] = 0xff)),
        ("info_past_header", broken(|f| f[21..23].fill(0xff))),
        ("repeated_acl_token", with_two_tokens()),
    ];
    for (name, frame) in cases {
        let mut w = World::with(&rules("protocol: ttheader", BY_MESSAGE));
        let c = w.open();
        w.send(c, Sent::call(7).with("before"));
        let asked = w.request(0);
        w.send(c, [frame, Sent::call(2).with("behind")].concat());
        // What was asked before is still answered.
        w.answer(0, asked.answer("ho"));
        let mut replies = w.replies(c);
        assert_eq!(replies.pop().map(|reply| reply.frame), Some(7), "{name}");
        // Of a frame that is too large it is known whose it is.
        let told = usize::from(name == "frame_too_large");
        assert_eq!(replies.len(), told, "{name}");
        assert_eq!(w.client.end(c), Some(End::Closed), "{name}");
        assert_eq!(w.requests(0), [], "{name}");
        w.counts("downstream_opened, downstream_closed, upstream_opened, answered, malformed");
        w.rpc_counts("bad_frame, waited");
        w.refused(name, "");
        w.rpc_over();
    }
}

/// A call whose message stands in a Thrift frame that says to be so long.
fn framed_payload(length: u32) -> Vec<u8> {
    let message = super::frames::message(MessageKind::Call, "echo", 1, &text("hi"));
    let mut frame = vec![0, 0, 0, 0, 0x10, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&message);
    let len = frame.len() as u32 - 4;
    frame[..4].copy_from_slice(&len.to_be_bytes());
    frame
}

/// Plain messages, whose end is not known then.
#[test]
fn plain_messages_that_are_malformed_end_their_connection() {
    let plain = |head: &[u8], body: &[u8]| [head, body].concat();
    let call: &[u8] = &[
        0x80, 1, 0, 1, 0, 0, 0, 4, b'e', b'c', b'h', b'o', 0, 0, 0, 1,
    ];
    let cases: [(&str, Vec<u8>); 9] = [
        ("version", plain(&[0x80, 1, 7, 1, 0, 0, 0, 0], &[0; 8])),
        ("kind", plain(&[0x80, 1, 0, 9, 0, 0, 0, 0], &[0; 8])),
        (
            "negative_method",
            plain(&[0x80, 1, 0, 1, 0x80, 0, 0, 0], &[0; 8]),
        ),
        (
            "method_too_long",
            plain(&[0x80, 1, 0, 1, 0x7f, 0, 0, 0], &[0; 8]),
        ),
        (
            "frame_too_short",
            plain(&[0, 0, 0, 6, 0x80, 1, 0, 1, 0, 0, 0, 4], &[0; 8]),
        ),
        ("varint", plain(&[0x82, 0x21], &[0xff; 8])),
        ("type", plain(call, &[0x77, 0, 1])),
        ("negative", plain(call, &[0x0b, 0, 1, 0x80, 0, 0, 0])),
        ("too_deep", plain(call, &[0x0c, 0, 1].repeat(80))),
    ];
    for (reason, sent) in cases {
        let mut w = World::with(&rules("", "protocol: thrift"));
        let c = w.open();
        w.send(c, sent);
        assert_eq!(w.client.end(c), Some(End::Closed), "{reason}");
        w.counts("downstream_opened, downstream_closed, malformed");
        w.refused(reason, "");
        w.rpc_over();
    }
}

#[test]
fn a_plain_message_without_a_frame_that_is_larger_than_the_ring_ends_its_connection() {
    let mut w = World::with(&rules("", "protocol: thrift"));
    let c = w.open();
    let long = text(&"x".repeat(20_000));
    w.send(
        c,
        super::frames::message(MessageKind::Call, "echo", 1, &long),
    );
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.refused("too_large", "");
    w.rpc_over();
}

#[test]
fn messages_that_are_malformed_are_answered_and_their_connection_goes_on() {
    let head = Sent::call(1).with("hi").len() - (4 + 4 + 4 + 4 + text("hi").len());
    let cases: [(&str, Vec<u8>); 6] = [
        ("version", broken(|f| f[head + 2] = 1)),
        ("kind", broken(|f| f[head + 3] = 9)),
        ("negative_method", broken(|f| f[head + 4] = 0x80)),
        ("method_too_long", broken(|f| f[head + 6] = 0xf0)),
        ("payload_truncated", broken(|f| f[head + 7] = 0xf0)),
        // A Thrift frame that is shorter than its message's head, in a payload that is longer.
        ("frame_too_short", framed_payload(5)),
    ];
    for (name, frame) in cases {
        let mut w = world(BY_MESSAGE);
        let c = w.open();
        w.send(c, [frame, Sent::call(2).with("behind")].concat());
        let (kind, text) = w.reply(c).exception();
        assert_eq!(kind, 7, "{name}");
        assert_eq!(
            text,
            format!("the message in this frame is malformed: {name}")
        );
        let asked = w.request(0);
        w.answer(0, asked.answer("ho"));
        assert_eq!(w.reply(c).frame, 2, "{name}");
        w.counts("downstream_opened, upstream_opened, answered, malformed");
        w.rpc_counts("bad_message, waited");
        w.refused(name, "");
        w.rpc_over();
    }
}

#[test]
fn what_is_no_request_ends_its_connection() {
    for (kind, sequence, reason) in [
        (MessageKind::Reply, 1, "not_a_request"),
        (MessageKind::Exception, 1, "not_a_request"),
        // Where replies come in any order, 0 is for control frames.
        (MessageKind::Call, 0, "reserved_sequence"),
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
        w.refused(reason, "");
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
fn a_service_that_sends_nonsense_ends_its_connection_and_its_calls() {
    for (nonsense, reason) in [
        (&b"HTTP/1.1 200 OK\r\n\r\n"[..], "frame_too_large"),
        (&[0; 64], "magic"),
        (&[0xff; 14], "negative_length"),
    ] {
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
        w.refused("", reason);
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
