//! From a port's configuration to its queues.

use std::fmt::Write;
use std::iter;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use dpdk::{
    DeviceSpec, EalHandle, Multicast, OpenPort, Pool, PoolConfig, PoolError, Port, PortError,
    PortInfo, RSS_KEY_MAX,
};
use sluice_stack::io::L2_MAX;

use crate::interface::Interface;
use crate::io::DpdkIo;
use crate::large::Large;
use crate::secrets::steering_key;
use crate::socket;

/// What a port is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// A NIC by its PCI address, `0000:03:00.0`; EAL must have been started with it.
    Pci(String),
    /// A virtual device with its arguments, `net_memif0,role=client`.
    Vdev(String),
    /// A network interface of the kernel: through AF_XDP, and where that fails through AF_PACKET. Both
    /// need root. AF_XDP carries packets of some 3,500 bytes, AF_PACKET as large ones as the interface.
    Interface(String),
}

/// How a port is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortConfig {
    /// The device.
    pub device: Device,
    /// Largest IP packet in bytes, at most 9216.
    pub mtu: u16,
    /// Workers that use the port.
    pub workers: u16,
    /// NUMA node of each worker's core, near which its buffers are to be; anywhere where it is not known, or
    /// has no memory left.
    pub nodes: Vec<Option<u16>>,
    /// Queue pairs at most. There are as many as workers, or as the device has if those are fewer; the
    /// first workers have one each.
    pub queues: u16,
    /// Descriptors of each receive and transmit queue, adjusted to what the device allows.
    pub descriptors: u16,
    /// Frames in the buffer pool of each worker: more than twice `descriptors`, for an interface 2048
    /// more than that, and some for the frames in work.
    pub pool_size: u32,
    /// Frames in each of the pools for large frames that a worker has where the device cuts frames into
    /// segments or receives such: one for each direction.
    pub large_frames: u32,
    /// Leave to the device what it can do: checksums, and segments.
    pub offload: bool,
}

/// An open port. It is closed when this and every [`DpdkIo`] of it is dropped.
#[derive(Debug)]
pub struct OpenedPort {
    /// Link, counters, and what was negotiated.
    pub port: Port,
    /// One for each worker. Those of the first workers have a queue pair; by the others nothing comes,
    /// and their frames are to be sent by one of the first.
    pub ios: Vec<DpdkIo>,
    /// Queue pairs in use.
    pub queue_pairs: u16,
    /// Those of them that are there whatever the device's peer has ([`Port::peer_queues`]), the first ones.
    pub certain_queues: u16,
    /// The pool of each worker, to watch its occupancy.
    pub pools: Vec<Pool>,
    /// For a person: driver, queues, offloads in use.
    pub description: String,
    /// Something the operator should know, such as a slower driver taken than asked for.
    pub notice: Option<String>,
    /// The kernel's interface behind it, if there is one. To be dropped last: until then no other sluice
    /// can open it.
    pub interface: Option<Interface>,
}

