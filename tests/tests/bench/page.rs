//! The HTML page of runs, drawn by a browser.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sluice_perf::report::fingerprint::Fingerprint;
use sluice_perf::report::latency::{Latency, histogram};
use sluice_perf::report::{
    FORM_BEFORE, Interval, LimitedBy, Pace, RUN_FORM, RunReport, SendDelay, Settings, Step, Totals,
    rate,
};
use sluice_tests::gateway::binary;

/// A directory of its own, removed at the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("sluice-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory for the test");
        Scratch(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        text(&self.file(name)).to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A sweep of steps with so many intervals; `slow` stretches its latencies.
fn run(name: &str, intervals: u32, steps: u32, slow: u64) -> RunReport {
    let (mut all, mut kept, mut taken) = (histogram(), Vec::new(), Vec::new());
    for at in 0..intervals {
        let mut nanos = histogram();
        for value in 0..2_000_u64 {
            // A long tail, longest in the middle of the run.
            let tail = if value % 100 == 99 {
                40 + u64::from(at % 7) * 10
            } else {
                1
            };
            nanos.saturating_record((20_000 + value * 10) * slow * tail);
        }
        all.add(&nanos).expect("histograms of the same form");
        kept.push(Interval::of(f64::from(at), 1.0, &nanos, u64::from(at == 3)));
    }
    for at in 1..=steps {
        let mut nanos = histogram();
        for value in 0..u64::from(at) * 1_000 {
            nanos.saturating_record((20_000 + value * u64::from(at)) * slow);
        }
        taken.push(Step::of(f64::from(at) * 1_000.0, 1.0, &nanos, 0));
    }
    if let Some(step) = taken.iter_mut().rev().nth(1) {
        step.knee = true;
    }
    let mut fingerprint = Fingerprint::of_this_machine("DPDK 22.11.11", 0);
    fingerprint.devices.push("net_memif".to_owned());
    RunReport {
        form: RUN_FORM.to_owned(),
        name: name.to_owned(),
        started: "2026-01-02T03:04:05Z".to_owned(),
        fingerprint,
        settings: Settings {
            protocol: "http1".to_owned(),
            target: "10.77.1.1:80".to_owned(),
            wire: "memif".to_owned(),
            connections: 64,
            pace: Pace::Sweep {
                from: 1_000.0,
                to: f64::from(steps) * 1_000.0,
            },
            keep_alive: true,
            ..Settings::default()
        },
        totals: Totals {
            requests: all.len(),
            answers: all.len(),
            errors: BTreeMap::new(),
            ..Totals::default()
        },
        duration_s: f64::from(intervals),
        rps: rate(all.len(), f64::from(intervals)),
        connections_per_second: 0.0,
        generator_busy: 0.42,
        generator_lost: 0.0,
        generator_gaps: Default::default(),
        send_delay: SendDelay::of(&all),
        latency: Latency::of(&all),
        intervals: kept,
        steps: taken,
        limited_by: LimitedBy::Target,
        p99_limited_by: None,
    }
}

fn sluice(arguments: &[&str]) -> std::process::Output {
    let output = Command::new(binary()).arg("bench").args(arguments).output();
    output.expect("sluice starts")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

fn has_chromium() -> bool {
    let version = Command::new("chromium").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

fn on_ubuntu() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line == "ID=ubuntu")
}

/// The document as it stands after the page's scripts have run.
fn chromium(scratch: &Scratch, page: &Path) -> String {
    let profile = format!("--user-data-dir={}", text(&scratch.file("profile")));
    let output = Command::new("timeout")
        .args([
            "--kill-after=5",
            "100",
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
        ])
        .args([
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
        ])
        .args([
            "--disable-component-update",
            "--disable-sync",
            &profile,
            "--dump-dom",
        ])
        .arg(format!("file://{}", text(page)))
        .output()
        .expect("timeout(1) starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "chromium; run scripts/setup: {errors}"
    );
    String::from_utf8(output.stdout).expect("a document is UTF-8")
}

/// For each path of the plot with this id: the run it belongs to, its series and how many points it has.
fn paths(dom: &str, plot: &str) -> Vec<(usize, String, usize)> {
    let start = dom
        .find(&format!("id=\"{plot}\""))
        .unwrap_or_else(|| panic!("no plot {plot}"));
    let svg = dom[start..]
        .split("</svg>")
        .next()
        .expect("a plot has an end");
    let attribute = |tag: &str, name: &str| {
        let value = tag.split(&format!(" {name}=\"")).nth(1)?;
        Some(value.split('"').next()?.to_owned())
    };
    svg.split("<path")
        .skip(1)
        .map(|tag| {
            let points = attribute(tag, "d").expect("a path has points");
            let run = attribute(tag, "data-run").and_then(|run| run.parse().ok());
            let series = attribute(tag, "data-series").expect("a path names its series");
            assert!(
                !points.contains("NaN") && !points.contains("undefined"),
                "{points}"
            );
            (
                run.expect("a path names its run"),
                series,
                points.matches(['M', 'L']).count(),
            )
        })
        .collect()
}

#[test]
fn chromium_draws_every_point_of_every_run() {
    let scratch = Scratch::new("page");
    let (mut first, mut second) = (run("before", 12, 6, 1), run("after", 9, 4, 3));
    // An older sluice wrote one, and in the other nothing was answered for a second.
    first.form = FORM_BEFORE.to_owned();
    second.intervals[4] = Interval::of(4.0, 1.0, &histogram(), 7);
    let files = [("a.json", &first), ("b.json", &second)].map(|(name, run)| {
        let path = scratch.file(name);
        fs::write(&path, serde_json::to_vec(run).expect("a report is JSON")).expect("a file");
        path
    });
    let (page, log) = (scratch.file("page.html"), scratch.file("page.hlog"));
    let output = sluice(&[
        "report",
        text(&files[0]),
        text(&files[1]),
        "--html",
        text(&page),
        "--hlog",
        text(&log),
    ]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(
        table.contains("before") && table.contains("after"),
        "{table}"
    );
    let log = fs::read_to_string(&log).expect("the log was written");
    assert_eq!(
        log.lines()
            .filter(|line| line.starts_with("Tag=before,"))
            .count(),
        12
    );
    assert_eq!(
        log.lines()
            .filter(|line| line.starts_with("Tag=after,"))
            .count(),
        9
    );

    if !has_chromium() && on_ubuntu() {
        eprintln!("left out: Ubuntu has no package of Chromium");
        return;
    }
    let dom = chromium(&scratch, &page);
    let series = |run, name: &str, points| (run, name.to_owned(), points);
    assert_eq!(
        paths(&dom, "throughput"),
        [series(0, "", 12), series(1, "", 9)]
    );
    let latency = [
        series(0, "p99", 12),
        series(1, "p99", 8),
        series(0, "p50", 12),
        series(1, "p50", 8),
    ];
    assert_eq!(paths(&dom, "latency"), latency);
    let sweep = [
        series(0, "p99", 6),
        series(1, "p99", 4),
        series(0, "p50", 6),
        series(1, "p50", 4),
    ];
    assert_eq!(paths(&dom, "sweep"), sweep);
    // 24,000 answers make out 4.38 nines and 18,000 make out 4.25, at 20 points each, and the greatest.
    assert_eq!(
        paths(&dom, "percentiles"),
        [series(0, "", 89), series(1, "", 87)]
    );
    assert_eq!(dom.matches("class=\"knee\"").count(), 2);
    assert_eq!(dom.matches("aria-pressed=\"true\"").count(), 2);
    assert!(dom.contains("DPDK 22.11.11"), "the fingerprint is missing");
}

#[test]
fn what_is_no_report_is_refused_with_what_to_do() {
    let scratch = Scratch::new("no-report");
    let cases = [
        (
            "{\"form\": \"sluice-bench-run/9\"}",
            "use the sluice that wrote it",
        ),
        (
            "{\"rows\": []}",
            "not a report of sluice bench run: missing field",
        ),
        ("<html>", "not a report of sluice bench run: expected value"),
        (
            "{\"form\": \"sluice-bench-compare/1\", \"rows\": []}",
            "this is a comparison, not a run",
        ),
    ];
    for (contents, words) in cases {
        let path = scratch.file("other.json");
        fs::write(&path, contents).expect("a file");
        let output = sluice(&["report", text(&path)]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(
            errors.contains("other.json") && errors.contains(words),
            "{errors}"
        );
    }
    let output = sluice(&["report", "/nonexistent/run.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(sluice(&["report"]).status.code(), Some(2));
}

#[test]
fn two_reports_do_not_go_to_one_file_and_a_dash_is_standard_output() {
    let scratch = Scratch::new("one-place");
    let (path, html) = (scratch.file("run.json"), scratch.text("run.html"));
    let mut run = run("a", 2, 0, 10);
    // As of a sweep: of all its steps there are more answers than latencies of the one that is shown.
    run.totals.answers = 1_234_567;
    let json = serde_json::to_string(&run).expect("it is JSON");
    fs::write(&path, json).expect("a file");
    let report = |more: &[&str]| {
        let arguments = [&["report", text(&path)], more].concat();
        let output = sluice(&arguments);
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, errors) = (said(&output.stdout), said(&output.stderr));
        (output.status.code(), out, errors)
    };
    let (code, _, errors) = report(&["--html", &html, "--hlog", &html]);
    assert_eq!(code, Some(2), "{errors}");
    assert!(
        errors.contains("--html and --hlog both go to /"),
        "{errors}"
    );
    let (code, _, errors) = report(&["--html", "-", "--hlog", "-"]);
    assert_eq!(code, Some(2), "{errors}");
    for (option, begins) in [("--html", "<!doctype html>"), ("--hlog", "#")] {
        let (code, out, errors) = report(&[option, "-"]);
        assert_eq!(code, Some(0), "{errors}");
        assert!(out.starts_with(begins), "{out}");
        assert!(
            errors.starts_with("Figures") && errors.contains(" 1,234,567 "),
            "{errors}"
        );
    }
    let (_, out, _) = report(&[]);
    assert!(out.contains(" 1,234,567 "), "{out}");
    for option in ["--json", "--html"] {
        let chosen = [
            "compare", "--system", "nginx", "--wire", "memif", option, &html,
        ];
        let output = sluice(&chosen);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains("nothing is left to measure"), "{errors}");
    }
    let output = sluice(&["compare", "--json", &html, "--html", &html]);
    assert_eq!(output.status.code(), Some(2));
}
