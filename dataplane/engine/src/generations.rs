//! The rules a worker is serving by: the newest for new requests, older ones for as long as requests
//! that began under them run.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;
use sluice_policy::{ListenerId, ServiceId, Snapshot};

use crate::handoff::Handoff;
use crate::pool::Pools;

/// Older rules still in use; new ones wait when there are so many.
const MAX_LIVE: usize = 64;

/// One set of rules with the worker's own numbers for what it names.
pub(crate) struct Generation {
    pub(crate) snapshot: Arc<Snapshot>,
    /// The worker's number of each listener to its place here.
    listeners: Vec<Option<ListenerId>>,
    /// Pool of each endpoint, by service.
    pools: Vec<Box<[u32]>>,
    uses: u32,
}

impl Generation {
    /// This generation's rules for a listener; `None` if it is no longer among them.
    pub(crate) fn listener(&self, number: u32) -> Option<ListenerId> {
        self.listeners.get(number as usize).copied().flatten()
    }

    /// The pool of a service's endpoint.
    pub(crate) fn pool(&self, service: ServiceId, endpoint: usize) -> Option<u32> {
        self.pools.get(service.0)?.get(endpoint).copied()
    }
}

pub(crate) struct Generations {
    live: Slab<Generation>,
    current: usize,
    /// The worker's numbers of listeners, by name; they outlive rules so that connections do.
    listener_numbers: HashMap<Arc<str>, u32>,
}

impl Generations {
    pub(crate) fn new(snapshot: Arc<Snapshot>, pools: &mut Pools) -> Self {
        let mut generations = Generations {
            live: Slab::with_capacity(MAX_LIVE),
            current: 0,
            listener_numbers: HashMap::new(),
        };
        let first = generations.number(snapshot, pools);
        generations.current = generations.live.insert(first);
        generations
    }

    fn number(&mut self, snapshot: Arc<Snapshot>, pools: &mut Pools) -> Generation {
        for listener in &snapshot.listeners {
            let next = self.listener_numbers.len() as u32;
            self.listener_numbers
                .entry(listener.name.clone())
                .or_insert(next);
        }
        let mut listeners = vec![None; self.listener_numbers.len()];
        for (id, listener) in snapshot.listeners.iter().enumerate() {
            if let Some(&number) = self.listener_numbers.get(&listener.name) {
                listeners[number as usize] = Some(ListenerId(id));
            }
        }
        let pools = snapshot
            .services
            .iter()
            .map(|service| pools.of_service(service))
            .collect();
        Generation {
            snapshot,
            listeners,
            pools,
            uses: 0,
        }
    }

    /// Goes over to new rules; false when too many older ones are in use.
    pub(crate) fn adopt(
        &mut self,
        snapshot: Arc<Snapshot>,
        pools: &mut Pools,
        handoff: &Handoff,
    ) -> bool {
        if self.live.len() >= MAX_LIVE {
            return false;
        }
        let next = self.number(snapshot, pools);
        let old = std::mem::replace(&mut self.current, self.live.insert(next));
        self.drop_unused(old, handoff);
        true
    }

    pub(crate) fn current(&self) -> &Generation {
        &self.live[self.current]
    }

    pub(crate) fn listener_number(&self, name: &str) -> Option<u32> {
        self.listener_numbers.get(name).copied()
    }

    /// Has the current rules stay until [`Self::end`] is called with the number returned.
    #[inline]
    pub(crate) fn begin(&mut self) -> usize {
        self.live[self.current].uses += 1;
        self.current
    }

    #[inline]
    pub(crate) fn get(&self, number: usize) -> Option<&Generation> {
        self.live.get(number)
    }

    #[inline]
    pub(crate) fn end(&mut self, number: usize, handoff: &Handoff) {
        if let Some(generation) = self.live.get_mut(number) {
            generation.uses = generation.uses.saturating_sub(1);
            if number != self.current {
                self.drop_unused(number, handoff);
            }
        }
    }

    fn drop_unused(&mut self, number: usize, handoff: &Handoff) {
        if number == self.current || self.live.get(number).is_none_or(|g| g.uses > 0) {
            return;
        }
        if let Some(generation) = self.live.try_remove(number) {
            // Freed here only if the way back is full: slow once, never lost.
            drop(handoff.retire(generation.snapshot));
        }
    }

    /// Whether a pool belongs to an endpoint of any live rules.
    pub(crate) fn uses_pool(&self, pool: u32) -> bool {
        self.live
            .iter()
            .any(|(_, g)| g.pools.iter().any(|of| of.contains(&pool)))
    }
}
