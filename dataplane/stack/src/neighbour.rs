//! One neighbour table per port: who has which IP address (ARP, RFC 826; neighbour discovery,
//! RFC 4861), and the few frames that wait for an answer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::io::TxMeta;
use crate::key::FlowId;
use crate::time::Instant;

/// Bound on the neighbours of a port. On-link peers only: those behind a router share the router's.
pub(crate) const MAX_NEIGHBOURS: usize = 4096;
/// Frames that wait for one neighbour: the SYNs of as many connections that begin at once. One that
/// is lost costs its connection a second.
const MAX_HELD: usize = 512;
/// Flows remembered for one neighbour while it is asked for; others find out by their own timeout.
const MAX_OPENING: usize = 1024;
/// Frames that wait on one port, for all neighbours together.
const MAX_HELD_TOTAL: usize = 4096;
/// How long an address is trusted without hearing from its owner.
const FRESH: Duration = Duration::from_secs(30);
/// Pause between two questions (RFC 4861 RETRANS_TIMER).
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Questions without an answer until the neighbour counts as gone (MAX_MULTICAST_SOLICIT).
const MAX_ASKED: u8 = 3;

/// Bytes of a port's neighbours and what waits for them at most, jumbo frames and all.
pub(crate) const MOST_BYTES: u64 = (MAX_NEIGHBOURS
    * (2 * size_of::<Neighbour>() + 4 * size_of::<(IpAddr, NeighbourRef)>() + 2 * MAX_OPENING)
    + MAX_HELD_TOTAL * (9_216 + 2 * size_of::<Held>())) as u64;

pub(crate) type Mac = [u8; 6];

/// Position of a neighbour in its port's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NeighbourRef(u16);

/// A frame that waits for its destination MAC; the first six bytes are filled in when it is known.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) frame: Vec<u8>,
    pub(crate) meta: TxMeta,
}

#[derive(Debug)]
struct Neighbour {
    address: IpAddr,
    mac: Option<Mac>,
    confirmed: Instant,
    asked_at: Option<Instant>,
    asked: u8,
    users: u32,
    held: Vec<Held>,
    /// Flows that wait for it to be opened.
    opening: Vec<FlowId>,
}

/// What to do with a frame for a neighbour.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Send it there.
    Mac(Mac),
    /// Hold it; nobody knows yet.
    Unknown,
}

/// The neighbours of one port.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    table: Vec<Neighbour>,
    by_address: HashMap<IpAddr, NeighbourRef>,
    /// Neighbours that are asked for and have not answered.
    asking: Vec<NeighbourRef>,
    /// Frames that wait, for whomever.
    held: usize,
}

impl Neighbours {
    /// The record of `address`, for a flow that will use it until it calls [`Self::release`];
    /// `None` when the table is full of neighbours in use.
    pub(crate) fn acquire(&mut self, address: IpAddr) -> Option<NeighbourRef> {
        let found = match self.by_address.get(&address) {
            Some(&found) => found,
            None => self.insert(address)?,
        };
        self.table[usize::from(found.0)].users += 1;
        Some(found)
    }

    pub(crate) fn release(&mut self, neighbour: NeighbourRef) {
        let record = &mut self.table[usize::from(neighbour.0)];
        record.users = record.users.saturating_sub(1);
    }

    fn insert(&mut self, address: IpAddr) -> Option<NeighbourRef> {
        let fresh = Neighbour {
            address,
            mac: None,
            confirmed: Instant::ZERO,
            asked_at: None,
            asked: 0,
            users: 0,
            held: Vec::new(),
            opening: Vec::new(),
        };
        let at = if self.table.len() < MAX_NEIGHBOURS {
            self.table.push(fresh);
            NeighbourRef((self.table.len() - 1) as u16)
        } else {
            // Full: replace one that nothing uses. A scan, but only for a newcomer on a full link.
            let at = self
                .table
                .iter()
                .position(|n| n.users == 0 && n.held.is_empty())?;
            self.by_address.remove(&self.table[at].address);
            self.asking.retain(|a| usize::from(a.0) != at);
            self.table[at] = fresh;
            NeighbourRef(at as u16)
        };
        self.by_address.insert(address, at);
        Some(at)
    }

