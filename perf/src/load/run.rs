//! How long a step of a run takes, and what it goes through.

use std::time::Duration;

use super::schedule::Pace;

/// A stretch of load at one pace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// When requests are sent.
    pub pace: Pace,
    /// How long load runs before anything counts.
    pub warm_up: Duration,
    /// How much counts.
    pub length: Length,
    /// Length of the intervals that are kept apart.
    pub interval: Duration,
}

/// How much of a step counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// At most this long.
    pub duration: Duration,
    /// And at most so many requests.
    pub requests: u64,
}

/// What a step goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Connections are opened ahead.
    Opening,
    /// Load that does not count yet.
    WarmUp,
    /// Load that counts.
    Measuring,
    /// Nothing is sent any more; answers that are due are waited for.
    Draining,
    /// Over.
    Done,
}

impl Stage {
    /// In a word, for lines of `--stages`.
    pub fn word(self) -> &'static str {
        match self {
            Stage::Opening => "opening",
            Stage::WarmUp => "warm-up",
            Stage::Measuring => "measuring",
            Stage::Draining => "measured",
            Stage::Done => "done",
        }
    }
}
