//! When a thread that polls was away: turns of its loop that took longer than any turn takes by itself.
//!
//! Such a thread never waits, so what makes a turn long is that something else had its core: another thread,
//! the kernel, the hypervisor. The last is in no account that a guest can read exactly, but it can be seen in
//! the time stamp counter.

/// What was seen of them so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gaps {
    /// How many.
    pub count: u64,
    /// Cycles of all of them.
    pub cycles: u64,
    /// Cycles of the longest.
    pub longest: u64,
}

/// Tells gaps from turns.
#[derive(Debug)]
pub struct GapMeter {
    /// Cycles above which a turn that found nothing to do was none, and one that found something.
    idle_above: u64,
    busy_above: u64,
    gaps: Gaps,
}

impl GapMeter {
    /// A turn that finds nothing takes about a microsecond.
    pub const IDLE_MICROS: u64 = 100;
    /// A turn has at most four bursts of 32 frames from each port: some 300 microseconds of two ports.
    pub const BUSY_MICROS: u64 = 500;

    /// For a counter of `hz` cycles per second.
    pub fn new(hz: u64) -> Self {
        GapMeter {
            idle_above: hz * Self::IDLE_MICROS / 1_000_000,
            busy_above: hz * Self::BUSY_MICROS / 1_000_000,
            gaps: Gaps::default(),
        }
    }

    /// A turn is over.
    #[inline]
    pub fn turn(&mut self, was_idle: bool, cycles: u64) {
        let above = if was_idle {
            self.idle_above
        } else {
            self.busy_above
        };
        if cycles > above {
            self.count(cycles);
        }
    }

    #[cold]
    fn count(&mut self, cycles: u64) {
        self.gaps.count += 1;
        self.gaps.cycles += cycles;
        self.gaps.longest = self.gaps.longest.max(cycles);
    }

    /// All so far.
    pub fn gaps(&self) -> Gaps {
        self.gaps
    }

    /// Forgets them.
    pub fn reset(&mut self) {
        self.gaps = Gaps::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_with_work_may_take_longer_than_one_without() {
        let mut meter = GapMeter::new(1_000_000_000);
        for (was_idle, micros) in [
            (true, 1),
            (true, 100),
            (false, 500),
            (true, 101),
            (false, 700),
        ] {
            meter.turn(was_idle, micros * 1_000);
        }
        let seen = Gaps {
            count: 2,
            cycles: 801_000,
            longest: 700_000,
        };
        assert_eq!(meter.gaps(), seen);
        meter.reset();
        assert_eq!(meter.gaps(), Gaps::default());
    }
}
