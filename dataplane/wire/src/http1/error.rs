//! Why a message is refused. Each error has a stable name for metrics and logs and one sentence
//! for people.

/// What is wrong with the part that requests and responses have in common: fields, framing, size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// LF without CR before it.
    #[error("a line ends in LF without CR")]
    BareLf,
    /// CR without LF after it.
    #[error("CR stands without LF")]
    BareCr,
    /// NUL, another control byte, or DEL.
    #[error("a control byte stands in the head")]
    ControlByte,
    /// A line that begins with a space or tab (`obs-fold`, RFC 9112 section 5.2).
    #[error("a header line begins with a space or tab (obsolete line folding)")]
    FoldedLine,
    /// RFC 9112 section 5.1.
    #[error("a space or tab stands before the colon of a header")]
    SpaceBeforeColon,
    /// Not a token, or empty.
    #[error("a header name is empty or has a character that no token has")]
    InvalidHeaderName,
    /// A line without a colon.
    #[error("a header line has no colon")]
    MissingColon,
    /// More than [`super::Limits::head`] bytes.
    #[error("the head is larger than the limit")]
    HeadTooLarge,
    /// More than [`super::Limits::headers`] fields.
    #[error("the head has more header fields than the limit")]
    TooManyHeaders,
    /// Both framings at once (RFC 9112 section 6.1).
    #[error("both Content-Length and Transfer-Encoding are given")]
    BothFramings,
    /// More than one `Content-Length`, equal or not.
    #[error("Content-Length is given more than once")]
    RepeatedContentLength,
    /// Not plain decimal digits, or above `i64::MAX`.
    #[error("Content-Length is not a plain decimal number in range")]
    InvalidContentLength,
    /// Not a list that ends in `chunked`.
    #[error("Transfer-Encoding is not a single final chunked")]
    InvalidTransferEncoding,
    /// A coding other than `chunked` below a final `chunked`.
    #[error("Transfer-Encoding names a coding other than chunked")]
    UnsupportedTransferCoding,
    /// RFC 9112 section 6.1.
    #[error("Transfer-Encoding is given in an HTTP/1.0 message")]
    TransferEncodingInHttp10,
    /// Not a list of tokens, or more than 16 names.
    #[error("Connection is not a short list of tokens")]
    InvalidConnection,
    /// `Connection: Host` and its like: would have the gateway remove what the recipient needs.
    #[error("Connection names a header that is meant for the final recipient")]
    ConnectionNamesEndToEnd,
}

impl HeadError {
    /// The status of the answer to a request with this error: 400, 431 or 501.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::HeadTooLarge | Self::TooManyHeaders => 431,
            Self::UnsupportedTransferCoding => 501,
            _ => 400,
        }
    }

    /// Stable name for metrics and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::BareLf => "bare_lf",
            Self::BareCr => "bare_cr",
            Self::ControlByte => "control_byte",
            Self::FoldedLine => "folded_line",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::InvalidHeaderName => "invalid_header_name",
            Self::MissingColon => "missing_colon",
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyHeaders => "too_many_headers",
            Self::BothFramings => "both_framings",
            Self::RepeatedContentLength => "repeated_content_length",
            Self::InvalidContentLength => "invalid_content_length",
            Self::InvalidTransferEncoding => "invalid_transfer_encoding",
            Self::UnsupportedTransferCoding => "unsupported_transfer_coding",
            Self::TransferEncodingInHttp10 => "transfer_encoding_in_http10",
            Self::InvalidConnection => "invalid_connection",
            Self::ConnectionNamesEndToEnd => "connection_names_end_to_end",
        }
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// More than [`super::Limits::request_line`] bytes.
    #[error("the request line is longer than the limit")]
    RequestLineTooLong,
    /// Not `method SP target SP version CRLF`.
    #[error("the request line is not a method, a target and a version")]
    InvalidRequestLine,
    /// A character that no token has, or no method at all.
    #[error("the method is empty or has a character that no token has")]
    InvalidMethod,
    /// A forbidden character, or a form that does not fit the method.
    #[error("the request target has an invalid character or form")]
    InvalidTarget,
    /// A segment `.` or `..`, plain or percent-encoded: whoever resolves it asks for another resource
    /// than the one that was routed. Clients resolve them before they send (RFC 3986 section 5.2.4).
    #[error("the path has a segment . or .., which not every server reads in the same way")]
    DotSegment,
    /// Not `HTTP/` digit `.` digit.
    #[error("the request line does not end in an HTTP version")]
    InvalidVersion,
    /// A version other than 1.0 and 1.1, the HTTP/2 preface included.
    #[error("the HTTP version is neither 1.0 nor 1.1")]
    UnsupportedVersion,
    /// A gateway opens no tunnels.
    #[error("CONNECT is not supported")]
    ConnectUnsupported,
    /// RFC 9112 section 3.2.
    #[error("an HTTP/1.1 request has no Host")]
    MissingHost,
    /// More than one, equal or not.
    #[error("Host is given more than once")]
    RepeatedHost,
    /// Empty, or not a name or address with an optional port.
    #[error("Host is not a host name or address with an optional port")]
    InvalidHost,
    /// RFC 9112 section 3.2.2 would have Host ignored; a server behind might not.
    #[error("the authority of the request target and Host disagree")]
    HostDisagrees,
    /// What requests and responses have in common.
    #[error(transparent)]
    Head(#[from] HeadError),
}

