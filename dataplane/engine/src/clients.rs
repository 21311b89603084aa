//! What is remembered of client addresses, for the limits that a listener has for each: connections at a
//! time, and new ones per second.

use std::collections::HashMap;
use std::net::IpAddr;

use slab::Slab;
use sluice_policy::Listener;
use sluice_stack::time::Instant;

/// Addresses remembered at most. Beyond it newcomers are let in unseen, bounded by the listener's
/// `max_connections` alone.
const MOST: usize = 65_536;
/// Addresses looked at for every new one, to find some that can be forgotten.
const SWEEP: usize = 4;
const SECOND: u64 = 1_000_000_000;

/// An address on a listener. Of IPv6 it is the network of 64 bits: a client has all of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    listener: u32,
    address: u128,
}

#[derive(Debug)]
struct Client {
    key: Key,
    connections: u32,
    /// When the connections that were opened so far would have come one by one at the rate allowed.
    paced: Instant,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// It has as many connections as one address may.
    Connections,
    /// It opened as many of late as one address may.
    Rate,
}

/// Addresses of clients that have connections, or had some a moment ago.
#[derive(Debug)]
pub(crate) struct Clients {
    clients: Slab<Client>,
    by_key: HashMap<Key, u32, ahash::RandomState>,
    /// Where the search for those that can be forgotten goes on.
    hand: usize,
}

impl Clients {
    pub(crate) fn new(hasher: ahash::RandomState) -> Self {
        Clients {
            clients: Slab::new(),
            by_key: HashMap::with_hasher(hasher),
            hand: 0,
        }
    }

    /// Counts a new connection to a listener; what it is counted under has to be given to
    /// [`Self::closed`] at its end. `None` where it is not counted.
    pub(crate) fn opened(
        &mut self,
        number: u32,
        listener: &Listener,
        address: IpAddr,
        now: Instant,
    ) -> Result<Option<u32>, Excess> {
        let limited = listener.client_connections.is_some() || listener.client_rate.is_some();
        if !limited || listener.trusts(address) {
            return Ok(None);
        }
        let key = Key {
            listener: number,
            address: network(address),
        };
        let place = self.place_of(key, now);
        let client = place.and_then(|place| self.clients.get_mut(place as usize));
        let (Some(place), Some(client)) = (place, client) else {
            return Ok(None);
        };
        let most = listener.client_connections;
        if most.is_some_and(|most| client.connections >= most) {
            return Err(Excess::Connections);
        }
        if let Some(rate) = listener.client_rate {
            // As a bucket that holds two seconds' worth.
            let apart = SECOND / u64::from(rate.max(1));
            let next = client.paced.max(now).as_nanos() + apart;
            if next > now.as_nanos() + 2 * SECOND {
                return Err(Excess::Rate);
            }
            client.paced = Instant::from_nanos(next);
        }
        client.connections += 1;
        Ok(Some(place))
    }

    /// A connection is over.
    pub(crate) fn closed(&mut self, place: u32) {
        if let Some(client) = self.clients.get_mut(place as usize) {
            client.connections = client.connections.saturating_sub(1);
        }
    }

    fn place_of(&mut self, key: Key, now: Instant) -> Option<u32> {
        if let Some(&place) = self.by_key.get(&key) {
            return Some(place);
        }
        self.sweep(now);
        if self.clients.len() >= MOST {
            return None;
        }
        let place = self.clients.insert(Client {
            key,
            connections: 0,
            paced: now,
        }) as u32;
        self.by_key.insert(key, place);
        Some(place)
    }

    /// Forgets addresses about which there is nothing to remember, some at a time.
    fn sweep(&mut self, now: Instant) {
        for _ in 0..SWEEP {
            if let Some(client) = self.clients.get(self.hand)
                && client.connections == 0
                && client.paced <= now
            {
                self.by_key.remove(&client.key);
                self.clients.remove(self.hand);
            }
            self.hand = (self.hand + 1) % self.clients.capacity().max(1);
        }
    }
}

fn network(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}
