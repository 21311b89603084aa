//! A timer wheel over numbered things: at most one timer each, O(1) to set, move and cancel, no
//! allocation after the table has grown to the highest number in use.
//!
//! What is due within four seconds lies in a slot of its millisecond. What is due later lies in a slot of
//! its four seconds, and goes to that of its millisecond when they begin: what waits for long costs
//! nothing meanwhile.

use crate::time::Instant;

/// Length of a slot. A timer fires at most this much late, never early.
const SLOT_NANOS: u64 = 1_000_000;
/// Slots of a millisecond, 4.096 s together: a span.
const SLOTS: usize = 4096;
/// Slots of a span, 70 minutes together, behind them. Later timers are looked at once in that time.
const SPANS: usize = 1024;
/// Timers that leave the slot of a span in one call.
const UNFOLDED: usize = 256;
const NIL: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Node {
    deadline: Instant,
    prev: u32,
    next: u32,
    slot: u32,
}

const IDLE: Node = Node {
    deadline: Instant::NEVER,
    prev: NIL,
    next: NIL,
    slot: NIL,
};

/// Timers of things numbered from 0.
#[derive(Debug)]
pub struct Wheel {
    heads: Box<[u32]>,
    nodes: Vec<Node>,
    /// The first slot count (deadline / SLOT_NANOS) that has not been looked at; what is due now is
    /// placed there, so that a poll within the same millisecond costs one comparison.
    tick: u64,
    /// The span (tick / SLOTS) up to which, with it, timers have left the slots of spans.
    span: u64,
    armed: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel {
            heads: vec![NIL; SLOTS + SPANS].into(),
            nodes: Vec::new(),
            tick: 0,
            span: 0,
            armed: 0,
        }
    }
}

/// Bytes of a timer, and of the wheel itself.
pub(crate) const PER_TIMER: usize = size_of::<Node>();
pub(crate) const SLOTS_BYTES: u64 = ((SLOTS + SPANS) * size_of::<u32>()) as u64;

impl Wheel {
    /// With room for so many timers: it need not grow.
    pub fn with_capacity(timers: usize) -> Self {
        Wheel {
            nodes: Vec::with_capacity(timers),
            ..Wheel::default()
        }
    }

    /// Sets the timer of `key` to fire at `deadline`; [`Instant::NEVER`] cancels it.
    ///
    /// A timer that is already set to an earlier time is left where it is: the owner is asked again
    /// when that time comes and then sets the later one. A deadline that moves outward with every
    /// request so costs nothing per request.
    #[inline]
    pub fn set(&mut self, key: u32, deadline: Instant) {
        if let Some(node) = self.nodes.get(key as usize)
            && node.slot != NIL
            && node.deadline <= deadline
            && deadline != Instant::NEVER
        {
            return;
        }
        self.place(key, deadline);
    }

    /// Cancels the timer of `key`, if it is set.
    pub fn cancel(&mut self, key: u32) {
        let Some(&Node {
            prev, next, slot, ..
        }) = self.nodes.get(key as usize)
        else {
            return;
        };
        if slot == NIL {
            return;
        }
        match prev {
            NIL => self.heads[slot as usize] = next,
            prev => self.nodes[prev as usize].next = next,
        }
        if next != NIL {
            self.nodes[next as usize].prev = prev;
        }
        self.nodes[key as usize] = IDLE;
        self.armed -= 1;
    }

    fn place(&mut self, key: u32, deadline: Instant) {
        self.cancel(key);
        if deadline == Instant::NEVER {
            return;
        }
        if self.nodes.len() <= key as usize {
            self.nodes.resize(key as usize + 1, IDLE);
        }
        // Rounded up, so that a timer never fires early; never into the part already passed.
        let tick = deadline.as_nanos().div_ceil(SLOT_NANOS).max(self.tick);
        let slot = self.slot(tick);
        let head = self.heads[slot];
        self.nodes[key as usize] = Node {
            deadline,
            prev: NIL,
            next: head,
            slot: slot as u32,
        };
        if head != NIL {
            self.nodes[head as usize].prev = key;
        }
        self.heads[slot] = key;
        self.armed += 1;
    }

