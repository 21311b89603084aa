//! Calls and replies that monoio-thrift wrote, through the gateway, and read by monoio-thrift again: what
//! is not the gateway's arrives as it was sent.

use std::collections::{BTreeMap, HashMap};

use bytes::BytesMut;
use monoio_codec::{Decoded, Decoder, Encoder};
use monoio_thrift::codec::ttheader::{ProtocolId, TTHeader, TTHeaderDecoder, TTHeaderEncoder};
use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use sluice_wire::thrift::MessageKind;
use sluice_wire::ttheader::integer;
use smol_str::SmolStr;

use super::frames::{BY_FRAME, BY_MESSAGE, ONE, message, text, world};

/// The metadata of a frame, and the text of its message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    strings: BTreeMap<String, String>,
    integers: BTreeMap<u16, String>,
    acl_token: Option<String>,
    text: String,
}

/// Keys that mean something to the gateway are not among them: how long a caller waits, what a frame is to
/// its stream, the kind of the message.
fn said() -> impl Strategy<Value = Said> {
    let string = prop_oneof![
        Just("isn".to_owned()),
        Just("rip".to_owned()),
        Just("RPC_PERSIST_LANE".to_owned()),
        Just("RPC_TRANSIT_ONCE".to_owned()),
        Just("RPC_BACKWARD_FROM".to_owned()),
        "[A-Za-z_-]{1,12}".prop_map(|key| format!("x-{key}")),
    ];
    let own = [integer::RPC_TIMEOUT, integer::FRAME_TYPE, integer::MSG_TYPE];
    let integer = prop_oneof![0..27u16, 28..u16::MAX];
    let integer = integer.prop_filter("the gateway's", move |key| !own.contains(key));
    let value = || "[ -~]{0,20}";
    (
        hash_map(string, value(), 0..8),
        hash_map(integer, value(), 0..10),
        proptest::option::of(value()),
        "[a-z]{0,300}",
    )
        .prop_map(|(strings, integers, acl_token, text)| Said {
            strings: strings.into_iter().collect(),
            integers: integers.into_iter().collect(),
            acl_token,
            text,
        })
}

/// A whole frame, its head by monoio-thrift.
fn written(said: &Said, kind: MessageKind, (frame, own): (i32, i32)) -> Vec<u8> {
    let payload = message(kind, "echo", own, &text(&said.text));
    let mut head = TTHeader::new_for_encode(payload.len() as u32);
    // Replies in any order.
    head.flags = 1;
    head.seq_id = frame;
    head.protocol_id = ProtocolId::try_from(0).expect("one that it knows");
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
    let encoded = TTHeaderEncoder::new().encode(head, &mut out);
    encoded.expect("it writes");
    [&out[..], &payload].concat()
}

/// What monoio-thrift reads of a frame, and its sequence.
fn read(bytes: &[u8], body: &[u8]) -> (i32, Said) {
    let mut buffer = BytesMut::from(bytes);
    let Ok(Decoded::Some(head)) = TTHeaderDecoder::new().decode(&mut buffer) else {
        panic!("a whole head");
    };
    let known = head.int_headers.iter().enumerate();
    let known = known.filter_map(|(key, value)| Some((key as u16, value.clone()?.to_string())));
    let others = head.int_headers_ext.iter();
    let others = others.map(|(key, value)| (*key, value.to_string()));
    let strings = head.str_headers.iter();
    let said = Said {
        strings: strings
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect(),
        integers: known.chain(others).collect(),
        acl_token: head.acl_token.map(|token| token.to_string()),
        // Behind the field's type, number and length, in front of the struct's end.
        text: String::from_utf8_lossy(&body[7..body.len() - 1]).into_owned(),
    };
    (head.seq_id, said)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn monoio_reads_what_monoio_sent_through_the_gateway(
        calls in vec((said(), said()), 1..5),
        service in prop::sample::select(vec![ONE, BY_MESSAGE, BY_FRAME]),
    ) {
        let mut w = world(service);
        // Each is a caller of its own, with the same sequence.
        let callers: Vec<usize> = calls.iter().map(|_| w.open()).collect();
        for (caller, (asked, _)) in callers.iter().zip(&calls) {
            w.send(*caller, written(asked, MessageKind::Call, (3, 3)));
        }
        // On one connection, or on one for each.
        let mut arrived = Vec::new();
        for backend in 0..w.backend.connections() {
            let requests = w.requests(backend);
            arrived.extend(requests.into_iter().map(|got| (backend, got)));
        }
        prop_assert_eq!(arrived.len(), calls.len());
        for (backend, got) in arrived.into_iter().rev() {
            let (frame, asked) = read(&got.bytes, &got.body);
            let found = calls.iter().find(|(sent, _)| *sent == asked);
            let Some((_, answer)) = found else {
                panic!("nobody sent {asked:?}");
            };
            let frame = if service == BY_FRAME { frame } else { got.message };
            w.answer(backend, written(answer, MessageKind::Reply, (frame, got.message)));
        }
        for (caller, (asked, answer)) in callers.into_iter().zip(&calls) {
            let got = w.reply(caller);
            let (frame, said) = read(&got.bytes, &got.body);
            prop_assert_eq!((frame, got.message), (3, 3));
            // Where two callers asked the same, either answer is right.
            let right = calls.iter().any(|(other, reply)| other == asked && *reply == said);
            prop_assert!(right, "{said:?} is not {answer:?}");
        }
        w.rpc_over();
    }
}
