//! Message bodies: what stands at the front of the unread bytes (RFC 9112 sections 6 and 7).

use std::ops::Range;

use super::BodyFraming;
use super::chars::{self, Stop, TOKEN};
use super::error::{BodyError, HeadError};
use super::field::{FieldLine, field_line};
use super::scan::Scan;

/// Longest chunk size line in bytes, extensions and CRLF included.
pub const MAX_CHUNK_LINE: usize = 256;

/// Longest trailer section in bytes, its final empty line included.
pub const MAX_TRAILERS: usize = 8 * 1024;

/// Follows one body from its first byte to its last.
///
/// The caller keeps the unread bytes, shows their front to [`Self::next`], and drops what an event
/// says was consumed, or what it took of a data run ([`Self::take_data`]). Nothing is consumed by
/// [`BodyEvent::NeedMore`] or by an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyDecoder {
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// So many bytes of a body of known length are still to come; never 0.
    Length(u64),
    ChunkLine,
    /// So many bytes of the current chunk are still to come; never 0.
    ChunkData(u64),
    ChunkEnd,
    UntilClose,
    Done,
}

/// What stands at the front of the unread bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyEvent {
    /// Too little to say; show these bytes again with more behind them.
    NeedMore,
    /// The size line of a chunk, its extensions ignored. `size` is at least 1.
    ChunkStart {
        /// Bytes of the line.
        consumed: usize,
        /// Bytes of payload in the chunk, at most `i64::MAX`.
        size: u64,
    },
    /// Payload. Seen again until [`BodyDecoder::take_data`] says how much of it was taken.
    Data {
        /// So many bytes at the front are payload; at least 1.
        len: usize,
    },
    /// The CRLF behind a chunk's payload.
    ChunkEnd {
        /// Its two bytes.
        consumed: usize,
    },
    /// The chunk of size 0 with the trailer section behind it; the body is at its end.
    Trailers {
        /// Bytes of both.
        consumed: usize,
        /// Where in the input the trailer fields stand: whole valid lines without the final empty
        /// one. RFC 9110 section 6.5.1 allows dropping them.
        fields: Range<usize>,
    },
    /// The body has ended; what stands here is not part of it.
    Done,
}

