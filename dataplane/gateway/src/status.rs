//! What the control thread lets the other threads know.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Set by the control thread, read by the workers and the admin thread.
#[derive(Debug, Default)]
pub(crate) struct Status {
    draining: AtomicBool,
    at_once: AtomicBool,
    drained: AtomicUsize,
    aborted: AtomicUsize,
    rejected: AtomicU64,
    /// Nanoseconds.
    compiled_in: AtomicU64,
    rules: Mutex<serde_json::Value>,
    history: Mutex<serde_json::Value>,
}

impl Status {
    /// Begins to drain; there is no way back.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Has the workers stop without waiting for what is under way.
    pub(crate) fn stop_at_once(&self) {
        self.at_once.store(true, Ordering::Relaxed);
        self.drain();
    }

    /// Whether nothing is waited for.
    pub(crate) fn is_at_once(&self) -> bool {
        self.at_once.load(Ordering::Relaxed)
    }

    /// One more worker has nothing under way any more.
    pub(crate) fn count_drained(&self) {
        self.drained.fetch_add(1, Ordering::Relaxed);
    }

    /// How many workers have nothing under way any more.
    pub(crate) fn drained(&self) -> usize {
        self.drained.load(Ordering::Relaxed)
    }

    /// One more worker has ended all that was under way.
    pub(crate) fn count_aborted(&self) {
        self.aborted.fetch_add(1, Ordering::Relaxed);
    }

    /// How many workers have ended all that was under way.
    pub(crate) fn aborted(&self) -> usize {
        self.aborted.load(Ordering::Relaxed)
    }

    /// Whether the gateway stops; each worker asks once per poll.
    #[inline]
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Counts a set of rules that was refused.
    pub(crate) fn count_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets of rules refused so far.
    pub(crate) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// How long it took to read and compile the rules that are shown.
    pub(crate) fn compiled_in(&self) -> Duration {
        Duration::from_nanos(self.compiled_in.load(Ordering::Relaxed))
    }

    /// Replaces the rules that are shown, with their generation, which took so long to be read and compiled.
    pub(crate) fn show_rules(&self, rules: serde_json::Value, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.compiled_in.store(nanos, Ordering::Relaxed);
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// Replaces the history that is shown.
    pub(crate) fn show_history(&self, history: serde_json::Value) {
        *self.history.lock().unwrap_or_else(PoisonError::into_inner) = history;
    }

    /// The generations that can be gone back to.
    pub(crate) fn history(&self) -> serde_json::Value {
        self.history
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The rules in force, defaults filled in, and their generation.
    pub(crate) fn rules(&self) -> serde_json::Value {
        self.rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
