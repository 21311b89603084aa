//! Tables of messages and what becomes of them, and properties that hold for all messages.

mod bodies;
mod fields;
mod properties;
mod requests;
mod responses;
mod writing;

use super::*;

/// Parses `bytes` as a request with default limits and hands the outcome to `look`.
fn with_request<T>(
    bytes: &[u8],
    look: impl FnOnce(Result<Option<Request<'_>>, RequestError>) -> T,
) -> T {
    let mut index = HeadIndex::new();
    look(parse_request(bytes, &Limits::default(), &mut index))
}

/// The same for a request that is valid and complete.
fn valid_request<T>(bytes: &[u8], look: impl FnOnce(Request<'_>) -> T) -> T {
    with_request(bytes, |outcome| match outcome {
        Ok(Some(request)) => look(request),
        other => panic!("{:?}: {other:?}", bytes.escape_ascii().to_string()),
    })
}

/// Parses `bytes` as a valid, complete response.
fn valid_response<T>(
    bytes: &[u8],
    request: RequestKind,
    look: impl FnOnce(Response<'_>) -> T,
) -> T {
    let mut index = HeadIndex::new();
    match parse_response(bytes, request, &Limits::default(), &mut index) {
        Ok(Some(response)) => look(response),
        other => panic!("{:?}: {other:?}", bytes.escape_ascii().to_string()),
    }
}

/// The whole body of a message, piece by piece, as an endpoint sees it: payload, and how many bytes
/// of the input the body took.
fn decode(framing: BodyFraming, pieces: &[&[u8]]) -> Result<(Vec<u8>, usize), BodyError> {
    let mut decoder = BodyDecoder::new(framing);
    let (mut unread, mut payload, mut consumed) = (Vec::new(), Vec::new(), 0);
    for piece in pieces {
        unread.extend_from_slice(piece);
        loop {
            let taken = match decoder.next(&unread)? {
                BodyEvent::NeedMore | BodyEvent::Done => break,
                BodyEvent::Data { len } => {
                    payload.extend_from_slice(&unread[..len]);
                    decoder.take_data(len);
                    len
                }
                BodyEvent::ChunkStart { consumed, .. }
                | BodyEvent::ChunkEnd { consumed }
                | BodyEvent::Trailers { consumed, .. } => consumed,
            };
            unread.drain(..taken);
            consumed += taken;
        }
    }
    decoder.on_eof()?;
    Ok((payload, consumed))
}

/// A request with these lines after a valid request line and Host.
fn with_lines(lines: &str) -> Vec<u8> {
    format!("POST /a HTTP/1.1\r\nHost: h\r\n{lines}\r\n").into_bytes()
}
