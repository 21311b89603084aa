//! `sluice bench run` against targets that do what they should not, on the kernel's TCP: each run ends at its
//! limit, with the errors by kind and the exit code that its expectations give.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_tests::gateway::sluice_at_gateway;
use sluice_tests::lab::{Lab, printed};

/// A port on the lab's link to the backends.
const CLIENT: &str = "interface=sluice-back;address=10.77.2.1/24";

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// The connection is reset under it.
    Resets,
    /// Nothing, ever.
    Stalls,
    /// Bytes that are not HTTP.
    Garbage,
    /// Bytes without end, and none of them ends a line.
    Endless,
    /// Half an answer.
    Half,
    /// A whole answer that says it can't.
    Refuses,
    /// The right answer, late.
    Slow,
}

impl Target {
    fn serve(self, mut stream: TcpStream) {
        // Nobody is waited for longer than the run takes.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        let _ = stream.set_write_timeout(Some(Duration::from_secs(10)));
        if let Target::Resets = self {
            // What is unread when it is closed makes a reset of the close.
            let _ = stream.peek(&mut [0]);
            return;
        }
        let mut request = [0; 4096];
        while let Ok(1..) = stream.read(&mut request) {
            let ended = match self {
                Target::Resets | Target::Stalls => continue,
                Target::Garbage => stream.write_all(b"what is this\r\n\r\n"),
                Target::Endless => stream.write_all(&[b'x'; 1 << 20]),
                Target::Half => {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
                    return;
                }
                Target::Refuses => stream
                    .write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
                Target::Slow => {
                    thread::sleep(Duration::from_millis(40));
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                }
            };
            if ended.is_err() {
                return;
            }
        }
    }

    /// Serves on a port of the backends' until `over`.
    fn listen(self, listener: TcpListener, over: &Arc<AtomicBool>) {
        let over = over.clone();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                thread::spawn(move || self.serve(stream));
            }
        });
    }
}

/// A run of half a second on four connections to a port of 10.77.2.2. The exit code, the report and what was
/// said.
fn bench(lab: &Lab, port: u16, more: &[&str]) -> (Option<i32>, Value, String) {
    const SHORT: &str =
        "bench run --json - --quiet --warm-up 0s -d 500ms -c 4 --memory 64MiB --expect errors=0";
    let target = format!("10.77.2.2:{port}");
    let to_it = ["--target", &target, "--client", CLIENT];
    let short = SHORT.split_whitespace().chain(to_it);
    let arguments: Vec<&str> = short.chain(more.iter().copied()).collect();
    let began = Instant::now();
    let output = sluice_at_gateway(lab, &["timeout", "--foreground", "120"], &arguments);
    assert!(began.elapsed() < Duration::from_secs(100), "it did not end");
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}\n{}", printed(&output)));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), report, said)
}

#[test]
fn bad_targets_on_linux_end_the_run_with_errors_by_kind() {
    let lab = Lab::up();
    let over = Arc::new(AtomicBool::new(false));
    let cases = [
        (Target::Resets, "reset"),
        (Target::Stalls, "timeout"),
        (Target::Garbage, "bad_answer"),
        (Target::Endless, "bad_answer"),
        (Target::Half, "closed_early"),
        (Target::Refuses, "wrong_status"),
    ];
    for (number, (target, kind)) in cases.into_iter().enumerate() {
        let port = 9100 + number as u16;
        target.listen(lab.listen(&format!("10.77.2.2:{port}")), &over);
        let (code, report, said) = bench(&lab, port, &["--timeout", "300ms"]);
        assert_eq!(code, Some(1), "{target:?}: {said}");
        let totals = &report["totals"];
        let errors = totals["errors"].as_object().expect("errors");
        assert_eq!(
            errors.keys().collect::<Vec<_>>(),
            [kind],
            "{target:?}: {said}"
        );
        assert_eq!(totals["answers"], 0, "{target:?}");
        if let Target::Refuses = target {
            assert_eq!(totals["wrong_statuses"]["503"], errors[kind], "{report}");
            assert!(said.contains("of them 503"), "{said}");
        }
        assert_eq!(totals["requests"], errors[kind], "{target:?}");
        assert_eq!(report["limited_by"], "errors", "{target:?}");
        assert!(said.contains("expected errors=0: does NOT hold"), "{said}");
    }
    over.store(true, Ordering::Relaxed);
}

