//! What the fields of a head mean for the message and its connection: framing, persistence,
//! expectations.

use super::chars;
use super::error::HeadError;
use super::field::{Entry, HeadIndex, span};
use super::kind::HeaderKind;
use super::{BodyFraming, Version};

/// Names beside the usual options that `Connection` may list.
const MAX_NOMINATED: usize = 16;

/// Fields without a kind of their own that `Connection` must not name.
const END_TO_END: [&[u8]; 8] = [
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"cookie",
    b"location",
    b"set-cookie",
];

/// Gathered field by field while a head is parsed.
#[derive(Debug, Default)]
pub(super) struct Semantics {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade_option: bool,
    upgrade_field: bool,
    nominates: bool,
    /// `TE` says `trailers`.
    pub(super) te_trailers: bool,
    pub(super) expect_continue: bool,
    /// `Expect` asks for something else than 100-continue.
    pub(super) expect_other: bool,
    /// Offsets of the value of `Host`.
    pub(super) host: Option<(u16, u16)>,
    pub(super) repeated_host: bool,
}

impl Semantics {
    /// Takes in one field of a known kind.
    #[inline]
    pub(super) fn note(&mut self, entry: &Entry, value: &[u8]) -> Result<(), HeadError> {
        match entry.kind {
            HeaderKind::Host => {
                self.repeated_host |= self.host.is_some();
                self.host = Some((entry.value_start, entry.value_end));
            }
            HeaderKind::ContentLength => {
                if self.length.is_some() {
                    return Err(HeadError::RepeatedContentLength);
                }
                self.length = Some(content_length(value)?);
            }
            HeaderKind::TransferEncoding => {
                if self.chunked {
                    return Err(HeadError::InvalidTransferEncoding);
                }
                transfer_encoding(value)?;
                self.chunked = true;
            }
            HeaderKind::Connection => self.connection(value)?,
            HeaderKind::Upgrade => self.upgrade_field = true,
            HeaderKind::Te => self.te_trailers |= options(value).any(says_trailers),
            HeaderKind::Expect => {
                for expectation in options(value) {
                    if expectation.eq_ignore_ascii_case(b"100-continue") {
                        self.expect_continue = true;
                    } else {
                        self.expect_other = true;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), HeadError> {
        // What it says nearly always, if anything.
        match HopOption::of(value) {
            HopOption::Close => self.close = true,
            HopOption::KeepAlive => self.keep_alive = true,
            _ => return self.connection_options(value),
        }
        Ok(())
    }

    fn connection_options(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for option in options(value) {
            if !chars::is_token(option) {
                return Err(HeadError::InvalidConnection);
            }
            match HopOption::of(option) {
                HopOption::Close => self.close = true,
                HopOption::KeepAlive => self.keep_alive = true,
                HopOption::Upgrade => self.upgrade_option = true,
                HopOption::Te => {}
                HopOption::Field => self.nominates = true,
            }
        }
        Ok(())
    }

    /// What the fields say about the body, whatever the kind of message (RFC 9112 section 6.3).
    #[inline]
    pub(super) fn framing(&self, version: Version) -> Result<BodyFraming, HeadError> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(HeadError::BothFramings),
            (true, None) if version == Version::Http10 => Err(HeadError::TransferEncodingInHttp10),
            (true, None) => Ok(BodyFraming::Chunked),
            (false, Some(length)) => Ok(BodyFraming::Length(length)),
            (false, None) => Ok(BodyFraming::None),
        }
    }

    /// RFC 9112 section 9.3.
    #[inline]
    pub(super) fn keep_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// Whether a change of protocol is asked for (RFC 9110 section 7.8).
    #[inline]
    pub(super) fn upgrade(&self, version: Version) -> bool {
        self.upgrade_field && self.upgrade_option && version == Version::Http11
    }

    /// Marks the fields that `Connection` names (RFC 9110 section 7.6.1).
    #[inline]
    pub(super) fn nominate(&self, buf: &[u8], index: &mut HeadIndex) -> Result<(), HeadError> {
        if self.nominates {
            nominate(buf, index)
        } else {
            Ok(())
        }
    }
}

/// What one option of `Connection` says.
enum HopOption {
    Close,
    KeepAlive,
    Upgrade,
    Te,
    /// The name of a field that belongs to the connection.
    Field,
}

impl HopOption {
    fn of(option: &[u8]) -> Self {
        match option.len() {
            2 if option.eq_ignore_ascii_case(b"te") => Self::Te,
            5 if option.eq_ignore_ascii_case(b"close") => Self::Close,
            7 if option.eq_ignore_ascii_case(b"upgrade") => Self::Upgrade,
            10 if option.eq_ignore_ascii_case(b"keep-alive") => Self::KeepAlive,
            _ => Self::Field,
        }
    }
}

/// RFC 9110 section 10.1.4.
fn says_trailers(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"trailers")
}

/// The elements of a list, empty ones left out (RFC 9110 section 5.6.1.2).
pub(super) fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&b| b == b',')
        .map(chars::trim)
        .filter(|option| !option.is_empty())
}

