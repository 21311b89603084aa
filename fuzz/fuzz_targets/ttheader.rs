//! A head that is accepted goes on byte for byte, and edited it says what the edits say; an answer to it
//! is a frame. The first byte of the input chooses the edits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_wire::Parsed;
use sluice_wire::thrift::{self, ExceptionKind};
use sluice_wire::ttheader::{Answer, Edit, Edits, Head, Limits, MeshHeader, Payload, crc32c, string};

const LIMITS: Limits = Limits {
    head: 4096,
    frame: 8192,
};

fuzz_target!(|data: &[u8]| {
    let [choice, bytes @ ..] = data else { return };
    if let Ok(Parsed::Complete(mesh)) = MeshHeader::parse(bytes, &LIMITS) {
        assert!(mesh.pairs().count() <= mesh.bytes().len() / 4);
    }
    let whole = Head::parse(bytes, &LIMITS);
    for end in 0..bytes.len() {
        match Head::parse(&bytes[..end], &LIMITS) {
            Ok(Parsed::Incomplete { need }) => assert!(need > end),
            Ok(Parsed::Complete(early)) => {
                let Ok(Parsed::Complete(head)) = &whole else { panic!("it was accepted") };
                assert_eq!(early.bytes(), head.bytes());
                break;
            }
            Err(error) => {
                assert_eq!(whole.as_ref().err(), Some(&error));
                break;
            }
        }
    }
    let Ok(Parsed::Complete(head)) = whole else { return };
    let mut same = Vec::new();
    head.write(&mut same, &Edits::default(), head.payload_len()).expect("nothing changes");
    assert_eq!(same, head.bytes());
    edit(&head, *choice);
    forward(&head, &bytes[head.bytes().len()..]);
});

fn edit(head: &Head<'_>, choice: u8) {
    let all = [
        Edit::SetInteger(12, b"950"),
        Edit::RemoveInteger(3),
        Edit::SetString(b"k", b"value"),
        Edit::RemoveString(string::ACL_TOKEN),
        Edit::RemovePrefix(b"RPC_"),
    ];
    let chosen = all.iter().enumerate().filter(|(bit, _)| choice >> bit & 1 == 1);
    let metadata: Vec<Edit<'_>> = chosen.map(|(_, edit)| *edit).collect();
    let edits = Edits { sequence: Some(5), flags: None, metadata: &metadata };
    let mut out = Vec::new();
    head.write(&mut out, &edits, 0).expect("heads this small have room");
    // What is new may be beyond the limit of what is read.
    let limits = Limits { head: 2 * LIMITS.head, ..LIMITS };
    let Ok(Parsed::Complete(edited)) = Head::parse(&out, &limits) else {
        panic!("what is written is valid");
    };
    assert_eq!((edited.sequence(), edited.payload_len()), (5, 0));
    for edit in metadata {
        match edit {
            Edit::SetInteger(key, value) => assert_eq!(edited.integer(key), Some(value)),
            Edit::RemoveInteger(key) => assert_eq!(edited.integer(key), None),
            Edit::SetString(key, value) => assert_eq!(edited.string(key), Some(value)),
            Edit::RemoveString(key) => assert_eq!(edited.string(key), None),
            Edit::RemovePrefix(_) => assert_eq!(edited.acl_token(), None),
        }
    }
}

/// Under another sequence of the message, and answered.
fn forward(head: &Head<'_>, payload: &[u8]) {
    let whole = payload.get(..head.payload_len());
    let Ok(Parsed::Complete(kind)) = head.payload(payload, &thrift::Limits::default()) else {
        return;
    };
    if let (Payload::Message(message), Some(payload)) = (&kind, whole) {
        let mut out = Vec::new();
        let sequence = message.sequence.wrapping_add(1);
        let written = head.write_with_sequence(&mut out, &Edits::default(), message, sequence);
        if written.is_err() {
            assert!(out.is_empty());
            return;
        }
        out.extend_from_slice(&payload[message.bytes().len()..]);
        let limits = Limits { frame: 2 * LIMITS.frame, ..LIMITS };
        let Ok(Parsed::Complete(sent)) = Head::parse(&out, &limits) else {
            panic!("what is written is valid");
        };
        assert_eq!(sent.frame_len(), out.len());
        let sent_payload = &out[sent.bytes().len()..];
        let right = |value: &[u8], bytes| value == format!("{:08x}", crc32c(bytes)).as_bytes();
        if let (Some(old), Some(new)) = (head.string(b"crc32c"), sent.string(b"crc32c"))
            && !old.is_empty()
        {
            assert_eq!(right(&old.to_ascii_lowercase(), payload), right(new, sent_payload));
        }
    }
    if let Ok(answer) = Answer::to(head, &kind) {
        let mut out = Vec::new();
        if answer.write_exception(&mut out, ExceptionKind::Internal, "no").is_ok() {
            let limits = Limits { head: 2 * LIMITS.head, frame: 4 * LIMITS.frame };
            let Ok(Parsed::Complete(answered)) = Head::parse(&out, &limits) else {
                panic!("an answer is a frame");
            };
            assert_eq!(answered.frame_len(), out.len());
        }
    }
}
