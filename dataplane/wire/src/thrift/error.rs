//! Why a message is refused. Each error has a stable name for metrics and one sentence for people.

/// Why the head of a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Neither a version nor a frame with one.
    #[error("this is no Thrift message of a known protocol")]
    UnknownProtocol,
    /// The byte between version and kind, which is 0.
    #[error("the message has a version that is not known")]
    Version,
    /// Not one of [`super::MessageKind`].
    #[error("the message is neither call, reply, exception nor oneway")]
    Kind,
    /// A length below zero.
    #[error("the length of the method is negative")]
    NegativeMethod,
    /// Above [`super::Limits::method`].
    #[error("the name of the method is longer than the limit")]
    MethodTooLong,
    /// A frame above [`super::Limits::message`].
    #[error("the frame is larger than the limit")]
    FrameTooLarge,
    /// The frame ends before the head of its message does.
    #[error("the frame ends within the head of its message")]
    FrameTooShort,
    /// More than five bytes, or more than 32 bits.
    #[error("a number has more bits than its type")]
    Varint,
}

impl MessageError {
    /// Stable name for metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownProtocol => "unknown_protocol",
            Self::Version => "version",
            Self::Kind => "kind",
            Self::NegativeMethod => "negative_method",
            Self::MethodTooLong => "method_too_long",
            Self::FrameTooLarge => "frame_too_large",
            Self::FrameTooShort => "frame_too_short",
            Self::Varint => "varint",
        }
    }
}

/// Why the body of a message without a frame is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SkipError {
    /// A type that the protocol does not have.
    #[error("a field or element has a type that is not known")]
    Type,
    /// A length or a count below zero.
    #[error("a length or a count is negative")]
    Negative,
    /// More than ten bytes, or more bits than its type has.
    #[error("a number has more bits than its type")]
    Varint,
    /// More than [`super::MAX_DEPTH`] structs, lists and maps within each other.
    #[error("structs and collections are nested deeper than the limit")]
    TooDeep,
    /// Larger than the limit, or sure to become so.
    #[error("the message is larger than the limit")]
    TooLarge,
}

impl SkipError {
    /// Stable name for metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Negative => "negative",
            Self::Varint => "varint",
            Self::TooDeep => "too_deep",
            Self::TooLarge => "too_large",
        }
    }
}
