//! A segment arrives (RFC 9293 3.10.7, with RFC 5961 and RFC 7323).

use super::emit::{ACK, CWR, ECE, FIN, RST, SYN};
use super::options::Options;
use super::pool::Pool;
use super::receive::Taken;
use super::recovery::Acknowledgement;
use super::seq::{at_most, before};
use super::{State, Tcp};
use crate::counters::Counters;
use crate::fate::StackEvent;
use crate::frame::Segment;
use crate::rate_limit::RateLimit;
use crate::time::Instant;

/// A timestamp is not held against a peer that was silent for so long: its clock has wrapped
/// (RFC 7323 5.5).
const TIMESTAMP_LIFETIME: std::time::Duration = std::time::Duration::from_secs(24 * 24 * 3600);

/// What a segment meets.
pub(crate) struct Surroundings<'a> {
    pub(crate) now: Instant,
    pub(crate) events: &'a Counters<StackEvent>,
    pub(crate) pool: &'a mut Pool,
    /// Bounds the challenges of all flows.
    pub(crate) challenges: &'a mut RateLimit,
}

/// What is to be done beyond the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Nothing.
    None,
    /// The options were malformed, and the segment was left alone.
    Malformed,
    /// A RST with this sequence number, for what belongs to another connection.
    Reset(u32),
}

impl Tcp {
    /// Takes in a segment. What it makes due is sent by the next [`Self::egress`].
    #[inline]
    pub(crate) fn ingress(
        &mut self,
        segment: &Segment<'_>,
        around: &mut Surroundings<'_>,
    ) -> Reaction {
        #[cfg(test)]
        assert_ne!(segment.payload, super::DEFECT_IN, "a test's own");
        let mut options = Options::default();
        if options.take(segment.options).is_err() {
            return Reaction::Malformed;
        }
        self.meter.active = around.now;
        self.meter.received += segment.payload.len() as u64;
        match self.state {
            State::Closed => Reaction::None,
            State::SynSent => self.syn_sent(segment, &options, around),
            _ => {
                self.synchronized(segment, &options, around);
                Reaction::None
            }
        }
    }

    /// RFC 9293 3.10.7.3.
    #[cold]
    fn syn_sent(
        &mut self,
        segment: &Segment<'_>,
        options: &Options,
        around: &mut Surroundings<'_>,
    ) -> Reaction {
        let answers =
            segment.has(ACK) && segment.ack == self.send.next && self.send.outstanding() > 0;
        if segment.has(ACK) && !answers {
            return match segment.has(RST) {
                true => Reaction::None,
                false => Reaction::Reset(segment.ack),
            };
        }
        if segment.has(RST) {
            if answers {
                self.become_closed(around.pool);
            }
            return Reaction::None;
        }
        if !segment.has(SYN) {
            return Reaction::None;
        }
        self.meet(segment, options, around.now);
        if answers {
            let ack = Acknowledgement {
                number: segment.ack,
                options,
                plain: false,
                congested: false,
                sack: false,
                now: around.now,
            };
            self.send.acknowledge(&ack, around.events, around.pool);
            self.state = State::Established;
        } else {
            // Both sides open at once (RFC 9293 3.5).
            self.state = State::SynReceived;
        }
        self.heard = around.now;
        self.receive.owe();
        Reaction::None
    }

    /// The peer's SYN: where it starts and what it can do. ECN is not asked for, so not answered for.
    fn meet(&mut self, segment: &Segment<'_>, options: &Options, now: Instant) {
        self.sack &= options.sack_permitted;
        self.timestamps &= options.timestamps.is_some();
        self.scaled &= options.window_scale.is_some();
        self.recent = options.timestamps.map_or(0, |(value, _)| value);
        let next = segment.seq.wrapping_add(1);
        self.receive.start(next, self.scaled, now);
        let scale = options.window_scale.filter(|_| self.scaled).unwrap_or(0);
        self.send.meet(options.mss, scale, self.overhead());
        self.send.window = u32::from(segment.window);
        self.send.most_window = self.send.window;
        self.send.window_at = segment.seq;
    }

    #[inline]
    fn synchronized(
        &mut self,
        segment: &Segment<'_>,
        options: &Options,
        around: &mut Surroundings<'_>,
    ) {
        if !self.is_acceptable(segment, options, around) {
            return;
        }
        if segment.has(RST | SYN) {
            return self.reset_or_syn(segment, around);
        }
        if !segment.has(ACK) {
            return;
        }
        if !self.send.accepts(segment.ack) {
            // RFC 5961 5.2.
            return self.challenge(around);
        }
        self.heard = around.now;
        self.send.probes = 0;
        self.note_timestamp(segment, options, around.now);
        if self.ecn {
            self.note_mark(segment);
        }
        self.acknowledged(segment, options, around);
        if matches!(
            self.state,
            State::Established | State::FinWait1 | State::FinWait2
        ) {
            self.data(segment, around);
        }
    }

