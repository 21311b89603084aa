//! What an operator sees of the traffic: captures and flows.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pcap_parser::pcapng::Block;
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{OptionCode, parse_block_le};
use serde_json::Value;
use sluice_tests::gateway::Gateway;
use sluice_tests::lab::{Lab, printed};

use crate::CONFIG;

/// A frame of a capture.
struct Frame {
    port: String,
    direction: &'static str,
    time: Duration,
    bytes: Vec<u8>,
}

impl Frame {
    fn holds(&self, text: &str) -> bool {
        let mut places = self.bytes.windows(text.len());
        places.any(|bytes| bytes == text.as_bytes())
    }
}

/// The frames of a pcapng file, and how many it says were lost.
fn read(file: &Path) -> (Vec<Frame>, u64) {
    let bytes = std::fs::read(file).expect("no capture");
    let option = |options: &[pcap_parser::pcapng::PcapNGOption<'_>], code| {
        let found = options.iter().find(|o| o.code == OptionCode(code));
        let found = found.unwrap_or_else(|| panic!("no option {code}"));
        found.as_bytes().expect("an option with a value").to_vec()
    };
    let (mut ports, mut frames, mut lost) = (Vec::new(), Vec::new(), 0);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (after, block) = parse_block_le(rest).expect("no pcapng");
        rest = after;
        match block {
            Block::InterfaceDescription(interface) => {
                let name = option(&interface.options, 2);
                ports.push(String::from_utf8(name).expect("a name is text"));
            }
            Block::EnhancedPacket(packet) => frames.push(Frame {
                port: ports[packet.if_id as usize].clone(),
                direction: match option(&packet.options, 2)[0] {
                    1 => "in",
                    _ => "out",
                },
                time: Duration::from_nanos(
                    u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low),
                ),
                bytes: packet.packet_data().to_vec(),
            }),
            Block::InterfaceStatistics(counts) => {
                let drops = option(&counts.options, 5);
                lost += u64::from_le_bytes(drops.try_into().expect("8 bytes"));
            }
            _ => {}
        }
    }
    (frames, lost)
}

