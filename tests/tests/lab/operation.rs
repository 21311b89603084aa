//! What an operator sees and does: metrics, readiness, new rules.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sluice_tests::gateway::Gateway;
use sluice_tests::lab::Lab;

use crate::CONFIG;

/// Counters whose families a request changes by numbers that can be told beforehand.
const EXACT: &[&str] = &[
    "sluice_requests_total",
    "sluice_request_fates_total",
    "sluice_events_total",
];

fn exact(gateway: &Gateway<'_>) -> BTreeMap<String, f64> {
    let family = |name: &str| {
        EXACT
            .iter()
            .any(|exact| name.starts_with(&format!("{exact}{{")))
    };
    gateway
        .metrics()
        .into_iter()
        .filter(|(name, _)| family(name))
        .collect()
}

/// What changed, as `label=value` of the label that is not the worker's, and by how much.
fn delta(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> Vec<(String, f64)> {
    let short = |name: &str| {
        let labels = name
            .split_once('{')
            .map_or("", |(_, rest)| rest.trim_end_matches('}'));
        let own = labels
            .split(',')
            .find(|label| !label.starts_with("worker="))
            .unwrap_or(labels);
        own.replace('"', "")
    };
    let mut delta: Vec<(String, f64)> = after
        .iter()
        .map(|(name, value)| (short(name), value - before.get(name).unwrap_or(&0.0)))
        .filter(|(_, change)| *change != 0.0)
        .collect();
    delta.sort_by(|a, b| a.0.cmp(&b.0));
    delta
}

fn named(pairs: &[(&str, f64)]) -> Vec<(String, f64)> {
    pairs
        .iter()
        .map(|(name, n)| ((*name).to_owned(), *n))
        .collect()
}

/// The worker publishes what happens behind an answer a moment later.
pub(crate) fn until<T: PartialEq + std::fmt::Debug>(expected: &T, look: impl FnMut() -> T) {
    within(3, expected, look);
}

/// The same for what takes longer: so many seconds at most.
pub(crate) fn within<T: PartialEq + std::fmt::Debug>(
    seconds: u64,
    expected: &T,
    mut look: impl FnMut() -> T,
) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        let seen = look();
        if seen == *expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "expected {expected:#?}\nsaw {seen:#?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn curl_to_nginx_changes_exactly_these_counters() {
    let lab = Lab::up();
    let gateway = lab.gateway(CONFIG);
    let start = exact(&gateway);
    // Two requests on one connection of curl's, answered by both endpoints in turn.
    let reply = lab.curl(&["http://nginx.test/", "http://nginx.test/"]);
    assert_eq!(reply.status, 200);
    let expected = named(&[
        ("event=downstream_closed", 1.0),
        ("event=downstream_opened", 1.0),
        ("event=upstream_opened", 2.0),
        ("fate=answered", 2.0),
        ("status=200", 2.0),
    ]);
    until(&expected, || delta(&start, &exact(&gateway)));

    let start = exact(&gateway);
    assert_eq!(lab.curl(&["http://other.test/"]).status, 404);
    let expected = named(&[
        ("event=downstream_closed", 1.0),
        ("event=downstream_opened", 1.0),
        ("fate=no_route", 1.0),
        ("status=404", 1.0),
    ]);
    until(&expected, || delta(&start, &exact(&gateway)));

    let start = exact(&gateway);
    assert_eq!(lab.curl(&["http://refused.test/"]).status, 502);
    let expected = named(&[
        ("event=downstream_closed", 1.0),
        ("event=downstream_opened", 1.0),
        ("event=endpoint_suspected", 1.0),
        ("event=upstream_closed", 1.0),
        ("event=upstream_opened", 1.0),
        ("fate=connect_failed", 1.0),
        ("status=502", 1.0),
    ]);
    until(&expected, || delta(&start, &exact(&gateway)));
}

#[test]
fn every_frame_from_linux_has_one_fate() {
    let lab = Lab::up();
    let gateway = lab.gateway(CONFIG);
    for _ in 0..3 {
        assert_eq!(lab.curl(&["http://nginx.test/64k"]).status, 200);
    }
    // Both are read in one go; a frame that comes in between is counted a moment later.
    until(&0.0, || {
        let metrics = gateway.metrics();
        let sum = |family: &str, label: &str| -> f64 {
            let wanted = metrics.iter().filter(|(name, _)| {
                name.starts_with(&format!("{family}{{")) && name.contains(label)
            });
            wanted.map(|(_, value)| value).sum()
        };
        let received = sum("sluice_frames_total", "direction=\"rx\"");
        assert!(received > 100.0, "{received} frames received: {metrics:#?}");
        received - sum("sluice_frame_fates_total", "")
    });
}

#[test]
fn a_changed_file_is_taken_up_while_curl_is_served() {
    let lab = Lab::up();
    let gateway = lab.gateway(CONFIG);
    assert_eq!(lab.curl(&["http://new.test/"]).status, 404);
    let file = lab.directory().join("gateway.yaml");
    let with = |route: &str| std::fs::write(&file, format!("{CONFIG}{route}")).expect("no file");

    with("  - { host: new.test, service: nginx }\n");
    until(&200, || lab.curl(&["http://new.test/"]).status);
    assert_eq!(gateway.metrics()["sluice_rules_generation"], 2.0);

    // A mistake changes nothing and is said with its place.
    with("  - { host: new.test, service: ngnix }\n");
    until(&1.0, || gateway.metrics()["sluice_rules_rejected_total"]);
    assert_eq!(lab.curl(&["http://new.test/"]).status, 200);
    let log = gateway.log();
    assert!(
        log.contains("no service is called \"ngnix\"; did you mean \"nginx\"?"),
        "{log}"
    );

    assert_eq!(
        gateway.admin("/no-such-page").expect("no answer").status,
        404
    );
    assert_eq!(gateway.admin("/ready").expect("no answer").status, 200);
}
