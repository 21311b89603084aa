//! What goes to a caller: replies in one piece each, in the order that the caller can do with. What its
//! send queue has no room for waits beside it, so that a slow caller holds up nobody else.

use sluice_stack::FlowId;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;

use super::call::NONE;
use super::caller::Caller;
use super::due::Due;
use super::{KEPT_BUFFER, MOST_UNTAKEN};
use crate::stats::{RequestFate, RpcEvent};
use crate::worker::Worker;

/// Bytes that may wait for a caller which does not take them.
const MAX_BACKLOG: usize = 32 << 20;

impl<P: PacketIo> Worker<P> {
    /// Gives a call the reply that stands in the scratch buffer, at once or when its turn comes, and
    /// ends it with that.
    pub(super) fn give_reply(&mut self, number: u32, fate: RequestFate, now: Instant) {
        let Some(caller) = self.rpc.calls.get(number as usize).map(|call| call.caller) else {
            return;
        };
        if self.waits_its_turn(number) {
            let mut reply = self.rpc.buffers.take();
            reply.extend_from_slice(&self.spare.out);
            self.keep_reply(number, reply, fate);
            return;
        }
        let len = self.spare.out.len();
        self.output(caller, now);
        if let Some(call) = self.rpc.calls.get_mut(number as usize) {
            call.notes.bytes_out += len as u64;
        }
        self.end_call(number, fate, now);
        self.after_reply(caller, now);
    }

    /// Whether a reply has to wait for those of earlier calls.
    pub(super) fn waits_its_turn(&self, number: u32) -> bool {
        let call = self.rpc.calls.get(number as usize);
        call.is_some_and(|call| {
            let caller = self.rpc.callers.get(call.caller as usize);
            call.ordered && caller.is_some_and(|caller| self.first_call(caller) != number)
        })
    }

    /// The call of a caller that came first; streams are beside the order of calls.
    #[inline]
    pub(super) fn first_call(&self, caller: &Caller) -> u32 {
        let mut first = caller.first;
        if caller.streams > 0 {
            while let Some(call) = self.rpc.calls.get(first as usize)
                && call.stream.is_some()
            {
                first = call.behind;
            }
        }
        first
    }

    /// Has a complete reply wait for its turn.
    pub(super) fn keep_reply(&mut self, number: u32, reply: Vec<u8>, fate: RequestFate) {
        let Some(call) = self.rpc.calls.get_mut(number as usize) else {
            return;
        };
        self.rpc.buffers.held += reply.len();
        call.reply = reply;
        call.ready = Some(fate);
        self.stats.rpc.count(RpcEvent::InOrder);
    }

    /// A reply that came in pieces is complete.
    pub(super) fn reply_together(&mut self, number: u32, fate: RequestFate, now: Instant) {
        let waits = self.waits_its_turn(number);
        let Some(call) = self.rpc.calls.get_mut(number as usize) else {
            return;
        };
        let caller = call.caller;
        call.ready = Some(fate);
        if waits {
            self.stats.rpc.count(RpcEvent::InOrder);
            return;
        }
        self.give_kept(number, fate, now);
        self.after_reply(caller, now);
    }

    fn give_kept(&mut self, number: u32, fate: RequestFate, now: Instant) {
        let Some(call) = self.rpc.calls.get_mut(number as usize) else {
            return;
        };
        let caller = call.caller;
        let reply = std::mem::take(&mut call.reply);
        call.notes.bytes_out += reply.len() as u64;
        self.rpc.buffers.held = self.rpc.buffers.held.saturating_sub(reply.len());
        self.put(caller, &reply, now);
        self.rpc.buffers.give_back(reply);
        self.end_call(number, fate, now);
    }

    /// A call of a caller is over: others may have waited for it.
    pub(super) fn after_reply(&mut self, number: u32, now: Instant) {
        while let Some(caller) = self.rpc.callers.get_mut(number as usize)
            && caller.download.is_none()
        {
            if !caller.held.is_empty() {
                let held = std::mem::take(&mut caller.held);
                self.put(number, &held, now);
                self.count_untaken(number);
                self.rpc.buffers.give_back(held);
                continue;
            }
            let first = match self.rpc.callers.get(number as usize) {
                Some(caller) => self.first_call(caller),
                None => return,
            };
            let ready = self.rpc.calls.get(first as usize);
            let Some(fate) = ready.and_then(|call| call.ready) else {
                return;
            };
            if first == NONE {
                return;
            }
            self.give_kept(first, fate, now);
        }
    }

