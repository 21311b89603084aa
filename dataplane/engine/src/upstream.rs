//! Connections to endpoints: finding one for an exchange, taking it back, letting it age.

use std::time::Duration;

use sluice_policy::{LaneId, Service, ServiceId};
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, ConnectError, Phase};

use crate::downstream::Step;
use crate::exchange::{Begun, Exchange, MAX_CONNECTS};
use crate::generations::Generation;
use crate::pool::{Pools, Upstream};
use crate::reply::LocalReply;
use crate::stats::{EngineEvent, RequestFate};
use crate::traffic::EndpointFailure;
use crate::worker::{Role, Worker};

impl Exchange {
    /// Another service answers it. Nothing of it has been sent.
    #[cold]
    fn fall_back(&mut self, id: ServiceId, service: &Service) {
        self.service = id;
        if let Some((_, _, taken)) = &mut self.notes.taken {
            *taken = id;
        }
        if let Some(record) = &mut self.notes.record {
            record.set_service(&service.name);
        }
    }
}

/// The endpoint whose turn it is to answer a request of this lane to a service: the service, or one of
/// its fallbacks, and the endpoint's pool.
#[inline]
pub(crate) fn in_turn(
    generation: &Generation,
    pools: &mut Pools,
    service: ServiceId,
    lane: Option<LaneId>,
    now: Instant,
) -> Option<(ServiceId, u32)> {
    let snapshot = &generation.snapshot;
    let turn =
        |id: ServiceId, service: &Service| generation.next_pool(id, service, service.group(lane)?);
    // Suspects are passed over while there are others, be it those of a fallback.
    let mut next = Some(service);
    while let Some(id) = next {
        let service = snapshot.service(id)?;
        let group = service.group(lane).and_then(|g| service.groups.get(g));
        for _ in 0..group.map_or(0, |group| group.endpoints.len()) {
            let pool = turn(id, service)?;
            if pools.get_mut(pool)?.is_eligible(now) {
                return Some((id, pool));
            }
        }
        next = service.fallback;
    }
    Some((service, turn(service, snapshot.service(service)?)?))
}

impl<P: PacketIo> Worker<P> {
    /// Finds a connection for an exchange: the next endpoint in turn, a waiting connection to it if
    /// there is one, else a new one.
    #[inline]
    pub(crate) fn attach(&mut self, number: u32, now: Instant) -> Begun {
        let Some(exchange) = self.exchanges.get_mut(number as usize) else {
            return Begun::Replied(Step::Over);
        };
        let generation = self.generations.get(exchange.generation);
        let pools = &mut self.pools;
        let lane = exchange.lane;
        let found = generation.and_then(|generation| {
            let (id, pool) = in_turn(generation, pools, exchange.service, lane, now)?;
            Some((id, generation.snapshot.service(id)?, pool))
        });
        let Some((id, service, pool_number)) = found else {
            return Begun::Replied(self.fail(number, LocalReply::NO_ENDPOINT, now));
        };
        if id != exchange.service {
            self.stats.events.count(EngineEvent::Fallback);
            exchange.fall_back(id, service);
        }
        let max_connections = service.max_connections;
        let belongs = service.proxy_protocol.is_some();
        exchange.progress = now;
        exchange.sent = false;
        exchange.notes.attempt(pool_number);
        // Where one waiting connection was dead the others may be, too: a repeat takes a fresh one.
        let fresh = exchange.retried;
        let waiting = match (fresh, belongs) {
            (true, _) => None,
            (false, true) => self.kept_for(number, now),
            (false, false) => self.take_waiting(pool_number, now),
        };
        if let Some(up) = waiting {
            if let (Some(exchange), Some(upstream)) = (
                self.exchanges.get_mut(number as usize),
                self.ups.get_mut(up as usize),
            ) {
                exchange.up = Some(up);
                exchange.notes.connected = now;
                exchange.notes.reused = true;
                upstream.exchange = Some(number);
            }
            self.stats.events.count(EngineEvent::UpstreamReused);
            return Begun::Ready(number);
        }
        let max_connections = self.share(max_connections);
        while self.pools.service_connections(pool_number) >= max_connections {
            // What waits is not needed as much as what is asked for.
            let Some(waiting) = self.pools.waiting_of_same_service(pool_number) else {
                return Begun::Replied(self.fail(number, LocalReply::TOO_MANY_CONNECTIONS, now));
            };
            self.close_upstream(waiting, false, now);
        }
        match self.connect(number, pool_number, now) {
            Ok(()) => Begun::Waiting,
            Err(_) => Begun::Replied(self.connect_failed(number, LocalReply::NO_ENDPOINT, now)),
        }
    }

