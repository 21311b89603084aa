//! A caller's next frame: taken whole, put to the rules, and sent on or answered.

use std::net::SocketAddr;

use sluice_policy::ListenerId;
use sluice_policy::rules::Replies;
use sluice_stack::FlowId;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::Parsed;
use sluice_wire::thrift::{AnswerTo, NoAnswer};
use sluice_wire::ttheader::{Answer, Flags, Head, KeptAnswer, Payload, integer};

use super::call::{Call, NONE};
use super::front::{Bounds, Frame, FrameError, look};
use super::judge::{Origin, Then};
use super::send::Source;
use super::streams::Stream;
use super::{CALLS_PER_CALLER, Dialect, STREAMS_PER_CALLER};
use crate::downstream::Step;
use crate::ended::Notes;
use crate::reply::LocalReply;
use crate::stats::{Refused, RequestFate, RpcEvent};
use crate::traffic::Outcome;
use crate::worker::Worker;

impl<P: PacketIo> Worker<P> {
    /// Takes the next frame of a caller, which has sent some bytes of it.
    pub(super) fn next_frame(&mut self, number: u32, finished: bool, now: Instant) -> Step {
        let mut front = self.rpc.buffers.take();
        let step = self.take_frame(number, &mut front, finished, now);
        self.rpc.buffers.give_back(front);
        step
    }

    fn take_frame(
        &mut self,
        number: u32,
        front: &mut Vec<u8>,
        finished: bool,
        now: Instant,
    ) -> Step {
        let Some(caller) = self.rpc.callers.get_mut(number as usize) else {
            return Step::Over;
        };
        let rules = self.generations.current();
        if let Some(own) = rules.listener_rules(caller.listener) {
            caller.max_frame = own.max_frame;
        }
        let bounds = Bounds {
            whole: caller.whole,
            frame: caller.max_frame,
        };
        let looked = look(
            &mut self.stack,
            (caller.flow, caller.dialect),
            &bounds,
            &mut caller.skipping,
            front,
            &mut self.spare.linear,
        );
        match looked {
            Ok(Parsed::Complete(len)) if caller.dialect == Dialect::MeshHeader => {
                self.begin_mesh_call(number, front, len, &bounds, now)
            }
            Ok(Parsed::Complete(len)) => {
                let taken = Taken {
                    front,
                    len,
                    ring: Some(caller.flow),
                    mesh: &[],
                };
                self.begin_call(number, &taken, &bounds, now)
            }
            Ok(Parsed::Incomplete { need }) => {
                if caller.need == 0 {
                    caller.waiting_since = now;
                }
                caller.need = need;
                self.stack.expects(caller.flow, need);
                if finished {
                    self.end_unread(number, RequestFate::ClientGone, now);
                }
                Step::Wait
            }
            Err(error) => match error.into() {
                why @ (Refused::FrameTooLarge | Refused::TooLarge) => {
                    self.refuse_large(number, why, &bounds, now)
                }
                why => self.refuse_frame(number, why, now),
            },
        }
    }

    /// Answers a frame that is too large before its connection ends, where what has come of it says how; else
    /// that just ends.
    #[cold]
    fn refuse_large(&mut self, number: u32, why: Refused, bounds: &Bounds, now: Instant) -> Step {
        let Some(caller) = self.rpc.callers.get(number as usize) else {
            return Step::Over;
        };
        let (dialect, peer) = (caller.dialect, caller.peer);
        let begun = if caller.need > 0 {
            caller.waiting_since
        } else {
            now
        };
        let mut front = self.rpc.buffers.take();
        let shown = self
            .stack
            .front(caller.flow, caller.whole, &mut self.spare.linear);
        front.extend_from_slice(shown);
        let of_any_size = Bounds {
            frame: u32::MAX as usize,
            ..*bounds
        };
        let frame = Frame::parse(dialect, &front, &of_any_size).ok();
        let frame = frame.filter(|frame| {
            let flags = frame.head.as_ref().map(Head::flags);
            flags.is_none_or(|flags| !flags.contains(Flags::STREAMING))
        });
        let asked = frame.and_then(|frame| Asked::of(dialect, &frame).ok());
        let step = match asked.filter(|asked| asked.answer.is_some()) {
            None => self.refuse_frame(number, why, now),
            Some(asked) => {
                self.stats.rpc.count(RpcEvent::BadFrame);
                self.stats.refused_frames.count(why);
                let received = self.read_no_more(number);
                let notes = Notes {
                    record: self.record_unread(number),
                    ..Notes::new(begun, received)
                };
                let mut call = self.new_call((number, peer), &asked, (bounds, 0), notes);
                call.dialect = dialect;
                let call = self.insert_call(call);
                self.fail_call(call, LocalReply::LARGE_FRAME, now);
                Step::Wait
            }
        };
        self.rpc.buffers.give_back(front);
        step
    }

