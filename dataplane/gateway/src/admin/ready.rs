//! Whether requests are served now.

use std::time::Duration;

/// A worker that has not polled for this long serves nobody.
const STUCK: Duration = Duration::from_secs(1);

/// `Err` says why not. `ages` are how long ago each worker gave its last sign of life, `None` where it has
/// not given one yet.
pub(super) fn readiness(draining: bool, ages: &[Option<Duration>]) -> Result<(), String> {
    if draining {
        return Err("draining".into());
    }
    let stuck = |age: &Option<Duration>| age.is_some_and(|age| age > STUCK);
    if let Some((worker, Some(age))) = ages.iter().enumerate().find(|(_, age)| stuck(age)) {
        return Err(format!(
            "worker {worker} has not polled for {:.1} s",
            age.as_secs_f64()
        ));
    }
    if ages.contains(&None) {
        return Err("starting".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_are_workers_that_all_poll_and_are_not_to_stop() {
        let millis = |n| Some(Duration::from_millis(n));
        assert_eq!(readiness(false, &[millis(2)]), Ok(()));
        assert_eq!(readiness(false, &[millis(1_000), millis(3)]), Ok(()));
        assert_eq!(
            readiness(false, &[millis(1), None]).unwrap_err(),
            "starting"
        );
        assert_eq!(readiness(true, &[millis(2)]).unwrap_err(), "draining");
        assert_eq!(readiness(true, &[None]).unwrap_err(), "draining");
        let stuck = readiness(false, &[millis(1), millis(2_340), None]).unwrap_err();
        assert_eq!(stuck, "worker 1 has not polled for 2.3 s");
    }
}
