//! A backend that answers badly. Its client gets 502 or a connection that is cut before the end that
//! was announced, and no later request on any connection gets bytes that were not meant for it.

use std::sync::Arc;
use std::time::Duration;

use sluice_tests::lab::Lab;

use crate::CONFIG;
use crate::backend::{Asked, Backend, Reply};
use crate::proxies::{play, statuses};

/// A connection on which nothing came for this long is done with.
const QUIET: Duration = Duration::from_millis(150);

/// A response that a client must never see: it is what follows a response's end.
const STALE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale";

/// A bad answer, whether the backend closes after it, and what the client gets: the statuses, then
/// the bytes of a body that was cut.
struct Case {
    name: &'static str,
    answer: String,
    close: bool,
    client: &'static str,
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    let head = |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}");
    let chunked = |body: &str| head("Transfer-Encoding: chunked\r\n", body);
    let case = |name, answer: String, close, client| Case { name, answer, close, client };
    let after = format!("ok{STALE}");
    vec![
        case("bytes after the end", head("Content-Length: 2\r\n", &after), false, "200 200 then the next"),
        case("response after the last chunk", chunked(&format!("0\r\n\r\n{STALE}")), false, "200 200 then the next"),
        case("equal lengths twice", head("Content-Length: 2\r\nContent-Length: 2\r\n", "ok"), false, "502 200 then the next"),
        case("disagreeing lengths", head("Content-Length: 2\r\nContent-Length: 7\r\n", &after), false, "502 200 then the next"),
        case("list of lengths", head("Content-Length: 2, 2\r\n", "ok"), false, "502 200 then the next"),
        case("length with plus", head("Content-Length: +2\r\n", "ok"), false, "502 200 then the next"),
        case("both framings", head("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), false, "502 200 then the next"),
        case("xchunked", head("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), true, "502 200 then the next"),
        case("folded field", head("X: 1\r\n 2\r\nContent-Length: 2\r\n", "ok"), false, "502 200 then the next"),
        case("bare LF", head("X: 1\nY: 2\r\nContent-Length: 2\r\n", "ok"), false, "502 200 then the next"),
        case("bare CR", head("X: 1\rY: 2\r\nContent-Length: 2\r\n", "ok"), false, "502 200 then the next"),
        case("NUL", head("X: 1\0\r\nContent-Length: 2\r\n", "ok"), false, "502 200 then the next"),
        case("space before the colon", head("Content-Length : 2\r\n", "ok"), false, "502 200 then the next"),
        case("line without colon", head("Content-Length 2\r\n", "ok"), false, "502 200 then the next"),
        case("chunk size in no hex", chunked("zz\r\nok\r\n0\r\n\r\n"), false, "200 closed"),
        case("chunk size out of range", chunked("10000000000000002\r\nok\r\n0\r\n\r\n"), false, "200 closed"),
        case("chunk larger than its size", chunked("1\r\nok\r\n0\r\n\r\n"), false, "200 closed"),
        case("end inside a chunk", chunked("5\r\nok"), true, "200 closed"),
        case("end without the last chunk", chunked("2\r\nok\r\n"), true, "200 closed"),
        case("body shorter than announced", head("Content-Length: 5\r\n", "ok"), true, "200 closed"),
        case("body of 204", format!("HTTP/1.1 204 No Content\r\n\r\n{STALE}"), false, "204 200 then the next"),
        case("body of 304", format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 47\r\n\r\n{STALE}"), false, "304 200 then the next"),
        case("1,000 interim responses", format!("{}{}", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1_000), head("Content-Length: 2\r\n", "ok")), false, "200 200 (1000 interim) then the next"),
        case("101 that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".into(), false, "502 200 then the next"),
        case("head of 100 KB", head(&format!("X: {}\r\nContent-Length: 2\r\n", "x".repeat(100_000)), "ok"), false, "502 200 then the next"),
        case("1,000 fields", head(&format!("{}Content-Length: 2\r\n", "X: 1\r\n".repeat(1_000)), "ok"), false, "502 200 then the next"),
        case("HTTP/0.9", "<html>ok</html>".into(), true, "502 200 then the next"),
        case("HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok".into(), false, "502 200 then the next"),
        case("status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok".into(), false, "502 200 then the next"),
        case("status 999", "HTTP/1.1 999 OK\r\nContent-Length: 2\r\n\r\nok".into(), false, "999 200 then the next"),
        case("end before any byte", String::new(), true, "502 200 then the next"),
        case("end inside the head", "HTTP/1.1 200 OK\r\nContent-".into(), true, "502 200 then the next"),
    ]
}

#[test]
fn bad_responses_are_refused_or_cut_and_nothing_stale_is_left() {
    let lab = Lab::up();
    let answer = |asked: &Asked| {
        let number: Option<usize> = asked
            .word(1)
            .strip_prefix("/bad/")
            .and_then(|n| n.parse().ok());
        let bad = number.and_then(|number| cases().into_iter().nth(number));
        bad.map_or_else(
            || Reply {
                bytes: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nafter".to_vec(),
                close: false,
            },
            |case| Reply {
                bytes: case.answer.into_bytes(),
                close: case.close,
            },
        )
    };
    let _backend = Backend::start(&lab, Arc::new(answer));
    let _gateway = lab.gateway(CONFIG);
    let mut wrong = Vec::new();
    for (number, case) in cases().iter().enumerate() {
        let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        // The next request comes on the same connection, and one more on another: it may be given
        // the connection to the backend that just misbehaved.
        let bad = request(&format!("/bad/{number}"));
        let look = |quiet| {
            let (got, closed) = play(&lab, (bad.clone() + &request("/after")).as_bytes(), quiet);
            let last = "GET /after HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
            let (after, _) = play(&lab, last.as_bytes(), QUIET * 20);
            assert!(
                !String::from_utf8_lossy(&got).contains("stale"),
                "{}",
                case.name
            );
            let after = String::from_utf8_lossy(&after).into_owned();
            assert!(
                after.starts_with("HTTP/1.1 200 OK\r\n"),
                "{}: {after}",
                case.name
            );
            assert!(after.ends_with("\r\n\r\nafter"), "{}: {after}", case.name);
            shown(&got, closed)
        };
        let mut client = look(QUIET);
        if client != case.client {
            client = look(QUIET * 10);
        }
        println!("{}: {client}", case.name);
        if client != case.client {
            wrong.push(format!(
                "{}: expected {}, got {client}",
                case.name, case.client
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The statuses, how the connection ended, and whether the last answer is that to `/after`.
fn shown(got: &[u8], closed: bool) -> String {
    let mut statuses: Vec<_> = statuses(got).iter().map(u16::to_string).collect();
    let interim = statuses.iter().filter(|status| *status == "103").count();
    statuses.retain(|status| status != "103");
    if interim > 0 {
        statuses.push(format!("({interim} interim)"));
    }
    let end = if got.ends_with(b"\r\n\r\nafter") {
        "then the next"
    } else if closed {
        "closed"
    } else {
        "open"
    };
    format!("{} {end}", statuses.join(" "))
}
