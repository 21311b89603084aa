//! Sending: whatever is due now goes out.

use super::emit::{ACK, CWR, ECE, FIN, Outgoing, PSH, RST, SYN};
use super::options::OptionBytes;
use super::pool::Pool;
use super::send::Next;
use super::timers::{Alarm, Patience};
use super::wire::FlowWire;
use super::{State, Tcp};

mod large;

/// Segments that were sent together, and whether they are the last of what is to be sent.
struct Run {
    segments: usize,
    last: bool,
}
use crate::fate::StackEvent;
use crate::io::PacketIo;
use crate::time::Instant;

impl Tcp {
    /// Sends at most `segments` segments that are due, and the acknowledgements. Returns when there
    /// will be something to send next, which is not after `now` if the budget or the buffers ran out.
    #[inline]
    pub(crate) fn egress<P: PacketIo>(
        &mut self,
        segments: usize,
        wire: &mut FlowWire<'_, P>,
        timers: &Patience,
        pool: &mut Pool,
    ) -> Option<Instant> {
        #[cfg(test)]
        assert_ne!(
            self.send.ring.slices(0, 64).0,
            super::DEFECT_OUT,
            "a test's own"
        );
        let now = wire.now;
        if self.alarm <= now {
            self.alarm_rings(wire, timers, pool);
        }
        let all = match self.state {
            State::Closed => self.send_reset(wire),
            State::SynSent | State::SynReceived => self.send_syn(wire, pool),
            _ => self.send_data(segments, wire, timers, pool),
        };
        if self.state == State::Closed {
            self.send.release(pool);
            return (!all).then_some(now);
        }
        self.receive.release(pool);
        self.alarm = self.next_alarm(timers);
        let due = self.receive.due().min(self.send.paced(wire.now));
        match self.alarm.min(due) {
            _ if !all => Some(now),
            Instant::NEVER => None,
            at => Some(at),
        }
    }

    fn alarm_rings<P: PacketIo>(
        &mut self,
        wire: &mut FlowWire<'_, P>,
        timers: &Patience,
        pool: &mut Pool,
    ) {
        if self.state == State::Closed {
            return;
        }
        let unanswered = self.send.backoff;
        let alarm = self.on_alarm(timers, wire.now, wire.events);
        if self.send.backoff > unanswered {
            wire.link.suspect(wire.neighbour, wire.now);
        }
        match alarm {
            Alarm::None => {}
            Alarm::TailLoss(next) => {
                if wire.has_buffer() {
                    self.send_segment(next, wire, pool);
                    let again = matches!(next, Next::Again { .. });
                    let end = match next {
                        Next::Again { seq, len, fin, .. } => seq.wrapping_add(len + u32::from(fin)),
                        _ => self.send.next,
                    };
                    self.send.recovery.probed(end, again);
                    self.send.timer_from = wire.now;
                }
            }
            Alarm::Ask => {
                if wire.has_buffer() {
                    // A number the peer has acknowledged long since: it has to say where it is.
                    let seq = self.send.una.wrapping_sub(1);
                    self.send_plain(ACK, seq, wire);
                }
            }
        }
    }

    /// False when it could not be sent.
    fn send_reset<P: PacketIo>(&mut self, wire: &mut FlowWire<'_, P>) -> bool {
        if self.reset_due {
            if !wire.has_buffer() {
                return false;
            }
            self.reset_due = false;
            wire.send(&Outgoing::bare(
                RST | ACK,
                self.send.next,
                self.receive.next,
            ));
            self.meter.active = wire.now;
        }
        true
    }

    /// Our SYN, or SYN-ACK where both sides open at once.
    #[cold]
    fn send_syn<P: PacketIo>(&mut self, wire: &mut FlowWire<'_, P>, pool: &mut Pool) -> bool {
        let again = self.send.board.lost() > 0;
        let first = self.send.outstanding() == 0;
        let answer = self.state == State::SynReceived;
        let owed = answer && self.receive.acknowledgements_due(wire.now, false) > 0;
        if !again && !first && !owed {
            return true;
        }
        if !wire.has_buffer() {
            return false;
        }
        let now = wire.now;
        let stamp = self.stamp(now);
        let echo = if answer { self.recent } else { 0 };
        let scale = self.scaled.then(|| self.receive.scale());
        let stamps = self.timestamps.then_some((stamp, echo));
        let window = self.receive.offer_unscaled();
        if answer {
            self.receive.offer();
        }
        wire.send(&Outgoing {
            seq: self.send.una,
            ack: if answer { self.receive.next } else { 0 },
            flags: if answer { SYN | ACK } else { SYN },
            window,
            options: OptionBytes::syn(Some(self.own_mss), scale, self.sack, stamps),
            ..Outgoing::bare(0, 0, 0)
        });
        self.meter.active = now;
        if first {
            self.send.sent_new(1, false, now, pool);
        } else {
            self.send.sent_again(0, 1, stamp, now);
            self.meter.retransmitted += 1;
            wire.events.count(StackEvent::SegmentRetransmitted);
        }
        true
    }

