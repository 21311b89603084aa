//! The receiving half: the window that is offered, bytes that come in order or ahead of it, and when
//! they are acknowledged (RFC 9293 3.8.6, RFC 5681 4.2, RFC 2018).

use std::time::Duration;

use arrayvec::ArrayVec;

use super::options::OptionBytes;
use super::pool::Pool;
use super::reassembly::{Ahead, Range};
use super::ring::Ring;
use super::seq::{at_most, before, later};
use crate::time::Instant;

/// An acknowledgement waits so long at most for data to go along with (RFC 9293 3.8.6.3 allows 500 ms).
/// An answer that takes longer is not made slower by a segment of its own.
const ACK_DELAY: u64 = Duration::from_millis(20).as_nanos() as u64;
/// Acknowledgements of the same number sent at once, for a sender without SACK that counts them.
const MOST_DUPLICATES: u8 = 3;
/// The segment size assumed of a peer that has not shown a larger one (RFC 9293 3.7.1).
const LEAST_SEGMENT: u16 = 536;

/// The round trip that is taken for the path's where none was measured, and the least that a window is
/// fitted to: nearer peers are at the mercy of whoever runs beside them.
const UNKNOWN_RTT: u64 = Duration::from_millis(100).as_nanos() as u64;
const LEAST_RTT: u64 = Duration::from_millis(2).as_nanos() as u64;

/// What the peer sends.
pub(crate) struct Receiver {
    pub(crate) ring: Ring,
    /// RCV.NXT.
    pub(crate) next: u32,
    /// Behind the last sequence number of the window that was offered; never moves back.
    edge: u32,
    /// The acknowledgement number sent last.
    acknowledged: u32,
    /// Bytes in the ring at most: now, at first, and where the path needs more.
    limit: u32,
    base: u32,
    most: u32,
    /// How far the peer had come, without what the user had not read, when it was last looked how fast that
    /// goes, and when that was.
    tuned: u32,
    tuned_at: Instant,
    /// Bytes that have to be in the ring before the user reads any; 0 if it reads what comes.
    expected: u32,
    scale: u8,
    /// Acknowledgements to be sent at once.
    owed: u8,
    /// The largest segment that came, and the largest that the peer was told to send: a device may hand over
    /// several in one.
    segment: u16,
    own_mss: u16,
    /// The FIN's number is known; its place may not be reached yet.
    fin: Option<u32>,
    /// When the acknowledgement of what came in order is due; `NEVER` while none is.
    due: Instant,
    ahead: Option<Box<Ahead>>,
    /// What came twice, to be told once (RFC 2883).
    twice: Option<Range>,
    /// Something was dropped for want of memory.
    starved: bool,
}

/// What became of a segment's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing new in order.
    Nothing,
    /// There is more to read.
    More,
}

impl Receiver {
    /// `next` is the first sequence number that will carry data. `limit` bounds what waits to be
    /// read, `most` what that may become; `scaled` says whether windows are scaled. `own_mss` is the segment
    /// size that the peer was told.
    pub(crate) fn new(
        next: u32,
        limit: u32,
        most: u32,
        scaled: bool,
        own_mss: u16,
        now: Instant,
    ) -> Self {
        let most = most.max(limit);
        let scale = if scaled { scale(most) } else { 0 };
        Receiver {
            ring: Ring::default(),
            next,
            edge: next.wrapping_add(limit.min(u32::from(u16::MAX))),
            acknowledged: next,
            limit,
            base: limit,
            most: most.min(u32::from(u16::MAX) << scale).max(limit),
            tuned: next,
            tuned_at: now,
            expected: 0,
            scale,
            owed: 0,
            segment: LEAST_SEGMENT,
            own_mss,
            fin: None,
            due: Instant::NEVER,
            ahead: None,
            twice: None,
            starved: false,
        }
    }

    /// Bytes that can come together: the last of what may wait to be read make no step of the window.
    pub(crate) fn limit(&self) -> usize {
        self.limit.saturating_sub(self.step() - 1) as usize
    }

    /// The peer's SYN has come: `next` is the first sequence number that will carry data.
    pub(crate) fn start(&mut self, next: u32, scaled: bool, now: Instant) {
        *self = Receiver::new(next, self.base, self.most, scaled, self.own_mss, now);
    }

    pub(crate) fn scale(&self) -> u8 {
        self.scale
    }

    /// The window as it was last offered.
    #[inline]
    pub(crate) fn window(&self) -> u32 {
        self.edge.wrapping_sub(self.next)
    }

