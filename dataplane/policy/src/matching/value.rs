//! Tests of one value.

use std::fmt;

use super::Regex;

/// A test of the values of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueTest {
    pub(crate) test: Test,
    /// It holds where no value passes.
    pub(crate) not: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Test {
    Exact(Box<[Box<[u8]>]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Regex(Regex),
    /// From the first to below the second.
    Range(i64, i64),
    Present,
}

impl ValueTest {
    /// Whether it holds, where `any` says whether any value passes a test.
    #[inline]
    pub(crate) fn holds(&self, any: impl FnOnce(&Test) -> bool) -> bool {
        any(&self.test) != self.not
    }
}

impl Test {
    /// Whether one value passes.
    pub(crate) fn passes(&self, value: &[u8]) -> bool {
        match self {
            Test::Exact(allowed) => allowed.iter().any(|own| **own == *value),
            Test::Prefix(prefix) => value.starts_with(prefix),
            Test::Suffix(suffix) => value.ends_with(suffix),
            Test::Regex(regex) => regex.is_match(value),
            Test::Range(from, to) => {
                number(value).is_some_and(|value| (*from..*to).contains(&value))
            }
            Test::Present => true,
        }
    }
}

/// Decimal digits with a minus sign or without, nothing else.
fn number(value: &[u8]) -> Option<i64> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

impl fmt::Display for ValueTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.not { "not " } else { "" };
        match &self.test {
            Test::Exact(allowed) => {
                write!(f, "{not}equal to ")?;
                for (place, own) in allowed.iter().enumerate() {
                    let or = if place == 0 { "" } else { " or " };
                    write!(f, "{or}{:?}", text(own))?;
                }
                Ok(())
            }
            Test::Prefix(prefix) => write!(f, "{not}beginning with {:?}", text(prefix)),
            Test::Suffix(suffix) => write!(f, "{not}ending with {:?}", text(suffix)),
            Test::Regex(regex) => write!(f, "{not}like {:?}", regex.pattern()),
            Test::Range(from, to) => write!(f, "{not}a number from {from} to below {to}"),
            Test::Present if self.not => f.write_str("absent"),
            Test::Present => f.write_str("present"),
        }
    }
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_takes_plain_whole_numbers_only() {
        let range = Test::Range(-5, 10);
        for value in ["-5", "0", "9", "09"] {
            assert!(range.passes(value.as_bytes()), "{value}");
        }
        for value in [
            "-6",
            "10",
            "",
            "-",
            "+1",
            " 1",
            "1 ",
            "1.0",
            "0x1",
            "99999999999999999999",
        ] {
            assert!(!range.passes(value.as_bytes()), "{value}");
        }
    }
}
