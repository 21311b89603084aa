//! Flows as byte streams: reading, writing, and giving them back.

use smoltcp::socket::tcp::State;

use super::{FlowView, LINGER, Owner, Phase, Stack, flow_mut, flow_ref, of_turn};
use crate::fate::StackEvent;
use crate::io::PacketIo;
use crate::key::{FlowId, FlowKey};
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
        let socket = flow.tcp.socket();
        let (phase, may_send) = match socket.state() {
            _ if flow.stranded => (Phase::Closed, false),
            State::Closed | State::Listen => (Phase::Closed, false),
            State::SynSent | State::SynReceived => (Phase::Connecting, false),
            State::Established | State::CloseWait => (Phase::Open, true),
            _ => (Phase::Open, false),
        };
        let finished = flow.stranded
            || !matches!(
                socket.state(),
                State::SynSent
                    | State::SynReceived
                    | State::Established
                    | State::FinWait1
                    | State::FinWait2
            );
        FlowView {
            phase,
            readable: socket.recv_queue(),
            writable: if may_send {
                socket.send_capacity() - socket.send_queue()
            } else {
                0
            },
            unacknowledged: socket.send_queue(),
            finished,
        }
    }

    /// The unread bytes up to the end of the receive ring: all of them, unless they straddle it.
    #[inline]
    pub fn peek(&mut self, id: FlowId) -> &[u8] {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return &[];
        };
        flow.tcp.socket_mut().peek(usize::MAX).unwrap_or(&[])
    }

    /// The first `limit` unread bytes (fewer if fewer are there) in one piece. Almost always in
    /// place; copied to `scratch` when they straddle the end of the receive ring.
    #[inline]
    pub fn front<'a>(&'a mut self, id: FlowId, limit: usize, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return &[];
        };
        let socket = flow.tcp.socket_mut();
        let wanted = socket.recv_queue().min(limit);
        let contiguous = socket.peek(wanted).map_or(0, |bytes| bytes.len());
        if contiguous < wanted {
            scratch.resize(wanted, 0);
            let copied = socket.peek_slice(scratch).unwrap_or(0);
            return &scratch[..copied.min(wanted)];
        }
        socket.peek(wanted).unwrap_or(&[])
    }

    /// Forgets the first `len` unread bytes.
    #[inline]
    pub fn consume(&mut self, id: FlowId, len: usize) {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return;
        };
        let mut left = len;
        // Twice at most: the ring's end may lie in between.
        for _ in 0..2 {
            let took = flow.tcp.socket_mut().recv(|bytes| {
                let n = bytes.len().min(left);
                (n, n)
            });
            left -= took.unwrap_or(0);
            if left == 0 {
                break;
            }
        }
        Self::mark_dirty(&mut self.dirty, &mut flow.dirty, id.slot);
    }

    /// Queues bytes to be sent; returns how many there was room for.
    #[inline]
    pub fn write(&mut self, id: FlowId, bytes: &[u8]) -> usize {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return 0;
        };
        let written = flow.tcp.socket_mut().send_slice(bytes).unwrap_or(0);
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
        let mut moved = 0;
        // Each turn stops at the end of one of the two rings: two ends, so three turns at most.
        for _ in 0..3 {
            let output = sink.tcp.socket_mut();
            let turn = source.tcp.socket_mut().recv(|bytes| {
                let piece = &bytes[..bytes.len().min(len - moved)];
                let n = output.send_slice(piece).unwrap_or(0);
                (n, n)
            });
            match turn {
                Ok(n) if n > 0 => moved += n,
                _ => break,
            }
            if moved == len {
                break;
            }
        }
        if moved > 0 {
            Self::mark_dirty(&mut self.dirty, &mut source.dirty, from.slot);
            Self::mark_dirty(&mut self.dirty, &mut sink.dirty, to.slot);
        }
        moved
    }

    /// Sends FIN behind what is queued; the flow stays its user's, who can go on reading.
    pub fn finish_sending(&mut self, id: FlowId) {
        if let Some(flow) = flow_mut(&mut self.slots, id) {
            flow.tcp.socket_mut().close();
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
        flow.tcp.socket_mut().close();
        flow.linger = Some(now + LINGER);
        flow.lingering = flow.tcp.socket().send_queue();
        Self::mark_dirty(&mut self.dirty, &mut flow.dirty, id.slot);
    }

    /// Gives a flow back with a RST.
    pub fn abort(&mut self, id: FlowId, now: Instant) {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return;
        };
        if flow.tcp.socket().state() != State::Closed && !flow.stranded {
            self.stats.events.count(StackEvent::FlowAborted);
        }
        flow.tcp.socket_mut().abort();
        flow.linger = Some(now + LINGER);
        Self::mark_dirty(&mut self.dirty, &mut flow.dirty, id.slot);
    }
}
