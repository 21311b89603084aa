//! Connections to endpoints: open ones that wait for the next request, and how many there are.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use sluice_policy::Service;
use sluice_stack::FlowId;
use sluice_stack::time::Instant;

/// A connection to an endpoint.
pub(crate) struct Upstream {
    pub(crate) flow: FlowId,
    pub(crate) pool: u32,
    /// The exchange it serves; `None` while it waits in its pool.
    pub(crate) exchange: Option<u32>,
    /// It has served an exchange before: its peer may have closed it meanwhile.
    pub(crate) reused: bool,
    pub(crate) idle_since: Instant,
    /// The end of a request head that did not fit into the send queue.
    pub(crate) backlog: Vec<u8>,
}

/// One endpoint of one service.
pub(crate) struct Pool {
    pub(crate) address: SocketAddr,
    /// The port (network plane) it is reached by.
    pub(crate) port: u8,
    /// Connections that may wait here, and how long, by the newest rules.
    pub(crate) max_idle: u32,
    pub(crate) idle_timeout: Duration,
    service: u32,
    key: Key,
    /// Waiting connections, the one used last on top: the others can age out.
    pub(crate) idle: Vec<u32>,
    connections: u32,
}

type Key = (Arc<str>, SocketAddr, usize);

/// All endpoints of all services of the live rules. A service or endpoint that is in several
/// generations of rules has one number in all of them.
#[derive(Default)]
pub(crate) struct Pools {
    pools: Slab<Pool>,
    by_key: HashMap<Key, u32>,
    /// Connections by service, all endpoints together.
    services: Vec<u32>,
    service_numbers: HashMap<Arc<str>, u32>,
}

impl Pools {
    /// The pools of a service's endpoints, made where they are new.
    pub(crate) fn of_service(&mut self, service: &Service) -> Box<[u32]> {
        let next = self.services.len() as u32;
        let number = *self
            .service_numbers
            .entry(service.name.clone())
            .or_insert(next);
        if number == next {
            self.services.push(0);
        }
        let pools = service.endpoints.iter().map(|endpoint| {
            let key = (service.name.clone(), endpoint.address, endpoint.port);
            let pool = *self.by_key.entry(key.clone()).or_insert_with(|| {
                self.pools.insert(Pool {
                    address: endpoint.address,
                    port: endpoint.port as u8,
                    max_idle: 0,
                    idle_timeout: Duration::ZERO,
                    service: number,
                    key,
                    idle: Vec::new(),
                    connections: 0,
                }) as u32
            });
            if let Some(pool) = self.pools.get_mut(pool as usize) {
                pool.max_idle = service.max_idle;
                pool.idle_timeout = service.idle_timeout;
            }
            pool
        });
        pools.collect()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, pool: u32) -> Option<&mut Pool> {
        self.pools.get_mut(pool as usize)
    }

    pub(crate) fn get(&self, pool: u32) -> Option<&Pool> {
        self.pools.get(pool as usize)
    }

    /// Connections of the service that the pool belongs to.
    pub(crate) fn service_connections(&self, pool: u32) -> u32 {
        self.get(pool).map_or(0, |p| {
            self.services.get(p.service as usize).copied().unwrap_or(0)
        })
    }

    pub(crate) fn opened(&mut self, pool: u32) {
        self.add(pool, 1);
    }

    /// A connection is over, waiting or not.
    pub(crate) fn closed(&mut self, pool: u32, upstream: u32) {
        self.add(pool, -1);
        if let Some(pool) = self.get_mut(pool) {
            pool.idle.retain(|&waiting| waiting != upstream);
        }
    }

    fn add(&mut self, pool: u32, change: i32) {
        let Some(pool) = self.pools.get_mut(pool as usize) else {
            return;
        };
        pool.connections = pool.connections.saturating_add_signed(change);
        if let Some(connections) = self.services.get_mut(pool.service as usize) {
            *connections = connections.saturating_add_signed(change);
        }
    }

    /// Pools that no rules name any more; those without connections are forgotten, the waiting
    /// connections of the others returned to be closed.
    pub(crate) fn sweep(&mut self, in_use: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut idle = Vec::new();
        let unused: Vec<u32> = self
            .pools
            .iter()
            .map(|(n, _)| n as u32)
            .filter(|&n| !in_use(n))
            .collect();
        for number in unused {
            let Some(pool) = self.pools.get_mut(number as usize) else {
                continue;
            };
            idle.append(&mut pool.idle);
            if pool.connections == 0 {
                self.by_key.remove(&pool.key);
                self.pools.remove(number as usize);
            }
        }
        idle
    }
}
