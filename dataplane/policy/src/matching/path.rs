//! Which paths a rule takes, and what its parts stood for.

use std::fmt;

use arrayvec::ArrayVec;

use super::Regex;

/// Most parts of one path that have names.
pub const MAX_CAPTURES: usize = 8;

/// What the named parts of a path stood for, in the order of their names.
pub type Captures<'a> = ArrayVec<&'a [u8], MAX_CAPTURES>;

/// Which paths a route takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// Those that begin with these whole segments: `/`, or segments without a slash at the end.
    Prefix(Box<str>),
    /// This one.
    Exact(Box<str>),
    /// Those of these segments.
    Pattern(Pattern),
    /// Those that an expression matches.
    Regex(PathRegex),
}

/// Segments, some of which stand for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    pub(crate) segments: Box<[Segment]>,
    /// A last name stands for all that remains.
    rest: bool,
    pub(crate) names: Box<[Box<str>]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    Literal(Box<[u8]>),
    /// Any that is not empty.
    Any,
}

/// A regular expression over a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRegex {
    pub(crate) regex: Regex,
    pub(crate) names: Box<[Box<str>]>,
    /// Whole segments that every match begins with.
    prefix: Box<[u8]>,
}

/// Why a pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PatternError {
    /// A segment is neither text nor one name.
    Segment(String),
    /// This is no name.
    Name(String),
    /// What stands for the rest is not at the end.
    NotLast(String),
    /// A name stands there twice.
    Twice(String),
    /// There are more than [`MAX_CAPTURES`] names.
    TooMany,
}

impl PathMatch {
    /// Whether it takes a path.
    pub fn takes(&self, path: &[u8]) -> bool {
        match self {
            PathMatch::Prefix(prefix) => behind_prefix(prefix, path).is_some(),
            PathMatch::Exact(own) => own.as_bytes() == path,
            PathMatch::Pattern(pattern) => pattern.walk(path, |_| {}),
            PathMatch::Regex(regex) => regex.regex.is_match(path),
        }
    }

    /// Whether a path that is it, or begins with it by segments, needs no further look.
    #[inline]
    pub(crate) fn is_literal(&self) -> bool {
        matches!(self, PathMatch::Exact(_) | PathMatch::Prefix(_))
    }

    /// What the named parts of a path that it takes stood for. Allocates for regular expressions.
    pub fn captures<'p>(&self, path: &'p [u8]) -> Captures<'p> {
        let mut captures = Captures::new();
        match self {
            PathMatch::Prefix(_) | PathMatch::Exact(_) => {}
            PathMatch::Pattern(pattern) => {
                pattern.walk(path, |part| {
                    // No more than that are compiled.
                    let _ = captures.try_push(part);
                });
            }
            PathMatch::Regex(regex) => regex.regex.captures(path, |_, part| {
                let _ = captures.try_push(part);
            }),
        }
        captures
    }

    /// The names of its parts, in the order of [`Self::captures`].
    pub(crate) fn names(&self) -> &[Box<str>] {
        match self {
            PathMatch::Prefix(_) | PathMatch::Exact(_) => &[],
            PathMatch::Pattern(pattern) => &pattern.names,
            PathMatch::Regex(regex) => &regex.names,
        }
    }

    /// Whole segments that every path it takes begins with, the slash of `/` left out.
    pub(crate) fn literal_prefix(&self) -> Vec<u8> {
        match self {
            PathMatch::Prefix(own) | PathMatch::Exact(own) => {
                own.strip_suffix('/').unwrap_or(own).as_bytes().to_vec()
            }
            PathMatch::Pattern(pattern) => pattern.literal_prefix(),
            PathMatch::Regex(regex) => regex.prefix.to_vec(),
        }
    }
}

/// What follows the segments of a prefix: nothing, or what begins with a slash; `None` for a path
/// that does not begin with them.
pub(crate) fn behind_prefix<'p>(prefix: &str, path: &'p [u8]) -> Option<&'p [u8]> {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let rest = path.strip_prefix(prefix.as_bytes())?;
    // What begins without a slash, such as `*`, is still below `/`.
    (rest.is_empty() || rest.first() == Some(&b'/') || prefix.is_empty()).then_some(rest)
}

