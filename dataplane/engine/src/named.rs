//! What a worker has for the names in a set of rules. Made on a control thread: it takes time that grows
//! with the rules.

use std::sync::Arc;

use sluice_policy::{Route, RouteId, Service, ServiceId, Snapshot};

use crate::traffic::{Histogram, RouteKey, Traffic};

/// The times of a route's requests, by the service that answered.
type RouteSeries = Box<[(ServiceId, Arc<Histogram>)]>;

/// Series of one worker for one set of rules.
#[derive(Debug)]
pub(crate) struct Named {
    /// Times by route and by service.
    routes: Arc<[RouteSeries]>,
    services: Box<[Arc<Histogram>]>,
}

/// What a worker no longer needs of a set of rules, to be freed elsewhere.
#[derive(Debug)]
pub(crate) struct Spent {
    pub(crate) _snapshot: Arc<Snapshot>,
    pub(crate) _named: Arc<Named>,
    pub(crate) _pools: Vec<Arc<[u32]>>,
}

impl Named {
    /// Those of a snapshot; what is the same as for the snapshot before is shared with it.
    pub(crate) fn of(
        snapshot: &Snapshot,
        traffic: &Traffic,
        before: Option<(&Snapshot, &Named)>,
    ) -> Named {
        let services = snapshot.services.iter();
        let services = services.map(|service| traffic.services.of(&service.name));
        let same = before.filter(|(old, _)| leads_alike(old, snapshot));
        let routes = match same {
            Some((_, named)) => named.routes.clone(),
            None => {
                let routes = snapshot.routes.iter();
                routes
                    .map(|route| series(snapshot, route, traffic))
                    .collect()
            }
        };
        Named {
            routes,
            services: services.collect(),
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
        self.services.get(service.0).map(|series| &**series)
    }
}

/// Whether the routes of two snapshots are the same and lead to services of the same names.
fn leads_alike(old: &Snapshot, new: &Snapshot) -> bool {
    let alike = |(old, new): (&Arc<Service>, &Arc<Service>)| {
        Arc::ptr_eq(old, new) || (old.name == new.name && old.fallback == new.fallback)
    };
    Arc::ptr_eq(&old.routes, &new.routes)
        && old.services.len() == new.services.len()
        && old.services.iter().zip(&new.services).all(alike)
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
