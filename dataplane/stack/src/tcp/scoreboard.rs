//! Segments under way: what was sent when, what of it has arrived out of order, what is lost
//! (RFC 2018, RFC 6675, RFC 8985).

use std::collections::VecDeque;

use super::pool::Pool;
use super::reassembly::Range;
use super::send::MOST_UNDER_WAY;
use super::seq::{at_most, before, later};
use crate::time::Instant;

/// It has arrived, though something before it has not.
const ARRIVED: u8 = 1;
/// It is taken for lost.
const LOST: u8 = 2;
/// It is lost, and has been sent again.
const REPAIRED: u8 = 4;
/// It was sent more than once.
const AGAIN: u8 = 8;

/// Bytes of the longest queue of segments, and of the shorter one it grew from.
pub(crate) const MOST_BYTES: u64 = (2 * MOST_UNDER_WAY * size_of::<Sent>() * 3 / 2) as u64;

/// One segment under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) seq: u32,
    /// Sequence numbers it takes.
    pub(crate) len: u32,
    /// When it was sent last.
    pub(crate) at: Instant,
    /// What had arrived of the flow's sequence numbers by then ([`Scoreboard::delivered`]).
    delivered: u32,
    /// If it has arrived: so many from it on have, as far as was seen. A hint that lets what looks for
    /// what has not arrived pass over what has, of which there is much more.
    run: u16,
    flags: u8,
}

impl Sent {
    #[inline]
    pub(crate) fn end(&self) -> u32 {
        self.seq.wrapping_add(self.len)
    }

    #[inline]
    fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    #[inline]
    fn waits_for_repair(&self) -> bool {
        self.flags & (ARRIVED | LOST | REPAIRED) == LOST
    }
}

/// What an acknowledgement said has arrived.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Delivered {
    /// Sequence numbers not known to have arrived before.
    pub(crate) bytes: u32,
    /// The segment among them that was sent last.
    pub(crate) newest: Option<Newest>,
    /// The sending time to measure the round trip by.
    pub(crate) sample: Option<Instant>,
    /// Something arrived that was overtaken by what was sent later.
    pub(crate) reordered: bool,
    /// The receiver had it already (RFC 2883).
    pub(crate) duplicate: bool,
    /// Something arrived that was taken for lost, and had not been sent again.
    pub(crate) late: bool,
}

/// What is to be known of a segment that has arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Newest {
    /// When it was sent last.
    pub(crate) at: Instant,
    pub(crate) end: u32,
    /// It was sent more than once.
    pub(crate) again: bool,
    /// [`Scoreboard::delivered`] when it was sent.
    pub(crate) delivered: u32,
}

impl From<&Sent> for Newest {
    #[inline]
    fn from(sent: &Sent) -> Self {
        Newest {
            at: sent.at,
            end: sent.end(),
            again: sent.is(AGAIN),
            delivered: sent.delivered,
        }
    }
}

impl Delivered {
    #[inline]
    fn note(&mut self, sent: &Sent) {
        let newer = self
            .newest
            .is_none_or(|n| n.at < sent.at || (n.at == sent.at && before(n.end, sent.end())));
        if newer {
            self.newest = Some(sent.into());
        }
        if !sent.is(AGAIN) {
            self.sample = self.sample.max(Some(sent.at));
            self.late |= sent.is(LOST);
        }
    }
}

/// The queue of segments under way, in order.
#[derive(Default)]
pub(crate) struct Scoreboard {
    queue: VecDeque<Sent>,
    /// Sequence numbers that wait to be sent again, and that have arrived out of order.
    lost: u32,
    arrived: u32,
    /// Segments that have arrived out of order, and the end of the last of them.
    arrivals: u32,
    highest: u32,
    /// Sequence numbers known to have arrived since the queue was new, wrapping.
    delivered: u32,
}

impl Scoreboard {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    #[inline]
    pub(crate) fn lost(&self) -> u32 {
        self.lost
    }

    #[inline]
    pub(crate) fn arrived(&self) -> u32 {
        self.arrived
    }

    #[inline]
    pub(crate) fn arrivals(&self) -> u32 {
        self.arrivals
    }

    /// Sequence numbers known to have arrived so far, of which only differences mean something.
    #[inline]
    pub(crate) fn delivered(&self) -> u32 {
        self.delivered
    }

    #[inline]
    pub(crate) fn push(&mut self, seq: u32, len: u32, at: Instant, pool: &mut Pool) {
        if self.queue.capacity() == 0 {
            self.queue = pool.take_queue();
        }
        self.queue.push_back(Sent {
            seq,
            len,
            at,
            delivered: self.delivered,
            run: 0,
            flags: 0,
        });
    }

