//! A body reads the same in one piece and in pieces. The first byte of the input chooses the
//! framing, the second the size of the pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_wire::http1::{BodyDecoder, BodyError, BodyEvent, BodyFraming};

fuzz_target!(|data: &[u8]| {
    let [choice, step, body @ ..] = data else {
        return;
    };
    let framing = match choice {
        0 => BodyFraming::None,
        1 => BodyFraming::UntilClose,
        2..=15 => BodyFraming::Length(u64::from(*choice)),
        _ => BodyFraming::Chunked,
    };
    let whole = decode(framing, body, body.len().max(1));
    assert_eq!(decode(framing, body, usize::from(*step).max(1)), whole);
});

/// The payload, and how many bytes of the input the body took.
fn decode(framing: BodyFraming, body: &[u8], step: usize) -> Result<(Vec<u8>, usize), BodyError> {
    let mut decoder = BodyDecoder::new(framing);
    let mut payload = Vec::new();
    let (mut shown, mut taken) = (0, 0);
    loop {
        let unread = &body[taken..shown];
        let consumed = match decoder.next(unread)? {
            BodyEvent::Done => return Ok((payload, taken)),
            BodyEvent::NeedMore if shown == body.len() => {
                decoder.on_eof()?;
                return Ok((payload, taken));
            }
            BodyEvent::NeedMore => {
                shown = (shown + step).min(body.len());
                0
            }
            BodyEvent::Data { len } => {
                assert!(len > 0);
                payload.extend_from_slice(&unread[..len]);
                decoder.take_data(len);
                len
            }
            BodyEvent::ChunkStart { consumed, .. }
            | BodyEvent::ChunkEnd { consumed }
            | BodyEvent::Trailers { consumed, .. } => {
                assert!(consumed > 0);
                consumed
            }
        };
        taken += consumed;
    }
}
