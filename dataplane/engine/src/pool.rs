//! Connections to endpoints: open ones that wait for the next request, and how many there are.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_stack::FlowId;
use sluice_stack::counters::Gauge;
use sluice_stack::time::Instant;

use crate::mirror::Copied;
use crate::numbering::Keep;
use crate::rpc::{Channels, Kind};
use crate::traffic::{EndpointKey, EndpointStats};

/// A connection to an endpoint.
pub(crate) struct Upstream {
    pub(crate) flow: FlowId,
    pub(crate) pool: u32,
    /// The exchange it serves; `None` while it waits in its pool.
    pub(crate) exchange: Option<u32>,
    /// The copy of a request that it carries.
    pub(crate) copy: Option<Box<Copied>>,
    /// It has served an exchange before: its peer may have closed it meanwhile.
    pub(crate) reused: bool,
    /// The client's connection that it waits for, where it belongs to one.
    pub(crate) kept_by: Option<u32>,
    pub(crate) idle_since: Instant,
    /// The end of a request head that did not fit into the send queue.
    pub(crate) backlog: Vec<u8>,
}

impl Upstream {
    /// Reads something of every line of memory it takes.
    #[inline]
    pub(crate) fn touch(&self) -> u64 {
        self.idle_since.as_nanos() ^ u64::from(self.reused) ^ self.backlog.len() as u64
    }
}

/// What a worker has of a service as long as the gateway runs.
#[derive(Debug)]
pub(crate) struct ServiceLoad {
    number: usize,
    /// Connections to all its endpoints together.
    connections: Gauge,
}

impl ServiceLoad {
    /// With a number of its own.
    pub(crate) fn new(number: usize) -> Self {
        ServiceLoad {
            number,
            connections: Gauge::default(),
        }
    }
}

/// One endpoint of one service.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) address: SocketAddr,
    /// The port (network plane) it is reached by.
    pub(crate) port: u8,
    /// Connections that may wait here, and how long, by the newest rules.
    pub(crate) max_idle: u32,
    pub(crate) idle_timeout: Duration,
    service: Arc<ServiceLoad>,
    key: EndpointKey,
    /// Waiting connections, the one used last on top: the others can age out.
    pub(crate) idle: VecDeque<u32>,
    /// Its connections that carry RPCs, and who waits for one.
    rpc: Channels,
    /// Its connections that carry streams of RPC.
    streams: Channels,
    connections: u32,
    /// The newest rules name it.
    named: bool,
    /// The last connection to it could not be opened; until then it is passed over.
    suspect_until: Option<Instant>,
    /// What others see of it.
    pub(crate) stats: Arc<EndpointStats>,
}

/// How long an endpoint that accepted no connection is passed over while there are others.
const PASSED_OVER: Duration = Duration::from_secs(5);

impl Pool {
    /// Without connections.
    pub(crate) fn new(
        key: EndpointKey,
        (stats, service): (Arc<EndpointStats>, Arc<ServiceLoad>),
        keep: Keep,
    ) -> Self {
        Pool {
            address: key.address,
            port: key.port as u8,
            max_idle: keep.max_idle,
            idle_timeout: keep.idle_timeout,
            service,
            key,
            idle: VecDeque::new(),
            rpc: Channels::default(),
            streams: Channels::default(),
            connections: 0,
            named: true,
            suspect_until: None,
            stats,
        }
    }

