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
    // A request with a body is not copied.
    w.send(
        client,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
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
    example.world.counts(
        "downstream_opened 6, downstream_closed 2, upstream_opened, upstream_reused 2, fault_delayed 3, \
         answered 3, fault_injected 2, client_gone, 200 3, 503, 0 2",
    );
    // Where the time is not known, no drill is under way.
    example.world.over();
}
