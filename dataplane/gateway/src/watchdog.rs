//! Workers that poll no more. One whose thread hangs does not end, and says nothing; its queue is left
//! unread, and with it all connections that are steered there, so it counts as failed after a while.

use std::fmt;
use std::sync::Arc;

use crate::loop_stats::LoopStats;

/// Looks in a row that find no sign of life before a worker counts as failed; there is one a second. They
/// are counted, and not the time, because while a machine is suspended nobody looks either.
pub(crate) const LOOKS: u32 = 10;

/// Looks in a row that find none before it is said: `/ready` says so by then.
const SAID_AT: u32 = 1;

/// The workers' signs of life.
#[derive(Debug, Default)]
pub(crate) struct Watchdog(Vec<Watched>);

/// What a look finds that the one before did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// No sign of life since the last look.
    Hangs,
    /// A sign again, after so many looks without.
    GoesOn(u32),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Hangs => write!(
                f,
                "has not polled for a second, so nothing of its connections moves; its core may be taken by something \
                 else. After {LOOKS} s it counts as failed"
            ),
            Change::GoesOn(looks) => write!(f, "polls again, after {looks} s or more without"),
        }
    }
}

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

    /// The number of a worker that gave no sign for [`LOOKS`] looks, one of which this is. `say` is told of each
    /// that hangs, once, and of each that goes on.
    pub(crate) fn look(&mut self, mut say: impl FnMut(usize, Change)) -> Option<usize> {
        for (worker, watched) in self.0.iter_mut().enumerate() {
            let sign = watched.loop_stats.sign_of_life();
            // Before its first one it starts, which may take its time.
            let is_silent = sign != 0 && sign == watched.sign;
            match (is_silent, watched.looks + 1) {
                (true, SAID_AT) => say(worker, Change::Hangs),
                (false, looks) if looks > SAID_AT => say(worker, Change::GoesOn(watched.looks)),
                _ => {}
            }
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
        let mut said = Vec::new();
        let mut look = |said: &mut Vec<_>| watchdog.look(|worker, what| said.push((worker, what)));
        for now in 1..=100 {
            Tally::default().publish(Default::default(), &workers[0], now);
            assert_eq!(look(&mut said), None, "the second has not begun");
        }
        Tally::default().publish(Default::default(), &workers[1], 101);
        for now in 102..102 + u64::from(LOOKS) {
            assert_eq!(said, [], "it has polled, or is within its first second");
            Tally::default().publish(Default::default(), &workers[0], now);
            assert_eq!(look(&mut said), None);
            if now > 102 {
                let first = (now == 103).then_some((1, Change::Hangs));
                assert_eq!(std::mem::take(&mut said), Vec::from_iter(first));
            }
        }
        Tally::default().publish(Default::default(), &workers[0], 200);
        assert_eq!(look(&mut said), Some(1));
        assert_eq!(said, []);
        Tally::default().publish(Default::default(), &workers[1], 201);
        assert_eq!(look(&mut said), None);
        assert_eq!(said.pop(), Some((1, Change::GoesOn(LOOKS))));
        assert_eq!(said, [(0, Change::Hangs)]);
    }
}
