//! How a device is named: a PCI address, or a virtual device with its arguments.

use std::ffi::CString;
use std::fmt;
use std::str::FromStr;

/// A device for [`Port::open`](crate::Port::open), parsed from a PCI address (`0000:03:00.0`, `03:00.0`)
/// or a vdev string (`net_ring0`, `net_af_packet0,iface=eth1`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceSpec {
    /// A function of a PCI device. Its address must also stand in
    /// [`EalConfig::pci`](crate::EalConfig::pci).
    Pci(PciAddress),
    /// A virtual device: the driver's name followed by anything that makes it unique, and arguments.
    Vdev {
        /// For example `net_ring0`.
        name: String,
        /// For example `iface=eth1,qpairs=2`; may be empty.
        args: String,
    },
}

/// A string that names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Neither form was recognised.
    #[error(
        "`{0}` is neither a PCI address (0000:03:00.0) nor a virtual device \
         (net_af_packet0,iface=eth1)"
    )]
    NotADevice(String),
    /// DPDK copies names of at most 63 bytes.
    #[error("the device name `{0}` is longer than DPDK's 63 bytes; choose a shorter one")]
    NameTooLong(String),
}

/// Longest device name in bytes (`RTE_DEV_NAME_MAX_LEN` less its NUL).
const NAME_MAX: usize = 63;

impl FromStr for DeviceSpec {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Pci(address));
        }
        let (name, args) = text.split_once(',').unwrap_or((text, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let virtual_prefix = ["net_", "virtio_user", "eth_"]
            .iter()
            .any(|p| name.starts_with(p));
        if !virtual_prefix || !name.chars().all(plain) || args.contains(['\0', '\n']) {
            return Err(DeviceError::NotADevice(text.to_owned()));
        }
        if name.len() > NAME_MAX {
            return Err(DeviceError::NameTooLong(name.to_owned()));
        }
        Ok(Self::Vdev {
            name: name.to_owned(),
            args: args.to_owned(),
        })
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(address) => address.fmt(f),
            Self::Vdev { name, args } if args.is_empty() => f.write_str(name),
            Self::Vdev { name, args } => write!(f, "{name},{args}"),
        }
    }
}

impl DeviceSpec {
    /// Bus, name and arguments as `rte_eal_hotplug_add` wants them; `None` where one holds a NUL byte.
    pub(crate) fn for_hotplug(&self) -> Option<(CString, CString, CString)> {
        let (bus, name, args) = match self {
            Self::Pci(address) => ("pci", address.to_string(), ""),
            Self::Vdev { name, args } => ("vdev", name.clone(), args.as_str()),
        };
        Some((
            CString::new(bus).ok()?,
            CString::new(name).ok()?,
            CString::new(args).ok()?,
        ))
    }

    /// The kernel interface which the device opens, for the drivers that open one.
    pub fn kernel_interface(&self) -> Option<&str> {
        match self {
            Self::Vdev { name, args }
                if name.starts_with("net_af_xdp") || name.starts_with("net_af_packet") =>
            {
                args.split(',').find_map(|arg| arg.strip_prefix("iface="))
            }
            _ => None,
        }
    }

    /// Whether the device tells its peers that it takes frames of several segments: `tso=1` of net_vhost, whose
    /// driver does not count that among what it can do.
    pub(crate) fn agrees_to_large_frames(&self) -> bool {
        matches!(self, Self::Vdev { name, args }
            if name.starts_with("net_vhost") && args.split(',').any(|arg| arg == "tso=1"))
    }
}

/// The address of a PCI function: domain, bus, device, function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PciAddress {
    domain: u16,
    bus: u8,
    device: u8,
    function: u8,
}

impl FromStr for PciAddress {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        parse_pci(text).ok_or_else(|| DeviceError::NotADevice(text.to_owned()))
    }
}

fn parse_pci(text: &str) -> Option<PciAddress> {
    let (rest, function) = text.rsplit_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.split_once(':').unwrap_or(("0000", rest));
    let hex = |digits: &str, len: usize| {
        let fits = digits.len() == len && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if fits {
            u16::from_str_radix(digits, 16).ok()
        } else {
            None
        }
    };
    let address = PciAddress {
        domain: hex(domain, 4)?,
        bus: hex(bus, 2)?.try_into().ok()?,
        device: hex(device, 2)?.try_into().ok()?,
        function: hex(function, 1)?.try_into().ok()?,
    };
    (address.device < 32 && address.function < 8).then_some(address)
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04x}:{:02x}:{:02x}.{:x}",
            self.domain, self.bus, self.device, self.function
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_are_recognised_with_and_without_domain() {
        for (text, shown) in [
            ("0000:03:00.0", "0000:03:00.0"),
            ("af:1F.7", "0000:af:1f.7"),
        ] {
            let device: DeviceSpec = text.parse().unwrap();
            assert!(matches!(device, DeviceSpec::Pci(_)), "{text}");
            assert_eq!(device.to_string(), shown);
        }
    }

    #[test]
    fn vdev_strings_split_into_name_and_arguments() {
        let device: DeviceSpec = "net_af_xdp1,iface=eth1,busy_budget=0".parse().unwrap();
        let expected = DeviceSpec::Vdev {
            name: "net_af_xdp1".to_owned(),
            args: "iface=eth1,busy_budget=0".to_owned(),
        };
        assert_eq!(device, expected);
        assert_eq!(device.kernel_interface(), Some("eth1"));
        assert_eq!(device.to_string(), "net_af_xdp1,iface=eth1,busy_budget=0");
    }

    #[test]
    fn a_tap_creates_its_interface_so_none_is_looked_for() {
        let device: DeviceSpec = "net_tap0,iface=tap7".parse().unwrap();
        assert_eq!(device.kernel_interface(), None);
    }

    #[test]
    fn other_strings_are_no_devices() {
        for text in [
            "",
            "eth0",
            "00:20.0",
            "0000:03:00.8",
            "03:00",
            "net ring",
            "net_ring0\0,a=b",
        ] {
            assert!(text.parse::<DeviceSpec>().is_err(), "{text:?}");
        }
        let long = format!("net_{}", "x".repeat(60));
        assert_eq!(
            long.parse::<DeviceSpec>(),
            Err(DeviceError::NameTooLong(long.clone()))
        );
    }
}
