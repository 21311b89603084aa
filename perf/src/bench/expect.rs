//! What a run must have shown: `p99<2ms`, `errors=0`, `rps>100000`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::progress::time;
use crate::report::RunReport;

/// A condition on a figure of the report.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expectation {
    text: String,
    figure: Figure,
    order: Order,
    /// In the figure's unit: microseconds for latencies.
    bound: f64,
    /// `bound` is a share: of the requests, of the core's time.
    share: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Figure {
    Rps,
    Errors,
    Answers,
    Busy,
    Min,
    Mean,
    P50,
    P75,
    P90,
    P95,
    P99,
    P999,
    P9999,
    Max,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
}

const FIGURES: [(&str, Figure); 14] = [
    ("rps", Figure::Rps),
    ("errors", Figure::Errors),
    ("answers", Figure::Answers),
    ("busy", Figure::Busy),
    ("min", Figure::Min),
    ("mean", Figure::Mean),
    ("p50", Figure::P50),
    ("p75", Figure::P75),
    ("p90", Figure::P90),
    ("p95", Figure::P95),
    ("p99", Figure::P99),
    ("p99.9", Figure::P999),
    ("p99.99", Figure::P9999),
    ("max", Figure::Max),
];

/// Longer ones first.
const ORDERS: [(&str, Order); 5] = [
    ("<=", Order::AtMost),
    (">=", Order::AtLeast),
    ("<", Order::Less),
    (">", Order::More),
    ("=", Order::Equal),
];

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text
            .find(['<', '>', '='])
            .ok_or("write a figure, <, <=, >, >= or =, and a bound: 'p99<2ms'")?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let figure = FIGURES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, figure)| *figure)
            .ok_or_else(|| {
                let known: Vec<&str> = FIGURES.iter().map(|(name, _)| *name).collect();
                format!("`{name}` is no figure; they are {}", known.join(", "))
            })?;
        let (order, value) = ORDERS
            .iter()
            .find_map(|(sign, order)| Some((*order, rest.strip_prefix(sign)?.trim())))
            .ok_or("write <, <=, >, >= or =")?;
        let (bound, share) = figure.bound(value)?;
        Ok(Expectation {
            text: text.to_owned(),
            figure,
            order,
            bound,
            share,
        })
    }
}

impl Figure {
    /// The bound, and whether it is a share.
    fn bound(self, text: &str) -> Result<(f64, bool), String> {
        let number = |text: &str| {
            text.replace('_', "")
                .parse::<f64>()
                .map_err(|_| format!("`{text}` is no number"))
        };
        match (self, text.strip_suffix('%')) {
            (Figure::Errors | Figure::Busy, Some(percent)) => {
                Ok((number(percent.trim())? / 100.0, true))
            }
            (Figure::Busy, None) => Err("write a share of the core's time: 'busy<90%'".into()),
            _ if !self.is_latency() => Ok((number(text)?, false)),
            _ => humantime::parse_duration(text)
                .map(|time| (micros(time), false))
                .map_err(|_| format!("`{text}` is no time; write 2ms or 800us")),
        }
    }

    /// `None`: a latency of no answer.
    fn of(self, report: &RunReport) -> Option<f64> {
        let latency = &report.latency;
        Some(match self {
            Figure::Rps => report.rps,
            Figure::Errors => report.totals.all_errors() as f64,
            Figure::Answers => report.totals.answers as f64,
            Figure::Busy => report.generator_busy,
            Figure::Min => return latency.min_us,
            Figure::Mean => return latency.mean_us,
            Figure::P50 => return latency.p50_us,
            Figure::P75 => return latency.p75_us,
            Figure::P90 => return latency.p90_us,
            Figure::P95 => return latency.p95_us,
            Figure::P99 => return latency.p99_us,
            Figure::P999 => return latency.p999_us,
            Figure::P9999 => return latency.p9999_us,
            Figure::Max => return latency.max_us,
        })
    }

    /// The share of requests that is not slower than this latency, where it is such a figure.
    fn quantile(self) -> Option<f64> {
        match self {
            Figure::P50 => Some(0.5),
            Figure::P75 => Some(0.75),
            Figure::P90 => Some(0.9),
            Figure::P95 => Some(0.95),
            Figure::P99 => Some(0.99),
            Figure::P999 => Some(0.999),
            Figure::P9999 => Some(0.9999),
            Figure::Max => Some(1.0),
            _ => None,
        }
    }

    fn is_latency(self) -> bool {
        !matches!(
            self,
            Figure::Rps | Figure::Errors | Figure::Answers | Figure::Busy
        )
    }
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1_000.0
}

/// Whether a condition held.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) holds: bool,
    text: String,
    value: String,
}

