//! The generator's ports: opened, and up.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sluice_port::{Device, DpdkIo, EalHandle, Interface, Port, open, port_config};
use sluice_stack::PortSetup;

use super::args::RunArgs;
use super::error::RunError;
use super::port_spec::PortSpec;
use super::say;

/// How long the other end of a virtual wire may take to come up.
pub(super) const LINK_WITHIN: Duration = Duration::from_secs(15);

/// An open port.
pub(super) struct Opened {
    pub(super) io: DpdkIo,
    pub(super) setup: PortSetup,
    pub(super) description: String,
    pub(super) link: Link,
}

/// Where frames go, up or down.
#[derive(Clone)]
pub(super) struct Link {
    which: &'static str,
    port: Port,
    /// The kernel's interface behind it: DPDK's drivers for those always call the link up.
    interface: Option<Arc<Interface>>,
    /// As it was asked for: a network card is one, whatever its driver is called.
    device: Device,
}

impl Link {
    fn is_up(&self) -> bool {
        let interface = self.interface.as_ref();
        interface
            .and_then(|interface| interface.link_up())
            .unwrap_or_else(|| self.port.link().up)
    }

    /// The kind of wire: `pci`, or the driver's name.
    pub(super) fn wire(&self) -> String {
        let driver = self.port.info().driver.as_str();
        match driver.strip_prefix("net_").unwrap_or(driver) {
            _ if matches!(self.device, Device::Pci(_)) => "pci".into(),
            "virtio_user" => "virtio-user".into(),
            name => name.into(),
        }
    }
}

pub(super) fn open_ports(
    eal: &EalHandle,
    args: &RunArgs,
    specs: &[(&'static str, &PortSpec)],
) -> Result<Vec<Opened>, RunError> {
    let mut all = Vec::new();
    for (which, spec) in specs {
        let config = port_config(spec.device.clone(), spec.mtu, args.memory, (specs.len(), 1));
        let opened = open(eal, &config).map_err(|error| RunError::Port {
            which: format!("--{which}"),
            device: spec.device.clone(),
            error: Box::new(error),
        })?;
        if args.verbose {
            say(format_args!("{which}: {}", opened.description));
        }
        if let Some(notice) = &opened.notice {
            say(format_args!("{which}: {notice}"));
        }
        let link = Link {
            which,
            port: opened.port,
            interface: opened.interface.map(Arc::new),
            device: spec.device.clone(),
        };
        // One thread, so one queue pair.
        all.extend(opened.ios.into_iter().map(|io| Opened {
            io,
            setup: spec.stack_setup(),
            description: opened.description.clone(),
            link: link.clone(),
        }));
    }
    Ok(all)
}

/// A virtual wire carries nothing until its other end is there.
pub(super) fn wait_for_links(links: &[Link], stop: &AtomicBool) -> Result<(), RunError> {
    let deadline = Instant::now() + LINK_WITHIN;
    while let Some(down) = links.iter().find(|link| !link.is_up()) {
        if Instant::now() > deadline || stop.load(Ordering::Relaxed) {
            return Err(RunError::NoLink {
                which: down.which,
                device: down.device.clone(),
            });
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Whether an address is the kernel's too, in this network namespace: packets to it are for the kernel itself.
pub(super) fn kernel_has(address: IpAddr) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    match address {
        IpAddr::V4(address) => is_local(&read("/proc/net/fib_trie"), address),
        IpAddr::V6(address) => has_line(&read("/proc/net/if_inet6"), address),
    }
}

/// Of the kernel's routing tables, where below a network's address a line has its prefix length and kind:
///
/// ```text
///      |-- 127.0.0.0
///         /8 host LOCAL
/// ```
fn is_local(trie: &str, address: Ipv4Addr) -> bool {
    let mut network = None;
    trie.lines().map(str::trim).any(|line| {
        if let Some(text) = line.strip_prefix("|-- ") {
            network = text.parse::<Ipv4Addr>().ok();
            return false;
        }
        let (Some(network), Some(line)) = (network, line.strip_prefix('/')) else {
            return false;
        };
        let mut words = line.split(' ');
        let prefix = words.next().and_then(|word| word.parse::<u32>().ok());
        let host_bits = prefix.and_then(|prefix| 32_u32.checked_sub(prefix));
        let mask = host_bits.map(|bits| u32::MAX.checked_shl(bits).unwrap_or(0));
        line.ends_with(" LOCAL")
            && mask.is_some_and(|mask| (network.to_bits() ^ address.to_bits()) & mask == 0)
    })
}

/// Of the kernel's list of its addresses, 32 digits at the beginning of each line.
fn has_line(list: &str, address: Ipv6Addr) -> bool {
    let digits = format!("{:032x}", address.to_bits());
    list.lines().any(|line| line.starts_with(&digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.8.0.0
        /24 link UNICAST
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.8.0.7
        /32 host LOCAL
     |-- 10.8.0.255
        /32 link BROADCAST
     |-- 127.0.0.0
        /8 host LOCAL
";

    #[test]
    fn the_kernel_has_its_loopback_address_and_no_documentation_address() {
        assert!(kernel_has(IpAddr::from([127, 0, 0, 1])));
        assert!(!kernel_has(IpAddr::from([192, 0, 2, 77])));
    }

    #[test]
    fn what_the_kernel_has_is_in_its_own_lists() {
        for (address, expected) in [
            ([10, 8, 0, 7], true),
            ([10, 8, 0, 1], false),
            ([10, 8, 0, 255], false),
            ([127, 9, 9, 9], true),
        ] {
            assert_eq!(is_local(TRIE, address.into()), expected, "{address:?}");
        }
        // A network namespace without anything, its loopback interface down.
        assert!(!is_local("", [10, 8, 0, 1].into()));
        let list = "fd770001000000000000000000000002 02 40 00 80 front\n";
        assert!(has_line(list, "fd77:1::2".parse().unwrap()));
        assert!(!has_line(list, "fd77:1::3".parse().unwrap()));
    }
}
