//! What has come ahead of its turn: ranges of sequence numbers beyond the next one expected.

use arrayvec::ArrayVec;

use super::seq::{at_most, before, later};

/// Gaps between ranges that are remembered; what would open another one is dropped and sent again.
pub(crate) const RANGES: usize = 32;

/// A range of sequence numbers: the first, and the one behind the last.
pub(crate) type Range = (u32, u32);

/// Ranges that have come ahead, in order, none touching another.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    ranges: ArrayVec<Range, RANGES>,
    /// In the range that came last.
    latest: u32,
}

impl Ahead {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether all of a range is there already.
    pub(crate) fn covers(&self, (start, end): Range) -> bool {
        self.ranges
            .iter()
            .any(|r| at_most(r.0, start) && at_most(end, r.1))
    }

    /// Adds a range; false when it would be one too many.
    pub(crate) fn insert(&mut self, (start, end): Range) -> bool {
        let from = self
            .ranges
            .iter()
            .take_while(|r| before(r.1, start))
            .count();
        let touching = self.ranges[from..]
            .iter()
            .take_while(|r| at_most(r.0, end))
            .count();
        if touching == 0 {
            if self.ranges.is_full() {
                return false;
            }
            self.ranges.insert(from, (start, end));
        } else {
            let first = self.ranges[from];
            let last = self.ranges[from + touching - 1];
            let whole = (
                if before(start, first.0) {
                    start
                } else {
                    first.0
                },
                later(end, last.1),
            );
            self.ranges.drain(from + 1..from + touching);
            self.ranges[from] = whole;
        }
        self.latest = start;
        true
    }

    /// Everything up to `next` has come in order: forgets what lies before, and returns up to where it
    /// goes on without a gap.
    pub(crate) fn advance(&mut self, next: u32) -> u32 {
        let mut next = next;
        while let Some(&(start, end)) = self.ranges.first()
            && at_most(start, next)
        {
            next = later(next, end);
            self.ranges.remove(0);
        }
        next
    }

    /// What to tell the sender: the range that came last, then the others (RFC 2018 4).
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Range> + '_ {
        let holds = |r: &Range| at_most(r.0, self.latest) && before(self.latest, r.1);
        let latest = self.ranges.iter().copied().find(holds);
        let others = self.ranges.iter().copied().filter(move |r| !holds(r));
        latest.into_iter().chain(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(ahead: &Ahead) -> Vec<Range> {
        ahead.blocks().collect()
    }

    #[test]
    fn ranges_join_and_the_latest_comes_first() {
        let mut ahead = Ahead::default();
        assert!(ahead.insert((20, 30)) && ahead.insert((40, 50)) && ahead.insert((60, 70)));
        assert_eq!(blocks(&ahead), [(60, 70), (20, 30), (40, 50)]);
        assert!(ahead.insert((30, 40)));
        assert_eq!(blocks(&ahead), [(20, 50), (60, 70)]);
        assert!(ahead.covers((25, 45)) && !ahead.covers((45, 65)));
        assert_eq!(ahead.advance(10), 10);
        assert_eq!(ahead.advance(20), 50);
        assert_eq!(blocks(&ahead), [(60, 70)]);
        assert_eq!(ahead.advance(65), 70);
        assert!(ahead.is_empty());
    }

    #[test]
    fn one_range_too_many_is_refused_but_not_one_that_joins() {
        let mut ahead = Ahead::default();
        let wrap = u32::MAX - 100;
        for n in 0..RANGES as u32 {
            assert!(ahead.insert((wrap.wrapping_add(n * 10), wrap.wrapping_add(n * 10 + 5))));
        }
        assert!(!ahead.insert((wrap.wrapping_sub(50), wrap.wrapping_sub(40))));
        assert!(ahead.insert((wrap.wrapping_add(5), wrap.wrapping_add(10))));
        assert!(ahead.insert((wrap.wrapping_sub(50), wrap.wrapping_sub(40))));
    }

    proptest::proptest! {
        /// Against a set of single numbers.
        #[test]
        fn agrees_with_a_set(parts in proptest::collection::vec((0u32..300, 1u32..40), 1..30), base in 0u32..) {
            let mut ahead = Ahead::default();
            let mut model = std::collections::BTreeSet::new();
            for (start, len) in parts {
                if ahead.insert((base.wrapping_add(start), base.wrapping_add(start + len))) {
                    model.extend(start..start + len);
                }
                let told: std::collections::BTreeSet<u32> = ahead
                    .blocks()
                    .flat_map(|(a, b)| a.wrapping_sub(base)..b.wrapping_sub(base))
                    .collect();
                proptest::prop_assert_eq!(&told, &model);
            }
            let next = ahead.advance(base.wrapping_add(50)).wrapping_sub(base);
            let expected = (50..).find(|n| !model.contains(n)).unwrap_or(50);
            proptest::prop_assert_eq!(next, expected);
        }
    }
}
