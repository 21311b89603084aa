//! The calls under way on one connection of the client: which of them an answer belongs to, what of them
//! is still to be sent, and how long each may take.

use std::collections::VecDeque;

use sluice_stack::time::Instant;

/// Most calls at a time on one connection.
pub const MAX_CALLS: u16 = 1024;

/// A request that was begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// Its number in the plan.
    pub(crate) request: u32,
    /// When it was meant to be sent.
    pub(crate) intended: Instant,
    /// Whether it counts.
    pub(crate) counted: bool,
    /// When it is given up.
    pub(crate) deadline: Instant,
    /// Bytes of it that were sent.
    pub(crate) sent: u64,
    /// All of it was sent.
    pub(crate) all_sent: bool,
    /// It has been accounted for: its answer came before all of it was sent, or its time was over. It keeps
    /// its place until it is sent and answered, so that its sequence belongs to nobody else.
    pub(crate) over: bool,
    /// Its answer has come.
    pub(crate) answered: bool,
    /// By which its answer is known, where the protocol has such a thing.
    pub(crate) sequence: i32,
}

/// A number of places for calls. Every connection begins at the same sequences: those of two
/// connections are to be told apart by whoever brings them together.
#[derive(Debug)]
pub(crate) struct Calls {
    places: Box<[Option<Call>]>,
    /// How often each place has been used.
    uses: Box<[u32]>,
    free: Vec<u16>,
    /// What is to be sent, whole and in this order.
    unsent: VecDeque<u16>,
    /// Bits of a sequence that are a place.
    bits: u32,
}

impl Calls {
    /// For so many at a time, between 1 and [`MAX_CALLS`].
    pub(crate) fn new(at_a_time: u16) -> Self {
        let count = at_a_time.clamp(1, MAX_CALLS);
        Calls {
            places: (0..count).map(|_| None).collect(),
            uses: vec![0; usize::from(count)].into(),
            free: (0..count).rev().collect(),
            unsent: VecDeque::with_capacity(usize::from(count)),
            bits: u32::from(count).next_power_of_two().trailing_zeros(),
        }
    }

    /// Calls that have a place.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// Gives a call a place and a sequence, never 0, and puts it behind what is to be sent.
    #[inline]
    pub(crate) fn begin(&mut self, mut call: Call) {
        let Some(place) = self.free.pop() else { return };
        let at = usize::from(place);
        let (Some(uses), Some(slot)) = (self.uses.get_mut(at), self.places.get_mut(at)) else {
            return;
        };
        // From 1 on; what has no room above the place starts again.
        *uses = *uses % (i32::MAX as u32 >> self.bits) + 1;
        call.sequence = (*uses << self.bits | u32::from(place)) as i32;
        *slot = Some(call);
        self.unsent.push_back(place);
    }

    #[inline]
    pub(crate) fn get(&self, place: u16) -> Option<&Call> {
        self.places.get(usize::from(place))?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, place: u16) -> Option<&mut Call> {
        self.places.get_mut(usize::from(place))?.as_mut()
    }

    /// Whose sequence this is.
    #[inline]
    pub(crate) fn find(&self, sequence: i32) -> Option<(u16, &Call)> {
        let place = sequence as u32 & ((1 << self.bits) - 1);
        let call = self.get(place as u16)?;
        (call.sequence == sequence).then_some((place as u16, call))
    }

    /// The call that is to be sent next.
    #[inline]
    pub(crate) fn next_unsent(&mut self) -> Option<(u16, &mut Call)> {
        let place = *self.unsent.front()?;
        let call = self.places.get_mut(usize::from(place))?.as_mut()?;
        Some((place, call))
    }

    /// All of that call is sent.
    #[inline]
    pub(crate) fn sent(&mut self) {
        if let Some(place) = self.unsent.pop_front()
            && let Some(call) = self.get_mut(place)
        {
            call.all_sent = true;
        }
    }

    /// Frees a place.
    #[inline]
    pub(crate) fn end(&mut self, place: u16) {
        let slot = self.places.get_mut(usize::from(place));
        if slot.and_then(Option::take).is_some() {
            self.free.push(place);
        }
    }

    /// All calls.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Call> {
        self.places.iter_mut().flatten()
    }

    /// Frees every place: the connection is gone. Returns how many calls there were.
    pub(crate) fn clear(&mut self) -> usize {
        let count = self.len();
        self.unsent.clear();
        for place in 0..self.places.len() {
            self.end(place as u16);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call {
            request: 0,
            intended: Instant::ZERO,
            counted: true,
            deadline: Instant::NEVER,
            sent: 0,
            all_sent: false,
            over: false,
            answered: false,
            sequence: 0,
        }
    }

    #[test]
    fn sequences_are_positive_and_new_each_time() {
        let mut calls = Calls::new(3);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            for _ in 0..3 {
                calls.begin(call());
            }
            assert_eq!(calls.len(), 3);
            while let Some((place, call)) = calls.next_unsent() {
                let sequence = call.sequence;
                assert!(sequence > 0 && seen.insert(sequence), "{sequence}");
                calls.sent();
                assert_eq!(calls.find(sequence).map(|(place, _)| place), Some(place));
                calls.end(place);
                assert!(calls.find(sequence).is_none());
            }
            assert!(calls.is_empty());
        }
    }

    #[test]
    fn a_sequence_that_has_no_more_room_starts_again() {
        let mut calls = Calls::new(1);
        calls.uses[0] = i32::MAX as u32 - 1;
        for expected in [i32::MAX, 1] {
            calls.begin(call());
            assert_eq!(
                calls.next_unsent().map(|(_, call)| call.sequence),
                Some(expected)
            );
            calls.clear();
        }
    }
}
