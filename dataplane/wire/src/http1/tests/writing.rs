use super::*;

fn forwarded(bytes: &[u8], edits: &RequestEdits<'_>) -> String {
    valid_request(bytes, |request| {
        let mut out = Vec::new();
        write_request_head(&mut out, &request, edits);
        String::from_utf8(out).expect("the cases are UTF-8")
    })
}

fn answered(
    bytes: &[u8],
    request: RequestKind,
    client: ClientSide,
    edits: &FieldEdits<'_>,
) -> (String, SentHead) {
    valid_response(bytes, request, |response| {
        let mut out = Vec::new();
        let sent = write_response_head(&mut out, &response, client, edits);
        (String::from_utf8(out).expect("the cases are UTF-8"), sent)
    })
}

const MODERN: ClientSide = ClientSide {
    version: Version::Http11,
    keep_alive: true,
    trailers: false,
};
const OLD: ClientSide = ClientSide {
    version: Version::Http10,
    keep_alive: true,
    trailers: false,
};

#[test]
fn requests_go_on_without_what_belongs_to_the_connection() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "verbatim",
            "GET /a?b HTTP/1.1\r\nhost: h:1\r\nUser-Agent:x \r\nAccept: */*\r\n\r\n",
            "GET /a?b HTTP/1.1\r\nHost: h:1\r\nUser-Agent:x \r\nAccept: */*\r\n\r\n",
        ),
        (
            "hop-by-hop fields among others",
            "GET / HTTP/1.1\r\nA: 1\r\nTE: trailers\r\nHost: h\r\nUpgrade: x\r\nB: 2\r\nC: 3\r\n\
             Connection: upgrade, d\r\nD: 4\r\nE: 5\r\nProxy-Connection: close\r\n\
             Keep-Alive: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nB: 2\r\nC: 3\r\nE: 5\r\nTE: trailers\r\n\
             Connection: TE\r\n\r\n",
        ),
        (
            "length stated anew",
            "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 007\r\nA: 1\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: h\r\nA: 1\r\nContent-Length: 7\r\n\r\n",
        ),
        (
            "length 0 kept",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "chunked, trailers announced",
            "PUT / HTTP/1.1\r\nHost: h\r\ntransfer-encoding: CHUNKED\r\nTrailer: A\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: h\r\nTrailer: A\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "no trailers without chunks",
            "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTrailer: A\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n",
        ),
        (
            "trailers understood",
            "GET / HTTP/1.1\r\nHost: h\r\nTE: gzip;q=0.5, Trailers\r\nConnection: TE\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
        ),
        (
            "absolute form",
            "GET http://h:80/a?b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a?b HTTP/1.1\r\nHost: h:80\r\n\r\n",
        ),
        (
            "absolute form without path",
            "GET http://h?b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /?b HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        (
            "asterisk",
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        (
            "expectation",
            "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
        ),
        (
            "HTTP/1.0",
            "PUT / HTTP/1.0\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n",
        ),
        (
            "HTTP/1.0 without Host",
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: \r\n\r\n",
        ),
    ];
    for (case, input, output) in cases {
        assert_eq!(
            forwarded(input.as_bytes(), &RequestEdits::default()),
            *output,
            "{case}"
        );
    }
}

