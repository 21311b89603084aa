//! What a worker has for the names in a set of rules. Made on a control thread: it takes time that grows
//! with the rules.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sluice_policy::{ListenerId, Route, RouteId, Service, ServiceId, Snapshot};

use crate::numbering::Numbering;
use crate::traffic::{Histogram, RouteKey, Traffic};

/// The times of a route's requests, by the service that answered.
type RouteSeries = Arc<[(ServiceId, Arc<Histogram>)]>;

/// Numbers and series of one worker for one set of rules.
#[derive(Debug)]
pub(crate) struct Named {
    /// Times by route and by service.
    routes: Arc<[RouteSeries]>,
    pub(crate) services: Box<[Arc<NamedService>]>,
    pub(crate) listeners: Arc<NamedListeners>,
}

/// The listeners of a set of rules.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NamedListeners {
    /// The worker's number of each.
    pub(crate) numbers: Box<[u32]>,
    /// By the worker's number: the name, and its place in these rules if it is among them.
    pub(crate) places: Box<[(Arc<str>, Option<ListenerId>)]>,
}

/// One service: what is the same in two sets of rules is one of these.
#[derive(Debug)]
pub(crate) struct NamedService {
    /// How long answers took to begin.
    times: Arc<Histogram>,
    /// The pool of each endpoint.
    pub(crate) pools: Box<[u32]>,
    /// Whose turn it is in each group of endpoints.
    turns: Box<[Arc<Turn>]>,
}

/// Round robin over endpoints. Only the worker moves it.
#[derive(Debug, Default)]
struct Turn(AtomicU32);

impl Turn {
    /// The index of the one whose turn it is among so many; `None` if there are none.
    #[inline]
    fn next(&self, of: u32) -> Option<u32> {
        let index = self.0.load(Ordering::Relaxed).checked_rem(of)?;
        self.0.store(index + 1, Ordering::Relaxed);
        Some(index)
    }
}

impl Named {
    /// Those of a snapshot; what is the same as for the snapshot before is shared with it.
    pub(crate) fn of(
        snapshot: &Snapshot,
        traffic: &Traffic,
        before: Option<(&Snapshot, &Named)>,
        numbering: &mut Numbering,
    ) -> Named {
        let same = before.filter(|(old, _)| lead_alike(&old.services, &snapshot.services));
        let routes = match same {
            Some((old, named)) if Arc::ptr_eq(&old.routes, &snapshot.routes) => {
                named.routes.clone()
            }
            _ => {
                let known = |at: usize, route: &Arc<Route>| {
                    let (old, named) = same?;
                    let own = old.routes.get(at).filter(|own| Arc::ptr_eq(own, route));
                    own.and(named.routes.get(at)).cloned()
                };
                let routes = snapshot.routes.iter().enumerate();
                let series = routes.map(|(at, route)| {
                    known(at, route).unwrap_or_else(|| series(snapshot, route, traffic))
                });
                series.collect()
            }
        };
        let listeners = numbering.listeners(&snapshot.listeners);
        let listeners = match before {
            Some((_, named)) if *named.listeners == listeners => named.listeners.clone(),
            _ => Arc::new(listeners),
        };
        Named {
            routes,
            services: services(snapshot, traffic, before, numbering),
            listeners,
        }
    }

    /// The times of a route's requests to one of its services.
    #[inline]
    pub(crate) fn route(&self, route: RouteId, service: ServiceId) -> Option<&Histogram> {
        let mut series = self.routes.get(route.0)?.iter();
        let (_, series) = series.find(|(own, _)| *own == service)?;
        Some(series)
    }

    /// The times of a service's answers.
    #[inline]
    pub(crate) fn service(&self, service: ServiceId) -> Option<&Histogram> {
        self.services.get(service.0).map(|service| &*service.times)
    }

    /// The pool of the endpoint whose turn it is among those of one of a service's groups; `None` if
    /// there is none.
    #[inline]
    pub(crate) fn next_pool(&self, id: ServiceId, service: &Service, group: usize) -> Option<u32> {
        let named = self.services.get(id.0)?;
        let endpoints = &service.groups.get(group)?.endpoints;
        let index = named.turns.get(group)?.next(endpoints.len() as u32)?;
        named.pools.get(endpoints.start + index as usize).copied()
    }
}

/// What the worker has for each service.
fn services(
    snapshot: &Snapshot,
    traffic: &Traffic,
    before: Option<(&Snapshot, &Named)>,
    numbering: &mut Numbering,
) -> Box<[Arc<NamedService>]> {
    let old = before.map_or(&[][..], |(old, _)| &old.services);
    let lanes_stay = before.is_some_and(|(old, _)| {
        let names = [old, snapshot].map(|own| own.lanes.as_ref().map(|lanes| &lanes.names));
        names[0] == names[1]
    });
    let place = |service: &Service| old.binary_search_by(|own| own.name.cmp(&service.name)).ok();
    let named = snapshot.services.iter().enumerate().map(|(at, service)| {
        // Mostly it is where it was.
        let own = match old.get(at) {
            Some(own) if own.name == service.name => Some(at),
            _ => place(service),
        };
        let own = own.and_then(|at| Some((old.get(at)?, before?.1.services.get(at)?)));
        if let Some((own, named)) = own
            && (Arc::ptr_eq(own, service)
                || (lanes_stay
                    && own.endpoints == service.endpoints
                    && own.groups == service.groups))
        {
            return named.clone();
        }
        let turns = service.groups.iter().map(|group| {
            let lane = snapshot.lane_name(group.lane);
            let (own, named) = own?;
            let mut groups = own.groups.iter().zip(&named.turns);
            let of_lane =
                groups.find(|(own, _)| before.and_then(|(old, _)| old.lane_name(own.lane)) == lane);
            of_lane.map(|(_, turn)| turn.clone())
        });
        let turns = turns.map(Option::unwrap_or_default);
        Arc::new(NamedService {
            times: traffic.services.of(&service.name),
            turns: turns.collect(),
            pools: numbering.pools(service, traffic),
        })
    });
    named.collect()
}

/// Whether services are of the same names, and the same can answer for them.
fn lead_alike(old: &[Arc<Service>], new: &[Arc<Service>]) -> bool {
    let alike = |(old, new): (&Arc<Service>, &Arc<Service>)| {
        Arc::ptr_eq(old, new) || (old.name == new.name && old.fallback == new.fallback)
    };
    old.len() == new.len() && old.iter().zip(new).all(alike)
}

fn series(snapshot: &Snapshot, route: &Route, traffic: &Traffic) -> RouteSeries {
    let services = reachable(snapshot, route).into_iter();
    let series = services.filter_map(|id| {
        let service = snapshot.service(id)?.name.clone();
        let route = route.name.clone();
        let series = traffic.routes.of(&RouteKey { route, service });
        Some((id, series))
    });
    series.collect()
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
