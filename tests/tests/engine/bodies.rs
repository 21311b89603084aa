//! Bodies: every framing both ways, larger than any buffer, slow and in pieces.

use sluice_perf::raw::End;
use sluice_stack::fate::StackEvent;

use crate::world::{BUFFER, OK, World, chunked, forwarded, get, pattern, unchunked};

/// Splits a message behind its head.
fn parts(message: &[u8]) -> (&str, &[u8]) {
    let end = message.windows(4).position(|w| w == b"\r\n\r\n");
    let (head, body) = message.split_at(end.expect("a whole head") + 4);
    (std::str::from_utf8(head).expect("a head is text"), body)
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn chunks_keep_their_sizes_and_lose_extensions() {
    let mut w = World::new();
    let c = w.open();
    w.send(
        c,
        "POST / HTTP/1.1\r\nHost: sluice.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         5;name=\"va;lue\"\r\nhello\r\n00A ; x\r\n0123456789\r\n0;last\r\nX-Sum: 1\r\nX-B: 2\r\n\r\n",
    );
    assert_eq!(
        w.asked(0),
        forwarded("POST /", "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n")
            + "5\r\nhello\r\na\r\n0123456789\r\n0\r\nX-Sum: 1\r\nX-B: 2\r\n\r\n"
    );
    w.answer(
        0,
        format!("{CHUNKED}3;a=b\r\nabc\r\n0\r\nX-Trailer: not asked for\r\n\r\n"),
    );
    assert_eq!(w.got(c), format!("{CHUNKED}3\r\nabc\r\n0\r\n\r\n"));
    w.exchange(c, 0, "/after");
    w.counts("downstream_opened, upstream_opened, upstream_reused, answered 2, 200 2");
    w.over();
}

#[test]
fn chunks_split_anywhere() {
    let body = b"b;ext=1\r\nhello world\r\n3\r\nabc\r\n0\r\nT: v\r\n\r\n";
    let passed = "b\r\nhello world\r\n3\r\nabc\r\n0\r\n\r\n";
    let head = "POST / HTTP/1.1\r\nHost: sluice.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut w = World::new();
    let c = w.open();
    for at in 0..=body.len() {
        let (first, second) = body.split_at(at);
        w.send(c, head);
        w.send(c, first);
        w.send(c, second);
        let with_trailer = passed.replace("0\r\n\r\n", "0\r\nT: v\r\n\r\n");
        let expected = forwarded("POST /", "Transfer-Encoding: chunked\r\n") + &with_trailer;
        assert_eq!(w.asked(0), expected, "split at {at}");
        w.answer(0, CHUNKED);
        w.answer(0, first);
        w.answer(0, second);
        assert_eq!(w.got(c), format!("{CHUNKED}{passed}"), "split at {at}");
    }
    let n = body.len() + 1;
    w.counts(&format!(
        "downstream_opened, upstream_opened, upstream_reused {}, answered {n}, 200 {n}",
        n - 1
    ));
    w.over();
}

/// Every position of size lines, extensions and trailers against the end of the rings.
#[test]
fn chunk_lines_and_trailers_straddle_the_end_of_a_ring() {
    let mut w = World::new();
    let c = w.open();
    let tail = b"0;end=\"of body\"\r\nX-Trailer: some value that is left out\r\nX-More: x\r\n\r\n";
    let mut n = 0;
    for fill in (BUFFER - 400..BUFFER + 40).step_by(7) {
        let body = pattern(fill);
        let mut message = Vec::new();
        for piece in [&body[..fill / 2], &body[fill / 2..]] {
            message.extend_from_slice(format!("{:x};e=\"1\"\r\n", piece.len()).as_bytes());
            message.extend_from_slice(piece);
            message.extend_from_slice(b"\r\n");
        }
        message.extend_from_slice(tail);
        w.send(
            c,
            "POST / HTTP/1.1\r\nHost: sluice.test\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        w.send(c, &message);
        w.pass(std::time::Duration::from_millis(500));
        let asked = w.backend.take(0);
        assert_eq!(unchunked(parts(&asked).1), body, "request body of {fill}");
        w.answer(0, CHUNKED);
        w.answer(0, &message);
        w.pass(std::time::Duration::from_millis(500));
        let got = w.client.take(c);
        assert_eq!(unchunked(parts(&got).1), body, "answer's body of {fill}");
        n += 1;
    }
    w.counts(&format!(
        "downstream_opened, upstream_opened, upstream_reused {}, answered {n}, 200 {n}",
        n - 1
    ));
    w.over();
}

#[test]
fn a_body_larger_than_all_buffers_waits_for_a_client_that_does_not_read() {
    let body = pattern(1_000_000);
    let mut w = World::new();
    let c = w.open();
    w.client.pause(c);
    w.send(c, get("/big"));
    w.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    w.answer(0, &body);
    w.seconds(20);
    let waiting = w.backend.unsent(0);
    // The client's window, two rings of the gateway's, the backend's own queue.
    assert!(waiting >= 1_000_000 - 5 * BUFFER, "{waiting} bytes wait");
    let mut reads = 0;
    while w.client.received(c).len() < 1_000_000 && reads < 2_000 {
        let now = w.now();
        w.client.read(c, 1_000, now);
        w.pass(std::time::Duration::from_millis(20));
        reads += 1;
    }
    let now = w.now();
    w.client.resume(c, now);
    w.seconds(2);
    let got = w.client.take(c);
    let (head, passed) = parts(&got);
    assert_eq!(head, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    assert!(passed == body);
    w.exchange_after(c);
    w.counts("downstream_opened, upstream_opened, upstream_reused, answered 2, 200 2");
    w.over();
}

#[test]
fn an_upload_larger_than_all_buffers_waits_for_a_backend_that_does_not_read() {
    let body = pattern(600_000);
    for chunks in [false, true] {
        let mut w = World::new();
        let c = w.open();
        w.exchange(c, 0, "/first");
        w.backend.pause(0);
        let (framing, message) = if chunks {
            let sizes = [1, 700, 3, 20_000, 16_384];
            ("Transfer-Encoding: chunked", chunked(&body, &sizes))
        } else {
            ("Content-Length: 600000", body.clone())
        };
        w.send(
            c,
            format!("POST /up HTTP/1.1\r\nHost: sluice.test\r\n{framing}\r\n\r\n"),
        );
        w.send(c, &message);
        w.seconds(20);
        let waiting = w.client.unsent(c);
        assert!(waiting >= 600_000 - 5 * BUFFER, "{waiting} bytes wait");
        let now = w.now();
        w.backend.resume(0, now);
        w.seconds(5);
        let asked = w.backend.take(0);
        let (head, passed) = parts(&asked);
        assert_eq!(head, forwarded("POST /up", &format!("{framing}\r\n")));
        assert!(
            passed == message,
            "{} bytes of {}",
            passed.len(),
            message.len()
        );
        w.answer(0, OK);
        assert_eq!(w.got(c), OK);
        w.counts("downstream_opened, upstream_opened, upstream_reused, answered 2, 200 2");
        w.over();
    }
}

#[test]
fn bodies_byte_by_byte() {
    let mut w = World::new();
    let c = w.open();
    w.send(
        c,
        "POST / HTTP/1.1\r\nHost: sluice.test\r\nContent-Length: 300\r\n\r\n",
    );
    let body = pattern(300);
    for byte in &body {
        w.send(c, [*byte]);
    }
    assert!(w.backend.take(0).ends_with(&body));
    w.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n");
    for byte in &body {
        w.answer(0, [*byte]);
    }
    assert!(w.client.take(c).ends_with(&body));
    w.counts("downstream_opened, upstream_opened, answered, 200");
    w.over();
}

#[test]
fn a_body_that_ends_with_the_connection_becomes_chunks_for_http11() {
    for size in [0, 1, 5_000, 200_000] {
        let body = pattern(size);
        let mut w = World::new();
        let c = w.open();
        w.send(c, get("/"));
        w.answer(0, "HTTP/1.1 200 OK\r\n\r\n");
        w.answer(0, &body);
        w.finish_backend(0);
        w.seconds(1);
        let got = w.client.take(c);
        let (head, passed) = parts(&got);
        assert_eq!(head, CHUNKED);
        assert!(unchunked(passed) == body);
        let aborted = w.stats.stack.events.get(StackEvent::FlowAborted);
        assert_eq!(aborted, 0, "no reset for a peer that has closed");
        w.exchange(c, 1, "/after");
        w.counts("downstream_opened, upstream_opened 2, upstream_closed, answered 2, 200 2");
        w.over();
    }
}

#[test]
fn a_body_without_length_ends_with_the_connection_for_http10() {
    let body = pattern(100_000);
    for chunks in [false, true] {
        let mut w = World::new();
        let c = w.open();
        w.send(
            c,
            "GET / HTTP/1.0\r\nHost: sluice.test\r\nConnection: keep-alive\r\n\r\n",
        );
        if chunks {
            w.answer(0, CHUNKED);
            w.answer(0, chunked(&body, &[5_000, 1]));
        } else {
            w.answer(0, "HTTP/1.1 200 OK\r\n\r\n");
            w.answer(0, &body);
            w.finish_backend(0);
        }
        w.seconds(1);
        let got = w.client.take(c);
        let (head, passed) = parts(&got);
        assert_eq!(head, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        assert!(passed == body);
        assert_eq!(w.client.end(c), Some(End::Closed));
        let closed = if chunks { "" } else { ", upstream_closed" };
        w.counts(&format!(
            "downstream_opened, downstream_closed, upstream_opened, answered, 200{closed}"
        ));
        w.over();
    }
}

#[test]
fn an_answer_that_does_not_wait_for_the_request_can_be_read() {
    let mut w = World::new();
    let c = w.open();
    w.send(
        c,
        "POST / HTTP/1.1\r\nHost: sluice.test\r\nContent-Length: 1000000\r\n\r\n",
    );
    w.send(c, pattern(2_000));
    let refusal = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n";
    w.answer(0, format!("{refusal}\r\nbig"));
    // The client goes on sending: it must not be reset before it has read the answer.
    w.send(c, pattern(500_000));
    w.seconds(1);
    assert_eq!(w.got(c), format!("{refusal}Connection: close\r\n\r\nbig"));
    assert_eq!(w.client.end(c), Some(End::Closed));
    assert_eq!(
        w.client.unsent(c),
        0,
        "what is still sent is taken and dropped"
    );
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, upstream_closed, answered, 413",
    );
    w.over();
}

#[test]
fn a_malformed_chunk_of_a_request_is_refused_and_the_backend_cut_off() {
    let mut w = World::new();
    let c = w.open();
    w.send(
        c,
        "POST / HTTP/1.1\r\nHost: sluice.test\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    w.send(c, "3\r\nabcX");
    let text = "the request body is malformed or cut short";
    assert_eq!(w.got(c), crate::world::local("400 Bad Request", text, true));
    assert_eq!(w.client.end(c), Some(End::Closed));
    assert_eq!(w.backend.end(0), Some(End::Reset));
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, upstream_closed, bad_request_body, 400",
    );
    w.over();
}

#[test]
fn a_malformed_chunk_of_an_answer_cuts_it_off_visibly() {
    let mut w = World::new();
    let c = w.open();
    w.send(c, get("/"));
    w.answer(0, format!("{CHUNKED}3\r\nabcX"));
    assert_eq!(w.got(c), format!("{CHUNKED}3\r\nabc"), "no last chunk");
    assert_eq!(w.client.end(c), Some(End::Closed));
    assert_eq!(w.backend.end(0), Some(End::Reset));
    w.counts(
        "downstream_opened, downstream_closed, upstream_opened, upstream_closed, \
         upstream_bad_response, 200",
    );
    w.over();
}

impl World {
    fn exchange_after(&mut self, client: usize) {
        self.backend.take(0);
        self.exchange(client, 0, "/after");
    }
}

#[test]
fn both_bodies_at_once() {
    let body = pattern(400_000);
    let mut w = World::new();
    let c = w.open();
    let framing = "Transfer-Encoding: chunked\r\n";
    w.send(
        c,
        format!("POST / HTTP/1.1\r\nHost: sluice.test\r\n{framing}\r\n"),
    );
    w.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n");
    let now = w.now();
    w.client.send(c, &chunked(&body, &[9_000, 1, 17_000]), now);
    w.backend.send(0, &body, now);
    w.seconds(5);
    let asked = w.backend.take(0);
    let (head, passed) = parts(&asked);
    assert_eq!(head, forwarded("POST /", framing));
    assert!(unchunked(passed) == body);
    let got = w.client.take(c);
    let (head, passed) = parts(&got);
    assert_eq!(
        head,
        "HTTP/1.1 200 OK\r\nContent-Length: 400000\r\nConnection: close\r\n\r\n"
    );
    assert!(passed == body);
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.counts("downstream_opened, downstream_closed, upstream_opened, answered, 200");
    w.over();
}
