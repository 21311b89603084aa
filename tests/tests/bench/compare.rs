//! `sluice bench compare` with the real systems.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sluice_tests::gateway::binary;

use crate::page::Scratch;

/// Longest that anything waited for here takes, on a machine with other things to do.
const WITHIN: Duration = Duration::from_secs(60);

fn compare(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(["bench", "compare"]).args(arguments);
    command
}

/// What is left of the comparison of a process.
fn remains(id: u32) -> Vec<String> {
    let name = format!("sluice-bench-{id}-");
    let namespaces = fs::read_dir("/run/netns").into_iter().flatten();
    let mut left: Vec<String> = namespaces
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|other| other.starts_with(&name))
        .collect();
    let state = format!("/run/sluice-bench/{id}");
    left.extend(Path::new(&state).exists().then_some(state));
    left
}

#[test]
fn compare_has_a_row_for_nginx_haproxy_envoy_and_sluice_on_their_wires() {
    let scratch = Scratch::new("compare");
    let (json, html) = (scratch.text("compare.json"), scratch.text("compare.html"));
    let child = compare(&[
        "--quick",
        "--test",
        "http1-keepalive",
        "--json",
        &json,
        "--html",
        &html,
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .expect("sluice starts");
    let id = child.id();
    let output = child.wait_with_output().expect("sluice ends");
    let (printed, told) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{told}");
    assert_eq!(remains(id), [""; 0]);

    let document: serde_json::Value =
        serde_json::from_slice(&fs::read(&json).expect("the JSON was written"))
            .expect("it is JSON");
    let rows = document["rows"].as_array().expect("rows");
    let seen: BTreeSet<(&str, &str)> = rows
        .iter()
        .map(|row| {
            (
                row["system"].as_str().unwrap_or(""),
                row["wire"].as_str().unwrap_or(""),
            )
        })
        .collect();
    let wanted = BTreeSet::from([
        ("direct", "veth-af_xdp"),
        ("direct", "memif"),
        ("sluice", "veth-af_xdp"),
        ("sluice", "memif"),
        ("nginx", "veth-af_xdp"),
        ("haproxy", "veth-af_xdp"),
        ("haproxy-busy", "veth-af_xdp"),
        ("envoy", "veth-af_xdp"),
    ]);
    assert_eq!(seen, wanted, "{told}");
    for row in rows {
        assert_eq!(row["test"], "http1-keepalive");
        assert!(row["rps"].as_f64() > Some(0.0), "{row}");
        assert!(row["p50_us"].as_f64() > Some(0.0), "{row}");
        let metered = !["direct", "haproxy-busy"].contains(&row["system"].as_str().unwrap_or(""));
        assert_eq!(row["busy_us"].is_number(), metered, "{row}");
        // Sluice was asked at both ends of the measurement.
        let tells = row["system"] == "sluice";
        assert_eq!(row["system_gaps"].is_number(), tells, "{row}");
        let limits = ["target", "generator", "wire", "errors", "noise"];
        assert!(
            limits.contains(&row["limited_by"].as_str().unwrap_or("")),
            "{row}"
        );
    }
    for (name, version) in [
        ("nginx", "nginx"),
        ("haproxy", "HAProxy version"),
        ("envoy", "1.40.0"),
    ] {
        let printed = document["fingerprint"]["peers"][name]
            .as_str()
            .unwrap_or("");
        assert!(printed.contains(version), "{name}: {printed}");
    }
    assert!(
        printed.contains("http1-keepalive") && printed.contains("Ratios"),
        "{printed}"
    );
    let page = fs::read_to_string(&html).expect("the page was written");
    assert!(page.contains("haproxy-busy") && page.contains("envoy.yaml"));
}

#[test]
#[ignore = "takes half a minute: scripts/test --all plays it"]
fn compare_has_two_hops_of_nginx_and_of_sluice_and_ttheader_of_sluice() {
    let scratch = Scratch::new("hops");
    let json = scratch.text("hops.json");
    let output = compare(&["--quick", "--test", "http1-two-hop", "--json", &json])
        .args(["--test", "ttheader"])
        .args(["--system", "sluice", "--system", "nginx"])
        .output()
        .expect("sluice starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let document = fs::read(&json).expect("the JSON was written");
    let document: serde_json::Value = serde_json::from_slice(&document).expect("it is JSON");
    let rows = document["rows"].as_array().expect("rows");
    for (test, system, wire) in [
        ("http1-two-hop", "sluice", "veth-af_xdp"),
        ("http1-two-hop", "sluice", "memif"),
        ("http1-two-hop", "nginx", "veth-af_xdp"),
        ("ttheader", "sluice", "veth-af_xdp"),
        ("ttheader", "sluice", "memif"),
    ] {
        let row = rows
            .iter()
            .find(|row| row["test"] == test && row["system"] == system && row["wire"] == wire)
            .unwrap_or_else(|| panic!("no row of {test}, {system} on {wire}: {told}"));
        assert_eq!(row["errors"], 0, "{row}");
        assert!(row["rps"].as_f64() > Some(0.0), "{row}");
    }
    assert_eq!(rows.len(), 5, "nginx doesn't speak TTHeader: {document}");
    let printed = String::from_utf8_lossy(&output.stdout);
    let (_, calls) = printed.split_once("\nttheader: ").expect("a table");
    let nginx = calls.lines().find(|line| line.starts_with("nginx"));
    assert!(
        nginx.is_some_and(|line| !line.contains(|c: char| c.is_ascii_digit())),
        "{printed}"
    );
    // One round has no spread, and nothing was tried.
    assert!(
        !printed.contains('±') && !printed.contains("Where the kernel receives"),
        "{printed}"
    );
    assert_eq!(document["receive"][0]["system"], "nginx");
    assert_eq!(document["receive"][0]["used"], "sender");
}

#[test]
fn compare_goes_on_without_an_nginx_that_does_not_start() {
    let scratch = Scratch::new("no-nginx");
    let (json, program) = (scratch.text("compare.json"), scratch.text("nginx"));
    let script = "#!/bin/sh\n[ \"$1\" = -v ] && exec echo nginx of the test\necho no nginx today >&2\nexit 3\n";
    fs::write(&program, script).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let directory = Path::new(&program).parent().expect("a directory");
    let path = std::env::var("PATH").expect("there is one");
    let output = compare(&["--quick", "--test", "http1-keepalive", "--json", &json])
        .args([
            "--system",
            "nginx",
            "--system",
            "direct",
            "--wire",
            "veth-af_xdp",
        ])
        .env("PATH", format!("{}:{path}", directory.display()))
        .output()
        .expect("sluice starts");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (printed, told) = (said(&output.stdout), said(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("http1-keepalive failed, once more"), "{told}");
    assert!(told.contains("1 measurements failed"), "{told}");
    let document = fs::read(&json).expect("the JSON was written");
    let document: serde_json::Value = serde_json::from_slice(&document).expect("it is JSON");
    let rows = document["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 1, "{document}");
    assert_eq!(rows[0]["system"], "direct");
    let failure = &document["failures"][0];
    assert_eq!(
        (&failure["system"], &failure["round"]),
        (&"nginx".into(), &1.into())
    );
    let reason = failure["reason"].as_str().unwrap_or("");
    assert!(
        reason.starts_with("nginx ended: ") && reason.ends_with("no nginx today"),
        "{reason}"
    );
    assert!(
        printed.contains("What failed") && printed.contains(reason),
        "{printed}"
    );
}

#[test]
fn compare_tries_where_its_files_go_before_it_starts() {
    let scratch = Scratch::new("unwritable");
    let nowhere = scratch.text("nowhere/compare.json");
    for option in ["--json", "--html"] {
        let output = compare(&[option, &nowhere])
            .output()
            .expect("sluice starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        let wanted = format!("sluice bench compare: cannot write {nowhere}");
        assert!(told.starts_with(&wanted), "{told}");
    }
}

/// Ended with the test, should it fail.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {WITHIN:?}: {what}");
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn compare_takes_all_down_when_interrupted_and_does_not_run_beside_another() {
    let slow = compare(&["--system", "nginx", "--seconds", "600"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sluice starts");
    let mut slow = Started(slow);
    let id = slow.0.id();
    wait_for("the generator measures nginx", || {
        Path::new(&format!("/run/sluice-bench/{id}/generator.log")).exists()
    });

    let second = compare(&["--quick", "--system", "nginx"])
        .output()
        .expect("sluice starts");
    let errors = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains(&format!("another comparison is under way, process {id}")),
        "{errors}"
    );
    assert!(
        !remains(id).is_empty(),
        "the second took the first one's bed away"
    );

    kill_process(Pid::from_child(&slow.0), Signal::INT).expect("it runs");
    let mut ended = None;
    wait_for("the end after Ctrl-C", || {
        ended = slow.0.try_wait().expect("it is our child");
        ended.is_some()
    });
    assert_eq!(ended.and_then(|status| status.code()), Some(1));
    assert_eq!(remains(id), [""; 0]);
}