/// Waits for a condition that is soon to come true.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Captures with these flags while `act` runs, and ends the capture; returns the file's frames and
/// what the command said.
fn captured(
    lab: &Lab,
    gateway: &Gateway<'_>,
    flags: &[&str],
    act: impl FnOnce(),
) -> (Vec<Frame>, String) {
    let file = lab.directory().join("capture.pcapng");
    let path = file.to_str().expect("the lab's path is text");
    let arguments = [&["capture", "--write", path, "--seconds", "30"], flags].concat();
    let output = thread::scope(|scope| {
        let capture = scope.spawn(|| gateway.sluice(&[], &arguments));
        until("the capture has begun", || {
            assert!(!capture.is_finished(), "the capture ended early");
            file.metadata().is_ok_and(|metadata| metadata.len() > 0)
        });
        act();
        // A frame is fetched some milliseconds after it passed; then the capture can end.
        thread::sleep(Duration::from_millis(100));
        let ended = gateway.ask_admin("DELETE", "/capture");
        assert!(ended.is_ok_and(|reply| reply.status == 200));
        capture.join().expect("the capture's thread")
    });
    assert!(output.status.success(), "{}", printed(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let (frames, lost) = read(&file);
    assert_eq!(lost, 0, "{said}");
    let expected = format!("{} frames captured, 0 lost", frames.len());
    assert!(said.contains(&expected), "{said}");
    (frames, said)
}

#[test]
fn a_request_of_curl_is_captured_on_both_sides_with_its_answer() {
    let lab = Lab::up();
    let gateway = lab.gateway(CONFIG);
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let (frames, _) = captured(&lab, &gateway, &[], || {
        assert_eq!(lab.curl(&["http://nginx.test/1k"]).status, 200);
    });
    let seen = |text: &str| -> Vec<(&str, &str)> {
        let holding = frames.iter().filter(|frame| frame.holds(text));
        holding.map(|f| (f.port.as_str(), f.direction)).collect()
    };
    assert_eq!(seen("GET /1k HTTP/1.1"), [("front", "in"), ("back", "out")]);
    assert_eq!(seen("HTTP/1.1 200 OK"), [("back", "in"), ("front", "out")]);
    // Handshakes, and ARP before them, are there too.
    assert!(frames.len() > 10, "{} frames", frames.len());
    assert!(frames.is_sorted_by_key(|frame| frame.time));
    let since = since.expect("a clock after 1970");
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("a clock after 1970");
    for frame in &frames {
        assert!((since..now).contains(&frame.time), "{:?}", frame.time);
    }
}

#[test]
fn conditions_and_bounds_of_a_capture_hold() {
    let lab = Lab::up();
    let gateway = lab.gateway(CONFIG);
    let flags = ["--tcp-port", "80", "--direction", "out", "--snaplen", "80"];
    let (frames, _) = captured(&lab, &gateway, &flags, || {
        assert_eq!(lab.curl(&["http://nginx.test/64k"]).status, 200);
    });
    assert!(frames.len() > 40, "{} frames", frames.len());
    for frame in &frames {
        assert_eq!((frame.port.as_str(), frame.direction), ("front", "out"));
        assert!(frame.bytes.len() <= 80);
    }

    // Ends by itself at the number of packets, and the next one is allowed at once.
    for _ in 0..2 {
        let file = lab.directory().join("few.pcapng");
        let path = file.to_str().expect("the lab's path is text");
        let arguments = ["capture", "--packets", "5", "--write", path];
        let output = thread::scope(|scope| {
            let capture = scope.spawn(|| gateway.sluice(&[], &arguments));
            until("a request is captured", || {
                assert_eq!(lab.curl(&["http://nginx.test/"]).status, 200);
                capture.is_finished()
            });
            capture.join().expect("the capture's thread")
        });
        assert!(output.status.success(), "{}", printed(&output));
        assert_eq!(read(&file).0.len(), 5);
    }
}

#[test]
fn there_is_one_capture_at_a_time_and_it_ends_with_its_client() {
    let lab = Lab::up();
    let gateway = lab.gateway(CONFIG);
    let (_, said) = captured(&lab, &gateway, &["--host", "10.77.9.9"], || {
        let second = gateway.admin("/capture").expect("no answer");
        assert_eq!(second.status, 409, "{}", second.text());
        assert!(second.text().contains("one at a time"), "{}", second.text());
        let second = gateway.sluice(&[], &["capture"]);
        assert_eq!(second.status.code(), Some(1));
        assert!(printed(&second).contains("the gateway refuses: a capture"));
    });
    assert!(said.contains("0 frames captured"), "{said}");

    // A client that just goes away, twice: the second finds the place free.
    for _ in 0..2 {
        let killed = gateway.sluice(&["timeout", "--signal=KILL", "1"], &["capture"]);
        assert!(!killed.stdout.is_empty(), "{}", printed(&killed));
        until("the capture's end is noticed", || {
            let events = gateway.ask_admin("DELETE", "/capture");
            events.expect("no answer").status == 404
        });
    }
    let wrong = gateway.admin("/capture?port=nowhere").expect("no answer");
    assert_eq!(wrong.status, 400);
    assert_eq!(wrong.text(), "port=nowhere: must be one of: back, front\n");
}

#[test]
fn a_capture_that_is_interrupted_is_complete() {
    let lab = Lab::up();
    let gateway = lab.gateway(CONFIG);
    let file = lab.directory().join("interrupted.pcapng");
    let path = file.to_str().expect("the lab's path is text");
    // In the foreground it signals once. Otherwise it signals the process and then its group, and a
    // second Ctrl-C ends a capture at once.
    let launcher = [
        "timeout",
        "--foreground",
        "--preserve-status",
        "--signal=INT",
        "2",
    ];
    let output = thread::scope(|scope| {
        let capture = scope.spawn(|| gateway.sluice(&launcher, &["capture", "--write", path]));
        until("the capture has begun", || {
            file.metadata().is_ok_and(|metadata| metadata.len() > 0)
        });
        assert_eq!(lab.curl(&["http://nginx.test/"]).status, 200);
        capture.join().expect("the capture's thread")
    });
    assert!(output.status.success(), "{}", printed(&output));
    let (frames, lost) = read(&file);
    assert!(frames.iter().any(|frame| frame.holds("GET / HTTP/1.1")));
    assert_eq!(lost, 0);
}

#[test]
fn a_slow_download_of_curl_shows_in_the_flows() {
    let lab = Lab::up();
    let gateway = lab.gateway(CONFIG);
    let flows = || -> Value {
        let reply = gateway.admin("/flows").expect("no answer");
        serde_json::from_slice(&reply.body).expect("no JSON")
    };
    assert_eq!(flows()["list"], Value::Array(vec![]));
    let slow = ["--limit-rate", "50k", "--max-time", "6"];
    let to = ["--connect-to", "::10.77.1.1:80", "http://nginx.test/1m"];
    let curl = [&["curl", "-s", "-o", "/dev/null"], &slow[..], &to].concat();
    thread::scope(|scope| {
        let client = scope.spawn(|| lab.client(&curl));
        let of = |flows: &Value, key: &str, name: &str| -> Option<Value> {
            let list = flows["list"].as_array().expect("a list");
            list.iter().find(|flow| flow[key] == name).cloned()
        };
        // Its window fills, and what it does not take waits here.
        until("the client's window is full", || {
            of(&flows(), "listener", "http").is_some_and(|flow| flow["send_queue"] != 0)
        });
        let flows = flows();
        let down = of(&flows, "listener", "http").expect("the client's flow");
        assert_eq!(down["port"], "front");
        assert_eq!(down["local"], "10.77.1.1:80");
        assert_eq!(down["state"], "ESTABLISHED");
        assert_eq!(down["service"], Value::Null);
        assert!(down["bytes_out"].as_u64() > Some(10_000), "{down:#}");
        assert!(down["bytes_in"].as_u64() > Some(60), "{down:#}");
        let rtt = down["rtt_us"].as_u64().expect("a round-trip time");
        assert!((1..5_000_000).contains(&rtt), "{down:#}");
        let up = of(&flows, "service", "nginx").expect("the endpoint's flow");
        assert_eq!(
            (&up["port"], &up["state"]),
            (&"back".into(), &"ESTABLISHED".into())
        );
        assert!(
            up["bytes_in"].as_u64() > down["bytes_out"].as_u64(),
            "{up:#}"
        );

        let table = gateway.sluice(&[], &["flows"]);
        assert!(table.status.success(), "{}", printed(&table));
        let table = String::from_utf8_lossy(&table.stdout).into_owned();
        assert!(table.starts_with("WORKER  PORT"), "{table}");
        assert!(table.contains("ESTABLISHED  http"), "{table}");
        assert!(
            table.contains("2 of 2 flows; 0 half open, 0 in TIME-WAIT"),
            "{table}"
        );
        let one = gateway.sluice(&[], &["flows", "--json", "--limit", "1"]);
        let one: Value = serde_json::from_slice(&one.stdout).expect("no JSON");
        assert_eq!(one["list"].as_array().map(Vec::len), Some(1));
        assert_eq!(one["next"], 1);
        let heaviest = gateway.sluice(&[], &["flows", "--json", "--heaviest", "--limit", "1"]);
        let heaviest: Value = serde_json::from_slice(&heaviest.stdout).expect("no JSON");
        let list = heaviest["list"].as_array().expect("a list");
        assert_eq!((list.len(), &list[0]["service"]), (1, &"nginx".into()));
        client.join().expect("curl's thread");
    });
    let wrong = gateway.admin("/flows?limit=0").expect("no answer");
    assert_eq!(wrong.status, 400);
    assert_eq!(wrong.text(), "limit=0: must be a number from 1 to 10000\n");
}
