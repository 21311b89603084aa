//! What simulated links do to frames.

use std::time::Duration;

use sluice_stack::rng::Rng;
use sluice_stack::sim::Faults;

/// The faults of one direction of a link at this level, with up to so many microseconds of delay and, where
/// there are faults at all, of jitter.
pub(crate) fn lane(rng: &mut Rng, level: f64, delay: u64, jitter: u64) -> Faults {
    Faults {
        loss: level,
        duplicate: level / 2.0,
        reorder: level,
        corrupt: level / 4.0,
        no_buffer: level / 4.0,
        delay: Duration::from_micros(rng.below(delay)),
        jitter: Duration::from_micros(if level > 0.0 { rng.below(jitter) } else { 0 }),
        rate: None,
    }
}

/// Those of both links of a gateway.
pub(crate) fn lanes(rng: &mut Rng, level: f64, delay: u64) -> [[Faults; 2]; 2] {
    let mut lane = || lane(rng, level, delay, 500);
    [[lane(), lane()], [lane(), lane()]]
}
