//! What is kept of a connection whose handshake is under way: enough to answer its SYN again, and to
//! make a flow of it when the ACK comes.

use crate::frame::Segment;
use crate::isn::Start;
use crate::stack::Buffers;
use crate::tcp::emit::{ACK, CWR, ECE, Outgoing, SYN};
use crate::tcp::options::{OptionBytes, Options};
use crate::tcp::{own_mss, receive_limit, scale, stamp};
use crate::time::Instant;

/// A client's SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syn {
    /// Where we start.
    pub(crate) start: Start,
    pub(crate) seq: u32,
    pub(crate) window: u16,
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack: bool,
    /// The client's, if it uses timestamps.
    pub(crate) timestamp: Option<u32>,
    /// It can do ECN (RFC 3168 6.1.1).
    pub(crate) ecn: bool,
}

impl Syn {
    /// Reads a SYN; `None` when its options are malformed.
    pub(crate) fn read(segment: &Segment<'_>, start: Start) -> Option<Syn> {
        let options = Options::read(segment.options).ok()?;
        Some(Syn {
            start,
            seq: segment.seq,
            window: segment.window,
            mss: options.mss,
            window_scale: options.window_scale,
            sack: options.sack_permitted,
            timestamp: options.timestamps.map(|(value, _)| value),
            ecn: segment.has(ECE) && segment.has(CWR),
        })
    }

    /// The SYN-ACK.
    pub(crate) fn answer(
        &self,
        buffers: Buffers,
        window: u32,
        v4: bool,
        mtu: u16,
        now: Instant,
    ) -> Outgoing<'static> {
        let mss = own_mss(v4, mtu);
        // What a SYN does not say is not answered, so that the answer is no longer than the question: a
        // forged one gets nobody more bytes than it took. The client then sends segments of 536 bytes, or
        // 1,220 (RFC 9293 3.7.1).
        let told = self.mss.map(|_| mss);
        let receive = receive_limit(buffers, mss, window);
        let window_scale = self.window_scale.map(|_| scale(receive.max(window)));
        let stamps = self
            .timestamp
            .map(|theirs| (stamp(now, self.start.timestamps), theirs));
        let ecn = if self.ecn { ECE } else { 0 };
        Outgoing {
            window: receive.min(u32::from(u16::MAX)) as u16,
            options: OptionBytes::syn(told, window_scale, self.sack, stamps),
            ..Outgoing::bare(SYN | ACK | ecn, self.start.isn, self.seq.wrapping_add(1))
        }
    }
}
