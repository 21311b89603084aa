use super::*;

fn parse(bytes: &[u8]) -> Result<Parsed<MeshHeader<'_>>, HeadError> {
    MeshHeader::parse(bytes, &Limits::default())
}

const TWO: &[u8] = b"\xff\xaf\0\x14\0\x02\0\x01k\0\x05value\0\x01k\0\x02v2\x80\x01";

#[test]
fn pairs_before_a_message() {
    for end in 0..24 {
        assert!(matches!(parse(&TWO[..end]), Ok(Parsed::Incomplete { need }) if need > end));
    }
    let Ok(Parsed::Complete(mesh)) = parse(TWO) else {
        panic!("it is all there");
    };
    assert_eq!(mesh.bytes(), &TWO[..24]);
    let pairs: Vec<_> = mesh.pairs().collect();
    assert_eq!(pairs, [(&b"k"[..], &b"value"[..]), (b"k", b"v2")]);
    assert_eq!(
        (mesh.string(b"k"), mesh.string(b"l")),
        (Some(&b"v2"[..]), None)
    );
}

#[test]
fn what_is_left_over_is_padding() {
    let Ok(Parsed::Complete(mesh)) = parse(b"\xff\xaf\0\x05\0\0\x01\x10\x7f") else {
        panic!("it is all there");
    };
    assert_eq!((mesh.bytes().len(), mesh.pairs().count()), (9, 0));
}

#[test]
fn says_why_it_refuses() {
    use HeadError::*;
    let cases: [(&[u8], HeadError); 5] = [
        (b"\xff\xae", Magic),
        (b"\xff\xaf\0\x01", HeaderEmpty),
        (b"\xff\xaf\0\x02\0\x01", InfoPastHeader),
        (b"\xff\xaf\0\x07\0\x01\0\x01k\0\x01", InfoPastHeader),
        (b"\xff\xaf\0\x06\xff\xff\0\0\0\0", InfoPastHeader),
    ];
    for (bytes, why) in cases {
        assert_eq!(parse(bytes).err(), Some(why), "{bytes:x?}");
    }
    let limits = Limits {
        head: 10,
        ..Limits::default()
    };
    let large = MeshHeader::parse(TWO, &limits);
    assert_eq!(large.err(), Some(HeaderTooLarge));
}
