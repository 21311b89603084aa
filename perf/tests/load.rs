//! The load generator in virtual time: around the real gateway, and against targets that misbehave.
#![forbid(unsafe_code)]

use std::time::Duration;

use sluice_engine::stats::RequestFate;
use sluice_perf::load::plan::{RequestFile, RequestSpec};
use sluice_perf::load::run::Stage;
use sluice_perf::load::stats::StepStats;
use sluice_perf::load::{Arrivals, Fault, Length, Pace, Rate, Reuse, Step};
use sluice_perf::memory::Setup;
use sluice_perf::rig::Rig;
use sluice_stack::counters::Counted;
use sluice_stack::sim::Faults;

fn step(pace: Pace, duration: Duration, requests: u64) -> Step {
    Step {
        pace,
        warm_up: Duration::from_millis(1),
        length: Length { duration, requests },
        interval: Duration::from_millis(100),
    }
}

fn one() -> RequestFile {
    RequestFile {
        requests: vec![RequestSpec::default()],
    }
}

fn mixed() -> RequestFile {
    let yaml = "
requests:
  - { weight: 6, path: /a }
  - { weight: 3, path: /b, response: 20KiB }
  - { path: /c, method: POST, body: 30KiB, response: 300KiB, status: 201 }
  - { path: /d, method: HEAD }
  - { path: /e, method: DELETE, status: 204 }
";
    serde_saphyr::from_str(yaml).expect("valid YAML")
}

fn faults(stats: &StepStats) -> Vec<(&'static str, u64)> {
    let faults = stats.faults.iter().filter(|(_, count)| *count > 0);
    faults.map(|(fault, count)| (fault.name(), count)).collect()
}

#[test]
fn every_request_through_the_gateway_is_checked() {
    for (v6, reuse) in [
        (false, Reuse::KeepAlive),
        (true, Reuse::KeepAlive),
        (false, Reuse::Close),
    ] {
        let setup = Setup {
            v6,
            connections: 16,
            faults: [[slow(100); 2]; 2],
            ..Setup::default()
        };
        let file = match reuse {
            Reuse::KeepAlive => mixed(),
            Reuse::Close => one(),
        };
        let mut rig = Rig::new(&setup, &file, reuse).expect("it is set up");
        let step = step(Pace::Closed, Duration::from_secs(60), 1_000);
        assert!(rig.run(step, Duration::from_secs(60)));
        let stats = rig.generator.take_stats();
        assert_eq!(faults(&stats), []);
        assert_eq!((stats.requests, stats.answers), (1_000, 1_000));
        assert_eq!(stats.latency.len(), 1_000);
        let served = rig.generator.served();
        assert_eq!((served.malformed, served.wrong_bodies), (0, 0));
        // The warm-up's requests too.
        let through = rig.stats.requests.get(RequestFate::Answered);
        assert!(served.requests >= 1_000 && through == served.requests);
        if reuse == Reuse::Close {
            assert!(stats.connections >= 1_000 - 16, "{}", stats.connections);
        }
    }
}

/// As an access log has them: what was answered to one path differs by method, by host, and from time to time.
#[test]
fn requests_of_one_path_are_answered_each_as_it_says() {
    let yaml = "
requests:
  - { weight: 4, path: /a }
  - { weight: 2, path: /a, method: POST, body: 3KiB, status: 201, response: 7B }
  - { path: /a, method: DELETE, status: 204 }
  - { path: /a, status: 503, response: 2KiB }
  - { path: /a, headers: { Accept: text/plain }, response: 1B }
  - { path: /b, status: 404 }
";
    let file: RequestFile = serde_saphyr::from_str(yaml).expect("valid YAML");
    let setup = Setup {
        connections: 8,
        faults: [[slow(100); 2]; 2],
        ..Setup::default()
    };
    let mut rig = Rig::new(&setup, &file, Reuse::KeepAlive).expect("it is set up");
    let step = step(Pace::Closed, Duration::from_secs(60), 500);
    assert!(rig.run(step, Duration::from_secs(60)));
    let stats = rig.generator.take_stats();
    assert_eq!(faults(&stats), []);
    assert_eq!((stats.requests, stats.answers), (500, 500));
    let served = rig.generator.served();
    assert_eq!((served.malformed, served.wrong_bodies), (0, 0));
}