    #[inline]
    pub(crate) fn acknowledged(&self) -> u32 {
        self.acknowledged
    }

    /// Whether a segment lies in the window at least in part (RFC 9293 3.10.7.4, first check).
    #[inline]
    pub(crate) fn accepts(&self, seq: u32, len: u32) -> bool {
        let starts_inside = at_most(self.next, seq) && before(seq, self.edge);
        match (len, self.window()) {
            (0, 0) => seq == self.next,
            (0, _) => starts_inside || seq == self.edge,
            (_, 0) => false,
            _ => {
                let last = seq.wrapping_add(len - 1);
                starts_inside || (at_most(self.next, last) && before(last, self.edge))
            }
        }
    }

    /// Takes the payload of an acceptable segment, as far as it fits the window, and its FIN.
    #[inline]
    pub(crate) fn take(
        &mut self,
        seq: u32,
        payload: &[u8],
        fin: bool,
        now: Instant,
        pool: &mut Pool,
    ) -> Taken {
        let end = seq.wrapping_add(payload.len() as u32);
        let in_window = at_most(self.next, end) && at_most(end, self.edge);
        if fin && in_window && self.fin.is_none() {
            self.fin = Some(end);
        }
        if seq == self.next && self.ahead.is_none() && payload.len() <= self.window() as usize {
            if payload.is_empty() || !self.has_memory(payload.len(), pool) {
                return Taken::Nothing;
            }
            self.ring.append(payload, pool);
            self.next = end;
            self.segment = self.segment.max((payload.len() as u16).min(self.own_mss));
            self.owe_in_order(now);
            return Taken::More;
        }
        self.take_part(seq, payload, now, pool)
    }

    /// The same for one that repeats, overlaps, comes ahead or fills a gap.
    #[cold]
    fn take_part(&mut self, seq: u32, payload: &[u8], now: Instant, pool: &mut Pool) -> Taken {
        let end = seq.wrapping_add(payload.len() as u32);
        if before(seq, self.next) && !payload.is_empty() {
            let known = if before(self.next, end) {
                self.next
            } else {
                end
            };
            self.twice = Some((seq, known));
            self.owe();
        }
        let skip = if before(seq, self.next) {
            self.next.wrapping_sub(seq)
        } else {
            0
        };
        let start = later(seq, self.next);
        let end = if before(self.edge, end) {
            self.edge
        } else {
            end
        };
        if !before(start, end) {
            return Taken::Nothing;
        }
        let len = end.wrapping_sub(start) as usize;
        let Some(bytes) = payload.get(skip as usize..skip as usize + len) else {
            return Taken::Nothing;
        };
        let gap = start.wrapping_sub(self.next) as usize;
        if !self.has_memory(gap + len, pool) {
            return Taken::Nothing;
        }
        if gap == 0 {
            self.ring.write_ahead(0, bytes, pool);
            let next = self.ahead.as_mut().map_or(end, |ahead| ahead.advance(end));
            self.ring.extend(next.wrapping_sub(self.next) as usize);
            self.next = next;
            self.ahead = self.ahead.take().filter(|ahead| !ahead.is_empty());
            if let Some(ahead) = &mut self.ahead {
                ahead.came_in_order(next);
            }
            // A gap was filled, wholly or in part: the sender waits to hear of it (RFC 5681 4.2).
            self.owe();
            self.due = self.due.min(now.plus_nanos(ACK_DELAY));
            return Taken::More;
        }
        let ahead = self.ahead.get_or_insert_default();
        if ahead.came_again((start, end), self.next) {
            self.twice = Some((start, end));
        } else if ahead.insert((start, end), self.next) {
            self.ring.write_ahead(gap, bytes, pool);
        }
        self.owe();
        Taken::Nothing
    }

    /// Whether the ring has memory for so many bytes behind its end, or can be given it. What a flow
    /// begins with it always can; a window that has grown is a promise that not all flows can have kept
    /// at once, and what finds no room is dropped, and sent again by the peer.
    #[inline]
    fn has_memory(&mut self, ahead: usize, pool: &mut Pool) -> bool {
        let wanted = self.ring.len() + ahead;
        let held = self.ring.held();
        if wanted <= held || wanted <= self.base as usize {
            return true;
        }
        let has = pool.lend(self.base, held as u32, wanted as u32);
        if !has {
            self.starved = true;
            self.owe();
        }
        has
    }

