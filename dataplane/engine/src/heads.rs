//! A client's next request: its head is read where it lies, judged, and either begun or answered.

use sluice_policy::Listener;
use sluice_policy::rules::ProxyProtocol;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::http1::{
    BodyFraming, HeadIndex, HeaderKind, Request, RequestError, needs_parse, parse_request,
};
use sluice_wire::proxy_protocol;

use crate::chain::{self, HttpPassage, Verdict};
use crate::downstream::{Downstream, Opening, Step};
use crate::ended::Notes;
use crate::exchange::{Begun, Exchange};
use crate::explained::explained;
use crate::forwarding::{Provenance, Sender, encode};
use crate::reply::{LocalReply, ReplyForm};
use crate::rule_reply::Asked;
use crate::stats::{EngineEvent, RequestFate};
use crate::worker::Worker;

/// A connection that has bytes of a head.
struct Source {
    /// The worker's number of its listener.
    listener: u32,
    /// It is to take no further requests.
    leaving: bool,
    /// The client sends nothing after those bytes.
    finished: bool,
}

impl<P: PacketIo> Worker<P> {
    /// Reads the next request head and begins what it asks for.
    pub(crate) fn next_request(&mut self, number: u32, now: Instant) -> Step {
        let Source {
            listener,
            leaving,
            finished,
        } = match self.source_of_head(number, now) {
            Ok(source) => source,
            Err(step) => return step,
        };
        let rules = self.generations.current();
        let own = rules.listener_rules(listener);
        let Some(down) = self.downs.get_mut(number as usize) else {
            return Step::Over;
        };
        if let Some(own) = own {
            down.limits = own.limits;
        }
        let most = down.limits.head + 2;
        let buffer = self.stack.front(down.flow, most, &mut self.spare.linear);
        let request = match down.read_head(buffer, &mut self.index, now) {
            Ok(Some(request)) => request,
            Ok(None) => return self.incomplete(number, finished, now),
            Err(error) => {
                return self.refuse(number, error.status(), &error.to_string(), now);
            }
        };
        #[cfg(test)]
        crate::contained::reach("head");
        let (begun, mut spent) = down.request_begun(own, now);
        if spent {
            self.stats.events.count(EngineEvent::DownstreamSpent);
        } else if own.is_some_and(|own| down.is_aged(own, now)) {
            spent = true;
            self.stats.events.count(EngineEvent::DownstreamAged);
        }
        let form = ReplyForm::to(&request, leaving || spent);
        let (flow, head_len, peer) = (down.flow, request.head_len, down.peer);
        let mut notes = Notes::of_head(begun, head_len, now);
        let log = self.handoff.access_log();
        let Some((own, id)) = own.zip(rules.listener(listener)) else {
            // The rules no longer have this listener, nor routes for it.
            let whose = (None, peer, None);
            let none = (None, None);
            notes.record = self
                .recorder
                .of_head(log, &rules.snapshot, whose, &request, none);
            self.stack.consume(flow, head_len);
            return self.reply(number, LocalReply::NO_ROUTE, form, notes, now);
        };
        let provenance = Provenance::of(&request, peer.ip(), own, &mut self.rng);
        let (whose, path) = ((id, own), &mut self.spare.path);
        let mut passage = HttpPassage::of(&rules.snapshot, whose, &request, &provenance, path);
        passage.wall = self.date.seconds();
        let verdict = chain::on_request(&mut passage);
        // What ends soon holds nothing.
        passage.hold = passage.hold.filter(|_| !self.draining);
        if request.has(HeaderKind::XSluiceExplain) && own.explains_to(provenance.client) {
            notes.explain = Some(explained(&passage, &verdict));
            self.stats.events.count(EngineEvent::Explained);
        }
        let whose = (Some(id), peer, own.request_id.then_some(&provenance));
        let taken = (passage.route, passage.service);
        notes.record = self
            .recorder
            .of_head(log, &rules.snapshot, whose, &request, taken);
        match (verdict, passage.hold) {
            (Verdict::Reply(reply), None) => {
                self.stack.consume(flow, head_len);
                self.reply(number, reply, form, notes, now)
            }
            (Verdict::Close(fate), None) => {
                self.stack.consume(flow, head_len);
                self.request_ended(notes, fate, 0, now);
                self.close_downstream(number, now);
                Step::Over
            }
            (Verdict::RuleReply(route), _) => {
                let asked = Asked {
                    passage: &passage,
                    route,
                    provenance: &provenance,
                    form,
                    date: self.date.value(),
                };
                let written = asked.write(&mut self.spare.out, &mut self.spare.made);
                self.stack.consume(flow, head_len);
                match written {
                    Ok(said) => self.send_rule_reply(number, said, form.keep, notes, now),
                    Err(reply) => self.reply(number, reply, form, notes, now),
                }
            }
            // Of calls only.
            (Verdict::Fault, _) => self.reply(number, LocalReply::NO_ROUTE, form, notes, now),
            // What does not go on, but only after a while, is an exchange meanwhile.
            (verdict @ (Verdict::Forward | Verdict::Reply(_) | Verdict::Close(_)), hold) => {
                let Some((route, service, id)) = passage.destination() else {
                    // What is sent on or held has one.
                    self.close_downstream(number, now);
                    return Step::Over;
                };
                if !service.speaks_http() {
                    self.stack.consume(flow, head_len);
                    return self.reply(number, LocalReply::NOT_HTTP, form, notes, now);
                }
                let sender = Sender {
                    via: &rules.snapshot.node.via,
                    listener: own,
                    service,
                    route,
                    lanes: rules.snapshot.lanes.as_ref(),
                    view: &passage.view,
                    peer: peer.ip(),
                    peer_text: &down.client,
                    provenance: &provenance,
                };
                self.spare.out.clear();
                let (out, made) = (&mut self.spare.out, &mut self.spare.made);
                if let Err(reply) = encode(out, made, &request, &sender) {
                    self.stack.consume(flow, head_len);
                    return self.reply(number, reply, form, notes, now);
                }
                let way = (route, id, passage.lane());
                let mut exchange = Exchange::new(number, way, &request, notes, now);
                exchange.hold(verdict, hold, now);
                let draw = provenance.draw();
                exchange.promise(&request, service, passage.most, spent, provenance);
                if let Some(slow) = passage.slow.filter(|_| exchange.goes_on()) {
                    exchange.slow_down(slow, now);
                    self.stats.events.count(EngineEvent::Slowed);
                }
                if let Some(mirror) = route.mirror
                    && exchange.goes_on()
                    && mirror.takes(draw)
                {
                    let framing = request.framing;
                    self.mirror(&mut exchange, mirror, framing, now);
                }
                self.start(exchange, now)
            }
        }
    }

