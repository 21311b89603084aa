//! What has come ahead of its turn: ranges of sequence numbers beyond the next one expected.

use arrayvec::ArrayVec;

use super::seq::{at_most, before, later};

/// Gaps between ranges that are remembered; what would open another one is dropped and sent again. A
/// window of 4 MiB that loses 3 % has some 90.
pub(crate) const RANGES: usize = 256;
/// Ranges whose order of coming is remembered.
const RECENT: usize = 9;
/// Ranges that one acknowledgement tells of, beside timestamps (RFC 2018 3).
const TOLD_AT_ONCE: usize = 3;

/// A range of sequence numbers: the first, and the one behind the last.
pub(crate) type Range = (u32, u32);

/// Bytes of as many ranges as there can be, and of the fewer that they grew from.
pub(crate) const MOST_BYTES: u64 =
    (size_of::<Ahead>() + RANGES * size_of::<Range>() * 3 / 2) as u64;

/// Ranges that have come ahead, in order, none touching another.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    ranges: Vec<Range>,
    /// A number in each of the ranges that came last, the latest first.
    recent: ArrayVec<u32, RECENT>,
    /// How many of those the peer has not been told of.
    untold: usize,
}

impl Ahead {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Behind the last of what is there.
    #[inline]
    pub(crate) fn reach(&self) -> Option<u32> {
        self.ranges.last().map(|range| range.1)
    }

    /// Whether all of a range is there already.
    pub(crate) fn covers(&self, (start, end): Range) -> bool {
        let holder = self.holder(start);
        holder.is_some_and(|r| at_most(r.0, start) && at_most(end, r.1))
    }

    /// The first range that ends behind `number`.
    fn holder(&self, number: u32) -> Option<&Range> {
        let place = self.ranges.partition_point(|r| at_most(r.1, number));
        self.ranges.get(place)
    }

    /// Adds a range; false when it would be one too many.
    pub(crate) fn insert(&mut self, (start, end): Range) -> bool {
        let from = self.ranges.partition_point(|r| before(r.1, start));
        let touching = self.ranges[from..]
            .iter()
            .take_while(|r| at_most(r.0, end))
            .count();
        let whole = if touching == 0 {
            if self.ranges.len() >= RANGES {
                return false;
            }
            self.ranges.insert(from, (start, end));
            (start, end)
        } else {
            let first = self.ranges[from];
            let last = self.ranges[from + touching - 1];
            let lower = if before(start, first.0) {
                start
            } else {
                first.0
            };
            let whole = (lower, later(end, last.1));
            self.ranges.drain(from + 1..from + touching);
            self.ranges[from] = whole;
            whole
        };
        self.note(start, whole);
        true
    }

    /// `number`, in the range `whole`, came last.
    fn note(&mut self, number: u32, whole: Range) {
        let mut place = 0;
        let untold = &mut self.untold;
        self.recent.retain(|old| {
            let same = at_most(whole.0, *old) && before(*old, whole.1);
            *untold -= usize::from(same && place < *untold);
            place += usize::from(!same);
            !same
        });
        if self.recent.is_full() {
            self.recent.pop();
        }
        self.recent.insert(0, number);
        self.untold = (self.untold + 1).min(RECENT);
    }

    /// How many acknowledgements it takes to tell of what came since the last one.
    pub(crate) fn acknowledgements(&self) -> u8 {
        self.untold.div_ceil(TOLD_AT_ONCE) as u8
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

    /// What to tell the sender next: the ranges that came last, those before them that it was not told of
    /// first if they are too many for one acknowledgement, then the others (RFC 2018 4).
    pub(crate) fn tell(&mut self) -> ArrayVec<Range, 4> {
        let skip = self.untold.saturating_sub(TOLD_AT_ONCE);
        self.untold = skip;
        let mut told = ArrayVec::new();
        let recent = self.recent.iter().skip(skip);
        let recent = recent.filter_map(|&number| {
            let holder = self.holder(number).copied();
            holder.filter(|r| at_most(r.0, number))
        });
        for range in recent.chain(self.ranges.iter().copied()) {
            if told.is_full() {
                break;
            }
            if !told.contains(&range) {
                told.push(range);
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(ahead: &mut Ahead) -> Vec<Range> {
        ahead.tell().to_vec()
    }

    #[test]
    fn ranges_join_and_the_latest_comes_first() {
        let mut ahead = Ahead::default();
        assert!(ahead.insert((20, 30)) && ahead.insert((40, 50)) && ahead.insert((60, 70)));
        assert_eq!(blocks(&mut ahead), [(60, 70), (40, 50), (20, 30)]);
        assert!(ahead.insert((30, 40)));
        assert_eq!(blocks(&mut ahead), [(20, 50), (60, 70)]);
        assert!(ahead.covers((25, 45)) && !ahead.covers((45, 65)));
        assert_eq!(ahead.advance(10), 10);
        assert_eq!(ahead.advance(20), 50);
        assert_eq!(blocks(&mut ahead), [(60, 70)]);
        assert_eq!(ahead.advance(65), 70);
        assert!(ahead.is_empty());
    }

    #[test]
    fn more_than_one_acknowledgement_can_tell_is_told_by_several() {
        let mut ahead = Ahead::default();
        for n in 1..=5 {
            assert!(ahead.insert((n * 10, n * 10 + 5)));
        }
        assert_eq!(ahead.acknowledgements(), 2);
        assert_eq!(blocks(&mut ahead)[..3], [(30, 35), (20, 25), (10, 15)]);
        assert_eq!(ahead.acknowledgements(), 1);
        assert_eq!(blocks(&mut ahead)[..3], [(50, 55), (40, 45), (30, 35)]);
        assert_eq!(ahead.acknowledgements(), 0);
        assert!(ahead.insert((35, 40)));
        assert_eq!(blocks(&mut ahead)[..3], [(30, 45), (50, 55), (20, 25)]);
        assert_eq!(ahead.advance(10), 15);
        assert_eq!(blocks(&mut ahead), [(30, 45), (50, 55), (20, 25)]);
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
                    .ranges
                    .iter()
                    .flat_map(|&(a, b)| a.wrapping_sub(base)..b.wrapping_sub(base))
                    .collect();
                proptest::prop_assert_eq!(&told, &model);
            }
            let next = ahead.advance(base.wrapping_add(50)).wrapping_sub(base);
            let expected = (50..).find(|n| !model.contains(n)).unwrap_or(50);
            proptest::prop_assert_eq!(next, expected);
        }
    }
}
