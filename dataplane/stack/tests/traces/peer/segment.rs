//! A segment as the peer sends and reads it.

use super::ISN;

/// A segment, numbers relative to the first byte of either side.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
    pub(crate) ecn: u8,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (flags, seq, ack, window) = (self.flags, self.seq, self.ack, self.window);
        let (len, options) = (self.payload.len(), &self.options);
        write!(
            f,
            "[{flags:02x} {seq}+{len} ack {ack} window {window} {options:?}]"
        )
    }
}

impl Segment {
    pub(crate) fn len(&self) -> u32 {
        self.payload.len() as u32
    }

    /// SACK blocks.
    pub(crate) fn blocks(&self) -> Vec<(u32, u32)> {
        let Some(at) = self
            .options
            .windows(2)
            .position(|w| w[0] == 5 && w[1] % 8 == 2)
        else {
            return vec![];
        };
        let end = at + usize::from(self.options[at + 1]);
        let word = |b: &[u8]| u32::from_be_bytes(b.try_into().unwrap()).wrapping_sub(ISN + 1);
        let blocks = self.options[at + 2..end].chunks(8);
        blocks.map(|b| (word(&b[..4]), word(&b[4..]))).collect()
    }

    /// Value and echo of the timestamps.
    pub(crate) fn stamps(&self) -> Option<(u32, u32)> {
        let at = self.options.windows(2).position(|w| w == [8, 10])?;
        let word = |at: usize| u32::from_be_bytes(self.options[at..at + 4].try_into().unwrap());
        Some((word(at + 2), word(at + 6)))
    }
}