/// A port could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The device.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Its buffers.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// An MTU no port can have: under IPv6's least (RFC 8200 section 5) or over 9216.
    #[error("an MTU of {0} bytes is not possible; choose 576 to 9216, on plain Ethernet 1500")]
    Mtu(u16),
    /// A name that cannot be handed to a DPDK driver.
    #[error("`{0}` is not the name of a network interface. List them with: ip link")]
    InterfaceName(String),
    /// Another port has the interface: opening it again would take the frames from the first.
    #[error(
        "interface `{name}` is in use by another sluice{by}. Stop that one, or give this one another \
         interface"
    )]
    InterfaceInUse {
        /// The interface.
        name: String,
        /// `, process 123`, or nothing where that is not known.
        by: String,
    },
    /// The kernel refused what it hardly ever refuses.
    #[error("interface `{name}` could not be taken for this process alone: {reason}")]
    InterfaceLock {
        /// The interface.
        name: String,
        /// The kernel's answer.
        reason: String,
    },
    /// AF_XDP would fail for want of buffers.
    #[error(
        "interface `{name}` needs a pool of more than {needed} frames: AF_XDP keeps 2048 for the kernel \
         to fill, and the rest are for the descriptors"
    )]
    InterfacePool {
        /// The interface.
        name: String,
        /// Frames that are not enough yet.
        needed: u32,
    },
    /// Packets of the port's MTU would not pass.
    #[error(
        "interface `{name}` has an MTU of {has} bytes, {wanted} was asked for. Give it that: ip link set dev \
         {name} mtu {wanted}"
    )]
    InterfaceMtu {
        /// The interface.
        name: String,
        /// Its own.
        has: u16,
        /// The port's.
        wanted: u16,
    },
    /// Neither way to a network interface worked.
    #[error(
        "interface `{name}` could be opened neither with AF_XDP nor with AF_PACKET.\n{why}\n{packet}"
    )]
    Interface {
        /// The interface.
        name: String,
        /// Why not with AF_XDP.
        why: String,
        /// Why AF_PACKET failed.
        packet: Box<PortError>,
    },
}

/// Frames that `net_af_xdp` takes from the pool of each queue at the start and keeps
/// (`ETH_AF_XDP_DFLT_NUM_DESCS`).
const XDP_FILL_FRAMES: u32 = 2048;

/// What the driver of AF_PACKET takes for the largest packet, whatever the interface carries.
const PLAIN_MTU: u16 = 1500;

/// Bytes that a ring of AF_PACKET has in front of each frame, at most (TPACKET_V2, `tpacket_rcv`).
const PACKET_LEAD: u16 = 80;

/// The kernel frees the queue of a closed AF_XDP socket a moment after the socket, such as that of a
/// gateway that was killed: how often one is opened, and the time between.
const XDP_ATTEMPTS: u32 = 2;
const XDP_PAUSE: Duration = Duration::from_millis(100);

/// Numbers the virtual devices made for interfaces.
static NEXT_DEVICE: AtomicU32 = AtomicU32::new(0);

/// Opens a port with all its queues and starts it.
///
/// Its pools stay allocated as long as EAL runs, also when opening fails.
pub fn open(eal: &EalHandle, config: &PortConfig) -> Result<OpenedPort, OpenError> {
    if !(576..=9216).contains(&config.mtu) {
        return Err(OpenError::Mtu(config.mtu));
    }
    let mut interface = None;
    let (opened, pools, notice) = match &config.device {
        Device::Pci(device) | Device::Vdev(device) => {
            let spec: DeviceSpec = device.parse().map_err(PortError::from)?;
            interface = spec.kernel_interface().map(Interface::hold).transpose()?;
            socket::clear(device);
            let pools = make_pools(eal, config)?;
            (
                open_device(&spec, config, config.queues, None, &pools)?,
                pools,
                None,
            )
        }
        Device::Interface(name) => {
            check_interface(name, config)?;
            let held = interface.insert(Interface::hold(name)?);
            open_interface(eal, name, config, held)?
        }
    };
    let OpenPort { port, queues } = opened;
    let queue_pairs = u16::try_from(queues.len()).unwrap_or(u16::MAX);
    let queues = queues
        .into_iter()
        .map(Some)
        .chain(iter::repeat_with(|| None));
    let nodes = config.nodes.iter().copied().chain(iter::repeat(None));
    let (info, mut ios) = (port.info(), Vec::with_capacity(pools.len()));
    for ((queue, pool), node) in queues.zip(&pools).zip(nodes) {
        let large = Large::new(eal, info.offloads, config.large_frames, node)?;
        ios.push(DpdkIo::new(queue, pool.clone(), large, info));
    }
    let description = describe(info, queue_pairs);
    let certain_queues = port.peer_queues().map_or(queue_pairs, |_| 1);
    Ok(OpenedPort {
        port,
        ios,
        queue_pairs,
        certain_queues,
        pools,
        description,
        notice,
        interface,
    })
}

