use super::*;

fn outcome(bytes: &[u8]) -> Result<bool, ResponseError> {
    let mut index = HeadIndex::new();
    parse_response(bytes, RequestKind::Other, &Limits::default(), &mut index).map(|r| r.is_some())
}

#[test]
fn all_parts_of_a_response_are_found() {
    let bytes = b"HTTP/1.1 404 Not \xe4 Found\r\nServer: nginx\r\nContent-Length: 5\r\n\r\nhello";
    valid_response(bytes, RequestKind::Other, |response| {
        assert_eq!(response.version, Version::Http11);
        assert_eq!(response.status, 404);
        assert_eq!(response.reason(), b"Not \xe4 Found");
        assert_eq!(response.framing, BodyFraming::Length(5));
        assert!(response.keep_alive && !response.is_interim());
        assert_eq!(response.head_len, bytes.len() - 5);
        assert!(response.has(HeaderKind::Server) && !response.has(HeaderKind::Date));
        assert_eq!(response.headers().count(), 2);
    });
}

#[test]
fn status_lines() {
    use ResponseError::*;
    let cases: &[(&str, &[u8], Result<bool, ResponseError>)] = &[
        ("empty reason", b"HTTP/1.1 200 \r\n\r\n", Ok(true)),
        (
            "no space before the empty reason",
            b"HTTP/1.1 200\r\n\r\n",
            Ok(true),
        ),
        ("HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\n", Ok(true)),
        (
            "empty line first",
            b"\r\nHTTP/1.1 200 OK\r\n\r\n",
            Err(InvalidStatusLine),
        ),
        ("HTTP/0.9", b"<html>", Err(InvalidStatusLine)),
        (
            "status of two digits",
            b"HTTP/1.1 20 OK\r\n\r\n",
            Err(InvalidStatusLine),
        ),
        (
            "status of four digits",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            Err(InvalidStatusLine),
        ),
        (
            "status below 100",
            b"HTTP/1.1 099 OK\r\n\r\n",
            Err(InvalidStatusLine),
        ),
        ("the last status", b"HTTP/1.1 599 X\r\n\r\n", Ok(true)),
        (
            "status above 599",
            b"HTTP/1.1 600 X\r\n\r\n",
            Err(InvalidStatusLine),
        ),
        (
            "signed status",
            b"HTTP/1.1 +20 OK\r\n\r\n",
            Err(InvalidStatusLine),
        ),
        (
            "two spaces",
            b"HTTP/1.1  200 OK\r\n\r\n",
            Err(InvalidStatusLine),
        ),
        (
            "HTTP/2",
            b"HTTP/2.0 200 OK\r\n\r\n",
            Err(UnsupportedVersion),
        ),
        (
            "HTTP/1.2",
            b"HTTP/1.2 200 OK\r\n\r\n",
            Err(UnsupportedVersion),
        ),
        (
            "LF ends the line",
            b"HTTP/1.1 200 OK\n\r\n",
            Err(Head(HeadError::BareLf)),
        ),
        (
            "CR in the reason",
            b"HTTP/1.1 200 O\rK\r\n\r\n",
            Err(Head(HeadError::BareCr)),
        ),
        (
            "NUL in the reason",
            b"HTTP/1.1 200 O\0K\r\n\r\n",
            Err(Head(HeadError::ControlByte)),
        ),
    ];
    for (case, bytes, expected) in cases {
        assert_eq!(outcome(bytes), *expected, "{case}");
    }
}

#[test]
fn framings_follow_the_request_and_the_status() {
    use BodyFraming::{Chunked, Length, None, UntilClose};
    use RequestKind::{Connect, Head, Other};
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let cases: &[(&str, RequestKind, u16, &str, BodyFraming, bool)] = &[
        ("1.1", Other, 200, length, Length(5), true),
        ("1.1", Other, 200, chunked, Chunked, true),
        ("1.1", Other, 200, "", UntilClose, false),
        (
            "1.1",
            Other,
            500,
            "Connection: keep-alive\r\n",
            UntilClose,
            false,
        ),
        (
            "1.1",
            Other,
            200,
            "Content-Length: 5\r\nConnection: close\r\n",
            Length(5),
            false,
        ),
        ("1.0", Other, 200, length, Length(5), false),
        (
            "1.0",
            Other,
            200,
            "Content-Length: 5\r\nConnection: keep-alive\r\n",
            Length(5),
            true,
        ),
        ("1.1", Head, 200, length, None, true),
        ("1.1", Head, 200, chunked, None, true),
        ("1.1", Head, 200, "", None, true),
        ("1.1", Other, 304, length, None, true),
        ("1.1", Other, 304, "", None, true),
        ("1.1", Other, 204, "", None, true),
        ("1.1", Other, 204, "Content-Length: 0\r\n", None, true),
        ("1.1", Other, 204, length, None, false),
        ("1.1", Other, 204, chunked, None, false),
        ("1.1", Other, 100, "", None, true),
        ("1.1", Other, 103, "Link: a\r\n", None, true),
        ("1.1", Connect, 200, length, None, true),
        ("1.1", Connect, 400, length, Length(5), true),
    ];
    for (version, request, status, lines, framing, keep_alive) in cases {
        let bytes = format!("HTTP/{version} {status} x\r\n{lines}\r\n");
        valid_response(bytes.as_bytes(), *request, |response| {
            assert_eq!(response.framing, *framing, "{request:?} {bytes:?}");
            assert_eq!(response.keep_alive, *keep_alive, "{request:?} {bytes:?}");
        });
    }
}

#[test]
fn a_bad_backend_is_refused() {
    use HeadError::*;
    let cases: &[(&str, HeadError)] = &[
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            BothFramings,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            RepeatedContentLength,
        ),
        ("Content-Length: -5\r\n", InvalidContentLength),
        ("Transfer-Encoding: gzip\r\n", InvalidTransferEncoding),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            UnsupportedTransferCoding,
        ),
        ("X: a\nSet-Cookie: b\r\n", BareLf),
        ("X: a\rSet-Cookie: b\r\n", BareCr),
        ("X: a\r\n b\r\n", FoldedLine),
        ("X : a\r\n", SpaceBeforeColon),
        (
            "Connection: Set-Cookie\r\nSet-Cookie: a\r\n",
            ConnectionNamesEndToEnd,
        ),
    ];
    for (lines, expected) in cases {
        let bytes = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        assert_eq!(
            outcome(bytes.as_bytes()),
            Err((*expected).into()),
            "{lines:?}"
        );
    }
    let interim = b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(outcome(interim), Err(ResponseError::InterimWithBody));
    let old = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(outcome(old), Err(TransferEncodingInHttp10.into()));
}

#[test]
fn limits() {
    let line = format!("HTTP/1.1 200 {}", "a".repeat(8 * 1024));
    assert_eq!(
        outcome(line.as_bytes()),
        Err(ResponseError::StatusLineTooLong)
    );
    let head = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(16 * 1024));
    assert_eq!(
        outcome(head.as_bytes()),
        Err(HeadError::HeadTooLarge.into())
    );
}
