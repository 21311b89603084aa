//! The steps of a run: one, or a sweep of rates up to the knee.

use std::time::Duration;

use super::args::RunArgs;
use crate::load::{Length, Pace, Rate, Step};
use crate::report;

/// Length of a run that neither a duration nor a count bounds.
const DURATION: Duration = Duration::from_secs(10);

/// And of one that a count bounds.
const COUNTED: Duration = Duration::from_secs(600);

/// A step keeps up while so much of its rate is answered.
const KEEPS_UP: f64 = 0.97;

/// And while its 99th percentile is at most so many times the best one so far...
const SLOWER: f64 = 10.0;

/// ... or at most this, in microseconds.
const STILL_FAST: f64 = 1_000.0;

/// Steps measured beyond the knee, so that it shows.
const BEYOND: usize = 2;

/// How long the measured time of each step is at most.
pub(super) fn duration(args: &RunArgs) -> Duration {
    let default = if args.count.is_some() {
        COUNTED
    } else {
        DURATION
    };
    args.duration.unwrap_or(default)
}

/// A step at some pace.
fn step(args: &RunArgs, pace: Pace) -> Step {
    let duration = duration(args);
    Step {
        pace,
        warm_up: args.warm_up,
        length: Length {
            duration,
            requests: args.count.unwrap_or(u64::MAX),
        },
        // A second, for short runs a tenth of the run.
        interval: (duration / 10).max(duration / 600).clamp(
            Duration::from_millis(10),
            Duration::from_secs(1).max(duration / 600),
        ),
    }
}

/// The steps to come.
pub(super) enum Steps {
    /// One, until it was taken.
    One(Option<Step>),
    /// One rate after the other.
    Sweep(Sweep),
}

/// A sweep under way.
pub(super) struct Sweep {
    template: Step,
    arrivals: crate::load::Arrivals,
    rates: Vec<f64>,
    next: usize,
    judge: Judge,
}

impl Steps {
    pub(super) fn new(args: &RunArgs) -> Steps {
        let Some((from, to, count)) = args.sweep else {
            let pace = args.rate.map_or(Pace::Closed, |(from, to)| {
                Pace::Open(Rate {
                    from,
                    to,
                    over: if from == to {
                        Duration::ZERO
                    } else {
                        duration(args)
                    },
                    arrivals: args.arrivals,
                })
            });
            return Steps::One(Some(step(args, pace)));
        };
        Steps::Sweep(Sweep {
            template: step(args, Pace::Closed),
            arrivals: args.arrivals,
            rates: rates(from, to, count),
            next: 0,
            judge: Judge::default(),
        })
    }

    /// The next one; `None` where nothing more is to be learned.
    pub(super) fn next(&mut self) -> Option<Step> {
        match self {
            Steps::One(step) => step.take(),
            Steps::Sweep(sweep) => {
                if sweep.judge.beyond >= BEYOND {
                    return None;
                }
                let rate = *sweep.rates.get(sweep.next)?;
                sweep.next += 1;
                Some(Step {
                    pace: Pace::Open(Rate::constant(rate, sweep.arrivals)),
                    ..sweep.template
                })
            }
        }
    }

    /// Takes note of how a step went.
    pub(super) fn note(&mut self, step: &report::Step) {
        if let Steps::Sweep(sweep) = self {
            sweep.judge.note(step);
        }
    }
}

/// Equal factors from one rate to the other.
fn rates(from: f64, to: f64, count: u32) -> Vec<f64> {
    let factor = (to / from).powf(1.0 / f64::from(count - 1));
    (0..count)
        .map(|step| from * factor.powi(step as i32))
        .collect()
}

/// Finds the knee: the last step that kept up before one did not.
#[derive(Debug, Default)]
pub(super) struct Judge {
    best_p99: Option<f64>,
    /// Steps that did not keep up, in a row.
    beyond: usize,
}

impl Judge {
    /// Whether this step keeps up with its rate.
    pub(super) fn note(&mut self, step: &report::Step) -> bool {
        let beside = self.best_p99.zip(step.p99_us);
        let explodes = beside.is_some_and(|(best, p99)| p99 > best * SLOWER && p99 > STILL_FAST);
        let keeps_up = step.achieved_rps >= KEEPS_UP * step.offered_rps && !explodes;
        if keeps_up {
            self.beyond = 0;
            let both = self.best_p99.into_iter().chain(step.p99_us);
            self.best_p99 = both.reduce(f64::min);
        } else {
            self.beyond += 1;
        }
        keeps_up
    }
}

/// Marks the knee; its position.
pub(super) fn mark_knee(steps: &mut [report::Step]) -> Option<usize> {
    let mut judge = Judge::default();
    let kept: Vec<bool> = steps.iter().map(|step| judge.note(step)).collect();
    let knee = kept.iter().rposition(|kept| *kept)?;
    steps.get_mut(knee)?.knee = true;
    Some(knee)
}

/// Whether a rate that was asked for was kept.
pub(super) fn keeps_up(achieved: f64, offered: f64) -> bool {
    achieved >= KEEPS_UP * offered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(offered: f64, achieved: f64, p99_us: f64) -> report::Step {
        report::Step {
            offered_rps: offered,
            achieved_rps: achieved,
            p50_us: Some(1.0),
            p99_us: Some(p99_us),
            p999_us: Some(p99_us),
            errors: 0,
            knee: false,
        }
    }

    #[test]
    fn rates_grow_by_equal_factors() {
        let rates = rates(1_000.0, 8_000.0, 4);
        for (rate, expected) in rates.iter().zip([1_000.0, 2_000.0, 4_000.0, 8_000.0]) {
            assert!((rate - expected).abs() < 0.01, "{rates:?}");
        }
    }

    #[test]
    fn the_knee_is_the_last_step_that_keeps_up() {
        let mut steps = [
            step(1_000.0, 1_000.0, 80.0),
            step(2_000.0, 1_995.0, 70.0),
            step(4_000.0, 3_900.0, 690.0), // slower, and still fast
            step(8_000.0, 7_000.0, 900.0),
            step(16_000.0, 7_100.0, 90_000.0),
        ];
        assert_eq!(mark_knee(&mut steps), Some(2));
        assert!(steps[2].knee && !steps[3].knee);
    }

    #[test]
    fn latency_that_explodes_ends_the_climb_before_the_rate_does() {
        let mut steps = [
            step(1_000.0, 1_000.0, 150.0),
            step(2_000.0, 1_999.0, 1_600.0),
        ];
        assert_eq!(mark_knee(&mut steps), Some(0));
        assert_eq!(mark_knee(&mut [step(1_000.0, 10.0, 5.0)]), None);
    }
}
