//! Channels that could not be opened, or are over before their calls are: what becomes of the calls.
//! Their callers keep their connections.

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;

use super::channel::Way;
use super::channels::Kind;
use crate::exchange::MAX_CONNECTS;
use crate::reply::LocalReply;
use crate::stats::{EngineEvent, RequestFate};
use crate::traffic::EndpointFailure;
use crate::worker::Worker;

impl<P: PacketIo> Worker<P> {
    /// A channel is over; every call on it gets this answer.
    pub(crate) fn channel_lost(&mut self, number: u32, reply: LocalReply, now: Instant) {
        let Some(channel) = self.rpc.channels.try_remove(number as usize) else {
            return;
        };
        self.rpc.buffers.release(channel.out.len());
        let (pool, kind) = (channel.pool, channel.kind());
        self.pools.channel_closed(pool, number, kind);
        self.upstream_idle = self.upstream_idle.saturating_sub(channel.idle.into());
        let reply = match channel.streams {
            true => reply.of_stream(),
            false => reply,
        };
        let clean = channel.table.in_use() == 0 && reply.fate == RequestFate::ClosedEarly;
        if clean {
            self.stack.close(channel.flow, now);
        } else {
            self.stack.abort(channel.flow, now);
        }
        self.stats.events.count(EngineEvent::UpstreamClosed);
        if !channel.opened
            && kind.own
            && let Some(pool) = self.pools.get_mut(pool)
        {
            let channels = pool.channels_mut(kind.streams);
            channels.opening = channels.opening.saturating_sub(1);
        }
        if let Some(caller) = channel.upload
            && let Some(caller) = self.rpc.callers.get_mut(caller as usize)
        {
            if let Some(upload) = &mut caller.upload {
                upload.call = None;
                upload.channel = None;
            }
            self.stack.wake(caller.flow);
        }
        if let Some(incoming) = channel.incoming
            && let Way::Together(call) | Way::Through(call) = incoming.way
        {
            self.fail_lost(call, reply, now);
        }
        for call in channel.table.into_calls() {
            self.fail_lost(call.owner, reply, now);
        }
        if self.pools.channels_of(pool, kind) == 0 {
            self.send_elsewhere(pool, kind, None, now);
        }
    }

    fn fail_lost(&mut self, number: u32, reply: LocalReply, now: Instant) {
        if let Some(call) = self.rpc.calls.get_mut(number as usize) {
            call.channel = None;
            self.fail_call(number, reply, now);
        }
    }

    /// A channel could not be opened. The calls that waited for it try other endpoints while there are
    /// others and tries left: nothing of them has been sent.
    pub(super) fn open_failed(&mut self, number: u32, reply: LocalReply, now: Instant) {
        let Some(channel) = self.rpc.channels.get(number as usize) else {
            return;
        };
        let (pool, kind) = (channel.pool, channel.kind());
        let failure = match reply.fate {
            RequestFate::ConnectTimeout => EndpointFailure::ConnectTimeout,
            _ => EndpointFailure::ConnectFailed,
        };
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.stats.failed(failure, now);
            if pool.suspect(now) {
                self.stats.events.count(EngineEvent::EndpointSuspected);
            }
        }
        self.close_channel(number, true, now);
        self.send_elsewhere(pool, kind, Some(reply), now);
    }

    /// Has calls that wait for channels to an endpoint look for one anew: all where there is none left
    /// that they could wait for, else as many as can't have one. With `failed` the endpoint could not be
    /// connected to, which is the answer for calls that have nowhere else to go.
    pub(super) fn send_elsewhere(
        &mut self,
        pool: u32,
        kind: Kind,
        failed: Option<LocalReply>,
        now: Instant,
    ) {
        let Some(state) = self.pools.get_mut(pool) else {
            return;
        };
        let channels = state.channels_mut(kind.streams);
        let left = if kind.own {
            channels.opening as usize
        } else if channels.shared.is_empty() {
            0
        } else {
            return;
        };
        let waiting = channels.waiting(kind.own).len();
        for _ in left..waiting {
            let state = self.pools.get_mut(pool);
            let waiting = state.map(|pool| pool.channels_mut(kind.streams).waiting(kind.own));
            let Some(ticket) = waiting.and_then(|waiting| waiting.pop_front()) else {
                return;
            };
            let Some(call) = self.waiting_call(ticket) else {
                continue;
            };
            let Some(reply) = failed else {
                self.dispatch_again(ticket.call, now);
                continue;
            };
            call.connects += 1;
            let (connects, lane) = (call.connects, call.lane);
            let (generation, service) = (call.generation, call.service);
            let generation = self.generations.get(generation);
            let service = generation.and_then(|g| g.snapshot.service(service?));
            let group = service.and_then(|s| s.groups.get(s.group(lane)?));
            let endpoints = group.map_or(0, |group| group.endpoints.len() as u32);
            if connects >= endpoints.min(MAX_CONNECTS) && !self.take_fallback_for_call(ticket.call)
            {
                self.fail_call(ticket.call, reply, now);
                continue;
            }
            self.stats.events.count(EngineEvent::RetriedConnect);
            self.dispatch_again(ticket.call, now);
        }
    }
}
