//! The steps of opening a device: probe, configure, start.

use std::ffi::CStr;

use dpdk_sys as ffi;

use crate::device::DeviceSpec;
use crate::error::{PortError, strerror};
use crate::memif::RelayError;
use crate::pool::Pool;
use crate::port::{Multicast, Offloads, PortConfig, PortInfo, RSS_KEY_MAX};
use crate::{log, preconditions};

/// Ethernet header, one VLAN tag and the frame check sequence: what a buffer holds beyond the packet.
const FRAME_OVERHEAD: u16 = 14 + 4 + 4;

/// Ethernet header and frame check sequence.
const ETHERNET_OVERHEAD: u32 = 14 + 4;

/// The opening of one device: what its errors need to say.
pub(crate) struct Setup {
    device: String,
    /// Where DPDK's log stood at the beginning.
    mark: u64,
    /// It was told to agree with its peers on large frames.
    large: bool,
}

impl Setup {
    /// Checks what can be checked before DPDK is asked.
    pub(crate) fn new(spec: &DeviceSpec) -> Result<Self, PortError> {
        if let DeviceSpec::Pci(address) = spec {
            preconditions::pci_usable(*address)?;
        }
        if let Some(interface) = spec.kernel_interface() {
            preconditions::interface_exists(interface)?;
        }
        Ok(Self {
            device: spec.to_string(),
            mark: log::mark(),
            large: spec.agrees_to_large_frames(),
        })
    }

    /// Plugs the device in, unless EAL did so at its start, and finds the port it became.
    pub(crate) fn probe(
        &self,
        spec: &DeviceSpec,
    ) -> Result<(u16, ffi::rte_eth_dev_info), PortError> {
        let Some((bus, name, args)) = spec.for_hotplug() else {
            return Err(self.failed("finding the device", -libc::EINVAL));
        };
        if let Some(found) = find_port(&name) {
            return Ok(found);
        }
        // SAFETY: EAL runs, and these are C strings that it copies.
        let result =
            unsafe { ffi::rte_eal_hotplug_add(bus.as_ptr(), name.as_ptr(), args.as_ptr()) };
        match (-result, spec) {
            (0, _) => {
                find_port(&name).ok_or_else(|| self.failed("finding its port", -libc::ENODEV))
            }
            (libc::ENODEV, DeviceSpec::Pci(address)) => Err(PortError::PciNotAllowed(*address)),
            // No driver claims the name: the bus of virtual devices cannot even parse it (EFAULT).
            (libc::EFAULT | libc::ENOTSUP, _) => Err(PortError::NoDriver {
                device: self.device.clone(),
                log: log::since(self.mark),
            }),
            _ => Err(self.failed("probing", result)),
        }
    }

    /// Configures the port and its queues; returns how many pairs it has.
    pub(crate) fn configure(
        &self,
        id: u16,
        info: &mut ffi::rte_eth_dev_info,
        config: &PortConfig,
        pools: &[Pool],
    ) -> Result<(PortInfo, u16), PortError> {
        let device = self.device.clone();
        let max = info.max_rx_queues.min(info.max_tx_queues);
        let Some(queues) = u16::try_from(pools.len())
            .ok()
            .map(|asked| match config.fewer_queues {
                true => asked.min(max),
                false => asked,
            })
            .filter(|queues| (1..=max).contains(queues))
        else {
            return Err(PortError::Queues {
                device,
                asked: pools.len(),
                max,
            });
        };
        self.check_mtu(info, config, pools)?;

        let mut offloads = Offloads::default();
        let mut conf = ffi::rte_eth_conf::default();
        conf.rxmode.mtu = u32::from(config.device_mtu.unwrap_or(config.mtu));
        let driver = c_string(info.driver_name);
        let large = config.offloads && self.large;
        (conf.rxmode.offloads, conf.txmode.offloads) =
            offloads.negotiate(info, config.offloads, &driver, large);
        info.default_rxconf.offloads = conf.rxmode.offloads;
        info.default_txconf.offloads = conf.txmode.offloads;
        let rss_hash = info.flow_type_rss_offloads & ffi::SLUICE_RSS_IP_TCP;
        let rss = queues > 1 && rss_hash != 0;
        let (mut key, mut rss_key) = (config.rss_key, None);
        if rss {
            conf.rxmode.mq_mode = ffi::RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = rss_hash;
            // A device that says no length has a key of its own.
            if (1..=RSS_KEY_MAX).contains(&usize::from(info.hash_key_size)) {
                conf.rx_adv_conf.rss_conf.rss_key = key.as_mut_ptr();
                conf.rx_adv_conf.rss_conf.rss_key_len = info.hash_key_size;
                rss_key = config.rss_key.get(..usize::from(info.hash_key_size));
            }
        }
        // SAFETY: the port is probed and not started; `conf` and the key it points to live for the call.
        let result = unsafe { ffi::rte_eth_dev_configure(id, queues, queues, &conf) };
        self.done("configuring", result)?;

        let (mut rx_descriptors, mut tx_descriptors) =
            (config.rx_descriptors, config.tx_descriptors);
        // SAFETY: the port is configured, and both variables live for the call.
        let result = unsafe {
            ffi::rte_eth_dev_adjust_nb_rx_tx_desc(id, &mut rx_descriptors, &mut tx_descriptors)
        };
        self.done("choosing the number of descriptors", result)?;
        if config.device_mtu.is_none() {
            self.set_mtu(id, config.mtu)?;
        }
        for (queue, pool) in (0..queues).zip(pools) {
            self.configure_queue_pair(id, info, queue, (rx_descriptors, tx_descriptors), pool)?;
        }
        let (mac, mtu, multicast) = (mac(id), config.mtu, Multicast::Unfiltered);
        let info = PortInfo {
            device,
            driver,
            mac,
            mtu,
            rx_descriptors,
            tx_descriptors,
            offloads,
            rss,
            rss_by: None,
            rss_key: rss_key.map(<[u8]>::to_vec),
            multicast,
        };
        Ok((info, queues))
    }

