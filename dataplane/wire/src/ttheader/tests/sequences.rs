use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::thrift::{AnswerTo, Protocol};

/// A reply without a result, which is a message in any encoding.
fn message(protocol: Protocol, framed: bool, method: &[u8], sequence: i32) -> Vec<u8> {
    let mut out = Vec::new();
    AnswerTo {
        protocol,
        framed: framed || protocol == Protocol::KitexProtobuf,
        method,
        sequence,
    }
    .write_void_reply(&mut out);
    out
}

fn checked<'a>(strings: &'a [(&'a [u8], &'a [u8])], payload: &[u8]) -> Vec<u8> {
    let new = NewHead {
        strings,
        integers: &[(12, b"3000")],
        ..NewHead::default()
    };
    frame(&new, payload)
}

/// The frame under another sequence.
fn rewritten(bytes: &[u8], edits: &Edits<'_>, sequence: i32) -> Result<Vec<u8>, RewriteError> {
    let head = head(bytes);
    let message = message_of(bytes, &head);
    let mut out = b"before".to_vec();
    let written = head.write_with_sequence(&mut out, edits, &message, sequence);
    assert_eq!(&out[..6], b"before");
    assert!(written.is_ok() || out.len() == 6);
    out.extend_from_slice(&bytes[head.bytes().len() + message.bytes().len()..]);
    written.map(|()| out.split_off(6))
}

fn hex(crc: u32) -> String {
    format!("{crc:08x}")
}

#[test]
fn the_sequence_alone_changes() {
    let bytes = frame(&FULL, CALL);
    let out = rewritten(&bytes, &Edits::default(), 0x0102_0304).expect("it can be rewritten");
    let at = bytes.len() - 9;
    assert_eq!(out[at..at + 4], [1, 2, 3, 4]);
    assert_eq!(
        (&out[..at], &out[at + 4..]),
        (&bytes[..at], &bytes[at + 4..])
    );
}

#[test]
fn the_checksum_goes_with_it() {
    let crc = hex(crc32c(CALL));
    let bytes = checked(&[(b"crc32c", crc.as_bytes())], CALL);
    let out = rewritten(&bytes, &Edits::default(), 1234).expect("it can be rewritten");
    let head = head(&out);
    let payload = &out[head.bytes().len()..];
    assert_eq!(message_of(&out, &head).sequence, 1234);
    assert_eq!(
        head.string(b"crc32c"),
        Some(hex(crc32c(payload)).as_bytes())
    );
}

#[test]
fn what_has_a_checksum_of_the_peers_own_is_not_rewritten() {
    let bytes = checked(&[(b"PV_mine", b"x")], CALL);
    assert_eq!(
        rewritten(&bytes, &Edits::default(), 8),
        Err(RewriteError::Validator)
    );
    // Under the sequence that it has, it goes on.
    assert_eq!(rewritten(&bytes, &Edits::default(), 7), Ok(bytes));
}

#[test]
fn a_malformed_checksum_is_not_made_to_fit() {
    for value in [&b"1"[..], b"0123456g", b"012345678"] {
        let bytes = checked(&[(b"crc32c", value)], CALL);
        assert_eq!(
            rewritten(&bytes, &Edits::default(), 8),
            Err(RewriteError::Checksum)
        );
    }
    // For peers an empty one is none.
    let bytes = checked(&[(b"crc32c", b"")], CALL);
    let out = rewritten(&bytes, &Edits::default(), 8).expect("it can be rewritten");
    assert_eq!(head(&out).string(b"crc32c"), Some(&b""[..]));
}

fn any_encoding() -> impl Strategy<Value = (Protocol, bool)> {
    let protocols = vec![Protocol::Binary, Protocol::Compact, Protocol::KitexProtobuf];
    (prop::sample::select(protocols), any::<bool>())
}

proptest! {
    #[test]
    fn a_rewritten_frame_is_the_frame_that_would_have_been_sent(
        (protocol, framed) in any_encoding(), method in vec(any::<u8>(), 0..30),
        old: i32, new: i32, with_checksum: bool, longer: bool,
    ) {
        let before = message(protocol, framed, &method, old);
        let after = message(protocol, framed, &method, new);
        let crcs = [hex(crc32c(&before)), hex(crc32c(&after))];
        let pair = |crc: &'_ String| (b"crc32c".to_vec(), crc.as_bytes().to_vec());
        let pairs = crcs.each_ref().map(pair);
        let strings = pairs.each_ref().map(|(key, value)| [(&key[..], &value[..])]);
        let count = usize::from(with_checksum);
        let bytes = checked(&strings[0][..count], &before);

        let metadata: &[Edit<'_>] =
            if longer { &[Edit::SetInteger(6, b"to")] } else { &[Edit::SetInteger(12, b"2000")] };
        let edits = Edits { sequence: Some(new), flags: None, metadata };
        let out = rewritten(&bytes, &edits, new).expect("it can be rewritten");
        let integers: &[(u16, &[u8])] =
            if longer { &[(12, b"3000"), (6, b"to")] } else { &[(12, b"2000")] };
        let expected = NewHead {
            sequence: new,
            strings: &strings[1][..count],
            integers,
            ..NewHead::default()
        };
        prop_assert_eq!(out, frame(&expected, &after));
    }
}
