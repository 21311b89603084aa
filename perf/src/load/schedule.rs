//! When requests are meant to be sent.

use std::time::Duration;

use sluice_stack::rng::Rng;
use sluice_stack::time::Instant;

const NANOS: f64 = 1e9;

/// What decides that the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// A closed loop: the end of the one before, on the same connection.
    Closed,
    /// An open loop: the clock alone, whatever became of those before.
    Open(Rate),
}

/// A rate of requests, the same all the time or growing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Requests per second at the beginning; above 0.
    pub from: f64,
    /// At the end of `over`, and from then on.
    pub to: f64,
    /// How long the change takes, in a straight line.
    pub over: Duration,
    /// How requests are spread.
    pub arrivals: Arrivals,
}

/// How requests of an open loop are spread over time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Arrivals {
    /// At equal distances.
    #[default]
    Constant,
    /// At random distances, as from many clients that know nothing of each other.
    Poisson,
}

impl Rate {
    /// The same rate all the time.
    pub fn constant(rate: f64, arrivals: Arrivals) -> Self {
        Rate {
            from: rate,
            to: rate,
            over: Duration::ZERO,
            arrivals,
        }
    }

    /// Requests per second, `nanos` after the beginning.
    fn at(&self, nanos: f64) -> f64 {
        let over = self.over.as_nanos() as f64;
        if nanos >= over {
            return self.to;
        }
        self.from + (self.to - self.from) * (nanos / over)
    }

    /// Requests that are meant to be sent between two times after the beginning.
    fn between(&self, from: f64, to: f64) -> f64 {
        if to <= from {
            return 0.0;
        }
        let over = self.over.as_nanos() as f64;
        let turn = over.clamp(from, to);
        let ramp = (turn - from) * (self.at(from) + self.at(turn)) / 2.0;
        (ramp + (to - turn) * self.to) / NANOS
    }

    /// Requests that are meant to be sent within a time from the beginning.
    pub fn within(&self, time: Duration) -> f64 {
        self.between(0.0, time.as_nanos() as f64)
    }
}

/// The instants of an open loop, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    rate: Rate,
    start: Instant,
    /// The next one, in nanoseconds after `start`: exact for months.
    next: f64,
    rng: Rng,
}

impl Schedule {
    pub(crate) fn new(rate: Rate, start: Instant, seed: u64) -> Self {
        Schedule {
            rate,
            start,
            next: 0.0,
            rng: Rng::new(seed),
        }
    }

    /// Begins again at `start`; what was due before is forgotten.
    pub(crate) fn restart(&mut self, start: Instant) {
        self.start = start;
        self.next = 0.0;
    }

    /// The next instant.
    #[inline]
    pub(crate) fn next(&self) -> Instant {
        self.start + Duration::from_nanos(self.next as u64)
    }

    /// Goes on to the instant after it.
    #[inline]
    pub(crate) fn advance(&mut self) {
        let distance = NANOS / self.rate.at(self.next);
        self.next += match self.rate.arrivals {
            Arrivals::Constant => distance,
            // The logarithm of a number in (0, 1].
            Arrivals::Poisson => {
                let unit = ((self.rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
                -unit.ln() * distance
            }
        };
    }

    /// About how many instants are left before `end`.
    pub(crate) fn left(&self, end: Instant) -> u64 {
        let end = end.since(self.start).as_nanos() as f64;
        self.rate.between(self.next, end).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instants(rate: Rate, within: Duration) -> Vec<u64> {
        let start = Instant::from_nanos(500);
        let mut schedule = Schedule::new(rate, start, 7);
        let mut all = Vec::new();
        while schedule.next() < start + within {
            all.push(schedule.next().since(start).as_nanos() as u64);
            schedule.advance();
        }
        all
    }

    #[test]
    fn a_constant_rate_has_equal_distances_and_does_not_drift() {
        let rate = Rate::constant(3_000.0, Arrivals::Constant);
        let all = instants(rate, Duration::from_secs(10));
        // The last one is due at the end, or a nanosecond before.
        assert!(matches!(all.len(), 30_000 | 30_001), "{}", all.len());
        assert!(all[29_999].abs_diff(9_999_666_666) < 10, "{}", all[29_999]);
        assert_eq!(rate.within(Duration::from_secs(10)), 30_000.0);
    }

    #[test]
    fn poisson_has_the_rate_and_the_spread_of_independent_clients() {
        let all = instants(
            Rate::constant(10_000.0, Arrivals::Poisson),
            Duration::from_secs(10),
        );
        assert!((98_000..102_000).contains(&all.len()), "{}", all.len());
        let distances: Vec<f64> = all.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = distances.iter().sum::<f64>() / distances.len() as f64;
        let variance =
            distances.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / distances.len() as f64;
        // An exponential distribution's standard deviation is its mean.
        let ratio = variance.sqrt() / mean;
        assert!((0.97..1.03).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_ramp_sends_what_lies_under_its_line() {
        let rate = Rate {
            from: 100.0,
            to: 900.0,
            over: Duration::from_secs(10),
            arrivals: Arrivals::Constant,
        };
        let all = instants(rate, Duration::from_secs(12));
        let expected = rate.within(Duration::from_secs(12));
        assert_eq!(expected, 5_000.0 + 1_800.0);
        assert!((all.len() as f64 - expected).abs() < 5.0, "{}", all.len());
        let first = all.iter().filter(|at| **at < 1_000_000_000).count();
        assert!((130..150).contains(&first), "{first}");
    }

    #[test]
    fn what_is_left_is_known_without_going_there() {
        let start = Instant::from_nanos(0);
        let mut schedule = Schedule::new(Rate::constant(1_000.0, Arrivals::Constant), start, 1);
        (0..250).for_each(|_| schedule.advance());
        assert_eq!(schedule.left(start + Duration::from_secs(1)), 750);
        schedule.restart(start + Duration::from_secs(5));
        assert_eq!(schedule.next(), start + Duration::from_secs(5));
        assert_eq!(schedule.left(start + Duration::from_secs(5)), 0);
    }
}
