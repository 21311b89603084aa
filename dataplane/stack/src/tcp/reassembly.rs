//! What has come ahead of its turn: ranges of sequence numbers beyond the next one expected.

use arrayvec::ArrayVec;

use super::seq::{at_most, before, later};

/// Gaps between ranges that are remembered; what would open another one is dropped and sent again. A
/// window of 4 MiB that loses 3 % has some 90.
pub(crate) const RANGES: usize = 256;
/// What came last is remembered: so much of it. What comes in one poll makes as much only where every second
/// segment is missing.
const RECENT: usize = 64;

/// A range of sequence numbers: the first, and the one behind the last.
pub(crate) type Range = (u32, u32);

/// Bytes of as many ranges as there can be, and of the fewer that they grew from.
pub(crate) const MOST_BYTES: u64 =
    (size_of::<Ahead>() + RANGES * size_of::<Range>() * 3 / 2) as u64;

/// Ranges that have come ahead, in order, none touching another.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    ranges: Vec<Range>,
    /// What came last, the latest first.
    recent: ArrayVec<Came, RECENT>,
    /// How many of those the peer has not been told of.
    untold: usize,
}

/// What an acknowledgement would have said that had been sent at once.
#[derive(Debug, Clone, Copy)]
struct Came {
    /// The range with what came, as it was then; empty where that came in order.
    range: Range,
    /// What was expected next then.
    next: u32,
}

impl Came {
    fn is_in_order(&self) -> bool {
        self.range.0 == self.range.1
    }
}