#[test]
fn edits_of_the_gateway() {
    let input = b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.1.1.1\r\nA: 1\r\n\
        X-Forwarded-Proto: https\r\nx-forwarded-for: 2.2.2.2\r\nVia: 1.0 a\r\n\r\n";
    let append = [
        (
            FieldName::X_FORWARDED_PROTO,
            FieldValue::new(b"http").unwrap(),
        ),
        (FieldName::VIA, FieldValue::new(b"1.1 sluice").unwrap()),
    ];
    let mut edits = RequestEdits {
        host: Authority::parse(b"service:8080"),
        forwarded_for: Some(FieldValue::new(b"10.0.0.1").unwrap()),
        fields: FieldEdits {
            drop: KindSet::of(&[HeaderKind::XForwardedProto]),
            append: &append,
            ..FieldEdits::default()
        },
        ..RequestEdits::default()
    };
    assert_eq!(
        forwarded(input, &edits),
        "GET / HTTP/1.1\r\nHost: service:8080\r\nA: 1\r\nVia: 1.0 a\r\n\
         X-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.0.0.1\r\n\
         X-Forwarded-Proto: http\r\nVia: 1.1 sluice\r\n\r\n"
    );
    edits.fields.drop = KindSet::of(&[
        HeaderKind::XForwardedProto,
        HeaderKind::XForwardedFor,
        HeaderKind::Via,
    ]);
    assert_eq!(
        forwarded(input, &edits),
        "GET / HTTP/1.1\r\nHost: service:8080\r\nA: 1\r\nX-Forwarded-For: 10.0.0.1\r\n\
         X-Forwarded-Proto: http\r\nVia: 1.1 sluice\r\n\r\n"
    );
}

#[test]
fn edits_of_the_operator_come_last() {
    let rules = [
        HeaderEdit::remove(b"x-forwarded-for").unwrap(),
        HeaderEdit::set(b"A", b"new").unwrap(),
        HeaderEdit::add(b"a", b"more").unwrap(),
        HeaderEdit::add(b"B", b"2").unwrap(),
        HeaderEdit::set(b"gone", b"1").unwrap(),
        HeaderEdit::remove(b"Gone").unwrap(),
        HeaderEdit::remove(b"Via").unwrap(),
    ];
    let append = [(FieldName::VIA, FieldValue::new(b"1.1 sluice").unwrap())];
    let rules = FixedEdits::new(&rules);
    let edits = RequestEdits {
        host: None,
        forwarded_for: Some(FieldValue::new(b"10.0.0.1").unwrap()),
        fields: FieldEdits {
            append: &append,
            rules: &rules,
            ..FieldEdits::default()
        },
        ..RequestEdits::default()
    };
    let input =
        b"GET / HTTP/1.1\r\nHost: h\r\na: 1\r\nb: 1\r\nA: 2\r\nX-Forwarded-For: x\r\nC: 3\r\n\r\n";
    assert_eq!(
        forwarded(input, &edits),
        "GET / HTTP/1.1\r\nHost: h\r\nb: 1\r\nC: 3\r\nA: new\r\na: more\r\nB: 2\r\n\r\n"
    );
}

#[test]
fn names_and_values_are_checked() {
    let names: &[(&[u8], EditError)] = &[
        (b"", EditError::InvalidName),
        (b"a b", EditError::InvalidName),
        (b"a:", EditError::InvalidName),
        (b"a\r\nb", EditError::InvalidName),
        (b"HOST", EditError::Reserved),
        (b"Content-Length", EditError::Reserved),
        (b"transfer-encoding", EditError::Reserved),
        (b"Connection", EditError::Reserved),
    ];
    for (name, expected) in names {
        assert_eq!(FieldName::new(name), Err(*expected));
        assert_eq!(HeaderEdit::set(name, b"v"), Err(*expected));
        assert_eq!(HeaderEdit::remove(name), Err(*expected));
    }
    for value in [b"a\r\nb".as_slice(), b"a\n", b"\r", b"\0", b"\x7f"] {
        assert_eq!(FieldValue::new(value), Err(EditError::InvalidValue));
        assert_eq!(HeaderEdit::add(b"A", value), Err(EditError::InvalidValue));
    }
    assert_eq!(FieldValue::new(b" \ta \tb\t "), FieldValue::new(b"a \tb"));
}

