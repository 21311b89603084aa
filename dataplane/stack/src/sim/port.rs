//! The ends of links, and the frames at them.

use std::rc::Rc;
use std::time::Duration;

use super::lane::{Lane, Outbox};
use super::{Faults, Shared, segmentation};
use crate::io::{
    IoStats, L2_MAX, PacketIo, PortCaps, RxBurst, RxChecksum, RxFrame, TxFrame, TxMeta,
};
use crate::time::Instant;

/// One end of a simulated link.
pub struct SimPort {
    pub(super) shared: Rc<Shared>,
    pub(super) inbox: Rc<Lane>,
    pub(super) outbox: Outbox,
    pub(super) caps: PortCaps,
    pub(super) stats: IoStats,
}

impl PacketIo for SimPort {
    type Rx = SimFrame;
    type Tx = SimFrame;

    fn caps(&self) -> PortCaps {
        self.caps
    }

    fn rx_burst(&mut self, into: &mut RxBurst<SimFrame>) -> usize {
        let now = self.shared.now.get();
        let mut frames = self.inbox.frames.borrow_mut();
        let before = into.len();
        while !into.is_full() && frames.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, bytes)) = frames.pop_front() else {
                break;
            };
            self.stats.rx_frames += 1;
            self.stats.rx_bytes += bytes.len() as u64;
            into.push(SimFrame::new(bytes, &self.shared));
        }
        into.len() - before
    }

    fn alloc(&mut self) -> Option<SimFrame> {
        let refuse = self.outbox.first().faults.get().no_buffer;
        if refuse > 0.0
            && self
                .shared
                .fault(self.outbox.first().rng.borrow_mut().chance(refuse))
        {
            self.stats.tx_no_buffer += 1;
            return None;
        }
        let bytes = self.shared.buffers.borrow_mut().pop().unwrap_or_default();
        Some(SimFrame::new(bytes, &self.shared))
    }

    fn alloc_large(&mut self) -> Option<SimFrame> {
        self.alloc()
    }

    fn send(&mut self, mut frame: SimFrame, meta: TxMeta) {
        self.stats.tx_frames += 1;
        self.stats.tx_bytes += frame.bytes.len() as u64;
        if self.caps.tx_segmentation == 0 {
            return self.carry(frame);
        }
        self.stats.tx_large += u64::from(meta.segment > 0);
        for packet in segmentation::cut(&mut frame.bytes, meta) {
            let packet = SimFrame::new(packet, &self.shared);
            self.carry(packet);
        }
    }

    fn flush(&mut self) {}

    fn stats(&self) -> IoStats {
        self.stats
    }
}

impl SimPort {
    /// Has the port's device fill in checksums and cut packets of up to `largest` bytes into segments.
    #[must_use]
    pub fn with_segmentation(mut self, largest: u16) -> Self {
        self.caps = PortCaps {
            tx_ipv4_checksum: true,
            tx_tcp_checksum: true,
            tx_segmentation: largest,
            ..self.caps
        };
        self
    }

    /// Puts a frame on the link.
    fn carry(&mut self, mut frame: SimFrame) {
        let bytes = std::mem::take(&mut frame.bytes);
        debug_assert!(bytes.len() <= usize::from(self.caps.mtu) + L2_MAX);
        let (faults, shared) = (self.outbox.first().faults.get(), &self.shared);
        let mut at = shared.now.get() + faults.delay;
        if faults != Faults::default() {
            match self.disturb(bytes, at, &faults) {
                Some((bytes, when)) => {
                    frame.bytes = bytes;
                    at = when;
                }
                None => return,
            }
        } else {
            frame.bytes = bytes;
        }
        let bytes = std::mem::take(&mut frame.bytes);
        if let Err(bytes) = self.outbox.lane(&bytes).put(at, bytes) {
            self.stats.tx_full += 1;
            frame.bytes = bytes;
        }
    }

    /// Applies the link's faults; the frame to deliver and when, unless it is lost.
    fn disturb(
        &self,
        mut bytes: Vec<u8>,
        mut at: Instant,
        faults: &Faults,
    ) -> Option<(Vec<u8>, Instant)> {
        let shared = &self.shared;
        let lane = self.outbox.lane(&bytes);
        let mut rng = self.outbox.first().rng.borrow_mut();
        if shared.fault(rng.chance(faults.loss)) {
            shared.buffers.borrow_mut().push(bytes);
            return None;
        }
        at = at + Duration::from_nanos(rng.below(faults.jitter.as_nanos() as u64 + 1));
        at = at
            + self
                .outbox
                .first()
                .waits(bytes.len(), faults.rate, shared.now.get());
        if shared.fault(rng.chance(faults.duplicate)) {
            let again = at + Duration::from_micros(rng.below(500));
            let _ = lane.put(again, shared.copy(&bytes));
        }
        if shared.fault(rng.chance(faults.reorder)) {
            at = at + Duration::from_micros(100 + rng.below(3_000));
        }
        if shared.fault(rng.chance(faults.corrupt)) {
            // Behind the Ethernet header: damage there is for the frame check sequence to find,
            // which is not simulated.
            let bit = 14 * 8 + rng.below((bytes.len() as u64 - 14) * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        Some((bytes, at))
    }
}

/// A frame on a simulated link; its buffer is used again.
pub struct SimFrame {
    bytes: Vec<u8>,
    shared: Rc<Shared>,
}

impl SimFrame {
    fn new(bytes: Vec<u8>, shared: &Rc<Shared>) -> Self {
        shared.in_hand.set(shared.in_hand.get() + 1);
        SimFrame {
            bytes,
            shared: shared.clone(),
        }
    }
}

impl RxFrame for SimFrame {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn checksum(&self) -> RxChecksum {
        if self.shared.checksums_good.get() {
            RxChecksum::Good
        } else {
            RxChecksum::Unknown
        }
    }
}

impl TxFrame for SimFrame {
    fn fill(&mut self, len: usize) -> &mut [u8] {
        self.bytes.resize(len, 0);
        &mut self.bytes
    }
}

impl Drop for SimFrame {
    fn drop(&mut self) {
        self.shared.in_hand.set(self.shared.in_hand.get() - 1);
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() > 0 {
            self.shared.buffers.borrow_mut().push(bytes);
        }
    }
}
