//! One poll of the generator: frames in, flows driven, requests due, frames out.

use std::time::Duration;

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{Owner, Stack};

use super::client::{Client, ClientSetup};
use super::plan::{Plan, RequestFile};
use super::run::{Stage, Step};
use super::schedule::{Pace, Schedule};
use super::server::{Served, Server, ServerSetup};
use super::stats::{MAX_INTERVALS, StepStats};

/// Flows driven per poll; the others have their turn in the next.
const FLOWS_PER_POLL: usize = 512;

/// How long answers are waited for in a step that was ended early.
const HURRIED: Duration = Duration::from_millis(500);

/// Marks the user numbers of the backend's flows.
const SERVER: u32 = 1 << 31;

/// A client, a backend or both over one stack.
pub struct Generator<P: PacketIo> {
    stack: Stack<P>,
    client: Option<Client>,
    server: Option<Server>,
    step: Step,
    stage: Stage,
    /// When the stage ends; where it ends by itself, at the latest.
    until: Instant,
    /// When the measured time began.
    began: Instant,
    /// Connections that were open when it was last looked, in [`Stage::Opening`].
    opened: u64,
    /// The step was ended early.
    stopped: bool,
    schedule: Option<Schedule>,
    /// Until then no connection was free for a request that was due: delays of those are the target's.
    blocked_until: Instant,
    /// When the requests of the last turn were meant to be sent, those that no connection kept waiting.
    begun: Vec<Instant>,
    stats: StepStats,
    seed: u64,
}

/// What a poll has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Frames received.
    pub frames: usize,
    /// Nothing came, nothing was due.
    pub idle: bool,
    /// The stage is another one since this poll.
    pub entered: Option<Stage>,
    /// Another interval is over, see [`StepStats::intervals`].
    pub interval: bool,
}

impl<P: PacketIo> Generator<P> {
    /// A generator that has nothing to do yet.
    pub fn new(
        mut stack: Stack<P>,
        client: Option<(ClientSetup, Plan)>,
        server: Option<(&ServerSetup, &RequestFile)>,
        seed: u64,
    ) -> Self {
        let most = client.as_ref().map_or(0, |(setup, _)| {
            setup.connections as usize * usize::from(setup.calls)
        });
        let server = server.map(|(setup, file)| Server::new(setup, file, &mut stack));
        let client = client.map(|(setup, plan)| Client::new(setup, plan, seed));
        stack.announce();
        Generator {
            stack,
            client,
            server,
            step: Step {
                pace: Pace::Closed,
                warm_up: Duration::ZERO,
                length: super::run::Length {
                    duration: Duration::ZERO,
                    requests: 0,
                },
                interval: Duration::ZERO,
            },
            stage: Stage::Done,
            until: Instant::NEVER,
            began: Instant::NEVER,
            opened: 0,
            stopped: false,
            schedule: None,
            blocked_until: Instant::ZERO,
            begun: Vec::with_capacity(most),
            stats: StepStats::new(Duration::ZERO, 0),
            seed,
        }
    }

    /// Begins a step. Not for the data path: it makes room for what the step will count.
    pub fn begin(&mut self, step: Step, now: Instant) {
        let intervals = step.length.duration.as_nanos() / step.interval.as_nanos().max(1);
        self.stats = StepStats::new(step.interval, intervals.min(MAX_INTERVALS as u128) as usize);
        self.step = step;
        self.seed = self.seed.wrapping_add(1);
        self.schedule = match step.pace {
            Pace::Closed => None,
            Pace::Open(rate) => Some(Schedule::new(rate, now, self.seed)),
        };
        let patience = self
            .client
            .as_ref()
            .map_or(Duration::ZERO, Client::connect_timeout);
        if let Some(client) = &mut self.client {
            client.count(false);
        }
        self.begun.clear();
        self.stage = Stage::Opening;
        self.opened = 0;
        self.stopped = false;
        self.until = now + patience;
    }