    /// True once after something was dropped for want of memory.
    #[inline]
    pub(crate) fn take_starved(&mut self) -> bool {
        std::mem::take(&mut self.starved)
    }

    /// Whether enough has come to see how fast it is read.
    #[inline]
    pub(crate) fn may_tune(&self) -> bool {
        self.reach().wrapping_sub(self.tuned) >= self.limit / 2
    }

    /// Behind the last sequence number that has come, ahead of its turn or not.
    #[inline]
    fn reach(&self) -> u32 {
        let ahead = self.ahead.as_ref().and_then(|ahead| ahead.reach());
        ahead.unwrap_or(self.next)
    }

    /// Half a window has come and, as far as it is in order, was read. If that took no longer than two round
    /// trips, the window is what holds the peer back, or soon will be: it is doubled, as long as there is
    /// memory. (What Linux does by measuring what is read in each round trip, from "Dynamic Right-Sizing",
    /// Fisk and Feng 2001.) What waits behind a gap counts: it keeps the peer within the window until that
    /// is filled, a round trip at least, and a peer that looks for what the path takes would stop there.
    #[cold]
    pub(crate) fn tune(&mut self, rtt: Option<u64>, now: Instant, pool: &Pool) {
        let read = self.reach().wrapping_sub(self.ring.len() as u32);
        if read.wrapping_sub(self.tuned) < self.limit / 2 || at_most(read, self.tuned) {
            return;
        }
        let quick = 2 * rtt.unwrap_or(UNKNOWN_RTT).max(LEAST_RTT);
        if now.nanos_since(self.tuned_at) <= quick && pool.is_generous() {
            self.limit = self.limit.saturating_mul(2).min(self.most);
        }
        (self.tuned, self.tuned_at) = (read, now);
    }

    /// The FIN, once everything before it has come. True once.
    #[inline]
    pub(crate) fn take_fin(&mut self) -> bool {
        if self.fin != Some(self.next) {
            return false;
        }
        self.next = self.next.wrapping_add(1);
        self.edge = later(self.edge, self.next);
        self.fin = None;
        self.owe();
        true
    }

    /// A segment came that was there already.
    pub(crate) fn repeats(&mut self, seq: u32, len: u32) {
        let end = seq.wrapping_add(len);
        if len > 0 && at_most(end, self.next) && self.next.wrapping_sub(seq) <= self.limit {
            self.twice = Some((seq, end));
        }
    }

    #[inline]
    fn owe_in_order(&mut self, now: Instant) {
        // Every second full segment at once (RFC 5681 4.2); what comes in one burst counts together.
        // So is what leaves no room for another: the sender may be waiting to hear of it.
        let segment = u32::from(self.segment);
        let unacknowledged = self.next.wrapping_sub(self.acknowledged);
        if unacknowledged >= 2 * segment || self.window() < segment {
            self.owed = self.owed.max(1);
        } else if self.due == Instant::NEVER {
            self.due = now.plus_nanos(ACK_DELAY);
        }
    }

    /// An acknowledgement is to be sent at once.
    #[inline]
    pub(crate) fn owe(&mut self) {
        self.owed = (self.owed + 1).min(MOST_DUPLICATES);
    }

    /// How many acknowledgements are due now.
    #[inline]
    pub(crate) fn acknowledgements_due(&self, now: Instant, sack: bool) -> u8 {
        if self.owed > 1 && self.ahead.is_some() && !sack {
            return self.owed;
        }
        let due = u8::from(self.owed > 0 || self.due <= now);
        match &self.ahead {
            Some(ahead) if sack => due.max(ahead.acknowledgements()),
            _ => due,
        }
    }

