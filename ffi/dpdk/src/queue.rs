//! The two ends of a port's queue pair.

use std::sync::Arc;

use arrayvec::ArrayVec;
use dpdk_sys as ffi;

use crate::gate::{Direction, Door};
use crate::mbuf::Mbuf;
use crate::port::OpenDevice;

/// A receive queue, for one thread at a time. Keeps its port open.
#[derive(Debug)]
pub struct RxQueue {
    device: Arc<OpenDevice>,
    queue: u16,
    /// Where the driver may take the queue's memory away.
    door: Option<Door>,
}

/// A transmit queue, for one thread at a time. Keeps its port open.
#[derive(Debug)]
pub struct TxQueue {
    device: Arc<OpenDevice>,
    queue: u16,
    /// Where the driver may take the queue's memory away.
    door: Option<Door>,
}

impl RxQueue {
    /// # Safety
    ///
    /// The device is started, `queue` is one of its receive queues, and no other `RxQueue` has it.
    pub(crate) unsafe fn new(device: Arc<OpenDevice>, queue: u16) -> Self {
        let door = device.door(Direction::Receive, queue);
        Self {
            device,
            queue,
            door,
        }
    }

    /// Appends received frames to `into`, at most `limit` and at most as many as it has room for;
    /// returns how many.
    #[inline]
    pub fn receive<const N: usize>(&mut self, into: &mut ArrayVec<Mbuf, N>, limit: usize) -> usize {
        let _pass = match &mut self.door {
            None => None,
            Some(door) => match door.pass() {
                None => return 0,
                pass => pass,
            },
        };
        let old = into.len();
        let room = u16::try_from(limit.min(N - old)).unwrap_or(u16::MAX);
        // SAFETY: the queue is ours alone, its port started, and its memory there. Behind the elements there is room for
        // `room` pointers, and an `Mbuf` is one. The driver writes `count` of them, valid and ours alone.
        unsafe {
            let free = into.as_mut_ptr().add(old).cast();
            let count = ffi::rte_eth_rx_burst(self.device.id(), self.queue, free, room);
            into.set_len(old + usize::from(count));
            usize::from(count)
        }
    }
}

impl TxQueue {
    /// # Safety
    ///
    /// The device is started, `queue` is one of its transmit queues, and no other `TxQueue` has it.
    pub(crate) unsafe fn new(device: Arc<OpenDevice>, queue: u16) -> Self {
        let door = device.door(Direction::Transmit, queue);
        Self {
            device,
            queue,
            door,
        }
    }

    /// Whether the device's peer has no such queue, but has others. Frames can be sent by those alone then.
    #[inline]
    pub fn is_left_out(&self) -> bool {
        self.door.as_ref().is_some_and(Door::is_left_out)
    }

    /// Makes a frame ready that the device is to cut into segments: what it wants to find in the headers differs
    /// from driver to driver. False where the device can't send it.
    pub fn prepare(&mut self, frame: &mut Mbuf) -> bool {
        let _pass = match &mut self.door {
            None => None,
            Some(door) => match door.pass() {
                None => return false,
                pass => pass,
            },
        };
        let frame = std::ptr::from_mut(frame).cast();
        // SAFETY: the queue is ours alone, its port started, and its memory there. An `Mbuf` is a pointer to a
        // valid mbuf that is ours alone; drivers change headers in it and leave the pointer.
        unsafe { ffi::rte_eth_tx_prepare(self.device.id(), self.queue, frame, 1) == 1 }
    }

    /// Hands frames to the device, oldest first, as many as it takes; the others remain, in order.
    /// Returns how many it took.
    #[inline]
    pub fn send<const N: usize>(&mut self, frames: &mut ArrayVec<Mbuf, N>) -> usize {
        let _pass = match &mut self.door {
            None => None,
            Some(door) => match door.pass() {
                None => return 0,
                pass => pass,
            },
        };
        let len = frames.len();
        let count = u16::try_from(len).unwrap_or(u16::MAX);
        // SAFETY: the queue is ours alone, its port started, and its memory there. The array holds `count` valid mbuf
        // pointers. The driver owns the first `taken` from then on, so they are removed without a drop,
        // the others move to the front.
        unsafe {
            let start = frames.as_mut_ptr();
            let taken = ffi::rte_eth_tx_burst(self.device.id(), self.queue, start.cast(), count);
            let taken = usize::from(taken).min(len);
            frames.set_len(0);
            std::ptr::copy(start.add(taken), start, len - taken);
            frames.set_len(len - taken);
            taken
        }
    }
}
