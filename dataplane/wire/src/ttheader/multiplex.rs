//! Which call a reply belongs to, on a connection to a server that carries calls of several callers.
//!
//! Callers choose their sequences without knowing of each other, so each call gets one of the
//! connection's own: the number of its slot below, above it how often that slot has been used. A
//! reply that comes after its call has ended carries an earlier use and is known to be late, whoever
//! has the slot by then.

use std::collections::VecDeque;

/// Most calls under way on one connection.
const MAX_CAPACITY: u32 = 1 << 20;

/// What the server goes by when it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The sequence of the frame: another gateway, or a server known to do so. Messages are not touched.
    FrameSequence,
    /// The sequence of the message, which it puts into the frame of its reply: Kitex and Volo servers that
    /// are known to multiplex. Both sequences are changed.
    MessageSequence,
    /// Nothing: one call at a time, no sequence is changed. Every server whose ways are not known.
    PingPong,
}

/// The sequences of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sequences {
    /// That of the TTHeader.
    pub frame: i32,
    /// That of the message in it; `None` where the payload is none that is known.
    pub message: Option<i32>,
}

impl Sequences {
    /// The frame sequence for a reply to a call that had these: that of the frame, or the message's where
    /// the frame had the reserved 0.
    #[must_use]
    pub fn of_reply(self) -> i32 {
        match self.frame {
            0 => self.message.unwrap_or(0),
            sequence => sequence,
        }
    }
}

/// A call under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<T> {
    /// What the table was given for it.
    pub owner: T,
    /// The sequences that its caller chose: its reply has [`Sequences::of_reply`] and this message
    /// sequence again.
    pub sequences: Sequences,
}

/// How a call ended that did not get its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// Its caller is gone.
    Cancelled,
    /// Its time is over.
    TimedOut,
    /// It was oneway and has been sent: no reply will come.
    Oneway,
}

/// What a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match<T> {
    /// The reply to this call, which has ended with it.
    Call(Call<T>),
    /// For a call that has ended before, or a second reply. To be dropped.
    Late,
    /// For no call that ever was: the server does not do what its [`Mode`] says. The connection
    /// can't be trusted any more.
    Stranger,
}

/// What became of the calls of a connection.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Calls that got a slot.
    pub begun: u64,
    /// Of them, answered.
    pub answered: u64,
    /// Of them, ended by [`Ended::Cancelled`].
    pub cancelled: u64,
    /// Of them, ended by [`Ended::TimedOut`].
    pub timed_out: u64,
    /// Of them, ended by [`Ended::Oneway`].
    pub oneway: u64,
    /// Replies that were [`Match::Late`].
    pub late: u64,
    /// Replies that were [`Match::Stranger`].
    pub strangers: u64,
}

/// The calls under way on one connection. Allocates when it is made, never later.
#[derive(Debug)]
pub struct Table<T> {
    mode: Mode,
    /// Bits of a sequence that are the number of a slot.
    bits: u32,
    slots: Box<[Slot<T>]>,
    /// Free slots, the one that has been free longest in front: a sequence comes again as late as
    /// can be.
    free: VecDeque<u32>,
    counts: Counts,
}

#[derive(Debug)]
struct Slot<T> {
    /// How often it has been used, starting again at 1 where the sequence has no more room.
    uses: u32,
    /// That has started again: every use has been.
    all_used: bool,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Free,
    Call(Call<T>),
    /// The call has ended, but its reply is still to come and nothing can be told from it: only in
    /// [`Mode::PingPong`].
    Owed(Sequences),
}

impl<T> Table<T> {
    /// For at most `capacity` calls at a time, between 1 and 2^20; always 1 in [`Mode::PingPong`].
    #[must_use]
    pub fn new(mode: Mode, capacity: u32) -> Self {
        let capacity = match mode {
            Mode::PingPong => 1,
            Mode::FrameSequence | Mode::MessageSequence => capacity.clamp(1, MAX_CAPACITY),
        };
        let slots = (0..capacity).map(|_| Slot {
            uses: 0,
            all_used: false,
            state: State::Free,
        });
        Self {
            mode,
            bits: capacity.next_power_of_two().trailing_zeros(),
            slots: slots.collect(),
            free: (0..capacity).collect(),
            counts: Counts::default(),
        }
    }

    /// What the server goes by.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What became of the calls so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Calls under way, and replies that are waited for so that the connection can be used again.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether the call that takes all there is has ended, and its reply is still to come: in
    /// [`Mode::PingPong`].
    #[must_use]
    pub fn owes(&self) -> bool {
        let first = self.slots.first().map(|slot| &slot.state);
        matches!(first, Some(State::Owed(_)))
    }

    /// Whether another call can begin.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Begins a call whose caller sent these sequences. The first value names the call here; the second are
    /// the sequences to send. `None` where there is no room, or where a message whose sequence can't be
    /// seen would be sent to a server that goes by it.
    pub fn begin(&mut self, owner: T, sequences: Sequences) -> Option<(i32, Sequences)> {
        if self.mode == Mode::MessageSequence && sequences.message.is_none() {
            return None;
        }
        let number = self.free.pop_front()?;
        let most = i32::MAX as u32 >> self.bits;
        let slot = self.slots.get_mut(number as usize)?;
        if slot.uses == most {
            slot.uses = 0;
            slot.all_used = true;
        }
        slot.uses += 1;
        slot.state = State::Call(Call { owner, sequences });
        self.counts.begun += 1;
        let name = (slot.uses << self.bits | number) as i32;
        let sent = match self.mode {
            Mode::PingPong => sequences,
            Mode::FrameSequence => Sequences {
                frame: name,
                ..sequences
            },
            Mode::MessageSequence => Sequences {
                frame: name,
                message: Some(name),
            },
        };
        Some((name, sent))
    }

