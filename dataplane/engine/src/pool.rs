//! Connections to endpoints: open ones that wait for the next request, and how many there are.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use sluice_policy::Service;
use sluice_stack::FlowId;
use sluice_stack::time::Instant;

use crate::mirror::Copied;
use crate::rpc::Channels;
use crate::traffic::{EndpointKey, EndpointStats, Traffic};

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

/// One endpoint of one service.
pub(crate) struct Pool {
    pub(crate) address: SocketAddr,
    /// The port (network plane) it is reached by.
    pub(crate) port: u8,
    /// Connections that may wait here, and how long, by the newest rules.
    pub(crate) max_idle: u32,
    pub(crate) idle_timeout: Duration,
    service: u32,
    key: EndpointKey,
    /// Waiting connections, the one used last on top: the others can age out.
    pub(crate) idle: VecDeque<u32>,
    /// Its connections that carry RPCs, and who waits for one.
    pub(crate) rpc: Channels,
    connections: u32,
    /// The newest rules name it.
    pub(crate) named: bool,
    /// The last connection to it could not be opened; until then it is passed over.
    suspect_until: Option<Instant>,
    /// What others see of it.
    pub(crate) stats: Arc<EndpointStats>,
}

/// How long an endpoint that accepted no connection is passed over while there are others.
const PASSED_OVER: Duration = Duration::from_secs(5);

impl Pool {
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

    /// The number of its service, which stays while the gateway runs.
    #[inline]
    pub(crate) fn service_number(&self) -> usize {
        self.service as usize
    }

    /// The waiting connection that was used last.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<u32> {
        let waiting = self.idle.pop_back();
        self.publish_idle();
        waiting
    }

    /// To be called after every change of `idle`.
    #[inline]
    pub(crate) fn publish_idle(&self) {
        self.stats.idle.set(self.idle.len() as u64);
    }
}

/// All endpoints of all services of the live rules. A service or endpoint that is in several
/// generations of rules has one number in all of them.
#[derive(Default)]
pub(crate) struct Pools {
    pools: Slab<Pool>,
    by_key: HashMap<EndpointKey, u32>,
    /// Connections by service, all endpoints together.
    services: Vec<u32>,
    service_numbers: HashMap<Arc<str>, u32>,
    /// Pools that newer rules may not name any more: to be looked at when rules are adopted.
    leaving: Vec<u32>,
}

