//! Whatever the text, reading it ends with rules or with problems, each on one line with its place.

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_policy::{compile, parse};

const FILES: [&str; 7] = [
    include_str!("../../../configs/quickstart.yaml"),
    include_str!("../../../configs/ingress.yaml"),
    include_str!("../../../configs/examples/conditions.yaml"),
    include_str!("../../../configs/examples/headers.yaml"),
    include_str!("../../../configs/examples/lanes.yaml"),
    include_str!("../../../configs/examples/rewrite.yaml"),
    include_str!("../../../configs/examples/split.yaml"),
];

/// Text that means something in YAML or in the rules.
const PIECES: [&str; 28] = [
    "&a ",
    "*a",
    "<<: *a\n",
    "!!str ",
    "!!binary ",
    "|\n",
    ">-\n",
    "---\n",
    "...\n",
    "? ",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "#",
    "\t",
    "\0",
    "é",
    "0s",
    "/0",
    "*",
    "99999999999999999999",
    "null",
    "~",
];

#[derive(Debug, Clone)]
enum Change {
    Insert(usize, &'static str),
    Delete(usize, usize),
    Copy(usize, usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = || 0..4096usize;
    prop_oneof![
        (at(), prop::sample::select(PIECES.to_vec())).prop_map(|(at, p)| Change::Insert(at, p)),
        (at(), 1..40usize).prop_map(|(at, length)| Change::Delete(at, length)),
        (at(), 1..80usize, at()).prop_map(|(from, length, to)| Change::Copy(from, length, to)),
    ]
}

/// Applies a change in characters, positions taken modulo the length.
fn apply(text: &mut Vec<char>, change: &Change) {
    let size = text.len().max(1);
    let range = |at: usize, length: usize, end: usize| {
        let start = (at % size).min(end);
        start..(start + length).min(end)
    };
    match *change {
        Change::Insert(at, piece) => {
            let at = (at % size).min(text.len());
            text.splice(at..at, piece.chars());
        }
        Change::Delete(at, length) => {
            text.drain(range(at, length, text.len()));
        }
        Change::Copy(from, length, to) => {
            let copied = text[range(from, length, text.len())].to_vec();
            let to = (to % size).min(text.len());
            text.splice(to..to, copied);
        }
    }
}

fn check(text: &str) -> Result<(), TestCaseError> {
    let problems = match parse(text, "m.yaml") {
        Ok(rules) => match compile(&rules) {
            Ok(_) => return Ok(()),
            Err(problems) => problems,
        },
        Err(problems) => problems,
    };
    prop_assert!(!problems.is_empty());
    let places: Vec<_> = problems
        .iter()
        .map(|problem| (problem.line, problem.column))
        .collect();
    prop_assert!(places.is_sorted(), "{places:?}");
    for problem in &problems {
        let line = problem.to_string();
        prop_assert!(!line.contains('\n'), "{line:?}");
        prop_assert!(line.starts_with("m.yaml:"), "{line:?}");
        prop_assert!(problem.line > 0 && problem.column > 0, "{line:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_mutated_file_is_read_or_refused(
        file in prop::sample::select(FILES.to_vec()),
        changes in vec(change(), 1..8),
    ) {
        let mut text: Vec<char> = file.chars().collect();
        for change in &changes {
            apply(&mut text, change);
        }
        check(&text.into_iter().collect::<String>())?;
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        check(&text)?;
    }
}
