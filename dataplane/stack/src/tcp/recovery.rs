//! What acknowledgements say about losses and what is done about them: RACK (RFC 8985) where the peer
//! says what has arrived, counting duplicates (RFC 6582) where it does not; proportional rate
//! reduction (RFC 6937) meanwhile; and taking it back when nothing was lost (RFC 3522, RFC 3708).

mod losses;
mod needless;
mod probe;

use std::time::Duration;

use super::Algorithm;
use super::model::Arrival;
use super::options::Options;
use super::pool::Pool;
use super::scoreboard::{Delivered, Newest};
use super::send::{Sender, Shrunk};
use super::seq::{at_most, before};
use crate::counters::Counters;
use crate::fate::StackEvent;
use crate::time::Instant;
use needless::{FRto, Undo};
use probe::Probe;

/// Recoveries that a path is remembered for in which something was repaired that had arrived
/// (RFC 8985 6.2 step 4).
const PERSIST: u8 = 16;

/// Whether a loss is being repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// Found by acknowledgements: the window comes down smoothly.
    Fast,
    /// Found by a timeout: it starts again from one segment.
    Timeout,
}

/// The state of a sender's repairs.
pub(crate) struct Recovery {
    pub(crate) phase: Phase,
    probe: Probe,
    /// Something was overtaken on this path before: what is missing may still come.
    reordering: bool,
    /// Quarters of the least round trip that it is given, of which there is one more for each round trip
    /// in which something was sent again that had arrived, and recoveries until that is forgotten
    /// (RACK.reo_wnd_mult, RACK.reo_wnd_persist).
    quarters: u8,
    persist: u8,
    /// The last byte under way when the window was reduced: beyond it, it may be again.
    high: u32,
    /// Behind the probe.
    probe_end: u32,
    /// What has to be acknowledged before another needless repair counts (RACK.dsack_round).
    needless_round: u32,
    /// Of the segments known to have arrived, the one sent last: when, and its end (RACK.segment).
    newest: (Instant, u32),
    /// How many nanoseconds that took.
    newest_rtt: u64,
    /// When something is to be taken for lost if nothing is heard of it; `NEVER` while nothing is.
    pub(crate) look_again: Instant,
    /// Duplicate acknowledgements in a row, and bytes taken to have arrived by them, both without SACK.
    duplicates: u32,
    left: u32,
    /// PRR: bytes delivered and sent since, bytes under way at the beginning.
    delivered: u32,
    out: u32,
    flight: u32,
    undo: Option<Box<Undo>>,
    /// Of what was sent again and may still be under way: our timestamp in the first, and where the last ends.
    again: Option<(u32, u32)>,
    frto: FRto,
}

/// What an acknowledgement came with.
pub(crate) struct Acknowledgement<'a> {
    pub(crate) number: u32,
    pub(crate) options: &'a Options,
    /// It has no payload, and the window is as before.
    pub(crate) plain: bool,
    /// The peer says that a router marked what we sent (RFC 3168).
    pub(crate) congested: bool,
    /// Both sides use SACK.
    pub(crate) sack: bool,
    pub(crate) now: Instant,
}

impl Recovery {
    /// Reads something of every line of memory it takes.
    #[inline]
    pub(crate) fn touch(&self) -> u32 {
        self.high ^ self.flight ^ self.newest.1 ^ u32::from(self.undo.is_some())
    }

    pub(crate) fn new(next: u32) -> Self {
        Recovery {
            phase: Phase::Open,
            probe: Probe::None,
            reordering: false,
            quarters: 1,
            persist: 0,
            high: next,
            probe_end: next,
            needless_round: next,
            newest: (Instant::ZERO, next),
            newest_rtt: 0,
            look_again: Instant::NEVER,
            duplicates: 0,
            left: 0,
            delivered: 0,
            out: 0,
            flight: 0,
            undo: None,
            again: None,
            frto: FRto::No,
        }
    }

    /// Bytes that left the network by the count of duplicates.
    #[inline]
    pub(crate) fn left(&self) -> u32 {
        self.left
    }

    #[inline]
    pub(crate) fn sent(&mut self, len: u32) {
        self.out = self.out.saturating_add(len);
    }
}

