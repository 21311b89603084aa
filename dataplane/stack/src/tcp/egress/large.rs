//! Segments that are due together, as one frame for a device that cuts it into segments itself.
//!
//! What is sent when is decided segment by segment, as without such a device, and each segment has its place on
//! the scoreboard: losses, round trips, windows and pacing know nothing of large frames. What is sent again goes
//! by itself.

use super::super::emit::{ACK, FIN, Outgoing, PSH};
use super::super::pool::Pool;
use super::super::send::Next;
use super::super::wire::FlowWire;
use super::{Run, Tcp};
use crate::io::PacketIo;
use crate::time::Instant;

impl Tcp {
    /// Sends the segment that is next, and with it those that may follow at once, `most` in all, where the
    /// device takes them together.
    #[inline]
    pub(super) fn send_run<P: PacketIo>(
        &mut self,
        next: Next,
        most: usize,
        wire: &mut FlowWire<'_, P>,
        pool: &mut Pool,
    ) -> Run {
        let last = matches!(next, Next::New { last: true, .. });
        if wire.link.caps.tx_segmentation > 0 && !last && matches!(next, Next::New { .. }) {
            // What has to be said once only would be said by all of them, or not, as the device has it.
            let once = self.reduced;
            let most = most.min(wire.segments_at_once(self.send.segment, self.overhead()));
            if most > 1 && !once {
                return self.send_large(next, most, wire, pool);
            }
        }
        self.send_segment(next, wire, pool);
        Run { segments: 1, last }
    }

    fn send_large<P: PacketIo>(
        &mut self,
        first: Next,
        most: usize,
        wire: &mut FlowWire<'_, P>,
        pool: &mut Pool,
    ) -> Run {
        let (now, seq, segment) = (wire.now, self.send.next, self.send.segment);
        let (mut segments, mut all, mut flags) = (0, 0, ACK | self.echo());
        let mut next = first;
        let mut ends = false;
        while let Next::New { len, fin, last } = next {
            self.send.sent_new(len + u32::from(fin), fin, now, pool);
            self.meter.sent += u64::from(len);
            segments += 1;
            all += len;
            ends = last;
            if fin {
                flags |= FIN;
            }
            let goes_on = !last && len == u32::from(segment) && segments < most;
            if !goes_on || self.send.paced(now) != Instant::NEVER {
                break;
            }
            next = self.send.plan();
        }
        if ends {
            flags |= PSH;
        }
        let window = self.receive.offer();
        let offset = seq.wrapping_sub(self.send.una) as usize;
        let out = Outgoing {
            seq,
            ack: self.receive.next,
            flags,
            window,
            markable: self.ecn,
            options: self.stamps(self.stamp(now)),
            payload: self.send.ring.slices(offset, all as usize),
        };
        wire.send_cut(&out, if segments > 1 { segment } else { 0 });
        self.meter.active = now;
        Run {
            segments,
            last: ends,
        }
    }
}