#[test]
fn an_open_loop_sends_when_it_is_meant_to() {
    let mut rig = Rig::new(&Setup::default(), &one(), Reuse::KeepAlive).expect("it is set up");
    let rate = Rate::constant(5_000.0, Arrivals::Poisson);
    let step = step(Pace::Open(rate), Duration::from_secs(1), u64::MAX);
    assert!(rig.run(step, Duration::from_secs(5)));
    let stats = rig.generator.take_stats();
    assert_eq!(faults(&stats), []);
    assert_eq!(stats.unsent, 0);
    assert!((4_500..5_500).contains(&stats.answers), "{}", stats.answers);
    assert_eq!(stats.timing.len(), stats.requests);
    // The clock goes on by 10 us at least.
    assert!(stats.timing.max() <= 11_000, "{}", stats.timing.max());
    let intervals: u64 = stats.intervals.iter().map(|i| i.latency.len()).sum();
    assert_eq!((intervals, stats.intervals.len()), (stats.answers, 10));
}

#[test]
fn latency_counts_from_the_intended_time_when_the_target_stalls() {
    let setup = Setup {
        connections: 4,
        ..Setup::default()
    };
    let mut rig = Rig::new(&setup, &one(), Reuse::KeepAlive).expect("it is set up");
    let rate = Rate::constant(1_000.0, Arrivals::Constant);
    let began = rig.net.now();
    rig.generator.begin(
        step(Pace::Open(rate), Duration::from_secs(1), u64::MAX),
        began,
    );
    let stall = Duration::from_millis(300)..Duration::from_millis(500);
    while rig.generator.stage() != Stage::Done {
        let now = rig.net.now();
        assert!(
            now.since(began) < Duration::from_secs(10),
            "it does not end"
        );
        if stall.contains(&now.since(began)) {
            rig.generator.poll_once(now); // the gateway sleeps
        } else {
            rig.turn(|generator, now| {
                generator.poll_once(now);
            });
        }
        rig.advance();
    }
    let stats = rig.generator.take_stats();
    assert_eq!(faults(&stats), []);
    assert_eq!((stats.requests, stats.answers), (1_000, 1_000));
    // A fifth of the requests was due while it slept, and waited for up to 200 ms, though only four of
    // them were sent then.
    let waited = stats.latency.count_between(10_000_000, 210_000_000);
    assert!((185..=200).contains(&waited), "{waited}");
    let longest = stats.latency.max();
    assert!((195_000_000..205_000_000).contains(&longest), "{longest}");
    // That was not the generator's doing.
    assert!(stats.timing.max() < 1_100_000, "{}", stats.timing.max());
}

#[test]
fn what_was_due_and_not_sent_is_told() {
    let setup = Setup {
        connections: 1,
        faults: [[slow(10_000); 2]; 2],
        ..Setup::default()
    };
    let mut rig = Rig::new(&setup, &one(), Reuse::KeepAlive).expect("it is set up");
    // Forty milliseconds a request, and one connection.
    let rate = Rate::constant(100.0, Arrivals::Constant);
    let step = step(Pace::Open(rate), Duration::from_secs(2), u64::MAX);
    assert!(rig.run(step, Duration::from_secs(20)));
    let stats = rig.generator.take_stats();
    assert_eq!(faults(&stats), []);
    assert!((47..=52).contains(&stats.answers), "{}", stats.answers);
    assert!((147..=153).contains(&stats.unsent), "{}", stats.unsent);
}

/// Its core is another's from 3 ms before the end until 7 ms behind it.
#[test]
fn what_became_due_in_a_gap_at_the_end_is_sent_as_far_as_connections_are_free() {
    for (connections, unsent) in [(16, 0), (1, 2)] {
        let setup = Setup {
            connections,
            ..Setup::default()
        };
        let mut rig = Rig::new(&setup, &one(), Reuse::KeepAlive).expect("it is set up");
        let rate = Rate::constant(1_000.0, Arrivals::Constant);
        let step = step(Pace::Open(rate), Duration::from_millis(100), u64::MAX);
        rig.generator.begin(step, rig.net.now());
        let mut began = None;
        while rig.generator.stage() != Stage::Done {
            let now = rig.net.now();
            let measured = began.map_or(Duration::ZERO, |began| now.since(began));
            assert!(measured < Duration::from_secs(5), "it does not end");
            let gap = Duration::from_micros(96_500)..Duration::from_micros(107_000);
            rig.turn(|generator, now| {
                if gap.contains(&measured) {
                    return;
                }
                if generator.poll_once(now).entered == Some(Stage::Measuring) {
                    began = Some(now);
                }
            });
            rig.advance();
        }
        let stats = rig.generator.take_stats();
        assert_eq!(faults(&stats), []);
        assert_eq!(stats.unsent, unsent, "over {connections}");
        assert_eq!(
            (stats.requests, stats.answers),
            (100 - unsent, 100 - unsent)
        );
    }
}

