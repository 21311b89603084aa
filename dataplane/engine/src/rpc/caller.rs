//! A client's connection that speaks RPC: what it does next, how long it may wait, how it ends.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{FlowId, Phase};
use sluice_wire::ttheader::Ended;

use super::call::NONE;
use super::due::Due;
use super::front::Skipping;
use super::transfer::Upload;
use super::{CALLS_PER_CALLER, Dialect};
use crate::access::Record;
use crate::downstream::{Downstream, Step};
use crate::ended::Notes;
use crate::stats::{EngineEvent, Refused, RequestFate};
use crate::worker::Worker;

/// Frames of one connection taken in a row before others get their turn.
const FRAMES_PER_TURN: usize = 32;

/// How long a caller that is asked to leave may go on before nothing more is taken from it.
const TO_LEAVE: Duration = Duration::from_secs(5);

/// See above.
pub(crate) struct Caller {
    pub(crate) flow: FlowId,
    /// The worker's number of the listener that accepted it.
    pub(crate) listener: u32,
    /// What it is counted under for its client's address.
    counted: Option<u32>,
    /// Who connected, or for whom a PROXY header says that it did.
    pub(super) peer: SocketAddr,
    /// The address that it connected to.
    pub(super) local: SocketAddr,
    /// Tells it from others that had its number.
    pub(super) stamp: u32,
    /// A channel that waits for it alone.
    pub(super) kept: Option<u32>,
    opened: Instant,
    /// That the time is over in which it takes calls has been counted.
    aged: bool,
    pub(super) dialect: Dialect,
    /// Its calls, in the order in which they came.
    pub(super) first: u32,
    pub(super) last: u32,
    pub(crate) calls: u32,
    /// Bytes that can come together in the receive ring.
    pub(super) whole: usize,
    /// Largest frame.
    pub(super) max_frame: usize,
    /// Requests that were begun, and frames of streams.
    pub(super) requests: u32,
    /// Calls and streams that it began.
    pub(super) began: u32,
    /// They are as many as its listener allows on a connection.
    pub(super) spent: bool,
    /// Bytes that there must be before the next frame is looked at; 0 before its first byte.
    pub(super) need: usize,
    pub(super) skipping: Option<Box<Skipping>>,
    /// How many of them are streams.
    pub(super) streams: u32,
    /// The stream whose frame is at the front of the receive ring and can't go on, and since when.
    pub(super) stalled: Option<(u32, Instant)>,
    /// Channels of streams that wait until its output is sent, the one that has waited longest in front.
    pub(super) held_streams: VecDeque<u32>,
    /// Bytes of streams that may wait for it.
    pub(super) room: usize,
    /// A frame that is too large for a shared connection, on its way.
    pub(super) upload: Option<Upload>,
    /// The call whose reply flows in as it comes.
    pub(super) download: Option<u32>,
    /// What did not fit into the send queue, and how much of it has been sent since.
    pub(super) out: Vec<u8>,
    pub(super) out_sent: usize,
    /// Replies behind the one that flows in.
    pub(super) held: Vec<u8>,
    /// How much of both is counted among what waits for callers.
    pub(super) untaken: usize,
    /// When something of its output last moved.
    pub(super) progress: Instant,
    /// To be closed when its calls are over and its output is sent.
    pub(super) closing: bool,
    /// There may be frames that were not taken though nothing new comes.
    pub(super) paused: bool,
    /// When it began to wait for a frame, or for the rest of one.
    pub(super) waiting_since: Instant,
}

impl Caller {
    /// A connection that was found to speak RPC.
    pub(super) fn new(down: &Downstream, dialect: Dialect, whole: usize, stamp: u32) -> Self {
        Caller {
            flow: down.flow,
            listener: down.listener,
            counted: down.counted,
            peer: down.peer,
            local: down.local,
            stamp,
            kept: None,
            opened: down.opened,
            aged: false,
            dialect,
            first: NONE,
            last: NONE,
            calls: 0,
            streams: 0,
            stalled: None,
            held_streams: VecDeque::new(),
            room: 0,
            whole,
            max_frame: 0,
            requests: 0,
            began: 0,
            spent: false,
            need: 0,
            skipping: None,
            upload: None,
            download: None,
            out: Vec::new(),
            out_sent: 0,
            held: Vec::new(),
            untaken: 0,
            progress: down.waiting_since,
            closing: false,
            paused: false,
            waiting_since: down.waiting_since,
        }
    }

