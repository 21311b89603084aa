//! Bytes to be sent that are known beforehand.

use sluice_stack::io::PacketIo;
use sluice_stack::{FlowId, Stack};

use super::pattern::Pattern;

/// Bodies up to this length are kept ready behind their head; longer ones come from the pattern.
const INLINE: u64 = 16 * 1024;

/// A head, and a body of the pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The head, and the body where it is short.
    ready: Box<[u8]>,
    /// Length of the body that is not in `ready`.
    rest: u64,
    phase: u32,
}

impl Message {
    pub(crate) fn new(mut head: Vec<u8>, body: u64, phase: u32, pattern: &Pattern) -> Self {
        let inline = body <= INLINE;
        if inline {
            head.extend_from_slice(pattern.run(phase, 0, body));
        }
        Message {
            ready: head.into(),
            rest: if inline { 0 } else { body },
            phase,
        }
    }

    /// Bytes in all.
    #[inline]
    pub(crate) fn len(&self) -> u64 {
        self.ready.len() as u64 + self.rest
    }

    /// Queues what there is room for behind the first `sent` bytes, and counts it. True once all of it
    /// is queued.
    #[inline]
    pub(crate) fn write<P: PacketIo>(
        &self,
        sent: &mut u64,
        pattern: &Pattern,
        stack: &mut Stack<P>,
        flow: FlowId,
    ) -> bool {
        if let Some(left) = self.ready.get(*sent as usize..)
            && !left.is_empty()
        {
            let written = stack.write(flow, left);
            *sent += written as u64;
            if written < left.len() {
                return false;
            }
        }
        // Each turn queues something, or it is the last one.
        while *sent < self.len() {
            let at = *sent - self.ready.len() as u64;
            let piece = pattern.run(self.phase, at, self.rest - at);
            let written = stack.write(flow, piece);
            *sent += written as u64;
            if written < piece.len() {
                return false;
            }
        }
        true
    }
}
