//! Flows that we open.

use std::net::{IpAddr, SocketAddr};

use super::{Buffers, ConnectError, EPHEMERAL, Owner, PORT_TRIES, Stack};
use crate::fate::StackEvent;
use crate::io::PacketIo;
use crate::key::{FlowId, FlowKey};
use crate::neighbour::Reason;
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
        if self.keys.len() >= self.limits.flows {
            self.stats.events.count(StackEvent::FlowsFull);
            return Err(ConnectError::FlowsFull);
        }
        let link = self
            .ports
            .get(usize::from(port))
            .ok_or(ConnectError::NoRoute)?;
        let next_hop = link.next_hop(remote.ip());
        let next_hop = next_hop.ok_or(ConnectError::NoRoute)?;
        let mtu = link.caps.mtu;
        let key = self.unused_key(port, next_hop, remote)?;
        let neighbour = self
            .neighbour(usize::from(port), &key, Reason::Ours, now)
            .ok_or(ConnectError::NeighboursFull)?;
        let start = self.isn.start(&key, now);
        let mut tcp = Tcp::connect(start, buffers, self.limits.terms(), key.is_v4(), mtu, now);
        self.follow_path(&key, &mut tcp);
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

    /// A source address and port that are free, and such that the answers are this worker's: ports from a
    /// random one on (RFC 6056, algorithm 1), the port's addresses in their order. The first is all but
    /// used up before the next is taken, so that peers see one as long as one is enough.
    fn unused_key(
        &mut self,
        port: u8,
        next_hop: IpAddr,
        remote: SocketAddr,
    ) -> Result<FlowKey, ConnectError> {
        let span = u32::from(EPHEMERAL.end - EPHEMERAL.start);
        let start = self.rng.below(u64::from(span)) as u32;
        let link = &self.ports[usize::from(port)];
        let mut routed = false;
        for tries in PORT_TRIES {
            for source in link.sources_for(next_hop) {
                routed = true;
                let free = (0..tries * u32::from(self.workers()))
                    .map(|i| EPHEMERAL.start + ((start + i) % span) as u16)
                    .map(|local| FlowKey::new(port, SocketAddr::new(source, local), remote))
                    .find(|key| {
                        self.elsewhere(key).is_none()
                            && self.keys.find(&self.slots, key).is_none()
                            && self.time_wait.get(key).is_none()
                    });
                if let Some(key) = free {
                    return Ok(key);
                }
            }
        }
        if !routed {
            return Err(ConnectError::NoRoute);
        }
        self.stats.events.count(StackEvent::PortsExhausted);
        Err(ConnectError::PortsExhausted)
    }
}
