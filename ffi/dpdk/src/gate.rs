//! A gate before the bursts of a port, for drivers that take a queue's memory away while it is polled.
//!
//! `net_memif` unmaps its rings in DPDK's interrupt thread when the other side ends, whether a poller is
//! inside them or not. So its pollers pass a gate, and it is shut, and empty behind it, before the driver
//! gets to know.
//!
//! A poller pays two stores to a line of its own and a load. What keeps these in order is paid by the one
//! who shuts: `membarrier(2)` makes every running thread of the process pass a full barrier. A poller whose
//! store of `inside` came before that barrier is seen and waited for; one whose store comes after it loads
//! `open` after it as well, and finds it zero.
//!
//! The other side may have fewer queues than the port. The driver polls those it does not have all the same,
//! at the place of the first one's ring or of one that was there before (`memif_get_ring_from_queue` of DPDK
//! 22.11 to 24.11), so the gate opens for as many queues of each direction as there are.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering, compiler_fence};
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
    open: Open,
    doors: Mutex<Vec<Arc<Inside>>>,
}

/// For how many queues of each direction it is open, the first ones; for none while it is shut.
#[derive(Debug, Default)]
struct Open {
    receive: Arc<AtomicU16>,
    transmit: Arc<AtomicU16>,
}

/// Queues of a port that its peer has as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerQueues {
    /// By which frames can come.
    pub receive: u16,
    /// By which frames can be sent.
    pub transmit: u16,
}

/// One direction of a port's queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Receive,
    Transmit,
}

/// Whether the poller is inside a burst; on a cache line of its own, which only the poller writes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Inside(AtomicBool);

/// The way of one queue through its port's gate, for one thread at a time.
#[derive(Debug)]
pub(crate) struct Door {
    /// Of its direction.
    open: Arc<AtomicU16>,
    queue: u16,
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

    /// A way through it, for a queue.
    pub(crate) fn door(&self, direction: Direction, queue: u16) -> Door {
        let inside = Arc::new(Inside::default());
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.push(inside.clone());
        let open = match direction {
            Direction::Receive => &self.open.receive,
            Direction::Transmit => &self.open.transmit,
        };
        Door {
            open: open.clone(),
            queue,
            inside,
        }
    }

    /// Lets pollers of these queues pass.
    pub(crate) fn open(&self, queues: PeerQueues) {
        let PeerQueues { receive, transmit } = queues;
        self.open.receive.store(receive, Ordering::Release);
        self.open.transmit.store(transmit, Ordering::Release);
    }

    /// For which queues it is open.
    pub(crate) fn queues(&self) -> PeerQueues {
        PeerQueues {
            receive: self.open.receive.load(Ordering::Relaxed),
            transmit: self.open.transmit.load(Ordering::Relaxed),
        }
    }

    /// Lets nobody pass from here on, and returns when nobody is inside any more.
    pub(crate) fn shut(&self) {
        self.open.receive.store(0, Ordering::SeqCst);
        self.open.transmit.store(0, Ordering::SeqCst);
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
    /// shut, or open for other queues alone.
    #[inline]
    pub(crate) fn pass(&mut self) -> Option<Pass<'_>> {
        let inside = &self.inside.0;
        inside.store(true, Ordering::Relaxed);
        // The processor's order is the affair of `shut`.
        compiler_fence(Ordering::SeqCst);
        let pass = Pass(inside);
        (self.queue < self.open.load(Ordering::Acquire)).then_some(pass)
    }

    /// Whether the gate is open for other queues, and not for this one.
    #[inline]
    pub(crate) fn is_left_out(&self) -> bool {
        (1..=self.queue).contains(&self.open.load(Ordering::Relaxed))
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

    const ONE: PeerQueues = PeerQueues {
        receive: 1,
        transmit: 1,
    };

    #[test]
    fn it_opens_for_the_queues_that_the_peer_has() {
        let gate = Gate::new().unwrap();
        let doors = |direction| [0, 1, 2].map(|queue| gate.door(direction, queue));
        let mut receive = doors(Direction::Receive);
        let mut transmit = doors(Direction::Transmit);
        let pass = |doors: &mut [Door; 3]| doors.each_mut().map(|door| door.pass().is_some());
        let left_out = |doors: &[Door; 3]| doors.each_ref().map(Door::is_left_out);
        assert_eq!(pass(&mut receive), [false; 3]);
        assert_eq!(left_out(&receive), [false; 3], "it is shut");
        let queues = PeerQueues {
            receive: 1,
            transmit: 2,
        };
        gate.open(queues);
        assert_eq!(gate.queues(), queues);
        assert_eq!(pass(&mut receive), [true, false, false]);
        assert_eq!(left_out(&receive), [false, true, true]);
        assert_eq!(pass(&mut transmit), [true, true, false]);
        assert_eq!(left_out(&transmit), [false, false, true]);
        gate.shut();
        assert_eq!(gate.queues(), PeerQueues::default());
        assert_eq!(pass(&mut transmit), [false; 3]);
    }

    /// What a poller reads is taken away 300 times; it never finds it gone.
    #[test]
    fn nobody_is_inside_behind_a_shut_gate() {
        let gate = Gate::new().unwrap();
        let (there, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let passed = AtomicU64::new(0);
        thread::scope(|scope| {
            for queue in 0..1 {
                let mut door = gate.door(Direction::Receive, queue);
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
                gate.open(ONE);
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
