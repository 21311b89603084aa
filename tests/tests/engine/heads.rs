//! Requests and answers without bodies of note: what is forwarded, edited, dropped and reused.

use crate::world::{OK, Rules, World, forwarded, get, local};

#[test]
fn two_requests_share_one_connection_on_each_side() {
    let mut w = World::new();
    let c = w.open();
    w.exchange(c, 0, "/a");
    w.exchange(c, 0, "/b?x=1");
    assert_eq!(w.backend.connections(), 1);
    assert_eq!(w.levels(), [1, 1, 1, 0]);
    w.counts("downstream_opened, upstream_opened, upstream_reused, answered 2, 200 2");
    w.over();
}

#[test]
fn header_edits_and_forwarding_fields() {
    let mut w = World::with(&Rules {
        routes: "{ host: sluice.test, path: /, service: hello, \
                 request_headers: { set: { x-edge: one }, add: { x-more: two }, remove: [cookie] }, \
                 response_headers: { set: { server: edge }, remove: [x-internal] } }"
            .into(),
        ..Rules::default()
    });
    let c = w.open();
    w.send(
        c,
        "GET / HTTP/1.1\r\nHost: sluice.test\r\nX-Edge: forged\r\nCookie: a=b\r\nx-more: zero\r\n\
         X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nVia: 1.0 elsewhere\r\n\
         Connection: keep-alive, X-Hop, te\r\nX-Hop: 1\r\nTE: trailers\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTrailer: Expires\r\nAccept: */*\r\n\r\n",
    );
    assert_eq!(
        w.asked(0),
        "GET / HTTP/1.1\r\nHost: sluice.test\r\nx-more: zero\r\nVia: 1.0 elsewhere\r\nAccept: */*\r\n\
         TE: trailers\r\nConnection: TE\r\nX-Forwarded-For: 10.77.1.2\r\nVia: 1.1 sluice\r\nX-Forwarded-Proto: http\r\n\
         x-edge: one\r\nx-more: two\r\n\r\n"
    );
    w.answer(
        0,
        "HTTP/1.1 200 OK\r\nServer: apache\r\nX-Internal: yes\r\nKeep-Alive: timeout=9\r\n\
         Connection: keep-alive\r\nX-Public: yes\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(
        w.got(c),
        "HTTP/1.1 200 OK\r\nX-Public: yes\r\nContent-Length: 0\r\nserver: edge\r\n\r\n"
    );
    w.counts("downstream_opened, upstream_opened, answered, 200");
    w.over();
}

#[test]
fn requests_take_endpoints_in_turn() {
    let mut w = World::with(&Rules::default().endpoints(Rules::BOTH));
    let c = w.open();
    for (n, backend) in [0, 1, 0, 1, 0].into_iter().enumerate() {
        w.exchange(c, backend, &format!("/{n}"));
    }
    let hosts: Vec<_> = (0..2).map(|b| w.backend.local(b).unwrap().ip()).collect();
    assert_ne!(hosts[0], hosts[1]);
    w.counts("downstream_opened, upstream_opened 2, upstream_reused 3, answered 5, 200 5");
    w.over();
}

#[test]
fn head_204_and_304_have_no_body_and_keep_both_connections() {
    let mut w = World::new();
    let c = w.open();
    w.send(c, "HEAD /h HTTP/1.1\r\nHost: sluice.test\r\n\r\n");
    assert_eq!(w.asked(0), forwarded("HEAD /h", ""));
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n";
    w.answer(0, head);
    assert_eq!(w.got(c), head);
    for (status, expected) in [
        ("204 No Content", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 99",
            "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 99\r\n\r\n",
        ),
    ] {
        w.send(c, get("/n"));
        assert_eq!(w.asked(0), forwarded("GET /n", ""));
        w.answer(0, format!("HTTP/1.1 {status}\r\n\r\n"));
        assert_eq!(w.got(c), expected);
    }
    w.exchange(c, 0, "/after");
    w.counts("downstream_opened, upstream_opened, upstream_reused 3, answered 4, 200 2, 204, 304");
    w.over();
}

