//! Why a frame is refused. Each error has a stable name for metrics and one sentence for people.

use crate::thrift::MessageError;

/// Why a head is refused. The end of the frame is not known then: the connection can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// LENGTH has its top bit set.
    #[error("the frame's length is negative")]
    NegativeLength,
    /// LENGTH is above [`super::Limits::frame`].
    #[error("the frame is larger than the limit")]
    FrameTooLarge,
    /// Another magic.
    #[error("this is no TTHeader frame")]
    Magic,
    /// HEADER SIZE is 0: not even room for the protocol id.
    #[error("the header has no room for its protocol id")]
    HeaderEmpty,
    /// HEADER SIZE is above [`super::Limits::head`].
    #[error("the header is larger than the limit")]
    HeaderTooLarge,
    /// HEADER SIZE reaches behind the end that LENGTH states.
    #[error("the header is longer than its frame")]
    HeaderPastFrame,
    /// More transforms than the header has bytes.
    #[error("the transforms reach behind the header")]
    Transforms,
    /// An INFO block of unknown kind, whose length can't be known.
    #[error("an INFO block has an unknown kind")]
    UnknownInfo,
    /// A count, key, length or value of an INFO block.
    #[error("an INFO block reaches behind the header")]
    InfoPastHeader,
    /// Two ACL tokens, in blocks or as a string key: readers differ in which one they take.
    #[error("the ACL token is given more than once")]
    RepeatedAclToken,
}

impl HeadError {
    /// Stable name for metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NegativeLength => "negative_length",
            Self::FrameTooLarge => "frame_too_large",
            Self::Magic => "magic",
            Self::HeaderEmpty => "header_empty",
            Self::HeaderTooLarge => "header_too_large",
            Self::HeaderPastFrame => "header_past_frame",
            Self::Transforms => "transforms",
            Self::UnknownInfo => "unknown_info",
            Self::InfoPastHeader => "info_past_header",
            Self::RepeatedAclToken => "repeated_acl_token",
        }
    }
}

/// Why a payload is refused. The frame around it is sound: the connection can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Its message is.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// It ends before the head of its message does.
    #[error("the payload ends within the head of its message")]
    Truncated,
    /// The Thrift frame within is not as long as the payload.
    #[error("the Thrift frame does not fill the payload")]
    FrameLength,
}

impl PayloadError {
    /// Stable name for metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Message(error) => error.name(),
            Self::Truncated => "payload_truncated",
            Self::FrameLength => "frame_length",
        }
    }
}

/// Why a head can't be written. Nothing has been appended then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A key or value longer than 65,535 bytes.
    #[error("a key or value is longer than 65,535 bytes")]
    StringTooLong,
    /// Beyond [`super::MAX_WRITTEN`].
    #[error("the header would be longer than 65,532 bytes")]
    HeaderTooLarge,
    /// Beyond 2^31 - 1 bytes.
    #[error("the frame would be longer than its length can say")]
    FrameTooLarge,
}

/// Why the sequence of a frame's message can't be changed, so that the frame can't share a connection
/// with others whose servers go by it. Nothing has been appended then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// The head can't be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A `PV_` key: a checksum over the payload that only the peers can compute.
    #[error("the payload has a checksum that a gateway can't adjust")]
    Validator,
    /// `crc32c` is not eight hexadecimal digits.
    #[error("the crc32c of the payload is malformed")]
    Checksum,
}

impl RewriteError {
    /// Stable name for metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Encode(EncodeError::StringTooLong) => "string_too_long",
            Self::Encode(EncodeError::HeaderTooLarge) => "header_too_large",
            Self::Encode(EncodeError::FrameTooLarge) => "frame_too_large",
            Self::Validator => "validator",
            Self::Checksum => "checksum",
        }
    }
}
