//! HTTP/1.0 and HTTP/1.1 messages (RFC 9110, RFC 9112): heads, bodies, and the heads sent on.
//!
//! Why this parser is ours and not `httparse`: a gateway's parser has to refuse whatever the server
//! behind it might read differently, and `httparse` accepts a lone LF as the end of a line, among
//! others. Here every message either means one thing or is refused with a named error:
//!
//! * lines end in CRLF; a lone CR, a lone LF, NUL and other control bytes are refused anywhere,
//!   and so are folded lines and a space before a colon;
//! * at most one `Content-Length`, plain decimal digits, at most `i64::MAX`;
//! * `Transfer-Encoding` is one field that says `chunked`, never beside `Content-Length`, never in
//!   HTTP/1.0;
//! * one `Host`, a name or address with an optional port, equal to the authority of an
//!   absolute-form target where there is one;
//! * `Connection` cannot name (and so have removed) a field meant for the final recipient.
//!
//! The heads written from parsed messages repeat the received fields byte for byte, without those
//! that belong to one connection, and state the framing anew.
//!
//! The order of work: [`needs_parse`], [`parse_request`], [`write_request_head`],
//! [`BodyDecoder`] and [`write_chunk_header`]; then [`parse_response`] and [`write_response_head`].

mod body;
mod chars;
mod date;
mod edits;
mod error;
mod field;
mod fixed;
mod forwarded;
mod ids;
mod kept;
mod kind;
mod local;
mod path;
mod request;
mod response;
mod scan;
mod semantics;
mod target;
mod trailers;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use chars::is_token_byte;

pub use body::{BodyDecoder, BodyEvent, MAX_CHUNK_LINE, MAX_TRAILERS};
pub use date::{DATE_LEN, imf_fixdate};
pub use edits::{FieldEdits, FieldName, FieldValue, HeaderEdit, NewTarget, RequestEdits};
pub use error::{BodyError, EditError, HeadError, RequestError, ResponseError};
pub use field::{HeadIndex, Header, Headers};
pub use fixed::FixedEdits;
pub use forwarded::{ForwardedField, client_address, write_forwarded_element};
pub use ids::{
    MAX_REQUEST_ID, TRACEPARENT_LEN, is_request_id, is_traceparent, request_id, traceparent,
};
pub use kept::{KeptName, KeptValue, MAX_VIA_NAME, Via};
pub use kind::{HeaderKind, KindSet};
pub use local::{RuleReply, reason_phrase, write_local_reply, write_rule_reply};
pub use path::plain_path;
pub use request::{MethodKind, Request, parse_request};
pub use response::{RequestKind, Response, parse_response};
pub use target::Authority;
pub use trailers::write_trailers;
pub use write::{
    ClientSide, SentHead, add_fields, write_chunk_header, write_last_chunk, write_request_head,
    write_response_head, write_switching_head,
};

/// Most header fields a [`HeadIndex`] can hold; [`Limits::headers`] above it has no effect.
pub const MAX_HEADERS: usize = 128;

/// Longest head in bytes that a [`HeadIndex`] can describe; [`Limits::head`] above it has no effect.
pub const MAX_HEAD: usize = u16::MAX as usize;

/// How large a head may be. A limit reached is an error, never a truncation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request line or status line, its CRLF included (default 8 KiB).
    pub request_line: usize,
    /// Bytes of the whole head, the final empty line included (default 16 KiB).
    pub head: usize,
    /// Number of header fields (default 100).
    pub headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line: 8 * 1024,
            head: 16 * 1024,
            headers: 100,
        }
    }
}

/// The protocol versions spoken; anything else is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: closes by default, knows neither chunks nor 1xx responses.
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How the end of a body is found (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body.
    None,
    /// Exactly so many bytes; 0 where `Content-Length: 0` was stated.
    Length(u64),
    /// Chunks, the last of size 0, then trailers.
    Chunked,
    /// All that comes until the peer closes (responses only).
    UntilClose,
}

/// Whether parsing a still incomplete head again can say anything new, where its first `seen`
/// bytes have been parsed before: a line has ended since, or a limit is reached.
///
/// A head is parsed from its start each time. Asking this first bounds the number of times by the
/// number of lines, so that a peer that sends one byte per segment costs no more than any other.
/// Always true for `seen == 0` with bytes to look at: garbage is refused at its first byte.
#[must_use]
pub fn needs_parse(buf: &[u8], seen: usize, limits: &Limits) -> bool {
    match buf.get(seen..) {
        None | Some([]) => false,
        Some(fresh) => {
            seen == 0
                || buf.len() >= limits.request_line.min(limits.head)
                || memchr::memchr(b'\n', fresh).is_some()
        }
    }
}
