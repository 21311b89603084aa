//! End to end tests, simulation and interop.
//!
//! What stands here is the harness: [`lab`] makes a private copy of the lab for a test, [`gateway`]
//! runs the real binary in it, [`http`] reads what comes back, [`peers`] are RPC frameworks to talk to;
//! [`sim`], [`calls`], [`rpc_streams`] and [`changing`] play the gateway without a network, [`streams`] the TCP below it. The
//! tests are in `tests/`.
//!
//! The harness panics where a test cannot go on; its panics say what was run and what it printed.
#![forbid(unsafe_code)]

pub mod calls;
pub mod changing;
mod changing_rules;
pub mod gateway;
pub mod http;
pub mod lab;
mod links;
pub mod peers;
pub mod rpc_streams;
mod rpc_world;
pub mod sim;
pub mod streams;
