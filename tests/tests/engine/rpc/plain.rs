//! Thrift without TTHeader, on either side or on both.

use sluice_wire::thrift::MessageKind;
use sluice_wire::ttheader::{NewHead, integer};

use super::frames::{BY_FRAME, BY_MESSAGE, ONE, Sent, message, text, world};

const PLAIN: &str = "protocol: thrift, max_idle: 4";

fn call(sequence: i32, words: &str) -> Vec<u8> {
    message(MessageKind::Call, "echo", sequence, &text(words))
}

fn reply(sequence: i32, words: &str) -> Vec<u8> {
    message(MessageKind::Reply, "echo", sequence, &text(words))
}

fn framed(message: Vec<u8>) -> Vec<u8> {
    let mut out = (message.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(&message);
    out
}

/// A frame of TTHeader with this payload.
fn behind_ttheader(sequence: i32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let head = NewHead {
        sequence,
        ..NewHead::default()
    };
    head.write(&mut out, payload.len()).expect("small");
    out.extend_from_slice(payload);
    out
}

/// A message of the compact protocol with a text as the only field of its struct. Lengths and sequences are
/// below 2^21.
fn compact(kind: MessageKind, sequence: i32, words: &str) -> Vec<u8> {
    let varint = |out: &mut Vec<u8>, mut value: usize| {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    };
    let mut out = vec![0x82, (kind as u8) << 5 | 1];
    varint(&mut out, sequence as usize);
    out.extend_from_slice(b"\x04echo\x18");
    varint(&mut out, words.len());
    out.extend_from_slice(words.as_bytes());
    out.push(0);
    out
}

fn binary(kind: MessageKind, sequence: i32, words: &str) -> Vec<u8> {
    message(kind, "echo", sequence, &text(words))
}

#[test]
fn a_plain_message_goes_to_a_plain_service_as_it_is() {
    for wrap in [framed, |message| message] {
        let mut w = world(PLAIN);
        let c = w.open();
        for sequence in 1..=2 {
            let request = wrap(call(sequence, "hi"));
            w.send(c, &request);
            assert_eq!(w.backend.take(0), request);
            let answer = wrap(reply(sequence, "ho"));
            w.answer(0, &answer);
            assert_eq!(w.client.take(c), answer);
        }
        w.counts("downstream_opened, upstream_opened, answered 2");
        w.rpc_over();
    }
}

/// Nothing tells where a message without a frame ends but what is in it.
#[test]
fn a_plain_message_in_pieces_is_a_message() {
    for wrap in [framed, |message| message] {
        let mut w = world(PLAIN);
        let c = w.open();
        let request = wrap(call(1, "hi"));
        for byte in &request {
            w.send(c, [*byte]);
        }
        assert_eq!(w.backend.take(0), request);
        for byte in wrap(reply(1, "ho")) {
            w.answer(0, [byte]);
        }
        assert_eq!(w.client.take(c), wrap(reply(1, "ho")));
        w.rpc_over();
    }
}

#[test]
fn a_plain_message_is_lifted_towards_a_service_that_speaks_ttheader() {
    for service in [ONE, BY_MESSAGE] {
        for wrap in [framed, |message| message] {
            let mut w = world(service);
            let c = w.open();
            w.send(c, wrap(call(7, "hi")));
            let asked = w.request(0);
            assert_eq!(asked.method, "echo");
            assert_eq!(asked.frame, asked.message);
            assert_eq!(asked.body, text("hi"));
            assert_eq!(asked.head().integer(integer::TO_METHOD), Some(&b"echo"[..]));
            assert_eq!(asked.head().integer(integer::MSG_TYPE), Some(&b"1"[..]));
            // The server mirrors the framing of the request's payload.
            let payload = wrap(reply(asked.message, "ho"));
            w.answer(0, behind_ttheader(asked.message, &payload));
            assert_eq!(w.client.take(c), wrap(reply(7, "ho")));
            w.counts("downstream_opened, upstream_opened, answered");
            w.rpc_over();
        }
    }
}

#[test]
fn a_frame_is_lowered_towards_a_plain_service() {
    let mut w = world(PLAIN);
    let c = w.open();
    w.send(c, Sent::call(7).with("hi"));
    assert_eq!(w.backend.take(0), call(7, "hi"));
    w.answer(0, reply(7, "ho"));
    let got = w.reply(c);
    assert_eq!(
        (got.frame, got.message, got.kind),
        (7, 7, MessageKind::Reply)
    );
    assert_eq!(got.body, text("ho"));
    assert_eq!(got.head().integer(integer::MSG_TYPE), Some(&b"2"[..]));
    w.rpc_over();
}

#[test]
fn plain_callers_are_answered_in_their_own_form() {
    for wrap in [framed, |message| message] {
        let mut w = world(PLAIN);
        let c = w.open();
        w.send(c, wrap(call(7, "hi")));
        w.reset_backend(0);
        let text = "the service closed the connection before it answered";
        let mut exception = vec![0x0b, 0, 1];
        exception.extend_from_slice(&(text.len() as u32).to_be_bytes());
        exception.extend_from_slice(text.as_bytes());
        exception.extend_from_slice(&[8, 0, 2, 0, 0, 0, 6, 0]);
        let expected = wrap(message(MessageKind::Exception, "echo", 7, &exception));
        assert_eq!(w.client.take(c), expected);
        w.rpc_over();
    }
}

/// A client that reads messages without frames can't read one with a frame, nor the other way round; what its
/// service answers in is another matter.
#[test]
fn a_plain_caller_gets_its_replies_in_its_own_framing() {
    type Wrap = fn(Vec<u8>) -> Vec<u8>;
    let bare = |message: Vec<u8>| message;
    let ways: [(Wrap, Wrap); 4] = [
        (framed, bare),
        (bare, framed),
        (framed, framed),
        (bare, bare),
    ];
    let large = "x".repeat(300_000);
    for service in [PLAIN, ONE, BY_MESSAGE, BY_FRAME] {
        for encoded in [binary as fn(_, _, &str) -> _, compact] {
            for (own, of_service) in ways {
                let mut w = world(service);
                let c = w.open();
                // A message without a frame has to fit into the buffer; and a varint of the compact protocol gets shorter.
                let sizes: &[&str] = match service == PLAIN && of_service(vec![]).is_empty() {
                    true => &["ho", ""],
                    false => &["ho", "", &large],
                };
                for words in sizes {
                    w.send(c, own(encoded(MessageKind::Call, 70_000, "hi")));
                    if service == PLAIN {
                        w.backend.take(0);
                        w.answer(0, of_service(encoded(MessageKind::Reply, 70_000, words)));
                    } else {
                        let asked = w.request(0);
                        let reply = encoded(MessageKind::Reply, asked.message, words);
                        let frame = match service {
                            BY_FRAME => asked.frame,
                            _ => asked.message,
                        };
                        w.answer(0, behind_ttheader(frame, &of_service(reply)));
                    }
                    let got = w.client.take(c);
                    let expected = own(encoded(MessageKind::Reply, 70_000, words));
                    assert!(got == expected, "{service}: {:?}", got.get(..60));
                }
                let answered = sizes.len();
                w.counts(&format!(
                    "downstream_opened, upstream_opened, answered {answered}"
                ));
                w.rpc_over();
            }
        }
    }
}

/// Such a caller would wait for ever.
#[test]
fn a_plain_caller_is_told_of_a_reply_that_holds_no_message() {
    for payload in [&b""[..], b"\xf0 what is this"] {
        let mut w = world(ONE);
        let c = w.open();
        w.send(c, call(7, "hi"));
        let asked = w.request(0);
        w.answer(0, behind_ttheader(asked.message, payload));
        let told = String::from_utf8_lossy(&w.client.take(c)).into_owned();
        assert!(
            told.contains("the service sent something that is no reply"),
            "{told}"
        );
        w.counts("downstream_opened, upstream_opened, upstream_bad_response");
        w.rpc_counts("bad_reply, waited");
        w.send(c, call(8, "hi"));
        let asked = w.request(0);
        w.answer(0, asked.answer("ho"));
        assert_eq!(w.client.take(c), reply(8, "ho"));
        w.rpc_over();
    }
}
