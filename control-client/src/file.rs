//! Rules from one YAML file that is followed as it changes.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_policy::rules::Rules;
use sluice_policy::{
    Lookup, Problem, Resolved, Snapshot, Wanted, compatible, compile_resolved, parse, recompile,
    yaml,
};

use crate::Update;
use crate::names::{FIRST_ANSWERS, Names, NamesView};

/// Accepted versions that are kept, the one in force among them.
pub const HISTORY: usize = 10;

/// One version of the file that was accepted.
#[derive(Debug, Clone)]
pub struct Version {
    /// The generation that it became.
    pub generation: u64,
    /// The generation that it was accepted as at first; another than `generation` where it was gone back to.
    pub origin: u64,
    /// Its text.
    text: Arc<str>,
}

/// Why rules cannot be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// Nothing was accepted before the rules in force.
    #[error("there are no rules before these")]
    Nothing,
    /// The generation is not kept, or never was; those that are.
    #[error("generation {0} is not kept; there are {1}")]
    Unknown(u64, String),
    /// They are in force.
    #[error("generation {0} is in force")]
    InForce(u64),
    /// What is in force now says the same.
    #[error(
        "nothing changed: generation {in_force}, which is in force, has the same rules as generation {wanted}"
    )]
    Same {
        /// The generation that was to be gone back to.
        wanted: u64,
        /// That in force.
        in_force: u64,
    },
    /// They cannot be taken up any more: the problems, a line each.
    #[error("{0}")]
    Refused(String),
}

/// Rules whose names are looked up.
#[derive(Debug)]
struct Waiting {
    rules: Rules,
    text: Arc<str>,
    origin: Option<u64>,
    names: BTreeSet<Lookup>,
    /// They are compiled then at the latest.
    until: Instant,
    /// How long it took to read them.
    reading: Duration,
}

/// Follows one YAML file. Reads the file system: for a control thread.
///
/// A change is noticed by the file's metadata, and taken up once two calls of [`poll`] in a row saw
/// the same: a file that is just being written is not read half. A file that is replaced by a
/// rename is followed, and so is the target of a symbolic link.
///
/// [`poll`]: FileSource::poll
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    /// Rules of the last snapshot that was accepted, and that snapshot.
    rules: Rules,
    snapshot: Arc<Snapshot>,
    generation: u64,
    /// What was accepted last, the rules in force at the end: at most [`HISTORY`].
    history: VecDeque<Version>,
    /// The generation that the text in force became when it was accepted; names that stood for something
    /// else later made further ones of it.
    accepted: u64,
    /// Looks names up, where there were any.
    names: Option<Names>,
    view: NamesView,
    /// The version of what they stand for in `snapshot`.
    named: u64,
    /// Rules that wait for their names to be looked up.
    waiting: Option<Waiting>,
    /// Texts that were begun to be taken up.
    begun: u64,
    /// How long it took to read and compile the rules of `snapshot`.
    took: Duration,
    /// What was read last, good or not: the same again is no news.
    read: Result<String, Vec<Problem>>,
    /// What is wrong with the file as it was read last, if anything.
    refused: Option<Vec<Problem>>,
    /// The file as the last call saw it.
    seen: Option<Stamp>,
    /// The file as it was when `read` was read.
    taken: Option<Stamp>,
}

impl FileSource {
    /// Reads the file for the first time; its snapshot has generation 1.
    ///
    /// # Errors
    ///
    /// Every problem of the file.
    pub fn open(path: impl Into<PathBuf>) -> Result<(FileSource, Arc<Snapshot>), Vec<Problem>> {
        let path = path.into();
        let stamp = Stamp::of(&path);
        let text = yaml::read_regular(&path)?;
        let began = Instant::now();
        let rules = parse(&text, &path.display().to_string())?;
        let reading = began.elapsed();
        let mut names = None;
        let view = NamesView::default();
        let wanted = Wanted::of(&rules);
        // Nothing else is to be done at the start.
        let own = follow(&mut names, &view, wanted.clone())?;
        let (named, resolved) = own.map_or_else(Default::default, |own| {
            own.wait_for(&wanted.names, FIRST_ANSWERS);
            own.resolved()
        });
        let began = Instant::now();
        let mut snapshot = compile_resolved(&rules, &resolved)?;
        snapshot.generation = 1;
        let snapshot = Arc::new(snapshot);
        let version = Version {
            generation: 1,
            origin: 1,
            text: text.as_str().into(),
        };
        let source = FileSource {
            path,
            rules,
            snapshot: snapshot.clone(),
            generation: 1,
            history: VecDeque::from([version]),
            accepted: 1,
            named,
            names,
            waiting: None,
            begun: 0,
            took: reading + began.elapsed(),
            view,
            read: Ok(text),
            refused: None,
            seen: stamp,
            taken: stamp,
        };
        Ok((source, snapshot))
    }

