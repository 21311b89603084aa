//! Deadlines of callers, calls and channels.

use std::time::Duration;

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::ttheader::Ended;

use crate::reply::LocalReply;
use crate::worker::{Role, Worker};

/// How often it is looked whether the caller of a call that is held is still there.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whose timer it is. All share one wheel.
#[derive(Debug, Clone, Copy)]
pub(super) enum Due {
    Caller(u32),
    Call(u32),
    Channel(u32),
}

impl Due {
    pub(super) fn key(self) -> u32 {
        match self {
            Due::Caller(number) => number << 2,
            Due::Call(number) => number << 2 | 1,
            Due::Channel(number) => number << 2 | 2,
        }
    }
}

impl<P: PacketIo> Worker<P> {
    /// A timer has fired. What it was set for may have moved, or be over.
    pub(crate) fn rpc_due(&mut self, key: u32, now: Instant) {
        let number = key >> 2;
        match key & 3 {
            0 => self.caller_due(number, now),
            1 => self.call_due(number, now),
            _ => self.channel_due(number, now),
        }
    }

    /// Whose timer has this key.
    pub(crate) fn rpc_role(&self, key: u32) -> Option<Role> {
        let number = key >> 2;
        Some(match key & 3 {
            0 => Role::Caller(number),
            1 => Role::Caller(self.rpc.calls.get(number as usize)?.caller),
            _ => Role::Channel(number),
        })
    }

    fn call_due(&mut self, number: u32, now: Instant) {
        // A timer is not taken back when its call is over: another may have its number.
        let Some(call) = self.rpc.calls.get_mut(number as usize) else {
            return;
        };
        if now < call.deadline {
            if call.held.is_none() {
                let deadline = call.deadline;
                return self.rpc.timers.set(key_of(number), deadline);
            }
            let caller = self.rpc.callers.get(call.caller as usize);
            if !caller.is_none_or(|caller| self.stack.view(caller.flow).finished) {
                let look = call.deadline.min(now + LOOK_EVERY);
                return self.rpc.timers.set(key_of(number), look);
            }
            // It may still read an answer, so it gets one, as whoever speaks HTTP does.
            call.deadline = call.deadline.min(self.early.turn(now));
            if now < call.deadline {
                let deadline = call.deadline;
                return self.rpc.timers.set(key_of(number), deadline);
            }
        }
        let caller = self.rpc.callers.get(call.caller as usize);
        if caller.is_some_and(|caller| caller.download == Some(number)) {
            // Its reply has begun: to cut it off would end every other call of its caller. It goes on
            // while it moves, see the deadline of callers.
            return;
        }
        if call.ready.is_some() {
            // Its reply is there. If its caller takes nothing, that ends with the caller.
            return;
        }
        if now < call.end
            && let Some(then) = call.held.take()
        {
            return self.let_call_go(number, then, now);
        }
        let Some(call) = self.rpc.calls.get(number as usize) else {
            return;
        };
        if call.stream.is_some() && call.channel.is_some() {
            return self.stream_due(number, now);
        }
        if now < call.end
            && let Some(until) = self.waits_for_rest(number)
        {
            return self.rest_is_due(number, until, now);
        }
        let Some(call) = self.rpc.calls.get(number as usize) else {
            return;
        };
        let reply = if now >= call.end {
            LocalReply::REQUEST_TIMEOUT
        } else {
            LocalReply::RESPONSE_TIMEOUT
        };
        self.note_unanswered(number, now);
        self.leave_channel(number, Ended::TimedOut, now);
        self.fail_call(number, reply, now);
    }
}

fn key_of(call: u32) -> u32 {
    Due::Call(call).key()
}
