//! What is told of a port's steering.

use sluice_engine::stack::counters::Gauge;
use sluice_engine::stack::steering::Family;

/// By what new flows of a port are steered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// A key of ours: the device lands frames as nobody can foresee, or has fewer queues than there are
    /// workers.
    Software,
    /// The device's word, while too few connections have come to tell.
    Claimed,
    /// The device's word, and first frames land there.
    Confirmed,
    /// Where first frames were seen to land.
    Observed,
}

impl By {
    /// All, the first being that of a port before anything is known.
    pub(crate) const ALL: [By; 4] = [By::Software, By::Claimed, By::Confirmed, By::Observed];

    /// The label of the metric.
    pub(crate) fn name(self) -> &'static str {
        match self {
            By::Software => "software",
            By::Claimed => "claimed",
            By::Confirmed => "confirmed",
            By::Observed => "observed",
        }
    }

    /// What the log says when it comes to this.
    pub(super) fn decision(self) -> &'static str {
        match self {
            By::Software => {
                "first frames do not land where they were meant to, nor where anything known says; \
                 workers hand over what arrives at the wrong one"
            }
            By::Claimed | By::Confirmed => {
                "first frames land where the device's key and table say now; new connections follow them"
            }
            By::Observed => {
                "the device steers by a table that it does not tell; it was found from where first frames land, \
                 and new connections follow it"
            }
        }
    }
}

/// Why it was decided anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// What the first frames of connections say of the device.
    Device,
    /// A worker was much busier than another.
    Load,
}

/// Written by the control thread, read by the admin interface.
#[derive(Debug, Default)]
pub(crate) struct SteeringTotals {
    by: [Gauge; 2],
    /// First frames by family: those that landed elsewhere, and where they were steered to.
    firsts: [[Gauge; 2]; 2],
    changes: [Gauge; 2],
}

impl SteeringTotals {
    /// By what new flows of a family are steered.
    pub(crate) fn by(&self, family: Family) -> By {
        let number = self.by[family as usize].get() as usize;
        By::ALL.get(number).copied().unwrap_or(By::Software)
    }

    pub(super) fn set_by(&self, family: Family, by: By) {
        self.by[family as usize].set(by as u64);
    }

    /// First frames that landed where they were steered to, or elsewhere.
    pub(crate) fn firsts(&self, family: Family, as_steered: bool) -> u64 {
        self.firsts[family as usize][usize::from(as_steered)].get()
    }

    pub(super) fn count_first(&self, family: Family, as_steered: bool) {
        let total = &self.firsts[family as usize][usize::from(as_steered)];
        total.set(total.get() + 1);
    }

    /// How often it was decided anew.
    pub(crate) fn changes(&self, why: Why) -> u64 {
        self.changes[why as usize].get()
    }

    pub(super) fn count_change(&self, why: Why) {
        let changes = &self.changes[why as usize];
        changes.set(changes.get() + 1);
    }
}
