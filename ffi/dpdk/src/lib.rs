//! A safe, small view of DPDK: EAL, ports, queues, pools and mbufs.
//!
//! The order of use: [`Eal::start`] once per process, a [`Pool`] per queue, [`Port::open`], which hands
//! out one ([`RxQueue`], [`TxQueue`]) pair per pool. A queue pair is moved to the thread that polls it,
//! and that thread calls [`EalHandle::register_thread`] first, so that its buffers come from a cache of
//! its own.
//!
//! # Why an [`Mbuf`] cannot outlive its memory
//!
//! Counting references per mbuf would cost an atomic operation per frame. Instead, a mempool is never
//! freed on its own: it lives as long as EAL does, and EAL is only cleaned up (its memory unmapped) when
//! no handle, pool, port, queue or registered thread exists and every mbuf is back in its pool; see
//! [`Eal::stop`]. In all other cases the memory stays mapped until the process ends. Hugepages are held
//! anonymously (`--in-memory`), so the kernel takes them back however the process ends, `kill -9`
//! included.

mod device;
mod eal;
mod error;
mod gate;
mod log;
mod mbuf;
mod memif;
mod pool;
mod port;
mod preconditions;
mod queue;
mod rss;
mod setup;
mod vhost;

pub use device::{DeviceError, DeviceSpec, PciAddress};
pub use eal::{Eal, EalConfig, EalHandle, RegisteredThread, cycles, version};
pub use error::{EalError, PoolError, PortError, StillInUse};
pub use gate::PeerQueues;
pub use log::log_tail;
pub use mbuf::{ChecksumState, IpOffload, Mbuf, Segmentation, TxOffload};
pub use pool::{FRAME_MAX, Pool, PoolConfig};
pub use port::{
    Link, Multicast, Offloads, OpenPort, Port, PortConfig, PortInfo, PortStats, RSS_KEY_MAX, Rss,
};
pub use queue::{RxQueue, TxQueue};
