//! Which connection a request goes out on: reuse, and what must not be reused.

use sluice_perf::raw::End;

use crate::world::{OK, Rules, World, forwarded, get, local};

const UNSOLICITED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

#[test]
fn bytes_behind_an_answer_never_become_the_next() {
    let mut w = World::new();
    let c = w.open();
    w.send(c, get("/1"));
    w.answer(0, OK.to_owned() + UNSOLICITED);
    assert_eq!(w.got(c), OK);
    assert_eq!(w.backend.end(0), Some(End::Reset));
    w.exchange(c, 1, "/2");
    w.counts("downstream_opened, upstream_opened 2, upstream_closed, answered 2, 200 2");
    w.over();
}

#[test]
fn a_body_behind_the_answer_to_head_never_becomes_the_next() {
    let mut w = World::new();
    let c = w.open();
    w.send(c, "HEAD / HTTP/1.1\r\nHost: sluice.test\r\n\r\n");
    w.answer(0, UNSOLICITED);
    assert_eq!(w.got(c), "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n");
    w.exchange(c, 1, "/2");
    w.counts("downstream_opened, upstream_opened 2, upstream_closed, answered 2, 200 2");
    w.over();
}

#[test]
fn unsolicited_bytes_on_a_waiting_connection_end_it() {
    let mut w = World::new();
    let c = w.open();
    w.exchange(c, 0, "/1");
    w.answer(0, UNSOLICITED);
    assert_eq!(w.backend.end(0), Some(End::Reset));
    assert_eq!(w.levels(), [1, 0, 0, 0]);
    w.exchange(c, 1, "/2");
    w.counts(
        "downstream_opened, upstream_opened 2, upstream_closed, upstream_unsolicited_bytes, \
         answered 2, 200 2",
    );
    w.over();
}

/// Both endpoints have a waiting connection; the second one's has unsolicited bytes that came with
/// the end of the answer which lets the next pipelined request begin.
#[test]
fn bytes_that_came_before_the_request_went_out_are_not_its_answer() {
    let mut w = World::with(&Rules::default().endpoints(Rules::BOTH));
    let c = w.open();
    w.exchange(c, 0, "/a");
    w.exchange(c, 1, "/b");
    w.send(c, get("/1") + &get("/2"));
    assert_eq!(w.asked(0), forwarded("GET /1", ""));
    let now = w.now();
    w.backend.send(0, OK.as_bytes(), now);
    w.backend.send(1, UNSOLICITED.as_bytes(), now);
    w.settle();
    assert_eq!(w.got(c), OK);
    assert_eq!(w.backend.end(1), Some(End::Reset));
    assert_eq!(w.asked(2), forwarded("GET /2", ""));
    w.answer(2, OK);
    assert_eq!(w.got(c), OK);
    w.counts(
        "downstream_opened, upstream_opened 3, upstream_closed, upstream_reused, \
         upstream_unsolicited_bytes, answered 4, 200 4",
    );
    w.over();
}

/// The same with the second endpoint's FIN: a POST can't be sent again, so it must not go there.
#[test]
fn a_connection_whose_end_has_come_is_not_used_although_nobody_has_looked_at_it() {
    let mut w = World::with(&Rules::default().endpoints(Rules::BOTH));
    let c = w.open();
    w.exchange(c, 0, "/a");
    w.exchange(c, 1, "/b");
    let post = "POST /2 HTTP/1.1\r\nHost: sluice.test\r\nContent-Length: 1\r\n\r\nx";
    w.send(c, get("/1") + post);
    let now = w.now();
    w.backend.send(0, OK.as_bytes(), now);
    w.backend.finish(1, now);
    w.settle();
    assert_eq!(w.got(c), OK);
    assert_eq!(
        w.asked(2),
        forwarded("POST /2", "Content-Length: 1\r\n") + "x"
    );
    w.answer(2, OK);
    assert_eq!(w.got(c), OK);
    w.counts(
        "downstream_opened, upstream_opened 3, upstream_closed, upstream_reused, answered 4, 200 4",
    );
    w.over();
}

#[test]
fn a_connection_that_closes_while_it_waits_is_not_used() {
    let mut w = World::new();
    let c = w.open();
    w.exchange(c, 0, "/1");
    w.finish_backend(0);
    assert_eq!(w.backend.end(0), Some(End::Closed));
    assert_eq!(w.levels(), [1, 0, 0, 0]);
    w.exchange(c, 1, "/2");
    w.reset_backend(1);
    assert_eq!(w.levels(), [1, 0, 0, 0]);
    w.exchange(c, 2, "/3");
    w.counts("downstream_opened, upstream_opened 3, upstream_closed 2, answered 3, 200 3");
    w.over();
}

#[test]
fn a_connection_that_closes_as_the_request_is_sent_repeats_get_and_fails_post() {
    for (method, repeats) in [
        ("GET", true),
        ("DELETE", true),
        ("POST", false),
        ("PATCH", false),
    ] {
        let mut w = World::new();
        let c = w.open();
        w.exchange(c, 0, "/1");
        w.send(
            c,
            format!("{method} /2 HTTP/1.1\r\nHost: sluice.test\r\n\r\n"),
        );
        assert_eq!(w.asked(0), forwarded(&format!("{method} /2"), ""));
        w.finish_backend(0);
        if repeats {
            assert_eq!(w.asked(1), forwarded(&format!("{method} /2"), ""));
            w.answer(1, OK);
            assert_eq!(w.got(c), OK);
            w.counts(
                "downstream_opened, upstream_opened 2, upstream_closed, upstream_reused, \
                 retried_stale_connection, answered 2, 200 2",
            );
        } else {
            let text = "the service closed the connection before it answered";
            assert_eq!(w.got(c), local("502 Bad Gateway", text, false));
            w.counts(
                "downstream_opened, upstream_opened, upstream_closed, upstream_reused, answered, \
                 200, upstream_closed_early, 502",
            );
        }
        w.over();
    }
}

