//! A device, opened: probed, configured with as many queue pairs as there are pools, started.

use std::sync::Arc;

use dpdk_sys as ffi;

use crate::device::DeviceSpec;
use crate::eal::EalHandle;
use crate::error::PortError;
use crate::gate::{Direction, Door, PeerQueues};
use crate::memif::Relay;
use crate::pool::Pool;
use crate::queue::{RxQueue, TxQueue};
use crate::rss;
use crate::setup::Setup;
use crate::vhost;

/// How a port is to be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortConfig {
    /// Largest IP packet, bytes.
    pub mtu: u16,
    /// What the device is configured with instead, where its driver says less than it carries; the MTU it
    /// has then stays.
    pub device_mtu: Option<u16>,
    /// Descriptors of a receive queue, adjusted to what the device allows.
    pub rx_descriptors: u16,
    /// Descriptors of a transmit queue, adjusted to what the device allows.
    pub tx_descriptors: u16,
    /// Takes a device that has fewer queue pairs than there are pools with those it has, instead of
    /// refusing it.
    pub fewer_queues: bool,
    /// Takes the offloads that the device has ([`Offloads`]); otherwise none but frames of several segments.
    pub offloads: bool,
    /// Key of the hash by which a device with several queues spreads flows over them; it uses as many
    /// bytes as it wants.
    pub rss_key: [u8; RSS_KEY_MAX],
}

/// The longest key of receive side scaling that devices have.
pub const RSS_KEY_MAX: usize = 52;

/// How a device spreads flows over its queues, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rss {
    /// Key of the Toeplitz hash over addresses and ports.
    pub key: Vec<u8>,
    /// The queue for each value of the hash's lowest bits; as long as a power of two.
    pub table: Vec<u16>,
}

/// An open port. Clones are handles to the same one; when the last handle and the last queue are gone,
/// the device is stopped, closed and removed, and can be opened again.
#[derive(Debug, Clone)]
pub struct Port {
    device: Arc<OpenDevice>,
    info: Arc<PortInfo>,
}

/// What [`Port::open`] gives: the port, and a queue pair per pool in the order of the pools, or for the
/// first of them.
#[derive(Debug)]
pub struct OpenPort {
    /// The port.
    pub port: Port,
    /// Its queue pairs.
    pub queues: Vec<(RxQueue, TxQueue)>,
}

/// What a port turned out to be; constant while it is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// The device it was opened from.
    pub device: String,
    /// The driver's name.
    pub driver: String,
    /// The MAC address.
    pub mac: [u8; 6],
    /// Largest IP packet, bytes.
    pub mtu: u16,
    /// Descriptors of each receive queue.
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue.
    pub tx_descriptors: u16,
    /// What the device does for us.
    pub offloads: Offloads,
    /// The device spreads flows over the queues (asked for when there are several queues and the device
    /// says that it can; whether it does is another matter).
    pub rss: bool,
    /// By which key and table, where it tells.
    pub rss_by: Option<Rss>,
    /// The key that it was asked to use, where it takes one.
    pub rss_key: Option<Vec<u8>>,
    /// How frames to multicast addresses are received.
    pub multicast: Multicast,
}

/// Work negotiated with the device: on where it offers it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Verifies IPv4 header checksums.
    pub rx_ipv4_checksum: bool,
    /// Verifies TCP checksums.
    pub rx_tcp_checksum: bool,
    /// Fills in IPv4 header checksums.
    pub tx_ipv4_checksum: bool,
    /// Fills in TCP checksums.
    pub tx_tcp_checksum: bool,
    /// Sends frames of several segments.
    pub tx_multi_segment: bool,
    /// Cuts frames longer than the MTU into TCP segments, fills in their checksums too
    /// ([`TxOffload::segmentation`](crate::TxOffload)).
    pub tx_segmentation: bool,
    /// Hands over frames of several segments of TCP in one, as virtio devices do when both sides agree to it.
    /// Receive offload of network cards (LRO) is not asked for.
    pub rx_large: bool,
}

/// How a port receives multicast, which NDP needs (solicited-node addresses, RFC 4861 section 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Multicast {
    /// The device lets all multicast frames through.
    All,
    /// It knows no such mode, so it is promiscuous: frames to other hosts arrive as well.
    Promiscuous,
    /// It knows neither; virtual devices without a filter.
    Unfiltered,
}

/// The state of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Whether frames can pass.
    pub up: bool,
    /// Mbit/s; 0 or `u32::MAX` where the device does not know.
    pub speed_mbps: u32,
}

/// The device's own counters since it was opened (`rte_eth_stats`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received, and below their bytes.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames the device dropped because no receive descriptor was free.
    pub rx_missed: u64,
    /// Frames received in error.
    pub rx_errors: u64,
    /// Times the driver found the pool empty.
    pub rx_no_buffer: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that failed to be sent.
    pub tx_errors: u64,
}

/// A probed device; dropping it stops, closes and removes it.
#[derive(Debug)]
pub(crate) struct OpenDevice {
    id: u16,
    device: *mut ffi::rte_device,
    eal: EalHandle,
    /// Between a memif device and its other side.
    relay: Option<Relay>,
    /// Which queues the peer of a vhost device has. Dropped before the port is closed.
    watch: Option<vhost::Watch>,
}

// SAFETY: ports belong to no thread; what changes them is serialised by `EalHandle::ports`. What a watch points to
// may be shared by threads.
unsafe impl Send for OpenDevice {}
// SAFETY: through a shared reference only counters and the link are read, serialised as well.
unsafe impl Sync for OpenDevice {}

