//! The sending half: what waits to be sent and to be acknowledged, and which segment is next
//! (RFC 9293 3.8.6.2.1, RFC 5681, RFC 6675).

use super::congestion::Congestion;
use super::model::Model;
use super::pool::Pool;
use super::recovery::Recovery;
use super::ring::Ring;
use super::rtt::Estimator;
use super::scoreboard::{Scoreboard, Sent};
use super::seq::{at_most, before};
use super::{Algorithm, Terms};
use crate::time::Instant;

/// The peer's segment size where it says nothing (RFC 9293 3.7.1), and the least that is believed:
/// a smaller one only serves to have us send many packets.
const DEFAULT_MSS: u16 = 536;
const LEAST_MSS: u16 = 64;
/// Segments under way at most, whatever their size.
pub(crate) const MOST_UNDER_WAY: usize = 4096;

/// Whether segments have become smaller for the path's sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shrunk {
    No,
    /// On suspicion: none of them has been acknowledged.
    Perhaps,
    /// What passes is known, and has not been told.
    Surely,
}

/// What the peer is sent.
pub(crate) struct Sender {
    /// Bytes from `una` on, sent and not.
    pub(crate) ring: Ring,
    /// SND.UNA and SND.NXT.
    pub(crate) una: u32,
    pub(crate) next: u32,
    /// SND.WND in bytes, SND.WL1, and the largest window so far.
    pub(crate) window: u32,
    pub(crate) window_at: u32,
    pub(crate) most_window: u32,
    /// Bytes in the ring at most: now, at first, and where the path needs more.
    limit: u32,
    base: u32,
    most: u32,
    /// Payload of a full segment; whether that is less than at first.
    pub(crate) segment: u16,
    pub(crate) shrunk: Shrunk,
    pub(crate) scale: u8,
    /// FIN follows the last byte; and it was sent.
    pub(crate) fin: bool,
    pub(crate) fin_sent: bool,
    /// The congestion window kept something from being sent.
    pub(crate) limited: bool,
    pub(crate) board: Scoreboard,
    pub(crate) congestion: Congestion,
    /// What decides about the window instead of losses, once there is more to send than at first may be.
    pub(crate) model: Option<Box<Model>>,
    pub(crate) algorithm: Algorithm,
    pub(crate) recovery: Recovery,
    pub(crate) rtt: Estimator,
    /// Timeouts in a row, and probes in a row, that went unanswered.
    pub(crate) backoff: u8,
    pub(crate) probes: u8,
    /// When data was sent last, when the retransmission timer was started, when the peer last
    /// acknowledged something new or had everything; with nothing under way, when it was first asked for an
    /// answer that it owes.
    pub(crate) sent_at: Instant,
    pub(crate) timer_from: Instant,
    pub(crate) progress: Instant,
}

/// The segment to be sent next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// One that was sent before: its place on the scoreboard.
    Again {
        place: usize,
        seq: u32,
        len: u32,
        fin: bool,
    },
    /// One from `next` on.
    New {
        len: u32,
        fin: bool,
        /// Nothing is left to be sent then.
        last: bool,
    },
    /// None now.
    Nothing,
}

impl Sender {
    /// `isn` is the number of our SYN. `segment` is what the port's MTU leaves for payload.
    pub(crate) fn new(isn: u32, limit: usize, terms: Terms, segment: u16, now: Instant) -> Self {
        let limit = limit.min(1 << 30) as u32;
        Sender {
            ring: Ring::default(),
            una: isn,
            next: isn,
            window: 0,
            window_at: 0,
            most_window: 0,
            limit,
            base: limit,
            most: terms.window.max(limit),
            segment,
            shrunk: Shrunk::No,
            scale: 0,
            fin: false,
            fin_sent: false,
            limited: false,
            board: Scoreboard::default(),
            congestion: Congestion::new(u32::from(segment)),
            model: None,
            algorithm: terms.algorithm,
            recovery: Recovery::new(isn),
            rtt: Estimator::default(),
            backoff: 0,
            probes: 0,
            sent_at: now,
            timer_from: now,
            progress: now,
        }
    }

    /// The peer's SYN said what it takes; `extra` is what options take of each segment.
    pub(crate) fn meet(&mut self, mss: Option<u16>, scale: u8, extra: u16) {
        let theirs = mss.unwrap_or(DEFAULT_MSS).max(LEAST_MSS);
        self.segment = self.segment.min(theirs).saturating_sub(extra).max(1);
        self.scale = scale;
        self.congestion = Congestion::new(u32::from(self.segment));
    }

