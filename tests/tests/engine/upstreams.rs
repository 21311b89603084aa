//! What endpoints do wrong: refused, silent, closing early, answering nonsense.

use sluice_perf::raw::End;

use crate::world::{OK, Rules, World, forwarded, get, local};

/// The first endpoint refuses connections, the second one accepts.
const FIRST_REFUSES: &str = r#"["10.77.2.2:9", "10.77.2.3:8080"]"#;

#[test]
fn a_refused_connection_goes_on_to_the_next_endpoint_with_the_body() {
    let mut w = World::with(&Rules::default().endpoints(FIRST_REFUSES));
    let c = w.open();
    w.send(
        c,
        "POST / HTTP/1.1\r\nHost: sluice.test\r\nContent-Length: 4\r\n\r\nbody",
    );
    assert_eq!(
        w.asked(0),
        forwarded("POST /", "Content-Length: 4\r\n") + "body"
    );
    w.answer(0, OK);
    assert_eq!(w.got(c), OK);
    w.counts(
        "downstream_opened, upstream_opened 2, upstream_closed, retried_connect, \
         endpoint_suspected, answered, 200",
    );
    w.over();
}

#[test]
fn when_all_endpoints_refuse_502() {
    let endpoints = r#"["10.77.2.2:9", "10.77.2.3:9", "10.77.2.2:10", "10.77.2.3:10"]"#;
    let mut w = World::with(&Rules::default().endpoints(endpoints));
    let c = w.open();
    w.send(c, get("/"));
    let text = "no endpoint of the service accepted a connection";
    assert_eq!(w.got(c), local("502 Bad Gateway", text, false));
    // A body that was never read makes the end of the request unknown.
    w.send(
        c,
        "POST / HTTP/1.1\r\nHost: sluice.test\r\nContent-Length: 4\r\n\r\nbody",
    );
    assert_eq!(w.got(c), local("502 Bad Gateway", text, true));
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened 6, upstream_closed 6, \
         retried_connect 4, endpoint_suspected 4, connect_failed 2, 502 2",
    );
    w.over();
}

