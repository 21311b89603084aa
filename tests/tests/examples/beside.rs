//! What happens beside a request: copies and faults.

use crate::gateway::{Example, Seen};
use crate::world::{OK, get};

#[test]
fn mirror() {
    let mut example = Example::new("mirror");
    let w = &mut example.world;
    let client = w.open();
    w.send(client, get("/"));
    let of = |w: &crate::world::World, last: u8| {
        let mut connections = 0..w.backend.connections();
        let own = |n: &usize| {
            let local = w.backend.local(*n);
            local.is_some_and(|local| local.ip().to_string() == format!("10.77.2.{last}"))
        };
        connections.rfind(own).expect("a connection")
    };
    let (shop, next) = (of(w, 2), of(w, 3));
    let (first, copy) = (w.asked(shop), w.asked(next));
    assert!(first.starts_with("GET / HTTP/1.1\r\n"));
    assert_eq!(first, copy);
    // The copy's answer goes nowhere, and its connection is used again.
    w.answer(
        next,
        "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    assert_eq!(w.got(client), "");
    w.answer(shop, OK);
    assert!(w.got(client).ends_with("ok"));
    w.counts("downstream_opened, upstream_opened 2, mirror_begun, mirror_answered, answered, 200");
    // Neither garbage nor silence nor a reset of it touches the caller.
    for harm in 0..3 {
        w.send(client, get("/"));
        let (shop, next) = (of(w, 2), of(w, 3));
        assert_eq!(w.asked(shop), w.asked(next));
        match harm {
            0 => w.answer(next, "garbage\r\n\r\n"),
            1 => w.reset_backend(next),
            _ => {}
        }
        w.answer(shop, OK);
        assert!(w.got(client).ends_with("ok"));
    }
    w.seconds(8);
    // A request with a body is not copied where only those without are.
    w.send(
        client,
        "POST /heads HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    );
    let shop = of(w, 2);
    assert!(w.asked(shop).ends_with("hi"));
    w.answer(shop, OK);
    w.counts(
        "downstream_opened, upstream_opened 4, upstream_reused 5, upstream_closed 3, mirror_begun 4, \
         mirror_answered, mirror_failed 3, mirror_skipped, answered 5, 200 5",
    );
    example.world.over();
}

/// The connections of the shop and of the next one, which are the last with those addresses.
fn shops(w: &crate::world::World) -> (Option<usize>, Option<usize>) {
    let of = |last: &str| {
        let mut connections = 0..w.backend.connections();
        connections.rfind(|n| {
            let local = w.backend.local(*n);
            local.is_some_and(|local| local.ip().to_string() == format!("10.77.2.{last}"))
        })
    };
    (of("2"), of("3"))
}

#[test]
fn mirrored_bodies() {
    let mut example = Example::new("mirror");
    let w = &mut example.world;
    let client = w.open();
    // What has a length and what comes in chunks, with trailers, is copied byte for byte once all of it
    // has gone on.
    let chunks = "3\r\nabc\r\n1\r\nd\r\n";
    for (framing, body, end) in [
        ("Content-Length: 1024", "x".repeat(1000), "y".repeat(24)),
        (
            "Transfer-Encoding: chunked",
            chunks.to_owned(),
            "0\r\nX-Sum: 7\r\n\r\n".to_owned(),
        ),
    ] {
        let head = format!("PUT /upload HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
        w.send(client, head + &body);
        let (shop, next) = shops(w);
        let mut first = w.asked(shop.unwrap());
        assert!(first.ends_with(&body), "{first}");
        assert!(next.is_none_or(|next| w.asked(next).is_empty()), "too soon");
        w.send(client, &end);
        let (shop, next) = shops(w);
        first += &w.asked(shop.unwrap());
        assert!(first.ends_with(&end), "{first}");
        assert_eq!(first, w.asked(next.unwrap()));
        w.answer(next.unwrap(), OK);
        w.answer(shop.unwrap(), OK);
        assert!(w.got(client).ends_with("ok"));
    }
    // One byte more, in chunks as with a length: no copy.
    let large = "z".repeat(1025);
    for request in [
        format!("PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n{large}"),
        format!(
            "PUT /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n{large}\r\n0\r\n\r\n"
        ),
    ] {
        w.send(client, request);
        let (shop, next) = shops(w);
        assert!(w.asked(shop.unwrap()).contains(&large));
        assert_eq!(w.asked(next.unwrap()), "");
        w.answer(shop.unwrap(), OK);
        assert!(w.got(client).ends_with("ok"));
    }
    // A client that leaves in the middle, and an answer before the end: no copy, and nothing is left.
    let half = "PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf";
    w.send(client, half);
    w.reset(client);
    let early = w.open();
    w.send(early, half);
    let (shop, _) = shops(w);
    assert!(w.asked(shop.unwrap()).ends_with("half"));
    w.answer(
        shop.unwrap(),
        "HTTP/1.1 413 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    assert!(w.got(early).starts_with("HTTP/1.1 413 "));
    w.counts(
        "downstream_opened 2, downstream_closed 2, upstream_opened 3, upstream_reused 5, upstream_closed 2, \
         mirror_begun 2, mirror_answered 2, mirror_skipped 4, answered 5, client_gone, 200 4, 413, 0",
    );
    example.world.over();
}

#[test]
fn fault() {
    let mut example = Example::new("fault");
    let to = example.world.target;
    assert!(matches!(example.ask("GET /slow"), Seen::At(2, _)));
    let (seen, client) = example.ask_at(to, "GET /slow\nX-Drill: 1");
    assert_eq!(seen, Seen::Waiting);
    example.world.seconds(2);
    assert_eq!(example.seen(client), Seen::Waiting);
    example.world.seconds(2);
    assert!(matches!(example.seen(client), Seen::At(2, _)));

    let (seen, client) = example.ask_at(to, "GET /failing");
    assert_eq!(seen, Seen::Waiting);
    example.world.seconds(2);
    let Seen::Answered(answer) = example.seen(client) else {
        panic!("no answer");
    };
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
    assert!(answer.ends_with("a fault injected for a drill\n"));

    assert_eq!(example.ask("GET /dead"), Seen::Closed);
    assert!(matches!(example.ask("GET /over"), Seen::At(2, _)));
    // Whoever leaves meanwhile is forgotten.
    let (_, client) = example.ask_at(to, "GET /failing");
    example.world.reset(client);
    example.world.seconds(5);
    // Whoever closes its side waits no longer: it may still read an answer.
    let (seen, client) = example.ask_at(to, "GET /failing");
    assert_eq!(seen, Seen::Waiting);
    example.world.finish(client);
    let Seen::Answered(answer) = example.seen(client) else {
        panic!("no answer");
    };
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
    example.world.counts(
        "downstream_opened 7, downstream_closed 3, upstream_opened, upstream_reused 2, fault_delayed 4, \
         answered 3, fault_injected 3, client_gone, 200 3, 503 2, 0 2",
    );
    // Where the time is not known, no drill is under way.
    example.world.over();
}

#[test]
fn a_drain_lets_go_of_what_a_drill_holds() {
    let mut example = Example::new("fault");
    let to = example.world.target;
    let (slow, failing) = ("GET /slow\nX-Drill: 1", "GET /failing");
    let clients = [slow, failing].map(|request| {
        let (seen, client) = example.ask_at(to, request);
        assert_eq!(seen, Seen::Waiting);
        client
    });
    // Half of a head is there, and the other half comes during the drain.
    let late = example.world.open();
    let now = example.world.now();
    example
        .world
        .send(late, "GET /slow HTTP/1.1\r\nHost: a\r\n");
    example.world.worker.drain(now);
    example.world.settle();
    assert!(matches!(example.seen(clients[0]), Seen::At(2, _)));
    let Seen::Answered(answer) = example.seen(clients[1]) else {
        panic!("no answer");
    };
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
    example.world.send(late, "X-Drill: 1\r\n\r\n");
    assert!(matches!(example.seen(late), Seen::At(2, _)));
    let now = example.world.now();
    example.world.client.close_all(now);
    example.world.seconds(1);
    assert!(example.world.worker.is_drained());
    example.world.counts(
        "downstream_opened 3, downstream_closed 3, upstream_opened 2, upstream_closed 2, fault_delayed 2, \
         fault_injected, answered 2, 200 2, 503",
    );
    example.world.over();
}

/// A request that the example holds for three seconds.
const SLOW: &str = "GET /slow HTTP/1.1\r\nHost: a\r\nX-Drill: 1\r\n\r\n";

#[test]
fn a_client_that_has_closed_its_side_gets_all_its_answers_without_the_drill() {
    let mut example = Example::new("fault");
    let w = &mut example.world;
    let client = w.open();
    w.send(client, SLOW.repeat(3));
    assert_eq!(w.backend.connections(), 0);
    w.finish(client);
    for _ in 0..3 {
        w.pass(std::time::Duration::from_millis(2));
        assert!(w.asked(0).starts_with("GET /slow"));
        w.answer(0, OK);
    }
    assert_eq!(w.got(client).matches("HTTP/1.1 200 OK\r\n").count(), 3);
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, upstream_reused 2, fault_delayed 3, \
         answered 3, 200 3",
    );
    example.world.over();
}

#[test]
fn clients_that_leave_together_do_not_send_what_a_drill_holds_together() {
    const CLIENTS: usize = 40;
    let mut example = Example::new("fault");
    let w = &mut example.world;
    let clients: Vec<usize> = (0..CLIENTS)
        .map(|_| {
            let client = w.open();
            w.send(client, SLOW);
            client
        })
        .collect();
    assert_eq!(w.backend.connections(), 0);
    let now = w.now();
    for client in &clients {
        w.client.finish(*client, now);
    }
    w.settle();
    assert!(w.backend.connections() <= 2, "{}", w.backend.connections());
    w.pass(std::time::Duration::from_millis(10));
    let asked = w.backend.connections();
    assert!((5..=12).contains(&asked), "{asked}");
    w.pass(std::time::Duration::from_millis(40));
    assert_eq!(w.backend.connections(), CLIENTS);
    example.world.over();
}

/// Bytes of a body that a client of the example's gateway got within so many milliseconds.
fn bytes_within(example: &mut Example, client: usize, millis: u64) -> usize {
    let mut bytes = 0;
    for _ in 0..millis / 10 {
        example.world.pass(std::time::Duration::from_millis(10));
        bytes += example.world.got(client).len();
    }
    bytes
}

#[test]
fn slow_bodies() {
    let mut example = Example::new("fault");
    let client = example.world.open();
    let body = "x".repeat(4096);
    example
        .world
        .send(client, "GET /thin HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(example.world.asked(0).starts_with("GET /thin "));
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n";
    example.world.answer(0, format!("{head}{body}"));
    let first = example.world.got(client).len();
    assert!(first < head.len() + 300, "{first}");
    // Others are not held up by it.
    let other = example.world.open();
    example.world.send(other, get("/"));
    assert!(example.world.asked(1).starts_with("GET / "));
    example.world.answer(1, OK);
    assert!(example.world.got(other).ends_with("ok"));
    let slow = bytes_within(&mut example, client, 2_000);
    assert!(
        (1_900..2_200).contains(&slow),
        "{slow} bytes in two seconds"
    );
    let rest = bytes_within(&mut example, client, 2_200);
    assert!(
        first + slow + rest >= head.len() + 4096,
        "{first} {slow} {rest}"
    );

    // The same of a request, whose client is not taken for one that sends too slowly.
    let upload = format!(
        "PUT /thin HTTP/1.1\r\nHost: a\r\nContent-Length: 40960\r\n\r\n{}",
        body.repeat(10)
    );
    example.world.send(client, upload);
    let mut came = 0;
    for _ in 0..45 {
        example.world.seconds(1);
        came += example.world.asked(0).len();
    }
    assert!(came > 40960, "{came}");
    example.world.answer(0, OK);
    example.world.seconds(1);
    assert!(example.world.got(client).ends_with("ok"));
    example.world.counts(
        "downstream_opened 2, upstream_opened 2, upstream_reused, upstream_idle_timeout, upstream_closed, \
         fault_slowed 2, answered 3, 200 3",
    );
    example.world.over();
}

#[test]
fn a_drill_that_is_over_lets_go_of_a_body_under_way() {
    let mut example = Example::new("fault");
    let client = example.world.open();
    example
        .world
        .send(client, "GET /thin-for-a-second HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(example.world.asked(0).starts_with("GET /thin"));
    let body = "x".repeat(8192);
    example.world.answer(
        0,
        format!("HTTP/1.1 200 OK\r\nContent-Length: 8192\r\n\r\n{body}"),
    );
    let before = bytes_within(&mut example, client, 900);
    assert!((700..1_100).contains(&before), "{before}");
    let after = bytes_within(&mut example, client, 300);
    assert!(after > 7_000, "{after}");
    // Who comes later does not meet it at all.
    example.world.worker.set_wall_clock(1_800_000_001);
    example
        .world
        .send(client, "GET /thin-for-a-second HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(example.world.asked(0).starts_with("GET /thin"));
    example.world.answer(
        0,
        format!("HTTP/1.1 200 OK\r\nContent-Length: 8192\r\n\r\n{body}"),
    );
    assert!(example.world.got(client).len() > 8192);
    example.world.counts(
        "downstream_opened, upstream_opened, upstream_reused, fault_slowed, answered 2, 200 2",
    );
}
