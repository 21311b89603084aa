//! Logs of histograms, which the HdrHistogram tools of every language read (format version 1.3).

use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::RunReport;
use super::latency::{NoHistogram, decoded};

/// Nanoseconds in a millisecond, the unit of the log's column of maxima.
const MAX_DIVISOR: f64 = 1_000_000.0;

/// The intervals of runs as one log, each line tagged with its run's name where there are several.
/// Times count from the start of the first run. Histograms are of nanoseconds.
///
/// # Errors
///
/// A histogram of a run can't be read.
pub fn log(runs: &[RunReport]) -> Result<String, NoHistogram> {
    let starts: Vec<SystemTime> = runs
        .iter()
        .map(|run| humantime::parse_rfc3339(&run.started).unwrap_or(SystemTime::UNIX_EPOCH))
        .collect();
    let first = starts
        .iter()
        .min()
        .copied()
        .unwrap_or(SystemTime::UNIX_EPOCH);

    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment("[Logged with sluice bench]")
        .add_comment("[Histogram log format version 1.3]")
        .add_comment("[Values in nanoseconds, maxima in milliseconds]")
        .with_start_time(first)
        .with_max_value_divisor(MAX_DIVISOR);
    let (mut bytes, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let mut writer = builder
        .begin_log_with(&mut bytes, &mut serializer)
        .expect("writing into memory does not fail");
    for (run, start) in runs.iter().zip(starts) {
        // A tag can't hold commas, spaces or line ends.
        let name: String = run
            .name
            .chars()
            .map(|c| {
                if c.is_whitespace() || c == ',' {
                    '_'
                } else {
                    c
                }
            })
            .collect();
        let tag = (runs.len() > 1).then(|| Tag::new(&name)).flatten();
        let offset = start.duration_since(first).unwrap_or_default();
        for interval in &run.intervals {
            let begins = offset + seconds(interval.start_s);
            writer
                .write_histogram(
                    &decoded(&interval.histogram)?,
                    begins,
                    seconds(interval.length_s),
                    tag,
                )
                .expect("writing into memory does not fail");
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a document says may be anything.
fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::super::tests::run;
    use super::*;

    /// Tag, start, length and number of latencies of each line.
    fn lines(log: &str) -> Vec<(Option<String>, f64, f64, u64)> {
        IntervalLogIterator::new(log.as_bytes())
            .filter_map(|entry| match entry.expect("a line that can be read") {
                LogEntry::Interval(line) => Some((
                    line.tag().map(|tag| tag.as_str().to_owned()),
                    line.start_timestamp().as_secs_f64(),
                    line.duration().as_secs_f64(),
                    decoded(line.encoded_histogram()).unwrap().len(),
                )),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_log_has_a_line_for_each_interval() {
        let text = log(&[run("only")]).unwrap();
        let header: Vec<&str> = text.lines().take(4).collect();
        assert_eq!(header[1], "#[Histogram log format version 1.3]");
        assert!(
            header[3].starts_with("#[StartTime: 1767323045.000 "),
            "{text}"
        );
        let wanted = [(None, 0.0, 1.0, 2_000), (None, 1.0, 1.0, 1)];
        assert_eq!(lines(&text), wanted);
    }

    #[test]
    fn runs_in_one_log_are_told_apart_and_keep_their_distance() {
        let mut later = run("later, this one");
        later.started = "2026-01-02T03:04:15Z".to_owned();
        let text = log(&[run("first"), later]).unwrap();
        let tags: Vec<_> = lines(&text)
            .into_iter()
            .map(|(tag, start, _, _)| (tag.unwrap(), start))
            .collect();
        let wanted = [
            ("first", 0.0),
            ("first", 1.0),
            ("later__this_one", 10.0),
            ("later__this_one", 11.0),
        ];
        assert_eq!(tags, wanted.map(|(tag, start)| (tag.to_owned(), start)));
    }
}
