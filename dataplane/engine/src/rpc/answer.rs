//! Calls that the gateway answers by itself: an exception that says why.

use sluice_policy::action::RpcAnswer;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::thrift::ExceptionKind;

use super::Dialect;
use super::judge::{Then, rule_answer};
use crate::reply::LocalReply;
use crate::stats::{Refused, RequestFate};
use crate::worker::Worker;

impl<P: PacketIo> Worker<P> {
    /// Ends a call with an answer of our own. Its channel has been left.
    pub(super) fn fail_call(&mut self, number: u32, reply: LocalReply, now: Instant) {
        let (kind, text) = words(&reply);
        self.answer_call(number, &Words::Exception(kind, text), reply.fate, now);
    }

    /// Ends a call with the answer that its route gives.
    #[cold]
    pub(super) fn answer_by_rule(&mut self, number: u32, then: Then, now: Instant) {
        let Some(call) = self.rpc.calls.get(number as usize) else {
            return;
        };
        let rules = self.generations.get(call.generation);
        let Some(rules) = rules.map(|rules| rules.snapshot.clone()) else {
            return;
        };
        let route = call.route.and_then(|route| rules.routes.get(route.0));
        match route.and_then(|route| rule_answer(route, then)) {
            None => self.fail_call(number, LocalReply::NO_ROUTE, now),
            Some((RpcAnswer::Exception { kind, message }, fate)) => {
                self.answer_call(number, &Words::Exception(*kind, message), fate, now);
            }
            Some((
                RpcAnswer::BizStatus {
                    status,
                    message,
                    extra,
                },
                fate,
            )) => {
                let words = Words::BizStatus(*status, message, extra.as_deref());
                self.answer_call(number, &words, fate, now);
            }
        }
    }

    fn answer_call(&mut self, number: u32, words: &Words<'_>, fate: RequestFate, now: Instant) {
        let Some(call) = self.rpc.calls.get_mut(number as usize) else {
            return;
        };
        if call.ready.is_some() {
            return;
        }
        let caller = call.caller;
        let held = call.frame.len() + call.reply.len();
        self.rpc.buffers.held = self.rpc.buffers.held.saturating_sub(held);
        call.frame.clear();
        call.reply.clear();
        if let Some(state) = self.rpc.callers.get_mut(caller as usize) {
            if let Some(upload) = &mut state.upload
                && upload.call == Some(number)
            {
                upload.call = None;
                upload.channel = None;
                self.stack.wake(state.flow);
            }
            if state.download == Some(number) {
                // Its reply has begun and can't be completed: behind it nothing can be found.
                return self.abort_caller(caller, RequestFate::Truncated, now);
            }
        }
        let last = self.takes_no_more(caller, now);
        let Some(call) = self.rpc.calls.get_mut(number as usize) else {
            return;
        };
        let Some(answer) = call.answer else {
            return self.end_call(number, fate, now);
        };
        if let Some(record) = &mut call.notes.record {
            match *words {
                Words::Exception(kind, _) => record.exception = Some(kind as i32),
                Words::BizStatus(status, ..) => record.set_biz_number(status),
            }
            record.errs = true;
        }
        self.spare.out.clear();
        let out = &mut self.spare.out;
        let written = match call.dialect {
            Dialect::Thrift | Dialect::MeshHeader => {
                let (kind, text) = words.as_exception();
                answer
                    .message(&call.method)
                    .write_exception(out, kind, text);
                Ok(())
            }
            Dialect::TtHeader => {
                let answer = answer.to(&call.method);
                let answer = if last { answer.last() } else { answer };
                match *words {
                    Words::Exception(kind, text) => answer.write_exception(out, kind, text),
                    Words::BizStatus(status, text, extra) => {
                        answer.write_biz_status(out, status, text, extra)
                    }
                }
            }
        };
        match written {
            Ok(()) => self.give_reply(number, fate, now),
            Err(_) => self.end_call(number, fate, now),
        }
    }
}

/// What an answer says.
enum Words<'a> {
    Exception(ExceptionKind, &'a str),
    BizStatus(i32, &'a str, Option<&'a str>),
}

impl Words<'_> {
    /// The same to callers without TTHeader, who know nothing else.
    fn as_exception(&self) -> (ExceptionKind, &str) {
        match *self {
            Words::Exception(kind, text) => (kind, text),
            Words::BizStatus(_, text, _) => (ExceptionKind::Internal, text),
        }
    }
}

/// The exception that says what a reply of HTTP says.
fn words(reply: &LocalReply) -> (ExceptionKind, &'static str) {
    let kind = match reply.fate {
        RequestFate::NoRoute | RequestFate::NoService => ExceptionKind::UnknownService,
        RequestFate::Malformed | RequestFate::Unsupported => ExceptionKind::Protocol,
        _ => ExceptionKind::Internal,
    };
    let text = match reply.fate {
        RequestFate::NoRoute => "no route takes this service and method",
        _ => reply.text,
    };
    (kind, text)
}

impl LocalReply {
    pub(super) const NOT_RPC: Self = Self::new(
        502,
        RequestFate::WrongProtocol,
        "the service of this route does not speak RPC",
    );
    pub(super) const NO_MESSAGE: Self = Self::new(
        502,
        RequestFate::WrongProtocol,
        "the service takes Thrift messages only, and this is none",
    );
    /// Says by its name why the message in a frame was refused.
    pub(super) fn bad_message(why: Refused) -> Self {
        Self::new(400, RequestFate::Malformed, malformed(why))
    }
    pub(super) const LARGE_FRAME: Self = Self::new(
        400,
        RequestFate::Malformed,
        "this request is larger than the listener allows (limits.frame, or buffer without a frame)",
    );
    pub(super) const SPENT: Self = Self::new(
        503,
        RequestFate::Unavailable,
        "this connection has had as many calls as it may; make this one on another",
    );
    pub(super) const TOO_MANY_WAIT: Self = Self::new(
        503,
        RequestFate::Unavailable,
        "too many calls wait for a connection to the service",
    );
    pub(super) const TOO_MUCH_HELD: Self = Self::new(
        503,
        RequestFate::Unavailable,
        "the gateway holds as much as it may of frames that wait",
    );
    pub(super) const BAD_REPLY: Self = Self::new(
        502,
        RequestFate::BadResponse,
        "the service sent something that is no reply",
    );
    pub(super) const HALF_REPLY: Self = Self::new(
        502,
        RequestFate::BadResponse,
        "the service stopped in the middle of a reply",
    );
    pub(super) const LARGE_REPLY: Self = Self::new(
        502,
        RequestFate::BadResponse,
        "the reply of the service is larger than allowed here",
    );
}

/// Why a message was refused, as text and by the name that is counted.
fn malformed(why: Refused) -> &'static str {
    macro_rules! named {
        ($($reason:ident: $name:literal,)*) => {
            match why {
                $(Refused::$reason => concat!("the message in this frame is malformed: ", $name),)*
                _ => "the message in this frame is malformed",
            }
        };
    }
    named! {
        UnknownProtocol: "unknown_protocol",
        Version: "version",
        Kind: "kind",
        NegativeMethod: "negative_method",
        MethodTooLong: "method_too_long",
        FrameTooLarge: "frame_too_large",
        FrameTooShort: "frame_too_short",
        Varint: "varint",
        PayloadTruncated: "payload_truncated",
        FrameLength: "frame_length",
    }
}
