use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A value of any type, and how it is written in both protocols.
#[derive(Debug, Clone)]
enum Value {
    Bool(bool),
    Byte(u8),
    I16(i16),
    I32(i32),
    I64(i64),
    Double(u64),
    Uuid([u8; 16]),
    Bytes(Vec<u8>),
    List(u8, Vec<Value>),
    Map(Vec<(Value, Value)>),
    Struct(Vec<(i16, Value)>),
}

impl Value {
    fn binary_type(&self) -> u8 {
        match self {
            Self::Bool(_) => 2,
            Self::Byte(_) => 3,
            Self::Double(_) => 4,
            Self::I16(_) => 6,
            Self::I32(_) => 8,
            Self::I64(_) => 10,
            Self::Bytes(_) => 11,
            Self::Struct(_) => 12,
            Self::Map(_) => 13,
            Self::List(kind, _) => *kind,
            Self::Uuid(_) => 16,
        }
    }

    fn compact_type(&self) -> u8 {
        match self {
            Self::Bool(_) => 1,
            Self::Byte(_) => 3,
            Self::I16(_) => 4,
            Self::I32(_) => 5,
            Self::I64(_) => 6,
            Self::Double(_) => 7,
            Self::Bytes(_) => 8,
            // Binary 15 is a list, 14 a set.
            Self::List(kind, _) => 9 + 15 - kind,
            Self::Map(_) => 11,
            Self::Struct(_) => 12,
            Self::Uuid(_) => 13,
        }
    }

    fn binary(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(value) => out.push(u8::from(*value)),
            Self::Byte(value) => out.push(*value),
            Self::I16(value) => out.extend(value.to_be_bytes()),
            Self::I32(value) => out.extend(value.to_be_bytes()),
            Self::I64(value) => out.extend(value.to_be_bytes()),
            Self::Double(value) => out.extend(value.to_be_bytes()),
            Self::Uuid(value) => out.extend(value),
            Self::Bytes(value) => {
                out.extend((value.len() as u32).to_be_bytes());
                out.extend(value);
            }
            Self::List(_, values) => {
                out.push(values.first().map_or(0, Self::binary_type));
                out.extend((values.len() as u32).to_be_bytes());
                values.iter().for_each(|value| value.binary(out));
            }
            Self::Map(pairs) => {
                out.push(pairs.first().map_or(0, |(key, _)| key.binary_type()));
                out.push(pairs.first().map_or(0, |(_, value)| value.binary_type()));
                out.extend((pairs.len() as u32).to_be_bytes());
                for (key, value) in pairs {
                    key.binary(out);
                    value.binary(out);
                }
            }
            Self::Struct(fields) => {
                for (id, value) in fields {
                    out.push(value.binary_type());
                    out.extend(id.to_be_bytes());
                    value.binary(out);
                }
                out.push(0);
            }
        }
    }

    fn compact(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(value) => out.push(if *value { 1 } else { 2 }),
            Self::Byte(value) => out.push(*value),
            Self::I16(value) => long(out, i64::from(*value)),
            Self::I32(value) => long(out, i64::from(*value)),
            Self::I64(value) => long(out, *value),
            Self::Double(value) => out.extend(value.to_le_bytes()),
            Self::Uuid(value) => out.extend(value),
            Self::Bytes(value) => {
                varint::write(out, value.len() as u32);
                out.extend(value);
            }
            Self::List(_, values) => {
                let kind = values.first().map_or(0, Self::compact_type);
                if values.len() < 15 {
                    out.push((values.len() as u8) << 4 | kind);
                } else {
                    out.push(0xf0 | kind);
                    varint::write(out, values.len() as u32);
                }
                values.iter().for_each(|value| value.compact(out));
            }
            Self::Map(pairs) => {
                varint::write(out, pairs.len() as u32);
                if let Some((key, value)) = pairs.first() {
                    out.push(key.compact_type() << 4 | value.compact_type());
                }
                for (key, value) in pairs {
                    key.compact(out);
                    value.compact(out);
                }
            }
            Self::Struct(fields) => {
                let mut last = 0i16;
                for (id, value) in fields {
                    let kind = match value {
                        Self::Bool(false) => 2,
                        value => value.compact_type(),
                    };
                    match id.wrapping_sub(last) {
                        delta @ 1..=15 => out.push((delta as u8) << 4 | kind),
                        _ => {
                            out.push(kind);
                            varint::write(out, varint::zigzag(i32::from(*id)));
                        }
                    }
                    last = *id;
                    if !matches!(value, Self::Bool(_)) {
                        value.compact(out);
                    }
                }
                out.push(0);
            }
        }
    }
}

