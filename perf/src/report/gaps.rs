//! Gaps in the loops of those who poll, and how much of a percentile they can be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LimitedBy, Pace, RunReport};

/// In an open loop requests wait that become due in a gap, and those that become due while the backlog is
/// worked off: at half load for about as long again.
const BACKLOG: f64 = 2.0;

/// A percentile that is so many times shorter than a gap usually is has nothing of one.
const FAR: f64 = 10.0;

/// Turns of a loop that took longer than any takes by itself, as something else had its core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gaps {
    /// How many.
    pub count: u64,
    /// All of them together, seconds.
    pub seconds: f64,
    /// The longest, microseconds.
    pub longest_us: f64,
}

impl Gaps {
    /// From cycles of a counter of `hz`.
    pub fn of(gaps: sluice_port::Gaps, hz: u64) -> Gaps {
        let seconds = |cycles: u64| cycles as f64 / hz.max(1) as f64;
        Gaps {
            count: gaps.count,
            seconds: seconds(gaps.cycles),
            longest_us: seconds(gaps.longest) * 1e6,
        }
    }

    /// These and others.
    pub fn and(self, other: Gaps) -> Gaps {
        Gaps {
            count: self.count + other.count,
            seconds: self.seconds + other.seconds,
            longest_us: self.longest_us.max(other.longest_us),
        }
    }

    /// As many in a part of the time, or in more of it.
    pub fn scaled(self, factor: f64) -> Gaps {
        Gaps {
            count: (self.count as f64 * factor).round() as u64,
            seconds: self.seconds * factor,
            longest_us: self.longest_us,
        }
    }

    /// The share of a run's requests that such gaps have delayed, at most and about: in an open loop by
    /// time, in a closed one all that were under way in each.
    pub fn delayed(self, run: &RunReport) -> f64 {
        let share = match run.settings.pace {
            Pace::Closed => {
                let under_way = f64::from(run.settings.connections.max(1))
                    * f64::from(run.settings.calls.max(1));
                let ended = run.totals.answers + run.totals.errors.values().sum::<u64>();
                self.count as f64 * under_way / ended.max(1) as f64
            }
            _ => BACKLOG * self.seconds / run.duration_s.max(1e-9),
        };
        share.min(1.0)
    }

    /// What limits a run's 99th percentile, these gaps or what limits the run; `None` without answers, where
    /// there is no percentile.
    pub fn limit_p99(self, run: &RunReport) -> Option<LimitedBy> {
        (run.totals.answers > 0).then(|| match self.make_p99(run) {
            true => LimitedBy::Noise,
            false => run.limited_by,
        })
    }

    /// Whether they delayed as many requests as a 99th percentile leaves out, and that is about their length:
    /// then it is not the target's doing. One far beyond the longest of them is, as behind an outage of the target,
    /// and so is one far below the usual gap. Without answers there is no percentile.
    fn make_p99(self, run: &RunReport) -> bool {
        let usual = self.seconds * 1e6 / self.count.max(1) as f64;
        let Some((p50, p99)) = run.latency.p50_us.zip(run.latency.p99_us) else {
            return false;
        };
        let is_theirs = p99 - p50 <= BACKLOG * self.longest_us && p99 >= usual / FAR;
        is_theirs && self.delayed(run) >= 0.01
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ErrorKind;
    use crate::report::latency::{Latency, histogram};
    use crate::report::tests::run;

    #[test]
    fn gaps_make_a_percentile_when_they_delay_what_it_leaves_out() {
        let gaps = |count, seconds| Gaps {
            count,
            seconds,
            longest_us: 4_000.0,
        };
        // Latencies up to 2 ms. Two seconds at a constant rate.
        let open = run("open");
        assert!(gaps(3, 0.010).make_p99(&open));
        assert!(!gaps(3, 0.009).make_p99(&open));
        let mut closed = run("closed");
        closed.settings.pace = Pace::Closed;
        closed.settings.connections = 10;
        // Of 2,000 answers.
        closed.totals.errors.clear();
        assert!(gaps(2, 0.008).make_p99(&closed));
        assert!(!gaps(1, 0.004).make_p99(&closed));
        // What failed was under way as well, and without answers there is no percentile.
        closed.totals.answers = 0;
        closed.latency = Latency::of(&histogram());
        closed.totals.errors.insert(ErrorKind::Timeout, 2_000);
        assert!((gaps(2, 1.0).delayed(&closed) - 0.01).abs() < 1e-9);
        assert!(!gaps(2, 0.008).make_p99(&closed));
        assert_eq!(gaps(1, 1.0).and(gaps(2, 0.5)), gaps(3, 1.5));
        assert_eq!(gaps(10, 1.0).scaled(0.25), gaps(3, 0.25));
    }

    #[test]
    fn a_percentile_far_from_the_gaps_is_not_theirs() {
        let run = run("open");
        let gaps = |count, longest_us| Gaps {
            count,
            seconds: 0.5,
            longest_us,
        };
        // The target was away for most of a millisecond, each gap was shorter than half of that.
        assert!(!gaps(5_000, 400.0).make_p99(&run));
        assert!(gaps(5_000, 600.0).make_p99(&run));
        // Ten gaps of 50 ms, and a p99 of 2 ms.
        assert!(!gaps(10, 60_000.0).make_p99(&run));
        assert_eq!(gaps(10, 60_000.0).limit_p99(&run), Some(run.limited_by));
    }
}
