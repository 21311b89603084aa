//! A body that goes on slowly, for a drill.

use std::time::Duration;

use sluice_stack::time::Instant;

use crate::chain::Slow;

/// Turns per second in which a body moves.
const TURNS: u64 = 20;
const SECOND: u64 = 1_000_000_000;

/// How much of a body may go on by now: a bucket that fills at the rate, and holds one turn's bytes.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes per second, at least 1.
    rate: u64,
    /// Bytes that the bucket holds.
    turn: u64,
    /// What is in it.
    left: u64,
    /// What has come into it by when.
    filled: Instant,
    /// From then on all may go on.
    ends: Instant,
    over: bool,
}

impl Pace {
    /// Of a body that begins now.
    pub(crate) fn new(rate: u64, ends: Instant, now: Instant) -> Self {
        let rate = rate.max(1);
        let turn = (rate / TURNS).max(1);
        Pace {
            rate,
            turn,
            left: turn,
            filled: now,
            ends,
            over: false,
        }
    }

    /// Fills the bucket with what has come by now.
    pub(crate) fn fill(&mut self, now: Instant) {
        self.over = now >= self.ends;
        // Longer than it takes to fill it, so that nothing overflows.
        let passed = now.since(self.filled).min(Duration::from_secs(1));
        let passed = passed.as_nanos() as u64;
        let earned = passed.saturating_mul(self.rate) / SECOND;
        if self.left + earned >= self.turn {
            self.left = self.turn;
            self.filled = now;
        } else {
            self.left += earned;
            // Rounded up: no more goes on than was earned, however often this is asked.
            let spent = Duration::from_nanos((earned * SECOND).div_ceil(self.rate));
            self.filled = self.filled + spent;
        }
    }

    /// Bytes that may go on before it is filled again.
    pub(crate) fn allows(&self) -> usize {
        if self.over {
            return usize::MAX;
        }
        usize::try_from(self.left).unwrap_or(usize::MAX)
    }

    /// So many have gone on.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes as u64);
    }

    /// When more may go on, if nothing may now.
    pub(crate) fn resumes(&self) -> Option<Instant> {
        let full = Duration::from_nanos(self.turn.saturating_mul(SECOND) / self.rate + 1);
        (!self.over && self.left == 0).then(|| (self.filled + full).min(self.ends))
    }
}

/// How slowly the bodies of an exchange go on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paced {
    rate: u64,
    ends: Instant,
}

impl Paced {
    pub(crate) fn new(slow: Slow, now: Instant) -> Self {
        Paced {
            rate: slow.rate,
            ends: now + slow.lasts,
        }
    }

    /// The pace of a body that begins now.
    pub(crate) fn of_body(self, now: Instant) -> Box<Pace> {
        Box::new(Pace::new(self.rate, self.ends, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that go on within so many milliseconds when it is asked every `step` of them.
    fn within(rate: u64, ends: u64, millis: u64, step: u64) -> u64 {
        let at = |millis| Instant::ZERO + Duration::from_millis(millis);
        let mut pace = Pace::new(rate, at(ends), at(0));
        let mut sum = 0;
        for millis in (0..=millis).step_by(step as usize) {
            pace.fill(at(millis));
            let some = pace.allows().min(1 << 20);
            pace.take(some);
            sum += some as u64;
        }
        sum
    }

    #[test]
    fn a_body_goes_on_at_its_rate_however_often_it_is_looked_at() {
        for rate in [64, 1_000, 65_536, 1 << 20, 1 << 30] {
            for step in [1, 7, 50] {
                let sum = within(rate, 1_000_000, 10_000, step).min(rate * 11);
                let exact = rate * 10;
                let low = exact - exact / 20 - 64;
                let capped = (1 << 20) * (10_000 / step);
                assert!(sum >= low.min(capped), "{rate} {step}: {sum}");
                assert!(sum <= exact + rate / 20 + 1, "{rate} {step}: {sum}");
            }
        }
    }

    #[test]
    fn it_rests_until_a_turn_is_full_and_never_beyond_the_end_of_the_drill() {
        let at = |millis| Instant::ZERO + Duration::from_millis(millis);
        let mut pace = Pace::new(1_000, at(60), at(0));
        assert_eq!((pace.allows(), pace.resumes()), (50, None));
        pace.take(50);
        assert!(
            pace.resumes()
                .is_some_and(|then| then > at(50) && then < at(51))
        );
        pace.fill(at(55));
        assert_eq!(pace.allows(), 50);
        pace.take(50);
        assert_eq!(pace.resumes(), Some(at(60)));
        pace.fill(at(60));
        assert_eq!((pace.allows(), pace.resumes()), (usize::MAX, None));
    }
}
