//! The channels of one endpoint of one service, and the calls that wait for one.

use std::collections::VecDeque;

/// Calls that may wait for a channel to one endpoint.
pub(crate) const MAX_WAITING: usize = 16_384;

/// A call that waits: its number and its stamp, for it may be over by the time that its turn comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) call: u32,
    pub(crate) stamp: u32,
}

/// What a channel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Streams, and nothing else: servers tell by its first frame what a connection is for.
    pub(crate) streams: bool,
    /// One call or stream at a time; several callers share it otherwise.
    pub(crate) own: bool,
}

/// Those for calls, or those for streams.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    /// Those that callers share, open or being opened.
    pub(crate) shared: Vec<u32>,
    /// Those for one call at a time that have none, the one used last on top.
    pub(crate) idle: Vec<u32>,
    /// Those for one call at a time, whatever they do.
    pub(crate) own: u32,
    /// Those of them that are being opened.
    pub(crate) opening: u32,
    /// Calls that wait for a place on a shared one.
    pub(crate) for_shared: VecDeque<Ticket>,
    /// Calls that wait for one of their own.
    pub(crate) for_own: VecDeque<Ticket>,
    /// Where among the shared ones the next look begins.
    pub(crate) turn: usize,
    /// Calls that found all places taken.
    turned_away: u32,
}

/// Of the calls that find all places taken, one in so many looks whether those that took them still wait.
const LOOKS: u32 = 1024;

impl Channels {
    /// A call finds all places taken, perhaps by calls that are over; whether it is to look for those.
    pub(crate) fn looks_for_places(&mut self) -> bool {
        let looks = self.turned_away.is_multiple_of(LOOKS);
        self.turned_away = self.turned_away.wrapping_add(1);
        looks
    }

    /// The calls that wait for a channel of their own, or for a shared one.
    pub(crate) fn waiting(&mut self, own: bool) -> &mut VecDeque<Ticket> {
        if own {
            &mut self.for_own
        } else {
            &mut self.for_shared
        }
    }
}
