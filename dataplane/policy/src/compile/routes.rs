//! Routes: sorted by specificity, each match once.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::known::Known;
use super::matching::{self, Wanted};
use super::report::Report;
use super::{access_log, actions, headers, protocols, rpc};
use crate::lanes::Lanes;
use crate::matching::{Condition, NameMatch, PathMatch, Regexes, hash};
use crate::router::Router;
use crate::rules::{self, Rules};
use crate::snapshot::{
    HostMatch, LaneId, ListenerId, Protocols, Route, RouteId, RouteMatch, Snapshot,
};
use crate::template::Place;
use crate::yaml::Path;

/// What routes refer to.
pub(super) struct Names<'a> {
    pub(super) services: Known<'a, rules::Service>,
    listeners: Known<'a, rules::Listener>,
    ports: Known<'a, rules::Port>,
    lanes: Option<&'a Lanes>,
    log: Option<&'a rules::AccessLog>,
}

/// Compiles all routes, and their index. What is as it was in `before`, rules with the same names, is
/// shared with the snapshot of those.
pub(super) fn compile(
    rules: &Rules,
    lanes: Option<&Lanes>,
    before: Option<(&Rules, &Snapshot)>,
    regexes: &mut Regexes,
    report: &mut Report<'_>,
) -> (Arc<[Arc<Route>]>, Arc<Router>) {
    let section = Path::section("routes");
    let mut routes: Vec<(i32, Arc<Route>)> = Vec::with_capacity(rules.routes.len());
    let mut matches = Matches::default();
    let mut names = HashMap::new();
    let known = Names {
        services: Known::new("service", &rules.services),
        listeners: Known::new("listener", &rules.listeners),
        ports: Known::new("port", &rules.ports),
        lanes,
        log: rules.access_log.as_ref(),
    };
    let mut taken: HashMap<Arc<str>, u32> = HashMap::new();
    let mut before_of = Before::new(before);
    for (index, route) in rules.routes.iter().enumerate() {
        let path = section.index(index);
        if report.is_broken(&path) {
            // What of it could be read is checked as far as it can be wrong by itself.
            compile_route(&path, route, &known, regexes, report);
            continue;
        }
        let mut compiled = match before_of.same(route, rules.routes.get(index + 1)) {
            Some(compiled) => compiled.clone(),
            None => {
                let asked = regexes.asked();
                let Some(mut compiled) = compile_route(&path, route, &known, regexes, report)
                else {
                    continue;
                };
                compiled.stands_alone = regexes.asked() == asked;
                Arc::new(compiled)
            }
        };
        if compiled.written != index {
            Arc::make_mut(&mut compiled).written = index;
        }
        // A share of requests can be taken of what another share left.
        if route.sample.is_none()
            && let Some(first) = matches.first(&routes, &compiled)
        {
            let line = report.line(&section.index(first));
            let message = format!("takes the same requests as routes[{first}]{line}");
            report.mend(&path, message, "keep one, or give it another host or path");
            continue;
        }
        if route.name.is_none() {
            let number = taken.entry(compiled.name.clone()).or_default();
            *number += 1;
            if *number > 1 {
                let own = Arc::make_mut(&mut compiled);
                own.name = format!("{}#{number}", own.name).into();
                own.stands_alone = false;
            }
        }
        if let Some(first) = names.insert(compiled.name.clone(), index) {
            let line = report.line(&section.index(first));
            let message = format!(
                "routes[{first}]{line} is called \"{}\" as well",
                compiled.name
            );
            report.mend(&path.key("name"), message, "give it another name");
        }
        routes.push((route.order, compiled));
    }
    // Stable: what is equally specific stays as written.
    routes.sort_by(|(a_order, a), (b_order, b)| {
        a_order
            .cmp(b_order)
            .then_with(|| specificity(&a.matches, &b.matches))
    });
    let routes = routes
        .into_iter()
        .enumerate()
        .map(|(index, (_, mut route))| {
            if route.id != RouteId(index) {
                Arc::make_mut(&mut route).id = RouteId(index);
            }
            route
        });
    let routes: Arc<[Arc<Route>]> = routes.collect();
    let same = before.filter(|(_, old)| {
        let alike = |(old, new): (&Arc<Route>, &Arc<Route>)| {
            Arc::ptr_eq(old, new) || old.matches == new.matches
        };
        old.routes.len() == routes.len() && old.routes.iter().zip(&*routes).all(alike)
    });
    let router = match same {
        Some((_, old)) => old.router.clone(),
        None => Arc::new(Router::new(&routes)),
    };
    (routes, router)
}

/// The routes of the rules before, gone along with the new ones.
struct Before<'a> {
    written: &'a [rules::Route],
    /// By their place among those that are written.
    compiled: Vec<Option<&'a Arc<Route>>>,
    at: usize,
}

impl<'a> Before<'a> {
    fn new(before: Option<(&'a Rules, &'a Snapshot)>) -> Self {
        let written = before.map_or(&[][..], |(rules, _)| &rules.routes);
        let mut compiled = vec![None; written.len()];
        for route in before
            .iter()
            .flat_map(|(_, snapshot)| snapshot.routes.iter())
        {
            if let Some(place) = compiled.get_mut(route.written) {
                *place = Some(route).filter(|route| route.stands_alone);
            }
        }
        Before {
            written,
            compiled,
            at: 0,
        }
    }