/// A frame of the MTU with its Ethernet header, VLAN tag and check sequence, and what AF_PACKET's ring has
/// in front of it; at least 2048, below which many NICs split frames.
fn frame_size(mtu: u16) -> u16 {
    (mtu + L2_MAX as u16 + 4 + PACKET_LEAD)
        .next_multiple_of(64)
        .max(2048)
}

/// A pool per worker.
fn make_pools(eal: &EalHandle, config: &PortConfig) -> Result<Vec<Pool>, PoolError> {
    let size = PoolConfig {
        frames: config.pool_size,
        frame_size: frame_size(config.mtu),
    };
    let nodes = config.nodes.iter().copied().chain(iter::repeat(None));
    let pools = nodes.take(config.workers.into());
    pools.map(|node| Pool::on_node(eal, size, node)).collect()
}

fn open_device(
    spec: &DeviceSpec,
    config: &PortConfig,
    queues: u16,
    device_mtu: Option<u16>,
    pools: &[Pool],
) -> Result<OpenPort, PortError> {
    let (rx_descriptors, tx_descriptors) = (config.descriptors, config.descriptors);
    Port::open(
        spec,
        &dpdk::PortConfig {
            mtu: config.mtu,
            device_mtu,
            rx_descriptors,
            tx_descriptors,
            fewer_queues: true,
            offloads: config.offload,
            // Without random numbers it is zero, and `Steering` takes no such key.
            rss_key: steering_key().unwrap_or([0; RSS_KEY_MAX]),
        },
        pools.get(..usize::from(queues)).unwrap_or(pools),
    )
}

/// What can be said before anything is tried.
fn check_interface(name: &str, config: &PortConfig) -> Result<(), OpenError> {
    // What would end or extend the driver's arguments.
    if name.is_empty() || name.contains(|c: char| c.is_control() || ",=[]\"' ".contains(c)) {
        return Err(OpenError::InterfaceName(name.to_owned()));
    }
    let needed = XDP_FILL_FRAMES + 2 * u32::from(config.descriptors);
    if config.pool_size <= needed {
        return Err(OpenError::InterfacePool {
            name: name.to_owned(),
            needed,
        });
    }
    Ok(())
}

/// AF_XDP first, AF_PACKET with a notice where that fails for whatever reason: drivers and kernels
/// differ too much in what AF_XDP they have to tell in advance. The interface is held by then, so that
/// no other sluice is why it fails.
fn open_interface(
    eal: &EalHandle,
    name: &str,
    config: &PortConfig,
    interface: &Interface,
) -> Result<(OpenPort, Vec<Pool>, Option<String>), OpenError> {
    let has = interface.queues();
    let queues = config.queues.min(has);
    let mut pools = make_pools(eal, config)?;
    // AF_XDP would leave to the kernel what comes to the other queues.
    let why = if has > queues {
        format!(
            "AF_XDP would read {queues} of its {has} receive queues. Give it {queues} by `ethtool -L {name} \
             combined {queues}`, or `rx {queues}` where it has no combined ones, or have {has} workers"
        )
    } else {
        match try_xdp(eal, name, config, queues, &mut pools)? {
            Ok(opened) => {
                interface.reads_only(queues);
                return Ok((opened, pools, None));
            }
            Err(error) => format!("AF_XDP failed: {error}"),
        }
    };
    let jumbo = config.mtu > PLAIN_MTU;
    if let (true, Some(has)) = (jumbo, interface.mtu())
        && has < config.mtu
    {
        return Err(OpenError::InterfaceMtu {
            name: name.to_owned(),
            has,
            wanted: config.mtu,
        });
    }
    let device = af_packet(name, queues, jumbo.then(|| frame_size(config.mtu)));
    let device_mtu = jumbo.then_some(PLAIN_MTU);
    match open_device(&device, config, queues, device_mtu, &pools) {
        Ok(opened) => {
            let notice = format!(
                "interface `{name}` is used through AF_PACKET, which is slower, since {why}"
            );
            Ok((opened, pools, Some(notice)))
        }
        Err(packet) => Err(OpenError::Interface {
            name: name.to_owned(),
            why,
            packet: Box::new(packet),
        }),
    }
}

