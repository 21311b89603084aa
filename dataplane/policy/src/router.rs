//! Finds the first route that takes a request without walking the routes.
//!
//! Routes for HTTP are indexed by host, then by path: whole paths, and whole segments that a path begins with.
//! What a place of the index holds is a list of routes in their order. Every place that could hold a
//! route for the request is looked at, from the most to the least specific; each knows the first
//! route that it and those less specific hold, so that the search ends as soon as none of them could
//! come before the one that is found. Sorted by specificity, that is at once. Routes for remote procedure
//! calls are indexed by service and method in the same way.

mod rpc;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use crate::matching::PathMatch;
use crate::request::{HttpView, Message, RequestView, RpcView};
use crate::snapshot::{HostMatch, Protocols, Route, RouteId};
use rpc::RpcTable;

/// The longest host that is compared, in bytes (RFC 1035, 2.3.4).
pub(crate) const MAX_HOST: usize = 255;

/// A route's place in the order, when there is no route.
const NONE: u32 = u32::MAX;

// The keys come from the rules, and a request only asks for them: nobody outside can make them
// collide, so a fast hash without a random seed will do.
type Map<V> = HashMap<Box<[u8]>, V, FxBuildHasher>;

/// The index over the routes of one snapshot.
#[derive(Debug)]
pub(crate) struct Router {
    exact: Map<PathTable>,
    /// By what follows `*.`.
    below: Map<PathTable>,
    /// Labels of the longest key of `below`: bounds the look-ups that a long host can cause.
    below_labels: usize,
    /// The first route of all of `below`.
    below_first: u32,
    any: PathTable,
    rpc: RpcTable,
}

/// The routes of one host.
#[derive(Debug)]
struct PathTable {
    /// By whole path.
    exact: Map<Vec<Entry>>,
    /// By segments that the path begins with; `/` is the empty one.
    prefixes: Map<Vec<Entry>>,
    /// The first route of prefixes of at most so many segments. Its length bounds the look-ups that a
    /// long path can cause.
    first_within: Vec<u32>,
    /// The first route of all.
    first: u32,
}

/// A route, and whether there is more to ask than its place in the index.
#[derive(Debug, Clone, Copy)]
struct Entry {
    route: u32,
    conditional: bool,
}

impl Router {
    /// Indexes routes in their order.
    pub(crate) fn new(routes: &[Arc<Route>]) -> Router {
        let mut router = Router {
            exact: Map::default(),
            below: Map::default(),
            below_labels: 0,
            below_first: NONE,
            any: PathTable::default(),
            rpc: RpcTable::default(),
        };
        for route in routes {
            let place = u32::try_from(route.id.0).unwrap_or(NONE);
            if route.matches.protocols != Protocols::Http {
                router.rpc.insert(route, place);
            }
            if route.matches.protocols == Protocols::Rpc {
                continue;
            }
            let table = match &route.matches.host {
                HostMatch::Exact(host) => router.exact.entry(host.as_bytes().into()).or_default(),
                HostMatch::Below(host) => {
                    router.below_labels = router.below_labels.max(labels(host.as_bytes()));
                    router.below_first = router.below_first.min(place);
                    router.below.entry(host.as_bytes().into()).or_default()
                }
                HostMatch::Any => &mut router.any,
            };
            table.insert(route, place);
        }
        router
    }

    /// The first route that takes the request.
    pub(crate) fn find(&self, routes: &[Arc<Route>], request: &RequestView<'_>) -> Option<RouteId> {
        let best = match &request.message {
            Message::Http(http) => {
                let fits = |route: &Route| route.matches.fits_http(http, request);
                self.first_http(routes, http, &fits)?
            }
            Message::Rpc(rpc) => {
                let fits = |route: &Route| route.matches.fits_rpc(rpc, request);
                self.first_rpc(routes, rpc, &fits)
            }
        };
        (best != NONE).then_some(RouteId(best as usize))
    }

    /// The routes that are tried for a request before the one that takes it, and do not take it, in their
    /// order: at most `most` of them. What they are found by fits, so they are near misses. Costs what
    /// finding the route costs.
    pub(crate) fn tried(
        &self,
        routes: &[Arc<Route>],
        request: &RequestView<'_>,
        most: usize,
    ) -> Vec<RouteId> {
        let tried = RefCell::new(Vec::new());
        let noted = |route: &Route, fits: bool| {
            if !fits {
                tried.borrow_mut().push(route.id);
            }
            fits
        };
        let best = match &request.message {
            Message::Http(http) => {
                let fits = |route: &Route| noted(route, route.matches.fits_http(http, request));
                self.first_http(routes, http, &fits).unwrap_or(NONE)
            }
            Message::Rpc(rpc) => {
                let fits = |route: &Route| noted(route, route.matches.fits_rpc(rpc, request));
                self.first_rpc(routes, rpc, &fits)
            }
        };
        let mut tried = tried.into_inner();
        tried.retain(|id| id.0 < best as usize);
        tried.sort_unstable();
        tried.truncate(most);
        tried
    }

