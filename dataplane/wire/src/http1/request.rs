//! Request heads (RFC 9112 section 3).

use super::chars::{self, PATH, PLAIN_PATH, QUERY, Stop, TOKEN};
use super::error::{HeadError, RequestError};
use super::field::{HeadIndex, Headers, span};
use super::kind::HeaderKind;
use super::path;
use super::scan::Scan;
use super::semantics::{Semantics, options};
use super::target::{Authority, Target};
use super::{BodyFraming, Limits, MAX_HEAD, Version};

/// The methods of RFC 9110 and PATCH; methods are case-sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the method of the same name")]
pub enum MethodKind {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Connect,
    Trace,
    Patch,
    /// Any other token.
    Other,
}

impl MethodKind {
    #[inline]
    fn of(method: &[u8]) -> Self {
        match method {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"CONNECT" => Self::Connect,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }
}

/// A complete, valid request head.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The version the client speaks.
    pub version: Version,
    /// Where the body ends; never [`BodyFraming::UntilClose`].
    pub framing: BodyFraming,
    /// Whether the connection stays open after this exchange, as far as the client is concerned.
    pub keep_alive: bool,
    /// The client waits for 100 (Continue) before it sends its body (RFC 9110 section 10.1.1).
    pub expect_continue: bool,
    /// The client expects something else, which a server may refuse with 417.
    pub expect_other: bool,
    /// The client understands trailers: `TE: trailers` (RFC 9110 section 10.1.4).
    pub te_trailers: bool,
    /// The client asks for another protocol (RFC 9110 section 7.8).
    pub upgrade: bool,
    /// Bytes of the head in the buffer, a skipped empty line before it and the final one included.
    pub head_len: usize,
    method: &'a [u8],
    method_kind: MethodKind,
    target: Target<'a>,
    authority: Authority<'a>,
    pub(super) buf: &'a [u8],
    pub(super) index: &'a HeadIndex,
}

impl<'a> Request<'a> {
    /// The method as received.
    #[must_use]
    pub fn method(&self) -> &'a [u8] {
        self.method
    }

    /// The method recognised.
    #[must_use]
    pub fn method_kind(&self) -> MethodKind {
        self.method_kind
    }

    /// Path and query as received, percent-encoding untouched; `/` for an absolute-form target
    /// that has neither, `*` for the whole server. Only for `http://host?query` does it begin with
    /// `?`; [`Self::path`] is `/` then.
    #[must_use]
    pub fn target(&self) -> &'a [u8] {
        self.target.raw
    }

    /// The path as received: begins with `/`, or is `*`.
    #[must_use]
    pub fn path(&self) -> &'a [u8] {
        self.target.path
    }

    /// The path as it is compared with those of rules: percent-encoded letters, digits, `-`, `.`, `_`,
    /// `~` and slashes are decoded, and what stays encoded is in upper case, since a server behind takes
    /// them for the same (RFC 3986 section 6.2.2). `scratch` is used where that makes a difference.
    #[inline]
    #[must_use]
    pub fn plain_path<'s>(&self, scratch: &'s mut Vec<u8>) -> &'s [u8]
    where
        'a: 's,
    {
        if self.target.plain {
            return self.target.path;
        }
        path::plain_path(self.target.path, scratch)
    }

    /// The target names the scheme https.
    #[must_use]
    pub fn is_for_https(&self) -> bool {
        self.target.is_https()
    }

    /// What follows the first `?`.
    #[must_use]
    pub fn query(&self) -> Option<&'a [u8]> {
        self.target.query
    }

    /// The authority as given, with its port. Empty only for HTTP/1.0 without Host.
    #[must_use]
    pub fn host(&self) -> &'a [u8] {
        self.authority.as_bytes()
    }

    /// The authority without its port; an IPv6 address keeps its brackets.
    #[must_use]
    pub fn host_name(&self) -> &'a [u8] {
        self.authority.name()
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

    /// The value of the only header of this kind; `None` where there is none, or more than one.
    #[must_use]
    pub fn only(&self, kind: HeaderKind) -> Option<&'a [u8]> {
        if !self.has(kind) {
            return None;
        }
        let mut values = self.headers().filter(|header| header.kind == kind);
        let value = values.next()?.value;
        values.next().is_none().then_some(value)
    }

    /// The protocols that the client would change to, in the order of its preference (RFC 9110
    /// section 7.8), where [`Self::upgrade`] says that it asks.
    pub fn protocols(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        upgrade_protocols(self.headers())
    }
}

