//! What time it is where the workers' clock shows an instant.
//!
//! The counter behind that clock runs up to some 0.2 % fast or slow, minutes a day, so an instant is
//! always counted back from the present: what ended a second ago is told to within 2 ms.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sluice_engine::stack::time::Instant;
use sluice_port::cycles;

use sluice_port::Clock;

/// From the epoch to the end of the year 9999.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// The workers' clock beside the wall's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wall {
    start: u64,
    hz: u64,
}

/// One reading of both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    now: Instant,
    time: SystemTime,
}

impl Wall {
    /// For workers whose clock began when the counter of `hz` cycles per second stood at `start`.
    pub(crate) fn new(start: u64, hz: u64) -> Self {
        Wall { start, hz }
    }

    /// Reads both clocks.
    pub(crate) fn read(self) -> Reading {
        Reading {
            now: Clock::new(self.start, self.hz).at(cycles()),
            time: SystemTime::now(),
        }
    }
}

impl Reading {
    /// The time at an instant.
    pub(crate) fn time(&self, at: Instant) -> SystemTime {
        let time = if at <= self.now {
            self.time.checked_sub(self.now.since(at))
        } else {
            self.time.checked_add(at.since(self.now))
        };
        // Years that RFC 3339 can write, whatever the clock was set to.
        time.unwrap_or(self.time)
            .clamp(UNIX_EPOCH, UNIX_EPOCH + LAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_counted_from_the_present() {
        let reading = Reading {
            now: Instant::from_nanos(5_000_000_000),
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000),
        };
        let seconds = |nanos| {
            let time = reading.time(Instant::from_nanos(nanos));
            let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            since.as_secs_f64()
        };
        assert_eq!(seconds(3_500_000_000), 998.5);
        assert_eq!(seconds(6_000_000_000), 1_001.0);
        let late = Reading {
            now: Instant::from_nanos(u64::MAX),
            ..reading
        };
        assert_eq!(late.time(Instant::ZERO), UNIX_EPOCH);
    }
}
