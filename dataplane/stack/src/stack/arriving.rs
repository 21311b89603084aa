//! Frames in: each to its flow, to a half-open or TIME-WAIT record, or to an answer of its own.

use super::{BURSTS_PER_POLL, HalfOpen, Listener, NOBODY, Owner, Stack, TimeWait};
use crate::crew::Tried;
use crate::fate::{FrameFate, StackEvent};
use crate::frame::{self, Found, Inbound, Segment, TooBig};
use crate::half_open::Syn;
use crate::io::{BURST, PacketIo, RxBurst, RxChecksum, RxFrame};
use crate::key::FlowKey;
use crate::neighbour::Reason;
use crate::tcp::emit::{ACK, Outgoing, RST, SYN};
use crate::tcp::ingress::{Reaction, Surroundings};
use crate::tcp::seq::before;
use crate::tcp::wire::FlowWire;
use crate::tcp::{State, Tcp};
use crate::time::Instant;

/// The fate of a frame, or whose it is.
pub(super) type Place = Result<FrameFate, Elsewhere>;

/// The number of the worker that a frame belongs to, and what was found in it.
pub(super) struct Elsewhere {
    pub(super) worker: u16,
    pub(super) found: Option<Found>,
}

impl<P: PacketIo> Stack<P> {
    /// Takes what other workers have for this one, and what has come on each port, at most
    /// [`BURSTS_PER_POLL`] bursts; returns how many frames.
    pub fn receive(&mut self, now: Instant) -> usize {
        let mut frames = if self.seat.is_some() {
            self.take_over(now)
        } else {
            0
        };
        for port in 0..self.ports.len() {
            for _ in 0..BURSTS_PER_POLL {
                let mut burst = RxBurst::<P::Rx>::new();
                let link = &mut self.ports[port];
                let came = link.io.rx_burst(&mut burst);
                link.tap_received(&burst, now);
                self.look_ahead(port, &burst);
                self.receive_burst(port, burst, now);
                frames += came;
                // One that is not full leaves nothing behind it.
                if came < BURST {
                    break;
                }
            }
        }
        frames
    }

    /// Takes one frame after the other. One that we can't cope with has its own fate.
    #[inline]
    fn receive_burst(&mut self, port: usize, burst: RxBurst<P::Rx>, now: Instant) {
        let mut frames = burst.into_iter();
        while !self.contained(now, |stack| {
            for frame in frames.by_ref() {
                match stack.receive_frame(port, &frame, frame.checksum(), now) {
                    Ok(fate) => stack.stats.frames.count(fate),
                    Err(to) => stack.hand_over(to, port, frame, Tried::NOBODY),
                }
            }
        }) {
            self.stats.frames.count(FrameFate::Panicked);
        }
    }

    #[inline]
    pub(super) fn receive_frame(
        &mut self,
        port: usize,
        frame: &P::Rx,
        checksum: RxChecksum,
        now: Instant,
    ) -> Place {
        let link = &mut self.ports[port];
        let bytes = frame.bytes();
        match frame::parse(bytes, checksum, &link.station()) {
            Ok(Inbound::Tcp { key, segment }) => self.segment(port, bytes, (key, &segment), now),
            Ok(Inbound::TooBig(message)) => self.too_big(message, now),
            Ok(other) => {
                let fate = link.receive(other, now, &self.stats.events);
                self.share_lesson(port);
                Ok(fate)
            }
            Err(fate) => Ok(fate),
        }
    }

