//! What services are told about the client and the request.

use std::collections::HashSet;

use crate::world::{OK, Rules, World, forwarded, get, local};

/// The value of a header in a head; `None` without one, and a panic with two.
fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut found = head.lines().filter_map(|line| {
        let (field, value) = line.split_once(": ")?;
        field.eq_ignore_ascii_case(name).then_some(value)
    });
    let value = found.next();
    assert_eq!(found.next(), None, "two {name} in {head}");
    value
}

/// How a request with these fields reaches the backend of a gateway with these settings.
fn asked(settings: &str, fields: &str) -> String {
    asked_by(&Rules::listener(settings), fields)
}

fn asked_by(rules: &Rules, fields: &str) -> String {
    let mut w = World::with(rules);
    let c = w.open();
    w.send(
        c,
        format!("GET / HTTP/1.1\r\nHost: sluice.test\r\n{fields}\r\n"),
    );
    let asked = w.asked(0);
    w.answer(0, OK);
    assert_eq!(w.got(c), OK);
    w.counts("downstream_opened, upstream_opened, answered, 200");
    w.over();
    asked
}

const FORGED: &str = "X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: https\r\n\
    X-Forwarded-Host: forged\r\nForwarded: for=192.0.2.9\r\n";
const TRUST: &str = "trust: [\"10.77.1.0/24\", \"10.1.0.0/16\"]";

#[test]
fn lookalikes_with_underscores_do_not_go_on() {
    let mut w = World::new();
    let c = w.open();
    w.send(
        c,
        "GET / HTTP/1.1\r\nHost: sluice.test\r\nX_Forwarded_For: 192.0.2.1\r\nX-Forwarded_Proto: https\r\n\
         x_request-ID: 1\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\nMy_Own: 1\r\n\
         X_Forwarded: 1\r\nX__Forwarded_For: 1\r\nX.Forwarded.For: 1\r\n\r\n",
    );
    let others = "My_Own: 1\r\nX_Forwarded: 1\r\nX__Forwarded_For: 1\r\nX.Forwarded.For: 1\r\n";
    assert_eq!(w.asked(0), forwarded("GET /", others));
    w.answer(
        0,
        "HTTP/1.1 200 OK\r\nContent_Type: a\r\nContent-Length: 0\r\n\r\n",
    );
    assert!(w.got(c).contains("\r\nContent_Type: a\r\n"));
    w.over();
}

#[test]
fn what_an_untrusted_client_says_of_itself_is_replaced() {
    assert_eq!(asked("", FORGED), forwarded("GET /", ""));
    let off = asked("forwarded: { mode: off }", FORGED);
    assert_eq!(
        off,
        "GET / HTTP/1.1\r\nHost: sluice.test\r\nVia: 1.1 sluice\r\n\r\n"
    );
}

#[test]
fn what_a_trusted_proxy_says_is_kept_and_the_proxy_added() {
    let head = asked(TRUST, FORGED);
    assert_eq!(
        value(&head, "x-forwarded-for"),
        Some("192.0.2.9, 10.77.1.2")
    );
    assert_eq!(value(&head, "x-forwarded-proto"), Some("https"));
    assert_eq!(value(&head, "x-forwarded-host"), Some("forged"));
    assert_eq!(value(&head, "forwarded"), Some("for=192.0.2.9"));
    let off = asked(&format!("{TRUST}, forwarded: {{ mode: \"off\" }}"), FORGED);
    assert_eq!(value(&off, "x-forwarded-for"), Some("192.0.2.9"));
}

#[test]
fn replace_names_the_first_address_that_is_not_a_trusted_proxy() {
    let settings = format!("{TRUST}, forwarded: {{ mode: replace }}");
    for (received, told) in [
        ("6.6.6.6, 192.0.2.9, 10.1.2.3", "192.0.2.9"),
        ("192.0.2.9, nonsense, 10.1.2.3", "10.1.2.3"),
        ("", "10.77.1.2"),
    ] {
        let head = asked(&settings, &format!("X-Forwarded-For: {received}\r\n"));
        assert_eq!(value(&head, "x-forwarded-for"), Some(told), "{received}");
    }
}

#[test]
fn the_standard_header_in_place_of_or_beside_the_others() {
    let only = "forwarded: { header: forwarded }";
    let head = asked(only, FORGED);
    assert_eq!(value(&head, "forwarded"), Some("for=10.77.1.2;proto=http"));
    assert_eq!(value(&head, "x-forwarded-for"), None);
    let head = asked(&format!("{TRUST}, {only}"), "Forwarded: for=192.0.2.9\r\n");
    assert_eq!(
        value(&head, "forwarded"),
        Some("for=192.0.2.9, for=10.77.1.2;proto=http")
    );
    let both = "forwarded: { header: both }";
    let head = asked(&format!("{TRUST}, {both}"), "X-Forwarded-Proto: https\r\n");
    assert_eq!(value(&head, "forwarded"), Some("for=10.77.1.2;proto=https"));
    assert_eq!(value(&head, "x-forwarded-for"), Some("10.77.1.2"));
}

