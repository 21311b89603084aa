//! Connections to endpoints: finding one for an exchange, taking it back, letting it age.

use std::time::Duration;

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, ConnectError, Phase};

use crate::downstream::Step;
use crate::exchange::{Begun, MAX_CONNECTS};
use crate::pool::Upstream;
use crate::reply::LocalReply;
use crate::stats::EngineEvent;
use crate::worker::{Role, Worker};

impl<P: PacketIo> Worker<P> {
    /// Finds a connection for an exchange: the next endpoint in turn, a waiting connection to it if
    /// there is one, else a new one.
    #[inline]
    pub(crate) fn attach(&mut self, number: u32, now: Instant) -> Begun {
        let Some(exchange) = self.exchanges.get_mut(number as usize) else {
            return Begun::Replied(Step::Over);
        };
        let generation = self.generations.get(exchange.generation);
        let found = generation.and_then(|generation| {
            let service = generation.snapshot.service(exchange.service)?;
            let endpoint = self.balancer.pick(exchange.service, service)?;
            Some((service, generation.pool(exchange.service, endpoint)?))
        });
        let Some((service, pool_number)) = found else {
            return Begun::Replied(self.fail(number, LocalReply::NO_ENDPOINT, now));
        };
        let max_connections = service.max_connections;
        exchange.progress = now;
        exchange.sent = false;
        // A connection whose end has been seen is not in the pool; one that ends unseen is retried.
        if let Some(up) = self
            .pools
            .get_mut(pool_number)
            .and_then(|pool| pool.idle.pop())
        {
            self.upstream_idle = self.upstream_idle.saturating_sub(1);
            exchange.up = Some(up);
            if let Some(upstream) = self.ups.get_mut(up as usize) {
                upstream.exchange = Some(number);
                self.stats.events.count(EngineEvent::UpstreamReused);
                return Begun::Ready(number);
            }
        }
        if self.pools.service_connections(pool_number) >= max_connections {
            return Begun::Replied(self.fail(number, LocalReply::TOO_MANY_CONNECTIONS, now));
        }
        match self.connect(number, pool_number, now) {
            Ok(()) => Begun::Waiting,
            Err(_) => Begun::Replied(self.connect_failed(number, LocalReply::NO_ENDPOINT, now)),
        }
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
            reused: false,
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
        if let Some(up) = exchange.up.take() {
            self.close_upstream(up, true, now);
        }
        let Some(exchange) = self.exchanges.get(number as usize) else {
            return Step::Over;
        };
        let endpoints = exchange
            .service(&self.generations)
            .map_or(0, |s| s.endpoints.len() as u32);
        if exchange.connects >= endpoints.min(MAX_CONNECTS) {
            return self.fail(number, reply, now);
        }
        self.stats.events.count(EngineEvent::RetriedConnect);
        match self.attach(number, now) {
            Begun::Ready(_) => Step::Again,
            other => other.step(),
        }
    }

    /// Something happened to a connection to an endpoint.
    pub(crate) fn drive_upstream(&mut self, number: u32, now: Instant) {
        let Some(upstream) = self.ups.get(number as usize) else {
            return;
        };
        if let Some(exchange) = upstream.exchange {
            if let Some(exchange) = self.exchanges.get(exchange as usize) {
                self.drive_downstream(exchange.down, now);
            }
            return;
        }
        let view = self.stack.view(upstream.flow);
        if view.readable > 0 {
            self.stats.events.count(EngineEvent::UpstreamUnsolicited);
            self.discard_idle(number, true, now);
        } else if view.finished || view.phase == Phase::Closed {
            self.discard_idle(number, false, now);
        }
    }

    /// Takes a connection back from an exchange that is over.
    #[inline]
    pub(crate) fn release_upstream(&mut self, number: u32, reusable: bool, now: Instant) {
        let Some(upstream) = self.ups.get_mut(number as usize) else {
            return;
        };
        let view = self.stack.view(upstream.flow);
        let clean = view.phase == Phase::Open
            && !view.finished
            && view.readable == 0
            && upstream.backlog.is_empty();
        let pool = self.pools.get_mut(upstream.pool);
        match pool.filter(|pool| pool.idle.len() < pool.max_idle as usize) {
            Some(pool) if reusable && clean && !self.draining => {
                pool.idle.push(number);
                self.upstream_idle += 1;
                upstream.exchange = None;
                upstream.reused = true;
                upstream.idle_since = now;
                self.up_timers.set(number, now + pool.idle_timeout);
            }
            _ => self.close_upstream(number, !clean, now),
        }
    }

    fn discard_idle(&mut self, number: u32, abort: bool, now: Instant) {
        self.upstream_idle = self.upstream_idle.saturating_sub(1);
        self.close_upstream(number, abort, now);
    }

    /// Ends a connection to an endpoint, with a reset if its stream can't be brought to an end.
    pub(crate) fn close_upstream(&mut self, number: u32, abort: bool, now: Instant) {
        let Some(upstream) = self.ups.try_remove(number as usize) else {
            return;
        };
        self.up_timers.cancel(number);
        self.pools.closed(upstream.pool, number);
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
        self.discard_idle(number, false, now);
    }
}