    /// What the next route was compiled to if it was there before. One that is new, gone or another
    /// does not keep those behind it from being found.
    fn same(
        &mut self,
        route: &rules::Route,
        next: Option<&rules::Route>,
    ) -> Option<&'a Arc<Route>> {
        let here = self.written.get(self.at);
        let found = if here == Some(route) {
            self.at
        } else if self.written.get(self.at + 1) == Some(route) {
            self.at + 1
        } else {
            // It is another, unless it is new and the next is what was here.
            self.at += usize::from(here.is_some() && next != here);
            return None;
        };
        self.at = found + 1;
        *self.compiled.get(found)?
    }
}

/// What routes match, to find two that match the same.
#[derive(Default)]
struct Matches {
    /// The first route by a part of what it matches.
    rough: HashMap<u64, usize>,
    /// The places of routes by all of that, for those of which another has the same part.
    whole: HashMap<String, usize>,
}

impl Matches {
    /// The place, among those that are written, of the first of these routes that matches the same as one
    /// that follows on them.
    fn first(&mut self, routes: &[(i32, Arc<Route>)], route: &Route) -> Option<usize> {
        let mut hasher = DefaultHasher::new();
        route.matches.host.hash(&mut hasher);
        route.matches.path.literal_prefix().hash(&mut hasher);
        for name in [&route.matches.service, &route.matches.method] {
            if let NameMatch::Exact(names) = name {
                names.hash(&mut hasher);
            }
        }
        let text = |route: &Route| said_in_one_way(&route.matches);
        match self.rough.entry(hasher.finish()) {
            Entry::Vacant(place) => {
                place.insert(routes.len());
                None
            }
            Entry::Occupied(first) => {
                // The first one becomes known in full when a second one comes.
                if let Some((_, first)) = routes.get(*first.get()) {
                    self.whole.entry(text(first)).or_insert(first.written);
                }
                match self.whole.entry(text(route)) {
                    Entry::Vacant(place) => {
                        place.insert(route.written);
                        None
                    }
                    Entry::Occupied(first) => Some(*first.get()),
                }
            }
        }
    }
}

/// What a route matches, the same text for whatever means the same: the order of conditions and of what they
/// list makes no difference, nor do names of parts of a path.
fn said_in_one_way(matches: &RouteMatch) -> String {
    let path = match &matches.path {
        PathMatch::Pattern(pattern) => pattern.shape(),
        other => format!("{other:?}"),
    };
    let mut conditions: Vec<String> = matches
        .conditions
        .iter()
        .map(|condition| format!("{:?}", condition.clone().sorted()))
        .collect();
    conditions.sort_unstable();
    let (protocols, host) = (matches.protocols, &matches.host);
    let (service, method) = (&matches.service, &matches.method);
    format!("{protocols:?} {host:?} {path} {service:?} {method:?} {conditions:?}")
}

/// What is more specific comes first; docs/rules.md states the rule.
fn specificity(a: &RouteMatch, b: &RouteMatch) -> Ordering {
    let host = |matches: &RouteMatch| match &matches.host {
        HostMatch::Exact(_) => (0, Reverse(0)),
        HostMatch::Below(host) => (1, Reverse(host.len())),
        HostMatch::Any => (2, Reverse(0)),
    };
    let path = |matches: &RouteMatch| {
        let kind = match &matches.path {
            PathMatch::Exact(_) => return (0, Reverse(0), 0, Reverse(0)),
            PathMatch::Pattern(pattern) => (0, Reverse(pattern.segments.len())),
            PathMatch::Regex(_) => (1, Reverse(0)),
            PathMatch::Prefix(_) => (2, Reverse(0)),
        };
        let literal = matches.path.literal_prefix().len();
        (1, Reverse(literal), kind.0, kind.1)
    };
    let name = |names: &NameMatch| match names {
        NameMatch::Exact(_) => 0,
        NameMatch::Test(_) => 1,
        NameMatch::Any => 2,
    };
    let call = |matches: &RouteMatch| (name(&matches.service), name(&matches.method));
    let conditions = |matches: &RouteMatch| Reverse(matches.conditions.len());
    host(a)
        .cmp(&host(b))
        .then_with(|| path(a).cmp(&path(b)))
        .then_with(|| call(a).cmp(&call(b)))
        .then_with(|| conditions(a).cmp(&conditions(b)))
}

