//! From a port's configuration to its queues.

use std::fmt::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use dpdk::{
    DeviceSpec, EalHandle, Multicast, OpenPort, Pool, PoolConfig, PoolError, Port, PortError,
    PortInfo,
};
use sluice_stack::io::L2_MAX;

use crate::io::DpdkIo;

/// What a port is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// A NIC by its PCI address, `0000:03:00.0`; EAL must have been started with it.
    Pci(String),
    /// A virtual device with its arguments, `net_memif0,role=client`.
    Vdev(String),
    /// A network interface of the kernel: through AF_XDP, and where that fails through AF_PACKET. Both
    /// need root; neither carries jumbo frames (AF_XDP some 3,500 bytes, AF_PACKET 1,500).
    Interface(String),
}

/// How a port is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortConfig {
    /// The device.
    pub device: Device,
    /// Largest IP packet in bytes, at most 9216.
    pub mtu: u16,
    /// Number of queue pairs.
    pub queues: u16,
    /// Descriptors of each receive and transmit queue, adjusted to what the device allows.
    pub descriptors: u16,
    /// Frames in the buffer pool of each queue pair: more than twice `descriptors`, for an interface 2048
    /// more than that, and some for the frames in work.
    pub pool_size: u32,
}

/// An open port. It is closed when this and every [`DpdkIo`] of it is dropped.
#[derive(Debug)]
pub struct OpenedPort {
    /// Link, counters, and what was negotiated.
    pub port: Port,
    /// One per queue pair, each for one worker.
    pub queues: Vec<DpdkIo>,
    /// The pool of each queue pair, to watch its occupancy.
    pub pools: Vec<Pool>,
    /// For a person: driver, queues, offloads in use.
    pub description: String,
    /// Something the operator should know, such as a slower driver taken than asked for.
    pub notice: Option<String>,
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
    /// Neither way to a network interface worked.
    #[error(
        "interface `{name}` could be opened neither with AF_XDP nor with AF_PACKET.\n{xdp}\n{packet}"
    )]
    Interface {
        /// The interface.
        name: String,
        /// Why AF_XDP failed.
        xdp: Box<PortError>,
        /// Why AF_PACKET failed.
        packet: Box<PortError>,
    },
}

/// Frames that `net_af_xdp` takes from the pool of each queue at the start and keeps
/// (`ETH_AF_XDP_DFLT_NUM_DESCS`).
const XDP_FILL_FRAMES: u32 = 2048;

/// Numbers the virtual devices made for interfaces.
static NEXT_DEVICE: AtomicU32 = AtomicU32::new(0);

/// Opens a port with all its queues and starts it.
///
/// Its pools stay allocated as long as EAL runs, also when opening fails.
pub fn open(eal: &EalHandle, config: &PortConfig) -> Result<OpenedPort, OpenError> {
    if !(576..=9216).contains(&config.mtu) {
        return Err(OpenError::Mtu(config.mtu));
    }
    let (opened, pools, notice) = match &config.device {
        Device::Pci(device) | Device::Vdev(device) => {
            let spec = device.parse().map_err(PortError::from)?;
            let pools = make_pools(eal, config)?;
            (open_device(&spec, config, &pools)?, pools, None)
        }
        Device::Interface(name) => open_interface(eal, name, config)?,
    };
    let OpenPort { port, queues } = opened;
    let queues = queues
        .into_iter()
        .zip(&pools)
        .map(|((rx, tx), pool)| DpdkIo::new(rx, tx, pool.clone(), port.info()))
        .collect();
    let description = describe(port.info(), config.queues);
    Ok(OpenedPort {
        port,
        queues,
        pools,
        description,
        notice,
    })
}

/// A frame of the MTU with its Ethernet header, VLAN tag and check sequence; at least 2048, below which
/// many NICs split frames.
fn frame_size(mtu: u16) -> u16 {
    (mtu + L2_MAX as u16 + 4).next_multiple_of(64).max(2048)
}

/// A pool per queue pair.
fn make_pools(eal: &EalHandle, config: &PortConfig) -> Result<Vec<Pool>, PoolError> {
    let size = PoolConfig {
        frames: config.pool_size,
        frame_size: frame_size(config.mtu),
    };
    (0..config.queues).map(|_| Pool::new(eal, size)).collect()
}

fn open_device(
    spec: &DeviceSpec,
    config: &PortConfig,
    pools: &[Pool],
) -> Result<OpenPort, PortError> {
    let (rx_descriptors, tx_descriptors) = (config.descriptors, config.descriptors);
    Port::open(
        spec,
        &dpdk::PortConfig {
            mtu: config.mtu,
            rx_descriptors,
            tx_descriptors,
        },
        pools,
    )
}

/// AF_XDP first, AF_PACKET with a notice where that fails for whatever reason: drivers and kernels
/// differ too much in what AF_XDP they have to tell in advance.
fn open_interface(
    eal: &EalHandle,
    name: &str,
    config: &PortConfig,
) -> Result<(OpenPort, Vec<Pool>, Option<String>), OpenError> {
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
    let pools = make_pools(eal, config)?;
    let xdp = match open_device(&af_xdp(name, config), config, &pools) {
        Ok(opened) => return Ok((opened, pools, None)),
        Err(error @ PortError::InterfaceMissing(_)) => return Err(error.into()),
        Err(error) => error,
    };
    // A driver that gave up half way may have kept buffers.
    let whole = pools.iter().all(|pool| pool.available() == pool.capacity());
    let pools = if whole {
        pools
    } else {
        make_pools(eal, config)?
    };
    match open_device(&af_packet(name, config), config, &pools) {
        Ok(opened) => {
            let notice = format!(
                "interface `{name}` is used through AF_PACKET, which is slower, since AF_XDP failed: {xdp}"
            );
            Ok((opened, pools, Some(notice)))
        }
        Err(packet) => {
            let (xdp, packet) = (Box::new(xdp), Box::new(packet));
            Err(OpenError::Interface {
                name: name.to_owned(),
                xdp,
                packet,
            })
        }
    }
}

/// Without busy polling (`busy_budget=0`) it is faster on a veth.
fn af_xdp(interface: &str, config: &PortConfig) -> DeviceSpec {
    let queues = config.queues;
    vdev(
        "net_af_xdp",
        format!("iface={interface},queue_count={queues},busy_budget=0"),
    )
}

fn af_packet(interface: &str, config: &PortConfig) -> DeviceSpec {
    vdev(
        "net_af_packet",
        format!("iface={interface},qpairs={}", config.queues),
    )
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
