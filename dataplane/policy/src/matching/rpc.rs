//! What tells remote procedure calls apart: keys, services and methods.

use std::fmt;

use sluice_wire::ttheader::integer as key;

use super::{Test, ValueTest};
use crate::request::RpcView;

/// The names of integer keys, in the order of their numbers.
const NAMES: [(&str, u16); 28] = [
    ("mesh_version", key::MESH_VERSION),
    ("transport_type", key::TRANSPORT_TYPE),
    ("log_id", key::LOG_ID),
    ("from_service", key::FROM_SERVICE),
    ("from_cluster", key::FROM_CLUSTER),
    ("from_idc", key::FROM_IDC),
    ("to_service", key::TO_SERVICE),
    ("to_cluster", key::TO_CLUSTER),
    ("to_idc", key::TO_IDC),
    ("to_method", key::TO_METHOD),
    ("env", key::ENV),
    ("dest_address", key::DEST_ADDRESS),
    ("rpc_timeout", key::RPC_TIMEOUT),
    ("read_timeout", key::READ_TIMEOUT),
    ("ring_hash_key", key::RING_HASH_KEY),
    ("ddp_tag", key::DDP_TAG),
    ("with_mesh_header", key::WITH_MESH_HEADER),
    ("connect_timeout", key::CONNECT_TIMEOUT),
    ("span_context", key::SPAN_CONTEXT),
    ("short_connection", key::SHORT_CONNECTION),
    ("from_method", key::FROM_METHOD),
    ("stress_tag", key::STRESS_TAG),
    ("msg_type", key::MSG_TYPE),
    ("http_content_type", key::HTTP_CONTENT_TYPE),
    ("raw_ring_hash_key", key::RAW_RING_HASH_KEY),
    ("lb_type", key::LB_TYPE),
    ("cluster_shard_id", key::CLUSTER_SHARD_ID),
    ("frame_type", key::FRAME_TYPE),
];

/// Marks a string key whose name would be that of an integer key.
const STRING: &str = "string:";

/// Longest name of a string key in a rule, in bytes.
const MAX_NAME: usize = 256;

/// A key of a call's head.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RpcKey {
    /// By number.
    Integer(u16),
    /// By name.
    String(Box<[u8]>),
}

impl RpcKey {
    /// As rules write it: the name of an integer key, its number, or else a string key; `string:` in
    /// front makes any name a string key. `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<RpcKey> {
        if let Some(name) = text.strip_prefix(STRING) {
            return RpcKey::string(name);
        }
        if let Some((_, number)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Some(RpcKey::Integer(*number));
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().ok().map(RpcKey::Integer);
        }
        RpcKey::string(text)
    }

    fn string(name: &str) -> Option<RpcKey> {
        let legal = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|b| b >= b' ');
        legal.then(|| RpcKey::String(name.as_bytes().into()))
    }

    /// Its value in a call; `None` where it has none.
    #[inline]
    pub fn value<'a>(&self, rpc: &RpcView<'a>) -> Option<&'a [u8]> {
        match self {
            RpcKey::Integer(number) => rpc.head?.integer(*number),
            RpcKey::String(name) => rpc.head?.string(name),
        }
    }
}

impl fmt::Display for RpcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RpcKey::Integer(number) => match NAMES.iter().find(|(_, own)| own == number) {
                Some((name, _)) => f.write_str(name),
                None => write!(f, "{number}"),
            },
            RpcKey::String(name) => {
                let name = String::from_utf8_lossy(name);
                let mark = match RpcKey::parse(&name) {
                    Some(RpcKey::Integer(_)) => STRING,
                    _ => "",
                };
                write!(f, "{mark}{name}")
            }
        }
    }
}

/// Which names of services or methods a rule takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameMatch {
    /// One of these: at least one.
    Exact(Box<[Box<[u8]>]>),
    /// Those that pass a test.
    Test(ValueTest),
    /// Any, or none.
    Any,
}

impl NameMatch {
    /// Those that a test lets pass; any without one.
    pub(crate) fn of(test: Option<ValueTest>) -> NameMatch {
        match test {
            None => NameMatch::Any,
            Some(ValueTest {
                test: Test::Exact(names),
                not: false,
            }) => NameMatch::Exact(names),
            Some(test) => NameMatch::Test(test),
        }
    }

    /// Whether it takes a name, or that there is none.
    pub fn takes(&self, name: Option<&[u8]>) -> bool {
        match self {
            NameMatch::Exact(names) => {
                name.is_some_and(|name| names.iter().any(|own| **own == *name))
            }
            NameMatch::Test(test) => test.holds(|test| name.is_some_and(|name| test.passes(name))),
            NameMatch::Any => true,
        }
    }
}

impl fmt::Display for NameMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameMatch::Exact(names) => {
                for (place, name) in names.iter().enumerate() {
                    let or = if place == 0 { "" } else { " or " };
                    write!(f, "{or}{}", String::from_utf8_lossy(name))?;
                }
                Ok(())
            }
            NameMatch::Test(test) => write!(f, "{test}"),
            NameMatch::Any => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_shown_alike() {
        for (number, (name, key)) in NAMES.iter().enumerate() {
            assert_eq!(usize::from(*key), number, "{name}");
            assert_eq!(RpcKey::parse(name), Some(RpcKey::Integer(*key)));
            assert_eq!(RpcKey::parse(&key.to_string()), Some(RpcKey::Integer(*key)));
            assert_eq!(RpcKey::Integer(*key).to_string(), *name);
        }
        assert_eq!(RpcKey::parse("65535"), Some(RpcKey::Integer(65_535)));
        let string = |name: &str| Some(RpcKey::String(name.as_bytes().into()));
        assert_eq!(
            RpcKey::parse("RPC_PERSIST_user"),
            string("RPC_PERSIST_user")
        );
        assert_eq!(RpcKey::parse("string:env"), string("env"));
        assert_eq!(string("env").unwrap().to_string(), "string:env");
        for none in ["", "string:", "65536", "99999999999999999999", "a\nb"] {
            assert_eq!(RpcKey::parse(none), None, "{none:?}");
        }
    }
}
