//! Connections, exchanges, upstream pools and the worker.
//!
//! [`Worker::poll_once`] is the function to read first: it takes packets from frames to bytes
//! (`sluice-stack`), bytes to requests (`sluice-wire`), through the rules (`chain`), to an upstream
//! connection (`pool`, `upstream`), and the answer back (`exchange`, `answer`, `body`).
#![forbid(unsafe_code)]

pub mod access;
mod adopting;
mod answer;
mod body;
mod chain;
mod clients;
mod contained;
mod date;
mod downstream;
mod ended;
mod exchange;
mod explained;
mod filters;
mod footprint;
mod forwarding;
mod generations;
mod handoff;
mod heads;
mod held;
mod inspection;
mod mirror;
mod named;
mod numbering;
mod pace;
mod pool;
mod proxied;
mod reply;
mod rpc;
mod rule_reply;
pub mod stats;
pub mod traffic;
mod tunnel;
mod upstream;
mod waits;
mod worker;

pub use footprint::{Footprint, limits};
pub use handoff::Handoff;
pub use inspection::{
    Busy, FlowPage, FlowReply, FlowReport, FlowUser, Inspection, Strays, StraysReply,
};
/// The stack below, for those who set a worker up, hand it the time and read what it counts.
pub use sluice_stack as stack;
/// The version a client speaks, as an access log's record has it.
pub use sluice_wire::http1::Version as HttpVersion;
pub use stats::WorkerStats;
pub use worker::{Poll, Worker, WorkerSetup};