    fn configure_queue_pair(
        &self,
        id: u16,
        info: &ffi::rte_eth_dev_info,
        queue: u16,
        (rx_descriptors, tx_descriptors): (u16, u16),
        pool: &Pool,
    ) -> Result<(), PortError> {
        let descriptors = u32::from(rx_descriptors) + u32::from(tx_descriptors);
        if pool.capacity() <= descriptors {
            let (device, frames) = (self.device.clone(), pool.capacity());
            return Err(PortError::PoolTooSmall {
                device,
                frames,
                descriptors,
            });
        }
        let (rxconf, txconf) = (&info.default_rxconf, &info.default_txconf);
        // SAFETY: the port exists. Minus one (no NUMA node) is "any" for what follows.
        let socket = unsafe { ffi::rte_eth_dev_socket_id(id) } as u32;
        // SAFETY: the port is configured with this queue, and the pool lives as long as EAL.
        let result = unsafe {
            ffi::rte_eth_rx_queue_setup(id, queue, rx_descriptors, socket, rxconf, pool.as_ptr())
        };
        self.done("setting up a receive queue", result)?;
        // SAFETY: the port is configured with this queue.
        let result =
            unsafe { ffi::rte_eth_tx_queue_setup(id, queue, tx_descriptors, socket, txconf) };
        self.done("setting up a transmit queue", result)
    }

    /// Starts the port and lets multicast in.
    pub(crate) fn start(&self, id: u16) -> Result<Multicast, PortError> {
        // SAFETY: the port and all its queues are configured.
        self.done("starting", unsafe { ffi::rte_eth_dev_start(id) })?;
        // SAFETY: the port is started.
        if unsafe { ffi::rte_eth_allmulticast_enable(id) } == 0 {
            return Ok(Multicast::All);
        }
        // SAFETY: the port is started.
        let promiscuous = unsafe { ffi::rte_eth_promiscuous_enable(id) } == 0;
        Ok(if promiscuous {
            Multicast::Promiscuous
        } else {
            Multicast::Unfiltered
        })
    }

    /// That the device and every pool carry the MTU in one segment.
    fn check_mtu(
        &self,
        info: &ffi::rte_eth_dev_info,
        config: &PortConfig,
        pools: &[Pool],
    ) -> Result<(), PortError> {
        let asked = config.mtu;
        // How DPDK itself counts what a frame adds to the packet (`eth_dev_get_overhead_len`).
        let overhead = match info.max_rx_pktlen.checked_sub(u32::from(info.max_mtu)) {
            Some(overhead) if info.max_mtu != u16::MAX => overhead,
            _ => ETHERNET_OVERHEAD,
        };
        let longest = info.max_rx_pktlen.saturating_sub(overhead);
        let frame = pools.iter().map(Pool::frame_size).min().unwrap_or(0);
        let says = info.max_mtu.min(u16::try_from(longest).unwrap_or(u16::MAX));
        let carries = config.device_mtu.map_or(says, |_| u16::MAX);
        let max = carries.min(frame.saturating_sub(FRAME_OVERHEAD));
        let min = info.min_mtu;
        if (min..=max).contains(&asked) {
            return Ok(());
        }
        Err(PortError::Mtu {
            device: self.device.clone(),
            asked,
            min,
            max,
        })
    }

