//! Which service gets a request.

use crate::gateway::{Example, Seen};

#[test]
fn sampling() {
    let mut example = Example::new("sampling");
    let taken = (0..300)
        .filter(|_| example.reaches("GET /chance") == 3)
        .count();
    assert!((10..60).contains(&taken), "{taken} of 300 at 10 %");
    let user = |n: usize| format!("GET /users\nCookie: user=u{n}");
    let first: Vec<u8> = (0..100).map(|n| example.reaches(&user(n))).collect();
    let taken = first.iter().filter(|endpoint| **endpoint == 3).count();
    assert!((15..45).contains(&taken), "{taken} of 100 at 30 %");
    let again: Vec<u8> = (0..100).map(|n| example.reaches(&user(n))).collect();
    assert_eq!(first, again);
}

#[test]
fn split() {
    let mut example = Example::new("split");
    let taken = (0..300).filter(|_| example.reaches("GET /") == 3).count();
    assert!((10..60).contains(&taken), "{taken} of 300 at 10 %");
    let user = |n: usize| format!("GET /\nCookie: a=b; user=u{n}");
    let first: Vec<u8> = (0..100).map(|n| example.reaches(&user(n))).collect();
    assert!(first.contains(&2) && first.contains(&3));
    let again: Vec<u8> = (0..100).map(|n| example.reaches(&user(n))).collect();
    assert_eq!(first, again);
}

#[test]
fn service_by_header() {
    let mut example = Example::new("service-by-header");
    assert_eq!(example.reaches("GET /\nX-Service: one"), 2);
    assert_eq!(example.reaches("GET /\nX-Service: two"), 3);
    assert_eq!(example.reaches("GET /any\nX-Service: one"), 2);
    assert_eq!(example.reaches("GET /any\nX-Service: two"), 3);
    assert_eq!(example.reaches("GET /any"), 2);
    for request in [
        "GET /",
        "GET /\nX-Service: three",
        "GET /\nX-Service: one\nX-Service: two",
    ] {
        let answer = example.answer(request);
        assert!(
            answer.starts_with("HTTP/1.1 404 Not Found\r\n")
                && answer.ends_with("the request names no service that is allowed here\n"),
            "{answer}"
        );
    }
}

#[test]
fn fallback() {
    let mut example = Example::new("fallback");
    // The first request finds out; the next ones go there at once.
    for _ in 0..3 {
        let Seen::At(3, head) = example.ask("GET /") else {
            panic!("no fallback");
        };
        assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{head}");
    }
    example.world.counts(
        "downstream_opened 3, upstream_opened 2, upstream_closed, upstream_reused 2, fallback_taken 3, \
         endpoint_suspected, retried_connect, answered 3, 200 3",
    );
    let times = example.world.stats.traffic.routes.all();
    let mut times = times.iter();
    let (_, on_premises) = times
        .find(|(key, _)| &*key.service == "on-premises")
        .unwrap();
    assert_eq!(on_premises.buckets().iter().sum::<u64>(), 3);
    // And back: after five seconds the first is tried again.
    example.world.seconds(6);
    let back = "10.77.2.2:9090".parse().unwrap();
    let buffers = example.world.buffers;
    example.world.backend.listen(back, buffers);
    assert_eq!(example.reaches("GET /"), 2);
    assert_eq!(example.reaches("GET /"), 2);
}
