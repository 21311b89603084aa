//! Rules by chance, and what they allow to become of a request: a model of its own, which knows nothing of
//! how the gateway finds a route.

use std::collections::HashSet;
use std::fmt::Write;

use sluice_perf::memory::{Setup, rules};
use sluice_stack::rng::Rng;

/// Services, by their place; each has ports of its own.
pub(crate) const SERVICES: usize = 4;
/// Hosts that requests are for.
pub(crate) const HOSTS: usize = 3;
/// The port of the service that gets copies.
pub(crate) const COPIES: u16 = 8300;
/// A port where nobody listens.
const DEAD: u16 = 9999;

/// Ports that backends listen on.
pub(crate) fn ports() -> impl Iterator<Item = u16> {
    let of_services = (0..SERVICES).flat_map(|service| (0..3).map(move |own| port(service, own)));
    of_services.chain([COPIES])
}

fn port(service: usize, own: u16) -> u16 {
    8100 + 10 * service as u16 + own
}

/// A request as rules see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) host: usize,
    pub(crate) user: Option<&'static str>,
}

pub(crate) const USERS: [&str; 2] = ["alice", "bob"];

/// What may become of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// One of these ports answers.
    Ports(Vec<u16>),
    /// The gateway answers.
    Status(u16),
    /// The connection is closed.
    Closed,
}

/// One set of rules.
#[derive(Debug)]
pub(crate) struct Rules {
    services: Vec<Service>,
    routes: Vec<Route>,
    /// Whose requests are tagged.
    tagged: Option<&'static str>,
}

#[derive(Debug)]
struct Service {
    /// Of no lane.
    base: Vec<u16>,
    lane: Option<u16>,
    fallback: Option<usize>,
}

#[derive(Debug)]
struct Route {
    host: Option<usize>,
    user: Option<&'static str>,
    lane: bool,
    /// Percent.
    sample: Option<u64>,
    action: Action,
    fault: Fault,
    mirrored: bool,
    set_header: bool,
}

#[derive(Debug)]
enum Action {
    Services(Vec<(usize, u64)>),
    Respond(u16),
}

#[derive(Debug, Default)]
struct Fault {
    /// Milliseconds.
    delay: Option<u64>,
    /// KiB per second.
    bandwidth: Option<u64>,
    /// The status, if not a close, and percent.
    abort: Option<(Option<u16>, u64)>,
}

impl Rules {
    pub(crate) fn by_chance(rng: &mut Rng) -> Rules {
        let services = (0..SERVICES).map(|number| Service::by_chance(number, rng));
        let services = services.collect();
        // Routes of the same conditions are refused, unless they take a share.
        let mut seen = HashSet::new();
        let routes = (0..rng.below(8)).map(|_| Route::by_chance(rng));
        let routes = routes
            .filter(|own| own.sample.is_some() || seen.insert((own.host, own.user, own.lane)));
        Rules {
            services,
            routes: routes.collect(),
            tagged: [None, Some(USERS[0]), Some(USERS[1])][rng.below(3) as usize],
        }
    }

    /// Everything that may become of a request by these rules.
    pub(crate) fn allow(&self, asked: Asked) -> Vec<Allowed> {
        let lane = asked.user.is_some() && asked.user == self.tagged;
        let mut allowed = Vec::new();
        for route in &self.routes {
            let fits = route.host.is_none_or(|host| host == asked.host)
                && route.user.is_none_or(|user| Some(user) == asked.user)
                && (!route.lane || lane);
            if !fits {
                continue;
            }
            self.of_route(route, lane, &mut allowed);
            if route.sample.is_none_or(|share| share == 100) {
                return allowed;
            }
        }
        allowed.push(Allowed::Status(404));
        allowed
    }

    fn of_route(&self, route: &Route, lane: bool, allowed: &mut Vec<Allowed>) {
        let weights = match &route.action {
            Action::Respond(status) => return allowed.push(Allowed::Status(*status)),
            Action::Services(weights) => weights,
        };
        if let Some((status, share)) = route.fault.abort {
            if share > 0 {
                allowed.push(status.map_or(Allowed::Closed, Allowed::Status));
            }
            if share == 100 {
                return;
            }
        }
        for (service, _) in weights.iter().filter(|(_, weight)| *weight > 0) {
            allowed.push(self.answers(*service, lane));
        }
    }

    /// Who answers for a service: its endpoints in the lane, or else of none, those that live; or its
    /// fallback.
    fn answers(&self, service: usize, lane: bool) -> Allowed {
        let mut next = Some(service);
        while let Some(service) = next {
            let own = &self.services[service];
            let group = match own.lane.filter(|_| lane) {
                Some(port) => vec![port],
                None => own.base.clone(),
            };
            let alive: Vec<u16> = group.into_iter().filter(|port| *port != DEAD).collect();
            if !alive.is_empty() {
                return Allowed::Ports(alive);
            }
            next = own.fallback;
        }
        Allowed::Status(502)
    }

