//! RPCs: TTHeader, and Thrift without it.
//!
//! | what | is | in |
//! |---|---|---|
//! | caller | a client's connection that speaks RPC | `caller.rs`, `output.rs` |
//! | call | a request and its reply | `call.rs` |
//! | channel | a connection to an endpoint that speaks RPC | `channel.rs`, `channel_due.rs`, `channels.rs` |
//!
//! The way of a call: `frames.rs` takes whole frames from a caller's receive ring and puts each to the
//! rules; `dispatch.rs` finds a channel, or has the call wait for one; `send.rs` puts the frame into
//! the channel's send queue under a sequence of its own; `replies.rs` takes replies from the channel,
//! finds their calls and puts them, under the sequences that the caller chose, into the caller's send
//! queue. Whatever else becomes of a call is answered in `answer.rs`.
//!
//! A stream is a call of many frames either way (`streams.rs`): its first is put to the rules, the others
//! follow it.
//!
//! A frame enters a connection that callers share only when all of it is there and there is room for
//! all of it, so nobody can stall others with half of one. Frames that are too large for that go on a
//! connection of their own, ring to ring as they come.

mod answer;
mod call;
mod caller;
mod channel;
mod channel_due;
mod channels;
mod copies;
mod dispatch;
mod due;
mod frames;
mod front;
mod judge;
mod keys;
mod lost;
mod mesh;
mod methods;
mod opening;
mod output;
mod proxied;
pub(crate) mod refused;
mod replies;
mod send;
mod streams;
mod terms;
mod transfer;

use std::collections::HashMap;

use slab::Slab;
use sluice_stack::wheel::Wheel;

pub(crate) use channels::{Channels, Kind};

use call::Call;
use caller::Caller;
use channel::Channel;
use channels::Ticket;

/// Largest frame that shares a connection with others.
const SHARED_FRAME: usize = 256 << 10;

/// Calls under way on one connection of a caller.
const CALLS_PER_CALLER: u32 = 1024;

/// Streams under way on one connection of a caller: calls beside them always have some room, so that a frame of
/// a stream waits behind calls only, which end in time.
const STREAMS_PER_CALLER: u32 = 1000;

/// Bytes that frames and replies may hold beside the rings, per worker, while they wait; and those that wait for
/// callers that don't take them, so that these can't use up what the others need.
const MOST_HELD: usize = if cfg!(test) { 1 << 20 } else { 128 << 20 };
pub(crate) const MOST_UNTAKEN: usize = MOST_HELD;
/// Both.
pub(crate) const MOST_WAITING: usize = MOST_HELD + MOST_UNTAKEN;

/// Buffers kept for later, and the largest of them.
const KEPT_BUFFERS: usize = 1024;
const KEPT_BUFFER: usize = 64 << 10;

/// What a connection's frames are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Frames of TTHeader.
    TtHeader,
    /// Thrift messages, in Thrift frames or not.
    Thrift,
    /// The same behind a MeshHeader each; what comes back may have none.
    MeshHeader,
}

/// The worker's callers, calls and channels.
pub(crate) struct Rpc {
    pub(crate) callers: Slab<Caller>,
    pub(crate) calls: Slab<Call>,
    pub(crate) channels: Slab<Channel>,
    /// Streams by their caller and the id that it gave them.
    streams: HashMap<(u32, i32), Ticket, ahash::RandomState>,
    /// Timers of all three, see [`due::Due`].
    pub(crate) timers: Wheel,
    /// Tells calls apart that have the same number one after the other.
    stamps: u32,
    buffers: Buffers,
    methods: methods::Methods,
}

impl Rpc {
    /// Bytes that wait in calls, and for services and callers that take too little.
    pub(crate) fn held(&self) -> usize {
        self.buffers.held + self.buffers.untaken
    }

    pub(crate) fn new(hasher: ahash::RandomState) -> Self {
        Rpc {
            callers: Slab::new(),
            calls: Slab::new(),
            channels: Slab::new(),
            streams: HashMap::with_hasher(hasher),
            timers: Wheel::default(),
            stamps: 0,
            buffers: Buffers::default(),
            methods: methods::Methods::default(),
        }
    }
}

/// Buffers that are given back, and how much there is in those that are not.
#[derive(Default)]
struct Buffers {
    free: Vec<Vec<u8>>,
    /// Bytes that wait in calls and streams, or were taken from them and wait for their service.
    held: usize,
    /// Bytes that wait for callers.
    untaken: usize,
}

impl Buffers {
    /// An empty buffer.
    fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_default()
    }

    /// Has a buffer used again.
    fn give_back(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() > 0
            && buffer.capacity() <= KEPT_BUFFER
            && self.free.len() < KEPT_BUFFERS
        {
            buffer.clear();
            self.free.push(buffer);
        }
    }

    /// So many bytes wait no longer.
    fn release(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }

    /// Whether so many bytes more may wait.
    fn may_hold(&self, bytes: usize) -> bool {
        self.held.saturating_add(bytes) <= MOST_HELD
    }
}