#[test]
fn twenty_six_pipelined_requests_in_one_segment_with_a_local_reply_among_them() {
    let mut w = World::new();
    let c = w.open();
    let mut all = String::new();
    for n in 0..26 {
        match n {
            13 => all.push_str("GET /13 HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n"),
            _ if n % 5 == 1 => {
                all.push_str(&format!(
                    "POST /{n} HTTP/1.1\r\nHost: sluice.test\r\nContent-Length: 3\r\n\r\nabc"
                ));
            }
            _ => all.push_str(&get(&format!("/{n}"))),
        }
    }
    w.send(c, all);
    for n in 0..26 {
        if n == 13 {
            continue;
        }
        let expected = if n % 5 == 1 {
            forwarded(&format!("POST /{n}"), "Content-Length: 3\r\n") + "abc"
        } else {
            forwarded(&format!("GET /{n}"), "")
        };
        assert_eq!(w.asked(0), expected, "requests go out one after the other");
        w.answer(
            0,
            format!("HTTP/1.1 200 OK\r\nX-N: {n}\r\nContent-Length: {n}\r\n\r\n") + &"x".repeat(n),
        );
    }
    let expected: String = (0..26)
        .map(|n| match n {
            13 => local("404 Not Found", "no route takes this host and path", false),
            _ => {
                format!("HTTP/1.1 200 OK\r\nX-N: {n}\r\nContent-Length: {n}\r\n\r\n")
                    + &"x".repeat(n)
            }
        })
        .collect();
    assert_eq!(w.got(c), expected);
    w.counts(
        "downstream_opened, upstream_opened, upstream_reused 24, answered 25, 200 25, no_route, 404",
    );
    w.over();
}

#[test]
fn a_hundred_pipelined_local_replies_come_in_order_to_a_slow_reader() {
    let mut w = World::new();
    let c = w.open();
    w.client.pause(c);
    let one = "GET /x HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n";
    w.send(c, one.repeat(300));
    w.seconds(1);
    let now = w.now();
    w.client.resume(c, now);
    w.seconds(5);
    let reply = local("404 Not Found", "no route takes this host and path", false);
    assert_eq!(w.got(c), reply.repeat(300));
    w.counts("downstream_opened, no_route 300, 404 300");
    w.over();
}

#[test]
fn a_head_may_be_split_anywhere() {
    let head =
        "POST /split HTTP/1.1\r\nHost: sluice.test\r\nX-A: b\r\nContent-Length: 4\r\n\r\nbody";
    let mut w = World::new();
    let c = w.open();
    for at in 1..head.len() {
        let (first, second) = head.split_at(at);
        w.send(c, first);
        w.send(c, second);
        assert_eq!(
            w.asked(0),
            forwarded("POST /split", "X-A: b\r\nContent-Length: 4\r\n") + "body",
            "split at {at}"
        );
        w.answer(0, OK);
        assert_eq!(w.got(c), OK);
    }
    let answer = "HTTP/1.1 200 OK\r\nX-C: d\r\nContent-Length: 4\r\n\r\nback";
    for at in 1..answer.len() {
        w.send(c, get("/a"));
        w.asked(0);
        let (first, second) = answer.split_at(at);
        w.answer(0, first);
        w.answer(0, second);
        assert_eq!(w.got(c), answer, "split at {at}");
    }
    let n = head.len() + answer.len() - 2;
    w.counts(&format!(
        "downstream_opened, upstream_opened, upstream_reused {}, answered {n}, 200 {n}",
        n - 1
    ));
    w.over();
}

#[test]
fn a_head_sent_byte_by_byte() {
    let mut w = World::new();
    let c = w.open();
    for byte in get("/slow").bytes() {
        w.send(c, [byte]);
    }
    assert_eq!(w.asked(0), forwarded("GET /slow", ""));
    for byte in OK.bytes() {
        w.answer(0, [byte]);
    }
    assert_eq!(w.got(c), OK);
    w.counts("downstream_opened, upstream_opened, answered, 200");
    w.over();
}

#[test]
fn an_http10_client_without_keep_alive_gets_a_close() {
    let mut w = World::new();
    let c = w.open();
    w.send(
        c,
        "GET / HTTP/1.0\r\nHost: sluice.test\r\nExpect: 100-continue\r\n\r\n",
    );
    assert!(
        w.asked(0)
            .starts_with("GET / HTTP/1.1\r\nHost: sluice.test\r\nX-F")
    );
    w.answer(0, OK);
    assert_eq!(
        w.got(c),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    );
    assert_eq!(w.client.end(c), Some(sluice_perf::raw::End::Closed));
    w.counts("downstream_opened, downstream_closed, upstream_opened, answered, 200");
    w.over();
}

#[test]
fn an_http10_client_that_asks_for_keep_alive_has_it() {
    let mut w = World::new();
    let c = w.open();
    for _ in 0..2 {
        w.send(
            c,
            "GET / HTTP/1.0\r\nHost: sluice.test\r\nConnection: keep-alive\r\n\r\n",
        );
        w.asked(0);
        w.answer(0, OK);
        assert_eq!(
            w.got(c),
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
        );
    }
    w.counts("downstream_opened, upstream_opened, upstream_reused, answered 2, 200 2");
    w.over();
}

