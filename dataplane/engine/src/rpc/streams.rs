//! Streams: calls of many frames either way. The first, a header, is put to the rules like any call, and
//! gives the stream a place on a channel that carries nothing but streams, under an id of its own there.
//! Every later frame follows it, in order, with its id changed and otherwise byte for byte (`up.rs` from
//! the caller, `down.rs` from the service). The trailer of the service, a reset of either side or the end
//! of either connection ends the stream; whoever does not know yet is told by a trailer (the caller) or a
//! reset (the service) that says why.
//!
//! TTHeader has no windows for streams, so what is slow is held back where it harms nobody else, and
//! otherwise reset. Frames from the caller wait in their stream, then in the caller's connection, which
//! stalls; if that holds up other calls of the caller, for a second at most. Frames from the service wait in
//! its connection where the stream has that alone, and in the caller's output where streams share it, up to
//! a bound.

mod down;
mod up;

use std::time::Duration;

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::thrift::ExceptionKind;
use sluice_wire::ttheader::{Ended, write_stream_reset};

use super::call::Call;
use super::caller::Caller;
use super::channels::Ticket;
use super::due::Due;
use crate::reply::LocalReply;
use crate::stats::{RequestFate, RpcEvent};
use crate::worker::Worker;

/// How long a stream may hold up the other calls of its caller while its service takes nothing.
const HELD_UP: Duration = Duration::from_secs(1);

/// What a call is besides, as a stream.
pub(super) struct Stream {
    /// The id that its caller gave it.
    id: i32,
    /// Its caller sends no more: its trailer has come.
    caller_done: bool,
    /// Its service knows that it is over.
    service_done: bool,
    /// Frames from its caller that wait for room, the last of them not complete yet perhaps, and how much
    /// of that has been sent.
    pending: Vec<u8>,
    pending_sent: usize,
    /// It is among those that wait for room on its channel.
    blocked: bool,
    /// The large frame that comes together in its reply ends it.
    last: Option<RequestFate>,
    /// When a frame of it, or some of one, last moved.
    progress: Instant,
}

impl Stream {
    pub(super) fn new(id: i32, now: Instant) -> Box<Self> {
        Box::new(Stream {
            id,
            caller_done: false,
            service_done: false,
            pending: Vec::new(),
            pending_sent: 0,
            blocked: false,
            last: None,
            progress: now,
        })
    }

    /// Some of a frame of it has moved.
    pub(super) fn moved(&mut self, now: Instant) {
        self.progress = now;
    }

    fn waiting(&self) -> usize {
        self.pending.len() - self.pending_sent
    }
}

impl<P: PacketIo> Worker<P> {
    /// Registers the stream of this id that a call is.
    pub(super) fn insert_stream(&mut self, caller: u32, id: i32, call: u32) {
        let state = self.rpc.calls.get(call as usize);
        let Some(ticket) = state.map(|state| state.ticket(call)) else {
            return;
        };
        self.rpc.streams.insert((caller, id), ticket);
        if let Some(caller) = self.rpc.callers.get_mut(caller as usize) {
            caller.streams += 1;
        }
        self.stats.rpc.count(RpcEvent::Stream);
    }

    /// The call that is a caller's stream of this id.
    fn find_stream(&self, caller: u32, id: i32) -> Option<u32> {
        let ticket = self.rpc.streams.get(&(caller, id))?;
        self.streaming(*ticket).map(|_| ticket.call)
    }

    /// The stream that waits with this ticket, if it still goes on.
    fn streaming(&self, ticket: Ticket) -> Option<&Call> {
        let call = self.rpc.calls.get(ticket.call as usize)?;
        (call.stamp == ticket.stamp).then_some(call)
    }

    /// A stream is over.
    pub(super) fn forget_stream(&mut self, caller: u32, stream: Stream) {
        let rpc = &mut self.rpc;
        rpc.streams.remove(&(caller, stream.id));
        rpc.buffers.held = rpc.buffers.held.saturating_sub(stream.pending.len());
        rpc.buffers.give_back(stream.pending);
        if let Some(caller) = rpc.callers.get_mut(caller as usize) {
            caller.streams = caller.streams.saturating_sub(1);
            caller.paused |= caller.stalled.take().is_some();
        }
    }

