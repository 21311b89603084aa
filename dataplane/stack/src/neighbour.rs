//! One neighbour table per port: who has which IP address (ARP, RFC 826; neighbour discovery,
//! RFC 4861), and the few frames that wait for an answer.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::io::TxMeta;
use crate::key::FlowId;
use crate::rate_limit::RateLimit;
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
/// Neighbours that are asked for at a time. Beyond, who is asked for next takes the place of who has been for
/// longest: whoever sends from addresses that nobody has must not use up the places of those who answer.
const MAX_ASKING: usize = MAX_NEIGHBOURS / 2;
/// How often in a second that is done for one who only sent something. Each is a question to the whole link.
const STRANGERS_PER_SECOND: u32 = 4_096;
/// Records looked at for one to replace when the table is full, from where the last look ended: a host that
/// floods the link with addresses must not have all of them looked at for each.
const LOOKED_AT: usize = 32;
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

/// A packet that waits for its destination's MAC.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) packet: Vec<u8>,
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

/// Why a neighbour is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// We have something to say to it.
    Ours,
    /// Something came that claims to be from it, or from behind it.
    Theirs,
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
#[derive(Debug)]
pub(crate) struct Neighbours {
    table: Vec<Neighbour>,
    by_address: HashMap<IpAddr, NeighbourRef>,
    /// Places of the table whose neighbour never answered.
    free: Vec<NeighbourRef>,
    /// Neighbours that are asked for and have not answered, the first of them first.
    asking: Vec<NeighbourRef>,
    strangers: RateLimit,
    /// Frames that waited for one whose place was taken, and have not been counted.
    displaced: usize,
    /// Frames that wait, for whomever.
    held: usize,
    /// Where the next look for a record to replace begins.
    hand: usize,
    /// No question is overdue before then.
    retry_at: Option<Instant>,
}

impl Default for Neighbours {
    fn default() -> Self {
        Neighbours {
            table: Vec::new(),
            by_address: HashMap::new(),
            free: Vec::new(),
            asking: Vec::new(),
            strangers: RateLimit::new(STRANGERS_PER_SECOND),
            displaced: 0,
            held: 0,
            hand: 0,
            retry_at: None,
        }
    }
}

impl Neighbours {
    /// The record of `address`, for a flow that will use it until it calls [`Self::release`];
    /// `None` when the table is full of neighbours in use, or of such that are asked for.
    pub(crate) fn acquire(
        &mut self,
        address: IpAddr,
        reason: Reason,
        now: Instant,
    ) -> Option<NeighbourRef> {
        let found = match self.by_address.get(&address) {
            Some(&found) => found,
            None => {
                let crowded = self.asking.len() >= MAX_ASKING;
                if crowded && reason == Reason::Theirs && !self.strangers.take(now) {
                    return None;
                }
                self.insert(address)?
            }
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
        let at = self.place()?;
        match self.table.get_mut(at) {
            Some(record) => *record = fresh,
            None => self.table.push(fresh),
        }
        let at = NeighbourRef(at as u16);
        self.by_address.insert(address, at);
        Some(at)
    }

    /// A place for another record.
    fn place(&mut self) -> Option<usize> {
        if let Some(free) = self.free.pop() {
            return Some(usize::from(free.0));
        }
        if self.asking.len() >= MAX_ASKING
            && let Some(at) = self.displace()
        {
            return Some(at);
        }
        if self.table.len() < MAX_NEIGHBOURS {
            return Some(self.table.len());
        }
        // Full: replace one that nothing uses.
        let at = (self.hand..self.hand + LOOKED_AT)
            .map(|at| at % MAX_NEIGHBOURS)
            .find(|&at| self.table[at].users == 0 && self.table[at].held.is_empty());
        self.hand = (at.unwrap_or(self.hand + LOOKED_AT - 1) + 1) % MAX_NEIGHBOURS;
        let at = at?;
        self.by_address.remove(&self.table[at].address);
        if self.table[at].asked_at.is_some() {
            self.asking.retain(|a| usize::from(a.0) != at);
        }
        Some(at)
    }

    /// The place of whoever has been asked for for longest, and was never there. What waits for it is lost.
    fn displace(&mut self) -> Option<usize> {
        let table = &mut self.table;
        let mut asking = self.asking.iter().take(LOOKED_AT);
        let stranger = asking.position(|at| {
            let record = &table[usize::from(at.0)];
            record.mac.is_none() && record.users == 0
        });
        let at = usize::from(self.asking.remove(stranger?).0);
        let record = &mut table[at];
        self.held -= record.held.len();
        self.displaced += record.held.len();
        self.by_address.remove(&record.address);
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
            self.retry_at.get_or_insert(now + ASK_EVERY);
        }
        (record.mac.map_or(Lookup::Unknown, Lookup::Mac), ask)
    }

    /// What was sent to it is not acknowledged: it may be elsewhere by now, as after a restart that gave it
    /// another MAC (RFC 1122 2.3.2.1, RFC 4861 7.3.1). True where it is to be asked for; not more often than
    /// it is asked anyhow. Its address serves until it has failed to answer often enough.
    pub(crate) fn suspect(&mut self, neighbour: NeighbourRef, now: Instant) -> bool {
        let record = &mut self.table[usize::from(neighbour.0)];
        let ask = record.asked_at.is_none() && now.since(record.confirmed) >= ASK_EVERY;
        if ask {
            Self::asked(record, now);
            self.asking.push(neighbour);
            self.retry_at.get_or_insert(now + ASK_EVERY);
        }
        ask
    }

    /// Remembers that a flow is being opened by way of a neighbour that has still to answer: if it
    /// never does, the flow is stranded.
    pub(crate) fn note_opening(&mut self, neighbour: NeighbourRef, flow: FlowId, now: Instant) {
        let record = &mut self.table[usize::from(neighbour.0)];
        let known = record.mac.is_some() && record.asked_at.is_none();
        let fresh = known && now.since(record.confirmed) < FRESH;
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

    /// Flows that go by any of them.
    pub(crate) fn users(&self) -> u64 {
        self.table
            .iter()
            .map(|record| u64::from(record.users))
            .sum()
    }

    /// Whether frames for a neighbour go out at once.
    pub(crate) fn is_known(&self, neighbour: NeighbourRef) -> bool {
        self.table[usize::from(neighbour.0)].mac.is_some()
    }

    /// Frames that wait for any of them.
    pub(crate) fn waiting(&self) -> usize {
        self.held
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
        let mut retry = Retry {
            lost: std::mem::take(&mut self.displaced),
            ..Retry::default()
        };
        let (table, held) = (&mut self.table, &mut self.held);
        let (by_address, free) = (&mut self.by_address, &mut self.free);
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
            if record.users == 0 {
                by_address.remove(&record.address);
                free.push(neighbour);
            }
            false
        });
        let due = self
            .asking
            .iter()
            .filter_map(|n| table[usize::from(n.0)].asked_at);
        self.retry_at = due.min().map(|at| at + ASK_EVERY);
        retry
    }

    /// When [`Self::retry`] may have something to do; `None` while every question is answered.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.retry_at.filter(|_| !self.asking.is_empty())
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
