//! Sending as fast as the path was seen to deliver, whether it loses or not: BBR (Cardwell, Cheng, Gunn,
//! Yeganeh, Jacobson: "BBR: Congestion-Based Congestion Control", ACM Queue 2016, and
//! draft-cardwell-iccrg-bbr-congestion-control-00, whose names are in brackets). With each acknowledgement it
//! measures how much arrived since the segment was sent that it is about
//! (draft-cheng-iccrg-delivery-rate-estimation-00); the most of the last ten round trips, and the shortest
//! of the last ten seconds, say how much fits into the path and how fast to put it there.
//!
//! A flow has a model once its initial window was in the way: short ones do without.

use std::time::Duration;

use super::seq::at_most;
use crate::time::Instant;

/// Gains are in parts of this.
const ONE: u64 = 256;
/// 2 / ln 2: doubles the rate in each round trip (BBRHighGain), and its inverse.
const HIGH: u64 = 739;
const DRAIN: u64 = 89;
/// One round trip a quarter faster, one to drain what that has queued, six as fast as the path is
/// (BBRPacingGain).
const CYCLE: [u64; 8] = [320, 192, ONE, ONE, ONE, ONE, ONE, ONE];
/// The window is twice what fits into the path, for acknowledgements that come late (BBRCWNDGain).
const WINDOW: u64 = 2 * ONE;
/// Round trips that a rate is remembered for (BtlBwFilterLen), and that may bring nothing new before the
/// path is taken for full.
const ROUNDS: usize = 10;
/// What is more than the path holds is queued (BBRFullBwThresh).
const FULL: u64 = 320;
const FULL_ROUNDS: u8 = 3;
/// How long a shortest round trip is believed (RTpropFilterLen), and how long the path is then left all
/// but empty to measure it again (ProbeRTTDuration).
const BELIEVED: Duration = Duration::from_secs(10);
const EMPTY: Duration = Duration::from_millis(200);
/// Timers are late by up to a millisecond, and polls by what others take: so much may be made up for.
const LATE: u64 = 2_000_000;
/// Segments under way at least.
const LEAST: u32 = 4;
const SECOND: u128 = 1_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Doubles the rate until that brings nothing.
    Startup,
    /// What that has queued goes.
    Drain,
    /// At this place of the cycle.
    Cruise(u8),
    /// All but nothing is under way.
    Empty(Instant),
}

/// What is known of a path.
#[derive(Debug)]
pub(crate) struct Model {
    mode: Mode,
    /// The most bytes per second that were measured in each of the last rounds, the place of this one, and
    /// the most of them.
    rates: [u64; ROUNDS],
    place: usize,
    rate: u64,
    /// The shortest round trip in nanoseconds, and when it was seen.
    shortest: u64,
    shortest_at: Instant,
    /// When this round began.
    round_at: Instant,
    /// What was sent before so much had arrived went out slower than it might have: there was too little.
    idle_until: Option<u32>,
    /// The rate that was last a quarter beyond the one before, and rounds since.
    full_rate: u64,
    full_rounds: u8,
    /// When this place of the cycle was come to.
    since: Instant,
    /// When the next segment may go.
    next_at: Instant,
}

/// What an acknowledgement has to say to a model.
pub(crate) struct Arrival {
    /// Bytes that it says have arrived.
    pub(crate) bytes: u32,
    /// When the segment was sent that arrived last of those sent.
    pub(crate) sent_at: Instant,
    /// What had arrived when the segment was sent that this is about, how many nanoseconds ago that was, and
    /// what has arrived by now; `None` where that is not sure.
    pub(crate) sample: Option<(u32, u64, u32)>,
    /// The round trip, if it was measured, in nanoseconds.
    pub(crate) rtt: Option<u64>,
    /// Bytes under way.
    pub(crate) pipe: u32,
    pub(crate) segment: u32,
    pub(crate) now: Instant,
}

impl Model {
    /// Of a path whose round trip took `rtt` nanoseconds.
    pub(crate) fn new(rtt: u64, now: Instant) -> Self {
        Model {
            mode: Mode::Startup,
            rates: [0; ROUNDS],
            place: 0,
            rate: 0,
            shortest: rtt.max(1),
            shortest_at: now,
            round_at: now,
            idle_until: None,
            full_rate: 0,
            full_rounds: 0,
            since: now,
            next_at: now,
        }
    }

    /// There is nothing to be sent, with `pipe` bytes under way and so many `delivered`: what these bring
    /// says little of the path. Unless they fill it already, as they do where a full buffer waits for
    /// acknowledgements.
    #[inline]
    pub(crate) fn has_nothing(&mut self, pipe: u32, delivered: u32) {
        if u64::from(pipe) < self.fits(FULL) {
            self.idle_until = Some(delivered.wrapping_add(pipe));
        }
    }

    /// When the next segment may go.
    #[inline]
    pub(crate) fn next_at(&self) -> Instant {
        self.next_at
    }

    /// A segment went, with its headers.
    pub(crate) fn sent(&mut self, bytes: u32, now: Instant) {
        let gain = match self.mode {
            Mode::Startup => HIGH,
            Mode::Drain => DRAIN,
            Mode::Cruise(place) => CYCLE[usize::from(place) % CYCLE.len()],
            Mode::Empty(_) => ONE,
        };
        if self.rate == 0 {
            return;
        }
        let takes = u128::from(bytes) * SECOND * u128::from(ONE) / u128::from(self.rate * gain);
        let earliest = Instant::from_nanos(now.as_nanos().saturating_sub(LATE));
        self.next_at = self.next_at.max(earliest).plus_nanos(takes as u64);
    }

