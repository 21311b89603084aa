//! Latencies: recorded in histograms of nanoseconds, told in microseconds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest latency that is told apart from longer ones, nanoseconds: a thousand seconds.
pub const LONGEST: u64 = 1_000_000_000_000;

/// An empty histogram of nanoseconds, exact to 0.1 %. Record by `saturating_record`: what is longer
/// than [`LONGEST`] counts as that. It does not allocate once it is made (some 250 KiB).
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("constant bounds that the crate accepts")
}

/// The distribution of latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// Latencies recorded, one per answer.
    pub count: u64,
    /// Least, microseconds; `null` without answers, as all that follow.
    pub min_us: Option<f64>,
    /// Arithmetic mean, microseconds.
    pub mean_us: Option<f64>,
    /// Median, microseconds.
    pub p50_us: Option<f64>,
    /// 90th percentile, microseconds.
    pub p90_us: Option<f64>,
    /// 75th percentile, microseconds.
    #[serde(default)]
    pub p75_us: Option<f64>,
    /// 95th percentile, microseconds.
    #[serde(default)]
    pub p95_us: Option<f64>,
    /// 99th percentile, microseconds.
    pub p99_us: Option<f64>,
    /// 99.9th percentile, microseconds.
    pub p999_us: Option<f64>,
    /// 99.99th percentile, microseconds.
    pub p9999_us: Option<f64>,
    /// Greatest, microseconds.
    pub max_us: Option<f64>,
    /// Every latency in nanoseconds: a HdrHistogram of version 2, deflated, in base64.
    pub histogram: String,
}

impl Latency {
    /// Of latencies in nanoseconds.
    pub fn of(nanos: &Histogram<u64>) -> Latency {
        let at = |quantile| quantile_us(nanos, quantile);
        let any = !nanos.is_empty();
        Latency {
            count: nanos.len(),
            min_us: any.then(|| micros(nanos.min())),
            mean_us: any.then(|| nanos.mean() / 1_000.0),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p75_us: at(0.75),
            p95_us: at(0.95),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: any.then(|| micros(nanos.max())),
            histogram: encoded(nanos),
        }
    }
}

/// Nanoseconds in microseconds.
pub fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1_000.0
}

/// The value at a quantile, microseconds; `None` of an empty histogram.
pub fn quantile_us(nanos: &Histogram<u64>, quantile: f64) -> Option<f64> {
    (!nanos.is_empty()).then(|| micros(nanos.value_at_quantile(quantile)))
}

/// A histogram as text: version 2 of its format, deflated, in base64.
pub fn encoded(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .expect("writing into memory does not fail");
    STANDARD.encode(bytes)
}

/// Text that is no histogram.
#[derive(Debug, Error)]
#[error("not a HdrHistogram (version 2, deflated, in base64): {0}")]
pub struct NoHistogram(String);

/// The histogram that [`encoded`] wrote, or another tool.
///
/// # Errors
///
/// [`NoHistogram`] where the text is something else.
pub fn decoded(text: &str) -> Result<Histogram<u64>, NoHistogram> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|error| NoHistogram(error.to_string()))?;
    Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| NoHistogram(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_microseconds_and_exact_to_a_thousandth() {
        let mut nanos = histogram();
        for value in 1..=100_000_u64 {
            nanos.saturating_record(value * 1_000);
        }
        let latency = Latency::of(&nanos);
        let close = |got: Option<f64>, wanted: f64| {
            let got = got.unwrap();
            assert!((got - wanted).abs() / wanted < 0.001, "{got} {wanted}");
        };
        assert_eq!(latency.count, 100_000);
        close(latency.min_us, 1.0);
        close(latency.mean_us, 50_000.0);
        close(latency.p50_us, 50_000.0);
        close(latency.p90_us, 90_000.0);
        close(latency.p99_us, 99_000.0);
        close(latency.p999_us, 99_900.0);
        close(latency.p9999_us, 99_990.0);
        close(latency.max_us, 100_000.0);
        assert_eq!(decoded(&latency.histogram).unwrap(), nanos);
    }

    #[test]
    fn without_answers_there_is_no_figure() {
        let value = serde_json::to_value(Latency::of(&histogram())).unwrap();
        let figures = value.as_object().unwrap().iter();
        let figures: Vec<_> = figures.filter(|(name, _)| name.ends_with("_us")).collect();
        assert_eq!(figures.len(), 10);
        assert!(
            figures.iter().all(|(_, figure)| figure.is_null()),
            "{value}"
        );
        assert_eq!(value["count"], 0);
    }

    #[test]
    fn longer_than_the_longest_counts_as_that() {
        let mut nanos = histogram();
        nanos.saturating_record(u64::MAX);
        assert!(nanos.max() >= LONGEST);
        assert_eq!(nanos.len(), 1);
    }

    #[test]
    fn other_text_is_no_histogram() {
        for text in ["", "%", "AAAA", "SGVsbG8gd29ybGQ="] {
            assert!(decoded(text).is_err(), "{text}");
        }
    }
}
