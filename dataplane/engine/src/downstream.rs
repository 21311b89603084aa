//! A client's connection: how it is taken, what it does next, how long it may wait, how it ends.

use std::net::SocketAddr;
use std::time::Duration;

use sluice_policy::Listener;
use sluice_policy::rules::ListenerProtocol;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{FlowId, Phase};
use sluice_wire::http1::{Limits, Version};

use crate::clients::Excess;
use crate::forwarding::{AddressText, as_text};
use crate::reply::{LocalReply, ReplyForm};
use crate::stats::{EngineEvent, RequestFate};
use crate::worker::{Role, Worker};

/// Requests of one connection served in a row before others get their turn (pipelining).
const REQUESTS_PER_TURN: usize = 16;

/// How long a connection of a listener that is gone may take to finish what it has begun, other than
/// a request under way.
const LEAVING_TIMEOUT: Duration = Duration::from_secs(10);

/// A client's connection.
pub(crate) struct Downstream {
    pub(crate) flow: FlowId,
    /// The worker's number of the listener that accepted it.
    pub(crate) listener: u32,
    /// What it is counted under for its client's address.
    pub(crate) counted: Option<u32>,
    pub(crate) opened: Instant,
    /// The address and port of who connected, or for whom a PROXY header says that it did.
    pub(crate) peer: SocketAddr,
    /// The peer's address as text, for `X-Forwarded-For`.
    pub(crate) client: AddressText,
    /// The address that the peer connected to.
    pub(crate) local: SocketAddr,
    /// What has to come before its first request.
    pub(crate) opening: Opening,
    pub(crate) exchange: Option<u32>,
    /// A connection to an endpoint that serves this connection alone, while it has nothing to do.
    pub(crate) kept: Option<u32>,
    /// Bounds of heads, as of the request that was begun last.
    pub(crate) limits: Limits,
    /// Requests that were begun.
    pub(crate) requests: u32,
    /// Bytes of the next head that have been looked at.
    pub(crate) seen: usize,
    /// When it began to wait for a head, or for the rest of one.
    pub(crate) waiting_since: Instant,
    /// No request has come on it yet.
    pub(crate) fresh: bool,
    /// The end of a head or local reply that did not fit into the send queue.
    backlog: Vec<u8>,
    /// To be closed when the backlog is sent.
    closing: bool,
    deadline: Instant,
}

/// What a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// A PROXY header.
    ProxyHeader,
    /// Bytes that tell which protocol it speaks.
    Protocol,
    /// It is over: HTTP is spoken.
    Http,
}

impl Opening {
    /// Of a connection to this listener, its PROXY header aside.
    pub(crate) fn of(protocol: ListenerProtocol) -> Self {
        match protocol {
            ListenerProtocol::Http => Opening::Http,
            _ => Opening::Protocol,
        }
    }
}

/// How to go on with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There may be more to do at once.
    Again,
    /// Nothing more until something happens.
    Wait,
    /// The connection is gone.
    Over,
}

impl Downstream {
    /// Whether something written earlier has still to go to the send queue.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Reads something of every line of memory it takes.
    #[inline]
    pub(crate) fn touch(&self) -> u64 {
        let ports = self.peer.port() ^ self.local.port();
        let text = self.client.as_bytes().first().copied().unwrap_or(0);
        let sizes = self.limits.head ^ self.seen ^ self.backlog.len();
        self.deadline.as_nanos() ^ u64::from(ports) ^ u64::from(text) ^ sizes as u64
    }

    /// Whether it has taken requests for as long as its listener allows.
    #[inline]
    pub(crate) fn is_aged(&self, rules: &Listener, now: Instant) -> bool {
        rules
            .lifetime
            .is_some_and(|lifetime| now >= self.opened + lifetime)
    }

    /// When the head began that is there by `now`, or a part of it.
    #[inline]
    pub(crate) fn head_begun(&self, now: Instant) -> Instant {
        if self.seen > 0 {
            self.waiting_since
        } else {
            now
        }
    }
}