#[test]
fn a_request_is_repeated_once_and_only_if_its_connection_was_not_fresh() {
    let mut w = World::new();
    let c = w.open();
    let text = "the service closed the connection before it answered";
    w.send(c, get("/1"));
    w.finish_backend(0);
    assert_eq!(w.got(c), local("502 Bad Gateway", text, false));
    w.exchange(c, 1, "/2");
    w.send(c, get("/3"));
    w.reset_backend(1);
    assert_eq!(w.asked(2), forwarded("GET /3", ""));
    w.reset_backend(2);
    assert_eq!(w.got(c), local("502 Bad Gateway", text, false));
    w.counts(
        "downstream_opened, upstream_opened 3, upstream_closed 3, upstream_reused, \
         retried_stale_connection, answered, 200, upstream_closed_early 2, 502 2",
    );
    w.over();
}

/// A backend host that came back after a crash: no waiting connection is alive, and none says so.
#[test]
fn when_all_waiting_connections_died_unnoticed_the_repeat_takes_a_fresh_one() {
    use sluice_stack::sim::Faults;
    let mut w = World::new();
    let (a, b) = (w.open(), w.open());
    w.send(a, get("/a"));
    w.send(b, get("/b"));
    w.answer(0, OK);
    w.answer(1, OK);
    assert_eq!(w.levels(), [2, 2, 2, 0]);
    w.got(a);
    let lost = Faults {
        loss: 1.0,
        ..Faults::default()
    };
    w.net.set_faults(1, [lost, Faults::default()]);
    w.reset_backend(0);
    w.reset_backend(1);
    w.net.set_faults(1, [Faults::default(); 2]);
    w.send(a, get("/again"));
    assert_eq!(w.asked(2), forwarded("GET /again", ""));
    w.answer(2, OK);
    assert_eq!(w.got(a), OK);
    w.counts(
        "downstream_opened 2, upstream_opened 3, upstream_closed, upstream_reused, \
         retried_stale_connection, answered 3, 200 3",
    );
    w.over();
}

#[test]
fn a_partial_answer_is_never_repeated() {
    let mut w = World::new();
    let c = w.open();
    w.exchange(c, 0, "/1");
    w.send(c, get("/2"));
    w.answer(0, "HTTP/1.1 200 O");
    w.finish_backend(0);
    let text = "the service closed the connection before it answered";
    assert_eq!(w.got(c), local("502 Bad Gateway", text, false));
    w.counts(
        "downstream_opened, upstream_opened, upstream_closed, upstream_reused, answered, 200, \
         upstream_closed_early, 502",
    );
    w.over();
}

#[test]
fn an_answer_that_says_close_is_the_connections_last() {
    let mut w = World::new();
    let c = w.open();
    w.send(c, get("/1"));
    w.answer(
        0,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    );
    assert_eq!(w.got(c), OK, "the client's connection is another matter");
    assert_eq!(w.backend.end(0), Some(End::Closed));
    w.exchange(c, 1, "/2");
    w.counts("downstream_opened, upstream_opened 2, upstream_closed, answered 2, 200 2");
    w.over();
}

#[test]
fn the_limit_of_connections_to_a_service_answers_503() {
    let mut w = World::with(&Rules::service("max_connections: 1, max_idle: 1"));
    let (a, b) = (w.open(), w.open());
    w.send(a, get("/a"));
    w.send(b, get("/b"));
    let text = "the limit of connections to the service is reached";
    assert_eq!(w.got(b), local("503 Service Unavailable", text, false));
    w.answer(0, OK);
    assert_eq!(w.got(a), OK);
    w.asked(0);
    w.exchange(b, 0, "/b");
    w.counts(
        "downstream_opened 2, upstream_opened, upstream_reused, answered 2, 200 2, unavailable, 503",
    );
    w.over();
}

/// The limit counts waiting connections too; one to another endpoint makes room.
#[test]
fn a_waiting_connection_to_one_endpoint_does_not_deny_another() {
    let rules = Rules::service("max_connections: 1, max_idle: 1").endpoints(Rules::BOTH);
    let mut w = World::with(&rules);
    let c = w.open();
    w.exchange(c, 0, "/1");
    w.exchange(c, 1, "/2");
    assert_eq!(w.backend.end(0), Some(End::Closed));
    w.exchange(c, 2, "/3");
    assert_eq!(w.levels(), [1, 1, 1, 0]);
    w.counts("downstream_opened, upstream_opened 3, upstream_closed 2, answered 3, 200 3");
    w.over();
}

#[test]
fn no_more_connections_wait_than_allowed() {
    let mut w = World::with(&Rules::service("max_idle: 1"));
    let (a, b) = (w.open(), w.open());
    w.send(a, get("/a"));
    w.send(b, get("/b"));
    w.answer(0, OK);
    w.answer(1, OK);
    assert_eq!(w.levels(), [2, 1, 1, 0]);
    assert_eq!(
        (w.backend.end(0), w.backend.end(1)),
        (None, Some(End::Closed))
    );
    w.counts("downstream_opened 2, upstream_opened 2, upstream_closed, answered 2, 200 2");
    w.over();
}