    /// Whether a request may go there. A suspect gets a single one each time its time is up.
    #[inline]
    pub(crate) fn is_eligible(&mut self, now: Instant) -> bool {
        match self.suspect_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.suspect_until = Some(now + PASSED_OVER);
                true
            }
        }
    }

    /// A connection to it could not be opened; true if it was not suspected before.
    pub(crate) fn suspect(&mut self, now: Instant) -> bool {
        self.suspect_until.replace(now + PASSED_OVER).is_none()
    }

    /// A connection to it was opened.
    pub(crate) fn clear(&mut self) {
        self.suspect_until = None;
    }

    /// Whether the newest rules name it.
    pub(crate) fn is_named(&self) -> bool {
        self.named
    }

    /// Takes one of its connections for one call or stream at a time that has none; with how many such
    /// there are besides.
    pub(crate) fn pop_idle_channel(&mut self) -> Option<(u32, usize)> {
        let idle = match self.rpc.idle.is_empty() {
            true => &mut self.streams.idle,
            false => &mut self.rpc.idle,
        };
        Some((idle.pop()?, idle.len()))
    }

    /// Its connections that carry RPCs: streams, or calls.
    #[inline]
    pub(crate) fn channels(&self, streams: bool) -> &Channels {
        if streams { &self.streams } else { &self.rpc }
    }

    /// See [`Self::channels`].
    #[inline]
    pub(crate) fn channels_mut(&mut self, streams: bool) -> &mut Channels {
        if streams {
            &mut self.streams
        } else {
            &mut self.rpc
        }
    }

    /// The number of its service, which stays while the gateway runs.
    #[inline]
    pub(crate) fn service_number(&self) -> usize {
        self.service.number
    }

    /// The waiting connection that was used last.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<u32> {
        let waiting = self.idle.pop_back();
        self.publish_idle();
        waiting
    }

    /// To be called after every change of what waits here.
    #[inline]
    pub(crate) fn publish_idle(&self) {
        let waiting = self.idle.len() + self.rpc.idle.len() + self.streams.idle.len();
        self.stats.idle.set(waiting as u64);
    }
}

/// Room for so many pools from the start on, so that growth is rare; it becomes resident as it is used.
const ROOM: usize = 65_536;
/// The same for pools that no rules name any more.
const ROOM_LEAVING: usize = 4_096;

/// All endpoints of all services of the live rules, by numbers that [`crate::numbering`] gives out. An
/// endpoint that is in several generations of rules has one number in all of them.
pub(crate) struct Pools {
    pools: Vec<Option<Box<Pool>>>,
    /// Pools that the newest rules may not name any more, and the order of the first rules that did not.
    leaving: VecDeque<(u32, u64)>,
    /// How many of those are still to be looked at since rules were last taken up.
    unseen: usize,
}

impl Default for Pools {
    fn default() -> Self {
        Pools {
            pools: Vec::with_capacity(ROOM),
            leaving: VecDeque::with_capacity(ROOM_LEAVING),
            unseen: 0,
        }
    }
}

/// What comes of a look at a pool that no rules name.
pub(crate) enum Left {
    /// Rules name it again.
    Named,
    /// It has connections, or older rules are in use that name it.
    Used,
    /// Nobody has anything to do with it any more.
    Over(Box<Pool>),
}

impl Pools {
    /// A pool that is there from now on. Gives it back if the endpoint has one, which is used on.
    pub(crate) fn add(&mut self, number: u32, pool: Box<Pool>) -> Option<Box<Pool>> {
        let at = number as usize;
        if self.pools.len() <= at {
            self.pools.resize_with(at + 1, || None);
        }
        let place = self.pools.get_mut(at)?;
        let Some(known) = place else {
            *place = Some(pool);
            return None;
        };
        known.named = true;
        known.max_idle = pool.max_idle;
        known.idle_timeout = pool.idle_timeout;
        Some(pool)
    }

    /// What waits in a pool by the newest rules.
    pub(crate) fn keep(&mut self, number: u32, keep: Keep) {
        if let Some(pool) = self.get_mut(number) {
            pool.max_idle = keep.max_idle;
            pool.idle_timeout = keep.idle_timeout;
        }
    }

    /// The newest rules, those of this order, don't name a pool: nothing waits there any more.
    pub(crate) fn unname(&mut self, number: u32, order: u64) {
        if let Some(pool) = self.get_mut(number) {
            pool.named = false;
            pool.max_idle = 0;
            self.leaving.push_back((number, order));
        }
    }

    /// Rules were taken up: all pools that are leaving are to be looked at.
    pub(crate) fn look_again(&mut self) {
        self.unseen = self.leaving.len();
    }

    /// Whether some are to be looked at.
    #[inline]
    pub(crate) fn is_unseen(&self) -> bool {
        self.unseen > 0
    }

    /// The next to be looked at.
    pub(crate) fn next_leaving(&self) -> Option<u32> {
        let (number, _) = self.leaving.front().filter(|_| self.unseen > 0)?;
        Some(*number)
    }

