//! What clients do wrong: refused heads, half-closed and reset connections.

use sluice_perf::raw::End;

use crate::world::{BUFFER, OK, World, forwarded, get, local, pattern};

const CUT_SHORT: &str = "the request body is malformed or cut short";

/// Sends `head` alone and behind a good request; both times it must be refused with `status`.
fn refused(head: &str, status: &str, text: &str) {
    let mut w = World::new();
    let c = w.open();
    w.send(c, head);
    assert_eq!(w.got(c), local(status, text, true), "{head:?}");
    assert_eq!(w.client.end(c), Some(End::Closed));
    let c = w.open();
    w.send(c, get("/good") + head + &get("/never"));
    assert_eq!(w.asked(0), forwarded("GET /good", ""));
    w.answer(0, OK);
    assert_eq!(w.got(c), OK.to_owned() + &local(status, text, true));
    assert_eq!(w.client.end(c), Some(End::Closed));
    assert_eq!(w.asked(0), "", "nothing behind a refused head is served");
    let number = &status[..3];
    let fate = match number {
        "414" => "request_line_too_long",
        "431" => "head_too_large",
        "501" | "505" => "unsupported",
        _ => "malformed",
    };
    w.counts(&format!(
        "downstream_opened 2, downstream_closed 2, upstream_opened, answered, 200, {fate} 2, \
         {number} 2"
    ));
    w.over();
}

#[test]
fn malformed_heads_are_refused_with_400() {
    let line = "GET / HTTP/1.1\r\n";
    let host = "Host: sluice.test\r\n";
    for (head, text) in [
        (
            format!("{line}{host}A: b\n\r\n"),
            "a line ends in LF without CR",
        ),
        (
            format!("{line}{host}A : b\r\n\r\n"),
            "a space or tab stands before the colon of a header",
        ),
        (
            format!("{line}{host}A: b\r\n c\r\n\r\n"),
            "a header line begins with a space or tab (obsolete line folding)",
        ),
        (format!("{line}\r\n"), "an HTTP/1.1 request has no Host"),
        (
            format!("{line}{host}{host}\r\n"),
            "Host is given more than once",
        ),
        (
            format!("{line}{host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"),
            "both Content-Length and Transfer-Encoding are given",
        ),
        (
            format!("{line}{host}Content-Length: 4\r\nContent-Length: 4\r\n\r\n"),
            "Content-Length is given more than once",
        ),
        (
            format!("{line}{host}Content-Length: +4\r\n\r\n"),
            "Content-Length is not a plain decimal number in range",
        ),
        (
            format!("{line}{host}Transfer-Encoding: identity\r\n\r\n"),
            "Transfer-Encoding is not a single final chunked",
        ),
        (
            format!("{line}{host}Connection: close, host\r\n\r\n"),
            "Connection names a header that is meant for the final recipient",
        ),
        (
            "\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}".into(),
            "a control byte stands in the head",
        ),
    ] {
        refused(&head, "400 Bad Request", text);
    }
}

#[test]
fn what_is_too_large_or_not_supported_is_refused_by_its_own_status() {
    let host = "Host: sluice.test\r\n";
    refused(
        &format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(8_192)),
        "414 URI Too Long",
        "the request line is longer than the limit",
    );
    refused(
        &format!("GET / HTTP/1.1\r\n{host}A: {}\r\n\r\n", "a".repeat(BUFFER)),
        "431 Request Header Fields Too Large",
        "the head is larger than the limit",
    );
    refused(
        &format!("GET / HTTP/1.1\r\n{host}{}\r\n", "A: b\r\n".repeat(101)),
        "431 Request Header Fields Too Large",
        "the head has more header fields than the limit",
    );
    refused(
        "CONNECT sluice.test:443 HTTP/1.1\r\nHost: sluice.test:443\r\n\r\n",
        "501 Not Implemented",
        "CONNECT is not supported",
    );
    refused(
        &format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n"),
        "501 Not Implemented",
        "Transfer-Encoding names a coding other than chunked",
    );
    refused(
        &format!("GET / HTTP/2.0\r\n{host}\r\n"),
        "505 HTTP Version Not Supported",
        "the HTTP version is neither 1.0 nor 1.1",
    );
}

