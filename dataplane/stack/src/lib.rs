//! From frames to byte streams: link, flow table, TCP, timers and the simulator.
//!
//! [`Stack`] is the door: frames go in through its ports' [`io::PacketIo`], byte streams come out,
//! and back. Behind it stand, in a packet's order, [`io`] (bursts of frames), `frame` (what a frame
//! is), `link` (addresses, neighbours, ICMP), the flow table, and one smoltcp socket per flow.
//! Nothing here reads a clock or a random source: both are handed in.
#![forbid(unsafe_code)]

pub mod counters;
mod expiring;
pub mod fate;
mod flow;
mod frame;
pub mod io;
mod isn;
mod key;
mod link;
mod meter;
mod neighbour;
pub mod rng;
pub mod sim;
mod stack;
pub mod tap;
pub mod time;
pub mod wheel;

pub use flow::Buffers;
pub use key::{FlowId, FlowKey};
pub use link::PortSetup;
pub use meter::Rtt;
pub use stack::{
    ConnectError, FlowInfo, FlowView, Limits, Owner, Phase, Secrets, Stack, StackStats,
};
