//! EAL starts once per process, so these tests need a process each: run them with `cargo nextest run`.
//! They use no NIC and touch no PCI device; they need hugepages (`scripts/setup` reserves them).

#![allow(dead_code, reason = "not every test file uses all of it")]

use dpdk::{Eal, EalConfig, OpenPort, Pool, PoolConfig, Port, PortConfig, PortError};

/// Starts a small EAL that gets along with others beside it.
pub(crate) fn eal() -> Eal {
    let config = EalConfig {
        memory_mib: 32,
        ..EalConfig::default()
    };
    Eal::start(&config).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn pool(eal: &Eal, frames: u32) -> Pool {
    Pool::new(
        eal.handle(),
        PoolConfig {
            frames,
            frame_size: 2048,
        },
    )
    .unwrap()
}

pub(crate) const CONFIG: PortConfig = PortConfig {
    mtu: 1500,
    device_mtu: None,
    rx_descriptors: 256,
    tx_descriptors: 256,
    fewer_queues: false,
    offloads: true,
    rss_key: [7; 52],
};

pub(crate) fn open(device: &str, pools: &[Pool]) -> Result<OpenPort, PortError> {
    Port::open(&device.parse()?, &CONFIG, pools)
}
