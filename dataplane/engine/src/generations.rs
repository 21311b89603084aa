//! The rules a worker is serving by: the newest for new requests, older ones for as long as requests
//! that began under them run.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;
use sluice_policy::{Listener, ListenerId, Route, RouteId, ServiceId, Snapshot};

use crate::handoff::Handoff;
use crate::pool::Pools;
use crate::traffic::{Histogram, RouteKey, Traffic};

/// Older rules still in use; new ones wait when there are so many.
const MAX_LIVE: usize = 64;

/// The times of a route's requests, by the service that answered.
type RouteSeries = Box<[(ServiceId, Arc<Histogram>)]>;

/// One set of rules with the worker's own numbers for what it names.
pub(crate) struct Generation {
    pub(crate) snapshot: Arc<Snapshot>,
    /// The worker's number of each listener to its place here.
    listeners: Vec<Option<ListenerId>>,
    /// Pool of each endpoint, by service.
    pools: Vec<Box<[u32]>>,
    /// Times by route and by service.
    routes: Vec<RouteSeries>,
    services: Vec<Arc<Histogram>>,
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
        let mut series = self.routes.get(route.0)?.iter();
        let (_, series) = series.find(|(own, _)| *own == service)?;
        Some(series)
    }

    /// The times of a service's answers.
    #[inline]
    pub(crate) fn service_series(&self, service: ServiceId) -> Option<&Histogram> {
        self.services.get(service.0).map(|series| &**series)
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

    /// Whether a pool belongs to an endpoint of these rules.
    pub(crate) fn uses_pool(&self, pool: u32) -> bool {
        self.pools.iter().any(|of| of.contains(&pool))
    }
}

/// Every service that can answer a route's requests, those that others fall back to among them.
fn reachable(snapshot: &Snapshot, route: &Route) -> Vec<ServiceId> {
    let mut services = route.services();
    let mut next = 0;
    while let Some(id) = services.get(next) {
        let fallback = snapshot.service(*id).and_then(|service| service.fallback);
        if let Some(fallback) = fallback.filter(|id| !services.contains(id)) {
            services.push(fallback);
        }
        next += 1;
    }
    services
}

pub(crate) struct Generations {
    live: Slab<Generation>,
    current: usize,
    /// The worker's numbers of listeners, by name; they outlive rules so that connections do.
    listener_numbers: HashMap<Arc<str>, u32>,
    traffic: Arc<Traffic>,
}

impl Generations {
    pub(crate) fn new(snapshot: Arc<Snapshot>, pools: &mut Pools, traffic: Arc<Traffic>) -> Self {
        let mut generations = Generations {
            live: Slab::with_capacity(MAX_LIVE),
            current: 0,
            listener_numbers: HashMap::new(),
            traffic,
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
            .map(|service| pools.of_service(service, &self.traffic))
            .collect();
        let (routes, services) = self.series(&snapshot);
        Generation {
            snapshot,
            listeners,
            pools,
            routes,
            services,
            uses: 0,
        }
    }

    fn series(&self, snapshot: &Snapshot) -> (Vec<RouteSeries>, Vec<Arc<Histogram>>) {
        let routes = snapshot.routes.iter().map(|route| {
            let services = reachable(snapshot, route).into_iter();
            let series = services.filter_map(|id| {
                let service = snapshot.service(id)?.name.clone();
                let route = route.name.clone();
                let series = self.traffic.routes.of(&RouteKey { route, service });
                Some((id, series))
            });
            series.collect()
        });
        let services = snapshot.services.iter();
        let services = services.map(|service| self.traffic.services.of(&service.name));
        (routes.collect(), services.collect())
    }

    /// Whether so many older rules are in use that new ones have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.live.len() >= MAX_LIVE
    }

    /// Goes over to new rules; not to be called when full.
    pub(crate) fn adopt(&mut self, snapshot: Arc<Snapshot>, pools: &mut Pools, handoff: &Handoff) {
        let next = self.number(snapshot, pools);
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
            drop(handoff.retire(generation.snapshot));
        }
    }

    /// The name of a listener, one of older rules included.
    pub(crate) fn listener_name(&self, number: u32) -> Option<Arc<str>> {
        let mut listeners = self.listener_numbers.iter();
        let (name, _) = listeners.find(|(_, found)| **found == number)?;
        Some(name.clone())
    }

    /// Whether a pool belongs to an endpoint of any live rules.
    pub(crate) fn uses_pool(&self, pool: u32) -> bool {
        self.live.iter().any(|(_, g)| g.uses_pool(pool))
    }
}