    /// The one that is next was looked at, and nothing waits there. It is forgotten where it is of no use
    /// to rules from this order on, the oldest that are in use.
    pub(crate) fn looked_at(&mut self, oldest: u64) -> Left {
        self.unseen = self.unseen.saturating_sub(1);
        let Some((number, order)) = self.leaving.pop_front() else {
            return Left::Named;
        };
        let place = self.pools.get_mut(number as usize);
        match place {
            Some(Some(pool)) if pool.named => Left::Named,
            Some(Some(pool)) if pool.connections > 0 || oldest < order => {
                self.leaving.push_back((number, order));
                Left::Used
            }
            Some(place) => place.take().map_or(Left::Named, Left::Over),
            None => Left::Named,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, pool: u32) -> Option<&mut Pool> {
        self.pools.get_mut(pool as usize)?.as_deref_mut()
    }

    #[inline]
    pub(crate) fn get(&self, pool: u32) -> Option<&Pool> {
        self.pools.get(pool as usize)?.as_deref()
    }

    fn iter(&self) -> impl Iterator<Item = &Pool> {
        self.pools.iter().flatten().map(|pool| &**pool)
    }

    /// The name of the service that the pool belongs to.
    pub(crate) fn service_name(&self, pool: u32) -> Option<Arc<str>> {
        self.get(pool).map(|pool| pool.key.service.clone())
    }

    /// Connections of the service that the pool belongs to.
    pub(crate) fn service_connections(&self, pool: u32) -> u32 {
        let connections = |pool: &Pool| pool.service.connections.get() as u32;
        self.get(pool).map_or(0, connections)
    }

    /// A connection that waits at any endpoint of the service that the pool belongs to, and has done
    /// so for longest there.
    #[cold]
    pub(crate) fn waiting_of_same_service(&self, pool: u32) -> Option<u32> {
        let service = &self.get(pool)?.service;
        self.iter()
            .filter(|pool| Arc::ptr_eq(&pool.service, service))
            .find_map(|pool| pool.idle.front().copied())
    }

    /// A connection for one call at a time that waits at any endpoint of the service that the pool
    /// belongs to.
    #[cold]
    pub(crate) fn idle_channel_of_same_service(&self, pool: u32) -> Option<u32> {
        let service = &self.get(pool)?.service;
        self.iter()
            .filter(|pool| Arc::ptr_eq(&pool.service, service))
            .find_map(|pool| {
                let idle = pool.rpc.idle.first();
                idle.or(pool.streams.idle.first()).copied()
            })
    }

    /// Connections of this kind to the endpoint, those being opened among them.
    pub(crate) fn channels_of(&self, pool: u32, kind: Kind) -> usize {
        let channels = self.get(pool).map(|pool| pool.channels(kind.streams));
        channels.map_or(0, |channels| match kind.own {
            true => channels.own as usize,
            false => channels.shared.len(),
        })
    }

    /// A connection that carries RPCs is over.
    pub(crate) fn channel_closed(&mut self, pool: u32, channel: u32, kind: Kind) {
        self.count(pool, -1);
        let Some(pool) = self.get_mut(pool) else {
            return;
        };
        let channels = pool.channels_mut(kind.streams);
        if kind.own {
            channels.own = channels.own.saturating_sub(1);
            channels.idle.retain(|&idle| idle != channel);
        } else {
            channels.shared.retain(|&shared| shared != channel);
        }
        pool.publish_idle();
    }

    pub(crate) fn opened(&mut self, pool: u32) {
        self.count(pool, 1);
    }

    /// A connection is over. One that `waited` is looked for from the one used longest ago on, which is
    /// the first to be closed for being idle.
    pub(crate) fn closed(&mut self, pool: u32, upstream: u32, waited: bool) {
        self.count(pool, -1);
        if let Some(pool) = self.get_mut(pool) {
            if waited && let Some(place) = pool.idle.iter().position(|&other| other == upstream) {
                pool.idle.remove(place);
            }
            pool.publish_idle();
        }
    }

    fn count(&mut self, pool: u32, change: i32) {
        let Some(pool) = self.get_mut(pool) else {
            return;
        };
        pool.connections = pool.connections.saturating_add_signed(change);
        pool.stats.connections.set(u64::from(pool.connections));
        let all = &pool.service.connections;
        all.set(all.get().saturating_add_signed(change.into()));
    }
}
