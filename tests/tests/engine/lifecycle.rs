//! New rules while requests run, limits of a listener, and the end.

use sluice_perf::raw::End;

use crate::world::{OK, Rules, World, forwarded, get, local};

fn edited(value: &str) -> Rules {
    Rules {
        routes: format!(
            "{{ host: sluice.test, path: /, service: hello, \
             response_headers: {{ set: {{ x-rules: {value} }} }} }}"
        ),
        ..Rules::default()
    }
}

#[test]
fn a_listener_refuses_connections_beyond_its_limit() {
    let mut w = World::with(&Rules::listener("max_connections: 2"));
    let (a, b) = (w.open(), w.open());
    let c = w.open();
    assert_eq!(w.client.end(c), Some(End::Reset));
    w.exchange(a, 0, "/a");
    w.finish(b);
    let d = w.open();
    w.exchange(d, 0, "/d");
    w.counts(
        "downstream_opened 3, downstream_closed, downstream_refused, upstream_opened, \
         upstream_reused, answered 2, 200 2",
    );
    w.over();
}

#[test]
fn one_client_address_has_as_many_connections_as_it_may() {
    let mut w = World::with(&Rules::listener("limits: { client_connections: 2 }"));
    let (a, b) = (w.open(), w.open());
    let c = w.open();
    assert_eq!(w.client.end(c), Some(End::Reset));
    w.exchange(a, 0, "/a");
    w.finish(b);
    let d = w.open();
    w.exchange(d, 0, "/d");
    w.counts(
        "downstream_opened 3, downstream_closed, downstream_refused_client_connections, \
         upstream_opened, upstream_reused, answered 2, 200 2",
    );
    w.over();
}

#[test]
fn one_client_address_opens_connections_no_faster_than_it_may() {
    let mut w = World::with(&Rules::listener("limits: { client_rate: 2 }"));
    let ends = |w: &mut World, n: usize| -> Vec<_> {
        let opened: Vec<_> = (0..n).map(|_| w.open()).collect();
        opened.into_iter().map(|c| w.client.end(c)).collect()
    };
    let first = ends(&mut w, 6);
    assert_eq!(first[..4], [None; 4]);
    assert_eq!(first[4..], [Some(End::Reset); 2]);
    w.seconds(1);
    assert_eq!(ends(&mut w, 3), [None, None, Some(End::Reset)]);
    w.counts("downstream_opened 6, downstream_refused_client_rate 3");
    w.over();
}

#[test]
fn trusted_networks_are_free_of_limits_for_one_address() {
    let mut w = World::with(&Rules::listener(
        "trust: [10.77.1.0/24], limits: { client_connections: 1, client_rate: 1 }",
    ));
    for _ in 0..5 {
        let c = w.open();
        assert_eq!(w.client.end(c), None);
    }
    w.counts("downstream_opened 5");
    w.over();
}

#[test]
fn a_connection_takes_requests_for_its_lifetime() {
    let mut w = World::with(&Rules::listener("limits: { lifetime: 10s }"));
    let (busy, idle) = (w.open(), w.open());
    w.exchange(busy, 0, "/a");
    w.exchange(idle, 0, "/b");
    w.seconds(9);
    assert_eq!((w.client.end(busy), w.client.end(idle)), (None, None));
    // Begun before its time is over, and answered in full behind it.
    w.send(busy, get("/c"));
    w.seconds(3);
    assert_eq!(w.client.end(idle), Some(End::Closed));
    w.answer(0, OK);
    assert_eq!(w.got(busy), OK);
    w.seconds(1);
    assert_eq!(w.client.end(busy), Some(End::Closed));
    w.counts(
        "downstream_opened 2, downstream_closed 2, downstream_lifetime_over 2, upstream_opened, \
         upstream_reused 2, answered 3, 200 3",
    );
    w.over();
}

