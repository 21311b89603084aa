//! A request and its answer. Its life is its own: it uses a client's connection and one to an
//! endpoint, and either may go on without it. `exchange/ends.rs` has the ways in which it ends before its time,
//! `exchange/holding.rs` those that are held for a drill.

mod ends;
mod holding;

use sluice_policy::{LaneId, Route, RouteId, Service, ServiceId};
use sluice_stack::Phase;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::http1::{BodyFraming, MethodKind, Request, RequestKind, Version};

use crate::answer::Response;
use crate::body::{BodyPump, FRAMING_ROOM, PumpError, Pumped};
use crate::chain::Slow;
use crate::downstream::Step;
use crate::ended::Notes;
use crate::forwarding::{Provenance, protocol};
use crate::generations::Generations;
use crate::heads::no_body;
use crate::pace::Paced;
use crate::reply::LocalReply;
use crate::stats::{EngineEvent, RequestFate};
use crate::tunnel::Tunnel;
use crate::waits::Upload;
use crate::worker::Worker;
pub(crate) use holding::Early;
use holding::Held;

/// Endpoints tried for one request.
pub(crate) const MAX_CONNECTS: u32 = 3;

/// A request under way.
pub(crate) struct Exchange {
    pub(crate) down: u32,
    pub(crate) up: Option<u32>,
    /// The rules it began under.
    pub(crate) generation: usize,
    pub(crate) route: RouteId,
    /// Who answers it; a fallback if the first could not be had.
    pub(crate) service: ServiceId,
    pub(crate) lane: Option<LaneId>,
    /// It waits for its time before it goes on.
    pub(crate) held: Option<Held>,
    pub(crate) kind: RequestKind,
    pub(crate) version: Version,
    /// The client would keep its connection.
    pub(crate) keep_alive: bool,
    /// Bytes of the request's head at the front of the client's receive buffer. A request without
    /// a body leaves it there until the answer begins, so that it can be sent again.
    pub(crate) head_len: usize,
    pub(crate) bodiless: bool,
    /// The method may be repeated without harm (RFC 9110 9.2.2).
    pub(crate) idempotent: bool,
    /// Its head has gone to `up`.
    pub(crate) sent: bool,
    pub(crate) connects: u32,
    pub(crate) retried: bool,
    pub(crate) request: BodyPump,
    /// Its bodies go on slowly.
    pub(crate) paced: Option<Paced>,
    pub(crate) response: Option<Response>,
    /// Interim answers (1xx) that have come.
    pub(crate) interim: u32,
    /// Whose it is, and the names it goes under.
    pub(crate) provenance: Option<Provenance>,
    /// The client understands trailers.
    pub(crate) trailers: bool,
    /// The service was asked to change to another protocol.
    pub(crate) upgrade: bool,
    /// After it has done so.
    pub(crate) tunnel: Option<Tunnel>,
    /// When something last moved, or was last begun.
    pub(crate) progress: Instant,
    pub(crate) upload: Upload,
    pub(crate) notes: Notes,
}

/// How an exchange begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begun {
    /// It has an open connection; its head can be sent.
    Ready(u32),
    /// It waits for a connection to open.
    Waiting,
    /// It was answered at once.
    Replied(Step),
}

impl Begun {
    pub(crate) fn step(self) -> Step {
        match self {
            Begun::Replied(step) => step,
            Begun::Ready(_) | Begun::Waiting => Step::Wait,
        }
    }
}

impl Exchange {
    /// The exchange of a request that is to be forwarded; it has no connection yet.
    pub(crate) fn new(
        down: u32,
        (route, service, lane): (&Route, ServiceId, Option<LaneId>),
        request: &Request<'_>,
        notes: Notes,
        now: Instant,
    ) -> Self {
        Exchange {
            down,
            up: None,
            generation: 0,
            route: route.id,
            service,
            lane,
            held: None,
            kind: match request.method_kind() {
                MethodKind::Head => RequestKind::Head,
                _ => RequestKind::Other,
            },
            version: request.version,
            keep_alive: request.keep_alive,
            head_len: request.head_len,
            bodiless: no_body(request),
            idempotent: matches!(
                request.method_kind(),
                MethodKind::Get
                    | MethodKind::Head
                    | MethodKind::Put
                    | MethodKind::Delete
                    | MethodKind::Options
                    | MethodKind::Trace
            ),
            sent: false,
            connects: 0,
            retried: false,
            request: BodyPump::new(request.framing, request.framing, true),
            paced: None,
            response: None,
            interim: 0,
            provenance: None,
            trailers: request.te_trailers,
            upgrade: false,
            tunnel: None,
            progress: now,
            upload: Upload::new(now),
            notes,
        }
    }

