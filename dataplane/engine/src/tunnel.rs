//! A connection after an upgrade (RFC 9110 section 7.8): bytes both ways as they come, until both
//! sides have ended.

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{FlowId, Phase, Stack};

use crate::downstream::Step;
use crate::stats::RequestFate;
use crate::worker::Worker;

/// How far the two directions are.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tunnel {
    client_ended: bool,
    service_ended: bool,
}

impl<P: PacketIo> Worker<P> {
    /// Moves what can be moved both ways, and passes ends on.
    pub(crate) fn forward_tunnel(&mut self, number: u32, now: Instant) -> Step {
        let Some(exchange) = self.exchanges.get_mut(number as usize) else {
            return Step::Over;
        };
        let (Some(upstream), Some(down), Some(tunnel)) = (
            exchange.up.and_then(|up| self.ups.get(up as usize)),
            self.downs.get(exchange.down as usize),
            exchange.tunnel.as_mut(),
        ) else {
            return Step::Wait;
        };
        let (client, service) = (down.flow, upstream.flow);
        let reset = self.stack.view(service).phase == Phase::Closed;
        let mut sent = 0;
        if upstream.backlog.is_empty() {
            sent = pour(&mut self.stack, client, service, &mut tunnel.client_ended);
        }
        let mut received = 0;
        if !down.has_backlog() {
            received = pour(&mut self.stack, service, client, &mut tunnel.service_ended);
        }
        let over = tunnel.client_ended && tunnel.service_ended;
        exchange.note_tunnelled(sent, received);
        if sent + received > 0 {
            exchange.progress = now;
        }
        if over {
            return self.end_tunnel(number, RequestFate::Tunnelled, now);
        }
        if reset {
            // What was cut off was not all: the client has to know.
            let down = exchange.down;
            self.abort_downstream(down, RequestFate::Tunnelled, now);
            return Step::Over;
        }
        Step::Wait
    }

    /// Ends both connections of a tunnel behind what is queued.
    pub(crate) fn end_tunnel(&mut self, number: u32, fate: RequestFate, now: Instant) -> Step {
        let Some(exchange) = self.exchanges.get_mut(number as usize) else {
            return Step::Over;
        };
        let down = exchange.down;
        if let Some(up) = exchange.up.take() {
            self.close_upstream(up, false, now);
        }
        self.drop_exchange(number, fate, now);
        self.exchange_over(down, now);
        self.close_downstream(down, now);
        Step::Over
    }
}

/// Moves bytes one way, and the end behind the last of them.
fn pour<P: PacketIo>(stack: &mut Stack<P>, from: FlowId, to: FlowId, ended: &mut bool) -> usize {
    let source = stack.view(from);
    let moved = if source.readable > 0 {
        stack.splice(from, to, source.readable)
    } else {
        0
    };
    let over = source.finished && source.phase != Phase::Closed || *ended;
    if over && !*ended && moved == source.readable {
        stack.finish_sending(to);
        *ended = true;
    }
    moved
}
