//! Routes: sorted by specificity, each match once.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::known::Known;
use super::matching::{self, Wanted};
use super::report::Report;
use super::{access_log, actions, headers, protocols, rpc};
use crate::lanes::Lanes;
use crate::matching::{Condition, NameMatch, PathMatch, Regexes, hash};
use crate::router::Router;
use crate::rules::{self, Rules};
use crate::snapshot::{HostMatch, LaneId, ListenerId, Protocols, Route, RouteId, RouteMatch};
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

pub(super) fn compile(
    rules: &Rules,
    lanes: Option<&Lanes>,
    regexes: &mut Regexes,
    report: &mut Report<'_>,
) -> (Arc<[Route]>, Router) {
    let section = Path::section("routes");
    let mut routes = Vec::with_capacity(rules.routes.len());
    let mut matches: HashMap<String, usize> = HashMap::new();
    let mut names = BTreeMap::new();
    let known = Names {
        services: Known::new("service", &rules.services),
        listeners: Known::new("listener", &rules.listeners),
        ports: Known::new("port", &rules.ports),
        lanes,
        log: rules.access_log.as_ref(),
    };
    let mut taken: HashMap<String, u32> = HashMap::new();
    for (index, route) in rules.routes.iter().enumerate() {
        let path = section.index(index);
        let Some(mut compiled) = compile_route(&path, route, &known, regexes, report) else {
            continue;
        };
        // A share of requests can be taken of what another share left.
        if route.sample.is_none() {
            let same = format!("{:?}", compiled.matches);
            if let Some(first) = matches.get(&same) {
                let line = report.line(&section.index(*first));
                let message = format!("takes the same requests as routes[{first}]{line}");
                report.mend(&path, message, "keep one, or give it another host or path");
                continue;
            }
            matches.insert(same, index);
        }
        if route.name.is_none() {
            let number = taken.entry(compiled.name.to_string()).or_default();
            *number += 1;
            if *number > 1 {
                compiled.name = format!("{}#{number}", compiled.name).into();
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
        .map(|(index, (_, route))| Route {
            id: RouteId(index),
            ..route
        });
    let routes: Arc<[Route]> = routes.collect();
    let router = Router::new(&routes);
    (routes, router)
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
        report.mend(path, "there are no lanes", "add a section `lanes`");
        return Box::default();
    };
    if names.is_empty() {
        report.mend(path, "lists no lane", "add one, or take it out");
    }
    let found = names.iter().filter_map(|name| lanes.find(name.as_bytes()));
    found.collect()
}
