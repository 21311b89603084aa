//! What a step of a run has seen.

use std::time::Duration;

use hdrhistogram::Histogram;
use sluice_stack::counters::Counters;
use sluice_stack::time::Instant;

use super::codec::Wrong;
use super::exceptions::{Exceptions, MAX_EXCEPTIONS};
use super::fault::Fault;
use crate::report::Exception;
use crate::report::latency::{LONGEST, histogram};

/// Intervals that are kept of a step at most.
pub const MAX_INTERVALS: usize = 600;

/// Times in nanoseconds, to within 1 %: some 30 KiB.
fn coarse() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 2).expect("constant bounds that the crate accepts")
}

/// Totals of a step, requests sent before or after its measured time left out.
#[derive(Debug)]
pub struct StepStats {
    /// From the instant at which each request was meant to be sent to its last byte's arrival, in
    /// nanoseconds; of checked answers alone. Kept to 3 digits.
    pub latency: Histogram<u64>,
    /// How much later than meant requests were sent that an idle connection waited for, in nanoseconds:
    /// the generator's own error. Empty in a closed loop. Kept to 3 digits.
    pub timing: Histogram<u64>,
    /// Requests begun.
    pub requests: u64,
    /// Requests whose answer came and passed all checks.
    pub answers: u64,
    /// The others, by reason.
    pub faults: Counters<Fault>,
    /// How often which status came that was not expected, by status; those from 1000 on are under 999.
    wrong_statuses: Box<[u64; 1_000]>,
    /// What answers of TTHeader said that were no results.
    pub exceptions: Vec<Exception>,
    /// How often, by place; behind them all others.
    exception_counts: [u64; MAX_EXCEPTIONS + 1],
    /// Requests of an open loop that were meant to be sent and were not, because every connection was
    /// still busy at the end.
    pub unsent: u64,
    /// Connections opened.
    pub connections: u64,
    /// Connections that could not be opened ahead of the first request, by reason.
    pub unopened: Counters<Fault>,
    /// Connections that the target said it would close and did not: each kept its place from the next request
    /// for as long as was waited for it.
    pub unclosed: u64,
    /// Bytes of requests that were queued.
    pub bytes_out: u64,
    /// Bytes of answers that were read, heads included.
    pub bytes_in: u64,
    /// How long was measured.
    pub measured: Duration,
    /// One for each interval, oldest first.
    pub intervals: Vec<Interval>,
    /// Empty ones for the intervals to come.
    spare: Vec<Histogram<u64>>,
    current: Interval,
    every: Duration,
    /// When the interval under way ends.
    ends: Instant,
}

/// What happened in a part of a step.
#[derive(Debug)]
pub struct Interval {
    /// Its beginning, since the step's measured time began.
    pub start: Duration,
    /// Its length.
    pub length: Duration,
    /// Latencies in nanoseconds, to 2 digits; one per checked answer.
    pub latency: Histogram<u64>,
    /// Requests that failed.
    pub faults: u64,
}

impl Interval {
    fn new(start: Duration, latency: Histogram<u64>) -> Self {
        Interval {
            start,
            length: Duration::ZERO,
            latency,
            faults: 0,
        }
    }
}

impl StepStats {
    /// For a step of at most so many intervals of a length; what comes after the last is its own.
    pub(crate) fn new(every: Duration, intervals: usize) -> Self {
        let spare = intervals.min(MAX_INTERVALS);
        StepStats {
            latency: histogram(),
            timing: histogram(),
            requests: 0,
            answers: 0,
            faults: Counters::default(),
            wrong_statuses: Box::new([0; 1_000]),
            exceptions: Vec::new(),
            exception_counts: [0; MAX_EXCEPTIONS + 1],
            unsent: 0,
            connections: 0,
            unopened: Counters::default(),
            unclosed: 0,
            bytes_out: 0,
            bytes_in: 0,
            measured: Duration::ZERO,
            intervals: Vec::with_capacity(spare + 1),
            spare: (0..spare).map(|_| coarse()).collect(),
            current: Interval::new(Duration::ZERO, coarse()),
            every,
            ends: Instant::NEVER,
        }
    }

    /// The measured time begins.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.ends = now + self.every;
    }

    #[inline]
    pub(crate) fn answered(&mut self, latency: Duration) {
        let nanos = (latency.as_nanos() as u64).max(1);
        self.answers += 1;
        self.latency.saturating_record(nanos);
        self.current.latency.saturating_record(nanos);
    }

    pub(crate) fn failed(&mut self, fault: Fault) {
        self.faults.count(fault);
        self.current.faults += 1;
    }

    pub(crate) fn wrong(&mut self, wrong: Wrong) {
        let count = match wrong {
            Wrong::Status(status) => self.wrong_statuses.get_mut(usize::from(status.min(999))),
            Wrong::Exception(place) => self.exception_counts.get_mut(usize::from(place)),
        };
        if let Some(count) = count {
            *count += 1;
        }
    }

    /// Gives those that were counted their names.
    pub(crate) fn name_exceptions(&mut self, known: &Exceptions) {
        let counts = self.exception_counts.iter().enumerate();
        let counts = counts.filter(|(_, count)| **count > 0);
        self.exceptions = counts.map(|(at, count)| known.told(at, *count)).collect();
    }

    /// Each status that came and was not expected, and how often.
    pub fn wrong_statuses(&self) -> impl Iterator<Item = (u16, u64)> {
        let counts = (0..).zip(self.wrong_statuses.iter().copied());
        counts.filter(|(_, count)| *count > 0)
    }

    /// Closes the interval under way where it is over; true if so.
    #[inline]
    pub(crate) fn turn(&mut self, now: Instant, began: Instant) -> bool {
        now >= self.ends && self.next_interval(now.since(began))
    }

    #[cold]
    fn next_interval(&mut self, at: Duration) -> bool {
        let Some(latency) = self.spare.pop() else {
            self.ends = Instant::NEVER;
            return false;
        };
        let mut over = std::mem::replace(&mut self.current, Interval::new(at, latency));
        over.length = at.saturating_sub(over.start);
        self.intervals.push(over);
        self.ends = self.ends + self.every;
        true
    }

    /// The measured time ends; what still comes of it is the last interval's.
    pub(crate) fn end(&mut self, measured: Duration) {
        self.measured = measured;
        self.ends = Instant::NEVER;
    }

    /// Nothing more comes: the last interval is closed.
    pub(crate) fn close(&mut self) {
        let rest = self.measured.saturating_sub(self.current.start);
        let current = std::mem::replace(&mut self.current, Interval::new(self.measured, coarse()));
        match self.intervals.last_mut() {
            // Less than a tenth of an interval says nothing by itself.
            Some(last) if rest < self.every / 10 => {
                last.length += rest;
                last.faults += current.faults;
                // Never fails: both have the same bounds.
                let _ = last.latency.add(&current.latency);
            }
            _ => self.intervals.push(Interval {
                length: rest,
                ..current
            }),
        }
    }

    /// Checked answers per second.
    pub fn rate(&self) -> f64 {
        let seconds = self.measured.as_secs_f64();
        if seconds > 0.0 {
            self.answers as f64 / seconds
        } else {
            0.0
        }
    }
}
