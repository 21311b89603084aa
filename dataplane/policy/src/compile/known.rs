//! What rules refer to by name.

use std::collections::BTreeMap;

use super::report::Report;
use crate::problem::did_you_mean;
use crate::yaml::Path;

/// What is known by name, each with its index in the order of names.
pub(super) struct Known<'a, T> {
    kind: &'static str,
    section: Path,
    by_name: BTreeMap<&'a str, (usize, &'a T)>,
}

impl<'a, T> Known<'a, T> {
    pub(super) fn new(kind: &'static str, map: &'a BTreeMap<String, T>) -> Known<'a, T> {
        let indexed = map.iter().enumerate();
        let by_name = indexed.map(|(index, (name, value))| (name.as_str(), (index, value)));
        Known {
            kind,
            section: Path::section(&format!("{kind}s")),
            by_name: by_name.collect(),
        }
    }

    /// What is called `name`; otherwise the report says that there is no such thing.
    pub(super) fn find(
        &self,
        path: &Path,
        name: &str,
        report: &mut Report<'_>,
    ) -> Option<(usize, &'a T)> {
        let found = self.by_name.get(name).copied();
        if found.is_none() && !report.is_broken(&self.section) {
            let mend = did_you_mean(name, self.by_name.keys().copied());
            report.refuse(path, format!("no {} is called \"{name}\"", self.kind), mend);
        }
        found
    }
}
