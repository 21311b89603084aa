//! The gateway's own answers: status, a sentence for the reader, and the fate that is counted.

use crate::stats::RequestFate;

/// An answer given without, or instead of, the service's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalReply {
    pub(crate) status: u16,
    pub(crate) text: &'static str,
    pub(crate) fate: RequestFate,
}

impl LocalReply {
    const fn new(status: u16, fate: RequestFate, text: &'static str) -> Self {
        LocalReply { status, text, fate }
    }

    pub(crate) const NO_ROUTE: Self = Self::new(
        404,
        RequestFate::NoRoute,
        "no route takes this host and path",
    );
    pub(crate) const HEAD_TIMEOUT: Self = Self::new(
        408,
        RequestFate::HeadTimeout,
        "the request head took too long",
    );
    pub(crate) const LAST_HOP: Self = Self::new(
        200,
        RequestFate::LastHop,
        "Max-Forwards lets this request go no further than this gateway",
    );
    pub(crate) const BODY_TIMEOUT: Self = Self::new(
        408,
        RequestFate::BodyTimeout,
        "the request body came too slowly",
    );
    pub(crate) const BODY_TOO_LARGE: Self = Self::new(
        413,
        RequestFate::BodyTooLarge,
        "the request body is larger than allowed here",
    );
    pub(crate) const EXPECTATION: Self = Self::new(
        417,
        RequestFate::Expectation,
        "no expectation but 100-continue can be met",
    );
    pub(crate) const MISDIRECTED: Self = Self::new(
        421,
        RequestFate::Misdirected,
        "this host is not served at this address",
    );
    pub(crate) const TRACE: Self =
        Self::new(501, RequestFate::Unsupported, "TRACE is not supported");
    pub(crate) const BAD_BODY: Self = Self::new(
        400,
        RequestFate::BadRequestBody,
        "the request body is malformed or cut short",
    );
    pub(crate) const CONNECT_FAILED: Self = Self::new(
        502,
        RequestFate::ConnectFailed,
        "no endpoint of the service accepted a connection",
    );
    pub(crate) const CLOSED_EARLY: Self = Self::new(
        502,
        RequestFate::ClosedEarly,
        "the service closed the connection before it answered",
    );
    pub(crate) const BAD_RESPONSE: Self = Self::new(
        502,
        RequestFate::BadResponse,
        "the service's answer is not valid HTTP",
    );
    pub(crate) const NO_ENDPOINT: Self = Self::new(
        503,
        RequestFate::Unavailable,
        "the service has no endpoint that can be used now",
    );
    pub(crate) const TOO_MANY_CONNECTIONS: Self = Self::new(
        503,
        RequestFate::Unavailable,
        "the limit of connections to the service is reached",
    );
    pub(crate) const CONNECT_TIMEOUT: Self = Self::new(
        504,
        RequestFate::ConnectTimeout,
        "no endpoint of the service accepted a connection in time",
    );
    pub(crate) const RESPONSE_TIMEOUT: Self = Self::new(
        504,
        RequestFate::ResponseTimeout,
        "the service did not answer in time",
    );
    pub(crate) const REQUEST_TIMEOUT: Self = Self::new(
        504,
        RequestFate::RequestTimeout,
        "the request as a whole took too long",
    );
}