    /// The first checks: timestamp (PAWS, RFC 7323 5.3) and sequence number. Answers what fails them.
    #[inline]
    fn is_acceptable(
        &mut self,
        segment: &Segment<'_>,
        options: &Options,
        around: &mut Surroundings<'_>,
    ) -> bool {
        // A segment that lacks its timestamp is taken: middleboxes strip them, and the window guards
        // as it does without timestamps.
        if self.timestamps
            && let Some((value, _)) = options.timestamps
            && before(value, self.recent)
            && !segment.has(RST)
            && around.now.since(self.recent_at) < TIMESTAMP_LIFETIME
        {
            around.events.count(StackEvent::OldTimestamp);
            self.challenge(around);
            return false;
        }
        if self.receive.accepts(segment.seq, segment.len()) {
            return true;
        }
        self.unacceptable(segment, around)
    }

    /// Outside of the window. True where the acknowledgement still counts.
    #[cold]
    fn unacceptable(&mut self, segment: &Segment<'_>, around: &mut Surroundings<'_>) -> bool {
        if segment.has(RST) {
            return false;
        }
        if segment.has(SYN) || segment.len() == 0 {
            self.challenge(around);
        } else {
            // Their side may have missed our acknowledgement.
            self.receive.owe();
            self.receive
                .repeats(segment.seq, segment.payload.len() as u32);
        }
        // RFC 9293 3.10.7.4: with a closed window, acknowledgements are still taken.
        !segment.has(SYN) && self.receive.window() == 0 && segment.seq == self.receive.next
    }

    /// RFC 5961 3.2 and 4.2.
    #[cold]
    fn reset_or_syn(&mut self, segment: &Segment<'_>, around: &mut Surroundings<'_>) {
        if segment.has(RST) && segment.seq == self.receive.next {
            self.become_closed(around.pool);
        } else {
            self.challenge(around);
        }
    }

    /// Says where we are, so that a peer that means it can say it again rightly.
    #[cold]
    fn challenge(&mut self, around: &mut Surroundings<'_>) {
        if around.challenges.take(around.now) {
            around.events.count(StackEvent::ChallengeAck);
            self.receive.owe();
        }
    }

    fn become_closed(&mut self, pool: &mut Pool) {
        self.state = State::Closed;
        self.send.release(pool);
        self.receive.stop();
    }

    /// RFC 7323 4.3.
    #[inline]
    fn note_timestamp(&mut self, segment: &Segment<'_>, options: &Options, now: Instant) {
        if let Some((value, _)) = options.timestamps
            && self.timestamps
            && at_most(segment.seq, self.receive.acknowledged())
        {
            self.recent = value;
            self.recent_at = now;
        }
    }

    /// RFC 3168 6.1.3.
    fn note_mark(&mut self, segment: &Segment<'_>) {
        if segment.has(CWR) {
            self.marked = false;
        }
        if segment.marked {
            self.marked = true;
        }
    }

    #[inline]
    fn acknowledged(
        &mut self,
        segment: &Segment<'_>,
        options: &Options,
        around: &mut Surroundings<'_>,
    ) {
        let window = u32::from(segment.window) << self.send.scale;
        let moved = self.send.update_window(segment.seq, segment.ack, window);
        if self.send.outstanding() == 0 {
            return;
        }
        let ack = Acknowledgement {
            number: segment.ack,
            options,
            plain: !moved && segment.payload.is_empty() && !segment.has(FIN),
            congested: self.ecn && segment.has(ECE),
            sack: self.sack,
            now: around.now,
        };
        self.reduced |= ack.congested;
        let new = self.send.acknowledge(&ack, around.events, around.pool);
        if new && self.send.una == self.send.next {
            self.all_acknowledged(around.pool);
        }
    }

    /// Everything that was sent has arrived.
    #[inline]
    fn all_acknowledged(&mut self, pool: &mut Pool) {
        if self.state == State::SynReceived {
            self.state = match self.send.fin {
                true => State::FinWait1,
                false => State::Established,
            };
        }
        if self.send.fin_sent {
            match self.state {
                State::FinWait1 => self.state = State::FinWait2,
                State::Closing => self.state = State::TimeWait,
                State::LastAck => self.become_closed(pool),
                _ => {}
            }
        }
    }

    #[inline]
    fn data(&mut self, segment: &Segment<'_>, around: &mut Surroundings<'_>) {
        let fin = segment.has(FIN);
        if segment.payload.is_empty() && !fin {
            return;
        }
        let taken = self
            .receive
            .take(segment.seq, segment.payload, fin, around.now, around.pool);
        if taken == Taken::Nothing && self.receive.take_starved() {
            around.events.count(StackEvent::WindowMemoryFull);
        }
        if self.receive.may_tune() {
            let rtt = self.send.rtt.smoothed();
            self.receive.tune(rtt, around.now, around.pool);
        }
        if self.receive.take_fin() {
            self.state = match self.state {
                State::FinWait1 => State::Closing,
                State::FinWait2 => State::TimeWait,
                _ => State::CloseWait,
            };
        }
    }
}
