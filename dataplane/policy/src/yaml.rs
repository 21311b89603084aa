//! Reads rules from YAML and keeps the place of every value.

mod mistakes;
mod places;
mod read;
mod tree;
mod twice;

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use serde_saphyr::{Error, Options, UserMessageFormatter};

use crate::problem::{self, did_you_mean};
use crate::rules::Rules;
use crate::{Problem, compile};
pub(crate) use mistakes::Broken;
pub(crate) use places::Path;
pub use places::Places;
use places::Position;
use tree::Node;

/// The largest document that is read, in bytes.
pub const MAX_DOCUMENT: usize = 16 << 20;

/// Keys and values that aliases may stand for.
const MAX_REPLAYED: usize = 100_000;

/// Reads the rules in a file. Reads the file system: for control threads.
///
/// # Errors
///
/// One problem: the file cannot be read, or as for [`parse`].
pub fn load(path: &std::path::Path) -> Result<Rules, Vec<Problem>> {
    let file = path.display().to_string();
    parse(&read(path)?, &file)
}

/// Reads the text of a file, at most [`MAX_DOCUMENT`] bytes of UTF-8. It may be a pipe, which is waited for.
///
/// # Errors
///
/// One problem, which names the file and the reason.
fn read(path: &std::path::Path) -> Result<String, Vec<Problem>> {
    text_of(path, File::open(path))
}

/// The same for a file that is followed: one that would have to be waited for is refused.
///
/// # Errors
///
/// One problem, which names the file and the reason.
pub fn read_regular(path: &std::path::Path) -> Result<String, Vec<Problem>> {
    let opened = OpenOptions::new()
        .read(true)
        // Of a pipe, this waits for nobody to write.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .and_then(|file| {
            let kind = file.metadata()?.file_type();
            match irregular(kind) {
                None => Ok(file),
                Some(what) => Err(io::Error::other(format!("it is {what}, no regular file"))),
            }
        });
    text_of(path, opened)
}

/// What something is that cannot be followed.
fn irregular(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_fifo() {
        Some("a pipe")
    } else {
        Some("a device")
    }
}

fn text_of(path: &std::path::Path, opened: io::Result<File>) -> Result<String, Vec<Problem>> {
    let places = Places::unknown(&path.display().to_string());
    let refuse = |message: String, mend: &str| {
        vec![places.problem(&Path::default(), message, Some(mend.to_owned()))]
    };
    let mut text = Vec::new();
    let limit = u64::try_from(MAX_DOCUMENT)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    opened
        .and_then(|file| file.take(limit).read_to_end(&mut text))
        .map_err(|error| {
            refuse(
                format!("cannot be read: {error}"),
                "give a file that can be read",
            )
        })?;
    String::from_utf8(text).map_err(|_| refuse("is not UTF-8 text".into(), "save it as UTF-8"))
}

/// Reads rules from YAML text; `file` names it in problems.
///
/// # Errors
///
/// What is not YAML, or else everything that is not known, has the wrong type or stands twice (a thousand at
/// most), each with its place; beside that whatever [`crate::compile()`] has to say of the rest.
pub fn parse(text: &str, file: &str) -> Result<Rules, Vec<Problem>> {
    let nowhere = Places::unknown(file);
    if text.len() > MAX_DOCUMENT {
        let message = format!("is larger than {} MiB", MAX_DOCUMENT >> 20);
        return Err(vec![nowhere.problem(&Path::default(), message, None)]);
    }
    // An empty document is a mapping without keys.
    let first = match serde_saphyr::from_str_with_options::<Rules>(text, options()) {
        Ok(mut rules) => {
            rules.places = Places::of(file, text);
            return Ok(rules);
        }
        Err(error) => error,
    };
    // What is wrong with it as YAML comes before what it says.
    let (document, twice) = match Node::read(text) {
        Ok(document) => (document, Vec::new()),
        Err(error) => match twice::read(text, &error) {
            Some(read) => read,
            None => return Err(vec![whole(error, &nowhere)]),
        },
    };
    let places = Places::in_tree(file, text, &document);
    let found = mistakes::find(text, document, &twice, places);
    let mut problems = found.problems;
    if problems.is_empty() {
        problems.push(whole(first, &nowhere));
    }
    problems.extend(compile(&found.rules).err().into_iter().flatten());
    problem::sort(&mut problems);
    Err(problems)
}