#[cold]
fn nominate(buf: &[u8], index: &mut HeadIndex) -> Result<(), HeadError> {
    let mut names: [&[u8]; MAX_NOMINATED] = [&[]; MAX_NOMINATED];
    let mut slots = names.iter_mut();
    for entry in index
        .entries()
        .iter()
        .filter(|e| e.kind == HeaderKind::Connection)
    {
        for option in options(span(buf, entry.value_start, entry.value_end)) {
            if matches!(HopOption::of(option), HopOption::Field) {
                refuse_end_to_end(option)?;
                *slots.next().ok_or(HeadError::InvalidConnection)? = option;
            }
        }
    }
    for entry in index.entries_mut() {
        let name = span(buf, entry.start, entry.colon);
        entry.nominated = names
            .iter()
            .any(|nominated| name.eq_ignore_ascii_case(nominated));
    }
    Ok(())
}

/// A client could otherwise have the gateway remove what the gateway or the server behind relies on.
fn refuse_end_to_end(name: &[u8]) -> Result<(), HeadError> {
    let harmless = match HeaderKind::of(name) {
        HeaderKind::Connection
        | HeaderKind::Te
        | HeaderKind::Trailer
        | HeaderKind::Upgrade
        | HeaderKind::KeepAlive
        | HeaderKind::ProxyConnection => true,
        HeaderKind::Other => !END_TO_END
            .iter()
            .any(|field| name.eq_ignore_ascii_case(field)),
        _ => false,
    };
    if harmless {
        Ok(())
    } else {
        Err(HeadError::ConnectionNamesEndToEnd)
    }
}

/// Plain decimal digits up to `i64::MAX`: what lies above is negative in many a server.
#[inline]
fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    if value.is_empty() {
        return Err(HeadError::InvalidContentLength);
    }
    let mut length: i64 = 0;
    for &byte in value {
        if !byte.is_ascii_digit() {
            return Err(HeadError::InvalidContentLength);
        }
        length = length
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(i64::from(byte - b'0')))
            .ok_or(HeadError::InvalidContentLength)?;
    }
    Ok(length.unsigned_abs())
}

/// Only `chunked` by itself is accepted. Another coding below a final `chunked` is a valid message
/// that is not supported; everything else has no end that could be relied on.
fn transfer_encoding(value: &[u8]) -> Result<(), HeadError> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut codings = value.rsplit(|&b| b == b',').map(chars::trim);
    let chunked_last = codings
        .next()
        .is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
    let others_valid =
        codings.all(|coding| chars::is_token(coding) && !coding.eq_ignore_ascii_case(b"chunked"));
    if chunked_last && others_valid {
        Err(HeadError::UnsupportedTransferCoding)
    } else {
        Err(HeadError::InvalidTransferEncoding)
    }
}
