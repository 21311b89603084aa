//! A backend that answers badly. Its client gets 502 or a connection that is cut before the end that
//! was announced, and no later request on any connection gets bytes that were not meant for it.

use std::sync::Arc;
use std::time::Duration;

use sluice_tests::lab::Lab;

use crate::CONFIG;
use crate::backend::{Asked, Backend, Reply};
use crate::counted::Counted;
use crate::proxies::{play, statuses};

/// A connection on which nothing came for this long is done with.
const QUIET: Duration = Duration::from_millis(150);

/// A response that a client must never see: it is what follows a response's end.
const STALE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale";

/// A bad answer, whether the backend closes after it, and what the client gets: the statuses, then
/// the bytes of a body that was cut.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    answer: String,
    close: bool,
    pub(crate) client: &'static str,
    /// The fates of its request and of the two that follow.
    pub(crate) fates: &'static str,
}

#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    let head = |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}");
    let chunked = |body: &str| head("Transfer-Encoding: chunked\r\n", body);
    let case = |name, answer: String, close, client, fates| Case { name, answer, close, client, fates };
    let after = format!("ok{STALE}");
    vec![
        case("bytes after the end", head("Content-Length: 2\r\n", &after), false, "200 200 then the next", "answered 3"),
        case("response after the last chunk", chunked(&format!("0\r\n\r\n{STALE}")), false, "200 200 then the next", "answered 3"),
        case("equal lengths twice", head("Content-Length: 2\r\nContent-Length: 2\r\n", "ok"), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("disagreeing lengths", head("Content-Length: 2\r\nContent-Length: 7\r\n", &after), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("list of lengths", head("Content-Length: 2, 2\r\n", "ok"), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("length with plus", head("Content-Length: +2\r\n", "ok"), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("both framings", head("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("xchunked", head("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), true, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("folded field", head("X: 1\r\n 2\r\nContent-Length: 2\r\n", "ok"), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("bare LF", head("X: 1\nY: 2\r\nContent-Length: 2\r\n", "ok"), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("bare CR", head("X: 1\rY: 2\r\nContent-Length: 2\r\n", "ok"), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("NUL", head("X: 1\0\r\nContent-Length: 2\r\n", "ok"), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("space before the colon", head("Content-Length : 2\r\n", "ok"), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("line without colon", head("Content-Length 2\r\n", "ok"), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("chunk size in no hex", chunked("zz\r\nok\r\n0\r\n\r\n"), false, "200 closed", "answered, upstream_bad_response"),
        case("chunk size out of range", chunked("10000000000000002\r\nok\r\n0\r\n\r\n"), false, "200 closed", "answered, upstream_bad_response"),
        case("chunk larger than its size", chunked("1\r\nok\r\n0\r\n\r\n"), false, "200 closed", "answered, upstream_bad_response"),
        case("end inside a chunk", chunked("5\r\nok"), true, "200 closed", "answered, upstream_truncated"),
        case("end without the last chunk", chunked("2\r\nok\r\n"), true, "200 closed", "answered, upstream_truncated"),
        case("body shorter than announced", head("Content-Length: 5\r\n", "ok"), true, "200 closed", "answered, upstream_truncated"),
        case("body of 204", format!("HTTP/1.1 204 No Content\r\n\r\n{STALE}"), false, "204 200 then the next", "answered 3"),
        case("body of 304", format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 47\r\n\r\n{STALE}"), false, "304 200 then the next", "answered 3"),
        case("1,000 interim responses", format!("{}{}", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1_000), head("Content-Length: 2\r\n", "ok")), false, "502 200 (128 interim) then the next", "answered 2, upstream_bad_response"),
        case("101 that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".into(), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("head of 100 KB", head(&format!("X: {}\r\nContent-Length: 2\r\n", "x".repeat(100_000)), "ok"), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("1,000 fields", head(&format!("{}Content-Length: 2\r\n", "X: 1\r\n".repeat(1_000)), "ok"), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("HTTP/0.9", "<html>ok</html>".into(), true, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok".into(), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok".into(), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("status 999", "HTTP/1.1 999 OK\r\nContent-Length: 2\r\n\r\nok".into(), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("end before any byte", String::new(), true, "502 200 then the next", "answered 2, upstream_closed_early"),
        case("end inside the head", "HTTP/1.1 200 OK\r\nContent-".into(), true, "502 200 then the next", "answered 2, upstream_closed_early"),
        case("128 interim responses", format!("{}{}", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(128), head("Content-Length: 2\r\n", "ok")), false, "200 200 (128 interim) then the next", "answered 3"),
        case("interim response with a length", format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nok{}", head("Content-Length: 2\r\n", "ok")), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("101 to another protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n".into(), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("status 099", "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok".into(), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("status 600", "HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\nok".into(), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok".into(), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".into(), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("gzip, chunked", head("Transfer-Encoding: gzip, chunked\r\n", "2\r\nok\r\n0\r\n\r\n"), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("Connection names Content-Length", head("Connection: Content-Length\r\nContent-Length: 2\r\n", "ok"), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("bare CR in the reason", "HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok".into(), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("empty line first", format!("\r\n{}", head("Content-Length: 2\r\n", "ok")), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("length of 2^64 + 2", head("Content-Length: 18446744073709551618\r\n", "ok"), false, "502 200 then the next", "answered 2, upstream_bad_response"),
        case("chunk extension with bare LF", chunked("2;a\nok\r\n0\r\n\r\n"), false, "200 closed", "answered, upstream_bad_response"),
        case("chunk line ends in LF", chunked("2\nok\r\n0\r\n\r\n"), false, "200 closed", "answered, upstream_bad_response"),
        case("trailer with a space before the colon", chunked("2\r\nok\r\n0\r\nX-T : 1\r\n\r\n"), false, "200 closed", "answered, upstream_bad_response"),
        case("trailers of 9 KB", chunked(&format!("2\r\nok\r\n0\r\nX-T: {}\r\n\r\n", "x".repeat(9_000))), false, "200 closed", "answered, upstream_bad_response"),
        case("framing in the trailer", chunked("2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n"), false, "200 200 then the next", "answered 3"),
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
    let gateway = lab.gateway(CONFIG);
    let mut wrong = Vec::new();
    for (number, case) in cases().iter().enumerate() {
        let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        // The next request comes on the same connection, and one more on another: it may be given
        // the connection to the backend that just misbehaved.
        let bad = request(&format!("/bad/{number}"));
        let look = |quiet| {
            let before = Counted::after(&gateway, None, 0);
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
            let fates = Counted::after(&gateway, Some(&before), 2).fates_since(&before);
            (shown(&got, closed), fates)
        };
        let expected = (case.client.to_owned(), case.fates.to_owned());
        let mut client = look(QUIET);
        if client != expected {
            client = look(QUIET * 10);
        }
        println!("{}: {client:?}", case.name);
        if client != expected {
            wrong.push(format!(
                "{}: expected {expected:?}, got {client:?}",
                case.name
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
