//! A connection to an endpoint that speaks RPC: opened, used by many calls or by one at a time, kept
//! for the next, closed.

use std::collections::VecDeque;
use std::time::Duration;

use sluice_policy::rules::ProxyProtocol;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, ConnectError, FlowId, Phase};
use sluice_wire::ttheader::{Ended, Table};

use super::channels::{Kind, Ticket};
use super::due::Due;
use super::front::{Bounds, Skipping};
use super::terms::Terms;
use super::{Dialect, SHARED_FRAME};
use crate::downstream::Step;
use crate::reply::LocalReply;
use crate::stats::EngineEvent;
use crate::worker::{Role, Worker};

/// Calls under way on one shared channel.
const CALLS: u32 = 1024;
/// Calls under way on a shared channel from which on another one is opened.
pub(super) const BUSY: usize = 32;
/// How long the reply to a call that is over is waited for, where its channel can't be used before.
pub(super) const OWED: Duration = Duration::from_secs(10);
/// How long a reply that has begun may rest before its channel is given up: behind it nobody gets theirs.
pub(super) const STALLED: Duration = Duration::from_secs(10);
/// Largest frame of a reply, whatever the listener of its call allows.
const MOST: usize = 64 << 20;
/// Replies of one channel taken in a row before others get their turn.
const REPLIES_PER_TURN: usize = 64;

/// How replies of a channel come.
pub(super) const REPLIES: Bounds = Bounds {
    whole: SHARED_FRAME,
    frame: MOST,
};

/// See above.
pub(crate) struct Channel {
    pub(crate) flow: FlowId,
    pub(crate) pool: u32,
    pub(super) dialect: Dialect,
    /// It begins with a PROXY header.
    pub(super) greets: Option<ProxyProtocol>,
    /// The caller, and its stamp, that it belongs to, once it has begun with the header of that.
    pub(super) client: Option<(u32, u32)>,
    /// It waits for its caller.
    pub(super) kept: bool,
    /// Its calls by the names they have here.
    pub(super) table: Table<u32>,
    /// Callers share it.
    pub(super) shared: bool,
    /// It carries streams, and nothing else.
    pub(super) streams: bool,
    /// What its send queue has no room for, of streams, and how much of it has been sent since.
    pub(super) out: Vec<u8>,
    pub(super) out_sent: usize,
    /// Streams with frames that wait for room.
    pub(super) blocked: VecDeque<Ticket>,
    /// It waits for the output of its stream's caller to be sent.
    pub(super) held: bool,
    /// When something of its output last moved.
    pub(super) progress: Instant,
    pub(super) opened: bool,
    /// It waits among its endpoint's idle ones.
    pub(super) idle: bool,
    /// It gets no further calls.
    pub(super) leaving: bool,
    /// It has carried a call before.
    pub(super) reused: bool,
    /// Calls in a row whose time was over since anything came, and when the first of them was sent.
    pub(super) unanswered: u32,
    pub(super) silent_since: Instant,
    /// Bytes that there must be before the next reply is looked at.
    pub(super) need: usize,
    pub(super) skipping: Option<Box<Skipping>>,
    /// A reply that is too large to come together, on its way.
    pub(super) incoming: Option<Incoming>,
    /// Bytes that have come of a reply that is to come together.
    pub(super) came: usize,
    /// When more last came of a reply that has begun, unless it waits for its caller.
    pub(super) partial: Option<Instant>,
    /// The caller whose large request is on its way on it.
    pub(super) upload: Option<u32>,
    /// Since when it has had nothing to do, or a reply is owed on it.
    pub(super) idle_since: Instant,
    /// How long opening it may take.
    pub(super) connect_timeout: Duration,
}

/// A large reply on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming {
    pub(super) way: Way,
    /// Bytes of the frame that are still to come.
    pub(super) left: usize,
}

impl Incoming {
    /// Whether it is the caller that says how fast it comes.
    pub(super) fn waits_for_caller(&self) -> bool {
        matches!(self.way, Way::Through(_))
    }
}

/// Where a large reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Its call is over.
    Nowhere,
    /// Into its call, until it is complete: nobody else has to wait for the caller.
    Together(u32),
    /// To its caller as it comes: the channel is its alone.
    Through(u32),
}

