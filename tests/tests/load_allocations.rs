//! The load generator allocates nothing per request once its connections and buffers are there.
#![forbid(unsafe_code)]

use std::time::Duration;

use sluice_perf::load::plan::RequestFile;
use sluice_perf::load::run::Stage;
use sluice_perf::load::{Arrivals, Length, Pace, Rate, Reuse, Step};
use sluice_perf::memory::Setup;
use sluice_perf::rig::Rig;
use sluice_stack::sim::Faults;

/// How often the generator's polls allocated in a step of so many requests.
fn run(rig: &mut Rig, pace: Pace, requests: u64) -> u64 {
    let step = Step {
        pace,
        warm_up: Duration::ZERO,
        length: Length {
            duration: Duration::from_secs(3_600),
            requests,
        },
        interval: Duration::from_secs(30),
    };
    let mut allocations = 0;
    let now = rig.net.now();
    rig.generator.begin(step, now);
    while rig.generator.stage() != Stage::Done {
        rig.turn(|generator, now| {
            let measuring = generator.stage() == Stage::Measuring;
            let counted = allocation_counter::measure(|| {
                generator.poll_once(now);
            });
            // The end of the step closes its account.
            if measuring && generator.stage() == Stage::Measuring {
                allocations += counted.count_total;
            }
        });
        rig.advance();
    }
    let stats = rig.generator.take_stats();
    assert_eq!(stats.answers, requests, "{:?}", stats.faults);
    allocations
}

#[test]
fn no_allocation_per_request_in_steady_state() {
    let wire = Faults {
        delay: Duration::from_micros(20),
        ..Faults::default()
    };
    let setup = Setup {
        connections: 16,
        faults: [[wire; 2]; 2],
        ..Setup::default()
    };
    let yaml = "
requests:
  - { weight: 5, path: /a }
  - { weight: 3, path: /b, response: 20KiB }
  - { path: /c, method: POST, body: 3KiB, think: 1ms }
";
    let file: RequestFile = serde_saphyr::from_str(yaml).expect("valid YAML");
    let mut rig = Rig::new(&setup, &file, Reuse::KeepAlive).expect("it is set up");
    let rate = Rate::constant(20_000.0, Arrivals::Poisson);
    for pace in [Pace::Closed, Pace::Open(rate)] {
        let warming = run(&mut rig, pace, 5_000);
        if pace == Pace::Closed {
            assert!(warming > 0, "the counter does not count");
        }
        assert_eq!(run(&mut rig, pace, 2_000), 0, "{pace:?}");
    }
}
