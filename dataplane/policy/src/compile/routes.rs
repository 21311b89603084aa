//! Routes: sorted by specificity, each match once.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use super::report::Report;
use super::{access_log, headers};
use crate::problem::did_you_mean;
use crate::router::Router;
use crate::rules::{self, Period, Rules};
use crate::snapshot::{HostMatch, ListenerId, Route, RouteId, RouteMatch, ServiceId};
use crate::yaml::Path;

/// Longest host in a rule: a name in text (RFC 1035, 2.3.4, without the length bytes).
const MAX_HOST: usize = 253;
/// Longest path prefix, in bytes.
const MAX_PATH: usize = 1024;
/// Most segments of a path prefix: each can cost a request one look-up.
const MAX_SEGMENTS: usize = 32;

pub(super) fn compile(rules: &Rules, report: &mut Report<'_>) -> (Vec<Route>, Router) {
    let section = Path::section("routes");
    let mut routes = Vec::with_capacity(rules.routes.len());
    let mut matches: BTreeMap<RouteMatch, usize> = BTreeMap::new();
    let mut names = BTreeMap::new();
    let services = Known::new("service", &rules.services);
    let listeners = Known::new("listener", &rules.listeners);
    for (index, route) in rules.routes.iter().enumerate() {
        let path = section.index(index);
        let Some(compiled) = compile_route(
            &path,
            route,
            &services,
            &listeners,
            rules.access_log.as_ref(),
            report,
        ) else {
            continue;
        };
        if let Some(first) = matches.get(&compiled.matches) {
            let line = report.line(&section.index(*first));
            let message = format!("takes the same requests as routes[{first}]{line}");
            report.mend(&path, message, "keep one, or give it another host or path");
            continue;
        }
        matches.insert(compiled.matches.clone(), index);
        if let Some(first) = names.insert(compiled.name.clone(), index) {
            let line = report.line(&section.index(first));
            let message = format!(
                "routes[{first}]{line} is called \"{}\" as well",
                compiled.name
            );
            report.mend(&path.key("name"), message, "give it another name");
        }
        routes.push(compiled);
    }
    // Stable: what is equally specific stays as written.
    routes.sort_by(|a, b| specificity(&a.matches, &b.matches));
    for (index, route) in routes.iter_mut().enumerate() {
        route.id = RouteId(index);
    }
    let router = Router::new(&routes);
    (routes, router)
}

/// An exact host before a wildcard, the longer one first, before any; then the longer path; then
/// one listener before all.
fn specificity(a: &RouteMatch, b: &RouteMatch) -> Ordering {
    let key = |matches: &RouteMatch| {
        let host = match &matches.host {
            HostMatch::Exact(_) => (0, Reverse(0)),
            HostMatch::Below(host) => (1, Reverse(host.len())),
            HostMatch::Any => (2, Reverse(0)),
        };
        (
            host,
            Reverse(matches.path.len()),
            matches.listener.is_none(),
        )
    };
    key(a).cmp(&key(b))
}

/// The route, unless it cannot be told what it matches or where it leads; the report says why.
fn compile_route(
    path: &Path,
    route: &rules::Route,
    services: &Known<'_, rules::Service>,
    listeners: &Known<'_, rules::Listener>,
    log: Option<&rules::AccessLog>,
    report: &mut Report<'_>,
) -> Option<Route> {
    if let Some(name) = &route.name {
        report.name(&path.key("name"), name);
    }
    let service = services.find(&path.key("service"), &route.service, report);
    let listener = match &route.listener {
        None => Some(None),
        Some(name) => listeners
            .find(&path.key("listener"), name, report)
            .map(Some),
    };
    let host = host(&path.key("host"), &route.host, report);
    let prefix = prefix(&path.key("path"), &route.path, report);
    let response_timeout = route
        .response_timeout
        .map(|own| Period(report.period(&path.key("response_timeout"), own)));
    let sample = access_log::sample(path, route, log, report);
    let request_timeout = route
        .request_timeout
        .map(|own| Period(report.period(&path.key("request_timeout"), own)));
    let request_headers =
        headers::compile(&path.key("request_headers"), &route.request_headers, report);
    let response_headers = headers::compile(
        &path.key("response_headers"),
        &route.response_headers,
        report,
    );

    let (service, served_by) = service?;
    let (listener, host, prefix) = (listener?, host?, prefix?);
    let name = route.name.clone().unwrap_or_else(|| {
        let listener = route
            .listener
            .as_ref()
            .map(|name| format!("{name}:"))
            .unwrap_or_default();
        format!("{listener}{}{prefix}", route.host.to_ascii_lowercase())
    });
    Some(Route {
        id: RouteId(0),
        name: name.into(),
        matches: RouteMatch {
            listener: listener.map(|(at, _)| ListenerId(at)),
            host,
            path: prefix,
        },
        service: ServiceId(service),
        sample,
        response_timeout: response_timeout.unwrap_or(served_by.response_timeout).0,
        request_timeout: request_timeout.unwrap_or(served_by.request_timeout).0,
        max_body: route.max_body.map(|size| size.0),
        request_headers,
        response_headers,
    })
}

