//! How rules reach the workers: a control thread offers a snapshot, each worker notices that the
//! generation changed, and what a worker no longer needs goes back to be freed where time is cheap.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crossbeam::queue::ArrayQueue;
use sluice_policy::Snapshot;
use sluice_policy::rules::ACCESS_LOG_BUFFER;

use crate::access::AccessLog;
use crate::named::{Named, Spent};
use crate::traffic::Traffic;

/// Snapshots on their way back; a worker keeps what does not fit and tries again.
const RETIRED: usize = 64;

/// The meeting point of the control threads and the workers.
#[derive(Debug)]
pub struct Handoff {
    generation: AtomicU64,
    offered: Mutex<Offer>,
    retired: ArrayQueue<Spent>,
    /// What the worker counts by; known once there is one.
    traffic: OnceLock<Arc<Traffic>>,
    access_log: AccessLog,
}

/// Rules on offer, and the worker's series for them where it is known whose they are.
#[derive(Debug, Clone)]
struct Offer {
    snapshot: Arc<Snapshot>,
    named: Option<Arc<Named>>,
}

impl Handoff {
    /// With the first rules.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        let log = snapshot.access_log.as_ref();
        Handoff {
            access_log: AccessLog::new(log.map_or(ACCESS_LOG_BUFFER as usize, |log| log.buffer)),
            generation: AtomicU64::new(snapshot.generation),
            offered: Mutex::new(Offer {
                snapshot,
                named: None,
            }),
            retired: ArrayQueue::new(RETIRED),
            traffic: OnceLock::new(),
        }
    }

    /// Offers new rules to all workers. Their generation must differ from the one offered before.
    pub fn offer(&self, snapshot: Arc<Snapshot>) {
        let generation = snapshot.generation;
        // What takes time that grows with the rules is done here, not by the worker.
        let before = self.offered().clone();
        let named = self.traffic.get().map(|traffic| {
            let before = before
                .named
                .as_deref()
                .map(|named| (&*before.snapshot, named));
            Arc::new(Named::of(&snapshot, traffic, before))
        });
        let old = std::mem::replace(&mut *self.offered(), Offer { snapshot, named });
        self.generation.store(generation, Ordering::Release);
        // These may be freed here, where nobody waits for the lock meanwhile.
        drop((old, before));
        self.free_retired();
    }

    /// The generation on offer: one relaxed load, asked for once per poll.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The rules on offer.
    pub fn current(&self) -> Arc<Snapshot> {
        self.offered().snapshot.clone()
    }

    fn offered(&self) -> MutexGuard<'_, Offer> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rules on offer with the series of the worker that counts by `traffic`, the only one that may
    /// ask.
    pub(crate) fn take(&self, traffic: &Arc<Traffic>) -> (Arc<Snapshot>, Arc<Named>) {
        let traffic = self.traffic.get_or_init(|| traffic.clone());
        let Offer { snapshot, named } = self.offered().clone();
        if let Some(named) = named {
            return (snapshot, named);
        }
        // Only the first rules come without.
        let named = Arc::new(Named::of(&snapshot, traffic, None));
        let mut offered = self.offered();
        if Arc::ptr_eq(&offered.snapshot, &snapshot) {
            offered.named = Some(named.clone());
        }
        (snapshot, named)
    }

    /// The way of records to the access log, which is there whether one is written or not.
    #[inline]
    pub fn access_log(&self) -> &AccessLog {
        &self.access_log
    }

    /// Gives back rules that a worker no longer uses; `Err` when too many wait to be freed.
    pub(crate) fn retire(&self, spent: Spent) -> Result<(), Spent> {
        self.retired.push(spent)
    }

    /// Frees what the workers gave back. To be called on a control thread now and then.
    pub fn free_retired(&self) {
        while self.retired.pop().is_some() {}
    }
}
