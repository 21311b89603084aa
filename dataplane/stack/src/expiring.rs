//! A bounded map whose entries all live equally long: half-open flows, TIME-WAIT records, paths.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::key::FlowKey;
use crate::time::Instant;

/// Entries by flow, forgotten after a fixed time, the oldest pushed out when the map is full.
#[derive(Debug)]
pub(crate) struct Expiring<V> {
    entries: HashMap<FlowKey, (Instant, V), ahash::RandomState>,
    /// Insertions in order; one whose instant differs from its entry's is stale.
    order: VecDeque<(Instant, FlowKey)>,
    lifetime: Duration,
    bound: usize,
}

impl<V> Expiring<V> {
    pub(crate) fn new(lifetime: Duration, bound: usize, hasher: ahash::RandomState) -> Self {
        Expiring {
            entries: HashMap::with_hasher(hasher),
            order: VecDeque::new(),
            lifetime,
            bound,
        }
    }

    /// Records `value`; true when the oldest entry had to go for it.
    pub(crate) fn insert(&mut self, key: FlowKey, value: V, now: Instant) -> bool {
        self.entries.insert(key, (now, value));
        self.order.push_back((now, key));
        let mut evicted = false;
        while self.entries.len() > self.bound {
            evicted |= self.drop_oldest();
        }
        // Removals leave stale places in the order; sweep when they are the greater part.
        if self.order.len() > 2 * self.entries.len() + 1024 {
            let entries = &self.entries;
            self.order
                .retain(|(at, key)| entries.get(key).is_some_and(|(t, _)| t == at));
        }
        evicted
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((at, key)) = self.order.pop_front() else {
            return false;
        };
        let current = self.entries.get(&key).is_some_and(|(t, _)| *t == at);
        if current {
            self.entries.remove(&key);
        }
        current
    }

    pub(crate) fn get(&self, key: &FlowKey) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, key: &FlowKey) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    pub(crate) fn remove(&mut self, key: &FlowKey) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// Whether another entry would push one out.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= self.bound
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets what is too old, at most `budget` entries; returns how many.
    pub(crate) fn expire(&mut self, now: Instant, budget: usize) -> u64 {
        let mut expired = 0;
        for _ in 0..budget {
            match self.order.front() {
                Some((at, _)) if now.since(*at) >= self.lifetime => {
                    expired += u64::from(self.drop_oldest());
                }
                _ => break,
            }
        }
        expired
    }

    /// When [`Self::expire`] has something to do.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.order.front().map(|(at, _)| *at + self.lifetime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> FlowKey {
        let end = |p| std::net::SocketAddr::from(([10, 0, 0, 1], p));
        FlowKey::new(0, end(80), end(port))
    }

    #[test]
    fn forgets_in_order_keeps_its_bound_and_ignores_stale_places() {
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let mut map = Expiring::new(
            Duration::from_secs(10),
            2,
            ahash::RandomState::with_seeds(1, 2, 3, 4),
        );
        assert!(!map.insert(key(1), 'a', at(0)));
        assert_eq!(map.remove(&key(1)), Some('a'));
        assert!(!map.insert(key(1), 'b', at(5)));
        assert!(!map.insert(key(2), 'c', at(6)));
        assert_eq!(
            map.expire(at(10), 100),
            0,
            "the place of the removed entry is not an expiry"
        );
        assert_eq!(map.get(&key(1)), Some(&'b'));
        assert!(map.insert(key(3), 'd', at(7)), "the oldest goes when full");
        assert_eq!((map.get(&key(1)), map.len()), (None, 2));
        assert_eq!(map.expire(at(17), 100), 2);
        assert_eq!(map.len(), 0);
    }
}