impl Sender {
    /// Takes in an acknowledgement that can be true; returns whether something new was acknowledged.
    #[inline]
    pub(crate) fn acknowledge(
        &mut self,
        ack: &Acknowledgement<'_>,
        events: &Counters<StackEvent>,
        pool: &mut Pool,
    ) -> bool {
        let now = ack.now;
        let pipe = self.pipe();
        let mut delivered = Delivered::default();
        let farthest = self.board.farthest();
        if ack.sack && !ack.options.sack.is_empty() {
            let blocks = &ack.options.sack;
            self.board
                .sack(blocks, ack.number, self.next, farthest, &mut delivered);
        }
        let advanced = before(self.una, ack.number);
        if advanced {
            self.board
                .acknowledge(ack.number, farthest, &mut delivered, pool);
            self.advance(ack.number, now, pool);
        }
        self.measure(&delivered, now);
        if self.model.is_some() {
            self.learn(&delivered, pipe, now);
        }
        let plain = self.recovery.phase == Phase::Open
            && self.board.arrivals() == 0
            && self.board.lost() == 0
            && self.recovery.probe == Probe::None
            && advanced
            && !ack.congested;
        if plain {
            self.recovery.duplicates = 0;
            self.recovery.left = 0;
            self.recovery.look_again = Instant::NEVER;
            self.grow(delivered.bytes, pipe, delivered.sample, now);
            self.widen(pool);
            return true;
        }
        self.handle_trouble(ack, advanced, pipe, &delivered, events);
        self.widen(pool);
        advanced
    }

    /// Everything before `ack` has arrived.
    #[inline]
    fn advance(&mut self, ack: u32, now: Instant, pool: &mut Pool) {
        let numbers = ack.wrapping_sub(self.una);
        self.una = ack;
        let bytes = self.ring.consume(numbers as usize);
        debug_assert!(numbers as usize - bytes <= 1, "SYN or FIN");
        if self.ring.is_empty() {
            self.give_back(pool);
        }
        if self.shrunk == Shrunk::Perhaps {
            self.shrunk = Shrunk::Surely;
        }
        self.backoff = 0;
        self.timer_from = now;
        self.progress = now;
        // Kept near, or it would lie ahead again half the sequence space later.
        if self.recovery.phase == Phase::Open && before(self.recovery.high, ack) {
            self.recovery.high = ack;
            self.recovery.needless_round = ack;
        }
        self.recovery.again = self.recovery.again.filter(|&(_, end)| before(ack, end));
    }

    #[inline]
    fn measure(&mut self, delivered: &Delivered, now: Instant) {
        if let Some(at) = delivered.sample {
            self.rtt.sample(now.nanos_since(at));
        }
        let Some(Newest { at, end, again, .. }) = delivered.newest else {
            return;
        };
        let rtt = now.nanos_since(at);
        // Of one sent twice and acknowledged this soon, it was the first (RFC 8985 6.2 step 2).
        if again && rtt < self.rtt.least() {
            return;
        }
        let (newest, newest_end) = self.recovery.newest;
        if newest < at || (newest == at && before(newest_end, end)) {
            self.recovery.newest = (at, end);
            self.recovery.newest_rtt = rtt;
        }
    }

    /// Has the path's model, if there is one, decide about the window.
    #[inline(never)]
    fn learn(&mut self, delivered: &Delivered, pipe: u32, now: Instant) {
        let Some(model) = &mut self.model else { return };
        let by_now = self.board.delivered();
        let sample = delivered
            .newest
            .map(|newest| (newest.delivered, now.nanos_since(newest.at), by_now));
        let arrival = Arrival {
            bytes: delivered.bytes,
            sent_at: self.recovery.newest.0,
            sample,
            rtt: delivered.sample.map(|at| now.nanos_since(at)),
            pipe,
            segment: u32::from(self.segment),
            now,
        };
        self.congestion.window = model.arrived(&arrival, self.congestion.window);
    }

    /// The window grows where it was in the way (RFC 5681 3.1, RFC 9438 5.8).
    #[inline]
    fn grow(&mut self, bytes: u32, pipe: u32, sample: Option<Instant>, now: Instant) {
        let congestion = &self.congestion;
        let used = if congestion.in_slow_start() {
            pipe >= congestion.window / 2
        } else {
            self.limited
        };
        if !used {
            return;
        }
        self.limited = false;
        if self.algorithm == Algorithm::Bbr {
            return self.make_model(now);
        }
        if self.congestion.in_slow_start() {
            let sample = sample.map(|at| now.nanos_since(at));
            self.congestion.look_ahead(sample, self.una, self.next);
        }
        let rtt = Duration::from_nanos(self.rtt.smoothed().unwrap_or(0));
        self.congestion
            .acknowledged(bytes, u32::from(self.segment), rtt, now);
    }

