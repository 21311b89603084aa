//! How rules reach the workers: a control thread offers a snapshot, each worker notices that the
//! generation changed, and what a worker no longer needs goes back to be freed where time is cheap.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::queue::ArrayQueue;
use sluice_policy::Snapshot;
use sluice_policy::rules::ACCESS_LOG_BUFFER;

use crate::access::AccessLog;

/// Snapshots on their way back; a worker keeps what does not fit and tries again.
const RETIRED: usize = 64;

/// The meeting point of the control threads and the workers.
#[derive(Debug)]
pub struct Handoff {
    generation: AtomicU64,
    offered: Mutex<Arc<Snapshot>>,
    retired: ArrayQueue<Arc<Snapshot>>,
    access_log: AccessLog,
}

impl Handoff {
    /// With the first rules.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        let log = snapshot.access_log.as_ref();
        Handoff {
            access_log: AccessLog::new(log.map_or(ACCESS_LOG_BUFFER as usize, |log| log.buffer)),
            generation: AtomicU64::new(snapshot.generation),
            offered: Mutex::new(snapshot),
            retired: ArrayQueue::new(RETIRED),
        }
    }

    /// Offers new rules to all workers. Their generation must differ from the one offered before.
    pub fn offer(&self, snapshot: Arc<Snapshot>) {
        let generation = snapshot.generation;
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        // The old one may be freed here, on the control thread.
        *offered = snapshot;
        drop(offered);
        self.generation.store(generation, Ordering::Release);
    }

    /// The generation on offer: one relaxed load, asked for once per poll.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The rules on offer.
    pub fn current(&self) -> Arc<Snapshot> {
        self.offered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The way of records to the access log, which is there whether one is written or not.
    #[inline]
    pub fn access_log(&self) -> &AccessLog {
        &self.access_log
    }

    /// Gives back a snapshot that a worker no longer uses; `Err` when too many wait to be freed.
    pub(crate) fn retire(&self, snapshot: Arc<Snapshot>) -> Result<(), Arc<Snapshot>> {
        self.retired.push(snapshot)
    }

    /// Frees what the workers gave back. To be called on a control thread now and then.
    pub fn free_retired(&self) {
        while self.retired.pop().is_some() {}
    }
}
