//! The generator's thread: polls on a core of its own, and keeps account of how busy it is.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use sluice_port::{Clock, DpdkIo, EalHandle, GapMeter, RegisteredThread, cores, cycles};
use sluice_stack::io::{IoStats, PacketIo};
use sluice_stack::time::Instant;

use super::core_time::CoreTime;
use crate::load::run::Stage;
use crate::load::server::Served;
use crate::load::stats::StepStats;
use crate::load::{Generator, Step};
use crate::report::gaps::Gaps;

/// How long it polls on at the end, so that the last RST leaves the transmit queue.
const LAST_WORDS: Duration = Duration::from_millis(2);

/// And at most, while connections are left that were not reset yet.
const LAST_WORDS_AT_MOST: Duration = Duration::from_millis(200);

/// How often it tells how many connections are open while they are opened ahead.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What the thread begins with.
pub(super) struct Setup {
    pub(super) core: usize,
    pub(super) eal: EalHandle,
    pub(super) generator: Generator<DpdkIo>,
    /// The next step; the thread ends when the other side is gone.
    pub(super) steps: Receiver<Step>,
    pub(super) events: SyncSender<Event>,
    /// Ends the step under way early.
    pub(super) stop: Arc<AtomicBool>,
}

/// What the thread tells.
pub(super) enum Event {
    /// The step is in another stage, since then.
    Entered(Stage, SystemTime),
    /// So many connections are open, of those that are opened ahead.
    Opening(u64),
    /// An interval is over.
    Progress(Progress),
    /// A step is over.
    StepEnded(Box<Outcome>),
    /// The thread ends, and this is what the backend has seen.
    Served(Served),
    /// The thread could not begin.
    Failed(PollerError),
}

/// An interval in a few numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// The end of the interval, since the step's measured time began.
    pub(super) at: Duration,
    pub(super) length: Duration,
    pub(super) answers: u64,
    pub(super) faults: u64,
    /// Nanoseconds.
    pub(super) p50: u64,
    /// Nanoseconds.
    pub(super) p99: u64,
}

/// What a step has come to.
pub(super) struct Outcome {
    pub(super) stats: StepStats,
    /// The share of the measured time with something to do.
    pub(super) busy: f64,
    /// How long of it the thread could have run and its core was taken by others; 0 where the kernel does
    /// not tell.
    pub(super) lost: Duration,
    /// Turns of its loop that took longer than any takes by itself.
    pub(super) gaps: Gaps,
    /// Of the client's port while it was measured.
    pub(super) io: IoStats,
    /// What the backend has seen since the start.
    pub(super) served: Served,
}

/// Why there is no generator.
#[derive(Debug, thiserror::Error)]
pub(super) enum PollerError {
    #[error("the generator could not be bound to core {0}; is it offline?")]
    Core(usize),
    #[error(transparent)]
    Eal(#[from] sluice_port::EalError),
}

/// Starts the thread.
pub(super) fn spawn(setup: Setup) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("generator".into())
        .spawn(move || {
            let events = setup.events.clone();
            if let Err(error) = run(setup) {
                let _ = events.send(Event::Failed(error));
            }
        })
}

fn run(setup: Setup) -> Result<(), PollerError> {
    if !cores::pin(setup.core) {
        return Err(PollerError::Core(setup.core));
    }
    let registered = setup.eal.register_thread()?;
    let mut poller = Poller {
        clock: Clock::new(cycles(), setup.eal.tsc_hz()),
        hz: setup.eal.tsc_hz(),
        gaps: GapMeter::new(setup.eal.tsc_hz()),
        generator: setup.generator,
        events: setup.events,
        stop: setup.stop,
        last: cycles(),
        was_idle: true,
        busy: 0,
        idle: 0,
        io: IoStats::default(),
        core_time: CoreTime::of_this_thread(),
        waited: Duration::ZERO,
        lost: Duration::ZERO,
        _registered: registered,
    };
    // Between steps it polls on: connections live, and a backend serves.
    loop {
        match setup.steps.try_recv() {
            Ok(step) => poller.step(step),
            Err(TryRecvError::Empty) => {
                poller.turn();
            }
            Err(TryRecvError::Disconnected) => break,
        }
    }
    let now = poller.now();
    poller.generator.hang_up(now);
    let (least, most) = (now + LAST_WORDS, now + LAST_WORDS_AT_MOST);
    loop {
        let now = poller.turn();
        if now >= most || (now >= least && !poller.generator.has_flows(now)) {
            break;
        }
    }
    // Who measured has had it with the steps, and may have gone.
    let served = Event::Served(poller.generator.served());
    let _ = poller.events.try_send(served);
    Ok(())
}