    /// The connection that belongs to the exchange's client, where it leads to the same service.
    #[cold]
    fn kept_for(&mut self, exchange: u32, now: Instant) -> Option<u32> {
        let exchange = self.exchanges.get_mut(exchange as usize)?;
        let down = exchange.down;
        let kept = self
            .ups
            .get(self.downs.get(down as usize)?.kept? as usize)?;
        let generation = self.generations.get(exchange.generation)?;
        let fits = generation.serves(exchange.service, kept.pool);
        if fits {
            exchange.notes.pool = Some(kept.pool);
        }
        self.take_kept(down, fits, now)
    }

    /// Takes a connection out of a pool, the one used last. One that ends unseen is not told from a
    /// good one; its request is repeated.
    #[inline]
    pub(crate) fn take_waiting(&mut self, pool: u32, now: Instant) -> Option<u32> {
        while let Some(up) = self.pools.get_mut(pool)?.take() {
            if self.waits_well(up, now) {
                self.upstream_idle = self.upstream_idle.saturating_sub(1);
                return Some(up);
            }
        }
        None
    }

    /// Whether nothing has come on a waiting connection; it is ended otherwise. Asked again before
    /// it is used: bytes that came before a request went out are not its answer, even if the
    /// connection has not had its turn since.
    #[inline]
    pub(crate) fn waits_well(&mut self, number: u32, now: Instant) -> bool {
        let Some(upstream) = self.ups.get(number as usize) else {
            return false;
        };
        let view = self.stack.view(upstream.flow);
        if view.readable > 0 {
            self.stats.events.count(EngineEvent::UpstreamUnsolicited);
            self.close_upstream(number, true, now);
            return false;
        }
        if view.finished || view.phase == Phase::Closed {
            self.close_upstream(number, false, now);
            return false;
        }
        true
    }

    fn connect(
        &mut self,
        exchange: u32,
        pool_number: u32,
        now: Instant,
    ) -> Result<(), ConnectError> {
        let Some(state) = self.exchanges.get_mut(exchange as usize) else {
            return Ok(());
        };
        state.connects += 1;
        let pool = self.pools.get(pool_number).ok_or(ConnectError::NoRoute)?;
        let buffer = self
            .downs
            .get(state.down as usize)
            .and_then(|down| {
                let generation = self.generations.get(state.generation)?;
                let id = generation.listener(down.listener)?;
                Some(generation.snapshot.listeners.get(id.0)?.buffer)
            })
            .unwrap_or(Buffers::default().receive);
        let entry = self.ups.vacant_entry();
        let up = entry.key() as u32;
        let buffers = Buffers {
            receive: buffer,
            send: buffer,
        };
        let user = Role::Up(up).number();
        let flow = self
            .stack
            .connect(pool.port, pool.address, user, buffers, now)?;
        entry.insert(Upstream {
            flow,
            pool: pool_number,
            exchange: Some(exchange),
            copy: None,
            reused: false,
            kept_by: None,
            idle_since: now,
            backlog: Vec::new(),
        });
        state.up = Some(up);
        self.pools.opened(pool_number);
        self.stats.events.count(EngineEvent::UpstreamOpened);
        Ok(())
    }

    /// No connection came about; another endpoint is tried while there are others and tries left.
    /// Nothing has been sent yet, so this is safe for every request.
    pub(crate) fn connect_failed(&mut self, number: u32, reply: LocalReply, now: Instant) -> Step {
        let Some(exchange) = self.exchanges.get_mut(number as usize) else {
            return Step::Over;
        };
        let failure = match reply.fate {
            RequestFate::ConnectTimeout => EndpointFailure::ConnectTimeout,
            _ => EndpointFailure::ConnectFailed,
        };
        if let Some(pool) = exchange
            .notes
            .pool
            .and_then(|pool| self.pools.get_mut(pool))
        {
            pool.stats.failed(failure, now);
            // What we lack ourselves says nothing about the endpoint.
            if reply.fate != RequestFate::Unavailable && pool.suspect(now) {
                self.stats.events.count(EngineEvent::EndpointSuspected);
            }
        }
        if let Some(up) = exchange.up.take() {
            self.close_upstream(up, true, now);
        }
        let Some(exchange) = self.exchanges.get(number as usize) else {
            return Step::Over;
        };
        let service = exchange.service(&self.generations);
        let group = service.and_then(|s| s.groups.get(s.group(exchange.lane)?));
        let endpoints = group.map_or(0, |group| group.endpoints.len() as u32);
        if exchange.connects >= endpoints.min(MAX_CONNECTS) && !self.take_fallback(number) {
            return self.fail(number, reply, now);
        }
        self.stats.events.count(EngineEvent::RetriedConnect);
        match self.attach(number, now) {
            Begun::Ready(_) => Step::Again,
            other => other.step(),
        }
    }

