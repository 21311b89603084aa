//! A client's connection: reads request heads, has each request served, answers what is refused.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use arrayvec::ArrayVec;
use sluice_policy::rules::ProxyProtocol;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{FlowId, Phase};
use sluice_wire::http1::{
    BodyFraming, Limits, MethodKind, Request, Version, needs_parse, parse_request,
    write_local_reply,
};
use sluice_wire::proxy_protocol;

use crate::chain::{self, Verdict};
use crate::ended::Notes;
use crate::exchange::{Begun, Exchange};
use crate::forwarding::{Provenance, Sender, encode};
use crate::reply::LocalReply;
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
    /// The address and port of who connected, or for whom a PROXY header says that it did.
    pub(crate) peer: SocketAddr,
    /// The peer's address as text, for `X-Forwarded-For`.
    pub(crate) client: ArrayVec<u8, 45>,
    /// The address that the peer connected to.
    pub(crate) local: SocketAddr,
    /// A PROXY header has still to come.
    pub(crate) awaits_proxy: bool,
    pub(crate) exchange: Option<u32>,
    /// A connection to an endpoint that serves this connection alone, while it has nothing to do.
    pub(crate) kept: Option<u32>,
    /// Bounds of heads, as of the request that was begun last.
    pub(crate) limits: Limits,
    /// Requests that were begun.
    requests: u32,
    /// Bytes of the next head that have been looked at.
    seen: usize,
    /// When it began to wait for a head, or for the rest of one.
    waiting_since: Instant,
    /// No request has come on it yet.
    fresh: bool,
    /// The end of a head or local reply that did not fit into the send queue.
    backlog: Vec<u8>,
    /// To be closed when the backlog is sent.
    closing: bool,
    deadline: Instant,
}