/// What the parser says of the document as a whole.
fn whole(error: Error, places: &Places) -> Problem {
    // Behind an alias the outer error knows where the alias stands.
    let position = error.location().map(Position::from);
    let (message, mend) = words(&innermost(error));
    places.problem_at(position, String::new(), message, mend)
}

/// Room for tens of thousands of routes; aliases may repeat things, but not blow the document up.
fn options() -> Options {
    serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: 4_000_000,
            max_nodes: 2_000_000,
            max_depth: 32,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
        },
    }
}

/// What the parser found in the words of the document, and what to do.
fn words(error: &Error) -> (String, Option<String>) {
    match error {
        Error::SerdeMissingField { field, .. } => (
            format!("`{field}` is missing"),
            Some(format!("add `{field}`")),
        ),
        Error::SerdeUnknownField {
            field: word,
            expected,
            ..
        }
        | Error::SerdeUnknownVariant {
            variant: word,
            expected,
            ..
        } => {
            let mend = did_you_mean(word, expected.iter().copied());
            let message = format!("`{word}` is not known here");
            (message, mend.or_else(|| one_of(expected)))
        }
        Error::DuplicateMappingKey { key, .. } => stands_twice(key.as_deref()),
        Error::MultipleDocuments { .. } => (
            "a second document begins here".into(),
            Some("keep one document".into()),
        ),
        Error::NullIntoString { .. } => ("has no value".into(), None),
        Error::SerdeInvalidType { unexpected, .. } if unexpected == "unit value" => {
            ("has no value".into(), None)
        }
        Error::AliasReplayLimitExceeded { .. } => (
            format!("the aliases (`*name`) stand for more than {MAX_REPLAYED} values"),
            Some("write out what is meant, or use fewer".into()),
        ),
        Error::InvalidScalar { ty, .. } => (format!("is not {}", described(ty)), None),
        // A choice is written as a mapping of one key.
        Error::Unexpected {
            expected: "mapping end",
            ..
        } => {
            let message = "stands beside another key, where one can stand";
            (message.to_owned(), Some("keep one of them".into()))
        }
        Error::ExpectedStringKeyForExternallyTaggedEnum { .. } => (empty_choice(), None),
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        } if unexpected == "map" && expected == "enum" => (empty_choice(), None),
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        } if unexpected == "sequence" && expected == "a string" => {
            ("should be a single value".to_owned(), None)
        }
        Error::Unexpected { expected, .. } => (format!("should be {}", described(expected)), None),
        other => (without_place(other), None),
    }
}

/// A key of a mapping that has it already.
fn stands_twice(key: Option<&str>) -> (String, Option<String>) {
    let named = key.map(|key| format!("`{key}`"));
    let message = format!("{} stands here twice", named.as_deref().unwrap_or("a key"));
    (message, Some("keep one".into()))
}

/// A mapping that has to choose, and does not.
fn empty_choice() -> String {
    "is an empty mapping, where one key has to stand".to_owned()
}

/// The error itself, without what the parser wraps around it.
fn innermost(error: Error) -> Error {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => innermost(*error),
        other => other,
    }
}

fn one_of(expected: &[&str]) -> Option<String> {
    (!expected.is_empty()).then(|| format!("known are {}", expected.join(", ")))
}

/// The parser's words for a type in a reader's words.
fn described(expected: &'static str) -> &'static str {
    match expected {
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "i64" => "a whole number",
        "boolean" => "true or false",
        "mapping start" => "a mapping (`key: value`)",
        "sequence start" => "a list (`[a, b]`)",
        "string scalar" => "a single value",
        other => other,
    }
}

/// The parser's message without the place that it appends.
fn without_place(error: &Error) -> String {
    let mut message = error.render_with_formatter(&UserMessageFormatter);
    if let Some(location) = error.location() {
        let place = format!(" at line {}, column {}", location.line(), location.column());
        if let Some(end) = message.find(&place) {
            message.truncate(end);
        }
    }
    message
}
