use super::*;

#[test]
fn valid_bodies() {
    use BodyFraming::*;
    let cases: &[(&str, BodyFraming, &str, &str, usize)] = &[
        ("none", None, "GET / HTTP/1.1", "", 0),
        ("length 0", Length(0), "next", "", 0),
        ("length", Length(5), "hellonext", "hello", 5),
        ("until close", UntilClose, "hello", "hello", 5),
        ("until close at once", UntilClose, "", "", 0),
        ("no chunk", Chunked, "0\r\n\r\nnext", "", 5),
        (
            "two chunks",
            Chunked,
            "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\nnext",
            "hello!",
            21,
        ),
        (
            "hex in both cases",
            Chunked,
            "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
            "01234567890123456789",
            35,
        ),
        (
            "leading zeros",
            Chunked,
            "0000000000000001\r\na\r\n00\r\n\r\n",
            "a",
            27,
        ),
        (
            "CRLF as payload",
            Chunked,
            "4\r\n\r\n\r\n\r\n0\r\n\r\n",
            "\r\n\r\n",
            14,
        ),
        (
            "extensions",
            Chunked,
            "1;a;b=c ; d = \"e\\\"; \u{e4}\"\r\na\r\n0;z\r\n\r\n",
            "a",
            35,
        ),
        (
            "trailers",
            Chunked,
            "0\r\nA: b\r\nContent-Length: 9\r\n\r\nnext",
            "",
            30,
        ),
    ];
    for (case, framing, input, payload, consumed) in cases {
        let outcome = decode(*framing, &[input.as_bytes()]);
        assert_eq!(
            outcome,
            Ok((payload.as_bytes().to_vec(), *consumed)),
            "{case}"
        );
    }
}

#[test]
fn invalid_chunked_bodies() {
    use BodyError::*;
    let long_extension = format!("1;{}\r\n", "a".repeat(MAX_CHUNK_LINE));
    let long_trailers = format!("0\r\nA: {}\r\n\r\n", "a".repeat(MAX_TRAILERS));
    let cases: &[(&str, &str, BodyError)] = &[
        ("no size", "\r\n", InvalidChunkSize),
        ("0x", "0x5\r\nhello\r\n", InvalidChunkSize),
        ("plus", "+5\r\nhello\r\n", InvalidChunkSize),
        ("minus", "-5\r\nhello\r\n", InvalidChunkSize),
        ("space first", " 5\r\nhello\r\n", InvalidChunkSize),
        ("underscore", "1_0\r\n", InvalidChunkSize),
        ("LF ends the size", "5\nhello\r\n", InvalidChunkSize),
        ("CR ends the size", "5\rhello", InvalidChunkSize),
        ("above i64::MAX", "8000000000000000\r\n", ChunkSizeTooLarge),
        ("17 digits", "00000000000000001\r\n", ChunkSizeTooLarge),
        (
            "wraps around to 5",
            "10000000000000005\r\nhello\r\n",
            ChunkSizeTooLarge,
        ),
        (
            "space after the size",
            "5 \r\nhello\r\n",
            InvalidChunkExtension,
        ),
        (
            "extension without name",
            "5;\r\nhello\r\n",
            InvalidChunkExtension,
        ),
        (
            "extension without value",
            "5;a=\r\nhello\r\n",
            InvalidChunkExtension,
        ),
        (
            "LF in an extension",
            "5;a\nhello\r\n",
            InvalidChunkExtension,
        ),
        (
            "LF in a quoted extension",
            "5;a=\"\n\"\r\n",
            InvalidChunkExtension,
        ),
        ("CR in an extension", "5;a\rb\r\n", InvalidChunkSize),
        ("NUL in an extension", "5;a\0\r\n", InvalidChunkExtension),
        ("long extension", &long_extension, ChunkLineTooLong),
        (
            "chunk longer than its size",
            "4\r\nhello\r\n",
            MissingChunkEnd,
        ),
        (
            "LF ends the chunk",
            "5\r\nhello\n0\r\n\r\n",
            MissingChunkEnd,
        ),
        (
            "CR ends the chunk",
            "5\r\nhello\r0\r\n\r\n",
            MissingChunkEnd,
        ),
        (
            "LF after the last chunk",
            "0\r\n\n",
            Trailer(HeadError::BareLf),
        ),
        (
            "folded trailer",
            "0\r\nA: b\r\n c\r\n\r\n",
            Trailer(HeadError::FoldedLine),
        ),
        (
            "trailer without colon",
            "0\r\nGET / HTTP/1.1\r\n",
            Trailer(HeadError::SpaceBeforeColon),
        ),
        (
            "NUL in a trailer",
            "0\r\nA: \0\r\n\r\n",
            Trailer(HeadError::ControlByte),
        ),
        ("long trailers", &long_trailers, TrailersTooLarge),
    ];
    for (case, input, expected) in cases {
        assert_eq!(
            decode(BodyFraming::Chunked, &[input.as_bytes()]),
            Err(*expected),
            "{case}"
        );
    }
}

#[test]
fn truncated_bodies() {
    let cases: &[(BodyFraming, &[u8])] = &[
        (BodyFraming::Length(5), b""),
        (BodyFraming::Length(5), b"hell"),
        (BodyFraming::Chunked, b""),
        (BodyFraming::Chunked, b"5"),
        (BodyFraming::Chunked, b"5\r\nhell"),
        (BodyFraming::Chunked, b"5\r\nhello\r\n"),
        (BodyFraming::Chunked, b"0\r\n"),
        (BodyFraming::Chunked, b"0\r\nA: b\r\n"),
    ];
    for (framing, input) in cases {
        assert_eq!(
            decode(*framing, &[input]),
            Err(BodyError::Truncated),
            "{input:?}"
        );
    }
}

#[test]
fn data_is_seen_until_it_is_taken() {
    let mut decoder = BodyDecoder::new(BodyFraming::Length(5));
    assert_eq!(decoder.next(b"hello world"), Ok(BodyEvent::Data { len: 5 }));
    assert_eq!(decoder.next(b"hello world"), Ok(BodyEvent::Data { len: 5 }));
    decoder.take_data(3);
    assert!(!decoder.is_done());
    assert_eq!(decoder.next(b"lo world"), Ok(BodyEvent::Data { len: 2 }));
    decoder.take_data(2);
    assert!(decoder.is_done());
    assert_eq!(decoder.next(b" world"), Ok(BodyEvent::Done));
}

#[test]
fn trailer_fields_are_located() {
    let mut decoder = BodyDecoder::new(BodyFraming::Chunked);
    let input = b"0;a\r\nA: b\r\nC: d\r\n\r\nnext";
    let event = decoder.next(input).expect("valid");
    let BodyEvent::Trailers { consumed, fields } = event else {
        panic!("{event:?}")
    };
    assert_eq!(&input[fields], b"A: b\r\nC: d\r\n");
    assert_eq!(&input[consumed..], b"next");
    assert!(decoder.is_done());
}
