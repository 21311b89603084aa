//! Frames captured between real peers, decoded to their exact content and encoded again identically.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use sluice_wire::Parsed;
use sluice_wire::detect::{self, detect};
use sluice_wire::thrift::{self, MessageKind, Protocol, Skipper};
use sluice_wire::ttheader::{Edits, Flags, Head, Info, Limits, NewHead, integer};

/// All that a frame says.
struct Expected {
    sequence: i32,
    /// HEADER SIZE.
    size: usize,
    acl_token: Option<&'static str>,
    strings: &'static [(&'static str, &'static str)],
    integers: &'static [(u16, &'static str)],
    says: Option<MessageKind>,
    message: Message,
}

struct Message {
    protocol: Protocol,
    frame: Option<u32>,
    kind: MessageKind,
    method: &'static str,
    sequence: i32,
    body: &'static str,
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.trim().as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    digits.map(byte).collect()
}

fn frame(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frames");
    hex(&fs::read_to_string(path.join(name)).expect("the frame is there"))
}

fn check(name: &str, expected: &Expected) {
    let bytes = frame(name);
    assert_eq!(detect(&bytes), Some(detect::Protocol::TtHeader));
    let Ok(Parsed::Complete(head)) = Head::parse(&bytes, &Limits::default()) else {
        panic!("{name} is a whole frame");
    };
    let head_len = 14 + expected.size * 4;
    assert_eq!(head.bytes(), &bytes[..head_len]);
    assert_eq!(head.frame_len(), bytes.len());
    assert_eq!(head.payload_len(), bytes.len() - head_len);
    assert_eq!(
        (head.flags(), head.sequence()),
        (Flags(0), expected.sequence)
    );
    assert_eq!((head.protocol_id(), head.transforms()), (0, &[][..]));
    assert!(!head.closes() && !head.has_validator());
    assert_eq!(head.message_kind(), expected.says);
    assert_eq!(head.stream_frame(), None);

    let token = expected.acl_token.map(str::as_bytes);
    let strings: Vec<(&[u8], &[u8])> = expected
        .strings
        .iter()
        .map(|(key, value)| (key.as_bytes(), value.as_bytes()))
        .collect();
    let integers: Vec<(u16, &[u8])> = expected
        .integers
        .iter()
        .map(|(key, value)| (*key, value.as_bytes()))
        .collect();
    let mut infos: Vec<Info<'_>> = token.map(Info::AclToken).into_iter().collect();
    infos.extend(strings.iter().map(|(key, value)| Info::String(key, value)));
    infos.extend(
        integers
            .iter()
            .map(|(key, value)| Info::Integer(*key, value)),
    );
    assert_eq!(head.infos().collect::<Vec<_>>(), infos);
    assert_eq!(head.acl_token(), token);
    for (key, value) in &strings {
        assert_eq!(head.string(key), Some(*value));
    }
    for key in 0..64 {
        let value = integers
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, value)| *value);
        assert_eq!(head.integer(key), value);
    }
    let timeout = head.timeout().map(|timeout| timeout.duration().as_millis());
    assert_eq!(timeout, head.integer(integer::RPC_TIMEOUT).map(|_| 3000));

    let payload = &bytes[head_len..];
    check_message(&head, payload, &expected.message);

    let mut unchanged = Vec::new();
    let payload_len = payload.len();
    head.write(&mut unchanged, &Edits::default(), payload_len)
        .expect("it fits");
    unchanged.extend_from_slice(payload);
    assert_eq!(unchanged, bytes);
    let mut anew = Vec::new();
    let new = NewHead {
        flags: head.flags(),
        sequence: head.sequence(),
        protocol_id: head.protocol_id(),
        acl_token: token,
        strings: &strings,
        integers: &integers,
    };
    new.write(&mut anew, payload_len).expect("it fits");
    anew.extend_from_slice(payload);
    assert_eq!(anew, bytes);
}

fn check_message(head: &Head<'_>, payload: &[u8], expected: &Message) {
    let parsed = head.payload(payload, &thrift::Limits::default());
    let Ok(Parsed::Complete(parsed)) = parsed else {
        panic!("{parsed:?}");
    };
    let message = parsed.message().expect("a message");
    assert_eq!(message.protocol, expected.protocol);
    assert_eq!(message.frame, expected.frame);
    assert_eq!(message.kind, expected.kind);
    assert_eq!(message.method, expected.method.as_bytes());
    assert_eq!(message.sequence, expected.sequence);
    let body = &payload[message.bytes().len()..];
    assert_eq!(body, hex(expected.body));
    // The body is one struct, and its end is found where the frame has it.
    let mut skipper = Skipper::new(message.protocol, 1000).expect("Thrift");
    assert_eq!(skipper.advance(body), Ok(Some(body.len())));
}

