//! Counters that one worker writes and control threads read, without a lock or a locked instruction.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A closed set of things that are counted; implemented by [`counters!`](crate::counters!).
pub trait Counted: Copy + 'static {
    /// Every member, in the order of `index`.
    const ALL: &'static [Self];
    /// Position in `ALL`.
    fn index(self) -> usize;
    /// The stable name used as a metric label.
    fn name(self) -> &'static str;
}

/// Declares an enum whose members are counted under stable names.
#[macro_export]
macro_rules! counters {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $member:ident => $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $name { $($(#[$doc])* $member,)* }
        impl $crate::counters::Counted for $name {
            const ALL: &'static [Self] = &[$(Self::$member,)*];
            fn index(self) -> usize { self as usize }
            fn name(self) -> &'static str { match self { $(Self::$member => $text,)* } }
        }
    };
}

/// Totals that share cache lines with each other and with nothing else: what lies beside them in memory may
/// be another worker's. 128 bytes, because processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line([AtomicU64; 16]);

/// One total per member of `C`. Written by one thread only; readable by any.
pub struct Counters<C> {
    lines: Box<[Line]>,
    of: std::marker::PhantomData<C>,
}

impl<C: Counted> Default for Counters<C> {
    fn default() -> Self {
        Counters {
            lines: C::ALL.chunks(16).map(|_| Line::default()).collect(),
            of: std::marker::PhantomData,
        }
    }
}

impl<C: Counted> Counters<C> {
    /// Adds `n`. Only the owning worker may call it: a plain load and store, so a second writer
    /// would lose counts (it could not corrupt anything else).
    #[inline]
    pub fn add(&self, what: C, n: u64) {
        if let Some(total) = self.total(what) {
            total.store(
                total.load(Ordering::Relaxed).wrapping_add(n),
                Ordering::Relaxed,
            );
        }
    }

    #[inline]
    fn total(&self, what: C) -> Option<&AtomicU64> {
        self.lines.get(what.index() / 16)?.0.get(what.index() % 16)
    }

    /// Adds one.
    #[inline]
    pub fn count(&self, what: C) {
        self.add(what, 1);
    }

    /// The total so far.
    pub fn get(&self, what: C) -> u64 {
        self.total(what).map_or(0, |t| t.load(Ordering::Relaxed))
    }

    /// Every member with its total.
    pub fn iter(&self) -> impl Iterator<Item = (C, u64)> + '_ {
        C::ALL.iter().map(|&c| (c, self.get(c)))
    }

    /// The sum of all members.
    pub fn sum(&self) -> u64 {
        self.iter().map(|(_, n)| n).sum()
    }
}

impl<C: Counted> fmt::Debug for Counters<C> {
    /// Members that are not zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.iter()
                    .filter(|(_, n)| *n != 0)
                    .map(|(c, n)| (c.name(), n)),
            )
            .finish()
    }
}

/// A level that one worker sets and control threads read.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Replaces the level.
    #[inline]
    pub fn set(&self, level: u64) {
        self.0.store(level, Ordering::Relaxed);
    }

    /// The level last set.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fate::StackEvent;

    #[test]
    fn totals_lie_on_cache_lines_of_their_own() {
        let counters = Counters::<StackEvent>::default();
        for line in &counters.lines {
            assert_eq!(std::ptr::from_ref(line).addr() % 128, 0);
        }
        assert_eq!(size_of::<Line>(), 128);
        for (n, &event) in (1..).zip(StackEvent::ALL) {
            counters.add(event, n);
        }
        let all = StackEvent::ALL.len() as u64;
        assert_eq!(counters.sum(), all * (all + 1) / 2);
    }
}
