//! From what the steps have counted to the report, and to the table at the end.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use sluice_stack::io::IoStats;

use super::args::RunArgs;
use super::poller::Outcome;
use super::steps;
use crate::load::Arrivals;
use crate::report::fingerprint::Fingerprint;
use crate::report::latency::Latency;
use crate::report::{
    self, ErrorKind, Interval, LimitedBy, Pace, RUN_FORM, RunReport, SendDelay, Settings, Totals,
};

/// The generator's core counts as full above this share.
const FULL: f64 = 0.95;

/// Above this share of its time without its core, a generator says more of the machine than of the target.
pub(super) const LOST: f64 = 0.01;

/// Figures mean little above this share of failed requests.
const MANY_ERRORS: f64 = 0.01;

/// The wire counts as the limit above this share of frames lost on it.
const LOSSY: f64 = 0.001;

/// A step and the rate it offered, if any.
pub(super) struct Done {
    pub(super) offered: Option<f64>,
    pub(super) outcome: Box<Outcome>,
}

impl Done {
    pub(super) fn as_step(&self) -> report::Step {
        let stats = &self.outcome.stats;
        report::Step::of(
            self.offered.unwrap_or(0.0),
            stats.measured.as_secs_f64(),
            &stats.latency,
            stats.faults.sum() + stats.unsent,
        )
    }
}

/// What else the report tells.
pub(super) struct About {
    pub(super) name: String,
    pub(super) started: String,
    pub(super) fingerprint: Fingerprint,
    pub(super) settings: Settings,
}

/// Puts the report together. The figures of a sweep are those of its knee, or of its first step where
/// there is none; its totals are of all steps.
pub(super) fn report(done: &[Done], about: About) -> Option<RunReport> {
    let mut steps: Vec<report::Step> = done.iter().map(Done::as_step).collect();
    let sweep = matches!(about.settings.pace, Pace::Sweep { .. });
    let chosen = if sweep {
        steps::mark_knee(&mut steps).unwrap_or(0)
    } else {
        steps.clear();
        0
    };
    let chosen = done.get(chosen)?;
    let stats = &chosen.outcome.stats;
    let seconds = stats.measured.as_secs_f64();
    let rps = report::rate(stats.latency.len(), seconds);
    let stolen = about
        .fingerprint
        .noise
        .as_ref()
        .map_or(0.0, |noise| noise.steal);
    let mut run = RunReport {
        form: RUN_FORM.to_owned(),
        name: about.name,
        started: about.started,
        fingerprint: about.fingerprint,
        settings: about.settings,
        totals: totals(done),
        duration_s: seconds,
        rps,
        connections_per_second: report::rate(stats.connections, seconds),
        generator_busy: chosen.outcome.busy,
        generator_lost: lost(chosen, stolen),
        generator_gaps: chosen.outcome.gaps,
        // A closed loop has none.
        send_delay: SendDelay::of(&stats.timing),
        latency: Latency::of(&stats.latency),
        intervals: intervals(done),
        steps,
        limited_by: limited_by(chosen, stolen),
        p99_limited_by: None,
    };
    run.p99_limited_by = run.generator_gaps.limit_p99(&run);
    Some(run)
}

fn totals(done: &[Done]) -> Totals {
    let mut totals = Totals::default();
    let (mut errors, mut unopened) = (BTreeMap::new(), BTreeMap::new());
    for Done { outcome, .. } in done {
        let stats = &outcome.stats;
        totals.requests += stats.requests;
        totals.answers += stats.answers;
        totals.connections += stats.connections;
        totals.bytes_sent += stats.bytes_out;
        totals.bytes_received += stats.bytes_in;
        for (fault, count) in stats.faults.iter() {
            *errors.entry(fault.kind()).or_default() += count;
        }
        for (fault, count) in stats.unopened.iter() {
            *unopened.entry(fault.kind()).or_default() += count;
        }
        totals.unclosed += stats.unclosed;
        *errors.entry(ErrorKind::NotSent).or_default() += stats.unsent;
        for (status, count) in stats.wrong_statuses() {
            *totals.wrong_statuses.entry(status).or_default() += count;
        }
        for exception in &stats.exceptions {
            totals.add_exception(exception);
        }
    }
    totals.exceptions.sort_by_key(|one| Reverse(one.count));
    for kinds in [&mut errors, &mut unopened] {
        kinds.retain(|_, count| *count > 0);
    }
    (totals.errors, totals.unopened) = (errors, unopened);
    totals
}

