//! From frames to byte streams: link, flow table, TCP, timers and the simulator.
//!
//! [`Stack`] is the door: frames go in through its ports' [`io::PacketIo`], byte streams come out,
//! and back. Behind it stand, in a packet's order, [`io`] (bursts of frames), `frame` (what a frame
//! is), `link` (addresses, neighbours, ICMP), the flow table, and `tcp`, the state machine of each flow.
//! Nothing here reads a clock or a random source: both are handed in.
#![forbid(unsafe_code)]

mod checksum;
mod cookie;
pub mod counters;
pub mod crew;
mod expiring;
pub mod fate;
mod frame;
mod half_open;
pub mod io;
mod isn;
mod key;
mod link;
mod meter;
mod neighbour;
mod rate_limit;
pub mod rng;
pub mod sim;
mod stack;
pub mod steering;
pub mod tap;
mod tcp;
pub mod time;
pub mod wheel;

pub use key::{FlowId, FlowKey};
pub use link::PortSetup;
pub use stack::{
    Buffers, ConnectError, EPHEMERAL, FlowInfo, FlowView, Limits, Owner, Phase, Secrets, Stack,
    StackStats,
};
pub use tcp::{Algorithm, Rtt, TcpTimers};
