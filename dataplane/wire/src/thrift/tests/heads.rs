use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn parse(buf: &[u8]) -> Result<Parsed<MessageHead<'_>>, MessageError> {
    MessageHead::parse(buf, &Limits::default())
}

#[test]
fn says_why_it_refuses() {
    use MessageError::*;
    let cases: [(&[u8], MessageError); 17] = [
        (b"\x81", UnknownProtocol),
        (b"\xff", UnknownProtocol),
        (b"\x80\x02", UnknownProtocol),
        (b"\x82\x22", UnknownProtocol),
        (b"\0\0\0\x10\x10", UnknownProtocol),
        (b"\0\0\0\x10\x90\x02", UnknownProtocol),
        // The old binary protocol: the length of a method, and its name.
        (b"\0\0\0\x04echo\x01\0\0\0\x01", UnknownProtocol),
        (b"\x80\x01\x01\x01", Version),
        (b"\x80\x01\0\0", Kind),
        (b"\x80\x01\0\x05", Kind),
        (b"\x82\xa1", Kind),
        (b"\x80\x01\0\x01\x80\0\0\0", NegativeMethod),
        (b"\x80\x01\0\x01\0\0\x02\x01", MethodTooLong),
        (b"\x82\x21\0\x81\x04", MethodTooLong),
        (b"\x7f\xff\xff\xff", FrameTooLarge),
        (b"\x82\x21\xff\xff\xff\xff\x10", Varint),
        (b"\x82\x21\xff\xff\xff\xff\xff", Varint),
    ];
    for (bytes, error) in cases {
        assert_eq!(parse(bytes), Err(error), "{bytes:x?}");
    }
}

#[test]
fn a_head_must_be_within_its_frame() {
    let mut bytes = message(Protocol::Binary, true, MessageKind::Call, b"echo", 1, 0);
    assert!(matches!(parse(&bytes), Ok(Parsed::Complete(_))));
    bytes[3] -= 1;
    assert_eq!(parse(&bytes), Err(MessageError::FrameTooShort));
    // As soon as it is sure.
    assert_eq!(parse(&bytes[..12]), Err(MessageError::FrameTooShort));
    assert_eq!(parse(b"\0\0\0\x03"), Err(MessageError::FrameTooShort));
}

/// Found by the fuzz target `thrift`: a length that stood behind the frame was read, and refused for what
/// it was.
#[test]
fn nothing_behind_the_frame_is_read() {
    let bytes = b"\0\0\0\x04\x90\x01\0\x04\x90\x01\xb1\xb9";
    for end in 8..=bytes.len() {
        assert_eq!(parse(&bytes[..end]), Err(MessageError::FrameTooShort));
    }
}

#[test]
fn kitex_protobuf_without_a_frame_is_none() {
    let bytes = message(
        Protocol::KitexProtobuf,
        false,
        MessageKind::Call,
        b"echo",
        1,
        0,
    );
    assert_eq!(parse(&bytes), Err(MessageError::UnknownProtocol));
}

/// A varint of more bytes than it needs is read by every peer, and stands as it came.
#[test]
fn a_padded_varint_is_read() {
    let Ok(Parsed::Complete(head)) = parse(b"\x82\x21\x87\x80\x00\x84\x00echo") else {
        panic!("a whole head");
    };
    assert_eq!((head.sequence, head.method), (7, &b"echo"[..]));
    let mut out = Vec::new();
    head.write_with_sequence(&mut out, 8)
        .expect("there is no frame");
    assert_eq!(out, b"\x82\x21\x08\x84\x00echo");
}