/// Of all steps, one behind the other.
fn intervals(done: &[Done]) -> Vec<Interval> {
    let mut all = Vec::new();
    let mut before = 0.0;
    for Done { outcome, .. } in done {
        let stats = &outcome.stats;
        for interval in &stats.intervals {
            all.push(Interval::of(
                before + interval.start.as_secs_f64(),
                interval.length.as_secs_f64(),
                &interval.latency,
                interval.faults,
            ));
        }
        before += stats.measured.as_secs_f64();
    }
    all
}

/// The share of its time that the generator had no core: taken by other threads, or `stolen` by the
/// hypervisor, of which the scheduler knows nothing.
fn lost(done: &Done, stolen: f64) -> f64 {
    let measured = done.outcome.stats.measured.as_secs_f64();
    let waited = done.outcome.lost.as_secs_f64();
    (waited / measured.max(1e-9) + stolen).min(1.0)
}

/// What kept a step from being faster.
fn limited_by(done: &Done, stolen: f64) -> LimitedBy {
    let stats = &done.outcome.stats;
    let failed = stats.faults.sum() + stats.unsent;
    let due = stats.requests + stats.unsent;
    let kept = done
        .offered
        .is_some_and(|offered| steps::keeps_up(stats.rate(), offered));
    let lost = lost(done, stolen);
    if failed as f64 > MANY_ERRORS * due as f64 || stats.answers == 0 {
        LimitedBy::Errors
    } else if lost > LOST && kept {
        // The time without a core looks busy, and makes frames pile up.
        LimitedBy::Rate
    } else if lost > LOST && lost + done.outcome.busy > FULL {
        // Where it had idle time all the same, it waited for the target.
        LimitedBy::Noise
    } else if done.outcome.busy > FULL {
        LimitedBy::Generator
    } else if is_lossy(&done.outcome.io) {
        LimitedBy::Wire
    } else if kept {
        LimitedBy::Rate
    } else {
        LimitedBy::Target
    }
}

fn is_lossy(io: &IoStats) -> bool {
    (io.tx_full + io.tx_no_buffer) as f64 > LOSSY * io.tx_frames as f64
}

