use super::*;
use crate::thrift::{ExceptionKind, MessageKind, NoAnswer, Skipper};

/// A call in a frame with these sequences.
fn call(flags: Flags, frame_sequence: i32, message_sequence: i32) -> Vec<u8> {
    let mut payload = CALL.to_vec();
    let at = payload.len() - 9;
    payload[at..at + 4].copy_from_slice(&message_sequence.to_be_bytes());
    let new = NewHead {
        flags,
        sequence: frame_sequence,
        integers: &[(integer::MSG_TYPE, b"1")],
        ..NewHead::default()
    };
    frame(&new, &payload)
}

fn answer(request: &[u8]) -> Result<Answer<'_>, NoAnswer> {
    let head = head(request);
    Answer::to(&head, &payload_of(request, &head))
}

fn exception(request: &[u8]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    let answer = answer(request).expect("a call is answered");
    let kind = ExceptionKind::UnknownService;
    answer
        .write_exception(&mut out, kind, "no route")
        .expect("it fits");
    out.split_off(6)
}

#[test]
fn an_exception_is_what_a_kitex_server_would_send() {
    let out = exception(&call(Flags::default(), 41, 7));
    let message = b"\0\0\0\x27\x80\x01\0\x03\0\0\0\x04echo\0\0\0\x07\x0b\0\x01\0\0\0\x08no route\
                    \x08\0\x02\0\0\0\x14\0";
    let expected = NewHead {
        sequence: 41,
        integers: &[(22, b"3")],
        ..NewHead::default()
    };
    assert_eq!(out, frame(&expected, message));
}

