//! Endpoints by name: which names rules have, and what they stand for at the moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::Snapshot;
use crate::rules::{Dns, EndpointAddress, Rules, Service, Short};

/// Something to be looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lookup {
    /// The addresses of a host, A and AAAA.
    Host(Box<str>),
    /// Hosts and ports, SRV.
    Srv(Box<str>),
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lookup::Host(name) => f.write_str(name),
            Lookup::Srv(name) => write!(f, "srv {name}"),
        }
    }
}

/// The names that rules have, and how they are to be looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The names, each once.
    pub names: BTreeSet<Lookup>,
    /// Whom to ask.
    pub dns: Dns,
}

impl Wanted {
    /// Those of a set of rules.
    pub fn of(rules: &Rules) -> Wanted {
        let services = rules.services.values();
        Wanted {
            names: services.flat_map(of_service).collect(),
            dns: rules.dns.clone(),
        }
    }

    /// Whether each of these names stands for what it did when the snapshot was compiled.
    pub fn are_as_in(&self, snapshot: &Snapshot, resolved: &Resolved) -> bool {
        let mut names = self.names.iter();
        names.all(|name| snapshot.resolved.agree(resolved, name))
    }
}

/// The names of a service's endpoints.
pub(crate) fn of_service(service: &Service) -> impl Iterator<Item = Lookup> {
    service
        .endpoints
        .iter()
        .filter_map(|endpoint| match endpoint {
            Short::Short(address) => of_address(address),
            Short::Full(form) => match (&form.srv, &form.address) {
                (Some(name), _) => Some(Lookup::Srv(name.to_ascii_lowercase().into())),
                (None, Some(address)) => of_address(address),
                (None, None) => None,
            },
        })
}

fn of_address(address: &EndpointAddress) -> Option<Lookup> {
    match address {
        EndpointAddress::Socket(_) => None,
        EndpointAddress::Name { host, .. } => Some(Lookup::Host(host.to_ascii_lowercase().into())),
    }
}

/// What names stand for. One that is not here stands for nothing yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Addresses by name, in order.
    pub hosts: BTreeMap<Box<str>, Vec<IpAddr>>,
    /// Addresses with ports by name, in order.
    pub services: BTreeMap<Box<str>, Vec<SocketAddr>>,
}

impl Resolved {
    /// Whether a name stands for the same here and there.
    pub(crate) fn agree(&self, other: &Resolved, name: &Lookup) -> bool {
        match name {
            Lookup::Host(name) => self.hosts.get(name) == other.hosts.get(name),
            Lookup::Srv(name) => self.services.get(name) == other.services.get(name),
        }
    }

    /// What an endpoint's address stands for.
    pub(crate) fn addresses(&self, endpoint: &EndpointAddress) -> Vec<SocketAddr> {
        match endpoint {
            EndpointAddress::Socket(address) => vec![*address],
            EndpointAddress::Name { host, port } => {
                let own = self.hosts.get(&*host.to_ascii_lowercase());
                let own = own.into_iter().flatten();
                own.map(|ip| SocketAddr::new(*ip, *port)).collect()
            }
        }
    }
}
