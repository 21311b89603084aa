//! Header edits that are the same for every message, made ready once.

use super::edits::HeaderEdit;
use super::write::write_field;

/// Header edits of a route that are the same for every message, made ready when the rules are compiled; the
/// default changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FixedEdits {
    /// The names of fields that are taken away.
    replaced: Vec<Box<[u8]>>,
    /// The marks of those names.
    marks: u64,
    /// The lines that are added.
    lines: Vec<u8>,
}

/// Changes nothing.
static NONE: FixedEdits = FixedEdits {
    replaced: Vec::new(),
    marks: 0,
    lines: Vec::new(),
};

impl FixedEdits {
    /// These edits, in this order: of what one adds, a later one may take it away.
    #[must_use]
    pub fn new(edits: &[HeaderEdit]) -> Self {
        let mut fixed = Self::default();
        let mut rest = edits;
        while let [edit, later @ ..] = rest {
            let same = |other: &HeaderEdit| other.name.eq_ignore_ascii_case(&edit.name);
            if edit.replaces {
                fixed.replaced.push(edit.name.clone());
                fixed.marks |= mark(&edit.name);
            }
            if let Some(value) = &edit.value
                && !later.iter().any(|other| other.replaces && same(other))
            {
                write_field(&mut fixed.lines, &edit.name, value);
            }
            rest = later;
        }
        fixed
    }

    /// Whether a field of this name, in any case, is taken away where it stands already.
    #[inline]
    pub(super) fn replaces(&self, name: &[u8]) -> bool {
        self.marks != 0 && self.marks & mark(name) != 0 && self.names(name)
    }

    #[cold]
    fn names(&self, name: &[u8]) -> bool {
        let mut replaced = self.replaced.iter();
        replaced.any(|own| own.eq_ignore_ascii_case(name))
    }

    /// The lines that are added.
    #[inline]
    pub(super) fn lines(&self) -> &[u8] {
        &self.lines
    }
}

impl Default for &FixedEdits {
    fn default() -> Self {
        &NONE
    }
}

/// One of 64 bits, the same for a name in any case: most names are told apart by their length and last byte.
#[inline]
fn mark(name: &[u8]) -> u64 {
    let last = name.last().map_or(0, |last| last | 0x20);
    1 << ((name.len() + 5 * usize::from(last)) % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_away_in_any_case_and_no_others() {
        let edits = [
            HeaderEdit::set(b"X-Edge", b"1").unwrap(),
            HeaderEdit::remove(b"a_B").unwrap(),
            HeaderEdit::add(b"Kept", b"2").unwrap(),
        ];
        let fixed = FixedEdits::new(&edits);
        for name in ["x-edge", "X-EDGE", "A_b", "a_B"] {
            assert!(fixed.replaces(name.as_bytes()), "{name}");
        }
        // Of these some have the mark of one of those names.
        for last in 0..=255 {
            for name in [
                &[b'x', b'-', b'e', b'd', b'g', last][..],
                &[b'a', b'_', last],
                &[last],
            ] {
                let own = name.eq_ignore_ascii_case(b"x-edge") || name.eq_ignore_ascii_case(b"a_b");
                assert_eq!(fixed.replaces(name), own, "{name:?}");
            }
        }
        assert!(!fixed.replaces(b"kept") && !fixed.replaces(b""));
        assert!(!NONE.replaces(b"x-edge"));
    }

    #[test]
    fn what_a_later_edit_takes_away_is_not_added() {
        let edits = [
            HeaderEdit::set(b"A", b"1").unwrap(),
            HeaderEdit::add(b"a", b"2").unwrap(),
            HeaderEdit::set(b"B", b"3").unwrap(),
            HeaderEdit::remove(b"b").unwrap(),
        ];
        assert_eq!(FixedEdits::new(&edits).lines(), b"A: 1\r\na: 2\r\n");
        assert_eq!(FixedEdits::new(&[]), NONE);
    }
}
