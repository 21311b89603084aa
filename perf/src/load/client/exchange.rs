//! What happens on an open connection of the client's: requests go out, answers come in, and either may
//! be its end.

use std::time::Duration;

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{FlowId, Stack};

use super::{AFTER_FAULT, CLOSE_WITHIN, Client, Reuse, State};
use crate::load::calls::Call;
use crate::load::codec::Read;
use crate::load::fault::Fault;
use crate::load::stats::StepStats;

impl Client {
    /// Sends what there is room for of the requests that wait, one whole behind the other.
    #[inline]
    pub(super) fn send<P: PacketIo>(
        &mut self,
        slot: u32,
        stack: &mut Stack<P>,
        stats: &mut StepStats,
        now: Instant,
    ) {
        // Each turn sends a request, or is the last one.
        loop {
            let Some(connection) = self.connections.get_mut(slot as usize) else {
                return;
            };
            let Some(flow) = connection.flow else { return };
            let Some((place, call)) = connection.calls.next_unsent() else {
                return;
            };
            let Some(planned) = self.plan.get(call.request) else {
                return;
            };
            let sequences = (call.sequence, call.sequence);
            let to = (&mut *stack, flow);
            let pattern = &self.plan.pattern;
            if !planned
                .message
                .write(&mut call.sent, sequences, pattern, &mut self.scratch, to)
            {
                return;
            }
            if planned.oneway {
                settle(call, (0, None), &mut self.busy, stats, now);
            }
            let (answered, think) = (call.answered, planned.think);
            connection.calls.sent();
            if answered {
                self.release(slot, place, think, now);
            }
        }
    }

    /// Reads the answers that have come.
    #[inline]
    pub(super) fn receive<P: PacketIo>(
        &mut self,
        slot: u32,
        flow: FlowId,
        stack: &mut Stack<P>,
        stats: &mut StepStats,
        now: Instant,
    ) {
        // Each turn reads an answer, or is the last one.
        loop {
            let Some(connection) = self.connections.get_mut(slot as usize) else {
                return;
            };
            if connection.flow != Some(flow) || connection.calls.is_empty() {
                return;
            }
            let (reader, calls) = (&mut connection.reader, &connection.calls);
            match self.codec.read(reader, calls, &self.plan, stack, flow) {
                Read::More => return,
                Read::Broken(fault) => return self.fail(slot, fault, stack, stats, now),
                Read::Answer {
                    place,
                    bytes,
                    wrong,
                    keep_alive,
                    fault,
                } => {
                    // What is over timed out, and was counted as that.
                    let call = connection.calls.get(place);
                    if call.is_some_and(|call| call.counted && !call.over)
                        && let Some(wrong) = wrong
                    {
                        stats.wrong(wrong);
                    }
                    // With one call under way nothing can follow its answer.
                    let more = connection.calls.len() == 1 && stack.view(flow).readable > 0;
                    let fault = fault.or(more.then_some(Fault::Unexpected));
                    let goes_on = keep_alive && !more && self.setup.reuse == Reuse::KeepAlive;
                    if !goes_on {
                        self.leave(slot);
                    }
                    self.answered(slot, place, (bytes, fault), stats, now);
                    if !goes_on {
                        self.leave_now(slot, flow, more, stack, now);
                    }
                }
            }
        }
    }

    /// Takes an answer to account, and frees its place where all of its request was sent.
    #[inline]
    fn answered(
        &mut self,
        slot: u32,
        place: u16,
        answer: (u64, Option<Fault>),
        stats: &mut StepStats,
        now: Instant,
    ) {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        let Some(call) = connection.calls.get_mut(place) else {
            return;
        };
        settle(call, answer, &mut self.busy, stats, now);
        if call.all_sent {
            let think = self.plan.get(call.request).map(|planned| planned.think);
            self.release(slot, place, think.unwrap_or_default(), now);
        }
    }

    /// Frees a place, or withholds it until its connection is gone.
    #[inline]
    fn release(&mut self, slot: u32, place: u16, think: Duration, now: Instant) {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        connection.calls.end(place);
        if connection.calls.is_empty() {
            connection.deadline = Instant::NEVER;
        }
        if connection.state == State::Leaving {
            connection.withheld += 1;
            if connection.calls.is_empty() {
                connection.deadline = now + CLOSE_WITHIN;
            }
        } else {
            self.free_after(slot, think, now);
        }
    }

    /// The connection takes no more requests.
    fn leave(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        connection.state = State::Leaving;
        if self.setup.calls > 1 {
            let before = self.free.len();
            self.free.retain(|free| *free != slot);
            connection.withheld += (before - self.free.len()) as u16;
        }
    }