#[test]
fn responses_are_fitted_to_the_client() {
    use BodyFraming::{Chunked, Length, None, UntilClose};
    type Case = (
        &'static str,
        &'static str,
        ClientSide,
        &'static str,
        BodyFraming,
        bool,
    );
    let leaving = ClientSide {
        trailers: false,
        version: Version::Http11,
        keep_alive: false,
    };
    let cases: &[Case] = &[
        (
            "length",
            "HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 05\r\nConnection: close\r\nB: c\r\n\r\n",
            MODERN,
            "HTTP/1.1 200 OK\r\nServer: a\r\nB: c\r\nContent-Length: 5\r\n\r\n",
            Length(5),
            true,
        ),
        (
            "length to HTTP/1.0",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            OLD,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
            Length(5),
            true,
        ),
        (
            "closing",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            leaving,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
            Length(5),
            false,
        ),
        (
            "chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nKeep-Alive: 5\r\n\r\n",
            MODERN,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Chunked,
            true,
        ),
        (
            "chunked to HTTP/1.0",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            OLD,
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
            UntilClose,
            false,
        ),
        (
            "until close",
            "HTTP/1.0 200\r\n\r\n",
            MODERN,
            "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n",
            Chunked,
            true,
        ),
        (
            "until close to HTTP/1.0",
            "HTTP/1.0 200 OK\r\n\r\n",
            OLD,
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
            UntilClose,
            false,
        ),
        (
            "304 keeps its length",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            MODERN,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            None,
            true,
        ),
        (
            "204 has none",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            MODERN,
            "HTTP/1.1 204 No Content\r\n\r\n",
            None,
            true,
        ),
        (
            "interim",
            "HTTP/1.1 103 Early Hints\r\nLink: a\r\nConnection: close\r\n\r\n",
            leaving,
            "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n",
            None,
            false,
        ),
    ];
    for (case, input, client, output, framing, keep_alive) in cases {
        let edits = FieldEdits::default();
        let outcome = answered(input.as_bytes(), RequestKind::Other, *client, &edits);
        let sent = SentHead {
            framing: *framing,
            keep_alive: *keep_alive,
        };
        assert_eq!(outcome, (output.to_string(), sent), "{case}");
    }
}

#[test]
fn responses_to_head_keep_their_framing_as_metadata() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let length = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let edits = FieldEdits::default();
    let head = |bytes, client| answered(bytes, RequestKind::Head, client, &edits);
    let sent = SentHead {
        framing: BodyFraming::None,
        keep_alive: true,
    };
    let same = String::from_utf8(chunked.to_vec()).unwrap();
    assert_eq!(head(chunked, MODERN), (same, sent));
    let same = String::from_utf8(length.to_vec()).unwrap();
    assert_eq!(head(length, MODERN), (same, sent));
    let old = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n".to_string();
    assert_eq!(head(chunked, OLD), (old, sent));
}

#[test]
fn responses_are_edited() {
    let rules = [
        HeaderEdit::remove(b"server").unwrap(),
        HeaderEdit::add(b"A", b"b").unwrap(),
    ];
    let append = [(FieldName::DATE, FieldValue::new(b"now").unwrap())];
    let rules = FixedEdits::new(&rules);
    let edits = FieldEdits {
        append: &append,
        rules: &rules,
        ..FieldEdits::default()
    };
    let input = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 0\r\n\r\n";
    let (output, _) = answered(input, RequestKind::Other, MODERN, &edits);
    assert_eq!(
        output,
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: now\r\nA: b\r\n\r\n"
    );
}

#[test]
fn local_replies() {
    let mut out = Vec::new();
    write_local_reply(
        &mut out,
        404,
        "no route",
        false,
        false,
        Version::Http11,
        None,
    );
    let expected = "HTTP/1.1 404 Not Found\r\nServer: sluice\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Length: 9\r\n\r\nno route\n";
    assert_eq!(
        out.escape_ascii().to_string(),
        expected.escape_default().to_string()
    );
    let cases = [
        (false, Version::Http10, "Connection: keep-alive\r\n"),
        (true, Version::Http10, "Connection: close\r\n"),
        (true, Version::Http11, "Connection: close\r\n"),
    ];
    for (close, version, connection) in cases {
        out.clear();
        write_local_reply(&mut out, 503, "", true, close, version, None);
        let expected = format!(
            "HTTP/1.1 503 Service Unavailable\r\nServer: sluice\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: 1\r\n{connection}\r\n"
        );
        assert_eq!(
            out.escape_ascii().to_string(),
            expected.escape_default().to_string()
        );
    }
}