    /// Tells the device its MTU; many virtual ones have none to be told.
    fn set_mtu(&self, id: u16, mtu: u16) -> Result<(), PortError> {
        // SAFETY: the port is configured.
        match unsafe { ffi::rte_eth_dev_set_mtu(id, mtu) } {
            result if result == -libc::ENOTSUP => Ok(()),
            result => self.done("setting the MTU", result),
        }
    }

    fn done(&self, step: &'static str, result: i32) -> Result<(), PortError> {
        if result == 0 {
            Ok(())
        } else {
            Err(self.failed(step, result))
        }
    }

    /// What kept a memif device from having a relay, or its relay from working.
    pub(crate) fn relay(&self, error: RelayError) -> PortError {
        PortError::Memif {
            device: self.device.clone(),
            step: error.step,
            reason: error.reason.to_string(),
        }
    }

    fn failed(&self, step: &'static str, errno: i32) -> PortError {
        let (device, log) = (self.device.clone(), log::since(self.mark));
        if preconditions::is_root() {
            PortError::Failed {
                device,
                step,
                reason: strerror(errno),
                log,
            }
        } else {
            PortError::NotPermitted { device, step, log }
        }
    }
}

impl Offloads {
    /// Sets what the device has of what we can use, or nearly nothing without `all`; returns the flags for receive
    /// and transmit. `large` says that frames of several segments will come without being asked for.
    fn negotiate(
        &mut self,
        info: &ffi::rte_eth_dev_info,
        all: bool,
        driver: &str,
        large: bool,
    ) -> (u64, u64) {
        let (mut rx, mut tx) = (0, 0);
        let take = |wanted: u64, offered: u64, flags: &mut u64| {
            *flags |= offered & wanted;
            offered & wanted != 0
        };
        self.tx_multi_segment = take(ffi::SLUICE_TX_MULTI_SEGS, info.tx_offload_capa, &mut tx);
        self.rx_large = large;
        if !all {
            return (rx, tx);
        }
        self.rx_ipv4_checksum = take(ffi::SLUICE_RX_IPV4_CKSUM, info.rx_offload_capa, &mut rx);
        self.rx_tcp_checksum = take(ffi::SLUICE_RX_TCP_CKSUM, info.rx_offload_capa, &mut rx);
        self.tx_ipv4_checksum = take(ffi::SLUICE_TX_IPV4_CKSUM, info.tx_offload_capa, &mut tx);
        self.tx_tcp_checksum = take(ffi::SLUICE_TX_TCP_CKSUM, info.tx_offload_capa, &mut tx);
        self.tx_segmentation =
            self.tx_tcp_checksum && take(ffi::SLUICE_TX_TCP_TSO, info.tx_offload_capa, &mut tx);
        let large = ffi::SLUICE_RX_TCP_LRO | ffi::SLUICE_RX_SCATTER;
        if is_virtio(driver) && self.rx_tcp_checksum && info.rx_offload_capa & large == large {
            rx |= large;
            self.rx_large = true;
        }
        (rx, tx)
    }
}

/// Whether a device is one of virtio, by its driver.
fn is_virtio(driver: &str) -> bool {
    ["net_virtio", "net_virtio_user"].contains(&driver)
}

/// The port whose device has this name.
fn find_port(name: &CStr) -> Option<(u16, ffi::rte_eth_dev_info)> {
    let mut from = 0;
    loop {
        // SAFETY: EAL runs; returns a valid port or one beyond the last.
        let id = unsafe { ffi::rte_eth_find_next(from) };
        if u32::from(id) >= ffi::RTE_MAX_ETHPORTS {
            return None;
        }
        let mut info = ffi::rte_eth_dev_info::default();
        // SAFETY: the port exists, and `info` lives for the call.
        if unsafe { ffi::rte_eth_dev_info_get(id, &mut info) } == 0 && !info.device.is_null() {
            // SAFETY: the device of an existing port is valid, its name a C string.
            if unsafe { CStr::from_ptr(ffi::rte_dev_name(info.device)) } == name {
                return Some((id, info));
            }
        }
        from = id + 1;
    }
}

fn mac(id: u16) -> [u8; 6] {
    let mut address = ffi::rte_ether_addr::default();
    // SAFETY: the port exists, and `address` lives for the call. If it fails, the address stays zero.
    unsafe { ffi::rte_eth_macaddr_get(id, &mut address) };
    address.addr_bytes
}

fn c_string(text: *const std::ffi::c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: DPDK hands out C strings, copied here.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
