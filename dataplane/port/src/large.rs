//! Buffers for frames longer than the MTU: those that the device is to cut into TCP segments, and those that
//! it hands over with several segments of their sender in one.

use dpdk::{EalHandle, FRAME_MAX, Mbuf, Offloads, Pool, PoolConfig, PoolError};
use sluice_stack::io::L2_MAX;

/// The largest IP packet in such a frame.
const PACKET: u16 = FRAME_MAX - L2_MAX as u16;

/// What such a frame takes of a pool, in bytes: itself, headroom, mbuf header and rounding.
const FRAME: u64 = FRAME_MAX as u64 + 512;

/// Frames of a pool at least and at most. A worker has no more than a burst of 32 received ones in hand; what
/// is to be sent waits in the device's queue.
const LEAST: u64 = 32;
const MOST: u64 = 512;

/// A worker's buffers for large frames of a port; none where the device has no use for them.
#[derive(Debug, Default)]
pub(crate) struct Large {
    tx: Option<Pool>,
    rx: Option<Pool>,
}

impl Large {
    /// As many pools of `frames` as these offloads need, in memory near a NUMA node.
    pub(crate) fn new(
        eal: &EalHandle,
        offloads: Offloads,
        frames: u32,
        node: Option<u16>,
    ) -> Result<Self, PoolError> {
        let frame_size = FRAME_MAX;
        let pool = || Pool::on_node(eal, PoolConfig { frames, frame_size }, node);
        Ok(Large {
            tx: offloads.tx_segmentation.then(pool).transpose()?,
            rx: offloads.rx_large.then(pool).transpose()?,
        })
    }

    /// The largest IP packet that can be sent; 0: none.
    pub(crate) fn tx_packet(&self) -> u16 {
        self.tx.as_ref().map_or(0, |_| PACKET)
    }

    /// A buffer to send from.
    pub(crate) fn alloc(&self) -> Option<Mbuf> {
        self.tx.as_ref()?.alloc()
    }

    /// Where a received frame of so many bytes fits in one piece, if anywhere.
    pub(crate) fn pool_for<'a>(&'a self, len: usize, ordinary: &'a Pool) -> &'a Pool {
        match &self.rx {
            Some(large) if len > usize::from(ordinary.frame_size()) => large,
            _ => ordinary,
        }
    }
}

/// Frames of one of so many pairs of pools, for sending and receiving: an eighth of the memory is for them,
/// beside the half that ordinary frames have. One less than a power of two, which is what a mempool holds
/// without waste.
pub(crate) fn frames(memory: u64, pairs: usize) -> u32 {
    let share = memory / 8 / (2 * pairs.max(1) as u64) / FRAME;
    let frames = match share {
        0 => 0,
        share => 1 << share.ilog2(),
    };
    frames.clamp(LEAST, MOST) as u32 - 1
}

/// Bytes that such a pair of pools takes.
pub(crate) fn pair_bytes(memory: u64, pairs: usize) -> u64 {
    2 * (u64::from(frames(memory, pairs)) + 1) * FRAME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_take_an_eighth_of_the_memory_within_bounds() {
        assert_eq!(frames(256 << 20, 2), 63);
        assert_eq!(frames(256 << 20, 1), 127);
        assert_eq!(frames(16 << 30, 1), 511);
        assert_eq!(frames(64 << 20, 4), 31);
        assert_eq!(frames(0, 0), 31);
        let taken = u64::from(frames(256 << 20, 2) + 1) * FRAME * 4;
        assert!(taken <= 32 << 20, "{taken}");
    }
}
