//! The form of the document, as its readers rely on it.

use super::*;

/// A run whose figures come from real histograms.
pub(crate) fn run(name: &str) -> RunReport {
    let mut nanos = latency::histogram();
    let mut second = latency::histogram();
    for value in 1..=2_000_u64 {
        nanos.saturating_record(value * 1_000);
    }
    second.saturating_record(5_000);
    RunReport {
        form: RUN_FORM.to_owned(),
        name: name.to_owned(),
        started: "2026-01-02T03:04:05Z".to_owned(),
        fingerprint: Fingerprint::of_this_machine("DPDK 22.11", 0),
        settings: Settings {
            pace: Pace::Constant { rate: 1_000.0 },
            ..Settings::default()
        },
        totals: Totals {
            requests: 2_003,
            answers: 2_000,
            errors: BTreeMap::from([(ErrorKind::ClosedEarly, 2), (ErrorKind::Timeout, 1)]),
            ..Totals::default()
        },
        duration_s: 2.0,
        rps: rate(2_000, 2.0),
        connections_per_second: 0.0,
        generator_busy: 0.5,
        generator_lost: 0.0,
        generator_gaps: Gaps::default(),
        send_delay: SendDelay::of(&nanos),
        latency: Latency::of(&nanos),
        intervals: vec![
            Interval::of(0.0, 1.0, &nanos, 0),
            Interval::of(1.0, 1.0, &second, 3),
        ],
        steps: vec![Step::of(1_000.0, 2.0, &nanos, 0)],
        limited_by: LimitedBy::Rate,
        p99_limited_by: None,
    }
}

#[test]
fn a_report_reads_back_as_it_was_written() {
    let run = run("sluice");
    let text = serde_json::to_string(&run).unwrap();
    let back: RunReport = serde_json::from_str(&text).unwrap();
    assert_eq!(back, run);
}

#[test]
fn names_that_scripts_read() {
    let value = serde_json::to_value(run("sluice")).unwrap();
    assert_eq!(value["form"], "sluice-bench-run/2");
    assert_eq!(value["rps"], 1_000.0);
    assert_eq!(value["totals"]["errors"]["closed_early"], 2);
    assert_eq!(value["totals"]["errors"]["timeout"], 1);
    assert_eq!(value["settings"]["pace"]["constant"]["rate"], 1_000.0);
    assert_eq!(value["limited_by"], "rate");
    assert_eq!(value["intervals"][1]["rps"], 1.0);
    assert_eq!(value["intervals"][1]["errors"], 3);
    assert_eq!(value["steps"][0]["achieved_rps"], 1_000.0);
}

#[test]
fn every_name_is_in_the_schema_with_a_description() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    let value = serde_json::to_value(run("sluice")).unwrap();
    for name in value.as_object().unwrap().keys() {
        let described = schema["properties"][name]["description"].is_string();
        assert!(described, "{name}: {}", schema["properties"][name]);
    }
}

#[test]
fn what_a_newer_version_adds_is_passed_over() {
    let mut value = serde_json::to_value(run("sluice")).unwrap();
    value["weather"] = "fair".into();
    assert_eq!(
        serde_json::from_value::<RunReport>(value).unwrap(),
        run("sluice")
    );
}
