//! Where each value of a document stands.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_saphyr::{Error, Location, Spanned};

use super::tree::Node;
use crate::Problem;

/// A path in the document: `routes[2].service`; a key that is no plain word is quoted.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path(String);

impl Path {
    /// A section of the document.
    pub(crate) fn section(name: &str) -> Path {
        Path::default().key(name)
    }

    /// The value of `key` below this.
    pub(crate) fn key(&self, key: &str) -> Path {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if key.is_empty() || !key.bytes().all(plain) {
            return Path(format!("{}[{key:?}]", self.0));
        }
        match self.0.as_str() {
            "" => Path(key.to_owned()),
            parent => Path(format!("{parent}.{key}")),
        }
    }

    /// The `index`th value of the list at this path.
    pub(crate) fn index(&self, index: usize) -> Path {
        Path(format!("{}[{index}]", self.0))
    }

    /// What this is a part of; of the document, nothing. A quoted key that has dots takes several calls;
    /// no path between them names a value.
    pub(crate) fn around(&self) -> Option<Path> {
        (!self.0.is_empty()).then(|| Path(parent(&self.0).to_owned()))
    }
}

/// Line and column, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl From<Location> for Position {
    fn from(location: Location) -> Position {
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Position {
            line: number(location.line()),
            column: number(location.column()),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The key, where the value has one.
    key: Option<Position>,
    value: Position,
    /// A value without parts: then its own place says more than that of its key.
    scalar: bool,
}

/// The place of every value of one document. Empty for rules that came from elsewhere.
///
/// They are looked for when something is to be said of one: most documents have nothing wrong.
#[derive(Debug, Clone, Default)]
pub struct Places {
    file: Arc<str>,
    text: Option<Arc<str>>,
    entries: Arc<OnceLock<Entries>>,
}

#[derive(Debug, Default)]
struct Entries(BTreeMap<Path, Entry>);

impl Places {
    /// Places of a document that could not be read.
    pub(super) fn unknown(file: &str) -> Places {
        Places {
            file: file.into(),
            ..Places::default()
        }
    }

    /// Those of a document that could.
    pub(super) fn of(file: &str, text: &str) -> Places {
        Places {
            text: Some(text.into()),
            ..Places::unknown(file)
        }
    }

    /// Those of a document that has been read already.
    pub(super) fn in_tree(file: &str, text: &str, document: &Spanned<Node>) -> Places {
        Places {
            entries: Arc::new(OnceLock::from(Entries::in_tree(document))),
            ..Places::of(file, text)
        }
    }

    fn entries(&self) -> &BTreeMap<Path, Entry> {
        let entries = self.entries.get_or_init(|| {
            let text = self.text.as_deref();
            text.and_then(|text| Entries::of(text).ok())
                .unwrap_or_default()
        });
        &entries.0
    }
}

impl Entries {
    fn of(text: &str) -> Result<Entries, Error> {
        Ok(Entries::in_tree(&Node::read(text)?))
    }

    fn in_tree(document: &Spanned<Node>) -> Entries {
        let mut entries = Entries::default();
        entries.collect(&Path::default(), None, document);
        entries
    }

    fn collect(&mut self, path: &Path, key: Option<Position>, node: &Spanned<Node>) {
        let scalar = matches!(node.value, Node::Scalar(_));
        self.0.insert(
            path.clone(),
            Entry {
                key,
                value: node.referenced.into(),
                scalar,
            },
        );
        match &node.value {
            Node::Scalar(_) | Node::Null | Node::Pruned => {}
            Node::List(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    self.collect(&path.index(index), None, node);
                }
            }
            Node::Map(nodes) => {
                for (key, node) in nodes {
                    self.collect(&path.key(&key.value), Some(key.referenced.into()), node);
                }
            }
        }
    }
}

impl Places {
    /// A problem with the value at `path`: at a scalar itself, else at its key. What is absent is
    /// placed at the nearest thing around it.
    pub(crate) fn problem(&self, path: &Path, message: String, mend: Option<String>) -> Problem {
        let position = self.around(path).map(|entry| match entry.key {
            Some(key) if !entry.scalar => key,
            _ => entry.value,
        });
        self.problem_at(position, path.0.clone(), message, mend)
    }

    /// A problem with the key at `path`.
    pub(crate) fn key_problem(
        &self,
        path: &Path,
        message: String,
        mend: Option<String>,
    ) -> Problem {
        let position = self
            .around(path)
            .map(|entry| entry.key.unwrap_or(entry.value));
        self.problem_at(position, path.0.clone(), message, mend)
    }

    /// A problem with the value at `path`, at its very place.
    pub(super) fn value_problem(
        &self,
        path: &Path,
        message: String,
        mend: Option<String>,
    ) -> Problem {
        let position = self.around(path).map(|entry| entry.value);
        self.problem_at(position, path.0.clone(), message, mend)
    }

    /// A problem at a position that something else found.
    pub(super) fn problem_at(
        &self,
        position: Option<Position>,
        path: String,
        message: String,
        suggestion: Option<String>,
    ) -> Problem {
        let Position { line, column } = position.unwrap_or(Position { line: 0, column: 0 });
        Problem {
            file: Arc::clone(&self.file),
            line,
            column,
            path,
            message: one_line(&message),
            suggestion: suggestion.as_deref().map(one_line),
        }
    }

    /// The line on which the value at `path` begins.
    pub(crate) fn line(&self, path: &Path) -> Option<u32> {
        self.around(path)
            .map(|entry| entry.key.unwrap_or(entry.value).line)
    }

    fn around(&self, path: &Path) -> Option<&Entry> {
        let mut path = path.clone();
        loop {
            if let Some(entry) = self.entries().get(&path) {
                return Some(entry);
            }
            if path.0.is_empty() {
                return None;
            }
            path.0.truncate(parent(&path.0).len());
        }
    }
}

/// The longest message that is shown, in characters: it may quote a value of any length.
const MAX_MESSAGE: usize = 300;

/// The text without line ends and other control characters, which a quoted value may bring along.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_MESSAGE));
    for (shown, c) in text.chars().enumerate() {
        if shown == MAX_MESSAGE {
            line.push_str("...");
            break;
        }
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// The path without its last step. A quoted key that has dots takes several calls; no path between
/// them names a value.
fn parent(path: &str) -> &str {
    path.rfind(['.', '['])
        .and_then(|end| path.get(..end))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_quote_what_is_no_plain_word() {
        let path = Path::section("services")
            .key("a.b")
            .key("endpoints")
            .index(1);
        assert_eq!(path.0, "services[\"a.b\"].endpoints[1]");
        assert_eq!(Path::section("").0, "[\"\"]");
    }

    #[test]
    fn what_is_absent_is_placed_at_what_is_around_it() {
        let places = Places::of("x.yaml", "services:\n  \"a.b\":\n    max_idle: 3\n");
        let service = Path::section("services").key("a.b");
        let at = |path: &Path| places.problem(path, "wrong".into(), None).to_string();
        assert_eq!(
            at(&service.key("max_idle")),
            "x.yaml:3:15: services[\"a.b\"].max_idle: wrong"
        );
        assert_eq!(
            at(&service.key("endpoints").index(0)),
            "x.yaml:2:3: services[\"a.b\"].endpoints[0]: wrong"
        );
        assert_eq!(at(&Path::section("ports")), "x.yaml:1:1: ports: wrong");
    }
}