#[test]
fn the_largest_head_allowed_passes_through_the_smallest_buffers() {
    let mut w = World::new();
    let c = w.open();
    let before = "GET / HTTP/1.1\r\nHost: sluice.test\r\n";
    let pad = format!("A: {}\r\n", "a".repeat(BUFFER - before.len() - 7));
    let head = format!("{before}{pad}\r\n");
    assert_eq!(head.len(), BUFFER);
    w.send(c, &head);
    w.pass(std::time::Duration::from_secs(2));
    assert_eq!(w.asked(0), forwarded("GET /", &pad));
    let answer_before = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n";
    let pad = format!("A: {}\r\n", "b".repeat(BUFFER - answer_before.len() - 7));
    w.answer(
        0,
        format!("HTTP/1.1 200 OK\r\n{pad}Content-Length: 2\r\n\r\nok"),
    );
    w.pass(std::time::Duration::from_secs(2));
    assert_eq!(
        w.got(c),
        format!("HTTP/1.1 200 OK\r\n{pad}Content-Length: 2\r\n\r\nok")
    );
    w.exchange(c, 0, "/after");
    w.counts("downstream_opened, upstream_opened, upstream_reused, answered 2, 200 2");
    w.over();
}

#[test]
fn without_a_route_404_and_the_connection_stays() {
    let mut w = World::new();
    let c = w.open();
    let reply = |close| local("404 Not Found", "no route takes this host and path", close);
    w.send(c, "GET / HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n");
    assert_eq!(w.got(c), reply(false));
    w.send(c, "HEAD / HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n");
    let head = reply(false);
    assert_eq!(w.got(c), head[..head.find("\r\n\r\n").unwrap() + 4]);
    w.exchange(c, 0, "/");
    // The body of a refused request must not be taken for the next request.
    let smuggled = get("/smuggled");
    w.send(
        c,
        format!(
            "POST / HTTP/1.1\r\nHost: elsewhere.test\r\nContent-Length: {}\r\n\r\n{smuggled}",
            smuggled.len()
        ),
    );
    assert_eq!(w.got(c), reply(true));
    assert_eq!(w.client.end(c), Some(End::Closed));
    assert_eq!(w.asked(0), "");
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, no_route 3, 404 3, answered, 200",
    );
    w.over();
}

#[test]
fn a_large_body_behind_a_404_does_not_cost_the_client_its_answer() {
    let mut w = World::new();
    let c = w.open();
    w.send(
        c,
        "POST / HTTP/1.1\r\nHost: elsewhere.test\r\nContent-Length: 300000\r\n\r\n",
    );
    w.send(c, pattern(300_000));
    w.seconds(1);
    assert_eq!(
        w.got(c),
        local("404 Not Found", "no route takes this host and path", true)
    );
    assert_eq!(
        (w.client.end(c), w.client.unsent(c)),
        (Some(End::Closed), 0)
    );
    w.counts("downstream_opened, downstream_closed, no_route, 404");
    w.over();
}

#[test]
fn a_half_closed_client_gets_its_answers() {
    let mut w = World::new();
    let c = w.open();
    let now = w.now();
    w.client.send(c, (get("/1") + &get("/2")).as_bytes(), now);
    w.finish(c);
    for path in ["/1", "/2"] {
        assert_eq!(w.asked(0), forwarded(&format!("GET {path}"), ""));
        w.seconds(3);
        w.answer(0, OK);
    }
    assert_eq!(w.got(c), OK.repeat(2));
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, upstream_reused, answered 2, 200 2",
    );
    w.over();
}

