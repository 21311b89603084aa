//! A worker's thread: polls until it is told to drain, then until all are drained.

use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{hint, io};

use rustix::thread::set_current_timer_slack;
use sluice_engine::stack::time::Instant;
use sluice_engine::{Worker, WorkerSetup};
use sluice_policy::rules::Idle;
use sluice_port::{Clock, DpdkIo, EalHandle, GapMeter, RegisteredThread, cores, cycles};

use crate::control::Event;
use crate::loop_stats::Tally;
use crate::shared::Shared;
use crate::status::Status;
use crate::watchdog::LOOKS;

/// How often counters are published, and with them the sign of life.
const PUBLISH_EVERY: Duration = Duration::from_millis(1);

/// How often the worker is told the wall clock's time. `Date` has whole seconds.
const WALL_CLOCK_EVERY: Duration = Duration::from_millis(250);

/// How long nothing must have happened before an adaptive worker takes naps of which length, longest
/// first: short beside the time a receive queue takes to fill, long beside the cost of waking, and the
/// longer the less a wake-up is likely to find something.
const NAPS: [(Duration, Duration); 3] = [
    (Duration::from_secs(1), Duration::from_millis(1)),
    (Duration::from_millis(100), Duration::from_micros(200)),
    (Duration::from_millis(1), Duration::from_micros(50)),
];

/// How late the kernel may end a nap, in nanoseconds, to save wake-ups; its default is as long as the
/// shortest nap.
const TIMER_SLACK: Option<NonZeroU64> = NonZeroU64::new(1_000);

/// How long the worker polls on after it cut off what was left, so that the last RST leaves the
/// transmit queue.
const LAST_WORDS: Duration = Duration::from_millis(2);

/// How long a worker waits for the others to come to theirs: workers that share a core take turns of some
/// milliseconds.
const OTHERS_LAST_WORDS: Duration = Duration::from_millis(200);

/// Everything the thread begins with.
pub(crate) struct Setup {
    /// Its number, from 0.
    pub(crate) number: usize,
    /// How many there are.
    pub(crate) workers: usize,
    /// The core it is bound to.
    pub(crate) core: usize,
    /// Others are bound to it as well.
    pub(crate) core_is_shared: bool,
    /// What it does when nothing happens.
    pub(crate) idle: Idle,
    /// For its own cache of buffers.
    pub(crate) eal: EalHandle,
    /// Ports, limits and secrets.
    pub(crate) engine: WorkerSetup<DpdkIo>,
    /// What it shares with other threads.
    pub(crate) shared: Shared,
    /// What the time stamp counter said when its clock began.
    pub(crate) clock_start: u64,
    /// Tells it to drain.
    pub(crate) status: Arc<Status>,
    /// Whom it tells that it polls, and that it ended.
    pub(crate) events: SyncSender<Event>,
}

/// Why a worker ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    /// The core disappeared since it was chosen.
    #[error("a worker could not be bound to core {0}; is it offline?")]
    Core(usize),
    /// No lcore id left.
    #[error(transparent)]
    Eal(#[from] sluice_port::EalError),
    /// Its thread hangs, or is not let run.
    #[error(
        "worker {0} has not polled for {LOOKS} s, so its queue is left unread: its core may be taken by something else, \
         otherwise it is a defect of sluice, please report it"
    )]
    Silent(usize),
    /// A defect of ours; the panic's message went to stderr before.
    #[error("a worker panicked, which is a defect of sluice: please report the message above")]
    Panicked,
}

/// Starts the thread. Whatever becomes of it, it says so with [`Event::WorkerEnded`].
pub(crate) fn spawn(setup: Setup) -> io::Result<JoinHandle<()>> {
    let (events, number) = (setup.events.clone(), setup.number);
    thread::Builder::new()
        .name(format!("worker-{number}"))
        .spawn(move || report_end(&events, || run(setup)))
}