    /// The header of a stream is in its channel's send queue: what came behind it may follow.
    pub(super) fn stream_opened(&mut self, number: u32, now: Instant) {
        if let Some(stream) = self.stream_of(number) {
            stream.progress = now;
        }
        self.flush_stream(number, now);
        let caller = self.rpc.calls.get(number as usize).map(|call| call.caller);
        if let Some(caller) = caller.and_then(|c| self.rpc.callers.get(c as usize)) {
            self.stack.wake(caller.flow);
        }
    }

    fn stream_of(&mut self, number: u32) -> Option<&mut Stream> {
        let call = self.rpc.calls.get_mut(number as usize)?;
        call.stream.as_deref_mut()
    }

    /// Sets when a stream is looked at for its time, or for having been silent.
    pub(super) fn arm_stream(&mut self, number: u32, now: Instant) {
        let idle = self.stream_idle(number);
        if let Some(call) = self.rpc.calls.get_mut(number as usize) {
            call.deadline = call.end.min(now + idle);
            let deadline = call.deadline;
            self.rpc.timers.set(Due::Call(number).key(), deadline);
        }
    }

    /// How long a stream may be silent: as long as a connection to its listener.
    fn stream_idle(&self, number: u32) -> Duration {
        let call = self.rpc.calls.get(number as usize);
        let caller = call.and_then(|call| self.rpc.callers.get(call.caller as usize));
        caller.map_or(Duration::ZERO, |caller| self.waits(caller.listener).0)
    }

    /// The time of a stream is over, or it may have been silent for long.
    pub(super) fn stream_due(&mut self, number: u32, now: Instant) {
        let idle = self.stream_idle(number);
        let Some(call) = self.rpc.calls.get_mut(number as usize) else {
            return;
        };
        let silent = call.stream.as_ref().map_or(now, |stream| stream.progress) + idle;
        let deadline = call.end.min(silent);
        if now < deadline {
            call.deadline = deadline;
            return self.rpc.timers.set(Due::Call(number).key(), deadline);
        }
        let reply = if now >= call.end {
            LocalReply::REQUEST_TIMEOUT
        } else {
            LocalReply::STREAM_SILENT
        };
        self.fail_stream(number, reply, now);
    }

    /// Ends a stream for a reason of our own: both sides are told.
    pub(super) fn fail_stream(&mut self, number: u32, reply: LocalReply, now: Instant) {
        self.leave_channel(number, Ended::TimedOut, now);
        self.fail_call(number, reply, now);
    }

    /// Ends the streams of a caller that will send no more, but for those whose end it has sent.
    #[cold]
    pub(super) fn end_open_streams(&mut self, number: u32, now: Instant) {
        let mut open = Vec::new();
        let Some(caller) = self.rpc.callers.get(number as usize) else {
            return;
        };
        let reply = if caller.closing {
            LocalReply::CALLER_READ_NO_MORE
        } else {
            LocalReply::CALLER_ENDED
        };
        let mut at = Some(caller.first);
        while let Some(call) = at.and_then(|at| self.rpc.calls.get(at as usize)) {
            let own = call.stream.as_ref();
            if own.is_some_and(|stream| !stream.caller_done) {
                open.extend(at.map(|at| call.ticket(at)));
            }
            at = Some(call.behind);
        }
        for ticket in open {
            if self.streaming(ticket).is_some() {
                self.leave_channel(ticket.call, Ended::Cancelled, now);
                self.fail_call(ticket.call, reply, now);
            }
        }
    }

    /// Has the next stream of a caller go on that waited for its output to be sent: one at a time, so that each
    /// gets its turn.
    #[inline]
    pub(super) fn let_stream_go_on(&mut self, number: u32) {
        let Some(caller) = self.rpc.callers.get_mut(number as usize) else {
            return;
        };
        if caller.held_streams.is_empty() || caller.has_backlog() {
            return;
        }
        let channel = caller.held_streams.pop_front();
        let (flow, more) = (caller.flow, !caller.held_streams.is_empty());
        if let Some(channel) = channel.and_then(|c| self.rpc.channels.get_mut(c as usize)) {
            channel.held = false;
            self.stack.wake(channel.flow);
        }
        if more {
            // Behind the channel: the next one goes on if that leaves room.
            self.stack.wake(flow);
        }
    }