#[test]
fn a_request_under_way_ends_by_the_rules_it_began_under() {
    let mut w = World::with(&edited("old"));
    let c = w.open();
    w.send(c, get("/1"));
    w.reload(&edited("new").text()).unwrap();
    w.settle();
    assert_eq!(w.stats.generation.get(), 2);
    w.answer(0, OK);
    assert_eq!(
        w.got(c),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-rules: old\r\n\r\nok"
    );
    w.send(c, get("/2"));
    w.answer(0, OK);
    assert_eq!(
        w.got(c),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-rules: new\r\n\r\nok"
    );
    w.counts(
        "downstream_opened, upstream_opened, upstream_reused, rules_adopted, answered 2, 200 2",
    );
    w.over();
}

#[test]
fn a_route_and_service_that_go_away_end_no_request() {
    let mut w = World::with(&Rules::default().endpoints(Rules::BOTH));
    let c = w.open();
    w.send(c, get("/1") + &get("/2"));
    let without = Rules {
        routes: "{ host: other.test, path: /, service: hello }".into(),
        ..Rules::default()
    };
    w.reload(&without.text().replace("hello", "aaa")).unwrap();
    w.settle();
    w.answer(0, OK);
    let not_found = local("404 Not Found", "no route takes this host and path", false);
    assert_eq!(w.got(c), OK.to_owned() + &not_found);
    assert_eq!(w.backend.end(0), Some(End::Closed), "its service is gone");
    assert_eq!(w.levels(), [1, 0, 0, 0]);
    w.counts(
        "downstream_opened, upstream_opened, upstream_closed, rules_adopted, answered, 200, \
         no_route, 404",
    );
    w.over();
}