impl<P: PacketIo> Worker<P> {
    /// Begins to open a channel, for one call at a time (`own`) or for many.
    pub(super) fn open_channel(
        &mut self,
        pool: u32,
        terms: &Terms,
        kind: Kind,
        now: Instant,
    ) -> Result<(), ConnectError> {
        let found = self.pools.get(pool);
        let (port, address) = found
            .map(|pool| (pool.port, pool.address))
            .ok_or(ConnectError::NoRoute)?;
        let entry = self.rpc.channels.vacant_entry();
        let number = entry.key() as u32;
        // Room for a frame however far the one before it has come.
        let buffers = Buffers {
            receive: SHARED_FRAME,
            send: 2 * SHARED_FRAME,
        };
        let user = Role::Channel(number).number();
        let flow = self.stack.connect(port, address, user, buffers, now)?;
        entry.insert(Channel {
            flow,
            pool,
            dialect: terms.dialect,
            greets: terms.proxy_protocol,
            client: None,
            kept: false,
            table: Table::new(terms.mode(kind.own), if kind.own { 1 } else { CALLS }),
            shared: !kind.own,
            streams: kind.streams,
            out: Vec::new(),
            out_sent: 0,
            blocked: VecDeque::new(),
            held: false,
            progress: now,
            opened: false,
            idle: false,
            leaving: false,
            reused: false,
            unanswered: 0,
            silent_since: now,
            need: 0,
            skipping: None,
            incoming: None,
            came: 0,
            partial: None,
            upload: None,
            idle_since: now,
            connect_timeout: terms.connect_timeout,
        });
        self.pools.opened(pool);
        if let Some(pool) = self.pools.get_mut(pool) {
            let channels = pool.channels_mut(kind.streams);
            if kind.own {
                channels.own += 1;
                channels.opening += 1;
            } else {
                channels.shared.push(number);
            }
        }
        self.stats.events.count(EngineEvent::UpstreamOpened);
        let due = Due::Channel(number).key();
        self.rpc.timers.set(due, now + terms.connect_timeout);
        Ok(())
    }

    /// Something happened to a channel.
    pub(crate) fn drive_channel(&mut self, number: u32, now: Instant) {
        let Some(channel) = self.rpc.channels.get(number as usize) else {
            return;
        };
        let (flow, pool, opened) = (channel.flow, channel.pool, channel.opened);
        match self.stack.view(flow).phase {
            Phase::Connecting => return,
            Phase::Closed if !opened => {
                return self.open_failed(number, LocalReply::CONNECT_FAILED, now);
            }
            Phase::Open | Phase::Closed => {}
        }
        if !opened {
            self.channel_opened(number, now);
        }
        if self
            .rpc
            .channels
            .get(number as usize)
            .is_some_and(Channel::has_backlog)
        {
            self.flush_channel(number, now);
        }
        let mut turns = 0;
        loop {
            match self.next_reply(number, now) {
                Step::Again if turns < REPLIES_PER_TURN => turns += 1,
                Step::Again => {
                    self.stack.wake(flow);
                    break;
                }
                Step::Wait => break,
                Step::Over => return,
            }
        }
        let Some(channel) = self.rpc.channels.get(number as usize) else {
            return;
        };
        if let Some(caller) = channel
            .upload
            .and_then(|c| self.rpc.callers.get(c as usize))
        {
            self.stack.wake(caller.flow);
        }
        let (shared, streams) = (channel.shared, channel.streams);
        let waiting = self.pools.get(pool).map(|pool| pool.channels(streams));
        if shared && waiting.is_some_and(|waiting| !waiting.for_shared.is_empty()) {
            self.serve_waiting(pool, streams, None, now);
        }
    }

