//! What the rules make of one request, and why: for people.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;
use sluice_wire::http1::{
    ForwardedField, HeadIndex, Limits, Request, client_address, parse_request,
};
use thiserror::Error;

use crate::action::{Action, Destination, captures};
use crate::lanes::{Lanes, TagFrom};
use crate::matching::Condition;
use crate::request::RequestView;
use crate::rules::ForwardedHeader;
use crate::snapshot::{LaneId, Listener, ListenerId, Route, Service, ServiceId, Snapshot};
use crate::template::Values;

/// Near misses that are told of.
const MAX_MISSES: usize = 20;

/// A request that somebody wants explained.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// Method and URL: `GET http://host/path`.
    pub request: String,
    /// Header fields: `name: value`.
    pub headers: Vec<String>,
    /// Name of the listener; without it, the one that the URL leads to.
    pub listener: Option<String>,
    /// Who connects; 192.0.2.1, which is nobody, without it.
    pub from: Option<IpAddr>,
}

/// Why a question cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExplainError {
    /// It is not `METHOD URL`.
    #[error("{0:?} is no request; write one such as 'GET http://host/path'")]
    NoRequest(String),
    /// The gateway would refuse it as it reads it.
    #[error("the gateway refuses such a request with {0}: {1}")]
    Refused(u16, String),
    /// There is no such listener; those there are.
    #[error("no listener fits; name one with --listener: {0}")]
    NoListener(String),
}

/// What the rules make of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Name of the listener.
    pub listener: String,
    /// The client, as far as trusted proxies vouch for it.
    pub client: IpAddr,
    /// The lane, and where it comes from.
    pub lane: Option<Because>,
    /// The route that takes it, and what its conditions say.
    pub route: Option<Because>,
    /// What becomes of it, one thing after the other.
    pub becomes: Vec<String>,
    /// The service that answers, unless chance decides or the gateway itself answers.
    pub service: Option<String>,
    /// Endpoints of that service that take such requests in turn.
    pub endpoints: Vec<String>,
    /// Routes that are tried before and come near, and why they do not take it.
    pub near_misses: Vec<Because>,
    /// Near misses beyond those that are listed.
    pub more_near_misses: usize,
    /// Routes that would take it, were it not taken before.
    pub later: Vec<String>,
}

/// Something by its name, and reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Because {
    /// Its name.
    pub name: String,
    /// Why.
    pub because: Vec<String>,
}

/// What the rules of a snapshot make of a request.
///
/// # Errors
/// See [`ExplainError`].
pub fn explain(snapshot: &Snapshot, question: &Question) -> Result<Explanation, ExplainError> {
    let no_request = || ExplainError::NoRequest(question.request.clone());
    let (method, url) = question.request.split_once(' ').ok_or_else(no_request)?;
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .ok_or_else(no_request)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).ok_or_else(no_request)?;
    let slash = if target.starts_with('/') { "" } else { "/" };
    // One of https is refused by the form of its target.
    let target = match url.starts_with("https://") {
        true => url.to_owned(),
        false => format!("{slash}{target}"),
    };
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n");
    for field in &question.headers {
        head.push_str(field);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    let mut index = HeadIndex::new();
    let limits = Limits {
        request_line: 32 << 10,
        head: 63 << 10,
        headers: 128,
    };
    let request = match parse_request(head.as_bytes(), &limits, &mut index) {
        Ok(Some(request)) => request,
        Ok(None) => return Err(no_request()),
        Err(error) => return Err(ExplainError::Refused(error.status(), error.to_string())),
    };
    let (id, listener) = find_listener(snapshot, question, authority)?;
    let peer = question.from.unwrap_or(Ipv4Addr::new(192, 0, 2, 1).into());
    Ok(Explainer {
        snapshot,
        id,
        listener,
        request: &request,
        peer,
    }
    .explain())
}

