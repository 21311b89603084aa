//! The pieces of a request's way, each alone: finding the route, parsing and writing heads.
//!
//! `perf/icount` runs it under callgrind and prints the instructions of one call of each piece. Each
//! is a function out of line named `piece_...`, which callgrind finds by that name.
//! `cargo bench -p sluice-perf --bench hot_paths` prints nanoseconds.

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use sluice_policy::{HttpView, ListenerId, Message, RequestView, Snapshot};
use sluice_wire::http1::{
    ClientSide, FieldEdits, HeadIndex, Limits, RequestEdits, RequestKind, Version, parse_request,
    parse_response, write_request_head, write_response_head,
};

/// Calls of each piece in a round.
const CALLS: usize = 1_000;

/// A browser's request.
const REQUEST: &[u8] = b"GET /assets/app.js?v=1f3a HTTP/1.1\r\nHost: shop.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://shop.example.com/\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n\
    Sec-Fetch-Dest: script\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: same-origin\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\
    Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/javascript\r\nContent-Length: 100\r\n\
    Last-Modified: Wed, 31 Dec 2025 00:00:00 GMT\r\nConnection: keep-alive\r\n\
    ETag: \"6954f1a0-64\"\r\nCache-Control: max-age=3600\r\nAccept-Ranges: bytes\r\n\r\n";

pub(crate) fn main() {
    // `cargo test` passes --test; there it only shows that it runs.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let rounds = if is_bench { 200 } else { 1 };
    let (few, many, most) = (Rules::of(10), Rules::of(1_000), Rules::of(10_000));
    report("route_lookup_10_rules", rounds, || {
        piece_route_lookup_10_rules(&few)
    });
    report("route_lookup_1000_rules", rounds, || {
        piece_route_lookup_1000_rules(&many)
    });
    report("route_lookup_10000_rules", rounds, || {
        piece_route_lookup_10000_rules(&most)
    });
    report("http1_parse_request", rounds, piece_http1_parse_request);
    report("http1_parse_response", rounds, piece_http1_parse_response);
    report("http1_write_request", rounds, piece_http1_write_request);
    report("http1_write_response", rounds, piece_http1_write_response);
}

/// Runs a piece and prints the median time of one call.
fn report(name: &str, rounds: usize, mut piece: impl FnMut() -> usize) {
    let mut nanos: Vec<f64> = (0..rounds)
        .map(|_| {
            let began = Instant::now();
            assert_eq!(piece(), CALLS, "{name}");
            began.elapsed().as_nanos() as f64 / CALLS as f64
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    println!("{name} calls={CALLS} ns_median={:.1}", nanos[rounds / 2]);
}

/// Routes of ten paths on each of many hosts, and a request for every one in turn.
struct Rules {
    snapshot: Snapshot,
    requests: Vec<(String, String)>,
}

impl Rules {
    fn of(count: usize) -> Rules {
        let mut text = String::from(
            "ports:\n  front: { device: net_memory0, addresses: [10.77.1.1/24] }\n\
             listeners:\n  web: { address: 10.77.1.1:80 }\n\
             services:\n  hello: { endpoints: [10.77.1.2:8080] }\nroutes:\n",
        );
        let mut requests = Vec::new();
        for number in 0..count {
            let (host, path) = (format!("h{}.example.com", number / 10), number % 10);
            writeln!(
                text,
                "  - {{ host: {host}, path: /api/v{path}, service: hello }}"
            )
            .expect("text takes more text");
            requests.push((host, format!("/api/v{path}/items/42")));
        }
        let rules = sluice_policy::parse(&text, "bench.yaml").unwrap_or_else(|p| panic!("{p:?}"));
        let snapshot = sluice_policy::compile(&rules).unwrap_or_else(|p| panic!("{p:?}"));
        // Near each other in the rules is not near each other in time.
        let shuffled = (0..count).map(|at| requests[at * 7_919 % count].clone());
        Rules {
            requests: shuffled.collect(),
            snapshot,
        }
    }

    /// How many of the calls found a route.
    #[inline(always)]
    fn look_up(&self) -> usize {
        let (mut index, mut scratch) = (HeadIndex::new(), Vec::new());
        let Ok(Some(request)) = parse_request(REQUEST, &Limits::default(), &mut index) else {
            return 0;
        };
        let (source, whose) = (IpAddr::from([10, 77, 1, 2]), (ListenerId(0), 0));
        let browser = RequestView::of(&request, whose, source, 0, &mut scratch);
        let Some(own) = browser.http() else {
            return 0;
        };
        let asked = self.requests.iter().cycle().take(CALLS);
        asked
            .filter(|(host, path)| {
                let http = HttpView {
                    host: host.as_bytes(),
                    path: path.as_bytes(),
                    ..own.clone()
                };
                let view = RequestView {
                    message: Message::Http(http),
                    ..browser
                };
                self.snapshot.route(black_box(&view)).is_some()
            })
            .count()
    }
}

#[inline(never)]
fn piece_route_lookup_10_rules(rules: &Rules) -> usize {
    black_box(10);
    rules.look_up()
}

#[inline(never)]
fn piece_route_lookup_1000_rules(rules: &Rules) -> usize {
    black_box(1_000);
    rules.look_up()
}

#[inline(never)]
fn piece_route_lookup_10000_rules(rules: &Rules) -> usize {
    black_box(10_000);
    rules.look_up()
}

#[inline(never)]
fn piece_http1_parse_request() -> usize {
    let (limits, mut index) = (Limits::default(), HeadIndex::new());
    (0..CALLS)
        .filter(|_| {
            let parsed = parse_request(black_box(REQUEST), &limits, &mut index);
            matches!(parsed, Ok(Some(request)) if request.keep_alive)
        })
        .count()
}

#[inline(never)]
fn piece_http1_parse_response() -> usize {
    let (limits, mut index) = (Limits::default(), HeadIndex::new());
    (0..CALLS)
        .filter(|_| {
            let bytes = black_box(RESPONSE);
            let parsed = parse_response(bytes, RequestKind::Other, &limits, &mut index);
            matches!(parsed, Ok(Some(response)) if response.status == 200)
        })
        .count()
}

#[inline(never)]
fn piece_http1_write_request() -> usize {
    let (limits, mut index) = (Limits::default(), HeadIndex::new());
    let Ok(Some(request)) = parse_request(REQUEST, &limits, &mut index) else {
        return 0;
    };
    let mut out = Vec::with_capacity(4_096);
    (0..CALLS)
        .filter(|_| {
            out.clear();
            write_request_head(&mut out, black_box(&request), &RequestEdits::default());
            out.len() > 100
        })
        .count()
}

#[inline(never)]
fn piece_http1_write_response() -> usize {
    let (limits, mut index) = (Limits::default(), HeadIndex::new());
    let parsed = parse_response(RESPONSE, RequestKind::Other, &limits, &mut index);
    let Ok(Some(response)) = parsed else {
        return 0;
    };
    let client = ClientSide {
        version: Version::Http11,
        keep_alive: true,
        trailers: false,
    };
    let mut out = Vec::with_capacity(4_096);
    (0..CALLS)
        .filter(|_| {
            out.clear();
            write_response_head(
                &mut out,
                black_box(&response),
                client,
                &FieldEdits::default(),
            );
            out.len() > 100
        })
        .count()
}
