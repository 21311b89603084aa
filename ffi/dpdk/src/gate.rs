//! A gate before the bursts of a port, for drivers that take a queue's memory away while it is polled.
//!
//! `net_memif` unmaps its rings in DPDK's interrupt thread when the other side ends, whether a poller is
//! inside them or not. So its pollers pass a gate, and it is shut, and empty behind it, before the driver
//! gets to know.
//!
//! A poller pays two stores to a line of its own and a load. What keeps these in order is paid by the one
//! who shuts: `membarrier(2)` makes every running thread of the process pass a full barrier. A poller whose
//! store of `inside` came before that barrier is seen and waited for; one whose store comes after it loads
//! `open` after it as well, and finds it false.

use std::sync::atomic::{AtomicBool, Ordering, compiler_fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use rustix::thread::{MembarrierCommand, membarrier};

/// How long a poller may be inside a burst between two looks at whether it still is. A burst takes
/// microseconds, unless its thread was put off its core in the middle.
const LOOK_AGAIN: Duration = Duration::from_micros(20);

/// The gate of a port; shut at first.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: AtomicBool,
    doors: Mutex<Vec<Arc<Inside>>>,
}

/// Whether the poller is inside a burst; on a cache line of its own, which only the poller writes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Inside(AtomicBool);

/// The way of one queue through its port's gate, for one thread at a time.
#[derive(Debug)]
pub(crate) struct Door {
    gate: Arc<Gate>,
    inside: Arc<Inside>,
}

/// The poller is inside, until this is dropped.
pub(crate) struct Pass<'a>(&'a AtomicBool);

impl Gate {
    /// A shut gate; an error where the kernel has no expedited `membarrier` (Linux 4.14).
    pub(crate) fn new() -> rustix::io::Result<Arc<Self>> {
        membarrier(MembarrierCommand::RegisterPrivateExpedited)?;
        Ok(Arc::default())
    }

    /// A way through it.
    pub(crate) fn door(self: &Arc<Self>) -> Door {
        let inside = Arc::new(Inside::default());
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.push(inside.clone());
        Door {
            gate: self.clone(),
            inside,
        }
    }

    /// Lets pollers pass.
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Lets nobody pass from here on, and returns when nobody is inside any more.
    pub(crate) fn shut(&self) {
        self.open.store(false, Ordering::SeqCst);
        // It was registered when the gate was made, and cannot fail since.
        let _ = membarrier(MembarrierCommand::PrivateExpedited);
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        for inside in &*doors {
            while inside.0.load(Ordering::Acquire) {
                sleep(LOOK_AGAIN);
            }
        }
    }
}

impl Door {
    /// To be called before a burst, and the pass kept for as long as it takes; `None` where the gate is
    /// shut.
    #[inline]
    pub(crate) fn pass(&mut self) -> Option<Pass<'_>> {
        let inside = &self.inside.0;
        inside.store(true, Ordering::Relaxed);
        // The processor's order is the affair of `shut`.
        compiler_fence(Ordering::SeqCst);
        let pass = Pass(inside);
        self.gate.open.load(Ordering::Acquire).then_some(pass)
    }
}

impl Drop for Pass<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use super::*;

    /// What a poller reads is taken away 300 times; it never finds it gone.
    #[test]
    fn nobody_is_inside_behind_a_shut_gate() {
        let gate = Gate::new().unwrap();
        let (there, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let passed = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..1 {
                let mut door = gate.door();
                let (there, over, passed) = (&there, &over, &passed);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        if let Some(_pass) = door.pass() {
                            for _ in 0..20 {
                                assert!(there.load(Ordering::Relaxed));
                            }
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            for _ in 0..300 {
                let before = passed.load(Ordering::Relaxed);
                there.store(true, Ordering::Relaxed);
                gate.open();
                while passed.load(Ordering::Relaxed) == before {
                    thread::yield_now();
                }
                gate.shut();
                there.store(false, Ordering::Relaxed);
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}
