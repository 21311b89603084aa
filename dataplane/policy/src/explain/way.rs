//! Follows a request through the rules, and says why it takes each turn.

use std::time::{Duration, UNIX_EPOCH};

use super::{Because, Explanation};
use crate::action::{Action, Destination, Fault, NoTarget, Respond, RpcAnswer, captures};
use crate::lanes::{Lanes, TagFrom};
use crate::matching::{Condition, NameMatch};
use crate::request::{Message, RequestView};
use crate::rules::Size;
use crate::snapshot::{LaneId, Listener, Protocols, Route, Service, ServiceId, Snapshot};
use crate::template::Values;

/// Near misses that are told of.
const MAX_MISSES: usize = 20;

/// What the way of a request depends on beside the request itself.
pub(super) struct Way<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) listener: &'a Listener,
    /// It comes from a trusted peer.
    pub(super) trusted: bool,
    /// Its host with the port.
    pub(super) authority: &'a [u8],
    /// It is under way, and what is left to chance is decided.
    pub(super) live: bool,
    /// When it is made, where that is known, in seconds after 1970-01-01 UTC.
    pub(super) wall: Option<u64>,
}

impl Way<'_> {
    /// That of a request, which may be refused before any route is asked.
    pub(super) fn of(&self, mut view: RequestView<'_>, refused: Option<&str>) -> Explanation {
        let mut said = self.begin(&mut view);
        if let Some(refused) = refused {
            said.becomes.push(refused.to_owned());
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
            None => said.becomes.push(self.missing(&view, "no route takes it")),
            Some(route) => self.taken(route, &view, &mut said),
        }
        said
    }

    /// That of a request under way, which was or was not taken by this route.
    pub(super) fn of_live(&self, mut view: RequestView<'_>, taken: Option<&Route>) -> Explanation {
        let mut said = self.begin(&mut view);
        let routes = &self.snapshot.routes;
        for id in self.snapshot.router.tried(routes, &view, MAX_MISSES) {
            if let Some(route) = routes.get(id.0) {
                let misses = self.misses(route, &view);
                said.near_misses.push(because(&route.name, misses));
            }
        }
        if let Some(route) = taken {
            self.taken(route, &view, &mut said);
        }
        said
    }

    fn begin(&self, view: &mut RequestView<'_>) -> Explanation {
        let lanes = self.snapshot.lanes.as_ref();
        Explanation {
            ignored: lanes.and_then(|lanes| self.ignored(lanes, view)),
            lane: lanes.and_then(|lanes| self.lane(lanes, view, self.trusted)),
            ..Explanation::of(self.listener, view.source)
        }
    }

    /// The tag that a request came with, where its peer is not trusted: then the peer is the client.
    fn ignored(&self, lanes: &Lanes, view: &RequestView<'_>) -> Option<String> {
        let received = lanes.received(view).filter(|_| !self.trusted)?;
        Some(format!(
            "{} {:?}: it is taken out, since listener {} does not trust {}; see `trust`",
            carrier(lanes, view),
            String::from_utf8_lossy(received),
            self.listener.name,
            view.source
        ))
    }

    fn taken(&self, route: &Route, view: &RequestView<'_>, said: &mut Explanation) {
        let conditions = route.matches.conditions.iter();
        let conditions = conditions.map(|condition| self.describe(condition));
        let first = match &view.message {
            Message::Http(_) => format!("path {} fits", route.matches.path),
            Message::Rpc(_) => format!(
                "service {} and method {} fit",
                route.matches.service, route.matches.method
            ),
        };
        said.route = Some(because(
            &route.name,
            std::iter::once(first).chain(conditions).collect(),
        ));
        self.action(route, view, said);
    }

    /// The answer to a request that leads nowhere.
    fn missing(&self, view: &RequestView<'_>, why: &str) -> String {
        match &view.message {
            Message::Http(_) => format!("404: {why}"),
            Message::Rpc(_) => format!("exception 20: {why}"),
        }
    }

    fn lane(&self, lanes: &Lanes, view: &mut RequestView<'_>, trusted: bool) -> Option<Because> {
        if trusted && let Some(received) = lanes.received(view) {
            view.lane = lanes.find(received);
            let name = String::from_utf8_lossy(received).into_owned();
            let carrier = carrier(lanes, view);
            let why = match view.lane {
                Some(_) => format!("it came with {carrier}, and the peer is trusted"),
                None => format!("it came with {carrier}, which nothing here knows"),
            };
            return Some(because(&name, vec![why]));
        }
        for (index, tag) in lanes.tags.iter().enumerate() {
            let lane = match &tag.lane {
                TagFrom::Lane(lane) => Some(*lane),
                TagFrom::Request(key) => key.value(view).and_then(|name| lanes.find(name)),
            };
            let holds = tag.protocols.take(&view.message)
                && tag.conditions.iter().all(|own| self.holds(own, view));
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

    /// Unless it is decided already, chance takes no part: who is left to it is told of as a near miss.
    fn holds(&self, condition: &Condition, view: &RequestView<'_>) -> bool {
        match condition {
            Condition::Sample { by, share, .. } if !self.live => {
                let known = by.as_ref().and_then(|key| key.hash(view)).is_some();
                *share == 1_000_000 || (known && condition.holds(view))
            }
            other => other.holds(view),
        }
    }

    fn misses(&self, route: &Route, view: &RequestView<'_>) -> Vec<String> {
        let mut misses = Vec::new();
        let matches = &route.matches;
        if !matches.protocols.take(&view.message) {
            let own = match matches.protocols {
                Protocols::Http => "it takes HTTP only",
                Protocols::Rpc | Protocols::All => "it takes RPC only",
            };
            return vec![own.to_owned()];
        }
        match &view.message {
            Message::Http(http) => {
                if !matches.host.takes(http.host) {
                    misses.push("another host".to_owned());
                }
                if !matches.path.takes(http.path) {
                    misses.push(format!("another path: {}", matches.path));
                }
            }
            Message::Rpc(rpc) => {
                if !matches.service.takes(rpc.to_service()) {
                    misses.push(format!("another service: {}", matches.service));
                }
                if !matches.method.takes(Some(rpc.method)) {
                    misses.push(format!("another method: {}", matches.method));
                }
            }
        }
        let conditions = matches.conditions.iter();
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
            said.becomes.push(drill(fault, self.wall));
        }
        let destination = match &route.action {
            Action::Respond(own) => {
                said.becomes.push(answers(own, view));
                return;
            }
            Action::Redirect(own) => {
                let stood_for = captures(route, view);
                let values = self.values(route, "", view, &stood_for);
                let mut location = Vec::new();
                own.write_location(&route.matches.path, &values, self.authority, &mut location);
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
                if !self.live {
                    return;
                }
            }
            Destination::Split {
                sticky: Some(key), ..
            } => {
                said.becomes.push(format!("{key} decides"));
            }
            Destination::By { header, key, .. } => {
                let header = String::from_utf8_lossy(header.as_deref().unwrap_or_default());
                said.becomes.push(match (&view.message, key) {
                    (Message::Rpc(_), Some(key)) => format!("key {key} decides"),
                    _ => format!("header {header} decides"),
                });
            }
            Destination::One(_) | Destination::Split { .. } => {}
        }
        match chosen.and_then(|id| self.snapshot.service(id)) {
            None => {
                let missing = self.missing(view, "it names no service that is allowed");
                said.becomes.push(missing);
            }
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
        for name in &service.names {
            let then = format!("{name} is looked up while the gateway runs");
            said.endpoints.push(then);
        }
        if said.endpoints.is_empty() {
            said.no_endpoint = Some(self.no_endpoint(service, view));
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
        let stood_for = captures(route, view);
        let values = self.values(route, &service.name, view, &stood_for);
        let mut out = Vec::new();
        let rewrite = &route.rewrite;
        if let Some(path) = &rewrite.path
            && view.http().is_some_and(|http| http.path.starts_with(b"/"))
        {
            let target = path.target(&route.matches.path, &values, &mut out);
            let target = target.map(|target| target.has_dot_segment());
            let text = String::from_utf8_lossy(&out);
            said.becomes.push(match target {
                Ok(false) => format!("the path it sees is {text}"),
                Ok(true) | Err(NoTarget::Illegal) => {
                    format!("refused with 400: the path would become {text}")
                }
                Err(NoTarget::TooLarge) => {
                    "refused with 431: the path would be too long".to_owned()
                }
            });
        }
        if let Some(host) = &rewrite.host {
            said.becomes.push(format!("the host it sees is {host}"));
        }
        if let Some(mirror) = &route.mirror {
            let to = self.snapshot.service(mirror.service);
            said.becomes.push(format!(
                "{} % are copied to service {}",
                f64::from(mirror.share) / 10_000.0,
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

    /// Why no endpoint of a service is met, and what becomes of the request then.
    fn no_endpoint(&self, service: &Service, view: &RequestView<'_>) -> String {
        let lanes = match view.lane {
            Some(_) => "other lanes",
            None => "lanes",
        };
        let fallback = service.fallback.and_then(|id| self.snapshot.service(id));
        let then = match (fallback, &view.message) {
            (Some(fallback), _) => format!("service {} is asked", fallback.name),
            (None, Message::Http(_)) => "503".to_owned(),
            (None, Message::Rpc(_)) => "exception 6".to_owned(),
        };
        format!(
            "service {} has endpoints in {lanes} only: {then}",
            service.name
        )
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
            Condition::RpcMethod(names) => format!("method {names}"),
            Condition::RpcKey(key, test) => format!("key {key} {test}"),
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

/// What a drill does, in words.
fn drill(fault: &Fault, wall: Option<u64>) -> String {
    let until = UNIX_EPOCH.checked_add(Duration::from_secs(fault.until));
    let until = until.map_or_else(String::new, |until| {
        humantime::format_rfc3339_seconds(until).to_string()
    });
    if wall.is_some_and(|wall| wall >= fault.until) {
        return format!("a drill that was over at {until}");
    }
    let percent = |share: u32| f64::from(share) / 10_000.0;
    let mut parts = Vec::new();
    if let Some((time, share)) = fault.delay {
        parts.push(format!("{} % are held for {time:?}", percent(share)));
    }
    if let Some((rate, share)) = fault.bandwidth {
        let (rate, share) = (Size(rate), percent(share));
        parts.push(format!("{share} % have bodies of {rate} a second"));
    }
    if let Some(abort) = &fault.abort {
        let how = match (abort.status, &abort.rpc) {
            (Some(status), _) => format!("answered with {status}"),
            (None, Some(_)) => "answered by an exception or a biz-status".to_owned(),
            (None, None) => "ended by closing the connection".to_owned(),
        };
        parts.push(format!("{} % are {how}", percent(abort.share)));
    }
    format!("a drill until {until}: {}", parts.join(", "))
}

/// What a route answers by itself.
fn answers(own: &Respond, view: &RequestView<'_>) -> String {
    let status = own.http.as_ref().map(|own| own.status);
    match (&view.message, &own.rpc) {
        (Message::Rpc(_), Some(RpcAnswer::Exception { kind, message })) => {
            format!("exception {}: the route answers {message:?}", *kind as i32)
        }
        (
            Message::Rpc(_),
            Some(RpcAnswer::BizStatus {
                status, message, ..
            }),
        ) => {
            format!("biz-status {status}: the route answers {message:?}")
        }
        // One without an answer for the protocol does not take the request.
        _ => format!("{}: the route answers", status.unwrap_or_default()),
    }
}

/// Whether somebody would have expected this route: its host and path fit, or all but one of them and
/// the path begins alike; or service and method of a call do, or all but one of them.
fn is_near(route: &Route, view: &RequestView<'_>, misses: &[String]) -> bool {
    let matches = &route.matches;
    if !matches.protocols.take(&view.message) {
        return false;
    }
    match &view.message {
        Message::Http(http) => {
            let fits = [matches.host.takes(http.host), matches.path.takes(http.path)];
            let first = |path: &[u8]| path.split(|&b| b == b'/').nth(1).map(<[u8]>::to_vec);
            let own = first(&matches.path.literal_prefix());
            let alike = own.is_some() && own == first(http.path);
            fits == [true, true] || (misses.len() == 1 && fits.contains(&true) && alike)
        }
        Message::Rpc(rpc) => {
            let service = matches.service.takes(rpc.to_service());
            let method = matches.method.takes(Some(rpc.method));
            let says = |names: &NameMatch| *names != NameMatch::Any;
            let one = (service && says(&matches.service)) || (method && says(&matches.method));
            (service && method) || (misses.len() == 1 && one)
        }
    }
}

/// What the tag of a request travels in.
fn carrier(lanes: &Lanes, view: &RequestView<'_>) -> String {
    match &view.message {
        Message::Http(_) => lanes.header.to_string(),
        Message::Rpc(_) => format!("key {}", lanes.key),
    }
}

fn because(name: &str, because: Vec<String>) -> Because {
    Because {
        name: name.to_owned(),
        because,
    }
}
