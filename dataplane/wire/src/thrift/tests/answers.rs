use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn answer_to(bytes: &[u8]) -> Result<AnswerTo<'_>, NoAnswer> {
    match MessageHead::parse(bytes, &Limits::default()) {
        Ok(Parsed::Complete(head)) => AnswerTo::request(&head),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_exception_in_each_encoding() {
    let cases: [(Protocol, bool, &[u8]); 5] = [
        (
            Protocol::Binary,
            false,
            b"\x80\x01\0\x03\0\0\0\x04echo\0\0\0\x07\x0b\0\x01\0\0\0\x04full\x08\0\x02\0\0\0\x06\0",
        ),
        (
            Protocol::Binary,
            true,
            b"\0\0\0\x23\x80\x01\0\x03\0\0\0\x04echo\0\0\0\x07\x0b\0\x01\0\0\0\x04full\x08\0\x02\
              \0\0\0\x06\0",
        ),
        (
            Protocol::Compact,
            false,
            b"\x82\x61\x07\x04echo\x18\x04full\x15\x0c\0",
        ),
        (
            Protocol::Compact,
            true,
            b"\0\0\0\x11\x82\x61\x07\x04echo\x18\x04full\x15\x0c\0",
        ),
        (
            Protocol::KitexProtobuf,
            true,
            b"\0\0\0\x18\x90\x01\0\x03\0\0\0\x04echo\0\0\0\x07\x08\x06\x12\x04full",
        ),
    ];
    for (protocol, framed, expected) in cases {
        let request = message(protocol, framed, MessageKind::Call, b"echo", 7, 1);
        let mut out = Vec::new();
        let answer = answer_to(&request).expect("a call is answered");
        answer.write_exception(&mut out, ExceptionKind::Internal, "full");
        assert_eq!(out, expected, "{protocol:?} {framed}");
    }
}

#[test]
fn a_void_reply_in_each_encoding() {
    let cases: [(Protocol, bool, &[u8]); 4] = [
        (
            Protocol::Binary,
            false,
            b"\x80\x01\0\x02\0\0\0\x04echo\0\0\0\x07\0",
        ),
        (Protocol::Compact, false, b"\x82\x41\x07\x04echo\0"),
        (Protocol::Compact, true, b"\0\0\0\x09\x82\x41\x07\x04echo\0"),
        (
            Protocol::KitexProtobuf,
            true,
            b"\0\0\0\x10\x90\x01\0\x02\0\0\0\x04echo\0\0\0\x07",
        ),
    ];
    for (protocol, framed, expected) in cases {
        let request = message(protocol, framed, MessageKind::Call, b"echo", 7, 1);
        let mut out = Vec::new();
        answer_to(&request)
            .expect("a call is answered")
            .write_void_reply(&mut out);
        assert_eq!(out, expected, "{protocol:?} {framed}");
    }
}

#[test]
fn only_calls_are_answered() {
    for (kind, why) in [
        (MessageKind::Oneway, NoAnswer::Oneway),
        (MessageKind::Reply, NoAnswer::NotARequest),
        (MessageKind::Exception, NoAnswer::NotARequest),
    ] {
        let bytes = message(Protocol::Binary, true, kind, b"echo", 7, 1);
        assert_eq!(answer_to(&bytes), Err(why));
    }
}

/// What an answer's body says: how long the text is.
fn text_len(bytes: &[u8]) -> usize {
    let at = message(Protocol::Binary, false, MessageKind::Exception, b"m", 1, 0).len() + 3;
    let length = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_be_bytes(length) as usize
}

#[test]
fn a_long_text_is_cut_at_a_character() {
    let request = message(Protocol::Binary, false, MessageKind::Call, b"m", 1, 0);
    let answer = answer_to(&request).expect("a call is answered");
    for (text, len) in [("x".repeat(5000), 1024), ("\u{20ac}".repeat(500), 1023)] {
        let mut out = Vec::new();
        answer.write_exception(&mut out, ExceptionKind::Unknown, &text);
        assert_eq!(text_len(&out), len);
    }
}

proptest! {
    #[test]
    fn an_answer_is_a_whole_message_with_what_its_caller_goes_by(
        (protocol, framed) in any_protocol(), method in vec(any::<u8>(), 0..50), sequence: i32,
        text in ".{0,50}",
    ) {
        let request = message(protocol, framed, MessageKind::Call, &method, sequence, 9);
        let answer = answer_to(&request).expect("a call is answered");
        let mut exception = Vec::new();
        answer.write_exception(&mut exception, ExceptionKind::UnknownService, &text);
        let mut reply = Vec::new();
        answer.write_void_reply(&mut reply);
        for (bytes, kind) in [(exception, MessageKind::Exception), (reply, MessageKind::Reply)] {
            let Ok(Parsed::Complete(head)) = MessageHead::parse(&bytes, &Limits::default()) else {
                panic!("a whole head");
            };
            prop_assert_eq!((head.protocol, head.kind), (protocol, kind));
            prop_assert_eq!((head.method, head.sequence), (&method[..], sequence));
            prop_assert_eq!(head.framed_len(), framed.then_some(bytes.len()));
            let body = &bytes[head.bytes().len()..];
            if let Some(mut skipper) = Skipper::new(protocol, 10_000) {
                prop_assert_eq!(skipper.advance(body), Ok(Some(body.len())));
            }
        }
    }
}