    /// Whether an acknowledgement says more than its number: SACK blocks, which data doesn't carry.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.owed > 0 && (self.ahead.is_some() || self.twice.is_some())
    }

    /// When an acknowledgement is due.
    #[inline]
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Bytes were read: tells the sender when that opens a window that was closing (the rule of
    /// Linux, which keeps bulk transfers from being acknowledged twice).
    #[inline]
    pub(crate) fn has_room(&mut self) {
        let window = self.window();
        if window <= self.limit / 2 {
            let free = self.limit - (self.ring.len() as u32).min(self.limit);
            if free >= 2 * window && free >= self.worthwhile() {
                self.owed = self.owed.max(1);
            }
        }
    }

    /// The user reads nothing before so many bytes are there. The window has to let them in, in however small
    /// a step: what is not read frees nothing, and a step that is worth its while would never come.
    pub(crate) fn expects(&mut self, bytes: u32) {
        self.expected = bytes.min(self.limit() as u32);
        if self.is_too_narrow() {
            self.owe();
        }
    }

    /// Bytes were read.
    #[inline]
    pub(crate) fn was_read(&mut self) {
        self.expected = 0;
        self.has_room();
    }

    /// Whether the window keeps out what the user waits for, as the peer is told of it.
    #[inline]
    fn is_too_narrow(&self) -> bool {
        let told = self.window() & !(self.step() - 1);
        self.ring.len() as u32 + told < self.expected
    }

    /// Windows are told as multiples of so many bytes (RFC 7323 2.3), rounded down.
    #[inline]
    fn step(&self) -> u32 {
        1 << self.scale
    }

    /// The window grows by no less, so that it is not handed out in crumbs (RFC 9293 3.8.6.2.2).
    #[inline]
    fn worthwhile(&self) -> u32 {
        u32::from(self.segment).min(self.limit / 2)
    }

    /// The window field of a segment about to be sent, which acknowledges everything so far.
    #[inline]
    pub(crate) fn offer(&mut self) -> u16 {
        let free = self.limit - (self.ring.len() as u32).min(self.limit);
        let most = u32::from(u16::MAX) << self.scale;
        let edge = self.next.wrapping_add(free.min(most));
        if before(self.edge, edge)
            && (edge.wrapping_sub(self.edge) >= self.worthwhile() || self.is_too_narrow())
        {
            self.edge = edge;
        }
        self.acknowledged = self.next;
        self.owed = 0;
        self.due = Instant::NEVER;
        (self.window() >> self.scale).min(u32::from(u16::MAX)) as u16
    }

    /// The window field of a SYN or SYN-ACK, which is not scaled.
    pub(crate) fn offer_unscaled(&self) -> u16 {
        self.limit.min(u32::from(u16::MAX)) as u16
    }

    /// What an acknowledgement says that is about to be sent: its number and its window. Adds SACK blocks where
    /// there is something to tell, and both sides use them.
    #[inline]
    pub(crate) fn acknowledge(&mut self, sack: bool, options: &mut OptionBytes) -> (u32, u16) {
        let mut window = self.offer();
        if !sack || (self.twice.is_none() && self.ahead.is_none()) {
            return (self.next, window);
        }
        let (number, blocks) = match &mut self.ahead {
            Some(ahead) => ahead.tell(self.next),
            None => (self.next, ArrayVec::new()),
        };
        // What came twice is told when all that came once has been.
        let is_last = self
            .ahead
            .as_ref()
            .is_none_or(|ahead| ahead.acknowledgements() == 0);
        let twice = self.twice.take_if(|_| is_last);
        options.sack(twice.into_iter().chain(blocks));
        if number != self.next {
            let reach = self.edge.wrapping_sub(number) >> self.scale;
            window = reach.min(u32::from(u16::MAX)) as u16;
        }
        (number, window)
    }

    /// Gives the memory back if nothing is in it.
    #[inline]
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        if self.ring.is_empty() && self.ahead.is_none() {
            self.give_back(pool);
        }
    }

    /// Gives all memory back.
    #[inline]
    pub(crate) fn give_back(&mut self, pool: &mut Pool) {
        pool.repay(self.base, self.ring.held() as u32);
        self.ring.release(pool);
    }

    /// Reads something of every line of memory it takes.
    #[inline]
    pub(crate) fn touch(&self) -> u64 {
        let ring = self.ring.len() as u64;
        ring ^ self.due.as_nanos() ^ u64::from(self.acknowledged) ^ u64::from(self.twice.is_some())
    }

    /// Nothing more will be taken: what came ahead is of no use.
    pub(crate) fn stop(&mut self) {
        self.ahead = None;
    }

    /// Checks what must hold at any time.
    #[cfg(debug_assertions)]
    pub(crate) fn check(&self) {
        assert!(self.ring.len() as u32 <= self.limit);
        assert!(at_most(self.next, self.edge));
        assert!(self.ring.len() as u32 + self.window() <= self.limit + 1);
        assert!(self.base <= self.limit && self.limit <= self.most);
    }
}

/// The window scale that lets a window of `limit` bytes be offered (RFC 7323 2.3).
pub(crate) fn scale(limit: u32) -> u8 {
    (u32::BITS - limit.leading_zeros()).saturating_sub(16) as u8
}
