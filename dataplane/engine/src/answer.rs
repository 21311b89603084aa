//! The answer to a request: its head, fitted to the client, its body, and its end.

use arrayvec::ArrayVec;
use sluice_policy::action::Computed;
use sluice_policy::{Listener, Route, Service, Values};
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::http1::{
    self, BodyError, BodyFraming, ClientSide, FieldEdits, FieldName, FieldValue, FixedEdits,
    HeaderKind, Version, Via, parse_response, write_response_head, write_switching_head,
};

use crate::body::{BodyPump, PumpError, Pumped};
use crate::downstream::Step;
use crate::exchange::Exchange;
use crate::explained::{Answerers, By};
use crate::forwarding::{allows, computed};
use crate::reply::LocalReply;
use crate::stats::RequestFate;
use crate::tunnel::Tunnel;
use crate::worker::Worker;

/// Interim responses (1xx) passed on per turn; more wait for the next.
const INTERIM_PER_TURN: usize = 8;

/// Interim responses to one request. They prolong the wait for the final one, so they must have an
/// end; a service that says 102 every ten seconds has twenty minutes.
const MAX_INTERIM: u32 = 128;

/// An answer that has begun.
pub(crate) struct Response {
    pub(crate) body: BodyPump,
    pub(crate) status: u16,
    /// The client takes the end of the connection for the end of the body.
    pub(crate) ends_by_close: bool,
    /// Both sides of the answer allow their connection to be used again.
    pub(crate) client_keep_alive: bool,
    pub(crate) upstream_keep_alive: bool,
}

impl<P: PacketIo> Worker<P> {
    /// Reads the answer's head; `Some` when the answer has not begun or can't.
    pub(crate) fn response_head(&mut self, number: u32, now: Instant) -> Option<Step> {
        let exchange = self.exchanges.get(number as usize)?;
        let down = self.downs.get(exchange.down as usize)?;
        let (listener, limits) = (down.listener, down.limits);
        let leaving = self.is_leaving(listener);
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
            let buffer = self.stack.front(flow, limits.head, &mut self.spare.linear);
            let parsed = parse_response(buffer, exchange.kind, &limits, &mut self.index);
            let response = match parsed {
                Ok(Some(response)) if response.status != 101 || exchange.upgrade => response,
                Ok(None) if view.finished => return Some(self.closed_early(number, now)),
                Ok(None) => return Some(Step::Wait),
                Ok(Some(_)) | Err(_) => {
                    return Some(self.fail(number, LocalReply::BAD_RESPONSE, now));
                }
            };
            exchange.progress = now;
            let interim = response.is_interim();
            exchange.interim += u32::from(interim);
            if exchange.interim > MAX_INTERIM {
                return Some(self.fail(number, LocalReply::TOO_MANY_INTERIM, now));
            }
            let generation = self.generations.get(exchange.generation);
            let Some(rules) = generation else {
                return Some(Step::Wait);
            };
            let writer = HeadWriter {
                via: &rules.snapshot.node.via,
                lane: rules.snapshot.lane_name(exchange.lane),
                listener: rules.listener_rules(listener),
                route: rules.snapshot.route_of(exchange.route),
                service: rules.snapshot.service(exchange.service),
                date: self.date.value(),
                leaving,
            };
            let head_len = response.head_len;
            let (out, text) = (&mut self.spare.out, &mut self.spare.made.text);
            out.clear();
            if !writer.write(out, text, &response, exchange) {
                return Some(self.fail(number, LocalReply::BAD_RESPONSE, now));
            }
            if !interim {
                exchange.notes.first_byte = now;
                if exchange.notes.explain.is_some() {
                    let answerers = Answerers {
                        generations: &self.generations,
                        pools: &self.pools,
                    };
                    answerers.tell(&exchange.notes, By::Service, &mut self.spare.out);
                }
            }
            exchange.notes.bytes_out += self.spare.out.len() as u64;
            exchange.notes.upstream_bytes_in += head_len as u64;
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
    pub(crate) fn forward_response(&mut self, number: u32, now: Instant) -> Step {
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
        let generation = self.generations.get(exchange.generation);
        let route = generation.and_then(|rules| rules.snapshot.route_of(exchange.route));
        let edits = response_rules(route);
        let pump = &mut response.body;
        if let Some(pace) = &mut pump.pace {
            pace.fill(now);
        }
        match pump.pump(&mut self.stack, from, to, edits, &mut self.spare) {
            Ok(Pumped::Done) => self.answered(number, now),
            Ok(Pumped::Moved) => {
                exchange.progress = now;
                Step::Wait
            }
            Ok(Pumped::Stuck) => Step::Wait,
            Err(PumpError::Body(BodyError::Truncated)) => {
                self.cut_off(number, RequestFate::Truncated, now)
            }
            Err(_) => self.cut_off(number, RequestFate::BadResponse, now),
        }
    }

    /// The whole answer is in the client's send queue.
    fn answered(&mut self, number: u32, now: Instant) -> Step {
        let Some(mut exchange) = self.exchanges.try_remove(number as usize) else {
            return Step::Over;
        };
        exchange.note_bodies();
        self.drop_copy(&mut exchange);
        let status = exchange.status();
        self.request_ended(exchange.notes, RequestFate::Answered, status, now);
        let belongs = self
            .generations
            .get(exchange.generation)
            .and_then(|rules| rules.snapshot.service(exchange.service))
            .is_some_and(|service| service.proxy_protocol.is_some());
        self.generations.end(exchange.generation, &self.handoff);
        let complete = exchange.request.is_done();
        let mut keep = complete;
        if let Some(response) = exchange.response {
            keep &= response.client_keep_alive;
            if let Some(up) = exchange.up {
                let reusable = complete && response.upstream_keep_alive;
                if belongs {
                    self.keep_upstream(up, exchange.down, reusable && keep, now);
                } else {
                    self.release_upstream(up, reusable, now);
                }
            }
        }
        self.exchange_over(exchange.down, now);
        if keep {
            return Step::Again;
        }
        self.close_downstream(exchange.down, now);
        Step::Over
    }
}

/// What the head of an answer depends on beside the answer.
struct HeadWriter<'a> {
    via: &'a Via,
    lane: Option<&'a str>,
    listener: Option<&'a Listener>,
    route: Option<&'a Route>,
    service: Option<&'a Service>,
    date: Option<FieldValue<'a>>,
    /// The client's connection takes no further requests.
    leaving: bool,
}