#[test]
fn interim_answers_pass_to_http11_only() {
    let mut w = World::new();
    let c = w.open();
    w.send(
        c,
        "POST / HTTP/1.1\r\nHost: sluice.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    );
    assert_eq!(
        w.asked(0),
        forwarded("POST /", "Expect: 100-continue\r\nContent-Length: 4\r\n")
    );
    w.answer(0, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(w.got(c), "HTTP/1.1 100 Continue\r\n\r\n");
    w.send(c, "body");
    assert_eq!(w.asked(0), "body");
    w.answer(0, OK);
    assert_eq!(w.got(c), OK);
    let old = w.open();
    w.send(old, "GET / HTTP/1.0\r\nHost: sluice.test\r\n\r\n");
    w.answer(0, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    assert_eq!(w.got(old), "");
    w.answer(0, OK);
    assert!(w.got(old).starts_with("HTTP/1.1 200 OK\r\n"));
    w.counts(
        "downstream_opened 2, downstream_closed, upstream_opened, upstream_reused, answered 2, 200 2",
    );
    w.over();
}

#[test]
fn twenty_interim_answers_at_once_all_pass() {
    let mut w = World::new();
    let c = w.open();
    w.send(c, get("/"));
    let interim = "HTTP/1.1 102 Processing\r\n\r\n";
    w.answer(0, interim.repeat(20) + OK);
    assert_eq!(w.got(c), interim.repeat(20) + OK);
    w.counts("downstream_opened, upstream_opened, answered, 200");
    w.over();
}

#[test]
fn interim_answers_have_an_end() {
    let interim = "HTTP/1.1 102 Processing\r\n\r\n";
    let mut w = World::new();
    let c = w.open();
    w.send(c, get("/"));
    w.answer(0, interim.repeat(129) + OK);
    let reply = local(
        "502 Bad Gateway",
        "the service gave too many interim answers before its final one",
        false,
    );
    assert_eq!(w.got(c), interim.repeat(128) + &reply);
    // Each request has its own count.
    for backend in [1, 1] {
        w.send(c, get("/"));
        w.answer(backend, interim.repeat(128) + OK);
        assert_eq!(w.got(c), interim.repeat(128) + OK);
    }
    w.counts(
        "downstream_opened, upstream_opened 2, upstream_closed, upstream_reused, \
         upstream_bad_response, 502, answered 2, 200 2",
    );
    w.over();
}

#[test]
fn statuses_out_of_range_are_no_answers() {
    for status in ["000", "099", "600", "999"] {
        let mut w = World::new();
        let c = w.open();
        w.send(c, get("/"));
        w.answer(
            0,
            format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"),
        );
        let text = "the service's answer is not valid HTTP";
        assert_eq!(w.got(c), local("502 Bad Gateway", text, false), "{status}");
        w.counts("downstream_opened, upstream_opened, upstream_closed, upstream_bad_response, 502");
        w.over();
    }
}

#[test]
fn interim_answers_without_end_to_a_client_that_does_not_read_stay_bounded() {
    let mut w = World::with(&Rules::listener("idle_timeout: 20s"));
    let c = w.open();
    w.client.pause(c);
    w.send(c, get("/"));
    w.asked(0);
    let interim = format!(
        "HTTP/1.1 102 Processing\r\nX-Pad: {}\r\n\r\n",
        "p".repeat(4_000)
    );
    w.answer(0, interim.repeat(500));
    w.seconds(1);
    let stuck = w.backend.unsent(0);
    assert!(
        stuck > 1_600_000,
        "the gateway must not take in what it can't pass on; {stuck} bytes wait"
    );
    w.seconds(100);
    assert_eq!(w.levels(), [0; 4]);
    w.counts(
        "downstream_opened, downstream_closed, downstream_idle_timeout, upstream_opened, \
         upstream_closed, response_timeout, 504",
    );
    w.over();
}

#[test]
fn switching_protocols_is_refused() {
    let mut w = World::new();
    let c = w.open();
    w.send(
        c,
        "GET / HTTP/1.1\r\nHost: sluice.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    assert_eq!(
        w.asked(0),
        forwarded("GET /", ""),
        "the upgrade is not asked for"
    );
    w.answer(
        0,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    );
    let reply = local(
        "502 Bad Gateway",
        "the service's answer is not valid HTTP",
        false,
    );
    assert_eq!(w.got(c), reply);
    w.counts("downstream_opened, upstream_opened, upstream_closed, upstream_bad_response, 502");
    w.over();
}
