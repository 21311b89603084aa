//! Workers that poll no more. One whose thread hangs does not end, and says nothing; its queue is left
//! unread, and with it all connections that are steered there, so it counts as failed after a while.

use std::sync::Arc;

use crate::loop_stats::LoopStats;

/// Looks in a row that find no sign of life before a worker counts as failed; there is one a second. They
/// are counted, and not the time, because while a machine is suspended nobody looks either.
pub(crate) const LOOKS: u32 = 10;

/// The workers' signs of life.
#[derive(Debug, Default)]
pub(crate) struct Watchdog(Vec<Watched>);

#[derive(Debug)]
struct Watched {
    loop_stats: Arc<LoopStats>,
    sign: u64,
    looks: u32,
}

impl Watchdog {
    /// Watches these, in the order of their numbers.
    pub(crate) fn new(workers: impl IntoIterator<Item = Arc<LoopStats>>) -> Self {
        let watched = |loop_stats| Watched {
            loop_stats,
            sign: 0,
            looks: 0,
        };
        Watchdog(workers.into_iter().map(watched).collect())
    }

    /// The number of a worker that gave no sign for [`LOOKS`] looks, one of which this is.
    pub(crate) fn look(&mut self) -> Option<usize> {
        for watched in &mut self.0 {
            let sign = watched.loop_stats.sign_of_life();
            // Before its first one it starts, which may take its time.
            let is_silent = sign != 0 && sign == watched.sign;
            watched.looks = if is_silent { watched.looks + 1 } else { 0 };
            watched.sign = sign;
        }
        self.0.iter().position(|watched| watched.looks >= LOOKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loop_stats::Tally;

    #[test]
    fn a_worker_fails_that_polled_and_then_gives_no_sign() {
        let workers = [Arc::<LoopStats>::default(), Arc::default()];
        let mut watchdog = Watchdog::new(workers.clone());
        for now in 1..=100 {
            Tally::default().publish(Default::default(), &workers[0], now);
            assert_eq!(watchdog.look(), None, "the second has not begun");
        }
        Tally::default().publish(Default::default(), &workers[1], 101);
        for now in 102..102 + u64::from(LOOKS) {
            Tally::default().publish(Default::default(), &workers[0], now);
            assert_eq!(watchdog.look(), None);
        }
        Tally::default().publish(Default::default(), &workers[0], 200);
        assert_eq!(watchdog.look(), Some(1));
        Tally::default().publish(Default::default(), &workers[1], 201);
        assert_eq!(watchdog.look(), None);
    }
}
