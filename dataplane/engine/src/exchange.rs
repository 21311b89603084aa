//! A request and its answer. Its life is its own: it uses a client's connection and one to an
//! endpoint, and either may go on without it.

use sluice_policy::{Route, RouteId, Service, ServiceId};
use sluice_stack::Phase;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::http1::{
    BodyError, BodyFraming, ClientSide, FieldEdits, MethodKind, Request, RequestKind, Version,
    parse_response, write_response_head,
};

use crate::body::{BodyPump, Pumped};
use crate::downstream::{Step, no_body};
use crate::generations::Generations;
use crate::reply::LocalReply;
use crate::stats::{EngineEvent, RequestFate};
use crate::worker::Worker;

/// Endpoints tried for one request.
pub(crate) const MAX_CONNECTS: u32 = 3;
/// Interim responses (1xx) passed on per turn; more wait for the next.
const INTERIM_PER_TURN: usize = 8;

/// A request under way.
pub(crate) struct Exchange {
    pub(crate) down: u32,
    pub(crate) up: Option<u32>,
    /// The rules it began under.
    pub(crate) generation: usize,
    route: RouteId,
    pub(crate) service: ServiceId,
    kind: RequestKind,
    version: Version,
    /// The client would keep its connection.
    keep_alive: bool,
    /// Bytes of the request's head at the front of the client's receive buffer. A request without
    /// a body leaves it there until the answer begins, so that it can be sent again.
    head_len: usize,
    bodiless: bool,
    /// The method may be repeated without harm (RFC 9110 9.2.2).
    idempotent: bool,
    /// Its head has gone to `up`.
    pub(crate) sent: bool,
    pub(crate) connects: u32,
    retried: bool,
    request: BodyPump,
    response: Option<Response>,
    /// When something last moved, or was last begun.
    pub(crate) progress: Instant,
}

struct Response {
    body: BodyPump,
    status: u16,
    /// The client takes the end of the connection for the end of the body.
    ends_by_close: bool,
    /// Both sides of the answer allow their connection to be used again.
    client_keep_alive: bool,
    upstream_keep_alive: bool,
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
    pub(crate) fn new(down: u32, route: &Route, request: &Request<'_>, now: Instant) -> Self {
        Exchange {
            down,
            up: None,
            generation: 0,
            route: route.id,
            service: route.service,
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
            request: BodyPump::new(request.framing, request.framing),
            response: None,
            progress: now,
        }
    }