#[test]
fn a_slow_target_on_linux_is_measured_and_held_to_what_is_expected() {
    let lab = Lab::up();
    let over = Arc::new(AtomicBool::new(false));
    Target::Slow.listen(lab.listen("10.77.2.2:9100"), &over);
    let patience = ["--timeout", "30s"];
    let (code, report, said) = bench(&lab, 9100, &patience);
    assert_eq!(code, Some(0), "{said}");
    // The longest: a generator that is put off its core while it receives takes an answer for earlier.
    let longest = report["latency"]["max_us"].as_f64();
    assert!(longest >= Some(40_000.0), "{report}");
    // An open loop that it cannot follow ends all the same.
    let open = ["--rate", "2000", "--expect", "p50<40ms"];
    let (code, report, said) = bench(&lab, 9100, &[&patience[..], &open].concat());
    assert_eq!(code, Some(1), "{said}");
    assert!(
        report["totals"]["errors"]["not_sent"].as_u64() > Some(0),
        "{report}"
    );
    assert!(said.contains("expected p50<40ms: does NOT hold"), "{said}");
    over.store(true, Ordering::Relaxed);
}

#[test]
fn what_cannot_work_is_refused_at_once_with_the_reason() {
    let lab = Lab::up();
    let refused = |more: &[&str], code: i32, words: &str| {
        let arguments: Vec<&str> = ["bench", "run"].iter().chain(more).copied().collect();
        let output = sluice_at_gateway(&lab, &[], &arguments);
        assert_eq!(output.status.code(), Some(code), "{}", printed(&output));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(words), "{said}");
    };
    let elsewhere = ["--target", "10.9.9.9:80", "--client", CLIENT];
    refused(
        &elsewhere,
        2,
        "the client's port has no way there, only to 10.77.2.0/24; give it an address of the target's network, \
         or route=0.0.0.0/0 via ROUTER",
    );
    let itself = ["--target", "10.77.2.1:80", "--client", CLIENT];
    refused(&itself, 2, "that is the client's own address");
    let by_name = ["--target", "gateway:80", "--client", CLIENT];
    refused(&by_name, 2, "write an IP address and a port, such as");
    let alone = "device=net_memif0,role=client,id=0,socket-abstract=no,socket=/nowhere/front.sock;address=10.0.0.2/24";
    let nobody = [
        "--target",
        "10.0.0.1:80",
        "--memory",
        "64MiB",
        "--client",
        alone,
    ];
    refused(&nobody, 1, "finding the directory /nowhere failed");
    let there = ["--target", "10.77.2.2:8080", "--client", CLIENT];
    let with = |more: [&'static str; 2]| [&there[..], &more].concat();
    let both = [&there[..], &["--json", "-", "--html", "-"]].concat();
    refused(&both, 2, "--json and --html both go to standard output");
    refused(
        &with(["-c", "40000"]),
        2,
        "-c 40000: the client's source ports allow for 28000 connections to the target, with the number of its \
         addresses that lead there being 1; add 1 to --client in the same network (address=ADDRESS/24, again for \
         each), or say -c 28000",
    );
    let two =
        "interface=sluice-back;address=10.77.2.1/24;address=10.77.2.9/32;address=fd77:2::1/64";
    let of_one_network = ["--target", "10.77.2.2:80", "-c", "28001", "--client", two];
    refused(
        &of_one_network,
        2,
        "-c 28001: the client's source ports allow for 28000",
    );
    refused(
        &with(["--core", "4095"]),
        2,
        "--core: core 4095 is not there",
    );
    refused(&with(["--path", "no path"]), 2, "is not valid HTTP");
    refused(&with(["--method", "G T"]), 2, "is not valid HTTP");
    refused(&with(["--memory", "1"]), 2, "write 64MiB to 64GiB");
    refused(&with(["--body", "999999GiB"]), 2, "write 0B to 1024GiB");
    refused(
        &with(["--json", "/nowhere/run.json"]),
        1,
        "cannot write /nowhere/run.json",
    );
}

#[test]
fn a_backend_alone_tells_what_curl_asked_and_what_was_malformed() {
    let lab = Lab::up();
    let output = thread::scope(|scope| {
        let lab = &lab;
        let backend = scope.spawn(move || {
            let serve = "bench run --memory 64MiB -d 6s --backend";
            let port = "interface=sluice-back;address=10.77.2.1/24;listen=8080;body=3";
            let arguments: Vec<&str> = serve.split(' ').chain([port]).collect();
            sluice_at_gateway(lab, &["timeout", "--foreground", "120"], &arguments)
        });
        let curl = ["curl", "-sS", "-m", "1", "http://10.77.2.1:8080/"];
        while !lab.backend(&curl).status.success() && !backend.is_finished() {}
        let garbage =
            r"exec 3<>/dev/tcp/10.77.2.1/8080; printf 'what is this\r\n\r\n' >&3; cat <&3";
        lab.backend(&["timeout", "5", "bash", "-c", garbage]);
        backend.join().expect("it does not panic")
    });
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let served = "1 requests on 2 connections, 1 malformed, 0 wrong bodies";
    assert!(said.contains(served), "{said}");
    assert!(
        said.contains("requests reached the backend damaged"),
        "{said}"
    );
}
