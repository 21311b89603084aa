//! From the rules' ports to open devices.

use sluice_engine::stack::PortSetup;
use sluice_policy::{Attachment, Port, Snapshot};
use sluice_port::{
    Device, DeviceError, EalConfig, EalHandle, OpenError, OpenedPort, PciAddress, PortConfig, open,
};

use crate::cores::Cores;

/// Descriptors of each receive and transmit queue: about a millisecond of small frames at 1 Mpps.
const DESCRIPTORS: u16 = 1024;

/// The same of an interface: as many frames as AF_XDP gives the kernel to fill, so that a burst is not
/// dropped while there are still buffers for it.
const INTERFACE_DESCRIPTORS: u16 = 2048;

/// Frames of a port's pool at least: AF_XDP keeps 4096 for its own rings, beside the descriptors.
const POOL_MIN: u64 = 8_192;

/// Frames of a port's pool at most: what 64 times the descriptors can hold.
const POOL_MAX: u64 = 65_536;

/// What a frame takes beside its MTU: mbuf header, headroom, Ethernet and rounding, in bytes.
const FRAME_OVERHEAD: u64 = 512;

/// How EAL starts for these rules.
pub(crate) fn eal_config(
    rules: &Snapshot,
    cores: &Cores,
    verbose: bool,
) -> Result<EalConfig, DeviceError> {
    let pci = rules
        .ports
        .iter()
        .filter_map(|port| match &port.attachment {
            Attachment::Pci(address) => Some(address.parse::<PciAddress>()),
            _ => None,
        });
    Ok(EalConfig {
        cpus: cores.control.clone(),
        memory_mib: u32::try_from(rules.workers.memory >> 20).unwrap_or(u32::MAX),
        pci: pci.collect::<Result<_, _>>()?,
        single_file_segments: rules.ports.iter().any(shares_memory),
        verbose,
        extra_args: Vec::new(),
    })
}

/// Whether the device hands our memory to another process.
fn shares_memory(port: &Port) -> bool {
    match &port.attachment {
        Attachment::Vdev(device) => ["net_virtio_user", "virtio_user", "net_vhost", "eth_vhost"]
            .iter()
            .any(|driver| device.starts_with(driver)),
        _ => false,
    }
}

/// Opens one of the ports, with one queue pair.
pub(crate) fn open_port(
    eal: &EalHandle,
    rules: &Snapshot,
    port: &Port,
) -> Result<OpenedPort, OpenError> {
    let device = match &port.attachment {
        Attachment::Interface(name) => Device::Interface(name.to_string()),
        Attachment::Pci(address) => Device::Pci(address.to_string()),
        Attachment::Vdev(device) => Device::Vdev(device.to_string()),
    };
    let descriptors = match &device {
        Device::Interface(_) => INTERFACE_DESCRIPTORS,
        Device::Pci(_) | Device::Vdev(_) => DESCRIPTORS,
    };
    let pool_size = pool_size(rules.workers.memory, rules.ports.len(), port.mtu);
    let config = PortConfig {
        device,
        mtu: port.mtu,
        queues: 1,
        descriptors,
        pool_size,
    };
    open(eal, &config)
}

/// Frames of a port's pool: half of the memory is for pools, in equal parts. One less than a power
/// of two, which is what a mempool holds without waste.
fn pool_size(memory: u64, ports: usize, mtu: u16) -> u32 {
    let frame = u64::from(mtu).max(2048) + FRAME_OVERHEAD;
    let share = memory / 2 / (ports.max(1) as u64) / frame;
    let frames = if share.is_power_of_two() {
        share
    } else {
        share.next_power_of_two() / 2
    };
    frames.clamp(POOL_MIN, POOL_MAX) as u32 - 1
}

/// What the stack needs to know of a port.
pub(crate) fn stack_setup(port: &Port) -> PortSetup {
    PortSetup {
        addresses: port
            .addresses
            .iter()
            .map(|cidr| (cidr.address(), cidr.prefix()))
            .collect(),
        routes: port
            .routes
            .iter()
            .map(|route| ((route.to.address(), route.to.prefix()), route.via))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_take_at_most_half_the_memory_unless_that_is_too_little_to_work() {
        assert_eq!(pool_size(256 << 20, 2, 1500), 16_383);
        assert_eq!(pool_size(4 << 30, 1, 1500), 65_535);
        assert_eq!(pool_size(64 << 20, 2, 1500), 8_191);
        assert_eq!(pool_size(512 << 20, 2, 9000), 8_191);
        assert_eq!(pool_size(0, 0, 0), 8_191);
    }
}
