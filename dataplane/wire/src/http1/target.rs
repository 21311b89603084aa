//! Where a request wants to go: the forms of the request target (RFC 9112 section 3.2) and the
//! authority.

use super::chars::{self, HOST};
use super::error::RequestError;
use super::path;
use super::request::MethodKind;

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// A host with an optional port, checked: a DNS name or IPv4 address of letters, digits, `-`, `.`,
/// `_` and `~`, or an IPv6 address in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    raw: &'a [u8],
    name: &'a [u8],
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Checks `raw`; `None` where it is empty or anything but `host [":" port]`.
    #[inline]
    #[must_use]
    pub fn parse(raw: &'a [u8]) -> Option<Self> {
        let name_end = match raw.first()? {
            b'[' => ipv6_end(raw)?,
            _ => chars::skip(raw, 0, HOST),
        };
        if name_end == 0 {
            return None;
        }
        let (name, rest) = raw.split_at_checked(name_end)?;
        let port = match rest {
            // An empty port is valid and the same as none (RFC 3986 section 3.2.3).
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(port_number(digits)?),
            _ => return None,
        };
        Some(Self { raw, name, port })
    }

    /// No host at all: an HTTP/1.0 request need not name one.
    pub(super) const EMPTY: Authority<'static> = Authority {
        raw: b"",
        name: b"",
        port: None,
    };

    /// As given, with the port.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }

    /// Without the port; an IPv6 address keeps its brackets.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// The port, if one is given.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    fn same_as(&self, other: &Self, default_port: u16) -> bool {
        self.name.eq_ignore_ascii_case(other.name)
            && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

/// Position behind the closing bracket.
#[cold]
fn ipv6_end(raw: &[u8]) -> Option<usize> {
    let close = memchr::memchr(b']', raw)?;
    let address = std::str::from_utf8(raw.get(1..close)?).ok()?;
    address.parse::<std::net::Ipv6Addr>().ok()?;
    Some(close + 1)
}

fn port_number(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0u16, |port, &byte| {
        if !byte.is_ascii_digit() {
            return None;
        }
        port.checked_mul(10)?.checked_add(u16::from(byte - b'0'))
    })
}

/// A request target taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// Path and query as received.
    pub(super) raw: &'a [u8],
    /// Begins with `/`, or is `*`.
    pub(super) path: &'a [u8],
    pub(super) query: Option<&'a [u8]>,
    /// The authority of an absolute-form target and the default port of its scheme.
    authority: Option<(Authority<'a>, u16)>,
}

impl<'a> Target<'a> {
    /// Takes `raw`, which consists of valid characters, apart. `question` is the offset of its
    /// first `?`.
    #[inline]
    pub(super) fn parse(
        raw: &'a [u8],
        question: Option<usize>,
        method: MethodKind,
    ) -> Result<Self, RequestError> {
        if method == MethodKind::Connect {
            return Err(RequestError::ConnectUnsupported);
        }
        let target = if raw.first() == Some(&b'/') {
            Self::origin(raw, question)
        } else if raw == b"*" && method == MethodKind::Options {
            Self::origin(raw, None)
        } else {
            Self::absolute(raw, method)?
        };
        if path::has_dot_segment(target.path) {
            return Err(RequestError::DotSegment);
        }
        Ok(target)
    }

    /// Whether the scheme is https.
    pub(super) fn is_https(&self) -> bool {
        matches!(self.authority, Some((_, HTTPS_PORT)))
    }

    fn origin(raw: &'a [u8], question: Option<usize>) -> Self {
        let (path, query) = match question.and_then(|at| raw.split_at_checked(at)) {
            Some((path, query)) => (path, query.get(1..)),
            None => (raw, None),
        };
        Self {
            raw,
            path,
            query,
            authority: None,
        }
    }

    #[cold]
    fn absolute(raw: &'a [u8], method: MethodKind) -> Result<Self, RequestError> {
        let (rest, default_port) = match strip_scheme(raw, b"http://") {
            Some(rest) => (rest, HTTP_PORT),
            None => (
                strip_scheme(raw, b"https://").ok_or(RequestError::InvalidTarget)?,
                HTTPS_PORT,
            ),
        };
        let authority_end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
        let (authority, origin) = rest
            .split_at_checked(authority_end)
            .ok_or(RequestError::InvalidTarget)?;
        let authority = Authority::parse(authority).ok_or(RequestError::InvalidTarget)?;
        let mut target = Self::origin(origin, memchr::memchr(b'?', origin));
        target.authority = Some((authority, default_port));
        if origin.is_empty() {
            // RFC 9112 section 3.2.4: OPTIONS of a whole server.
            target.path = if method == MethodKind::Options {
                b"*"
            } else {
                b"/"
            };
            target.raw = target.path;
        } else if target.path.is_empty() {
            target.path = b"/";
        }
        Ok(target)
    }

    /// The authority the request is for, given the value of its only `Host`.
    ///
    /// RFC 9112 section 3.2.2 has the authority of the target win over `Host`. The server behind
    /// might decide otherwise, so the two have to agree.
    #[inline]
    pub(super) fn authority(
        &self,
        host: Option<&'a [u8]>,
    ) -> Result<Option<Authority<'a>>, RequestError> {
        let host = match host {
            Some(host) => Some(Authority::parse(host).ok_or(RequestError::InvalidHost)?),
            None => None,
        };
        match (self.authority, host) {
            (Some((authority, default_port)), Some(host))
                if !authority.same_as(&host, default_port) =>
            {
                Err(RequestError::HostDisagrees)
            }
            (Some((authority, _)), _) => Ok(Some(authority)),
            (None, host) => Ok(host),
        }
    }
}

fn strip_scheme<'a>(raw: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = raw.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}