/// The same frame that a Kitex server sent but for its own `srv` key.
#[test]
fn a_biz_status_is_what_a_kitex_server_would_send() {
    let request = call(Flags::default(), 1, 1);
    let answer = answer(&request).expect("a call is answered");
    let mut out = Vec::new();
    let extra = Some(r#"{"k":"v"}"#);
    answer
        .write_biz_status(&mut out, 1234, "biz says no", extra)
        .expect("it fits");
    let captured = include_str!("../../../tests/frames/kitex_rsp_biz.hex")
        .trim()
        .as_bytes();
    let captured: Vec<u8> = captured
        .chunks(2)
        .map(|pair| {
            let pair = str::from_utf8(pair).expect("ASCII");
            u8::from_str_radix(pair, 16).expect("hexadecimal")
        })
        .collect();
    let mut expected = Vec::new();
    let head = head(&captured);
    let without_srv = Edits {
        metadata: &[Edit::RemoveString(b"srv")],
        ..Edits::default()
    };
    head.write(&mut expected, &without_srv, head.payload_len())
        .expect("it fits");
    expected.extend_from_slice(&captured[head.bytes().len()..]);
    assert_eq!(out, expected);
}

#[test]
fn a_biz_status_without_extra_and_the_last_answer() {
    let request = call(Flags::default(), 1, 1);
    let answer = answer(&request).expect("a call is answered").last();
    for (status, digits) in [
        (0, "0"),
        (-7, "-7"),
        (i32::MIN, "-2147483648"),
        (i32::MAX, "2147483647"),
    ] {
        let mut out = Vec::new();
        answer
            .write_biz_status(&mut out, status, "", None)
            .expect("it fits");
        let head = head(&out);
        let infos: Vec<Info<'_>> = head.infos().collect();
        assert_eq!(
            infos,
            [
                Info::String(b"biz-status", digits.as_bytes()),
                Info::String(b"biz-message", b""),
                Info::String(b"crrst", b"1"),
                Info::Integer(22, b"2"),
            ]
        );
        assert!(head.closes());
    }
    let mut out = Vec::new();
    answer
        .write_exception(&mut out, ExceptionKind::Internal, "")
        .expect("it fits");
    assert!(head(&out).closes());
}

#[test]
fn sequences_are_those_that_the_caller_goes_by() {
    // What it sent, and what it gets: of frame and message.
    for (sent, got) in [
        ((5, 7), (5, 7)),
        ((0, 7), (7, 7)),
        ((5, 0), (5, 0)),
        ((0, 0), (0, 0)),
        ((-3, 9), (-3, 9)),
    ] {
        let out = exception(&call(Flags::default(), sent.0, sent.1));
        let head = head(&out);
        assert_eq!((head.sequence(), message_of(&out, &head).sequence), got);
        assert_eq!(head.message_kind(), Some(MessageKind::Exception));
        assert_eq!(head.frame_len(), out.len());
    }
    // Where others share the connection, 0 is no sequence.
    let shared = call(Flags::OUT_OF_ORDER, 0, 0);
    assert_eq!(answer(&shared).err(), Some(NoAnswer::ReservedSequence));
    assert_eq!(
        head(&exception(&call(Flags::OUT_OF_ORDER, 0, 2))).sequence(),
        2
    );
}

#[test]
fn what_wants_no_answer_gets_none() {
    let of = |says: &[u8], kind: MessageKind| {
        let mut payload = CALL.to_vec();
        payload[7] = kind as u8;
        let integers: &[(u16, &[u8])] = &[(integer::MSG_TYPE, says)];
        let new = NewHead {
            sequence: 1,
            integers,
            ..NewHead::default()
        };
        answer(&frame(&new, &payload)).err()
    };
    assert_eq!(of(b"1", MessageKind::Call), None);
    assert_eq!(of(b"x", MessageKind::Call), None);
    // Either of them is enough.
    assert_eq!(of(b"4", MessageKind::Call), Some(NoAnswer::Oneway));
    assert_eq!(of(b"1", MessageKind::Oneway), Some(NoAnswer::Oneway));
    assert_eq!(of(b"\x02", MessageKind::Call), Some(NoAnswer::NotARequest));
    assert_eq!(of(b"1", MessageKind::Reply), Some(NoAnswer::NotARequest));
    assert_eq!(
        of(b"1", MessageKind::Exception),
        Some(NoAnswer::NotARequest)
    );
}

#[test]
fn what_is_no_message_is_answered_by_its_head() {
    let new = NewHead {
        sequence: 9,
        integers: &[(integer::TO_METHOD, b"pay")],
        ..NewHead::default()
    };
    let out = exception(&frame(&new, b"\x99garbage"));
    let head = head(&out);
    let message = message_of(&out, &head);
    assert_eq!(
        (head.sequence(), message.sequence, message.method),
        (9, 9, &b"pay"[..])
    );
    assert_eq!(
        (message.protocol, message.frame),
        (thrift::Protocol::Binary, None)
    );
}

#[test]
fn a_stream_is_ended_by_its_trailer() {
    let new = NewHead {
        flags: Flags::STREAMING,
        sequence: 3,
        protocol_id: 0x10,
        integers: &[(27, b"2"), (9, b"watch")],
        ..NewHead::default()
    };
    let request = frame(&new, b"");
    let out = exception(&request);
    let trailer = head(&out);
    assert_eq!(trailer.stream_frame(), Some(StreamFrame::Trailer));
    assert_eq!((trailer.sequence(), trailer.protocol_id()), (3, 0x10));
    assert_eq!(trailer.integer(9), Some(&b"watch"[..]));
    // The payload of a trailer is a message, though not one that is routed.
    let payload = &out[trailer.bytes().len()..];
    let Ok(Parsed::Complete(message)) = MessageHead::parse(payload, &thrift::Limits::default())
    else {
        panic!("a whole message");
    };
    assert_eq!(
        (message.kind, message.sequence),
        (MessageKind::Exception, 3)
    );
    let body = &payload[message.bytes().len()..];
    let mut skipper = Skipper::new(message.protocol, 100).expect("Thrift");
    assert_eq!(skipper.advance(body), Ok(Some(body.len())));

    let mut out = Vec::new();
    let answer = answer(&request).expect("a stream is answered");
    answer
        .write_biz_status(&mut out, 5, "no", None)
        .expect("it fits");
    let trailer = head(&out);
    assert_eq!(trailer.stream_frame(), Some(StreamFrame::Trailer));
    assert_eq!(
        (trailer.payload_len(), trailer.string(b"biz-status")),
        (0, Some(&b"5"[..]))
    );

    let reserved = frame(&NewHead { sequence: 0, ..new }, b"");
    let head = head(&reserved);
    assert_eq!(
        Answer::to(&head, &Payload::Empty).err(),
        Some(NoAnswer::ReservedSequence)
    );
}
