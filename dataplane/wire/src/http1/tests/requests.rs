//! Request lines, targets, hosts and limits.

use super::*;

#[test]
fn all_parts_of_a_request_are_found() {
    let bytes = b"PUT /a/b?x=1&y=? HTTP/1.1\r\nHOST: Example.com:8080\r\n\
        X-One:  two words \t\r\nEmpty:\r\nVia: 1.0 a\r\nContent-Length: 12\r\n\r\nbody of it..";
    valid_request(bytes, |request| {
        assert_eq!(request.method(), b"PUT");
        assert_eq!(request.method_kind(), MethodKind::Put);
        assert_eq!(request.target(), b"/a/b?x=1&y=?");
        assert_eq!(request.path(), b"/a/b");
        assert_eq!(request.query(), Some(b"x=1&y=?".as_slice()));
        assert_eq!(request.host(), b"Example.com:8080");
        assert_eq!(request.host_name(), b"Example.com");
        assert_eq!(request.version, Version::Http11);
        assert_eq!(request.framing, BodyFraming::Length(12));
        assert_eq!(request.head_len, bytes.len() - 12);
        assert!(request.has(HeaderKind::Via) && !request.has(HeaderKind::Date));
        let headers: Vec<_> = request
            .headers()
            .map(|h| (h.name, h.value, h.kind))
            .collect();
        let expected: [(&[u8], &[u8], HeaderKind); 5] = [
            (b"HOST", b"Example.com:8080", HeaderKind::Host),
            (b"X-One", b"two words", HeaderKind::Other),
            (b"Empty", b"", HeaderKind::Other),
            (b"Via", b"1.0 a", HeaderKind::Via),
            (b"Content-Length", b"12", HeaderKind::ContentLength),
        ];
        assert_eq!(headers, expected);
    });
}

#[test]
fn request_lines() {
    use HeadError::{BareCr, BareLf, ControlByte};
    use RequestError::*;
    let cases: &[(&str, &[u8], RequestError)] = &[
        ("no method", b" / HTTP/1.1\r\n", InvalidMethod),
        ("method with a slash", b"GE/T / HTTP/1.1\r\n", InvalidMethod),
        (
            "method of a TLS client hello",
            b"\x16\x03\x01",
            Head(ControlByte),
        ),
        (
            "method beyond ASCII",
            b"G\xc3\x89T / HTTP/1.1\r\n",
            InvalidMethod,
        ),
        ("line of a method alone", b"GET\r\n", InvalidRequestLine),
        ("HTTP/0.9", b"GET /\r\n", InvalidRequestLine),
        (
            "two empty lines first",
            b"\r\n\r\nGET / HTTP/1.1\r\n",
            InvalidRequestLine,
        ),
        ("LF first", b"\nGET / HTTP/1.1\r\n", Head(BareLf)),
        ("CR first", b"\rGET / HTTP/1.1\r\n", Head(BareCr)),
        (
            "two spaces before target",
            b"GET  / HTTP/1.1\r\n",
            InvalidTarget,
        ),
        (
            "tab before target",
            b"GET\t/ HTTP/1.1\r\n",
            Head(ControlByte),
        ),
        (
            "two spaces before version",
            b"GET /  HTTP/1.1\r\n",
            InvalidVersion,
        ),
        (
            "space after version",
            b"GET / HTTP/1.1 \r\n",
            InvalidVersion,
        ),
        ("LF ends the line", b"GET / HTTP/1.1\n", Head(BareLf)),
        ("CR ends the line", b"GET / HTTP/1.1\rHost: h", Head(BareCr)),
        (
            "two CRs end the line",
            b"GET / HTTP/1.1\r\r\n",
            Head(BareCr),
        ),
        ("LF in target", b"GET /a\nb HTTP/1.1\r\n", Head(BareLf)),
        (
            "NUL in target",
            b"GET /a\0b HTTP/1.1\r\n",
            Head(ControlByte),
        ),
        (
            "DEL in target",
            b"GET /a\x7fb HTTP/1.1\r\n",
            Head(ControlByte),
        ),
        ("space in target", b"GET /a b HTTP/1.1\r\n", InvalidVersion),
        ("fragment", b"GET /a#b HTTP/1.1\r\n", InvalidTarget),
        (
            "backslash in path",
            b"GET /a\\b HTTP/1.1\r\n",
            InvalidTarget,
        ),
        (
            "target beyond ASCII",
            b"GET /\xc3\xa4 HTTP/1.1\r\n",
            InvalidTarget,
        ),
        ("no slash first", b"GET a/b HTTP/1.1\r\n", InvalidTarget),
        ("asterisk for GET", b"GET * HTTP/1.1\r\n", InvalidTarget),
        (
            "asterisk and more",
            b"OPTIONS *a HTTP/1.1\r\n",
            InvalidTarget,
        ),
        ("authority for GET", b"GET h:80 HTTP/1.1\r\n", InvalidTarget),
        ("other scheme", b"GET ftp://h/ HTTP/1.1\r\n", InvalidTarget),
        (
            "absolute without host",
            b"GET http:///a HTTP/1.1\r\n",
            InvalidTarget,
        ),
        (
            "absolute with user",
            b"GET http://u@h/ HTTP/1.1\r\n",
            InvalidTarget,
        ),
        (
            "absolute with a bad port",
            b"GET http://h:8a/ HTTP/1.1\r\n",
            InvalidTarget,
        ),
        ("CONNECT", b"CONNECT h:443 HTTP/1.1\r\n", ConnectUnsupported),
        (
            "CONNECT with a path",
            b"CONNECT / HTTP/1.1\r\n",
            ConnectUnsupported,
        ),
        ("small http", b"GET / http/1.1\r\n", InvalidVersion),
        (
            "version of two digits",
            b"GET / HTTP/1.10\r\n",
            InvalidVersion,
        ),
        (
            "version without minor",
            b"GET / HTTP/2\r\n",
            InvalidRequestLine,
        ),
        ("HTTP/1.2", b"GET / HTTP/1.2\r\n", UnsupportedVersion),
        ("HTTP/0.9 named", b"GET / HTTP/0.9\r\n", UnsupportedVersion),
        (
            "HTTP/2 preface",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            UnsupportedVersion,
        ),
    ];
    for (case, bytes, expected) in cases {
        let outcome = with_request(bytes, |o| o.map(|r| r.is_some()));
        assert_eq!(outcome, Err(*expected), "{case}");
    }
}