impl<P: PacketIo> Worker<P> {
    /// Takes a connection that a client has opened.
    pub(crate) fn accept(&mut self, flow: FlowId, listener: u32, now: Instant) {
        let rules = self.generations.current().listener_rules(listener);
        let limit = rules.map(|listener| listener.max_connections);
        let proxied = rules.is_some_and(|listener| listener.proxy_protocol);
        let opening = match rules {
            Some(_) if proxied => Opening::ProxyHeader,
            Some(listener) => Opening::of(listener.protocol),
            None => Opening::Http,
        };
        let limits = rules.map(|listener| listener.limits).unwrap_or_default();
        let untrusted = |peer| {
            rules.is_some_and(|rules| proxied && !rules.trust.is_empty() && !rules.trusts(peer))
        };
        let connections = self
            .connections
            .get(listener as usize)
            .copied()
            .unwrap_or(0);
        let (Some(limit), Some(key)) = (limit, self.stack.key(flow)) else {
            self.stats.events.count(EngineEvent::DownstreamRefused);
            self.stack.abort(flow, now);
            return;
        };
        if connections >= self.share(limit) || self.draining {
            self.stats.events.count(EngineEvent::DownstreamRefused);
            self.stack.abort(flow, now);
            return;
        }
        if untrusted(key.remote().ip()) {
            self.stats.events.count(EngineEvent::DownstreamUntrusted);
            self.stack.abort(flow, now);
            return;
        }
        let address = key.remote().ip();
        let opened = rules.map(|rules| self.clients.opened(listener, rules, address, now));
        let counted = match opened.unwrap_or(Ok(None)) {
            Ok(counted) => counted,
            Err(excess) => {
                self.stats.events.count(match excess {
                    Excess::Connections => EngineEvent::ClientConnections,
                    Excess::Rate => EngineEvent::ClientRate,
                });
                self.stack.abort(flow, now);
                return;
            }
        };
        let number = self.downs.insert(Downstream {
            flow,
            listener,
            counted,
            opened: now,
            peer: key.remote(),
            client: as_text(key.remote().ip()),
            local: key.local(),
            opening,
            exchange: None,
            kept: None,
            limits,
            requests: 0,
            seen: 0,
            waiting_since: now,
            fresh: true,
            backlog: Vec::new(),
            closing: false,
            deadline: Instant::NEVER,
        }) as u32;
        if let Some(connections) = self.connections.get_mut(listener as usize) {
            *connections += 1;
        }
        self.stack.adopt(flow, Role::Down(number).number());
        self.stats.events.count(EngineEvent::DownstreamOpened);
        self.drive_downstream(number, now);
    }

    /// Goes on with a client's connection as far as possible.
    pub(crate) fn drive_downstream(&mut self, number: u32, now: Instant) {
        for _ in 0..REQUESTS_PER_TURN {
            let Some(down) = self.downs.get_mut(number as usize) else {
                return;
            };
            let flow = down.flow;
            if self.stack.view(flow).phase == Phase::Closed {
                self.abort_downstream(number, RequestFate::ClientGone, now);
                return;
            }
            if !down.backlog.is_empty() {
                let sent = self.stack.write(flow, &down.backlog);
                down.backlog.drain(..sent);
                if !down.backlog.is_empty() {
                    self.arm(number, now);
                    return;
                }
            }
            if down.closing {
                self.close_downstream(number, now);
                return;
            }
            let step = match down.exchange {
                Some(exchange) => self.drive_exchange(exchange, now),
                None => self.next_request(number, now),
            };
            match step {
                Step::Again => {}
                Step::Wait => {
                    self.arm(number, now);
                    return;
                }
                Step::Over => return,
            }
        }
        if let Some(down) = self.downs.get(number as usize) {
            self.stack.wake(down.flow);
        }
    }

    /// Queues what stands in the scratch buffer, behind what waits already.
    pub(crate) fn send_to_client(&mut self, number: u32) {
        let Some(down) = self.downs.get_mut(number as usize) else {
            return;
        };
        let sent = if down.backlog.is_empty() {
            self.stack.write(down.flow, &self.spare.out)
        } else {
            0
        };
        if let Some(rest) = self.spare.out.get(sent..)
            && !rest.is_empty()
        {
            down.backlog.extend_from_slice(rest);
        }
    }

    /// Takes note that a client's exchange is over and the next head may come.
    pub(crate) fn exchange_over(&mut self, number: u32, now: Instant) {
        if let Some(down) = self.downs.get_mut(number as usize) {
            down.exchange = None;
            down.waiting_since = now;
            down.seen = 0;
        }
    }

