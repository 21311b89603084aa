//! Ports on the command line: `key=value;key=value`, with the words of the rules' `ports:`.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use clap::ValueEnum;
use sluice_policy::rules::{Cidr, Size};
use sluice_port::{Device, PciAddress};
use sluice_stack::PortSetup;

use crate::load::Replies;
use crate::load::plan::LARGEST_BODY;

/// A port of the generator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortSpec {
    pub(crate) device: Device,
    pub(crate) addresses: Vec<Cidr>,
    pub(crate) routes: Vec<(Cidr, IpAddr)>,
    pub(crate) mtu: u16,
    pub(crate) vlan: Option<u16>,
    /// As it was written.
    pub(crate) text: String,
}

/// A device without addresses: an end of a wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceSpec {
    pub(crate) device: Device,
    pub(crate) mtu: u16,
}

/// The generator's own backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackendSpec {
    /// `None`: the client's port.
    pub(crate) port: Option<PortSpec>,
    pub(crate) listen: u16,
    pub(crate) body: u64,
    pub(crate) replies: Replies,
    pub(crate) text: String,
}

/// Text that describes no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpecError {
    #[error("`{0}` is not key=value; write device=net_memif0,role=server;address=10.77.1.2/24")]
    NotAPair(String),
    #[error("`{key}` is not known; the keys are {known}")]
    Unknown { key: String, known: &'static str },
    #[error("{key}={value}: {reason}")]
    Value {
        key: &'static str,
        value: String,
        reason: String,
    },
    #[error(
        "has neither `device` nor `interface`; add interface=eth1 or device=net_memif0,role=server"
    )]
    NoDevice,
    #[error("has both `device` and `interface`; keep one of them")]
    TwoDevices,
    #[error("has no address; add address=10.77.1.2/24")]
    NoAddress,
}

/// What is described, which decides what can be said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Device,
    Port,
    Backend,
}

const DEVICE_KEYS: &str = "device, interface, mtu";
const PORT_KEYS: &str = "device, interface, address, route, mtu, vlan";
const BACKEND_KEYS: &str = "device, interface, address, route, mtu, vlan, listen, body, replies";

/// What has been read so far.
#[derive(Default)]
struct Keys {
    device: Option<String>,
    interface: Option<String>,
    addresses: Vec<Cidr>,
    routes: Vec<(Cidr, IpAddr)>,
    mtu: Option<u16>,
    vlan: Option<u16>,
    listen: Option<u16>,
    body: Option<u64>,
    replies: Option<Replies>,
}

fn value<T: FromStr<Err: ToString>>(key: &'static str, text: &str) -> Result<T, SpecError> {
    text.parse().map_err(|error: T::Err| SpecError::Value {
        key,
        value: text.to_owned(),
        reason: error.to_string(),
    })
}

/// Bytes, with a unit or without.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    if let Ok(bytes) = text.parse() {
        return Ok(bytes);
    }
    <Size as FromStr>::from_str(text)
        .map(|size| size.0)
        .map_err(|error| error.to_string())
}

/// Bytes from `least` to `most`.
pub(crate) fn bounded(text: &str, least: u64, most: u64) -> Result<u64, String> {
    match bytes(text)? {
        size if (least..=most).contains(&size) => Ok(size),
        _ => Err(format!("write {} to {}", Size(least), Size(most))),
    }
}

/// Length of a body.
pub(crate) fn body(text: &str) -> Result<u64, String> {
    bounded(text, 0, LARGEST_BODY)
}

fn route(text: &str) -> Result<(Cidr, IpAddr), SpecError> {
    let Some((to, via)) = text.split_once(" via ") else {
        return Err(SpecError::Value {
            key: "route",
            value: text.to_owned(),
            reason: "write route=0.0.0.0/0 via 10.77.1.1".into(),
        });
    };
    Ok((value("route", to.trim())?, value("route", via.trim())?))
}

fn vlan(text: &str) -> Result<u16, SpecError> {
    match value("vlan", text)? {
        vlan @ 1..=4094 => Ok(vlan),
        _ => Err(SpecError::Value {
            key: "vlan",
            value: text.to_owned(),
            reason: "write 1 to 4094".into(),
        }),
    }
}

fn read(text: &str, kind: Kind) -> Result<Keys, SpecError> {
    let mut keys = Keys::default();
    for pair in text
        .split(';')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let Some((key, text)) = pair.split_once('=') else {
            return Err(SpecError::NotAPair(pair.to_owned()));
        };
        match key {
            "device" => keys.device = Some(text.to_owned()),
            "interface" => keys.interface = Some(text.to_owned()),
            "address" if kind != Kind::Device => keys.addresses.push(value("address", text)?),
            "route" if kind != Kind::Device => keys.routes.push(route(text)?),
            "mtu" => keys.mtu = Some(value("mtu", text)?),
            "vlan" if kind != Kind::Device => keys.vlan = Some(vlan(text)?),
            "listen" if kind == Kind::Backend => keys.listen = Some(value("listen", text)?),
            "body" if kind == Kind::Backend => {
                let body = body(text).map_err(|reason| SpecError::Value {
                    key: "body",
                    value: text.to_owned(),
                    reason,
                })?;
                keys.body = Some(body);
            }
            "replies" if kind == Kind::Backend => {
                let replies = <Replies as ValueEnum>::from_str(text, false).map_err(|_| {
                    SpecError::Value {
                        key: "replies",
                        value: text.to_owned(),
                        reason: "write frame, message or ordered".into(),
                    }
                })?;
                keys.replies = Some(replies);
            }
            _ => {
                return Err(SpecError::Unknown {
                    key: key.to_owned(),
                    known: match kind {
                        Kind::Device => DEVICE_KEYS,
                        Kind::Port => PORT_KEYS,
                        Kind::Backend => BACKEND_KEYS,
                    },
                });
            }
        }
    }
    Ok(keys)
}