#[test]
fn an_endpoint_that_does_not_answer_a_connection_504() {
    let rules = Rules::service("connect_timeout: 2s").endpoints(r#"["10.77.2.9:8080"]"#);
    let mut w = World::with(&rules);
    let c = w.open();
    w.send(c, get("/"));
    w.pass(std::time::Duration::from_millis(1_900));
    assert_eq!(w.got(c), "");
    w.pass(std::time::Duration::from_millis(200));
    let text = "no endpoint of the service accepted a connection in time";
    assert_eq!(w.got(c), local("504 Gateway Timeout", text, false));
    w.counts(
        "downstream_opened, upstream_opened, upstream_closed, endpoint_suspected, \
         connect_timeout, 504",
    );
    w.over();
}

#[test]
fn a_neighbour_that_never_answers_ends_a_connection_before_its_timeout() {
    let rules = Rules::service("connect_timeout: 60s").endpoints(r#"["10.77.2.9:8080"]"#);
    let mut w = World::with(&rules);
    let c = w.open();
    w.send(c, get("/"));
    // Asked for at once and after one and two seconds, given up after three.
    w.pass(std::time::Duration::from_millis(2_900));
    assert_eq!(w.got(c), "");
    w.pass(std::time::Duration::from_millis(300));
    let text = "no endpoint of the service accepted a connection";
    assert_eq!(w.got(c), local("502 Bad Gateway", text, false));
    w.counts(
        "downstream_opened, upstream_opened, upstream_closed, endpoint_suspected, \
         connect_failed, 502",
    );
    w.over();
}

#[test]
fn a_dead_endpoint_is_passed_over_by_the_requests_that_follow() {
    let rules =
        Rules::service("connect_timeout: 2s").endpoints(r#"["10.77.2.9:8080", "10.77.2.3:8080"]"#);
    let mut w = World::with(&rules);
    let c = w.open();
    w.send(c, get("/"));
    w.seconds(3);
    w.answer(0, OK);
    assert_eq!(w.got(c), OK);
    // Nobody else waits for it, although it would be its turn.
    for _ in 0..4 {
        w.send(c, get("/"));
        w.answer(0, OK);
        assert_eq!(w.got(c), OK);
    }
    // After a while one request tries again; the others still don't.
    w.seconds(6);
    let (d, e) = (w.open(), w.open());
    w.send(c, get("/"));
    w.send(d, get("/"));
    w.send(e, get("/"));
    let seen = w.backend.connections();
    assert!(seen <= 3, "{seen} connections to the backend");
    for backend in 0..seen {
        w.answer(backend, OK);
    }
    let at_once = [c, d, e]
        .into_iter()
        .filter(|&client| w.got(client) == OK)
        .count();
    assert_eq!(at_once, 2, "one waits for the dead endpoint");
}

#[test]
fn an_endpoint_that_does_not_answer_a_connection_gives_way_to_the_next() {
    let rules =
        Rules::service("connect_timeout: 2s").endpoints(r#"["10.77.2.9:8080", "10.77.2.3:8080"]"#);
    let mut w = World::with(&rules);
    let c = w.open();
    w.send(c, get("/"));
    w.seconds(3);
    assert_eq!(w.asked(0), forwarded("GET /", ""));
    w.answer(0, OK);
    assert_eq!(w.got(c), OK);
    w.counts(
        "downstream_opened, upstream_opened 2, upstream_closed, retried_connect, \
         endpoint_suspected, answered, 200",
    );
    w.over();
}

#[test]
fn a_client_that_leaves_while_its_connection_is_being_opened() {
    let rules = Rules::service("connect_timeout: 5s").endpoints(r#"["10.77.2.9:8080"]"#);
    let mut w = World::with(&rules);
    let c = w.open();
    w.send(c, get("/"));
    w.reset(c);
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, upstream_closed, client_gone, 0",
    );
    w.over();
}

#[test]
fn closed_before_an_answer_502() {
    for reset in [false, true] {
        let mut w = World::new();
        let c = w.open();
        w.send(c, get("/"));
        if reset {
            w.reset_backend(0);
        } else {
            w.finish_backend(0);
        }
        let text = "the service closed the connection before it answered";
        assert_eq!(w.got(c), local("502 Bad Gateway", text, false));
        w.exchange(c, 1, "/after");
        w.counts(
            "downstream_opened, upstream_opened 2, upstream_closed, upstream_closed_early, 502, \
             answered, 200",
        );
        w.over();
    }
}

#[test]
fn nonsense_instead_of_an_answer_502() {
    for nonsense in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
        "HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
    ] {
        let mut w = World::new();
        let c = w.open();
        w.send(c, get("/"));
        w.answer(0, nonsense);
        let text = "the service's answer is not valid HTTP";
        assert_eq!(
            w.got(c),
            local("502 Bad Gateway", text, false),
            "{nonsense:?}"
        );
        assert_eq!(w.backend.end(0), Some(End::Reset));
        w.counts("downstream_opened, upstream_opened, upstream_closed, upstream_bad_response, 502");
        w.over();
    }
}

#[test]
fn an_answer_that_ends_early_is_cut_off_visibly() {
    for reset in [false, true] {
        let mut w = World::new();
        let c = w.open();
        w.send(c, get("/"));
        let part = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
        w.answer(0, part);
        if reset {
            w.reset_backend(0);
        } else {
            w.finish_backend(0);
        }
        assert_eq!(w.got(c), part);
        assert_eq!(w.client.end(c), Some(End::Closed));
        w.counts(
            "downstream_opened, downstream_closed, upstream_opened, upstream_closed, \
             upstream_truncated, 200",
        );
        w.over();
    }
}

#[test]
fn a_reset_is_not_the_end_of_a_body_that_ends_with_the_connection() {
    for (version, end) in [("1.1", End::Closed), ("1.0", End::Reset)] {
        let mut w = World::new();
        let c = w.open();
        w.send(
            c,
            format!("GET / HTTP/{version}\r\nHost: sluice.test\r\n\r\n"),
        );
        w.answer(0, "HTTP/1.1 200 OK\r\n\r\nhalf");
        w.reset_backend(0);
        assert!(!w.got(c).ends_with("0\r\n\r\n"));
        assert_eq!(w.client.end(c), Some(end), "HTTP/{version}");
        w.counts(
            "downstream_opened, downstream_closed, upstream_opened, upstream_closed, \
             upstream_truncated, 200",
        );
        w.over();
    }
}

#[test]
fn a_backend_that_answers_and_resets_at_once_is_heard() {
    let mut w = World::new();
    let c = w.open();
    w.send(c, get("/"));
    let now = w.now();
    w.backend.send(0, OK.as_bytes(), now);
    w.reset_backend(0);
    assert_eq!(w.got(c), OK);
    w.counts("downstream_opened, upstream_opened, upstream_closed, answered, 200");
    w.over();
}

#[test]
fn http10_backends_close_unless_they_say_otherwise() {
    let mut w = World::new();
    let c = w.open();
    w.send(c, get("/1"));
    w.answer(0, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(w.got(c), OK);
    assert_eq!(w.backend.end(0), Some(End::Closed));
    w.send(c, get("/2"));
    w.answer(
        1,
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    );
    assert_eq!(w.got(c), OK);
    w.asked(1);
    w.exchange(c, 1, "/3");
    w.counts(
        "downstream_opened, upstream_opened 2, upstream_closed, upstream_reused, answered 3, 200 3",
    );
    w.over();
}