    /// Closes a client's connection behind what is queued.
    pub(crate) fn close_downstream(&mut self, number: u32, now: Instant) {
        let Some(down) = self.downs.get_mut(number as usize) else {
            return;
        };
        if !down.backlog.is_empty() {
            if !down.closing {
                down.closing = true;
                down.waiting_since = now;
            }
            self.arm(number, now);
            return;
        }
        let flow = down.flow;
        self.stack.close(flow, now);
        self.forget_downstream(number, now);
    }

    /// Resets a client's connection and ends its exchange, or a head that has begun, with `fate`.
    pub(crate) fn abort_downstream(&mut self, number: u32, fate: RequestFate, now: Instant) {
        let Some(down) = self.downs.get(number as usize) else {
            return;
        };
        let (flow, exchange) = (down.flow, down.exchange);
        let begun = down.seen > 0 && !down.closing;
        self.stack.abort(flow, now);
        if let Some(exchange) = exchange {
            self.drop_exchange(exchange, fate, now);
        } else if begun {
            let notes = self.notes_of_unread(number, now);
            self.request_ended(notes, fate, 0, now);
        }
        self.forget_downstream(number, now);
    }

    pub(crate) fn forget_downstream(&mut self, number: u32, now: Instant) {
        let Some(down) = self.downs.try_remove(number as usize) else {
            return;
        };
        self.down_timers.cancel(number);
        if let Some(kept) = down.kept {
            self.close_upstream(kept, false, now);
        }
        self.uncount(down.listener, down.counted);
        self.stats.events.count(EngineEvent::DownstreamClosed);
    }

    /// A client's connection to a listener is over.
    pub(crate) fn uncount(&mut self, listener: u32, counted: Option<u32>) {
        if let Some(connections) = self.connections.get_mut(listener as usize) {
            *connections = connections.saturating_sub(1);
        }
        if let Some(counted) = counted {
            self.clients.closed(counted);
        }
    }

    /// Sets the deadline of what the connection waits for now.
    fn arm(&mut self, number: u32, now: Instant) {
        let Some(down) = self.downs.get(number as usize) else {
            return;
        };
        let deadline = match down.exchange {
            Some(exchange) => self.exchange_deadline(exchange, now),
            None => {
                let (idle, head) = self.waits(down.listener);
                let wait = if down.fresh || down.seen > 0 {
                    head
                } else {
                    idle
                };
                let rules = self.generations.current().listener_rules(down.listener);
                let end = rules.and_then(|rules| Some(down.opened + rules.lifetime?));
                let deadline = down.waiting_since + wait;
                match end {
                    // A head that has begun may come to its end.
                    Some(end) if down.seen == 0 && !down.closing => deadline.min(end.max(now)),
                    _ => deadline,
                }
            }
        };
        if let Some(down) = self.downs.get_mut(number as usize) {
            down.deadline = deadline;
        }
        self.down_timers.set(number, deadline);
    }

    /// The idle and the head timeout of a listener.
    pub(crate) fn waits(&self, listener: u32) -> (Duration, Duration) {
        self.generations
            .current()
            .listener_rules(listener)
            .map_or((LEAVING_TIMEOUT, LEAVING_TIMEOUT), |l| {
                (l.idle_timeout, l.head_timeout)
            })
    }

    /// The timer of a client's connection has fired.
    pub(crate) fn downstream_due(&mut self, number: u32, now: Instant) {
        #[cfg(test)]
        crate::contained::reach("due");
        let Some(down) = self.downs.get(number as usize) else {
            return;
        };
        if now < down.deadline {
            self.down_timers.set(number, down.deadline);
            return;
        }
        if let Some(exchange) = down.exchange {
            self.exchange_timeout(exchange, now);
            if self.downs.contains(number as usize) {
                self.drive_downstream(number, now);
            }
        } else if down.closing {
            self.abort_downstream(number, RequestFate::ClientStalled, now);
        } else if down.seen > 0 {
            let notes = self.notes_of_unread(number, now);
            let form = ReplyForm {
                head_only: false,
                keep: false,
                version: Version::Http11,
            };
            self.reply(number, LocalReply::HEAD_TIMEOUT, form, notes, now);
        } else {
            let (idle, head) = self.waits(down.listener);
            let wait = if down.fresh { head } else { idle };
            self.stats.events.count(if now < down.waiting_since + wait {
                EngineEvent::DownstreamAged
            } else {
                EngineEvent::DownstreamIdle
            });
            self.close_downstream(number, now);
        }
    }
}