    /// The call under way with this name.
    #[must_use]
    pub fn get(&self, name: i32) -> Option<&Call<T>> {
        let (number, uses) = self.split(name)?;
        let slot = self.slots.get(number as usize)?;
        match &slot.state {
            State::Call(call) if slot.uses == uses => Some(call),
            _ => None,
        }
    }

    /// Whose a frame of a stream is, by the name that its stream has here; the stream goes on.
    #[must_use]
    pub fn stream(&self, name: i32) -> Match<&T> {
        let found = self.split(name);
        let Some(slot) = found.and_then(|(number, _)| self.slots.get(number as usize)) else {
            return Match::Stranger;
        };
        let uses = found.map_or(0, |(_, uses)| uses);
        match &slot.state {
            State::Call(call) if uses == slot.uses => Match::Call(Call {
                owner: &call.owner,
                sequences: call.sequences,
            }),
            _ if slot.all_used || uses <= slot.uses => Match::Late,
            _ => Match::Stranger,
        }
    }

    /// Takes a reply with these sequences.
    pub fn reply(&mut self, sequences: Sequences) -> Match<T> {
        let found = match self.mode {
            Mode::PingPong => self.in_turn(sequences),
            // A server that answers one sequence in two ways has not understood the message.
            Mode::MessageSequence
                if sequences
                    .message
                    .is_some_and(|message| message != sequences.frame) =>
            {
                Match::Stranger
            }
            Mode::FrameSequence | Mode::MessageSequence => self.by_name(sequences.frame),
        };
        match found {
            Match::Call(_) => self.counts.answered += 1,
            Match::Late => self.counts.late += 1,
            Match::Stranger => self.counts.strangers += 1,
        }
        found
    }

    /// Ends a call without its reply; `None` where it has ended before. Its slot is free at once, but in
    /// [`Mode::PingPong`] only when the reply has come.
    pub fn end(&mut self, name: i32, how: Ended) -> Option<Call<T>> {
        self.get(name)?;
        let (number, _) = self.split(name)?;
        let call = self.free_slot(number)?;
        match how {
            Ended::Cancelled => self.counts.cancelled += 1,
            Ended::TimedOut => self.counts.timed_out += 1,
            Ended::Oneway => self.counts.oneway += 1,
        }
        if self.mode == Mode::PingPong && how != Ended::Oneway {
            self.free.clear();
            if let Some(slot) = self.slots.first_mut() {
                slot.state = State::Owed(call.sequences);
            }
        }
        Some(call)
    }

    /// Ends the table with its connection: the calls that were still under way.
    pub fn into_calls(self) -> impl Iterator<Item = Call<T>> {
        let slots = self.slots.into_iter();
        slots.filter_map(|slot| match slot.state {
            State::Call(call) => Some(call),
            State::Free | State::Owed(_) => None,
        })
    }

    fn by_name(&mut self, name: i32) -> Match<T> {
        let Some((number, uses)) = self.split(name) else {
            return Match::Stranger;
        };
        let Some(slot) = self.slots.get(number as usize) else {
            return Match::Stranger;
        };
        let current = uses == slot.uses && matches!(slot.state, State::Call(_));
        let was = slot.all_used || uses <= slot.uses;
        match current.then(|| self.free_slot(number)).flatten() {
            Some(call) => Match::Call(call),
            None if was => Match::Late,
            None => Match::Stranger,
        }
    }

    /// The reply to the one call there is. Some servers leave the frame's sequence at something else, so
    /// that of the message will do.
    fn in_turn(&mut self, got: Sequences) -> Match<T> {
        let fits = |sent: Sequences| {
            got.frame == sent.frame
                || Some(got.frame) == sent.message
                || (got.message.is_some() && got.message == sent.message)
        };
        match self.slots.first().map(|slot| &slot.state) {
            Some(State::Call(call)) if fits(call.sequences) => {
                self.free_slot(0).map_or(Match::Stranger, Match::Call)
            }
            Some(State::Owed(sent)) if fits(*sent) => {
                self.free_slot(0);
                Match::Late
            }
            _ => Match::Stranger,
        }
    }

    /// Frees a slot that is in use.
    fn free_slot(&mut self, number: u32) -> Option<Call<T>> {
        let slot = self.slots.get_mut(number as usize)?;
        let state = std::mem::replace(&mut slot.state, State::Free);
        if !matches!(state, State::Free) {
            self.free.push_back(number);
        }
        match state {
            State::Call(call) => Some(call),
            State::Free | State::Owed(_) => None,
        }
    }

    /// Slot and use that a name is made of.
    fn split(&self, name: i32) -> Option<(u32, u32)> {
        let name = u32::try_from(name).ok()?;
        let uses = name >> self.bits;
        (uses > 0).then_some((name & ((1 << self.bits) - 1), uses))
    }
}
