//! How long an exchange may wait for what, and what becomes of it then.

use std::time::Duration;

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;

use crate::body::FRAMING_ROOM;
use crate::downstream::Downstream;
use crate::exchange::Exchange;
use crate::reply::LocalReply;
use crate::stats::RequestFate;
use crate::worker::Worker;

/// How fast the client sends a body, seen through windows of time.
pub(crate) struct Upload {
    /// When the present window began.
    since: Instant,
    /// Bytes that had come by then.
    had: u64,
    /// The service takes no more at present, which is not the client's fault.
    blocked: bool,
}

impl<P: PacketIo> Worker<P> {
    /// When an exchange has to be looked at again: it has waited long enough for what it waits for, or a
    /// body of it goes on.
    pub(crate) fn exchange_deadline(&self, number: u32, now: Instant) -> Instant {
        let patience = self.exchange_patience(number, now);
        let exchange = self.exchanges.get(number as usize);
        match exchange.and_then(Exchange::resumes) {
            Some(resumes) => resumes.min(patience),
            None => patience,
        }
    }

    /// When an exchange has waited long enough for what it waits for.
    fn exchange_patience(&self, number: u32, now: Instant) -> Instant {
        let Some(exchange) = self.exchanges.get(number as usize) else {
            return now;
        };
        let (Some(service), Some(route)) = (
            exchange.service(&self.generations),
            exchange.route(&self.generations),
        ) else {
            return now;
        };
        if exchange.tunnel.is_some() {
            return exchange.progress + service.tunnel_timeout;
        }
        let whole = route.request_timeout.unwrap_or(service.request_timeout);
        let end = exchange.notes.begun + whole;
        if let Some(until) = exchange.held_until() {
            return until.min(end);
        }
        let listener = self.downs.get(exchange.down as usize).map(|d| d.listener);
        let own = self
            .generations
            .get(exchange.generation)
            .and_then(|rules| rules.listener_rules(listener?));
        let idle = own.map_or(Duration::ZERO, |own| own.idle_timeout);
        let step = if !exchange.sent {
            exchange.progress + service.connect_timeout
        } else if exchange.awaits_client() {
            let window = own.map_or(Duration::ZERO, |own| own.body_timeout);
            exchange.upload.since + window
        } else if exchange.request.is_done() && exchange.response.is_none() {
            let own = route.response_timeout;
            exchange.progress + own.unwrap_or(service.response_timeout)
        } else {
            exchange.progress + idle
        };
        step.min(end)
    }

    /// The deadline of an exchange is there: what it does next is to be looked at, or it has waited too
    /// long.
    pub(crate) fn exchange_timeout(&mut self, number: u32, now: Instant) {
        let Some(exchange) = self.exchanges.get(number as usize) else {
            return;
        };
        if exchange.resumes().is_some() && now < self.exchange_patience(number, now) {
            return;
        }
        if exchange.tunnel.is_some() {
            self.end_tunnel(number, RequestFate::TunnelIdle, now);
            return;
        }
        let own = exchange
            .route(&self.generations)
            .and_then(|route| route.request_timeout);
        let whole = own
            .or_else(|| Some(exchange.service(&self.generations)?.request_timeout))
            .unwrap_or(Duration::ZERO);
        let down = self.downs.get(exchange.down as usize);
        if now >= exchange.notes.begun + whole {
            let reply = LocalReply::REQUEST_TIMEOUT;
            self.refuse_body(number, reply, RequestFate::RequestTimeout, now);
        } else if exchange.held.is_some() {
            self.let_go(number, now);
        } else if !exchange.sent {
            self.connect_failed(number, LocalReply::CONNECT_TIMEOUT, now);
        } else if exchange.awaits_client() {
            let reply = LocalReply::BODY_TIMEOUT;
            self.refuse_body(number, reply, RequestFate::BodyTimeout, now);
        } else if exchange.response.is_some() || !exchange.request.is_done() {
            let full = |down: &Downstream| {
                down.has_backlog() || self.stack.view(down.flow).writable < FRAMING_ROOM
            };
            let fate = if exchange.response.is_some() && down.is_some_and(full) {
                RequestFate::ClientStalled
            } else {
                RequestFate::Stalled
            };
            self.cut_off(number, fate, now);
        } else {
            self.fail(number, LocalReply::RESPONSE_TIMEOUT, now);
        }
    }
}

impl Exchange {
    /// When a body that rests for a drill goes on.
    #[inline]
    fn resumes(&self) -> Option<Instant> {
        self.paced?;
        let response = self.response.as_ref();
        let response = response.and_then(|response| response.body.resumes());
        match (self.request.resumes(), response) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Whether more of the request's body is to come from the client, and the service would take it.
    fn awaits_client(&self) -> bool {
        !self.request.is_done() && !self.upload.blocked
    }
}

impl Upload {
    /// Of a body that begins now.
    pub(crate) fn new(now: Instant) -> Self {
        Upload {
            since: now,
            had: 0,
            blocked: true,
        }
    }

    /// Takes note that so many bytes have come by now. A window ends with `least` more bytes, or
    /// begins anew when the service takes bytes again.
    pub(crate) fn note(&mut self, taken: u64, least: u64, blocked: bool, now: Instant) {
        let freed = self.blocked && !blocked;
        self.blocked = blocked;
        if freed || taken.saturating_sub(self.had) >= least {
            self.since = now;
            self.had = taken;
        }
    }
}
