//! Tail loss probes (RFC 8985 7): whether one may be sent, and what it brought.

use super::{Acknowledgement, Phase, Recovery};
use crate::tcp::scoreboard::Delivered;
use crate::tcp::send::Sender;
use crate::tcp::seq::before;

/// The tail loss probe that is under way (RFC 8985 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    None,
    /// It carried something new.
    New,
    /// It repeated the last segment.
    Again,
}

impl Recovery {
    #[inline]
    pub(crate) fn may_probe(&self) -> bool {
        self.phase == Phase::Open && self.probe == Probe::None
    }

    /// A probe was sent that ends before `end`.
    pub(crate) fn probed(&mut self, end: u32, again: bool) {
        self.probe_end = end;
        self.probe = if again { Probe::Again } else { Probe::New };
    }
}

impl Sender {
    /// RFC 8985 7.4.2: whether a probe repaired a loss that would have gone unnoticed.
    pub(super) fn end_probe(
        &mut self,
        ack: &Acknowledgement<'_>,
        advanced: bool,
        delivered: &Delivered,
    ) {
        if self.recovery.probe == Probe::None || before(ack.number, self.recovery.probe_end) {
            return;
        }
        if self.recovery.probe == Probe::Again && !delivered.duplicate {
            if ack.number == self.recovery.probe_end && advanced {
                // Which of the two arrived is told by what comes next.
                return;
            }
            if before(self.recovery.probe_end, ack.number) && self.model.is_none() {
                self.congestion.reduce(u32::from(self.segment));
                self.congestion.window = self.congestion.threshold;
                self.recovery.high = self.next;
            }
        }
        self.recovery.probe = Probe::None;
    }
}
