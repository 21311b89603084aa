//! Addresses, networks and names of the rules. Each reads its text strictly and shows it again.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::units::{UnitError, digits, text_scalar};

/// An IP address and a port: `10.0.0.1:80`, `[fd00::1]:80`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketAddress(pub SocketAddr);

text_scalar!(SocketAddress, {
    "description": "An IP address and a port; an IPv6 address stands in brackets.",
    "type": "string",
    "examples": ["10.0.0.1:80", "[fd00::1]:80"]
});

impl FromStr for SocketAddress {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        text.parse()
            .map(SocketAddress)
            .map_err(|_| UnitError::SocketAddress(text.to_owned()))
    }
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an endpoint listens: `10.0.0.1:80`, `[fd00::1]:80`, or a name with a port, `cart.internal:80`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointAddress {
    /// An address.
    Socket(SocketAddr),
    /// A name that is to be looked up.
    Name {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
}

text_scalar!(EndpointAddress, {
    "description": "An IP address, or a name that is looked up, with a port number.",
    "type": "string",
    "examples": ["10.0.0.1:80", "[fd00::1]:80", "cart.internal:80"]
});

impl FromStr for EndpointAddress {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if let Ok(address) = text.parse() {
            return Ok(EndpointAddress::Socket(address));
        }
        let wrong = || UnitError::EndpointAddress(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = Some(port).filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
        let port = port.and_then(|port| port.parse().ok()).ok_or_else(wrong)?;
        // What ends in a number is an address with a mistake.
        let top = host
            .trim_end_matches('.')
            .rsplit('.')
            .next()
            .unwrap_or_default();
        let named = top.bytes().any(|b| b.is_ascii_alphabetic());
        if !named || !is_dns_name(host) {
            return Err(wrong());
        }
        Ok(EndpointAddress::Name {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointAddress::Socket(address) => address.fmt(f),
            EndpointAddress::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// Whether a text can be a name in the DNS (RFC 1035, 2.3.4), one dot at its end or none.
pub(crate) fn is_dns_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(legal);
    name.len() <= 253 && name.split('.').all(label)
}

/// An IP address: `10.0.0.1`, `fd00::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub IpAddr);

text_scalar!(Address, {
    "description": "An IP address.",
    "type": "string",
    "examples": ["10.0.0.1", "fd00::1"]
});

impl FromStr for Address {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        text.parse()
            .map(Address)
            .map_err(|_| UnitError::Address(text.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An IP address with the length of its network's prefix: `10.77.1.1/24`, `fd77:1::1/64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

text_scalar!(Cidr, {
    "description": "An IP address and the length of its network's prefix.",
    "type": "string",
    "examples": ["10.0.0.1/24", "fd00::1/64"]
});

impl Cidr {
    /// The address as written, host bits included.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Length of the network's prefix in bits: at most 32 for IPv4, 128 for IPv6.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The network: the address with its host bits cleared.
    pub fn network(&self) -> IpAddr {
        mask(self.address, self.prefix)
    }

    /// Written without host bits.
    pub(crate) fn of_network(self) -> Self {
        Self {
            address: self.network(),
            prefix: self.prefix,
        }
    }

    /// Whether `address` lies in this network. Never true across families.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        same >= u32::from(self.prefix)
    }

    /// The broadcast address of an IPv4 network that has one (RFC 3021: a /31 has none).
    pub fn broadcast(&self) -> Option<IpAddr> {
        match self.address {
            IpAddr::V4(address) if self.prefix < 31 => {
                let hosts = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                Some(IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() | hosts)))
            }
            _ => None,
        }
    }
}

impl FromStr for Cidr {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let parsed = || {
            let (address, prefix) = text.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let prefix = digits(prefix)?;
            (prefix <= longest).then_some(Cidr {
                address,
                prefix: u8::try_from(prefix).ok()?,
            })
        };
        parsed().ok_or_else(|| UnitError::Cidr(text.to_owned()))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn mask(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let hosts = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & !hosts))
        }
        IpAddr::V6(address) => {
            let hosts = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !hosts))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_own_family_only() {
        let lab: Cidr = "10.77.1.1/24".parse().unwrap();
        assert_eq!(lab.network(), "10.77.1.0".parse::<IpAddr>().unwrap());
        assert_eq!(lab.broadcast(), Some("10.77.1.255".parse().unwrap()));
        assert!(lab.contains("10.77.1.200".parse().unwrap()));
        assert!(!lab.contains("10.77.2.1".parse().unwrap()));
        assert!(!lab.contains("::1".parse().unwrap()));

        let any: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(any.contains("255.1.2.3".parse().unwrap()));
        assert!(!any.contains("fd00::1".parse().unwrap()));
        let host: Cidr = "fd00::1/128".parse().unwrap();
        assert!(host.contains("fd00::1".parse().unwrap()));
        assert!(!host.contains("fd00::2".parse().unwrap()));
        assert_eq!("10.0.0.0/31".parse::<Cidr>().unwrap().broadcast(), None);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.1",
            "10.0.0.1/",
            "10.0.0.1/33",
            "fd00::1/129",
            "10.0.0.1/+8",
            "x/8",
            "10.0.0.1/256",
            "10.0.0.1/24/8",
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(UnitError::Cidr(text.into())));
        }
    }
}
