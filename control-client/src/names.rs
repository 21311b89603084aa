//! What the names of endpoints stand for: looked up again when their time is over, on a thread of its
//! own. What was found last stays until something else is found.

mod lookup;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sluice_policy::{Lookup, Resolved, Wanted};
use tokio::sync::watch;
use tokio::task::JoinSet;

use lookup::{Addresses, Asker, Found};

/// How long rules with new names wait for them to be looked up for the first time.
pub(crate) const FIRST_ANSWERS: Duration = Duration::from_secs(5);
/// Shortest and longest time for which an answer holds, whatever its own says.
const HOLDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// Time to the next attempt behind a failure, which doubles with each that follows; and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Look-ups at a time.
const MAX_AT_A_TIME: usize = 64;

/// The names that are followed. The thread ends with this value.
#[derive(Debug)]
pub struct Names {
    shared: Arc<Shared>,
    wanted: watch::Sender<Wanted>,
}

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
    /// Something was looked up.
    answered: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    names: BTreeMap<Lookup, Name>,
    /// Grows with every change of what a name stands for.
    version: u64,
    totals: Totals,
}

/// What is known of a name.
#[derive(Debug, Default)]
struct Name {
    addresses: Option<Addresses>,
    error: Option<String>,
    /// Failures since the last answer.
    failed: u32,
}

impl Name {
    fn is_known(&self) -> bool {
        self.addresses.is_some() || self.error.is_some()
    }
}

/// Look-ups so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Answered with addresses.
    pub answered: u64,
    /// Not answered, or with none.
    pub failed: u64,
}

/// A name as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameView {
    /// The name, `srv ` in front of one of SRV records.
    pub name: String,
    /// What it stands for.
    pub addresses: Vec<String>,
    /// Why the last look-up failed, if it did: the addresses are older then.
    pub error: Option<String>,
}

/// Lets others see the names.
#[derive(Debug, Clone, Default)]
pub struct NamesView(Arc<Shared>);

impl NamesView {
    /// All names that are followed, in order.
    pub fn names(&self) -> Vec<NameView> {
        let table = self.0.table();
        let names = table.names.iter().map(|(name, own)| NameView {
            name: name.to_string(),
            addresses: own
                .addresses
                .as_ref()
                .map_or_else(Vec::new, Addresses::texts),
            error: own.error.clone(),
        });
        names.collect()
    }

    /// How many names' last look-up was answered, and how many names' failed.
    pub fn count(&self) -> (usize, usize) {
        let table = self.0.table();
        let failed = table.names.values().filter(|own| own.error.is_some());
        let known = table.names.values().filter(|own| own.is_known());
        let failed = failed.count();
        (known.count() - failed, failed)
    }

    /// Look-ups so far.
    pub fn totals(&self) -> Totals {
        self.0.table().totals
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    /// Follows no names yet; lets `view` see those that will be.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(view: &NamesView) -> io::Result<Names> {
        let shared = view.0.clone();
        let (wanted, follow) = watch::channel(Wanted::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let own = shared.clone();
        thread::Builder::new()
            .name("names".into())
            .spawn(move || runtime.block_on(Follower::new(own, follow).run()))?;
        Ok(Names { shared, wanted })
    }

    /// Follows these names alone from now on.
    pub fn follow(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|before| {
            let changed = *before != wanted;
            *before = wanted;
            changed
        });
    }

    /// Those of these names that have not been looked up yet, be it in vain.
    pub fn unknown(&self, names: &BTreeSet<Lookup>) -> Vec<Lookup> {
        let table = self.shared.table();
        let unknown = names.iter().filter(|name| !table.knows(name));
        unknown.cloned().collect()
    }

