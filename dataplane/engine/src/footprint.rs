//! How much memory a worker can take at most, by its rules. The bound is far above what is ever used: it
//! has every connection that is allowed full both ways.

use sluice_policy::Snapshot;
use sluice_policy::rules::Congestion;
use sluice_stack::{Algorithm, Buffers, Limits, TcpTimers};

use crate::downstream::Downstream;
use crate::exchange::Exchange;
use crate::mirror::MAX_COPIED_BYTES;
use crate::pool::Upstream;
use crate::rpc;

/// Bytes beside its rings that a connection can hold: the end of a head or a reply of our own that did
/// not fit, in a buffer that grew.
const BACKLOG: u64 = 128 << 10;
/// What one worker has of its own and shares among all connections: scratch buffers, counters, log
/// records, copies for a capture and for mirrors.
const SHARED: u64 = (48 << 20) + MAX_COPIED_BYTES as u64;

/// The most flows of a worker: their tables are three gigabytes, of which untouched parts hold no memory.
const MOST_FLOWS: usize = 4 << 20;

/// A worker's part of a limit that all of them share.
pub(crate) fn share(limit: u32, workers: u32) -> u32 {
    match workers {
        1 => limit,
        workers => limit.div_ceil(workers),
    }
}

/// Flows that a worker has room for: what its clients may open, and as many to services, but no fewer
/// than the default.
fn flows(rules: &Snapshot) -> usize {
    let workers = u32::from(rules.workers.cores.count());
    let listeners = rules.listeners.iter();
    let clients = listeners.map(|l| share(l.max_connections, workers) as usize);
    let both = clients.sum::<usize>().saturating_mul(2);
    both.clamp(Limits::default().flows, MOST_FLOWS)
}

/// The bounds of a worker's stack by its rules.
pub fn limits(rules: &Snapshot) -> Limits {
    let tcp = &rules.tcp;
    Limits {
        flows: flows(rules),
        window: u32::try_from(tcp.window).unwrap_or(u32::MAX),
        window_memory: tcp.window_memory,
        tcp: TcpTimers {
            min_timeout: tcp.min_timeout,
            user_timeout: tcp.user_timeout,
            keep_alive: tcp.keep_alive,
        },
        congestion: match tcp.congestion {
            Congestion::Cubic => Algorithm::Cubic,
            Congestion::Bbr => Algorithm::Bbr,
        },
        ..Limits::default()
    }
}

/// The largest that a worker can become, in bytes. Rules, whose size is that of their text, and packet
/// buffers, which are reserved at the start, come on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Flows at most, both sides together.
    pub flows: u64,
    /// Tables, and what all connections share.
    pub tables: u64,
    /// What connections hold when all of them are full.
    pub connections: u64,
}

impl Footprint {
    /// Of a worker with these rules and bounds.
    pub fn of(rules: &Snapshot, limits: &Limits) -> Self {
        let listeners = rules.listeners.iter();
        let workers = u32::from(rules.workers.cores.count());
        let part = |limit| u64::from(share(limit, workers));
        let clients: u64 = listeners.clone().map(|l| part(l.max_connections)).sum();
        let services = rules.services.iter();
        let endpoints: u64 = services.map(|s| part(s.max_connections)).sum();
        let flows = (clients + endpoints).min(limits.flows as u64);
        let buffer = listeners.map(|l| l.buffer).max().unwrap_or(0);
        let buffers = Buffers {
            receive: buffer,
            send: buffer,
        };
        let records = size_of::<Downstream>() + size_of::<Upstream>() + size_of::<Exchange>();
        // Slabs double, and are there twice while they do.
        let records = 3 * records as u64 * limits.flows as u64;
        Footprint {
            flows,
            tables: limits.tables(rules.ports.len()) + records + SHARED + rpc::MOST_WAITING as u64,
            connections: flows * (buffers.most() + BACKLOG),
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.tables + self.connections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules with so many workers and connections of clients.
    fn rules(workers: u16, connections: u32) -> Snapshot {
        let text = format!(
            "workers: {{ count: {workers} }}
ports: {{ front: {{ device: net_ring0, addresses: [10.99.1.1/24] }} }}
listeners: {{ web: {{ address: 10.99.1.1:80, max_connections: {connections} }} }}
services: {{ hello: {{ endpoints: [10.99.1.2:8080] }} }}
routes: [{{ service: hello }}]
"
        );
        let rules = sluice_policy::parse(&text, "g.yaml").expect("rules that can be read");
        sluice_policy::compile(&rules).expect("rules that fit")
    }

    #[test]
    fn a_worker_has_room_for_the_connections_that_its_part_of_the_rules_allows() {
        for (workers, connections, flows, counted) in [
            (1, 16_384, 131_072, 32_768),
            (1, 65_537, 131_074, 81_921),
            (1, 1_000_000, 2_000_000, 1_016_384),
            (4, 1_000_000, 500_000, 254_096),
            (4, 262_146, 131_074, 69_633),
        ] {
            let rules = rules(workers, connections);
            let limits = limits(&rules);
            let footprint = Footprint::of(&rules, &limits);
            assert_eq!(
                (limits.flows, footprint.flows),
                (flows, counted),
                "{workers} workers, {connections} connections"
            );
        }
    }

    /// A client's connection that has nothing to do: its flow, its record, and two timers.
    #[test]
    fn an_idle_connection_is_small() {
        let timer = 32;
        let size = Limits::idle_flow() + size_of::<Downstream>() + timer;
        assert!(size <= 1_280, "{size} bytes");
    }
}
