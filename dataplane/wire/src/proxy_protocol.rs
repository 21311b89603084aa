//! The PROXY protocol, versions 1 and 2: who the client of a connection is, said by the proxy in front
//! before the first byte (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! Strict where the specification is: version 1 is one line of single spaces, plain decimal ports
//! and an address of the stated family; version 2 is a stream over IPv4 or IPv6 whose addresses are
//! all there. What follows the addresses in version 2 (TLVs) is skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1 in bytes, its CRLF included (specification, section 2.1).
pub const MAX_V1: usize = 107;

/// Longest header of version 2 in bytes that is accepted (section 2.2: receivers take at least 536).
pub const MAX_V2: usize = 536;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family and length.
const FIXED: usize = 16;

/// Which form is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What a header says about the connection behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The proxy's own connection (LOCAL), or one whose addresses it does not know (UNKNOWN,
    /// UNSPEC): the peer is who it is.
    Peer,
    /// Made for another.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// The address that the client connected to.
        destination: SocketAddr,
    },
}

/// Why a header is refused. The connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The connection begins with something else.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// No CRLF within [`MAX_V1`] bytes, or a length beyond [`MAX_V2`].
    #[error("the PROXY header is longer than allowed")]
    TooLong,
    /// Not the words of version 1, or an address or port that is none.
    #[error("the line of the PROXY header is malformed")]
    Line,
    /// A version, command, family or length that version 2 does not have.
    #[error("the binary PROXY header is malformed")]
    Binary,
}

/// Reads the header at the front of a connection: what it says and its length in bytes. `None` means
/// that all is well so far and more bytes are needed.
///
/// # Errors
/// The first reason found to refuse it, see [`ProxyError`].
pub fn parse(buf: &[u8]) -> Result<Option<(Origin, usize)>, ProxyError> {
    match buf.first() {
        None => Ok(None),
        Some(b'P') => line(buf),
        Some(b'\r') => binary(buf),
        Some(_) => Err(ProxyError::Missing),
    }
}

/// Appends a header for a connection made for `source`, who connected to `destination`. Addresses of
/// two families can't be stated together: that says UNKNOWN or UNSPEC.
pub fn write(out: &mut Vec<u8>, version: Version, source: SocketAddr, destination: SocketAddr) {
    match version {
        Version::V1 => write_line(out, source, destination),
        Version::V2 => write_binary(out, source, destination),
    }
}

fn line(buf: &[u8]) -> Result<Option<(Origin, usize)>, ProxyError> {
    const START: &[u8] = b"PROXY ";
    let shown = buf.len().min(START.len());
    if buf.get(..shown) != START.get(..shown) {
        return Err(ProxyError::Missing);
    }
    let window = buf.get(..MAX_V1).unwrap_or(buf);
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() == MAX_V1 {
            Err(ProxyError::TooLong)
        } else {
            Ok(None)
        };
    };
    let text = window.get(START.len()..end);
    let text = text
        .and_then(|text| text.strip_suffix(b"\r"))
        .and_then(|text| std::str::from_utf8(text).ok())
        .ok_or(ProxyError::Line)?;
    let origin = if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        Origin::Peer
    } else {
        addresses(text).ok_or(ProxyError::Line)?
    };
    Ok(Some((origin, end + 1)))
}

/// `TCP4 source destination source-port destination-port`
fn addresses(text: &str) -> Option<Origin> {
    let mut words = text.split(' ');
    let v4 = match words.next()? {
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let mut address = || {
        let address: IpAddr = words.next()?.parse().ok()?;
        (address.is_ipv4() == v4).then_some(address)
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || number(words.next()?);
    let (source_port, destination_port) = (port()?, port()?);
    if words.next().is_some() {
        return None;
    }
    Some(Origin::Proxied {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

/// Digits without a sign or a leading zero.
fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

fn binary(buf: &[u8]) -> Result<Option<(Origin, usize)>, ProxyError> {
    let shown = buf.len().min(SIGNATURE.len());
    if buf.get(..shown) != SIGNATURE.get(..shown) {
        return Err(ProxyError::Missing);
    }
    let Some((&[.., command, family, high, low], rest)) = buf.split_first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED + length > MAX_V2 {
        return Err(ProxyError::TooLong);
    }
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyError::Binary),
    };
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    // For LOCAL the family is to be ignored, and so is what follows (section 2.2).
    let origin = match family {
        _ if local => Origin::Peer,
        0x00 => Origin::Peer,
        0x11 => v4(body).ok_or(ProxyError::Binary)?,
        0x21 => v6(body).ok_or(ProxyError::Binary)?,
        _ => return Err(ProxyError::Binary),
    };
    Ok(Some((origin, FIXED + length)))
}

fn v4(body: &[u8]) -> Option<Origin> {
    let (source, rest) = body.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    proxied(
        Ipv4Addr::from(*source).into(),
        Ipv4Addr::from(*destination).into(),
        rest,
    )
}

fn v6(body: &[u8]) -> Option<Origin> {
    let (source, rest) = body.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    proxied(
        Ipv6Addr::from(*source).into(),
        Ipv6Addr::from(*destination).into(),
        rest,
    )
}

fn proxied(source: IpAddr, destination: IpAddr, ports: &[u8]) -> Option<Origin> {
    let &[a, b, c, d] = ports.first_chunk::<4>()?;
    Some(Origin::Proxied {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    })
}

fn write_line(out: &mut Vec<u8>, source: SocketAddr, destination: SocketAddr) {
    use std::io::Write;
    let family = match (source, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
        (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
        _ => {
            out.extend_from_slice(b"PROXY UNKNOWN\r\n");
            return;
        }
    };
    // Writing to a vector does not fail.
    let _ = write!(
        out,
        "PROXY {family} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    );
}

fn write_binary(out: &mut Vec<u8>, source: SocketAddr, destination: SocketAddr) {
    out.extend_from_slice(SIGNATURE);
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            out.extend_from_slice(&[0x21, 0x21, 0, 36]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        _ => {
            out.extend_from_slice(&[0x21, 0x00, 0, 0]);
            return;
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}

#[cfg(test)]
mod tests;
