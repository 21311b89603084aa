//! Rules from one YAML file that is followed as it changes.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use sluice_policy::rules::Rules;
use sluice_policy::{Problem, Snapshot, compatible, compile, parse, yaml};

use crate::Update;

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
    /// Rules of the last snapshot that was accepted.
    rules: Rules,
    generation: u64,
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
        let mut snapshot = compile(&rules)?;
        snapshot.generation = 1;
        let source = FileSource {
            path,
            rules,
            generation: 1,
            read: Ok(text),
            seen: stamp,
            taken: stamp,
        };
        Ok((source, Arc::new(snapshot)))
    }

    /// Looks whether the file changed; to be called about once a second. `None` if there is nothing
    /// new. Each change is reported once.
    pub fn poll(&mut self) -> Option<Update> {
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
        Some(match self.take_up() {
            Ok(snapshot) => Update::Accepted(Arc::new(snapshot)),
            Err(problems) => Update::Rejected(problems),
        })
    }

    /// The rules of the last snapshot that was accepted.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Compiles what was read; only a whole success changes anything.
    fn take_up(&mut self) -> Result<Snapshot, Vec<Problem>> {
        let text = self.read.as_ref().map_err(Vec::clone)?;
        let rules = parse(text, &self.path.display().to_string())?;
        let mut snapshot = compile(&rules)?;
        compatible(&self.rules, &rules)?;
        self.generation += 1;
        snapshot.generation = self.generation;
        self.rules = rules;
        Ok(snapshot)
    }
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