    /// Where a timer lies that is due at a tick, which has not been passed.
    fn slot(&self, tick: u64) -> usize {
        if tick - self.tick < SLOTS as u64 {
            return (tick % SLOTS as u64) as usize;
        }
        // The farthest there is a slot for: from there it goes on. That of a span that is being emptied is
        // never among them.
        let span = (tick / SLOTS as u64).min(self.span + SPANS as u64);
        SLOTS + (span % SPANS as u64) as usize
    }

    /// Has the timers of the spans that have begun go to the slots of their milliseconds, a bounded number in
    /// one call; false when there are more.
    #[cold]
    fn unfold(&mut self) -> bool {
        let current = self.tick / SLOTS as u64;
        // After a long pause one turn over all finds everything.
        self.span = self.span.max(current.saturating_sub(SPANS as u64));
        let mut moved = 0;
        while self.span < current {
            let slot = SLOTS + ((self.span + 1) % SPANS as u64) as usize;
            loop {
                let key = self.heads[slot];
                if key == NIL {
                    break;
                }
                if moved == UNFOLDED {
                    return false;
                }
                moved += 1;
                self.place(key, self.nodes[key as usize].deadline);
            }
            self.span += 1;
        }
        true
    }

    /// Takes timers that are due at `now` into `due`, at most as many as it has room for; the rest
    /// is found by the next call.
    pub fn expire<const N: usize>(&mut self, now: Instant, due: &mut arrayvec::ArrayVec<u32, N>) {
        let now_tick = now.as_nanos() / SLOT_NANOS;
        if self.armed == 0 {
            self.tick = self.tick.max(now_tick);
            self.span = self.tick / SLOTS as u64;
            return;
        }
        // After a long pause one turn over all slots finds everything.
        self.tick = self.tick.max(now_tick.saturating_sub(SLOTS as u64 - 1));
        while self.tick <= now_tick {
            if self.span < self.tick / SLOTS as u64 && !self.unfold() {
                return;
            }
            let mut key = self.heads[(self.tick % SLOTS as u64) as usize];
            while key != NIL {
                let node = self.nodes[key as usize];
                if node.deadline <= now {
                    if due.is_full() {
                        return;
                    }
                    self.cancel(key);
                    due.push(key);
                }
                key = node.next;
            }
            self.tick += 1;
        }
    }

    /// Reads the record of a timer, so that it is in the cache.
    #[inline]
    pub fn touch(&self, key: u32) -> u64 {
        self.nodes
            .get(key as usize)
            .map_or(0, |node| node.deadline.as_nanos())
    }

    /// How many timers are set.
    pub fn armed(&self) -> usize {
        self.armed
    }

