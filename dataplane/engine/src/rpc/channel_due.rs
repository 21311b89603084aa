//! Deadlines of channels: those that can't be opened, rest for too long, stop within a reply, or never answer.

use std::time::Duration;

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;

use super::channel::{Channel, OWED, STALLED};
use super::due::Due;
use crate::reply::LocalReply;
use crate::stats::{EngineEvent, RpcEvent};
use crate::worker::Worker;

/// Calls in a row whose time is over on a shared channel, and nothing came meanwhile, before it is given up.
const UNANSWERED: u32 = 3;

impl<P: PacketIo> Worker<P> {
    pub(super) fn arm_channel(&mut self, number: u32, now: Instant) {
        let Some(channel) = self.rpc.channels.get(number as usize) else {
            return;
        };
        let deadline = self.channel_deadline(channel, now);
        self.rpc.timers.set(Due::Channel(number).key(), deadline);
    }

    fn channel_deadline(&self, channel: &Channel, now: Instant) -> Instant {
        let idle = self
            .pools
            .get(channel.pool)
            .map_or(Duration::ZERO, |pool| pool.idle_timeout);
        if !channel.opened {
            return channel.idle_since + channel.connect_timeout;
        }
        if let Some(moved) = channel.partial {
            return moved + STALLED;
        }
        match channel.table.in_use() {
            0 => channel.idle_since + idle,
            // Of a call that is over, or its own deadline counts and this is asked again.
            _ if channel.owes() => channel.idle_since + OWED,
            _ => now + idle,
        }
    }

    /// The timer of a channel has fired.
    pub(super) fn channel_due(&mut self, number: u32, now: Instant) {
        let Some(channel) = self.rpc.channels.get(number as usize) else {
            return;
        };
        let deadline = self.channel_deadline(channel, now);
        if now < deadline {
            return self.rpc.timers.set(Due::Channel(number).key(), deadline);
        }
        if !channel.opened {
            self.open_failed(number, LocalReply::CONNECT_TIMEOUT, now);
        } else if channel.partial.is_some() {
            self.stats.rpc.count(RpcEvent::BadReply);
            self.channel_lost(number, LocalReply::HALF_REPLY, now);
        } else if channel.table.in_use() > 0 {
            self.close_channel(number, true, now);
        } else {
            self.stats.events.count(EngineEvent::UpstreamIdle);
            self.close_channel(number, false, now);
        }
    }

    /// The time of a call is over. A shared channel on which nothing comes for as long as a reply may take,
    /// and for several calls in a row, gets no further ones: its service reads, and never answers.
    #[cold]
    pub(super) fn note_unanswered(&mut self, call: u32, now: Instant) {
        let wait = self.response_timeout_of(call);
        let Some((state, wait)) = self.rpc.calls.get(call as usize).zip(wait) else {
            return;
        };
        let sent = state.notes.connected;
        let number = state.channel.map(|(number, _)| number);
        let Some(channel) = number.and_then(|n| self.rpc.channels.get_mut(n as usize)) else {
            return;
        };
        if !channel.shared || channel.streams || channel.leaving {
            return;
        }
        if channel.unanswered == 0 {
            channel.silent_since = sent.max(channel.idle_since);
        }
        channel.unanswered += 1;
        if channel.unanswered < UNANSWERED || now < channel.silent_since + wait {
            return;
        }
        channel.leaving = true;
        let (pool, kind) = (channel.pool, channel.kind());
        self.stats.rpc.count(RpcEvent::ServiceSilent);
        let waiting = self.pools.get(pool).map(|pool| pool.channels(false));
        if waiting.is_some_and(|waiting| !waiting.for_shared.is_empty())
            && let Some(terms) = self.terms_of(call)
        {
            // Where there may be none, they wait until it is closed, or their time is over.
            let _ = self.open_another(pool, &terms, kind, now);
        }
    }
}
