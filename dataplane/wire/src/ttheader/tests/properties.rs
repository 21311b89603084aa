use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

type Pairs<K> = Vec<(K, Vec<u8>)>;

/// What a head is made of.
#[derive(Debug, Clone)]
struct Parts {
    flags: u16,
    sequence: i32,
    acl_token: Option<Vec<u8>>,
    strings: Pairs<Vec<u8>>,
    integers: Pairs<u16>,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    let known = select(vec![
        &b"isn"[..],
        b"rip",
        b"crrst",
        b"crc32c",
        b"PV_x",
        b"RPC_PERSIST_a",
        b"RPC_TRANSIT_b",
        b"biz-status",
        b"",
    ]);
    prop_oneof![known.prop_map(<[u8]>::to_vec), vec(any::<u8>(), 0..12)]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..12)
}

fn parts() -> impl Strategy<Value = Parts> {
    let strings = vec((key(), value()), 0..8);
    let integers = vec((prop_oneof![0..30u16, any::<u16>()], value()), 0..10);
    let token = proptest::option::of(value());
    (any::<u16>(), any::<i32>(), token, strings, integers).prop_map(
        |(flags, sequence, acl_token, strings, integers)| Parts {
            flags,
            sequence,
            acl_token,
            strings,
            integers,
        },
    )
}

fn encode(parts: &Parts, payload: &[u8]) -> Vec<u8> {
    let strings: Vec<(&[u8], &[u8])> = parts
        .strings
        .iter()
        .map(|(key, value)| (&key[..], &value[..]))
        .collect();
    let integers: Vec<(u16, &[u8])> = parts
        .integers
        .iter()
        .map(|(key, value)| (*key, &value[..]))
        .collect();
    let new = NewHead {
        flags: Flags(parts.flags),
        sequence: parts.sequence,
        protocol_id: 0,
        acl_token: parts.acl_token.as_deref(),
        strings: &strings,
        integers: &integers,
    };
    frame(&new, payload)
}

/// The last value of a key.
fn last<'a, K: PartialEq>(pairs: &'a [(K, Vec<u8>)], wanted: &K) -> Option<&'a [u8]> {
    let found = pairs.iter().rev().find(|(key, _)| key == wanted);
    found.map(|(_, value)| &value[..])
}

/// An edit that owns what it says.
#[derive(Debug, Clone)]
enum OwnEdit {
    SetInteger(u16, Vec<u8>),
    RemoveInteger(u16),
    SetString(Vec<u8>, Vec<u8>),
    RemoveString(Vec<u8>),
    RemovePrefix(Vec<u8>),
}

fn edit() -> impl Strategy<Value = OwnEdit> {
    prop_oneof![
        (0..30u16, value()).prop_map(|(key, value)| OwnEdit::SetInteger(key, value)),
        (0..30u16).prop_map(OwnEdit::RemoveInteger),
        (key(), value()).prop_map(|(key, value)| OwnEdit::SetString(key, value)),
        key().prop_map(OwnEdit::RemoveString),
        select(vec![&b"RPC_"[..], b"RPC_PERSIST_", b"PV_", b"x"])
            .prop_map(|prefix| OwnEdit::RemovePrefix(prefix.to_vec())),
    ]
}

impl OwnEdit {
    fn edit(&self) -> Edit<'_> {
        match self {
            Self::SetInteger(key, value) => Edit::SetInteger(*key, value),
            Self::RemoveInteger(key) => Edit::RemoveInteger(*key),
            Self::SetString(key, value) => Edit::SetString(key, value),
            Self::RemoveString(key) => Edit::RemoveString(key),
            Self::RemovePrefix(prefix) => Edit::RemovePrefix(prefix),
        }
    }

    /// The same done to what the head is made of.
    fn apply(&self, parts: &mut Parts) {
        match self {
            Self::SetInteger(key, value) => {
                parts.integers.retain(|(other, _)| other != key);
                parts.integers.push((*key, value.clone()));
            }
            Self::RemoveInteger(key) => parts.integers.retain(|(other, _)| other != key),
            Self::SetString(key, value) => {
                parts.strings.retain(|(other, _)| other != key);
                parts.strings.push((key.clone(), value.clone()));
            }
            Self::RemoveString(key) => parts.strings.retain(|(other, _)| other != key),
            Self::RemovePrefix(prefix) => {
                parts.strings.retain(|(key, _)| !key.starts_with(prefix));
                if string::ACL_TOKEN.starts_with(prefix) {
                    parts.acl_token = None;
                }
            }
        }
    }
}