    fn channel_opened(&mut self, number: u32, now: Instant) {
        let Some(channel) = self.rpc.channels.get_mut(number as usize) else {
            return;
        };
        channel.opened = true;
        channel.idle_since = now;
        let (pool, shared, streams) = (channel.pool, channel.shared, channel.streams);
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.clear();
            if !shared {
                let channels = pool.channels_mut(streams);
                channels.opening = channels.opening.saturating_sub(1);
            }
        }
        self.arm_channel(number, now);
        if shared {
            self.serve_waiting(pool, streams, None, now);
        } else {
            self.release_channel(number, now);
        }
    }

    /// Has a channel for one call at a time that has none take the next, or wait for one.
    pub(super) fn release_channel(&mut self, number: u32, now: Instant) {
        let Some(channel) = self.rpc.channels.get_mut(number as usize) else {
            return;
        };
        let busy = channel.table.in_use() > 0 || channel.incoming.is_some();
        if channel.shared || busy || channel.upload.is_some() {
            return;
        }
        channel.idle_since = now;
        let (pool, kind, leaving) = (channel.pool, channel.kind(), channel.leaving);
        let (client, streams) = (channel.client, channel.streams);
        let may_wait = self.pools.get(pool).is_some_and(|pool| pool.max_idle > 0);
        // The service may be closing what has had its one call.
        let spent = channel.reused && client.is_none() && !may_wait;
        if leaving || spent || !self.rests_well(number) {
            self.close_channel(number, false, now);
            return self.send_elsewhere(pool, kind, None, now);
        }
        if client.is_some() {
            return self.keep_channel(number, now);
        }
        let waiting = self.pools.get(pool).map(|pool| pool.channels(streams));
        if waiting.is_some_and(|waiting| !waiting.for_own.is_empty()) {
            self.serve_waiting(pool, streams, Some(number), now);
            let taken = self.rpc.channels.get(number as usize);
            if taken.is_none_or(|channel| channel.table.in_use() > 0) {
                return;
            }
        }
        let draining = self.draining;
        match self.pools.get_mut(pool) {
            Some(pool)
                if pool.channels(streams).idle.len() < pool.max_idle as usize && !draining =>
            {
                if let Some(channel) = self.rpc.channels.get_mut(number as usize)
                    && !std::mem::replace(&mut channel.idle, true)
                {
                    pool.channels_mut(streams).idle.push(number);
                    pool.publish_idle();
                    self.upstream_idle += 1;
                }
                self.arm_channel(number, now);
            }
            _ => self.close_channel(number, false, now),
        }
    }

    /// Whether nothing has come on a channel that waits for no reply, and its peer has not closed it.
    pub(super) fn rests_well(&self, number: u32) -> bool {
        let Some(channel) = self.rpc.channels.get(number as usize) else {
            return false;
        };
        let view = self.stack.view(channel.flow);
        view.readable == 0 && !view.finished && view.phase == Phase::Open
    }

    /// More of a reply has come, and not all of it.
    #[cold]
    pub(super) fn reply_goes_on(&mut self, number: u32, came: usize, now: Instant) {
        if let Some(channel) = self.rpc.channels.get_mut(number as usize) {
            channel.came = came;
            channel.partial = Some(now);
            channel.unanswered = 0;
            let due = Due::Channel(number).key();
            self.rpc.timers.set(due, now + STALLED);
        }
    }

    /// A reply was taken from a channel, to its last byte.
    pub(super) fn reply_taken(&mut self, number: u32, now: Instant) -> Step {
        let Some(channel) = self.rpc.channels.get_mut(number as usize) else {
            return Step::Over;
        };
        channel.idle_since = now;
        channel.unanswered = 0;
        channel.came = 0;
        channel.partial = None;
        if !channel.shared {
            let rest = self.stack.view(channel.flow).readable;
            if rest > 0 && channel.table.in_use() == 0 {
                // Nobody asked for it.
                self.stats.events.count(EngineEvent::UpstreamUnsolicited);
                self.close_channel(number, true, now);
                return Step::Over;
            }
            self.release_channel(number, now);
            return Step::Wait;
        }
        if channel.leaving && channel.table.in_use() == 0 {
            self.close_channel(number, false, now);
            return Step::Over;
        }
        Step::Again
    }

    /// Takes a call that is over from its channel.
    pub(super) fn cancel_on_channel(
        &mut self,
        number: u32,
        name: i32,
        call: u32,
        how: Ended,
        now: Instant,
    ) {
        let Some(channel) = self.rpc.channels.get_mut(number as usize) else {
            return;
        };
        if let Some(incoming) = &mut channel.incoming
            && matches!(incoming.way, Way::Together(own) | Way::Through(own) if own == call)
        {
            incoming.way = Way::Nowhere;
        }
        channel.table.end(name, how);
        let unfinished = channel.upload.and_then(|caller| {
            let upload = self.rpc.callers.get_mut(caller as usize)?.upload.as_mut()?;
            (upload.call == Some(call)).then_some(upload)
        });
        if let Some(upload) = unfinished {
            // A frame that was begun can't be finished any more.
            upload.call = None;
            upload.channel = None;
            channel.upload = None;
            return self.close_channel(number, true, now);
        }
        if channel.shared {
            if channel.leaving && channel.table.in_use() == 0 {
                self.close_channel(number, false, now);
            }
        } else if channel.table.in_use() == 0 {
            // Of a stream more may come, which nobody else is to see.
            channel.leaving |= channel.streams;
            self.release_channel(number, now);
        } else {
            // Its reply is owed.
            channel.idle_since = now;
            let due = Due::Channel(number).key();
            self.rpc.timers.set(due, now + OWED);
        }
    }

    /// Ends a channel that has no calls, with a reset if its stream can't be brought to an end.
    pub(crate) fn close_channel(&mut self, number: u32, abort: bool, now: Instant) {
        let Some(channel) = self.rpc.channels.try_remove(number as usize) else {
            return;
        };
        if !channel.opened
            && !channel.shared
            && let Some(pool) = self.pools.get_mut(channel.pool)
        {
            let channels = pool.channels_mut(channel.streams);
            channels.opening = channels.opening.saturating_sub(1);
        }
        self.rpc.buffers.release(channel.out.len());
        self.pools
            .channel_closed(channel.pool, number, channel.kind());
        self.upstream_idle = self.upstream_idle.saturating_sub(channel.idle.into());
        if abort || channel.has_backlog() {
            self.stack.abort(channel.flow, now);
        } else {
            self.stack.close(channel.flow, now);
        }
        self.stats.events.count(EngineEvent::UpstreamClosed);
    }

    /// Closes every channel that has no calls.
    pub(crate) fn close_idle_channels(&mut self, now: Instant) {
        let channels = self.rpc.channels.iter();
        let idle: Vec<u32> = channels
            .filter(|(_, channel)| channel.opened && channel.table.in_use() == 0)
            .map(|(number, _)| number as u32)
            .collect();
        for number in idle {
            self.close_channel(number, false, now);
        }
    }

    /// Has the channels that callers share to an endpoint that the newest rules don't name take no further
    /// calls, unless calls wait for them. Those for one call at a time close when they are free.
    pub(crate) fn leave_shared_channels(&mut self, pool: u32, streams: bool, now: Instant) {
        let Some(own) = self.pools.get(pool).map(|pool| pool.channels(streams)) else {
            return;
        };
        if !own.for_shared.is_empty() {
            return;
        }
        for at in (0..own.shared.len()).rev() {
            let own = self.pools.get(pool).map(|pool| pool.channels(streams));
            let Some(&number) = own.and_then(|own| own.shared.get(at)) else {
                continue;
            };
            let Some(channel) = self.rpc.channels.get_mut(number as usize) else {
                continue;
            };
            channel.leaving = true;
            if channel.opened && channel.table.in_use() == 0 {
                self.close_channel(number, false, now);
            }
        }
    }

    /// Cuts off every caller and every channel.
    pub(crate) fn abort_rpc(&mut self, now: Instant) {
        let callers = self.rpc.callers.iter();
        let callers: Vec<u32> = callers.map(|(number, _)| number as u32).collect();
        for number in callers {
            self.abort_caller(number, crate::stats::RequestFate::Drained, now);
        }
        self.abort_copies(now);
        let channels = self.rpc.channels.iter();
        let channels: Vec<u32> = channels.map(|(number, _)| number as u32).collect();
        for number in channels {
            self.close_channel(number, true, now);
        }
    }
}

impl Channel {
    pub(super) fn kind(&self) -> Kind {
        Kind {
            streams: self.streams,
            own: !self.shared,
        }
    }

    /// Whether something written earlier has still to go to the send queue.
    pub(super) fn has_backlog(&self) -> bool {
        self.out_sent < self.out.len()
    }

    /// Whether the one call it is used by is over, and its reply is still to come.
    pub(super) fn owes(&self) -> bool {
        !self.shared && self.table.owes()
    }
}
