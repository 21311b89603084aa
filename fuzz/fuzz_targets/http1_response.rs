//! Whatever response is accepted is, when sent on, one that a client reads the same way. The first
//! byte of the input chooses the request and the client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_wire::http1::{
    ClientSide, FieldEdits, HeadIndex, HeaderKind, Limits, RequestKind, Version, parse_response,
    write_response_head,
};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let request = match choice & 3 {
        0 => RequestKind::Head,
        1 => RequestKind::Connect,
        _ => RequestKind::Other,
    };
    let client = ClientSide {
        trailers: true,
        version: if choice & 4 == 0 {
            Version::Http10
        } else {
            Version::Http11
        },
        keep_alive: choice & 8 == 0,
    };
    let mut index = HeadIndex::new();
    let Ok(Some(response)) = parse_response(data, request, &Limits::default(), &mut index) else {
        return;
    };
    let mut out = Vec::new();
    let sent = write_response_head(&mut out, &response, client, &FieldEdits::default());
    let limits = Limits {
        request_line: 1 << 14,
        head: 1 << 16,
        headers: 128,
    };
    let mut again_index = HeadIndex::new();
    let again = parse_response(&out, request, &limits, &mut again_index)
        .expect("valid when sent on")
        .expect("complete when sent on");
    assert_eq!(again.head_len, out.len());
    assert_eq!(again.status, response.status);
    assert_eq!(again.reason(), response.reason());
    assert_eq!(again.framing, sent.framing);
    assert!(!(again.has(HeaderKind::ContentLength) && again.has(HeaderKind::TransferEncoding)));
    if !again.is_interim() && again.status != 101 {
        assert_eq!(again.keep_alive, sent.keep_alive);
    }
});
