//! The rules a worker is serving by: the newest for new requests, older ones for as long as requests
//! that began under them run.

use std::sync::Arc;

use slab::Slab;
use sluice_policy::{Listener, ListenerId, RouteId, Service, ServiceId, Snapshot};

use crate::handoff::{Handoff, Rules, Spent};
use crate::named::Named;
use crate::numbering::Changes;
use crate::traffic::Histogram;

/// Older rules still in use; new ones wait when there are so many.
const MAX_LIVE: usize = 64;

/// One set of rules with the worker's own numbers for what it names.
pub(crate) struct Generation {
    pub(crate) snapshot: Arc<Snapshot>,
    named: Arc<Named>,
    /// How many sets of rules were taken up before it.
    order: u64,
    /// What is left of the way to it.
    spent: Changes,
    uses: u32,
}

impl Generation {
    /// This generation's rules for a listener; `None` if it is no longer among them.
    pub(crate) fn listener(&self, number: u32) -> Option<ListenerId> {
        let (_, place) = self.named.listeners.places.get(number as usize)?;
        *place
    }

    /// What this generation says of a listener; `None` if it is no longer among them.
    pub(crate) fn listener_rules(&self, number: u32) -> Option<&Listener> {
        self.snapshot.listeners.get(self.listener(number)?.0)
    }

    /// Its listeners, each with the worker's number.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = (u32, &Listener)> {
        let numbers = self.named.listeners.numbers.iter().copied();
        numbers.zip(&self.snapshot.listeners)
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
        let service = self.named.services.get(service.0)?;
        service.pools.get(endpoint).copied()
    }

    /// The pool of the endpoint whose turn it is among those of one of a service's groups.
    #[inline]
    pub(crate) fn next_pool(&self, id: ServiceId, service: &Service, group: usize) -> Option<u32> {
        self.named.next_pool(id, service, group)
    }

    /// Whether a pool belongs to an endpoint of this service.
    pub(crate) fn serves(&self, service: ServiceId, pool: u32) -> bool {
        let service = self.named.services.get(service.0);
        service.is_some_and(|of| of.pools.contains(&pool))
    }
}

pub(crate) struct Generations {
    live: Slab<Generation>,
    current: usize,
}

impl Generations {
    pub(crate) fn new(rules: Rules, spent: Changes) -> Self {
        let mut live = Slab::with_capacity(MAX_LIVE);
        let current = live.insert(Generation::new(rules, spent, 0));
        Generations { live, current }
    }

    /// Whether so many older rules are in use that new ones have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.live.len() >= MAX_LIVE
    }

    /// Goes over to new rules, all steps towards which are done; not to be called when full.
    pub(crate) fn adopt(&mut self, rules: Rules, spent: Changes, handoff: &Handoff) {
        let order = self.current().order + 1;
        let next = self.live.insert(Generation::new(rules, spent, order));
        let old = std::mem::replace(&mut self.current, next);
        self.drop_unused(old, handoff);
    }

    pub(crate) fn current(&self) -> &Generation {
        &self.live[self.current]
    }

    /// What the newest rules' way has left to be done once they are in force.
    pub(crate) fn spent(&mut self) -> &mut Changes {
        &mut self.live[self.current].spent
    }

    /// The place of the newest rules in the order in which rules were taken up, and that of the oldest
    /// still in use.
    pub(crate) fn orders(&self) -> (u64, u64) {
        let newest = self.current().order;
        let oldest = self.live.iter().map(|(_, own)| own.order).min();
        (newest, oldest.unwrap_or(newest))
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
            handoff.retire(Spent {
                _rules: (generation.snapshot, generation.named),
                _changes: generation.spent,
            });
        }
    }

    /// The name of a listener, one of older rules included.
    pub(crate) fn listener_name(&self, number: u32) -> Option<Arc<str>> {
        let listeners = &self.current().named.listeners;
        let (name, _) = listeners.places.get(number as usize)?;
        Some(name.clone())
    }
}

impl Generation {
    fn new((snapshot, named): Rules, spent: Changes, order: u64) -> Generation {
        Generation {
            snapshot,
            named,
            order,
            spent,
            uses: 0,
        }
    }
}