    /// Has the fallback of an exchange's service answer it; false if there is none.
    fn take_fallback(&mut self, number: u32) -> bool {
        let Some(exchange) = self.exchanges.get_mut(number as usize) else {
            return false;
        };
        let generation = self.generations.get(exchange.generation);
        let fallback = generation.and_then(|generation| {
            let id = generation.snapshot.service(exchange.service)?.fallback?;
            Some((id, generation.snapshot.service(id)?))
        });
        let Some((id, service)) = fallback else {
            return false;
        };
        exchange.connects = 0;
        exchange.fall_back(id, service);
        self.stats.events.count(EngineEvent::Fallback);
        true
    }

    /// Something happened to a connection to an endpoint.
    pub(crate) fn drive_upstream(&mut self, number: u32, now: Instant) {
        let Some(upstream) = self.ups.get(number as usize) else {
            return;
        };
        if upstream.copy.is_some() {
            return self.drive_copy(number, now);
        }
        if let Some(exchange) = upstream.exchange {
            if let Some(exchange) = self.exchanges.get(exchange as usize) {
                self.drive_downstream(exchange.down, now);
            }
            return;
        }
        self.waits_well(number, now);
    }

    /// Takes a connection back from an exchange that is over.
    #[inline]
    pub(crate) fn release_upstream(&mut self, number: u32, reusable: bool, now: Instant) {
        let Some(upstream) = self.ups.get_mut(number as usize) else {
            return;
        };
        let view = self.stack.view(upstream.flow);
        // Nothing is left over in either direction.
        let clean = view.readable == 0 && upstream.backlog.is_empty();
        let open = view.phase == Phase::Open && !view.finished;
        let pool = self.pools.get_mut(upstream.pool);
        match pool.filter(|pool| pool.idle.len() < pool.max_idle as usize) {
            Some(pool) if reusable && clean && open && !self.draining => {
                pool.idle.push_back(number);
                pool.publish_idle();
                self.upstream_idle += 1;
                upstream.exchange = None;
                if let Some(copy) = upstream.copy.take() {
                    self.copies = self.copies.saturating_sub(1);
                    self.copied_bytes = self.copied_bytes.saturating_sub(copy.reserved);
                }
                upstream.reused = true;
                upstream.idle_since = now;
                self.up_timers.set(number, now + pool.idle_timeout);
            }
            _ => self.close_upstream(number, !clean, now),
        }
    }

    /// Ends a connection to an endpoint, with a reset if its stream can't be brought to an end.
    pub(crate) fn close_upstream(&mut self, number: u32, abort: bool, now: Instant) {
        let Some(upstream) = self.ups.try_remove(number as usize) else {
            return;
        };
        if let Some(down) = upstream.kept_by
            && let Some(down) = self.downs.get_mut(down as usize)
        {
            down.kept = None;
        }
        if let Some(copy) = &upstream.copy {
            self.copies = self.copies.saturating_sub(1);
            self.copied_bytes = self.copied_bytes.saturating_sub(copy.reserved);
            if !copy.is_answered() {
                self.stats.events.count(EngineEvent::MirrorFailed);
            }
        } else if upstream.exchange.is_none() {
            self.upstream_idle = self.upstream_idle.saturating_sub(1);
        }
        self.up_timers.cancel(number);
        let waited = upstream.exchange.is_none() && upstream.copy.is_none();
        self.pools.closed(upstream.pool, number, waited);
        if abort {
            self.stack.abort(upstream.flow, now);
        } else {
            self.stack.close(upstream.flow, now);
        }
        self.stats.events.count(EngineEvent::UpstreamClosed);
    }

    /// The timer of a connection to an endpoint has fired.
    pub(crate) fn upstream_due(&mut self, number: u32, now: Instant) {
        let Some(upstream) = self.ups.get(number as usize) else {
            return;
        };
        if upstream.exchange.is_some() {
            return;
        }
        if upstream.copy.is_some() {
            return self.copy_due(number, now);
        }
        let timeout = self
            .pools
            .get(upstream.pool)
            .map_or(Duration::ZERO, |p| p.idle_timeout);
        let deadline = upstream.idle_since + timeout;
        if now < deadline {
            self.up_timers.set(number, deadline);
            return;
        }
        self.stats.events.count(EngineEvent::UpstreamIdle);
        self.close_upstream(number, false, now);
    }
}