const KITEX_STRINGS: &[(&str, &str)] = &[
    ("RPC_TRANSIT_STAGE", "canary"),
    ("RPC_PERSIST_USER", "u1"),
    ("isn", "EchoService"),
];
const VOLO_STRINGS: &[(&str, &str)] = &[
    ("RPC_PERSIST_USER", "u1"),
    ("RPC_TRANSIT_STAGE", "canary"),
    ("isn", "EchoService"),
];
const VOLO_INTEGERS: &[(u16, &str)] = &[
    (16, "3"),
    (12, "3000"),
    (3, "svc.caller"),
    (9, "echo"),
    (6, "svc.echo"),
    (11, "127.0.0.1:43359"),
];
const KITEX_ECHO: Message = Message {
    protocol: Protocol::Binary,
    frame: Some(40),
    kind: MessageKind::Call,
    method: "echo",
    sequence: 1,
    body: "0c0001080002000000010b00010000000568656c6c6f0000",
};
const VOLO_ECHO: Message = Message {
    sequence: 0,
    body: "0c00010b00010000000568656c6c6f080002000000010000",
    ..KITEX_ECHO
};

#[test]
fn kitex_request() {
    let expected = Expected {
        sequence: 1,
        size: 35,
        acl_token: None,
        strings: KITEX_STRINGS,
        integers: &[
            (1, "framed"),
            (12, "3000"),
            (3, "svc.kcaller"),
            (20, ""),
            (6, "svc.echo"),
            (9, "echo"),
            (22, "1"),
        ],
        says: Some(MessageKind::Call),
        message: KITEX_ECHO,
    };
    check("kitex_req.hex", &expected);
}

#[test]
fn kitex_request_with_acl_token() {
    let expected = Expected {
        sequence: 1,
        size: 37,
        acl_token: Some("tok123"),
        strings: KITEX_STRINGS,
        integers: &[
            (20, ""),
            (6, "svc.echo"),
            (9, "echo"),
            (22, "1"),
            (1, "framed"),
            (12, "3000"),
            (3, "svc.kcaller"),
        ],
        says: Some(MessageKind::Call),
        message: Message {
            body: "0c00010b00010000000568656c6c6f080002000000010000",
            ..KITEX_ECHO
        },
    };
    check("kitex_req_acl.hex", &expected);
}

#[test]
fn kitex_request_without_integer_keys() {
    let expected = Expected {
        sequence: 1,
        size: 14,
        acl_token: None,
        strings: &KITEX_STRINGS[..2],
        integers: &[],
        says: None,
        message: KITEX_ECHO,
    };
    check("kitex_req_nometa.hex", &expected);
}

#[test]
fn kitex_oneway_request() {
    let expected = Expected {
        sequence: 1,
        size: 35,
        acl_token: None,
        strings: KITEX_STRINGS,
        integers: &[
            (22, "4"),
            (1, "framed"),
            (12, "3000"),
            (3, "svc.kcaller"),
            (20, ""),
            (6, "svc.echo"),
            (9, "fire"),
        ],
        says: Some(MessageKind::Oneway),
        message: Message {
            frame: Some(39),
            kind: MessageKind::Oneway,
            method: "fire",
            body: "0c0001080002000000010b000100000004666972650000",
            ..KITEX_ECHO
        },
    };
    check("kitex_req_oneway.hex", &expected);
}

#[test]
fn kitex_reply() {
    let expected = Expected {
        sequence: 1,
        size: 7,
        acl_token: None,
        strings: &[("srv", "kitex")],
        integers: &[(22, "2")],
        says: Some(MessageKind::Reply),
        message: Message {
            frame: Some(43),
            kind: MessageKind::Reply,
            body: "0c0000080002000000010b00010000000872653a68656c6c6f0000",
            ..KITEX_ECHO
        },
    };
    check("kitex_rsp_ok.hex", &expected);
}

#[test]
fn kitex_exception() {
    let expected = Expected {
        sequence: 1,
        size: 7,
        acl_token: None,
        strings: &[("srv", "kitex")],
        integers: &[(22, "3")],
        says: Some(MessageKind::Exception),
        message: Message {
            frame: Some(59),
            kind: MessageKind::Exception,
            body: "0b00010000001c62697a206572726f723a20626f6f6d2066726f6d2068616e646c6572080002\
                   0000000600",
            ..KITEX_ECHO
        },
    };
    check("kitex_rsp_appexc.hex", &expected);
}

