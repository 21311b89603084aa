//! Collects what is wrong, and the checks that several parts share.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::Problem;
use crate::problem;
use crate::rules::{Period, Rules, Size};
use crate::yaml::{Broken, Path, Places};

/// Longest name of a port, listener, service or route.
const MAX_NAME: usize = 63;

/// Longest timeout: what is longer is taken for a typing error.
pub(super) const MAX_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

/// What is wrong so far.
pub(super) struct Report<'a> {
    places: &'a Places,
    broken: &'a Broken,
    problems: Vec<Problem>,
}

impl<'a> Report<'a> {
    pub(super) fn new(rules: &'a Rules) -> Report<'a> {
        Report {
            places: &rules.places,
            broken: &rules.broken,
            problems: Vec::new(),
        }
    }

    /// Every problem in the order of their places, if there is one.
    pub(super) fn finish(mut self) -> Result<(), Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(());
        }
        problem::sort(&mut self.problems);
        Err(self.problems)
    }

    /// Something is wrong with the value at `path`.
    pub(super) fn wrong(&mut self, path: &Path, message: impl Into<String>) {
        self.suggest(path, message, None);
    }

    /// Something is wrong with the value at `path`, and `mend` says what to do.
    pub(super) fn mend(
        &mut self,
        path: &Path,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.suggest(path, message, Some(mend.into()));
    }

    /// Something is wrong with the value at `path`, and perhaps it can be said what to do.
    pub(super) fn suggest(
        &mut self,
        path: &Path,
        message: impl Into<String>,
        mend: Option<String>,
    ) {
        if !self.broken.is(path) {
            self.problems
                .push(self.places.problem(path, message.into(), mend));
        }
    }

    /// The value at `path` is wrong, whatever stands beside it: said of a part of something that could
    /// not be read as a whole, too.
    pub(super) fn refuse(
        &mut self,
        path: &Path,
        message: impl Into<String>,
        mend: impl Into<Option<String>>,
    ) {
        if !self.broken.is_unread(path) {
            let problem = self.places.problem(path, message.into(), mend.into());
            self.problems.push(problem);
        }
    }

    /// The same of the key at `path`.
    pub(super) fn refuse_key(
        &mut self,
        path: &Path,
        message: impl Into<String>,
        mend: impl Into<Option<String>>,
    ) {
        if !self.broken.is_unread(path) {
            let problem = self.places.key_problem(path, message.into(), mend.into());
            self.problems.push(problem);
        }
    }

    /// Something is wrong with the key at `path`.
    pub(super) fn wrong_key(
        &mut self,
        path: &Path,
        message: impl Into<String>,
        mend: Option<String>,
    ) {
        if !self.broken.is(path) {
            self.problems
                .push(self.places.key_problem(path, message.into(), mend));
        }
    }

    /// Whether this could not be read, so that nothing can be said of it, nor of what it is lacking in.
    pub(super) fn is_broken(&self, path: &Path) -> bool {
        self.broken.is(path)
    }

    /// Whether anything of a section could not be read.
    pub(super) fn is_any_broken(&self, section: &str) -> bool {
        self.broken.is_any_of(section)
    }

    /// ` (line 7)` for the value at `path`, or nothing if its place is unknown.
    pub(super) fn line(&self, path: &Path) -> String {
        self.places
            .line(path)
            .map(|line| format!(" (line {line})"))
            .unwrap_or_default()
    }

    /// Checks a name that is a value.
    pub(super) fn name(&mut self, path: &Path, name: &str) {
        if let Err((message, mend)) = check_name(name) {
            self.refuse(path, message, mend);
        }
    }

    /// Checks a name that is a key.
    pub(super) fn key_name(&mut self, path: &Path, name: &str) {
        if let Err((message, mend)) = check_name(name) {
            self.refuse_key(path, message, mend);
        }
    }

    /// Checks a timeout: more than nothing, at most a day.
    pub(super) fn period(&mut self, path: &Path, period: Period) -> Duration {
        if period.0.is_zero() {
            let mend = "write a duration such as 10s".to_owned();
            self.refuse(path, "must be more than 0", mend);
        } else if period.0 > MAX_PERIOD {
            self.refuse(path, format!("{period} is longer than 24h"), None);
        }
        period.0
    }

    /// Checks a size in bytes.
    pub(super) fn size(&mut self, path: &Path, size: Size, bounds: RangeInclusive<u64>) -> u64 {
        if !bounds.contains(&size.0) {
            let (least, most) = (Size(*bounds.start()), Size(*bounds.end()));
            let message = format!("{size} is outside {least} to {most}");
            self.refuse(path, message, None);
        }
        size.0
    }

    /// Checks a number.
    pub(super) fn number(&mut self, path: &Path, number: u32, bounds: RangeInclusive<u32>) -> u32 {
        if !bounds.contains(&number) {
            let (least, most) = (bounds.start(), bounds.end());
            self.refuse(path, format!("{number} is outside {least} to {most}"), None);
        }
        number
    }
}

fn check_name(name: &str) -> Result<(), (String, Option<String>)> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err((format!("a name has 1 to {MAX_NAME} characters"), None));
    }
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if name.chars().all(legal) {
        return Ok(());
    }
    let message = format!("{name:?} is no name: names are of a-z, 0-9, `-`, `_` and `.`");
    let lower = name.to_ascii_lowercase();
    let mend = lower
        .chars()
        .all(legal)
        .then(|| format!("write \"{lower}\""));
    Err((message, mend))
}
