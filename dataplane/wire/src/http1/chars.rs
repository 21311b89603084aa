//! Which bytes may stand where, and the scanning loops over them.

use super::error::HeadError;
use super::scan::Scan;

/// RFC 9110 `tchar`: methods, field names, tokens.
pub(super) const TOKEN: u8 = 1;
/// The path part of a target. Wider than RFC 3986 by the characters that browsers leave unencoded
/// (`[`, `]`, `^`, `` ` ``, `{`, `|`, `}`); without `?`, which ends it; never `#`, `"`, `<`, `>`, or
/// the backslash that some servers read as a slash.
pub(super) const PATH: u8 = 2;
/// [`PATH`] but for what another way of writing the same path is made of: dots and percent signs.
pub(super) const PLAIN_PATH: u8 = 16;
/// The query part: as the path, with `?` and the backslash.
pub(super) const QUERY: u8 = 4;
/// A host name or IPv4 address. Narrower than RFC 3986 `reg-name`: no name that resolves has
/// percent-encoding or sub-delimiters, and a comma would be two hosts.
pub(super) const HOST: u8 = 8;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let alphanumeric = b.is_ascii_alphanumeric();
        let mut class = 0;
        if alphanumeric
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            )
        {
            class |= TOKEN;
        }
        if b.is_ascii_graphic() && !matches!(b, b'"' | b'#' | b'<' | b'>') {
            class |= QUERY;
            if !matches!(b, b'?' | b'\\') {
                class |= PATH;
                if !matches!(b, b'.' | b'%') {
                    class |= PLAIN_PATH;
                }
            }
        }
        if alphanumeric || matches!(b, b'-' | b'.' | b'_' | b'~') {
            class |= HOST;
        }
        table[byte] = class;
        byte += 1;
    }
    table
}

pub(super) fn is(byte: u8, class: u8) -> bool {
    CLASS[byte as usize] & class != 0
}

pub(super) fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|&b| is(b, class))
}

/// RFC 9110 `tchar`, what methods are made of.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    is(byte, TOKEN)
}

/// A token (RFC 9110 section 5.6.2): at least one `tchar`.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

/// Index of the first byte from `pos` on that is not in `class`; the length of `buf` if all are.
#[inline]
pub(super) fn skip(buf: &[u8], pos: usize, class: u8) -> usize {
    let rest = buf.get(pos..).unwrap_or_default();
    match rest.iter().position(|&b| !is(b, class)) {
        Some(offset) => pos + offset,
        None => buf.len(),
    }
}

/// The same by a walk that has not gone beyond `pos`: letters, digits and dashes, which are in every class,
/// are passed over without a look at each.
#[inline]
pub(super) fn skip_by(buf: &[u8], scan: &mut Scan<'_>, mut pos: usize, class: u8) -> usize {
    loop {
        pos = scan.other(pos);
        match buf.get(pos) {
            Some(&byte) if is(byte, class) => pos += 1,
            _ => return pos,
        }
    }
}

/// Whether there is a byte that no field value may contain: a control byte other than HTAB.
#[inline]
pub(super) fn has_control(bytes: &[u8]) -> bool {
    let control = |byte: u8| byte != b'\t' && byte.is_ascii_control();
    bytes.iter().fold(false, |any, &byte| any | control(byte))
}

/// `bytes` without the spaces and tabs around it (RFC 9110 `OWS`).
#[inline]
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Why a parser cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop<E> {
    /// All bytes so far are fine, more are needed.
    Partial,
    /// The message is refused.
    Refused(E),
}

impl<E> From<E> for Stop<E> {
    fn from(error: E) -> Self {
        Self::Refused(error)
    }
}

/// The position behind the CRLF that has to stand at `pos`, where a byte of the line's own grammar
/// can not.
#[inline]
pub(super) fn line_end(buf: &[u8], pos: usize) -> Result<usize, Stop<HeadError>> {
    if buf.get(pos..).and_then(|rest| rest.first_chunk()) == Some(b"\r\n") {
        return Ok(pos + 2);
    }
    no_line_end(buf, pos)
}

#[cold]
fn no_line_end(buf: &[u8], pos: usize) -> Result<usize, Stop<HeadError>> {
    match (buf.get(pos), buf.get(pos + 1)) {
        (None, _) | (Some(b'\r'), None) => Err(Stop::Partial),
        (Some(b'\n'), _) => Err(HeadError::BareLf.into()),
        (Some(b'\r'), _) => Err(HeadError::BareCr.into()),
        (Some(_), _) => Err(HeadError::ControlByte.into()),
    }
}
