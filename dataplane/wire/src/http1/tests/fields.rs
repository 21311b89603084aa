//! Field lines, and what they mean for framing and connection.

use super::*;

#[test]
fn malformed_fields() {
    use HeadError::*;
    let cases: &[(&str, &str, HeadError)] = &[
        ("LF ends a line", "A: b\n", BareLf),
        ("LF ends a name", "A\n", BareLf),
        ("LF in place of the empty line", "\n", BareLf),
        ("CR in a value", "A: b\rc\r\n", BareCr),
        ("two CRs at the end of a value", "A: b\r\r\n", BareCr),
        ("CR in place of the empty line", "\rA: b\r\n", BareCr),
        ("NUL in a value", "A: b\0c\r\n", ControlByte),
        (
            "NUL far into a value",
            "A: 0123456789abcdef0123456789\0c\r\n",
            ControlByte,
        ),
        ("DEL in a value", "A: b\x7f\r\n", ControlByte),
        ("vertical tab in a value", "A: \x0bb\r\n", ControlByte),
        ("NUL in a name", "A\0: b\r\n", ControlByte),
        ("folded line", "A: b\r\n c\r\n", FoldedLine),
        ("line folded by tab", "A: b\r\n\tc: d\r\n", FoldedLine),
        ("space before colon", "A : b\r\n", SpaceBeforeColon),
        ("tab before colon", "A\t: b\r\n", SpaceBeforeColon),
        ("space in a name", "A b: c\r\n", SpaceBeforeColon),
        ("empty name", ": b\r\n", InvalidHeaderName),
        ("name beyond ASCII", "\u{e4}: b\r\n", InvalidHeaderName),
        ("quote in a name", "\"A\": b\r\n", InvalidHeaderName),
        ("no colon", "A\r\n", MissingColon),
    ];
    for (case, lines, expected) in cases {
        let outcome = with_request(&with_lines(lines), |o| o.map(|r| r.is_some()));
        assert_eq!(outcome, Err(RequestError::Head(*expected)), "{case}");
    }
    let folded_first = b"GET / HTTP/1.1\r\n Host: h\r\n\r\n";
    let outcome = with_request(folded_first, |o| o.map(|r| r.is_some()));
    assert_eq!(outcome, Err(RequestError::Head(FoldedLine)));
}

#[test]
fn framings() {
    use BodyFraming::{Chunked, Length};
    use HeadError::*;
    let cases: &[(&str, Result<BodyFraming, HeadError>)] = &[
        ("", Ok(BodyFraming::None)),
        ("Content-Length: 0\r\n", Ok(Length(0))),
        ("content-length:\t007 \r\n", Ok(Length(7))),
        (
            "Content-Length: 9223372036854775807\r\n",
            Ok(Length(i64::MAX as u64)),
        ),
        (
            "Content-Length: 9223372036854775808\r\n",
            Err(InvalidContentLength),
        ),
        (
            "Content-Length: 18446744073709551617\r\n",
            Err(InvalidContentLength),
        ),
        (
            "Content-Length: 99999999999999999999999999\r\n",
            Err(InvalidContentLength),
        ),
        ("Content-Length:\r\n", Err(InvalidContentLength)),
        ("Content-Length: +1\r\n", Err(InvalidContentLength)),
        ("Content-Length: -1\r\n", Err(InvalidContentLength)),
        ("Content-Length: 0x1\r\n", Err(InvalidContentLength)),
        ("Content-Length: 1 2\r\n", Err(InvalidContentLength)),
        ("Content-Length: 1, 1\r\n", Err(InvalidContentLength)),
        ("Content-Length: 1,\r\n", Err(InvalidContentLength)),
        ("Content-Length: 1.0\r\n", Err(InvalidContentLength)),
        ("Content-Length: \"1\"\r\n", Err(InvalidContentLength)),
        ("Content-Length: \u{661}\r\n", Err(InvalidContentLength)),
        (
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            Err(RepeatedContentLength),
        ),
        (
            "Content-Length: 1\r\nCONTENT-LENGTH: 2\r\n",
            Err(RepeatedContentLength),
        ),
        ("Transfer-Encoding: chunked\r\n", Ok(Chunked)),
        ("transfer-ENCODING:CHUNKED \r\n", Ok(Chunked)),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
            Err(BothFramings),
        ),
        (
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
            Err(BothFramings),
        ),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            Err(UnsupportedTransferCoding),
        ),
        (
            "Transfer-Encoding: identity\r\n",
            Err(InvalidTransferEncoding),
        ),
        ("Transfer-Encoding: gzip\r\n", Err(InvalidTransferEncoding)),
        (
            "Transfer-Encoding: chunked, gzip\r\n",
            Err(InvalidTransferEncoding),
        ),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            Err(InvalidTransferEncoding),
        ),
        (
            "Transfer-Encoding: chunked,\r\n",
            Err(InvalidTransferEncoding),
        ),
        (
            "Transfer-Encoding: , chunked\r\n",
            Err(InvalidTransferEncoding),
        ),
        (
            "Transfer-Encoding: xchunked\r\n",
            Err(InvalidTransferEncoding),
        ),
        (
            "Transfer-Encoding: chunked;a=b\r\n",
            Err(InvalidTransferEncoding),
        ),
        (
            "Transfer-Encoding: \"chunked\"\r\n",
            Err(InvalidTransferEncoding),
        ),
        (
            "Transfer-Encoding: chunked x\r\n",
            Err(InvalidTransferEncoding),
        ),
        ("Transfer-Encoding:\r\n", Err(InvalidTransferEncoding)),
        ("Transfer-Encoding: \x0bchunked\r\n", Err(ControlByte)),
        ("Transfer-Encoding : chunked\r\n", Err(SpaceBeforeColon)),
        (
            "Transfer-Encoding:\r\n chunked\r\n",
            Err(InvalidTransferEncoding),
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Err(InvalidTransferEncoding),
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            Err(InvalidTransferEncoding),
        ),
    ];
    for (lines, expected) in cases {
        let outcome = with_request(&with_lines(lines), |outcome| {
            outcome.map(|request| request.expect("complete").framing)
        });
        assert_eq!(outcome, expected.map_err(RequestError::Head), "{lines:?}");
    }
    let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    let outcome = with_request(old, |o| o.map(|r| r.is_some()));
    assert_eq!(outcome, Err(RequestError::Head(TransferEncodingInHttp10)));
}