/// A zigzag varint of 64 bits.
fn long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Values of one type each time, so that they can stand in a list.
fn alike() -> impl Strategy<Value = Vec<Value>> {
    let few = 0..20usize;
    prop_oneof![
        vec(any::<bool>().prop_map(Value::Bool), few.clone()),
        vec(any::<u8>().prop_map(Value::Byte), few.clone()),
        vec(any::<i16>().prop_map(Value::I16), few.clone()),
        vec(any::<i32>().prop_map(Value::I32), few.clone()),
        vec(any::<i64>().prop_map(Value::I64), few.clone()),
        vec(any::<u64>().prop_map(Value::Double), few.clone()),
        vec(any::<[u8; 16]>().prop_map(Value::Uuid), few.clone()),
        vec(vec(any::<u8>(), 0..200).prop_map(Value::Bytes), few),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        alike().prop_filter_map("one of them", |values| values.into_iter().next()),
        (14..=15u8, alike()).prop_map(|(kind, values)| Value::List(kind, values)),
        (alike(), alike())
            .prop_map(|(keys, values)| Value::Map(keys.into_iter().zip(values).collect())),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let fields = vec((any::<i16>(), inner.clone()), 0..5)
            .prop_map(Value::Struct)
            .boxed();
        prop_oneof![
            fields.clone(),
            (14..=15u8, vec(fields.clone(), 0..5)).prop_map(|(kind, all)| Value::List(kind, all)),
            vec((any::<i32>().prop_map(Value::I32), fields), 0..4).prop_map(Value::Map),
        ]
    })
}

fn body() -> impl Strategy<Value = Value> {
    vec((any::<i16>(), value()), 0..5).prop_map(Value::Struct)
}

fn skipper(protocol: Protocol, limit: usize) -> Skipper {
    Skipper::new(protocol, limit as u32).expect("Thrift")
}

/// Where the message ends when it is handed over in pieces of these sizes, the last repeated.
fn skip_in_pieces(
    mut skipper: Skipper,
    bytes: &[u8],
    sizes: &[usize],
) -> Result<Option<usize>, SkipError> {
    let mut at = 0;
    let mut sizes = sizes.iter().copied().chain(std::iter::repeat(1));
    while at < bytes.len() {
        let size = sizes.next().unwrap_or(1).min(bytes.len() - at);
        if let Some(taken) = skipper.advance(&bytes[at..at + size])? {
            return Ok(Some(at + taken));
        }
        at += size;
    }
    Ok(None)
}

#[test]
fn says_why_it_refuses() {
    use Protocol::{Binary, Compact};
    use SkipError::*;
    let cases: [(Protocol, &[u8], SkipError); 13] = [
        (Binary, b"\x01", Type),
        (Binary, b"\x11", Type),
        (Binary, b"\x0f\0\x01\x01\0\0\0\x01", Type),
        (Compact, b"\x1e", Type),
        (Compact, b"\x10", Type),
        (Compact, b"\x19\x10", Type),
        (Compact, b"\x1b\x01\x10", Type),
        (Binary, b"\x0b\0\x01\xff\xff\xff\xff", Negative),
        (Binary, b"\x0d\0\x01\x08\x08\x80\0\0\0", Negative),
        (Compact, b"\x18\xff\xff\xff\xff\x0f", Negative),
        (Compact, b"\x18\xff\xff\xff\xff\x1f", Varint),
        (
            Compact,
            b"\x16\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            Varint,
        ),
        (Binary, b"\x0b\0\x01\x7f\xff\xff\xff", TooLarge),
    ];
    for (protocol, bytes, error) in cases {
        let whole = skipper(protocol, 1000).advance(bytes);
        assert_eq!(whole, Err(error), "{protocol:?} {bytes:x?}");
        assert_eq!(skip_in_pieces(skipper(protocol, 1000), bytes, &[]), whole);
    }
}