/// Runs `body` and reports how it ended, panics included: a process without its worker must not
/// look alive.
fn report_end(events: &SyncSender<Event>, body: impl FnOnce() -> Result<(), WorkerError>) {
    // What a panic leaves half done is dropped with the thread; nobody sees it.
    let ended = catch_unwind(AssertUnwindSafe(body)).unwrap_or(Err(WorkerError::Panicked));
    // Fails where the control thread has given up waiting.
    let _ = events.send(Event::WorkerEnded(ended));
}

fn run(setup: Setup) -> Result<(), WorkerError> {
    if !cores::pin(setup.core) {
        return Err(WorkerError::Core(setup.core));
    }
    // Where it is refused, naps are a little longer.
    let _ = set_current_timer_slack(TIMER_SLACK);
    let registered = setup.eal.register_thread()?;
    let turning = Turning::begin(setup, registered);
    turning.until_drained();
    Ok(())
}

/// The loop and its state. The worker's buffers go back before the thread's registration does:
/// fields are dropped in order.
struct Turning {
    worker: Worker<DpdkIo>,
    shared: Shared,
    workers: usize,
    status: Arc<Status>,
    rest: Rest,
    clock: Clock,
    /// The counter at the last turn, and whether that found nothing to do.
    last: (u64, bool),
    tally: Tally,
    gaps: GapMeter,
    /// It gave its core away by itself since then.
    rested: bool,
    /// Cycles inside the drivers, at the last turn.
    driver: u64,
    publish_at: Instant,
    wall_clock_at: Instant,
    _registered: RegisteredThread,
}

impl Turning {
    fn begin(setup: Setup, registered: RegisteredThread) -> Self {
        let start = setup.clock_start;
        let shared = setup.shared;
        let worker = Worker::new(setup.engine, shared.handoff.clone(), shared.stats.clone());
        let mut turning = Turning {
            worker,
            shared,
            workers: setup.workers,
            status: setup.status,
            rest: Rest {
                idle: setup.idle,
                yields: setup.core_is_shared,
                since: None,
            },
            clock: Clock::new(start, setup.eal.tsc_hz()),
            last: (cycles(), true),
            tally: Tally::default(),
            gaps: GapMeter::new(setup.eal.tsc_hz()),
            rested: true,
            driver: 0,
            publish_at: Instant::ZERO,
            wall_clock_at: Instant::ZERO,
            _registered: registered,
        };
        turning.turn();
        // The queue is never full this early.
        let _ = setup.events.try_send(Event::Polling);
        turning
    }

    fn until_drained(mut self) {
        while !self.status.is_draining() {
            self.turn();
        }
        let now = self.turn();
        let deadline = now + self.shared.handoff.current().node.drain_timeout;
        self.worker.drain(now);
        // Others may have no queues of their own, so this one polls until all have come to an end.
        let mut is_drained = false;
        while self.status.drained() < self.workers {
            if !is_drained && self.worker.is_drained() {
                is_drained = true;
                self.status.count_drained();
            }
            if self.turn() >= deadline || self.status.is_at_once() {
                break;
            }
        }
        let now = self.turn();
        self.worker.abort_all(now);
        self.status.count_aborted();
        // What other workers say last may go out by this one's queues. One that failed says nothing.
        let patience = now + OTHERS_LAST_WORDS;
        while self.status.aborted() < self.workers && self.turn() < patience {}
        let end = self.turn() + LAST_WORDS;
        while self.turn() < end {}
        self.publish();
    }

    /// One poll, with one reading of the clock, which also closes the account of the turn before.
    #[inline]
    fn turn(&mut self) -> Instant {
        let cycles = cycles();
        let (last, was_idle) = self.last;
        let driver = self.worker.driver_cycles();
        let spent = cycles.saturating_sub(last);
        self.tally.count(was_idle, spent, driver - self.driver);
        if !self.rested {
            self.gaps.turn(was_idle, spent);
        }
        self.driver = driver;
        let now = self.clock.at(cycles);
        if now >= self.wall_clock_at {
            self.tell_wall_clock();
            self.wall_clock_at = now + WALL_CLOCK_EVERY;
        }
        let is_idle = self.worker.poll_once(now).was_idle();
        self.last = (cycles, is_idle);
        if now >= self.publish_at {
            self.publish();
            self.publish_at = now + PUBLISH_EVERY;
        }
        if is_idle {
            self.rested = self.rest.rest(now, || self.worker.next_wake());
        } else {
            self.rest.since = None;
            self.rested = false;
        }
        now
    }

