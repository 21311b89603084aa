//! Requests that the gateway answers itself, and why.

use std::time::Instant;

use sluice_tests::http::{Connection, Reply};
use sluice_tests::lab::Lab;

use crate::{CONFIG, GATEWAY, get};

/// An answer of the gateway's own says in a short body what happened.
fn assert_refusal(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{}\n{}", reply.head, reply.text());
    assert!(
        !reply.body.is_empty() && reply.body.len() < 500,
        "{:?}",
        reply.text()
    );
}

#[test]
fn curl_gets_404_where_no_route_matches() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    assert_refusal(&lab.curl(&["http://other.test/"]), 404);
    // And the connection is still good.
    let text = lab
        .curl(&["http://other.test/", "http://nginx.test/backend"])
        .text();
    assert!(text.contains("10.77.2."), "{text}");
}

#[test]
fn curl_gets_502_where_linux_refuses_the_connection() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    assert_refusal(&lab.curl(&["http://refused.test/"]), 502);
}

#[test]
fn curl_gets_504_where_nobody_has_the_address() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    assert_refusal(&lab.curl(&["http://absent.test/"]), 504);
}

#[test]
fn curl_gets_503_where_no_further_connection_is_allowed() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    let listener = lab.listen("10.77.2.6:8080");
    let mut first = lab.connect(GATEWAY).expect("the gateway does not accept");
    first.send(get("narrow.test", "/")).expect("cannot send");
    let _held = Connection::accept(&listener).expect("the gateway does not connect");
    assert_refusal(&lab.curl(&["http://narrow.test/"]), 503);
}

#[test]
fn curl_gets_504_where_the_backend_is_silent() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    // Linux accepts for it and keeps the request; nothing ever reads it.
    let _silent = lab.listen("10.77.2.5:8080");
    let begun = Instant::now();
    assert_refusal(&lab.curl(&["http://own.test/"]), 504);
    let took = begun.elapsed().as_millis();
    assert!(
        (900..5_000).contains(&took),
        "response_timeout is 1s, the answer took {took} ms"
    );
}

#[test]
fn curl_gets_502_where_the_backend_talks_no_http() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    let listener = lab.listen("10.77.2.5:8080");
    let mut client = lab.connect(GATEWAY).expect("the gateway does not accept");
    client.send(get("own.test", "/")).expect("cannot send");
    let mut backend = Connection::accept(&listener).expect("the gateway does not connect");
    backend.read_head().expect("no request came");
    backend
        .send("220 mail.test ESMTP ready\r\n\r\n")
        .expect("cannot answer");
    assert_refusal(&client.read_reply().expect("no answer"), 502);
}

#[test]
fn malformed_heads_get_400_and_a_closed_connection() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    let long = format!(
        "GET / HTTP/1.1\r\nHost: nginx.test\r\nX: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let heads: [(&str, &[u16]); 6] = [
        ("nonsense\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\n\r\n", &[400]),
        (
            "GET / HTTP/1.1\r\nHost: nginx.test\r\nNo colon\r\n\r\n",
            &[400],
        ),
        (
            "GET / HTTP/1.1\r\nHost: nginx.test\r\nContent-Length: -1\r\n\r\n",
            &[400],
        ),
        (
            "POST / HTTP/1.1\r\nHost: nginx.test\r\nContent-Length: 5\r\n\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &[400],
        ),
        (&long, &[400, 431]),
    ];
    for (head, expected) in heads {
        let shown: String = head.chars().take(80).collect();
        let mut connection = lab.connect(GATEWAY).expect("the gateway does not accept");
        // The answer to an oversized head may come before all of it is sent.
        let _ = connection.send(head);
        let reply = connection
            .read_reply()
            .unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert!(expected.contains(&reply.status), "{shown}: {}", reply.head);
        let rest = connection.read_to_end().unwrap_or_default();
        assert!(rest.is_empty(), "{shown}: more came after the answer");
    }
    assert_eq!(lab.curl(&["http://nginx.test/"]).status, 200);
}