fn device(device: Option<String>, interface: Option<String>) -> Result<Device, SpecError> {
    match (device, interface) {
        (Some(device), None) if device.parse::<PciAddress>().is_ok() => Ok(Device::Pci(device)),
        (Some(device), None) => Ok(Device::Vdev(device)),
        (None, Some(interface)) => Ok(Device::Interface(interface)),
        (None, None) => Err(SpecError::NoDevice),
        (Some(_), Some(_)) => Err(SpecError::TwoDevices),
    }
}

fn port(keys: Keys, text: &str) -> Result<PortSpec, SpecError> {
    let device = device(keys.device, keys.interface)?;
    if keys.addresses.is_empty() {
        return Err(SpecError::NoAddress);
    }
    Ok(PortSpec {
        device,
        addresses: keys.addresses,
        routes: keys.routes,
        mtu: keys.mtu.unwrap_or(1500),
        vlan: keys.vlan,
        text: text.to_owned(),
    })
}

impl FromStr for DeviceSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let keys = read(text, Kind::Device)?;
        Ok(DeviceSpec {
            device: device(keys.device, keys.interface)?,
            mtu: keys.mtu.unwrap_or(1500),
        })
    }
}

impl FromStr for PortSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        port(read(text, Kind::Port)?, text)
    }
}

impl FromStr for BackendSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let keys = read(text, Kind::Backend)?;
        let (listen, body) = (keys.listen.unwrap_or(8080), keys.body.unwrap_or(100));
        let replies = keys.replies.unwrap_or_default();
        let none = keys.device.is_none()
            && keys.interface.is_none()
            && keys.addresses.is_empty()
            && keys.routes.is_empty();
        Ok(BackendSpec {
            port: if none { None } else { Some(port(keys, text)?) },
            listen,
            body,
            replies,
            text: text.to_owned(),
        })
    }
}

impl PortSpec {
    /// What the stack needs to know of it.
    pub(crate) fn stack_setup(&self) -> PortSetup {
        let (addresses, routes) = (self.addresses.iter(), self.routes.iter());
        PortSetup {
            addresses: addresses
                .map(|cidr| (cidr.address(), cidr.prefix()))
                .collect(),
            routes: routes
                .map(|(to, via)| ((to.network(), to.prefix()), *via))
                .collect(),
            vlan: self.vlan,
        }
    }

    /// Each of its addresses with a port number.
    pub(crate) fn sockets(&self, number: u16) -> Vec<SocketAddr> {
        let addresses = self.addresses.iter();
        addresses
            .map(|cidr| SocketAddr::new(cidr.address(), number))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_described_as_in_the_rules() {
        let spec: PortSpec = "device=net_memif0,role=server,id=0,socket=/run/a.sock; \
                              address=10.77.1.2/24;address=fd77:1::2/64;route=0.0.0.0/0 via 10.77.1.1"
            .parse()
            .unwrap();
        assert_eq!(
            spec.device,
            Device::Vdev("net_memif0,role=server,id=0,socket=/run/a.sock".into())
        );
        assert_eq!((spec.addresses.len(), spec.mtu), (2, 1500));
        let everything = "0.0.0.0/0".parse().unwrap();
        assert_eq!(spec.routes, [(everything, "10.77.1.1".parse().unwrap())]);
        let spec: PortSpec = "device=0000:01:00.0;address=10.0.0.2/24;mtu=9000"
            .parse()
            .unwrap();
        assert_eq!(spec.device, Device::Pci("0000:01:00.0".into()));
    }

    #[test]
    fn an_end_of_a_wire_has_no_address() {
        let spec: DeviceSpec = "interface=left;mtu=9000".parse().unwrap();
        assert_eq!(
            (spec.device, spec.mtu),
            (Device::Interface("left".into()), 9000)
        );
        let error = "interface=left;address=10.0.0.1/24".parse::<DeviceSpec>();
        let said = error.unwrap_err().to_string();
        assert!(
            said.contains("`address` is not known; the keys are device, interface, mtu"),
            "{said}"
        );
    }

    #[test]
    fn a_backend_may_share_the_clients_port() {
        let spec: BackendSpec = "listen=81;body=2KiB;replies=message".parse().unwrap();
        assert_eq!((spec.port, spec.listen, spec.body), (None, 81, 2048));
        assert_eq!(spec.replies, Replies::Message);
        let spec: BackendSpec = "interface=back;address=10.77.2.2/24".parse().unwrap();
        let port = spec.port.unwrap();
        assert_eq!(port.device, Device::Interface("back".into()));
        assert_eq!(
            port.sockets(spec.listen),
            ["10.77.2.2:8080".parse().unwrap()]
        );
        assert_eq!(spec.body, 100);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, words) in [
            ("eth0", "not key=value"),
            ("interface=a;adress=10.0.0.1/24", "`adress` is not known"),
            (
                "interface=a;listen=80;address=10.0.0.1/24",
                "`listen` is not known",
            ),
            ("address=10.0.0.1/24", "neither `device` nor `interface`"),
            (
                "interface=a;device=net_ring0;address=10.0.0.1/24",
                "keep one",
            ),
            ("interface=a", "has no address"),
            ("interface=a;address=10.0.0.1", "address=10.0.0.1:"),
            ("interface=a;address=10.0.0.1/24;route=10.0.0.3", " via "),
        ] {
            let error = text.parse::<PortSpec>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