    /// Adds what the rules make of it: its body has at most `most` bytes, its connection is `spent`
    /// when it is over, and its service may be asked for another protocol.
    pub(crate) fn promise(
        &mut self,
        request: &Request<'_>,
        service: &Service,
        most: u64,
        spent: bool,
        provenance: Provenance,
    ) {
        if request.framing == BodyFraming::Chunked {
            self.request = BodyPump::new(request.framing, request.framing, true).limited(most);
        }
        self.keep_alive &= !spent;
        self.upgrade = self.bodiless && protocol(request, service).is_some();
        self.provenance = Some(provenance);
    }

    /// Has its bodies go on slowly.
    #[cold]
    pub(crate) fn slow_down(&mut self, slow: Slow, now: Instant) {
        let paced = Paced::new(slow, now);
        self.paced = Some(paced);
        self.request.pace = Some(paced.of_body(now));
    }

    /// Notes what has moved through a tunnel, from the client and from the service.
    pub(crate) fn note_tunnelled(&mut self, sent: usize, received: usize) {
        self.notes.bytes_in += sent as u64;
        self.notes.upstream_bytes_out += sent as u64;
        self.notes.upstream_bytes_in += received as u64;
        self.notes.bytes_out += received as u64;
    }

    /// Status of the answer that has begun; 0 for none.
    pub(crate) fn status(&self) -> u16 {
        self.response.as_ref().map_or(0, |response| response.status)
    }

    /// Adds what has moved of both bodies to the notes; to be called once, at the end.
    pub(crate) fn note_bodies(&mut self) {
        self.notes.bytes_in += self.request.taken;
        self.notes.upstream_bytes_out += self.request.given;
        if let Some(response) = &self.response {
            self.notes.upstream_bytes_in += response.body.taken;
            self.notes.bytes_out += response.body.given;
        }
    }

    pub(crate) fn route<'g>(&self, generations: &'g Generations) -> Option<&'g Route> {
        generations
            .get(self.generation)?
            .snapshot
            .route_of(self.route)
    }

    pub(crate) fn service<'g>(&self, generations: &'g Generations) -> Option<&'g Service> {
        generations
            .get(self.generation)?
            .snapshot
            .service(self.service)
    }
}

impl<P: PacketIo> Worker<P> {
    /// Starts an exchange: registers it and finds it a connection.
    #[inline]
    pub(crate) fn begin(&mut self, mut exchange: Exchange, now: Instant) -> Begun {
        exchange.generation = self.generations.begin();
        exchange.notes.taken = Some((exchange.generation, exchange.route, exchange.service));
        let down = exchange.down;
        let number = self.exchanges.insert(exchange) as u32;
        if let Some(down) = self.downs.get_mut(down as usize) {
            down.exchange = Some(number);
        }
        let held = self
            .exchanges
            .get(number as usize)
            .is_some_and(|exchange| exchange.held.is_some());
        if held {
            self.stats.events.count(EngineEvent::Delayed);
            self.hurry(number, now);
            return Begun::Waiting;
        }
        self.attach(number, now)
    }

    /// Goes on with an exchange as far as both connections allow.
    pub(crate) fn drive_exchange(&mut self, number: u32, now: Instant) -> Step {
        let Some(exchange) = self.exchanges.get_mut(number as usize) else {
            return Step::Over;
        };
        let Some(upstream) = exchange.up.and_then(|up| self.ups.get(up as usize)) else {
            return self.drive_held(number, now);
        };
        if !exchange.sent {
            return match self.stack.view(upstream.flow).phase {
                Phase::Connecting => Step::Wait,
                Phase::Closed => self.connect_failed(number, LocalReply::CONNECT_FAILED, now),
                Phase::Open => {
                    exchange.notes.connected = now;
                    if let Some(pool) = self.pools.get_mut(upstream.pool) {
                        pool.clear();
                    }
                    let down = exchange.down;
                    if self.encode_again(down, number) {
                        self.send_encoded(number, now)
                    } else {
                        self.fail(number, LocalReply::CLOSED_EARLY, now)
                    }
                }
            };
        }
        self.forward(number, now)
    }