/// How the gateway's own answer is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplyForm {
    /// Without a body: it answers HEAD.
    pub(crate) head_only: bool,
    /// The connection stays open.
    pub(crate) keep: bool,
    /// The client's version.
    pub(crate) version: Version,
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
        if connections >= limit || self.draining {
            self.stats.events.count(EngineEvent::DownstreamRefused);
            self.stack.abort(flow, now);
            return;
        }
        if untrusted(key.remote().ip()) {
            self.stats.events.count(EngineEvent::DownstreamUntrusted);
            self.stack.abort(flow, now);
            return;
        }
        let number = self.downs.insert(Downstream {
            flow,
            listener,
            peer: key.remote(),
            client: as_text(key.remote().ip()),
            local: key.local(),
            awaits_proxy: proxied,
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

    /// Reads the next request head and begins what it asks for.
    fn next_request(&mut self, number: u32, now: Instant) -> Step {
        let Some(listener) = self.downs.get(number as usize).map(|down| down.listener) else {
            return Step::Over;
        };
        let leaving = self.is_leaving(listener);
        let rules = self.generations.current();
        let own = rules.listener_rules(listener);
        let Some(down) = self.downs.get_mut(number as usize) else {
            return Step::Over;
        };
        let view = self.stack.view(down.flow);
        if view.readable == 0 {
            if view.finished || leaving {
                self.close_downstream(number, now);
                return Step::Over;
            }
            return Step::Wait;
        }
        if down.awaits_proxy {
            return self.proxy_header(number, view.finished, now);
        }
        if let Some(own) = own {
            down.limits = own.limits;
        }
        let limits = down.limits;
        let buffer = self
            .stack
            .front(down.flow, limits.head + 2, &mut self.spare.linear);
        if !needs_parse(buffer, down.seen, &limits) {
            return self.incomplete(number, view.finished, now);
        }
        let request = match parse_request(buffer, &limits, &mut self.index) {
            Ok(Some(request)) => request,
            Ok(None) => {
                if down.seen == 0 {
                    down.waiting_since = now;
                }
                down.seen = buffer.len();
                return self.incomplete(number, view.finished, now);
            }
            Err(error) => {
                return self.refuse(number, error.status(), &error.to_string(), now);
            }
        };
        let begun = down.head_begun(now);
        down.seen = 0;
        down.fresh = false;
        down.requests = down.requests.saturating_add(1);
        let spent = own.is_some_and(|own| down.requests >= own.max_requests);
        if spent {
            self.stats.events.count(EngineEvent::DownstreamSpent);
        }
        let verdict = match rules.listener(listener) {
            Some(listener) => chain::on_request(&rules.snapshot, listener, &request),
            // The rules no longer have this listener, nor routes for it.
            None => Verdict::Reply(LocalReply::NO_ROUTE),
        };
        let route = match &verdict {
            Verdict::Forward(route, _) => Some(*route),
            Verdict::Reply(_) => None,
        };
        let peer = down.peer.ip();
        let provenance = own.map(|own| Provenance::of(&request, peer, own, &mut self.rng));
        let mut notes = Notes::new(begun, request.head_len);
        notes.head = now;
        notes.record = self.recorder.of_head(
            self.handoff.access_log(),
            &rules.snapshot,
            (rules.listener(listener), down.peer),
            &request,
            route,
        );
        if let (Some(record), Some(provenance)) = (&mut notes.record, &provenance)
            && own.is_some_and(|own| own.request_id)
        {
            record.set_request_id(&provenance.id());
        }
        match verdict {
            Verdict::Reply(reply) => {
                let keep = request.keep_alive && no_body(&request) && !leaving && !spent;
                let head_only = request.method_kind() == MethodKind::Head;
                let (version, head_len) = (request.version, request.head_len);
                let flow = down.flow;
                self.stack.consume(flow, head_len);
                let form = ReplyForm {
                    head_only,
                    keep,
                    version,
                };
                self.reply(number, reply, form, notes, now)
            }
            Verdict::Forward(route, most) => {
                let (Some(listener), Some(service), Some(provenance)) =
                    (own, rules.snapshot.service(route.service), provenance)
                else {
                    // Rules that route a request have both.
                    self.close_downstream(number, now);
                    return Step::Over;
                };
                let sender = Sender {
                    node: &rules.snapshot.node.name,
                    listener,
                    service,
                    route,
                    peer,
                    peer_text: &down.client,
                    provenance: &provenance,
                };
                self.spare.out.clear();
                encode(&mut self.spare.out, &request, &sender);
                let mut exchange = Exchange::new(number, route, &request, notes, now);
                exchange.promise(&request, service, most, spent, provenance);
                let begun = self.begin(exchange, now);
                if let (Begun::Ready(exchange), Some(down)) =
                    (begun, self.downs.get_mut(number as usize))
                {
                    down.exchange = Some(exchange);
                    return self.send_encoded(exchange, now);
                }
                begun.step()
            }
        }
    }

    /// A head that is not complete; the client may have given up on it.
    fn incomplete(&mut self, number: u32, finished: bool, now: Instant) -> Step {
        if finished {
            let notes = self.notes_of_unread(number, now);
            self.request_ended(notes, RequestFate::ClientGone, 0, now);
            self.close_downstream(number, now);
            return Step::Over;
        }
        Step::Wait
    }

    /// Encodes the request at the front of a connection once more, its exchange having waited for
    /// an upstream connection; false if it is not there (which nothing should bring about).
    pub(crate) fn encode_again(&mut self, number: u32, exchange: u32) -> bool {
        let (Some(down), Some(exchange)) = (
            self.downs.get(number as usize),
            self.exchanges.get(exchange as usize),
        ) else {
            return false;
        };
        let generations = &self.generations;
        let (Some(rules), Some(route), Some(service)) = (
            generations.get(exchange.generation),
            exchange.route(generations),
            exchange.service(generations),
        ) else {
            return false;
        };
        let (Some(listener), Some(provenance)) =
            (rules.listener_rules(down.listener), &exchange.provenance)
        else {
            return false;
        };
        let buffer = self
            .stack
            .front(down.flow, down.limits.head + 2, &mut self.spare.linear);
        let Ok(Some(request)) = parse_request(buffer, &down.limits, &mut self.index) else {
            return false;
        };
        let sender = Sender {
            node: &rules.snapshot.node.name,
            listener,
            service,
            route,
            peer: down.peer.ip(),
            peer_text: &down.client,
            provenance,
        };
        self.spare.out.clear();
        if let Some(version) = service.proxy_protocol {
            let version = match version {
                ProxyProtocol::V1 => proxy_protocol::Version::V1,
                ProxyProtocol::V2 => proxy_protocol::Version::V2,
            };
            proxy_protocol::write(&mut self.spare.out, version, down.peer, down.local);
        }
        encode(&mut self.spare.out, &request, &sender);
        true
    }

    /// Answers with an error of the parser's and closes: what follows can't be understood.
    fn refuse(&mut self, number: u32, status: u16, text: &str, now: Instant) -> Step {
        let mut notes = self.notes_of_unread(number, now);
        self.spare.out.clear();
        write_local_reply(
            &mut self.spare.out,
            status,
            text,
            false,
            true,
            Version::Http11,
            self.date.value(),
        );
        notes.bytes_out = self.spare.out.len() as u64;
        self.request_ended(notes, RequestFate::of_refusal(status), status, now);
        self.send_to_client(number);
        self.close_downstream(number, now);
        Step::Over
    }

    /// Gives the gateway's own answer. The request's head must have been consumed.
    pub(crate) fn reply(
        &mut self,
        number: u32,
        reply: LocalReply,
        form: ReplyForm,
        mut notes: Notes,
        now: Instant,
    ) -> Step {
        let ReplyForm {
            head_only,
            keep,
            version,
        } = form;
        self.spare.out.clear();
        write_local_reply(
            &mut self.spare.out,
            reply.status,
            reply.text,
            head_only,
            !keep,
            version,
            self.date.value(),
        );
        notes.bytes_out += self.spare.out.len() as u64;
        self.request_ended(notes, reply.fate, reply.status, now);
        self.send_to_client(number);
        if !keep {
            self.close_downstream(number, now);
            return Step::Over;
        }
        if let Some(down) = self.downs.get_mut(number as usize) {
            down.waiting_since = now;
        }
        Step::Again
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
            down.closing = true;
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

    fn forget_downstream(&mut self, number: u32, now: Instant) {
        let Some(down) = self.downs.try_remove(number as usize) else {
            return;
        };
        self.down_timers.cancel(number);
        if let Some(kept) = down.kept {
            self.close_upstream(kept, false, now);
        }
        if let Some(connections) = self.connections.get_mut(down.listener as usize) {
            *connections = connections.saturating_sub(1);
        }
        self.stats.events.count(EngineEvent::DownstreamClosed);
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
                let since = if down.closing {
                    now
                } else {
                    down.waiting_since
                };
                since + wait
            }
        };
        if let Some(down) = self.downs.get_mut(number as usize) {
            down.deadline = deadline;
        }
        self.down_timers.set(number, deadline);
    }

    /// The idle and the head timeout of a listener.
    fn waits(&self, listener: u32) -> (Duration, Duration) {
        self.generations
            .current()
            .listener_rules(listener)
            .map_or((LEAVING_TIMEOUT, LEAVING_TIMEOUT), |l| {
                (l.idle_timeout, l.head_timeout)
            })
    }

    /// The timer of a client's connection has fired.
    pub(crate) fn downstream_due(&mut self, number: u32, now: Instant) {
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
            self.stats.events.count(EngineEvent::DownstreamIdle);
            self.close_downstream(number, now);
        }
    }
}

/// An address as text.
pub(crate) fn as_text(address: IpAddr) -> ArrayVec<u8, 45> {
    let mut text = ArrayVec::new();
    // There is room for the longest.
    let _ = write!(text, "{address}");
    text
}

/// Whether nothing follows the head.
pub(crate) fn no_body(request: &Request<'_>) -> bool {
    matches!(request.framing, BodyFraming::None | BodyFraming::Length(0))
}