impl Pools {
    /// The pools of a service's endpoints, made where they are new.
    pub(crate) fn of_service(&mut self, service: &Service, traffic: &Traffic) -> Arc<[u32]> {
        let next = self.services.len() as u32;
        let number = *self
            .service_numbers
            .entry(service.name.clone())
            .or_insert(next);
        if number == next {
            self.services.push(0);
        }
        let pools = service.endpoints.iter().map(|endpoint| {
            let key = EndpointKey {
                service: service.name.clone(),
                address: endpoint.address,
                port: endpoint.port,
            };
            let pool = *self.by_key.entry(key.clone()).or_insert_with(|| {
                self.pools.insert(Pool {
                    address: endpoint.address,
                    port: endpoint.port as u8,
                    max_idle: 0,
                    idle_timeout: Duration::ZERO,
                    service: number,
                    stats: traffic.endpoints.of(&key),
                    key,
                    idle: VecDeque::new(),
                    rpc: Channels::default(),
                    connections: 0,
                    named: true,
                    suspect_until: None,
                }) as u32
            });
            if let Some(pool) = self.pools.get_mut(pool as usize) {
                pool.named = true;
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

    /// The name of the service that the pool belongs to.
    pub(crate) fn service_name(&self, pool: u32) -> Option<Arc<str>> {
        self.get(pool).map(|pool| pool.key.service.clone())
    }

    /// Connections of the service that the pool belongs to.
    pub(crate) fn service_connections(&self, pool: u32) -> u32 {
        self.get(pool).map_or(0, |p| {
            self.services.get(p.service as usize).copied().unwrap_or(0)
        })
    }

    /// A connection that waits at any endpoint of the service that the pool belongs to, and has done
    /// so for longest there.
    #[cold]
    pub(crate) fn waiting_of_same_service(&self, pool: u32) -> Option<u32> {
        let service = self.get(pool)?.service;
        self.pools
            .iter()
            .filter(|(_, pool)| pool.service == service)
            .find_map(|(_, pool)| pool.idle.front().copied())
    }

    /// A connection for one call at a time that waits at any endpoint of the service that the pool
    /// belongs to.
    #[cold]
    pub(crate) fn idle_channel_of_same_service(&self, pool: u32) -> Option<u32> {
        let service = self.get(pool)?.service;
        self.pools
            .iter()
            .filter(|(_, pool)| pool.service == service)
            .find_map(|(_, pool)| pool.rpc.idle.first().copied())
    }

    /// Connections to the endpoint that carry one call at a time.
    pub(crate) fn own_channels(&self, pool: u32) -> usize {
        self.get(pool).map_or(0, |pool| {
            (pool.connections as usize).saturating_sub(pool.rpc.shared.len())
        })
    }

    /// A connection that carries RPCs is over.
    pub(crate) fn channel_closed(&mut self, pool: u32, channel: u32) {
        self.add(pool, -1);
        if let Some(pool) = self.get_mut(pool) {
            pool.rpc.idle.retain(|&idle| idle != channel);
            pool.rpc.shared.retain(|&shared| shared != channel);
        }
    }

    pub(crate) fn opened(&mut self, pool: u32) {
        self.add(pool, 1);
    }

    /// A connection is over. One that `waited` is looked for from the one used longest ago on, which is
    /// the first to be closed for being idle.
    pub(crate) fn closed(&mut self, pool: u32, upstream: u32, waited: bool) {
        self.add(pool, -1);
        if let Some(pool) = self.get_mut(pool) {
            if waited && let Some(place) = pool.idle.iter().position(|&other| other == upstream) {
                pool.idle.remove(place);
            }
            pool.publish_idle();
        }
    }

    fn add(&mut self, pool: u32, change: i32) {
        let Some(pool) = self.pools.get_mut(pool as usize) else {
            return;
        };
        pool.connections = pool.connections.saturating_add_signed(change);
        pool.stats.connections.set(u64::from(pool.connections));
        if let Some(connections) = self.services.get_mut(pool.service as usize) {
            *connections = connections.saturating_add_signed(change);
        }
    }

    /// The newest rules may not name these pools any more; [`Self::of_service`] says which they do.
    pub(crate) fn unname(&mut self, pools: &[u32]) {
        for &number in pools {
            if let Some(pool) = self.get_mut(number) {
                pool.named = false;
                self.leaving.push(number);
            }
        }
    }

    /// Whether there are pools with connections, or in use, that the newest rules don't name.
    pub(crate) fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Whether the newest rules name a pool.
    pub(crate) fn is_named(&self, pool: u32) -> bool {
        self.get(pool).is_some_and(|pool| pool.named)
    }

    /// Looks at pools that the newest rules may not name any more: nothing waits in those, and what
    /// does is returned to be closed. Those that no live rules name are forgotten once they have no
    /// connections.
    pub(crate) fn sweep(&mut self, live: impl Fn(&str, u32) -> bool) -> Vec<u32> {
        let mut idle = Vec::new();
        let mut leaving = std::mem::take(&mut self.leaving);
        leaving.retain(|&number| {
            let Some(pool) = self.pools.get_mut(number as usize) else {
                return false;
            };
            if pool.named {
                return false;
            }
            idle.extend(pool.idle.drain(..));
            pool.publish_idle();
            pool.max_idle = 0;
            let over = pool.connections == 0 && !live(&pool.key.service, number);
            if over {
                self.by_key.remove(&pool.key);
                self.pools.remove(number as usize);
            }
            !over
        });
        leaving.sort_unstable();
        leaving.dedup();
        self.leaving = leaving;
        idle
    }
}