fn find_listener<'a>(
    snapshot: &'a Snapshot,
    question: &Question,
    authority: &str,
) -> Result<(ListenerId, &'a Listener), ExplainError> {
    let port = authority
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse::<u16>().ok())
        .unwrap_or(80);
    let host = authority.split(':').next().unwrap_or_default();
    let mut fits: Vec<_> = snapshot.listeners.iter().enumerate().collect();
    match &question.listener {
        Some(name) => fits.retain(|(_, own)| &*own.name == name.as_str()),
        None => {
            let here = |own: &Listener| {
                let mut addresses = own.addresses.iter();
                addresses.any(|address| address.ip().to_string() == host && address.port() == port)
            };
            if fits.iter().any(|(_, own)| here(own)) {
                fits.retain(|(_, own)| here(own));
            } else if fits.len() > 1 {
                let by_port = |own: &Listener| own.addresses.iter().any(|a| a.port() == port);
                fits.retain(|(_, own)| by_port(own) && own.takes(host.as_bytes()));
            }
        }
    }
    match fits.first() {
        Some((index, listener)) => Ok((ListenerId(*index), listener)),
        None => {
            let names = snapshot.listeners.iter().map(|own| &*own.name);
            Err(ExplainError::NoListener(
                names.collect::<Vec<_>>().join(", "),
            ))
        }
    }
}

struct Explainer<'a> {
    snapshot: &'a Snapshot,
    id: ListenerId,
    listener: &'a Listener,
    request: &'a Request<'a>,
    peer: IpAddr,
}

