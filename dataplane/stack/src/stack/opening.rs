//! Flows that we open.

use std::net::SocketAddr;

use super::{Buffers, ConnectError, EPHEMERAL, Owner, PORT_TRIES, Stack};
use crate::fate::StackEvent;
use crate::io::PacketIo;
use crate::key::{FlowId, FlowKey};
use crate::tcp::Tcp;
use crate::time::Instant;

impl<P: PacketIo> Stack<P> {
    /// Opens a connection from port number `port` to `remote`. The flow is `Connecting` until the
    /// peer answers; the user is told by [`Self::next_ready`].
    pub fn connect(
        &mut self,
        port: u8,
        remote: SocketAddr,
        user: u32,
        buffers: Buffers,
        now: Instant,
    ) -> Result<FlowId, ConnectError> {
        if self.by_key.len() >= self.limits.flows {
            self.stats.events.count(StackEvent::FlowsFull);
            return Err(ConnectError::FlowsFull);
        }
        let link = self
            .ports
            .get(usize::from(port))
            .ok_or(ConnectError::NoRoute)?;
        let (mtu, next_hop) = (link.caps.mtu, link.next_hop(remote.ip()));
        let source = next_hop
            .and_then(|hop| link.source_for(hop))
            .ok_or(ConnectError::NoRoute)?;
        let key = self.unused_key(port, source, remote).ok_or_else(|| {
            self.stats.events.count(StackEvent::PortsExhausted);
            ConnectError::PortsExhausted
        })?;
        let neighbour = self
            .neighbour(usize::from(port), &key)
            .ok_or(ConnectError::NeighboursFull)?;
        let start = self.isn.start(&key, now);
        let tcp = Tcp::connect(start, buffers, key.is_v4(), mtu, now);
        let slot = self.insert(key, Owner::User(user), neighbour, tcp);
        self.stats.events.count(StackEvent::FlowConnecting);
        let entry = &mut self.slots[slot as usize];
        if let Some(flow) = &mut entry.flow {
            Self::mark_dirty(&mut self.dirty, &mut flow.dirty, slot);
        }
        let id = FlowId {
            slot,
            turn: entry.turn,
        };
        if let Some(link) = self.ports.get_mut(usize::from(port)) {
            link.neighbours.note_opening(neighbour, id, now);
        }
        Ok(id)
    }

    /// A source port that is free, starting from a random one (RFC 6056, algorithm 1).
    fn unused_key(
        &mut self,
        port: u8,
        source: std::net::IpAddr,
        remote: SocketAddr,
    ) -> Option<FlowKey> {
        let span = u32::from(EPHEMERAL.end - EPHEMERAL.start);
        let start = self.rng.below(u64::from(span)) as u32;
        (0..PORT_TRIES)
            .map(|i| EPHEMERAL.start + ((start + i) % span) as u16)
            .map(|local| FlowKey::new(port, SocketAddr::new(source, local), remote))
            .find(|key| !self.by_key.contains_key(key) && self.time_wait.get(key).is_none())
    }
}
