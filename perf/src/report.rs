//! What a load run found out, as one document: figures, histograms, the run over time, and under which
//! circumstances it was measured.
//!
//! [`RunReport`] is what `sluice bench run --json` writes; [`schema`] is its JSON Schema. Whoever
//! measures fills it from plain values: counts, seconds and histograms of [`latency::histogram`].
//! Rates are per second, shares between 0 and 1, times in the unit that ends their name.

pub mod command;
pub mod fingerprint;
pub mod gaps;
pub mod hlog;
pub mod html;
pub mod latency;
pub mod noise;
pub mod output;
pub mod tables;

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use fingerprint::Fingerprint;
use gaps::Gaps;
use latency::{Latency, encoded, micros, quantile_us};

/// The form of a [`RunReport`]. The number grows when a reader of the old form could not read the
/// new one.
pub const RUN_FORM: &str = "sluice-bench-run/2";

/// The form before, which has 0 in place of `null` for latencies of no answers; it is read as well.
pub const FORM_BEFORE: &str = "sluice-bench-run/1";

/// One run of the load generator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunReport {
    /// Which form this document has: [`RUN_FORM`].
    pub form: String,
    /// What the run is called in tables and plots; unique among runs that are shown together.
    pub name: String,
    /// When the measurement began (after warm-up), RFC 3339 in UTC.
    pub started: String,
    /// Where and with what it was measured.
    pub fingerprint: Fingerprint,
    /// What was asked for.
    pub settings: Settings,
    /// What happened while it was measured; warm-up is left out everywhere.
    pub totals: Totals,
    /// How long was measured, seconds.
    pub duration_s: f64,
    /// Checked answers per second: `totals.answers` by `duration_s`.
    pub rps: f64,
    /// New connections per second, as far as they were established.
    pub connections_per_second: f64,
    /// The share of its time that the generator's core had something to do.
    pub generator_busy: f64,
    /// The share of its time that the generator wanted its core and others had it: processes here, or the
    /// hypervisor. Latencies have it in them.
    #[serde(default)]
    pub generator_lost: f64,
    /// Turns of the generator's loop that took longer than any takes by itself. Latencies have them in them.
    #[serde(default)]
    pub generator_gaps: Gaps,
    /// How late requests were sent; of an open loop only, and where any was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_delay: Option<SendDelay>,
    /// From the intended time of sending to the last byte of the answer.
    pub latency: Latency,
    /// The run in equal pieces of time, in order.
    pub intervals: Vec<Interval>,
    /// The steps of a rate sweep, in order; empty for other runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// What kept the run from being faster.
    pub limited_by: LimitedBy,
    /// What limits the 99th percentile: `noise` where gaps in the generator's loop delayed 1 % of the requests or
    /// more and it is about as long as they are, otherwise as `limited_by`. Left out without answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_limited_by: Option<LimitedBy>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// `http1` or `ttheader`.
    pub protocol: String,
    /// Address and port that requests go to.
    pub target: String,
    /// How the client is connected: `memif`, `virtio-user`, `vhost`, `af_xdp`, `af_packet`, `pci`.
    pub wire: String,
    /// The client's port as it was given: its device and addresses.
    pub client: String,
    /// The backend's port as it was given, where the generator was the backend too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Connections at once.
    pub connections: u32,
    /// Calls at once on each connection.
    #[serde(default = "one")]
    pub calls: u16,
    /// When the next request is due.
    pub pace: Pace,
    /// Whether a connection carries more than one request.
    pub keep_alive: bool,
    /// Pause between an answer and the next request of its connection, microseconds.
    #[serde(default)]
    pub think_time_us: f64,
    /// Bytes of a request with its head; the weighted mean where they differ.
    pub request_bytes: u64,
    /// Bytes of the body asked of the generator's own backend, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_body_bytes: Option<u64>,
    /// The file of weighted requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_file: Option<String>,
    /// Time before the measurement, seconds.
    pub warm_up_s: f64,
    /// The measurement's time, seconds, where that was its limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// The measurement's number of requests, where that was its limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// The core of the generator's thread.
    pub core: u32,
}

fn one() -> u16 {
    1
}