    /// Until when a caller may be stalled by a stream: longer where nobody else is held up, and while the
    /// service takes something.
    pub(super) fn stalled_until(
        &self,
        caller: &Caller,
        (call, since): (u32, Instant),
        idle: Duration,
    ) -> Instant {
        let call = self.rpc.calls.get(call as usize);
        let Some((channel, _)) = call.and_then(|call| call.channel) else {
            // The deadline of the stream itself counts.
            return since + idle;
        };
        let channel = self.rpc.channels.get(channel as usize);
        let moved = channel.map_or(since, |channel| channel.progress.max(since));
        moved
            + if caller.calls > 1 {
                HELD_UP.min(idle)
            } else {
                idle
            }
    }

    /// A stream has stalled its caller for too long.
    #[cold]
    pub(super) fn end_stalled(&mut self, number: u32, others: bool, now: Instant) {
        if others {
            self.stats.rpc.count(RpcEvent::StreamHeldUp);
        }
        self.fail_stream(number, LocalReply::STREAM_STALLED, now);
    }

    /// Tells the service of a stream that it is over, unless it knows or never heard of it.
    #[cold]
    pub(super) fn reset_at_service(&mut self, number: u32, how: Ended, now: Instant) {
        let Some(call) = self.rpc.calls.get_mut(number as usize) else {
            return;
        };
        let (Some((channel, name)), Some(stream)) = (call.channel, call.stream.as_deref_mut())
        else {
            return;
        };
        if std::mem::replace(&mut stream.service_done, true) {
            return;
        }
        let text = match how {
            Ended::Cancelled => "the caller of this stream is gone",
            Ended::TimedOut | Ended::Oneway => "the gateway has ended this stream",
        };
        self.spare.out.clear();
        let out = &mut self.spare.out;
        let kind = ExceptionKind::Internal;
        if write_stream_reset(out, name, &call.method, kind, text).is_ok() {
            self.put_channel(channel, now);
        }
    }
}

impl LocalReply {
    /// What this says of a call, said of a stream: its service may have answered long ago.
    #[cold]
    pub(super) fn of_stream(self) -> Self {
        let text = match self.fate {
            RequestFate::ClosedEarly => {
                "the connection to the service ended before this stream did"
            }
            RequestFate::BadResponse => {
                "the service sent something that is no frame of a stream, or half of one"
            }
            _ => self.text,
        };
        Self::new(self.status, self.fate, text)
    }

    const STREAM_LARGE: Self = Self::new(
        502,
        RequestFate::BadResponse,
        "the service sent a frame of this stream that is larger than allowed here",
    );
    const STREAM_SILENT: Self = Self::new(
        504,
        RequestFate::Stalled,
        "nothing has come of this stream for too long",
    );
    const STREAM_STALLED: Self = Self::new(
        504,
        RequestFate::Stalled,
        "the service took nothing of this stream for too long",
    );
    const STREAM_SLOW: Self = Self::new(
        502,
        RequestFate::ClientStalled,
        "too much of this stream waits for its caller",
    );
    const CALLER_ENDED: Self = Self::new(
        400,
        RequestFate::ClientGone,
        "the caller closed its connection before the end of this stream",
    );
    const CALLER_READ_NO_MORE: Self = Self::new(
        400,
        RequestFate::ClientGone,
        "nothing more is read on this connection, as a frame on it was refused or it has been used enough",
    );
    pub(super) const TOO_MANY_STREAMS: Self = Self::new(
        503,
        RequestFate::Unavailable,
        "as many streams of this connection are under way as may be",
    );
    pub(super) const LEAVING: Self = Self::new(
        503,
        RequestFate::Unavailable,
        "the gateway takes no further streams on this connection",
    );
}
