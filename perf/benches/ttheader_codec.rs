//! What the TTHeader codec costs per request of some 200 bytes: a captured call of a Kitex client is
//! decoded, the keys that routes go by are looked up, and it is sent on.
//!
//! `cargo bench -p sluice-perf --bench ttheader_codec` prints nanoseconds; `perf/icount` runs it under
//! callgrind and prints instructions.

use std::hint::black_box;
use std::time::{Duration, Instant};

use sluice_wire::Parsed;
use sluice_wire::thrift::{self, MessageHead};
use sluice_wire::ttheader::{
    Edit, Edits, Head, Limits, NewHead, Remaining, Sequences, Timeout, crc32c, integer, string,
};

/// The operations, by the names that are printed. Each is kept out of line so that callgrind can be told
/// to count it alone.
const OPERATIONS: [(&str, Operation); 3] = [
    ("decode_and_route", decode_and_route),
    ("decode_and_forward", decode_and_forward),
    ("decode_and_rewrite", decode_and_rewrite),
];

/// Works on a request, with a buffer for what is sent on.
type Operation = fn(&Request, &mut Vec<u8>);

/// How often the operations are timed: short enough that some are not interrupted.
const ROUNDS: u32 = 100;

struct Request {
    /// As captured.
    plain: Vec<u8>,
    /// With a `crc32c`.
    checked: Vec<u8>,
}

/// In line, as a worker has it: what is decoded is used where it is.
#[inline(always)]
fn decoded(frame: &[u8]) -> (Head<'_>, MessageHead<'_>) {
    let Ok(Parsed::Complete(head)) = Head::parse(frame, &Limits::default()) else {
        panic!("the frame is whole");
    };
    let payload = &frame[head.bytes().len()..];
    let Ok(Parsed::Complete(payload)) = head.payload(payload, &thrift::Limits::default()) else {
        panic!("the payload is whole");
    };
    let message = *payload.message().expect("the payload is a message");
    (head, message)
}

/// Decodes, and picks what a route may go by: both services, the method, the lane.
#[inline(never)]
fn decode_and_route(request: &Request, _: &mut Vec<u8>) {
    let (head, message) = decoded(black_box(&request.plain));
    for key in [
        integer::FROM_SERVICE,
        integer::TO_SERVICE,
        integer::TO_METHOD,
        integer::ENV,
    ] {
        black_box(head.integer(key));
    }
    black_box(head.string(string::IDL_SERVICE));
    black_box(head.string(b"RPC_PERSIST_USER"));
    black_box(message.method);
}

/// Decodes, shrinks the deadline, and sends on under a sequence of the connection's own.
#[inline(never)]
fn decode_and_forward(request: &Request, out: &mut Vec<u8>) {
    let (head, _) = decoded(black_box(&request.plain));
    let timeout = head
        .timeout()
        .map(|timeout| timeout.after(Duration::from_millis(2)));
    let mut digits = [0; Timeout::MAX_DIGITS];
    let left = match timeout {
        Some(Remaining::Left(left)) => left.write(&mut digits),
        _ => b"",
    };
    let edits = Edits {
        sequence: Some(77),
        flags: None,
        metadata: &[Edit::SetInteger(integer::RPC_TIMEOUT, left)],
    };
    out.clear();
    head.write(out, &edits, head.payload_len())
        .expect("it fits");
    out.extend_from_slice(&request.plain[head.bytes().len()..]);
    black_box(out);
}

/// Decodes, and sends on with the sequence of its message rewritten and its checksum adjusted.
#[inline(never)]
fn decode_and_rewrite(request: &Request, out: &mut Vec<u8>) {
    let (head, message) = decoded(black_box(&request.checked));
    let sequences = Sequences {
        frame: 77,
        message: Some(77),
    };
    let edits = Edits {
        sequence: Some(sequences.frame),
        ..Edits::default()
    };
    out.clear();
    head.write_with_sequence(out, &edits, &message, 77)
        .expect("it fits");
    let rest = head.bytes().len() + message.bytes().len();
    out.extend_from_slice(&request.checked[rest..]);
    black_box(out);
}

impl Request {
    fn captured() -> Self {
        let text = include_str!("../../dataplane/wire/tests/frames/kitex_req.hex").trim();
        let digits = text.as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
        let plain: Vec<u8> = digits.filter_map(byte).collect();
        let (head, _) = decoded(&plain);
        let payload = &plain[head.bytes().len()..];
        let crc = format!("{:08x}", crc32c(payload));
        let new = NewHead {
            sequence: head.sequence(),
            strings: &[(string::CRC32C, crc.as_bytes())],
            integers: &[(integer::TO_METHOD, b"echo")],
            ..NewHead::default()
        };
        let mut checked = Vec::new();
        new.write(&mut checked, payload.len()).expect("it fits");
        checked.extend_from_slice(payload);
        Self { plain, checked }
    }
}

pub(crate) fn main() {
    // `cargo test` passes --test; a bench is not a test, so there it only shows that it runs.
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)
    };
    let bench = arguments.iter().any(|argument| argument == "--bench");
    let times = value("--times").and_then(|times| times.parse().ok());
    let times: u32 = times.unwrap_or(if bench { 2_000_000 } else { 1_000 });
    let only = value("--only");
    let request = Request::captured();
    let mut out = Vec::with_capacity(1024);
    for (name, operation) in OPERATIONS {
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let began = Instant::now();
                for _ in 0..times / ROUNDS {
                    operation(&request, &mut out);
                }
                began.elapsed().as_nanos() as f64 / f64::from(times / ROUNDS)
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        println!(
            "ttheader_codec {name} bytes={} ns_min={:.0} ns_median={:.0}",
            request.plain.len(),
            rounds[0],
            rounds[rounds.len() / 2],
        );
    }
}