#[test]
fn who_hangs_up_leaves_the_gateway_no_connection_to_its_backend() {
    let setup = Setup {
        connections: 8,
        ..Setup::default()
    };
    let mut rig = Rig::new(&setup, &one(), Reuse::KeepAlive).expect("it is set up");
    let step = step(Pace::Closed, Duration::from_secs(60), 100);
    assert!(rig.run(step, Duration::from_secs(60)));
    // A connection of the client's, and the one to the backend.
    assert!(rig.stats.stack.flows.get() > 8);
    rig.generator.hang_up(rig.net.now());
    let deadline = rig.net.now() + Duration::from_secs(1);
    while rig.generator.has_flows(rig.net.now()) || rig.stats.stack.flows.get() > 0 {
        assert!(
            rig.net.now() < deadline,
            "{} left",
            rig.stats.stack.flows.get()
        );
        rig.turn(|generator, now| {
            generator.poll_once(now);
        });
        rig.advance();
    }
}

/// A wire that takes so many microseconds.
fn slow(micros: u64) -> Faults {
    Faults {
        delay: Duration::from_micros(micros),
        ..Faults::default()
    }
}

#[test]
fn connections_rest_between_requests() {
    let setup = Setup {
        connections: 10,
        ..Setup::default()
    };
    let file = serde_saphyr::from_str("requests: [{think: 20ms}]").expect("valid YAML");
    let mut rig = Rig::new(&setup, &file, Reuse::KeepAlive).expect("it is set up");
    let step = step(Pace::Closed, Duration::from_secs(1), u64::MAX);
    assert!(rig.run(step, Duration::from_secs(5)));
    let answers = rig.generator.take_stats().answers;
    // Ten connections, one request each in 20 ms and a little.
    assert!((480..=510).contains(&answers), "{answers}");
}

#[test]
fn a_lossy_wire_costs_time_and_no_answer() {
    let faults = Faults {
        loss: 0.02,
        reorder: 0.02,
        duplicate: 0.02,
        delay: Duration::from_micros(100),
        ..Faults::default()
    };
    let setup = Setup {
        connections: 8,
        faults: [[faults; 2]; 2],
        ..Setup::default()
    };
    let mut rig = Rig::new(&setup, &mixed(), Reuse::KeepAlive).expect("it is set up");
    let step = step(Pace::Closed, Duration::from_secs(600), 300);
    assert!(rig.run(step, Duration::from_secs(600)));
    let stats = rig.generator.take_stats();
    let wrong = [Fault::WrongBody, Fault::WrongStatus, Fault::BadAnswer];
    assert_eq!(wrong.map(|fault| stats.faults.get(fault)), [0; 3]);
    assert_eq!(stats.answers + stats.faults.sum(), 300);
    let served = rig.generator.served();
    assert_eq!((served.malformed, served.wrong_bodies), (0, 0));
}

#[test]
fn a_step_that_is_stopped_ends_soon_and_blames_nobody() {
    let setup = Setup {
        connections: 8,
        faults: [[slow(200); 2]; 2],
        ..Setup::default()
    };
    let mut rig = Rig::new(&setup, &one(), Reuse::KeepAlive).expect("it is set up");
    let rate = Rate::constant(2_000.0, Arrivals::Constant);
    for asleep in [false, true] {
        let began = rig.net.now();
        rig.generator.begin(
            step(Pace::Open(rate), Duration::from_secs(60), u64::MAX),
            began,
        );
        while rig.generator.stage() != Stage::Done {
            let now = rig.net.now();
            let spent = now.since(began);
            assert!(spent < Duration::from_secs(2), "it does not end");
            if spent > Duration::from_millis(200) {
                rig.generator.stop(now);
            }
            if asleep && spent > Duration::from_millis(190) {
                rig.generator.poll_once(now);
            } else {
                rig.turn(|generator, now| {
                    generator.poll_once(now);
                });
            }
            rig.advance();
        }
        let stats = rig.generator.take_stats();
        assert_eq!(faults(&stats), []);
        // Those on the way when the gateway fell asleep count neither way.
        let open = stats.requests - stats.answers;
        assert_eq!(open > 0, asleep, "{open}");
        assert!(open <= 8, "{open}");
        assert!((350..=400).contains(&stats.answers), "{}", stats.answers);
        let measured = stats.measured;
        assert!(measured < Duration::from_millis(210), "{measured:?}");
    }
}
