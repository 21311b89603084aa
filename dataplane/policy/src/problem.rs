//! What is wrong with a set of rules, and where.

use std::fmt;
use std::sync::Arc;

/// Most mistakes in what a document says that are told of it: where there are so many, there may be more.
pub(crate) const MOST: usize = 1000;

/// One thing that is wrong, with its place and, where there is one, a way to mend it.
///
/// `Display` is one line: `file:line:column: path: message; suggestion`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as the caller named it.
    pub file: Arc<str>,
    /// Line, counted from 1; 0 where no place is known.
    pub line: u32,
    /// Column in characters, counted from 1; 0 where no place is known.
    pub column: u32,
    /// Place in the document, such as `routes[2].service`; empty for the document itself.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do, where that can be said.
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

impl Problem {
    /// Problems for people to read, one a line: the first `most` of them, and how many more there are; at
    /// least so many, where no more were looked for.
    pub fn lines(problems: &[Problem], most: usize) -> String {
        let mut lines = String::new();
        for problem in problems.iter().take(most) {
            lines.push_str(&format!("{problem}\n"));
        }
        match problems.len().saturating_sub(most) {
            0 => {}
            1 => lines.push_str("and one more problem\n"),
            more if problems.len() >= MOST => {
                lines.push_str(&format!("and at least {more} more problems\n"));
            }
            more => lines.push_str(&format!("and {more} more problems\n")),
        }
        lines
    }
}

/// Puts problems into the order in which a reader of the file meets them.
pub(crate) fn sort(problems: &mut [Problem]) {
    problems.sort_by(|a, b| {
        (a.line, a.column, &a.path, &a.message).cmp(&(b.line, b.column, &b.path, &b.message))
    });
}

/// `did you mean "hello"?` for the known word nearest to `word`, if one is near.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(word, known).map(|known| format!("did you mean \"{known}\"?"))
}

/// The longest word that is compared: what is longer is no slip of the finger.
const LONGEST_WORD: usize = 64;

/// The known word with the smallest edit distance, if at most a third of the word differs.
fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST_WORD {
        return None;
    }
    let allowed = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter(|known| known.len() <= LONGEST_WORD)
        .map(|known| (edit_distance(word, known), known))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Edit distance in characters, letters compared without case: insertions, deletions, replacements
/// and swaps of neighbours (optimal string alignment).
fn edit_distance(a: &str, b: &str) -> usize {
    let lower = |text: &str| {
        text.chars()
            .map(|c| c.to_ascii_lowercase())
            .collect::<Vec<char>>()
    };
    let (a, b) = (lower(a), lower(b));
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = above[j] + usize::from(a[i] != b[j]);
            let mut least = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_counts_insertions_deletions_and_replacements() {
        for (a, b, distance) in [
            ("", "", 0),
            ("abc", "", 3),
            ("", "abc", 3),
            ("helo", "hello", 1),
            ("kitten", "sitting", 3),
            ("Host", "host", 0),
            ("wbe", "web", 1),
            ("chekcout", "checkout", 1),
        ] {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
        }
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        let known = ["hello", "checkout"];
        assert_eq!(
            did_you_mean("helo", known).unwrap(),
            "did you mean \"hello\"?"
        );
        assert_eq!(
            did_you_mean("chekcout", known).unwrap(),
            "did you mean \"checkout\"?"
        );
        assert_eq!(did_you_mean("search", known), None);
        assert_eq!(did_you_mean(&"x".repeat(1000), known), None);
    }

    #[test]
    fn of_many_problems_the_first_are_told_and_how_many_more_there_are() {
        let problem = |line| Problem {
            file: "a.yaml".into(),
            line,
            column: 1,
            path: String::new(),
            message: "is wrong".into(),
            suggestion: None,
        };
        let problems: Vec<Problem> = (1..=5).map(problem).collect();
        let told = |most| Problem::lines(&problems, most);
        let first = "a.yaml:1:1: is wrong\na.yaml:2:1: is wrong\n";
        assert_eq!(told(2), format!("{first}and 3 more problems\n"));
        assert!(told(4).ends_with("4:1: is wrong\nand one more problem\n"));
        assert!(told(5).ends_with("5:1: is wrong\n"));
        assert_eq!(Problem::lines(&[], 2), "");
        // No more are looked for then.
        let many: Vec<Problem> = (1..=1000).map(problem).collect();
        assert!(Problem::lines(&many, 2).ends_with("and at least 998 more problems\n"));
    }

    #[test]
    fn a_problem_without_a_place_names_the_file_alone() {
        let problem = Problem {
            file: "a.yaml".into(),
            line: 0,
            column: 0,
            path: String::new(),
            message: "cannot be read".into(),
            suggestion: Some("mend it".into()),
        };
        assert_eq!(problem.to_string(), "a.yaml: cannot be read; mend it");
    }
}
