//! Apache Thrift messages on the wire, as far as a gateway has to look: where a message begins, what
//! it calls, where it ends, and the answers that a gateway gives by itself.
//!
//! * [`MessageHead::parse`] reads kind, method and sequence of a message in the binary or compact
//!   protocol (thrift `doc/specs/thrift-binary-protocol.md`, `thrift-compact-protocol.md`), behind a
//!   frame's length or without; Kitex protobuf messages begin alike and are read too.
//! * [`Skipper`] finds the end of a message that has no frame around it.
//! * [`AnswerTo`] writes exceptions and void replies.
//!
//! Only the strict binary protocol is read, the one with a version: the old one begins with the
//! length of a method and can't be told from a frame.

mod answer;
mod error;
mod head;
mod skip;
mod varint;

#[cfg(test)]
mod tests;

pub use answer::{AnswerTo, ExceptionKind, MAX_TEXT, NoAnswer, exception_type};
pub use error::{MessageError, SkipError};
pub use head::{FrameFull, MessageHead};
pub use skip::{MAX_DEPTH, Skipper};

/// How a message is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Thrift's strict binary protocol.
    Binary,
    /// Thrift's compact protocol.
    Compact,
    /// Kitex's protobuf messages: a head like that of [`Self::Binary`] under another magic, always in
    /// a frame, then protobuf.
    KitexProtobuf,
}

/// What a message is. The numbers are those of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// A request that wants an answer.
    Call = 1,
    /// The answer, which may be an exception that the IDL declares.
    Reply = 2,
    /// A `TApplicationException` instead of an answer.
    Exception = 3,
    /// A request that must not be answered.
    Oneway = 4,
}

impl MessageKind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Call),
            2 => Some(Self::Reply),
            3 => Some(Self::Exception),
            4 => Some(Self::Oneway),
            _ => None,
        }
    }
}

/// How large what is read may be. A limit reached is an error, never a truncation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message, without the length of its frame (default 16 MiB).
    pub message: u32,
    /// Bytes of a method's name (default 512).
    pub method: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 16 << 20,
            method: 512,
        }
    }
}
