//! Why frames are refused, as it is counted.

use sluice_wire::thrift::{MessageError, NoAnswer, SkipError};
use sluice_wire::ttheader::{HeadError, PayloadError};

use super::front::{FrameError, FrontError};

sluice_stack::counters! {
    /// Why a frame of an RPC was refused.
    pub enum Refused {
        /// Its length is negative.
        NegativeLength => "negative_length",
        /// It is larger than the limit.
        FrameTooLarge => "frame_too_large",
        /// It is no frame of the protocol that its connection began with.
        Magic => "magic",
        /// Its header has no room for what every header has.
        HeaderEmpty => "header_empty",
        /// Its header is larger than the limit.
        HeaderTooLarge => "header_too_large",
        /// Its header is longer than itself.
        HeaderPastFrame => "header_past_frame",
        /// Its transforms reach behind the header.
        Transforms => "transforms",
        /// An INFO block has an unknown kind.
        UnknownInfo => "unknown_info",
        /// A count, key or value reaches behind the header.
        InfoPastHeader => "info_past_header",
        /// The ACL token is given more than once.
        RepeatedAclToken => "repeated_acl_token",
        /// Its message is none of a known protocol.
        UnknownProtocol => "unknown_protocol",
        /// Its message has a version that is not known.
        Version => "version",
        /// Its message is neither call, reply, exception nor oneway.
        Kind => "kind",
        /// The length of the method is negative.
        NegativeMethod => "negative_method",
        /// The name of the method is longer than the limit.
        MethodTooLong => "method_too_long",
        /// The Thrift frame ends within the head of its message.
        FrameTooShort => "frame_too_short",
        /// A number has more bits than its type.
        Varint => "varint",
        /// The payload ends within the head of its message.
        PayloadTruncated => "payload_truncated",
        /// The Thrift frame does not fill the payload.
        FrameLength => "frame_length",
        /// A field or element of a message without a frame has a type that is not known.
        Type => "type",
        /// A length or a count in a message without a frame is negative.
        Negative => "negative",
        /// Structs and collections of a message without a frame are nested too deep.
        TooDeep => "too_deep",
        /// A message without a frame is larger than the limit.
        TooLarge => "too_large",
        /// Its peer ended the connection, or sent no more for too long, in the middle of it.
        Truncated => "truncated",
        /// A caller sent a reply or an exception.
        NotARequest => "not_a_request",
        /// A service sent a request.
        NotAReply => "not_a_reply",
        /// A call or stream has the sequence 0, where that is reserved.
        ReservedSequence => "reserved_sequence",
        /// A stream begins with the id of another that is under way.
        StreamIdInUse => "stream_id_in_use",
    }
}

impl From<HeadError> for Refused {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::NegativeLength => Refused::NegativeLength,
            HeadError::FrameTooLarge => Refused::FrameTooLarge,
            HeadError::Magic => Refused::Magic,
            HeadError::HeaderEmpty => Refused::HeaderEmpty,
            HeadError::HeaderTooLarge => Refused::HeaderTooLarge,
            HeadError::HeaderPastFrame => Refused::HeaderPastFrame,
            HeadError::Transforms => Refused::Transforms,
            HeadError::UnknownInfo => Refused::UnknownInfo,
            HeadError::InfoPastHeader => Refused::InfoPastHeader,
            HeadError::RepeatedAclToken => Refused::RepeatedAclToken,
        }
    }
}

impl From<MessageError> for Refused {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::UnknownProtocol => Refused::UnknownProtocol,
            MessageError::Version => Refused::Version,
            MessageError::Kind => Refused::Kind,
            MessageError::NegativeMethod => Refused::NegativeMethod,
            MessageError::MethodTooLong => Refused::MethodTooLong,
            MessageError::FrameTooLarge => Refused::FrameTooLarge,
            MessageError::FrameTooShort => Refused::FrameTooShort,
            MessageError::Varint => Refused::Varint,
        }
    }
}

impl From<PayloadError> for Refused {
    fn from(error: PayloadError) -> Self {
        match error {
            PayloadError::Message(error) => error.into(),
            PayloadError::Truncated => Refused::PayloadTruncated,
            PayloadError::FrameLength => Refused::FrameLength,
        }
    }
}

impl From<SkipError> for Refused {
    fn from(error: SkipError) -> Self {
        match error {
            SkipError::Type => Refused::Type,
            SkipError::Negative => Refused::Negative,
            SkipError::Varint => Refused::Varint,
            SkipError::TooDeep => Refused::TooDeep,
            SkipError::TooLarge => Refused::TooLarge,
        }
    }
}

impl From<FrontError> for Refused {
    fn from(error: FrontError) -> Self {
        match error {
            FrontError::Head(error) => error.into(),
            FrontError::Message(error) => error.into(),
            FrontError::Skip(error) => error.into(),
        }
    }
}

impl From<FrameError> for Refused {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Head(error) => error.into(),
            FrameError::Payload(error) => error.into(),
        }
    }
}

impl From<NoAnswer> for Refused {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::ReservedSequence => Refused::ReservedSequence,
            NoAnswer::Oneway | NoAnswer::NotARequest => Refused::NotARequest,
        }
    }
}
