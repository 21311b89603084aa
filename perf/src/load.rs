//! The load generator: keeps a target busy at a given pace, checks every answer and times it.
//!
//! A [`Generator`] is one thread's worth of work over one [`Stack`](sluice_stack::Stack): the client's
//! connections, and where wanted the backend's ([`server`]), by one `poll_once(now)` without I/O of its
//! own. [`plan`] says what is asked and what must come back, [`schedule`] when, [`run`] for how long;
//! [`codec`] is all that knows the protocol on a connection, and the place where another one goes in.
//! Nothing here reads a clock, and nothing allocates once connections and buffers are there.
//!
//! How latency is counted: from the instant at which a request was *meant* to be sent, which in an open
//! loop the [`schedule`] decides alone. A target that stalls delays the requests behind it, and every one
//! of them says so (no coordinated omission).

mod calls;
mod client;
pub(crate) mod codec;
pub mod exceptions;
mod fault;
mod generator;
mod http1;
mod message;
pub mod pattern;
pub mod plan;
pub mod run;
pub mod schedule;
pub mod server;
pub mod stats;
mod ttheader;

pub use calls::MAX_CALLS;
pub(crate) use client::CLOSE_WITHIN;
pub use client::{ClientSetup, Reuse};
pub use fault::Fault;
pub use generator::{Generator, Turn};
pub use plan::{Plan, Protocol};
pub use run::{Length, Step};
pub use schedule::{Arrivals, Pace, Rate};
pub use server::Replies;
pub use ttheader::encode::Encoding;