    /// Bytes that wait for room in its send queue, or behind a reply that flows in.
    pub(super) fn waiting(&self) -> usize {
        self.out.len() - self.out_sent + self.held.len()
    }

    /// Whether something written earlier has still to go to the send queue.
    pub(super) fn has_backlog(&self) -> bool {
        self.out_sent < self.out.len()
    }
}

impl<P: PacketIo> Worker<P> {
    /// Goes on with a caller's connection as far as possible.
    pub(crate) fn drive_caller(&mut self, number: u32, now: Instant) {
        for _ in 0..FRAMES_PER_TURN {
            match self.caller_step(number, now) {
                Step::Again => {}
                Step::Wait => {
                    self.arm_caller(number, now);
                    return self.let_stream_go_on(number);
                }
                Step::Over => return,
            }
        }
        if let Some(caller) = self.rpc.callers.get(number as usize) {
            self.stack.wake(caller.flow);
        }
        self.let_stream_go_on(number);
    }

    fn caller_step(&mut self, number: u32, now: Instant) -> Step {
        let Some(caller) = self.rpc.callers.get(number as usize) else {
            return Step::Over;
        };
        let view = self.stack.view(caller.flow);
        if view.phase == Phase::Closed {
            self.abort_caller(number, RequestFate::ClientGone, now);
            return Step::Over;
        }
        if caller.has_backlog() && !self.flush_output(number, now) {
            return Step::Wait;
        }
        let Some(caller) = self.rpc.callers.get_mut(number as usize) else {
            return Step::Over;
        };
        if let Some(call) = caller.download {
            // Its output has room again, which is all that its reply may have waited for.
            let channel = self.rpc.calls.get(call as usize).and_then(|c| c.channel);
            let channel = channel.and_then(|(channel, _)| self.rpc.channels.get(channel as usize));
            if let Some(channel) = channel.filter(|_| view.writable > 0) {
                self.stack.wake(channel.flow);
            }
        }
        let Some(caller) = self.rpc.callers.get_mut(number as usize) else {
            return Step::Over;
        };
        if caller.upload.is_some() {
            return self.upload(number, now);
        }
        if caller.spent && caller.calls == 0 {
            self.close_caller(number, now);
            return Step::Over;
        }
        let nothing = view.readable == 0;
        if caller.closing || (nothing && view.finished) {
            if caller.streams > 0 {
                self.end_open_streams(number, now);
            }
            let Some(caller) = self.rpc.callers.get_mut(number as usize) else {
                return Step::Over;
            };
            if caller.calls == 0 && !caller.has_backlog() {
                self.close_caller(number, now);
                return Step::Over;
            }
            caller.paused = true;
            return Step::Wait;
        }
        // Frames of streams that are under way go on.
        caller.paused = caller.calls >= CALLS_PER_CALLER && caller.streams == 0;
        if caller.paused {
            return Step::Wait;
        }
        if nothing {
            if caller.calls == 0 && self.takes_no_more(number, now) {
                self.close_caller(number, now);
                return Step::Over;
            }
            return Step::Wait;
        }
        if self.is_spent(number, now) {
            // Behind the calls that are under way it is closed.
            if let Some(caller) = self.rpc.callers.get_mut(number as usize) {
                caller.closing = true;
            }
            return Step::Again;
        }
        let Some(caller) = self.rpc.callers.get_mut(number as usize) else {
            return Step::Over;
        };
        if view.readable < caller.need && !view.finished {
            return Step::Wait;
        }
        self.next_frame(number, view.finished, now)
    }

