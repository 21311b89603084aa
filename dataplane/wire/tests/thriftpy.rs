//! Against thriftpy2: its messages are read here to their exact end, and it reads the answers that are
//! written here.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sluice_wire::Parsed;
use sluice_wire::detect::{self, detect};
use sluice_wire::thrift::{
    AnswerTo, ExceptionKind, Limits, MessageHead, MessageKind, Protocol, Skipper,
};

const VERSION: &str = "thriftpy2==0.7.1";

/// The interpreter that has thriftpy2, made once per target directory.
fn python() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(VERSION);
    fs::create_dir_all(&directory).expect("the target directory can be written to");
    // Tests are processes of their own, and one of them makes it.
    let lock = File::create(directory.join("lock")).expect("the lock can be made");
    lock.lock().expect("the lock can be taken");
    let python = directory.join("venv/bin/python");
    let complete = directory.join("complete");
    if !complete.exists() {
        let venv = directory.join("venv");
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&venv));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", VERSION]));
        File::create(complete).expect("the target directory can be written to");
    }
    python
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; see scripts/setup"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

/// What `peer.py` prints when it is given this.
fn peer(what: &str, input: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/thriftpy/peer.py");
    let mut command = Command::new(python());
    command
        .arg(script)
        .arg(what)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("the interpreter runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin
        .write_all(input.as_bytes())
        .expect("it reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "peer.py {what} failed");
    String::from_utf8(output.stdout).expect("it prints text")
}

/// A message that thriftpy2 wrote, and what it says that it is.
struct Written {
    protocol: Protocol,
    framed: bool,
    kind: MessageKind,
    method: String,
    sequence: i32,
    bytes: Vec<u8>,
}

fn written() -> Vec<Written> {
    let text = peer("write", "");
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [encoding, framing, kind, method, sequence, hex] = words[..] else {
            panic!("six words, not {line}");
        };
        let kind = kind.parse().ok().and_then(MessageKind::from_number);
        Written {
            protocol: protocol(encoding),
            framed: framing == "framed",
            kind: kind.expect("a kind"),
            method: method.to_owned(),
            sequence: sequence.parse().expect("a number"),
            bytes: from_hex(hex),
        }
    });
    lines.collect()
}

fn protocol(encoding: &str) -> Protocol {
    match encoding {
        "binary" => Protocol::Binary,
        "compact" => Protocol::Compact,
        _ => panic!("{encoding}"),
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    hex.as_bytes()
        .chunks(2)
        .map(|pair| byte(pair).expect("hexadecimal"))
        .collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn head(bytes: &[u8]) -> MessageHead<'_> {
    match MessageHead::parse(bytes, &Limits::default()) {
        Ok(Parsed::Complete(head)) => head,
        other => panic!("{other:?}"),
    }
}

#[test]
fn thriftpy_messages_are_read_to_their_end() {
    let mut seen = 0;
    for message in written() {
        let bytes = &message.bytes;
        let detected = match (message.protocol, message.framed) {
            (Protocol::Binary, true) => detect::Protocol::FramedThriftBinary,
            (Protocol::Binary, false) => detect::Protocol::ThriftBinary,
            (_, true) => detect::Protocol::FramedThriftCompact,
            (_, false) => detect::Protocol::ThriftCompact,
        };
        assert_eq!(detect(bytes), Some(detected));
        let head = head(bytes);
        assert_eq!((head.protocol, head.kind), (message.protocol, message.kind));
        assert_eq!(
            (head.method, head.sequence),
            (message.method.as_bytes(), message.sequence)
        );
        assert_eq!(head.framed_len(), message.framed.then_some(bytes.len()));
        // The end of the body, with the next message behind it, in one piece and byte by byte.
        let body = &bytes[head.bytes().len()..];
        let two = [body, bytes].concat();
        let skipper = Skipper::new(message.protocol, body.len() as u32).expect("Thrift");
        assert_eq!(skipper.clone().advance(&two), Ok(Some(body.len())));
        let mut skipper = skipper;
        let ends = two.iter().position(|byte| {
            let ended = skipper.advance(std::slice::from_ref(byte));
            ended.expect("a sound message").is_some()
        });
        assert_eq!(ends, Some(body.len() - 1));
        seen += 1;
    }
    assert!(seen > 50, "only {seen} messages");
}

#[test]
fn thriftpy_reads_the_answers() {
    let (mut input, mut expected) = (String::new(), String::new());
    for message in written() {
        let Ok(answer) = AnswerTo::request(&head(&message.bytes)) else {
            continue;
        };
        let encoding = if message.protocol == Protocol::Binary {
            "binary"
        } else {
            "compact"
        };
        let framing = if message.framed { "framed" } else { "buffered" };
        let mut line = |bytes: &[u8], says: &str| {
            input += &format!("{encoding} {framing} {}\n", to_hex(bytes));
            expected += &format!("{says}\n");
        };
        let (method, sequence) = (&message.method, message.sequence);
        let mut exception = Vec::new();
        answer.write_exception(&mut exception, ExceptionKind::Internal, "no endpoint is up");
        line(
            &exception,
            &format!("3 {method} {sequence} 6 no endpoint is up"),
        );
        let mut reply = Vec::new();
        answer.write_void_reply(&mut reply);
        line(&reply, &format!("2 {method} {sequence}"));
    }
    assert!(expected.lines().count() > 30);
    assert_eq!(peer("read", &input), expected);
}

/// Under another sequence it is the same message for thriftpy2.
#[test]
fn thriftpy_reads_a_rewritten_exception() {
    let (mut input, mut expected) = (String::new(), String::new());
    for message in written() {
        if message.kind != MessageKind::Exception {
            continue;
        }
        let head = head(&message.bytes);
        for sequence in [0, 127, 128, 1 << 20, i32::MAX] {
            let mut out = Vec::new();
            head.write_with_sequence(&mut out, sequence)
                .expect("it fits");
            out.extend_from_slice(&message.bytes[head.bytes().len()..]);
            let encoding = if message.protocol == Protocol::Binary {
                "binary"
            } else {
                "compact"
            };
            let framing = if message.framed { "framed" } else { "buffered" };
            input += &format!("{encoding} {framing} {}\n", to_hex(&out));
            expected += &format!("3 buy {sequence} 6 full\n");
        }
    }
    assert_eq!(expected.lines().count(), 20);
    assert_eq!(peer("read", &input), expected);
}
