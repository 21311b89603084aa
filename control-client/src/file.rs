//! Rules from one YAML file that is followed as it changes.

use std::collections::VecDeque;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use sluice_policy::rules::Rules;
use sluice_policy::{
    Problem, Resolved, Snapshot, Wanted, compatible, compile_resolved, parse, recompile, yaml,
};

use crate::Update;
use crate::names::{Names, NamesView};

/// Accepted versions that are kept, the one in force among them.
pub const HISTORY: usize = 10;

/// One version of the file that was accepted.
#[derive(Debug, Clone)]
pub struct Version {
    /// The generation that it became.
    pub generation: u64,
    /// The generation that it was accepted as at first; another where it was gone back to.
    origin: u64,
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
    /// They cannot be taken up any more: the problems, a line each.
    #[error("{0}")]
    Refused(String),
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
    /// What was read last, good or not: the same again is no news.
    read: Result<String, Vec<Problem>>,
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
        let text = yaml::read(&path)?;
        let rules = parse(&text, &path.display().to_string())?;
        let mut names = None;
        let view = NamesView::default();
        let resolved = follow(&mut names, &view, &rules)?;
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
            named: names.as_ref().map_or(0, Names::version),
            names,
            view,
            read: Ok(text),
            seen: stamp,
            taken: stamp,
        };
        Ok((source, snapshot))
    }

    /// Looks whether the file changed, or what a name of it stands for; to be called about once a second.
    /// `None` if there is nothing new. Each change is reported once.
    pub fn poll(&mut self) -> Option<Update> {
        self.poll_file().or_else(|| self.poll_names())
    }

    fn poll_names(&mut self) -> Option<Update> {
        let (version, resolved) = self.names.as_ref()?.resolved();
        if version == self.named {
            return None;
        }
        self.named = version;
        Some(match self.renew(&resolved) {
            Ok(snapshot) => Update::Accepted(snapshot),
            Err(problems) => Update::Rejected(problems),
        })
    }

    /// The same rules with what their names stand for now.
    fn renew(&mut self, resolved: &Arc<Resolved>) -> Result<Arc<Snapshot>, Vec<Problem>> {
        let mut snapshot = recompile(&self.rules, resolved, &self.rules, &self.snapshot)?;
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
    /// that of the last time.
    pub fn reload(&mut self) -> Option<Update> {
        self.taken = Stamp::of(&self.path);
        let read = yaml::read(&self.path);
        if read == self.read {
            return None;
        }
        self.read = read;
        let taken = match self.read.clone() {
            Ok(text) => self.take_up(&text, None),
            Err(problems) => Err(problems),
        };
        Some(match taken {
            Ok(snapshot) => Update::Accepted(snapshot),
            Err(problems) => Update::Rejected(problems),
        })
    }

    /// The rules of the last snapshot that was accepted.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What is known of the names of endpoints.
    pub fn names(&self) -> &NamesView {
        &self.view
    }

    /// The versions that can be gone back to, oldest first; the last is in force.
    pub fn history(&self) -> impl Iterator<Item = &Version> {
        self.history.iter()
    }

    /// Takes up an earlier version again, the one before that in force without a generation: a second
    /// time the one before that. It becomes a new generation. The file stays as it is; its next change is taken up as always.
    ///
    /// # Errors
    /// See [`RollbackError`]; the rules in force stay.
    pub fn roll_back(&mut self, generation: Option<u64>) -> Result<Arc<Snapshot>, RollbackError> {
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
        let (text, origin) = (version.text.clone(), version.origin);
        self.take_up(&text, Some(origin)).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            RollbackError::Refused(lines.join("\n"))
        })
    }

    /// Compiles a text, one of before or a new one; only a whole success changes anything.
    fn take_up(&mut self, text: &str, origin: Option<u64>) -> Result<Arc<Snapshot>, Vec<Problem>> {
        let rules = parse(text, &self.path.display().to_string())?;
        compatible(&self.rules, &rules)?;
        let resolved = follow(&mut self.names, &self.view, &rules)?;
        let named = self.names.as_ref().map_or(0, Names::version);
        let compiled = recompile(&rules, &resolved, &self.rules, &self.snapshot);
        if compiled.is_err() {
            // The names of the rules in force are followed on.
            follow(&mut self.names, &self.view, &self.rules)?;
        }
        let mut snapshot = compiled?;
        self.named = named;
        self.generation += 1;
        self.accepted = self.generation;
        snapshot.generation = self.generation;
        self.rules = rules;
        self.snapshot = Arc::new(snapshot);
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(Version {
            generation: self.generation,
            origin: origin.unwrap_or(self.generation),
            text: text.into(),
        });
        Ok(self.snapshot.clone())
    }
}

/// Looks up the names of these rules. The thread for it is started by the first that have any.
fn follow(
    names: &mut Option<Names>,
    view: &NamesView,
    rules: &Rules,
) -> Result<Arc<Resolved>, Vec<Problem>> {
    let wanted = Wanted::of(rules);
    if names.is_none() && wanted.names.is_empty() {
        return Ok(Arc::default());
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
    Ok(names.insert(own).follow(wanted))
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
