//! A call: a request, from its first byte until its reply is in its caller's send queue or it was
//! given up. A caller's calls are a list in the order in which they came.

use sluice_policy::{LaneId, RouteId, ServiceId};
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::ttheader::{Ended, KeptAnswer, Timeout};

use super::Dialect;
use super::channels::Ticket;
use super::due::Due;
use super::judge::{Origin, Then};
use super::streams::Stream;
use crate::ended::Notes;
use crate::stats::RequestFate;
use crate::traffic::Outcome;
use crate::worker::Worker;

/// No call: the end of a list.
pub(crate) const NONE: u32 = u32::MAX;

/// A call under way.
pub(crate) struct Call {
    pub(crate) caller: u32,
    /// Its neighbours among its caller's calls.
    pub(super) before: u32,
    pub(super) behind: u32,
    /// Tells it from others that had its number.
    pub(super) stamp: u32,
    /// The rules it began under.
    pub(super) generation: usize,
    pub(super) route: Option<RouteId>,
    pub(super) service: Option<ServiceId>,
    pub(super) lane: Option<LaneId>,
    pub(super) origin: Origin,
    /// It is held for a drill; what becomes of it then.
    pub(super) held: Option<Then>,
    /// What its caller speaks.
    pub(super) dialect: Dialect,
    /// No reply comes.
    pub(super) oneway: bool,
    /// Its reply may not come before those of earlier calls.
    pub(super) ordered: bool,
    /// Bytes of its frame, which is too large for a shared connection; 0 for others.
    pub(super) large: usize,
    /// The sequence of its message can be changed.
    pub(super) rewritable: bool,
    /// How long its caller waits, as it says.
    pub(super) timeout: Option<Timeout>,
    /// How it is answered here; `None` where it can't be.
    pub(super) answer: Option<KeptAnswer>,
    pub(super) method: Vec<u8>,
    /// Its MeshHeader as it was received; empty where it had none.
    pub(super) mesh: Vec<u8>,
    /// Its frame, while it waits for a channel; empty for a large one, which stays in its ring.
    pub(super) frame: Vec<u8>,
    /// The channel it was sent on, and its name there.
    pub(super) channel: Option<(u32, i32)>,
    /// Endpoints that were tried.
    pub(super) connects: u32,
    /// Its reply, or what has come of it, while it can't go to its caller.
    pub(super) reply: Vec<u8>,
    /// Its reply is complete and waits for its turn.
    pub(super) ready: Option<RequestFate>,
    /// What kind of reply came, if one did.
    pub(super) outcome: Outcome,
    /// Largest reply.
    pub(super) max_frame: usize,
    /// When it ends, whatever has become of it.
    pub(super) end: Instant,
    /// When it has waited long enough for what it waits for; never later than `end`.
    pub(super) deadline: Instant,
    /// It is a stream.
    pub(super) stream: Option<Box<Stream>>,
    pub(super) notes: Notes,
}

impl Call {
    pub(super) fn ticket(&self, number: u32) -> Ticket {
        Ticket {
            call: number,
            stamp: self.stamp,
        }
    }

    /// Whether it is the call of this ticket, and still waits.
    pub(super) fn waits(&self, ticket: Ticket) -> bool {
        self.stamp == ticket.stamp && self.channel.is_none() && self.ready.is_none()
    }
}

impl<P: PacketIo> Worker<P> {
    /// Registers a call behind the others of its caller.
    pub(super) fn insert_call(&mut self, mut call: Call) -> u32 {
        let rpc = &mut self.rpc;
        rpc.stamps = rpc.stamps.wrapping_add(1);
        call.stamp = rpc.stamps;
        let deadline = call.deadline;
        let Some(caller) = rpc.callers.get_mut(call.caller as usize) else {
            return NONE;
        };
        let number = rpc.calls.vacant_key() as u32;
        call.before = caller.last;
        call.behind = NONE;
        if caller.last == NONE {
            caller.first = number;
        } else if let Some(last) = rpc.calls.get_mut(caller.last as usize) {
            last.behind = number;
        }
        caller.last = number;
        caller.calls += 1;
        rpc.calls.insert(call);
        rpc.timers.set(Due::Call(number).key(), deadline);
        number
    }

    /// The call that waits with this ticket, if it still does.
    pub(super) fn waiting_call(&mut self, ticket: Ticket) -> Option<&mut Call> {
        let call = self.rpc.calls.get_mut(ticket.call as usize)?;
        call.waits(ticket).then_some(call)
    }

    /// Takes a call from its channel: no reply to it is waited for any more.
    pub(super) fn leave_channel(&mut self, number: u32, how: Ended, now: Instant) {
        let Some(call) = self.rpc.calls.get(number as usize) else {
            return;
        };
        if call.stream.is_some() {
            self.reset_at_service(number, how, now);
        }
        let call = self.rpc.calls.get_mut(number as usize);
        let Some((channel, name)) = call.and_then(|call| call.channel.take()) else {
            return;
        };
        self.cancel_on_channel(channel, name, number, how, now);
    }

    /// Ends a call: it is counted, timed and logged, and its place is free. Its channel has to be left
    /// before.
    pub(super) fn end_call(&mut self, number: u32, fate: RequestFate, now: Instant) {
        let Some(call) = self.rpc.calls.try_remove(number as usize) else {
            return;
        };
        if call.caller == NONE {
            return self.end_copy(
                call,
                matches!(fate, RequestFate::Answered | RequestFate::Oneway),
            );
        }
        if let Some(stream) = call.stream {
            self.forget_stream(call.caller, *stream);
        }
        let rpc = &mut self.rpc;
        if let Some(before) = rpc.calls.get_mut(call.before as usize) {
            before.behind = call.behind;
        }
        if let Some(behind) = rpc.calls.get_mut(call.behind as usize) {
            behind.before = call.before;
        }
        if let Some(caller) = rpc.callers.get_mut(call.caller as usize) {
            if let Some(upload) = &mut caller.upload
                && upload.call == Some(number)
            {
                // It was answered before all of it was sent: nobody wants the rest.
                upload.call = None;
                let channel = upload.channel.take();
                if let Some(channel) = channel.and_then(|c| rpc.channels.get_mut(c as usize)) {
                    channel.upload = None;
                    channel.leaving = true;
                }
                self.stack.wake(caller.flow);
            }
            if caller.first == number {
                caller.first = call.behind;
            }
            if caller.last == number {
                caller.last = call.before;
            }
            caller.calls = caller.calls.saturating_sub(1);
            caller.waiting_since = now;
            let ends = self.draining || caller.closing || caller.spent;
            if caller.paused || caller.calls == 0 && ends {
                self.stack.wake(caller.flow);
            }
        }
        rpc.buffers.held = rpc
            .buffers
            .held
            .saturating_sub(call.frame.len() + call.reply.len() + call.mesh.len());
        rpc.buffers.give_back(call.frame);
        rpc.buffers.give_back(call.reply);
        if let Some(pool) = call.notes.pool {
            let outcome = match fate {
                RequestFate::Answered => call.outcome,
                RequestFate::Oneway => Outcome::Oneway,
                _ => Outcome::Failed,
            };
            let time = now.since(call.notes.begun);
            let (pools, traffic) = (&self.pools, &self.stats.traffic);
            let method = &call.method;
            rpc.methods
                .count((pools, pool), method, (outcome, time), traffic);
        }
        rpc.buffers.give_back(call.method);
        rpc.buffers.give_back(call.mesh);
        self.ended(call.notes, fate, 0, now);
        self.generations.end(call.generation, &self.handoff);
    }
}
