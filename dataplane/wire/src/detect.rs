//! Which protocol a connection speaks, told from its first bytes. At most [`DECIDES`] bytes decide,
//! and no later byte changes what has been decided.
//!
//! | bytes | protocol |
//! |---|---|
//! | `[0..2]` = 8001, or 82 and version 1 | Thrift without frames, binary or compact |
//! | `[0..2]` = FFAF | MeshHeader |
//! | `[4..6]` = 1000 | TTHeader, also where its length is negative |
//! | `[4..6]` = 0FFF | THeader, another protocol, which is not served |
//! | `[4..6]` = 8001, or 82 and version 1, or 9001 | framed Thrift binary, compact, framed Kitex protobuf |
//! | 16 03, `[5]` = 01 | TLS, a ClientHello |
//! | `PRI * HT` | HTTP/2 |
//! | a method, `\r\n` and a letter | HTTP/1 |
//!
//! The first line that fits counts. The four bytes before `[4..6]` are a length, which is below 2 GiB where it
//! is legal; a TTHeader frame that is not is one still, so that it is refused as such. A method that RFC 9110
//! knows, with its space, is HTTP/1 whatever follows.

use crate::http1::is_token_byte;

/// Bytes that decide every case.
pub const DECIDES: usize = 8;

/// What the first bytes of a connection are the beginning of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// A TTHeader frame.
    TtHeader,
    /// A THeader frame (fbthrift), which looks alike and is something else.
    THeader,
    /// MeshHeader version 1, before a Thrift message.
    MeshHeader,
    /// A Thrift message in the binary protocol, without a frame ("buffered").
    ThriftBinary,
    /// A Thrift message in the compact protocol, without a frame.
    ThriftCompact,
    /// A Thrift message in the binary protocol behind its length.
    FramedThriftBinary,
    /// A Thrift message in the compact protocol behind its length.
    FramedThriftCompact,
    /// A Kitex protobuf message behind its length.
    FramedKitexProtobuf,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// The connection preface of HTTP/2 (RFC 9113 section 3.4).
    Http2,
    /// A TLS handshake (RFC 8446 section 5.1).
    Tls,
    /// None of them.
    Unknown,
}

/// The protocol that `first`, the first bytes of a connection, begin; `None` while they can't tell,
/// which is never so with [`DECIDES`] bytes.
#[must_use]
pub fn detect(first: &[u8]) -> Option<Protocol> {
    let first = first.get(..DECIDES).unwrap_or(first);
    match *first {
        [] => None,
        [0x80, 0x01, ..] => Some(Protocol::ThriftBinary),
        [0x82, kind, ..] if is_compact_version(kind) => Some(Protocol::ThriftCompact),
        [0xff, 0xaf, ..] => Some(Protocol::MeshHeader),
        // A negative length.
        [0x80..=0xff, _, _, _, 0x10, 0x00, ..] => Some(Protocol::TtHeader),
        [0x80..=0xff, _, _, _, 0x10] => None,
        [0x80..=0xff, ..] if first.len() < 5 => None,
        [0x80..=0xff, ..] => Some(Protocol::Unknown),
        _ => text(first).or_else(|| length_and_magic(first)),
    }
}

/// The low bits of a compact message's second byte are its version, 1.
fn is_compact_version(kind: u8) -> bool {
    kind & 0x1f == 1
}

/// HTTP, where its first bytes say so without looking at `[4..6]`.
fn text(first: &[u8]) -> Option<Protocol> {
    const METHODS: [&[u8]; 9] = [
        b"GET ",
        b"PUT ",
        b"POST ",
        b"HEAD ",
        b"PATCH ",
        b"TRACE ",
        b"DELETE ",
        b"OPTIONS ",
        b"CONNECT ",
    ];
    if first == b"PRI * HT" {
        return Some(Protocol::Http2);
    }
    let known = METHODS.iter().any(|method| first.starts_with(method));
    // An empty line before a request is skipped (RFC 9112 section 2.2).
    let after_empty_line = matches!(first, [b'\r', b'\n', b'A'..=b'Z', ..]);
    (known || after_empty_line).then_some(Protocol::Http1)
}

/// What has a length in front, TLS, and HTTP with a method of its own.
fn length_and_magic(first: &[u8]) -> Option<Protocol> {
    let &[_, _, _, _, magic, after, ..] = first else {
        return None;
    };
    match [magic, after] {
        [0x10, 0x00] => Some(Protocol::TtHeader),
        [0x0f, 0xff] => Some(Protocol::THeader),
        [0x80, 0x01] => Some(Protocol::FramedThriftBinary),
        [0x82, kind] if is_compact_version(kind) => Some(Protocol::FramedThriftCompact),
        [0x90, 0x01] => Some(Protocol::FramedKitexProtobuf),
        [_, 0x01] if first.starts_with(&[0x16, 0x03]) => Some(Protocol::Tls),
        _ if !could_be_a_request_line(first) => Some(Protocol::Unknown),
        _ if first.len() < DECIDES => None,
        _ => Some(Protocol::Http1),
    }
}

/// A method of any name, and what may follow it.
fn could_be_a_request_line(first: &[u8]) -> bool {
    let mut parts = first.splitn(2, |&byte| byte == b' ');
    let method = parts.next().unwrap_or_default();
    let target = parts.next().unwrap_or_default();
    !method.is_empty()
        && method.iter().copied().all(is_token_byte)
        && target.iter().all(|byte| matches!(byte, 0x21..=0x7e | b' '))
}

#[cfg(test)]
mod tests;
