//! A client's connection: reads request heads, has each request served, answers what is refused.

use std::io::Write;
use std::time::Duration;

use arrayvec::ArrayVec;
use sluice_policy::RequestView;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{FlowId, Phase};
use sluice_wire::http1::{
    self, BodyFraming, FieldEdits, FieldValue, HeaderKind, KindSet, MethodKind, Request,
    RequestEdits, Version, needs_parse, parse_request, write_local_reply, write_request_head,
};

use crate::chain::{self, Verdict};
use crate::exchange::{Begun, Exchange};
use crate::reply::LocalReply;
use crate::stats::{EngineEvent, RequestFate};
use crate::worker::{Role, Worker};

/// Requests of one connection served in a row before others get their turn (pipelining).
const REQUESTS_PER_TURN: usize = 16;

/// A client's connection.
pub(crate) struct Downstream {
    pub(crate) flow: FlowId,
    /// The worker's number of the listener that accepted it.
    pub(crate) listener: u32,
    /// The client's address as text, for `X-Forwarded-For`.
    pub(crate) client: ArrayVec<u8, 45>,
    pub(crate) exchange: Option<u32>,
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
}

impl<P: PacketIo> Worker<P> {
    /// Takes a connection that a client has opened.
    pub(crate) fn accept(&mut self, flow: FlowId, listener: u32, now: Instant) {
        let rules = self.generations.current();
        let limit = rules
            .listener(listener)
            .and_then(|id| rules.snapshot.listeners.get(id.0))
            .map(|listener| listener.max_connections);
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
        let mut client = ArrayVec::new();
        let _ = write!(client, "{}", key.remote().ip());
        let number = self.downs.insert(Downstream {
            flow,
            listener,
            client,
            exchange: None,
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
        let Some(down) = self.downs.get_mut(number as usize) else {
            return Step::Over;
        };
        let view = self.stack.view(down.flow);
        if view.readable == 0 {
            if view.finished || self.draining {
                self.close_downstream(number, now);
                return Step::Over;
            }
            return Step::Wait;
        }
        let buffer = self
            .stack
            .front(down.flow, self.limits.head + 2, &mut self.spare.linear);
        if !needs_parse(buffer, down.seen, &self.limits) {
            return self.incomplete(number, view.finished, now);
        }
        let request = match parse_request(buffer, &self.limits, &mut self.index) {
            Ok(Some(request)) => request,
            Ok(None) => {
                if down.seen == 0 {
                    down.waiting_since = now;
                }
                down.seen = buffer.len();
                return self.incomplete(number, view.finished, now);
            }
            Err(error) => {
                self.stats.requests.count(RequestFate::Malformed);
                return self.refuse(number, error.status(), &error.to_string(), now);
            }
        };
        down.seen = 0;
        down.fresh = false;
        let rules = self.generations.current();
        let Some(listener) = rules.listener(down.listener) else {
            // The rules no longer have this listener.
            self.close_downstream(number, now);
            return Step::Over;
        };
        let view = RequestView {
            host: request.host_name(),
            path: request.path(),
            method: request.method(),
        };
        match chain::on_request(&rules.snapshot, listener, &view) {
            Verdict::Reply(reply) => {
                let keep = request.keep_alive && no_body(&request) && !self.draining;
                let head_only = request.method_kind() == MethodKind::Head;
                let (version, head_len) = (request.version, request.head_len);
                let flow = down.flow;
                self.stack.consume(flow, head_len);
                self.reply(number, reply, head_only, keep, version, now)
            }
            Verdict::Forward(route) => {
                self.spare.out.clear();
                encode(
                    &mut self.spare.out,
                    &request,
                    &down.client,
                    &self.additions,
                    &route.request_headers,
                );
                let exchange = Exchange::new(number, route, &request, now);
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
            self.stats.requests.count(RequestFate::ClientGone);
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
        let Some(route) = exchange.route(&self.generations) else {
            return false;
        };
        let buffer = self
            .stack
            .front(down.flow, self.limits.head + 2, &mut self.spare.linear);
        let Ok(Some(request)) = parse_request(buffer, &self.limits, &mut self.index) else {
            return false;
        };
        self.spare.out.clear();
        let rules = &route.request_headers;
        encode(
            &mut self.spare.out,
            &request,
            &down.client,
            &self.additions,
            rules,
        );
        true
    }

    /// Answers with an error of the parser's and closes: what follows can't be understood.
    fn refuse(&mut self, number: u32, status: u16, text: &str, now: Instant) -> Step {
        self.spare.out.clear();
        write_local_reply(
            &mut self.spare.out,
            status,
            text,
            false,
            true,
            Version::Http11,
        );
        self.stats.statuses.count(status);
        self.send_to_client(number);
        self.close_downstream(number, now);
        Step::Over
    }

    /// Gives the gateway's own answer. The request's head must have been consumed.
    pub(crate) fn reply(
        &mut self,
        number: u32,
        reply: LocalReply,
        head_only: bool,
        keep: bool,
        version: Version,
        now: Instant,
    ) -> Step {
        self.stats.requests.count(reply.fate);
        self.stats.statuses.count(reply.status);
        self.spare.out.clear();
        write_local_reply(
            &mut self.spare.out,
            reply.status,
            reply.text,
            head_only,
            !keep,
            version,
        );
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
        self.forget_downstream(number);
    }

    /// Resets a client's connection and ends its exchange with `fate`.
    pub(crate) fn abort_downstream(&mut self, number: u32, fate: RequestFate, now: Instant) {
        let Some(down) = self.downs.get(number as usize) else {
            return;
        };
        let (flow, exchange) = (down.flow, down.exchange);
        self.stack.abort(flow, now);
        if let Some(exchange) = exchange {
            self.drop_exchange(exchange, fate, now);
        }
        self.forget_downstream(number);
    }

    fn forget_downstream(&mut self, number: u32) {
        let Some(down) = self.downs.try_remove(number as usize) else {
            return;
        };
        self.down_timers.cancel(number);
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
        let rules = self.generations.current();
        rules
            .listener(listener)
            .and_then(|id| rules.snapshot.listeners.get(id.0))
            .map_or((Duration::ZERO, Duration::ZERO), |l| {
                (l.idle_timeout, l.head_timeout)
            })
    }

    /// The idle timeout of the listener that a connection came by.
    pub(crate) fn idle_timeout(&self, number: u32) -> Duration {
        self.downs
            .get(number as usize)
            .map_or(Duration::ZERO, |down| self.waits(down.listener).0)
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
            self.abort_downstream(number, RequestFate::Stalled, now);
        } else if down.seen > 0 {
            self.reply(
                number,
                LocalReply::HEAD_TIMEOUT,
                false,
                false,
                Version::Http11,
                now,
            );
        } else {
            self.stats.events.count(EngineEvent::DownstreamIdle);
            self.close_downstream(number, now);
        }
    }
}

/// Whether nothing follows the head.
pub(crate) fn no_body(request: &Request<'_>) -> bool {
    matches!(request.framing, BodyFraming::None | BodyFraming::Length(0))
}

/// Writes the head to be forwarded.
fn encode(
    out: &mut Vec<u8>,
    request: &Request<'_>,
    client: &[u8],
    additions: &[(http1::FieldName<'static>, FieldValue<'static>)],
    rules: &[http1::HeaderEdit],
) {
    let edits = RequestEdits {
        host: None,
        forwarded_for: FieldValue::new(client).ok(),
        fields: FieldEdits {
            drop: KindSet::of(&[HeaderKind::XForwardedProto]),
            append: additions,
            rules,
        },
    };
    write_request_head(out, request, &edits);
}
