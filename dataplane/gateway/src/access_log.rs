//! The access log's thread: takes records from the workers' queues and writes lines of JSON.

mod line;
mod sink;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use signal_hook::consts::SIGUSR1;
use signal_hook::flag;
use sluice_engine::Handoff;
use sluice_engine::access::AccessLog;
use sluice_policy::Snapshot;

use crate::log;
use crate::wall::Wall;
use sink::Sink;

/// How long the thread rests when little waits: short beside the time in which one core fills the
/// queue, long beside the cost of waking.
const NAP: Duration = Duration::from_millis(2);
/// How long it rests while no log is written.
const LONG_NAP: Duration = Duration::from_millis(20);
/// How long lines may take to be written when the gateway stops.
const PATIENCE: Duration = Duration::from_secs(2);

/// What became of lines.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    written: AtomicU64,
    lost: AtomicU64,
}

impl Totals {
    /// Lines written.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Lines that could not be written.
    pub(crate) fn write_failed(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn wrote(&self, lines: u64) {
        self.written.fetch_add(lines, Ordering::Relaxed);
    }

    fn lost(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

/// The thread.
pub(crate) struct AccessLogThread {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl AccessLogThread {
    /// Starts it. It follows the rules on offer, and opens its file anew on SIGUSR1.
    pub(crate) fn start(
        handoffs: Vec<Arc<Handoff>>,
        wall: Wall,
        totals: Arc<Totals>,
    ) -> io::Result<Self> {
        let (stop, reopen) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        // Also where no log is written: the signal's own way is to end the process.
        flag::register(SIGUSR1, reopen.clone())?;
        let writer = Writer::new(handoffs, wall, totals);
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("access-log".into())
            .spawn(move || writer.run(&stopped, &reopen))?;
        Ok(AccessLogThread { thread, stop })
    }

    /// Has it write what is left, which must not become more, and end; gives up on a reader that
    /// takes nothing.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        let until = Instant::now() + PATIENCE;
        while !self.thread.is_finished() {
            if Instant::now() >= until {
                return log::warning("access log: the last lines were not taken in time");
            }
            thread::sleep(NAP);
        }
    }
}

/// The thread's state.
struct Writer {
    /// By worker; all are offered the same rules.
    handoffs: Vec<Arc<Handoff>>,
    wall: Wall,
    totals: Arc<Totals>,
    /// The rules that the sink is of.
    generation: u64,
    /// Kept when a log is turned off: requests under way may still have lines to write.
    sink: Option<Sink>,
    /// A log is written.
    is_on: bool,
}

impl Writer {
    fn new(handoffs: Vec<Arc<Handoff>>, wall: Wall, totals: Arc<Totals>) -> Self {
        let mut writer = Writer {
            generation: u64::MAX,
            handoffs,
            wall,
            totals,
            sink: None,
            is_on: false,
        };
        writer.follow_if_new(Instant::now());
        writer
    }

    fn run(mut self, stop: &AtomicBool, reopen: &AtomicBool) {
        loop {
            // Asked before the queue is emptied, so that nothing is left in it.
            let last = stop.load(Ordering::Acquire);
            if reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            let taken = self.turn(Instant::now());
            if last {
                return self.finish();
            }
            if !self.is_on {
                thread::sleep(LONG_NAP);
            } else if taken < self.capacity() / 4 {
                thread::sleep(NAP);
            }
        }
    }

    /// Records that wait for the thread at most, in the queue of one worker.
    fn capacity(&self) -> usize {
        let queues = self.handoffs.iter().map(|handoff| handoff.access_log());
        queues.map(AccessLog::capacity).min().unwrap_or(0)
    }

    fn follow_if_new(&mut self, now: Instant) {
        let first = self.handoffs.first();
        let new = first.filter(|handoff| handoff.generation() != self.generation);
        if let Some(rules) = new.map(|handoff| handoff.current()) {
            self.follow(&rules, now);
        }
    }

    /// Takes what waits, as many records as the queues hold at most, and writes what is due; returns
    /// how many records there were in the fullest.
    fn turn(&mut self, now: Instant) -> usize {
        self.follow_if_new(now);
        let clock = self.wall.read();
        let mut most = 0;
        for handoff in &self.handoffs {
            let queue = handoff.access_log();
            let mut taken = 0;
            while taken < queue.capacity()
                && let Some(record) = queue.pop()
            {
                taken += 1;
                match &mut self.sink {
                    Some(sink) => {
                        sink.line(now, &self.totals, |out| line::write(out, &record, &clock));
                    }
                    None => self.totals.lost(1),
                }
                queue.give_back(record);
            }
            most = taken.max(most);
        }
        if let Some(sink) = &mut self.sink {
            sink.flush_due(now, &self.totals);
        }
        most
    }

    /// Does as these rules say.
    fn follow(&mut self, rules: &Snapshot, now: Instant) {
        self.generation = rules.generation;
        self.is_on = rules.access_log.is_some();
        let Some(log) = &rules.access_log else {
            return;
        };
        for handoff in &self.handoffs {
            handoff.access_log().fill();
        }
        if let Some(sink) = &mut self.sink {
            if *sink.target() == log.target {
                return;
            }
            sink.flush(now, &self.totals);
        }
        let mut sink = Sink::new(log.target.clone());
        sink.reopen(now, &self.totals);
        self.sink = Some(sink);
    }

    fn reopen(&mut self) {
        match &mut self.sink {
            Some(sink) if self.is_on => {
                sink.reopen(Instant::now(), &self.totals);
                log::info("SIGUSR1: access log reopened");
            }
            _ => log::info("SIGUSR1: there is no access log to reopen"),
        }
    }

    fn finish(mut self) {
        if let Some(sink) = &mut self.sink {
            sink.flush(Instant::now(), &self.totals);
        }
    }
}

#[cfg(test)]
mod tests;
