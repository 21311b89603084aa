//! TCP segments in packets (RFC 9293 3.1).

use crate::checksum;
use crate::fate::FrameFate;
use crate::key::FlowKey;
use crate::tcp::emit::{FIN, RST, SYN};

use super::{Inbound, TCP};

/// A TCP segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment<'a> {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    /// As in the header: `FIN` and its neighbours in `tcp::emit`.
    pub(crate) flags: u8,
    /// Not scaled.
    pub(crate) window: u16,
    /// A router marked it: congestion experienced (RFC 3168 5).
    pub(crate) marked: bool,
    pub(crate) options: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl Segment<'_> {
    #[inline]
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Sequence numbers it takes.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.payload.len() as u32 + u32::from(self.has(SYN)) + u32::from(self.has(FIN))
    }
}

/// The two ends of a packet, addresses as in a key.
pub(super) struct Ends {
    pub(super) port: u8,
    pub(super) from: u128,
    pub(super) to: u128,
    /// Sum of the addresses' words.
    pub(super) sum: u32,
}

#[inline]
pub(super) fn tcp(
    body: &[u8],
    ends: Ends,
    marked: bool,
    verify: bool,
) -> Result<Inbound<'_>, FrameFate> {
    let header: &[u8; 20] = body.first_chunk().ok_or(FrameFate::BadTcp)?;
    let &[
        l0,
        l1,
        r0,
        r1,
        s0,
        s1,
        s2,
        s3,
        a0,
        a1,
        a2,
        a3,
        offset,
        flags,
        w0,
        w1,
        ..,
    ] = header;
    let length = usize::from(offset >> 4) * 4;
    let (Some(options), Some(payload)) = (body.get(20..length), body.get(length..)) else {
        return Err(FrameFate::BadTcp);
    };
    if verify {
        let pseudo = ends.sum + u32::from(TCP) + body.len() as u32;
        if !checksum::is_valid(pseudo + checksum::sum(body)) {
            return Err(FrameFate::BadChecksum);
        }
    }
    let (remote, local) = (u16::from_be_bytes([l0, l1]), u16::from_be_bytes([r0, r1]));
    if remote == 0 || local == 0 {
        return Err(FrameFate::BadTcp);
    }
    // No sender makes these; answering them differently only helps to tell stacks apart.
    if (flags & (SYN | FIN | RST)).count_ones() > 1 {
        return Err(FrameFate::BadTcp);
    }
    let segment = Segment {
        seq: u32::from_be_bytes([s0, s1, s2, s3]),
        ack: u32::from_be_bytes([a0, a1, a2, a3]),
        flags,
        window: u16::from_be_bytes([w0, w1]),
        marked,
        options,
        payload,
    };
    let key = FlowKey::from_bits(ends.port, (ends.to, local), (ends.from, remote));
    Ok(Inbound::Tcp { key, segment })
}