impl Expectation {
    /// Looks at the report. A latency of no answer at all never holds, and a percentile only where it is
    /// one of answers: a request that failed was slower than any.
    pub(crate) fn judge(&self, report: &RunReport) -> Verdict {
        let figure = self.figure.of(report);
        let mut value = figure.unwrap_or_default();
        let (answers, errors) = (report.totals.answers, report.totals.all_errors());
        // Those that were due and not sent are not among `requests`.
        let due = answers + errors;
        if self.share && self.figure == Figure::Errors {
            value /= due.max(1) as f64;
        }
        let failed = self
            .figure
            .quantile()
            .is_some_and(|quantile| answers < (quantile * due as f64).ceil() as u64);
        let holds = match self.order {
            Order::Less => value < self.bound,
            Order::AtMost => value <= self.bound,
            Order::More => value > self.bound,
            Order::AtLeast => value >= self.bound,
            Order::Equal => value == self.bound,
        };
        let nothing = figure.is_none();
        let value = match self.figure {
            _ if nothing => "no answer".to_owned(),
            _ if failed => format!("an error: {errors} of {due} requests failed"),
            figure if figure.is_latency() => time(value),
            _ if self.share => format!("{:.3}%", value * 100.0),
            Figure::Errors | Figure::Answers => format!("{value:.0}"),
            _ => format!("{value:.1}"),
        };
        Verdict {
            holds: holds && !nothing && !failed,
            text: self.text.clone(),
            value,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.holds { "holds" } else { "does NOT hold" };
        write!(f, "expected {}: {word}, it was {}", self.text, self.value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::{ErrorKind, LimitedBy, RUN_FORM, Settings, Totals, latency};

    fn report(answers: u64, errors: u64) -> RunReport {
        let mut nanos = latency::histogram();
        (1..=answers).for_each(|n| nanos.saturating_record(n * 1_000));
        RunReport {
            form: RUN_FORM.to_owned(),
            name: String::new(),
            started: String::new(),
            fingerprint: Default::default(),
            settings: Settings::default(),
            totals: Totals {
                requests: answers + errors,
                answers,
                errors: BTreeMap::from([(ErrorKind::Reset, errors)]),
                ..Totals::default()
            },
            duration_s: 1.0,
            rps: answers as f64,
            connections_per_second: 0.0,
            generator_busy: 0.25,
            generator_lost: 0.0,
            generator_gaps: Default::default(),
            send_delay: None,
            latency: latency::Latency::of(&nanos),
            intervals: Vec::new(),
            steps: Vec::new(),
            limited_by: LimitedBy::Target,
            p99_limited_by: None,
        }
    }

    fn holds(text: &str, report: &RunReport) -> bool {
        text.parse::<Expectation>().unwrap().judge(report).holds
    }

    #[test]
    fn conditions_are_judged_by_the_report() {
        let report = report(1_000, 2);
        for (text, expected) in [
            ("errors=0", false),
            ("errors = 2", true),
            ("errors<=2", true),
            ("errors<2", false),
            ("errors<0.3%", true),
            ("errors>0.1%", true),
            ("errors<0.1%", false),
            ("rps>999", true),
            ("rps>1_000", false),
            ("rps>=1000", true),
            ("answers=1000", true),
            ("busy<30%", true),
            ("busy<20%", false),
            ("p50<1ms", true),
            ("p50<400us", false),
            ("p99<=1ms", true),
            ("max<500us", false),
        ] {
            assert_eq!(holds(text, &report), expected, "{text}");
        }
    }

    #[test]
    fn a_request_that_failed_is_slower_than_any_answer() {
        let report = report(980, 20); // two of a hundred
        assert!(holds("p90<2ms", &report));
        for text in ["p99<2ms", "p99.9<=1h", "max<1h", "p99>1us"] {
            assert!(!holds(text, &report), "{text}");
        }
        let verdict = "p99<2ms".parse::<Expectation>().unwrap().judge(&report);
        assert_eq!(
            verdict.to_string(),
            "expected p99<2ms: does NOT hold, it was an error: 20 of 1000 requests failed"
        );
        let exactly = self::report(990, 10);
        assert!(holds("p99<2ms", &exactly) && !holds("p99.9<2ms", &exactly));
    }

    #[test]
    fn a_share_of_errors_is_of_all_that_were_due() {
        let mut report = report(100, 0);
        report.totals.errors = BTreeMap::from([(ErrorKind::NotSent, 300)]);
        assert!(holds("errors<76%", &report) && holds("errors>74%", &report));
        assert!(!holds("errors=0", &report) && holds("errors=300", &report));
        let verdict = "errors<1%".parse::<Expectation>().unwrap().judge(&report);
        assert!(verdict.to_string().ends_with("it was 75.000%"), "{verdict}");
    }

    #[test]
    fn a_latency_is_told_in_the_unit_that_suits_it() {
        for (micros, words) in [
            (800.0, "800.0us"),
            (12_345.6, "12.35ms"),
            (1_993_343.0, "1.99s"),
        ] {
            let mut report = report(10, 0);
            report.latency.max_us = Some(micros);
            let verdict = "max<1us".parse::<Expectation>().unwrap().judge(&report);
            assert_eq!(
                verdict.to_string(),
                format!("expected max<1us: does NOT hold, it was {words}")
            );
        }
    }

    #[test]
    fn a_latency_of_nothing_does_not_hold() {
        let report = report(0, 5);
        assert!(!holds("p99<2ms", &report));
        let verdict = "p99<2ms".parse::<Expectation>().unwrap().judge(&report);
        assert_eq!(
            verdict.to_string(),
            "expected p99<2ms: does NOT hold, it was no answer"
        );
    }

    #[test]
    fn what_is_no_condition_is_refused_with_what_is() {
        for (text, words) in [
            ("p99", "'p99<2ms'"),
            ("p98<1ms", "p99.99"),
            ("p99<2", "write 2ms"),
            ("rps>many", "no number"),
            ("busy<1", "'busy<90%'"),
        ] {
            let error = text.parse::<Expectation>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