impl Port {
    /// Opens a device with one queue pair per pool: receive queue `n` takes its buffers from pool `n`.
    /// Pools beyond the device's queues ([`PortConfig::fewer_queues`]) are left alone.
    /// Offloads are those the device says it has. Whatever fails, the device is closed again.
    pub fn open(
        spec: &DeviceSpec,
        config: &PortConfig,
        pools: &[Pool],
    ) -> Result<OpenPort, PortError> {
        let Some(first) = pools.first() else {
            return Err(PortError::Queues {
                device: spec.to_string(),
                asked: 0,
                max: 1,
            });
        };
        let eal = first.eal();
        let setup = Setup::new(spec)?;
        let relay = Relay::prepare(spec).map_err(|error| setup.relay(error))?;
        let mut ports = eal.ports();
        let (id, mut info) = setup.probe(relay.as_ref().map_or(spec, Relay::spec))?;
        if ports.contains(&id) {
            return Err(PortError::AlreadyOpen(spec.to_string()));
        }
        ports.push(id);
        let mut device = OpenDevice {
            id,
            device: info.device,
            eal: eal.clone(),
            relay,
            watch: vhost::Watch::of(id, &info),
        };
        let started = setup
            .configure(id, &mut info, config, pools)
            .and_then(|(port, queues)| {
                let multicast = setup.start(id)?;
                if let Some(relay) = &mut device.relay {
                    let started = relay.start(eal, id);
                    started.map_err(|error| setup.relay(error))?;
                }
                let rss_by = if port.rss { rss::read(id) } else { None };
                let port = PortInfo {
                    multicast,
                    rss_by,
                    ..port
                };
                Ok((port, queues))
            });
        match started {
            Ok((info, queues)) => Ok(open_port(Arc::new(device), info, queues)),
            Err(error) => {
                drop(ports); // the device's drop locks them
                drop(device);
                Err(error)
            }
        }
    }

    /// What the port turned out to be.
    pub fn info(&self) -> &PortInfo {
        &self.info
    }

    /// By which key and table the device spreads flows now, where it tells.
    pub fn rss(&self) -> Option<Rss> {
        let _ports = self.device.eal.ports();
        self.info.rss.then(|| rss::read(self.device.id)).flatten()
    }

    /// The link now, as the device last heard; does not wait.
    pub fn link(&self) -> Link {
        let (mut speed_mbps, mut up) = (0, 0);
        let _ports = self.device.eal.ports();
        // SAFETY: the port is open, and both variables live for the call.
        let result = unsafe { ffi::sluice_link_get(self.device.id, &mut speed_mbps, &mut up) };
        Link {
            up: result == 0 && up != 0,
            speed_mbps,
        }
    }

    /// The queues that its peer has as well, which may be fewer than those of the port, and none without a
    /// peer; `None` for devices whose queues are there as long as they are open. Frames do not come, and can't
    /// be sent, by the others ([`TxQueue::is_left_out`]).
    pub fn peer_queues(&self) -> Option<PeerQueues> {
        let relay = self.device.relay.as_ref().map(Relay::queues);
        relay.or_else(|| self.device.watch.as_ref().map(vhost::Watch::queues))
    }

    /// The device's counters; zeros where it has none.
    pub fn stats(&self) -> PortStats {
        let mut raw = ffi::rte_eth_stats::default();
        let _ports = self.device.eal.ports();
        // SAFETY: the port is open, and `raw` lives for the call.
        if unsafe { ffi::rte_eth_stats_get(self.device.id, &mut raw) } != 0 {
            return PortStats::default();
        }
        PortStats {
            rx_frames: raw.ipackets,
            rx_bytes: raw.ibytes,
            rx_missed: raw.imissed,
            rx_errors: raw.ierrors,
            rx_no_buffer: raw.rx_nombuf,
            tx_frames: raw.opackets,
            tx_bytes: raw.obytes,
            tx_errors: raw.oerrors,
        }
    }
}

impl OpenDevice {
    /// DPDK's number of the port.
    #[inline]
    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    /// What a queue passes before a burst.
    pub(crate) fn door(&self, direction: Direction, queue: u16) -> Option<Door> {
        let relay = self.relay.as_ref();
        let watch = self.watch.as_ref();
        relay
            .map(|relay| relay.door(direction, queue))
            .or_else(|| watch.map(|watch| watch.door(direction, queue)))
    }
}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        // Before the ports are locked: its thread may wait for the lock.
        if let Some(relay) = &mut self.relay {
            relay.halt();
        }
        // Nobody calls back from here on.
        self.watch = None;
        let mut ports = self.eal.ports();
        // SAFETY: the port was probed by `open`, and no queue of it exists any more (each holds a
        // reference). A port that was not started may be stopped. The `rte_device` stays valid until
        // it is removed, which makes room for another of the same name.
        unsafe {
            ffi::rte_eth_dev_stop(self.id);
            ffi::rte_eth_dev_close(self.id);
            ffi::rte_dev_remove(self.device);
        }
        ports.retain(|id| *id != self.id);
    }
}

fn open_port(device: Arc<OpenDevice>, info: PortInfo, pairs: u16) -> OpenPort {
    let pair = |queue: u16| {
        // SAFETY: the port is started with this many queues of each kind, and this makes each once.
        unsafe {
            (
                RxQueue::new(device.clone(), queue),
                TxQueue::new(device.clone(), queue),
            )
        }
    };
    let queues = (0..pairs).map(pair).collect();
    OpenPort {
        port: Port {
            device: device.clone(),
            info: Arc::new(info),
        },
        queues,
    }
}