    /// Gives the memory back.
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        let mut queue = std::mem::take(self).queue;
        if queue.capacity() > 0 {
            queue.clear();
            pool.give_queue(queue);
        }
    }

    /// The end of what has arrived out of order. What is not behind it and turns up now was overtaken.
    #[inline]
    pub(crate) fn farthest(&self) -> Option<u32> {
        (self.arrivals > 0).then_some(self.highest)
    }

    /// Everything before `ack` has arrived. `farthest` is of before this acknowledgement, so also in
    /// [`Self::sack`]: one that was lost may have told of both what is before a gap and what is behind it.
    #[inline]
    pub(crate) fn acknowledge(
        &mut self,
        ack: u32,
        farthest: Option<u32>,
        delivered: &mut Delivered,
        pool: &mut Pool,
    ) {
        // One segment, sent once: nearly always, where a question gets an answer.
        if self.queue.len() == 1
            && let Some(&sent) = self.queue.front()
            && sent.flags == 0
            && sent.end() == ack
        {
            self.delivered = self.delivered.wrapping_add(sent.len);
            delivered.bytes += sent.len;
            delivered.newest = Some((&sent).into());
            delivered.sample = Some(sent.at);
            self.queue.clear();
            pool.give_queue(std::mem::take(&mut self.queue));
            return;
        }
        self.acknowledge_several(ack, farthest, delivered, pool);
    }

    fn acknowledge_several(
        &mut self,
        ack: u32,
        farthest: Option<u32>,
        delivered: &mut Delivered,
        pool: &mut Pool,
    ) {
        while let Some(front) = self.queue.front_mut() {
            if !before(front.seq, ack) {
                break;
            }
            let whole = at_most(front.end(), ack);
            let len = if whole {
                front.len
            } else {
                ack.wrapping_sub(front.seq)
            };
            if front.waits_for_repair() {
                self.lost -= len;
            }
            if front.is(ARRIVED) {
                self.arrived -= len;
                self.arrivals -= u32::from(whole);
            } else {
                self.delivered = self.delivered.wrapping_add(len);
                delivered.bytes += len;
                // A gap that nothing was sent into.
                let overtaken = farthest.is_some_and(|end| before(front.seq, end));
                delivered.reordered |= overtaken && !front.is(AGAIN);
                if whole {
                    delivered.note(front);
                }
            }
            if !whole {
                front.seq = ack;
                front.len -= len;
                break;
            }
            self.queue.pop_front();
        }
        if self.queue.is_empty() && self.queue.capacity() > 0 {
            pool.give_queue(std::mem::take(&mut self.queue));
        }
    }

    /// Takes in SACK blocks that came with an acknowledgement of everything before `una`.
    pub(crate) fn sack(
        &mut self,
        blocks: &[Range],
        una: u32,
        next: u32,
        farthest: Option<u32>,
        delivered: &mut Delivered,
    ) {
        if let [first, rest @ ..] = blocks {
            let within = rest
                .first()
                .is_some_and(|s| at_most(s.0, first.0) && at_most(first.1, s.1));
            delivered.duplicate = before(first.0, una) || within;
        }
        for &(start, end) in blocks {
            if before(start, una) || before(next, end) || !before(start, end) {
                continue;
            }
            let mut next = self.queue.partition_point(|s| before(s.seq, start));
            loop {
                let place = self.pass_arrived(next);
                next = place + 1;
                let Some(sent) = self.queue.get_mut(place) else {
                    break;
                };
                if before(end, sent.end()) {
                    break;
                }
                if sent.waits_for_repair() {
                    self.lost -= sent.len;
                }
                sent.flags |= ARRIVED;
                let sent = *sent;
                self.arrived += sent.len;
                self.arrivals += 1;
                self.delivered = self.delivered.wrapping_add(sent.len);
                delivered.bytes += sent.len;
                delivered.note(&sent);
                let overtaken = farthest.is_some_and(|end| before(sent.seq, end));
                delivered.reordered |= overtaken && !sent.is(AGAIN);
                self.highest = match self.arrivals {
                    1 => sent.end(),
                    _ => later(self.highest, sent.end()),
                };
            }
        }
    }

    /// RFC 8985 6.2 step 5: what was sent at least `patience` nanoseconds before the segment that arrived last
    /// of those sent, `(at, end)`, is lost. Returns how much that is anew, and when the next will be
    /// if nothing comes until then.
    pub(crate) fn find_lost(
        &mut self,
        (at, end): (Instant, u32),
        patience: u64,
        now: Instant,
    ) -> (u32, Option<Instant>) {
        let (mut found, mut look_again, mut next) = (0, None, 0);
        loop {
            let place = self.pass_arrived(next);
            next = place + 1;
            let Some(sent) = self.queue.get_mut(place) else {
                break;
            };
            if sent.waits_for_repair() {
                continue;
            }
            if sent.at > at || (sent.at == at && !before(sent.end(), end)) {
                if sent.is(AGAIN) {
                    continue;
                }
                // All behind it were sent for the first time, later still.
                break;
            }
            let until = sent.at.plus_nanos(patience);
            if until <= now {
                sent.flags = (sent.flags & !REPAIRED) | LOST;
                self.lost += sent.len;
                found += sent.len;
            } else {
                look_again = look_again.max(Some(until));
            }
        }
        (found, look_again)
    }

    /// The first segment is lost, for whatever reason; how much that is anew.
    pub(crate) fn lose_first(&mut self) -> u32 {
        let Some(first) = self.queue.front_mut() else {
            return 0;
        };
        if first.is(ARRIVED) || first.waits_for_repair() {
            return 0;
        }
        first.flags = (first.flags & !REPAIRED) | LOST;
        self.lost += first.len;
        first.len
    }

    /// Everything that has not arrived is lost; also what is said to have arrived if that can't be
    /// true, the first (RFC 2018 8).
    pub(crate) fn lose_all(&mut self) {
        let reneged = self.queue.front().is_some_and(|first| first.is(ARRIVED));
        if reneged {
            (self.arrived, self.arrivals) = (0, 0);
        }
        self.lost = 0;
        for sent in &mut self.queue {
            if reneged {
                sent.flags &= !ARRIVED;
                sent.run = 0;
            }
            if !sent.is(ARRIVED) {
                sent.flags = (sent.flags & !REPAIRED) | LOST;
                self.lost += sent.len;
            }
        }
    }

    /// Segments longer than `len` can't have passed.
    pub(crate) fn lose_longer_than(&mut self, len: u32) {
        for sent in &mut self.queue {
            if sent.len > len && !sent.is(ARRIVED) && !sent.waits_for_repair() {
                sent.flags = (sent.flags & !REPAIRED) | LOST;
                self.lost += sent.len;
            }
        }
    }

    /// Nothing was lost after all.
    pub(crate) fn lose_nothing(&mut self) {
        self.lost = 0;
        for sent in &mut self.queue {
            sent.flags &= !(LOST | REPAIRED);
        }
    }

    /// The first lost segment that has not been sent again, with its place.
    pub(crate) fn next_lost(&mut self) -> Option<(usize, Sent)> {
        if self.lost == 0 {
            return None;
        }
        let mut next = 0;
        loop {
            let place = self.pass_arrived(next);
            let sent = *self.queue.get(place)?;
            if sent.waits_for_repair() {
                return Some((place, sent));
            }
            next = place + 1;
        }
    }

    /// The first place from `place` on of a segment that has not arrived, or the end of the queue.
    #[inline]
    fn pass_arrived(&mut self, place: usize) -> usize {
        let mut end = place;
        while let Some(sent) = self.queue.get(end).filter(|sent| sent.is(ARRIVED)) {
            end += usize::from(sent.run.max(1));
        }
        if let Some(sent) = self.queue.get_mut(place).filter(|_| place < end) {
            sent.run = u16::try_from(end - place).unwrap_or(u16::MAX);
        }
        end
    }

    /// The segment at the end of the queue, with its place.
    pub(crate) fn last(&self) -> Option<(usize, Sent)> {
        let place = self.queue.len().checked_sub(1)?;
        Some((place, self.queue[place]))
    }

    /// The first `len` sequence numbers of the segment at `place` are sent again now. Returns where they end.
    pub(crate) fn sent_again(&mut self, place: usize, len: u32, now: Instant) -> Option<u32> {
        let sent = self.queue.get_mut(place)?;
        let whole = *sent;
        if len < sent.len {
            sent.len = len;
        }
        if sent.waits_for_repair() {
            self.lost -= sent.len;
            sent.flags |= REPAIRED;
        }
        sent.flags |= AGAIN;
        sent.at = now;
        sent.delivered = self.delivered;
        let end = sent.end();
        if len < whole.len {
            let rest = Sent {
                seq: whole.seq.wrapping_add(len),
                len: whole.len - len,
                run: 0,
                ..whole
            };
            self.queue.insert(place + 1, rest);
            self.arrivals += u32::from(rest.is(ARRIVED));
        }
        Some(end)
    }

    /// Checks what must hold at any time.
    #[cfg(debug_assertions)]
    pub(crate) fn check(&self, una: u32, next: u32) {
        let total = |which: fn(&Sent) -> bool| -> u32 {
            self.queue.iter().filter(|s| which(s)).map(|s| s.len).sum()
        };
        assert_eq!(self.lost, total(Sent::waits_for_repair));
        assert_eq!(self.arrived, total(|s| s.is(ARRIVED)));
        assert_eq!(
            self.arrivals as usize,
            self.queue.iter().filter(|s| s.is(ARRIVED)).count()
        );
        for (place, sent) in self.queue.iter().enumerate() {
            let run = self.queue.range(place..).take(usize::from(sent.run));
            assert!(
                !sent.is(ARRIVED) || run.filter(|s| s.is(ARRIVED)).count() == usize::from(sent.run)
            );
        }
        let mut at = una;
        for sent in &self.queue {
            assert_eq!(sent.seq, at, "no gap");
            assert!(sent.len > 0);
            at = sent.end();
        }
        assert_eq!(at, next, "everything under way");
    }
}
