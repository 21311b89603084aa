//! One look-up.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup as Answer;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use sluice_policy::Lookup;
use sluice_policy::rules::Dns;

/// Most addresses of one name; what is beyond is left out.
const MAX_ADDRESSES: usize = 256;
/// Most targets of one SRV name that are looked up.
const MAX_TARGETS: usize = 64;

/// What a name stands for, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Addresses {
    Hosts(Vec<IpAddr>),
    Sockets(Vec<SocketAddr>),
}

impl Addresses {
    pub(super) fn texts(&self) -> Vec<String> {
        match self {
            Addresses::Hosts(own) => own.iter().map(ToString::to_string).collect(),
            Addresses::Sockets(own) => own.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What a look-up found, and for how long that holds.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) addresses: Addresses,
    pub(super) holds: Duration,
}

/// Asks name servers.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) dns: Dns,
    resolver: Result<TokioResolver, String>,
}

impl Asker {
    pub(super) fn new(dns: Dns) -> Asker {
        let resolver = resolver(&dns).map_err(|error| match dns.servers.is_empty() {
            true => format!("/etc/resolv.conf names no server that can be asked: {error}"),
            false => error.to_string(),
        });
        Asker { dns, resolver }
    }

    /// Looks a name up; an error says why nothing was found.
    pub(super) async fn ask(&self, name: &Lookup) -> Result<Found, String> {
        let resolver = self.resolver.as_ref().map_err(Clone::clone)?;
        match name {
            Lookup::Host(host) => {
                let (hosts, until) = addresses(resolver, host).await?;
                Ok(Found {
                    addresses: Addresses::Hosts(hosts),
                    holds: until.saturating_duration_since(Instant::now()),
                })
            }
            Lookup::Srv(name) => {
                let (sockets, until) = targets(resolver, name).await?;
                Ok(Found {
                    addresses: Addresses::Sockets(sockets),
                    holds: until.saturating_duration_since(Instant::now()),
                })
            }
        }
    }
}

fn resolver(dns: &Dns) -> Result<TokioResolver, NetError> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = if dns.servers.is_empty() {
        Resolver::builder(provider)?
    } else {
        let servers = dns.servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            let connections = connections.map(|mut own| {
                own.port = server.0.port();
                own
            });
            NameServerConfig::new(server.0.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        let mut builder = Resolver::builder_with_config(config, provider);
        *builder.options_mut() = ResolverOpts::default();
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        builder
    };
    let options = builder.options_mut();
    options.timeout = dns.timeout.0;
    // What holds for how long is decided here.
    options.cache_size = 0;
    builder.build()
}

/// The addresses of a host, IPv4 first.
async fn addresses(resolver: &TokioResolver, host: &str) -> Result<(Vec<IpAddr>, Instant), String> {
    let (v4, v6) = futures_util::future::join(
        resolver.lookup(host, RecordType::A),
        resolver.lookup(host, RecordType::AAAA),
    )
    .await;
    let mut found = Vec::new();
    let mut until: Option<Instant> = None;
    let mut error = None;
    for answer in [v4, v6] {
        match answer {
            Ok(answer) => {
                let own = answer.answers().iter();
                found.extend(own.filter_map(|record| record.data.ip_addr()));
                until = sooner(until, &answer);
            }
            Err(own) if own.is_no_records_found() => {}
            Err(own) => error = Some(own),
        }
    }
    // Half an answer would take the other half away.
    if let Some(error) = error {
        return Err(error.to_string());
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(MAX_ADDRESSES);
    match until.filter(|_| !found.is_empty()) {
        Some(until) => Ok((found, until)),
        None => Err(format!("{host} has no address")),
    }
}

/// Addresses and ports of the targets of the lowest priority.
async fn targets(
    resolver: &TokioResolver,
    name: &str,
) -> Result<(Vec<SocketAddr>, Instant), String> {
    let answer = match resolver.lookup(name, RecordType::SRV).await {
        Ok(answer) => answer,
        Err(error) if error.is_no_records_found() => return Err(format!("{name} has no target")),
        Err(error) => return Err(error.to_string()),
    };
    let records = answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(own) => Some((own.priority, own.target.clone(), own.port)),
            _ => None,
        });
    let records: Vec<(u16, Name, u16)> = records.collect();
    let first = records.iter().map(|(priority, ..)| *priority).min();
    let mut until = answer.valid_until();
    let mut found = Vec::new();
    let mut error = None;
    let chosen = records
        .iter()
        .filter(|(priority, ..)| Some(*priority) == first);
    for (_, target, port) in chosen.take(MAX_TARGETS) {
        match addresses(resolver, &target.to_ascii()).await {
            Ok((hosts, own)) => {
                until = until.min(own);
                found.extend(hosts.into_iter().map(|ip| SocketAddr::new(ip, *port)));
            }
            Err(own) => error = Some(own),
        }
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(MAX_ADDRESSES);
    match (found.is_empty(), error) {
        (false, _) => Ok((found, until)),
        (true, Some(error)) => Err(error),
        (true, None) => Err(format!("{name} has no target")),
    }
}

fn sooner(until: Option<Instant>, answer: &Answer) -> Option<Instant> {
    let own = answer.valid_until();
    Some(until.map_or(own, |until| until.min(own)))
}