/// When the next request is due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// As soon as a connection has its answer (and has thought).
    #[default]
    Closed,
    /// At a fixed rate, whatever becomes of the answers.
    Constant {
        /// Requests per second.
        rate: f64,
    },
    /// At random times, independent of each other, with this mean rate.
    Poisson {
        /// Requests per second.
        rate: f64,
    },
    /// At a rate that grows or falls in a straight line over the run.
    Ramp {
        /// Requests per second at the beginning.
        from: f64,
        /// Requests per second at the end.
        to: f64,
    },
    /// At one rate after another.
    Sweep {
        /// Requests per second of the first step.
        from: f64,
        /// Requests per second of the last step.
        to: f64,
    },
}

/// What happened, in numbers. `requests` is `answers` plus all `errors` of requests that were sent,
/// plus those under way at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// Requests sent.
    pub requests: u64,
    /// Answers that were complete and right in status, framing, length and body.
    pub answers: u64,
    /// Connections established.
    pub connections: u64,
    /// Bytes of requests, heads included, frames not.
    pub bytes_sent: u64,
    /// Bytes of answers, heads included, frames not.
    pub bytes_received: u64,
    /// What went wrong, by kind; a kind that did not happen is left out.
    #[serde(default)]
    pub errors: BTreeMap<ErrorKind, u64>,
    /// Connections that could not be opened ahead of the first request, by kind. They are no errors: none of them
    /// had a request yet, and each was tried again when one was due on it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unopened: BTreeMap<ErrorKind, u64>,
    /// Connections that the target had said it would close behind its answer and had not within 250 ms: they were
    /// reset, and carried no request meanwhile.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unclosed: u64,
    /// The statuses of answers with another than expected, by status.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub wrong_statuses: BTreeMap<u16, u64>,
    /// What answers of TTHeader said that were no results, the most frequent first: at most 32 of each step are
    /// told apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Exception>,
}

/// An answer of TTHeader that was no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exception {
    /// What it was.
    pub kind: ExceptionKind,
    /// The type of an exception, or the status; left out where it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// What it said, up to 160 bytes; without control characters.
    pub text: String,
    /// How often it came.
    pub count: u64,
}

/// What an answer was that was no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExceptionKind {
    /// A message of the kind exception (`TApplicationException`).
    Exception,
    /// A reply with a status of the service's own other than 0 (`biz-status`).
    BizStatus,
    /// All that were not told apart.
    Others,
}

impl fmt::Display for Exception {
    /// In a line of a table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ExceptionKind::Exception => "exception",
            ExceptionKind::BizStatus => "biz-status",
            ExceptionKind::Others => return f.write_str("others"),
        })?;
        if let Some(code) = self.code {
            write!(f, " {code}")?;
        }
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}

impl Totals {
    /// Adds what came in a step.
    pub fn add_exception(&mut self, exception: &Exception) {
        let same = |other: &&mut Exception| {
            (other.kind, other.code, &other.text)
                == (exception.kind, exception.code, &exception.text)
        };
        match self.exceptions.iter_mut().find(same) {
            Some(known) => known.count += exception.count,
            None => self.exceptions.push(exception.clone()),
        }
    }

    /// Errors of all kinds.
    pub fn all_errors(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// How a request or a connection can go wrong.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The target did not answer a SYN.
    ConnectTimeout,
    /// Nobody at the address of the target, or of the router to it, answered ARP or neighbour discovery.
    Unreachable,
    /// A connection could not even be tried: no route, or no free source port.
    NoConnection,
    /// The target answered a SYN with a reset.
    Refused,
    /// The connection was reset later.
    Reset,
    /// The connection ended before the answer did.
    ClosedEarly,
    /// No complete answer in time.
    Timeout,
    /// Bytes that are no answer of the protocol, or one framed in a way that is refused.
    BadAnswer,
    /// Another status than the request expects; of TTHeader an exception or a biz-status.
    WrongStatus,
    /// Another length or other bytes than the request expects.
    WrongBody,
    /// An answer that nothing asked for.
    Unexpected,
    /// In an open loop: due, but no connection was free to carry it before the run ended.
    NotSent,
}

impl ErrorKind {
    /// The kind in words, for tables.
    pub fn words(self) -> &'static str {
        match self {
            ErrorKind::ConnectTimeout => "connect timeout",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::NoConnection => "no connection",
            ErrorKind::Refused => "refused",
            ErrorKind::Reset => "reset",
            ErrorKind::ClosedEarly => "closed early",
            ErrorKind::Timeout => "timeout",
            ErrorKind::BadAnswer => "bad answer",
            ErrorKind::WrongStatus => "wrong status",
            ErrorKind::WrongBody => "wrong body",
            ErrorKind::Unexpected => "unexpected answer",
            ErrorKind::NotSent => "not sent",
        }
    }
}

