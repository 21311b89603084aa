//! Requests that are answered by the gateway, each with its status, its reason and its fate.

use sluice_perf::raw::End;

use crate::world::{OK, Rules, World, forwarded, get, local};

/// A request, its refusal, and whether its connection goes on.
fn refused(rules: &Rules, request: &str, (status, text, fate): (&str, &str, &str), stays: bool) {
    let mut w = World::with(rules);
    let c = w.open();
    w.send(c, request);
    assert_eq!(w.got(c), local(status, text, !stays), "{request}");
    let number = &status[..3];
    if stays {
        w.exchange(c, 0, "/after");
        w.counts(&format!(
            "downstream_opened, upstream_opened, answered, 200, {fate}, {number}"
        ));
    } else {
        assert_eq!(w.client.end(c), Some(End::Closed), "{request}");
        w.counts(&format!(
            "downstream_opened, downstream_closed, {fate}, {number}"
        ));
    }
    assert_eq!(w.backend.connections(), usize::from(stays), "{request}");
    w.over();
}

#[test]
fn trace_is_not_forwarded() {
    refused(
        &Rules::default(),
        "TRACE / HTTP/1.1\r\nHost: sluice.test\r\n\r\n",
        (
            "501 Not Implemented",
            "TRACE is not supported",
            "unsupported",
        ),
        true,
    );
}

#[test]
fn expectations_that_nobody_knows_are_refused() {
    let expectation = (
        "417 Expectation Failed",
        "no expectation but 100-continue can be met",
        "expectation",
    );
    for (fields, stays) in [
        ("Expect: 200-ok\r\n", true),
        ("Expect: 100-continue, more\r\nContent-Length: 5\r\n", false),
    ] {
        let request = format!("PUT / HTTP/1.1\r\nHost: sluice.test\r\n{fields}\r\n");
        refused(&Rules::default(), &request, expectation, stays);
    }
}