    /// A segment of a flow, and the bytes of its frame.
    #[inline]
    pub(super) fn segment(
        &mut self,
        port: usize,
        bytes: &[u8],
        (key, segment): (FlowKey, &Segment<'_>),
        now: Instant,
    ) -> Place {
        if let Some(slot) = self.keys.find(&self.slots, &key) {
            return Ok(self.feed(slot, segment, now));
        }
        match self.owner_elsewhere(bytes, (&key, segment), now) {
            Some(worker) => Err(Elsewhere {
                worker,
                found: Found::of(bytes, key, segment),
            }),
            None => Ok(self.segment_of_no_flow(port, key, segment, now)),
        }
    }

    fn segment_of_no_flow(
        &mut self,
        port: usize,
        key: FlowKey,
        segment: &Segment<'_>,
        now: Instant,
    ) -> FrameFate {
        let opens = segment.has(SYN) && !segment.has(ACK);
        if let Some(&record) = self.time_wait.get(&key) {
            let reuse = opens && before(record.their_next, segment.seq);
            if !reuse {
                let exact = segment.seq == record.their_next;
                if segment.has(RST) && exact && record.challenged {
                    // From a peer that knows nothing of the old connection, in answer to our ACK of its
                    // SYN (RFC 9293 3.10.7.3): its next SYN finds the place free. No other RST ends the
                    // wait (RFC 1337).
                    self.time_wait.remove(&key);
                } else if !segment.has(RST) {
                    if opens && let Some(record) = self.time_wait.get_mut(&key) {
                        record.challenged = true;
                    }
                    let ack = Outgoing::bare(ACK, record.our_next, record.their_next);
                    self.send_bare(port, &key, &ack, now);
                }
                return FrameFate::TimeWait;
            }
            self.time_wait.remove(&key);
        }
        if opens {
            return match self.unanswerable(port, &key) {
                Some(fate) => fate,
                None => self.syn(port, key, segment, now),
            };
        }
        if segment.has(RST) {
            // A client that gives up before its handshake is complete.
            let known = self.half_open.get(&key);
            if known.is_some_and(|half| half.syn.seq.wrapping_add(1) == segment.seq) {
                self.half_open.remove(&key);
                self.stats.events.count(StackEvent::HalfOpenExpired);
            }
            return FrameFate::NoFlowSilent;
        }
        if segment.has(ACK) && self.half_open.get(&key).is_some() {
            return self.handshake(port, key, segment, now);
        }
        if segment.has(ACK)
            && let Some(fate) = self.cookie(port, key, segment, now)
        {
            return fate;
        }
        match self.unanswerable(port, &key) {
            Some(fate) => fate,
            None => self.refuse(port, key, segment, now),
        }
    }

    /// The fate of what comes from an address to which no answer can go: nothing is recorded of it.
    fn unanswerable(&self, port: usize, key: &FlowKey) -> Option<FrameFate> {
        let from = key.remote().ip();
        let link = self.ports.get(port)?;
        // The address of another port may be a client's on the same wire: a generator is its own backend so.
        if link.is_own(from) {
            return Some(FrameFate::BadSource);
        }
        link.unanswerable(from)
    }

    /// Hands a segment to its flow.
    #[inline]
    fn feed(&mut self, slot: u32, segment: &Segment<'_>, now: Instant) -> FrameFate {
        let Some(flow) = self
            .slots
            .get_mut(slot as usize)
            .and_then(|s| s.flow.as_mut())
        else {
            return FrameFate::Flow;
        };
        self.at = slot;
        let (before, progress) = (flow.tcp.state(), flow.tcp.progress());
        let mut around = Surroundings {
            now,
            events: &self.stats.events,
            pool: &mut self.pool,
            challenges: &mut self.challenges,
        };
        let reaction = flow.tcp.ingress(segment, &mut around);
        let after = flow.tcp.state();
        if after != before {
            if before == State::SynSent
                && self.tried == Tried::NOBODY
                && let Some(seat) = &mut self.seat
            {
                seat.note_first(&flow.key);
            }
            match after {
                State::Closed if before == State::LastAck => {
                    self.stats.events.count(StackEvent::FlowClosed)
                }
                State::Closed => self.stats.events.count(StackEvent::FlowReset),
                State::TimeWait => {
                    let (our_next, their_next) = flow.tcp.next_numbers();
                    flow.closed_at = Some(TimeWait {
                        our_next,
                        their_next,
                        challenged: false,
                    });
                }
                _ => {}
            }
        }
        if let Some(mtu) = flow.tcp.take_lesson(flow.key.is_v4()) {
            self.paths.insert(flow.key.path(), mtu, now);
        }
        // What tells its user nothing new doesn't wake it.
        if after != before || flow.tcp.progress() != progress {
            Self::mark(&mut self.ready, &mut flow.ready, slot);
        }
        Self::mark_dirty(&mut self.dirty, &mut flow.dirty, slot);
        self.at = NOBODY;
        match reaction {
            Reaction::None => FrameFate::Flow,
            Reaction::Malformed => FrameFate::BadTcp,
            Reaction::Reset(seq) => {
                let key = flow.key;
                self.send_bare(
                    usize::from(key.port()),
                    &key,
                    &Outgoing::bare(RST, seq, 0),
                    now,
                );
                FrameFate::Flow
            }
        }
    }

    /// A router's word about a packet of ours; the flow judges whether it sent such a one.
    fn too_big(&mut self, message: TooBig, now: Instant) -> Place {
        let slot = self.keys.find(&self.slots, &message.key);
        if slot.is_none()
            && let Some(worker) = self.next_to_look(&message.key)
        {
            let found = None;
            return Err(Elsewhere { worker, found });
        }
        let flow = slot.and_then(|slot| self.slots.get_mut(slot as usize)?.flow.as_mut());
        if let (Some(slot), Some(flow)) = (slot, flow)
            && flow
                .tcp
                .path_mtu(message.seq, message.mtu, message.key.is_v4())
        {
            self.stats.events.count(StackEvent::PathMtuLowered);
            if let Some(mtu) = flow.tcp.take_lesson(flow.key.is_v4()) {
                self.paths.insert(flow.key.path(), mtu, now);
            }
            Self::mark_dirty(&mut self.dirty, &mut flow.dirty, slot);
        }
        Ok(FrameFate::PathMtu)
    }

    fn syn(&mut self, port: usize, key: FlowKey, segment: &Segment<'_>, now: Instant) -> FrameFate {
        let Some(&listener) = self.listeners.get(&(key.port(), key.local())) else {
            return self.refuse(port, key, segment, now);
        };
        if self.keys.len() >= self.limits.flows {
            self.stats.events.count(StackEvent::FlowsFull);
            return FrameFate::Refused;
        }
        // A SYN that comes again gets the same answer again, and keeps its place in the queue.
        let known = self
            .half_open
            .get_mut(&key)
            .filter(|half| half.syn.seq == segment.seq);
        let syn = match known {
            Some(half) => {
                half.answered = None;
                half.syn
            }
            None => {
                let start = self.isn.start(&key, now);
                let Some(syn) = Syn::read(segment, start) else {
                    return FrameFate::BadTcp;
                };
                self.remember(key, syn, listener, now)
            }
        };
        let Some(mtu) = self.ports.get(port).map(|link| link.caps.mtu) else {
            return FrameFate::Refused;
        };
        let answer = syn.answer(
            listener.buffers,
            self.limits.terms().window,
            key.is_v4(),
            mtu,
            now,
        );
        self.send_bare(port, &key, &answer, now);
        FrameFate::Syn
    }

    /// Records a half-open flow, or has its client keep the record. Returns what is to be answered.
    fn remember(&mut self, key: FlowKey, syn: Syn, listener: Listener, now: Instant) -> Syn {
        if self.half_open.is_full() {
            self.stats.events.count(StackEvent::SynCookie);
            return self.cookies.make(&key, &syn, now);
        }
        let half = HalfOpen {
            syn,
            listener,
            answered: Some(now),
        };
        self.half_open.insert(key, half, now);
        syn
    }

    /// An ACK that belongs to nothing recorded may bring a cookie.
    fn cookie(
        &mut self,
        port: usize,
        key: FlowKey,
        segment: &Segment<'_>,
        now: Instant,
    ) -> Option<FrameFate> {
        let syn = self.cookies.check(&key, segment, now)?;
        let &listener = self.listeners.get(&(key.port(), key.local()))?;
        let half = HalfOpen {
            syn,
            listener,
            answered: None,
        };
        let fate = self.accept(port, key, half, segment, now);
        if fate == FrameFate::Accepted {
            self.stats.events.count(StackEvent::SynCookieAccepted);
        }
        Some(fate)
    }

    /// The ACK of our SYN-ACK: the record becomes a flow, and the segment its first input.
    fn handshake(
        &mut self,
        port: usize,
        key: FlowKey,
        segment: &Segment<'_>,
        now: Instant,
    ) -> FrameFate {
        let Some(&half) = self.half_open.get(&key) else {
            return FrameFate::BadHandshake;
        };
        // Data may come before the bare ACK, out of order, so the sequence is the flow's to judge.
        if segment.ack != half.syn.start.isn.wrapping_add(1) {
            return self.refuse(port, key, segment, now);
        }
        let fate = self.accept(port, key, half, segment, now);
        if fate == FrameFate::Accepted {
            self.half_open.remove(&key);
        }
        fate
    }

    /// Makes a flow of a half-open one.
    fn accept(
        &mut self,
        port: usize,
        key: FlowKey,
        half: HalfOpen,
        segment: &Segment<'_>,
        now: Instant,
    ) -> FrameFate {
        let HalfOpen {
            syn,
            listener,
            answered,
        } = half;
        if self.keys.len() >= self.limits.flows {
            self.stats.events.count(StackEvent::FlowsFull);
            return FrameFate::Refused;
        }
        let Some(mtu) = self.ports.get(port).map(|link| link.caps.mtu) else {
            return FrameFate::Refused;
        };
        let Some(neighbour) = self.neighbour(port, &key, Reason::Theirs, now) else {
            return FrameFate::Refused;
        };
        let (buffers, terms) = (listener.buffers, self.limits.terms());
        let mut tcp = Tcp::accept(&syn, buffers, terms, key.is_v4(), mtu, answered, now);
        self.follow_path(&key, &mut tcp);
        let slot = self.insert(key, Owner::Listener(listener.id), neighbour, tcp);
        self.stats.events.count(StackEvent::FlowAccepted);
        if let Some(flow) = &mut self.slots[slot as usize].flow {
            Self::mark(&mut self.ready, &mut flow.ready, slot);
        }
        self.feed(slot, segment, now);
        FrameFate::Accepted
    }

    /// Answers a segment nobody here knows with RST (RFC 9293 3.10.7.1), within a rate limit.
    fn refuse(
        &mut self,
        port: usize,
        key: FlowKey,
        segment: &Segment<'_>,
        now: Instant,
    ) -> FrameFate {
        let allowed = self
            .ports
            .get_mut(port)
            .is_some_and(|link| link.may_answer_stranger(now));
        if !allowed {
            return FrameFate::NoFlowSilent;
        }
        let reset = if segment.has(ACK) {
            Outgoing::bare(RST, segment.ack, 0)
        } else {
            Outgoing::bare(RST | ACK, 0, segment.seq.wrapping_add(segment.len()))
        };
        self.send_bare(port, &key, &reset, now);
        FrameFate::NoFlow
    }

    /// Sends a segment that no flow made.
    fn send_bare(&mut self, port: usize, key: &FlowKey, segment: &Outgoing<'_>, now: Instant) {
        let Some(neighbour) = self.neighbour(port, key, Reason::Theirs, now) else {
            return;
        };
        if let Some(link) = self.ports.get_mut(port) {
            let mut wire = FlowWire {
                link,
                neighbour,
                key: *key,
                now,
                events: &self.stats.events,
            };
            if wire.has_buffer() {
                wire.send(segment);
            }
        }
        self.release_neighbour(port, neighbour);
    }
}
