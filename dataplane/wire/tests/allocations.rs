//! Decoding a request, editing its head and rewriting its sequence allocate nothing once the buffer that
//! they write to has grown.
#![forbid(unsafe_code)]

use std::hint::black_box;

use sluice_wire::Parsed;
use sluice_wire::thrift::{self, ExceptionKind, Skipper};
use sluice_wire::ttheader::{
    Answer, Edit, Edits, Head, Limits, Mode, NewHead, Payload, Sequences, Table, crc32c, string,
};

const CALL: &[u8] = b"\0\0\0\x15\x80\x01\0\x01\0\0\0\x04echo\0\0\0\x07\x02\0\x01\x01\0";

fn serve(frame: &[u8], table: &mut Table<u32>, out: &mut Vec<u8>) {
    out.clear();
    let Ok(Parsed::Complete(head)) = Head::parse(frame, &Limits::default()) else {
        panic!("a whole head");
    };
    let payload = &frame[head.bytes().len()..];
    let Ok(Parsed::Complete(Payload::Message(message))) =
        head.payload(payload, &thrift::Limits::default())
    else {
        panic!("a whole message");
    };
    let received = Sequences {
        frame: head.sequence(),
        message: Some(message.sequence),
    };
    let (name, sent) = table.begin(1, received).expect("there is room");
    let edits = Edits {
        sequence: Some(sent.frame),
        flags: None,
        metadata: &[
            Edit::SetInteger(12, b"950"),
            Edit::RemovePrefix(b"RPC_TRANSIT_"),
        ],
    };
    head.write_with_sequence(out, &edits, &message, name)
        .expect("it can be rewritten");
    let body = &payload[message.bytes().len()..];
    let mut skipper = Skipper::new(message.protocol, 1000).expect("Thrift");
    assert_eq!(skipper.advance(body), Ok(Some(body.len())));
    out.extend_from_slice(body);
    table.reply(sent);
    let answer = Answer::to(&head, &Payload::Message(message)).expect("a call");
    answer
        .write_exception(out, ExceptionKind::Internal, "full")
        .expect("it fits");
}

#[test]
fn a_request_allocates_nothing() {
    let crc = format!("{:08x}", crc32c(CALL));
    let strings: &[(&[u8], &[u8])] = &[
        (string::CRC32C, crc.as_bytes()),
        (b"RPC_TRANSIT_a", b"1"),
        (b"k", b"v"),
    ];
    let head = NewHead {
        sequence: 7,
        strings,
        integers: &[(12, b"3000"), (6, b"to")],
        ..NewHead::default()
    };
    let mut frame = Vec::new();
    head.write(&mut frame, CALL.len()).expect("it fits");
    frame.extend_from_slice(CALL);
    let mut table = Table::new(Mode::MessageSequence, 4);
    let mut out = Vec::new();
    serve(&frame, &mut table, &mut out);
    let counted = allocation_counter::measure(|| {
        for _ in 0..100 {
            serve(black_box(&frame), &mut table, &mut out);
        }
    });
    assert_eq!(counted.count_total, 0);
}
