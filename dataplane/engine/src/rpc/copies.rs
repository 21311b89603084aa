//! Copies of calls for another service. A copy is a call without a caller: it goes its way like any other,
//! its reply is thrown away, and nothing that becomes of it touches the call it was made of.

use sluice_policy::action::Mirror;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::ttheader::Ended;

use super::call::{Call, NONE};
use super::due::Due;
use super::send::Source;
use crate::ended::Notes;
use crate::mirror::MAX_COPIES;
use crate::stats::EngineEvent;
use crate::traffic::Outcome;
use crate::worker::Worker;

impl<P: PacketIo> Worker<P> {
    /// Whether a call is to be copied, and to which service: its route says so, for a share of them.
    #[inline]
    pub(super) fn copy_goes_to(&self, call: &Call) -> Option<Mirror> {
        let rules = &self.generations.get(call.generation)?.snapshot;
        let mirror = rules.routes.get(call.route?.0)?.mirror?;
        mirror.takes(call.origin.draw).then_some(mirror)
    }

    /// Makes a copy of a call, whose frame is still at `source`, and keeps that with it. `None`, and
    /// counted, where none is made.
    #[cold]
    pub(super) fn copy_call(
        &mut self,
        call: u32,
        mirror: Mirror,
        source: &Source<'_>,
        now: Instant,
    ) -> Option<u32> {
        let copied = self.try_copy(call, mirror, source, now);
        self.stats.events.count(match copied {
            Some(_) => EngineEvent::Mirrored,
            None => EngineEvent::MirrorSkipped,
        });
        copied
    }

    fn try_copy(
        &mut self,
        call: u32,
        mirror: Mirror,
        source: &Source<'_>,
        now: Instant,
    ) -> Option<u32> {
        let of = self.rpc.calls.get(call as usize)?;
        let rules = self.generations.get(of.generation)?;
        let service = rules.snapshot.service(mirror.service)?;
        let time = service.connect_timeout + service.response_timeout;
        let small = of.large == 0 && source.len <= mirror.body;
        let fits = small && of.stream.is_none() && self.rpc.buffers.may_hold(source.len);
        if !fits || self.copies >= MAX_COPIES {
            return None;
        }
        let mut frame = self.rpc.buffers.take();
        match source.ring {
            Some(flow) => {
                let bytes = self.stack.front(flow, source.len, &mut self.spare.linear);
                frame.extend_from_slice(bytes.get(..source.len).unwrap_or(bytes));
            }
            None => frame.extend_from_slice(source.front),
        }
        let (mut method, mut mesh) = (self.rpc.buffers.take(), self.rpc.buffers.take());
        let of = self.rpc.calls.get(call as usize)?;
        method.extend_from_slice(&of.method);
        mesh.extend_from_slice(&of.mesh);
        self.rpc.buffers.held += mesh.len();
        self.rpc.stamps = self.rpc.stamps.wrapping_add(1);
        let copy = Call {
            caller: NONE,
            before: NONE,
            behind: NONE,
            stamp: self.rpc.stamps,
            generation: self.generations.begin(),
            route: of.route,
            service: Some(mirror.service),
            lane: of.lane,
            origin: of.origin,
            held: None,
            dialect: of.dialect,
            oneway: of.oneway,
            ordered: false,
            large: 0,
            rewritable: of.rewritable,
            timeout: None,
            answer: None,
            method,
            mesh,
            frame,
            channel: None,
            connects: 0,
            reply: Vec::new(),
            ready: None,
            outcome: Outcome::Reply,
            max_frame: of.max_frame,
            end: now + time,
            deadline: now + time,
            stream: None,
            notes: Notes::new(now, 0),
        };
        self.rpc.buffers.held += copy.frame.len();
        self.copies += 1;
        let number = self.rpc.calls.insert(copy) as u32;
        self.rpc.timers.set(Due::Call(number).key(), now + time);
        Some(number)
    }

    /// A copy is over, `answered` by its service or not. Its channel has been left.
    #[cold]
    pub(super) fn end_copy(&mut self, copy: Call, answered: bool) {
        self.copies = self.copies.saturating_sub(1);
        self.stats.events.count(if answered {
            EngineEvent::MirrorAnswered
        } else {
            EngineEvent::MirrorFailed
        });
        let rpc = &mut self.rpc;
        let held = copy.frame.len() + copy.reply.len() + copy.mesh.len();
        rpc.buffers.held = rpc.buffers.held.saturating_sub(held);
        for buffer in [copy.frame, copy.reply, copy.method, copy.mesh] {
            rpc.buffers.give_back(buffer);
        }
        self.generations.end(copy.generation, &self.handoff);
    }

    /// Cuts off every copy that is under way.
    pub(super) fn abort_copies(&mut self, now: Instant) {
        let calls = self.rpc.calls.iter();
        let copies: Vec<u32> = calls
            .filter(|(_, call)| call.caller == NONE)
            .map(|(number, _)| number as u32)
            .collect();
        for number in copies {
            self.leave_channel(number, Ended::Cancelled, now);
            self.end_call(number, crate::stats::RequestFate::Drained, now);
        }
    }
}