#[test]
fn a_frame_that_can_grow_no_more_is_left_alone() {
    let mut bytes = message(Protocol::Compact, true, MessageKind::Call, b"echo", 1, 0);
    bytes[..4].copy_from_slice(&i32::MAX.to_be_bytes());
    let limits = Limits {
        message: i32::MAX as u32,
        ..Limits::default()
    };
    let Ok(Parsed::Complete(head)) = MessageHead::parse(&bytes, &limits) else {
        panic!("a whole head");
    };
    let mut out = b"before".to_vec();
    assert!(head.write_with_sequence(&mut out, 1000).is_err());
    assert_eq!(out, b"before");
    assert!(head.write_with_sequence(&mut out, 2).is_ok());
}

proptest! {
    #[test]
    fn reads_what_was_written(
        (protocol, framed) in any_protocol(), kind in any_kind(), method in vec(any::<u8>(), 0..100),
        sequence: i32, body in 0..100usize,
    ) {
        let bytes = message(protocol, framed, kind, &method, sequence, body);
        for end in 0..bytes.len() {
            let Ok(Parsed::Incomplete { need }) = parse(&bytes[..end]) else {
                panic!("{end} of {} bytes are all well and not enough", bytes.len());
            };
            prop_assert!(need > end && need <= bytes.len());
        }
        let Ok(Parsed::Complete(head)) = parse(&bytes) else {
            panic!("a whole head");
        };
        prop_assert_eq!((head.protocol, head.kind), (protocol, kind));
        prop_assert_eq!((head.method, head.sequence), (&method[..], sequence));
        prop_assert_eq!(head.bytes(), &bytes[..]);
        prop_assert_eq!(head.framed_len(), framed.then_some(bytes.len() + body));
    }

    #[test]
    fn another_sequence_is_all_that_changes(
        (protocol, framed) in any_protocol(), kind in any_kind(), method in vec(any::<u8>(), 0..20),
        old: i32, new: i32, body in 0..100usize,
    ) {
        let bytes = message(protocol, framed, kind, &method, old, body);
        let Ok(Parsed::Complete(head)) = parse(&bytes) else {
            panic!("a whole head");
        };
        let mut out = Vec::new();
        head.write_with_sequence(&mut out, new).expect("it fits");
        prop_assert_eq!(&out, &message(protocol, framed, kind, &method, new, body));
        let growth = head.with_sequence(new).expect("it fits").growth();
        prop_assert_eq!(bytes.len().checked_add_signed(growth), Some(out.len()));
    }

    /// Into a frame and out of it: as if it had been written so.
    #[test]
    fn a_frame_can_be_put_around_a_message_or_taken_off(
        (protocol, framed) in any_protocol(), kind in any_kind(), method in vec(any::<u8>(), 0..20),
        old: i32, new: i32, body in 0..100usize,
    ) {
        let bytes = message(protocol, framed, kind, &method, old, body);
        let Ok(Parsed::Complete(head)) = parse(&bytes) else {
            panic!("a whole head");
        };
        let mut out = Vec::new();
        match head.without_frame() {
            None => prop_assert_eq!(protocol, Protocol::KitexProtobuf),
            Some(bare) => {
                prop_assert_eq!(bare.frame, None);
                bare.write_with_sequence(&mut out, new).expect("there is no frame");
                prop_assert_eq!(&out, &message(protocol, false, kind, &method, new, body));
                out.clear();
                bare.write_in_frame(&mut out, new, bare.bytes().len() + body).expect("it fits");
                prop_assert_eq!(&out, &message(protocol, true, kind, &method, new, body));
            }
        }
    }

    /// What is decided stays so, however the bytes come.
    #[test]
    fn any_split_comes_to_the_same(
        (protocol, framed) in any_protocol(), kind in any_kind(), method in vec(any::<u8>(), 0..8),
        sequence: i32, damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut bytes = message(protocol, framed, kind, &method, sequence, 5);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let whole = parse(&bytes);
        for end in 0..bytes.len() {
            match parse(&bytes[..end]) {
                Ok(Parsed::Incomplete { need }) => prop_assert!(need > end),
                decided => prop_assert_eq!(decided, whole),
            }
        }
    }
}
