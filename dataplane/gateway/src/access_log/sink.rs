//! Where the lines go: a file or standard output, which may fail for a while.

use std::fs::{File, OpenOptions};
use std::io::{self, Write, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use sluice_policy::LogTarget;

use super::Totals;
use crate::log;

/// Bytes that are written at once.
const BATCH: usize = 64 << 10;
/// How long a line may wait for others.
const LINGER: Duration = Duration::from_millis(100);
/// How often a file that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often the operator is told that lines are lost.
const WARN: Duration = Duration::from_secs(60);
/// Who may read a file that is made: it tells who asked for what.
const MODE: u32 = 0o640;

/// Lines on their way to a file.
pub(super) struct Sink {
    target: LogTarget,
    file: Option<File>,
    tried: Option<Instant>,
    warned: Option<Instant>,
    lines: Vec<u8>,
    count: u64,
    /// When the oldest of them came.
    since: Option<Instant>,
    /// They begin amid a line whose beginning is in the file.
    torn: bool,
}

impl Sink {
    pub(super) fn new(target: LogTarget) -> Self {
        Sink {
            target,
            file: None,
            tried: None,
            warned: None,
            lines: Vec::with_capacity(2 * BATCH),
            count: 0,
            since: None,
            torn: false,
        }
    }

    pub(super) fn target(&self) -> &LogTarget {
        &self.target
    }

    /// Adds the line that `write` writes.
    pub(super) fn line(&mut self, now: Instant, totals: &Totals, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.lines);
        self.count += 1;
        self.since.get_or_insert(now);
        if self.lines.len() >= BATCH {
            self.flush(now, totals);
        }
    }

    /// Writes what has waited for long enough.
    pub(super) fn flush_due(&mut self, now: Instant, totals: &Totals) {
        if self.since.is_some_and(|since| now >= since + LINGER) {
            self.flush(now, totals);
        }
    }

    /// Opens the file anew, under its name.
    pub(super) fn reopen(&mut self, now: Instant, totals: &Totals) {
        self.flush(now, totals);
        self.file = None;
        if self.torn {
            // Its beginning is in the other file.
            self.torn = false;
            totals.lost(self.count);
            self.clear();
        }
        self.open(now);
    }

    /// Writes every line that waits, or loses and counts it.
    pub(super) fn flush(&mut self, now: Instant, totals: &Totals) {
        if self.count == 0 {
            return;
        }
        let is_stdout = self.target == LogTarget::Stdout;
        if !is_stdout && self.file.is_none() {
            let again = self.tried.is_none_or(|tried| now >= tried + RETRY);
            if !again || !self.open(now) {
                totals.lost(self.count);
                return self.clear();
            }
        }
        let (written, error) = match &mut self.file {
            Some(file) if !is_stdout => write_most(file, &self.lines),
            _ => write_most(&mut stdout().lock(), &self.lines),
        };
        match error {
            None => {
                totals.wrote(self.count);
                self.clear();
                self.torn = false;
            }
            Some(error) => {
                self.lose(written, totals);
                self.warn(now, &error);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn pending(&self) -> &[u8] {
        &self.lines
    }

    /// After `written` bytes there was an error. The line it cut in two stays, to be completed; the
    /// others are lost.
    pub(super) fn lose(&mut self, written: usize, totals: &Totals) {
        let (before, after) = self.lines.split_at(written.min(self.lines.len()));
        let whole = before.iter().filter(|&&byte| byte == b'\n').count() as u64;
        let torn = before.last().map_or(self.torn, |&last| last != b'\n');
        let rest = match after.iter().position(|&byte| byte == b'\n') {
            Some(end) if torn => after.get(..=end).unwrap_or_default().to_vec(),
            _ => Vec::new(),
        };
        let kept = u64::from(!rest.is_empty());
        totals.wrote(whole);
        totals.lost(self.count.saturating_sub(whole + kept));
        self.torn = kept > 0;
        self.lines.clear();
        self.lines.extend_from_slice(&rest);
        self.count = kept;
    }

    fn clear(&mut self) {
        self.lines.clear();
        self.count = 0;
        self.since = None;
    }

    /// Opens the file, making it if need be; false if that can't be.
    fn open(&mut self, now: Instant) -> bool {
        let LogTarget::File(name) = &self.target else {
            return true;
        };
        self.tried = Some(now);
        let mut options = OpenOptions::new();
        match options.append(true).create(true).mode(MODE).open(&**name) {
            Ok(file) => self.file = Some(file),
            Err(error) => self.warn(now, &error),
        }
        self.file.is_some()
    }

    fn warn(&mut self, now: Instant, error: &io::Error) {
        if self.warned.is_some_and(|warned| now < warned + WARN) {
            return;
        }
        self.warned = Some(now);
        let name = match &self.target {
            LogTarget::Stdout => "standard output",
            LogTarget::File(name) => name,
        };
        let mend = match error.kind() {
            io::ErrorKind::NotFound => "create its directory, or set access_log.file",
            io::ErrorKind::PermissionDenied => "let sluice write there, or set access_log.file",
            io::ErrorKind::StorageFull => "free some space",
            _ => "set access_log.file to one that can be written",
        };
        log::warning(format_args!(
            "access log {name}: {error}; lines are lost until it can be written: {mend}"
        ));
    }
}

/// Writes as much as can be written; returns how much that was, and what stopped it.
fn write_most(to: &mut impl Write, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match to.write(rest) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, to.flush().err())
}
