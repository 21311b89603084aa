use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::Protocol::*;
use super::*;

#[test]
fn tells_each_protocol_by_its_first_bytes() {
    let cases: [(&[u8], Protocol); 27] = [
        (b"\0\0\0\xc2\x10\0\0\0", TtHeader),
        (b"\0\0\0\xc2\x0f\xff\0\0", THeader),
        (b"\xff\xaf\0\x10\0\x01\0\0", MeshHeader),
        (b"\x80\x01\0\x01\0\0\0\x04", ThriftBinary),
        (b"\x82\x21\0\x04echo", ThriftCompact),
        (b"\0\0\0\x28\x80\x01\0\x01", FramedThriftBinary),
        (b"\0\0\0\x14\x82\x21\0\x04", FramedThriftCompact),
        (b"\0\0\0\x14\x90\x01\0\x01", FramedKitexProtobuf),
        (b"PRI * HTTP/2.0", Http2),
        (b"GET / HTTP/1.1", Http1),
        (b"POST /a HTTP", Http1),
        (b"OPTIONS * HT", Http1),
        (b"CONNECT h:1 ", Http1),
        (b"DELETE /long", Http1),
        (b"PROPFIND /a ", Http1),
        (b"M-SEARCH * H", Http1),
        (b"\r\nGET / HTT", Http1),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc", Tls),
        (b"\x16\x03\x03\0\xf0\x01\0\0\xec", Tls),
        (b"SSH\x002.0-Op", Unknown),
        (b"\0\0\0\x10\x20\0\0\0", Unknown),
        (b"\x80\x02\0\x01\0\0\0\x04", Unknown),
        (b"\x90\x01\0\x01\0\0\0\x04", Unknown),
        (b"\xff\xff\xff\xff\x10\x01\0\0", Unknown),
        // Negative lengths.
        (b"\xff\xff\xff\xff\x10\0\0\0", TtHeader),
        (b"\x80\0\0\xc2\x10\0\0\x01", TtHeader),
        (b"\x82\0\0\xc2\x10\0\0\x01", TtHeader),
    ];
    for (bytes, protocol) in cases {
        assert_eq!(detect(bytes), Some(protocol), "{bytes:x?}");
    }
}

/// A TLS record of the length that a TTHeader's magic would be is no ClientHello.
#[test]
fn a_frame_whose_length_looks_like_tls_is_a_frame() {
    assert_eq!(detect(b"\x16\x03\x01\x02\x10\0\0\0"), Some(TtHeader));
}

#[test]
fn as_few_bytes_as_can_tell_are_enough() {
    assert_eq!(detect(b""), None);
    assert_eq!(detect(b"\x80"), None);
    assert_eq!(detect(b"\x80\x01"), Some(ThriftBinary));
    assert_eq!(detect(b"\x80\0\0\x20"), None);
    assert_eq!(detect(b"\x80\0\0\x20\x11"), Some(Unknown));
    assert_eq!(detect(b"\x90\0\0\x20\x10"), None);
    assert_eq!(detect(b"\x90\0\0\x20\x10\0"), Some(TtHeader));
    assert_eq!(detect(b"\0\0\0\x14\x10"), None);
    assert_eq!(detect(b"\0\0\0\x14\x10\0"), Some(TtHeader));
    assert_eq!(detect(b"GET"), None);
    assert_eq!(detect(b"GET "), Some(Http1));
    assert_eq!(detect(b"PRI * H"), None);
    assert_eq!(detect(b"PURGE /"), None);
    assert_eq!(detect(b"PURGE /x"), Some(Http1));
}

/// First bytes that are or nearly are those of a protocol.
fn near_beginning() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        select(vec![
            &b"\0\0\0\x20"[..],
            b"\xff\xff\xff\xff",
            b"\x10\0",
            b"\x0f\xff",
            b"\x80\x01",
            b"\x90\x01",
            b"\x82",
            b"\x21",
            b"\xff\xaf",
            b"\x16\x03",
            b"\x01",
            b"GET ",
            b"PRI * HT",
            b"POST",
            b" ",
            b"/",
            b"\r\n",
            b"CONNECT",
            b"A",
        ])
        .prop_map(<[u8]>::to_vec),
        vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// What is told by its first bytes, whatever `[4..6]` are.
fn begins_otherwise(length: [u8; 4]) -> bool {
    let kind = length[1] & 0x1f;
    length.starts_with(&[0x80, 0x01])
        || length[0] == 0x82 && kind == 1
        || length.starts_with(&[0xff, 0xaf])
        || matches!(&length, b"GET " | b"PUT ")
        || length.starts_with(b"\r\n") && length[2].is_ascii_uppercase()
}

proptest! {
    /// Whatever its length: what is wrong with that is for the codec to say.
    #[test]
    fn the_magic_of_ttheader_tells(length: [u8; 4], behind: [u8; 2]) {
        prop_assume!(!begins_otherwise(length));
        let first = [&length[..], &[0x10, 0], &behind].concat();
        prop_assert_eq!(detect(&first), Some(TtHeader));
        prop_assert_eq!(detect(&first[..6]), Some(TtHeader));
    }

    #[test]
    fn never_changes_its_mind(bytes in near_beginning()) {
        let mut decided = None;
        for end in 0..=bytes.len() {
            let now = detect(&bytes[..end]);
            if decided.is_some() {
                prop_assert_eq!(now, decided);
            }
            prop_assert!(now.is_some() || end < DECIDES);
            decided = now;
        }
    }
}