/// A count alone is enough to refuse: the elements need not come.
#[test]
fn more_elements_than_bytes_are_refused_at_once() {
    let structs = b"\x0f\0\x01\x0c\x00\x10\x00\x00";
    assert_eq!(
        skipper(Protocol::Binary, 1000).advance(structs),
        Err(SkipError::TooLarge)
    );
    let numbers = b"\x19\xf6\xe9\x07";
    assert_eq!(
        skipper(Protocol::Compact, 1000).advance(numbers),
        Err(SkipError::TooLarge)
    );
}

#[test]
fn depth_is_bounded() {
    for (protocol, open) in [
        (Protocol::Binary, &b"\x0c\0\x01"[..]),
        (Protocol::Compact, b"\x1c"),
    ] {
        let opens = |depth: usize| open.repeat(depth);
        // The message's own struct is the first.
        let mut deepest = opens(MAX_DEPTH - 1);
        deepest.extend([0; MAX_DEPTH]);
        let len = deepest.len();
        assert_eq!(skipper(protocol, 10_000).advance(&deepest), Ok(Some(len)));
        let refused = skipper(protocol, 10_000).advance(&opens(MAX_DEPTH));
        assert_eq!(refused, Err(SkipError::TooDeep));
    }
}

#[test]
fn a_long_chain_of_lists_is_no_recursion() {
    // Lists of one list each.
    let lists = [&b"\x0f\0\x01"[..], &b"\x0f\0\0\0\x01".repeat(100_000)].concat();
    assert_eq!(
        skipper(Protocol::Binary, 1 << 30).advance(&lists),
        Err(SkipError::TooDeep)
    );
}

#[test]
fn kitex_protobuf_is_not_skipped() {
    assert!(Skipper::new(Protocol::KitexProtobuf, 1000).is_none());
}

proptest! {
    #[test]
    fn finds_the_end_however_the_bytes_come(
        body in body(), sizes in vec(1..40usize, 0..30), after in vec(any::<u8>(), 0..20),
    ) {
        for protocol in [Protocol::Binary, Protocol::Compact] {
            let mut bytes = Vec::new();
            match protocol {
                Protocol::Binary => body.binary(&mut bytes),
                _ => body.compact(&mut bytes),
            }
            let len = bytes.len();
            bytes.extend(&after);
            prop_assert_eq!(skipper(protocol, len).advance(&bytes), Ok(Some(len)));
            prop_assert_eq!(skip_in_pieces(skipper(protocol, len), &bytes, &sizes), Ok(Some(len)));
            prop_assert_eq!(skipper(protocol, len).advance(&bytes[..len - 1]), Ok(None));
            // A byte less than it has.
            prop_assert_eq!(skipper(protocol, len - 1).advance(&bytes), Err(SkipError::TooLarge));
        }
    }

    #[test]
    fn noise_comes_to_the_same_in_pieces(
        compact: bool, body in body(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        sizes in vec(1..20usize, 0..20),
    ) {
        let protocol = if compact { Protocol::Compact } else { Protocol::Binary };
        let mut bytes = Vec::new();
        if compact { body.compact(&mut bytes) } else { body.binary(&mut bytes) }
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let whole = skipper(protocol, 1000).advance(&bytes);
        prop_assert_eq!(skip_in_pieces(skipper(protocol, 1000), &bytes, &sizes), whole);
    }
}