    pub(crate) fn route<'g>(&self, generations: &'g Generations) -> Option<&'g Route> {
        generations
            .get(self.generation)?
            .snapshot
            .routes
            .get(self.route.0)
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
        let down = exchange.down;
        let number = self.exchanges.insert(exchange) as u32;
        if let Some(down) = self.downs.get_mut(down as usize) {
            down.exchange = Some(number);
        }
        self.attach(number, now)
    }

    /// Goes on with an exchange as far as both connections allow.
    pub(crate) fn drive_exchange(&mut self, number: u32, now: Instant) -> Step {
        let Some(exchange) = self.exchanges.get(number as usize) else {
            return Step::Over;
        };
        let Some(upstream) = exchange.up.and_then(|up| self.ups.get(up as usize)) else {
            return Step::Wait;
        };
        if !exchange.sent {
            return match self.stack.view(upstream.flow).phase {
                Phase::Connecting => Step::Wait,
                Phase::Closed => self.connect_failed(number, LocalReply::CONNECT_FAILED, now),
                Phase::Open => {
                    if self.encode_again(exchange.down, number) {
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
        let written = self.stack.write(upstream.flow, &self.spare.out);
        if let Some(rest) = self.spare.out.get(written..)
            && !rest.is_empty()
        {
            upstream.backlog.extend_from_slice(rest);
        }
        if exchange.bodiless {
            return Step::Wait;
        }
        if let Some(down) = self.downs.get(exchange.down as usize) {
            self.stack.consume(down.flow, exchange.head_len);
            exchange.head_len = 0;
        }
        self.forward(number, now)
    }

    fn forward(&mut self, number: u32, now: Instant) -> Step {
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
        match exchange
            .request
            .pump(&mut self.stack, from, to, &mut self.spare)
        {
            Ok(Pumped::Stuck) => None,
            Ok(Pumped::Moved | Pumped::Done) => {
                exchange.progress = now;
                None
            }
            Err(_) => Some(self.bad_request_body(number, now)),
        }
    }

    /// Reads the answer's head; `Some` when the answer has not begun or can't.
    fn response_head(&mut self, number: u32, now: Instant) -> Option<Step> {
        for _ in 0..INTERIM_PER_TURN {
            let exchange = self.exchanges.get_mut(number as usize)?;
            let upstream = self.ups.get(exchange.up? as usize)?;
            let flow = upstream.flow;
            let view = self.stack.view(flow);
            if view.readable == 0 {
                return Some(if view.finished {
                    self.closed_early(number, now)
                } else {
                    Step::Wait
                });
            }
            let buffer = self
                .stack
                .front(flow, self.limits.head, &mut self.spare.linear);
            let parsed = parse_response(buffer, exchange.kind, &self.limits, &mut self.index);
            let response = match parsed {
                Ok(Some(response)) if response.status != 101 => response,
                Ok(None) if view.finished => return Some(self.closed_early(number, now)),
                Ok(None) => return Some(Step::Wait),
                Ok(Some(_)) | Err(_) => {
                    return Some(self.fail(number, LocalReply::BAD_RESPONSE, now));
                }
            };
            exchange.progress = now;
            let interim = response.is_interim();
            let keep_alive =
                exchange.keep_alive && exchange.request.is_done() && !self.draining && !interim;
            let rules = exchange
                .route(&self.generations)
                .map(|route| &route.response_headers[..]);
            let edits = FieldEdits {
                rules: rules.unwrap_or_default(),
                ..FieldEdits::default()
            };
            let client = ClientSide {
                version: exchange.version,
                keep_alive,
            };
            self.spare.out.clear();
            let head_len = response.head_len;
            if interim {
                // RFC 9110 15.2: never to an HTTP/1.0 client.
                if exchange.version == Version::Http11 {
                    write_response_head(&mut self.spare.out, &response, client, &edits);
                }
            } else {
                let sent = write_response_head(&mut self.spare.out, &response, client, &edits);
                exchange.response = Some(Response {
                    body: BodyPump::new(response.framing, sent.framing),
                    status: response.status,
                    ends_by_close: sent.framing == BodyFraming::UntilClose,
                    client_keep_alive: sent.keep_alive,
                    upstream_keep_alive: response.keep_alive,
                });
            }
            let down = exchange.down;
            let answered = std::mem::take(&mut exchange.head_len);
            self.stack.consume(flow, head_len);
            if answered > 0
                && let Some(down) = self.downs.get(down as usize)
            {
                self.stack.consume(down.flow, answered);
            }
            self.send_to_client(down);
            if !interim {
                return None;
            }
        }
        if let Some(up) = self.exchanges.get(number as usize).and_then(|e| e.up)
            && let Some(upstream) = self.ups.get(up as usize)
        {
            self.stack.wake(upstream.flow);
        }
        Some(Step::Wait)
    }

    /// Moves the answer's body, and ends the exchange when all of it is on its way.
    fn forward_response(&mut self, number: u32, now: Instant) -> Step {
        let Some(exchange) = self.exchanges.get_mut(number as usize) else {
            return Step::Over;
        };
        let (Some(upstream), Some(down)) = (
            exchange.up.and_then(|up| self.ups.get(up as usize)),
            self.downs.get(exchange.down as usize),
        ) else {
            return Step::Wait;
        };
        let Some(response) = &mut exchange.response else {
            return Step::Wait;
        };
        if down.has_backlog() {
            return Step::Wait;
        }
        let (from, to) = (upstream.flow, down.flow);
        match response
            .body
            .pump(&mut self.stack, from, to, &mut self.spare)
        {
            Ok(Pumped::Done) => self.answered(number, now),
            Ok(Pumped::Moved) => {
                exchange.progress = now;
                Step::Wait
            }
            Ok(Pumped::Stuck) => Step::Wait,
            Err(BodyError::Truncated) => self.cut_off(number, RequestFate::Truncated, now),
            Err(_) => self.cut_off(number, RequestFate::BadResponse, now),
        }
    }

    /// The whole answer is in the client's send queue.
    fn answered(&mut self, number: u32, now: Instant) -> Step {
        let Some(exchange) = self.exchanges.try_remove(number as usize) else {
            return Step::Over;
        };
        self.generations.end(exchange.generation, &self.handoff);
        let complete = exchange.request.is_done();
        let mut keep = complete;
        self.stats.requests.count(RequestFate::Answered);
        if let Some(response) = exchange.response {
            self.stats.statuses.count(response.status);
            keep &= response.client_keep_alive;
            if let Some(up) = exchange.up {
                self.release_upstream(up, complete && response.upstream_keep_alive, now);
            }
        }
        self.exchange_over(exchange.down, now);
        if keep {
            return Step::Again;
        }
        self.close_downstream(exchange.down, now);
        Step::Over
    }

    /// Ends an exchange whose answer has not begun with an answer of our own.
    pub(crate) fn fail(&mut self, number: u32, reply: LocalReply, now: Instant) -> Step {
        let Some(exchange) = self.exchanges.try_remove(number as usize) else {
            return Step::Over;
        };
        self.generations.end(exchange.generation, &self.handoff);
        if let Some(up) = exchange.up {
            self.close_upstream(up, true, now);
        }
        let number = exchange.down;
        self.exchange_over(number, now);
        if let Some(down) = self.downs.get(number as usize) {
            self.stack.consume(down.flow, exchange.head_len);
        }
        // Behind a body that was not read the next request can't be found.
        let keep = exchange.keep_alive && exchange.request.is_done() && !self.draining;
        let head_only = exchange.kind == RequestKind::Head;
        self.reply(number, reply, head_only, keep, exchange.version, now)
    }

    /// The endpoint closed before its answer began: the request is sent again if its connection had
    /// merely died in the pool and it can do no harm, else the client is told.
    fn closed_early(&mut self, number: u32, now: Instant) -> Step {
        let Some(exchange) = self.exchanges.get_mut(number as usize) else {
            return Step::Over;
        };
        let reused = exchange
            .up
            .and_then(|up| self.ups.get(up as usize))
            .is_some_and(|up| up.reused);
        let untouched = exchange
            .up
            .and_then(|up| self.ups.get(up as usize))
            .is_some_and(|up| self.stack.view(up.flow).readable == 0);
        let repeatable = exchange.bodiless && exchange.idempotent && exchange.head_len > 0;
        if !(reused && untouched && repeatable && !exchange.retried) {
            return self.fail(number, LocalReply::CLOSED_EARLY, now);
        }
        exchange.retried = true;
        exchange.sent = false;
        self.stats.events.count(EngineEvent::RetriedStale);
        if let Some(up) = exchange.up.take() {
            self.close_upstream(up, true, now);
        }
        match self.attach(number, now) {
            Begun::Ready(_) => Step::Again,
            other => other.step(),
        }
    }

    fn bad_request_body(&mut self, number: u32, now: Instant) -> Step {
        let answered = self
            .exchanges
            .get(number as usize)
            .is_some_and(|e| e.response.is_some());
        if answered {
            return self.cut_off(number, RequestFate::BadRequestBody, now);
        }
        self.fail(number, LocalReply::BAD_BODY, now)
    }

    /// Ends an exchange whose answer has begun and can't be completed. The client must not take what
    /// it got for the whole: a close tells it, since the announced end is missing, and reaches it
    /// whatever gets lost; where the close would be the end, only a reset does.
    fn cut_off(&mut self, number: u32, fate: RequestFate, now: Instant) -> Step {
        let Some(exchange) = self.exchanges.get(number as usize) else {
            return Step::Over;
        };
        let down = exchange.down;
        if exchange
            .response
            .as_ref()
            .is_none_or(|response| response.ends_by_close)
            || fate == RequestFate::Stalled
        {
            self.abort_downstream(down, fate, now);
        } else {
            self.drop_exchange(number, fate, now);
            self.exchange_over(down, now);
            self.close_downstream(down, now);
        }
        Step::Over
    }

    /// Forgets an exchange whose client is gone.
    pub(crate) fn drop_exchange(&mut self, number: u32, fate: RequestFate, now: Instant) {
        let Some(exchange) = self.exchanges.try_remove(number as usize) else {
            return;
        };
        self.generations.end(exchange.generation, &self.handoff);
        self.stats.requests.count(fate);
        self.stats
            .statuses
            .count(exchange.response.map_or(0, |response| response.status));
        if let Some(up) = exchange.up {
            self.close_upstream(up, true, now);
        }
    }

    /// When an exchange has waited long enough for what it waits for.
    pub(crate) fn exchange_deadline(&self, number: u32, now: Instant) -> Instant {
        let Some(exchange) = self.exchanges.get(number as usize) else {
            return now;
        };
        let service = exchange.service(&self.generations);
        let route = exchange.route(&self.generations);
        let wait = match (service, route) {
            (Some(service), _) if !exchange.sent => service.connect_timeout,
            (_, Some(route)) if exchange.request.is_done() && exchange.response.is_none() => {
                route.response_timeout
            }
            _ => self.idle_timeout(exchange.down),
        };
        exchange.progress + wait
    }

    /// An exchange has waited too long.
    pub(crate) fn exchange_timeout(&mut self, number: u32, now: Instant) {
        let Some(exchange) = self.exchanges.get(number as usize) else {
            return;
        };
        if !exchange.sent {
            self.connect_failed(number, LocalReply::CONNECT_TIMEOUT, now);
        } else if exchange.response.is_some() || !exchange.request.is_done() {
            self.cut_off(number, RequestFate::Stalled, now);
        } else {
            self.fail(number, LocalReply::RESPONSE_TIMEOUT, now);
        }
    }
}
