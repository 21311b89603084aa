//! The clock of a thread that polls: the time stamp counter, read once per poll.
//!
//! Some ten nanoseconds a reading, less than half of what `clock_gettime` costs, and the same
//! reading serves the account of busy and idle cycles. DPDK requires a counter that runs at a
//! constant rate; the thread stays on one core, so it is also steady. EAL's figure for the rate may
//! be off by some 0.2 %, which no timeout minds.

use sluice_stack::time::Instant;

/// Turns readings of the counter into instants since the clock was made.
#[derive(Debug)]
pub struct Clock {
    start: u64,
    /// Nanoseconds per cycle, times 2^32.
    scale: u64,
    now: Instant,
}

impl Clock {
    /// A clock for a counter of `hz` cycles per second that stands at `start`.
    pub fn new(start: u64, hz: u64) -> Self {
        let scale = (1_000_000_000u128 << 32) / u128::from(hz.max(1));
        Clock {
            start,
            scale: u64::try_from(scale).unwrap_or(u64::MAX),
            now: Instant::ZERO,
        }
    }

    /// The instant at which the counter stood at `cycles`; never before the one told last, whatever
    /// the counter does (a virtual machine that moves to another host may see it jump).
    #[inline]
    pub fn at(&mut self, cycles: u64) -> Instant {
        let elapsed = cycles.saturating_sub(self.start);
        let nanos = (u128::from(elapsed) * u128::from(self.scale)) >> 32;
        self.now = self.now.max(Instant::from_nanos(nanos as u64));
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_become_nanoseconds() {
        for hz in [1_000_000_000u64, 2_500_000_000, 2_399_876_543, 24_000_000] {
            let mut clock = Clock::new(1_000, hz);
            assert_eq!(clock.at(1_000), Instant::ZERO);
            let day = clock.at(1_000 + hz * 86_400).as_nanos();
            let off = day.abs_diff(86_400_000_000_000);
            assert!(off < 100_000, "{hz} Hz is off by {off} ns in a day");
        }
    }

    #[test]
    fn it_never_goes_back() {
        let mut clock = Clock::new(5_000, 1_000_000_000);
        let later = clock.at(9_000);
        assert_eq!(clock.at(8_000), later);
        assert_eq!(clock.at(0), later);
        assert!(clock.at(9_001) > later);
    }

    #[test]
    fn an_unmeasured_counter_is_no_division_by_zero() {
        assert!(Clock::new(0, 0).at(1) > Instant::ZERO);
    }
}
