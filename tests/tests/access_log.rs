//! What the access log notes of requests, in memory and virtual time.
#![forbid(unsafe_code)]

use std::time::Duration;

use sluice_engine::access::Record;
use sluice_engine::stack::counters::Counted;
use sluice_engine::stack::time::Instant;
use sluice_engine::stats::RequestFate;
use sluice_perf::memory::Setup;
use sluice_perf::scripted::Scripted;

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A client, the gateway and a backend.
struct World(Scripted);

impl World {
    /// With this access log, settings of the service, and routes beside one for `sluice.test`.
    fn new(log: &str, service: &str, routes: &str) -> World {
        let rules = format!(
            r#"
ports:
  back: {{ device: "net_memory1", addresses: ["10.77.2.1/24"] }}
  front: {{ device: "net_memory0", addresses: ["10.77.1.1/24"] }}
{log}
listeners:
  web: {{ address: "10.77.1.1:80" }}
services:
  hello: {{ endpoints: ["10.77.2.2:8080"]{service} }}
routes:
  - {{ name: main, host: sluice.test, service: hello }}
{routes}
"#
        );
        let scripted = Scripted::new(&Setup::default(), &rules);
        World(scripted.unwrap_or_else(|problems| panic!("{problems}")))
    }

    fn logged(log: &str) -> World {
        World::new(&format!("access_log: {{ file: a.json{log} }}"), "", "")
    }

    fn open(&mut self) -> usize {
        let (to, buffers, now) = (self.0.target, self.0.buffers, self.0.now());
        let client = self.0.client.open(to, buffers, now);
        self.0.settle();
        client.expect("the client has a source port")
    }

    fn send(&mut self, client: usize, bytes: &str) {
        let now = self.0.now();
        self.0.client.send(client, bytes.as_bytes(), now);
        self.0.settle();
    }

    fn answer(&mut self, backend: usize, bytes: &str) {
        let now = self.0.now();
        self.0.backend.send(backend, bytes.as_bytes(), now);
        self.0.settle();
    }

    fn pass(&mut self, micros: u64) {
        self.0.pass(Duration::from_micros(micros));
    }

    /// Every record that waits.
    fn records(&self) -> Vec<Record> {
        let log = self.0.handoff.access_log();
        let records = std::iter::from_fn(|| log.pop()).map(|record| *record);
        records.collect()
    }