#[test]
fn connections_to_a_removed_endpoint_close_at_once_or_behind_their_request() {
    let mut w = World::with(&Rules::default().endpoints(Rules::BOTH));
    let (a, b) = (w.open(), w.open());
    w.exchange(a, 0, "/1");
    w.exchange(a, 1, "/2");
    w.send(a, get("/3"));
    w.asked(0);
    w.send(b, get("/4"));
    w.answer(1, OK);
    w.reload(&Rules::default().endpoints(r#"["10.77.2.3:8080"]"#).text())
        .unwrap();
    w.settle();
    assert_eq!(w.levels(), [2, 2, 1, 1]);
    w.answer(0, OK);
    assert_eq!(w.got(a), OK);
    assert_eq!(
        (w.backend.end(0), w.backend.end(1)),
        (Some(End::Closed), None)
    );
    assert_eq!(w.levels(), [2, 1, 1, 0]);
    w.reload(&Rules::default().endpoints(r#"["10.77.2.2:8080"]"#).text())
        .unwrap();
    w.settle();
    assert_eq!(w.backend.end(1), Some(End::Closed));
    assert_eq!(w.levels(), [2, 0, 0, 0]);
    w.counts(
        "downstream_opened 2, upstream_opened 2, upstream_closed 2, upstream_reused 2, \
         rules_adopted 2, answered 4, 200 4",
    );
    w.over();
}

/// The idle timeout of a listener that is gone was taken for zero, which cut off what ran on it.
#[test]
fn a_removed_listener_lets_its_requests_end_and_closes_its_idle_connections() {
    let mut w = World::new();
    let (busy, idle, uploading) = (w.open(), w.open(), w.open());
    w.exchange(idle, 0, "/");
    w.send(busy, get("/busy"));
    w.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    w.send(
        uploading,
        "POST / HTTP/1.1\r\nHost: sluice.test\r\nContent-Length: 2\r\n\r\na",
    );
    let elsewhere = Rules {
        listener: r#"other: { address: "10.77.1.1:81", buffer: 16KiB }"#.into(),
        ..Rules::default()
    };
    w.reload(&elsewhere.text()).unwrap();
    w.settle();
    assert_eq!(w.client.end(idle), Some(End::Closed));
    w.seconds(5);
    w.answer(0, "c");
    w.seconds(5);
    w.answer(0, "d");
    assert!(w.got(busy).ends_with("abcd"));
    assert_eq!(
        w.client.end(busy),
        Some(End::Closed),
        "no further request can come on it"
    );
    w.send(uploading, "b");
    w.seconds(5);
    w.answer(1, OK);
    assert_eq!(w.client.end(uploading), Some(End::Closed));
    let refused = w.open();
    assert_eq!(w.client.end(refused), Some(End::Reset));
    w.counts(
        "downstream_opened 3, downstream_closed 3, upstream_opened 2, upstream_reused, \
         rules_adopted, answered 3, 200 3",
    );
    w.over();
}

#[test]
fn rules_wait_while_too_many_older_ones_serve_requests_and_say_so_once() {
    let mut w = World::with(&edited("r0"));
    let clients: Vec<usize> = (0..64).map(|_| w.open()).collect();
    for (n, &c) in clients.iter().enumerate() {
        w.send(c, get("/"));
        w.reload(&edited(&format!("r{}", n + 1)).text()).unwrap();
        w.seconds(0);
    }
    w.settle();
    w.settle();
    assert_eq!(
        w.stats.generation.get(),
        64,
        "generations 1 to 64 are in use"
    );
    w.counts("downstream_opened 64, upstream_opened 64, rules_adopted 63, rules_deferred");
    w.answer(5, OK);
    w.settle();
    assert_eq!(w.stats.generation.get(), 65);
    assert!(w.got(clients[5]).contains("x-rules: r5\r\n"));
    for n in (0..64).filter(|n| *n != 5) {
        w.answer(n, OK);
        assert!(w.got(clients[n]).contains(&format!("x-rules: r{n}\r\n")));
    }
    w.over();
}

#[test]
fn draining_finishes_what_runs_and_takes_nothing_new() {
    let mut w = World::new();
    let (busy, idle, partial) = (w.open(), w.open(), w.open());
    w.exchange(idle, 0, "/");
    w.send(busy, get("/busy") + &get("/pipelined"));
    w.send(partial, "GET /part");
    let now = w.now();
    w.worker.drain(now);
    w.settle();
    assert_eq!(w.client.end(idle), Some(End::Closed));
    assert!(!w.worker.is_drained());
    let refused = w.open();
    assert_eq!(w.client.end(refused), Some(End::Reset));
    w.send(partial, "ial HTTP/1.1\r\nHost: sluice.test\r\n\r\n");
    w.answer(0, OK);
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    assert_eq!(w.got(busy), last);
    w.answer(1, OK);
    assert_eq!(w.got(partial), last);
    let now = w.now();
    w.client.close_all(now);
    w.seconds(1);
    assert!(w.worker.is_drained());
    w.counts(
        "downstream_opened 3, downstream_closed 3, upstream_opened 2, upstream_reused, \
         upstream_closed 2, answered 3, 200 3",
    );
    w.over();
}

#[test]
fn aborting_ends_everything_at_once() {
    let mut w = World::new();
    let (busy, waiting, half) = (w.open(), w.open(), w.open());
    w.exchange(waiting, 0, "/");
    w.send(busy, get("/busy"));
    w.send(half, get("/half"));
    w.answer(1, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    w.send(waiting, get("/third"));
    w.answer(2, OK);
    assert_eq!(w.levels(), [3, 3, 1, 2]);
    let now = w.now();
    w.worker.drain(now);
    w.worker.abort_all(now);
    w.settle();
    assert_eq!(w.levels(), [0; 4]);
    for c in [busy, half] {
        assert_eq!(w.client.end(c), Some(End::Reset));
    }
    assert_eq!(w.client.end(waiting), Some(End::Closed));
    w.counts(
        "downstream_opened 3, downstream_closed 3, upstream_opened 3, upstream_reused, \
         upstream_closed 3, answered 2, 200 3, drain_deadline 2, 0",
    );
    let now = w.now();
    w.client.close_all(now);
    w.settle();
    assert!(w.worker.is_drained());
    w.over();
}

#[test]
fn over_ipv6_and_other_mtus_the_same() {
    use crate::world::{pattern, setup};
    use sluice_perf::memory::{Setup, rules};
    for (v6, mtu) in [
        (true, 1500),
        (true, 1280),
        (true, 9000),
        (false, 576),
        (false, 9000),
    ] {
        let setup = Setup { v6, mtu, ..setup() };
        let mut w = World::set_up(&setup, &rules(&setup));
        let c = w.open();
        for backend in [0, 1, 0] {
            w.send(
                c,
                "POST /v HTTP/1.1\r\nHost: sluice.test\r\nContent-Length: 50000\r\n\r\n",
            );
            w.send(c, pattern(50_000));
            w.seconds(1);
            let asked = w.backend.take(backend);
            assert!(asked.ends_with(&pattern(50_000)), "v6 {v6} mtu {mtu}");
            let head = String::from_utf8_lossy(&asked[..300]).into_owned();
            let address = if v6 { "fd77:1::2" } else { "10.77.1.2" };
            assert!(
                head.contains(&format!("\r\nX-Forwarded-For: {address}\r\n")),
                "{head}"
            );
            w.answer(backend, "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n");
            w.answer(backend, pattern(50_000));
            w.seconds(1);
            assert!(
                w.client.take(c).ends_with(&pattern(50_000)),
                "v6 {v6} mtu {mtu}"
            );
        }
        let e = w.open();
        w.send(e, "GET / HTTP/1.1\r\nHost: nowhere.test\r\n\r\n");
        assert!(w.got(e).starts_with("HTTP/1.1 404 "));
        w.counts(
            "downstream_opened 2, upstream_opened 2, upstream_reused, answered 3, 200 3, no_route, 404",
        );
        w.over();
    }
}

#[test]
fn requests_go_round_after_new_rules_where_they_were() {
    let mut w = World::with(&Rules::default().endpoints(Rules::BOTH));
    let c = w.open();
    w.exchange(c, 0, "/1");
    w.reload(&Rules::default().endpoints(Rules::BOTH).text())
        .unwrap();
    w.send(c, get("/2"));
    assert_eq!(w.asked(1), forwarded("GET /2", ""));
    w.answer(1, OK);
    w.counts("downstream_opened, upstream_opened 2, rules_adopted, answered 2, 200 2");
    w.over();
}

/// What is counted for a rule goes on through an update that leaves the rule alone: who has used up what
/// one address may, whom an endpoint has failed, and what a route took.
#[test]
fn new_rules_leave_the_state_of_filters_alone_whose_rules_stay() {
    let limited = |value: &str| Rules {
        routes: edited(value).routes,
        endpoints: r#"["10.77.2.2:9999", "10.77.2.3:8080"]"#,
        ..Rules::listener("limits: { client_rate: 2 }")
    };
    let mut w = World::with(&limited("old"));
    let clients: Vec<_> = (0..4).map(|_| w.open()).collect();
    w.send(clients[0], get("/1"));
    let suspected = |w: &World| {
        w.stats
            .events
            .get(sluice_engine::stats::EngineEvent::EndpointSuspected)
    };
    assert_eq!((w.asked(0), suspected(&w)), (forwarded("GET /1", ""), 1));
    w.answer(0, OK);
    w.reload(&limited("new").text()).unwrap();
    w.settle();
    let refused = w.open();
    assert_eq!(w.client.end(refused), Some(End::Reset));
    // Both turns are with the endpoint that answers: the other one is still passed over.
    for path in ["/2", "/3"] {
        w.send(clients[1], get(path));
        assert_eq!(w.asked(0), forwarded(&format!("GET {path}"), ""));
        w.answer(0, OK);
        assert!(w.got(clients[1]).contains("x-rules: new"));
    }
    let routes = w.stats.traffic.routes.all();
    let taken: u64 = routes
        .iter()
        .map(|(_, times)| times.buckets().iter().sum::<u64>())
        .sum();
    assert_eq!((routes.len(), taken), (1, 3));
    w.counts(
        "downstream_opened 4, downstream_refused_client_rate, upstream_opened 2, upstream_closed, \
         upstream_reused 2, endpoint_suspected, retried_connect, rules_adopted, answered 3, 200 3",
    );
    w.over();
}
