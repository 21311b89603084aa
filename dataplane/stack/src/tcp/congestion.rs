//! How much may be under way: slow start, left where round trips get longer (HyStart++, RFC 9406), and
//! CUBIC (RFC 9438), with an initial window of ten segments (RFC 6928). What starts and ends a recovery is `recovery`'s to say.

use std::time::Duration;

use super::seq::at_most;
use crate::time::Instant;

/// CUBIC's scaling constant and multiplicative decrease (RFC 9438 4.1, 4.6).
const C: f32 = 0.4;
const BETA: f32 = 0.7;
/// The threshold before the first loss.
const UNKNOWN: u32 = u32::MAX / 2;
/// HyStart++ (RFC 9406 4.3): what a round trip must be longer by than the one before, in nanoseconds; how
/// often it has to be measured for that; how slow and how long it is gone on.
const LEAST_SLACK: u64 = 4_000_000;
const MOST_SLACK: u64 = 16_000_000;
const SAMPLES: u8 = 8;
const CAREFUL_GROWTH: u32 = 4;
const CAREFUL_ROUNDS: u8 = 5;

/// The congestion window of one flow, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Congestion {
    pub(crate) window: u32,
    pub(crate) threshold: u32,
    /// The window, in segments, where the last loss was, and how far in time that plateau is.
    plateau: f32,
    inflection: f32,
    /// The window, in segments, that Reno would have (RFC 9438 4.3).
    reno: f32,
    /// When congestion avoidance began; `NEVER` outside of it.
    epoch: Instant,
    /// Bytes acknowledged that have not yet made the window grow.
    credit: u32,
    rounds: Rounds,
}

/// What round trips of slow start took (RFC 9406 4.2), in nanoseconds, `u64::MAX` where nothing is known.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rounds {
    /// What ends this one.
    end: u32,
    /// Measured in this one.
    samples: u8,
    /// Round trips since they got longer; 0 while they have not.
    careful: u8,
    before: u64,
    now: u64,
    /// What they took when they got longer.
    longer: u64,
}

impl Rounds {
    const NONE: Rounds = Rounds {
        end: 0,
        samples: 0,
        careful: 0,
        before: u64::MAX,
        now: u64::MAX,
        longer: u64::MAX,
    };
}

impl Congestion {
    pub(crate) fn new(segment: u32) -> Self {
        Congestion {
            window: initial(segment),
            threshold: UNKNOWN,
            plateau: 0.0,
            inflection: 0.0,
            reno: 0.0,
            epoch: Instant::NEVER,
            credit: 0,
            rounds: Rounds::NONE,
        }
    }

    #[inline]
    pub(crate) fn in_slow_start(&self) -> bool {
        self.window < self.threshold
    }

    /// `acked` bytes were acknowledged while the window was in the way of sending more.
    pub(crate) fn acknowledged(&mut self, acked: u32, segment: u32, rtt: Duration, now: Instant) {
        let mut acked = acked;
        if self.in_slow_start() {
            let pace = if self.rounds.careful > 0 {
                CAREFUL_GROWTH
            } else {
                1
            };
            let growth = (acked / pace).min(self.threshold - self.window);
            self.window += growth;
            if growth * pace + pace > acked {
                return;
            }
            acked -= growth * pace;
        }
        self.avoid(acked, segment, rtt, now);
    }

    /// An acknowledgement of everything before `una` in slow start, which may have measured a round trip
    /// in nanoseconds: round trips that get longer show a queue that fills, long before it overflows
    /// (RFC 9406 4.2). The first slow start goes on a quarter as fast, and ends if they stay so.
    pub(crate) fn look_ahead(&mut self, rtt: Option<u64>, una: u32, next: u32) {
        if self.threshold != UNKNOWN {
            return;
        }
        let rounds = &mut self.rounds;
        if rounds.before == u64::MAX && rounds.now == u64::MAX {
            rounds.end = next;
        }
        if let Some(rtt) = rtt {
            rounds.now = rounds.now.min(rtt);
            rounds.samples = rounds.samples.saturating_add(1);
        }
        if rounds.samples >= SAMPLES && rounds.before != u64::MAX {
            let slack = (rounds.before / 8).clamp(LEAST_SLACK, MOST_SLACK);
            if rounds.careful == 0 && rounds.now >= rounds.before.saturating_add(slack) {
                (rounds.careful, rounds.longer) = (1, rounds.now);
            } else if rounds.careful > 0 && rounds.now < rounds.longer {
                rounds.careful = 0;
            }
        }
        if at_most(rounds.end, una) {
            let careful = rounds.careful;
            *rounds = Rounds {
                end: next,
                samples: 0,
                careful: careful + u8::from(careful > 0),
                before: rounds.now,
                now: u64::MAX,
                longer: rounds.longer,
            };
            if careful >= CAREFUL_ROUNDS {
                self.threshold = self.window;
                self.rounds = Rounds::NONE;
            }
        }
    }