    /// Ends a caller's connection for a frame whose end is not known.
    #[cold]
    pub(super) fn refuse_frame(&mut self, number: u32, why: Refused, now: Instant) -> Step {
        self.stats.rpc.count(RpcEvent::BadFrame);
        self.stats.refused_frames.count(why);
        self.end_unread(number, RequestFate::Malformed, now);
        Step::Wait
    }

    /// Begins the call whose frame is at the front of its caller's receive ring, or was taken from there.
    pub(super) fn begin_call(
        &mut self,
        number: u32,
        taken: &Taken<'_>,
        bounds: &Bounds,
        now: Instant,
    ) -> Step {
        let (front, len) = (taken.front, taken.len);
        let Some(caller) = self.rpc.callers.get_mut(number as usize) else {
            return Step::Over;
        };
        let begun = if caller.need > 0 {
            caller.waiting_since
        } else {
            now
        };
        caller.need = 0;
        caller.requests = caller.requests.saturating_add(1);
        let (dialect, peer) = (caller.dialect, caller.peer);
        let written = match dialect {
            Dialect::MeshHeader => Dialect::TtHeader,
            other => other,
        };
        let (frame, refused) = match Frame::parse(written, front, bounds) {
            Ok(frame) => (frame, None),
            Err((FrameError::Payload(error), Some(head))) => {
                let why = error.into();
                self.stats.rpc.count(RpcEvent::BadMessage);
                self.stats.refused_frames.count(why);
                let frame = Frame {
                    head: Some(head),
                    mesh: &[],
                    payload: Payload::Other,
                };
                (frame, Some(why))
            }
            Err((error, _)) => return self.refuse_frame(number, error.into(), now),
        };
        let streaming = frame.head.as_ref().filter(|head| {
            let flags = head.flags();
            flags.contains(Flags::STREAMING)
        });
        if let Some(head) = streaming
            && let Some(step) = self.stream_frame(number, head, (front, len), now)
        {
            return step;
        }
        let full = self.has_no_room(number, streaming.is_some());
        if full && streaming.is_none() {
            if let Some(caller) = self.rpc.callers.get_mut(number as usize) {
                caller.paused = true;
            }
            return Step::Wait;
        }
        let asked = match Asked::of(dialect, &frame) {
            Ok(asked) => asked,
            Err(error) => {
                self.stats.refused_frames.count(error.into());
                self.end_unread(number, RequestFate::NotARequest, now);
                return Step::Wait;
            }
        };
        let exceeds = self.exceeds_requests(number);
        let large = if len > bounds.whole { len } else { 0 };
        let received = match &frame.head {
            Some(head) if !taken.mesh.is_empty() => taken.mesh.len() + head.payload_len(),
            _ => len,
        };
        let notes = Notes {
            bytes_in: if large > 0 { 0 } else { received as u64 },
            ..Notes::of_head(begun, 0, now)
        };
        let mut call = self.new_call((number, peer), &asked, (bounds, large), notes);
        call.dialect = dialect;
        call.stream = streaming.map(|head| Stream::new(head.sequence(), now));
        if !taken.mesh.is_empty() {
            call.mesh = self.rpc.buffers.take();
            call.mesh.extend_from_slice(taken.mesh);
            self.rpc.buffers.held += call.mesh.len();
        }
        call.timeout = frame.head.as_ref().and_then(Head::timeout);
        let refused = match refused {
            Some(why) => Some(LocalReply::bad_message(why)),
            None if exceeds => Some(LocalReply::SPENT),
            None if full => Some(LocalReply::TOO_MANY_STREAMS),
            // A MeshHeader is kept for as long as its call is under way.
            None if !call.mesh.is_empty() && !self.rpc.buffers.may_hold(0) => {
                Some(LocalReply::TOO_MUCH_HELD)
            }
            None => None,
        };
        let (then, hold) = match refused {
            Some(reply) => {
                call.notes.record = self.record_unread(number);
                (Then::Reply(reply), None)
            }
            None => self.judge(&mut call, &frame),
        };
        #[cfg(test)]
        crate::contained::reach("call");
        let to = self.copy_goes_to(&call);
        let call = self.insert_call(call);
        if let Some(head) = streaming {
            self.insert_stream(number, head.sequence(), call);
        }
        let source = Source {
            front,
            frame: Some(&frame),
            len,
            ring: taken.ring,
        };
        if large > 0 {
            self.begin_upload(number, call, len, now);
        }
        match (then, hold) {
            (then, Some(time)) => self.hold_call(call, then, (time, source), now),
            (Then::Forward, None) => match to {
                None => self.dispatch(call, source, now),
                Some(mirror) => {
                    let copy = self.copy_call(call, mirror, &source, now);
                    self.dispatch(call, source, now);
                    if let Some(copy) = copy {
                        self.dispatch_again(copy, now);
                    }
                }
            },
            (other, None) => {
                self.drop_frame(call, &source);
                self.settle_call(call, other, now);
            }
        }
        Step::Again
    }