/// The route, unless it cannot be told what it matches or where it leads; the report says why.
fn compile_route(
    path: &Path,
    route: &rules::Route,
    known: &Names<'_>,
    regexes: &mut Regexes,
    report: &mut Report<'_>,
) -> Option<Route> {
    if let Some(name) = &route.name {
        report.name(&path.key("name"), name);
    }
    let host = matching::host(&path.key("host"), &route.host, report);
    let taken = matching::path(&path.key("path"), &route.path, regexes, report);
    let protocols = protocols::of_route(path, route, report);
    let mut calls = rpc::calls(&path.key("rpc"), route.rpc.as_ref(), regexes, report);
    let named = match (&host, &taken) {
        (Some(_), Some(taken)) => name(route, taken, protocols, &calls),
        _ => String::new(),
    };
    let also = std::mem::take(&mut calls.conditions);
    let conditions = conditions(path, (route, also), known, &named, regexes, report);
    let captures = taken.as_ref().map_or(&[][..], PathMatch::names);
    let prefix = matches!(taken, Some(PathMatch::Prefix(_)) | None);
    let at = actions::Part {
        path,
        route,
        captures,
        prefix,
        services: &known.services,
    };
    let action = at.action(report);
    let rewrite = at.rewrite(report);
    let mirror = at.mirror(report);
    let fault = at.fault(report);
    let response_timeout = route
        .response_timeout
        .map(|own| report.period(&path.key("response_timeout"), own));
    let sample = access_log::sample(path, route, known.log, report);
    let request_timeout = route
        .request_timeout
        .map(|own| report.period(&path.key("request_timeout"), own));
    let lane_header = known.lanes.map(|lanes| &*lanes.header);
    let request_headers = headers::compile(
        &path.key("request_headers"),
        &route.request_headers,
        headers::Direction::Request {
            captures,
            lane_header,
        },
        report,
    );
    let response_headers = headers::compile(
        &path.key("response_headers"),
        &route.response_headers,
        headers::Direction::Response,
        report,
    );
    let lane_key = known.lanes.map(|lanes| &lanes.key);
    let keys = |key: &str, own, place, lane, report: &mut _| {
        rpc::edits(&path.key(key), own, place, lane, report)
    };
    let place = Place::RequestKey;
    let request_keys = keys("request_keys", &route.request_keys, place, lane_key, report);
    let place = Place::ResponseKey;
    let response_keys = keys("response_keys", &route.response_keys, place, None, report);
    Some(Route {
        id: RouteId(0),
        name: named.into(),
        uses_captures: !captures.is_empty(),
        written: 0,
        stands_alone: false,
        matches: RouteMatch {
            protocols,
            service: calls.service,
            method: calls.method,
            host: host?,
            path: taken?,
            conditions: conditions?.into(),
        },
        action: action?,
        rewrite: rewrite.unwrap_or_default(),
        mirror,
        fault,
        sample,
        response_timeout,
        request_timeout,
        max_body: route.max_body.map(|size| size.0),
        request_headers,
        response_headers,
        request_keys,
        response_keys,
    })
}

/// The name as given, or made of listener, host and path, or service and method.
fn name(
    route: &rules::Route,
    path: &PathMatch,
    protocols: Protocols,
    calls: &rpc::Calls,
) -> String {
    route.name.clone().unwrap_or_else(|| {
        let listener = route
            .listener
            .as_ref()
            .map(|name| format!("{name}:"))
            .unwrap_or_default();
        match protocols {
            Protocols::Rpc => format!("{listener}rpc:{}/{}", calls.service, calls.method),
            _ => format!("{listener}{}{path}", route.host.to_ascii_lowercase()),
        }
    })
}

/// What a request must be like beside its host and path; `None` if something is not known.
fn conditions(
    path: &Path,
    (route, rpc): (&rules::Route, Vec<Condition>),
    known: &Names<'_>,
    name: &str,
    regexes: &mut Regexes,
    report: &mut Report<'_>,
) -> Option<Vec<Condition>> {
    let mut conditions = Vec::new();
    let mut complete = true;
    if let Some(name) = &route.listener {
        let found = known.listeners.find(&path.key("listener"), name, report);
        complete &= found.is_some();
        conditions.extend(found.map(|(at, _)| Condition::Listener(ListenerId(at))));
    }
    if let Some(name) = &route.port {
        let found = known.ports.find(&path.key("port"), name, report);
        complete &= found.is_some();
        conditions.extend(found.map(|(at, _)| Condition::Port(at)));
    }
    if let Some(lanes) = &route.lane {
        conditions.push(Condition::Lane(lane_ids(
            &path.key("lane"),
            lanes.values(),
            known,
            report,
        )));
    }
    let wanted = Wanted {
        method: route.method.as_ref(),
        headers: &route.headers,
        query: &route.query,
        cookies: &route.cookies,
        rpc,
        source: route.source.as_ref(),
        sample: route.sample.as_ref(),
        salt: hash(name.as_bytes()),
    };
    conditions.extend(matching::conditions(path, wanted, regexes, report));
    complete.then_some(conditions)
}

fn lane_ids(
    path: &Path,
    names: &[String],
    known: &Names<'_>,
    report: &mut Report<'_>,
) -> Box<[LaneId]> {
    let Some(lanes) = known.lanes else {
        if !report.is_any_broken("lanes") {
            report.mend(path, "there are no lanes", "add a section `lanes`");
        }
        return Box::default();
    };
    if names.is_empty() {
        report.mend(path, "lists no lane", "add one, or take it out");
    }
    let found = names.iter().filter_map(|name| lanes.find(name.as_bytes()));
    found.collect()
}
