//! The load generator in virtual time: around the real gateway, and against targets that misbehave.
#![forbid(unsafe_code)]

use std::time::Duration;

use sluice_engine::stats::RequestFate;
use sluice_perf::load::plan::{RequestFile, RequestSpec};
use sluice_perf::load::stats::StepStats;
use sluice_perf::load::{Arrivals, Length, Pace, Rate, Reuse, Step};
use sluice_perf::memory::Setup;
use sluice_perf::rig::Rig;

fn step(pace: Pace, duration: Duration, requests: u64) -> Step {
    Step {
        pace,
        warm_up: Duration::from_millis(10),
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
    use sluice_stack::counters::Counted;
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
            ..Setup::default()
        };
        let mut rig = Rig::new(&setup, &mixed(), reuse).expect("it is set up");
        let step = step(Pace::Closed, Duration::from_secs(60), 3_000);
        assert!(rig.run(step, Duration::from_secs(60)));
        let stats = rig.generator.take_stats();
        assert_eq!(faults(&stats), []);
        assert_eq!((stats.requests, stats.answers), (3_000, 3_000));
        assert_eq!(stats.latency.len(), 3_000);
        let served = rig.generator.served();
        assert_eq!((served.malformed, served.wrong_bodies), (0, 0));
        // The warm-up's requests too.
        let through = rig.stats.requests.get(RequestFate::Answered);
        assert!(served.requests >= 3_000 && through == served.requests);
        if reuse == Reuse::Close {
            assert!(stats.connections >= 3_000 - 16, "{}", stats.connections);
        }
    }
}
