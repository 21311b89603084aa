//! `sluice bench wire` between the lab's client and its nginx.

use std::thread;
use std::time::{Duration, Instant};

use sluice_tests::gateway::sluice_at_gateway;
use sluice_tests::lab::{Lab, printed};

/// A round trip that is longer by twice the delay, some frames lost both ways, and every body whole.
#[test]
fn curl_and_nginx_meet_over_a_bad_wire() {
    let lab = Lab::up();
    // The wire joins both networks: each end finds the other on its own link.
    let [client, backend] = [
        ["ip", "route", "add", "10.77.2.0/24", "dev", "front"],
        ["ip", "route", "add", "10.77.1.0/24", "dev", "back"],
    ];
    assert!(lab.client(&client).status.success());
    assert!(lab.backend(&backend).status.success());

    let output = thread::scope(|scope| {
        let arguments = [
            "bench",
            "wire",
            "interface=sluice-front",
            "interface=sluice-back",
            "--delay",
            "20ms",
            "--loss",
            "1%",
            "--memory",
            "64MiB",
        ];
        let lab = &lab;
        let wire = scope.spawn(move || {
            let interrupt = [
                "timeout",
                "--foreground",
                "--preserve-status",
                "--signal",
                "INT",
                "12",
            ];
            sluice_at_gateway(lab, &interrupt, &arguments)
        });
        let fetch = |path: &str| {
            let url = format!("http://10.77.2.2:8080{path}");
            let write = "%{http_code} %{size_download} %{time_connect}";
            lab.client(&[
                "curl",
                "-sS",
                "-m",
                "5",
                "-o",
                "/dev/null",
                "-w",
                write,
                &url,
            ])
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !fetch("/").status.success() {
            assert!(Instant::now() < deadline, "nothing comes through the wire");
            thread::sleep(Duration::from_millis(50));
        }
        let fetched = fetch("/64k");
        let said = String::from_utf8_lossy(&fetched.stdout).into_owned();
        let [status, size, connected] = said.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{}", printed(&fetched));
        };
        assert_eq!((status, size), ("200", "65536"), "{}", printed(&fetched));
        let connected: f64 = connected.parse().expect("seconds");
        assert!(connected >= 0.040, "a round trip of {connected} s");
        wire.join().expect("the wire's thread")
    });
    assert!(output.status.success(), "{}", printed(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the wire carries frames"), "{said}");
    for way in ["there: ", "back: "] {
        let line = said.lines().find_map(|line| line.split_once(way));
        let (_, counts) = line.unwrap_or_else(|| panic!("{said}"));
        let numbers: Vec<u64> = counts
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|digits| digits.parse().ok())
            .collect();
        let [
            came,
            went,
            lost,
            doubled,
            overtaken,
            overflowed,
            no_buffer,
            flying,
        ] = numbers[..]
        else {
            panic!("{said}");
        };
        assert!(came > 40, "{said}");
        assert_eq!(came, went + lost + flying, "{said}");
        assert_eq!(
            (doubled, overtaken, overflowed, no_buffer),
            (0, 0, 0, 0),
            "{said}"
        );
    }
}

#[test]
fn a_wire_that_cannot_be_says_why() {
    let lab = Lab::up();
    let wire = |arguments: &[&str]| {
        let output = sluice_at_gateway(&lab, &[], &[&["bench", "wire"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let front = "interface=sluice-front";
    let (code, said) = wire(&[front, "interface=nowhere"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("error: the second end: there is no network interface `nowhere`"),
        "{said}"
    );
    let (code, said) = wire(&[front, "interface=sluice-back", "--loss", "7"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("write 1% or 0.1%"), "{said}");
    let (code, said) = wire(&[front]);
    assert_eq!(code, Some(2), "{said}");
    let (code, said) = wire(&[front, front]);
    assert_eq!(code, Some(2), "{said}");
    let twice = "the first end and the second end are the same device, which is opened once";
    assert!(said.contains(twice), "{said}");
}
