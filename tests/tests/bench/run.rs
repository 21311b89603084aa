//! `sluice bench run` on real ports: around the gateway over memif, against nginx over AF_XDP, and against
//! what is not there.

use std::process::Output;

use serde_json::Value;
use sluice_tests::gateway::sluice_at_gateway;
use sluice_tests::lab::{Lab, printed};

/// A port on the lab's link to the backends, where the kernel's nginx listens on 10.77.2.2:8080.
const CLIENT: &str = "interface=sluice-back;address=10.77.2.1/24";

/// What every run here has: short, on few connections, and one hugepage pool for several tests at a time.
const SHORT: [&str; 6] = ["--warm-up", "100ms", "-c", "8", "--memory", "64MiB"];

/// Runs the generator in the lab, its report on standard output.
fn bench(lab: &Lab, launcher: &[&str], arguments: &[&str]) -> Output {
    let command: Vec<&str> = ["bench", "run", "--json", "-"]
        .into_iter()
        .chain(SHORT)
        .chain(arguments.iter().copied())
        .collect();
    sluice_at_gateway(lab, launcher, &command)
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("no report on stdout: {error}\n{}", printed(output));
    })
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn nginx_over_af_xdp_answers_every_request() {
    let lab = Lab::up();
    let to_nginx = ["--target", "10.77.2.2:8080", "--client", CLIENT];
    let arguments = [
        &to_nginx[..],
        &["-n", "500", "--expect", "errors=0", "--expect", "p50>0s"],
    ];
    let output = bench(&lab, &[], &arguments.concat());
    assert!(output.status.success(), "{}", printed(&output));
    let report = report(&output);
    assert_eq!(report["totals"]["requests"], 500);
    assert_eq!(report["totals"]["answers"], 500);
    assert_eq!(report["latency"]["count"], 500);
    assert_eq!(report["settings"]["wire"], "af_xdp");
    assert_eq!(report["totals"]["errors"], serde_json::json!({}));
    let said = stderr(&output);
    assert!(said.contains("expected errors=0: holds"), "{said}");

    // A connection for each, and an open loop: what nginx answers is checked against what is expected.
    let file = lab.directory().join("requests.yaml");
    let requests = "requests:\n  - { weight: 3, path: /1k, response: 1KiB }\n  - { path: /missing, status: 404 }\n  \
                    - { method: POST, path: /echo, text: hello, response: 5B }\n";
    std::fs::write(&file, requests).expect("the lab's directory takes files");
    let file = file.to_str().expect("the lab's path is text");
    let arguments = [
        &to_nginx[..],
        &["--close", "--rate", "200", "-d", "1s", "--requests", file],
    ];
    let output = bench(&lab, &[], &arguments.concat());
    assert!(output.status.success(), "{}", printed(&output));
    let report = super::run::report(&output);
    let answers = report["totals"]["answers"].as_u64().expect("a number");
    let connections = report["totals"]["connections"].as_u64().expect("a number");
    assert_eq!(report["totals"]["requests"], answers, "{report}");
    assert!(answers > 0 && connections >= answers, "{report}");
    assert!(report["send_delay"]["p99_us"].is_number(), "{report}");
}

#[test]
fn expectations_on_nginx_decide_the_exit_code() {
    let lab = Lab::up();
    let arguments = [
        "--target",
        "10.77.2.2:8080",
        "--client",
        CLIENT,
        "-n",
        "50",
        "--path",
        "/1k",
        "--stages",
        "--expect",
        "p99<1us",
        "--expect",
        "errors=0",
    ];
    let output = bench(&lab, &[], &arguments);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    let said = stderr(&output);
    assert!(
        said.contains("expected p99<1us: does NOT hold, it was "),
        "{said}"
    );
    assert!(
        said.contains("expected errors=0: holds, it was 0"),
        "{said}"
    );
    let stages = said.split("stage: ").skip(1);
    let stages: Vec<_> = stages.filter_map(|rest| rest.lines().next()).collect();
    let all = ["opening", "warm-up", "measuring", "measured", "done"];
    assert_eq!(stages, all, "{said}");
}

#[test]
fn a_target_that_is_not_there_ends_the_run_with_its_errors() {
    let lab = Lab::up();
    for (target, kind) in [
        ("10.77.2.2:81", "refused"),
        ("10.77.2.99:80", "unreachable"),
    ] {
        let arguments = ["--target", target, "--client", CLIENT, "-d", "1s"];
        let output = bench(&lab, &[], &arguments);
        assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
        let report = report(&output);
        let errors = report["totals"]["errors"].as_object().expect("errors");
        assert_eq!(errors.keys().collect::<Vec<_>>(), [kind], "{report}");
        assert_eq!(report["totals"]["requests"], errors[kind], "{report}");
        assert_eq!(report["limited_by"], "errors");
        assert_eq!(report["totals"]["unopened"][kind], 8, "{report}");
        assert!(report["latency"]["p99_us"].is_null(), "{report}");
        let said = stderr(&output);
        assert!(said.contains("no request was answered"), "{said}");
    }
}