    /// A system call at worst, four times a second.
    #[cold]
    fn tell_wall_clock(&mut self) {
        // A clock before 1970 is not set; no date is better than a wrong one.
        if let Ok(since) = SystemTime::now().duration_since(UNIX_EPOCH) {
            self.worker.set_wall_clock(since.as_secs());
        }
    }

    #[cold]
    fn publish(&self) {
        self.worker.publish_ports();
        let gaps = self.gaps.gaps();
        self.tally
            .publish(gaps, &self.shared.loop_stats, self.last.0);
    }
}

/// What is done between two polls that found nothing.
struct Rest {
    idle: Idle,
    /// Others wait for the core.
    yields: bool,
    /// When polls began to find nothing.
    since: Option<Instant>,
}

impl Rest {
    /// True where it gave its core away.
    #[inline]
    fn rest(&mut self, now: Instant, next_wake: impl FnOnce() -> Option<Instant>) -> bool {
        hint::spin_loop();
        let (yields, nap) = match self.idle {
            Idle::Poll => (self.yields, None),
            Idle::Share => (true, None),
            Idle::Adaptive => (self.yields, self.nap(now, next_wake)),
        };
        match nap {
            Some(nap) => thread::sleep(nap),
            None if yields => thread::yield_now(),
            None => return false,
        }
        true
    }

    /// How long to sleep; `None` where something is due or happened of late.
    fn nap(
        &mut self,
        now: Instant,
        next_wake: impl FnOnce() -> Option<Instant>,
    ) -> Option<Duration> {
        let quiet = now.since(*self.since.get_or_insert(now));
        let (_, longest) = NAPS.into_iter().find(|(after, _)| quiet >= *after)?;
        let nap = next_wake().map_or(longest, |wake| wake.since(now).min(longest));
        (!nap.is_zero()).then_some(nap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Instant {
        Instant::from_nanos(micros * 1_000)
    }

    #[test]
    fn naps_begin_after_a_quiet_time_and_end_before_what_is_due() {
        let mut rest = Rest {
            idle: Idle::Adaptive,
            yields: false,
            since: None,
        };
        assert_eq!(rest.nap(at(100), || None), None);
        assert_eq!(rest.nap(at(1_099), || None), None);
        let micros = |micros| Some(Duration::from_micros(micros));
        assert_eq!(rest.nap(at(1_100), || None), micros(50));
        assert_eq!(
            rest.nap(at(1_200), || Some(at(1_220))),
            Some(Duration::from_micros(20))
        );
        assert_eq!(rest.nap(at(1_220), || Some(at(1_220))), None);
        assert_eq!(rest.nap(at(1_220), || Some(at(9_000))), micros(50));
        assert_eq!(rest.nap(at(100_099), || None), micros(50));
        assert_eq!(rest.nap(at(100_100), || None), micros(200));
        assert_eq!(rest.nap(at(1_000_099), || None), micros(200));
        assert_eq!(rest.nap(at(1_000_100), || None), micros(1_000));
        assert_eq!(rest.nap(at(2_000_000), || Some(at(2_000_300))), micros(300));
        rest.since = None; // a frame came
        assert_eq!(rest.nap(at(2_000_300), || None), None);
        assert_eq!(rest.nap(at(2_001_300), || None), micros(50));
    }

    #[test]
    fn a_panic_is_reported_as_the_end_of_the_worker() {
        let (events_in, events) = std::sync::mpsc::sync_channel(1);
        thread::spawn(move || report_end(&events_in, || panic!("a test's own")))
            .join()
            .unwrap();
        let Event::WorkerEnded(ended) = events.recv().unwrap() else {
            panic!("another event");
        };
        assert!(matches!(ended, Err(WorkerError::Panicked)));
    }
}