#[test]
fn hosts_that_a_listener_does_not_take_are_misdirected() {
    let rules = Rules {
        routes: "{ service: hello }".into(),
        ..Rules::listener("hosts: [sluice.test, \"*.example.com\"]")
    };
    let misdirected = (
        "421 Misdirected Request",
        "this host is not served at this address",
        "misdirected",
    );
    for host in ["other.test", "example.com", "sluice.test.other"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        refused(&rules, &request, misdirected, true);
    }
    let mut w = World::with(&rules);
    let c = w.open();
    for host in ["SLUICE.test:80", "a.example.com", "a.b.Example.com."] {
        w.send(c, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        w.answer(0, OK);
        assert_eq!(w.got(c), OK, "{host}");
    }
    w.over();
}

#[test]
fn https_without_tls_is_misdirected_unless_a_trusted_proxy_asks() {
    let misdirected = (
        "421 Misdirected Request",
        "an https resource is not served on a connection without TLS",
        "misdirected",
    );
    let request = "GET https://sluice.test/a HTTP/1.1\r\nHost: sluice.test\r\n\r\n";
    refused(&Rules::default(), request, misdirected, true);
    let mut w = World::with(&Rules::listener("trust: [10.77.1.2/32]"));
    let c = w.open();
    w.send(c, request);
    assert!(
        w.asked(0)
            .starts_with("GET /a HTTP/1.1\r\nHost: sluice.test\r\n")
    );
    w.answer(0, OK);
    assert_eq!(w.got(c), OK);
    w.counts("downstream_opened, upstream_opened, answered, 200");
    w.over();
}

#[test]
fn paths_are_routed_by_what_they_mean_and_go_on_as_written() {
    let rules = Rules {
        routes:
            "{ path: /admin, service: hello, request_headers: { set: { x-route: admin } } }\n  \
                 - { path: /%C3%A4, service: hello, request_headers: { set: { x-route: ae } } }\n  \
                 - { service: hello, request_headers: { set: { x-route: other } } }"
                .into(),
        ..Rules::default()
    };
    let mut w = World::with(&rules);
    let c = w.open();
    for (path, route) in [
        ("/admin", "admin"),
        ("/%61dmin", "admin"),
        ("/%61%64%6D%69%6e/x?y", "admin"),
        ("/admin%2fx", "admin"),
        ("/%C3%A4/x", "ae"),
        ("/%c3%a4", "ae"),
        ("/ADMIN", "other"),
        ("//admin", "other"),
        ("/admin%20", "other"),
        ("/%2561dmin", "other"),
        ("/?/admin", "other"),
    ] {
        w.send(c, get(path));
        let asked = w.asked(0);
        assert!(
            asked.starts_with(&format!("GET {path} HTTP/1.1\r\n")),
            "{asked}"
        );
        assert!(
            asked.contains(&format!("x-route: {route}\r\n")),
            "{path}: {asked}"
        );
        w.answer(0, OK);
        assert_eq!(w.got(c), OK);
    }
    w.over();
}

#[test]
fn dot_segments_are_refused_however_they_are_written() {
    let text = "the path has a segment . or .., which not every server reads in the same way";
    for path in [
        "/x/../admin",
        "/./admin",
        "/%2e%2E/admin",
        "/x%2f..%2fadmin",
        "/x/..;a/admin",
        "/..",
    ] {
        let malformed = ("400 Bad Request", text, "malformed");
        refused(&Rules::default(), &get(path), malformed, false);
    }
}

#[test]
fn a_rewrite_makes_no_target_that_is_none() {
    let rules = Rules {
        routes: r#"{ service: hello }
  - { path: /qp, service: hello, rewrite: { path: "/f/${query}" } }"#
            .into(),
        ..Rules::default()
    };
    let text = "the path as the rules rewrite it does not begin with /, or has a character that no path may have";
    let malformed = ("400 Bad Request", text, "malformed");
    refused(&rules, &get(r"/qp?a\b"), malformed, true);
}

#[test]
fn a_rewrite_makes_no_dot_segments() {
    let routes = r#"{ service: hello }
  - { path: { regex: "/u-(?P<name>.*)" }, service: hello, rewrite: { path: "/users/${capture.name}/photo" } }"#;
    let rules = Rules {
        routes: routes.into(),
        ..Rules::default()
    };
    let text = "the path as the rules rewrite it has a segment . or .., which not every server reads in the same way";
    for path in ["/u-..", "/u-%2e.", "/u-.", "/u-..;a", "/u-..%5cx"] {
        let malformed = ("400 Bad Request", text, "malformed");
        refused(&rules, &get(path), malformed, true);
    }
    let mut w = World::with(&rules);
    let c = w.open();
    for (path, sent) in [
        ("/u-...", "/users/.../photo"),
        ("/u-a..?b=/../", "/users/a../photo?b=/../"),
    ] {
        w.send(c, get(path));
        let asked = w.asked(0);
        assert!(asked.starts_with(&format!("GET {sent} HTTP")), "{asked}");
        w.answer(0, OK);
        assert_eq!(w.got(c), OK);
    }
    w.over();
}

#[test]
fn a_body_that_is_announced_too_large_is_refused_before_any_of_it_goes_on() {
    let large = (
        "413 Content Too Large",
        "the request body is larger than allowed here",
        "body_too_large",
    );
    let post = |length: usize| {
        format!("POST / HTTP/1.1\r\nHost: sluice.test\r\nContent-Length: {length}\r\n\r\n")
    };
    let rules = Rules::listener("limits: { body: 10B }");
    refused(&rules, &post(11), large, false);
    let own = Rules {
        routes: "{ host: sluice.test, service: hello, max_body: 4B }".into(),
        ..rules.clone()
    };
    refused(&own, &post(5), large, false);
    let mut w = World::with(&rules);
    let c = w.open();
    w.send(c, post(10) + "0123456789");
    assert!(w.asked(0).ends_with("\r\n\r\n0123456789"));
    w.answer(0, OK);
    w.counts("downstream_opened, upstream_opened, answered, 200");
    w.over();
}

#[test]
fn a_chunked_body_is_counted() {
    let head = "POST / HTTP/1.1\r\nHost: sluice.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let rules = Rules::listener("limits: { body: 10B }");
    let mut w = World::with(&rules);
    let c = w.open();
    w.send(c, format!("{head}6\r\n012345\r\n4\r\n6789\r\n0\r\n\r\n"));
    assert!(
        w.asked(0)
            .ends_with("6\r\n012345\r\n4\r\n6789\r\n0\r\n\r\n")
    );
    w.answer(0, OK);
    assert_eq!(w.got(c), OK);
    w.send(c, format!("{head}6\r\n012345\r\n5\r\n6789a\r\n0\r\n\r\n"));
    let text = "the request body is larger than allowed here";
    assert_eq!(w.got(c), local("413 Content Too Large", text, true));
    assert!(
        !w.asked(0).contains("6789a"),
        "nothing beyond the limit goes on"
    );
    assert_eq!(
        (w.client.end(c), w.backend.end(0)),
        (Some(End::Closed), Some(End::Reset))
    );
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, upstream_closed, upstream_reused, \
         answered, 200, body_too_large, 413",
    );
    w.over();
}

#[test]
fn heads_have_the_limits_of_their_listener() {
    let rules = Rules::listener("limits: { request_line: 64B, head: 256B, headers: 3 }");
    let host = "Host: sluice.test\r\n";
    refused(
        &rules,
        &format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(60)),
        (
            "414 URI Too Long",
            "the request line is longer than the limit",
            "request_line_too_long",
        ),
        false,
    );
    for (fields, text) in [
        (
            format!("A: {}\r\n", "a".repeat(256)),
            "the head is larger than the limit",
        ),
        (
            "A: 1\r\nB: 2\r\nC: 3\r\n".to_owned(),
            "the head has more header fields than the limit",
        ),
    ] {
        refused(
            &rules,
            &format!("GET / HTTP/1.1\r\n{host}{fields}\r\n"),
            (
                "431 Request Header Fields Too Large",
                text,
                "head_too_large",
            ),
            false,
        );
    }
    let mut w = World::with(&rules);
    let c = w.open();
    w.send(c, format!("GET / HTTP/1.1\r\n{host}A: 1\r\nB: 2\r\n\r\n"));
    assert_eq!(w.asked(0), forwarded("GET /", "A: 1\r\nB: 2\r\n"));
    w.answer(0, OK);
    w.over();
}

#[test]
fn a_connection_ends_with_the_last_request_that_it_may_have() {
    let mut w = World::with(&Rules::listener("limits: { requests: 2 }"));
    let c = w.open();
    w.exchange(c, 0, "/");
    w.send(c, get("/") + &get("/never"));
    w.answer(0, OK);
    assert_eq!(
        w.got(c),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    );
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.counts(
        "downstream_opened, downstream_closed, downstream_requests_spent, upstream_opened, \
         upstream_reused, answered 2, 200 2",
    );
    w.over();
}
