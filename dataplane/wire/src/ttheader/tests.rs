mod answers;
mod editing;
mod mesh_headers;
mod multiplexing;
mod parsing;
mod properties;
mod sequences;
mod values;

use super::*;
use crate::Parsed;
use crate::thrift::{self, MessageHead};

/// A frame of this head and payload.
fn frame(head: &NewHead<'_>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    head.write(&mut bytes, payload.len()).expect("it fits");
    bytes.extend_from_slice(payload);
    bytes
}

/// The head at the front of a whole frame.
fn head(bytes: &[u8]) -> Head<'_> {
    match Head::parse(bytes, &Limits::default()) {
        Ok(Parsed::Complete(head)) => head,
        other => panic!("{other:?}"),
    }
}

/// What stands behind the head of a whole frame.
fn payload_of<'a>(bytes: &'a [u8], head: &Head<'_>) -> Payload<'a> {
    let payload = &bytes[head.bytes().len()..];
    match head.payload(payload, &thrift::Limits::default()) {
        Ok(Parsed::Complete(payload)) => payload,
        other => panic!("{other:?}"),
    }
}

fn message_of<'a>(bytes: &'a [u8], head: &Head<'_>) -> MessageHead<'a> {
    match payload_of(bytes, head) {
        Payload::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

/// A call of `echo` with sequence 7 and five bytes of struct, framed binary.
const CALL: &[u8] = b"\0\0\0\x15\x80\x01\0\x01\0\0\0\x04echo\0\0\0\x07\x02\0\x01\x01\0";

/// A head with something of everything.
const FULL: NewHead<'_> = NewHead {
    flags: Flags(0x8001),
    sequence: -5,
    protocol_id: 0,
    acl_token: Some(b"token"),
    strings: &[
        (b"isn", b"Echo"),
        (b"RPC_PERSIST_a", b"1"),
        (b"RPC_TRANSIT_b", b"2"),
        (b"x", b""),
    ],
    integers: &[
        (3, b"from"),
        (6, b"to"),
        (9, b"echo"),
        (12, b"3000"),
        (700, b"own"),
    ],
};
