//! Fields behind a chunked body.

use crate::world::{OK, World, forwarded};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn trailers_of_a_request_go_on_less_what_only_a_head_may_say() {
    let mut w = World::new();
    let c = w.open();
    w.send(
        c,
        "POST / HTTP/1.1\r\nHost: sluice.test\r\nTransfer-Encoding: chunked\r\nTrailer: Digest\r\n\r\n\
         2\r\nhi\r\n0\r\nDigest: x\r\nContent-Length: 5\r\nX-Forwarded-For: 1.1.1.1\r\n\
         Authorization: forged\r\nhost: forged\r\n\r\n",
    );
    assert_eq!(
        w.asked(0),
        forwarded(
            "POST /",
            "Trailer: Digest\r\nTransfer-Encoding: chunked\r\n"
        ) + "2\r\nhi\r\n0\r\nDigest: x\r\n\r\n"
    );
    w.answer(0, OK);
    w.counts("downstream_opened, upstream_opened, answered, 200");
    w.over();
}

#[test]
fn trailers_of_a_response_go_to_clients_that_say_te_trailers() {
    let answer = "HTTP/1.1 200 OK\r\nTrailer: Status\r\nTransfer-Encoding: chunked\r\n\r\n\
                  2\r\nhi\r\n0\r\nStatus: 0\r\nSet-Cookie: forged\r\n\r\n";
    let mut w = World::new();
    let c = w.open();
    w.send(
        c,
        "GET / HTTP/1.1\r\nHost: sluice.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
    );
    let head = w.asked(0);
    assert!(
        head.contains("\r\nTE: trailers\r\nConnection: TE\r\n"),
        "{head}"
    );
    w.answer(0, answer);
    assert_eq!(
        w.got(c),
        "HTTP/1.1 200 OK\r\nTrailer: Status\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nStatus: 0\r\n\r\n"
    );
    w.send(c, "GET / HTTP/1.1\r\nHost: sluice.test\r\n\r\n");
    assert_eq!(w.asked(0), forwarded("GET /", ""));
    w.answer(0, answer);
    assert_eq!(w.got(c), format!("{CHUNKED}2\r\nhi\r\n0\r\n\r\n"));
    w.counts("downstream_opened, upstream_opened, upstream_reused, answered 2, 200 2");
    w.over();
}

#[test]
fn the_largest_trailers_pass_a_client_that_reads_slowly_and_larger_ones_do_not() {
    for (filler, whole) in [(8 * 1024 - 7, true), (8 * 1024, false)] {
        let mut w = World::new();
        let c = w.open();
        w.send(
            c,
            "GET / HTTP/1.1\r\nHost: sluice.test\r\nTE: trailers\r\n\r\n",
        );
        w.client.pause(c);
        let data = "x".repeat(30_000);
        let trailer = format!("T: {}\r\n", "t".repeat(filler - 3));
        let body = format!("{:x}\r\n{data}\r\n0\r\n{trailer}\r\n", data.len());
        w.answer(0, format!("{CHUNKED}{body}"));
        w.seconds(2);
        let now = w.now();
        w.client.resume(c, now);
        w.seconds(2);
        let got = w.got(c);
        if whole {
            assert!(
                got.ends_with(&format!("\r\n0\r\n{trailer}\r\n")),
                "{}",
                got.len()
            );
            w.counts("downstream_opened, upstream_opened, answered, 200");
        } else {
            assert!(got.ends_with("x\r\n"), "the end is missing");
            w.counts(
                "downstream_opened, downstream_closed, upstream_opened, upstream_closed, \
                 upstream_bad_response, 200",
            );
        }
        w.over();
    }
}
