//! A queue pair of a DPDK port as the stack's [`PacketIo`].

use arrayvec::ArrayVec;
use dpdk::{Mbuf, Pool, PortInfo, RxQueue, TxQueue, cycles};
use sluice_stack::io::{BURST, IoStats, L2_MAX, PacketIo, PortCaps, RxBurst, TxMeta};

use crate::frame::{DpdkRx, DpdkTx};
use crate::large::Large;

/// How often a flush offers the device what it did not take at first. A device that makes room does so
/// in the course of such a call; one that does not is behind by a whole ring, and waiting would only
/// delay the frames after.
const FLUSH_ATTEMPTS: usize = 4;

/// A queue pair of a DPDK port with a buffer pool of its own, for one worker; or the pool alone, where the
/// device has fewer queues than there are workers.
#[derive(Debug)]
pub struct DpdkIo {
    queue: Option<(RxQueue, TxQueue)>,
    pool: Pool,
    /// For frames longer than the MTU, where the device sends or receives such.
    large: Large,
    caps: PortCaps,
    /// Received, on their way into the stack's burst; empty between calls.
    received: ArrayVec<Mbuf, BURST>,
    /// To be sent with the next flush.
    queued: ArrayVec<Mbuf, BURST>,
    /// Empty buffers, taken from the pool in bulk.
    spare: ArrayVec<Mbuf, BURST>,
    stats: IoStats,
}

impl DpdkIo {
    pub(crate) fn new(
        queue: Option<(RxQueue, TxQueue)>,
        pool: Pool,
        large: Large,
        info: &PortInfo,
    ) -> Self {
        let caps = PortCaps {
            mac: info.mac,
            mtu: info.mtu,
            tx_ipv4_checksum: info.offloads.tx_ipv4_checksum,
            tx_tcp_checksum: info.offloads.tx_tcp_checksum,
            tx_segmentation: large.tx_packet(),
        };
        let stats = IoStats::default();
        let (received, queued, spare) = Default::default();
        Self {
            queue,
            pool,
            large,
            caps,
            received,
            queued,
            spare,
            stats,
        }
    }

    /// Makes a frame ready to be cut into segments. What the device can't send is lost and counted, as what it
    /// does not take is.
    fn prepare(&mut self, frame: &mut Mbuf) -> bool {
        let queue = self.queue.as_mut();
        let ready = queue.is_some_and(|(_, tx)| tx.prepare(frame));
        self.stats.tx_large += u64::from(ready);
        self.stats.tx_full += u64::from(!ready);
        ready
    }

    /// Offers what is queued to the device once.
    #[inline]
    fn transmit(&mut self) {
        let Some((_, tx)) = &mut self.queue else {
            return;
        };
        let start = cycles();
        tx.send(&mut self.queued);
        self.stats.driver_cycles += cycles().wrapping_sub(start);
    }
}

impl PacketIo for DpdkIo {
    type Rx = DpdkRx;
    type Tx = DpdkTx;

    fn caps(&self) -> PortCaps {
        self.caps
    }

    #[inline]
    fn sends(&self) -> bool {
        let queue = self.queue.as_ref();
        queue.is_some_and(|(_, tx)| !tx.is_left_out())
    }

    #[inline]
    fn rx_burst(&mut self, into: &mut RxBurst<DpdkRx>) -> usize {
        let before = into.len();
        let Some((rx, _)) = &mut self.queue else {
            return 0;
        };
        let start = cycles();
        rx.receive(&mut self.received, into.remaining_capacity());
        self.stats.driver_cycles += cycles().wrapping_sub(start);
        for mbuf in self.received.drain(..) {
            let whole = if mbuf.segments() == 1 {
                mbuf
            } else {
                let pool = self.large.pool_for(mbuf.len(), &self.pool);
                let Some(whole) = mbuf.linearise(pool) else {
                    self.stats.rx_unusable += 1;
                    continue;
                };
                self.stats.rx_linearised += 1;
                whole
            };
            self.stats.rx_frames += 1;
            self.stats.rx_bytes += whole.len() as u64;
            self.stats.rx_large += u64::from(whole.len() > usize::from(self.caps.mtu) + L2_MAX);
            into.push(DpdkRx(whole)); // no more were received than there is room for
        }
        into.len() - before
    }

    #[inline]
    fn alloc(&mut self) -> Option<DpdkTx> {
        if self.spare.is_empty() {
            self.pool.alloc_bulk(&mut self.spare);
        }
        let buffer = self.spare.pop().or_else(|| self.pool.alloc());
        if buffer.is_none() {
            self.stats.tx_no_buffer += 1;
        }
        buffer.map(DpdkTx)
    }

    fn alloc_large(&mut self) -> Option<DpdkTx> {
        let buffer = self.large.alloc();
        if buffer.is_none() {
            self.stats.tx_no_large += 1;
        }
        buffer.map(DpdkTx)
    }

    #[inline]
    fn send(&mut self, frame: DpdkTx, meta: TxMeta) {
        let mut mbuf = frame.finish(meta, &self.caps);
        if meta.segment > 0 && !self.prepare(&mut mbuf) {
            return;
        }
        self.queued.push(mbuf); // never full here: it is flushed when it is
        if self.queued.is_full() {
            self.flush();
        }
    }

    #[inline]
    fn flush(&mut self) {
        if self.queued.is_empty() {
            return;
        }
        let bytes = |queued: &[Mbuf]| queued.iter().map(|mbuf| mbuf.len() as u64).sum::<u64>();
        let (frames_before, bytes_before) = (self.queued.len(), bytes(&self.queued));
        for _ in 0..FLUSH_ATTEMPTS {
            self.transmit();
            if self.queued.is_empty() {
                break;
            }
        }
        let lost = self.queued.len();
        self.stats.tx_frames += (frames_before - lost) as u64;
        self.stats.tx_bytes += bytes_before - bytes(&self.queued);
        self.stats.tx_full += lost as u64;
        self.queued.clear();
    }

    fn stats(&self) -> IoStats {
        self.stats
    }
}

#[cfg(test)]
mod tests;