    /// A time no later than the first timer, found by looking at no more than all slots; `None`
    /// when no timer is set. For idling and for simulations, not for the busy path.
    pub fn next_due(&self) -> Option<Instant> {
        if self.armed == 0 {
            return None;
        }
        let near = (self.tick..self.tick + SLOTS as u64)
            .find(|tick| self.heads[(tick % SLOTS as u64) as usize] != NIL);
        let far = (self.span + 1..=self.span + SPANS as u64)
            .find(|span| self.heads[SLOTS + (span % SPANS as u64) as usize] != NIL)
            .map(|span| span * SLOTS as u64);
        let first = near.into_iter().chain(far).min()?;
        Some(Instant::from_nanos(first * SLOT_NANOS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrayvec::ArrayVec;
    use std::time::Duration;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn due(wheel: &mut Wheel, millis: u64) -> Vec<u32> {
        let mut due = ArrayVec::<u32, 16>::new();
        wheel.expire(at(millis), &mut due);
        due.sort();
        due.to_vec()
    }

    #[test]
    fn fires_once_and_not_early() {
        let mut wheel = Wheel::default();
        wheel.set(7, at(10));
        assert!(due(&mut wheel, 9).is_empty());
        assert_eq!(due(&mut wheel, 10), [7]);
        assert!(due(&mut wheel, 20_000).is_empty());
        assert_eq!(wheel.armed(), 0);
    }

    #[test]
    fn an_earlier_deadline_moves_it_a_later_one_does_not() {
        let mut wheel = Wheel::default();
        wheel.set(1, at(50));
        wheel.set(1, at(500));
        assert_eq!(due(&mut wheel, 50), [1]);
        wheel.set(1, at(500));
        wheel.set(1, at(60));
        assert_eq!(due(&mut wheel, 60), [1]);
    }

    #[test]
    fn longer_than_a_turn_waits_its_turns() {
        let mut wheel = Wheel::default();
        wheel.set(3, at(10_000));
        for millis in (0..10_000).step_by(500) {
            assert!(due(&mut wheel, millis).is_empty(), "fired at {millis}");
        }
        assert_eq!(due(&mut wheel, 10_000), [3]);
    }

    #[test]
    fn days_are_waited_for_without_a_look_at_every_turn() {
        let mut wheel = Wheel::default();
        let days = 3 * 24 * 3_600_000;
        wheel.set(1, at(days));
        let mut millis = 0;
        let mut looks = 0;
        while let Some(next) = wheel.next_due() {
            millis = (millis + 1).max(next.as_nanos() / SLOT_NANOS);
            looks += 1;
            if due(&mut wheel, millis) == [1] {
                break;
            }
            assert!(millis < days, "not fired by {millis}");
        }
        assert_eq!(millis, days);
        assert!(looks < 100, "{looks}");
    }

    #[test]
    fn many_of_one_span_are_moved_by_and_by_and_all_fire() {
        let mut wheel = Wheel::default();
        for key in 0..10_000 {
            wheel.set(key, at(60_000 + u64::from(key % 7)));
        }
        let mut fired = std::collections::BTreeSet::new();
        for turn in 0..2_000 {
            let keys = due(&mut wheel, 60_010 + turn / 100);
            assert!(keys.iter().all(|key| fired.insert(*key)), "once each");
        }
        assert_eq!((fired.len(), wheel.armed()), (10_000, 0));
    }

    #[test]
    fn a_long_pause_loses_nothing() {
        let mut wheel = Wheel::default();
        for key in 0..10 {
            wheel.set(key, at(1 + u64::from(key) * 700));
        }
        assert_eq!(due(&mut wheel, 60_000), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn full_output_leaves_the_rest_for_the_next_call() {
        let mut wheel = Wheel::default();
        for key in 0..20 {
            wheel.set(key, at(5));
        }
        assert_eq!(due(&mut wheel, 6).len() + due(&mut wheel, 6).len(), 20);
    }

    #[test]
    fn cancelled_does_not_fire() {
        let mut wheel = Wheel::default();
        wheel.set(1, at(5));
        wheel.set(2, at(5));
        wheel.cancel(1);
        assert_eq!(due(&mut wheel, 6), [2]);
    }

    proptest::proptest! {
        /// Against a plain list of deadlines.
        #[test]
        fn agrees_with_a_sorted_list(
            steps in proptest::collection::vec(
                (0u32..12, proptest::prop_oneof![1u64..9_000, 1u64..10_000_000], proptest::prop_oneof![
                    9 => 0u64..300,
                    1 => 0u64..9_000_000,
                ]),
                1..200,
            )
        ) {
            let mut wheel = Wheel::default();
            let mut model: std::collections::BTreeMap<u32, u64> = Default::default();
            let mut now = 0;
            for (key, ahead, pass) in steps {
                let deadline = now + ahead;
                wheel.set(key, at(deadline));
                model.entry(key).and_modify(|d| *d = (*d).min(deadline)).or_insert(deadline);
                now += pass;
                let expected: Vec<u32> =
                    model.iter().filter(|(_, d)| **d <= now).map(|(k, _)| *k).collect();
                model.retain(|_, d| *d > now);
                proptest::prop_assert_eq!(due(&mut wheel, now), expected);
                if let Some(first) = model.values().min() {
                    proptest::prop_assert!(wheel.next_due().unwrap() <= at(*first));
                }
            }
        }
    }
}