impl Explainer<'_> {
    fn explain(&self) -> Explanation {
        let trusted = self.listener.trusts(self.peer);
        let mut client = self.peer;
        if trusted {
            let field = match self.listener.forwarded.header {
                ForwardedHeader::Forwarded => ForwardedField::Forwarded,
                ForwardedHeader::XForwarded | ForwardedHeader::Both => {
                    ForwardedField::XForwardedFor
                }
            };
            let trusts = |address| self.listener.trusts(address);
            client = client_address(self.request, field, self.peer, trusts);
        }
        let whose = (self.id, self.listener.port);
        let mut scratch = Vec::new();
        let mut view = RequestView::of(self.request, whose, client, 0, &mut scratch);
        let lanes = self.snapshot.lanes.as_ref();
        let insecure = self.request.is_for_https() && !trusted;
        let lane = lanes.and_then(|lanes| self.lane(lanes, &mut view, trusted));
        let mut said = Explanation {
            listener: self.listener.name.to_string(),
            client,
            lane,
            route: None,
            becomes: Vec::new(),
            service: None,
            endpoints: Vec::new(),
            near_misses: Vec::new(),
            more_near_misses: 0,
            later: Vec::new(),
        };
        if !self.listener.takes(view.host) {
            let hosts = "421: the listener does not take requests for this host";
            said.becomes.push(hosts.into());
            return said;
        }
        if insecure {
            let insecure = "421: an https resource is not served on a connection without TLS";
            said.becomes.push(insecure.into());
            return said;
        }
        let mut taken = None;
        for route in self.snapshot.routes.iter() {
            let misses = self.misses(route, &view);
            match (misses.is_empty(), taken) {
                (true, None) => taken = Some(route),
                (true, Some(_)) => said.later.push(route.name.to_string()),
                (false, None) if is_near(route, &view, &misses) => {
                    if said.near_misses.len() == MAX_MISSES {
                        said.more_near_misses += 1;
                    } else {
                        said.near_misses.push(because(&route.name, misses));
                    }
                }
                (false, _) => {}
            }
        }
        match taken {
            None => said.becomes.push("404: no route takes it".into()),
            Some(route) => {
                let conditions = route.matches.conditions.iter();
                let conditions = conditions.map(|condition| self.describe(condition));
                let path = format!("path {} fits", route.matches.path);
                said.route = Some(because(
                    &route.name,
                    std::iter::once(path).chain(conditions).collect(),
                ));
                self.action(route, &view, &mut said);
            }
        }
        said
    }

    fn lane(&self, lanes: &Lanes, view: &mut RequestView<'_>, trusted: bool) -> Option<Because> {
        if trusted && let Some(received) = lanes.received(view) {
            view.lane = lanes.find(received);
            let name = String::from_utf8_lossy(received).into_owned();
            let why = match view.lane {
                Some(_) => format!("it came with {}, and the peer is trusted", lanes.header),
                None => format!("it came with {}, which nothing here knows", lanes.header),
            };
            return Some(because(&name, vec![why]));
        }
        for (index, tag) in lanes.tags.iter().enumerate() {
            let lane = match &tag.lane {
                TagFrom::Lane(lane) => Some(*lane),
                TagFrom::Request(key) => key.value(view).and_then(|name| lanes.find(name)),
            };
            let holds = tag.conditions.iter().all(|own| self.holds(own, view));
            if let Some(lane) = lane.filter(|_| holds) {
                view.lane = Some(lane);
                let mut why = vec![format!("lanes.tags[{index}]")];
                if let TagFrom::Request(key) = &tag.lane {
                    why.push(format!("{key} names it"));
                }
                why.extend(tag.conditions.iter().map(|own| self.describe(own)));
                return Some(because(lanes.name(lane)?, why));
            }
        }
        None
    }

    /// Chance takes no part: who is left to it is told of as a near miss.
    fn holds(&self, condition: &Condition, view: &RequestView<'_>) -> bool {
        match condition {
            Condition::Sample { by, share, .. } => {
                let known = by.as_ref().and_then(|key| key.hash(view)).is_some();
                *share == 1_000_000 || (known && condition.holds(view))
            }
            other => other.holds(view),
        }
    }

    fn misses(&self, route: &Route, view: &RequestView<'_>) -> Vec<String> {
        let mut misses = Vec::new();
        if !route.matches.host.takes(view.host) {
            misses.push("another host".to_owned());
        }
        if !route.matches.path.takes(view.path) {
            misses.push(format!("another path: {}", route.matches.path));
        }
        let conditions = route.matches.conditions.iter();
        let conditions = conditions.filter(|condition| !self.holds(condition, view));
        misses.extend(conditions.map(|condition| format!("not {}", self.describe(condition))));
        misses
    }

    fn action(&self, route: &Route, view: &RequestView<'_>, said: &mut Explanation) {
        let name = |id: ServiceId| {
            self.snapshot
                .service(id)
                .map_or("", |service| &service.name)
        };
        if let Some(fault) = &route.fault {
            said.becomes.push(format!(
                "a drill is set: delay {:?}, abort {:?}, until {} s after 1970",
                fault.delay, fault.abort, fault.until
            ));
        }
        let destination = match &route.action {
            Action::Respond(own) => {
                said.becomes
                    .push(format!("{}: the route answers", own.status));
                return;
            }
            Action::Redirect(own) => {
                let stood_for = captures(route, view.path);
                let values = self.values(route, "", view, &stood_for);
                let mut location = Vec::new();
                let authority = self.request.host();
                own.write_location(&route.matches.path, &values, authority, &mut location);
                let location = String::from_utf8_lossy(&location).into_owned();
                said.becomes
                    .push(format!("{}: redirect to {location}", own.status));
                return;
            }
            Action::Forward(destination) => destination,
        };
        let chosen = destination.choose(view);
        match destination {
            Destination::Split { shares, sticky }
                if sticky.as_ref().and_then(|key| key.hash(view)).is_none() =>
            {
                let mut before = 0;
                let parts = shares.iter().map(|(upto, id)| {
                    let weight = upto - std::mem::replace(&mut before, *upto);
                    format!("{} {weight}", name(*id))
                });
                let parts = parts.collect::<Vec<_>>().join(", ");
                said.becomes
                    .push(format!("chance decides by weight: {parts}"));
                return;
            }
            Destination::Split {
                sticky: Some(key), ..
            } => {
                said.becomes.push(format!("{key} decides"));
            }
            Destination::By { header, .. } => {
                let header = String::from_utf8_lossy(header);
                said.becomes.push(format!("header {header} decides"));
            }
            Destination::One(_) | Destination::Split { .. } => {}
        }
        match chosen.and_then(|id| self.snapshot.service(id)) {
            None => said
                .becomes
                .push("404: it names no service that is allowed".into()),
            Some(service) => self.forwarded(route, service, view, said),
        }
    }

    fn forwarded(
        &self,
        route: &Route,
        service: &Service,
        view: &RequestView<'_>,
        said: &mut Explanation,
    ) {
        said.service = Some(service.name.to_string());
        let group = service
            .group(view.lane)
            .and_then(|at| service.groups.get(at));
        if let Some(group) = group {
            let own = service.endpoints.get(group.endpoints.clone()).into_iter();
            said.endpoints = own.flatten().map(|own| own.address.to_string()).collect();
        }
        let lane = group.and_then(|group| group.lane);
        said.becomes.push(match (lane, view.lane) {
            (Some(lane), _) => format!(
                "service {}, its endpoints in lane {}",
                service.name,
                self.lane_name(lane)
            ),
            (None, Some(lane)) => format!(
                "service {}, which has no endpoint in lane {}",
                service.name,
                self.lane_name(lane)
            ),
            (None, None) => format!("service {}", service.name),
        });
        let stood_for = captures(route, view.path);
        let values = self.values(route, &service.name, view, &stood_for);
        let mut out = Vec::new();
        let rewrite = &route.rewrite;
        if let Some(path) = &rewrite.path
            && let Some(target) = path.target(&route.matches.path, &values, &mut out)
        {
            let target = String::from_utf8_lossy(target.as_bytes()).into_owned();
            said.becomes.push(format!("the path it sees is {target}"));
        }
        if let Some(host) = &rewrite.host {
            said.becomes.push(format!("the host it sees is {host}"));
        }
        if let Some(mirror) = &route.mirror {
            let to = self.snapshot.service(mirror.service);
            said.becomes.push(format!(
                "{} in a million are copied to service {}",
                mirror.share,
                to.map_or("", |to| &to.name)
            ));
        }
        if let Some(fallback) = service.fallback.and_then(|id| self.snapshot.service(id)) {
            let fallback = &fallback.name;
            said.becomes.push(format!(
                "service {fallback} while no endpoint accepts a connection"
            ));
        }
        let response = route.response_timeout.unwrap_or(service.response_timeout);
        let whole = route.request_timeout.unwrap_or(service.request_timeout);
        said.becomes.push(format!(
            "the response has to begin within {response:?}, all has to be over within {whole:?}"
        ));
    }

    fn values<'v>(
        &self,
        route: &'v Route,
        service: &'v str,
        view: &'v RequestView<'v>,
        stood_for: &'v crate::matching::Captures<'v>,
    ) -> Values<'v>
    where
        Self: 'v,
    {
        Values {
            client: view.source,
            lane: None,
            request_id: b"",
            route: &route.name,
            service,
            status: 0,
            request: Some((view, stood_for)),
        }
    }

    fn lane_name(&self, lane: LaneId) -> &str {
        self.snapshot.lane_name(Some(lane)).unwrap_or_default()
    }

    fn describe(&self, condition: &Condition) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match condition {
            Condition::Listener(id) => {
                let own = self.snapshot.listeners.get(id.0);
                format!("listener {}", own.map_or("", |own| &own.name))
            }
            Condition::Port(port) => {
                let own = self.snapshot.ports.get(*port);
                format!("port {}", own.map_or("", |own| &own.name))
            }
            Condition::Method(methods) => {
                let methods: Vec<String> = methods.iter().map(|own| text(own)).collect();
                format!("method {}", methods.join(" or "))
            }
            Condition::Header(name, test) => format!("header {} {test}", text(name)),
            Condition::Query(name, test) => format!("query parameter {} {test}", text(name)),
            Condition::Cookie(name, test) => format!("cookie {} {test}", text(name)),
            Condition::Source(networks) => {
                let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
                format!("source in {}", networks.join(" or "))
            }
            Condition::Lane(lanes) => {
                let lanes: Vec<&str> = lanes.iter().map(|lane| self.lane_name(*lane)).collect();
                format!("lane {}", lanes.join(" or "))
            }
            Condition::Sample { share, by, .. } => {
                let by = by.as_ref().map_or("chance".to_owned(), ToString::to_string);
                let percent = f64::from(*share) / 10_000.0;
                format!("one of the {percent} % picked by {by}")
            }
        }
    }
}

/// Whether somebody would have expected this route: its host and path fit, or all but one of them and
/// the path begins alike.
fn is_near(route: &Route, view: &RequestView<'_>, misses: &[String]) -> bool {
    let fits = [
        route.matches.host.takes(view.host),
        route.matches.path.takes(view.path),
    ];
    let first = |path: &[u8]| path.split(|&b| b == b'/').nth(1).map(<[u8]>::to_vec);
    let own = first(&route.matches.path.literal_prefix());
    let alike = own.is_some() && own == first(view.path);
    fits == [true, true] || (misses.len() == 1 && fits.contains(&true) && alike)
}

fn because(name: &str, because: Vec<String>) -> Because {
    Because {
        name: name.to_owned(),
        because,
    }
}
