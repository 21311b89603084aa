//! What is counted by route, service and endpoint. Keyed by what the rules call them, so that totals
//! outlive an update of the rules.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_stack::counters::{Counters, Gauge};
use sluice_stack::time::Instant;

use crate::stats::RequestFate;

/// Series of one kind that are kept though no rules in use name them.
const MAX_KEPT: usize = 4096;

/// Upper bounds of the buckets of a [`Histogram`] in nanoseconds, 50 us to 10 s; a last bucket takes
/// what is longer.
pub const BOUNDS: [u64; 17] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// How often something took how long. Written by one thread only; readable by any.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    /// Counts one. Only the owning worker may call it.
    #[inline]
    pub fn record(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|&bound| bound < nanos);
        if let Some(bucket) = self.buckets.get(bucket) {
            add(bucket, 1);
        }
        add(&self.nanos, nanos);
    }

    /// How many were counted, by bucket: those up to each bound of [`BOUNDS`] and above the one
    /// before, then those above the last.
    pub fn buckets(&self) -> [u64; BOUNDS.len() + 1] {
        std::array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed))
    }

    /// Adds what another counted. Only the owner may call it.
    fn absorb(&self, other: &Histogram) {
        for (bucket, count) in self.buckets.iter().zip(other.buckets()) {
            add(bucket, count);
        }
        add(&self.nanos, other.nanos.load(Ordering::Relaxed));
    }

    /// The sum of all times.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

/// A plain load and store: the owning worker is the only one that writes.
#[inline]
fn add(total: &AtomicU64, n: u64) {
    total.store(
        total.load(Ordering::Relaxed).wrapping_add(n),
        Ordering::Relaxed,
    );
}

sluice_stack::counters! {
    /// How an endpoint failed a request.
    pub enum EndpointFailure {
        /// It refused a connection, or there was no way to it.
        ConnectFailed => "connect_failed",
        /// It did not accept a connection in time.
        ConnectTimeout => "connect_timeout",
        /// It did not begin to answer in time.
        ResponseTimeout => "response_timeout",
        /// It closed before it answered.
        ClosedEarly => "closed_early",
        /// Its answer breaks the protocol.
        BadResponse => "bad_response",
        /// Its answer ended before its announced end.
        Truncated => "truncated",
        /// It answered with a status of 500 or above.
        ServerError => "server_error",
    }
}

impl EndpointFailure {
    /// What the end of a request says of the endpoint that had it. Failed connections are counted
    /// as they happen, since a request may survive them.
    #[inline]
    pub(crate) fn of(fate: RequestFate, status: u16) -> Option<Self> {
        match fate {
            RequestFate::Answered if status >= 500 => Some(Self::ServerError),
            RequestFate::ResponseTimeout => Some(Self::ResponseTimeout),
            RequestFate::ClosedEarly => Some(Self::ClosedEarly),
            RequestFate::BadResponse => Some(Self::BadResponse),
            RequestFate::Truncated => Some(Self::Truncated),
            _ => None,
        }
    }
}

/// What a worker counts of one endpoint of one service.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EndpointStats {
    /// Connections to it now, those that are being opened among them.
    pub connections: Gauge,
    /// Those of them that wait in the pool; each of the others has one request.
    pub idle: Gauge,
    /// Requests sent to it; one that was sent again counts again.
    pub requests: Gauge,
    /// What went wrong with it.
    pub failures: Counters<EndpointFailure>,
    /// When something last went wrong, in nanoseconds of the worker's clock; 0 for never.
    pub last_failure: Gauge,
}

impl EndpointStats {
    /// Adds what another counted.
    fn absorb(&self, other: &EndpointStats) {
        let levels = [
            (&self.connections, &other.connections),
            (&self.idle, &other.idle),
            (&self.requests, &other.requests),
        ];
        for (sum, level) in levels {
            sum.set(sum.get().wrapping_add(level.get()));
        }
        for (failure, total) in other.failures.iter() {
            self.failures.add(failure, total);
        }
        let last = self.last_failure.get().max(other.last_failure.get());
        self.last_failure.set(last);
    }

    #[inline]
    pub(crate) fn sent(&self) {
        self.requests.set(self.requests.get().wrapping_add(1));
    }

    #[cold]
    pub(crate) fn failed(&self, failure: EndpointFailure, now: Instant) {
        self.failures.count(failure);
        self.last_failure.set(now.as_nanos().max(1));
    }
}

/// Series by key; a series lives as long as it is in use, and longer while there is room.
#[derive(Debug)]
pub struct Series<K, V>(Mutex<Kept<K, V>>);

#[derive(Debug)]
struct Kept<K, V> {
    series: BTreeMap<K, Arc<V>>,
    /// So many are looked through for those that nobody uses: twice as many as were used the last time, so
    /// that it costs each new one little.
    room: usize,
}

impl<K, V> Default for Series<K, V> {
    fn default() -> Self {
        Series(Mutex::new(Kept {
            series: BTreeMap::new(),
            room: MAX_KEPT,
        }))
    }
}

impl<K: Ord + Clone, V: Default> Series<K, V> {
    /// The series of a key, made where it is new. For the time when rules are offered: it locks.
    pub fn of(&self, key: &K) -> Arc<V> {
        let mut kept = self.kept();
        if let Some(known) = kept.series.get(key) {
            return known.clone();
        }
        if kept.series.len() >= kept.room {
            let in_use = |_: &K, series: &mut Arc<V>| Arc::strong_count(series) > 1;
            kept.series.retain(in_use);
            kept.room = MAX_KEPT.max(2 * kept.series.len());
        }
        kept.series.entry(key.clone()).or_default().clone()
    }