    /// Sets the deadline of what the connection waits for now.
    fn arm_caller(&mut self, number: u32, now: Instant) {
        if let Some(caller) = self.rpc.callers.get(number as usize) {
            let deadline = self.caller_deadline(caller, now);
            self.rpc.timers.set(Due::Caller(number).key(), deadline);
        }
    }

    /// While calls are under way their own deadlines count; it is looked at again in a while.
    fn caller_deadline(&self, caller: &Caller, now: Instant) -> Instant {
        let (idle, head) = self.waits(caller.listener);
        if caller.has_backlog() || caller.download.is_some() {
            return caller.progress + idle;
        }
        if let Some(upload) = &caller.upload {
            return upload.progress + idle;
        }
        if let Some((call, since)) = caller.stalled {
            return self.stalled_until(caller, (call, since), idle);
        }
        if caller.need > 0 || caller.requests == 0 {
            return caller.waiting_since + head;
        }
        if caller.calls > 0 {
            return now + idle;
        }
        let aged = self.lifetime_of(caller).map(|time| caller.opened + time);
        (caller.waiting_since + idle).min(aged.unwrap_or(Instant::NEVER))
    }

    /// For how long a caller's connection may take calls.
    #[inline]
    fn lifetime_of(&self, caller: &Caller) -> Option<Duration> {
        let rules = self.generations.current().listener_rules(caller.listener);
        rules.and_then(|rules| rules.lifetime)
    }

    /// Takes note of a call or a stream that a caller begins; whether it is one more than its listener allows
    /// on a connection.
    #[inline]
    pub(super) fn exceeds_requests(&mut self, number: u32) -> bool {
        let Some(caller) = self.rpc.callers.get_mut(number as usize) else {
            return false;
        };
        let rules = self.generations.current().listener_rules(caller.listener);
        let most = rules.map_or(u32::MAX, |rules| rules.max_requests);
        let exceeds = caller.began >= most;
        caller.began = caller.began.saturating_add(1);
        if caller.began >= most && !std::mem::replace(&mut caller.spent, true) {
            self.stats.events.count(EngineEvent::DownstreamSpent);
        }
        exceeds
    }

    /// Whether a caller is asked to leave: its listener is, its time is over, or it had all its calls.
    #[inline]
    pub(super) fn takes_no_more(&mut self, number: u32, now: Instant) -> bool {
        let Some(caller) = self.rpc.callers.get_mut(number as usize) else {
            return false;
        };
        let rules = self.generations.current().listener_rules(caller.listener);
        let Some(rules) = rules else {
            return true;
        };
        let lifetime = rules.lifetime;
        let aged = lifetime.is_some_and(|lifetime| now >= caller.opened + lifetime);
        if aged && !std::mem::replace(&mut caller.aged, true) {
            self.stats.events.count(EngineEvent::DownstreamAged);
        }
        aged || caller.spent || caller.closing || self.draining
    }

    /// Whether a caller's time has been over for so long that nothing more is taken from it.
    #[inline]
    fn is_spent(&self, number: u32, now: Instant) -> bool {
        let caller = self.rpc.callers.get(number as usize);
        caller.is_some_and(|caller| {
            let lifetime = self.lifetime_of(caller);
            lifetime.is_some_and(|lifetime| now >= caller.opened + lifetime + TO_LEAVE)
        })
    }

    /// The timer of a caller's connection has fired.
    pub(super) fn caller_due(&mut self, number: u32, now: Instant) {
        let Some(caller) = self.rpc.callers.get(number as usize) else {
            return;
        };
        let deadline = self.caller_deadline(caller, now);
        if now < deadline {
            return self.rpc.timers.set(Due::Caller(number).key(), deadline);
        }
        if caller.download.is_some() && !caller.has_backlog() {
            self.abort_caller(number, RequestFate::Stalled, now);
        } else if caller.has_backlog() {
            self.abort_caller(number, RequestFate::ClientStalled, now);
        } else if caller.upload.is_some() {
            self.abort_caller(number, RequestFate::BodyTimeout, now);
        } else if let Some((call, _)) = caller.stalled {
            self.end_stalled(call, caller.calls > 1, now);
        } else if caller.need > 0 {
            self.end_unread(number, RequestFate::HeadTimeout, now);
        } else if caller.calls == 0 && self.takes_no_more(number, now) {
            self.close_caller(number, now);
        } else {
            self.stats.events.count(EngineEvent::DownstreamIdle);
            self.close_caller(number, now);
        }
    }

