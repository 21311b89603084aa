//! Regular expressions that can neither explode nor lock nor allocate while they are used.
//!
//! Each is made into a table (a DFA) when the rules are compiled; one whose table would be too large
//! is refused then. A match is one look-up per byte. The `regex` crate itself keeps scratch space in
//! a pool that threads share; the tables of the engine below it do without.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, meta};
use regex_syntax::hir::{Hir, Look};

/// Longest expression, in bytes.
const MAX_PATTERN: usize = 1024;
/// Largest table of one expression, in bytes.
const MAX_TABLE: usize = 512 << 10;
/// Most memory that making one table may take, in bytes.
const MAX_MAKING: usize = 4 << 20;
/// Largest tables of all expressions of one set of rules together, in bytes.
const MAX_TABLES: usize = 128 << 20;

/// A regular expression over bytes that has to match a whole value.
#[derive(Clone)]
pub struct Regex(Arc<Compiled>);

struct Compiled {
    pattern: Box<str>,
    table: dense::DFA<Vec<u32>>,
    /// What every match begins with.
    prefix: Box<[u8]>,
    /// Finds named groups; where there are some.
    groups: Option<meta::Regex>,
}

/// Why an expression was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RegexError {
    /// It is longer than [`MAX_PATTERN`].
    TooLong,
    /// It is none; the parser's word for it.
    Invalid(String),
    /// Its table would be too large.
    TooLarge,
    /// All tables together would be.
    TooMany,
}

impl Regex {
    /// As written.
    pub fn pattern(&self) -> &str {
        &self.0.pattern
    }

    /// Whether it matches the whole value.
    pub(crate) fn is_match(&self, value: &[u8]) -> bool {
        let input = Input::new(value).anchored(Anchored::Yes);
        matches!(self.0.table.try_search_fwd(&input), Ok(Some(_)))
    }

    /// What every match begins with.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.0.prefix
    }

    /// The names of its groups, in order.
    pub(crate) fn names(&self) -> Vec<Box<str>> {
        let groups = self.0.groups.iter();
        let names = groups.flat_map(|groups| groups.group_info().pattern_names(Default::default()));
        names.flatten().map(Into::into).collect()
    }

    /// What the named groups matched, each told to `each` with its place among the names. Allocates.
    pub(crate) fn captures<'v>(&self, value: &'v [u8], mut each: impl FnMut(usize, &'v [u8])) {
        let Some(groups) = &self.0.groups else {
            return;
        };
        let mut found = groups.create_captures();
        groups.captures(Input::new(value).anchored(Anchored::Yes), &mut found);
        let names = groups.group_info().pattern_names(Default::default());
        let named = names.enumerate().filter(|(_, name)| name.is_some());
        for (place, (group, _)) in named.enumerate() {
            let span = found.get_group(group);
            each(
                place,
                span.and_then(|span| value.get(span.range()))
                    .unwrap_or_default(),
            );
        }
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regex({:?})", self.0.pattern)
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.0.pattern == other.0.pattern
    }
}

impl Eq for Regex {}

/// The expressions of one set of rules, each compiled once, those of the rules before not again.
#[derive(Debug, Default, Clone)]
pub(crate) struct Regexes {
    known: HashMap<Box<str>, Regex>,
    before: HashMap<Box<str>, Regex>,
    bytes: usize,
    /// How often one was asked for.
    asked: usize,
}

impl Regexes {
    /// None yet; those of `before` are at hand.
    pub(crate) fn after(before: &Regexes) -> Regexes {
        Regexes {
            before: before.known.clone(),
            ..Regexes::default()
        }
    }

    /// Lets go of what only the rules before had.
    pub(crate) fn settle(&mut self) {
        self.before = HashMap::new();
    }

    /// How often an expression was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.asked
    }

    /// The expression, compiled where it is new.
    pub(crate) fn get(&mut self, pattern: &str) -> Result<Regex, RegexError> {
        self.asked += 1;
        if let Some(regex) = self.known.get(pattern) {
            return Ok(regex.clone());
        }
        let regex = match self.before.get(pattern) {
            Some(regex) => regex.clone(),
            None => Regex(Arc::new(compile(pattern)?)),
        };
        self.bytes += regex.0.table.memory_usage();
        if self.bytes > MAX_TABLES {
            return Err(RegexError::TooMany);
        }
        self.known.insert(pattern.into(), regex.clone());
        Ok(regex)
    }
}

