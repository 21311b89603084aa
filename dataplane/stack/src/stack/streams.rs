//! Flows as byte streams: reading, writing, and giving them back.

use super::{FlowView, LINGER, Owner, Phase, Stack, flow_mut, flow_ref, of_turn};
use crate::fate::StackEvent;
use crate::io::PacketIo;
use crate::key::{FlowId, FlowKey};
use crate::tcp::State;
use crate::time::Instant;

impl<P: PacketIo> Stack<P> {
    /// A flow that something happened to since it was last handed out, with its owner.
    #[inline]
    pub fn next_ready(&mut self) -> Option<(FlowId, Owner)> {
        loop {
            let slot = self.ready.pop_front()?;
            let entry = self.slots.get_mut(slot as usize)?;
            let Some(flow) = &mut entry.flow else {
                continue;
            };
            flow.ready = false;
            if flow.linger.is_none() {
                return Some((
                    FlowId {
                        slot,
                        turn: entry.turn,
                    },
                    flow.owner,
                ));
            }
        }
    }

    /// How many flows wait to be handed out.
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// Has the flow handed out again, as if something had happened to it.
    pub fn wake(&mut self, id: FlowId) {
        if let Some(flow) = flow_mut(&mut self.slots, id) {
            Self::mark(&mut self.ready, &mut flow.ready, id.slot);
        }
    }

    /// Makes `user` the owner of an accepted flow.
    pub fn adopt(&mut self, id: FlowId, user: u32) {
        if let Some(flow) = flow_mut(&mut self.slots, id) {
            flow.owner = Owner::User(user);
        }
    }

    /// Whom the flow belongs to; `None` once it is gone.
    pub fn owner(&self, id: FlowId) -> Option<Owner> {
        flow_ref(&self.slots, id).map(|flow| flow.owner)
    }

    /// The flow's two ends; `None` once it is gone.
    pub fn key(&self, id: FlowId) -> Option<FlowKey> {
        flow_ref(&self.slots, id).map(|flow| flow.key)
    }

    /// How the flow stands; a flow that is gone is `Closed`.
    #[inline]
    pub fn view(&self, id: FlowId) -> FlowView {
        let Some(flow) = flow_ref(&self.slots, id) else {
            return FlowView {
                phase: Phase::Closed,
                readable: 0,
                writable: 0,
                unacknowledged: 0,
                finished: true,
            };
        };
        let state = flow.tcp.state();
        let phase = match state {
            _ if flow.stranded => Phase::Closed,
            State::Closed => Phase::Closed,
            State::SynSent | State::SynReceived => Phase::Connecting,
            _ => Phase::Open,
        };
        let finished = flow.stranded
            || !matches!(
                state,
                State::SynSent
                    | State::SynReceived
                    | State::Established
                    | State::FinWait1
                    | State::FinWait2
            );
        FlowView {
            phase,
            readable: flow.tcp.receive.ring.len(),
            writable: if flow.tcp.may_send() {
                flow.tcp.send.room()
            } else {
                0
            },
            unacknowledged: flow.tcp.send.queued(),
            finished,
        }
    }

    /// Whether a flow that was being opened is over because the neighbour on its way does not answer.
    #[must_use]
    pub fn is_stranded(&self, id: FlowId) -> bool {
        flow_ref(&self.slots, id).is_some_and(|flow| flow.stranded)
    }

    /// How many received bytes of a flow can come together: no fewer than it was given as a buffer.
    #[must_use]
    pub fn receive_limit(&self, id: FlowId) -> usize {
        flow_ref(&self.slots, id).map_or(0, |flow| flow.tcp.receive.limit())
    }