    /// Looks whether the file changed, or what a name of it stands for; to be called about once a second.
    /// `None` if there is nothing new. Each change is reported once.
    pub fn poll(&mut self) -> Option<Update> {
        self.poll_file()
            .or_else(|| self.poll_waiting())
            .or_else(|| self.poll_names())
    }

    /// Whether rules wait for their names to be looked up: [`Self::poll`] is worth calling soon.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// How many texts were begun to be taken up: a later one takes the place of one that waits.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    fn poll_waiting(&mut self) -> Option<Update> {
        let waiting = self.waiting.take_if(|waiting| {
            let own = self.names.as_ref();
            Instant::now() >= waiting.until
                || own.is_none_or(|own| own.unknown(&waiting.names).is_empty())
        })?;
        let from_file = waiting.origin.is_none();
        Some(match self.take_up(waiting) {
            Ok(snapshot) => Update::Accepted(snapshot),
            Err(problems) => {
                if from_file {
                    self.refused = Some(problems.clone());
                }
                Update::Rejected(problems)
            }
        })
    }

    fn poll_names(&mut self) -> Option<Update> {
        let (version, resolved) = self.names.as_ref()?.resolved();
        if version == self.named {
            return None;
        }
        self.named = version;
        // It may have been one of rules that wait.
        if Wanted::of(&self.rules).are_as_in(&self.snapshot, &resolved) {
            return None;
        }
        Some(match self.renew(&resolved) {
            Ok(snapshot) => Update::Accepted(snapshot),
            Err(problems) => Update::Rejected(problems),
        })
    }

    /// The same rules with what their names stand for now.
    fn renew(&mut self, resolved: &Arc<Resolved>) -> Result<Arc<Snapshot>, Vec<Problem>> {
        let began = Instant::now();
        let mut snapshot = recompile(&self.rules, resolved, &self.rules, &self.snapshot)?;
        self.took = began.elapsed();
        self.generation += 1;
        snapshot.generation = self.generation;
        self.snapshot = Arc::new(snapshot);
        Ok(self.snapshot.clone())
    }

    fn poll_file(&mut self) -> Option<Update> {
        let stamp = Stamp::of(&self.path);
        let settled = stamp == self.seen;
        self.seen = stamp;
        if !settled || stamp == self.taken {
            return None;
        }
        self.reload()
    }

    /// Reads the file at once, whatever its metadata say: for SIGHUP. `None` if its content is
    /// that of the last time; see [`Self::refused`].
    pub fn reload(&mut self) -> Option<Update> {
        self.taken = Stamp::of(&self.path);
        let read = yaml::read_regular(&self.path);
        if read == self.read {
            return None;
        }
        self.read = read;
        let taken = match self.read.clone() {
            Ok(text) => self.begin(&text, None),
            Err(problems) => Err(problems),
        };
        self.refused = taken.as_ref().err().cloned();
        if let Ok(Update::Unchanged) = taken {
            self.begun += 1;
            if self.waiting.take().is_some()
                && let Some(names) = &self.names
            {
                names.follow(Wanted::of(&self.rules));
            }
        }
        Some(taken.unwrap_or_else(Update::Rejected))
    }

    /// What is wrong with the file as it was read last; `None` where it was taken up, or waits for names.
    pub fn refused(&self) -> Option<&[Problem]> {
        self.refused.as_deref()
    }

    /// The rules of the last snapshot that was accepted.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The generation of the rules in force.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How long it took to read and compile the rules in force, names that were waited for left out; where
    /// only what names stand for changed, to compile them.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// What is known of the names of endpoints.
    pub fn names(&self) -> &NamesView {
        &self.view
    }

    /// The versions that can be gone back to, oldest first. The last is in force, under a later generation
    /// where its names stood for something else since.
    pub fn history(&self) -> impl Iterator<Item = &Version> {
        self.history.iter()
    }

    /// Takes up an earlier version again, the one before that in force without a generation: a second
    /// time the one before that. It becomes a new generation, at once or when its names have been looked
    /// up. The file stays as it is; its next change is taken up as always.
    ///
    /// # Errors
    /// See [`RollbackError`]; the rules in force stay.
    pub fn roll_back(&mut self, generation: Option<u64>) -> Result<Update, RollbackError> {
        let version = match generation {
            None => {
                let origin = self.history.back().map_or(0, |own| own.origin);
                let mut before = self.history.iter().rev();
                before
                    .find(|own| own.generation < origin)
                    .ok_or(RollbackError::Nothing)?
            }
            Some(wanted) if wanted == self.generation || wanted == self.accepted => {
                return Err(RollbackError::InForce(wanted));
            }
            Some(wanted) => {
                let found = self.history.iter().find(|own| own.generation == wanted);
                found.ok_or_else(|| {
                    let kept = self.history.iter().map(|own| own.generation.to_string());
                    RollbackError::Unknown(wanted, kept.collect::<Vec<_>>().join(", "))
                })?
            }
        };
        let (wanted, in_force) = (version.generation, self.generation);
        let (text, origin) = (version.text.clone(), version.origin);
        match self.begin(&text, Some(origin)) {
            Ok(Update::Unchanged) => Err(RollbackError::Same { wanted, in_force }),
            Ok(update) => Ok(update),
            Err(problems) => Err(RollbackError::refused(&problems)),
        }
    }

    /// Takes up a text, one of before or a new one, now or when its names have been looked up; what waited
    /// for that gives way to it unless it is refused. One that says what is in force says nothing new.
    fn begin(&mut self, text: &str, origin: Option<u64>) -> Result<Update, Vec<Problem>> {
        let began = Instant::now();
        let rules = parse(text, &self.path.display().to_string())?;
        let reading = began.elapsed();
        if rules.say_the_same(&self.rules) {
            return Ok(Update::Unchanged);
        }
        compatible(&self.rules, &rules)?;
        let names = Wanted::of(&rules).names;
        let unknown = match &self.names {
            Some(own) => own.unknown(&names),
            None => names.iter().cloned().collect(),
        };
        let new = Waiting {
            rules,
            text: text.into(),
            origin,
            names,
            until: Instant::now() + FIRST_ANSWERS,
            reading,
        };
        if unknown.is_empty() {
            let snapshot = self.take_up(new)?;
            self.waiting = None;
            self.begun += 1;
            return Ok(Update::Accepted(snapshot));
        }
        // What is wrong with them is told at once.
        let (_, resolved) = self.resolved();
        recompile(&new.rules, &resolved, &self.rules, &self.snapshot)?;
        let wanted = self.wanted(Some(&new));
        follow(&mut self.names, &self.view, wanted)?;
        self.waiting = Some(new);
        self.begun += 1;
        Ok(Update::Waiting(unknown))
    }

    /// The names of the rules in force and of those that wait.
    fn wanted(&self, waiting: Option<&Waiting>) -> Wanted {
        let mut wanted = Wanted::of(&self.rules);
        if let Some(waiting) = waiting {
            wanted.dns = waiting.rules.dns.clone();
            wanted.names.extend(waiting.names.iter().cloned());
        }
        wanted
    }

    fn resolved(&self) -> (u64, Arc<Resolved>) {
        let resolved = self.names.as_ref().map(Names::resolved);
        resolved.unwrap_or_default()
    }

    /// Compiles rules whose names are known, as far as they are; only a whole success changes anything.
    fn take_up(&mut self, new: Waiting) -> Result<Arc<Snapshot>, Vec<Problem>> {
        let (named, resolved) = self.resolved();
        let began = Instant::now();
        let compiled = recompile(&new.rules, &resolved, &self.rules, &self.snapshot);
        let took = new.reading + began.elapsed();
        if let Some(names) = &self.names {
            names.follow(match compiled {
                Ok(_) => Wanted::of(&new.rules),
                Err(_) => self.wanted(self.waiting.as_ref()),
            });
        }
        let mut snapshot = compiled?;
        self.took = took;
        self.named = named;
        self.generation += 1;
        self.accepted = self.generation;
        snapshot.generation = self.generation;
        self.rules = new.rules;
        self.snapshot = Arc::new(snapshot);
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(Version {
            generation: self.generation,
            origin: new.origin.unwrap_or(self.generation),
            text: new.text,
        });
        Ok(self.snapshot.clone())
    }
}