impl HeadWriter<'_> {
    /// Writes the head for the client, and notes what it commits the exchange to; false for a change
    /// of protocol that was not asked for, and for a head that the rules would make too large.
    fn write(
        &self,
        out: &mut Vec<u8>,
        text: &mut Vec<u8>,
        response: &http1::Response<'_>,
        exchange: &mut Exchange,
    ) -> bool {
        let interim = response.is_interim();
        let named = self.listener.is_some_and(|listener| listener.response_via);
        let via = named.then(|| self.via.of(response.version));
        let mut append = ArrayVec::<(FieldName<'_>, FieldValue<'_>), 2>::new();
        append.extend(via.map(|via| (FieldName::VIA, via)));
        // RFC 9110 section 6.6.1: whoever has a clock adds what the origin left out.
        let undated = !interim && !response.has(HeaderKind::Date);
        append.extend(
            self.date
                .filter(|_| undated)
                .map(|date| (FieldName::DATE, date)),
        );
        let mut fields = Computed::new();
        if !self.compute(response, exchange, text, &mut fields) {
            return false;
        }
        let edits = FieldEdits {
            append: &append,
            rules: response_rules(self.route),
            computed: &fields,
            ..FieldEdits::default()
        };
        let done = exchange.request.is_done();
        let client = ClientSide {
            version: exchange.version,
            keep_alive: exchange.keep_alive && done && !self.leaving && !interim,
            trailers: exchange.trailers,
        };
        if response.status == 101 {
            let Some(agreed) = self.agreed(response) else {
                return false;
            };
            write_switching_head(out, response, agreed, &edits);
            exchange.tunnel = Some(Tunnel::default());
            exchange.response = Some(Response {
                body: BodyPump::new(BodyFraming::None, BodyFraming::None, false),
                status: response.status,
                ends_by_close: true,
                client_keep_alive: false,
                upstream_keep_alive: false,
            });
        } else if !interim {
            let sent = write_response_head(out, response, client, &edits);
            exchange.response = Some(Response {
                body: BodyPump::new(response.framing, sent.framing, exchange.trailers)
                    .paced(exchange.paced.map(|paced| paced.of_body(exchange.progress))),
                status: response.status,
                ends_by_close: sent.framing == BodyFraming::UntilClose,
                client_keep_alive: sent.keep_alive,
                upstream_keep_alive: response.keep_alive,
            });
        } else if exchange.version == Version::Http11 {
            // RFC 9110 15.2: never to an HTTP/1.0 client.
            write_response_head(out, response, client, &edits);
        }
        true
    }

    /// Computes the headers whose values depend on the response; false if they would be too large.
    #[inline]
    fn compute<'t>(
        &'t self,
        response: &http1::Response<'t>,
        exchange: &Exchange,
        text: &'t mut Vec<u8>,
        fields: &mut Computed<'t>,
    ) -> bool {
        let (Some(route), Some(provenance)) = (self.route, &exchange.provenance) else {
            return true;
        };
        let edits = &route.response_headers.computed;
        if edits.is_empty() {
            return true;
        }
        let id = provenance.id();
        let values = Values {
            client: provenance.client,
            lane: self.lane,
            request_id: id.as_bytes(),
            route: &route.name,
            service: self.service.map_or("", |service| &service.name),
            status: response.status,
            request: None,
        };
        computed(edits, &values, &response.headers(), text, fields).is_ok()
    }

    /// The protocol that the service changes to, if it is one that it may change to.
    fn agreed<'r>(&self, response: &http1::Response<'r>) -> Option<FieldValue<'r>> {
        let service = self.service.filter(|_| response.upgrade)?;
        let agreed = response.protocols().find(|named| allows(service, named))?;
        FieldValue::new(agreed).ok()
    }
}

/// What a route changes in the heads of responses.
fn response_rules(route: Option<&Route>) -> &FixedEdits {
    let rules = route.map(|route| &route.response_headers.fixed);
    rules.unwrap_or_default()
}
