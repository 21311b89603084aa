//! Whatever request is accepted stays the same request when it is sent on, with one framing at
//! most; and what is refused is refused with every byte of it that has come so far or later.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_wire::http1::{
    Authority, BodyFraming, HeadIndex, HeaderKind, Limits, Request, RequestEdits, RequestError,
    parse_request, write_request_head,
};

fuzz_target!(|data: &[u8]| {
    let mut index = HeadIndex::new();
    let outcome = parse_request(data, &Limits::default(), &mut index);
    check_prefix(data, outcome.as_ref().map(Option::as_ref));
    let Ok(Some(request)) = outcome else { return };

    let edits = RequestEdits {
        host: Authority::parse(b"service:8080"),
        ..Default::default()
    };
    let mut out = Vec::new();
    write_request_head(&mut out, &request, &edits);
    let mut again_index = HeadIndex::new();
    let again = parse_request(
        &out,
        &Limits {
            head: 1 << 16,
            // `TE` and `Connection` may be stated where there was only one of them.
            headers: 128,
            ..Limits::default()
        },
        &mut again_index,
    );
    let again = match again {
        // Host and the framing may be longer than what they replace.
        Err(RequestError::RequestLineTooLong) => return,
        again => again
            .expect("valid when sent on")
            .expect("complete when sent on"),
    };
    assert_eq!(again.head_len, out.len());
    assert_eq!(again.method(), request.method());
    assert_eq!(again.path(), request.path());
    assert_eq!(again.query(), request.query());
    assert_eq!(again.framing, request.framing);
    assert_eq!(again.host(), b"service:8080");
    assert!(end_to_end(&again).eq(end_to_end(&request)));
    let framings =
        again.has(HeaderKind::ContentLength) as u8 + again.has(HeaderKind::TransferEncoding) as u8;
    assert_eq!(framings, u8::from(request.framing != BodyFraming::None));
});

fn end_to_end<'a>(request: &'a Request<'_>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let expected_goes = request.version == sluice_wire::http1::Version::Http11;
    request
        .headers()
        .filter(|header| !header.hop_by_hop)
        .filter(move |header| expected_goes || header.kind != HeaderKind::Expect)
        .filter(|header| {
            let kind = header.kind;
            !matches!(kind, HeaderKind::Host | HeaderKind::ContentLength | HeaderKind::Lookalike)
        })
        .map(|header| (header.name, header.value))
}

/// One byte less: still partial, or already the same.
fn check_prefix(data: &[u8], whole: Result<Option<&Request<'_>>, &RequestError>) {
    let Some((_, prefix)) = data.split_last() else {
        return;
    };
    let mut index = HeadIndex::new();
    match parse_request(prefix, &Limits::default(), &mut index) {
        Ok(None) => {}
        Ok(Some(request)) => {
            assert_eq!(
                whole.map(|r| r.map(|r| r.head_len)),
                Ok(Some(request.head_len))
            );
        }
        Err(error) => assert_eq!(whole.err(), Some(&error)),
    }
}