#[test]
fn request_ids_are_of_trusted_proxies_or_new() {
    let given = "X-Request-Id: abc-123\r\n";
    let id = |settings: &str, fields: &str| {
        // On unless it is turned off.
        let rules = Rules {
            listener: format!(r#"web: {{ address: "10.77.1.1:80", buffer: 16KiB, {settings} }}"#),
            ..Rules::default()
        };
        let head = asked_by(&rules, fields);
        value(&head, "x-request-id").expect("an id").to_owned()
    };
    let is_new = |id: &str| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    assert_eq!(id(TRUST, given), "abc-123");
    assert!(is_new(&id("", given)));
    assert!(is_new(&id(TRUST, "")));
    assert!(is_new(&id(TRUST, "X-Request-Id: a b\r\n")));
    assert!(is_new(&id(TRUST, "X-Request-Id: a\r\nX-Request-Id: b\r\n")));
    assert_eq!(
        value(&asked("", given), "x-request-id"),
        Some("abc-123"),
        "untouched"
    );
    let long = format!("X-Request-Id: {}\r\n", "x".repeat(65));
    assert!(is_new(&id(TRUST, &long)));
}

#[test]
fn each_request_has_an_id_of_its_own_and_keeps_it_when_it_is_repeated() {
    let mut w = World::with(&Rules {
        listener: r#"web: { address: "10.77.1.1:80", buffer: 16KiB }"#.into(),
        ..Rules::default()
    });
    let c = w.open();
    let mut ids = HashSet::new();
    for _ in 0..50 {
        w.send(c, get("/"));
        ids.insert(
            value(&w.asked(0), "x-request-id")
                .expect("an id")
                .to_owned(),
        );
        w.answer(0, OK);
    }
    assert_eq!(ids.len(), 50);
    // The waiting connection dies as it is used.
    w.send(c, get("/"));
    let first = w.asked(0);
    w.reset_backend(0);
    assert_eq!(w.asked(1), first);
    w.answer(1, OK);
    w.over();
}

#[test]
fn a_trace_is_passed_on_or_begun() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let valid = format!("traceparent: {parent}\r\ntracestate: a=1\r\n");
    let invalid = "traceparent: 00-0-0-0\r\ntracestate: a=1\r\n";
    for settings in ["", "traceparent: true"] {
        let head = asked(settings, &valid);
        assert_eq!(value(&head, "traceparent"), Some(parent));
        assert_eq!(value(&head, "tracestate"), Some("a=1"));
    }
    let head = asked("", invalid);
    assert_eq!(
        (value(&head, "traceparent"), value(&head, "tracestate")),
        (None, None)
    );
    for fields in [invalid, ""] {
        let head = asked("traceparent: true", fields);
        let begun = value(&head, "traceparent").expect("a trace");
        assert!(begun.starts_with("00-") && begun.ends_with("-00") && begun.len() == 55);
        assert_eq!(value(&head, "tracestate"), None);
    }
}

#[test]
fn via_names_the_version_received_and_the_node() {
    let mut w = World::set_up(
        &crate::world::setup(),
        &format!(
            "node: {{ name: edge-1 }}\n{}",
            Rules::listener("response_via: true").text()
        ),
    );
    let c = w.open();
    w.send(
        c,
        "GET / HTTP/1.0\r\nHost: sluice.test\r\nVia: 1.1 a\r\n\r\n",
    );
    let head = w.asked(0);
    assert!(head.contains("\r\nVia: 1.1 a\r\n"), "{head}");
    assert!(head.contains("\r\nVia: 1.0 edge-1\r\n"), "{head}");
    w.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let head = w.got(c);
    assert_eq!(value(&head, "via"), Some("1.1 edge-1"));
    w.over();
}

#[test]
fn a_request_of_http10_without_host_goes_on_with_the_name_of_the_service() {
    let mut w = World::with(&Rules {
        routes: "{ service: hello }".into(),
        ..Rules::default()
    });
    let c = w.open();
    w.send(c, "GET / HTTP/1.0\r\n\r\n");
    let head = w.asked(0);
    assert!(
        head.starts_with("GET / HTTP/1.1\r\nHost: hello\r\n"),
        "{head}"
    );
    w.answer(0, OK);
    assert!(w.got(c).starts_with("HTTP/1.1 200 OK\r\n"));
    w.over();
}

#[test]
fn options_counts_its_hops() {
    let options = |hops: &str| {
        format!("OPTIONS * HTTP/1.1\r\nHost: sluice.test\r\nMax-Forwards: {hops}\r\n\r\n")
    };
    let mut w = World::new();
    let c = w.open();
    w.send(c, options("3"));
    let head = w.asked(0);
    assert!(head.starts_with("OPTIONS * HTTP/1.1\r\n"), "{head}");
    assert_eq!(value(&head, "max-forwards"), Some("2"));
    w.answer(0, OK);
    assert_eq!(w.got(c), OK);
    w.send(c, options("0"));
    let text = "Max-Forwards lets this request go no further than this gateway";
    assert_eq!(w.got(c), local("200 OK", text, false));
    // For other methods the field means nothing.
    w.send(
        c,
        "GET / HTTP/1.1\r\nHost: sluice.test\r\nMax-Forwards: 0\r\n\r\n",
    );
    assert_eq!(w.asked(0), forwarded("GET /", "Max-Forwards: 0\r\n"));
    w.answer(0, OK);
    w.counts("downstream_opened, upstream_opened, upstream_reused, answered 2, last_hop, 200 3");
    w.over();
}

#[test]
fn answers_have_a_date_once_the_time_is_known() {
    let mut w = World::new();
    let c = w.open();
    w.worker.set_wall_clock(784_111_777);
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    w.send(c, get("/"));
    w.answer(0, OK);
    assert_eq!(value(&w.got(c), "date"), Some(date));
    w.send(c, get("/"));
    w.answer(
        0,
        "HTTP/1.1 200 OK\r\nDate: yesterday\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(value(&w.got(c), "date"), Some("yesterday"));
    w.send(c, "GET / HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!(value(&w.got(c), "date"), Some(date));
    w.send(c, "nonsense\r\n\r\n");
    assert_eq!(value(&w.got(c), "date"), Some(date));
    w.over();
}