#[test]
fn fin_in_the_middle_of_a_head() {
    let mut w = World::new();
    let c = w.open();
    w.send(c, "GET / HTTP/1.1\r\nHost: slu");
    w.finish(c);
    assert_eq!(
        (w.got(c), w.client.end(c)),
        (String::new(), Some(End::Closed))
    );
    w.counts("downstream_opened, downstream_closed, client_gone, 0");
    w.over();
}

#[test]
fn rst_in_the_middle_of_a_head_counts_like_fin() {
    let mut w = World::new();
    let c = w.open();
    w.send(c, "GET / HTTP/1.1\r\nHost: slu");
    w.reset(c);
    w.counts("downstream_opened, downstream_closed, client_gone, 0");
    w.over();
}

#[test]
fn rst_of_an_idle_client_is_no_request() {
    let mut w = World::new();
    let c = w.open();
    w.reset(c);
    w.counts("downstream_opened, downstream_closed");
    w.over();
}

#[test]
fn fin_in_the_middle_of_a_body() {
    for framing in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let mut w = World::new();
        let c = w.open();
        w.send(
            c,
            format!("POST / HTTP/1.1\r\nHost: sluice.test\r\n{framing}\r\n\r\n5\r\nab"),
        );
        w.finish(c);
        assert_eq!(w.got(c), local("400 Bad Request", CUT_SHORT, true));
        assert_eq!(w.client.end(c), Some(End::Closed));
        assert_eq!(
            w.backend.end(0),
            Some(End::Reset),
            "the backend must not take it for whole"
        );
        w.counts(
            "downstream_opened, downstream_closed, upstream_opened, upstream_closed, \
             bad_request_body, 400",
        );
        w.over();
    }
}

#[test]
fn rst_before_during_and_after_the_answer() {
    let mut w = World::new();
    let c = w.open();
    w.send(c, get("/"));
    w.reset(c);
    assert_eq!(w.backend.end(0), Some(End::Reset));
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, upstream_closed, client_gone, 0",
    );
    let c = w.open();
    w.send(c, get("/"));
    w.answer(1, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    w.reset(c);
    assert_eq!(w.backend.end(1), Some(End::Reset));
    w.counts(
        "downstream_opened 2, downstream_closed 2, upstream_opened 2, upstream_closed 2, \
         client_gone 2, 0, 200",
    );
    let c = w.open();
    w.exchange(c, 2, "/");
    w.reset(c);
    w.counts(
        "downstream_opened 3, downstream_closed 3, upstream_opened 3, upstream_closed 2, \
         client_gone 2, 0, 200 2, answered",
    );
    assert_eq!(w.levels(), [0, 1, 1, 0]);
    w.over();
}

#[test]
fn rst_in_the_middle_of_a_body() {
    let mut w = World::new();
    let c = w.open();
    w.send(
        c,
        "POST / HTTP/1.1\r\nHost: sluice.test\r\nContent-Length: 10\r\n\r\nabc",
    );
    w.reset(c);
    assert_eq!(w.backend.end(0), Some(End::Reset));
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, upstream_closed, client_gone, 0",
    );
    w.over();
}

/// A client that takes longer to read the end of an answer than a closed flow is kept for: what was
/// answered has to arrive as long as it goes on reading.
#[test]
fn a_slow_reader_gets_all_of_an_answer_behind_which_the_connection_closes() {
    let mut w = World::new();
    let c = w.open();
    w.client.pause(c);
    w.send(
        c,
        "GET / HTTP/1.1\r\nHost: sluice.test\r\nConnection: close\r\n\r\n",
    );
    let body = pattern(30_000);
    w.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n");
    w.answer(0, &body);
    for _ in 0..60 {
        w.seconds(3);
        let now = w.now();
        w.client.read(c, 600, now);
    }
    let now = w.now();
    w.client.resume(c, now);
    w.seconds(5);
    assert!(w.client.take(c).ends_with(&body));
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, upstream_closed, \
         upstream_idle_timeout, answered, 200",
    );
    w.over();
}