    /// Takes in what has arrived; returns what the window becomes that is `window` now.
    pub(crate) fn arrived(&mut self, arrival: &Arrival, window: u32) -> u32 {
        let now = arrival.now;
        let idle = self.sample(arrival);
        if let Some(rtt) = arrival.rtt.filter(|&rtt| rtt <= self.shortest) {
            (self.shortest, self.shortest_at) = (rtt.max(1), now);
        }
        // A segment that was sent in this round has arrived: the next one begins.
        if arrival.sent_at >= self.round_at && now > self.round_at {
            self.end_round(idle, now);
        }
        self.change_mode(arrival);
        self.window(arrival, window)
    }

    /// Measures how fast it arrives; true where that is less than it might be, for want of data.
    fn sample(&mut self, arrival: &Arrival) -> bool {
        let Some((before, took, by_now)) = arrival.sample else {
            return self.idle_until.is_some();
        };
        self.idle_until = self.idle_until.filter(|&until| !at_most(until, before));
        // What arrives sooner than anything can answers an earlier sending.
        if took < self.shortest {
            return self.idle_until.is_some();
        }
        let arrived = by_now.wrapping_sub(before);
        let rate = (u128::from(arrived) * SECOND / u128::from(took)) as u64;
        if self.idle_until.is_none() || rate >= self.rate {
            let most = &mut self.rates[self.place % ROUNDS];
            *most = rate.max(*most);
            self.rate = self.rate.max(rate);
        }
        self.idle_until.is_some()
    }

    fn end_round(&mut self, idle: bool, now: Instant) {
        // A round that measured nothing makes nothing forgotten.
        if self.rates[self.place % ROUNDS] > 0 {
            self.place = (self.place + 1) % ROUNDS;
            self.rate = self.rates.iter().copied().max().unwrap_or(0);
            self.rates[self.place] = 0;
        }
        if self.mode == Mode::Startup && !idle {
            self.look_whether_full();
        }
        self.round_at = now;
    }

    fn look_whether_full(&mut self) {
        if self.rate >= self.full_rate + self.full_rate / 4 {
            (self.full_rate, self.full_rounds) = (self.rate, 0);
            return;
        }
        self.full_rounds += 1;
        if self.full_rounds >= FULL_ROUNDS {
            self.mode = Mode::Drain;
        }
    }

    fn change_mode(&mut self, arrival: &Arrival) {
        let now = arrival.now;
        let fits = self.fits(ONE);
        match self.mode {
            Mode::Startup => {}
            Mode::Drain => {
                if u64::from(arrival.pipe) <= fits {
                    self.cruise(2, now);
                }
            }
            Mode::Cruise(place) => {
                let over = now.nanos_since(self.since) > self.shortest;
                let next = match place {
                    // Until the path has taken that much more, or will not.
                    0 => {
                        over && u64::from(arrival.pipe) >= self.fits(CYCLE[0]) || self.is_late(now)
                    }
                    1 => over || u64::from(arrival.pipe) <= fits,
                    _ => over,
                };
                if next {
                    self.cruise((place + 1) % CYCLE.len() as u8, now);
                }
            }
            Mode::Empty(until) => {
                if now >= until {
                    self.shortest_at = now;
                    if self.full_rounds >= FULL_ROUNDS {
                        self.cruise(2, now);
                    } else {
                        self.mode = Mode::Startup;
                    }
                }
            }
        }
        if now.since(self.shortest_at) > BELIEVED && !matches!(self.mode, Mode::Empty(_)) {
            self.mode = Mode::Empty(now + EMPTY);
            self.shortest = arrival.rtt.unwrap_or(self.shortest);
        }
    }

    /// A quarter more was tried for two round trips, and did not come to be under way.
    fn is_late(&self, now: Instant) -> bool {
        now.nanos_since(self.since) > 2 * self.shortest
    }

    fn cruise(&mut self, place: u8, now: Instant) {
        (self.mode, self.since) = (Mode::Cruise(place), now);
    }

    /// Bytes that fit into the path, times `gain`.
    fn fits(&self, gain: u64) -> u64 {
        let fits = u128::from(self.rate) * u128::from(self.shortest) / SECOND;
        (fits * u128::from(gain) / u128::from(ONE)) as u64
    }

    fn window(&self, arrival: &Arrival, window: u32) -> u32 {
        let least = LEAST * arrival.segment;
        let gain = match self.mode {
            Mode::Empty(_) => return least,
            Mode::Startup | Mode::Drain => HIGH,
            Mode::Cruise(_) => WINDOW,
        };
        // What is sent late is sent together.
        let late = u128::from(self.rate) * u128::from(LATE) / SECOND;
        let target = self.fits(gain) + late as u64 + u64::from(3 * arrival.segment);
        let target = u32::try_from(target).unwrap_or(u32::MAX).min(1 << 30);
        let grown = window.saturating_add(arrival.bytes);
        if self.rate == 0 {
            return grown.max(least);
        }
        let window = match self.mode {
            Mode::Startup => grown.min(target.max(window)),
            _ => grown.min(target),
        };
        window.max(least)
    }
}
