//! How long a peer takes to acknowledge, and how long to wait for it (RFC 6298).

use std::time::Duration;

/// Before the first sample (RFC 6298 2.1).
const INITIAL: u64 = 1_000_000_000;
/// The longest wait, backed off or not (RFC 6298 2.5).
const MAX: u64 = 60_000_000_000;
/// The clock's granularity: a slot of the timer wheel.
const GRANULARITY: u64 = 1_000_000;

/// Time from a segment to its acknowledgement, delays of the peer's included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rtt {
    /// The smoothed value (RFC 6298 2.3, an eighth of each sample).
    pub smoothed: Duration,
    /// The least of all samples.
    pub least: Duration,
}

/// The estimator of one flow; nanoseconds throughout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Estimator {
    smoothed: u64,
    variation: u64,
    /// `u64::MAX` before the first sample.
    least: u64,
}

impl Default for Estimator {
    fn default() -> Self {
        Estimator {
            smoothed: 0,
            variation: 0,
            least: u64::MAX,
        }
    }
}

impl Estimator {
    /// Takes in a sample, which must be of a segment sent once (Karn's algorithm, RFC 6298 3).
    #[inline]
    pub(crate) fn sample(&mut self, nanos: u64) {
        if self.least == u64::MAX {
            self.smoothed = nanos;
            self.variation = nanos / 2;
        } else {
            let error = self.smoothed.abs_diff(nanos);
            self.variation = self.variation - self.variation / 4 + error / 4;
            self.smoothed = self.smoothed - self.smoothed / 8 + nanos / 8;
        }
        self.least = self.least.min(nanos);
    }

    /// The retransmission timeout after `backoff` that went unanswered.
    #[inline]
    pub(crate) fn timeout(&self, floor: u64, backoff: u8) -> u64 {
        let base = match self.least {
            u64::MAX => INITIAL,
            _ => (self.smoothed + (4 * self.variation).max(GRANULARITY)).max(floor),
        };
        (base << backoff.min(12)).min(MAX)
    }

    /// The smoothed value; `None` before the first sample.
    #[inline]
    pub(crate) fn smoothed(&self) -> Option<u64> {
        (self.least != u64::MAX).then_some(self.smoothed)
    }

    /// The least of all samples; zero before the first.
    #[inline]
    pub(crate) fn least(&self) -> u64 {
        match self.least {
            u64::MAX => 0,
            least => least,
        }
    }

    /// Both as an operator sees them.
    pub(crate) fn rtt(&self) -> Option<Rtt> {
        let least = Duration::from_nanos(self.least());
        let smoothed = self.smoothed().map(Duration::from_nanos)?;
        Some(Rtt { smoothed, least })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: u64 = 200_000_000;

    fn millis(n: u64) -> u64 {
        n * 1_000_000
    }

    #[test]
    fn a_second_at_first_then_the_floor_then_what_is_measured() {
        let mut rtt = Estimator::default();
        assert_eq!(rtt.rtt(), None);
        assert_eq!(rtt.timeout(FLOOR, 0), millis(1000));
        assert_eq!(rtt.timeout(FLOOR, 2), millis(4000));
        rtt.sample(10_000_000);
        assert_eq!(rtt.timeout(FLOOR, 0), FLOOR);
        assert_eq!(rtt.timeout(millis(5), 0), millis(30), "10 + 4 * 5");
        rtt.sample(90_000_000);
        let seen = rtt.rtt().unwrap();
        let expected = [20, 10].map(Duration::from_millis);
        assert_eq!([seen.smoothed, seen.least], expected);
        // 20 + 4 * (3.75 + 20)
        assert_eq!(rtt.timeout(millis(5), 0), millis(115));
    }

    #[test]
    fn backing_off_ends_at_a_minute() {
        let rtt = Estimator::default();
        assert_eq!(rtt.timeout(FLOOR, 6), millis(60_000));
        assert_eq!(rtt.timeout(FLOOR, u8::MAX), millis(60_000));
    }
}