    /// Sends the head that stands in the scratch buffer to the exchange's open connection, then goes
    /// on with the body.
    pub(crate) fn send_encoded(&mut self, number: u32, now: Instant) -> Step {
        let Some(exchange) = self.exchanges.get_mut(number as usize) else {
            return Step::Over;
        };
        let Some(upstream) = exchange.up.and_then(|up| self.ups.get_mut(up as usize)) else {
            return Step::Wait;
        };
        exchange.sent = true;
        exchange.progress = now;
        exchange.notes.upstream_bytes_out += self.spare.out.len() as u64;
        if let Some(pool) = self.pools.get(upstream.pool) {
            pool.stats.sent();
        }
        let written = self.stack.write(upstream.flow, &self.spare.out);
        if let Some(rest) = self.spare.out.get(written..)
            && !rest.is_empty()
        {
            upstream.backlog.extend_from_slice(rest);
        }
        if exchange.bodiless {
            exchange.notes.sent = now;
            return Step::Wait;
        }
        exchange.upload = Upload::new(now);
        if let Some(down) = self.downs.get(exchange.down as usize) {
            self.stack.consume(down.flow, exchange.head_len);
            exchange.head_len = 0;
        }
        self.forward(number, now)
    }

    fn forward(&mut self, number: u32, now: Instant) -> Step {
        #[cfg(test)]
        crate::contained::reach("forward");
        if let Some(step) = self.forward_request(number, now) {
            return step;
        }
        let answered = self
            .exchanges
            .get(number as usize)
            .is_some_and(|e| e.response.is_some());
        if !answered && let Some(step) = self.response_head(number, now) {
            return step;
        }
        let tunnelled = self
            .exchanges
            .get(number as usize)
            .is_some_and(|e| e.tunnel.is_some());
        if tunnelled {
            return self.forward_tunnel(number, now);
        }
        self.forward_response(number, now)
    }

    /// Moves the request's body; `Some` when that ends the exchange's turn.
    fn forward_request(&mut self, number: u32, now: Instant) -> Option<Step> {
        let exchange = self.exchanges.get_mut(number as usize)?;
        let upstream = self.ups.get_mut(exchange.up? as usize)?;
        let down = self.downs.get(exchange.down as usize)?;
        if !upstream.backlog.is_empty() {
            let sent = self.stack.write(upstream.flow, &upstream.backlog);
            upstream.backlog.drain(..sent);
        }
        if exchange.request.is_done() || !upstream.backlog.is_empty() {
            return None;
        }
        let (from, to) = (down.flow, upstream.flow);
        let generation = self.generations.get(exchange.generation);
        let rules = generation.and_then(|rules| rules.snapshot.route_of(exchange.route));
        let edits = rules.map(|route| &route.request_headers.fixed);
        let pump = &mut exchange.request;
        if let Some(pace) = &mut pump.pace {
            pace.fill(now);
        }
        let (stack, spare) = (&mut self.stack, &mut self.spare);
        match pump.pump(stack, from, to, edits.unwrap_or_default(), spare) {
            Ok(pumped) => {
                if pumped != Pumped::Stuck {
                    exchange.progress = now;
                }
                if pumped == Pumped::Done {
                    exchange.notes.sent = now;
                }
                let own = generation.and_then(|rules| rules.listener_rules(down.listener));
                let rests = exchange.request.resumes().is_some();
                let blocked = rests || self.stack.view(to).writable < FRAMING_ROOM;
                let least = own.map_or(1, |listener| listener.body_least);
                exchange
                    .upload
                    .note(exchange.request.taken, least, blocked, now);
                if pumped == Pumped::Done && exchange.request.copy.is_some() {
                    self.copy_whole(number, now);
                }
                None
            }
            Err(PumpError::TooLarge) => {
                let reply = LocalReply::BODY_TOO_LARGE;
                Some(self.refuse_body(number, reply, RequestFate::BodyTooLarge, now))
            }
            Err(PumpError::Body(_)) => {
                let reply = LocalReply::BAD_BODY;
                Some(self.refuse_body(number, reply, RequestFate::BadRequestBody, now))
            }
        }
    }
}