/// The pace in the report's words.
pub(super) fn pace(args: &RunArgs) -> Pace {
    match (args.sweep, args.rate, args.arrivals) {
        (Some((from, to, _)), _, _) => Pace::Sweep { from, to },
        (None, None, _) => Pace::Closed,
        (None, Some((from, to)), _) if from != to => Pace::Ramp { from, to },
        (None, Some((rate, _)), Arrivals::Constant) => Pace::Constant { rate },
        (None, Some((rate, _)), Arrivals::Poisson) => Pace::Poisson { rate },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::table::table;
    use super::*;
    use crate::load::Fault;
    use crate::load::codec::Wrong;
    use crate::load::server::Served;
    use crate::load::stats::StepStats;
    use crate::report::gaps::Gaps;
    use crate::report::noise::Noise;

    /// A second in which so many requests were answered and so many not.
    fn done(offered: Option<f64>, answers: u64, faults: u64, busy: f64) -> Done {
        let mut stats = StepStats::new(Duration::from_secs(1), 1);
        stats.measured = Duration::from_secs(1);
        stats.requests = answers + faults;
        stats.answers = answers;
        (0..answers).for_each(|n| stats.latency.saturating_record(1_000 + n));
        stats.faults.add(Fault::Reset, faults);
        Done {
            offered,
            outcome: Box::new(Outcome {
                stats,
                busy,
                lost: Duration::ZERO,
                gaps: Gaps::default(),
                io: IoStats {
                    tx_frames: 1_000_000,
                    ..IoStats::default()
                },
                served: Served::default(),
            }),
        }
    }

    #[test]
    fn what_limits_a_run_is_said() {
        for (done, expected) in [
            (done(None, 1_000, 0, 0.5), LimitedBy::Target),
            (done(None, 1_000, 0, 0.96), LimitedBy::Generator),
            (done(None, 1_000, 20, 0.96), LimitedBy::Errors),
            (done(None, 0, 0, 0.1), LimitedBy::Errors),
            (done(Some(1_020.0), 1_000, 0, 0.5), LimitedBy::Rate),
            (done(Some(1_100.0), 1_000, 0, 0.5), LimitedBy::Target),
        ] {
            assert_eq!(limited_by(&done, 0.0), expected);
        }
        // What was due and not sent failed as well.
        let mut unsent = done(Some(1_000.0), 990, 0, 0.5);
        unsent.outcome.stats.unsent = 9;
        assert_eq!(limited_by(&unsent, 0.0), LimitedBy::Rate);
        unsent.outcome.stats.unsent = 12;
        assert_eq!(limited_by(&unsent, 0.0), LimitedBy::Errors);
        let mut lossy = done(None, 1_000, 0, 0.5);
        lossy.outcome.io.tx_full = 2_000;
        assert_eq!(limited_by(&lossy, 0.0), LimitedBy::Wire);
    }

    #[test]
    fn a_generator_that_lost_its_core_does_not_blame_the_target() {
        let mut without = done(None, 1_000, 0, 0.96);
        without.outcome.lost = Duration::from_millis(11);
        assert_eq!(limited_by(&without, 0.0), LimitedBy::Noise);
        without.outcome.lost = Duration::from_millis(6);
        assert_eq!(limited_by(&without, 0.0), LimitedBy::Generator);
        assert_eq!(limited_by(&without, 0.005), LimitedBy::Noise);
        // With time left, what it waited for was the limit.
        let mut waiting = done(None, 1_000, 0, 0.05);
        waiting.outcome.lost = Duration::from_millis(30);
        assert_eq!(limited_by(&waiting, 0.0), LimitedBy::Target);
        assert_eq!(limited_by(&waiting, 0.9), LimitedBy::Noise);
        // A rate that was kept all the same was the limit.
        let kept = done(Some(1_000.0), 1_000, 0, 0.5);
        assert_eq!(limited_by(&kept, 0.2), LimitedBy::Rate);

        let fingerprint = Fingerprint {
            noise: Some(Noise {
                steal: 0.25,
                ..Noise::default()
            }),
            ..Fingerprint::default()
        };
        let about = About {
            name: "a".into(),
            started: String::new(),
            fingerprint,
            settings: Settings::default(),
        };
        let report = report(&[done(None, 1_000, 0, 0.75)], about).unwrap();
        assert!((report.generator_lost - 0.25).abs() < 1e-9);
        let said = table(&report);
        assert!(said.contains("limited by: noise"), "{said}");
        assert!(
            said.contains("lost its core for 25.0% of the time"),
            "{said}"
        );
    }

    #[test]
    fn gaps_of_the_generator_are_told_and_a_p99_that_they_make_is_noise() {
        let said = |gaps: Gaps| {
            let mut done = done(Some(1_000.0), 1_000, 0, 0.5);
            (0..20).for_each(|_| done.outcome.stats.latency.saturating_record(1_500_000));
            done.outcome.gaps = gaps;
            table(&report(&[done], about(Pace::Constant { rate: 1_000.0 })).unwrap())
        };
        let gaps = |seconds| Gaps {
            count: 3,
            seconds,
            longest_us: 2_000.0,
        };
        assert!(!said(Gaps::default()).contains("gaps"));
        let few = said(gaps(0.004));
        assert!(
            few.contains("3 gaps in its loop, 4.00ms in all, longest 2.00ms: about 0.80%"),
            "{few}"
        );
        assert!(!few.contains("noise"), "{few}");
        let many = said(gaps(0.006));
        assert!(many.contains("p99 limited by: noise"), "{many}");
    }

    fn about(pace: Pace) -> About {
        About {
            name: "a".into(),
            started: String::new(),
            fingerprint: Fingerprint::default(),
            settings: Settings {
                pace,
                ..Settings::default()
            },
        }
    }

    #[test]
    fn a_run_without_answers_has_no_latencies() {
        let said = table(&report(&[done(None, 0, 5, 0.5)], about(Pace::Closed)).unwrap());
        assert!(!said.contains("0.0us"), "{said}");
        let sweep = Pace::Sweep { from: 1.0, to: 1.0 };
        let report_of_none = report(&[done(Some(1.0), 0, 5, 0.5)], about(sweep)).unwrap();
        assert!(table(&report_of_none).contains("p50         - p99         - "));
        let value = serde_json::to_value(&report_of_none).unwrap();
        assert!(value["latency"]["p99_us"].is_null() && value["steps"][0]["p99_us"].is_null());
        assert!(value["send_delay"].is_null() && report_of_none.p99_limited_by.is_none());
        let said = table(&report(&[done(None, 1, 5, 0.5)], about(Pace::Closed)).unwrap());
        assert!(said.contains("1.0us"), "{said}");
    }

    #[test]
    fn connections_that_did_not_open_or_close_are_told_and_are_no_errors() {
        let plain = table(&report(&[done(None, 10, 0, 0.5)], about(Pace::Closed)).unwrap());
        assert!(
            !plain.contains("opening") && !plain.contains("closing"),
            "{plain}"
        );
        let mut done = done(None, 10, 0, 0.5);
        done.outcome.stats.unopened.add(Fault::Refused, 3);
        done.outcome.stats.unclosed = 2;
        let report = report(&[done], about(Pace::Closed)).unwrap();
        let said = table(&report);
        for words in [
            "opening     not opened ahead of the first request: 3 refused\n",
            "closing     2 connections that the target said it would close were still open after 250 ms",
        ] {
            assert!(said.contains(words), "{said}");
        }
        assert_eq!(report.totals.all_errors(), 0);
        let value = serde_json::to_value(&report.totals).unwrap();
        assert_eq!(
            (&value["unopened"]["refused"], &value["unclosed"]),
            (&3.into(), &2.into())
        );
    }

    #[test]
    fn a_sweep_that_ends_before_the_knee_says_so() {
        let sweep = |last: u64| {
            let steps = [
                done(Some(1_000.0), 1_000, 0, 0.5),
                done(Some(2_000.0), last, 0, 0.5),
            ];
            let pace = Pace::Sweep {
                from: 1_000.0,
                to: 2_000.0,
            };
            table(&report(&steps, about(pace)).unwrap())
        };
        assert!(sweep(1_000).contains("requests    2000 in 2 steps,"));
        let words = "the last step kept up";
        assert!(sweep(2_000).contains(words), "{}", sweep(2_000));
        assert!(!sweep(1_000).contains(words), "{}", sweep(1_000));
    }

    #[test]
    fn errors_are_told_by_their_kind_and_those_that_did_not_happen_left_out() {
        let mut done = done(Some(1_000.0), 900, 3, 0.5);
        done.outcome.stats.unsent = 97;
        (0..3).for_each(|_| done.outcome.stats.wrong(Wrong::Status(503)));
        let exception = |text: &str, count| report::Exception {
            kind: report::ExceptionKind::Exception,
            code: Some(20),
            text: text.into(),
            count,
        };
        let told = vec![exception("no route", 1), exception("no service", 2)];
        done.outcome.stats.exceptions = told;
        done.outcome.stats.faults.add(Fault::WrongStatus, 3);
        done.outcome.stats.requests += 3;
        let done = [done];
        let said = table(&report(&done, about(Pace::Closed)).unwrap());
        let at = |words: &str| {
            said.find(words)
                .unwrap_or_else(|| panic!("{words}: {said}"))
        };
        let (first, second) = (
            at("2   of them exception 20: no service"),
            at("1   of them exception 20: no route"),
        );
        assert!(at("wrong status") < first && first < second, "{said}");
        let totals = totals(&done);
        assert_eq!(totals.wrong_statuses, BTreeMap::from([(503, 3)]));
        assert_eq!(
            totals.errors,
            BTreeMap::from([
                (ErrorKind::Reset, 3),
                (ErrorKind::WrongStatus, 3),
                (ErrorKind::NotSent, 97)
            ])
        );
        assert_eq!((totals.requests, totals.all_errors()), (906, 103));
    }
}