    /// Congestion avoidance (RFC 9438 4.2 to 4.5).
    fn avoid(&mut self, acked: u32, segment: u32, rtt: Duration, now: Instant) {
        let segments = self.window as f32 / segment as f32;
        if self.epoch == Instant::NEVER {
            self.epoch = now;
            self.reno = segments;
            if self.plateau < segments {
                self.plateau = segments;
                self.inflection = 0.0;
            } else {
                self.inflection = ((self.plateau - segments) / C).cbrt();
            }
        }
        let alpha = if self.reno < self.plateau {
            3.0 * (1.0 - BETA) / (1.0 + BETA)
        } else {
            1.0
        };
        self.reno += alpha * (acked as f32 / segment as f32) / segments;
        let ahead = (now.since(self.epoch) + rtt).as_secs_f32() - self.inflection;
        let cubic = C * ahead * ahead * ahead + self.plateau;
        // At most half as much again in one round trip (RFC 9438 4.4).
        let target = cubic.max(self.reno).clamp(segments, 1.5 * segments);
        self.credit = self.credit.saturating_add(acked);
        let growth = (self.credit as f32 * (target - segments) / segments) as u32;
        if growth > 0 {
            self.window = self.window.saturating_add(growth).min(1 << 30);
            self.credit = 0;
        }
    }

    /// A loss, or a mark of congestion: where the window is to end up. It is left as it is; the
    /// recovery brings it down.
    pub(crate) fn reduce(&mut self, segment: u32) {
        let segments = self.window as f32 / segment as f32;
        // Fast convergence (RFC 9438 4.7).
        self.plateau = if segments < self.plateau {
            segments * (1.0 + BETA) / 2.0
        } else {
            segments
        };
        self.epoch = Instant::NEVER;
        self.credit = 0;
        self.rounds = Rounds::NONE;
        self.threshold = ((self.window as f32 * BETA) as u32).max(2 * segment);
    }

    /// Nothing was sent for longer than the retransmission timeout: what the path can take is no
    /// longer known (RFC 5681 4.1).
    pub(crate) fn restart(&mut self, segment: u32) {
        self.threshold = self.threshold.max(self.window / 4 * 3);
        self.window = self.window.min(initial(segment));
        self.epoch = Instant::NEVER;
    }
}

/// RFC 6928 2.
fn initial(segment: u32) -> u32 {
    (10 * segment).min((2 * segment).max(14_600))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;
    /// So long that Reno would take longer than CUBIC.
    const RTT: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn slow_start_doubles_per_round_trip_and_stops_at_the_threshold() {
        let mut c = Congestion::new(MSS);
        assert_eq!(c.window, 10 * MSS);
        for _ in 0..10 {
            c.acknowledged(MSS, MSS, RTT, at(20));
        }
        assert_eq!(c.window, 20 * MSS);
        c.reduce(MSS);
        assert_eq!(c.threshold, 14 * MSS);
        assert_eq!(Congestion::new(9000).window, 18_000, "two jumbo segments");
    }

    #[test]
    fn after_a_loss_it_comes_back_to_the_plateau_and_goes_beyond() {
        let mut c = Congestion::new(MSS);
        c.window = 100 * MSS;
        c.reduce(MSS);
        c.window = c.threshold;
        assert_eq!(c.window, 70 * MSS);
        // The plateau is reached after cbrt(30 / 0.4) = 4.2 s.
        let (mut now, mut at_plateau) = (0, 0);
        while now < 8_000 {
            for _ in 0..c.window / MSS {
                c.acknowledged(MSS, MSS, RTT, at(now));
            }
            now += 100;
            if c.window < 99 * MSS {
                at_plateau = now;
            }
        }
        assert!((2_000..4_500).contains(&at_plateau), "at {at_plateau} ms");
        assert!(c.window > 110 * MSS, "{}", c.window);
    }

    #[test]
    fn a_second_loss_below_the_plateau_gives_room_to_others() {
        let mut c = Congestion::new(MSS);
        c.window = 100 * MSS;
        c.reduce(MSS);
        c.window = 80 * MSS;
        c.reduce(MSS);
        assert_eq!((c.plateau, c.threshold), (68.0, 56 * MSS));
    }
}