/// What is known by name, each with its index in the order of names.
struct Known<'a, T> {
    kind: &'static str,
    by_name: BTreeMap<&'a str, (usize, &'a T)>,
}

impl<'a, T> Known<'a, T> {
    fn new(kind: &'static str, map: &'a BTreeMap<String, T>) -> Known<'a, T> {
        let indexed = map.iter().enumerate();
        let by_name = indexed.map(|(index, (name, value))| (name.as_str(), (index, value)));
        Known {
            kind,
            by_name: by_name.collect(),
        }
    }

    /// What is called `name`; otherwise the report says that there is no such thing.
    fn find(&self, path: &Path, name: &str, report: &mut Report<'_>) -> Option<(usize, &'a T)> {
        let found = self.by_name.get(name).copied();
        if found.is_none() {
            let mend = did_you_mean(name, self.by_name.keys().copied());
            report.suggest(path, format!("no {} is called \"{name}\"", self.kind), mend);
        }
        found
    }
}

pub(super) fn host(path: &Path, text: &str, report: &mut Report<'_>) -> Option<HostMatch> {
    if text == "*" {
        return Some(HostMatch::Any);
    }
    let lower = text.to_ascii_lowercase();
    let (below, host) = match lower.strip_prefix("*.") {
        Some(host) => (true, host),
        None => (false, lower.as_str()),
    };
    if let Err((message, mend)) = check_host(text, host, below) {
        report.suggest(path, message, mend);
        return None;
    }
    Some(if below {
        HostMatch::Below(host.into())
    } else {
        HostMatch::Exact(host.into())
    })
}

fn check_host(text: &str, host: &str, below: bool) -> Result<(), (String, Option<String>)> {
    let in_brackets = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    if let Some(address) = in_brackets.filter(|_| !below) {
        return match address.parse::<std::net::Ipv6Addr>() {
            Ok(_) => Ok(()),
            Err(_) => Err((format!("{text:?} is no IPv6 address"), None)),
        };
    }
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err((
            format!("{text:?} lacks brackets"),
            Some(format!("write \"[{text}]\"")),
        ));
    }
    if let Some((name, port)) = host.rsplit_once(':')
        && !name.is_empty()
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        let mend = text
            .rsplit_once(':')
            .map(|(name, _)| format!("write \"{name}\""));
        return Err((
            format!("{text:?} has a port, which is ignored in requests"),
            mend,
        ));
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(legal);
    if host.len() > MAX_HOST || !host.split('.').all(label) {
        let mend = "write a name, *.example.com for all names below one, or * for any".to_owned();
        return Err((format!("{text:?} is no host"), Some(mend)));
    }
    Ok(())
}

fn prefix(path: &Path, text: &str, report: &mut Report<'_>) -> Option<Box<str>> {
    if text == "/" {
        return Some(text.into());
    }
    let wrong = if !text.starts_with('/') {
        Some((
            format!("{text:?} does not begin with /"),
            Some(format!("write \"/{text}\"")),
        ))
    } else if text.len() > MAX_PATH || text.matches('/').count() > MAX_SEGMENTS {
        let message = format!("is longer than {MAX_PATH} bytes or {MAX_SEGMENTS} segments");
        Some((message, None))
    } else if text
        .bytes()
        .any(|b| !b.is_ascii_graphic() || b == b'?' || b == b'#')
    {
        let mend = "write it as it stands in a request: no query, other characters as %20";
        Some((format!("{text:?} is no path"), Some(mend.to_owned())))
    } else if let Some(start) = text.strip_suffix('/') {
        let start = start.trim_end_matches('/');
        let mend = format!("write \"{}\"", if start.is_empty() { "/" } else { start });
        Some((
            "ends with /, but matches whole segments anyway".into(),
            Some(mend),
        ))
    } else if text
        .split('/')
        .skip(1)
        .any(|segment| matches!(segment, "" | "." | ".."))
    {
        Some((format!("{text:?} has an empty, `.` or `..` segment"), None))
    } else {
        None
    };
    match wrong {
        Some((message, mend)) => {
            report.suggest(path, message, mend);
            None
        }
        None => Some(text.into()),
    }
}
