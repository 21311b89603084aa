//! A defect of ours that one flow runs into ends that flow, and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Stack;
use crate::fate::StackEvent;
use crate::io::PacketIo;
use crate::time::Instant;

/// No flow is being worked on.
pub(super) const NOBODY: u32 = u32::MAX;

impl<P: PacketIo> Stack<P> {
    /// Does some work; false if it panicked. The flow that was being worked on ([`Stack::at`]) is reset
    /// then. The others are as they were: each is changed by itself, and what they share (lists of
    /// places, tables, spare buffers) is changed by single steps that don't panic.
    #[inline]
    pub(super) fn contained(&mut self, now: Instant, work: impl FnOnce(&mut Self)) -> bool {
        let done = catch_unwind(AssertUnwindSafe(|| work(self))).is_ok();
        if !done {
            self.end_poisoned(now);
        }
        done
    }

    /// Nothing of the flow's state is used again but its numbers.
    #[cold]
    fn end_poisoned(&mut self, now: Instant) {
        self.stats.events.count(StackEvent::Panicked);
        let place = std::mem::replace(&mut self.at, NOBODY);
        let slot = self.slots.get_mut(place as usize);
        if let Some(flow) = slot.and_then(|slot| slot.flow.as_mut()) {
            flow.tcp = flow.tcp.remains(now);
            flow.closed_at = None;
            Self::mark(&mut self.ready, &mut flow.ready, place);
            Self::mark_dirty(&mut self.dirty, &mut flow.dirty, place);
        }
    }
}

#[cfg(test)]
mod tests;
