//! How rules reach the workers: a control thread offers a snapshot, each worker notices that the
//! generation changed, and what a worker no longer needs goes back to be freed where time is cheap.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

use crossbeam::queue::ArrayQueue;
use sluice_policy::Snapshot;
use sluice_policy::rules::ACCESS_LOG_BUFFER;

use crate::access::AccessLog;
use crate::named::Named;
use crate::numbering::{Changes, Numbering};
use crate::pool::Pool;
use crate::traffic::Traffic;

/// Rules on their way back. A worker has fewer at a time, and what came back is freed with every offer.
const RETIRED: usize = 128;
/// Pools on their way back.
const RETIRED_POOLS: usize = 1024;

/// The meeting point of the control threads and the workers.
#[derive(Debug)]
pub struct Handoff {
    generation: AtomicU64,
    offered: Mutex<Offer>,
    /// Held while rules are offered; no worker waits for it once it runs.
    numbering: Mutex<Numbering>,
    retired: ArrayQueue<Spent>,
    retired_pools: ArrayQueue<Box<Pool>>,
    /// What the worker counts by; known once there is one.
    traffic: OnceLock<Arc<Traffic>>,
    access_log: AccessLog,
}

/// A snapshot, and what the worker has for it.
pub(crate) type Rules = (Arc<Snapshot>, Arc<Named>);

/// What a worker takes up.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) rules: Rules,
    pub(crate) changes: Changes,
}

/// What a worker no longer needs of a set of rules, to be freed elsewhere.
#[derive(Debug)]
pub(crate) struct Spent {
    pub(crate) _rules: Rules,
    /// Nothing is left to be done of it but to be freed.
    pub(crate) _changes: Changes,
}

/// Rules on offer.
#[derive(Debug)]
struct Offer {
    snapshot: Arc<Snapshot>,
    /// What the worker has for them, once it is known whose they are.
    named: Option<Arc<Named>>,
    /// What gets the worker there from the rules that it took up last; `None` once it has them.
    changes: Option<Changes>,
    /// The rules that it took up last, if these are not those.
    before: Option<Rules>,
}

impl Offer {
    /// The rules that the worker took up last.
    fn taken(&self) -> Option<Rules> {
        match (&self.changes, &self.named) {
            (None, Some(named)) => Some((self.snapshot.clone(), named.clone())),
            _ => self.before.clone(),
        }
    }
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
                changes: None,
                before: None,
            }),
            numbering: Mutex::default(),
            retired: ArrayQueue::new(RETIRED),
            retired_pools: ArrayQueue::new(RETIRED_POOLS),
            traffic: OnceLock::new(),
        }
    }

    /// Offers new rules to all workers. Their generation must differ from the one offered before.
    ///
    /// What takes time that grows with the rules is done here, not by the worker: it gets the difference
    /// to the rules that it has.
    pub fn offer(&self, snapshot: Arc<Snapshot>) {
        let mut numbering = lock(&self.numbering);
        self.free_retired();
        let generation = snapshot.generation;
        let Some(traffic) = self.traffic.get() else {
            let mut offered = lock(&self.offered);
            let old = std::mem::replace(&mut offered.snapshot, snapshot);
            drop(offered);
            drop(old);
            return self.generation.store(generation, Ordering::Release);
        };
        let (on_offer, named) = {
            let offered = lock(&self.offered);
            (offered.snapshot.clone(), offered.named.clone())
        };
        let before = named.as_deref().map(|named| (&*on_offer, named));
        let named = Arc::new(Named::of(&snapshot, traffic, before, &mut numbering));
        if let Some(before) = before {
            numbering.offered(before, (&snapshot, &named));
        }
        let replaced = self.replace((snapshot, named), &numbering);
        self.generation.store(generation, Ordering::Release);
        // This may be freed here, where nobody waits for a lock meanwhile.
        drop(replaced);
        drop(on_offer);
    }

    /// Puts rules on offer; gives back those that were.
    fn replace(&self, rules: Rules, numbering: &Numbering) -> Offer {
        let mut taken = lock(&self.offered).taken();
        loop {
            let old = taken.as_ref().map(|(old, named)| (&**old, &**named));
            let changes = numbering.changes(old, (&rules.0, &rules.1));
            let mut offered = lock(&self.offered);
            let now = offered.taken();
            let same = match (&now, &taken) {
                (Some((now, _)), Some((then, _))) => Arc::ptr_eq(now, then),
                (now, then) => now.is_none() && then.is_none(),
            };
            if same {
                let offer = Offer {
                    snapshot: rules.0,
                    named: Some(rules.1),
                    changes: Some(changes),
                    before: taken,
                };
                return std::mem::replace(&mut *offered, offer);
            }
            // The worker took up what was on offer meanwhile.
            taken = now;
        }
    }

    /// The generation on offer: one relaxed load, asked for once per poll.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The rules on offer.
    pub fn current(&self) -> Arc<Snapshot> {
        lock(&self.offered).snapshot.clone()
    }

    /// The rules on offer for the worker that counts by `traffic`, the only one that may ask: at its
    /// start, for it may wait for a lock.
    pub(crate) fn begin(&self, traffic: &Arc<Traffic>) -> Taken {
        let mut numbering = lock(&self.numbering);
        let traffic = self.traffic.get_or_init(|| traffic.clone());
        let snapshot = self.current();
        let named = Arc::new(Named::of(&snapshot, traffic, None, &mut numbering));
        let changes = numbering.changes(None, (&snapshot, &named));
        // Nothing is offered while the numbering is held.
        let mut offered = lock(&self.offered);
        offered.named = Some(named.clone());
        Taken {
            rules: (snapshot, named),
            changes,
        }
    }

    /// The rules on offer for the worker, if it has not taken them. `None` as well while a control thread
    /// is about to change them.
    pub(crate) fn take(&self) -> Option<Taken> {
        let mut offered = match self.offered.try_lock() {
            Ok(offered) => offered,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let changes = offered.changes.take()?;
        let named = offered.named.clone()?;
        Some(Taken {
            rules: (offered.snapshot.clone(), named),
            changes,
        })
    }

    /// The way of records to the access log, which is there whether one is written or not.
    #[inline]
    pub fn access_log(&self) -> &AccessLog {
        &self.access_log
    }

    /// Gives back rules that a worker no longer uses.
    pub(crate) fn retire(&self, spent: Spent) {
        // Freed here only if the way back is full, which it can't be: slow then, never lost.
        drop(self.retired.push(spent));
    }

    /// Gives back a pool that a worker no longer uses.
    pub(crate) fn retire_pool(&self, pool: Box<Pool>) {
        // As it is small, it may as well be freed here when many come at a time.
        drop(self.retired_pools.push(pool));
    }

    /// Frees what the workers gave back. To be called on a control thread now and then.
    pub fn free_retired(&self) {
        while self.retired.pop().is_some() {}
        while self.retired_pools.pop().is_some() {}
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