    /// Whether a caller has as many calls and streams under way as may be for a call, or a stream, to begin.
    fn has_no_room(&self, number: u32, stream: bool) -> bool {
        let caller = self.rpc.callers.get(number as usize);
        caller.is_some_and(|caller| {
            caller.calls >= CALLS_PER_CALLER || stream && caller.streams >= STREAMS_PER_CALLER
        })
    }

    /// A call of which nothing is known yet but what it asks.
    fn new_call(
        &mut self,
        (caller, peer): (u32, SocketAddr),
        asked: &Asked<'_>,
        (bounds, large): (&Bounds, usize),
        notes: Notes,
    ) -> Call {
        let rules = self.generations.current();
        let any_order = (self.rpc.callers.get(caller as usize))
            .filter(|caller| asked.ordered && caller.dialect == Dialect::TtHeader)
            .and_then(|caller| rules.listener_rules(caller.listener))
            .is_some_and(|own| own.replies == Replies::Any);
        let mut method = self.rpc.buffers.take();
        method.extend_from_slice(asked.method);
        Call {
            caller,
            before: NONE,
            behind: NONE,
            stamp: 0,
            generation: self.generations.begin(),
            route: None,
            service: None,
            lane: None,
            origin: Origin {
                client: peer.ip(),
                trusted: false,
                draw: 0,
                listener: (ListenerId(0), 0),
            },
            held: None,
            dialect: Dialect::TtHeader,
            oneway: asked.answer.is_none(),
            ordered: asked.ordered && !any_order,
            large,
            rewritable: asked.rewritable,
            timeout: None,
            answer: asked.answer,
            method,
            mesh: Vec::new(),
            frame: Vec::new(),
            channel: None,
            connects: 0,
            reply: Vec::new(),
            ready: None,
            outcome: Outcome::Reply,
            max_frame: bounds.frame,
            end: Instant::NEVER,
            deadline: Instant::NEVER,
            stream: None,
            notes,
        }
    }
}

/// A frame of a caller.
pub(super) struct Taken<'a> {
    /// Its beginning, or all of it.
    pub(super) front: &'a [u8],
    /// Bytes of all of it.
    pub(super) len: usize,
    /// The flow whose receive ring begins with it; `None` where it has left that, and `front` is all of it.
    pub(super) ring: Option<FlowId>,
    /// The MeshHeader that it had in place of its TTHeader.
    pub(super) mesh: &'a [u8],
}

/// What is asked, apart from what the rules look at.
struct Asked<'a> {
    method: &'a [u8],
    /// How it can be answered; `None` for oneway.
    answer: Option<KeptAnswer>,
    /// Its caller goes by the order of replies.
    ordered: bool,
    rewritable: bool,
}

impl<'a> Asked<'a> {
    /// # Errors
    /// The frame is no request, or one that can't be told from a control frame.
    fn of(dialect: Dialect, frame: &Frame<'a>) -> Result<Self, NoAnswer> {
        let message = frame.payload.message();
        let answer = match (&frame.head, message) {
            (Some(head), _) if dialect == Dialect::TtHeader => {
                Answer::to(head, &frame.payload).map(|answer| answer.kept())
            }
            (_, Some(message)) => {
                AnswerTo::request(message).map(|answer| KeptAnswer::plain(&answer))
            }
            (_, None) => Err(NoAnswer::NotARequest),
        };
        let answer = match answer {
            Ok(answer) => Some(answer),
            Err(NoAnswer::Oneway) => None,
            Err(other) => return Err(other),
        };
        let method = match (&frame.head, message) {
            (_, Some(message)) => message.method,
            (Some(head), None) => head.integer(integer::TO_METHOD).unwrap_or_default(),
            (None, None) => &[],
        };
        let head = frame.head.as_ref();
        let flags = head.map(Head::flags).unwrap_or_default();
        Ok(Asked {
            method,
            answer,
            ordered: !flags.contains(Flags::OUT_OF_ORDER) && !flags.contains(Flags::STREAMING),
            rewritable: message.is_some() && head.is_none_or(|head| !head.has_validator()),
        })
    }
}
