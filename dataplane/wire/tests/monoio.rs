//! Against monoio-thrift, an independent codec for TTHeader: what it writes is read here, what is written
//! here it reads, and both find the same.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};

use bytes::BytesMut;
use monoio_codec::{Decoded, Decoder, Encoder};
use monoio_thrift::codec::ttheader::{ProtocolId, TTHeader, TTHeaderDecoder, TTHeaderEncoder};
use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use sluice_wire::Parsed;
use sluice_wire::ttheader::{Edit, Edits, Flags, Head, Info, Limits, NewHead, string};
use smol_str::SmolStr;

/// All that a head says, in either codec's view.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    flags: u16,
    sequence: i32,
    protocol_id: u8,
    head_len: usize,
    payload_len: usize,
    strings: BTreeMap<String, String>,
    integers: BTreeMap<u16, String>,
    acl_token: Option<String>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("only text is put in")
}

fn ours(bytes: &[u8]) -> Said {
    let Ok(Parsed::Complete(head)) = Head::parse(bytes, &Limits::default()) else {
        panic!("a whole head");
    };
    let mut said = Said {
        flags: head.flags().0,
        sequence: head.sequence(),
        protocol_id: head.protocol_id(),
        head_len: head.bytes().len(),
        payload_len: head.payload_len(),
        strings: BTreeMap::new(),
        integers: BTreeMap::new(),
        acl_token: head.acl_token().map(text),
    };
    for info in head.infos() {
        match info {
            Info::String(key, value) => drop(said.strings.insert(text(key), text(value))),
            Info::Integer(key, value) => drop(said.integers.insert(key, text(value))),
            Info::AclToken(_) => {}
        }
    }
    for (key, value) in &said.strings {
        assert_eq!(head.string(key.as_bytes()), Some(value.as_bytes()));
    }
    for (key, value) in &said.integers {
        assert_eq!(head.integer(*key), Some(value.as_bytes()));
    }
    said
}

fn theirs(bytes: &[u8]) -> Said {
    let mut buffer = BytesMut::from(bytes);
    let Ok(Decoded::Some(head)) = TTHeaderDecoder::new().decode(&mut buffer) else {
        panic!("a whole head");
    };
    let known = head.int_headers.iter().enumerate();
    let known = known.filter_map(|(key, value)| Some((key as u16, value.clone()?.to_string())));
    let others = head
        .int_headers_ext
        .iter()
        .map(|(key, value)| (*key, value.to_string()));
    let strings = head.str_headers.iter();
    Said {
        flags: head.flags,
        sequence: head.seq_id,
        protocol_id: head.protocol_id as u8,
        // It counts from offset 14.
        head_len: 14 + head.header_length as usize,
        payload_len: head.payload_length as usize,
        strings: strings
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect(),
        integers: known.chain(others).collect(),
        acl_token: head.acl_token.map(|token| token.to_string()),
    }
}

fn value() -> impl Strategy<Value = String> {
    "[ -~]{0,20}"
}

fn said() -> impl Strategy<Value = Said> {
    let key = prop_oneof![
        Just("isn".to_owned()),
        Just("rip".to_owned()),
        Just("RPC_PERSIST_LANE".to_owned()),
        "[A-Za-z_-]{0,12}",
    ];
    (
        (
            any::<u16>(),
            any::<i32>(),
            prop::sample::select(vec![0u8, 2, 3, 4]),
        ),
        hash_map(key, value(), 0..8),
        hash_map(prop_oneof![0..28u16, any::<u16>()], value(), 0..10),
        proptest::option::of(value()),
        0..1000usize,
    )
        .prop_map(|(fixed, strings, integers, acl_token, payload_len)| Said {
            flags: fixed.0,
            sequence: fixed.1,
            protocol_id: fixed.2,
            head_len: 0,
            payload_len,
            strings: strings.into_iter().collect(),
            integers: integers.into_iter().collect(),
            acl_token,
        })
}

fn written_by_monoio(said: &Said) -> BytesMut {
    let mut head = TTHeader::new_for_encode(said.payload_len as u32);
    head.flags = said.flags;
    head.seq_id = said.sequence;
    head.protocol_id = ProtocolId::try_from(said.protocol_id).expect("one that it knows");
    let strings = said.strings.iter();
    let strings: HashMap<SmolStr, SmolStr> = strings
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    head.str_headers = strings;
    for (key, value) in &said.integers {
        match head.int_headers.get_mut(usize::from(*key)) {
            Some(place) => *place = Some(value.into()),
            None => head.int_headers_ext.push((*key, value.into())),
        }
    }
    head.acl_token = said.acl_token.as_ref().map(SmolStr::from);
    let mut out = BytesMut::new();
    TTHeaderEncoder::new()
        .encode(head, &mut out)
        .expect("it writes");
    out
}

fn written_here(said: &Said) -> Vec<u8> {
    let strings = said.strings.iter();
    let strings: Vec<(&[u8], &[u8])> = strings
        .map(|(key, value)| (key.as_bytes(), value.as_bytes()))
        .collect();
    let integers = said.integers.iter();
    let integers: Vec<(u16, &[u8])> = integers
        .map(|(key, value)| (*key, value.as_bytes()))
        .collect();
    let head = NewHead {
        flags: Flags(said.flags),
        sequence: said.sequence,
        protocol_id: said.protocol_id,
        acl_token: said.acl_token.as_ref().map(|token| token.as_bytes()),
        strings: &strings,
        integers: &integers,
    };
    let mut out = Vec::new();
    head.write(&mut out, said.payload_len).expect("it fits");
    out
}

proptest! {
    #[test]
    fn what_monoio_writes_is_read_here(said in said()) {
        let bytes = written_by_monoio(&said);
        let read = ours(&bytes);
        prop_assert_eq!(&read, &Said { head_len: bytes.len(), ..said });
        prop_assert_eq!(&read, &theirs(&bytes));
    }

    #[test]
    fn what_is_written_here_monoio_reads(said in said()) {
        let bytes = written_here(&said);
        let read = theirs(&bytes);
        prop_assert_eq!(&read, &Said { head_len: bytes.len(), ..said });
        prop_assert_eq!(&read, &ours(&bytes));
    }

    #[test]
    fn what_is_edited_here_monoio_reads(
        said in said(), sequence: i32, set in value(), strings in vec(value(), 0..3),
    ) {
        let bytes = written_by_monoio(&said);
        let Ok(Parsed::Complete(head)) = Head::parse(&bytes, &Limits::default()) else {
            panic!("a whole head");
        };
        let removed = said.integers.keys().next().copied().unwrap_or(7);
        let mut metadata = vec![
            Edit::RemoveInteger(removed),
            Edit::SetInteger(12, set.as_bytes()),
            Edit::RemovePrefix(b"RPC_PERSIST_"),
            Edit::RemoveString(string::ACL_TOKEN),
        ];
        metadata.extend(strings.iter().map(|value| Edit::SetString(b"k", value.as_bytes())));
        let edits = Edits { sequence: Some(sequence), flags: Some(Flags(1)), metadata: &metadata };
        let mut out = Vec::new();
        head.write(&mut out, &edits, said.payload_len).expect("it fits");

        let mut expected = Said { sequence, flags: 1, head_len: out.len(), acl_token: None, ..said };
        expected.integers.remove(&removed);
        expected.integers.insert(12, set);
        expected.strings.retain(|key, _| !key.starts_with("RPC_PERSIST_"));
        if let Some(value) = strings.last() {
            expected.strings.insert("k".into(), value.clone());
        }
        prop_assert_eq!(theirs(&out), expected);
    }
}
