//! Finding a route among 10 and among 10,000, the time and (under callgrind) the instructions of it.
//!
//! `cargo bench -p sluice-perf --bench route_lookup` prints nanoseconds. With `--rules N --lookups N`
//! one set is asked so often; `perf/icount` can run that under callgrind with
//! `--toggle-collect='*find_route*'`. Each of N rules has a host of its own, or a path of its own below
//! one host, so that no lookup is like the one before. `--alternatives N` asks for the last of so many
//! routes of one path that differ by a header, every other one by a regular expression.

use std::fmt::Write;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use sluice_perf::memory::compiled;
use sluice_policy::{ListenerId, RequestView, RouteId, Snapshot};
use sluice_wire::http1::{HeadIndex, Limits, parse_request};

const PORTS: &str = "\
ports:
  front: { device: net_memory0, addresses: [10.77.1.1/24] }
listeners: { web: { address: 10.77.1.1:80 } }
services: { hello: { endpoints: [10.77.1.2:80] } }
routes:
";

/// Half of them with hosts of their own, half with prefixes of their own.
fn distinct(count: usize) -> String {
    let mut text = PORTS.to_owned();
    for n in 0..count / 2 {
        let _ = writeln!(text, "  - {{ host: shop-{n}.example.com, service: hello }}");
        let _ = writeln!(
            text,
            "  - {{ host: api.example.com, path: /v1/team-{n}/items, service: hello }}"
        );
    }
    text
}

fn alternatives(count: usize) -> String {
    let mut text = PORTS.to_owned();
    for n in 0..count {
        let test = if n % 2 == 0 {
            format!("user-{n}")
        } else {
            format!("{{ regex: \"user-{n}[a-z]*\" }}")
        };
        let _ = writeln!(
            text,
            "  - {{ path: /api, headers: {{ x-user: {test} }}, service: hello }}"
        );
    }
    text
}

/// One lookup, kept out of line so that callgrind can be told to count only it.
#[inline(never)]
fn find_route(snapshot: &Snapshot, request: &RequestView<'_>) -> Option<RouteId> {
    snapshot.route(request).map(|route| route.id)
}

/// Heads of requests, each taken by another route.
fn heads(count: usize) -> Vec<String> {
    let mut heads = Vec::new();
    for n in 0..count / 2 {
        heads.push(format!(
            "GET /a/b HTTP/1.1\r\nHost: shop-{n}.example.com\r\n\r\n"
        ));
        heads.push(format!(
            "GET /v1/team-{n}/items/17 HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
        ));
    }
    heads
}

fn measure(text: &str, heads: &[String], lookups: usize) -> f64 {
    let snapshot = compiled(text, 1).unwrap_or_else(|problems| panic!("{problems}"));
    let source = IpAddr::from([10, 77, 1, 2]);
    let mut spent = std::time::Duration::ZERO;
    let (mut index, mut scratch) = (HeadIndex::new(), Vec::new());
    // A stride that meets every route, neighbours far apart.
    for n in 0..lookups {
        let head = &heads[n * 7919 % heads.len()];
        let request = parse_request(head.as_bytes(), &Limits::default(), &mut index);
        let request = request.expect("it is valid").expect("it is whole");
        let whose = (ListenerId(0), 0);
        let view = RequestView::of(&request, whose, source, n as u64, &mut scratch);
        let began = Instant::now();
        let found = black_box(find_route(&snapshot, &view));
        spent += began.elapsed();
        assert!(found.is_some(), "{head}");
    }
    spent.as_nanos() as f64 / lookups as f64
}

fn main() {
    // `cargo test` passes --test; a bench is not a test, so there it only shows that it runs.
    let arguments: Vec<String> = std::env::args().collect();
    let bench = arguments.iter().any(|argument| argument == "--bench");
    let number = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse::<usize>().ok()
    };
    let lookups = number("--lookups").unwrap_or(if bench { 1_000_000 } else { 1_000 });
    if let Some(count) = number("--alternatives") {
        let last = count - 1;
        let head = format!("GET /api HTTP/1.1\r\nHost: a\r\nX-User: user-{last}\r\n\r\n");
        let nanos = measure(&alternatives(count), &[head], lookups);
        println!("route_lookup alternatives={count} lookups={lookups} ns={nanos:.0}");
        return;
    }
    let sizes = number("--rules").map_or_else(|| vec![10, 10_000], |count| vec![count]);
    for count in sizes {
        let nanos = measure(&distinct(count), &heads(count), lookups);
        println!("route_lookup rules={count} lookups={lookups} ns={nanos:.0}");
    }
}
