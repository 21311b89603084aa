//! What a request must be like, beside host and path, or service and method.
//!
//! A condition over what one protocol has does not hold for a request of another, not even one that asks
//! for something to be absent.

use std::fmt;

use super::value::Test;
use super::{NameMatch, RpcKey, ValueTest, falls_into, fields, hash, mix};
use crate::request::RequestView;
use crate::rules::Cidr;
use crate::snapshot::{LaneId, ListenerId};

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// This listener accepted it.
    Listener(ListenerId),
    /// It came in by this port, an index in the snapshot's ports.
    Port(usize),
    /// Its method is one of these.
    Method(Box<[Box<[u8]>]>),
    /// Headers of a name, in lower case.
    Header(Box<[u8]>, ValueTest),
    /// Parameters of the query of a name.
    Query(Box<[u8]>, ValueTest),
    /// Cookies of a name.
    Cookie(Box<[u8]>, ValueTest),
    /// The method of the call.
    RpcMethod(NameMatch),
    /// The key of a call.
    RpcKey(RpcKey, ValueTest),
    /// Its client is in one of these networks.
    Source(Box<[Cidr]>),
    /// It is in one of these lanes.
    Lane(Box<[LaneId]>),
    /// It is one of a share.
    Sample {
        /// In parts per million.
        share: u32,
        /// What decides; without it, chance does.
        by: Option<Key>,
        /// Sets one share apart from another.
        salt: u64,
    },
}

impl Condition {
    /// The same with what it lists in order.
    pub(crate) fn sorted(mut self) -> Self {
        match &mut self {
            Condition::Method(methods) => methods.sort_unstable(),
            Condition::Source(networks) => {
                networks.sort_unstable_by_key(|own| (own.network(), own.prefix()));
                for own in networks {
                    *own = own.of_network();
                }
            }
            Condition::Lane(lanes) => lanes.sort_unstable_by_key(|lane| lane.0),
            Condition::Header(_, test)
            | Condition::Query(_, test)
            | Condition::Cookie(_, test)
            | Condition::RpcKey(_, test) => {
                if let Test::Exact(values) = &mut test.test {
                    values.sort_unstable();
                }
            }
            _ => {}
        }
        self
    }

    /// Whether it holds. Does not allocate.
    pub fn holds(&self, request: &RequestView<'_>) -> bool {
        match self {
            Condition::Listener(own) => *own == request.listener,
            Condition::Port(own) => *own == request.port,
            Condition::Method(methods) => request
                .http()
                .is_some_and(|http| methods.iter().any(|own| **own == *http.method)),
            Condition::Header(name, test) => request.http().is_some_and(|http| {
                test.holds(|test| {
                    fields::any_header(&http.headers, name, |value| test.passes(value))
                })
            }),
            Condition::Query(name, test) => request.http().is_some_and(|http| {
                test.holds(|test| {
                    fields::any_parameter(http.query, name, |value| test.passes(value))
                })
            }),
            Condition::Cookie(name, test) => request.http().is_some_and(|http| {
                test.holds(|test| {
                    fields::cookies(&http.headers, name).any(|value| test.passes(value))
                })
            }),
            Condition::RpcMethod(own) => {
                request.rpc().is_some_and(|rpc| own.takes(Some(rpc.method)))
            }
            Condition::RpcKey(key, test) => request.rpc().is_some_and(|rpc| {
                test.holds(|test| key.value(&rpc).is_some_and(|value| test.passes(value)))
            }),
            Condition::Source(networks) => networks
                .iter()
                .any(|network| network.contains(request.source)),
            Condition::Lane(lanes) => request.lane.is_some_and(|lane| lanes.contains(&lane)),
            Condition::Sample { share, by, salt } => {
                let key = by.as_ref().and_then(|key| key.hash(request));
                falls_into(mix(key.unwrap_or(request.draw) ^ salt), *share)
            }
        }
    }
}

/// What tells requests apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The first header of this name.
    Header(Box<[u8]>),
    /// The first cookie of this name.
    Cookie(Box<[u8]>),
    /// The first parameter of the query of this name, as sent.
    Query(Box<[u8]>),
    /// This key of a call.
    Rpc(RpcKey),
    /// The client's address.
    Source,
}

impl Key {
    /// What the request says; `None` where it lacks it. The client's address is no text.
    pub fn value<'a>(&'a self, request: &RequestView<'a>) -> Option<&'a [u8]> {
        match self {
            Key::Header(name) => fields::first_header(&request.http()?.headers, name),
            Key::Cookie(name) => fields::cookie(&request.http()?.headers, name),
            Key::Query(name) => fields::query(request.http()?.query, name),
            Key::Rpc(key) => key.value(&request.rpc()?),
            Key::Source => None,
        }
    }

    /// The same number for every request that says the same.
    pub(crate) fn hash(&self, request: &RequestView<'_>) -> Option<u64> {
        match self {
            Key::Source => Some(match request.source {
                std::net::IpAddr::V4(address) => hash(&address.octets()),
                std::net::IpAddr::V6(address) => hash(&address.octets()),
            }),
            other => other.value(request).map(hash),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Key::Header(name) => ("header", name),
            Key::Cookie(name) => ("cookie", name),
            Key::Query(name) => ("query parameter", name),
            Key::Rpc(key) => return write!(f, "key {key}"),
            Key::Source => return f.write_str("the client's address"),
        };
        write!(f, "{kind} {}", String::from_utf8_lossy(name))
    }
}
