//! What a request must be like, beside its host and path.
//!
//! A further kind of request (an RPC with its metadata) brings its own kinds of conditions; routes,
//! tags and faults take them as they take these.

use std::fmt;

use super::{ValueTest, falls_into, fields, hash, mix};
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
    /// Whether it holds. Does not allocate.
    pub fn holds(&self, request: &RequestView<'_>) -> bool {
        match self {
            Condition::Listener(own) => *own == request.listener,
            Condition::Port(own) => *own == request.port,
            Condition::Method(methods) => methods.iter().any(|own| **own == *request.method),
            Condition::Header(name, test) => test.holds(|test| {
                fields::any_header(&request.headers, name, |value| test.passes(value))
            }),
            Condition::Query(name, test) => test.holds(|test| {
                fields::any_parameter(request.query, name, |value| test.passes(value))
            }),
            Condition::Cookie(name, test) => test.holds(|test| {
                fields::cookies(&request.headers, name).any(|value| test.passes(value))
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
    /// The client's address.
    Source,
}

impl Key {
    /// What the request says; `None` where it lacks it. The client's address is no text.
    pub fn value<'a>(&'a self, request: &RequestView<'a>) -> Option<&'a [u8]> {
        match self {
            Key::Header(name) => fields::first_header(&request.headers, name),
            Key::Cookie(name) => fields::cookie(&request.headers, name),
            Key::Query(name) => fields::query(request.query, name),
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
            Key::Source => return f.write_str("the client's address"),
        };
        write!(f, "{kind} {}", String::from_utf8_lossy(name))
    }
}
