//! `sluice bench` in TTHeader: against volo-thrift in both directions, and against itself.

use std::path::Path;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_tests::gateway::{binary, sluice_at_gateway};
use sluice_tests::lab::{Lab, printed};

use super::{SERVER, call, serve};

/// A port on the lab's link to the backends.
const CLIENT: &str = "interface=sluice-back;address=10.77.2.1/24";

fn bench(lab: &Lab, arguments: &[&str]) -> Output {
    let short = ["--warm-up", "100ms", "--memory", "64MiB", "--quiet"];
    let command = ["bench", "run", "--protocol", "ttheader", "--json", "-"];
    sluice_at_gateway(lab, &[], &[&command[..], &short, arguments].concat())
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("no report on stdout: {error}\n{}", printed(output));
    })
}

#[test]
fn volo_answers_every_call_of_the_generator() {
    let lab = Lab::up();
    let _server = serve(&lab, "--multiplex");
    let to = ["--target", SERVER, "--client", CLIENT, "--service", "echo"];
    let asks = ["--method", "echo", "--echo", "--body", "200", "-n", "400"];
    let expects = ["--expect", "errors=0"];
    for (encoding, calls, more) in [
        ("framed-binary", 8, &["--calls", "8"][..]),
        ("compact", 8, &["--calls", "8"]),
        ("binary", 1, &[]),
        ("framed-compact", 1, &["--close"]),
    ] {
        let speaks = ["-c", "4", "--encoding", encoding];
        let output = bench(&lab, &[&to[..], &asks, &expects, &speaks, more].concat());
        assert!(output.status.success(), "{encoding}: {}", printed(&output));
        let report = report(&output);
        assert_eq!(report["totals"]["answers"], 400);
        assert_eq!(report["settings"]["protocol"], "ttheader");
        assert_eq!(report["settings"]["calls"], calls);
    }
    // What fails is told: the service has no such method.
    let asks = ["--method", "nothing", "-n", "20", "-c", "1"];
    let output = bench(&lab, &[&to[..], &asks].concat());
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
}

#[test]
fn volo_calls_the_generators_backend() {
    let lab = Lab::up();
    let binary = binary();
    let binary = binary.to_str().expect("its path is text");
    // The lab's link to the clients: the generator has the gateway's end.
    let backend =
        "interface=sluice-front;address=10.77.1.1/24;listen=8888;body=300;replies=message";
    let command = [
        binary,
        "bench",
        "run",
        "--protocol",
        "ttheader",
        "--memory",
        "64MiB",
        "--backend",
        backend,
    ];
    let mut serving = lab.start_at_gateway(&command);
    serving.wait_for("serving on");
    for (tasks, mode) in [
        (16, "--transport ttheader-framed --multiplex"),
        (2, "--transport ttheader --compact"),
    ] {
        let asks = format!("--method echo --unchecked --calls 5 --tasks {tasks} {mode}");
        let ends = call(&lab, &asks);
        assert_eq!(ends.count("ok with 300 bytes"), 5 * tasks, "{ends:?}");
    }
}

#[test]
fn the_generator_and_its_backend_talk_over_memif() {
    let lab = Lab::up();
    let socket = lab.directory().join("wire.sock");
    let socket = socket.to_str().expect("the lab's path is text");
    let port = |role: &str, address: &str| {
        format!(
            "device=net_memif0,role={role},id=0,socket-abstract=no,socket={socket};address={address}/24"
        )
    };
    let binary = binary();
    let binary = binary.to_str().expect("its path is text");
    let file = lab.directory().join("calls.yaml");
    let calls = "requests:\n  - { weight: 3, service: shop, method: get, body: 200B, keys: { 10: prod, RPC_PERSIST_LANE: blue } }\n  \
                 - { service: shop, method: put, body: 100KiB, response: 60KiB }\n  \
                 - { service: shop, method: tell, oneway: true, body: 1KiB }\n";
    std::fs::write(&file, calls).expect("the lab's directory takes files");
    let file = file.to_str().expect("the lab's path is text");
    let backend = format!("{};listen=9000;body=100", port("server", "10.77.4.2"));
    let serving = [
        binary,
        "bench",
        "run",
        "--protocol",
        "ttheader",
        "--memory",
        "64MiB",
        "--core",
        "1",
        "--requests",
        file,
        "--backend",
        &backend,
    ];
    let _serving = lab.start_at_gateway(&serving);
    // The side with the role of the server starts first.
    let deadline = Instant::now() + Duration::from_secs(20);
    while !Path::new(socket).exists() {
        assert!(Instant::now() < deadline, "there is no socket");
        thread::sleep(Duration::from_millis(20));
    }
    let client = port("client", "10.77.4.1");
    // The backend is another process: the generator knows its answers by the same file and the same
    // length of bodies, as one of its own.
    let to = [
        "--target",
        "10.77.4.2:9000",
        "--client",
        &client,
        "--requests",
        file,
    ];
    let asks = ["-c", "4", "--calls", "16", "-n", "2000", "--core", "0"];
    let output = bench(&lab, &[&to[..], &asks, &["--expect", "errors=0"]].concat());
    assert!(output.status.success(), "{}", printed(&output));
    assert_eq!(report(&output)["totals"]["answers"], 2_000);
    assert_eq!(report(&output)["settings"]["wire"], "memif");
    // On a machine that is busy some may not be sent in time; nothing else may go wrong.
    let open = ["-c", "4", "--calls", "16", "--core", "0", "--rate", "200"];
    let output = bench(&lab, &[&to[..], &open, &["-d", "1s"]].concat());
    assert!(output.status.success(), "{}", printed(&output));
    let report = report(&output);
    let errors = report["totals"]["errors"].as_object().expect("errors");
    assert!(errors.keys().all(|kind| kind == "not_sent"), "{report}");
}
