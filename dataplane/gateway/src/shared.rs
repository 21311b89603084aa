//! What each worker shares with the threads beside it.

use std::sync::Arc;

use sluice_engine::{Handoff, Inspection, WorkerStats};
use sluice_policy::Snapshot;

use crate::loop_stats::LoopStats;

/// One worker as the control threads see it. No two workers write to the same of these.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// Where its rules come from.
    pub(crate) handoff: Arc<Handoff>,
    /// What its engine counts.
    pub(crate) stats: Arc<WorkerStats>,
    /// What its loop counts.
    pub(crate) loop_stats: Arc<LoopStats>,
    /// Where it is asked about its traffic.
    pub(crate) inspection: Arc<Inspection>,
}

impl Shared {
    /// For a worker that begins with these rules.
    pub(crate) fn new(rules: &Arc<Snapshot>) -> Self {
        Shared {
            handoff: Arc::new(Handoff::new(rules.clone())),
            stats: Arc::new(WorkerStats::new(rules.ports.len())),
            loop_stats: Arc::default(),
            inspection: Arc::default(),
        }
    }
}