const BIZ: [(&str, &str); 3] = [
    ("biz-status", "1234"),
    ("biz-message", "biz says no"),
    ("biz-extra", r#"{"k":"v"}"#),
];

#[test]
fn kitex_biz_status_reply() {
    let expected = Expected {
        sequence: 1,
        size: 23,
        acl_token: None,
        strings: &[("srv", "kitex"), BIZ[0], BIZ[1], BIZ[2]],
        integers: &[(22, "2")],
        says: Some(MessageKind::Reply),
        message: Message {
            frame: Some(17),
            kind: MessageKind::Reply,
            body: "00",
            ..KITEX_ECHO
        },
    };
    check("kitex_rsp_biz.hex", &expected);
}

/// What the three ways of a Volo client to send the same call have in common.
const VOLO_CALL: Expected = Expected {
    sequence: 0,
    size: 36,
    acl_token: None,
    strings: VOLO_STRINGS,
    integers: VOLO_INTEGERS,
    says: None,
    message: VOLO_ECHO,
};

#[test]
fn volo_framed_request() {
    check("volo_req_ttheader_framed.hex", &VOLO_CALL);
}

#[test]
fn volo_unframed_request() {
    let message = Message {
        frame: None,
        ..VOLO_ECHO
    };
    check(
        "volo_req_ttheader_unframed.hex",
        &Expected {
            message,
            ..VOLO_CALL
        },
    );
}

#[test]
fn volo_framed_compact_request() {
    let message = Message {
        protocol: Protocol::Compact,
        frame: Some(20),
        body: "1c180568656c6c6f15020000",
        ..VOLO_ECHO
    };
    check(
        "volo_req_ttheader_framed_compact.hex",
        &Expected {
            message,
            ..VOLO_CALL
        },
    );
}

#[test]
fn volo_oneway_request() {
    let expected = Expected {
        integers: &[
            (16, "3"),
            (12, "3000"),
            (3, "svc.caller"),
            (9, "fire"),
            (6, "svc.echo"),
            (11, "127.0.0.1:43359"),
        ],
        message: Message {
            frame: Some(39),
            kind: MessageKind::Oneway,
            method: "fire",
            body: "0c00010b00010000000466697265080002000000010000",
            ..VOLO_ECHO
        },
        ..VOLO_CALL
    };
    check("volo_req_oneway.hex", &expected);
}

const VOLO_REPLY: Expected = Expected {
    sequence: 0,
    size: 10,
    acl_token: None,
    strings: &[("RPC_BACKWARD_srv", "volo")],
    integers: &[(22, "\x02")],
    says: Some(MessageKind::Reply),
    message: Message {
        frame: Some(43),
        kind: MessageKind::Reply,
        body: "0c00000b00010000000872653a68656c6c6f080002000000010000",
        ..VOLO_ECHO
    },
};

#[test]
fn volo_reply() {
    check("volo_rsp_ok.hex", &VOLO_REPLY);
}

#[test]
fn volo_exception() {
    let expected = Expected {
        integers: &[(22, "\x03")],
        says: Some(MessageKind::Exception),
        message: Message {
            frame: Some(48),
            kind: MessageKind::Exception,
            body: "0b000100000011626f6f6d2066726f6d2068616e646c65720800020000000600",
            ..VOLO_ECHO
        },
        ..VOLO_REPLY
    };
    check("volo_rsp_appexc.hex", &expected);
}

#[test]
fn volo_biz_status_in_an_exception() {
    let expected = Expected {
        size: 26,
        strings: &[("RPC_BACKWARD_srv", "volo"), BIZ[0], BIZ[1], BIZ[2]],
        integers: &[(22, "\x03")],
        says: Some(MessageKind::Exception),
        message: Message {
            frame: Some(91),
            kind: MessageKind::Exception,
            body: "0b00010000003c7374617475735f636f64653a20313233342c207374617475735f6d65737361\
                   67653a2062697a2073617973206e6f2c2065787472613a206b3a20762c0800020000000600",
            ..VOLO_ECHO
        },
        ..VOLO_REPLY
    };
    check("volo_rsp_biz.hex", &expected);
}

#[test]
fn volo_declared_exception() {
    let expected = Expected {
        message: Message {
            frame: Some(53),
            kind: MessageKind::Reply,
            body: "0c0001080001000000070b0002000000126465636c6172656420657863657074696f6e0000",
            ..VOLO_ECHO
        },
        ..VOLO_REPLY
    };
    check("volo_rsp_user_exception.hex", &expected);
}

#[test]
fn every_captured_frame_is_checked() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frames");
    let source = include_str!("frames.rs");
    let table = include_str!("frames/README.md");
    let mut seen = 0;
    for entry in fs::read_dir(path).expect("the frames are there") {
        let name = entry
            .expect("readable")
            .file_name()
            .into_string()
            .expect("ASCII");
        if name.ends_with(".hex") {
            assert!(
                source.contains(&format!("\"{name}\"")),
                "{name} is not checked"
            );
            assert!(table.contains(&name), "{name} is not in the table");
            seen += 1;
        }
    }
    assert_eq!(seen, 15);
}
