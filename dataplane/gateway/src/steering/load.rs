//! How busy workers are, so that new connections go to those that are less so, where it is for us to say.

use std::sync::Arc;

use crate::loop_stats::LoopStats;

/// Looks over which it is measured how busy workers are; there is one a second.
const LOOKS: u32 = 10;

/// How much busier than the least busy one the busiest has to be, in percent of its time, and how busy at
/// all, before it gets fewer new connections: less is chance, or does no harm.
const APART: u64 = 25;
const BUSY: u64 = 50;

/// What workers did of late.
#[derive(Debug, Default)]
pub(super) struct Loads {
    workers: Vec<Load>,
    looks: u32,
}

#[derive(Debug)]
struct Load {
    loop_stats: Arc<LoopStats>,
    /// Cycles with something to do and with nothing, when it was last measured.
    before: (u64, u64),
}

impl Loads {
    pub(super) fn new(workers: impl IntoIterator<Item = Arc<LoopStats>>) -> Self {
        let load = |loop_stats| Load {
            loop_stats,
            before: (0, 0),
        };
        Loads {
            workers: workers.into_iter().map(load).collect(),
            looks: 0,
        }
    }

    /// Now and then, the worker that is too busy and the one that is least so.
    pub(super) fn look(&mut self) -> Option<(u16, u16)> {
        self.looks += 1;
        if self.looks < LOOKS {
            return None;
        }
        self.looks = 0;
        let busy: Vec<u64> = self.workers.iter_mut().map(Load::percent).collect();
        let numbered = || (0u16..).zip(&busy);
        let (busiest, most) = numbered().max_by_key(|(_, busy)| **busy)?;
        let (idlest, least) = numbered().min_by_key(|(_, busy)| **busy)?;
        (*most >= BUSY && most - least >= APART).then_some((busiest, idlest))
    }
}

impl Load {
    fn percent(&mut self) -> u64 {
        let cycles = self.loop_stats.cycles();
        let now = (cycles.busy + self.loop_stats.driver_cycles(), cycles.idle);
        let before = std::mem::replace(&mut self.before, now);
        let busy = now.0.saturating_sub(before.0);
        let all = busy + now.1.saturating_sub(before.1);
        busy.saturating_mul(100) / all.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loop_stats::Tally;

    #[test]
    fn a_worker_is_told_that_is_much_busier_than_another_over_some_time() {
        let stats: [Arc<LoopStats>; 3] = Default::default();
        let mut loads = Loads::new(stats.clone());
        let mut tallies: [Tally; 3] = Default::default();
        let mut round = |busy: [u64; 3]| {
            for ((tally, stats), busy) in tallies.iter_mut().zip(&stats).zip(busy) {
                tally.count(false, busy, busy / 2);
                tally.count(true, 1_000 - busy, 0);
                tally.publish(Default::default(), stats, 1);
            }
            let looks = (0..LOOKS).map(|_| loads.look());
            looks.flatten().collect::<Vec<_>>()
        };
        assert_eq!(round([500, 900, 300]), [(1, 2)]);
        assert_eq!(round([700, 750, 600]), [], "about the same");
        assert_eq!(round([10, 450, 20]), [], "none is busy");
        assert_eq!(round([1_000, 0, 1]), [(0, 1)]);
        assert_eq!(Loads::default().look(), None);
    }
}
