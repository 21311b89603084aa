//! How often something may happen.

use std::time::Duration;

use crate::rng::Rng;
use crate::time::Instant;

/// So many per second, counted in whole seconds.
#[derive(Debug)]
pub(crate) struct RateLimit {
    per_second: u32,
    left: u32,
    since: Instant,
    /// Makes the number differ from second to second.
    vary: Option<Rng>,
}

impl RateLimit {
    pub(crate) fn new(per_second: u32) -> Self {
        RateLimit {
            per_second,
            left: per_second,
            since: Instant::ZERO,
            vary: None,
        }
    }

    /// Half as many to half as many again, as chance will have it.
    pub(crate) fn varying(per_second: u32, rng: Rng) -> Self {
        RateLimit {
            vary: Some(rng),
            ..RateLimit::new(per_second)
        }
    }

    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if now.since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.left = match &mut self.vary {
                Some(rng) => self.per_second / 2 + rng.below(u64::from(self.per_second)) as u32,
                None => self.per_second,
            };
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}