#[test]
fn every_status_of_an_error_has_a_phrase() {
    for status in [400, 404, 408, 413, 414, 421, 431, 501, 502, 503, 504, 505] {
        assert!(!reason_phrase(status).is_empty(), "{status}");
    }
}

#[test]
fn chunk_headers() {
    for size in [
        1,
        9,
        10,
        15,
        16,
        255,
        256,
        0xabcdef,
        i64::MAX as u64,
        u64::MAX,
    ] {
        let mut out = Vec::new();
        write_chunk_header(&mut out, size);
        assert_eq!(out, format!("{size:x}\r\n").into_bytes());
    }
    let mut out = Vec::new();
    write_last_chunk(&mut out);
    assert_eq!(
        decode(BodyFraming::Chunked, &[&out]),
        Ok((Vec::new(), out.len()))
    );
}

#[test]
fn a_new_target_is_a_path_of_legal_bytes() {
    for target in ["/", "/a?b=%0d%0a?", "/[a]|b?\\"] {
        let new = NewTarget::new(target.as_bytes()).unwrap();
        let edits = RequestEdits {
            target: Some(new),
            ..RequestEdits::default()
        };
        assert_eq!(
            forwarded(b"GET http://h?x HTTP/1.1\r\nHost: h\r\n\r\n", &edits),
            format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
        );
    }
    let long = "/".repeat(MAX_HEAD + 1);
    for target in [
        "", "a", "*", "?a", "/a b", "/a\r\nb", "/a\0", "/a#b", "/a\\b", "/\u{e9}", &long,
    ] {
        assert_eq!(NewTarget::new(target.as_bytes()), None, "{target:?}");
    }
}

#[test]
fn computed_fields_come_last_and_replace_what_rules_take_out() {
    let rules = FixedEdits::new(&[HeaderEdit::remove(b"a").unwrap()]);
    let computed = [(
        FieldName::new(b"A").unwrap(),
        FieldValue::new(b"new").unwrap(),
    )];
    let edits = RequestEdits {
        fields: FieldEdits {
            rules: &rules,
            computed: &computed,
            ..FieldEdits::default()
        },
        ..RequestEdits::default()
    };
    assert_eq!(
        forwarded(b"GET / HTTP/1.1\r\nHost: h\r\na: 1\r\nb: 2\r\n\r\n", &edits),
        "GET / HTTP/1.1\r\nHost: h\r\nb: 2\r\nA: new\r\n\r\n"
    );
}

#[test]
fn an_answer_of_the_rules_states_its_length_where_it_has_a_body() {
    let value = |text: &'static str| FieldValue::new(text.as_bytes()).unwrap();
    let write = |reply: &RuleReply<'_>, head_only| {
        let mut out = Vec::new();
        write_rule_reply(&mut out, reply, head_only, true, Version::Http11, None);
        String::from_utf8(out).unwrap()
    };
    let reply = RuleReply {
        status: 200,
        body: Some((value("text/html"), b"<p>")),
        location: None,
        fields: FieldEdits::default(),
    };
    let head = "HTTP/1.1 200 OK\r\nServer: sluice\r\nContent-Type: text/html\r\n\
                Content-Length: 3\r\nConnection: close\r\n\r\n";
    assert_eq!(write(&reply, false), format!("{head}<p>"));
    assert_eq!(write(&reply, true), head);
    let redirect = RuleReply {
        status: 302,
        body: None,
        location: Some(value("//h/")),
        ..reply
    };
    assert_eq!(
        write(&redirect, false),
        "HTTP/1.1 302 Found\r\nServer: sluice\r\nLocation: //h/\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n"
    );
    let nothing = RuleReply {
        status: 204,
        body: None,
        ..reply
    };
    assert_eq!(
        write(&nothing, false),
        "HTTP/1.1 204 No Content\r\nServer: sluice\r\nConnection: close\r\n\r\n"
    );
}
