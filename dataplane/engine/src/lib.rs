//! Connections, exchanges, upstream pools and the worker.
//!
//! [`Worker::poll_once`] is the function to read first: it takes packets from frames to bytes
//! (`sluice-stack`), bytes to requests (`sluice-wire`), through the rules (`chain`), to an upstream
//! connection (`pool`, `upstream`), and the answer back (`exchange`, `body`).
#![forbid(unsafe_code)]

mod body;
mod chain;
mod downstream;
mod exchange;
mod generations;
mod handoff;
mod pool;
mod reply;
pub mod stats;
mod upstream;
mod worker;

pub use handoff::Handoff;
/// The stack below, for those who set a worker up, hand it the time and read what it counts.
pub use sluice_stack as stack;
pub use stats::WorkerStats;
pub use worker::{Poll, Worker, WorkerSetup};