    /// One turn.
    pub fn poll_once(&mut self, now: Instant) -> Turn {
        self.note_delays(now);
        let frames = self.stack.receive(now);
        self.stack.expire(now);
        let mut work = self.drive(now);
        if self.stage == Stage::Measuring && now >= self.until && self.schedule.is_some() {
            // What became due since the last turn is sent before the stage ends.
            work += self.start_due(now);
        }
        let entered = self.next_stage(now);
        work += self.start_due(now);
        let interval = self.stage == Stage::Measuring && self.stats.turn(now, self.began);
        self.stack.flush(now);
        Turn {
            frames,
            idle: frames == 0 && work == 0,
            entered,
            interval,
        }
    }

    /// Ends the step early: what was sent is waited for a moment, and what is not answered then counts
    /// neither way. Has no effect on a step that was stopped before.
    pub fn stop(&mut self, now: Instant) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        self.until = self.until.min(match self.stage {
            Stage::Draining => now + HURRIED,
            _ => now,
        });
        match self.stage {
            Stage::Opening | Stage::WarmUp => {
                self.stage = Stage::Measuring;
                self.began = now;
                // Nothing of what was due before it counts.
                self.restart_schedule(now);
            }
            Stage::Measuring | Stage::Draining | Stage::Done => {}
        }
    }

    /// What the step has counted so far.
    pub fn stats(&self) -> &StepStats {
        &self.stats
    }

    /// What the step has counted; to be called when it is [`Stage::Done`].
    pub fn take_stats(&mut self) -> StepStats {
        if let Some(client) = &self.client {
            client.name_exceptions(&mut self.stats);
        }
        std::mem::replace(&mut self.stats, StepStats::new(Duration::ZERO, 0))
    }

    /// What the backend has seen since the start.
    pub fn served(&self) -> Served {
        self.server.as_ref().map_or(Served::default(), |s| s.served)
    }

    /// The stack.
    pub fn stack(&self) -> &Stack<P> {
        &self.stack
    }

    /// How far the step is.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Requests under way.
    pub fn under_way(&self) -> usize {
        self.client.as_ref().map_or(0, Client::busy)
    }

    /// Resets every connection, the backend's too: who keeps one idle is to learn that it leads nowhere.
    pub fn hang_up(&mut self, now: Instant) {
        if let Some(client) = &mut self.client {
            client.close_all(&mut self.stack, now);
        }
        if let Some(server) = &mut self.server {
            server.close_all(&mut self.stack, now);
        }
        self.stack.flush(now);
    }

    /// Whether a connection is left of which something is still to be sent.
    pub fn has_flows(&self, now: Instant) -> bool {
        self.stack.flows(0, usize::MAX, now).next().is_some()
    }

    /// When there is something to do, frames aside. For simulations: timeouts are looked at in turn, so
    /// there is always something soon.
    pub fn next_wake(&self, now: Instant) -> Instant {
        // What is due and finds no free connection waits for an answer.
        let free = self.client.as_ref().is_some_and(Client::has_free);
        let due = self.schedule.as_ref().filter(|_| free).map(Schedule::next);
        let rested = self.client.as_ref().and_then(Client::next_wake);
        let soon = now + Duration::from_millis(1);
        [self.stack.next_wake(), due, rested, Some(self.until)]
            .into_iter()
            .flatten()
            .fold(soon, Instant::min)
            .max(now)
    }

    fn drive(&mut self, now: Instant) -> usize {
        let mut driven = 0;
        while driven < FLOWS_PER_POLL
            && let Some((flow, owner)) = self.stack.next_ready()
        {
            driven += 1;
            match (owner, &mut self.client, &mut self.server) {
                (Owner::User(slot), _, Some(server)) if slot & SERVER != 0 => {
                    server.drive(slot & !SERVER, &mut self.stack, now);
                }
                (Owner::User(slot), Some(client), _) => {
                    client.drive(slot, flow, &mut self.stack, &mut self.stats, now);
                }
                (Owner::Listener(_), _, Some(server)) => {
                    let user = |slot| slot | SERVER;
                    if let Some(slot) = server.accept(flow, &mut self.stack, user, now) {
                        server.drive(slot, &mut self.stack, now);
                    }
                }
                _ => {}
            }
        }
        if let Some(client) = &mut self.client {
            driven += client.patrol(&mut self.stack, &mut self.stats, now);
        }
        driven
    }

    /// Goes on to the next stage where this one is over.
    fn next_stage(&mut self, now: Instant) -> Option<Stage> {
        let before = self.stage;
        let client = self.client.as_mut()?;
        match self.stage {
            Stage::Opening => {
                // As long as it takes, while they open: a hundred thousand take longer than one may.
                if self.stats.connections > self.opened && !self.stopped {
                    self.opened = self.stats.connections;
                    self.until = now + client.connect_timeout();
                }
                let opened = client.open_ahead(&mut self.stack, &mut self.stats, now);
                if opened || now >= self.until {
                    self.stage = Stage::WarmUp;
                    self.until = now + self.step.warm_up;
                    self.restart_schedule(now);
                }
            }
            Stage::WarmUp if now >= self.until => {
                client.count(true);
                // What the warm-up did not get to is not this step's burden.
                self.stats.connections = 0;
                self.stats.begin(now);
                self.stage = Stage::Measuring;
                self.began = now;
                self.until = now + self.step.length.duration;
                self.restart_schedule(now);
            }
            Stage::Measuring
                if now >= self.until || self.stats.requests >= self.step.length.requests =>
            {
                if now >= self.until {
                    let left = self.schedule.as_ref().map(|s| s.left(self.until));
                    self.stats.unsent = left.unwrap_or(0);
                }
                self.stats.end(now.since(self.began));
                self.stage = Stage::Draining;
                self.until = now
                    + if self.stopped {
                        HURRIED
                    } else {
                        client.patience()
                    };
            }
            Stage::Draining => {
                if now >= self.until {
                    if self.stopped {
                        client.count(false);
                    }
                    client.give_up(&mut self.stack, &mut self.stats, now);
                }
                if client.busy() == 0 {
                    // A step of so many requests lasts until the last answer.
                    if self.stats.requests >= self.step.length.requests {
                        self.stats.end(now.since(self.began));
                    }
                    self.stats.close();
                    self.stage = Stage::Done;
                    self.until = Instant::NEVER;
                }
            }
            _ => {}
        }
        (self.stage != before).then_some(self.stage)
    }

    /// What the last turn sent has left by now, at the latest.
    #[inline]
    fn note_delays(&mut self, now: Instant) {
        for intended in self.begun.drain(..) {
            let late = now.since(intended).as_nanos() as u64;
            self.stats.timing.saturating_record(late.max(1));
        }
    }

    fn restart_schedule(&mut self, now: Instant) {
        if let Some(schedule) = &mut self.schedule {
            schedule.restart(now);
            self.blocked_until = now;
        }
    }

    /// Sends the requests that are due; returns how many.
    #[inline]
    fn start_due(&mut self, now: Instant) -> usize {
        let Some(client) = &mut self.client else {
            return 0;
        };
        let bound = match self.stage {
            Stage::WarmUp => u64::MAX,
            Stage::Measuring => self
                .step
                .length
                .requests
                .saturating_sub(self.stats.requests),
            Stage::Opening | Stage::Draining | Stage::Done => return 0,
        };
        let (stack, stats) = (&mut self.stack, &mut self.stats);
        let mut started = 0;
        while client.has_free() && (started as u64) < bound {
            let intended = match &mut self.schedule {
                None => now,
                Some(schedule) => {
                    let intended = schedule.next();
                    let over = self.stage == Stage::Measuring && intended >= self.until;
                    if intended > now || over {
                        return started;
                    }
                    schedule.advance();
                    if intended >= self.blocked_until && self.stage == Stage::Measuring {
                        self.begun.push(intended);
                    }
                    intended
                }
            };
            client.start(intended, stack, stats, now);
            started += 1;
        }
        self.blocked_until = now;
        started
    }
}