/// Most problems that are told of why rules are not gone back to.
const MOST_TOLD: usize = 20;

impl RollbackError {
    /// For problems that have come up since.
    pub fn refused(problems: &[Problem]) -> Self {
        let lines = Problem::lines(problems, MOST_TOLD);
        RollbackError::Refused(lines.trim_end().to_owned())
    }
}

/// Looks up these names. The thread for it is started by the first that there are.
fn follow<'a>(
    names: &'a mut Option<Names>,
    view: &NamesView,
    wanted: Wanted,
) -> Result<Option<&'a Names>, Vec<Problem>> {
    if names.is_none() && wanted.names.is_empty() {
        return Ok(None);
    }
    let started = match names.take() {
        Some(names) => Ok(names),
        None => Names::start(view),
    };
    let own = started.map_err(|error| {
        vec![Problem {
            file: "dns".into(),
            line: 0,
            column: 0,
            path: String::new(),
            message: format!("no thread to look names up: {error}"),
            suggestion: None,
        }]
    })?;
    own.follow(wanted);
    Ok(Some(names.insert(own)))
}

/// What tells one version of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// `None` while there is no such file.
    fn of(path: &std::path::Path) -> Option<Stamp> {
        fs::metadata(path).ok().as_ref().map(Stamp::from)
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Stamp {
        Stamp {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
