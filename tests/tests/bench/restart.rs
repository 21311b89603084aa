//! `sluice bench run` while the gateway is killed and comes back.

use std::fs;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_tests::gateway::sluice_at_gateway;
use sluice_tests::lab::{Lab, printed};

/// Longest until the generator measures, on a machine with other things to do.
const WITHIN: Duration = Duration::from_secs(60);

const REQUESTS: u64 = 1_000;

/// Measures, kills the gateway meanwhile and starts it again; the report's totals, which add up.
fn totals() -> Value {
    let lab = Lab::up();
    let path = |name: &str| {
        let path = lab.directory().join(name);
        path.to_str().expect("the lab's path is text").to_owned()
    };
    let device = |number: u8, role: &str, name: &str| {
        let socket = path(name);
        format!("net_memif{number},role={role},id=0,socket-abstract=no,socket={socket}")
    };
    let config = format!(
        "workers: {{ memory: 64MiB, idle: adaptive }}
ports:
  front: {{ device: \"{}\", addresses: [10.77.1.1/24] }}
  back: {{ device: \"{}\", addresses: [10.77.2.1/24] }}
listeners:
  web: {{ address: 10.77.1.1:80 }}
services:
  bench: {{ endpoints: [10.77.2.2:8080], protocol: ttheader }}
routes:
  - {{ service: bench }}
",
        device(0, "server", "front.sock"),
        device(1, "server", "back.sock"),
    );
    let front = device(0, "client", "front.sock");
    let back = device(1, "client", "back.sock");
    let client = format!("device={front};address=10.77.1.2/24");
    let backend = format!("device={back};address=10.77.2.2/24;listen=8080");
    let count = REQUESTS.to_string();
    let said = path("said");
    let log_to_file = ["sh", "-c", "exec \"$@\" 2>\"$0\"", &said];
    let arguments = [
        ["bench", "run", "--json", "-", "--quiet", "--stages"].as_slice(),
        &["--warm-up", "100ms", "-c", "8", "--memory", "64MiB"],
        &["--protocol", "ttheader", "--rate", "1000", "-n", &count],
        &["--timeout", "2s", "--connect-timeout", "2s"],
        &["--target", "10.77.1.1:80", "--client", &client],
        &["--backend", &backend],
    ];
    let gateway = lab.gateway(&config);
    thread::scope(|scope| {
        let run = scope.spawn(|| sluice_at_gateway(&lab, &log_to_file, &arguments.concat()));
        let deadline = Instant::now() + WITHIN;
        while !fs::read_to_string(&said).is_ok_and(|said| said.contains("stage: measuring")) {
            assert!(
                Instant::now() < deadline && !run.is_finished(),
                "it does not measure: {:?}",
                fs::read_to_string(&said)
            );
            sleep(Duration::from_millis(10));
        }
        gateway.kill();
        let again = lab.gateway(&config);
        let output = run.join().expect("it was started");
        assert!(output.status.success(), "{}", printed(&output));
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        assert!(again.stop().success());
        report["totals"].clone()
    })
}

fn sum(of: &Value, count: impl Fn(&Value) -> Option<u64>) -> u64 {
    let values = of.as_object().into_iter().flat_map(|map| map.values());
    let entries = of.as_array().into_iter().flatten();
    values.chain(entries).filter_map(count).sum()
}

/// As many requests as were asked for have ended, each as an answer or an error. Those under way when the
/// gateway died are reset by the one that follows, or time out: it had acknowledged them, or comes too late.
fn adds_up(totals: &Value) {
    let errors = sum(&totals["errors"], Value::as_u64);
    assert_eq!(totals["requests"], REQUESTS, "{totals}");
    let answers = totals["answers"].as_u64().expect("a number");
    assert_eq!(answers + errors, REQUESTS, "{totals}");
    let wrong = totals["errors"]["wrong_status"].as_u64().unwrap_or(0);
    let told = sum(&totals["exceptions"], |one| one["count"].as_u64());
    assert_eq!(wrong, told, "{totals}");
    // On each connection what was under way, and perhaps some attempts before the gateway was back.
    assert!(errors - wrong >= 1 && answers >= REQUESTS / 2, "{totals}");
}

#[test]
fn a_gateway_killed_in_mid_run_of_ttheader_costs_what_was_under_way() {
    adds_up(&totals());
}
