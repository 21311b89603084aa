//! Among many flows each frame is of one whose state is in no cache. Looking at all that a burst will
//! need before any of it is needed lets the processor wait for many lines of memory at once.

use std::hint::black_box;

use arrayvec::ArrayVec;

use super::{Owner, Stack};
use crate::frame;
use crate::io::{BURST, PacketIo, RxBurst, RxFrame};

/// From so many flows on it pays.
const CROWD: usize = 2_048;
/// Ready flows whose owners are told ahead.
const OWNERS: usize = 32;

impl<P: PacketIo> Stack<P> {
    /// Whether there are so many flows that their state is hardly ever in a cache.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.keys.len() >= CROWD
    }

    /// Fetches the state of the flows that a burst seems to be for.
    #[inline]
    pub(super) fn look_ahead(&self, port: usize, burst: &RxBurst<P::Rx>) {
        if self.is_crowded() {
            self.fetch(port as u8, burst);
        }
    }

    #[inline(never)]
    fn fetch(&self, port: u8, burst: &RxBurst<P::Rx>) {
        let l2_len = self.ports[usize::from(port)].l2_len();
        let keys: ArrayVec<_, BURST> = burst
            .iter()
            .filter_map(|frame| frame::hint(frame.bytes(), l2_len, port))
            .collect();
        let places: ArrayVec<u32, BURST> = keys
            .iter()
            .filter_map(|key| self.keys.find(&self.slots, key))
            .collect();
        self.fetch_places(&places);
    }

    /// Fetches the state of the flows at these places.
    #[inline(never)]
    pub(super) fn fetch_places(&self, places: &[u32]) {
        let mut sum = 0;
        for &place in places {
            if let Some(slot) = self.slots.get(place as usize)
                && let Some(flow) = &slot.flow
            {
                sum ^= flow.tcp.touch() ^ u64::from(flow.ready);
            }
        }
        for &place in places {
            sum ^= self.timers.touch(place);
        }
        black_box(sum);
    }

    /// The owners of the flows that are handed out next, some of them.
    pub fn next_owners(&self) -> ArrayVec<Owner, OWNERS> {
        let places = self.ready.iter().take(OWNERS);
        let flows = places.filter_map(|&place| self.slots.get(place as usize)?.flow.as_ref());
        flows.map(|flow| flow.owner).collect()
    }
}