/// The elements of all `Upgrade` fields.
pub(super) fn upgrade_protocols(headers: Headers<'_>) -> impl Iterator<Item = &[u8]> {
    headers
        .filter(|header| header.kind == HeaderKind::Upgrade)
        .flat_map(|header| options(header.value))
}

/// Parses the request head at the front of `buf`. `None` means that all is well so far and more
/// bytes are needed; an error is final, whatever would follow.
///
/// # Errors
/// The first reason found to refuse the request, see [`RequestError`].
pub fn parse_request<'a>(
    buf: &'a [u8],
    limits: &Limits,
    index: &'a mut HeadIndex,
) -> Result<Option<Request<'a>>, RequestError> {
    let head_limit = limits.head.min(MAX_HEAD);
    let head = buf.get(..head_limit).unwrap_or(buf);
    match request_head(head, limits, index) {
        Ok(request) => Ok(Some(request)),
        Err(Stop::Refused(error)) => Err(error),
        Err(Stop::Partial) if buf.len() >= head_limit => Err(HeadError::HeadTooLarge.into()),
        Err(Stop::Partial) => Ok(None),
    }
}

#[inline]
fn request_head<'a>(
    buf: &'a [u8],
    limits: &Limits,
    index: &'a mut HeadIndex,
) -> Result<Request<'a>, Stop<RequestError>> {
    let start = leading_line(buf)?;
    let line_limit = start.saturating_add(limits.request_line);
    let mut scan = Scan::new(buf, start);
    let line = match request_line(buf.get(..line_limit).unwrap_or(buf), &mut scan, start) {
        Err(Stop::Partial) if buf.len() >= line_limit => {
            return Err(RequestError::RequestLineTooLong.into());
        }
        line => line?,
    };
    let target = Target::parse(line.target, line.plain, line.question, line.method_kind)?;

    let mut semantics = Semantics::default();
    let head_len = index
        .parse(buf, &mut scan, line.end, limits.headers, &mut semantics)
        .map_err(widen)?;
    if semantics.repeated_host {
        return Err(RequestError::RepeatedHost.into());
    }
    let host = semantics.host.map(|(start, end)| span(buf, start, end));
    if host.is_none() && line.version == Version::Http11 {
        return Err(RequestError::MissingHost.into());
    }
    let authority = target.authority(host)?.unwrap_or(Authority::EMPTY);
    let framing = semantics
        .framing(line.version)
        .map_err(RequestError::Head)?;
    semantics.nominate(buf, index).map_err(RequestError::Head)?;

    let has_body = !matches!(framing, BodyFraming::None | BodyFraming::Length(0));
    Ok(Request {
        version: line.version,
        framing,
        keep_alive: semantics.keep_alive(line.version),
        expect_continue: semantics.expect_continue && has_body && line.version == Version::Http11,
        expect_other: semantics.expect_other && line.version == Version::Http11,
        te_trailers: semantics.te_trailers && line.version == Version::Http11,
        upgrade: semantics.upgrade(line.version),
        head_len,
        method: line.method,
        method_kind: line.method_kind,
        target,
        authority,
        buf,
        index,
    })
}

fn widen(stop: Stop<HeadError>) -> Stop<RequestError> {
    match stop {
        Stop::Partial => Stop::Partial,
        Stop::Refused(error) => Stop::Refused(error.into()),
    }
}

