use super::*;

/// A head of these bytes behind the fixed part, padded, and no payload.
fn raw(part: &[u8]) -> Vec<u8> {
    let len = part.len().next_multiple_of(4);
    let mut bytes = ((10 + len) as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(b"\x10\0\0\0\0\0\0\x01");
    bytes.extend_from_slice(&((len / 4) as u16).to_be_bytes());
    bytes.extend_from_slice(part);
    bytes.resize(14 + len, 0);
    bytes
}

fn error(bytes: &[u8]) -> HeadError {
    Head::parse(bytes, &Limits::default()).expect_err("it is refused")
}

#[test]
fn says_why_it_refuses_the_fixed_part() {
    use HeadError::*;
    let cases: [(&[u8], HeadError); 7] = [
        (b"\x80\0\0\x10", NegativeLength),
        (b"\x40\0\0\0", FrameTooLarge),
        (b"\0\0\0\x10\x0f\xff", Magic),
        (b"\0\0\0\x10\x10\x01", Magic),
        (b"\0\0\0\x10\x10\0\0\0\0\0\0\x01\0\0", HeaderEmpty),
        (b"\0\0\0\x10\x10\0\0\0\0\0\0\x01\0\x02", HeaderPastFrame),
        (b"\0\x0f\0\0\x10\0\0\0\0\0\0\x01\x40\0", HeaderTooLarge),
    ];
    for (bytes, why) in cases {
        assert_eq!(error(bytes), why, "{bytes:x?}");
    }
}

#[test]
fn says_why_it_refuses_the_blocks() {
    use HeadError::*;
    let cases: [(&[u8], HeadError); 15] = [
        (b"\0\x03\0\0", Transforms),
        (b"\0\xff\0\0", Transforms),
        (b"\0\0\x02\0", UnknownInfo),
        (b"\0\0\0\x7f", UnknownInfo),
        (b"\0\0\0\x01", InfoPastHeader),
        (b"\0\0\x01\0", InfoPastHeader),
        (b"\0\0\x01\0\x01\0\0\0", InfoPastHeader),
        (b"\0\0\x01\0\x01\0\x01a\0\x03\0\0", InfoPastHeader),
        (b"\0\0\x01\xff\xff\0\0\0", InfoPastHeader),
        (b"\0\0\x10\0\x01\0\x03\0", InfoPastHeader),
        (b"\0\0\x10\0\x01\0\x03\xff\xff\0\0\0", InfoPastHeader),
        (b"\0\0\x10\xff\xff\0\0\0\0\0\0\0", InfoPastHeader),
        (b"\0\0\0\x10", InfoPastHeader),
        (b"\0\0\x11\0", InfoPastHeader),
        (b"\0\0\x11\0\x01a\x11\0\x01b\0\0", RepeatedAclToken),
    ];
    for (part, why) in cases {
        let bytes = raw(part);
        assert_eq!(error(&bytes), why, "{part:x?}");
    }
}

#[test]
fn a_token_as_string_and_block_is_refused() {
    let twice = frame(
        &NewHead {
            acl_token: Some(b"a"),
            strings: &[(string::ACL_TOKEN, b"b")],
            ..NewHead::default()
        },
        b"",
    );
    assert_eq!(error(&twice), HeadError::RepeatedAclToken);
    let once = frame(
        &NewHead {
            strings: &[(string::ACL_TOKEN, b"b")],
            ..NewHead::default()
        },
        b"",
    );
    let once = head(&once);
    assert_eq!(once.acl_token(), Some(&b"b"[..]));
    assert_eq!(once.string(string::ACL_TOKEN), Some(&b"b"[..]));
}

/// Blocks in another order, twice, empty, with padding between; transforms in front.
#[test]
fn blocks_in_any_order() {
    let bytes = raw(
        b"\x02\x03\xaa\xbb\xcc\x10\0\x02\0\x03\0\x01a\x03\0\0\x01b\0\0\0\x01\0\x01\0\x01k\0\x01v\
          \x11\0\x01t\x01\0\0\x10\0\x01\0\x03\0\x01c\x01\0\x01\0\x01k\0\x01w\0\0\0",
    );
    let head = head(&bytes);
    assert_eq!(
        (head.protocol_id(), head.transforms()),
        (2, &b"\xaa\xbb\xcc"[..])
    );
    let infos: Vec<Info<'_>> = head.infos().collect();
    assert_eq!(
        infos,
        [
            Info::Integer(3, b"a"),
            Info::Integer(0x300, b"b"),
            Info::String(b"k", b"v"),
            Info::AclToken(b"t"),
            Info::Integer(3, b"c"),
            Info::String(b"k", b"w"),
        ]
    );
    // The later value counts.
    assert_eq!(head.integer(3), Some(&b"c"[..]));
    assert_eq!(head.integer(0x300), Some(&b"b"[..]));
    assert_eq!(head.string(b"k"), Some(&b"w"[..]));
    assert_eq!(head.acl_token(), Some(&b"t"[..]));
    assert_eq!(
        (head.integer(4), head.integer(0x301), head.string(b"")),
        (None, None, None)
    );
}

#[test]
fn finds_every_kind_of_key() {
    let bytes = frame(&FULL, CALL);
    let head = head(&bytes);
    assert_eq!((head.flags(), head.sequence()), (Flags(0x8001), -5));
    assert!(head.flags().contains(Flags::OUT_OF_ORDER));
    assert!(!head.flags().contains(Flags::STREAMING));
    assert_eq!(head.string(b"isn"), Some(&b"Echo"[..]));
    assert_eq!(head.string(b"x"), Some(&b""[..]));
    assert_eq!(head.integer(9), Some(&b"echo"[..]));
    assert_eq!(head.integer(700), Some(&b"own"[..]));
    assert_eq!(head.acl_token(), Some(&b"token"[..]));
    assert_eq!(head.payload_len(), CALL.len());
}

/// An empty value and a missing one differ.
#[test]
fn crrst_closes_unless_it_is_empty() {
    for (strings, closes) in [
        (&[][..], false),
        (&[(&b"crrst"[..], &b"1"[..])], true),
        (&[(b"crrst", b"")], false),
        (&[(b"crrst", b"1"), (b"crrst", b"")], false),
    ] {
        let bytes = frame(
            &NewHead {
                strings,
                ..NewHead::default()
            },
            b"",
        );
        assert_eq!(head(&bytes).closes(), closes);
    }
}

#[test]
fn limits_are_exact() {
    let bytes = frame(&FULL, CALL);
    let exact = Limits {
        head: bytes.len() - CALL.len(),
        frame: bytes.len(),
    };
    assert!(matches!(
        Head::parse(&bytes, &exact),
        Ok(Parsed::Complete(_))
    ));
    let less = |limits| Head::parse(&bytes, &limits).expect_err("one byte too much");
    assert_eq!(
        less(Limits {
            head: exact.head - 1,
            ..exact
        }),
        HeadError::HeaderTooLarge
    );
    assert_eq!(
        less(Limits {
            frame: exact.frame - 1,
            ..exact
        }),
        HeadError::FrameTooLarge
    );
}

/// The longest head that is legal: HEADER SIZE 65,535.
#[test]
fn the_longest_head_is_read() {
    let mut part = b"\0\0".to_vec();
    for _ in 0..3 {
        part.extend_from_slice(b"\x10\0\x01\x02\0\xff\xff");
        part.resize(part.len() + 0xffff, b'a');
    }
    part.extend_from_slice(b"\x10\0\x01\0\x06\0\x02to");
    part.resize(0xffff * 4, 0);
    let bytes = raw(&part);
    assert_eq!(error(&bytes), HeadError::HeaderTooLarge);
    let limits = Limits {
        head: bytes.len(),
        ..Limits::default()
    };
    let Ok(Parsed::Complete(head)) = Head::parse(&bytes, &limits) else {
        panic!("it is legal");
    };
    assert_eq!(head.integer(6), Some(&b"to"[..]));
    // It goes on as it is, but can't be encoded anew.
    let mut out = Vec::new();
    let sequence = Edits {
        sequence: Some(9),
        ..Edits::default()
    };
    head.write(&mut out, &sequence, 0)
        .expect("only the sequence changes");
    assert_eq!(
        (&out[..8], &out[8..12], &out[12..]),
        (&bytes[..8], &[0, 0, 0, 9][..], &bytes[12..])
    );
    let metadata = &[Edit::SetInteger(6, b"other")];
    let refused = head.write(
        &mut out,
        &Edits {
            metadata,
            ..sequence
        },
        0,
    );
    assert_eq!(refused, Err(EncodeError::HeaderTooLarge));
    assert_eq!(out.len(), bytes.len());
}

#[test]
fn a_streaming_frame() {
    let stream = |value: &[u8], flags| {
        let integers: &[(u16, &[u8])] = &[(integer::FRAME_TYPE, value)];
        let new = NewHead {
            flags,
            sequence: 3,
            protocol_id: 0x10,
            integers,
            ..NewHead::default()
        };
        let bytes = frame(&new, b"");
        let head = head(&bytes);
        assert_eq!(payload_of(&bytes, &head), Payload::Empty);
        head.stream_frame()
    };
    use StreamFrame::*;
    for frame in [Meta, Header, Data, Trailer, Reset] {
        assert_eq!(stream(frame.value(), Flags::STREAMING), Some(frame));
        assert_eq!(stream(frame.value(), Flags::OUT_OF_ORDER), None);
    }
    assert_eq!(stream(b"6", Flags::STREAMING), None);
    assert_eq!(stream(b"", Flags::STREAMING), None);
}

#[test]
fn the_payload_says_what_it_is() {
    let of = |flags, protocol_id, payload: &[u8]| {
        let new = NewHead {
            flags,
            protocol_id,
            ..NewHead::default()
        };
        let bytes = frame(&new, payload);
        let head = head(&bytes);
        let parsed = head.payload(&bytes[head.bytes().len()..], &thrift::Limits::default());
        parsed.map(|parsed| match parsed.complete() {
            Some(Payload::Message(message)) => Some(message.protocol),
            Some(_) => None,
            None => panic!("the payload is all there"),
        })
    };
    let none = Flags::default();
    // Whatever the protocol id.
    for id in [0, 2, 3, 4, 0x10, 0xff] {
        assert_eq!(of(none, id, CALL), Ok(Some(thrift::Protocol::Binary)));
        let compact = of(none, id, b"\x82\x21\x01\x01m\0");
        assert_eq!(compact, Ok(Some(thrift::Protocol::Compact)));
    }
    let protobuf = b"\0\0\0\x0d\x90\x01\0\x01\0\0\0\x01m\0\0\0\x01";
    assert_eq!(
        of(none, 0, protobuf),
        Ok(Some(thrift::Protocol::KitexProtobuf))
    );
    assert_eq!(of(none, 0, b"\x90\x01\0\x01"), Ok(None));
    assert_eq!(of(none, 0, b"{}"), Err(PayloadError::Truncated));
    assert_eq!(of(Flags::STREAMING, 0x10, b"\0"), Ok(None));
    assert_eq!(
        of(none, 0, &CALL[..CALL.len() - 1]),
        Err(PayloadError::FrameLength)
    );
    assert_eq!(
        of(none, 0, &[CALL, b"\0"].concat()),
        Err(PayloadError::FrameLength)
    );
    assert_eq!(of(none, 0, &CALL[4..12]), Err(PayloadError::Truncated));
    let version = PayloadError::Message(thrift::MessageError::Version);
    assert_eq!(
        of(none, 0, b"\x80\x01\x01\x01\0\0\0\0\0\0\0\0"),
        Err(version)
    );
}
