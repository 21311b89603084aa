//! Where rules come from: sources that the gateway follows.
//!
//! A source lives on a control thread, reads and compiles there, and hands out immutable snapshots.
//! What it refuses changes nothing: the last good snapshot stays in force.
#![forbid(unsafe_code)]

pub mod file;
pub mod names;

use std::sync::Arc;

use sluice_policy::{Lookup, Problem, Snapshot};

/// What a source has to say when its rules changed.
#[derive(Debug)]
pub enum Update {
    /// New rules, compiled. Their generation is larger than any before from this source.
    Accepted(Arc<Snapshot>),
    /// New rules, which are compiled when names of theirs have been looked up, or when that has taken five
    /// seconds. What comes of them is told then; the rules before stay in force meanwhile.
    Waiting(Vec<Lookup>),
    /// The rules in force in other words, or in other places of the file: they stay, and so does their
    /// generation.
    Unchanged,
    /// Rules that cannot be used, and why: at least one problem. The rules before stay in force.
    Rejected(Vec<Problem>),
}
