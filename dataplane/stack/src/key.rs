//! The names of a flow.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::steering::Family;

/// A TCP flow as this host sees it: the port (network plane) it runs over and its two ends.
///
/// IPv4 addresses are kept in their IPv6-mapped form, so that a key is 37 plain bytes that hash and
/// compare fast; a real IPv4-mapped IPv6 address never occurs on a wire (RFC 4291 2.5.5.2) and is
/// refused when a frame is parsed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FlowKey {
    local: u128,
    remote: u128,
    /// local port, remote port, index of the device port
    rest: u64,
}

impl FlowKey {
    /// The flow between `local` and `remote` over device port number `port`; the same two ends on
    /// two ports (planes) are two flows.
    pub fn new(port: u8, local: SocketAddr, remote: SocketAddr) -> Self {
        FlowKey {
            local: mapped(local.ip()),
            remote: mapped(remote.ip()),
            rest: u64::from(local.port()) << 32 | u64::from(remote.port()) << 16 | u64::from(port),
        }
    }

    /// As [`Self::new`], of addresses as bits, IPv4 ones mapped.
    #[inline]
    pub(crate) fn from_bits(port: u8, local: (u128, u16), remote: (u128, u16)) -> Self {
        FlowKey {
            local: local.0,
            remote: remote.0,
            rest: u64::from(local.1) << 32 | u64::from(remote.1) << 16 | u64::from(port),
        }
    }

    /// What all flows to the same host have in common: the device port and the host.
    pub(crate) fn path(&self) -> Self {
        FlowKey {
            local: 0,
            remote: self.remote,
            rest: u64::from(self.port()),
        }
    }

    /// Index of the device port.
    #[inline]
    pub fn port(&self) -> u8 {
        self.rest as u8
    }

    /// Our end.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(unmapped(self.local), self.local_port())
    }

    /// The peer's end.
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(unmapped(self.remote), self.remote_port())
    }

    /// The family of its addresses.
    #[inline]
    pub fn family(&self) -> Family {
        if self.is_v4() { Family::V4 } else { Family::V6 }
    }

    /// Whether its addresses are IPv4.
    #[inline]
    pub(crate) fn is_v4(&self) -> bool {
        self.local >> 32 == 0xffff
    }

    #[inline]
    pub(crate) fn local_bits(&self) -> u128 {
        self.local
    }

    #[inline]
    pub(crate) fn remote_bits(&self) -> u128 {
        self.remote
    }

    #[inline]
    pub(crate) fn local_port(&self) -> u16 {
        (self.rest >> 32) as u16
    }

    #[inline]
    pub(crate) fn remote_port(&self) -> u16 {
        (self.rest >> 16) as u16
    }
}

/// An IPv4 address as the bits of a key.
#[inline]
pub(crate) fn mapped_v4(address: u32) -> u128 {
    0xffff << 32 | u128::from(address)
}

fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => a.to_ipv6_mapped().to_bits(),
        IpAddr::V6(a) => a.to_bits(),
    }
}

fn unmapped(bits: u128) -> IpAddr {
    Ipv6Addr::from_bits(bits).to_canonical()
}

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.local);
        state.write_u128(self.remote);
        state.write_u64(self.rest);
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}->{} on port {}",
            self.remote(),
            self.local(),
            self.port()
        )
    }
}

/// Our number for a flow; never names another flow later, since the slot's count is part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowId {
    pub(crate) slot: u32,
    pub(crate) turn: u32,
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.turn)
    }
}
