//! Which channel a call goes out on: the next endpoint in turn, a channel to it that has room, or a
//! new one for which the call waits.

use sluice_policy::{Service, ServiceId};
use sluice_stack::FlowId;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;

use super::channel::BUSY;
use super::channels::{Kind, MAX_WAITING, Ticket};
use super::send::{Sent, Source};
use super::terms::Terms;
use crate::reply::LocalReply;
use crate::stats::{EngineEvent, RpcEvent};
use crate::upstream::in_turn;
use crate::worker::Worker;

/// Where a call goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found {
    /// On this channel, at once.
    Channel(u32),
    /// It waits for a channel of this kind to the endpoint of this pool.
    Wait(u32, Kind),
    /// Nowhere.
    Nowhere(LocalReply),
}

impl<P: PacketIo> Worker<P> {
    /// Sends a call on, or has it wait, or answers it. Its frame is taken out of its caller's ring, but
    /// for a large one that waits.
    pub(super) fn dispatch(&mut self, number: u32, source: Source<'_>, now: Instant) {
        match self.find_channel(number, source.len, now) {
            Found::Channel(channel) => match self.transmit(number, channel, &source, now) {
                Sent::Yes => {}
                // It is known to need one of its own now.
                Sent::Alone => self.dispatch(number, source, now),
                Sent::NoRoom(pool, kind) => {
                    self.wait_for_channel(number, (pool, kind), source, now);
                }
                Sent::No(reply) => {
                    self.drop_frame(number, &source);
                    self.fail_call(number, reply, now);
                }
            },
            Found::Wait(pool, kind) => self.wait_for_channel(number, (pool, kind), source, now),
            Found::Nowhere(reply) => {
                self.drop_frame(number, &source);
                self.fail_call(number, reply, now);
            }
        }
    }

    /// Sends on a call that had waited, or has it wait for another endpoint.
    pub(super) fn dispatch_again(&mut self, number: u32, now: Instant) {
        let Some(call) = self.rpc.calls.get_mut(number as usize) else {
            return;
        };
        if call.large > 0 {
            let len = call.large;
            match self.find_channel(number, len, now) {
                Found::Channel(channel) => self.send_large(number, channel, now),
                Found::Wait(pool, kind) => self.enqueue(number, (pool, kind), now),
                Found::Nowhere(reply) => self.fail_call(number, reply, now),
            }
            return;
        }
        let frame = std::mem::take(&mut call.frame);
        self.rpc.buffers.held = self.rpc.buffers.held.saturating_sub(frame.len());
        self.dispatch(number, Source::kept(&frame), now);
        self.rpc.buffers.give_back(frame);
    }

    fn find_channel(&mut self, number: u32, len: usize, now: Instant) -> Found {
        let Some(call) = self.rpc.calls.get_mut(number as usize) else {
            return Found::Nowhere(LocalReply::NO_ENDPOINT);
        };
        let generation = self.generations.get(call.generation);
        let pools = &mut self.pools;
        let found = generation.and_then(|generation| {
            let (id, pool) = in_turn(generation, pools, call.service?, call.lane, now)?;
            Some((id, pool, generation.snapshot.service(id)?))
        });
        let Some((id, pool, service)) = found else {
            return Found::Nowhere(LocalReply::NO_ENDPOINT);
        };
        if Some(id) != call.service {
            self.stats.events.count(EngineEvent::Fallback);
            call.fall_back(id, service);
        }
        let Some(terms) = Terms::of(service, call) else {
            return Found::Nowhere(LocalReply::NOT_RPC);
        };
        call.notes.attempt(pool);
        let kind = terms.kind(call);
        let own = kind.own;
        if own {
            if terms.shares() {
                self.stats.rpc.count(RpcEvent::OwnConnection);
            }
            let caller = call.caller;
            let kept = match terms.proxy_protocol {
                Some(_) => self.kept_channel(caller, pool, &terms, now),
                None => None,
            };
            if let Some(channel) = kept.or_else(|| self.idle_channel(pool, &terms, now)) {
                return Found::Channel(channel);
            }
        } else if let Some((channel, calls)) = self.shared_channel(pool, &terms, len)
            && calls < BUSY
        {
            return Found::Channel(channel);
        }
        let opened = self.open_another(pool, &terms, kind, now);
        if !own && let Some((channel, _)) = self.shared_channel(pool, &terms, len) {
            return Found::Channel(channel);
        }
        match opened {
            Ok(()) => Found::Wait(pool, kind),
            Err(reply) => match self.endpoint_with_channels(number, kind) {
                Some(pool) => Found::Wait(pool, kind),
                None => Found::Nowhere(reply),
            },
        }
    }

