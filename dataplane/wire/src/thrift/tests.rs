mod answers;
mod heads;
mod skipping;

use proptest::prelude::*;

use super::*;
use crate::Parsed;

/// A message head in this protocol, behind the length of a frame with `body` bytes after it where it is
/// to be framed.
fn message(
    protocol: Protocol,
    framed: bool,
    kind: MessageKind,
    method: &[u8],
    sequence: i32,
    body: usize,
) -> Vec<u8> {
    let mut head = Vec::new();
    match protocol {
        Protocol::Binary | Protocol::KitexProtobuf => {
            let magic = if protocol == Protocol::Binary {
                0x80
            } else {
                0x90
            };
            head.extend_from_slice(&[magic, 1, 0, kind as u8]);
            head.extend_from_slice(&(method.len() as u32).to_be_bytes());
            head.extend_from_slice(method);
            head.extend_from_slice(&sequence.to_be_bytes());
        }
        Protocol::Compact => {
            head.extend_from_slice(&[0x82, (kind as u8) << 5 | 1]);
            varint::write(&mut head, sequence as u32);
            varint::write(&mut head, method.len() as u32);
            head.extend_from_slice(method);
        }
    }
    if framed {
        let length = (head.len() + body) as u32;
        head.splice(..0, length.to_be_bytes());
    }
    head
}

fn any_kind() -> impl Strategy<Value = MessageKind> {
    (1..=4u8).prop_map(|number| MessageKind::from_number(number).expect("one of them"))
}

/// Protocol and framing that there are together.
fn any_protocol() -> impl Strategy<Value = (Protocol, bool)> {
    prop_oneof![
        (Just(Protocol::Binary), any::<bool>()),
        (Just(Protocol::Compact), any::<bool>()),
        (Just(Protocol::KitexProtobuf), Just(true)),
    ]
}