    /// A connection that is leaving and has no more calls is closed here where the target would not do it.
    fn leave_now<P: PacketIo>(
        &mut self,
        slot: u32,
        flow: FlowId,
        damaged: bool,
        stack: &mut Stack<P>,
        now: Instant,
    ) {
        let connection = self.connections.get(slot as usize);
        if !connection.is_some_and(|connection| connection.calls.is_empty()) {
            return;
        }
        let ours = self.setup.reuse == Reuse::Close && self.plan.protocol().client_closes();
        if damaged || ours || stack.view(flow).finished {
            self.close(slot, stack, now);
        }
    }

    /// Fails the calls whose time is over. Their places stay taken until their answers come, or until the
    /// connection is nothing but such calls and is closed.
    pub(super) fn time_out<P: PacketIo>(
        &mut self,
        slot: u32,
        stack: &mut Stack<P>,
        stats: &mut StepStats,
        now: Instant,
    ) {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        let mut earliest = Instant::NEVER;
        for call in connection.calls.iter_mut().filter(|call| !call.over) {
            if now < call.deadline {
                earliest = earliest.min(call.deadline);
                continue;
            }
            call.over = true;
            account(call, Fault::Timeout, self.counting, &mut self.busy, stats);
        }
        connection.deadline = earliest;
        if earliest == Instant::NEVER && !connection.calls.is_empty() {
            self.fail(slot, Fault::Timeout, stack, stats, now);
        }
    }

    /// Every call on a connection, or the attempt to connect, is over without an answer, and the connection
    /// with it.
    pub(super) fn fail<P: PacketIo>(
        &mut self,
        slot: u32,
        fault: Fault,
        stack: &mut Stack<P>,
        stats: &mut StepStats,
        now: Instant,
    ) {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        for call in connection.calls.iter_mut().filter(|call| !call.over) {
            account(call, fault, self.counting, &mut self.busy, stats);
        }
        connection.withheld += connection.calls.clear() as u16;
        if connection.state == State::Opening {
            connection.withheld += 1;
            self.opening = self.opening.saturating_sub(1);
            self.vain += 1;
            stats.unopened.count(fault);
        }
        connection.state = State::Down;
        connection.deadline = Instant::NEVER;
        if let Some(flow) = connection.flow.take() {
            stack.abort(flow, now);
        }
        self.free_withheld(slot, AFTER_FAULT, now);
    }

    /// Closes a connection without calls.
    pub(super) fn close<P: PacketIo>(&mut self, slot: u32, stack: &mut Stack<P>, now: Instant) {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        connection.state = State::Down;
        connection.deadline = Instant::NEVER;
        if let Some(flow) = connection.flow.take() {
            stack.close(flow, now);
        }
        self.free_withheld(slot, Duration::ZERO, now);
    }

    /// Resets a connection without calls.
    pub(super) fn hang_up<P: PacketIo>(&mut self, slot: u32, stack: &mut Stack<P>, now: Instant) {
        let connection = self.connections.get_mut(slot as usize);
        if let Some(flow) = connection.and_then(|connection| connection.flow.take()) {
            stack.abort(flow, now);
        }
        self.close(slot, stack, now);
    }

    fn free_withheld(&mut self, slot: u32, rest: Duration, now: Instant) {
        let connection = self.connections.get_mut(slot as usize);
        let withheld = connection.map_or(0, |c| std::mem::take(&mut c.withheld));
        for _ in 0..withheld {
            self.free_after(slot, rest, now);
        }
    }
}

/// Counts a call that has its answer, of so many bytes and with what is wrong with it, or that needs none. One
/// that is over already, as it timed out, was counted then.
#[inline]
fn settle(
    call: &mut Call,
    (bytes, fault): (u64, Option<Fault>),
    busy: &mut usize,
    stats: &mut StepStats,
    now: Instant,
) {
    call.answered = true;
    if std::mem::replace(&mut call.over, true) {
        return;
    }
    *busy = busy.saturating_sub(1);
    if call.counted {
        stats.bytes_in += bytes;
        stats.bytes_out += call.sent;
        match fault {
            None => stats.answered(now.since(call.intended)),
            Some(fault) => stats.failed(fault),
        }
    }
}

/// Counts a call that failed. What fails while it is measured counts, however long ago it was sent: a target
/// that answers nothing would keep every connection busy with what was sent before.
fn account(call: &Call, fault: Fault, counting: bool, busy: &mut usize, stats: &mut StepStats) {
    *busy = busy.saturating_sub(1);
    if counting {
        stats.requests += u64::from(!call.counted);
        stats.bytes_out += call.sent;
        stats.failed(fault);
    }
}