    /// Another endpoint of a call's service and lane to which there are connections that it can wait for:
    /// they are all that the service may have.
    #[cold]
    fn endpoint_with_channels(&mut self, number: u32, kind: Kind) -> Option<u32> {
        let call = self.rpc.calls.get_mut(number as usize)?;
        let (id, generation) = (call.service?, self.generations.get(call.generation)?);
        let service = generation.snapshot.service(id)?;
        let group = service.groups.get(service.group(call.lane)?)?;
        let mut pools = group
            .endpoints
            .clone()
            .filter_map(|at| generation.pool(id, at));
        let pool = pools.find(|&pool| self.pools.channels_of(pool, kind) > 0)?;
        call.notes.pool = Some(pool);
        Some(pool)
    }

    pub(super) fn terms_of(&self, number: u32) -> Option<Terms> {
        let call = self.rpc.calls.get(number as usize)?;
        let generation = self.generations.get(call.generation)?;
        Terms::of(generation.snapshot.service(call.service?)?, call)
    }

    /// The channel of one's own that was used last and is still good.
    fn idle_channel(&mut self, pool: u32, terms: &Terms, now: Instant) -> Option<u32> {
        let streams = terms.streams;
        loop {
            let pool = self.pools.get_mut(pool)?;
            let number = pool.channels_mut(streams).idle.pop()?;
            pool.publish_idle();
            let channel = self.rpc.channels.get_mut(number as usize);
            let fits = channel.is_some_and(|channel| {
                let waited = std::mem::take(&mut channel.idle);
                self.upstream_idle = self.upstream_idle.saturating_sub(waited.into());
                terms.fit(channel, true)
            });
            if fits && self.rests_well(number) {
                return Some(number);
            }
            self.close_channel(number, false, now);
        }
    }

    /// A shared channel with room for a frame, and how many calls it has.
    fn shared_channel(&mut self, pool: u32, terms: &Terms, len: usize) -> Option<(u32, usize)> {
        let state = self.pools.get_mut(pool)?;
        let channels = state.channels_mut(terms.streams);
        let shared = &channels.shared;
        let start = channels.turn;
        for step in 0..shared.len() {
            let at = (start + step) % shared.len();
            let number = *shared.get(at)?;
            let Some(channel) = self.rpc.channels.get_mut(number as usize) else {
                continue;
            };
            if !terms.fit(channel, false) {
                channel.leaving = true;
                continue;
            }
            let full = !channel.table.has_room() || channel.has_backlog();
            if !channel.opened || channel.leaving || full {
                continue;
            }
            let view = self.stack.view(channel.flow);
            if view.writable >= len && !view.finished {
                channels.turn = at + 1;
                return Some((number, channel.table.in_use()));
            }
        }
        None
    }