    fn record(&self) -> Record {
        let mut records = self.records();
        assert_eq!(records.len(), 1, "{records:#?}");
        records.remove(0)
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("a test sends text")
}

/// Microseconds from the begin of a request to each stage; `None` for those not reached.
fn stages(record: &Record) -> [Option<u128>; 5] {
    let stages = [
        record.head,
        record.connected,
        record.sent,
        record.first_byte,
        record.ended,
    ];
    stages.map(|at| (at != Instant::NEVER).then(|| at.since(record.begun).as_micros()))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: sluice.test\r\n\r\n")
}

#[test]
fn a_request_and_its_answer_are_noted_whole() {
    let mut world = World::logged("");
    let client = world.open();
    let head = "POST /a/b?c=d HTTP/1.1\r\nHost: sluice.test:80\r\nX-Request-Id: abc-1\r\n\
                user-agent: test/1.0\r\nContent-Length: 5\r\n\r\n";
    world.send(client, &head[..20]);
    world.pass(100);
    world.send(client, &head[20..]);
    world.pass(200);
    world.send(client, "12345");
    let asked = world.0.backend.take(0);
    world.pass(400);
    world.answer(0, "HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\n01234");
    world.pass(800);
    assert_eq!(world.records().len(), 0, "it has not ended");
    world.answer(0, "56789");
    let got = world.0.client.take(client);

    let record = world.record();
    assert_eq!(stages(&record), [100, 100, 300, 700, 1_500].map(Some));
    let from = world.0.client.local(client);
    assert_eq!(record.client, from);
    assert_eq!(record.endpoint, Some("10.77.2.2:8080".parse().unwrap()));
    for (noted, expected) in [
        (&record.listener[..], "web"),
        (&record.method, "POST"),
        (&record.host, "sluice.test:80"),
        (&record.target, "/a/b?c=d"),
        (&record.user_agent, "test/1.0"),
        (&record.route, "main"),
        (&record.service, "hello"),
    ] {
        assert_eq!(text(noted), expected);
    }
    // The service was told the same id, which is the gateway's own: the client is not trusted.
    let told = format!("\r\nX-Request-Id: {}\r\n", text(&record.request_id));
    assert!(text(&asked).contains(&told), "{told}");
    assert_eq!((record.status, record.fate.name()), (201, "answered"));
    assert_eq!((record.upstream_reused, record.attempts), (false, 1));
    assert_eq!(record.bytes_in, head.len() as u64 + 5);
    assert_eq!(record.bytes_out, got.len() as u64);
    assert_eq!(record.upstream_bytes_out, asked.len() as u64);
    assert_eq!(record.upstream_bytes_in, 44 + 10);
}

#[test]
fn where_ids_are_left_alone_the_client_s_is_noted() {
    let mut world = World::logged("");
    let rules = r#"
ports:
  back: { device: "net_memory1", addresses: ["10.77.2.1/24"] }
  front: { device: "net_memory0", addresses: ["10.77.1.1/24"] }
access_log: { file: a.json }
listeners:
  web: { address: "10.77.1.1:80", request_id: false }
services:
  hello: { endpoints: ["10.77.2.2:8080"] }
routes:
  - { service: hello }
"#;
    world.0.reload(rules).expect("the rules compile");
    let client = world.open();
    world.send(
        client,
        "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: abc-1\r\n\r\n",
    );
    world.answer(0, ANSWER);
    assert_eq!(text(&world.record().request_id), "abc-1");
}

#[test]
fn a_second_request_is_noted_on_the_connection_it_reuses() {
    let mut world = World::logged("");
    let client = world.open();
    for _ in 0..2 {
        world.send(client, &get("/"));
        world.answer(0, ANSWER);
    }
    let reused: Vec<bool> = world.records().iter().map(|r| r.upstream_reused).collect();
    assert_eq!(reused, [false, true]);
}

#[test]
fn chunks_count_with_their_framing() {
    let mut world = World::logged("");
    let client = world.open();
    world.send(client, &get("/"));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    world.answer(0, chunked);
    let got = world.0.client.take(client);
    let record = world.record();
    assert_eq!(record.upstream_bytes_in, chunked.len() as u64);
    assert_eq!(record.bytes_out, got.len() as u64);
}

#[test]
fn a_request_that_no_route_takes_is_noted_without_a_service() {
    let mut world = World::logged("");
    let client = world.open();
    world.send(client, "GET /x HTTP/1.0\r\nHost: other.test\r\n\r\n");
    let got = world.0.client.take(client);
    let record = world.record();
    assert_eq!((record.status, record.fate), (404, RequestFate::NoRoute));
    assert_eq!(
        (text(&record.host), text(&record.target)),
        ("other.test", "/x")
    );
    assert!(record.route.is_empty() && record.service.is_empty());
    assert_eq!((record.endpoint, record.attempts), (None, 0));
    assert_eq!(stages(&record), [Some(0), None, None, None, Some(0)]);
    assert_eq!(record.bytes_out, got.len() as u64);
}

#[test]
fn a_malformed_request_is_noted_by_what_is_known_of_it() {
    let mut world = World::logged("");
    let client = world.open();
    let malformed = "GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n";
    world.send(client, malformed);
    let record = world.record();
    assert_eq!((record.status, record.fate), (400, RequestFate::Malformed));
    assert_eq!(text(&record.listener), "web");
    assert_eq!(
        record.client,
        record.client.filter(|c| c.ip().to_string() == "10.77.1.2")
    );
    assert!(record.method.is_empty() && record.target.is_empty() && record.protocol.is_none());
    assert_eq!(stages(&record), [None, None, None, None, Some(0)]);
    assert_eq!(record.bytes_in, malformed.len() as u64);
}

#[test]
fn a_head_that_never_ends_is_noted_from_its_first_byte() {
    let mut world = World::logged("");
    let client = world.open();
    world.send(client, "GET / HT");
    world.0.pass(Duration::from_secs(20));
    let record = world.record();
    assert_eq!(
        (record.status, record.fate),
        (408, RequestFate::HeadTimeout)
    );
    let [head, .., end] = stages(&record);
    assert_eq!(head, None);
    // Ten seconds, and a tick of the timer.
    assert!(
        end.is_some_and(|end| (10_000_000..10_200_000).contains(&end)),
        "{end:?}"
    );
}

#[test]
fn an_answer_that_is_cut_short_is_noted_as_truncated() {
    let mut world = World::logged("");
    let client = world.open();
    world.send(client, &get("/"));
    world.answer(
        0,
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n1234567890",
    );
    let now = world.0.now();
    world.0.backend.finish(0, now);
    world.0.settle();
    let record = world.record();
    assert_eq!((record.status, record.fate), (200, RequestFate::Truncated));
    assert_eq!(record.upstream_bytes_in, 40 + 10);
}

#[test]
fn a_client_that_leaves_is_noted_without_a_status() {
    let mut world = World::logged("");
    let client = world.open();
    world.send(client, &get("/"));
    let now = world.0.now();
    world.0.client.reset(client, now);
    world.0.settle();
    let record = world.record();
    assert_eq!((record.status, record.fate), (0, RequestFate::ClientGone));
    assert_eq!(text(&record.target), "/");
}

#[test]
fn each_connection_tried_is_an_attempt() {
    let mut world = World::logged("");
    let client = world.open();
    world.send(client, &get("/"));
    world.answer(0, ANSWER);
    world.records();
    // The pooled connection dies with the next request on it, which is sent again.
    world.send(client, &get("/again"));
    let now = world.0.now();
    world.0.backend.reset(0, now);
    world.0.settle();
    world.answer(1, ANSWER);
    let record = world.record();
    assert_eq!(
        (record.status, record.attempts, record.upstream_reused),
        (200, 2, false)
    );
}

#[test]
fn texts_are_cut_at_their_bounds() {
    let mut world = World::logged("");
    let client = world.open();
    let (path, agent) = ("/p".repeat(400), "a".repeat(300));
    world.send(
        client,
        &format!("GET {path} HTTP/1.1\r\nHost: sluice.test\r\nUser-Agent: {agent}\r\n\r\n"),
    );
    world.answer(0, ANSWER);
    let record = world.record();
    assert_eq!(text(&record.target), &path[..512]);
    assert_eq!(text(&record.user_agent), &agent[..128]);
}

#[test]
fn without_an_access_log_nothing_is_noted() {
    let mut world = World::new("", "", "");
    let client = world.open();
    world.send(client, &get("/"));
    world.answer(0, ANSWER);
    world.send(client, "what?\r\n\r\n");
    assert_eq!(world.records().len(), 0);
}

#[test]
fn only_errors_leaves_good_answers_out() {
    let mut world = World::logged(", only: errors");
    let client = world.open();
    world.send(client, &get("/good"));
    world.answer(0, ANSWER);
    world.send(client, &get("/bad"));
    world.answer(0, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    world.send(client, "GET /lost HTTP/1.1\r\nHost: other.test\r\n\r\n");
    let paths: Vec<String> = world
        .records()
        .iter()
        .map(|r| text(&r.target).into())
        .collect();
    assert_eq!(paths, ["/bad", "/lost"]);
}

#[test]
fn a_route_has_its_own_sample_and_the_rest_is_chosen_by_the_seed() {
    let run = || {
        let mut world = World::new(
            "access_log: { file: a.json, sample: 25% }",
            "",
            "  - { path: /all, service: hello, access_log: { sample: 100% } }\n  \
             - { path: /none, service: hello, access_log: { sample: 0% } }",
        );
        let client = world.open();
        let mut noted = Vec::new();
        for n in 0..400 {
            world.send(client, &get(&format!("/{n}")));
            world.answer(0, ANSWER);
            noted.extend(world.records().iter().map(|_| n));
        }
        for path in ["/all", "/none"] {
            world.send(client, &format!("GET {path} HTTP/1.1\r\nHost: any\r\n\r\n"));
            world.answer(0, ANSWER);
        }
        assert_eq!(text(&world.record().target), "/all");
        noted
    };
    let noted = run();
    assert!((60..140).contains(&noted.len()), "{} of 400", noted.len());
    assert_eq!(noted, run());
}

#[test]
fn beyond_the_buffer_records_are_dropped_and_counted() {
    let mut world = World::logged(", buffer: 64");
    let client = world.open();
    for _ in 0..100 {
        world.send(client, &get("/"));
        world.answer(0, ANSWER);
    }
    assert_eq!(world.0.handoff.access_log().dropped(), 36);
    assert_eq!(world.records().len(), 64);
    // The requests themselves don't mind.
    assert_eq!(world.0.stats.requests.get(RequestFate::Answered), 100);
    world.send(client, &get("/after"));
    world.answer(0, ANSWER);
    assert_eq!(text(&world.record().target), "/after");
}

#[test]
fn times_are_counted_by_route_and_service_and_outlive_rules() {
    let mut world = World::new("", "", "");
    let client = world.open();
    let ask = |world: &mut World| {
        world.send(client, &get("/"));
        world.pass(300);
        world.answer(0, ANSWER);
    };
    ask(&mut world);
    let rules = |route: &str| {
        format!(
            r#"
ports:
  back: {{ device: "net_memory1", addresses: ["10.77.2.1/24"] }}
  front: {{ device: "net_memory0", addresses: ["10.77.1.1/24"] }}
listeners:
  web: {{ address: "10.77.1.1:80" }}
services:
  hello: {{ endpoints: ["10.77.2.2:8080"] }}
routes:
  - {{ name: {route}, host: sluice.test, service: hello }}
"#
        )
    };
    world.0.reload(&rules("main")).expect("the rules compile");
    ask(&mut world);
    world.0.reload(&rules("other")).expect("the rules compile");
    ask(&mut world);
    // A refusal is no route's.
    world.send(client, "GET / HTTP/1.1\r\nHost: other.test\r\n\r\n");

    let traffic = &world.0.stats.traffic;
    let counted: Vec<(String, u64, u128)> = traffic
        .routes
        .all()
        .into_iter()
        .map(|(key, times)| {
            // 300 us fall into the bucket up to 500 us.
            assert_eq!(times.buckets()[3], times.buckets().iter().sum::<u64>());
            (
                key.route.to_string(),
                times.buckets()[3],
                times.sum().as_micros(),
            )
        })
        .collect();
    assert_eq!(
        counted,
        [("main".to_owned(), 2, 600), ("other".to_owned(), 1, 300)]
    );
    let [(service, times)] = &traffic.services.all()[..] else {
        panic!("one service");
    };
    assert_eq!((&**service, times.sum().as_micros()), ("hello", 900));
}

#[test]
fn endpoints_are_counted_with_what_went_wrong() {
    let mut world = World::new("", ", response_timeout: 1s", "");
    let client = world.open();
    world.send(client, &get("/"));
    let [(key, stats)] = &world.0.stats.traffic.endpoints.all()[..] else {
        panic!("one endpoint");
    };
    assert_eq!(key.address, "10.77.2.2:8080".parse().unwrap());
    let seen = || {
        let failures = stats.failures.iter().filter(|(_, n)| *n > 0);
        (
            [&stats.connections, &stats.idle, &stats.requests].map(|gauge| gauge.get()),
            failures
                .map(|(what, n)| (what.name(), n))
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(seen(), ([1, 0, 1], vec![]));
    world.answer(0, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(seen(), ([1, 1, 1], vec![("server_error", 1)]));
    world.send(client, &get("/"));
    world.0.pass(Duration::from_secs(2));
    assert_eq!(
        seen(),
        (
            [0, 0, 2],
            vec![("response_timeout", 1), ("server_error", 1)]
        )
    );
    assert!(stats.last_failure.get() > 0);
    world.0.backend.unlisten();
    world.send(client, &get("/"));
    world.0.settle();
    assert_eq!(seen().1[0], ("connect_failed", 1));
}

/// A Thrift message in a frame, with so long a body.
fn message(kind: u8, body: usize) -> Vec<u8> {
    let head = [
        0x80, 1, 0, kind, 0, 0, 0, 4, b'e', b'c', b'h', b'o', 0, 0, 0, 1,
    ];
    let len = (head.len() + body) as u32;
    [&len.to_be_bytes()[..], &head, &vec![0; body]].concat()
}

#[test]
fn the_bytes_of_a_large_reply_are_noted_whole() {
    let log = "access_log: { file: a.json }";
    let mut world = World::new(log, "", "  - { rpc: {}, service: hello }");
    let client = world.open();
    let (call, reply) = (message(1, 10), message(2, 600_000));
    let now = world.0.now();
    world.0.client.send(client, &call, now);
    world.0.settle();
    let asked = world.0.backend.take(0);
    let now = world.0.now();
    world.0.backend.send(0, &reply, now);
    world.pass(1_000_000);
    assert!(world.0.client.take(client) == reply);
    let record = world.record();
    assert_eq!(record.fate.name(), "answered");
    assert_eq!(record.bytes_in, call.len() as u64);
    assert_eq!(record.bytes_out, reply.len() as u64);
    assert_eq!(record.upstream_bytes_in, reply.len() as u64);
    assert_eq!(record.upstream_bytes_out, asked.len() as u64);
}
