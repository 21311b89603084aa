//! The access log of the real gateway: a line for each request, and what becomes of the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_tests::gateway::Gateway;
use sluice_tests::lab::Lab;

use crate::{CONFIG, GATEWAY};

fn logged(lab: &Lab) -> (PathBuf, String) {
    let path = lab.directory().join("access.json");
    let config = format!("{CONFIG}access_log: {{ file: {} }}\n", path.display());
    (path, config)
}

/// The lines of a file once there are as many as expected.
fn lines(path: &Path, expected: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect();
        if lines.len() >= expected || Instant::now() > deadline {
            assert_eq!(lines.len(), expected, "{text}");
            return lines;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn metric(gateway: &Gateway<'_>, name: &str) -> f64 {
    gateway.metrics().get(name).copied().unwrap_or(0.0)
}

#[test]
fn a_request_of_curl_to_nginx_has_exactly_one_line() {
    let lab = Lab::up();
    let (path, config) = logged(&lab);
    let gateway = lab.gateway(&config);
    let reply = lab.curl(&["-A", "a \"test\"", "http://nginx.test/1k?a=b"]);
    assert_eq!(reply.status, 200);
    let refused = lab.curl(&["http://refused.test/"]);
    assert_eq!(refused.status, 502);
    let lines = lines(&path, 2);
    let line = &lines[0];
    for (field, expected) in [
        ("listener", "http"),
        ("client", "10.77.1.2"),
        ("method", "GET"),
        ("host", "nginx.test"),
        ("path", "/1k?a=b"),
        ("protocol", "HTTP/1.1"),
        ("fate", "answered"),
        ("route", "nginx.test/"),
        ("service", "nginx"),
        ("user_agent", "a \"test\""),
    ] {
        assert_eq!(line[field], expected, "{line:#}");
    }
    assert_eq!(
        (&line["status"], &line["attempts"]),
        (&200.into(), &1.into())
    );
    assert!(line["bytes_out"].as_u64() > Some(1_024), "{line:#}");
    let stages = [
        "head_us",
        "connect_us",
        "send_us",
        "first_byte_us",
        "total_us",
    ];
    let stages: Vec<u64> = stages.iter().filter_map(|s| line[s].as_u64()).collect();
    assert!(stages.len() == 5 && stages.is_sorted(), "{line:#}");
    assert!(stages[4] < 5_000_000, "{line:#}");
    // Within a minute of the present, by the day and hour at least.
    let time = line["time"].as_str().unwrap_or_default();
    let now = lab.client(&["date", "-u", "+%Y-%m-%dT"]);
    let today = String::from_utf8_lossy(&now.stdout).trim().to_owned();
    assert!(
        time.starts_with(&today) && time.len() == 27,
        "{time}, {today}"
    );
    assert_eq!(lines[1]["fate"], "connect_failed");
    assert_eq!(lines[1]["first_byte_us"], Value::Null);
    assert!(gateway.stop().success());
}

#[test]
fn a_renamed_log_is_opened_anew_on_sigusr1() {
    let lab = Lab::up();
    let (path, config) = logged(&lab);
    let gateway = lab.gateway(&config);
    lab.curl(&["http://nginx.test/old"]);
    lines(&path, 1);
    let old = path.with_extension("1");
    fs::rename(&path, &old).expect("the log can be renamed");
    gateway.reopen_log();
    let deadline = Instant::now() + Duration::from_secs(5);
    while !path.exists() {
        assert!(Instant::now() < deadline, "no new file\n{}", gateway.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    lab.curl(&["http://nginx.test/new"]);
    assert_eq!(lines(&path, 1)[0]["path"], "/new");
    assert_eq!(lines(&old, 1)[0]["path"], "/old");
    assert!(gateway.stop().success());
}

#[test]
fn every_request_of_wrk_has_a_line_or_is_counted_as_dropped() {
    let lab = Lab::up();
    let (path, config) = logged(&lab);
    let gateway = lab.gateway(&config);
    let url = format!("http://{GATEWAY}/");
    let run = ["wrk", "-t1", "-c64", "-d2s", "-H", "Host: nginx.test", &url];
    assert!(lab.client(&run).status.success());
    // Those that wrk left behind end as well.
    let deadline = Instant::now() + Duration::from_secs(5);
    let count = || {
        let metrics = gateway.metrics();
        let sum = |name: &str| -> f64 {
            let own = metrics.iter().filter(|(key, _)| key.starts_with(name));
            own.map(|(_, value)| value).sum()
        };
        (
            sum("sluice_request_fates_total"),
            sum("sluice_access_log_lines_total"),
            sum("sluice_access_log_dropped_total"),
            sum("sluice_request_duration_seconds_count"),
        )
    };
    let (requests, written, timed) = loop {
        let (requests, written, dropped, timed) = count();
        if requests == written + dropped
            && metric(&gateway, "sluice_exchanges{worker=\"0\"}") == 0.0
        {
            break (requests, written, timed);
        }
        assert!(Instant::now() < deadline, "{:?}", count());
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(requests > 1_000.0, "{requests}");
    assert_eq!(timed, requests);
    assert!(gateway.stop().success());
    let text = fs::read_to_string(&path).expect("the log is there");
    assert_eq!(text.lines().count() as f64, written);
    for line in text.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
}

#[test]
fn services_show_endpoints_with_their_connections_and_rates() {
    let lab = Lab::up();
    let gateway = lab.gateway(CONFIG);
    for _ in 0..2 {
        lab.curl(&["http://nginx.test/backend?[1-4]"]);
    }
    lab.curl(&["http://refused.test/"]);
    let endpoint = |service: &str, index: usize| {
        let reply = gateway.admin("/services").expect("it answers");
        let shown: Value = serde_json::from_slice(&reply.body).expect("it is JSON");
        let services = shown["services"].as_array().expect("a list").clone();
        let service = services.into_iter().find(|s| s["name"] == service);
        service.expect("the service is there")["endpoints"][index].clone()
    };
    let first = endpoint("nginx", 0);
    assert_eq!(first["address"], "10.77.2.2:8080");
    assert_eq!(
        (&first["port"], &first["requests"]),
        (&"back".into(), &4.into())
    );
    assert_eq!(
        (&first["in_flight"], &first["idle"]),
        (&0.into(), &1.into())
    );
    let refused = endpoint("refused", 0);
    assert_eq!(refused["failures"]["connect_failed"], 1);
    assert!(refused["last_failure"].is_string(), "{refused:#}");
    let deadline = Instant::now() + Duration::from_secs(5);
    while endpoint("nginx", 0)["requests_per_second"].as_f64() <= Some(0.0) {
        lab.curl(&["http://nginx.test/backend?[1-4]"]);
        assert!(Instant::now() < deadline, "{:#}", endpoint("nginx", 0));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(gateway.stop().success());
}
