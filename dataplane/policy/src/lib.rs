//! Governance rules: the model, its YAML, and the compiled snapshot.
//!
//! The way of a rule, in order:
//!
//! 1. [`yaml`] reads a file into [`rules::Rules`], remembering the place of every value;
//! 2. [`compile()`] checks the whole set and yields either an immutable [`Snapshot`] or every
//!    [`Problem`] with its place: a rejected set changes nothing;
//! 3. [`compatible`] says whether a running gateway can take the new set;
//! 4. workers execute the snapshot: [`Snapshot::route`] and [`Balancer`].
#![forbid(unsafe_code)]

mod balance;
mod compatible;
mod compile;
mod problem;
mod router;
pub mod rules;
mod schema;
mod snapshot;
pub mod yaml;

pub use balance::Balancer;
pub use compatible::compatible;
pub use compile::compile;
pub use problem::Problem;
pub use schema::schema;
pub use snapshot::{
    AccessLog, Attachment, Endpoint, HostMatch, Listener, ListenerId, LogTarget, Node, Port,
    RequestView, Route, RouteId, RouteMatch, Service, ServiceId, Snapshot, StaticRoute, Workers,
};
pub use yaml::{load, parse};
