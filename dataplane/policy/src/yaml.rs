//! Reads rules from YAML and keeps the place of every value.

mod places;

use std::fs::File;
use std::io::Read;

use serde_saphyr::{Error, Options, UserMessageFormatter};

use crate::Problem;
use crate::problem::did_you_mean;
use crate::rules::Rules;
pub(crate) use places::Path;
pub use places::Places;
use places::Position;

/// The largest document that is read, in bytes.
pub const MAX_DOCUMENT: usize = 16 << 20;

/// Reads the rules in a file. Reads the file system: for control threads.
///
/// # Errors
///
/// One problem: the file cannot be read, or as for [`parse`].
pub fn load(path: &std::path::Path) -> Result<Rules, Vec<Problem>> {
    let file = path.display().to_string();
    parse(&read(path)?, &file)
}

/// Reads the text of a file, at most [`MAX_DOCUMENT`] bytes of UTF-8.
///
/// # Errors
///
/// One problem, which names the file and the reason.
pub fn read(path: &std::path::Path) -> Result<String, Vec<Problem>> {
    let places = Places::unknown(&path.display().to_string());
    let refuse = |message: String, mend: &str| {
        vec![places.problem(&Path::default(), message, Some(mend.to_owned()))]
    };
    let mut text = Vec::new();
    let limit = u64::try_from(MAX_DOCUMENT)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    File::open(path)
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
/// The first thing that is not YAML, is not known or has the wrong type, with its place.
pub fn parse(text: &str, file: &str) -> Result<Rules, Vec<Problem>> {
    let nowhere = Places::unknown(file);
    if text.len() > MAX_DOCUMENT {
        let message = format!("is larger than {} MiB", MAX_DOCUMENT >> 20);
        return Err(vec![nowhere.problem(&Path::default(), message, None)]);
    }
    // An empty document is a mapping without keys.
    match serde_saphyr::from_str_with_options::<Rules>(text, options()) {
        Ok(mut rules) => {
            rules.places = Places::of(file, text);
            Ok(rules)
        }
        // What is wrong with it as YAML comes before what it says.
        Err(error) => Err(vec![match Places::find_all(file, text) {
            Ok(places) => explain(&error, &places),
            Err(error) => explain(&error, &nowhere),
        }]),
    }
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
            max_total_replayed_events: 100_000,
        },
    }
}

/// Says what the parser found in the words of the document.
fn explain(error: &Error, places: &Places) -> Problem {
    // Behind an alias the outer error knows where the alias stands.
    let position = error.location().map(Position::from);
    let error = innermost(error);
    let key = || {
        position
            .and_then(|at| places.key_at(at))
            .unwrap_or_default()
            .to_owned()
    };
    // Where no value begins, the parser means the key before it.
    let value = || match position.and_then(|at| places.value_at(at)) {
        Some(path) => path.to_owned(),
        None => key(),
    };
    if let Error::SerdeMissingField { field, .. } = error {
        // The parser names a key of the mapping, or the mapping if it is empty.
        let mapping = position
            .and_then(|at| places.mapping_at(at))
            .unwrap_or_default();
        let (message, mend) = (format!("`{field}` is missing"), format!("add `{field}`"));
        return places.problem(&mapping, message, Some(mend));
    }
    let (path, message, mend) = match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => {
            let mend = did_you_mean(field, expected.iter().copied());
            (
                key(),
                format!("`{field}` is not known here"),
                mend.or_else(|| one_of(expected)),
            )
        }
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => {
            let mend = did_you_mean(variant, expected.iter().copied());
            (
                value(),
                format!("`{variant}` is not known here"),
                mend.or_else(|| one_of(expected)),
            )
        }
        Error::DuplicateMappingKey { key, .. } => {
            let named = key.as_ref().map(|key| format!("`{key}`"));
            let message = format!("{} stands here twice", named.as_deref().unwrap_or("a key"));
            (value(), message, Some("keep one".into()))
        }
        Error::MultipleDocuments { .. } => (
            value(),
            "a second document begins here".into(),
            Some("keep one document".into()),
        ),
        Error::NullIntoString { .. } => (value(), "has no value".into(), None),
        Error::InvalidScalar { ty, .. } => (value(), format!("is not {}", described(ty)), None),
        // A choice is written as a mapping of one key.
        Error::Unexpected {
            expected: "mapping end",
            ..
        } => {
            let message = "stands beside another key, where one can stand".to_owned();
            (key(), message, Some("keep one of them".into()))
        }
        Error::ExpectedStringKeyForExternallyTaggedEnum { .. } => (value(), empty_choice(), None),
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        } if unexpected == "map" && expected == "enum" => (value(), empty_choice(), None),
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        } if unexpected == "sequence" && expected == "a string" => {
            (value(), "should be a single value".to_owned(), None)
        }
        Error::Unexpected { expected, .. } => {
            (value(), format!("should be {}", described(expected)), None)
        }
        other => (value(), without_place(other), None),
    };
    places.problem_at(position, path, message, mend)
}

/// A mapping that has to choose, and does not.
fn empty_choice() -> String {
    "is an empty mapping, where one key has to stand".to_owned()
}

/// The error itself, without what the parser wraps around it.
fn innermost(error: &Error) -> &Error {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => innermost(error),
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
