//! Finds the first route that takes a request without walking the routes.
//!
//! Routes are indexed by host, then by path prefix. Both are looked up from the most to the least
//! specific, which is the order in which the routes are sorted, so the first hit is the first match.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use crate::snapshot::{HostMatch, ListenerId, RequestView, Route, RouteId};

/// The longest host that is compared, in bytes (RFC 1035, 2.3.4).
pub(crate) const MAX_HOST: usize = 255;

// The keys come from the rules, and a request only asks for them: nobody outside can make them
// collide, so a fast hash without a random seed will do.
type Map<V> = HashMap<Box<[u8]>, V, FxBuildHasher>;

/// The index over the routes of one snapshot.
#[derive(Debug, Default)]
pub(crate) struct Router {
    exact: Map<PathTable>,
    /// By what follows `*.`.
    below: Map<PathTable>,
    /// Labels of the longest key of `below`: bounds the look-ups that a long host can cause.
    below_labels: usize,
    any: PathTable,
}

/// The routes of one host.
#[derive(Debug, Default)]
struct PathTable {
    /// By prefix; `/` is the empty one.
    prefixes: Map<Choice>,
    /// Segments of the longest prefix: bounds the look-ups that a long path can cause.
    segments: usize,
}

/// The routes of one host and prefix.
#[derive(Debug, Default)]
struct Choice {
    /// Routes for one listener each, in order of the listeners.
    by_listener: Vec<(ListenerId, RouteId)>,
    /// The route for all other listeners.
    any: Option<RouteId>,
}

impl Router {
    /// Indexes routes, no two of which have the same match.
    pub(crate) fn new(routes: &[Route]) -> Router {
        let mut router = Router::default();
        for route in routes {
            let table = match &route.matches.host {
                HostMatch::Exact(host) => router.exact.entry(host.as_bytes().into()).or_default(),
                HostMatch::Below(host) => {
                    router.below_labels = router.below_labels.max(labels(host.as_bytes()));
                    router.below.entry(host.as_bytes().into()).or_default()
                }
                HostMatch::Any => &mut router.any,
            };
            table.insert(route);
        }
        router
    }

    /// The first route that takes the request.
    pub(crate) fn find(&self, listener: ListenerId, request: &RequestView<'_>) -> Option<RouteId> {
        let host = request.host.strip_suffix(b".").unwrap_or(request.host);
        let mut lower = [0; MAX_HOST];
        let lower = lower.get_mut(..host.len())?;
        lower.copy_from_slice(host);
        lower.make_ascii_lowercase();

        self.exact
            .get(&*lower)
            .and_then(|table| table.find(listener, request.path))
            .or_else(|| self.find_below(lower, listener, request.path))
            .or_else(|| self.any.find(listener, request.path))
    }

    /// Tries what follows each dot, the longest first.
    fn find_below(&self, host: &[u8], listener: ListenerId, path: &[u8]) -> Option<RouteId> {
        if self.below.is_empty() {
            return None;
        }
        let too_long = labels(host).saturating_sub(self.below_labels + 1);
        memchr::memchr_iter(b'.', host)
            .skip(too_long)
            .filter(|dot| *dot > 0)
            .filter_map(|dot| self.below.get(host.get(dot + 1..)?))
            .find_map(|table| table.find(listener, path))
    }
}

impl PathTable {
    fn insert(&mut self, route: &Route) {
        let path = route.matches.path.as_bytes();
        let prefix = path.strip_suffix(b"/").unwrap_or(path);
        self.segments = self.segments.max(segments(prefix));
        let choice = self.prefixes.entry(prefix.into()).or_default();
        match route.matches.listener {
            None => choice.any = Some(route.id),
            Some(listener) => {
                let at = choice
                    .by_listener
                    .partition_point(|(other, _)| *other < listener);
                choice.by_listener.insert(at, (listener, route.id));
            }
        }
    }

    /// Tries the path cut at each slash, the longest prefix first.
    fn find(&self, listener: ListenerId, path: &[u8]) -> Option<RouteId> {
        if self.prefixes.is_empty() {
            return None;
        }
        let mut end = memchr::memchr_iter(b'/', path)
            .nth(self.segments)
            .unwrap_or(path.len());
        while let Some(prefix) = path.get(..end) {
            if let Some(id) = self.choose(listener, prefix) {
                return Some(id);
            }
            match memchr::memrchr(b'/', prefix) {
                Some(slash) => end = slash,
                None => break,
            }
        }
        // What begins without a slash, such as `*`, is still below `/`.
        if end == 0 {
            None
        } else {
            self.choose(listener, b"")
        }
    }

    fn choose(&self, listener: ListenerId, prefix: &[u8]) -> Option<RouteId> {
        let choice = self.prefixes.get(prefix)?;
        match choice
            .by_listener
            .binary_search_by_key(&listener, |(listener, _)| *listener)
        {
            Ok(at) => choice.by_listener.get(at).map(|(_, id)| *id),
            Err(_) => choice.any,
        }
    }
}

fn labels(host: &[u8]) -> usize {
    memchr::memchr_iter(b'.', host).count() + 1
}

fn segments(prefix: &[u8]) -> usize {
    memchr::memchr_iter(b'/', prefix).count()
}