    /// Opens one more channel where one is needed and allowed. An error is the answer for a call that
    /// has none to wait for.
    pub(super) fn open_another(
        &mut self,
        pool: u32,
        terms: &Terms,
        kind: Kind,
        now: Instant,
    ) -> Result<(), LocalReply> {
        let Some(state) = self.pools.get(pool) else {
            return Err(LocalReply::NO_ENDPOINT);
        };
        let channels = state.channels(kind.streams);
        let shared = channels.shared.iter();
        let usable = shared
            .filter(|&&number| {
                let channel = self.rpc.channels.get(number as usize);
                channel.is_some_and(|channel| !channel.leaving)
            })
            .count();
        let enough = if kind.own {
            channels.opening as usize > channels.for_own.len()
        } else {
            usable >= terms.shared_connections
        };
        if enough {
            return Ok(());
        }
        let max_connections = self.share(terms.max_connections);
        if self.pools.service_connections(pool) >= max_connections
            && let Some(idle) = (self.pools.idle_channel_of_same_service(pool))
                .or_else(|| self.kept_of_same_service(pool))
        {
            // What waits is not needed as much as what is asked for.
            self.close_channel(idle, false, now);
        }
        if self.pools.service_connections(pool) < max_connections {
            let opened = self.open_channel(pool, terms, kind, now);
            return opened.map_err(|_| LocalReply::NO_ENDPOINT);
        }
        let others = if kind.own {
            self.pools.channels_of(pool, kind) > 0
        } else {
            usable > 0
        };
        if others {
            Ok(())
        } else {
            Err(LocalReply::TOO_MANY_CONNECTIONS)
        }
    }

    /// Has a call wait; its frame is kept with it.
    fn wait_for_channel(
        &mut self,
        number: u32,
        (pool, kind): (u32, Kind),
        source: Source<'_>,
        now: Instant,
    ) {
        if self.keep_frame(number, &source) {
            self.enqueue(number, (pool, kind), now);
        } else {
            self.fail_call(number, LocalReply::TOO_MUCH_HELD, now);
        }
    }

    /// Keeps a call's frame with it, but for a large one; false if too much is kept already.
    pub(super) fn keep_frame(&mut self, number: u32, source: &Source<'_>) -> bool {
        let may = self.rpc.buffers.may_hold(source.len);
        let Some(call) = self.rpc.calls.get_mut(number as usize) else {
            return false;
        };
        if call.large == 0 {
            if !may {
                self.drop_frame(number, source);
                return false;
            }
            let mut frame = self.rpc.buffers.take();
            match source.ring {
                Some(flow) => {
                    let bytes = self.stack.front(flow, source.len, &mut self.spare.linear);
                    frame.extend_from_slice(bytes);
                    self.stack.consume(flow, source.len);
                }
                None => frame.extend_from_slice(source.front),
            }
            self.rpc.buffers.held += frame.len();
            call.frame = frame;
        }
        true
    }

    fn enqueue(&mut self, number: u32, (pool, kind): (u32, Kind), now: Instant) {
        let (Some(call), Some(pool)) = (
            self.rpc.calls.get(number as usize),
            self.pools.get_mut(pool),
        ) else {
            return;
        };
        let ticket = call.ticket(number);
        let channels = pool.channels_mut(kind.streams);
        if channels.waiting(kind.own).len() >= MAX_WAITING && channels.looks_for_places() {
            let calls = &self.rpc.calls;
            let waits = |ticket: &Ticket| {
                let call = calls.get(ticket.call as usize);
                call.is_some_and(|call| call.waits(*ticket))
            };
            channels.waiting(kind.own).retain(waits);
        }
        let waiting = channels.waiting(kind.own);
        if waiting.len() >= MAX_WAITING {
            return self.fail_call(number, LocalReply::TOO_MANY_WAIT, now);
        }
        waiting.push_back(ticket);
        self.stats.rpc.count(RpcEvent::Waited);
    }

    /// Sends on calls, or `streams`, that wait for channels to one endpoint while there is room: on
    /// `own`, which is free, or on those that are shared.
    pub(super) fn serve_waiting(
        &mut self,
        pool: u32,
        streams: bool,
        own: Option<u32>,
        now: Instant,
    ) {
        loop {
            let Some(state) = self.pools.get_mut(pool) else {
                return;
            };
            let queue = state.channels_mut(streams).waiting(own.is_some());
            let Some(&ticket) = queue.front() else {
                return;
            };
            let Some(call) = self.waiting_call(ticket) else {
                self.forget_ticket(pool, streams, own);
                continue;
            };
            let len = if call.large > 0 {
                call.large
            } else {
                call.frame.len()
            };
            let Some(terms) = self.terms_of(ticket.call) else {
                return;
            };
            let channel = match own {
                Some(channel) => Some(channel),
                None => self
                    .shared_channel(pool, &terms, len)
                    .map(|(number, _)| number),
            };
            let Some(channel) = channel else {
                return;
            };
            self.forget_ticket(pool, streams, own);
            if !self.send_waiting(ticket.call, channel, now) {
                return;
            }
            if let Some(channel) = own {
                let taken = self.rpc.channels.get(channel as usize);
                if taken.is_none_or(|channel| channel.table.in_use() > 0) {
                    return;
                }
            }
        }
    }

