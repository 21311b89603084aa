//! What a flow has done so far: bytes, times, and segments sent again.

use std::time::Duration;

use crate::time::Instant;

/// The account of one flow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter {
    opened: Instant,
    /// The last segment, either way.
    pub(crate) active: Instant,
    /// Bytes of payload received, those that came more than once included.
    pub(crate) received: u64,
    /// Bytes of payload sent, each counted once.
    pub(crate) sent: u64,
    /// Segments sent again.
    pub(crate) retransmitted: u32,
}

impl Meter {
    pub(crate) fn new(now: Instant) -> Self {
        Meter {
            opened: now,
            active: now,
            received: 0,
            sent: 0,
            retransmitted: 0,
        }
    }

    /// Since the flow came about.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.since(self.opened)
    }

    /// Since the last segment, either way.
    pub(crate) fn idle(&self, now: Instant) -> Duration {
        now.since(self.active)
    }
}
