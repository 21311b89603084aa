//! Which queues of a `net_vhost` device its peer has.
//!
//! A peer may set up fewer than the device has, or give some back later. The driver takes nothing for the others, and
//! nothing comes by them. It says so by events, in a thread of its own; `rte_eth_vhost.h` has the call that tells what
//! changed. That is a function of the driver, which is a plugin: it is asked of the driver's own file, so that nothing
//! that links to this crate needs the plugin to be there.
//!
//! Memory is no concern here, as it is with memif: the driver waits for its pollers itself.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use dpdk_sys as ffi;

use crate::gate::{Direction, Door, Gate, PeerQueues};

/// The name of the driver.
const DRIVER: &CStr = c"net_vhost";

/// What changed at a queue (`rte_eth_vhost_queue_event`).
#[repr(C)]
#[derive(Debug, Default)]
struct Event {
    queue: u16,
    /// We receive by it.
    receive: bool,
    enabled: bool,
}

/// `rte_eth_vhost_get_queue_event`: the next change of a port, or less than zero when there is none.
type NextEvent = unsafe extern "C" fn(port: u16, event: *mut Event) -> c_int;

/// The events that the driver tells of.
const EVENTS: [ffi::rte_eth_event_type; 2] =
    [ffi::RTE_ETH_EVENT_QUEUE_STATE, ffi::RTE_ETH_EVENT_INTR_LSC];

/// Keeps a gate open for the queues that a port's peer has.
#[derive(Debug)]
pub(crate) struct Watch {
    port: u16,
    /// Freed when nobody calls back any more.
    watched: NonNull<Watched>,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct Watched {
    gate: Arc<Gate>,
    next_event: NextEvent,
    /// Which queues the peer has enabled, by which we receive and by which we send.
    enabled: Mutex<[Vec<bool>; 2]>,
}

impl Watch {
    /// Watches a port that is not started yet; `None` for other drivers, and where the kernel has no
    /// expedited `membarrier`.
    pub(crate) fn of(port: u16, info: &ffi::rte_eth_dev_info) -> Option<Self> {
        // SAFETY: a driver's name is a C string that lives as long as the driver.
        let is_vhost = unsafe { CStr::from_ptr(info.driver_name) } == DRIVER;
        let next_event = is_vhost.then(|| next_event(info.driver_name)).flatten()?;
        let gate = Gate::new().ok()?;
        let watched = Box::new(Watched {
            gate: gate.clone(),
            next_event,
            enabled: Mutex::default(),
        });
        let watched = NonNull::from(Box::leak(watched));
        let watch = Self {
            port,
            watched,
            gate,
        };
        for event in EVENTS {
            // SAFETY: the port is there, and what the callback is given lives until `Watch` is dropped, which
            // takes the callback back before.
            unsafe {
                ffi::rte_eth_dev_callback_register(
                    port,
                    event,
                    Some(changed),
                    watched.as_ptr().cast(),
                );
            }
        }
        Some(watch)
    }

    /// A way into the bursts of a queue.
    pub(crate) fn door(&self, direction: Direction, queue: u16) -> Door {
        self.gate.door(direction, queue)
    }

    /// The queues that both sides have; none while there is no peer.
    pub(crate) fn queues(&self) -> PeerQueues {
        self.gate.queues()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let given = self.watched.as_ptr();
        for event in EVENTS {
            // SAFETY: as it was registered; the port is closed after this. What is being called right now is said
            // to be so, and waited for: it takes no lock that is held here.
            while unsafe {
                ffi::rte_eth_dev_callback_unregister(self.port, event, Some(changed), given.cast())
            } == -libc::EAGAIN
            {
                std::thread::yield_now();
            }
        }
        // SAFETY: it came from a box, and nobody is called with it any more.
        drop(unsafe { Box::from_raw(given) });
    }
}

/// Called by the driver when a queue was enabled or disabled, and when its peer came or went.
unsafe extern "C" fn changed(
    port: u16,
    event: ffi::rte_eth_event_type,
    watched: *mut c_void,
    _: *mut c_void,
) -> c_int {
    // SAFETY: it was registered with this, which lives as long as it may be called.
    let watched = unsafe { &*watched.cast::<Watched>() };
    let mut enabled = watched
        .enabled
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if event == ffi::RTE_ETH_EVENT_INTR_LSC && !is_up(port) {
        // Queues go with their peer, and no event says so.
        enabled.iter_mut().for_each(Vec::clear);
    }
    let mut change = Event::default();
    // SAFETY: the port is there while it calls back, and `change` is laid out as `rte_eth_vhost.h` says.
    while unsafe { (watched.next_event)(port, &mut change) } == 0 {
        let queues = &mut enabled[usize::from(!change.receive)];
        let at = usize::from(change.queue);
        if queues.len() <= at {
            queues.resize(at + 1, false);
        }
        queues[at] = change.enabled;
    }
    let [receive, transmit] = enabled.each_ref().map(|queues| first_ones(queues));
    watched.gate.open(PeerQueues { receive, transmit });
    0
}

/// How many from the first on are enabled.
fn first_ones(queues: &[bool]) -> u16 {
    let count = queues.iter().take_while(|enabled| **enabled).count();
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn is_up(port: u16) -> bool {
    let (mut speed, mut up) = (0, 0);
    // SAFETY: the port is there, and both variables live for the call.
    unsafe { ffi::sluice_link_get(port, &mut speed, &mut up) == 0 && up != 0 }
}

/// The driver's function, found in the file that its name is in.
fn next_event(name: *const c_char) -> Option<NextEvent> {
    // SAFETY: `dladdr` fills in `place` for any address, and its file's name lives as long as the file is loaded,
    // which it is for as long as EAL runs. `dlopen` makes another handle of a file that is loaded and loads none; it
    // is left open.
    let symbol = unsafe {
        let mut place: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(name.cast(), &mut place) == 0 {
            return None;
        }
        let file = libc::dlopen(place.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        if file.is_null() {
            return None;
        }
        libc::dlsym(file, c"rte_eth_vhost_get_queue_event".as_ptr())
    };
    // SAFETY: the symbol of that name is this function in every release that is supported.
    (!symbol.is_null()).then(|| unsafe { std::mem::transmute::<*mut c_void, NextEvent>(symbol) })
}

#[cfg(test)]
mod tests {
    use super::first_ones;

    #[test]
    fn queues_count_from_the_first_on() {
        for (queues, count) in [
            (&[][..], 0),
            (&[true, true], 2),
            (&[true, false, true], 1),
            (&[false, true], 0),
        ] {
            assert_eq!(first_ones(queues), count);
        }
    }
}
