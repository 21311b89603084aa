//! Thrift without TTHeader, on either side or on both.

use sluice_wire::thrift::MessageKind;
use sluice_wire::ttheader::integer;

use super::frames::{BY_MESSAGE, ONE, Sent, message, text, world};

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
            let mut answer = Vec::new();
            let head = sluice_wire::ttheader::NewHead {
                sequence: asked.message,
                ..sluice_wire::ttheader::NewHead::default()
            };
            head.write(&mut answer, payload.len()).expect("small");
            answer.extend_from_slice(&payload);
            w.answer(0, answer);
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
