//! slowhttptest, which holds connections by being slow, in each of its four ways. Those connections
//! end as documented, and everybody else is served meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use sluice_tests::http::Reply;
use sluice_tests::lab::{Lab, printed};

use crate::GATEWAY;
use crate::counted::Counted;

/// Connections that slowhttptest opens at once.
const CONNECTIONS: u32 = 100;

/// Between two requests of the client that is in no way slow.
const PAUSE: Duration = Duration::from_millis(50);

/// The lab's nginx, with little patience for clients.
const CONFIG: &str = r#"
node: { drain_timeout: 1s }
ports:
  front: { interface: sluice-front, addresses: [10.77.1.1/24] }
  back: { interface: sluice-back, addresses: [10.77.2.1/24] }
listeners:
  http:
    address: "10.77.1.1:80"
    head_timeout: 3s
    body_timeout: 3s
    idle_timeout: 3s
services:
  nginx: { endpoints: ["10.77.2.2:8080"] }
routes:
  - { service: nginx }
"#;

/// A way of being slow.
pub(crate) struct Attack {
    /// What the connections do.
    pub(crate) name: &'static str,
    /// What slowhttptest is told.
    options: &'static [&'static str],
    /// What each of them gets, and whether its connection is closed then.
    pub(crate) outcome: &'static str,
    pub(crate) fate: &'static str,
    /// What bounds it.
    pub(crate) bound: &'static str,
}

pub(crate) const ATTACKS: [Attack; 4] = [
    Attack {
        name: "A head that never ends, a field a second (`slowhttptest -H`)",
        options: &["-H", "-i", "1", "-x", "10", "-u", "http://10.77.1.1/"],
        outcome: "408 closed",
        fate: "head_timeout",
        bound: "head_timeout",
    },
    Attack {
        name: "A body of some bytes a second (`slowhttptest -B`)",
        options: &["-B", "-i", "1", "-x", "10", "-u", "http://10.77.1.1/echo"],
        outcome: "408 closed",
        fate: "body_timeout",
        bound: "body_timeout, limits.body_rate",
    },
    Attack {
        name: "An answer that is not read, behind a tiny window (`slowhttptest -X`)",
        options: &[
            "-X",
            "-w",
            "10",
            "-y",
            "20",
            "-n",
            "1",
            "-z",
            "5",
            "-u",
            "http://10.77.1.1/1m",
        ],
        outcome: "200 reset",
        fate: "client_stalled",
        bound: "idle_timeout",
    },
    Attack {
        name: "A Range of two thousand pieces (`slowhttptest -R`)",
        options: &["-R", "-u", "http://10.77.1.1/64k"],
        outcome: "200 closed",
        fate: "answered",
        bound: "limits.head",
    },
];

#[test]
fn slowhttptest_with_slow_heads_gets_408() {
    attack(&ATTACKS[0]);
}

#[test]
fn slowhttptest_with_slow_bodies_gets_408() {
    attack(&ATTACKS[1]);
}

#[test]
fn slowhttptest_that_does_not_read_is_cut_off() {
    attack(&ATTACKS[2]);
}

#[test]
fn slowhttptest_with_many_ranges_is_answered_by_nginx() {
    attack(&ATTACKS[3]);
}

fn attack(attack: &Attack) {
    let lab = Lab::up();
    let gateway = lab.gateway(CONFIG);
    let before = Counted::after(&gateway, None, 0);
    let over = AtomicBool::new(false);
    let (output, served) = thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut served = 0;
            while !over.load(Ordering::Relaxed) {
                let reply = fetch(&lab);
                assert_eq!(
                    (reply.status, reply.body.len()),
                    (200, 100),
                    "{}",
                    reply.head
                );
                served += 1;
                thread::sleep(PAUSE);
            }
            served
        });
        let number = CONNECTIONS.to_string();
        let general = [
            "slowhttptest",
            "-c",
            &number,
            "-r",
            &number,
            "-l",
            "12",
            "-p",
            "10",
        ];
        let output = lab.client(&[&general, attack.options].concat());
        over.store(true, Ordering::Relaxed);
        (
            output,
            others.join().expect("another client was not served"),
        )
    });
    // Its exit status tells nothing.
    let report = printed(&output);
    assert!(report.contains("Exit status:"), "{report}");
    assert!(served > 0, "nobody else was there meanwhile");

    let after = Counted::after(&gateway, Some(&before), CONNECTIONS + served);
    // It also asks now and then whether the server still answers, and may leave in the middle.
    let mut expected = after.count("answered", &before);
    let ended = after.count(attack.fate, &before);
    if attack.fate == "answered" {
        assert!(ended >= CONNECTIONS + served, "{ended}");
    } else {
        assert_eq!(
            ended,
            CONNECTIONS,
            "{}: {}",
            attack.fate,
            after.fates_since(&before)
        );
        expected += ended;
    }
    expected += after.count("client_gone", &before);
    assert_eq!(
        after.requests(&before),
        expected,
        "{}",
        after.fates_since(&before)
    );
    let status = attack.outcome.split(' ').next().unwrap_or_default();
    assert!(after.status(status, &before) >= CONNECTIONS, "{status}");
    let [exchanges, busy] = after.under_way();
    assert_eq!((exchanges, busy), (0, 0), "something is left open");
}

/// A request of a client that is in no way slow.
fn fetch(lab: &Lab) -> Reply {
    let mut connection = lab.connect(GATEWAY).expect("the gateway does not accept");
    connection
        .send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .expect("cannot send");
    connection.read_reply().expect("no answer")
}
