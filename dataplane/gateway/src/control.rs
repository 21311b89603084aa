//! The control thread: waits for what happens outside the data path, and acts on it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::json;
use sluice_control_client::Update;
use sluice_control_client::file::{FileSource, RollbackError};
use sluice_engine::Handoff;
use sluice_policy::Snapshot;
use tokio::sync::oneshot;

use crate::check::{Counts, show};
use crate::links::Links;
use crate::log;
use crate::notify::Notify;
use crate::rates::Rates;
use crate::room::{Room, now_beyond_machine};
use crate::run::RunError;
use crate::status::Status;
use crate::steering::Steerings;
use crate::watchdog::{self, Watchdog};
use crate::worker::WorkerError;

/// How often the rules' file is looked at and old snapshots are freed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The same while rules wait for names to be looked up.
const LOOK_SOON: Duration = Duration::from_millis(20);

/// How long after the drain deadline the worker must have ended.
const GRACE: Duration = Duration::from_secs(5);

/// How long workers have to end because another one hangs.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Most problems of rules that are refused that go to the log.
const LOGGED: usize = 20;

/// What the control thread waits for.
#[derive(Debug)]
pub(crate) enum Event {
    /// A worker's first poll is done.
    Polling,
    /// A worker ended, by itself or because it was told to.
    WorkerEnded(Result<(), WorkerError>),
    /// Somebody wants the gateway to stop: who.
    Stop(&'static str),
    /// SIGHUP.
    Reload,
    /// Somebody wants rules that were in force before: which, and who waits for the new generation.
    RollBack {
        /// Their generation; without it, that before the present one.
        to: Option<u64>,
        /// Is told what came of it.
        answer: oneshot::Sender<Result<RolledBack, String>>,
    },
}

/// Rules of before that came into force again.
#[derive(Debug)]
pub(crate) struct RolledBack {
    /// The generation that they are now.
    pub(crate) generation: u64,
    /// The generation that they were at first.
    pub(crate) origin: u64,
}

/// Workers that are still to say something.
#[derive(Debug)]
pub(crate) struct Awaited {
    polling: usize,
    ended: usize,
}

impl Awaited {
    /// So many workers, that have said nothing yet.
    pub(crate) fn of(workers: usize) -> Self {
        Awaited {
            polling: workers,
            ended: workers,
        }
    }
}

/// What the control thread works with.
pub(crate) struct Control {
    /// Where rules come from.
    pub(crate) source: FileSource,
    /// Where they go, by worker.
    pub(crate) handoffs: Vec<Arc<Handoff>>,
    /// Workers that have not polled yet, and those that have not ended.
    pub(crate) awaited: Awaited,
    /// Looked at on the way.
    pub(crate) links: Links,
    /// Looks whether they poll.
    pub(crate) watchdog: Watchdog,
    /// Judged on the way.
    pub(crate) steerings: Steerings,
    /// Sampled on the way.
    pub(crate) rates: Arc<Rates>,
    /// Made for connections at the start.
    pub(crate) room: Room,
    /// What it tells the other threads.
    pub(crate) status: Arc<Status>,
    /// Tells systemd.
    pub(crate) notify: Notify,
    /// What it waits for.
    pub(crate) events: Receiver<Event>,
    /// Who waits for a roll-back, and which of the source's texts that is.
    pub(crate) rolls_back: Option<(u64, oneshot::Sender<Result<RolledBack, String>>)>,
}

impl Control {
    /// Runs until all workers have ended; `Ok` if they were told to. One that fails ends the others: its
    /// queues would be left unread.
    pub(crate) fn run(mut self) -> Result<(), RunError> {
        let mut look_at = Instant::now() + LOOK_EVERY;
        let mut give_up_at: Option<Instant> = None;
        loop {
            let mut wait = look_at.saturating_duration_since(Instant::now());
            if self.source.is_waiting() {
                wait = wait.min(LOOK_SOON);
            }
            match self.events.recv_timeout(wait) {
                Ok(Event::Polling) => {
                    self.awaited.polling = self.awaited.polling.saturating_sub(1);
                    if self.awaited.polling == 0 {
                        log::info("ready");
                        self.notify.ready();
                    }
                }
                Ok(Event::WorkerEnded(Ok(()))) => {
                    self.awaited.ended = self.awaited.ended.saturating_sub(1);
                    if self.awaited.ended == 0 {
                        return Ok(());
                    }
                }
                Ok(Event::WorkerEnded(Err(error))) => {
                    self.status.stop_at_once();
                    return Err(error.into());
                }
                Ok(Event::Stop(why)) if give_up_at.is_none() => {
                    give_up_at = Some(Instant::now() + self.drain(why) + GRACE);
                }
                Ok(Event::Stop(_)) => {}
                Ok(Event::Reload) => self.reload(),
                Ok(Event::RollBack { to, answer }) => {
                    self.roll_back(to, answer);
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < look_at => self.look_for_rules(),
                Err(RecvTimeoutError::Timeout) => {
                    look_at = Instant::now() + LOOK_EVERY;
                    self.look();
                    if let Some(worker) = self.watchdog.look(say_of_worker) {
                        self.status.stop_at_once();
                        self.see_others_end();
                        return Err(WorkerError::Silent(worker).into());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(WorkerError::Panicked.into()),
            }
            if give_up_at.is_some_and(|at| Instant::now() >= at) {
                return Err(RunError::Stuck);
            }
        }
    }

    /// Waits for all workers but one that hangs, so that they cut off what they have under way.
    fn see_others_end(&mut self) {
        let give_up_at = Instant::now() + LAST_WORDS;
        while self.awaited.ended > 1 {
            let left = give_up_at.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::WorkerEnded(_)) => self.awaited.ended -= 1,
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// Tells the workers to drain; returns how long it may take.
    fn drain(&self, why: &str) -> Duration {
        let rules = self.handoffs.first().map(|handoff| handoff.current());
        let timeout = rules.map_or(Duration::ZERO, |rules| rules.node.drain_timeout);
        log::info(format_args!(
            "{why}: stopping; requests under way have {timeout:?} to finish, another signal stops at once"
        ));
        self.status.drain();
        self.notify.stopping(timeout + GRACE);
        timeout
    }

    fn look(&mut self) {
        self.handoffs
            .iter()
            .for_each(|handoff| handoff.free_retired());
        self.links.look();
        let rules = self.handoffs.first().map(|handoff| handoff.current());
        let serves = |port| {
            let mut listeners = rules.iter().flat_map(|rules| &rules.listeners);
            listeners.any(|listener| listener.port == port)
        };
        self.steerings.look(Instant::now(), serves);
        self.rates.sample(Instant::now());
        self.look_for_rules();
    }

    fn look_for_rules(&mut self) {
        if !self.status.is_draining()
            && let Some(update) = self.source.poll()
        {
            self.take(update);
        }
    }

    fn reload(&mut self) {
        if self.status.is_draining() {
            return log::info("SIGHUP: stopping, so the rules stay as they are");
        }
        match self.source.reload() {
            Some(update) => self.take(update),
            None => match self.source.refused() {
                None => log::info("SIGHUP: the file is what it was; the rules stay as they are"),
                Some(problems) => {
                    show(problems, LOGGED);
                    log::warning(format_args!(
                        "SIGHUP: the file is still refused, {}; generation {} stays in force",
                        match problems.len() {
                            1 => "for one problem".into(),
                            count => format!("for {count} problems"),
                        },
                        self.source.generation()
                    ));
                }
            },
        }
    }

    fn roll_back(&mut self, to: Option<u64>, answer: oneshot::Sender<Result<RolledBack, String>>) {
        let begun = if self.status.is_draining() {
            Err("stopping, so the rules stay as they are".into())
        } else {
            let begun = self.source.roll_back(to);
            begun.map_err(|error| error.to_string())
        };
        match begun {
            Ok(update) => {
                self.give_way();
                self.rolls_back = Some((self.source.begun(), answer));
                self.take(update);
            }
            // Whoever asked may have left.
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// Tells who waits for rules to be rolled back if others have taken their place.
    fn give_way(&mut self) {
        let begun = self.source.begun();
        if let Some((_, answer)) = self.rolls_back.take_if(|(own, _)| *own != begun) {
            drop(answer.send(Err("other rules came meanwhile".into())));
        }
    }

    fn adopt(&mut self, snapshot: Arc<Snapshot>) {
        log::info(format_args!(
            "rules: generation {} adopted ({})",
            snapshot.generation,
            Counts(&snapshot)
        ));
        let before = self.handoffs.first().map(|handoff| handoff.current());
        let said = [
            self.room.exceeded(&snapshot),
            now_beyond_machine(before.as_deref(), &snapshot),
        ];
        for what in said.into_iter().flatten() {
            log::warning(format_args!("rules: {what}"));
        }
        for handoff in &self.handoffs {
            handoff.offer(snapshot.clone());
        }
        // That takes its time where there are many; nothing waits for it.
        self.status
            .show_rules(effective(&self.source), self.source.took());
        self.status.show_history(history(&self.source));
    }

    /// Puts new rules in force, or says why not.
    fn take(&mut self, update: Update) {
        self.give_way();
        // While rules wait, this is about others.
        let waits = self.source.is_waiting();
        match update {
            Update::Accepted(snapshot) => {
                let generation = snapshot.generation;
                // Who hears that it is done finds it done.
                self.adopt(snapshot);
                if !waits && let Some((_, answer)) = self.rolls_back.take() {
                    let last = self.source.history().last();
                    let origin = last.map_or(generation, |version| version.origin);
                    log::info(format_args!(
                        "rules: rolled back to those of generation {origin}; the file stays as it is"
                    ));
                    drop(answer.send(Ok(RolledBack { generation, origin })));
                }
            }
            Update::Waiting(names) => log::info(format_args!(
                "rules: {} looked up first, for 5 s at most",
                match names.len() {
                    1 => "one name of endpoints is".into(),
                    count => format!("{count} names of endpoints are"),
                }
            )),
            Update::Unchanged => log::info(format_args!(
                "rules: the file says the same in other words; generation {} stays in force",
                self.source.generation()
            )),
            Update::Rejected(problems) => {
                if !waits && let Some((_, answer)) = self.rolls_back.take() {
                    let refused = RollbackError::refused(&problems);
                    drop(answer.send(Err(refused.to_string())));
                    return;
                }
                self.status.count_rejected();
                show(&problems, LOGGED);
                log::warning(format_args!(
                    "rules: refused, generation {} stays in force",
                    self.handoffs
                        .first()
                        .map_or(0, |handoff| handoff.generation())
                ));
            }
        }
    }
}

/// The generations that can be gone back to, as the admin interface shows them.
pub(crate) fn history(source: &FileSource) -> serde_json::Value {
    let kept: Vec<u64> = source.history().map(|version| version.generation).collect();
    let again = source
        .history()
        .filter(|version| version.origin != version.generation);
    let again: serde_json::Map<_, _> = again
        .map(|version| (version.generation.to_string(), json!(version.origin)))
        .collect();
    json!({
        "in_force": source.generation(),
        "accepted_as": kept.last(),
        "kept": kept,
        "rolled_back_to": again,
    })
}

/// The rules in force as the admin interface shows them, with their generation.
pub(crate) fn effective(source: &FileSource) -> serde_json::Value {
    let rules = serde_json::to_value(source.rules()).unwrap_or_default();
    json!({ "generation": source.generation(), "rules": rules })
}

/// A line for a worker that hangs, and one for it when it goes on.
fn say_of_worker(worker: usize, what: watchdog::Change) {
    match what {
        watchdog::Change::Hangs => log::warning(format_args!("worker {worker} {what}")),
        watchdog::Change::GoesOn(_) => log::info(format_args!("worker {worker} {what}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{SyncSender, sync_channel};

    use super::*;

    fn control() -> (Control, SyncSender<Event>) {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/quickstart.yaml");
        let (source, rules) = FileSource::open(config).unwrap();
        let room = Room::of(&rules);
        let (events_in, events) = sync_channel(4);
        let control = Control {
            source,
            handoffs: vec![
                Arc::new(Handoff::new(rules.clone())),
                Arc::new(Handoff::new(rules)),
            ],
            awaited: Awaited::of(2),
            links: Links::default(),
            watchdog: Watchdog::default(),
            steerings: Steerings::default(),
            rates: Arc::new(Rates::new(Vec::new())),
            room,
            status: Arc::new(Status::default()),
            notify: Notify::default(),
            events,
            rolls_back: None,
        };
        (control, events_in)
    }

    #[test]
    fn who_hears_that_rules_are_rolled_back_finds_them_in_force() {
        let (mut control, _events) = control();
        let file = std::env::temp_dir().join(format!("sluice-control-{}.yaml", std::process::id()));
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/quickstart.yaml");
        let text = std::fs::read_to_string(config).unwrap();
        std::fs::write(&file, &text).unwrap();
        (control.source, _) = FileSource::open(&file).unwrap();
        let more = format!("{text}  - {{ path: /another, service: hello }}\n");
        std::fs::write(&file, more).unwrap();
        control.reload();
        let shown = control.status.rules();
        assert_eq!(shown["generation"], 2);
        assert_eq!(shown["rules"]["routes"][1]["path"], "/another");
        let (status, handoffs) = (control.status.clone(), control.handoffs.clone());
        let (answer, answered) = oneshot::channel::<Result<RolledBack, String>>();
        let hears = std::thread::spawn(move || {
            let said = answered.blocking_recv().unwrap().unwrap();
            let offered: Vec<u64> = handoffs.iter().map(|own| own.generation()).collect();
            (said, offered, status.rules())
        });
        control.roll_back(None, answer);
        let (said, offered, shown) = hears.join().unwrap();
        assert_eq!((said.generation, said.origin), (3, 1));
        assert_eq!(offered, [3, 3]);
        assert_eq!(shown["generation"], 3);
        assert_eq!(shown["rules"]["routes"][1], serde_json::Value::Null);
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_stop_drains_and_waits_for_all_workers() {
        let (control, events) = control();
        let status = control.status.clone();
        events.send(Event::Polling).unwrap();
        events.send(Event::Stop("a test")).unwrap();
        events.send(Event::WorkerEnded(Ok(()))).unwrap();
        let runs = std::thread::spawn(move || control.run());
        while !status.is_draining() {
            std::thread::yield_now();
        }
        assert!(!runs.is_finished(), "one of two has ended");
        events.send(Event::WorkerEnded(Ok(()))).unwrap();
        assert!(runs.join().unwrap().is_ok());
        assert!(!status.is_at_once());
    }

    #[test]
    fn a_worker_that_hangs_ends_the_gateway_after_the_others_have_ended() {
        let (mut control, events) = control();
        let status = control.status.clone();
        let other = std::thread::spawn(move || {
            while !status.is_at_once() {
                std::thread::yield_now();
            }
            events.send(Event::WorkerEnded(Ok(()))).unwrap();
            events // so that the control thread cannot take it for the end of all
        });
        control.status.stop_at_once();
        let begun = Instant::now();
        control.see_others_end();
        assert_eq!(control.awaited.ended, 1);
        assert!(begun.elapsed() < LAST_WORDS, "there was nobody to wait for");
        drop(other.join());
    }

    #[test]
    fn a_worker_that_dies_ends_the_gateway_with_an_error() {
        let (control, events) = control();
        let status = control.status.clone();
        events
            .send(Event::WorkerEnded(Err(WorkerError::Panicked)))
            .unwrap();
        let error = control.run().unwrap_err();
        assert!(matches!(error, RunError::Worker(WorkerError::Panicked)));
        assert!(status.is_at_once(), "the other worker ends as well");
    }
}