/// AF_XDP, tried again where the kernel has yet to give back what a process before had. The outer error ends
/// the start, the inner one leaves AF_PACKET.
fn try_xdp(
    eal: &EalHandle,
    name: &str,
    config: &PortConfig,
    queues: u16,
    pools: &mut Vec<Pool>,
) -> Result<Result<OpenPort, PortError>, OpenError> {
    let mut attempt = 1;
    loop {
        let error = match open_device(&af_xdp(name, queues), config, queues, None, pools) {
            Ok(opened) => return Ok(Ok(opened)),
            Err(error @ PortError::InterfaceMissing(_)) => return Err(error.into()),
            Err(error) => error,
        };
        // A driver that gave up half way may have kept buffers.
        if pools.iter().any(|pool| pool.available() < pool.capacity()) {
            *pools = make_pools(eal, config)?;
        }
        if attempt == XDP_ATTEMPTS || !matches!(error, PortError::Failed { .. }) {
            return Ok(Err(error));
        }
        attempt += 1;
        sleep(XDP_PAUSE);
    }
}

/// Without busy polling (`busy_budget=0`) it is faster on a veth.
fn af_xdp(interface: &str, queues: u16) -> DeviceSpec {
    vdev(
        "net_af_xdp",
        format!("iface={interface},queue_count={queues},busy_budget=0"),
    )
}

/// With rings for packets that do not fit the driver's own.
fn af_packet(interface: &str, queues: u16, frame_size: Option<u16>) -> DeviceSpec {
    let mut args = format!("iface={interface},qpairs={queues}");
    if let Some(size) = frame_size {
        // The driver takes the frames of all blocks for one row, so a block is full to the end: whole pages,
        // since the size is a multiple of 64.
        let block = 64 * u32::from(size);
        // Writing to a string cannot fail.
        let _ = write!(args, ",framesz={size},blocksz={block}");
    }
    vdev("net_af_packet", args)
}

fn vdev(driver: &str, args: String) -> DeviceSpec {
    let number = NEXT_DEVICE.fetch_add(1, Ordering::Relaxed);
    DeviceSpec::Vdev {
        name: format!("{driver}_sluice{number}"),
        args,
    }
}

/// One line about a port.
fn describe(info: &PortInfo, queues: u16) -> String {
    let mac = info.mac.map(|byte| format!("{byte:02x}")).join(":");
    let mut line = format!(
        "{} ({}), MAC {mac}, MTU {}, {queues} x {}/{} descriptors, offloads:",
        info.device, info.driver, info.mtu, info.rx_descriptors, info.tx_descriptors
    );
    let offloads = [
        (info.offloads.rx_ipv4_checksum, "rx-ipv4-checksum"),
        (info.offloads.rx_tcp_checksum, "rx-tcp-checksum"),
        (info.offloads.tx_ipv4_checksum, "tx-ipv4-checksum"),
        (info.offloads.tx_tcp_checksum, "tx-tcp-checksum"),
        (info.offloads.tx_segmentation, "tx-tcp-segmentation"),
        (info.offloads.rx_large, "rx-large-frames"),
        (info.rss, "rss"),
    ];
    let in_use: Vec<&str> = offloads
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, name)| *name)
        .collect();
    let in_use = if in_use.is_empty() {
        "none".to_owned()
    } else {
        in_use.join(" ")
    };
    // Writing to a string cannot fail.
    let _ = write!(line, " {in_use}");
    if info.multicast == Multicast::Promiscuous {
        line.push_str(", promiscuous");
    }
    line
}
