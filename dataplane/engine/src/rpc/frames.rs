//! A caller's next frame: taken whole, put to the rules, and sent on or answered.

use std::net::SocketAddr;

use sluice_policy::ListenerId;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::Parsed;
use sluice_wire::thrift::{AnswerTo, NoAnswer};
use sluice_wire::ttheader::{Answer, Flags, Head, KeptAnswer, Payload, integer};

use super::Dialect;
use super::call::{Call, NONE};
use super::front::{Bounds, Frame, FrameError, look};
use super::judge::{Origin, Then};
use super::send::Source;
use crate::downstream::Step;
use crate::ended::Notes;
use crate::reply::LocalReply;
use crate::stats::{RequestFate, RpcEvent};
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
            Ok(Parsed::Complete(len)) => self.begin_call(number, front, len, &bounds, now),
            Ok(Parsed::Incomplete { need }) => {
                if caller.need == 0 {
                    caller.waiting_since = now;
                }
                caller.need = need;
                if finished {
                    self.end_unread(number, RequestFate::ClientGone, now);
                }
                Step::Wait
            }
            Err(_) => {
                self.stats.rpc.count(RpcEvent::BadFrame);
                self.end_unread(number, RequestFate::Malformed, now);
                Step::Wait
            }
        }
    }

    /// Begins the call whose frame of `len` bytes is at the front of its caller's receive ring.
    fn begin_call(
        &mut self,
        number: u32,
        front: &[u8],
        len: usize,
        bounds: &Bounds,
        now: Instant,
    ) -> Step {
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
        let (dialect, flow, peer) = (caller.dialect, caller.flow, caller.peer);
        let (frame, refused) = match Frame::parse(dialect, front, bounds) {
            Ok(frame) => (frame, None),
            Err((FrameError::Payload(error), Some(head))) => {
                self.stats.rpc.count(RpcEvent::BadMessage);
                let frame = Frame {
                    head: Some(head),
                    payload: Payload::Other,
                };
                (frame, Some(error))
            }
            Err(_) => {
                self.stats.rpc.count(RpcEvent::BadFrame);
                self.end_unread(number, RequestFate::Malformed, now);
                return Step::Wait;
            }
        };
        let asked = match Asked::of(&frame) {
            Ok(asked) => asked,
            Err(_) => {
                self.end_unread(number, RequestFate::NotARequest, now);
                return Step::Wait;
            }
        };
        let large = if len > bounds.whole { len } else { 0 };
        let notes = Notes {
            bytes_in: if large > 0 { 0 } else { len as u64 },
            ..Notes::of_head(begun, 0, now)
        };
        let mut call = self.new_call((number, peer), &asked, (bounds, large), notes);
        call.dialect = dialect;
        call.timeout = frame.head.as_ref().and_then(Head::timeout);
        let (then, hold) = match refused {
            Some(_) => {
                call.notes.record = self.record_unread(number);
                (Then::Reply(LocalReply::BAD_MESSAGE), None)
            }
            None => self.judge(&mut call, &frame),
        };
        let call = self.insert_call(call);
        let source = Source {
            front,
            frame: Some(&frame),
            len,
            ring: Some(flow),
        };
        if large > 0 {
            self.begin_upload(number, call, len, now);
        }
        match (then, hold) {
            (then, Some(time)) => self.hold_call(call, then, (time, source), now),
            (Then::Forward, None) => self.dispatch(call, source, now),
            (other, None) => {
                self.drop_frame(call, &source);
                self.settle_call(call, other, now);
            }
        }
        Step::Again
    }

    /// A call of which nothing is known yet but what it asks.
    fn new_call(
        &mut self,
        (caller, peer): (u32, SocketAddr),
        asked: &Asked<'_>,
        (bounds, large): (&Bounds, usize),
        notes: Notes,
    ) -> Call {
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
            ordered: asked.ordered,
            large,
            rewritable: asked.rewritable,
            timeout: None,
            answer: asked.answer,
            method,
            frame: Vec::new(),
            channel: None,
            connects: 0,
            reply: Vec::new(),
            ready: None,
            outcome: Outcome::Reply,
            max_frame: bounds.frame,
            end: Instant::NEVER,
            deadline: Instant::NEVER,
            notes,
        }
    }
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
    fn of(frame: &Frame<'a>) -> Result<Self, NoAnswer> {
        let message = frame.payload.message();
        let answer = match (&frame.head, message) {
            (Some(head), _) => Answer::to(head, &frame.payload).map(|answer| answer.kept()),
            (None, Some(message)) => {
                AnswerTo::request(message).map(|answer| KeptAnswer::plain(&answer))
            }
            (None, None) => Err(NoAnswer::NotARequest),
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
            ordered: !flags.contains(Flags::OUT_OF_ORDER),
            rewritable: message.is_some() && head.is_none_or(|head| !head.has_validator()),
        })
    }
}