/// The loop's state. The generator's buffers go back before the thread's registration does: fields are
/// dropped in order.
struct Poller {
    clock: Clock,
    generator: Generator<DpdkIo>,
    events: SyncSender<Event>,
    stop: Arc<AtomicBool>,
    /// The counter at the last turn, and whether that found nothing to do.
    last: u64,
    was_idle: bool,
    /// Cycles of measured turns.
    busy: u64,
    idle: u64,
    /// Of the time stamp counter.
    hz: u64,
    gaps: GapMeter,
    /// Of the client's port when the measured time began.
    io: IoStats,
    core_time: CoreTime,
    /// How long the thread had waited for its core when the measured time began, and since then.
    waited: Duration,
    lost: Duration,
    _registered: RegisteredThread,
}

impl Poller {
    fn step(&mut self, step: Step) {
        let now = self.now();
        self.generator.begin(step, now);
        self.entered(self.generator.stage());
        let mut tell = now + TELL_EVERY;
        (self.busy, self.idle) = (0, 0);
        self.gaps.reset();
        self.waited = self.core_time.waited();
        while self.generator.stage() != Stage::Done {
            let now = self.turn();
            if now >= tell && self.generator.stage() == Stage::Opening {
                tell = now + TELL_EVERY;
                let opened = self.generator.stats().connections;
                let _ = self.events.try_send(Event::Opening(opened));
            }
            if self.stop.load(Ordering::Relaxed) {
                self.generator.stop(now);
            }
        }
        let all = (self.busy + self.idle).max(1);
        let outcome = Outcome {
            stats: self.generator.take_stats(),
            busy: self.busy as f64 / all as f64,
            lost: self.lost,
            gaps: Gaps::of(self.gaps.gaps(), self.hz),
            io: since(self.client_io(), self.io),
            served: self.generator.served(),
        };
        let _ = self.events.send(Event::StepEnded(Box::new(outcome)));
    }

    /// One poll, with one reading of the clock, which also closes the account of the turn before.
    #[inline]
    fn turn(&mut self) -> Instant {
        let cycles = cycles();
        if self.generator.stage() == Stage::Measuring {
            let spent = cycles.saturating_sub(self.last);
            self.gaps.turn(self.was_idle, spent);
            if self.was_idle {
                self.idle += spent;
            } else {
                self.busy += spent;
            }
        }
        self.last = cycles;
        let now = self.clock.at(cycles);
        let turn = self.generator.poll_once(now);
        self.was_idle = turn.idle;
        if turn.interval {
            self.tell();
        }
        match turn.entered {
            Some(Stage::Measuring) => {
                self.io = self.client_io();
                self.waited = self.core_time.waited();
            }
            Some(Stage::Draining) => {
                self.lost = self.core_time.waited().saturating_sub(self.waited);
            }
            _ => {}
        }
        if let Some(stage) = turn.entered {
            self.entered(stage);
        }
        if turn.idle {
            hint::spin_loop();
        }
        now
    }

    fn entered(&self, stage: Stage) {
        // A full queue means that nobody looks.
        let entered = Event::Entered(stage, SystemTime::now());
        let _ = self.events.try_send(entered);
    }

    fn now(&mut self) -> Instant {
        self.clock.at(cycles())
    }

    fn client_io(&self) -> IoStats {
        let first = self.generator.stack().ports().next();
        first.map_or(IoStats::default(), PacketIo::stats)
    }

    /// Once per interval.
    #[cold]
    fn tell(&self) {
        let Some(interval) = self.generator.stats().intervals.last() else {
            return;
        };
        let _ = self.events.try_send(Event::Progress(Progress {
            at: interval.start + interval.length,
            length: interval.length,
            answers: interval.latency.len(),
            faults: interval.faults,
            p50: interval.latency.value_at_quantile(0.5),
            p99: interval.latency.value_at_quantile(0.99),
        }));
    }
}

/// What was counted between two looks.
fn since(now: IoStats, then: IoStats) -> IoStats {
    IoStats {
        rx_frames: now.rx_frames - then.rx_frames,
        rx_bytes: now.rx_bytes - then.rx_bytes,
        tx_frames: now.tx_frames - then.tx_frames,
        tx_bytes: now.tx_bytes - then.tx_bytes,
        tx_full: now.tx_full - then.tx_full,
        tx_no_buffer: now.tx_no_buffer - then.tx_no_buffer,
        tx_large: now.tx_large - then.tx_large,
        tx_no_large: now.tx_no_large - then.tx_no_large,
        rx_large: now.rx_large - then.rx_large,
        rx_unusable: now.rx_unusable - then.rx_unusable,
        rx_linearised: now.rx_linearised - then.rx_linearised,
        driver_cycles: now.driver_cycles - then.driver_cycles,
    }
}