    /// Sends a caller what stands in the scratch buffer.
    pub(super) fn output(&mut self, number: u32, now: Instant) {
        let out = std::mem::take(&mut self.spare.out);
        self.put(number, &out, now);
        self.spare.out = out;
    }

    /// Sends a caller these bytes, behind what waits already.
    pub(super) fn put(&mut self, number: u32, bytes: &[u8], now: Instant) {
        let Some(caller) = self.rpc.callers.get_mut(number as usize) else {
            return;
        };
        if caller.download.is_some() {
            caller.held.extend_from_slice(bytes);
        } else if caller.has_backlog() {
            caller.out.extend_from_slice(bytes);
        } else {
            let sent = self.stack.write(caller.flow, bytes);
            let rest = bytes.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                return;
            }
            caller.out.clear();
            caller.out_sent = 0;
            caller.out.extend_from_slice(rest);
            caller.progress = now;
        }
        self.backlogged(number, now);
    }

    /// Sends a caller the first `len` bytes of a channel's receive ring.
    pub(super) fn put_from(&mut self, number: u32, from: FlowId, len: usize, now: Instant) {
        let mut left = len;
        if let Some(caller) = self.rpc.callers.get_mut(number as usize)
            && !caller.has_backlog()
            && caller.download.is_none()
        {
            left -= self.stack.splice(from, caller.flow, left);
        }
        let any = left > 0;
        while left > 0 {
            let here = self.stack.peek(from);
            let here = here.get(..left).unwrap_or(here);
            if here.is_empty() {
                return;
            }
            let taken = here.len();
            if let Some(caller) = self.rpc.callers.get_mut(number as usize) {
                if caller.download.is_some() {
                    caller.held.extend_from_slice(here);
                } else {
                    if !caller.has_backlog() {
                        caller.out.clear();
                        caller.out_sent = 0;
                        caller.progress = now;
                    }
                    caller.out.extend_from_slice(here);
                }
            }
            self.stack.consume(from, taken);
            left -= taken;
        }
        if any {
            self.backlogged(number, now);
        }
    }

    /// Counts what waits for a caller, which may have changed; returns how much all callers together leave.
    fn count_untaken(&mut self, number: u32) -> usize {
        let untaken = &mut self.rpc.buffers.untaken;
        if let Some(caller) = self.rpc.callers.get_mut(number as usize) {
            let waiting = caller.waiting();
            *untaken = untaken.saturating_sub(caller.untaken) + waiting;
            caller.untaken = waiting;
        }
        *untaken
    }

    /// Something waits for a caller: it has so long to take it, and may not leave too much, nor add to what is
    /// too much of all callers.
    fn backlogged(&mut self, number: u32, now: Instant) {
        let untaken = self.count_untaken(number);
        let Some(caller) = self.rpc.callers.get(number as usize) else {
            return;
        };
        let waiting = caller.waiting();
        let (progress, listener) = (caller.progress, caller.listener);
        if waiting > MAX_BACKLOG || untaken > MOST_UNTAKEN {
            return self.abort_caller(number, RequestFate::ClientStalled, now);
        }
        let (idle, _) = self.waits(listener);
        self.rpc
            .timers
            .set(Due::Caller(number).key(), progress + idle);
    }

    /// Goes on with what waits; whether all of it is in the send queue.
    pub(super) fn flush_output(&mut self, number: u32, now: Instant) -> bool {
        let Some(caller) = self.rpc.callers.get_mut(number as usize) else {
            return true;
        };
        let rest = caller.out.get(caller.out_sent..).unwrap_or_default();
        let sent = self.stack.write(caller.flow, rest);
        caller.out_sent += sent;
        if sent > 0 {
            caller.progress = now;
        }
        let all = !caller.has_backlog();
        if all {
            caller.out_sent = 0;
            caller.out.clear();
            if caller.out.capacity() > KEPT_BUFFER {
                caller.out = Vec::new();
            }
        }
        self.count_untaken(number);
        all
    }
}
