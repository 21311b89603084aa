//! Response heads (RFC 9112 section 4).

use super::chars::{self, Stop};
use super::error::{HeadError, ResponseError};
use super::field::{HeadIndex, Headers};
use super::kind::HeaderKind;
use super::request::upgrade_protocols;
use super::scan::Scan;
use super::semantics::Semantics;
use super::{BodyFraming, Limits, MAX_HEAD, Version};

/// What a response's body depends on in the request it answers (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// HEAD: the response has no body, whatever its fields say.
    Head,
    /// CONNECT: a 2xx has no body, what follows is the tunnel.
    Connect,
    /// All others.
    Other,
}

/// A complete, valid response head.
#[derive(Debug, Clone)]
pub struct Response<'a> {
    /// The version the server speaks.
    pub version: Version,
    /// 100 to 599 (RFC 9110 section 15).
    pub status: u16,
    /// Where the body ends.
    pub framing: BodyFraming,
    /// Whether the connection can carry another request. Not after a body that only the close
    /// ends, and not after a 204 that announces a body: nobody knows if one follows.
    pub keep_alive: bool,
    /// The server changes to another protocol (RFC 9110 section 7.8); means something with 101 only.
    pub upgrade: bool,
    /// Bytes of the head in the buffer, the final empty line included.
    pub head_len: usize,
    /// What the fields say about the body of the response to a GET: stated again for HEAD and 304.
    pub(super) declared: BodyFraming,
    /// No body, but its framing is metadata worth passing on: HEAD and 304, not 1xx and 204, nor
    /// a tunnel.
    pub(super) states_metadata: bool,
    reason: &'a [u8],
    pub(super) buf: &'a [u8],
    pub(super) index: &'a HeadIndex,
}

impl<'a> Response<'a> {
    /// The reason phrase as received; may be empty.
    #[must_use]
    pub fn reason(&self) -> &'a [u8] {
        self.reason
    }

    /// All header fields in the order received.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        Headers {
            buf: self.buf,
            entries: self.index.entries().iter(),
        }
    }

    /// Whether there is a header of this kind; no search.
    #[must_use]
    pub fn has(&self, kind: HeaderKind) -> bool {
        self.index.seen().contains(kind)
    }

    /// The protocols that the server changes to.
    pub fn protocols(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        upgrade_protocols(self.headers())
    }

    /// Whether another response to the same request follows. 101 is final: it ends HTTP.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}

/// Parses the response head at the front of `buf`, the answer to a request of the given kind.
/// `None` means that all is well so far and more bytes are needed; an error is final.
///
/// # Errors
/// The first reason found to refuse the response, see [`ResponseError`].
pub fn parse_response<'a>(
    buf: &'a [u8],
    request: RequestKind,
    limits: &Limits,
    index: &'a mut HeadIndex,
) -> Result<Option<Response<'a>>, ResponseError> {
    let head_limit = limits.head.min(MAX_HEAD);
    let head = buf.get(..head_limit).unwrap_or(buf);
    match response_head(head, request, limits, index) {
        Ok(response) => Ok(Some(response)),
        Err(Stop::Refused(error)) => Err(error),
        Err(Stop::Partial) if buf.len() >= head_limit => Err(HeadError::HeadTooLarge.into()),
        Err(Stop::Partial) => Ok(None),
    }
}

#[inline]
fn response_head<'a>(
    buf: &'a [u8],
    request: RequestKind,
    limits: &Limits,
    index: &'a mut HeadIndex,
) -> Result<Response<'a>, Stop<ResponseError>> {
    let mut scan = Scan::new(buf, 0);
    let line = match status_line(buf.get(..limits.request_line).unwrap_or(buf), &mut scan) {
        Err(Stop::Partial) if buf.len() >= limits.request_line => {
            return Err(ResponseError::StatusLineTooLong.into());
        }
        line => line?,
    };
    let mut semantics = Semantics::default();
    let head_len = index
        .parse(buf, &mut scan, line.end, limits.headers, &mut semantics)
        .map_err(widen)?;
    let declared = semantics
        .framing(line.version)
        .map_err(ResponseError::Head)?;
    semantics
        .nominate(buf, index)
        .map_err(ResponseError::Head)?;

    let framing = framing(line.status, request, declared);
    let announces = matches!(declared, BodyFraming::Chunked | BodyFraming::Length(1..));
    if announces && line.status < 200 {
        return Err(ResponseError::InterimWithBody.into());
    }
    let ambiguous = announces && line.status == 204;
    Ok(Response {
        version: line.version,
        status: line.status,
        framing,
        keep_alive: semantics.keep_alive(line.version)
            && framing != BodyFraming::UntilClose
            && !ambiguous,
        upgrade: semantics.upgrade(line.version),
        head_len,
        declared,
        states_metadata: match request {
            RequestKind::Head => !matches!(line.status, 100..200 | 204),
            _ => line.status == 304,
        },
        reason: line.reason,
        buf,
        index,
    })
}

/// RFC 9112 section 6.3.
#[inline]
fn framing(status: u16, request: RequestKind, declared: BodyFraming) -> BodyFraming {
    match (request, status) {
        (RequestKind::Head, _) | (_, 100..200 | 204 | 304) => BodyFraming::None,
        (RequestKind::Connect, 200..300) => BodyFraming::None,
        _ if declared == BodyFraming::None => BodyFraming::UntilClose,
        _ => declared,
    }
}

fn widen(stop: Stop<HeadError>) -> Stop<ResponseError> {
    match stop {
        Stop::Partial => Stop::Partial,
        Stop::Refused(error) => Stop::Refused(error.into()),
    }
}

struct StatusLine<'a> {
    version: Version,
    status: u16,
    reason: &'a [u8],
    /// Behind the CRLF.
    end: usize,
}

#[inline]
fn status_line<'a>(
    buf: &'a [u8],
    scan: &mut Scan<'_>,
) -> Result<StatusLine<'a>, Stop<ResponseError>> {
    let known = buf.starts_with(b"HTTP/1.1 ") && buf.len() >= 12;
    let form: &[u8; 12] = b"HTTP/0.0 000";
    for (&byte, expected) in buf.iter().zip(form).skip(if known { 9 } else { 0 }) {
        let fits = if *expected == b'0' {
            byte.is_ascii_digit()
        } else {
            byte == *expected
        };
        if !fits {
            return Err(ResponseError::InvalidStatusLine.into());
        }
    }
    let Some((&[.., major, _, minor, _, hundreds, tens, ones], _)) = buf.split_first_chunk::<12>()
    else {
        return Err(Stop::Partial);
    };
    let version = match (major, minor) {
        (b'1', b'1') => Version::Http11,
        (b'1', b'0') => Version::Http10,
        _ => return Err(ResponseError::UnsupportedVersion.into()),
    };
    let digit = |byte: u8| u16::from(byte - b'0');
    let status = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
    if !(100..600).contains(&status) {
        return Err(ResponseError::InvalidStatusLine.into());
    }
    // The space before an empty reason is required (RFC 9112 section 4), and often missing.
    let reason_start = match buf.get(12) {
        None => return Err(Stop::Partial),
        Some(b' ') => 13,
        Some(b'\r') => 12,
        Some(_) => return Err(ResponseError::InvalidStatusLine.into()),
    };
    let reason_end = scan.control(reason_start);
    let end = chars::line_end(buf, reason_end).map_err(widen)?;
    let reason = buf.get(reason_start..reason_end).unwrap_or_default();
    Ok(StatusLine {
        version,
        status,
        reason,
        end,
    })
}
