//! The index over routes that take remote procedure calls: by service, then by method.

use std::sync::Arc;

use super::{Entry, Map, NONE, choose};
use crate::matching::NameMatch;
use crate::request::RpcView;
use crate::snapshot::Route;

/// Routes by service and method. What a call costs is at most four look-ups and the alternatives that
/// they lead to.
#[derive(Debug, Default)]
pub(super) struct RpcTable {
    services: Map<MethodTable>,
    /// Of any service, or by a test.
    any: MethodTable,
    /// Bytes of the longest name: what is longer is not looked up.
    longest: usize,
}

/// The routes of one service.
#[derive(Debug)]
struct MethodTable {
    methods: Map<Vec<Entry>>,
    /// Of any method, or by a test.
    any: Vec<Entry>,
    /// The first route of all.
    first: u32,
}

impl Default for MethodTable {
    fn default() -> Self {
        MethodTable {
            methods: Map::default(),
            any: Vec::new(),
            first: NONE,
        }
    }
}

impl RpcTable {
    /// Adds a route behind all that come before it in the order.
    pub(super) fn insert(&mut self, route: &Route, place: u32) {
        let matches = &route.matches;
        let tested = |names: &NameMatch| matches!(names, NameMatch::Test(_));
        let entry = Entry {
            route: place,
            conditional: tested(&matches.service)
                || tested(&matches.method)
                || !matches.conditions.is_empty(),
        };
        let longest = [&matches.service, &matches.method].into_iter();
        let longest = longest.filter_map(|names| match names {
            NameMatch::Exact(names) => names.iter().map(|name| name.len()).max(),
            NameMatch::Test(_) | NameMatch::Any => None,
        });
        self.longest = longest.max().unwrap_or(0).max(self.longest);
        match &matches.service {
            NameMatch::Exact(services) => {
                for service in services {
                    let table = self.services.entry(service.clone()).or_default();
                    table.insert(&matches.method, entry);
                }
            }
            NameMatch::Test(_) | NameMatch::Any => self.any.insert(&matches.method, entry),
        }
    }

    /// Finds a route that comes before `best`, if there is one.
    pub(super) fn improve(
        &self,
        best: &mut u32,
        routes: &[Arc<Route>],
        rpc: &RpcView<'_>,
        fits: &impl Fn(&Route) -> bool,
    ) {
        let short = |name: &&[u8]| name.len() <= self.longest;
        let method = Some(rpc.method).filter(short);
        let service = rpc.to_service().filter(short);
        if let Some(table) = service.and_then(|service| self.services.get(service)) {
            table.improve(best, routes, method, fits);
        }
        if self.any.first < *best {
            self.any.improve(best, routes, method, fits);
        }
    }
}

impl MethodTable {
    fn insert(&mut self, method: &NameMatch, entry: Entry) {
        self.first = self.first.min(entry.route);
        match method {
            NameMatch::Exact(methods) => {
                for method in methods {
                    self.methods.entry(method.clone()).or_default().push(entry);
                }
            }
            NameMatch::Test(_) | NameMatch::Any => self.any.push(entry),
        }
    }

    #[inline]
    fn improve(
        &self,
        best: &mut u32,
        routes: &[Arc<Route>],
        method: Option<&[u8]>,
        fits: &impl Fn(&Route) -> bool,
    ) {
        if let Some(list) = method.and_then(|method| self.methods.get(method)) {
            choose(list, best, routes, fits);
        }
        choose(&self.any, best, routes, fits);
    }
}