#[test]
fn targets() {
    type Case = (
        &'static str,
        &'static str,
        &'static str,
        Option<&'static str>,
        &'static str,
    );
    let cases: &[Case] = &[
        ("GET", "/", "/", None, "/"),
        ("GET", "//a//b", "//a//b", None, "//a//b"),
        ("GET", "/?", "/", Some(""), "/?"),
        ("GET", "/a?b?c\\d", "/a", Some("b?c\\d"), "/a?b?c\\d"),
        (
            "GET",
            "/a|[b]{c}?^`",
            "/a|[b]{c}",
            Some("^`"),
            "/a|[b]{c}?^`",
        ),
        ("OPTIONS", "*", "*", None, "*"),
        ("OPTIONS", "http://h", "*", None, "*"),
        ("GET", "http://h", "/", None, "/"),
        ("GET", "HTTP://H/a/b?c", "/a/b", Some("c"), "/a/b?c"),
        ("GET", "http://h:80/a", "/a", None, "/a"),
        ("GET", "https://h:443/a", "/a", None, "/a"),
        ("GET", "http://h?a/b", "/", Some("a/b"), "?a/b"),
    ];
    for (method, target, path, query, raw) in cases {
        let bytes = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        valid_request(bytes.as_bytes(), |request| {
            assert_eq!(request.path(), path.as_bytes(), "{target}");
            assert_eq!(request.query(), query.map(str::as_bytes), "{target}");
            assert_eq!(request.target(), raw.as_bytes(), "{target}");
            assert!(request.host_name().eq_ignore_ascii_case(b"h"), "{target}");
        });
    }
}

#[test]
fn hosts() {
    let valid: &[(&str, &str)] = &[
        ("h", "h"),
        ("a-b.c_d.example.", "a-b.c_d.example."),
        ("10.0.0.1:80", "10.0.0.1"),
        ("h:65535", "h"),
        ("h:", "h"),
        ("[::1]", "[::1]"),
        ("[fd77:1::1]:8080", "[fd77:1::1]"),
    ];
    for (host, name) in valid {
        let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        valid_request(bytes.as_bytes(), |request| {
            assert_eq!(request.host(), host.as_bytes());
            assert_eq!(request.host_name(), name.as_bytes());
        });
    }
    let invalid = [
        "",
        ":80",
        "a b",
        "a,b",
        "a/b",
        "u@h",
        "h:80:80",
        "h:a",
        "h:-1",
        "h:65536",
        "a%00b",
        "h?",
        "h#",
        "a\\b",
        "[::1",
        "::1",
        "[]",
        "[::1]x",
        "[::1%eth0]",
        "[v1.a]",
        "h\u{e4}",
    ];
    for host in invalid {
        let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let outcome = with_request(bytes.as_bytes(), |o| o.map(|r| r.is_some()));
        assert_eq!(outcome, Err(RequestError::InvalidHost), "{host:?}");
    }
}

