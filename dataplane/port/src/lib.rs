//! The [`PacketIo`](sluice_stack::io::PacketIo) of a DPDK port: queues, buffers and negotiated offloads.
//!
//! Beside it what a process needs that polls one: [`cores`], a [`Clock`], [`secrets`], and how large queues
//! and pools are ([`port_config`]).
//!
//! [`open`] turns a [`PortConfig`] into one [`DpdkIo`] per queue pair. Each belongs to one worker, whose
//! thread calls [`EalHandle::register_thread`] before it polls. EAL itself is started once, by
//! [`Eal::start`].
#![forbid(unsafe_code)]

mod checksum;
mod clock;
pub mod cores;
mod frame;
mod gaps;
mod interface;
mod io;
mod large;
mod open;
mod secrets;
mod size;
mod socket;

pub use clock::Clock;
pub use cores::{CoreError, Cores};
pub use dpdk::{
    DeviceError, Eal, EalConfig, EalError, EalHandle, Link, PciAddress, PeerQueues, Pool,
    PoolError, Port, PortError, PortInfo, PortStats, RegisteredThread, StillInUse, cycles,
    log_tail, version,
};
pub use frame::{DpdkRx, DpdkTx};
pub use gaps::{GapMeter, Gaps};
pub use interface::Interface;
pub use io::DpdkIo;
pub use open::{Device, OpenError, OpenedPort, PortConfig, open};
pub use secrets::{secrets, steering_key};
pub use size::{eal_config, more_memory, port_config};
