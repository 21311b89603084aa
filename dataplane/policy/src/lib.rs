//! Governance rules: the model, its YAML, and the compiled snapshot.
//!
//! The way of a rule, in order:
//!
//! 1. [`yaml`] reads a file into [`rules::Rules`], remembering the place of every value;
//! 2. [`compile()`] checks the whole set and yields either an immutable [`Snapshot`] or every
//!    [`Problem`] with its place: a rejected set changes nothing;
//! 3. [`compatible`] says whether a running gateway can take the new set;
//! 4. workers execute the snapshot: [`Snapshot::route`].
#![forbid(unsafe_code)]

pub mod action;
mod compatible;
mod compile;
mod diff;
mod explain;
mod lanes;
pub mod matching;
mod names;
mod problem;
mod request;
mod router;
pub mod rules;
mod schema;
mod snapshot;
mod template;
pub mod yaml;

pub use compatible::compatible;
pub use compile::{compile, compile_resolved, recompile};
pub use diff::diff;
pub use explain::{
    Because, ExplainError, Explanation, Question, Underway, explain, explain_underway,
};
pub use lanes::{Lanes, Tag, TagFrom};
pub use matching::RpcKey;
pub use names::{Lookup, Resolved, Wanted};
pub use problem::Problem;
pub use request::{HttpView, Message, RequestView, RpcView};
pub use schema::schema;
pub use snapshot::{
    AccessLog, Attachment, Endpoint, Group, HostMatch, LaneId, Listener, ListenerId, LogTarget,
    Node, Port, Protocols, Route, RouteId, RouteMatch, Service, ServiceId, Snapshot, StaticRoute,
    Tcp, WorkerCores, Workers,
};
pub use template::{Template, Values};
pub use yaml::{load, parse};
