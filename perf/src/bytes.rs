//! What requests ask of a backend, written in their path, and the bytes that must come of it.
//!
//! `/t/<id>/<length>/<form>`: answer with `length` bytes that follow from `id`, in a form. Bodies of
//! requests follow from the same `id`, so that both sides can check every byte.

use std::fmt::Write;

/// How an answer is framed, or fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `Content-Length`.
    Length,
    /// Chunks of up to this many bytes.
    Chunked(u16),
    /// No length: the body ends with the connection.
    UntilClose,
    /// An interim 100 first, then `Content-Length`.
    Interim,
    /// The connection is closed instead of an answer.
    CloseEarly,
    /// The connection is reset instead of an answer.
    Reset,
    /// `Content-Length`, but the connection is closed after half of the body.
    Truncate,
    /// No answer at all.
    Stall,
    /// Bytes that are not HTTP.
    Garbage,
    /// A `Content-Length` that is one less than what is sent: the last byte belongs to no answer.
    Excess,
}

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Number of the request; its bodies follow from it.
    pub id: u64,
    /// Bytes of the answer's body.
    pub length: u64,
    /// Framing or failure.
    pub form: Form,
}

impl Ask {
    /// The path that asks for it.
    pub fn path(&self) -> String {
        let mut path = format!("/t/{}/{}/", self.id, self.length);
        let _ = match self.form {
            Form::Length => write!(path, "length"),
            Form::Chunked(size) => write!(path, "chunked-{size}"),
            Form::UntilClose => write!(path, "close"),
            Form::Interim => write!(path, "interim"),
            Form::CloseEarly => write!(path, "early"),
            Form::Reset => write!(path, "reset"),
            Form::Truncate => write!(path, "truncate"),
            Form::Stall => write!(path, "stall"),
            Form::Garbage => write!(path, "garbage"),
            Form::Excess => write!(path, "excess"),
        };
        path
    }

    /// What a path asks for; `None` for a path of another kind.
    pub fn parse(path: &[u8]) -> Option<Ask> {
        let mut parts = std::str::from_utf8(path)
            .ok()?
            .strip_prefix("/t/")?
            .split('/');
        let id = parts.next()?.parse().ok()?;
        let length = parts.next()?.parse().ok()?;
        let form = match parts.next()? {
            "length" => Form::Length,
            "close" => Form::UntilClose,
            "interim" => Form::Interim,
            "early" => Form::CloseEarly,
            "reset" => Form::Reset,
            "truncate" => Form::Truncate,
            "stall" => Form::Stall,
            "garbage" => Form::Garbage,
            "excess" => Form::Excess,
            chunked => Form::Chunked(chunked.strip_prefix("chunked-")?.parse().ok()?),
        };
        Some(Ask { id, length, form })
    }
}

/// The byte at a position of the body that follows from `id`.
#[inline]
pub fn byte(id: u64, position: u64) -> u8 {
    let x = (id ^ (position >> 6)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x >> 56) as u8 ^ position as u8
}

/// Appends bytes `from..to` of the body that follows from `id`.
pub fn append(out: &mut Vec<u8>, id: u64, from: u64, to: u64) {
    out.extend((from..to).map(|position| byte(id, position)));
}

/// Whether `bytes` are those of the body that follows from `id`, beginning at `from`.
pub fn are_right(bytes: &[u8], id: u64, from: u64) -> bool {
    bytes
        .iter()
        .zip(from..)
        .all(|(&b, position)| b == byte(id, position))
}