    /// Ends a connection in the middle of a frame: behind it nothing can be found. Calls under way are
    /// still answered.
    pub(super) fn end_unread(&mut self, number: u32, fate: RequestFate, now: Instant) {
        let Some(caller) = self.rpc.callers.get(number as usize) else {
            return;
        };
        if caller.need > 0 && fate != RequestFate::Malformed {
            self.stats.refused_frames.count(Refused::Truncated);
        }
        let begun = if caller.need > 0 {
            caller.waiting_since
        } else {
            now
        };
        let waiting = self.read_no_more(number);
        let mut notes = Notes::new(begun, waiting);
        notes.record = self.record_unread(number);
        self.ended(notes, fate, 0, now);
    }

    /// Has a connection end behind its calls, and throws away what has come on it, of so many bytes.
    pub(super) fn read_no_more(&mut self, number: u32) -> usize {
        let Some(caller) = self.rpc.callers.get_mut(number as usize) else {
            return 0;
        };
        caller.closing = true;
        caller.need = 0;
        let flow = caller.flow;
        let waiting = self.stack.view(flow).readable;
        self.stack.consume(flow, waiting);
        self.stack.wake(flow);
        waiting
    }

    /// A line of the access log for a request that can't be read, if it is to have one.
    #[cold]
    pub(super) fn record_unread(&mut self, number: u32) -> Option<Box<Record>> {
        let caller = self.rpc.callers.get(number as usize)?;
        let rules = self.generations.current();
        let whose = (rules.listener(caller.listener), caller.peer);
        let log = self.handoff.access_log();
        self.recorder.of_unread(log, &rules.snapshot, whose)
    }

    /// Closes a caller's connection, which has no calls and nothing left to send.
    pub(super) fn close_caller(&mut self, number: u32, now: Instant) {
        if let Some(caller) = self.rpc.callers.get(number as usize) {
            self.stack.close(caller.flow, now);
            self.forget_caller(number, RequestFate::ClientGone, now);
        }
    }

    /// Resets a caller's connection and ends its calls with `fate`.
    pub(crate) fn abort_caller(&mut self, number: u32, fate: RequestFate, now: Instant) {
        if let Some(caller) = self.rpc.callers.get(number as usize) {
            self.stack.abort(caller.flow, now);
            if caller.need > 0 {
                self.end_unread(number, fate, now);
            }
            self.forget_caller(number, fate, now);
        }
    }

    fn forget_caller(&mut self, number: u32, fate: RequestFate, now: Instant) {
        while let Some(caller) = self.rpc.callers.get(number as usize)
            && caller.first != NONE
        {
            let call = caller.first;
            self.leave_channel(call, Ended::Cancelled, now);
            self.end_call(call, fate, now);
        }
        let Some(caller) = self.rpc.callers.try_remove(number as usize) else {
            return;
        };
        let untaken = &mut self.rpc.buffers.untaken;
        *untaken = untaken.saturating_sub(caller.untaken);
        if let Some(kept) = caller.kept {
            self.close_kept_channel(kept, (number, caller.stamp), now);
        }
        self.uncount(caller.listener, caller.counted);
        self.stats.events.count(EngineEvent::DownstreamClosed);
    }

    /// Goes on with callers that are to take no further requests and have none under way.
    pub(crate) fn close_waiting_callers(&mut self, now: Instant) {
        let callers = self.rpc.callers.iter();
        let waiting: Vec<u32> = callers
            .filter(|(_, caller)| caller.calls == 0 && self.is_leaving(caller.listener))
            .map(|(number, _)| number as u32)
            .collect();
        for number in waiting {
            self.drive_caller(number, now);
        }
    }
}