    /// Waits until each of these names that are followed has been looked up, or for so long.
    pub fn wait_for(&self, names: &BTreeSet<Lookup>, longest: Duration) {
        let deadline = Instant::now() + longest;
        let mut table = self.shared.table();
        while !names.iter().all(|name| table.knows(name)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.shared.answered.wait_timeout(table, left);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What the names stand for, and the version of that, which grows with every change.
    pub fn resolved(&self) -> (u64, Arc<Resolved>) {
        let table = self.shared.table();
        (table.version, table.resolved())
    }
}

impl Table {
    fn knows(&self, name: &Lookup) -> bool {
        self.names.get(name).is_some_and(Name::is_known)
    }

    fn resolved(&self) -> Arc<Resolved> {
        let mut resolved = Resolved::default();
        for (name, own) in &self.names {
            match (name, &own.addresses) {
                (Lookup::Host(name), Some(Addresses::Hosts(own))) => {
                    resolved.hosts.insert(name.clone(), own.clone());
                }
                (Lookup::Srv(name), Some(Addresses::Sockets(own))) => {
                    resolved.services.insert(name.clone(), own.clone());
                }
                _ => {}
            }
        }
        Arc::new(resolved)
    }

    /// Takes in what a look-up found; gives the time until the next.
    fn take(&mut self, name: &Lookup, found: Result<Found, String>) -> Duration {
        let Some(own) = self.names.get_mut(name) else {
            return Duration::ZERO;
        };
        match found {
            Ok(found) => {
                self.totals.answered += 1;
                own.error = None;
                own.failed = 0;
                if own.addresses.as_ref() != Some(&found.addresses) {
                    own.addresses = Some(found.addresses);
                    self.version += 1;
                }
                found.holds.clamp(HOLDS.0, HOLDS.1)
            }
            Err(error) => {
                self.totals.failed += 1;
                own.error = Some(error);
                let wait = AGAIN.0 * (1 << own.failed.min(5));
                own.failed += 1;
                wait.min(AGAIN.1)
            }
        }
    }
}

/// Looks names up when their time comes.
struct Follower {
    shared: Arc<Shared>,
    wanted: watch::Receiver<Wanted>,
    asker: Option<Asker>,
    /// When which name is to be looked up; one that is being looked up is not among them.
    due: BTreeMap<Lookup, Instant>,
    running: JoinSet<(Lookup, Result<Found, String>)>,
}

impl Follower {
    fn new(shared: Arc<Shared>, wanted: watch::Receiver<Wanted>) -> Follower {
        Follower {
            shared,
            wanted,
            asker: None,
            due: BTreeMap::new(),
            running: JoinSet::new(),
        }
    }

    /// Until nobody wants names any more.
    async fn run(mut self) {
        loop {
            self.begin_due();
            let next = self.due.values().min().copied();
            let room = self.running.len() < MAX_AT_A_TIME;
            let sleep = async {
                match next {
                    Some(at) if room => tokio::time::sleep_until(at.into()).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.wanted.changed() => match changed {
                    Ok(()) => self.follow(),
                    Err(_) => return,
                },
                Some(done) = self.running.join_next() => {
                    if let Ok((name, found)) = done {
                        self.take(name, found);
                    }
                }
                () = sleep => {}
            }
        }
    }

    /// Goes over to other names.
    fn follow(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        if self
            .asker
            .as_ref()
            .is_none_or(|asker| asker.dns != wanted.dns)
        {
            self.asker = Some(Asker::new(wanted.dns));
        }
        let now = Instant::now();
        let mut table = self.shared.table();
        // Nobody asks what those stand for that go: that is no change.
        table.names.retain(|name, _| wanted.names.contains(name));
        self.due.retain(|name, _| wanted.names.contains(name));
        for name in wanted.names {
            if !table.names.contains_key(&name) {
                table.names.insert(name.clone(), Name::default());
                self.due.insert(name, now);
            }
        }
    }

    fn begin_due(&mut self) {
        let Some(asker) = &self.asker else {
            return;
        };
        let now = Instant::now();
        let room = MAX_AT_A_TIME.saturating_sub(self.running.len());
        let due = self.due.iter().filter(|(_, at)| **at <= now).take(room);
        let due: Vec<Lookup> = due.map(|(name, _)| name.clone()).collect();
        for name in due {
            self.due.remove(&name);
            let asker = asker.clone();
            self.running.spawn(async move {
                let found = asker.ask(&name).await;
                (name, found)
            });
        }
    }

    fn take(&mut self, name: Lookup, found: Result<Found, String>) {
        let mut table = self.shared.table();
        let wait = table.take(&name, found);
        // One that nobody wants any more is forgotten.
        if table.names.contains_key(&name) {
            self.due.insert(name, Instant::now() + wait);
        }
        drop(table);
        self.shared.answered.notify_all();
    }
}
