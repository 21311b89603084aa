//! Requests per second of each endpoint, over the last ten seconds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sluice_engine::traffic::{EndpointKey, Traffic};

/// What a rate is the mean of.
const WINDOW: Duration = Duration::from_secs(10);
/// Totals kept: one a second and the one before.
const SAMPLES: usize = 11;

/// Totals taken now and then, and what follows from them.
#[derive(Debug)]
pub(crate) struct Rates {
    /// By worker.
    traffic: Vec<Arc<Traffic>>,
    samples: Mutex<VecDeque<Sample>>,
}

#[derive(Debug)]
struct Sample {
    at: Instant,
    requests: BTreeMap<EndpointKey, u64>,
}

impl Rates {
    /// None yet of what these workers count.
    pub(crate) fn new(traffic: Vec<Arc<Traffic>>) -> Self {
        Rates {
            traffic,
            samples: Mutex::default(),
        }
    }

    /// What the rates are of: the totals of all workers now.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic::sum(self.traffic.iter().map(|traffic| &**traffic))
    }

    /// Takes the totals at `now`; to be called about once a second.
    pub(crate) fn sample(&self, now: Instant) {
        let endpoints = self.traffic().endpoints.all().into_iter();
        let requests = endpoints.map(|(key, stats)| (key, stats.requests.get()));
        let sample = Sample {
            at: now,
            requests: requests.collect(),
        };
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back(sample);
        while samples.len() > SAMPLES || samples.front().is_some_and(|old| old.at + WINDOW < now) {
            samples.pop_front();
        }
    }

    /// Requests per second of an endpoint; 0 until two samples were taken.
    pub(crate) fn of(&self, key: &EndpointKey) -> f64 {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(old), Some(new)) = (samples.front(), samples.back()) else {
            return 0.0;
        };
        let total = |sample: &Sample| sample.requests.get(key).copied().unwrap_or(0);
        let seconds = new.at.saturating_duration_since(old.at).as_secs_f64();
        if seconds > 0.0 {
            total(new).saturating_sub(total(old)) as f64 / seconds
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_mean_of_the_last_ten_seconds() {
        let traffic = [Arc::<Traffic>::default(), Arc::default()];
        let rates = Rates::new(traffic.to_vec());
        let key = EndpointKey {
            service: "s".into(),
            address: "10.0.0.1:80".parse().unwrap(),
            port: 0,
        };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        rates.sample(at(0));
        assert_eq!(rates.of(&key), 0.0);
        // An endpoint that was not there before began at 0.
        let stats = traffic[1].endpoints.of(&key);
        stats.requests.set(500);
        rates.sample(at(5));
        assert_eq!(rates.of(&key), 100.0);
        for second in 6..=15 {
            rates.sample(at(second));
        }
        assert_eq!(rates.of(&key), 0.0);
        stats.requests.set(520);
        rates.sample(at(16));
        assert_eq!(rates.of(&key), 2.0);
    }
}