    /// Adds what another worker counted, series by series, however many there are.
    fn absorb(&self, other: &Series<K, V>, add: impl Fn(&V, &V)) {
        let mut kept = self.kept();
        for (key, counted) in other.all() {
            add(kept.series.entry(key).or_default(), &counted);
        }
    }

    /// The series of a key, if there is one.
    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        self.kept().series.get(key).cloned()
    }

    /// All of them, in the order of their keys.
    pub fn all(&self) -> Vec<(K, Arc<V>)> {
        let kept = self.kept();
        let pairs = kept.series.iter();
        pairs
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A route and the service it leads to, by their names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// Name of the route, the listener's in it where the route has one and no name of its own.
    pub route: Arc<str>,
    /// Name of the service.
    pub service: Arc<str>,
}

/// An endpoint of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey {
    /// Name of the service.
    pub service: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Index of the port it is reached by, which stays the same while the gateway runs.
    pub port: usize,
}

/// A method of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MethodKey {
    /// Name of the service.
    pub service: Arc<str>,
    /// Name of the method; empty for those that are not counted apart, and where a call names none.
    pub method: Arc<str>,
}

sluice_stack::counters! {
    /// What has come of a call.
    pub enum Outcome {
        /// A reply, be it an exception that the IDL declares.
        Reply => "reply",
        /// An exception of the service's framework.
        Exception => "exception",
        /// A reply with a biz-status.
        BizStatus => "biz_status",
        /// It was oneway, and was sent.
        Oneway => "oneway",
        /// The gateway answered, or nobody did.
        Failed => "failed",
    }
}

/// What a worker counts of one method of one service.
#[derive(Debug, Default)]
pub struct MethodStats {
    /// What has come of its calls.
    pub outcomes: Counters<Outcome>,
    /// How long they took, from their first byte to their end.
    pub times: Histogram,
}

impl MethodStats {
    fn absorb(&self, other: &MethodStats) {
        for (outcome, total) in other.outcomes.iter() {
            self.outcomes.add(outcome, total);
        }
        self.times.absorb(&other.times);
    }
}

/// What one worker counts by route, service, endpoint and method.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Methods of remote procedure calls.
    pub methods: Series<MethodKey, MethodStats>,
    /// How long requests took, from the first byte of their head to their end.
    pub routes: Series<RouteKey, Histogram>,
    /// How long answers took to begin, from the end of the request's head.
    pub services: Series<Arc<str>, Histogram>,
    /// Endpoints.
    pub endpoints: Series<EndpointKey, EndpointStats>,
}

impl Traffic {
    /// What several workers counted, added up. Their clocks are one.
    pub fn sum<'a>(parts: impl IntoIterator<Item = &'a Traffic>) -> Traffic {
        let sum = Traffic::default();
        for part in parts {
            sum.routes.absorb(&part.routes, Histogram::absorb);
            sum.services.absorb(&part.services, Histogram::absorb);
            sum.endpoints.absorb(&part.endpoints, EndpointStats::absorb);
            sum.methods.absorb(&part.methods, MethodStats::absorb);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::default();
        for nanos in [0, 50_000, 50_001, 10_000_000_000, 10_000_000_001] {
            histogram.record(Duration::from_nanos(nanos));
        }
        let mut expected = [0; BOUNDS.len() + 1];
        expected[0] = 2;
        expected[1] = 1;
        expected[16] = 1;
        expected[17] = 1;
        assert_eq!(histogram.buckets(), expected);
        assert_eq!(histogram.sum(), Duration::from_nanos(20_000_100_002));
    }

    #[test]
    fn the_traffic_of_workers_adds_up() {
        let parts = [Traffic::default(), Traffic::default()];
        let key = EndpointKey {
            service: "s".into(),
            address: "10.0.0.1:80".parse().unwrap(),
            port: 0,
        };
        for (n, part) in (1..).zip(&parts) {
            let stats = part.endpoints.of(&key);
            stats.connections.set(n);
            stats.requests.set(10 * n);
            stats.failed(EndpointFailure::ServerError, Instant::from_nanos(100 - n));
            part.services
                .of(&"s".into())
                .record(Duration::from_nanos(n));
        }
        let sum = Traffic::sum(&parts);
        let stats = sum.endpoints.get(&key).unwrap();
        assert_eq!((stats.connections.get(), stats.requests.get()), (3, 30));
        assert_eq!(stats.failures.get(EndpointFailure::ServerError), 2);
        assert_eq!(stats.last_failure.get(), 99);
        let times = sum.services.get(&"s".into()).unwrap();
        assert_eq!(
            (times.buckets()[0], times.sum()),
            (2, Duration::from_nanos(3))
        );
        assert!(sum.routes.all().is_empty());
    }

    #[test]
    fn bounds_grow() {
        assert!(BOUNDS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_series_outlives_its_use_until_there_are_too_many() {
        let series = Series::<usize, Histogram>::default();
        series.of(&0).record(Duration::from_secs(1));
        let used = series.of(&1);
        assert_eq!(series.of(&0).sum(), Duration::from_secs(1));
        for key in 2..=MAX_KEPT {
            series.of(&key);
        }
        assert!(series.get(&0).is_none());
        assert!(Arc::ptr_eq(&used, &series.of(&1)));
        assert_eq!(series.all().len(), 2);
    }
}
