//! SYN cookies (RFC 4987 3.6): when as many half-open flows as allowed are recorded, what has to be
//! known of another is put into our initial sequence number, and read off the ACK that brings it back.
//! Such a flow does without window scale, SACK and timestamps, for which there is no room.

use std::hash::{Hash, Hasher};

use siphasher::sip::SipHasher13;

use crate::frame::Segment;
use crate::half_open::Syn;
use crate::isn::Start;
use crate::key::FlowKey;
use crate::time::Instant;

/// A cookie is good in the period it was made in and in the next, of 64 seconds each.
const PERIOD: u64 = 64_000_000_000;
/// Bits of a cookie: period, segment size, hash.
const PERIODS: u64 = 1 << 5;
const HASH_BITS: u32 = 24;
/// Segment sizes that a cookie can tell: those of common paths.
const SIZES: [u16; 8] = [64, 536, 1220, 1360, 1400, 1440, 1460, 8940];

/// Makes cookies and knows its own again.
#[derive(Debug)]
pub(crate) struct Cookies {
    key: (u64, u64),
    /// The period the last one was made in. Only then is looked for cookies at all.
    last: Option<u64>,
}

impl Cookies {
    pub(crate) fn new(key: (u64, u64)) -> Self {
        Cookies { key, last: None }
    }

    /// What is answered to a SYN: what fits a cookie, and the cookie as our number.
    pub(crate) fn make(&mut self, key: &FlowKey, syn: &Syn, now: Instant) -> Syn {
        let period = now.as_nanos() / PERIOD;
        self.last = Some(period);
        let mss = syn.mss.unwrap_or(SIZES[1]);
        let size = SIZES.iter().rposition(|&size| size <= mss).unwrap_or(0);
        let cookie = self.cookie(key, syn.seq, period, size);
        Syn {
            mss: syn.mss.and(SIZES.get(size).copied()),
            ..Self::syn(cookie, syn.seq, syn.window, size)
        }
    }

    /// The SYN whose cookie a segment brings back; `None` where it is none of ours, or too old.
    pub(crate) fn check(&self, key: &FlowKey, segment: &Segment<'_>, now: Instant) -> Option<Syn> {
        let period = now.as_nanos() / PERIOD;
        if self.last? + 1 < period {
            return None;
        }
        let cookie = segment.ack.wrapping_sub(1);
        let seq = segment.seq.wrapping_sub(1);
        let size = (cookie >> HASH_BITS) as usize % SIZES.len();
        let made = [period, period.wrapping_sub(1)]
            .into_iter()
            .any(|period| self.cookie(key, seq, period, size) == cookie);
        made.then(|| Self::syn(cookie, seq, segment.window, size))
    }

    fn syn(cookie: u32, seq: u32, window: u16, size: usize) -> Syn {
        Syn {
            start: Start {
                isn: cookie,
                timestamps: 0,
            },
            seq,
            window,
            mss: SIZES.get(size).copied(),
            window_scale: None,
            sack: false,
            timestamp: None,
            ecn: false,
        }
    }

    fn cookie(&self, key: &FlowKey, seq: u32, period: u64, size: usize) -> u32 {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        // What is hashed for sequence numbers and timestamps is shorter.
        (key, seq, period, size).hash(&mut hasher);
        let hash = hasher.finish() as u32 & ((1 << HASH_BITS) - 1);
        let size = (size as u32) << HASH_BITS;
        ((period % PERIODS) as u32) << (u32::BITS - 5) | size | hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::emit::ACK;

    fn key(port: u16) -> FlowKey {
        let end = |port| std::net::SocketAddr::from(([10, 0, 0, 1], port));
        FlowKey::new(0, end(80), end(port))
    }

    fn segment(seq: u32, ack: u32) -> Segment<'static> {
        Segment {
            seq,
            ack,
            flags: ACK,
            window: 500,
            marked: false,
            options: &[],
            payload: &[],
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_cookie_comes_back_from_the_same_client_in_time_or_not_at_all() {
        let mut cookies = Cookies::new((1, 2));
        let mut syn = Cookies::syn(0, u32::MAX, 1000, 0);
        for (mss, size) in [
            (None, 536),
            (Some(1), 64),
            (Some(1459), 1440),
            (Some(9000), 8940),
        ] {
            syn.mss = mss;
            let made = cookies.make(&key(5), &syn, at(63));
            let back = segment(0, made.start.isn.wrapping_add(1));
            let found = cookies.check(&key(5), &back, at(127));
            assert_eq!(
                found,
                Some(Syn {
                    window: 500,
                    mss: Some(size),
                    ..made
                })
            );
            assert_eq!(made.mss, mss.and(Some(size)));
            assert_eq!(
                cookies.check(&key(6), &back, at(63)),
                None,
                "another client"
            );
            assert_eq!(cookies.check(&key(5), &segment(1, back.ack), at(63)), None);
            assert_eq!(cookies.check(&key(5), &back, at(129)), None, "too late");
        }
    }

    #[test]
    fn where_none_was_made_none_is_found() {
        let mut cookies = Cookies::new((1, 2));
        let syn = Cookies::syn(0, 0, 1000, 3);
        let made = cookies.make(&key(5), &syn, at(0));
        let fresh = Cookies::new((1, 2));
        assert_eq!(
            fresh.check(&key(5), &segment(1, made.start.isn.wrapping_add(1)), at(0)),
            None
        );
    }
}
