//! What stands behind a head.

use super::error::PayloadError;
use super::head::{Flags, Head};
use crate::parsed::Parsed;
use crate::thrift::{self, MessageError, MessageHead};

/// The payload of a frame, as far as its beginning tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload<'a> {
    /// There is none.
    Empty,
    /// A message, with a frame of its own or without.
    Message(MessageHead<'a>),
    /// A struct alone, in a streaming frame.
    Struct,
    /// Something else, which peers may understand.
    Other,
}

impl<'a> Payload<'a> {
    /// The head of the message, where it is one.
    #[must_use]
    pub fn message(&self) -> Option<&MessageHead<'a>> {
        match self {
            Self::Message(message) => Some(message),
            Self::Empty | Self::Struct | Self::Other => None,
        }
    }
}

impl Head<'_> {
    /// Looks at the beginning of the payload, of which `buf` has what has come: its own bytes tell what it
    /// is, not the protocol id. `need` of [`Parsed::Incomplete`] counts from the payload's begin.
    ///
    /// # Errors
    /// It begins like a message and is none, see [`PayloadError`].
    #[inline]
    pub fn payload<'p>(
        &self,
        buf: &'p [u8],
        limits: &thrift::Limits,
    ) -> Result<Parsed<Payload<'p>>, PayloadError> {
        let payload_len = self.payload_len();
        if payload_len == 0 {
            return Ok(Parsed::Complete(Payload::Empty));
        }
        // Streams carry messages in their trailers only, and those are not routed.
        if self.flags().contains(Flags::STREAMING) {
            return Ok(Parsed::Complete(Payload::Struct));
        }
        let shown = buf.get(..payload_len).unwrap_or(buf);
        match MessageHead::parse(shown, limits) {
            Ok(Parsed::Complete(message)) => {
                if message
                    .framed_len()
                    .is_some_and(|framed| framed != payload_len)
                {
                    return Err(PayloadError::FrameLength);
                }
                Ok(Parsed::Complete(Payload::Message(message)))
            }
            Ok(Parsed::Incomplete { need }) if need > payload_len => Err(PayloadError::Truncated),
            Ok(Parsed::Incomplete { need }) => Ok(Parsed::Incomplete { need }),
            Err(MessageError::UnknownProtocol) => Ok(Parsed::Complete(Payload::Other)),
            Err(error) => Err(error.into()),
        }
    }
}