impl RequestError {
    /// The status of the answer: 400, 414, 431, 501 or 505.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::RequestLineTooLong => 414,
            Self::ConnectUnsupported => 501,
            Self::UnsupportedVersion => 505,
            Self::Head(error) => error.status(),
            _ => 400,
        }
    }

    /// Stable name for metrics and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RequestLineTooLong => "request_line_too_long",
            Self::InvalidRequestLine => "invalid_request_line",
            Self::InvalidMethod => "invalid_method",
            Self::InvalidTarget => "invalid_target",
            Self::DotSegment => "dot_segment",
            Self::InvalidVersion => "invalid_version",
            Self::UnsupportedVersion => "unsupported_version",
            Self::ConnectUnsupported => "connect_unsupported",
            Self::MissingHost => "missing_host",
            Self::RepeatedHost => "repeated_host",
            Self::InvalidHost => "invalid_host",
            Self::HostDisagrees => "host_disagrees",
            Self::Head(error) => error.name(),
        }
    }
}

/// Why a response is refused. The client gets 502.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// More than [`super::Limits::request_line`] bytes.
    #[error("the status line is longer than the limit")]
    StatusLineTooLong,
    /// Not `version SP three digits [SP reason] CRLF`.
    #[error("the status line is not a version, a status from 100 to 599 and a reason")]
    InvalidStatusLine,
    /// A version other than 1.0 and 1.1.
    #[error("the HTTP version is neither 1.0 nor 1.1")]
    UnsupportedVersion,
    /// An interim response that announces a body (RFC 9112 section 6.3).
    #[error("an interim (1xx) response announces a body")]
    InterimWithBody,
    /// What requests and responses have in common.
    #[error(transparent)]
    Head(#[from] HeadError),
}

impl ResponseError {
    /// Stable name for metrics and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::StatusLineTooLong => "status_line_too_long",
            Self::InvalidStatusLine => "invalid_status_line",
            Self::UnsupportedVersion => "unsupported_version",
            Self::InterimWithBody => "interim_with_body",
            Self::Head(error) => error.name(),
        }
    }
}

/// Why a body cannot be followed any further; its connection has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not hexadecimal digits.
    #[error("a chunk size is not a hexadecimal number")]
    InvalidChunkSize,
    /// More than 16 digits, or above `i64::MAX`.
    #[error("a chunk size is out of range")]
    ChunkSizeTooLarge,
    /// What follows the size is not a valid chunk extension (RFC 9112 section 7.1.1).
    #[error("a chunk extension is malformed")]
    InvalidChunkExtension,
    /// More than [`super::MAX_CHUNK_LINE`] bytes.
    #[error("a chunk size line is longer than the limit")]
    ChunkLineTooLong,
    /// The chunk does not end where its size says.
    #[error("no CRLF stands at the end of a chunk")]
    MissingChunkEnd,
    /// More than [`super::MAX_TRAILERS`] bytes.
    #[error("the trailer section is larger than the limit")]
    TrailersTooLarge,
    /// A trailer field is malformed.
    #[error("in the trailer section: {0}")]
    Trailer(HeadError),
    /// The peer closed before the body's end.
    #[error("the peer closed before the end of the body")]
    Truncated,
}

impl BodyError {
    /// Stable name for metrics and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::InvalidChunkSize => "invalid_chunk_size",
            Self::ChunkSizeTooLarge => "chunk_size_too_large",
            Self::InvalidChunkExtension => "invalid_chunk_extension",
            Self::ChunkLineTooLong => "chunk_line_too_long",
            Self::MissingChunkEnd => "missing_chunk_end",
            Self::TrailersTooLarge => "trailers_too_large",
            Self::Trailer(_) => "invalid_trailer",
            Self::Truncated => "truncated_body",
        }
    }
}

/// Why a header cannot be set, added or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Not a token.
    #[error("a header name must be made of letters, digits and !#$%&'*+-.^_`|~")]
    InvalidName,
    /// A control byte.
    #[error("a header value must not contain line breaks or other control characters")]
    InvalidValue,
    /// The gateway itself states Host, the framing and the connection's own fields.
    #[error("this header belongs to the connection or the framing and is written by the gateway")]
    Reserved,
}