/// Position of the request line: one empty line before it is skipped (RFC 9112 section 2.2).
#[inline]
fn leading_line(buf: &[u8]) -> Result<usize, Stop<RequestError>> {
    match buf {
        [b'\r', ..] => chars::line_end(buf, 0).map_err(widen),
        _ => Ok(0),
    }
}

struct RequestLine<'a> {
    method: &'a [u8],
    method_kind: MethodKind,
    target: &'a [u8],
    /// No dot or percent sign stands before the first `?` in the target.
    plain: bool,
    /// Offset of the first `?` in the target.
    question: Option<usize>,
    version: Version,
    /// Behind the CRLF.
    end: usize,
}

#[inline]
fn request_line<'a>(
    buf: &'a [u8],
    scan: &mut Scan<'_>,
    start: usize,
) -> Result<RequestLine<'a>, Stop<RequestError>> {
    let method_end = chars::skip_by(buf, scan, start, TOKEN);
    match buf.get(method_end) {
        Some(b' ') if method_end > start => {}
        None => return Err(Stop::Partial),
        Some(&byte) => return Err(bad_byte(byte, RequestError::InvalidMethod).into()),
    }
    let method = buf.get(start..method_end).unwrap_or_default();

    let target_start = method_end + 1;
    let plain_end = chars::skip_by(buf, scan, target_start, PLAIN_PATH);
    let mut target_end = match buf.get(plain_end) {
        Some(b'.' | b'%') => chars::skip_by(buf, scan, plain_end, PATH),
        _ => plain_end,
    };
    let plain = target_end == plain_end;
    let mut question = None;
    if buf.get(target_end) == Some(&b'?') {
        question = Some(target_end - target_start);
        target_end = chars::skip_by(buf, scan, target_end + 1, QUERY);
    }
    match buf.get(target_end) {
        Some(b' ') if target_end > target_start => {}
        None => return Err(Stop::Partial),
        Some(&byte) => return Err(bad_byte(byte, RequestError::InvalidTarget).into()),
    }
    let (version, end) = version_and_end(buf, target_end + 1)?;
    Ok(RequestLine {
        method,
        method_kind: MethodKind::of(method),
        target: buf.get(target_start..target_end).unwrap_or_default(),
        plain,
        question,
        version,
        end,
    })
}

/// The version at `pos` and the position behind the CRLF after it.
#[inline]
fn version_and_end(buf: &[u8], pos: usize) -> Result<(Version, usize), Stop<RequestError>> {
    let rest = buf.get(pos..).unwrap_or_default();
    if rest.starts_with(b"HTTP/1.1\r\n") {
        return Ok((Version::Http11, pos + 10));
    }
    for (&byte, expected) in rest.iter().zip(b"HTTP/0.0") {
        let fits = if *expected == b'0' {
            byte.is_ascii_digit()
        } else {
            byte == *expected
        };
        if !fits {
            return Err(bad_byte(byte, RequestError::InvalidVersion).into());
        }
    }
    let Some((version, _)) = rest.split_at_checked(8) else {
        return Err(Stop::Partial);
    };
    let end = match buf.get(pos + 8) {
        Some(&byte) if byte != b'\r' => {
            return Err(bad_byte(byte, RequestError::InvalidVersion).into());
        }
        _ => chars::line_end(buf, pos + 8).map_err(widen)?,
    };
    match version {
        b"HTTP/1.1" => Ok((Version::Http11, end)),
        b"HTTP/1.0" => Ok((Version::Http10, end)),
        _ => Err(RequestError::UnsupportedVersion.into()),
    }
}

/// The most telling error for a byte that does not belong where it stands in a request line.
#[cold]
fn bad_byte(byte: u8, otherwise: RequestError) -> RequestError {
    match byte {
        b'\n' => HeadError::BareLf.into(),
        b'\r' => RequestError::InvalidRequestLine,
        0..0x20 | 0x7f => HeadError::ControlByte.into(),
        _ => otherwise,
    }
}
