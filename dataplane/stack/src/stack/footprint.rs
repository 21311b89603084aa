//! How much memory a stack can take at most. Tables are reserved at the start and become resident as
//! they are used; what flows hold comes and goes with their bytes.

use super::{Buffers, Flow, HalfOpen, Limits, PATHS, Slot, TimeWait};
use crate::key::FlowKey;
use crate::neighbour;
use crate::tcp::pool::{self, RING_SMALLEST};
use crate::tcp::{reassembly, receive_limit, scoreboard};
use crate::time::Instant;
use crate::wheel;

/// Bytes of a ring that holds so many at most before it is lent more: a power of two, and the smaller one
/// that it grows from.
fn ring(bytes: u64) -> u64 {
    let size = bytes.next_power_of_two().max(RING_SMALLEST as u64);
    size + size / 2
}

/// Bytes of a hash table of so many entries: at most seven eighths of its places are taken, of which
/// there is a power of two.
fn hash_table(entries: u64, entry: usize) -> u64 {
    (entries * 8 / 7 + 1).next_power_of_two() * (entry as u64 + 1)
}

impl Limits {
    /// Bytes of all tables of a stack with so many ports, the buffers it keeps for later included.
    pub fn tables(&self, ports: usize) -> u64 {
        let flows = self.flows as u64;
        // Their places in the lists of the free, the ready, the touched and the settling.
        let lists = 4 * 2 * size_of::<u32>() as u64;
        let flow = (size_of::<Slot>() + wheel::PER_TIMER) as u64 + lists;
        let records = |bound: usize, value: usize| {
            let bound = bound as u64;
            let entry = size_of::<(FlowKey, Instant)>() + value;
            let order = size_of::<(Instant, FlowKey)>() as u64;
            // A table that grows is there twice.
            hash_table(bound, entry) * 3 / 2
                + (2 * bound + 1024).next_power_of_two() * order * 3 / 2
        };
        flows * flow
            + hash_table(flows, size_of::<u32>())
            + records(self.half_open, size_of::<HalfOpen>())
            + records(self.time_wait, size_of::<TimeWait>())
            + records(PATHS, size_of::<u16>())
            + ports as u64 * neighbour::MOST_BYTES
            + pool::MOST_KEPT
            + self.window_memory as u64
            // While a ring grows the smaller one is there as well, of one flow at a time.
            + pool::ring_size(self.terms().window) as u64
            + wheel::SLOTS_BYTES
    }

    /// Bytes of the tables that an idle flow takes a part of.
    pub fn idle_flow() -> usize {
        // A key has a place and a tag, and the table is half empty at worst.
        size_of::<Slot>() + wheel::PER_TIMER + 2 * (size_of::<u32>() + 1)
    }
}

impl Buffers {
    /// Bytes that a flow with these buffers can hold beside its place in the tables, full both ways and
    /// with everything it can have under way.
    pub fn most(self) -> u64 {
        let receive = u64::from(receive_limit(self, u16::MAX, 0));
        let queues = scoreboard::MOST_BYTES + reassembly::MOST_BYTES;
        ring(receive) + ring(self.send as u64) + queues
    }
}

/// A flow's part of the tables, which the size of its state decides, stays small.
const _: () = assert!(size_of::<Flow>() <= 768);