/// From the intended to the actual time of sending: how exact the generator itself was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SendDelay {
    /// Median, microseconds.
    pub p50_us: f64,
    /// 99th percentile, microseconds.
    pub p99_us: f64,
    /// Greatest, microseconds.
    pub max_us: f64,
}

impl SendDelay {
    /// Of delays in nanoseconds; `None` where nothing was sent.
    pub fn of(nanos: &Histogram<u64>) -> Option<SendDelay> {
        (!nanos.is_empty()).then(|| SendDelay {
            p50_us: micros(nanos.value_at_quantile(0.5)),
            p99_us: micros(nanos.value_at_quantile(0.99)),
            max_us: micros(nanos.max()),
        })
    }
}

/// A piece of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// Where it begins, seconds from the beginning of the measurement.
    pub start_s: f64,
    /// How long it is, seconds.
    pub length_s: f64,
    /// Answers per second.
    pub rps: f64,
    /// Median latency, microseconds; `null` without answers, as the two that follow.
    pub p50_us: Option<f64>,
    /// 99th percentile of latency, microseconds.
    pub p99_us: Option<f64>,
    /// Greatest latency, microseconds.
    pub max_us: Option<f64>,
    /// Errors of all kinds.
    pub errors: u64,
    /// All latencies of answers in this interval, as in [`Latency::histogram`].
    pub histogram: String,
}

impl Interval {
    /// From seconds, latencies in nanoseconds (one per answer) and a number of errors.
    pub fn of(start_s: f64, length_s: f64, nanos: &Histogram<u64>, errors: u64) -> Interval {
        Interval {
            start_s,
            length_s,
            rps: rate(nanos.len(), length_s),
            p50_us: quantile_us(nanos, 0.5),
            p99_us: quantile_us(nanos, 0.99),
            max_us: quantile_us(nanos, 1.0),
            errors,
            histogram: encoded(nanos),
        }
    }
}

/// One step of a rate sweep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Requests per second that were due.
    pub offered_rps: f64,
    /// Answers per second that came.
    pub achieved_rps: f64,
    /// Median latency, microseconds; `null` without answers, as the two that follow.
    pub p50_us: Option<f64>,
    /// 99th percentile of latency, microseconds.
    pub p99_us: Option<f64>,
    /// 99.9th percentile of latency, microseconds.
    pub p999_us: Option<f64>,
    /// Errors of all kinds.
    pub errors: u64,
    /// Whether this is the knee: the last step that kept up.
    #[serde(default)]
    pub knee: bool,
}

impl Step {
    /// From the rate that was offered, the step's seconds, its latencies in nanoseconds (one per
    /// answer) and its number of errors.
    pub fn of(offered_rps: f64, seconds: f64, nanos: &Histogram<u64>, errors: u64) -> Step {
        Step {
            offered_rps,
            achieved_rps: rate(nanos.len(), seconds),
            p50_us: quantile_us(nanos, 0.5),
            p99_us: quantile_us(nanos, 0.99),
            p999_us: quantile_us(nanos, 0.999),
            errors,
            knee: false,
        }
    }
}

/// What kept a run from being faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitedBy {
    /// What was measured: the generator had time to spare.
    Target,
    /// The generator's core was full: the target may be faster than this.
    Generator,
    /// The rate that was asked for was kept.
    Rate,
    /// The driver or the link between the two.
    Wire,
    /// Too many requests failed for the figures to mean much.
    Errors,
    /// The generator lost its core to others for too long to tell.
    Noise,
}

impl LimitedBy {
    /// As it stands in the JSON.
    pub fn word(self) -> &'static str {
        match self {
            LimitedBy::Target => "target",
            LimitedBy::Generator => "generator",
            LimitedBy::Rate => "rate",
            LimitedBy::Wire => "wire",
            LimitedBy::Errors => "errors",
            LimitedBy::Noise => "noise",
        }
    }
}

/// `count` by `seconds`; 0 where no time went by.
pub fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}

/// The JSON Schema of [`RunReport`] as indented text, with a line end.
pub fn schema() -> String {
    let schema = schemars::schema_for!(RunReport);
    format!("{:#}\n", schema.as_value())
}

#[cfg(test)]
pub(crate) mod tests;