    /// Where to send, and whether the neighbour should be asked for (again) now.
    #[inline]
    pub(crate) fn lookup(&mut self, neighbour: NeighbourRef, now: Instant) -> (Lookup, bool) {
        let record = &mut self.table[usize::from(neighbour.0)];
        if let Some(mac) = record.mac
            && now.nanos_since(record.confirmed) < FRESH.as_nanos() as u64
        {
            return (Lookup::Mac(mac), false);
        }
        // Its old address serves until it has failed to answer often enough.
        let ask = record.asked_at.is_none();
        if ask {
            Self::asked(record, now);
            self.asking.push(neighbour);
        }
        (record.mac.map_or(Lookup::Unknown, Lookup::Mac), ask)
    }

    /// Remembers that a flow is being opened by way of a neighbour that has still to answer: if it
    /// never does, the flow is stranded.
    pub(crate) fn note_opening(&mut self, neighbour: NeighbourRef, flow: FlowId, now: Instant) {
        let record = &mut self.table[usize::from(neighbour.0)];
        let fresh = record.mac.is_some() && now.since(record.confirmed) < FRESH;
        if !fresh && record.opening.len() < MAX_OPENING {
            record.opening.push(flow);
        }
    }

    fn asked(record: &mut Neighbour, now: Instant) {
        record.asked_at = Some(now);
        record.asked = record.asked.saturating_add(1);
    }

    /// Keeps a frame until the neighbour answers; false when as many as allowed wait already.
    pub(crate) fn hold(&mut self, neighbour: NeighbourRef, held: Held) -> bool {
        let waiting = &mut self.table[usize::from(neighbour.0)].held;
        let room = waiting.len() < MAX_HELD && self.held < MAX_HELD_TOTAL;
        if room {
            waiting.push(held);
            self.held += 1;
        }
        room
    }

    pub(crate) fn address(&self, neighbour: NeighbourRef) -> IpAddr {
        self.table[usize::from(neighbour.0)].address
    }

    /// Learns that `address` is at `mac`. With `create`, also when it was not asked for (its owner
    /// asks for us, so it is about to talk to us). Returns the frames that waited.
    pub(crate) fn learn(
        &mut self,
        address: IpAddr,
        mac: Mac,
        create: bool,
        now: Instant,
    ) -> Vec<Held> {
        let found = match self.by_address.get(&address) {
            Some(&found) => Some(found),
            None if create => self.insert(address),
            None => None,
        };
        let Some(found) = found else {
            return Vec::new();
        };
        let record = &mut self.table[usize::from(found.0)];
        if record.asked_at.is_some() {
            self.asking.retain(|a| *a != found);
        }
        record.mac = Some(mac);
        record.confirmed = now;
        record.asked_at = None;
        record.asked = 0;
        record.opening.clear();
        self.held -= record.held.len();
        std::mem::take(&mut record.held)
    }

    /// Neighbours to ask for again now, and the number of frames given up for those that were asked
    /// for often enough. Called about every [`ASK_EVERY`] while something is asked for.
    pub(crate) fn retry(&mut self, now: Instant) -> Retry {
        let mut retry = Retry::default();
        let (table, held) = (&mut self.table, &mut self.held);
        self.asking.retain(|&neighbour| {
            let record = &mut table[usize::from(neighbour.0)];
            if record.asked_at.is_some_and(|at| now.since(at) < ASK_EVERY) {
                return true;
            }
            if record.asked < MAX_ASKED {
                Self::asked(record, now);
                retry.ask.push(record.address);
                return true;
            }
            retry.failed += 1;
            retry.lost += record.held.len();
            *held -= record.held.len();
            record.held.clear();
            retry.stranded.append(&mut record.opening);
            record.mac = None;
            // The next frame for it asks anew.
            record.asked_at = None;
            record.asked = 0;
            false
        });
        retry
    }

    /// When [`Self::retry`] has something to do; `None` while every question is answered.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.asking
            .iter()
            .map(|n| {
                self.table[usize::from(n.0)]
                    .asked_at
                    .map_or(Instant::ZERO, |at| at + ASK_EVERY)
            })
            .min()
    }
}

/// What [`Neighbours::retry`] found.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    pub(crate) ask: Vec<IpAddr>,
    pub(crate) failed: usize,
    pub(crate) lost: usize,
    /// Flows that were being opened by way of a neighbour that never answered.
    pub(crate) stranded: Vec<FlowId>,
}
