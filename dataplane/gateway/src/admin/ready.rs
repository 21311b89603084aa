//! Whether requests are served now.

use std::time::Duration;

/// A worker that has not polled for this long serves nobody.
const STUCK: Duration = Duration::from_secs(1);

/// `Err` says why not. `worker_age` is how long ago the worker gave its last sign of life, `None`
/// where it has not given one yet.
pub(super) fn readiness(draining: bool, worker_age: Option<Duration>) -> Result<(), String> {
    match worker_age {
        _ if draining => Err("draining".into()),
        None => Err("starting".into()),
        Some(age) if age > STUCK => Err(format!(
            "worker 0 has not polled for {:.1} s",
            age.as_secs_f64()
        )),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_a_worker_that_polls_and_is_not_to_stop() {
        let millis = |n| Some(Duration::from_millis(n));
        assert_eq!(readiness(false, millis(2)), Ok(()));
        assert_eq!(readiness(false, millis(1_000)), Ok(()));
        assert_eq!(readiness(false, None).unwrap_err(), "starting");
        assert_eq!(readiness(true, millis(2)).unwrap_err(), "draining");
        assert_eq!(readiness(true, None).unwrap_err(), "draining");
        let stuck = readiness(false, millis(2_340)).unwrap_err();
        assert_eq!(stuck, "worker 0 has not polled for 2.3 s");
    }
}
