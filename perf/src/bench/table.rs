//! The figures of a run for a person.

use std::fmt::Write;

use super::progress::time;
use super::summary::LOST;
use crate::load::CLOSE_WITHIN;
use crate::report::{ErrorKind, Pace, RunReport, Totals};

/// The figures for a person.
pub(super) fn table(report: &RunReport) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_table(&mut text, report);
    text
}

fn write_table(out: &mut String, report: &RunReport) -> std::fmt::Result {
    let (settings, totals) = (&report.settings, &report.totals);
    writeln!(
        out,
        "{} over {}: {} connections{}, {}, {}",
        settings.target,
        settings.wire,
        settings.connections,
        match settings.calls {
            0 | 1 => String::new(),
            calls => format!(" with {calls} calls each"),
        },
        if settings.keep_alive {
            "keep-alive"
        } else {
            "one request each"
        },
        pace_words(&settings.pace),
    )?;
    writeln!(
        out,
        "requests    {} in {}, {} checked answers, {} errors",
        totals.requests,
        match report.steps.len() {
            0 => format!("{:.2}s", report.duration_s),
            steps => format!("{steps} steps"),
        },
        totals.answers,
        totals.all_errors(),
    )?;
    for (kind, count) in &totals.errors {
        writeln!(out, "            {count:>10} {}", kind.words())?;
        if *kind != ErrorKind::WrongStatus {
            continue;
        }
        for (status, count) in &totals.wrong_statuses {
            writeln!(out, "            {count:>10}   of them {status}")?;
        }
        for exception in &totals.exceptions {
            writeln!(
                out,
                "            {:>10}   of them {exception}",
                exception.count
            )?;
        }
    }
    writeln!(
        out,
        "rate        {:.1} answers/s, {:.1} new connections/s, {:.1} MiB sent, {:.1} MiB received",
        report.rps,
        report.connections_per_second,
        totals.bytes_sent as f64 / 1_048_576.0,
        totals.bytes_received as f64 / 1_048_576.0,
    )?;
    write_connections(out, totals)?;
    let latency = &report.latency;
    let columns = [
        ("min", latency.min_us),
        ("mean", latency.mean_us),
        ("p50", latency.p50_us),
        ("p90", latency.p90_us),
        ("p99", latency.p99_us),
        ("p99.9", latency.p999_us),
        ("p99.99", latency.p9999_us),
        ("max", latency.max_us),
    ];
    let names: String = columns
        .iter()
        .map(|(name, _)| format!("{name:>10}"))
        .collect();
    let values: String = columns
        .iter()
        .map(|(_, value)| format!("{:>10}", time_of(*value)))
        .collect();
    writeln!(out, "latency   {names}")?;
    writeln!(out, "          {values}")?;
    if let Some(delay) = &report.send_delay {
        writeln!(
            out,
            "send delay  p50 {}, p99 {}, max {}",
            time(delay.p50_us),
            time(delay.p99_us),
            time(delay.max_us)
        )?;
    }
    for step in &report.steps {
        writeln!(
            out,
            "step        {:>10.0}/s offered {:>10.0}/s achieved  p50 {:>9} p99 {:>9} p99.9 {:>9}  {} errors{}",
            step.offered_rps,
            step.achieved_rps,
            time_of(step.p50_us),
            time_of(step.p99_us),
            time_of(step.p999_us),
            step.errors,
            if step.knee { "  <- knee" } else { "" },
        )?;
    }
    if !report.steps.is_empty() && !report.steps.iter().any(|step| step.knee) {
        writeln!(out, "no step kept up: begin the sweep at a lower rate")?;
    }
    if report.steps.last().is_some_and(|step| step.knee) {
        writeln!(
            out,
            "the last step kept up: the knee may be higher, end the sweep at a higher rate"
        )?;
    }
    writeln!(
        out,
        "generator   core {}, {:.1}% busy; limited by: {}{}",
        settings.core,
        report.generator_busy * 100.0,
        report.limited_by.word(),
        match report.p99_limited_by {
            Some(limit) if limit != report.limited_by => {
                format!("; p99 limited by: {}", limit.word())
            }
            _ => String::new(),
        },
    )?;
    write_gaps(out, report)?;
    if report.generator_lost > LOST {
        writeln!(
            out,
            "            lost its core for {:.1}% of the time: its delays are among the latencies; leave it the \
             core alone",
            report.generator_lost * 100.0
        )?;
    }
    Ok(())
}

/// A dash where there is nothing to tell.
fn time_of(micros: Option<f64>) -> String {
    micros.map_or("-".to_owned(), time)
}

/// What did not become of connections as it should have.
fn write_connections(out: &mut String, totals: &Totals) -> std::fmt::Result {
    if !totals.unopened.is_empty() {
        let kinds = totals.unopened.iter();
        let kinds: Vec<String> = kinds
            .map(|(kind, count)| format!("{count} {}", kind.words()))
            .collect();
        writeln!(
            out,
            "opening     not opened ahead of the first request: {}",
            kinds.join(", ")
        )?;
    }
    if totals.unclosed > 0 {
        writeln!(
            out,
            "closing     {} connections that the target said it would close were still open after {} ms, and carried \
             no request meanwhile",
            totals.unclosed,
            CLOSE_WITHIN.as_millis()
        )?;
    }
    Ok(())
}

/// What of the latencies may be the generator's own.
fn write_gaps(out: &mut String, report: &RunReport) -> std::fmt::Result {
    let gaps = report.generator_gaps;
    if gaps.count == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "            {} gaps in its loop, {} in all, longest {}: about {:.2}% of the requests were delayed",
        gaps.count,
        time(gaps.seconds * 1e6),
        time(gaps.longest_us),
        100.0 * gaps.delayed(report),
    )
}

fn pace_words(pace: &Pace) -> String {
    match pace {
        Pace::Closed => "closed loop".into(),
        Pace::Constant { rate } => format!("{rate}/s"),
        Pace::Poisson { rate } => format!("{rate}/s, Poisson"),
        Pace::Ramp { from, to } => format!("{from} to {to}/s"),
        Pace::Sweep { from, to } => format!("sweep {from} to {to}/s"),
    }
}