    /// Data, FIN and acknowledgements. False when not all that is due could be sent.
    #[inline]
    fn send_data<P: PacketIo>(
        &mut self,
        segments: usize,
        wire: &mut FlowWire<'_, P>,
        timers: &Patience,
        pool: &mut Pool,
    ) -> bool {
        let now = wire.now;
        let news = self.receive.has_news();
        let owed = self.receive.acknowledgements_due(now, self.sack);
        let mut sent = 0;
        loop {
            if self.send.paced(now) != Instant::NEVER {
                break;
            }
            let next = self.send.plan();
            if next == Next::Nothing {
                self.has_nothing();
                break;
            }
            if sent == segments || !wire.has_buffer() {
                return false;
            }
            if self.send.outstanding() == 0 {
                self.begin_burst(timers, now);
            }
            let run = self.send_run(next, segments - sent, wire, pool);
            sent += run.segments;
            if run.last {
                break;
            }
        }
        if sent > 0 && !news {
            return true;
        }
        for _ in 0..owed {
            if !wire.has_buffer() {
                return false;
            }
            let seq = self.send.next;
            self.send_plain(ACK, seq, wire);
        }
        true
    }

    /// Nothing more is to be sent now: a model has to know whether for want of data.
    #[inline]
    fn has_nothing(&mut self) {
        let idle = self.send.wants_data();
        let (pipe, delivered) = (self.send.pipe(), self.send.board.delivered());
        if let Some(model) = self.send.model.as_mut().filter(|_| idle) {
            model.has_nothing(pipe, delivered);
        }
    }

    /// After a pause longer than the timeout the path has to be felt out again.
    #[inline]
    fn begin_burst(&mut self, timers: &Patience, now: Instant) {
        self.send.backoff = 0;
        if self.send.model.is_some() {
            return;
        }
        let pause = now.nanos_since(self.send.sent_at);
        if pause >= timers.min_timeout && pause >= self.send.rtt.timeout(timers.min_timeout, 0) {
            self.send.congestion.restart(u32::from(self.send.segment));
        }
    }

    #[inline]
    fn send_segment<P: PacketIo>(
        &mut self,
        next: Next,
        wire: &mut FlowWire<'_, P>,
        pool: &mut Pool,
    ) {
        let now = wire.now;
        let (seq, len, fin, again) = match next {
            Next::Again {
                place,
                seq,
                len,
                fin,
            } => (seq, len, fin, Some(place)),
            Next::New { len, fin, .. } => (self.send.next, len, fin, None),
            Next::Nothing => return,
        };
        let last = matches!(next, Next::New { last: true, .. });
        let stamp = self.stamp(now);
        let mut flags = ACK | self.echo();
        if fin {
            flags |= FIN;
        }
        if last {
            flags |= PSH;
        }
        if again.is_none() && self.reduced {
            self.reduced = false;
            flags |= CWR;
        }
        let window = self.receive.offer();
        let offset = seq.wrapping_sub(self.send.una) as usize;
        wire.send(&Outgoing {
            seq,
            ack: self.receive.next,
            flags,
            window,
            markable: self.ecn && again.is_none() && len > 0,
            options: self.stamps(stamp),
            payload: self.send.ring.slices(offset, len as usize),
        });
        self.meter.active = now;
        let numbers = len + u32::from(fin);
        match again {
            Some(place) => {
                self.send.sent_again(place, numbers, stamp, now);
                self.meter.retransmitted = self.meter.retransmitted.saturating_add(1);
                wire.events.count(StackEvent::SegmentRetransmitted);
            }
            None => {
                self.send.sent_new(numbers, fin, now, pool);
                self.meter.sent += u64::from(len);
            }
        }
    }

    /// A segment without payload.
    fn send_plain<P: PacketIo>(&mut self, flags: u8, seq: u32, wire: &mut FlowWire<'_, P>) {
        let mut options = self.stamps(self.stamp(wire.now));
        let (number, window) = self.receive.acknowledge(self.sack, &mut options);
        wire.send(&Outgoing {
            window,
            options,
            ..Outgoing::bare(flags | self.echo(), seq, number)
        });
        self.meter.active = wire.now;
    }

    #[inline]
    fn stamps(&self, stamp: u32) -> OptionBytes {
        let mut options = OptionBytes::NONE;
        if self.timestamps {
            options.timestamps(stamp, self.recent);
        }
        options
    }

    #[inline]
    fn echo(&self) -> u8 {
        if self.marked { ECE } else { 0 }
    }
}
