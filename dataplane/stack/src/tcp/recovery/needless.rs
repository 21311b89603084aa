//! Repairs that were not needed: the window comes back, and nothing more is sent again.

use super::{Acknowledgement, Phase, Recovery};
use crate::tcp::congestion::Congestion;
use crate::tcp::scoreboard::Delivered;
use crate::tcp::send::Sender;
use crate::tcp::seq::{before, later};

/// New segments that may be sent to find out whether a timeout was needed (RFC 5682 2.1, step 2b).
const NEW_SEGMENTS: u8 = 2;

/// More doubtful segments than there can be.
const UNKNOWN: u32 = u32::MAX / 2;

/// What to go back to.
pub(super) struct Undo {
    congestion: Congestion,
    /// Our timestamp in the first segment that was sent again, or in an older one that was still under way.
    stamp: Option<u32>,
    /// Segments sent again that have not been reported as unneeded.
    doubtful: u32,
}

impl Undo {
    /// Before anything was sent again but what carried `stamp`.
    pub(super) fn to(congestion: Congestion, stamp: Option<u32>) -> Self {
        // What was sent again before may be reported as unneeded too, and would be taken for what is not.
        let doubtful = if stamp.is_some() { UNKNOWN } else { 0 };
        Undo {
            congestion,
            stamp,
            doubtful,
        }
    }
}

/// How far it is found out whether a timeout was needed, where timestamps do not tell (F-RTO, RFC 5682).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FRto {
    /// It is not being found out.
    No,
    /// The first segment was sent again, and nothing else: whatever it brings is waited for.
    Repaired,
    /// It was acknowledged, and not all behind it. So many new segments may go out instead of repairs.
    Asking(u8),
    /// They have. If what comes next acknowledges anything that was not sent again, that was late only;
    /// if it is a duplicate, there is a gap.
    Asked,
}

impl Recovery {
    /// What ends at `end` was sent again.
    pub(crate) fn repaired(&mut self, end: u32, stamp: u32) {
        let (first, last) = self.again.unwrap_or((stamp, end));
        self.again = Some((first, later(last, end)));
        if let Some(undo) = &mut self.undo {
            undo.stamp.get_or_insert(stamp);
            undo.doubtful += 1;
        }
    }

    /// A timeout has begun a recovery: it is to be found out whether it was needed.
    pub(crate) fn doubt(&mut self) {
        self.frto = FRto::Repaired;
    }

    /// What may be sent: `None` for anything, or so many new segments and no repair.
    #[inline]
    pub(crate) fn only_new(&self) -> Option<u8> {
        match self.frto {
            FRto::No | FRto::Repaired => None,
            FRto::Asking(segments) => Some(segments),
            FRto::Asked => Some(0),
        }
    }

    /// A new segment was sent.
    #[inline]
    pub(crate) fn sent_new(&mut self) {
        if let FRto::Asking(left) = self.frto {
            self.frto = match left {
                0 | 1 => FRto::Asked,
                _ => FRto::Asking(left - 1),
            };
        }
    }
}

impl Sender {
    /// Takes a reduction back if what was sent again had not been lost: the acknowledgement answers
    /// the first sending (RFC 3522), or all that was sent again arrived twice (RFC 3708), or what was sent
    /// after a timeout let something through that was not sent again (RFC 5682).
    pub(super) fn needless(
        &mut self,
        ack: &Acknowledgement<'_>,
        advanced: bool,
        delivered: &Delivered,
    ) -> bool {
        let Some(undo) = &mut self.recovery.undo else {
            return false;
        };
        let early = match (ack.options.timestamps, undo.stamp) {
            (Some((_, echo)), Some(stamp)) => advanced && before(echo, stamp),
            _ => false,
        };
        let all_twice = delivered.duplicate && undo.doubtful > 0 && {
            undo.doubtful -= 1;
            undo.doubtful == 0 && self.board.lost() == 0
        };
        let asked = matches!(self.recovery.frto, FRto::Asking(1) | FRto::Asked);
        let answered = asked && delivered.late;
        if !early && !all_twice && !answered {
            return false;
        }
        let window = self.congestion.window;
        self.congestion = undo.congestion;
        self.congestion.window = self.congestion.window.max(window);
        self.board.lose_nothing();
        // It took its time: what is missing may only be late.
        self.recovery.reordering = true;
        self.finish_undone();
        true
    }

    pub(super) fn finish_undone(&mut self) {
        self.recovery.phase = Phase::Open;
        self.recovery.undo = None;
        self.recovery.duplicates = 0;
        self.recovery.left = 0;
        self.recovery.frto = FRto::No;
    }

    /// RFC 5682 2.1, steps 2 and 3, after an acknowledgement that did not show the timeout to be needless.
    pub(super) fn ask_by_new_data(&mut self, advanced: bool) {
        let segment = u32::from(self.segment);
        let next = self.unsent().min(segment);
        let may = advanced && before(self.una, self.recovery.high);
        self.recovery.frto = match self.recovery.frto {
            FRto::Repaired if may && next > 0 && self.usable() >= next => {
                self.congestion.window = self.pipe() + u32::from(NEW_SEGMENTS) * segment;
                FRto::Asking(NEW_SEGMENTS)
            }
            FRto::Asking(_) | FRto::Asked => {
                self.congestion.window = self.congestion.window.min(3 * segment);
                FRto::No
            }
            _ => FRto::No,
        };
    }
}
