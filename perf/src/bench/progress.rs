//! The terminal while it runs: one line that is written anew, or a line each second where stderr is a
//! file.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use super::poller::Progress;
use crate::report::latency::micros;

/// Intervals put together to a line at least this long.
const LINE: Duration = Duration::from_millis(950);

/// What is shown, and where.
pub(super) struct View {
    quiet: bool,
    terminal: bool,
    label: String,
    length: Duration,
    answers: u64,
    faults: u64,
    all_faults: u64,
    shown: bool,
}

impl View {
    pub(super) fn new(quiet: bool) -> Self {
        View {
            quiet,
            terminal: stderr().is_terminal(),
            label: String::new(),
            length: Duration::ZERO,
            answers: 0,
            faults: 0,
            all_faults: 0,
            shown: false,
        }
    }

    /// Another step begins.
    pub(super) fn step(&mut self, label: String) {
        self.label = label;
        (self.length, self.answers, self.faults) = (Duration::ZERO, 0, 0);
        self.all_faults = 0;
    }

    pub(super) fn interval(&mut self, interval: &Progress) {
        self.length += interval.length;
        self.answers += interval.answers;
        self.faults += interval.faults;
        self.all_faults += interval.faults;
        if self.quiet || (self.length < LINE && !self.terminal) {
            return;
        }
        let latency = |nanos| match interval.answers {
            0 => "-".to_owned(),
            _ => time(micros(nanos)),
        };
        let line = format!(
            "{}{:>4.0}s  {:>10.0}/s  p50 {}  p99 {}  errors {}",
            self.label,
            interval.at.as_secs_f64(),
            self.answers as f64 / self.length.as_secs_f64().max(1e-9),
            latency(interval.p50),
            latency(interval.p99),
            self.all_faults,
        );
        (self.length, self.answers, self.faults) = (Duration::ZERO, 0, 0);
        self.show(&line);
    }

    /// Before anything is sent: how many connections are open.
    pub(super) fn opening(&mut self, opened: u64, all: u32) {
        if !self.quiet {
            self.show(&format!(
                "{}opened {opened} of {all} connections",
                self.label
            ));
        }
    }

    fn show(&mut self, line: &str) {
        let (before, after) = if self.terminal {
            ("\r\x1b[K", "")
        } else {
            ("", "\n")
        };
        self.shown = true;
        let mut out = stderr();
        let _ = out.write_all(format!("{before}{line}{after}").as_bytes());
        let _ = out.flush();
    }

    /// Takes the line away again, for what comes next.
    pub(super) fn clear(&mut self) {
        if self.terminal && self.shown {
            let _ = stderr().write_all(b"\r\x1b[K");
        }
        self.shown = false;
    }
}

/// Microseconds with the unit that reads best.
pub(super) fn time(micros: f64) -> String {
    if micros < 1_000.0 {
        format!("{micros:.1}us")
    } else if micros < 1_000_000.0 {
        format!("{:.2}ms", micros / 1_000.0)
    } else {
        format!("{:.2}s", micros / 1_000_000.0)
    }
}
