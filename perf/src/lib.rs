//! Traffic for benches and simulations: HTTP clients and backends on the project's own stack.
//!
//! A [`client::Client`] keeps a number of connections busy with what a [`client::Workload`] tells
//! it to ask, and checks every answer to the byte; a [`backend::Backend`] answers what the path of a
//! request asks for. [`bytes`] is the language they share. [`memory`] puts a gateway between the two
//! in one thread, without DPDK; [`scripted`] puts it between two [`raw::Host`]s that do exactly what
//! a test tells them, and [`flood`] makes the frames of those who mean harm; [`two_hop`] puts two of them there. [`report`] is what a load run found out.
//! [`load`] is the load generator, made for speed, [`rig`] puts a gateway in its midst in memory, and
//! [`bench`] is its command line on real ports.
#![forbid(unsafe_code)]

pub mod backend;
#[cfg(feature = "lab")]
pub mod bench;
pub mod bytes;
pub mod calls;
pub mod client;
#[cfg(feature = "lab")]
pub mod compare;
pub mod flood;
#[cfg(feature = "lab")]
pub mod load;
pub mod memory;
pub mod raw;
#[cfg(feature = "lab")]
pub mod report;
#[cfg(feature = "lab")]
pub mod rig;
pub mod scripted;
pub mod two_hop;
#[cfg(feature = "lab")]
pub mod wire;