/// Whether all of a range is part of another.
fn is_within(range: Range, whole: Range) -> bool {
    at_most(whole.0, range.0) && at_most(range.1, whole.1)
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

    /// Whether all of a range that came was there already. The one that it is part of is told next then
    /// (RFC 2883 4).
    pub(crate) fn came_again(&mut self, range: Range, next: u32) -> bool {
        let holder = self.holder(range.0).copied();
        let holder = holder.filter(|&holder| is_within(range, holder));
        if let Some(range) = holder {
            self.note(Came { range, next });
        }
        holder.is_some()
    }

    /// The first range that ends behind `number`.
    fn holder(&self, number: u32) -> Option<&Range> {
        let place = self.ranges.partition_point(|r| at_most(r.1, number));
        self.ranges.get(place)
    }

    /// Adds a range that came while `next` was expected; false when it would be one too many.
    pub(crate) fn insert(&mut self, (start, end): Range, next: u32) -> bool {
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
        self.note(Came { range: whole, next });
        true
    }

    /// What came went on in order, or filled a gap: `next` is expected now.
    pub(crate) fn came_in_order(&mut self, next: u32) {
        let range = (next, next);
        self.note(Came { range, next });
    }

    fn note(&mut self, came: Came) {
        let goes_on = |last: &Came| {
            last.is_in_order() == came.is_in_order()
                && (last.is_in_order() || is_within(last.range, came.range))
        };
        if self.untold > 0
            && let Some(last) = self.recent.first_mut().filter(|last| goes_on(last))
        {
            *last = came;
            return;
        }
        let (mut place, untold) = (0, self.untold);
        self.recent.retain(|old| {
            place += 1;
            let is_over = is_within(old.range, came.range) || at_most(old.range.1, came.next);
            place <= untold || !is_over
        });
        if self.recent.is_full() {
            self.recent.pop();
        }
        self.recent.insert(0, came);
        self.untold = (self.untold + 1).min(RECENT);
    }

    /// How many acknowledgements it takes to tell of what came since the last one: as many as there would have been
    /// if each segment had been answered at once, but for those that only said how a range goes on. A sender
    /// that hears first of what it sent last takes for lost what it sent before (RFC 8985). And in each there is
    /// room for two ranges that were told before, so that one that is lost takes nothing with it (RFC 2018 4).
    pub(crate) fn acknowledgements(&self) -> u8 {
        self.untold as u8
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

    /// What to tell the sender, while `next` is expected: an acknowledgement number, and the ranges that came
    /// last, the latest first (RFC 2018 4). If more came since the last time, it is as of when the first of
    /// that came.
    pub(crate) fn tell(&mut self, next: u32) -> (u32, ArrayVec<Range, 4>) {
        self.untold = self.untold.saturating_sub(1);
        let (place, last) = (self.untold, self.untold == 0);
        let then = self.recent.get(place).filter(|_| !last);
        let number = then.map_or(next, |came| came.next);
        let mut told = ArrayVec::<Range, 4>::new();
        let recent = self.recent.iter().skip(place).map(|came| came.range);
        let others = self.ranges.iter().copied().filter(|_| last);
        for range in recent.chain(others) {
            if told.is_full() {
                break;
            }
            let is_new = !told.iter().any(|&other| is_within(range, other));
            if is_new && before(number, range.1) {
                told.push(range);
            }
        }
        if self.recent.get(place).is_some_and(Came::is_in_order) {
            self.recent.remove(place);
        }
        (number, told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(ahead: &mut Ahead) -> Vec<Range> {
        ahead.tell(0).1.to_vec()
    }

    #[test]
    fn ranges_join_and_the_latest_comes_first() {
        let mut ahead = Ahead::default();
        for start in [20, 40, 60] {
            assert!(ahead.insert((start, start + 10), 0));
            blocks(&mut ahead);
        }
        assert_eq!(blocks(&mut ahead), [(60, 70), (40, 50), (20, 30)]);
        assert!(ahead.insert((30, 40), 0));
        assert_eq!(blocks(&mut ahead), [(20, 50), (60, 70)]);
        assert!(ahead.came_again((25, 45), 0) && !ahead.came_again((45, 65), 0));
        assert_eq!(blocks(&mut ahead), [(20, 50), (60, 70)]);
        assert_eq!(ahead.advance(10), 10);
        assert_eq!(ahead.advance(20), 50);
        assert_eq!(ahead.tell(50).1[..], [(60, 70)]);
        assert_eq!(ahead.advance(65), 70);
        assert!(ahead.is_empty());
    }

    #[test]
    fn what_came_together_is_told_as_if_each_had_been_answered() {
        let mut ahead = Ahead::default();
        // A range that goes on, another one, the gap before the first is filled in part, and the other goes on.
        for range in [(20, 30), (30, 40), (60, 70)] {
            assert!(ahead.insert(range, 0));
        }
        assert_eq!(ahead.advance(10), 10);
        ahead.came_in_order(5);
        ahead.came_in_order(10);
        assert!(ahead.insert((70, 80), 10));
        assert_eq!(ahead.acknowledgements(), 4);
        let told: Vec<_> = (0..4).map(|_| ahead.tell(10)).collect();
        let expected = [
            (0, &[(20, 40)][..]),
            (0, &[(60, 70), (20, 40)]),
            (10, &[(60, 70), (20, 40)]),
            (10, &[(60, 80), (20, 40)]),
        ];
        for (told, expected) in told.iter().zip(expected) {
            assert_eq!((told.0, &told.1[..]), expected);
        }
        assert_eq!(ahead.acknowledgements(), 0);
        assert_eq!(ahead.advance(20), 40);
        ahead.came_in_order(40);
        assert_eq!(ahead.acknowledgements(), 1);
        let (number, ranges) = ahead.tell(40);
        assert_eq!((number, &ranges[..]), (40, &[(60, 80)][..]));
    }

    #[test]
    fn no_lost_acknowledgement_hides_a_range() {
        let mut ahead = Ahead::default();
        let mut told = std::collections::HashMap::<Range, u32>::new();
        // Some come together, some alone.
        for together in [1, 3, 1, 7, 2, 1, 1] {
            for _ in 0..together {
                let start = (ahead.ranges.len() as u32 + 1) * 10;
                assert!(ahead.insert((start, start + 5), 0));
            }
            for _ in 0..ahead.acknowledgements() {
                for range in blocks(&mut ahead).into_iter().take(3) {
                    *told.entry(range).or_default() += 1;
                }
            }
        }
        // All but the last, which more will follow.
        let before = ahead.ranges.iter().rev().skip(2);
        assert!(before.clone().count() == 14 && before.clone().all(|range| told[range] >= 3));
    }

    #[test]
    fn one_range_too_many_is_refused_but_not_one_that_joins() {
        let mut ahead = Ahead::default();
        let wrap = u32::MAX - 100;
        let mut insert = |start: u32, len: u32| {
            let start = wrap.wrapping_add(start);
            ahead.insert((start, start.wrapping_add(len)), wrap.wrapping_sub(100))
        };
        assert!((0..RANGES as u32).all(|n| insert(n * 10, 5)));
        assert!(!insert(50u32.wrapping_neg(), 10));
        assert!(insert(5, 5));
        assert!(insert(50u32.wrapping_neg(), 10));
    }

    proptest::proptest! {
        /// Against a set of single numbers.
        #[test]
        fn agrees_with_a_set(parts in proptest::collection::vec((0u32..300, 1u32..40), 1..30), base in 0u32..) {
            let mut ahead = Ahead::default();
            let mut model = std::collections::BTreeSet::new();
            for (start, len) in parts {
                if ahead.insert((base.wrapping_add(start), base.wrapping_add(start + len)), base) {
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
