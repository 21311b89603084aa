//! What is taken for lost: by RACK (RFC 8985) where the peer says what has arrived, by counting duplicates
//! (RFC 6582) where it does not.

use super::{Acknowledgement, PERSIST, Phase};
use crate::tcp::send::Sender;
use crate::tcp::seq::{at_most, before};
use crate::time::Instant;

/// Duplicates, or segments that overtook, that mean a loss (RFC 5681 3.2).
const DUPLICATES: u32 = 3;

impl Sender {
    /// Something was sent again that had arrived: what is missing gets more time (RFC 8985 6.2 step 4).
    pub(super) fn be_patient(&mut self) {
        let recovery = &mut self.recovery;
        recovery.persist = PERSIST;
        if at_most(recovery.needless_round, self.una) {
            recovery.quarters = recovery.quarters.saturating_add(1);
            recovery.needless_round = self.next;
        }
    }

    /// Without SACK: what duplicates say has arrived (RFC 5681 3.2, RFC 6582).
    pub(super) fn count_duplicates(
        &mut self,
        ack: &Acknowledgement<'_>,
        advanced: bool,
        bytes: u32,
    ) -> u32 {
        let segment = u32::from(self.segment);
        let recovery = &mut self.recovery;
        if advanced {
            let before = recovery.left;
            recovery.left = before.saturating_sub(bytes.saturating_sub(segment));
            recovery.duplicates = 0;
            if self.una == self.next {
                recovery.left = 0;
            }
            return 0;
        }
        if !ack.plain || self.board.len() == 0 {
            return 0;
        }
        recovery.duplicates += 1;
        let most = self.next.wrapping_sub(self.una).saturating_sub(segment);
        let left = (recovery.left + segment).min(most.saturating_sub(self.board.lost()));
        let arrived = left.saturating_sub(recovery.left);
        recovery.left = recovery.left.max(left);
        arrived
    }

    /// True when something is taken for lost that was not before.
    pub(crate) fn find_lost(&mut self, sack: bool, advanced: bool, now: Instant) -> bool {
        self.recovery.look_again = Instant::NEVER;
        if self.una == self.next {
            return false;
        }
        let fast = self.recovery.phase == Phase::Fast;
        if !sack {
            let partial = fast && advanced && before(self.una, self.recovery.high);
            let enough =
                self.recovery.phase == Phase::Open && self.recovery.duplicates >= DUPLICATES;
            return (partial || enough) && self.board.lose_first() > 0;
        }
        if self.board.arrivals() == 0 && self.recovery.phase == Phase::Open {
            return false;
        }
        // RFC 8985 6.2 step 4.
        let certain = !self.recovery.reordering
            && (self.recovery.phase != Phase::Open || self.board.arrivals() >= DUPLICATES);
        let quarters = u64::from(self.recovery.quarters) * self.rtt.least() / 4;
        let slack = match certain {
            true => 0,
            false => quarters.min(self.rtt.smoothed().unwrap_or(0)),
        };
        let patience = self.recovery.newest_rtt + slack;
        let (found, look_again) = self.board.find_lost(self.recovery.newest, patience, now);
        self.recovery.look_again = look_again.unwrap_or(Instant::NEVER);
        found > 0
    }
}
