//! The generator's ports: opened, and up.

use std::fs;
use std::net::{IpAddr, UdpSocket};
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
    /// A network card, whatever its driver is called.
    is_pci: bool,
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
            _ if self.is_pci => "pci".into(),
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
            is_pci: matches!(spec.device, Device::Pci(_)),
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
            return Err(RunError::NoLink { which: down.which });
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Whether an address is the kernel's too, in this network namespace: it lets a socket have it.
pub(super) fn kernel_has(address: IpAddr) -> bool {
    let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    // With this setting, sockets have addresses that the kernel has not.
    let anything = fs::read_to_string(format!("/proc/sys/net/{family}/ip_nonlocal_bind"));
    let anything = anything.is_ok_and(|value| value.trim() != "0");
    !anything && UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_has_its_loopback_address_and_no_documentation_address() {
        assert!(kernel_has(IpAddr::from([127, 0, 0, 1])));
        assert!(!kernel_has(IpAddr::from([192, 0, 2, 77])));
    }
}
