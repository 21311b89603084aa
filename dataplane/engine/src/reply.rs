//! The gateway's own answers: status, a sentence for the reader, and the fate that is counted.

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::http1::{MethodKind, Request, Version, write_local_reply};

use crate::downstream::Step;
use crate::ended::Notes;
use crate::explained::By;
use crate::heads::no_body;
use crate::stats::RequestFate;
use crate::worker::Worker;

/// An answer given without, or instead of, the service's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalReply {
    pub(crate) status: u16,
    pub(crate) text: &'static str,
    pub(crate) fate: RequestFate,
}

impl LocalReply {
    pub(crate) const fn new(status: u16, fate: RequestFate, text: &'static str) -> Self {
        LocalReply { status, text, fate }
    }

    pub(crate) const NO_ROUTE: Self = Self::new(
        404,
        RequestFate::NoRoute,
        "no route takes this host and path",
    );
    pub(crate) const NO_SERVICE: Self = Self::new(
        404,
        RequestFate::NoService,
        "the request names no service that is allowed here",
    );
    pub(crate) const REWRITTEN_TOO_LARGE: Self = Self::new(
        431,
        RequestFate::HeadTooLarge,
        "the head would be too large as the rules change it",
    );
    pub(crate) const REWRITTEN_ILLEGAL: Self = Self::new(
        400,
        RequestFate::Malformed,
        "the path as the rules rewrite it does not begin with /, or has a character that no path may have",
    );
    pub(crate) const REWRITTEN_DOT_SEGMENT: Self = Self::new(
        400,
        RequestFate::Malformed,
        "the path as the rules rewrite it has a segment . or .., which not every server reads in the same way",
    );
    /// What a drill answers with this status.
    pub(crate) fn fault(status: u16) -> Self {
        Self::new(status, RequestFate::Fault, "a fault injected for a drill")
    }
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
    pub(crate) const INSECURE: Self = Self::new(
        421,
        RequestFate::Misdirected,
        "an https resource is not served on a connection without TLS",
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
    pub(crate) const TOO_MANY_INTERIM: Self = Self::new(
        502,
        RequestFate::BadResponse,
        "the service gave too many interim answers before its final one",
    );
    pub(crate) const NOT_HTTP: Self = Self::new(
        502,
        RequestFate::WrongProtocol,
        "the service of this route does not speak HTTP",
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

/// How the gateway's own answer is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplyForm {
    /// Without a body: it answers HEAD.
    pub(crate) head_only: bool,
    /// The connection stays open.
    pub(crate) keep: bool,
    /// The client's version.
    pub(crate) version: Version,
}

impl ReplyForm {
    /// The answer to a request; its connection is closed if it is to take no more requests, or if
    /// a body comes that nobody reads.
    #[inline]
    pub(crate) fn to(request: &Request<'_>, last: bool) -> Self {
        ReplyForm {
            head_only: request.method_kind() == MethodKind::Head,
            keep: request.keep_alive && no_body(request) && !last,
            version: request.version,
        }
    }
}

impl<P: PacketIo> Worker<P> {
    /// Answers with an error of the parser's and closes: what follows can't be understood.
    pub(crate) fn refuse(&mut self, number: u32, status: u16, text: &str, now: Instant) -> Step {
        let mut notes = self.notes_of_unread(number, now);
        self.spare.out.clear();
        write_local_reply(
            &mut self.spare.out,
            status,
            text,
            false,
            true,
            Version::Http11,
            self.date.value(),
        );
        notes.bytes_out = self.spare.out.len() as u64;
        self.request_ended(notes, RequestFate::of_refusal(status), status, now);
        self.send_to_client(number);
        self.close_downstream(number, now);
        Step::Over
    }

    /// Gives the gateway's own answer. The request's head must have been consumed.
    pub(crate) fn reply(
        &mut self,
        number: u32,
        reply: LocalReply,
        form: ReplyForm,
        mut notes: Notes,
        now: Instant,
    ) -> Step {
        let ReplyForm {
            head_only,
            keep,
            version,
        } = form;
        self.spare.out.clear();
        write_local_reply(
            &mut self.spare.out,
            reply.status,
            reply.text,
            head_only,
            !keep,
            version,
            self.date.value(),
        );
        if notes.explain.is_some() {
            self.tell(&notes, By::Here(reply.status, reply.fate));
        }
        notes.bytes_out += self.spare.out.len() as u64;
        self.request_ended(notes, reply.fate, reply.status, now);
        self.send_to_client(number);
        self.replied(number, keep, now)
    }

    /// Goes on behind an answer of the gateway's own.
    pub(crate) fn replied(&mut self, number: u32, keep: bool, now: Instant) -> Step {
        if !keep {
            self.close_downstream(number, now);
            return Step::Over;
        }
        if let Some(down) = self.downs.get_mut(number as usize) {
            down.waiting_since = now;
        }
        Step::Again
    }
}
