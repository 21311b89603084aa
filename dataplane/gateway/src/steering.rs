//! Which worker a port's flows belong to.

use std::io;

use sluice_engine::stack::steering::{Steering, SteeringError};
use sluice_port::{OpenedPort, steering_key};

use crate::log;

/// How often a random key is tried: one in which half of the bits that matter are zero is rare, and so is
/// one that leaves a worker without connections.
const KEYS: usize = 8;

/// By the device's own key and table where it spreads flows over a queue for each worker and says how;
/// otherwise by a key of ours, in equal parts.
///
/// # Errors
/// There are no random numbers.
pub(crate) fn of_port(name: &str, opened: &OpenedPort, workers: u16) -> io::Result<Steering> {
    let queues = opened.queue_pairs;
    if queues < workers {
        log::info(format_args!(
            "port {name}: {queues} queue pair(s) for {workers} workers; the first carry the frames of the others"
        ));
    } else if let Some(rss) = &opened.port.info().rss_by {
        match Steering::of_device(&rss.key, &rss.table, workers) {
            Ok(steering) => {
                let places = rss.table.len();
                log::info(format_args!(
                    "port {name}: the device steers flows to their workers (RSS, {places} places)"
                ));
                return Ok(steering);
            }
            Err(error) => log::warning(format_args!(
                "port {name}: the device cannot steer flows to their workers, which hand them over: {error}"
            )),
        }
    } else {
        log::info(format_args!(
            "port {name}: the device does not say how it steers flows; what arrives at another worker is handed over"
        ));
    }
    in_software(workers)
}

fn in_software(workers: u16) -> io::Result<Steering> {
    let mut last = SteeringError::Uneven(0);
    for _ in 0..KEYS {
        match Steering::in_software(&steering_key()?, workers) {
            Ok(steering) => return Ok(steering),
            Err(error) => last = error,
        }
    }
    Err(io::Error::other(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_key_spreads_flows_over_any_number_of_workers() {
        for workers in 1..=64 {
            in_software(workers).unwrap();
        }
    }
}