    fn forget_ticket(&mut self, pool: u32, streams: bool, own: Option<u32>) {
        if let Some(pool) = self.pools.get_mut(pool) {
            let channels = pool.channels_mut(streams);
            channels.waiting(own.is_some()).pop_front();
        }
    }

    /// Sends a call that waited; false if it goes on waiting.
    fn send_waiting(&mut self, number: u32, channel: u32, now: Instant) -> bool {
        let Some(call) = self.rpc.calls.get_mut(number as usize) else {
            return true;
        };
        if call.large > 0 {
            self.send_large(number, channel, now);
            return true;
        }
        let frame = std::mem::take(&mut call.frame);
        match self.transmit(number, channel, &Source::kept(&frame), now) {
            Sent::NoRoom(pool, kind) => {
                // It keeps its frame and its place.
                if let Some(call) = self.rpc.calls.get_mut(number as usize) {
                    call.frame = frame;
                    let ticket = call.ticket(number);
                    if let Some(pool) = self.pools.get_mut(pool) {
                        let channels = pool.channels_mut(kind.streams);
                        channels.waiting(kind.own).push_front(ticket);
                    }
                }
                false
            }
            Sent::Alone => {
                self.rpc.buffers.held = self.rpc.buffers.held.saturating_sub(frame.len());
                self.dispatch(number, Source::kept(&frame), now);
                self.rpc.buffers.give_back(frame);
                true
            }
            sent => {
                self.rpc.buffers.held = self.rpc.buffers.held.saturating_sub(frame.len());
                self.rpc.buffers.give_back(frame);
                if let Sent::No(reply) = sent {
                    self.fail_call(number, reply, now);
                }
                true
            }
        }
    }

    /// Throws a frame away that is not sent.
    pub(super) fn drop_frame(&mut self, number: u32, source: &Source<'_>) {
        let large = self.rpc.calls.get(number as usize).map(|call| call.large);
        if large == Some(0)
            && let Some(flow) = source.ring
        {
            self.stack.consume(flow, source.len);
        }
    }

    /// Connections that are dead or full are gone; the fallback is asked.
    pub(super) fn take_fallback_for_call(&mut self, number: u32) -> bool {
        let Some(call) = self.rpc.calls.get_mut(number as usize) else {
            return false;
        };
        let generation = self.generations.get(call.generation);
        let fallback = generation.and_then(|generation| {
            let id = generation.snapshot.service(call.service?)?.fallback?;
            Some((id, generation.snapshot.service(id)?))
        });
        let Some((id, service)) = fallback else {
            return false;
        };
        call.connects = 0;
        call.fall_back(id, service);
        self.stats.events.count(EngineEvent::Fallback);
        true
    }
}

impl super::call::Call {
    /// Another service answers it. Nothing of it has been sent.
    fn fall_back(&mut self, id: ServiceId, service: &Service) {
        self.service = Some(id);
        if let Some((_, _, taken)) = &mut self.notes.taken {
            *taken = id;
        }
        if let Some(record) = &mut self.notes.record {
            record.set_service(&service.name);
        }
    }
}

impl Source<'_> {
    /// A frame that a call kept.
    pub(super) fn kept(frame: &[u8]) -> Source<'_> {
        Source {
            front: frame,
            frame: None,
            len: frame.len(),
            ring: None::<FlowId>,
        }
    }
}
