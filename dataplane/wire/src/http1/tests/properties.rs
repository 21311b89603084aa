use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::scan::Scan;
use super::*;

/// A valid request head, with fields of every sort.
fn valid_head() -> impl Strategy<Value = Vec<u8>> {
    let method = select(vec!["GET", "POST", "OPTIONS", "X-Y"]);
    let target = select(vec!["/", "/a/b?c=d", "http://h:8080/x", "http://H:8080?q"]);
    let framing = select(vec![
        "",
        "Content-Length: 12\r\n",
        "Transfer-Encoding: chunked\r\n",
    ]);
    let field = prop_oneof![
        "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}: ?[ -~\t\u{80}-\u{ff}]{0,40}\r\n",
        select(vec![
            "Connection: keep-alive, x-a\r\n",
            "X-A: hop\r\n",
            "TE: trailers\r\n",
            "X-Forwarded-For: 1.2.3.4\r\n",
            "Via: 1.1 a\r\n",
            "Expect: 100-continue\r\n",
        ])
        .prop_map(str::to_string),
    ];
    (method, target, framing, vec(field, 0..8)).prop_map(|(method, target, framing, fields)| {
        format!(
            "{method} {target} HTTP/1.1\r\nHost: h:8080\r\n{}{framing}\r\n",
            fields.concat()
        )
        .into_bytes()
    })
}

/// Bytes that are nearly a message: pieces of grammar in any order, and noise.
fn near_message() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => select(vec![
            "GET / HTTP/1.1\r\n", "POST ", "http://h/", "HTTP/1.1 200 OK\r\n", "HTTP/1.0 ", "\r\n", "\n",
            "\r", " ", "\t", ":", ",", "\0", "Host: h\r\n", "Content-Length: ", "5", "-", "chunked",
            "Transfer-Encoding: ", "Connection: ", "close", "X-A", ": a\r\n", "\r\n\r\n", ";", "=",
            "\"", "0\r\n", "ffffffffffffffff",
        ]).prop_map(|s: &str| s.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..12),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Outcome of a request parse as something comparable: what an observer could tell apart.
fn request_digest(bytes: &[u8]) -> Result<Option<String>, RequestError> {
    with_request(bytes, |outcome| {
        outcome.map(|request| {
            request.map(|r| {
                let headers: Vec<_> = r.headers().collect();
                format!(
                    "{:?} {:?} {:?} {:?} {:?} {:?} {} {} {} {headers:?}",
                    r.method(),
                    r.target(),
                    r.path(),
                    r.host(),
                    r.version,
                    r.framing,
                    r.keep_alive,
                    r.upgrade,
                    r.head_len
                )
            })
        })
    })
}

/// The number of framing fields in a head that was written.
fn framing_fields(head: &[u8]) -> usize {
    let text = head.to_ascii_lowercase();
    let count = |name: &[u8]| {
        text.windows(name.len())
            .filter(|window| *window == name)
            .count()
    };
    count(b"\r\ncontent-length:") + count(b"\r\ntransfer-encoding:")
}

