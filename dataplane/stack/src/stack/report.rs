//! The flows as an operator sees them.

use std::time::Duration;

use super::{Flow, Owner, Stack};
use crate::io::PacketIo;
use crate::key::FlowKey;
use crate::tcp::{Rtt, State};
use crate::time::Instant;

/// How a flow stands and what it has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowInfo {
    /// Its place in the flow table.
    pub slot: u32,
    /// Its port and two ends.
    pub key: FlowKey,
    /// Whom it belongs to; `None` once its user has let go of it and it only remains to be closed.
    pub owner: Option<Owner>,
    /// Its state by RFC 9293 3.3.2, as `ESTABLISHED`.
    pub state: &'static str,
    /// Since it came about: our SYN, or the ACK of our SYN-ACK.
    pub age: Duration,
    /// Since the last segment, either way.
    pub idle: Duration,
    /// Bytes of payload received, those that came more than once included.
    pub received: u64,
    /// Bytes sent, each counted once.
    pub sent: u64,
    /// Bytes received that wait to be read.
    pub receive_queue: usize,
    /// Bytes that wait to be sent or acknowledged.
    pub send_queue: usize,
    /// How long the peer takes to acknowledge; `None` before it first did.
    pub rtt: Option<Rtt>,
    /// Segments sent again.
    pub retransmitted: u32,
}

impl<P: PacketIo> Stack<P> {
    /// The flows in `slots` places of the flow table, from place `from` on.
    pub fn flows(&self, from: u32, slots: usize, now: Instant) -> impl Iterator<Item = FlowInfo> {
        let from = self.slots.len().min(from as usize);
        let places = self.slots.iter().enumerate().skip(from).take(slots);
        places.filter_map(move |(place, slot)| {
            let flow = slot.flow.as_ref()?;
            Some(info(place as u32, flow, now))
        })
    }

    /// Of the flows in `slots` places from place `from` on, those that a port's newest steering leads to
    /// another worker: they are found by an older one.
    pub fn strays(&self, from: u32, slots: usize) -> u32 {
        let places = self.slots.iter().skip(from as usize).take(slots);
        let flows = places.filter_map(|slot| slot.flow.as_ref());
        let strays = flows.filter(|flow| self.elsewhere(&flow.key).is_some());
        strays.count() as u32
    }

    /// Places in the flow table, taken or free.
    pub fn flow_slots(&self) -> u32 {
        self.slots.len() as u32
    }
}

fn info(slot: u32, flow: &Flow, now: Instant) -> FlowInfo {
    let meter = flow.tcp.meter();
    FlowInfo {
        slot,
        key: flow.key,
        owner: flow.linger.is_none().then_some(flow.owner),
        state: name(flow.tcp.state()),
        age: meter.age(now),
        idle: meter.idle(now),
        received: meter.received,
        sent: meter.sent,
        receive_queue: flow.tcp.receive.ring.len(),
        send_queue: flow.tcp.send.queued(),
        rtt: flow.tcp.rtt(),
        retransmitted: meter.retransmitted,
    }
}

fn name(state: State) -> &'static str {
    match state {
        State::Closed => "CLOSED",
        State::SynSent => "SYN-SENT",
        State::SynReceived => "SYN-RECEIVED",
        State::Established => "ESTABLISHED",
        State::FinWait1 => "FIN-WAIT-1",
        State::FinWait2 => "FIN-WAIT-2",
        State::CloseWait => "CLOSE-WAIT",
        State::Closing => "CLOSING",
        State::LastAck => "LAST-ACK",
        State::TimeWait => "TIME-WAIT",
    }
}