    /// The place of the first route that takes a call.
    fn first_rpc(
        &self,
        routes: &[Arc<Route>],
        rpc: &RpcView<'_>,
        fits: &impl Fn(&Route) -> bool,
    ) -> u32 {
        let mut best = NONE;
        self.rpc.improve(&mut best, routes, rpc, fits);
        best
    }

    /// The place of the first route that takes an HTTP request; `None` for a host that is too long.
    fn first_http(
        &self,
        routes: &[Arc<Route>],
        http: &HttpView<'_>,
        fits: &impl Fn(&Route) -> bool,
    ) -> Option<u32> {
        let host = http.host.strip_suffix(b".").unwrap_or(http.host);
        let mut lower = [0; MAX_HOST];
        let lower = lower.get_mut(..host.len())?;
        lower.copy_from_slice(host);
        lower.make_ascii_lowercase();

        let mut best = NONE;
        if let Some(table) = self.exact.get(&*lower) {
            table.improve(&mut best, routes, http.path, fits);
        }
        if self.below_first < best {
            self.improve_below(&mut best, lower, routes, http.path, fits);
        }
        if self.any.first < best {
            self.any.improve(&mut best, routes, http.path, fits);
        }
        Some(best)
    }

    /// Tries what follows each dot, the longest first.
    fn improve_below(
        &self,
        best: &mut u32,
        host: &[u8],
        routes: &[Arc<Route>],
        path: &[u8],
        fits: &impl Fn(&Route) -> bool,
    ) {
        let too_long = labels(host).saturating_sub(self.below_labels + 1);
        let dots = memchr::memchr_iter(b'.', host).skip(too_long);
        for dot in dots.filter(|dot| *dot > 0) {
            let table = host
                .get(dot + 1..)
                .and_then(|parent| self.below.get(parent));
            if let Some(table) = table.filter(|table| table.first < *best) {
                table.improve(best, routes, path, fits);
            }
        }
    }
}

impl Default for PathTable {
    fn default() -> Self {
        PathTable {
            exact: Map::default(),
            prefixes: Map::default(),
            first_within: Vec::new(),
            first: NONE,
        }
    }
}

impl PathTable {
    /// Adds a route behind all that come before it in the order.
    fn insert(&mut self, route: &Route, place: u32) {
        let matches = &route.matches;
        let entry = Entry {
            route: place,
            conditional: !matches.path.is_literal() || !matches.conditions.is_empty(),
        };
        self.first = self.first.min(place);
        if let PathMatch::Exact(path) = &matches.path {
            let list = self.exact.entry(path.as_bytes().into()).or_default();
            return list.push(entry);
        }
        let prefix = matches.path.literal_prefix();
        let segments = segments(&prefix);
        let last = self.first_within.last().copied().unwrap_or(NONE);
        if self.first_within.len() <= segments {
            self.first_within.resize(segments + 1, last);
        }
        for first in self.first_within.iter_mut().skip(segments) {
            *first = place.min(*first);
        }
        self.prefixes.entry(prefix.into()).or_default().push(entry);
    }

    /// Finds a route that comes before `best`, if there is one.
    fn improve(
        &self,
        best: &mut u32,
        routes: &[Arc<Route>],
        path: &[u8],
        fits: &impl Fn(&Route) -> bool,
    ) {
        if !self.exact.is_empty()
            && let Some(list) = self.exact.get(path)
        {
            choose(list, best, routes, fits);
        }
        // The path cut at each slash, the longest prefix first.
        let Some(longest) = self.first_within.len().checked_sub(1) else {
            return;
        };
        let mut slashes = memchr::memchr_iter(b'/', path);
        let mut depth = 0;
        let mut end = path.len();
        for slash in slashes.by_ref() {
            if depth == longest {
                end = slash;
                break;
            }
            depth += 1;
        }
        loop {
            if self
                .first_within
                .get(depth)
                .is_none_or(|first| first >= best)
            {
                return;
            }
            let prefix = if depth == 0 {
                Some(&b""[..])
            } else {
                path.get(..end)
            };
            if let Some(list) = prefix.and_then(|prefix| self.prefixes.get(prefix)) {
                choose(list, best, routes, fits);
            }
            let Some(less) = depth.checked_sub(1) else {
                return;
            };
            depth = less;
            let cut = path.get(..end).and_then(|path| memchr::memrchr(b'/', path));
            end = cut.unwrap_or(0);
        }
    }
}

/// The first route of a list that takes the request and comes before `best`.
#[inline]
fn choose(list: &[Entry], best: &mut u32, routes: &[Arc<Route>], fits: &impl Fn(&Route) -> bool) {
    for entry in list {
        if entry.route >= *best {
            return;
        }
        let takes = !entry.conditional
            || routes
                .get(entry.route as usize)
                .is_some_and(|route| fits(route));
        if takes {
            *best = entry.route;
            return;
        }
    }
}

fn labels(host: &[u8]) -> usize {
    memchr::memchr_iter(b'.', host).count() + 1
}

fn segments(prefix: &[u8]) -> usize {
    memchr::memchr_iter(b'/', prefix).count()
}
