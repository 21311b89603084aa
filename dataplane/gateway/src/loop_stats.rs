//! What a worker's loop tells about itself. Written by the worker about once per millisecond, read
//! by the admin thread.

use std::time::Duration;

use sluice_engine::stack::counters::Gauge;
use sluice_port::Gaps;

/// Totals of the loop, as of the last publication; on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct LoopStats {
    busy_cycles: Gauge,
    driver_cycles: Gauge,
    idle_cycles: Gauge,
    busy_polls: Gauge,
    idle_polls: Gauge,
    gaps: Gauge,
    gap_cycles: Gauge,
    longest_gap: Gauge,
    /// What the time stamp counter said; 0 before the first publication.
    published: Gauge,
}

/// How often a poll found something to do, or how long that took.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Split {
    /// With something to do: of cycles, those outside the drivers.
    pub(crate) busy: u64,
    /// With nothing to do; naps of an idle worker included.
    pub(crate) idle: u64,
}

/// The worker's own account, kept in its registers and published now and then.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    polls: Split,
    cycles: Split,
    /// Of polls with something to do, inside the drivers; not among `cycles`.
    driver: u64,
}

impl Tally {
    /// One turn of the loop that took `cycles`, `driver` of them inside the drivers.
    #[inline]
    pub(crate) fn count(&mut self, was_idle: bool, cycles: u64, driver: u64) {
        if was_idle {
            self.polls.idle += 1;
            self.cycles.idle += cycles;
        } else {
            self.polls.busy += 1;
            self.cycles.busy += cycles.saturating_sub(driver);
            self.driver += driver;
        }
    }

    /// Makes the account readable for others; the counter stands at `now`.
    pub(crate) fn publish(&self, gaps: Gaps, to: &LoopStats, now: u64) {
        to.busy_cycles.set(self.cycles.busy);
        to.driver_cycles.set(self.driver);
        to.idle_cycles.set(self.cycles.idle);
        to.busy_polls.set(self.polls.busy);
        to.idle_polls.set(self.polls.idle);
        to.gaps.set(gaps.count);
        to.gap_cycles.set(gaps.cycles);
        to.longest_gap.set(gaps.longest);
        to.published.set(now.max(1));
    }
}

impl LoopStats {
    /// Cycles of the time stamp counter.
    pub(crate) fn cycles(&self) -> Split {
        Split {
            busy: self.busy_cycles.get(),
            idle: self.idle_cycles.get(),
        }
    }

    /// Cycles inside the drivers, in polls with something to do.
    pub(crate) fn driver_cycles(&self) -> u64 {
        self.driver_cycles.get()
    }

    /// Polls.
    pub(crate) fn polls(&self) -> Split {
        Split {
            busy: self.busy_polls.get(),
            idle: self.idle_polls.get(),
        }
    }

    /// Something else after each publication; 0 before the first.
    pub(crate) fn sign_of_life(&self) -> u64 {
        self.published.get()
    }

    /// When the worker was away from its core.
    pub(crate) fn gaps(&self) -> Gaps {
        Gaps {
            count: self.gaps.get(),
            cycles: self.gap_cycles.get(),
            longest: self.longest_gap.get(),
        }
    }

    /// How long ago the last publication was, when the counter stands at `now` and counts `hz` per
    /// second; `None` before the first.
    pub(crate) fn age(&self, now: u64, hz: u64) -> Option<Duration> {
        let published = self.published.get();
        let cycles = u128::from(now.saturating_sub(published));
        let nanos = cycles * 1_000_000_000 / u128::from(hz.max(1));
        (published != 0).then(|| Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_told_apart_and_published_whole() {
        let (mut tally, stats) = (Tally::default(), LoopStats::default());
        tally.count(false, 1_500, 500);
        tally.count(true, 30, 20);
        tally.count(true, 40, 30);
        assert_eq!(stats.age(5_000, 1_000_000_000), None);
        let gaps = Gaps {
            count: 1,
            cycles: 40,
            longest: 40,
        };
        tally.publish(gaps, &stats, 4_000);
        assert_eq!(stats.gaps(), gaps);
        assert_eq!(
            stats.cycles(),
            Split {
                busy: 1_000,
                idle: 70
            }
        );
        assert_eq!(stats.driver_cycles(), 500);
        assert_eq!(stats.polls(), Split { busy: 1, idle: 2 });
        assert_eq!(
            stats.age(5_000, 1_000_000_000),
            Some(Duration::from_micros(1))
        );
        assert_eq!(stats.age(3_000, 1_000_000_000), Some(Duration::ZERO));
    }
}