proptest! {
    #[test]
    fn a_valid_head_is_partial_until_it_is_complete(head in valid_head()) {
        let whole = request_digest(&head);
        prop_assert!(matches!(whole, Ok(Some(_))), "{whole:?}");
        for end in 0..head.len() {
            prop_assert_eq!(request_digest(&head[..end]), Ok(None));
        }
        let mut followed = head.clone();
        followed.extend_from_slice(b"\0garbage");
        prop_assert_eq!(request_digest(&followed), whole);
    }

    #[test]
    fn an_outcome_does_not_change_with_more_bytes(bytes in near_message()) {
        let mut settled = None;
        for end in 0..=bytes.len() {
            let outcome = request_digest(&bytes[..end]);
            match &settled {
                None if outcome == Ok(None) => {}
                None => settled = Some(outcome),
                Some(first) => prop_assert_eq!(&outcome, first),
            }
        }
    }

    #[test]
    fn asking_before_parsing_again_misses_nothing(
        bytes in near_message(),
        steps in vec(1usize..9, 1..40),
    ) {
        let limits = Limits { request_line: 64, head: 128, headers: 4 };
        let mut index = HeadIndex::new();
        let (mut seen, mut end) = (0, 0);
        let mut settled = false;
        for step in steps {
            end = (end + step).min(bytes.len());
            let buf = &bytes[..end];
            let asked = needs_parse(buf, seen, &limits);
            let complete = matches!(parse_request(buf, &limits, &mut index), Ok(Some(_)));
            prop_assert!(!complete || asked || settled);
            settled |= complete;
            seen = end;
        }
    }

    #[test]
    fn a_request_written_is_stable(head in valid_head()) {
        let once = valid_request(&head, |request| {
            let mut out = Vec::new();
            write_request_head(&mut out, &request, &RequestEdits::default());
            out
        });
        let end_to_end = |bytes: &[u8]| valid_request(bytes, |r| {
            let mut headers: Vec<_> = r
                .headers()
                .filter(|h| !h.hop_by_hop && h.kind != HeaderKind::Host)
                .filter(|h| h.kind != HeaderKind::ContentLength)
                .map(|h| (h.name.to_vec(), h.value.to_vec()))
                .collect();
            headers.push((r.method().to_vec(), r.path().to_vec()));
            (headers, r.query().map(<[u8]>::to_vec), r.host().to_vec(), r.framing)
        });
        prop_assert_eq!(end_to_end(&head), end_to_end(&once));
        let twice = valid_request(&once, |request| {
            // What the gateway itself says to the next hop.
            let own = [
                (HeaderKind::TransferEncoding, &b"chunked"[..]),
                (HeaderKind::Te, b"trailers"),
                (HeaderKind::Connection, b"TE"),
            ];
            prop_assert!(request.headers().all(|h| !h.hop_by_hop
                || h.kind == HeaderKind::Trailer
                || own.contains(&(h.kind, h.value))));
            let mut out = Vec::new();
            write_request_head(&mut out, &request, &RequestEdits::default());
            Ok(out)
        })?;
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn a_request_that_passes_goes_on_whole_with_one_framing(bytes in near_message()) {
        let bytes = [b"POST / HTTP/1.1\r\nHost: h\r\n".as_slice(), &bytes].concat();
        let mut index = HeadIndex::new();
        if let Ok(Some(request)) = parse_request(&bytes, &Limits::default(), &mut index) {
            let mut out = Vec::new();
            let host = Authority::parse(b"service");
            write_request_head(&mut out, &request, &RequestEdits { host, ..Default::default() });
            prop_assert!(framing_fields(&out) <= 1);
            valid_request(&out, |again| {
                assert_eq!(again.framing, request.framing);
                assert_eq!(again.head_len, out.len());
            });
        }
    }

    #[test]
    fn a_response_that_passes_goes_on_whole_with_one_framing(
        bytes in near_message(),
        request in select(vec![RequestKind::Head, RequestKind::Other]),
        version in select(vec![Version::Http10, Version::Http11]),
        keep_alive in any::<bool>(),
    ) {
        let bytes = [b"HTTP/1.1 200 OK\r\n".as_slice(), &bytes].concat();
        let mut index = HeadIndex::new();
        if let Ok(Some(response)) =
            parse_response(&bytes, request, &Limits::default(), &mut index)
        {
            let mut out = Vec::new();
            let client = ClientSide { version, keep_alive, trailers: keep_alive };
            let sent = write_response_head(&mut out, &response, client, &FieldEdits::default());
            prop_assert!(framing_fields(&out) <= 1);
            valid_response(&out, request, |again| {
                assert_eq!(again.framing, sent.framing);
                assert_eq!(again.head_len, out.len());
                if version == Version::Http11 {
                    assert_eq!(again.keep_alive, sent.keep_alive);
                }
            });
        }
    }

    #[test]
    fn no_name_or_value_can_add_a_line(name in vec(any::<u8>(), 0..8), value in vec(any::<u8>(), 0..16)) {
        let Ok(rule) = HeaderEdit::add(&name, &value) else { return Ok(()) };
        let fields = (FieldName::new(&name).unwrap(), FieldValue::new(&value).unwrap());
        let append = [fields];
        let rules = FixedEdits::new(&[rule]);
        let edits = RequestEdits {
            host: Authority::parse(&value),
            forwarded_for: Some(fields.1),
            fields: FieldEdits { append: &append, rules: &rules, ..FieldEdits::default() },
            ..RequestEdits::default()
        };
        let input = b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
        let out = valid_request(input, |request| {
            let mut out = Vec::new();
            write_request_head(&mut out, &request, &edits);
            out
        });
        valid_request(&out, |again| {
            assert_eq!(again.headers().count(), 5);
            assert_eq!(again.framing, BodyFraming::Length(3));
            assert_eq!(again.head_len, out.len());
        });
    }

    #[test]
    fn any_split_of_a_chunked_body_reads_the_same(
        chunks in vec((vec(any::<u8>(), 1..40), "(;[a-z]{1,5}(=\"[ -!#-\\[]{0,9}\")?)?"), 0..5),
        trailers in "([a-z]{1,5}: [ -~]{0,9}\r\n){0,3}",
        cuts in vec(any::<proptest::sample::Index>(), 0..12),
    ) {
        let mut body = Vec::new();
        let mut payload = Vec::new();
        for (data, extension) in &chunks {
            body.extend_from_slice(format!("{:X}{extension}\r\n", data.len()).as_bytes());
            body.extend_from_slice(data);
            body.extend_from_slice(b"\r\n");
            payload.extend_from_slice(data);
        }
        body.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
        let whole = Ok((payload, body.len()));
        prop_assert_eq!(decode(BodyFraming::Chunked, &[&body]), whole.clone());
        let single: Vec<_> = body.chunks(1).collect();
        prop_assert_eq!(decode(BodyFraming::Chunked, &single), whole.clone());
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len())).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
        prop_assert_eq!(decode(BodyFraming::Chunked, &pieces), whole);
    }

    #[test]
    fn a_bad_chunked_body_is_bad_in_any_split(bytes in near_message(), step in 1usize..7) {
        let whole = decode(BodyFraming::Chunked, &[&bytes]);
        let pieces: Vec<_> = bytes.chunks(step).collect();
        prop_assert_eq!(decode(BodyFraming::Chunked, &pieces), whole);
    }

    #[test]
    fn control_bytes_are_found_wherever_they_stand(
        clean in vec(prop_oneof![Just(b'\t'), 0x20u8..0x7f, 0x80u8..=0xff], 0..40),
        control in prop_oneof![0u8..9, 10u8..32, Just(0x7f)],
        rest in vec(any::<u8>(), 0..20),
    ) {
        let whole = |bytes: &[u8]| Scan::new(bytes, 0).control(0);
        prop_assert_eq!((whole(&clean), chars::has_control(&clean)), (clean.len(), false));
        let mut bytes = clean.clone();
        bytes.push(control);
        bytes.extend_from_slice(&rest);
        prop_assert_eq!((whole(&bytes), chars::has_control(&bytes)), (clean.len(), true));
    }

    #[test]
    fn a_class_ends_where_it_does_for_one_byte_at_a_time(
        bytes in vec(prop_oneof![any::<u8>(), Just(b'a'), Just(b'-')], 0..200),
        pos in 0usize..80,
        class in prop_oneof![
            Just(chars::TOKEN), Just(chars::PATH), Just(chars::PLAIN_PATH), Just(chars::QUERY)
        ],
    ) {
        let pos = pos.min(bytes.len());
        let end = chars::skip(&bytes, pos, class);
        let mut scan = Scan::new(&bytes, pos / 2);
        prop_assert_eq!(chars::skip_by(&bytes, &mut scan, pos, class), end);
    }
}