#[test]
fn an_interrupt_ends_a_run_against_nginx_with_its_report() {
    let lab = Lab::up();
    // In the foreground: the signal goes to the generator alone, and so comes once.
    let interrupt = [
        "timeout",
        "--foreground",
        "--preserve-status",
        "--signal",
        "INT",
        "6",
    ];
    let arguments = [
        "--target",
        "10.77.2.2:8080",
        "--client",
        CLIENT,
        "-d",
        "10m",
    ];
    let output = bench(&lab, &interrupt, &arguments);
    assert!(output.status.success(), "{}", printed(&output));
    let report = report(&output);
    assert!(report["totals"]["answers"].as_u64() > Some(0), "{report}");
    assert!(report["duration_s"].as_f64() < Some(60.0), "{report}");
    assert!(
        stderr(&output).contains("ended early"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_gateway_over_memif_passes_on_every_byte() {
    let lab = Lab::up();
    let socket = |name: &str| {
        let path = lab.directory().join(name);
        path.to_str().expect("the lab's path is text").to_owned()
    };
    let (front, back) = (socket("front.sock"), socket("back.sock"));
    let device = |number: u8, role: &str, socket: &str| {
        format!("net_memif{number},role={role},id=0,socket-abstract=no,socket={socket}")
    };
    let gateway = lab.gateway(&format!(
        "workers: {{ memory: 64MiB, idle: adaptive }}
ports:
  front: {{ device: \"{}\", addresses: [10.77.1.1/24] }}
  back: {{ device: \"{}\", addresses: [10.77.2.1/24] }}
listeners:
  web: {{ address: 10.77.1.1:80 }}
services:
  bench: {{ endpoints: [10.77.2.2:8080] }}
routes:
  - {{ service: bench }}
",
        device(0, "server", &front),
        device(1, "server", &back),
    ));
    let file = lab.directory().join("requests.yaml");
    let requests = "requests:\n  - { weight: 3, path: /a, response: 40KiB }\n  - { path: /b, method: PUT, body: 50KiB }\n";
    std::fs::write(&file, requests).expect("the lab's directory takes files");
    let client = format!(
        "device={};address=10.77.1.2/24",
        device(0, "client", &front)
    );
    let backend = format!(
        "device={};address=10.77.2.2/24;listen=8080;body=300",
        device(1, "client", &back)
    );
    let arguments = [
        "--target",
        "10.77.1.1:80",
        "--client",
        &client,
        "--backend",
        &backend,
        "-n",
        "400",
        "--requests",
        file.to_str().expect("the lab's path is text"),
        "--expect",
        "errors=0",
    ];
    let output = bench(&lab, &[], &arguments);
    assert!(
        output.status.success(),
        "{}\n{}",
        printed(&output),
        gateway.log()
    );
    let report = report(&output);
    assert_eq!(report["totals"]["answers"], 400);
    assert_eq!(report["settings"]["wire"], "memif");
    let said = stderr(&output);
    assert!(said.contains("0 malformed, 0 wrong bodies"), "{said}");
}

#[test]
fn requests_are_made_of_what_the_gateway_logged_of_nginx() {
    let lab = Lab::up();
    let log = lab.directory().join("access.json");
    let log = log.to_str().expect("the lab's path is text");
    let gateway = lab.gateway(&format!(
        "workers: {{ memory: 64MiB }}
access_log: {{ file: {log} }}
ports:
  front: {{ interface: sluice-front, addresses: [10.77.1.1/24] }}
  back: {{ interface: sluice-back, addresses: [10.77.2.1/24] }}
listeners:
  web: {{ address: 10.77.1.1:80 }}
services:
  nginx: {{ endpoints: [10.77.2.2:8080] }}
routes:
  - {{ service: nginx }}
"
    ));
    for path in ["/1k", "/1k", "/missing"] {
        lab.curl(&[&format!("http://lab.test{path}")]);
    }
    assert!(gateway.stop().success());
    let made = sluice_at_gateway(&lab, &[], &["bench", "requests", "--from", log]);
    assert!(made.status.success(), "{}", printed(&made));
    let said = stderr(&made);
    assert!(
        said.contains("3 lines: 2 different requests from 3 of them"),
        "{said}"
    );
    let file = lab.directory().join("requests.yaml");
    std::fs::write(&file, &made.stdout).expect("the lab's directory takes files");
    // What was logged can be played, and nginx answers as it did.
    let arguments = [
        "--target",
        "10.77.2.2:8080",
        "--client",
        CLIENT,
        "-n",
        "30",
        "--requests",
        file.to_str().expect("the lab's path is text"),
        "--expect",
        "errors=0",
    ];
    let output = bench(&lab, &[], &arguments);
    assert!(output.status.success(), "{}", printed(&output));
    assert_eq!(report(&output)["totals"]["answers"], 30);
}
