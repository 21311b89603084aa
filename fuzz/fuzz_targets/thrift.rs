//! A message is read the same in one piece and in pieces, its end as well; and under another sequence
//! nothing else about it changes. The first byte of the input chooses the size of the pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_wire::Parsed;
use sluice_wire::thrift::{AnswerTo, ExceptionKind, Limits, MessageHead, Protocol, Skipper};

const LIMIT: u32 = 2048;

fuzz_target!(|data: &[u8]| {
    let [step, bytes @ ..] = data else { return };
    let step = usize::from(*step).max(1);
    let limits = Limits::default();
    let whole = MessageHead::parse(bytes, &limits);
    for end in 0..bytes.len() {
        match MessageHead::parse(&bytes[..end], &limits) {
            Ok(Parsed::Incomplete { need }) => assert!(need > end),
            decided => {
                assert_eq!(decided, whole);
                break;
            }
        }
    }
    if let Ok(Parsed::Complete(head)) = &whole {
        under_another_sequence(head, i32::from_ne_bytes([*data.last().unwrap_or(&0); 4]));
        skip(head.protocol, &bytes[head.bytes().len()..], step);
        if let Ok(answer) = AnswerTo::request(head) {
            let mut out = Vec::new();
            answer.write_exception(&mut out, ExceptionKind::Protocol, "no");
            assert!(matches!(MessageHead::parse(&out, &limits), Ok(Parsed::Complete(_))));
        }
    }
    skip(Protocol::Binary, bytes, step);
    skip(Protocol::Compact, bytes, step);
});

fn under_another_sequence(head: &MessageHead<'_>, sequence: i32) {
    let mut out = Vec::new();
    if head.write_with_sequence(&mut out, sequence).is_err() {
        assert!(out.is_empty());
        return;
    }
    let limits = Limits {
        message: i32::MAX as u32,
        ..Limits::default()
    };
    let Ok(Parsed::Complete(again)) = MessageHead::parse(&out, &limits) else {
        // Not of the same length, it may no longer fit the frame that the peer has stated.
        assert!(head.frame.is_some());
        return;
    };
    assert_eq!((again.kind, again.method), (head.kind, head.method));
    assert_eq!((again.protocol, again.sequence), (head.protocol, sequence));
    let growth = head.growth_with_sequence(sequence);
    assert_eq!(head.bytes().len().checked_add_signed(growth), Some(out.len()));
    if let (Some(old), Some(new)) = (head.framed_len(), again.framed_len()) {
        assert_eq!(old.checked_add_signed(growth), Some(new));
    }
}

fn skip(protocol: Protocol, bytes: &[u8], step: usize) {
    let Some(mut skipper) = Skipper::new(protocol, LIMIT) else {
        return;
    };
    let mut pieces = skipper.clone();
    let whole = skipper.advance(bytes);
    let mut taken = 0;
    for piece in bytes.chunks(step) {
        match pieces.advance(piece) {
            Ok(Some(len)) => return assert_eq!(whole, Ok(Some(taken + len))),
            Ok(None) => taken += piece.len(),
            Err(error) => return assert_eq!(whole, Err(error)),
        }
    }
    assert_eq!(whole, Ok(None));
}