    /// Where the next head is to be read from; the step to go on with where there is nothing to read,
    /// or something else comes first.
    #[inline]
    fn source_of_head(&mut self, number: u32, now: Instant) -> Result<Source, Step> {
        let down = self.downs.get(number as usize).ok_or(Step::Over)?;
        let listener = down.listener;
        let leaving = self.is_leaving(listener);
        let view = self.stack.view(down.flow);
        let finished = view.finished;
        if view.readable == 0 {
            if !finished && !leaving {
                return Err(Step::Wait);
            }
            self.close_downstream(number, now);
            return Err(Step::Over);
        }
        match down.opening {
            Opening::Http => {}
            Opening::ProxyHeader => return Err(self.proxy_header(number, finished, now)),
            Opening::Protocol => return Err(self.recognise(number, finished, now)),
        }
        Ok(Source {
            listener,
            leaving,
            finished,
        })
    }

    /// Starts the exchange whose head stands in the scratch buffer, and sends it where it can be
    /// sent at once.
    #[inline]
    fn start(&mut self, exchange: Exchange, now: Instant) -> Step {
        let (number, service) = (exchange.down, exchange.service);
        let begun = self.begin(exchange, now);
        if let Begun::Ready(exchange) = begun {
            // A fallback has another name, and may not change protocols.
            let other = self.exchanges.get(exchange as usize);
            if other.is_some_and(|other| other.service != service)
                && !self.encode_again(number, exchange)
            {
                return self.fail(exchange, LocalReply::REWRITTEN_TOO_LARGE, now);
            }
            return self.send_encoded(exchange, now);
        }
        begun.step()
    }

    /// A head that is not complete; the client may have given up on it.
    fn incomplete(&mut self, number: u32, finished: bool, now: Instant) -> Step {
        if finished {
            let notes = self.notes_of_unread(number, now);
            self.request_ended(notes, RequestFate::ClientGone, 0, now);
            self.close_downstream(number, now);
            return Step::Over;
        }
        if let Some(down) = self.downs.get(number as usize) {
            let flow = down.flow;
            let unread = self.stack.view(flow).readable;
            self.stack.expects(flow, unread + 1);
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
        let Some(id) = rules.listener(down.listener) else {
            return false;
        };
        let (whose, path) = ((id, listener), &mut self.spare.path);
        let mut passage = HttpPassage::of(&rules.snapshot, whose, &request, provenance, path);
        passage.view.lane = exchange.lane;
        let sender = Sender {
            via: &rules.snapshot.node.via,
            listener,
            service,
            route,
            lanes: rules.snapshot.lanes.as_ref(),
            view: &passage.view,
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
        encode(&mut self.spare.out, &mut self.spare.made, &request, &sender).is_ok()
    }
}

impl Downstream {
    /// Reads the head that `buffer` begins with; `None` as long as it is not complete.
    #[inline]
    fn read_head<'a>(
        &mut self,
        buffer: &'a [u8],
        index: &'a mut HeadIndex,
        now: Instant,
    ) -> Result<Option<Request<'a>>, RequestError> {
        if !needs_parse(buffer, self.seen, &self.limits) {
            return Ok(None);
        }
        let request = parse_request(buffer, &self.limits, index)?;
        if request.is_none() {
            if self.seen == 0 {
                self.waiting_since = now;
            }
            self.seen = buffer.len();
        }
        Ok(request)
    }

    /// Takes note of a request whose head is complete. Returns when that head began, and whether the
    /// connection has had as many requests as the listener allows.
    #[inline]
    fn request_begun(&mut self, rules: Option<&Listener>, now: Instant) -> (Instant, bool) {
        let begun = self.head_begun(now);
        self.seen = 0;
        self.fresh = false;
        self.requests = self.requests.saturating_add(1);
        let spent = rules.is_some_and(|rules| self.requests >= rules.max_requests);
        (begun, spent)
    }
}

/// Whether nothing follows the head.
pub(crate) fn no_body(request: &Request<'_>) -> bool {
    matches!(request.framing, BodyFraming::None | BodyFraming::Length(0))
}
