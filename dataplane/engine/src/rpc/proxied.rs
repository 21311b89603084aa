//! Channels to services that want a PROXY header: each begins with that of one caller, written before the
//! first frame on it, and is that caller's from then on.

use sluice_policy::rules::ProxyProtocol;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::proxy_protocol::{self, Version};

use super::channels::Kind;
use super::terms::Terms;
use crate::worker::Worker;

impl<P: PacketIo> Worker<P> {
    /// Puts the PROXY header of a caller before what stands in the scratch buffer.
    #[cold]
    pub(super) fn write_proxy_header(&mut self, caller: u32, version: ProxyProtocol) -> Option<()> {
        let caller = self.rpc.callers.get(caller as usize)?;
        let version = match version {
            ProxyProtocol::V1 => Version::V1,
            ProxyProtocol::V2 => Version::V2,
        };
        let mut header = self.rpc.buffers.take();
        proxy_protocol::write(&mut header, version, caller.peer, caller.local);
        self.spare.out.splice(..0, header.drain(..));
        self.rpc.buffers.give_back(header);
        Some(())
    }

    /// The channel that waits for a caller, if it leads there and is still good; it is ended otherwise.
    #[cold]
    pub(super) fn kept_channel(
        &mut self,
        caller: u32,
        pool: u32,
        terms: &Terms,
        now: Instant,
    ) -> Option<u32> {
        let state = self.rpc.callers.get_mut(caller as usize)?;
        let (kept, name) = (state.kept.take()?, Some((caller, state.stamp)));
        let channel = self.rpc.channels.get_mut(kept as usize)?;
        if channel.client != name || !std::mem::take(&mut channel.kept) {
            return None;
        }
        let fits = channel.pool == pool && terms.fit(channel, true);
        if fits && channel.streams == terms.streams && self.rests_well(kept) {
            return Some(kept);
        }
        self.close_channel(kept, false, now);
        None
    }

    /// Has a channel that has nothing to do wait for its caller, if that has none yet and nobody else waits
    /// for a connection; it is ended otherwise.
    #[cold]
    pub(super) fn keep_channel(&mut self, number: u32, now: Instant) {
        let Some(channel) = self.rpc.channels.get_mut(number as usize) else {
            return;
        };
        let (pool, streams, client) = (channel.pool, channel.streams, channel.client);
        let waiting = self.pools.get(pool).map(|pool| pool.channels(streams));
        let wanted = waiting.is_some_and(|waiting| !waiting.for_own.is_empty());
        let caller = client.and_then(|(caller, stamp)| {
            let state = self.rpc.callers.get_mut(caller as usize)?;
            (state.stamp == stamp && state.kept.is_none()).then_some(state)
        });
        match caller {
            Some(caller) if !wanted && !self.draining => {
                channel.kept = true;
                caller.kept = Some(number);
                self.arm_channel(number, now);
            }
            _ => {
                self.close_channel(number, false, now);
                self.open_for_waiting(pool, streams, now);
            }
        }
    }

    /// Opens a channel in place of one that nobody else could use, for the call that waits for longest.
    fn open_for_waiting(&mut self, pool: u32, streams: bool, now: Instant) {
        while let Some(state) = self.pools.get_mut(pool)
            && let Some(&ticket) = state.channels_mut(streams).for_own.front()
        {
            if self.waiting_call(ticket).is_none() {
                if let Some(state) = self.pools.get_mut(pool) {
                    state.channels_mut(streams).for_own.pop_front();
                }
                continue;
            }
            let kind = Kind { streams, own: true };
            if let Some(terms) = self.terms_of(ticket.call) {
                // Where there may be none, those that there are will be free in turn.
                let _ = self.open_another(pool, &terms, kind, now);
            }
            return;
        }
    }

    /// A channel that waits for a caller of the service that a pool belongs to.
    #[cold]
    pub(super) fn kept_of_same_service(&self, pool: u32) -> Option<u32> {
        let service = self.pools.get(pool)?.service_number();
        let mut channels = self.rpc.channels.iter();
        let found = channels.find(|(_, channel)| {
            let own = self.pools.get(channel.pool);
            channel.kept && own.is_some_and(|own| own.service_number() == service)
        });
        found.map(|(number, _)| number as u32)
    }

    /// Ends the channel that waits for a caller which is over.
    pub(super) fn close_kept_channel(&mut self, kept: u32, client: (u32, u32), now: Instant) {
        let channel = self.rpc.channels.get(kept as usize);
        if channel.is_some_and(|channel| channel.kept && channel.client == Some(client)) {
            self.close_channel(kept, false, now);
        }
    }
}