/// What each key is in the end, whatever stands where.
fn meaning(parts: &Parts) -> (Pairs<Vec<u8>>, Pairs<u16>, Option<Vec<u8>>) {
    let strings = parts.strings.iter().map(|(key, _)| key.clone());
    let integers = parts.integers.iter().map(|(key, _)| *key);
    let mut strings: Pairs<Vec<u8>> = strings
        .map(|key| {
            (
                last(&parts.strings, &key)
                    .map(<[u8]>::to_vec)
                    .unwrap_or_default(),
                key,
            )
        })
        .map(|(value, key)| (key, value))
        .collect();
    strings.sort();
    strings.dedup();
    let mut integers: Pairs<u16> = integers
        .map(|key| {
            (
                key,
                last(&parts.integers, &key)
                    .map(<[u8]>::to_vec)
                    .unwrap_or_default(),
            )
        })
        .collect();
    integers.sort();
    integers.dedup();
    (strings, integers, parts.acl_token.clone())
}

/// What a received head is made of.
fn parts_of(head: &Head<'_>) -> Parts {
    let mut parts = Parts {
        flags: head.flags().0,
        sequence: head.sequence(),
        acl_token: head.acl_token().map(<[u8]>::to_vec),
        strings: vec![],
        integers: vec![],
    };
    for info in head.infos() {
        match info {
            Info::String(key, value) => parts.strings.push((key.to_vec(), value.to_vec())),
            Info::Integer(key, value) => parts.integers.push((key, value.to_vec())),
            Info::AclToken(_) => {}
        }
    }
    parts
}

proptest! {
    #[test]
    fn a_head_reads_as_it_was_written(parts in parts(), payload in value()) {
        let bytes = encode(&parts, &payload);
        for end in 0..bytes.len() - payload.len() {
            let Ok(Parsed::Incomplete { need }) = Head::parse(&bytes[..end], &Limits::default()) else {
                panic!("{end} bytes are all well and not enough");
            };
            prop_assert!(need > end && need <= bytes.len() - payload.len());
        }
        let head = head(&bytes);
        prop_assert_eq!(head.frame_len(), bytes.len());
        prop_assert_eq!((head.flags().0, head.sequence()), (parts.flags, parts.sequence));
        prop_assert_eq!(head.acl_token(), parts.acl_token.as_deref());
        for (key, _) in &parts.strings {
            prop_assert_eq!(head.string(key), last(&parts.strings, key));
        }
        for key in (0..30).chain(parts.integers.iter().map(|(key, _)| *key)) {
            prop_assert_eq!(head.integer(key), last(&parts.integers, &key));
        }
        let validator = parts.strings.iter().any(|(key, _)| key.starts_with(b"PV_"));
        prop_assert_eq!(head.has_validator(), validator);
    }

    #[test]
    fn edits_do_to_a_head_what_they_say(parts in parts(), edits in vec(edit(), 0..6), sequence: i32) {
        let bytes = encode(&parts, CALL);
        let metadata: Vec<Edit<'_>> = edits.iter().map(OwnEdit::edit).collect();
        let edited = Edits { sequence: Some(sequence), flags: None, metadata: &metadata };
        let mut out = Vec::new();
        head(&bytes).write(&mut out, &edited, CALL.len()).expect("it fits");
        out.extend_from_slice(CALL);
        let mut expected = parts;
        edits.iter().for_each(|edit| edit.apply(&mut expected));
        let got = head(&out);
        prop_assert_eq!(got.frame_len(), out.len());
        prop_assert_eq!((got.sequence(), got.flags().0), (sequence, expected.flags));
        prop_assert_eq!(meaning(&parts_of(&got)), meaning(&expected));
    }

    /// Damaged or not: what is decided early stays so, and what is accepted goes on as it was.
    #[test]
    fn any_split_comes_to_the_same(
        parts in parts(), damage in vec((any::<Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = encode(&parts, b"");
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let limits = Limits::default();
        let whole = Head::parse(&bytes, &limits);
        for end in 0..bytes.len() {
            match Head::parse(&bytes[..end], &limits) {
                Ok(Parsed::Incomplete { need }) => prop_assert!(need > end),
                Ok(Parsed::Complete(early)) => {
                    let Ok(Parsed::Complete(head)) = &whole else { panic!("it was accepted") };
                    prop_assert_eq!(early.bytes(), head.bytes());
                }
                Err(error) => prop_assert_eq!(Some(error), whole.as_ref().err().copied()),
            }
        }
        if let Ok(Parsed::Complete(head)) = whole {
            let mut out = Vec::new();
            head.write(&mut out, &Edits::default(), head.payload_len()).expect("it fits");
            prop_assert_eq!(&out, head.bytes());
        }
    }

    #[test]
    fn noise_is_refused_or_read(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Head::parse(&bytes, &Limits::default());
        let _ = MeshHeader::parse(&bytes, &Limits::default());
        let mut part = bytes;
        part.truncate(part.len() / 4 * 4);
        let mut framed = ((10 + part.len()) as u32).to_be_bytes().to_vec();
        framed.extend_from_slice(b"\x10\0\0\0\0\0\0\x01");
        framed.extend_from_slice(&((part.len() / 4) as u16).to_be_bytes());
        framed.extend_from_slice(&part);
        if let Ok(Parsed::Complete(head)) = Head::parse(&framed, &Limits::default()) {
            prop_assert_eq!(head.bytes(), &framed[..]);
            let _ = head.infos().count();
        }
    }
}
