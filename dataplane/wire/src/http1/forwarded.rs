//! Who the client is behind trusted proxies: `X-Forwarded-For`, and `Forwarded` (RFC 7239).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::chars;
use super::kind::HeaderKind;
use super::request::Request;

/// Which field is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedField {
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `Forwarded`, its `for` parameters.
    Forwarded,
}

/// The address of the client: the first one from the right that is not a trusted proxy's. `peer`
/// itself where it is not trusted. Each trusted proxy vouches for the entry that it added, which is
/// the last one not read yet; where that is missing or no address (`unknown`, an obfuscated name), the
/// proxy is the farthest that is known.
#[must_use]
pub fn client_address(
    request: &Request<'_>,
    field: ForwardedField,
    peer: IpAddr,
    trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let kind = match field {
        ForwardedField::XForwardedFor => HeaderKind::XForwardedFor,
        ForwardedField::Forwarded => HeaderKind::Forwarded,
    };
    let mut client = peer;
    if !trusted(client) || !request.has(kind) {
        return client;
    }
    let fields = request.headers().rev().filter(|h| h.kind == kind);
    for entry in fields.flat_map(|header| header.value.rsplit(|&b| b == b',')) {
        let entry = chars::trim(entry);
        let node = match field {
            ForwardedField::XForwardedFor => Some(entry),
            ForwardedField::Forwarded => for_parameter(entry),
        };
        let Some(address) = node.and_then(node_address) else {
            return client;
        };
        client = address;
        if !trusted(client) {
            break;
        }
    }
    client
}

/// The value of `for` in one element of `Forwarded`. A quoted string with a comma in it is never
/// whole here, and nothing is found in its pieces.
fn for_parameter(element: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    for pair in element.split(|&b| b == b';') {
        let equals = memchr::memchr(b'=', pair)?;
        let (name, value) = pair.split_at_checked(equals)?;
        let value = unquoted(value.get(1..)?)?;
        if name.eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
            return None;
        }
    }
    found
}

/// A token, or what stands between two quotes; no escapes, which no address needs.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'"', inner @ .., b'"'] if !inner.iter().any(|b| b"\"\\".contains(b)) => Some(inner),
        _ if value.contains(&b'"') => None,
        _ => Some(value),
    }
}

/// An address with or without a port; IPv6 in brackets or bare.
fn node_address(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    let bare = text.strip_prefix('[')?.strip_suffix(']')?;
    bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// An address as a node of `Forwarded`: IPv6 in quotes and brackets (RFC 7239 section 6).
pub fn write_forwarded_element(out: &mut impl std::fmt::Write, client: IpAddr, proto: &str) {
    // The caller's buffer has room for the longest, or says so itself.
    let _ = match client {
        IpAddr::V4(address) => write!(out, "for={address};proto={proto}"),
        IpAddr::V6(address) => write!(out, "for=\"[{address}]\";proto={proto}"),
    };
}

#[cfg(test)]
mod tests {
    use super::super::{HeadIndex, Limits, parse_request};
    use super::*;

    fn client(field: ForwardedField, lines: &str) -> String {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let mut index = HeadIndex::new();
        let request = parse_request(head.as_bytes(), &Limits::default(), &mut index)
            .unwrap()
            .unwrap();
        let trusted = |address: IpAddr| address.to_string().starts_with("10.");
        client_address(&request, field, "10.0.0.1".parse().unwrap(), trusted).to_string()
    }

    #[test]
    fn the_first_untrusted_from_the_right_is_the_client() {
        for (lines, expected) in [
            ("", "10.0.0.1"),
            ("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"),
            (
                "X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.2\r\n",
                "192.0.2.1",
            ),
            (
                "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 10.0.0.9\r\n",
                "6.6.6.6",
            ),
            ("X-Forwarded-For: 10.0.0.3,10.0.0.2\r\n", "10.0.0.3"),
            (
                "X-Forwarded-For: 6.6.6.6, unknown, 10.0.0.2\r\n",
                "10.0.0.2",
            ),
            ("X-Forwarded-For: 6.6.6.6,\r\n", "10.0.0.1"),
            ("X-Forwarded-For: 192.0.2.1:4711\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1"),
            ("X-Forwarded-For: [2001:db8::1]\r\n", "2001:db8::1"),
            ("X-Forwarded-For: [2001:db8::1]:80\r\n", "2001:db8::1"),
            ("Forwarded: for=192.0.2.1\r\n", "10.0.0.1"),
        ] {
            assert_eq!(
                client(ForwardedField::XForwardedFor, lines),
                expected,
                "{lines}"
            );
        }
    }

    #[test]
    fn forwarded_is_read_likewise() {
        for (lines, expected) in [
            (
                "Forwarded: for=192.0.2.1;proto=http;by=10.0.0.1\r\n",
                "192.0.2.1",
            ),
            ("Forwarded: For=\"[2001:db8::1]:4711\"\r\n", "2001:db8::1"),
            (
                "Forwarded: for=6.6.6.6, for=192.0.2.1, for=\"10.0.0.2:80\"\r\n",
                "192.0.2.1",
            ),
            ("Forwarded: for=_hidden\r\n", "10.0.0.1"),
            ("Forwarded: for=unknown, for=10.0.0.2\r\n", "10.0.0.2"),
            ("Forwarded: proto=http\r\n", "10.0.0.1"),
            ("Forwarded: for=1.1.1.1;for=2.2.2.2\r\n", "10.0.0.1"),
            ("Forwarded: host=\"a, for=6.6.6.6\"\r\n", "10.0.0.1"),
            ("Forwarded: host=\"a, for=6.6.6.6;x=\"\r\n", "10.0.0.1"),
            ("Forwarded: for=\"192.0.2.1\r\n", "10.0.0.1"),
        ] {
            assert_eq!(
                client(ForwardedField::Forwarded, lines),
                expected,
                "{lines}"
            );
        }
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        let head = b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n";
        let mut index = HeadIndex::new();
        let request = parse_request(head, &Limits::default(), &mut index)
            .unwrap()
            .unwrap();
        let peer: IpAddr = "192.0.2.7".parse().unwrap();
        let found = client_address(&request, ForwardedField::XForwardedFor, peer, |_| false);
        assert_eq!(found, peer);
    }

    #[test]
    fn an_element_written_is_read() {
        for address in ["192.0.2.1", "2001:db8::1"] {
            let mut element = String::new();
            write_forwarded_element(&mut element, address.parse().unwrap(), "http");
            let line = format!("Forwarded: {element}\r\n");
            assert_eq!(client(ForwardedField::Forwarded, &line), address);
        }
    }
}