    /// As a file.
    pub(crate) fn yaml(&self, setup: &Setup) -> String {
        let whole = rules(setup);
        let at = whole.find("services:").unwrap_or(whole.len());
        let mut text = whole[..at].to_owned();
        let tagged = self.tagged.unwrap_or("nobody");
        let _ = writeln!(
            text,
            "lanes: {{ tags: [{{ lane: a, headers: {{ x-user: {tagged} }} }}] }}"
        );
        text.push_str("services:\n");
        let address = |port: u16| match setup.v6 {
            true => format!("\"[fd77:2::2]:{port}\""),
            false => format!("\"10.77.2.2:{port}\""),
        };
        let _ = writeln!(text, "  copies: {{ endpoints: [{}] }}", address(COPIES));
        for (number, own) in self.services.iter().enumerate() {
            let mut endpoints: Vec<String> = own.base.iter().map(|port| address(*port)).collect();
            endpoints.extend(
                own.lane
                    .map(|port| format!("{{ address: {}, lane: a }}", address(port))),
            );
            let fallback = own.fallback.map(|to| format!(", fallback: s{to}"));
            let (endpoints, fallback) = (endpoints.join(", "), fallback.unwrap_or_default());
            let _ = writeln!(
                text,
                "  s{number}: {{ endpoints: [{endpoints}]{fallback} }}"
            );
        }
        text.push_str("routes:\n");
        for (order, route) in self.routes.iter().enumerate() {
            let _ = writeln!(
                text,
                "  - {{ order: {order}, name: r{order}{} }}",
                route.yaml()
            );
        }
        if self.routes.is_empty() {
            text.push_str("  - { host: nobody.test, service: s0 }\n");
        }
        text
    }
}

impl Service {
    fn by_chance(number: usize, rng: &mut Rng) -> Service {
        let base = match rng.below(8) {
            0 => vec![DEAD],
            1 => vec![DEAD, port(number, 1)],
            2..=4 => vec![port(number, 0)],
            _ => vec![port(number, 0), port(number, 1)],
        };
        let below = (SERVICES - 1 - number) as u64;
        let fallback =
            (below > 0 && rng.chance(0.4)).then(|| number + 1 + rng.below(below) as usize);
        Service {
            base,
            lane: rng.chance(0.5).then(|| port(number, 2)),
            fallback,
        }
    }
}

impl Route {
    fn by_chance(rng: &mut Rng) -> Route {
        let service = |rng: &mut Rng| rng.below(SERVICES as u64) as usize;
        let action = match rng.below(6) {
            0 => Action::Respond([200, 403, 410][rng.below(3) as usize]),
            1 | 2 => {
                let first = service(rng);
                let second = (first + 1 + rng.below(SERVICES as u64 - 1) as usize) % SERVICES;
                Action::Services(vec![(first, 1 + rng.below(9)), (second, rng.below(9))])
            }
            _ => Action::Services(vec![(service(rng), 1)]),
        };
        let forwards = matches!(action, Action::Services(_));
        let status = [None, Some(500), Some(503)][rng.below(3) as usize];
        let share = [0, 30, 100][rng.below(3) as usize];
        let mut fault = Fault::default();
        if forwards && rng.chance(0.3) {
            fault.delay = rng.chance(0.5).then(|| 1 + rng.below(2_000));
            fault.bandwidth = rng.chance(0.5).then(|| 10 + rng.below(1_000));
            fault.abort = rng.chance(0.3).then_some((status, share));
        }
        Route {
            host: rng.chance(0.7).then(|| rng.below(HOSTS as u64) as usize),
            user: rng.chance(0.3).then(|| USERS[rng.below(2) as usize]),
            lane: rng.chance(0.2),
            sample: rng.chance(0.2).then(|| [5, 30, 100][rng.below(3) as usize]),
            action,
            fault,
            mirrored: forwards && rng.chance(0.3),
            set_header: rng.chance(0.3),
        }
    }

    fn yaml(&self) -> String {
        let mut text = String::new();
        if let Some(host) = self.host {
            let _ = write!(text, ", host: h{host}.test");
        }
        if let Some(user) = self.user {
            let _ = write!(text, ", headers: {{ x-user: {user} }}");
        }
        if self.lane {
            text.push_str(", lane: a");
        }
        if let Some(share) = self.sample {
            let _ = write!(text, ", sample: {share}%");
        }
        match &self.action {
            Action::Respond(status) => {
                let _ = write!(text, ", respond: {{ status: {status} }}");
            }
            Action::Services(weights) => {
                let shares = weights.iter().map(|(service, weight)| {
                    format!("{{ service: s{service}, weight: {weight} }}")
                });
                let shares: Vec<String> = shares.collect();
                let _ = write!(text, ", split: [{}]", shares.join(", "));
            }
        }
        let mut faults = String::new();
        if let Some(delay) = self.fault.delay {
            let _ = write!(faults, "delay: {{ time: {delay}ms, share: 50% }}, ");
        }
        if let Some(rate) = self.fault.bandwidth {
            let _ = write!(faults, "bandwidth: {{ rate: {rate}KiB, share: 50% }}, ");
        }
        if let Some((status, share)) = self.fault.abort {
            let status = status.map(|status| format!("status: {status}, "));
            let status = status.unwrap_or_default();
            let _ = write!(faults, "abort: {{ {status}share: {share}% }}, ");
        }
        if !faults.is_empty() {
            let _ = write!(
                text,
                ", fault: {{ {faults}until: \"2099-01-01T00:00:00Z\" }}"
            );
        }
        if self.mirrored {
            text.push_str(", mirror: { service: copies, share: 50%, body: 8KiB }");
        }
        if self.set_header {
            text.push_str(", request_headers: { set: { x-path: \"${path}\" } }");
            text.push_str(", response_headers: { set: { x-route: \"${route}\" } }");
        }
        text
    }
}