    #[cold]
    fn handle_trouble(
        &mut self,
        ack: &Acknowledgement<'_>,
        advanced: bool,
        pipe: u32,
        delivered: &Delivered,
        events: &Counters<StackEvent>,
    ) {
        let (sack, now) = (ack.sack, ack.now);
        self.recovery.reordering |= delivered.reordered;
        if delivered.duplicate {
            self.be_patient();
        }
        if self.needless(ack, advanced, delivered) {
            events.count(StackEvent::RecoveryUndone);
        }
        self.end_probe(ack, advanced, delivered);
        let mut bytes = delivered.bytes;
        if !sack {
            bytes += self.count_duplicates(ack, advanced, bytes);
        }
        let lost = self.find_lost(sack, advanced, now);
        if self.recovery.phase != Phase::Open && at_most(self.recovery.high, self.una) {
            self.finish();
        }
        if lost && self.recovery.phase == Phase::Open {
            events.count(StackEvent::FastRecovery);
            self.make_model(now);
            self.begin(Phase::Fast);
        } else if ack.congested
            && self.model.is_none()
            && self.recovery.phase == Phase::Open
            && at_most(self.recovery.high, self.una)
        {
            // Once per round trip (RFC 3168 6.1.2).
            self.congestion.reduce(u32::from(self.segment));
            self.congestion.window = self.congestion.threshold;
            self.recovery.high = self.next;
        }
        match self.recovery.phase {
            _ if self.model.is_some() => {}
            Phase::Fast => self.reduce_proportionally(bytes, advanced && !lost),
            Phase::Timeout if advanced => {
                self.congestion
                    .acknowledged(bytes, u32::from(self.segment), Duration::ZERO, now);
            }
            Phase::Open if advanced => self.grow(bytes, pipe, delivered.sample, now),
            _ => {}
        }
        self.ask_by_new_data(advanced);
    }

    /// Something is lost: begins to repair it.
    pub(crate) fn begin(&mut self, phase: Phase) {
        let segment = u32::from(self.segment);
        if self.recovery.phase == Phase::Open {
            // An older repair may be answered yet: that is no answer to what was not repaired.
            let stamp = self.recovery.again.map(|(stamp, _)| stamp);
            self.recovery.undo = Some(Box::new(Undo::to(self.congestion, stamp)));
            self.congestion.reduce(segment);
        }
        self.recovery.phase = phase;
        self.recovery.high = self.next;
        self.recovery.delivered = 0;
        self.recovery.out = 0;
        self.recovery.flight = self.outstanding().max(1);
        self.recovery.probe = Probe::None;
        self.recovery.frto = FRto::No;
        if phase == Phase::Timeout {
            self.congestion.window = segment;
            self.recovery.left = 0;
            self.recovery.duplicates = 0;
        }
    }

    /// Everything that was under way when the loss was found has arrived.
    fn finish(&mut self) {
        if self.recovery.phase == Phase::Fast && self.model.is_none() {
            self.congestion.window = self.congestion.threshold;
        }
        self.finish_undone();
        self.recovery.persist = self.recovery.persist.saturating_sub(1);
        if self.recovery.persist == 0 {
            self.recovery.quarters = 1;
        }
    }

    /// RFC 6937 3: the window while losses are repaired.
    fn reduce_proportionally(&mut self, bytes: u32, goes_on: bool) {
        let segment = u32::from(self.segment);
        let target = self.congestion.threshold;
        let pipe = self.pipe();
        let recovery = &mut self.recovery;
        recovery.delivered = recovery.delivered.saturating_add(bytes);
        let allowed = if pipe > target {
            let share = u64::from(recovery.delivered) * u64::from(target);
            let share = share.div_ceil(u64::from(recovery.flight)) as u32;
            share.saturating_sub(recovery.out)
        } else {
            let mut limit = recovery.delivered.saturating_sub(recovery.out).max(bytes);
            if goes_on {
                limit += segment;
            }
            limit.min(target - pipe)
        };
        // The first repair goes out whatever the window.
        let first = if recovery.out == 0 { segment } else { 0 };
        self.congestion.window = pipe.saturating_add(allowed.max(first)).max(segment);
    }
}
