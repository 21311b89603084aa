//! How large the queues and pools of a port are, and how EAL starts for a set of devices.

use dpdk::{DeviceError, EalConfig, PciAddress};

use crate::large;
use crate::open::{Device, PortConfig};

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

/// How EAL starts for these devices: its threads on `cpus`, with `memory` bytes of hugepages.
///
/// # Errors
/// A PCI address that DPDK cannot read.
pub fn eal_config<'a>(
    devices: impl IntoIterator<Item = &'a Device>,
    cpus: Vec<usize>,
    memory: u64,
    verbose: bool,
) -> Result<EalConfig, DeviceError> {
    let (mut pci, mut single_file_segments) = (Vec::new(), false);
    for device in devices {
        match device {
            Device::Pci(address) => pci.push(address.parse::<PciAddress>()?),
            Device::Vdev(device) => single_file_segments |= shares_memory(device),
            Device::Interface(_) => {}
        }
    }
    Ok(EalConfig {
        cpus,
        memory_mib: u32::try_from(memory >> 20).unwrap_or(u32::MAX),
        pci,
        single_file_segments,
        verbose,
        extra_args: Vec::new(),
    })
}

/// Whether a virtual device hands our memory to another process.
fn shares_memory(device: &str) -> bool {
    ["net_virtio_user", "virtio_user", "net_vhost", "eth_vhost"]
        .iter()
        .any(|driver| device.starts_with(driver))
}

/// One of `ports` ports that share `memory` bytes of hugepages, for `workers` workers.
pub fn port_config(
    device: Device,
    mtu: u16,
    memory: u64,
    (ports, workers): (usize, u16),
) -> PortConfig {
    let descriptors = match &device {
        Device::Interface(_) => INTERFACE_DESCRIPTORS,
        Device::Pci(_) | Device::Vdev(_) => DESCRIPTORS,
    };
    PortConfig {
        device,
        mtu,
        workers,
        nodes: Vec::new(),
        queues: workers,
        descriptors,
        pool_size: pool_size(memory, ports * usize::from(workers), mtu),
        large_frames: large::frames(memory, ports * usize::from(workers)),
        offload: true,
    }
}

/// Whole MiB of hugepages that the buffers of ports, each of a device and its MTU, take at most with so many workers,
/// of `memory` bytes. More than that where it is too little for pools that work.
fn buffer_memory(ports: &[(Device, u16)], memory: u64, workers: u16) -> u64 {
    let pairs = ports.len() * usize::from(workers);
    let of_port = |(device, mtu): &(Device, u16)| {
        let frames = u64::from(pool_size(memory, pairs, *mtu)) + 1;
        let large = match may_be_large(device) {
            true => large::pair_bytes(memory, pairs),
            false => 0,
        };
        u64::from(workers) * (frames * frame_bytes(*mtu) + large)
    };
    let bytes: u64 = ports.iter().map(of_port).sum();
    bytes.next_multiple_of(1 << 20)
}

/// The least memory, in bytes, with which the buffers of ports keep to it: `None` where `memory` is enough.
pub fn more_memory(ports: &[(Device, u16)], memory: u64, workers: u16) -> Option<u64> {
    let (mut least, mut enough) = (memory, None);
    // More memory makes for larger pools, which take half of what was added at most.
    while buffer_memory(ports, least, workers) > least {
        least = buffer_memory(ports, least, workers);
        enough = Some(least);
    }
    enough
}

/// Whether a device may cut frames into segments, or hand over several in one.
fn may_be_large(device: &Device) -> bool {
    match device {
        Device::Interface(_) => false,
        Device::Pci(_) => true,
        Device::Vdev(device) => shares_memory(device),
    }
}

/// What a frame takes of a pool, bytes.
fn frame_bytes(mtu: u16) -> u64 {
    u64::from(mtu).max(2048) + FRAME_OVERHEAD
}

/// Frames of one of so many pools: half of the memory is for them, in equal parts. One less than a power
/// of two, which is what a mempool holds without waste.
fn pool_size(memory: u64, pools: usize, mtu: u16) -> u32 {
    let share = memory / 2 / (pools.max(1) as u64) / frame_bytes(mtu);
    let frames = if share.is_power_of_two() {
        share
    } else {
        share.next_power_of_two() / 2
    };
    frames.clamp(POOL_MIN, POOL_MAX) as u32 - 1
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

    #[test]
    fn the_least_memory_is_what_all_pools_take_together() {
        let wire = || (Device::Vdev("net_memif0,role=client".to_owned()), 1500);
        let two = [wire(), wire()];
        assert_eq!(more_memory(&two, 64 << 20, 1), None);
        assert_eq!(more_memory(&two, 256 << 20, 6), None);
        // 20 pools of 8,192 frames of 2,560 bytes.
        assert_eq!(more_memory(&two, 256 << 20, 10), Some(400 << 20));
        assert_eq!(more_memory(&two, 400 << 20, 10), None);
        assert_eq!(more_memory(&two, 64 << 20, 64), Some(2_560 << 20));
        let vhost = [(Device::Vdev("net_vhost0,tso=1".to_owned()), 9000)];
        for (ports, workers) in [
            (&two[..], 3),
            (&two[..], 64),
            (&vhost[..], 1),
            (&vhost[..], 17),
        ] {
            let Some(least) = more_memory(ports, 64 << 20, workers) else {
                panic!("{workers} workers have enough");
            };
            assert!(buffer_memory(ports, least, workers) <= least);
            assert_eq!(more_memory(ports, least, workers), None);
            assert!(more_memory(ports, least - (1 << 20), workers).is_some());
        }
    }
}