    /// The unread bytes up to the end of the receive ring: all of them, unless they straddle it.
    #[inline]
    pub fn peek(&mut self, id: FlowId) -> &[u8] {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return &[];
        };
        flow.tcp.receive.ring.slices(0, usize::MAX).0
    }

    /// The first `limit` unread bytes (fewer if fewer are there) in one piece. Almost always in
    /// place; copied to `scratch` when they straddle the end of the receive ring.
    #[inline]
    pub fn front<'a>(&'a mut self, id: FlowId, limit: usize, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return &[];
        };
        let (first, second) = flow.tcp.receive.ring.slices(0, limit);
        if second.is_empty() {
            return first;
        }
        scratch.clear();
        scratch.extend_from_slice(first);
        scratch.extend_from_slice(second);
        scratch
    }

    /// Forgets the first `len` unread bytes.
    #[inline]
    pub fn consume(&mut self, id: FlowId, len: usize) {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return;
        };
        flow.tcp.consume(len);
        Self::mark_dirty(&mut self.dirty, &mut flow.dirty, id.slot);
    }

    /// The user reads nothing before so many bytes are unread, so they have to get in. Holds until it reads.
    pub fn expects(&mut self, id: FlowId, bytes: usize) {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return;
        };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        flow.tcp.receive.expects(bytes);
        Self::mark_dirty(&mut self.dirty, &mut flow.dirty, id.slot);
    }

    /// Queues bytes to be sent; returns how many there was room for.
    #[inline]
    pub fn write(&mut self, id: FlowId, bytes: &[u8]) -> usize {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return 0;
        };
        let written = flow.tcp.write(bytes, &mut self.pool);
        Self::mark_dirty(&mut self.dirty, &mut flow.dirty, id.slot);
        written
    }

    /// Moves up to `len` received bytes of one flow to the send queue of another; returns how many.
    /// The one copy of a payload on its way through.
    #[inline]
    pub fn splice(&mut self, from: FlowId, to: FlowId, len: usize) -> usize {
        let pair = self
            .slots
            .get_disjoint_mut([from.slot as usize, to.slot as usize]);
        let Ok([source, sink]) = pair else { return 0 };
        let (Some(source), Some(sink)) = (of_turn(source, from.turn), of_turn(sink, to.turn))
        else {
            return 0;
        };
        let (first, second) = source.tcp.receive.ring.slices(0, len);
        let mut moved = sink.tcp.write(first, &mut self.pool);
        if moved == first.len() {
            moved += sink.tcp.write(second, &mut self.pool);
        }
        source.tcp.consume(moved);
        if moved > 0 {
            Self::mark_dirty(&mut self.dirty, &mut source.dirty, from.slot);
            Self::mark_dirty(&mut self.dirty, &mut sink.dirty, to.slot);
        }
        moved
    }

    /// Sends FIN behind what is queued; the flow stays its user's, who can go on reading.
    pub fn finish_sending(&mut self, id: FlowId) {
        if let Some(flow) = flow_mut(&mut self.slots, id) {
            flow.tcp.close();
            Self::mark_dirty(&mut self.dirty, &mut flow.dirty, id.slot);
        }
    }

    /// Gives a flow back: what is queued is delivered, then FIN; what still comes in is discarded,
    /// so that the peer can read an answer that was given before its request was complete. It is
    /// reset when the peer takes nothing for [`LINGER`].
    pub fn close(&mut self, id: FlowId, now: Instant) {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return;
        };
        flow.tcp.close();
        flow.linger = Some(now + LINGER);
        flow.lingering = flow.tcp.send.queued();
        Self::mark_dirty(&mut self.dirty, &mut flow.dirty, id.slot);
    }

    /// Gives a flow back with a RST.
    pub fn abort(&mut self, id: FlowId, now: Instant) {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return;
        };
        if flow.tcp.state() != State::Closed && !flow.stranded {
            self.stats.events.count(StackEvent::FlowAborted);
        }
        flow.tcp.abort();
        flow.linger = Some(now + LINGER);
        Self::mark_dirty(&mut self.dirty, &mut flow.dirty, id.slot);
    }
}