fn compile(pattern: &str) -> Result<Compiled, RegexError> {
    if pattern.len() > MAX_PATTERN {
        return Err(RegexError::TooLong);
    }
    // Bytes, not characters: heads have no encoding.
    let syntax = syntax::Config::new().unicode(false).utf8(false);
    let hir = syntax::parse_with(pattern, &syntax)
        .map_err(|error| RegexError::Invalid(last_line(&error.to_string())))?;
    let literals = regex_syntax::hir::literal::Extractor::new().extract(&hir);
    let prefix = literals.longest_common_prefix().unwrap_or_default().into();
    let named = hir.properties().explicit_captures_len() > 0;
    let whole = Hir::concat(vec![hir, Hir::look(Look::End)]);
    let nfa = thompson::Compiler::new()
        .configure(
            thompson::Config::new()
                .utf8(false)
                .which_captures(WhichCaptures::None)
                .nfa_size_limit(Some(MAX_TABLE)),
        )
        .build_from_hir(&whole)
        .map_err(|_| RegexError::TooLarge)?;
    let table = dense::Builder::new()
        .configure(
            dense::Config::new()
                .start_kind(StartKind::Anchored)
                .dfa_size_limit(Some(MAX_TABLE))
                .determinize_size_limit(Some(MAX_MAKING)),
        )
        .build_from_nfa(&nfa)
        .map_err(|_| RegexError::TooLarge)?;
    let groups = meta::Builder::new()
        .configure(
            meta::Config::new()
                .utf8_empty(false)
                .nfa_size_limit(Some(MAX_TABLE)),
        )
        .build_from_hir(&whole)
        .map_err(|_| RegexError::TooLarge)
        .map(|groups| named.then_some(groups))?
        .filter(|groups| {
            let mut names = groups.group_info().pattern_names(Default::default());
            names.any(|name| name.is_some())
        });
    Ok(Compiled {
        pattern: pattern.into(),
        table,
        prefix,
        groups,
    })
}

/// The parser draws the place below the expression; its last line says what is wrong.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or(message);
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(pattern: &str) -> Result<Regex, RegexError> {
        Regexes::default().get(pattern)
    }

    #[test]
    fn it_matches_the_whole_value() {
        for (pattern, value, expected) in [
            ("a|ab", "ab", true),
            ("a+", "aa", true),
            ("a+", "aab", false),
            ("a+", "baa", false),
            ("(?x) a # comment", "a", true),
            ("", "", true),
            ("", "a", false),
            ("[^/]+", "\u{e9}", true),
            ("(?i)ABC", "abc", true),
            ("a$b", "ab", false),
        ] {
            assert_eq!(
                regex(pattern).unwrap().is_match(value.as_bytes()),
                expected,
                "{pattern} {value}"
            );
        }
        assert!(regex(r"\xff.").unwrap().is_match(b"\xffa"));
    }

    #[test]
    fn what_would_explode_is_refused_in_time() {
        for pattern in [
            "(a{1000}){1000}",
            "((a{100}){100}){100}",
            "(a|b)*a(a|b){40}",
            "(.*)*x(.{0,100}y){20}",
        ] {
            assert_eq!(
                regex(pattern).unwrap_err(),
                RegexError::TooLarge,
                "{pattern}"
            );
        }
        assert_eq!(regex(&"a".repeat(1025)).unwrap_err(), RegexError::TooLong);
        assert!(
            matches!(regex("(a").unwrap_err(), RegexError::Invalid(why) if why == "unclosed group")
        );
    }

    #[test]
    fn groups_are_found_by_name() {
        let regex = regex("/(?P<a>[0-9]+)/(x|y)/(?<b>.*)").unwrap();
        assert_eq!(regex.names(), ["a".into(), "b".into()]);
        assert_eq!(regex.prefix(), b"/");
        let mut found = Vec::new();
        regex.captures(b"/12/y/rest/of", |place, value| {
            found.push((place, value.to_vec()))
        });
        assert_eq!(found, [(0, b"12".to_vec()), (1, b"rest/of".to_vec())]);
    }

    #[test]
    fn what_was_known_before_is_not_compiled_again() {
        let mut first = Regexes::default();
        let one = first.get("a+").unwrap();
        let mut second = Regexes::after(&first);
        assert!(Arc::ptr_eq(&one.0, &second.get("a+").unwrap().0));
        second.settle();
        assert_eq!(second.known.len(), 1);
    }
}