#[test]
fn connection_options() {
    let cases: &[(&str, &str, bool, bool)] = &[
        // version, lines, keep_alive, upgrade
        ("1.1", "", true, false),
        ("1.0", "", false, false),
        ("1.1", "Connection: Close\r\n", false, false),
        ("1.1", "Connection: keep-alive, close\r\n", false, false),
        ("1.1", "Connection: a,, close ,\r\n", false, false),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
            false,
        ),
        ("1.0", "Connection: Keep-Alive\r\n", true, false),
        ("1.0", "Connection: close, keep-alive\r\n", false, false),
        (
            "1.1",
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            true,
            true,
        ),
        ("1.1", "Upgrade: websocket\r\n", true, false),
        ("1.1", "Connection: upgrade\r\n", true, false),
        (
            "1.0",
            "Connection: upgrade\r\nUpgrade: websocket\r\n",
            false,
            false,
        ),
    ];
    for (version, lines, keep_alive, upgrade) in cases {
        let bytes = format!("GET / HTTP/{version}\r\nHost: h\r\n{lines}\r\n");
        valid_request(bytes.as_bytes(), |request| {
            assert_eq!(request.keep_alive, *keep_alive, "{version} {lines:?}");
            assert_eq!(request.upgrade, *upgrade, "{version} {lines:?}");
        });
    }
}

#[test]
fn connection_names_what_is_hop_by_hop() {
    let bytes = with_lines(
        "X-A: 1\r\nx-b: 2\r\nX-C: 3\r\nTE: trailers\r\nKeep-Alive: 5\r\nConnection: X-B, x-c , TE\r\n",
    );
    valid_request(&bytes, |request| {
        let hop: Vec<_> = request
            .headers()
            .filter(|h| h.hop_by_hop)
            .map(|h| h.name)
            .collect();
        let expected: [&[u8]; 5] = [b"x-b", b"X-C", b"TE", b"Keep-Alive", b"Connection"];
        assert_eq!(hop, expected);
    });
    let refused = [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Expect",
        "Via",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "Forwarded",
        "X-Request-Id",
        "Authorization",
        "COOKIE",
    ];
    for name in refused {
        let bytes = with_lines(&format!("Connection: close, {name}\r\n"));
        let outcome = with_request(&bytes, |o| o.map(|r| r.is_some()));
        let expected = Err(RequestError::Head(HeadError::ConnectionNamesEndToEnd));
        assert_eq!(outcome, expected, "{name}");
    }
    let many = format!("Connection: {}\r\n", "a,".repeat(17));
    for lines in ["Connection: a b\r\n", "Connection: \"close\"\r\n", &many] {
        let outcome = with_request(&with_lines(lines), |o| o.map(|r| r.is_some()));
        let expected = Err(RequestError::Head(HeadError::InvalidConnection));
        assert_eq!(outcome, expected, "{lines:?}");
    }
}

#[test]
fn expectations() {
    let cases: &[(&str, &str, bool)] = &[
        ("1.1", "Expect: 100-Continue\r\nContent-Length: 1\r\n", true),
        (
            "1.1",
            "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n",
            true,
        ),
        (
            "1.1",
            "Expect: 100-continue\r\nContent-Length: 0\r\n",
            false,
        ),
        ("1.1", "Expect: 100-continue\r\n", false),
        ("1.1", "Expect: something\r\nContent-Length: 1\r\n", false),
        (
            "1.0",
            "Expect: 100-continue\r\nContent-Length: 1\r\n",
            false,
        ),
    ];
    for (version, lines, expected) in cases {
        let bytes = format!("PUT / HTTP/{version}\r\nHost: h\r\n{lines}\r\n");
        valid_request(bytes.as_bytes(), |request| {
            assert_eq!(request.expect_continue, *expected, "{version} {lines:?}");
        });
    }
}