impl BodyDecoder {
    /// At the first byte of a body.
    #[must_use]
    pub fn new(framing: BodyFraming) -> Self {
        let state = match framing {
            BodyFraming::None | BodyFraming::Length(0) => State::Done,
            BodyFraming::Length(length) => State::Length(length),
            BodyFraming::Chunked => State::ChunkLine,
            BodyFraming::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    /// Says what stands at the front of `input`, the bytes not consumed yet.
    ///
    /// # Errors
    /// The body is malformed; see [`BodyError`]. Where it would end is unknown, so its connection
    /// has to be closed.
    pub fn next(&mut self, input: &[u8]) -> Result<BodyEvent, BodyError> {
        match self.state {
            State::Done => Ok(BodyEvent::Done),
            _ if input.is_empty() => Ok(BodyEvent::NeedMore),
            State::UntilClose => Ok(BodyEvent::Data { len: input.len() }),
            State::Length(left) | State::ChunkData(left) => Ok(BodyEvent::Data {
                len: usize::try_from(left).map_or(input.len(), |left| left.min(input.len())),
            }),
            State::ChunkLine => or_need_more(self.chunk_line(input)),
            State::ChunkEnd => match input {
                [b'\r', b'\n', ..] => {
                    self.state = State::ChunkLine;
                    Ok(BodyEvent::ChunkEnd { consumed: 2 })
                }
                [b'\r'] => Ok(BodyEvent::NeedMore),
                _ => Err(BodyError::MissingChunkEnd),
            },
        }
    }

    /// The first `n` bytes of the run announced by the last [`BodyEvent::Data`] were taken.
    pub fn take_data(&mut self, n: usize) {
        let n = n as u64;
        match &mut self.state {
            State::Length(left) if *left > n => *left -= n,
            State::Length(_) => self.state = State::Done,
            State::ChunkData(left) if *left > n => *left -= n,
            State::ChunkData(_) => self.state = State::ChunkEnd,
            State::UntilClose | State::ChunkLine | State::ChunkEnd | State::Done => {}
        }
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The peer has closed and all its bytes have been shown. This ends a body that has no other
    /// end.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] where the body should have gone on.
    pub fn on_eof(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(BodyError::Truncated),
        }
    }

    fn chunk_line(&mut self, input: &[u8]) -> Result<BodyEvent, Stop<BodyError>> {
        let line = input.get(..MAX_CHUNK_LINE).unwrap_or(input);
        let (size, consumed) = match chunk_size(line) {
            Err(Stop::Partial) if line.len() == MAX_CHUNK_LINE => {
                return Err(BodyError::ChunkLineTooLong.into());
            }
            parsed => parsed?,
        };
        if size > 0 {
            self.state = State::ChunkData(size);
            return Ok(BodyEvent::ChunkStart { consumed, size });
        }
        let trailers = input.get(consumed..).unwrap_or_default();
        let trailers = trailers.get(..MAX_TRAILERS).unwrap_or(trailers);
        let (fields, whole) = match trailer_section(trailers) {
            Err(Stop::Partial) if trailers.len() == MAX_TRAILERS => {
                return Err(BodyError::TrailersTooLarge.into());
            }
            parsed => parsed?,
        };
        self.state = State::Done;
        Ok(BodyEvent::Trailers {
            consumed: consumed + whole,
            fields: consumed..consumed + fields,
        })
    }
}

fn or_need_more(step: Result<BodyEvent, Stop<BodyError>>) -> Result<BodyEvent, BodyError> {
    match step {
        Ok(event) => Ok(event),
        Err(Stop::Partial) => Ok(BodyEvent::NeedMore),
        Err(Stop::Refused(error)) => Err(error),
    }
}

/// The size in the chunk line at the front of `line`, and the length of that line.
fn chunk_size(line: &[u8]) -> Result<(u64, usize), Stop<BodyError>> {
    let mut size: u64 = 0;
    let mut digits = 0;
    while let Some(digit) = line
        .get(digits)
        .and_then(|&byte| (byte as char).to_digit(16))
    {
        if digits == 16 {
            return Err(BodyError::ChunkSizeTooLarge.into());
        }
        size = size << 4 | u64::from(digit);
        digits += 1;
    }
    // What lies above is negative in many a server.
    if size > i64::MAX as u64 {
        return Err(BodyError::ChunkSizeTooLarge.into());
    }
    match line.get(digits) {
        None => Err(Stop::Partial),
        Some(_) if digits == 0 => Err(BodyError::InvalidChunkSize.into()),
        Some(b'\r') => Ok((size, crlf(line, digits)?)),
        Some(b';' | b' ' | b'\t') => Ok((size, chunk_extensions(line, digits)?)),
        Some(_) => Err(BodyError::InvalidChunkSize.into()),
    }
}

/// Position behind the line: `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ) CRLF`
/// (RFC 9112 section 7.1.1). Space before the CRLF is not part of it and refused.
#[cold]
fn chunk_extensions(line: &[u8], mut pos: usize) -> Result<usize, Stop<BodyError>> {
    while line.get(pos) != Some(&b'\r') {
        pos = expect(line, skip_space(line, pos), b';')?;
        pos = token(line, skip_space(line, pos))?;
        let after_name = skip_space(line, pos);
        if line.get(after_name) == Some(&b'=') {
            let value = skip_space(line, after_name + 1);
            pos = match line.get(value) {
                Some(b'"') => quoted_string(line, value + 1)?,
                _ => token(line, value)?,
            };
        }
    }
    crlf(line, pos)
}

fn skip_space(line: &[u8], mut pos: usize) -> usize {
    while let Some(b' ' | b'\t') = line.get(pos) {
        pos += 1;
    }
    pos
}

fn expect(line: &[u8], pos: usize, byte: u8) -> Result<usize, Stop<BodyError>> {
    match line.get(pos) {
        None => Err(Stop::Partial),
        Some(&found) if found == byte => Ok(pos + 1),
        Some(_) => Err(BodyError::InvalidChunkExtension.into()),
    }
}

fn token(line: &[u8], pos: usize) -> Result<usize, Stop<BodyError>> {
    let end = chars::skip(line, pos, TOKEN);
    match line.get(end) {
        None => Err(Stop::Partial),
        Some(_) if end > pos => Ok(end),
        Some(_) => Err(BodyError::InvalidChunkExtension.into()),
    }
}

/// Position behind the closing quote; `pos` is behind the opening one.
fn quoted_string(line: &[u8], mut pos: usize) -> Result<usize, Stop<BodyError>> {
    let valid = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    loop {
        match line.get(pos) {
            None => return Err(Stop::Partial),
            Some(b'"') => return Ok(pos + 1),
            Some(b'\\') => match line.get(pos + 1) {
                None => return Err(Stop::Partial),
                Some(&escaped) if valid(escaped) => pos += 2,
                Some(_) => return Err(BodyError::InvalidChunkExtension.into()),
            },
            Some(&byte) if valid(byte) => pos += 1,
            Some(_) => return Err(BodyError::InvalidChunkExtension.into()),
        }
    }
}

/// Position behind the CRLF at `pos`, where the CR has been seen.
fn crlf(line: &[u8], pos: usize) -> Result<usize, Stop<BodyError>> {
    match line.get(pos + 1) {
        None => Err(Stop::Partial),
        Some(b'\n') => Ok(pos + 2),
        Some(_) => Err(BodyError::InvalidChunkSize.into()),
    }
}

/// Length of the trailer fields at the front of `input`, and the same with the empty line.
fn trailer_section(input: &[u8]) -> Result<(usize, usize), Stop<BodyError>> {
    let mut pos = 0;
    let mut scan = Scan::new(input, pos);
    loop {
        match field_line(input, &mut scan, pos).map_err(trailer_error)? {
            FieldLine::End(end) => return Ok((pos, end)),
            FieldLine::Field(entry) => pos = entry.end as usize,
        }
    }
}

fn trailer_error(stop: Stop<HeadError>) -> Stop<BodyError> {
    match stop {
        Stop::Partial => Stop::Partial,
        Stop::Refused(error) => Stop::Refused(BodyError::Trailer(error)),
    }
}