impl Pattern {
    /// Reads one, such as `/users/{id}/files/{path...}`, which begins with a slash.
    pub(crate) fn parse(text: &str) -> Result<Pattern, PatternError> {
        let mut segments = Vec::new();
        let mut names: Vec<Box<str>> = Vec::new();
        let mut rest = false;
        for segment in text.split('/').skip(1) {
            if rest {
                return Err(PatternError::NotLast(text.to_owned()));
            }
            let inner = segment
                .strip_prefix('{')
                .and_then(|segment| segment.strip_suffix('}'));
            let Some(name) = inner else {
                if segment.contains(['{', '}']) {
                    return Err(PatternError::Segment(segment.to_owned()));
                }
                segments.push(Segment::Literal(segment.as_bytes().into()));
                continue;
            };
            let name = match name.strip_suffix("...") {
                Some(name) => {
                    rest = true;
                    name
                }
                None => name,
            };
            if !is_name(name) {
                return Err(PatternError::Name(name.to_owned()));
            }
            if names.iter().any(|other| **other == *name) {
                return Err(PatternError::Twice(name.to_owned()));
            }
            names.push(name.into());
            if !rest {
                segments.push(Segment::Any);
            }
        }
        if names.len() > MAX_CAPTURES {
            return Err(PatternError::TooMany);
        }
        Ok(Pattern {
            text: text.into(),
            segments: segments.into(),
            rest,
            names: names.into(),
        })
    }

    /// The same text for patterns that take the same paths.
    pub(crate) fn shape(&self) -> String {
        format!("{:?} {}", self.segments, self.rest)
    }

    /// Whether a path fits; tells what each name stood for on the way.
    fn walk<'p>(&self, path: &'p [u8], mut part: impl FnMut(&'p [u8])) -> bool {
        let mut left = path;
        for segment in &self.segments {
            let Some(behind) = left.strip_prefix(b"/") else {
                return false;
            };
            let end = memchr::memchr(b'/', behind).unwrap_or(behind.len());
            let Some((own, rest)) = behind.split_at_checked(end) else {
                return false;
            };
            left = rest;
            match segment {
                Segment::Literal(literal) if **literal == *own => {}
                Segment::Any if !own.is_empty() => part(own),
                _ => return false,
            }
        }
        if !self.rest {
            return left.is_empty();
        }
        match left.strip_prefix(b"/") {
            Some(rest) => {
                part(rest);
                true
            }
            None => false,
        }
    }

    fn literal_prefix(&self) -> Vec<u8> {
        let mut prefix = Vec::new();
        for segment in &self.segments {
            let Segment::Literal(literal) = segment else {
                break;
            };
            prefix.push(b'/');
            prefix.extend_from_slice(literal);
        }
        prefix
    }
}

impl PathRegex {
    /// Over an expression; `None` if it has more than [`MAX_CAPTURES`] names.
    pub(crate) fn new(regex: Regex) -> Option<PathRegex> {
        let names = regex.names();
        // All before the last slash of what every match begins with.
        let prefix = regex.prefix();
        let end = memchr::memrchr(b'/', prefix).unwrap_or(0);
        let prefix = prefix.get(..end).unwrap_or_default().into();
        (names.len() <= MAX_CAPTURES).then(|| PathRegex {
            regex,
            names: names.into(),
            prefix,
        })
    }
}

fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathMatch::Prefix(prefix) => f.write_str(prefix),
            PathMatch::Exact(own) => write!(f, "={own}"),
            PathMatch::Pattern(pattern) => f.write_str(&pattern.text),
            PathMatch::Regex(regex) => write!(f, "~{}", regex.regex.pattern()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Regexes;
    use super::*;

    #[test]
    fn a_pattern_takes_paths_of_its_segments() {
        let pattern = Pattern::parse("/users/{id}/files/{path...}").unwrap();
        let path = PathMatch::Pattern(pattern);
        assert_eq!(path.literal_prefix(), b"/users");
        assert_eq!(path.names(), ["id".into(), "path".into()]);
        assert_eq!(
            path.captures(b"/users/7/files/a/b").as_slice(),
            [&b"7"[..], b"a/b"]
        );
        for (own, taken) in [
            ("/users/7/files/", true),
            ("/users/7/files", false),
            ("/users//files/a", false),
            ("/users/7/filesx/a", false),
            ("users/7/files/a", false),
            ("", false),
        ] {
            assert_eq!(path.takes(own.as_bytes()), taken, "{own}");
        }
    }

    #[test]
    fn the_prefix_of_an_expression_ends_with_a_whole_segment() {
        for (pattern, prefix) in [
            ("/users/[0-9]+", "/users"),
            ("/users/a?", "/users"),
            ("/users/?", ""),
            ("/a/b|/a/c", "/a"),
            ("/a/b|/c", ""),
            ("(?i)/users/x", ""),
            (".*", ""),
        ] {
            let regex = Regexes::default().get(pattern).unwrap();
            let prefix = prefix.as_bytes();
            assert_eq!(&*PathRegex::new(regex).unwrap().prefix, prefix, "{pattern}");
        }
    }
}
