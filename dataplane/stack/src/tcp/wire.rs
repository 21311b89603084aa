//! Where a flow's packets go.

use super::emit::{Outgoing, TCP_HEADER, ip_header};
use crate::counters::Counters;
use crate::fate::StackEvent;
use crate::io::{L3, PacketIo, TxMeta};
use crate::key::FlowKey;
use crate::link::Link;
use crate::neighbour::NeighbourRef;
use crate::time::Instant;

/// A port, the neighbour behind it, and the two ends.
pub(crate) struct FlowWire<'a, P: PacketIo> {
    pub(crate) link: &'a mut Link<P>,
    pub(crate) neighbour: NeighbourRef,
    pub(crate) key: FlowKey,
    pub(crate) now: Instant,
    pub(crate) events: &'a Counters<StackEvent>,
}

impl<P: PacketIo> FlowWire<'_, P> {
    /// Whether a segment can be sent now; counted when not.
    #[inline]
    pub(crate) fn has_buffer(&mut self) -> bool {
        let has = self.link.reserve();
        if !has {
            self.events.count(StackEvent::NoTxBuffer);
        }
        has
    }

    /// How many segments of so much payload, behind TCP options of `options` bytes, the device would cut out of
    /// one packet now.
    #[inline]
    pub(crate) fn segments_at_once(&mut self, payload: u16, options: u16) -> usize {
        let largest = usize::from(self.link.caps.tx_segmentation);
        if largest == 0 {
            return 1;
        }
        let headers = ip_header(self.key.is_v4()) + TCP_HEADER + usize::from(options);
        let segments = largest.saturating_sub(headers) / usize::from(payload.max(1));
        if segments > 1 && self.link.reserve_large(self.neighbour) {
            segments
        } else {
            1
        }
    }

    /// Sends a segment. Without a buffer ([`Self::has_buffer`]) it is lost.
    #[inline]
    pub(crate) fn send(&mut self, segment: &Outgoing<'_>) {
        self.send_cut(segment, 0);
    }

    /// Sends what the device is to cut into segments of so much payload, for which
    /// [`Self::segments_at_once`] has found a buffer; 0: nothing is to be cut.
    #[inline]
    pub(crate) fn send_cut(&mut self, segment: &Outgoing<'_>, payload: u16) {
        let v4 = self.key.is_v4();
        let meta = TxMeta {
            l2_len: 0, // the link's to say
            l3_len: ip_header(v4) as u8,
            l3: if v4 { L3::V4 } else { L3::V6 },
            tcp: true,
            segment: payload,
        };
        let caps = self.link.caps;
        let (key, len) = (&self.key, segment.packet_len(v4));
        let write = |packet: &mut [u8]| segment.write(key, &caps, packet);
        let _ = self
            .link
            .send_ip(self.neighbour, len, meta, self.now, self.events, write);
    }
}
