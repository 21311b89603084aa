//! The rules a worker is serving by: the newest for new requests, older ones for as long as requests
//! that began under them run.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;
use sluice_policy::{Listener, ListenerId, RouteId, Service, ServiceId, Snapshot};

use crate::handoff::Handoff;
use crate::named::{Named, Spent};
use crate::pool::Pools;
use crate::traffic::{Histogram, Traffic};

/// Older rules still in use; new ones wait when there are so many.
const MAX_LIVE: usize = 64;

/// One set of rules with the worker's own numbers for what it names.
pub(crate) struct Generation {
    pub(crate) snapshot: Arc<Snapshot>,
    /// The worker's number of each listener to its place here.
    listeners: Vec<Option<ListenerId>>,
    /// Pool of each endpoint, by service.
    pools: Vec<Arc<[u32]>>,
    named: Arc<Named>,
    uses: u32,
}

impl Generation {
    /// This generation's rules for a listener; `None` if it is no longer among them.
    pub(crate) fn listener(&self, number: u32) -> Option<ListenerId> {
        self.listeners.get(number as usize).copied().flatten()
    }

    /// What this generation says of a listener; `None` if it is no longer among them.
    pub(crate) fn listener_rules(&self, number: u32) -> Option<&Listener> {
        self.snapshot.listeners.get(self.listener(number)?.0)
    }

    /// The times of a route's requests to one of its services.
    #[inline]
    pub(crate) fn route_series(&self, route: RouteId, service: ServiceId) -> Option<&Histogram> {
        self.named.route(route, service)
    }

    /// The times of a service's answers.
    #[inline]
    pub(crate) fn service_series(&self, service: ServiceId) -> Option<&Histogram> {
        self.named.service(service)
    }

    /// The pool of a service's endpoint.
    pub(crate) fn pool(&self, service: ServiceId, endpoint: usize) -> Option<u32> {
        self.pools.get(service.0)?.get(endpoint).copied()
    }

    /// Whether a pool belongs to an endpoint of this service.
    pub(crate) fn serves(&self, service: ServiceId, pool: u32) -> bool {
        self.pools
            .get(service.0)
            .is_some_and(|of| of.contains(&pool))
    }

    /// Whether a pool of the service of this name belongs to an endpoint of these rules.
    fn uses_pool(&self, service: &str, pool: u32) -> bool {
        let services = &self.snapshot.services;
        let found = services.binary_search_by(|own| (*own.name).cmp(service));
        found.is_ok_and(|at| self.serves(ServiceId(at), pool))
    }
}

pub(crate) struct Generations {
    live: Slab<Generation>,
    current: usize,
    /// The worker's numbers of listeners, by name; they outlive rules so that connections do.
    listener_numbers: HashMap<Arc<str>, u32>,
    traffic: Arc<Traffic>,
}

impl Generations {
    pub(crate) fn new(
        offer: (Arc<Snapshot>, Arc<Named>),
        pools: &mut Pools,
        traffic: Arc<Traffic>,
    ) -> Self {
        let mut generations = Generations {
            live: Slab::with_capacity(MAX_LIVE),
            current: 0,
            listener_numbers: HashMap::new(),
            traffic,
        };
        let first = generations.number(offer, None, pools);
        generations.current = generations.live.insert(first);
        generations
    }

    /// Numbers what rules name. What `before` names alike keeps its numbers without a look-up.
    fn number(
        &mut self,
        (snapshot, named): (Arc<Snapshot>, Arc<Named>),
        before: Option<usize>,
        pools: &mut Pools,
    ) -> Generation {
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
        let before = before.and_then(|number| self.live.get(number));
        let services = before.map_or(&[][..], |before| &before.snapshot.services);
        let carried = carried(services, &snapshot.services);
        let known = |at: Option<usize>| before?.pools.get(at?).cloned();
        let own = snapshot.services.iter().zip(carried);
        let own = own.map(|(service, at)| {
            known(at).unwrap_or_else(|| pools.of_service(service, &self.traffic))
        });
        let pools = own.collect();
        Generation {
            snapshot,
            listeners,
            pools,
            named,
            uses: 0,
        }
    }

    /// Whether so many older rules are in use that new ones have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.live.len() >= MAX_LIVE
    }

    /// Goes over to new rules; not to be called when full.
    pub(crate) fn adopt(
        &mut self,
        offer: (Arc<Snapshot>, Arc<Named>),
        pools: &mut Pools,
        handoff: &Handoff,
    ) {
        let old = self.current();
        let kept = carried(&offer.0.services, &old.snapshot.services);
        for (own, _) in old.pools.iter().zip(kept).filter(|(_, at)| at.is_none()) {
            pools.unname(own);
        }
        let next = self.number(offer, Some(self.current), pools);
        let old = std::mem::replace(&mut self.current, self.live.insert(next));
        self.drop_unused(old, handoff);
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
            drop(handoff.retire(Spent {
                _snapshot: generation.snapshot,
                _named: generation.named,
                _pools: generation.pools,
            }));
        }
    }

    /// The name of a listener, one of older rules included.
    pub(crate) fn listener_name(&self, number: u32) -> Option<Arc<str>> {
        let mut listeners = self.listener_numbers.iter();
        let (name, _) = listeners.find(|(_, found)| **found == number)?;
        Some(name.clone())
    }

    /// Whether a pool of the service of this name belongs to an endpoint of any live rules.
    pub(crate) fn uses_pool(&self, service: &str, pool: u32) -> bool {
        self.live.iter().any(|(_, g)| g.uses_pool(service, pool))
    }
}

/// For each of the `new` services where the same one, not just one of that name, stands among the old.
/// Both are in the order of their names.
fn carried(old: &[Arc<Service>], new: &[Arc<Service>]) -> Vec<Option<usize>> {
    let mut at = 0;
    let found = new.iter().map(|service| {
        while let Some(own) = old.get(at) {
            if Arc::ptr_eq(own, service) {
                at += 1;
                return Some(at - 1);
            }
            if own.name >= service.name {
                break;
            }
            at += 1;
        }
        None
    });
    found.collect()
}