    /// Bytes written and not acknowledged.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.ring.len()
    }

    /// Bytes that can be written.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.limit as usize - self.ring.len().min(self.limit as usize)
    }

    /// Queues bytes; returns how many there was room for.
    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8], pool: &mut Pool) -> usize {
        let len = bytes.len().min(self.room());
        self.ring.append(&bytes[..len], pool);
        if self.room() >= usize::from(self.segment) {
            return len;
        }
        self.write_on(bytes, len, pool)
    }

    /// There is no room left to speak of after `written` of the bytes. If the path was seen to take more than there was,
    /// as before everything had arrived and the room was given back, it comes again as it is filled, and
    /// not a round trip later.
    #[cold]
    fn write_on(&mut self, bytes: &[u8], mut written: usize, pool: &mut Pool) -> usize {
        let taken = self.congestion.window.saturating_mul(2).min(self.most);
        while self.room() < usize::from(self.segment) && self.limit < taken {
            let before = self.limit;
            self.widen_to(0, pool);
            if self.limit == before {
                break;
            }
            let rest = bytes.get(written..).unwrap_or_default();
            let len = rest.len().min(self.room());
            self.ring.append(&rest[..len], pool);
            written += len;
        }
        written
    }

    /// Everything was sent, and there is room for more: what is missing is data. A buffer that is full of what
    /// waits for acknowledgements is another matter.
    #[inline]
    pub(crate) fn wants_data(&self) -> bool {
        self.unsent() == 0 && self.board.lost() == 0 && self.room() >= self.limit as usize / 2
    }

    /// More could be under way than is let in to be sent: twice what is, as Linux does, so that what is
    /// sent again leaves room for what is new. The room lasts until everything has been acknowledged.
    #[inline]
    pub(crate) fn widen(&mut self, pool: &mut Pool) {
        let wanted = self.congestion.window.saturating_mul(2).min(self.most);
        if self.limit < wanted && self.ring.len() as u32 > self.limit / 2 {
            self.widen_to(wanted, pool);
        }
    }

    #[cold]
    fn widen_to(&mut self, wanted: u32, pool: &mut Pool) {
        let limit = wanted.max(self.limit.saturating_mul(2)).min(self.most);
        if pool.is_generous() && pool.lend(self.base, self.limit, limit) {
            self.limit = limit;
        }
    }

    /// Gives the memory of what waited to be sent back, and the room beyond what was there at first.
    #[inline]
    pub(crate) fn give_back(&mut self, pool: &mut Pool) {
        self.ring.release(pool);
        pool.repay(self.base, self.limit);
        self.limit = self.base;
    }

    /// Sequence numbers under way.
    #[inline]
    pub(crate) fn outstanding(&self) -> u32 {
        self.next.wrapping_sub(self.una)
    }

    /// Bytes that were never sent.
    #[inline]
    pub(crate) fn unsent(&self) -> u32 {
        if self.fin_sent {
            return 0;
        }
        (self.ring.len() as u32).saturating_sub(self.outstanding())
    }

    /// There is more to send than the window lets out: from now on the path's model decides, where one is
    /// wanted.
    #[cold]
    pub(crate) fn make_model(&mut self, now: Instant) {
        if self.algorithm == Algorithm::Bbr
            && self.model.is_none()
            && let Some(rtt) = self.rtt.smoothed()
        {
            self.model = Some(Box::new(Model::new(rtt, now)));
        }
    }

    /// When the path can take the next segment; `NEVER` where nothing waits for that.
    #[inline]
    pub(crate) fn paced(&self, now: Instant) -> Instant {
        match &self.model {
            Some(model) if model.next_at() > now && self.is_waiting() => model.next_at(),
            _ => Instant::NEVER,
        }
    }

    fn is_waiting(&self) -> bool {
        self.board.lost() > 0 || self.unsent() > 0 || self.fin && !self.fin_sent
    }

    /// An estimate of what is in the network (RFC 6675 4).
    #[inline]
    pub(crate) fn pipe(&self) -> u32 {
        self.outstanding()
            .saturating_sub(self.board.arrived() + self.board.lost() + self.recovery.left())
    }

    /// Which segment may be sent now. SYNs are not its business.
    #[inline]
    pub(crate) fn plan(&mut self) -> Next {
        let room = self.congestion.window.saturating_sub(self.pipe());
        if self.board.lost() > 0 {
            match self.recovery.only_new() {
                None => return self.plan_again(room),
                Some(0) => return Next::Nothing,
                Some(_) => {}
            }
        }
        let unsent = self.unsent();
        let fin = self.fin && !self.fin_sent;
        if unsent == 0 && !fin || self.board.len() >= MOST_UNDER_WAY {
            return Next::Nothing;
        }
        let usable = self.usable();
        let len = unsent.min(u32::from(self.segment)).min(usable);
        if len < unsent && !self.is_worthwhile(len) || (len == 0 && unsent > 0) {
            return Next::Nothing;
        }
        if len > room && self.outstanding() > 0 {
            self.limited = true;
            return Next::Nothing;
        }
        Next::New {
            len,
            fin: fin && len == unsent,
            last: len == unsent,
        }
    }

    fn plan_again(&mut self, room: u32) -> Next {
        let Some((place, sent)) = self.board.next_lost() else {
            return Next::Nothing;
        };
        let (len, fin) = self.again(&sent);
        if len > room && self.pipe() > 0 {
            self.limited = true;
            return Next::Nothing;
        }
        let seq = sent.seq;
        Next::Again {
            place,
            seq,
            len,
            fin,
        }
    }

    /// As much of a segment as may be sent in one again, and whether our FIN is part of it.
    pub(crate) fn again(&self, sent: &Sent) -> (u32, bool) {
        let fin = self.fin_sent && sent.end() == self.next;
        let payload = sent.len - u32::from(fin);
        let fits = payload.min(u32::from(self.segment));
        (fits, fin && fits == payload)
    }

    /// What the peer's window leaves for new data.
    #[inline]
    pub(crate) fn usable(&self) -> u32 {
        self.window.saturating_sub(self.outstanding())
    }

    /// Whether a segment that leaves something behind is worth sending (RFC 9293 3.8.6.2.1). With
    /// nothing under way any is: a peer whose buffer is all but full may be waiting for just that.
    #[inline]
    fn is_worthwhile(&self, len: u32) -> bool {
        len >= u32::from(self.segment).min(self.most_window / 2) || self.outstanding() == 0
    }

    /// The peer's window, from a segment at `seq` that acknowledges `ack`, if it is newer than what
    /// is known; true when it changed.
    #[inline]
    pub(crate) fn update_window(&mut self, seq: u32, ack: u32, window: u32) -> bool {
        let newer = before(self.una, ack)
            || before(self.window_at, seq)
            || (seq == self.window_at && (window > self.window || window == 0));
        if !newer || before(ack, self.una) {
            return false;
        }
        self.window_at = seq;
        self.most_window = self.most_window.max(window);
        std::mem::replace(&mut self.window, window) != window
    }

    /// Whether an acknowledgement can be true (RFC 5961 5.2).
    #[inline]
    pub(crate) fn accepts(&self, ack: u32) -> bool {
        let oldest = self
            .una
            .wrapping_sub(self.most_window.max(u32::from(u16::MAX)));
        at_most(oldest, ack) && at_most(ack, self.next)
    }

    /// A segment of `len` sequence numbers from `next` on was sent.
    #[inline]
    pub(crate) fn sent_new(&mut self, len: u32, fin: bool, now: Instant, pool: &mut Pool) {
        if self.una == self.next {
            self.timer_from = now;
            self.progress = now;
        }
        self.board.push(self.next, len, now, pool);
        self.next = self.next.wrapping_add(len);
        self.fin_sent |= fin;
        self.sent_at = now;
        self.recovery.sent(len);
        self.recovery.sent_new();
        self.pace(len, now);
    }

    #[inline]
    fn pace(&mut self, len: u32, now: Instant) {
        if let Some(model) = &mut self.model {
            model.sent(len, now);
        }
    }

    /// A segment was sent again, its first `len` sequence numbers at least.
    pub(crate) fn sent_again(&mut self, place: usize, len: u32, stamp: u32, now: Instant) {
        let end = self.board.sent_again(place, len, now);
        self.sent_at = now;
        self.recovery.sent(len);
        self.recovery.repaired(end.unwrap_or(self.una), stamp);
        self.pace(len, now);
    }

    /// Reads something of every line of memory it takes.
    #[inline]
    pub(crate) fn touch(&self) -> u64 {
        let numbers = self.una ^ self.window_at ^ self.congestion.window ^ self.recovery.touch();
        let places = self.ring.len() ^ self.board.len() ^ self.board.arrivals() as usize;
        let times = self.sent_at.as_nanos() ^ self.progress.as_nanos() ^ self.rtt.least();
        u64::from(numbers) ^ places as u64 ^ times
    }

    /// All memory goes back.
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        self.give_back(pool);
        self.board.release(pool);
    }

    /// Checks what must hold at any time.
    #[cfg(debug_assertions)]
    pub(crate) fn check(&self) {
        self.board.check(self.una, self.next);
        assert!(self.ring.len() <= self.limit as usize);
        assert!(self.segment > 0 && self.congestion.window > 0);
    }
}