#[test]
fn host_and_target_together() {
    use RequestError::*;
    let cases: &[(&str, &str, Result<&str, RequestError>)] = &[
        ("none in 1.1", "GET / HTTP/1.1\r\n\r\n", Err(MissingHost)),
        (
            "absolute form does not replace it",
            "GET http://h/ HTTP/1.1\r\n\r\n",
            Err(MissingHost),
        ),
        ("none in 1.0", "GET / HTTP/1.0\r\n\r\n", Ok("")),
        (
            "absolute in 1.0",
            "GET http://h:1/ HTTP/1.0\r\n\r\n",
            Ok("h:1"),
        ),
        (
            "empty in 1.0",
            "GET / HTTP/1.0\r\nHost:\r\n\r\n",
            Err(InvalidHost),
        ),
        (
            "twice equal",
            "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
            Err(RepeatedHost),
        ),
        (
            "twice in 1.0",
            "GET / HTTP/1.0\r\nHost: h\r\nhost: i\r\n\r\n",
            Err(RepeatedHost),
        ),
        (
            "agree",
            "GET http://A.b:80/ HTTP/1.1\r\nHost: a.B\r\n\r\n",
            Ok("A.b:80"),
        ),
        (
            "other name",
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            Err(HostDisagrees),
        ),
        (
            "other port",
            "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
            Err(HostDisagrees),
        ),
        (
            "port of http",
            "GET https://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n",
            Err(HostDisagrees),
        ),
    ];
    for (case, bytes, expected) in cases {
        let outcome = with_request(bytes.as_bytes(), |outcome| {
            outcome.map(|r| String::from_utf8(r.expect("complete").host().to_vec()).unwrap())
        });
        assert_eq!(outcome.as_deref().map_err(|e| *e), *expected, "{case}");
    }
}

#[test]
fn limits_are_exact() {
    let mut index = HeadIndex::new();
    let bytes = b"\r\nGET /aaaa HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
    let line = b"GET /aaaa HTTP/1.1\r\n".len();
    let fits = Limits {
        request_line: line,
        head: bytes.len(),
        headers: 2,
    };
    let mut outcome = |limits: Limits| {
        parse_request(bytes, &limits, &mut index).map(|request| request.map(|r| r.head_len))
    };
    assert_eq!(outcome(fits), Ok(Some(bytes.len())));
    let short_line = Limits {
        request_line: line - 1,
        ..fits
    };
    assert_eq!(outcome(short_line), Err(RequestError::RequestLineTooLong));
    let short_head = Limits {
        head: bytes.len() - 1,
        ..fits
    };
    assert_eq!(outcome(short_head), Err(HeadError::HeadTooLarge.into()));
    let few_headers = Limits { headers: 1, ..fits };
    assert_eq!(outcome(few_headers), Err(HeadError::TooManyHeaders.into()));
}

#[test]
fn limits_beyond_the_index_have_no_effect() {
    let unlimited = Limits {
        request_line: usize::MAX,
        head: usize::MAX,
        headers: usize::MAX,
    };
    let mut index = HeadIndex::new();
    let many = with_lines(&"A: b\r\n".repeat(MAX_HEADERS));
    let outcome = parse_request(&many, &unlimited, &mut index).map(|r| r.is_some());
    assert_eq!(outcome, Err(HeadError::TooManyHeaders.into()));
    let large = with_lines(&format!("A: {}\r\n", "b".repeat(MAX_HEAD)));
    let outcome = parse_request(&large, &unlimited, &mut index).map(|r| r.is_some());
    assert_eq!(outcome, Err(HeadError::HeadTooLarge.into()));
}

#[test]
fn a_limit_is_noticed_before_the_end_is_there() {
    let long_target = format!("GET /{}", "a".repeat(8 * 1024));
    let long_value = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(16 * 1024));
    let outcome = with_request(long_target.as_bytes(), |o| o.map(|r| r.is_some()));
    assert_eq!(outcome, Err(RequestError::RequestLineTooLong));
    let outcome = with_request(long_value.as_bytes(), |o| o.map(|r| r.is_some()));
    assert_eq!(outcome, Err(HeadError::HeadTooLarge.into()));
}

#[test]
fn statuses_and_names() {
    let cases = [
        (RequestError::InvalidHost, 400, "invalid_host"),
        (
            RequestError::RequestLineTooLong,
            414,
            "request_line_too_long",
        ),
        (HeadError::HeadTooLarge.into(), 431, "head_too_large"),
        (HeadError::TooManyHeaders.into(), 431, "too_many_headers"),
        (RequestError::ConnectUnsupported, 501, "connect_unsupported"),
        (
            HeadError::UnsupportedTransferCoding.into(),
            501,
            "unsupported_transfer_coding",
        ),
        (RequestError::UnsupportedVersion, 505, "unsupported_version"),
    ];
    for (error, status, name) in cases {
        assert_eq!((error.status(), error.name()), (status, name));
    }
    assert_eq!(
        RequestError::Head(HeadError::BareLf).to_string(),
        "a line ends in LF without CR"
    );
}

#[test]
fn parsing_again_waits_for_a_line_or_a_limit() {
    let limits = Limits {
        request_line: 64,
        head: 128,
        headers: 10,
    };
    assert!(!needs_parse(b"", 0, &limits));
    assert!(needs_parse(b"G", 0, &limits));
    assert!(!needs_parse(b"G", 1, &limits));
    assert!(!needs_parse(b"GET / HTTP/1.1\r", 1, &limits));
    assert!(needs_parse(b"GET / HTTP/1.1\r\n", 15, &limits));
    assert!(!needs_parse(b"GET / HTTP/1.1\r\nHost", 16, &limits));
    assert!(needs_parse(&[b'a'; 64], 63, &limits));
}
