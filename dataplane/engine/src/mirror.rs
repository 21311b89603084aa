//! Copies of requests for another service. A copy has a connection of its own; its answer is read and
//! thrown away, and nothing that becomes of it touches the request it was made of.

use std::time::Duration;

use sluice_policy::action::Mirror;
use sluice_policy::{LaneId, ServiceId};
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, Phase};
use sluice_wire::http1::{
    BodyDecoder, BodyEvent, BodyFraming, Limits, RequestKind, parse_response,
};

use crate::exchange::Exchange;
use crate::pool::Upstream;
use crate::stats::EngineEvent;
use crate::worker::{Role, Worker};

/// Copies under way at a time, per worker.
pub(crate) const MAX_COPIES: u32 = 1024;
/// Bytes of bodies kept for copies at a time, per worker.
pub(crate) const MAX_COPIED_BYTES: usize = 16 << 20;
/// Bytes of a copy's connection in each direction.
const BUFFER: usize = 64 << 10;

/// The copy of a request on its connection.
pub(crate) struct Copied {
    /// The whole request.
    message: Vec<u8>,
    /// Bytes of it that are sent.
    sent: usize,
    /// Bytes that count as kept for it.
    pub(crate) reserved: usize,
    kind: RequestKind,
    limits: Limits,
    /// Its answer's body, once that has begun, and whether the connection can be used again.
    body: Option<(BodyDecoder, bool)>,
    answered: bool,
    deadline: Instant,
}

impl Copied {
    /// Whether its answer was complete.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered
    }

    fn is_sent(&self) -> bool {
        self.sent >= self.message.len()
    }
}

/// The copy that is made of a request with a body while that goes on.
#[derive(Debug)]
pub(crate) struct Copying {
    /// Head and body as far as they have gone on.
    message: Vec<u8>,
    /// Most bytes of both.
    most: usize,
    reserved: usize,
    /// It has grown too large.
    given_up: bool,
    service: ServiceId,
}

impl Copying {
    /// Adds what goes on of the body.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        if self.message.len() + bytes.len() > self.most {
            self.give_up();
        }
        if !self.given_up {
            self.message.extend_from_slice(bytes);
        }
    }

    /// No copy is made.
    pub(crate) fn give_up(&mut self) {
        self.given_up = true;
        self.message = Vec::new();
    }
}

/// What a copy is to be sent as.
struct Original {
    message: Vec<u8>,
    reserved: usize,
    kind: RequestKind,
    limits: Limits,
}

impl<P: PacketIo> Worker<P> {
    /// Sends a copy of the request whose head stands in the scratch buffer, or has it made while the
    /// request's body goes on.
    #[cold]
    pub(crate) fn mirror(
        &mut self,
        exchange: &mut Exchange,
        mirror: Mirror,
        framing: BodyFraming,
        now: Instant,
    ) {
        let message = self.spare.out.clone();
        if exchange.bodiless && !exchange.upgrade {
            let original = Original {
                message,
                reserved: 0,
                kind: exchange.kind,
                limits: self.limits_of(exchange.down),
            };
            self.send_copy(None, (mirror.service, exchange.lane), original, now);
            return;
        }
        let reserved = match framing {
            BodyFraming::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
            BodyFraming::None | BodyFraming::Chunked | BodyFraming::UntilClose => mirror.body,
        };
        let fits = reserved <= mirror.body && reserved <= MAX_COPIED_BYTES - self.copied_bytes;
        if exchange.upgrade || mirror.body == 0 || !fits {
            self.stats.events.count(EngineEvent::MirrorSkipped);
            return;
        }
        self.copied_bytes += reserved;
        exchange.request.copy = Some(Box::new(Copying {
            most: message.len() + mirror.body,
            message,
            reserved,
            given_up: false,
            service: mirror.service,
        }));
    }

    /// Sends the copy of a request whose body has gone on as a whole.
    #[cold]
    pub(crate) fn copy_whole(&mut self, number: u32, now: Instant) {
        let Some(exchange) = self.exchanges.get_mut(number as usize) else {
            return;
        };
        if exchange
            .request
            .copy
            .as_ref()
            .is_some_and(|copy| copy.given_up)
        {
            return;
        }
        let Some(copy) = exchange.request.copy.take() else {
            return;
        };
        let (generation, down) = (exchange.generation, exchange.down);
        let (kind, to) = (exchange.kind, (copy.service, exchange.lane));
        let original = Original {
            message: copy.message,
            reserved: copy.reserved,
            kind,
            limits: self.limits_of(down),
        };
        self.send_copy(Some(generation), to, original, now);
    }

    /// An exchange is over; a copy that was still to be made is not.
    #[inline]
    pub(crate) fn drop_copy(&mut self, exchange: &mut Exchange) {
        if let Some(copy) = exchange.request.copy.take() {
            self.copied_bytes = self.copied_bytes.saturating_sub(copy.reserved);
            self.stats.events.count(EngineEvent::MirrorSkipped);
        }
    }

    fn limits_of(&self, down: u32) -> Limits {
        let down = self.downs.get(down as usize);
        down.map(|down| down.limits).unwrap_or_default()
    }

    /// Sends a copy to a service of these rules, the newest without a number.
    fn send_copy(
        &mut self,
        generation: Option<usize>,
        to: (ServiceId, Option<LaneId>),
        original: Original,
        now: Instant,
    ) {
        let reserved = original.reserved;
        match self.begin_copy(generation, to, original, now) {
            Some(number) => {
                self.stats.events.count(EngineEvent::Mirrored);
                self.drive_copy(number, now);
            }
            None => {
                self.copied_bytes = self.copied_bytes.saturating_sub(reserved);
                self.stats.events.count(EngineEvent::MirrorSkipped);
            }
        }
    }

    fn begin_copy(
        &mut self,
        generation: Option<usize>,
        (id, lane): (ServiceId, Option<LaneId>),
        original: Original,
        now: Instant,
    ) -> Option<u32> {
        if self.copies >= MAX_COPIES {
            return None;
        }
        let generation = match generation {
            Some(number) => self.generations.get(number)?,
            None => self.generations.current(),
        };
        let service = generation.snapshot.service(id)?;
        let pool = generation.next_pool(id, service, service.group(lane)?)?;
        let patience: Duration = service.connect_timeout + service.response_timeout;
        let max_connections = service.max_connections;
        let copy = Box::new(Copied {
            message: original.message,
            sent: 0,
            reserved: original.reserved,
            kind: original.kind,
            limits: original.limits,
            body: None,
            answered: false,
            deadline: now + patience,
        });
        let deadline = copy.deadline;
        let max_connections = self.share(max_connections);
        let number = match self.take_waiting(pool, now) {
            Some(number) => {
                self.ups.get_mut(number as usize)?.copy = Some(copy);
                self.stats.events.count(EngineEvent::UpstreamReused);
                number
            }
            None if self.pools.service_connections(pool) >= max_connections => return None,
            None => self.open_copy(pool, copy, now)?,
        };
        self.copies += 1;
        self.up_timers.set(number, deadline);
        Some(number)
    }

    fn open_copy(&mut self, pool: u32, copy: Box<Copied>, now: Instant) -> Option<u32> {
        let (port, address) = self.pools.get(pool).map(|pool| (pool.port, pool.address))?;
        let entry = self.ups.vacant_entry();
        let number = entry.key() as u32;
        let buffers = Buffers {
            receive: BUFFER,
            send: BUFFER,
        };
        let user = Role::Up(number).number();
        let flow = self.stack.connect(port, address, user, buffers, now).ok()?;
        entry.insert(Upstream {
            flow,
            pool,
            exchange: None,
            copy: Some(copy),
            reused: false,
            kept_by: None,
            idle_since: now,
            backlog: Vec::new(),
        });
        self.pools.opened(pool);
        self.stats.events.count(EngineEvent::UpstreamOpened);
        Some(number)
    }

    /// Goes on with a copy as far as its connection allows.
    pub(crate) fn drive_copy(&mut self, number: u32, now: Instant) {
        let Some(upstream) = self.ups.get_mut(number as usize) else {
            return;
        };
        let (flow, pool) = (upstream.flow, upstream.pool);
        let Some(copy) = &mut upstream.copy else {
            return;
        };
        match self.stack.view(flow).phase {
            Phase::Connecting => return,
            Phase::Open => {}
            Phase::Closed => return self.close_upstream(number, true, now),
        }
        if !copy.is_sent() {
            let rest = copy.message.get(copy.sent..).unwrap_or_default();
            copy.sent += self.stack.write(flow, rest);
            if copy.is_sent()
                && let Some(pool) = self.pools.get_mut(pool)
            {
                pool.clear();
                pool.stats.sent();
            }
        }
        match self.read_copy(number) {
            Some(true) => self.release_upstream(number, true, now),
            Some(false) => self.close_upstream(number, true, now),
            None => {}
        }
    }

    /// Reads of a copy's answer what is there: `Some` when it is over, with whether its connection
    /// can be used again.
    fn read_copy(&mut self, number: u32) -> Option<bool> {
        let upstream = self.ups.get_mut(number as usize)?;
        let flow = upstream.flow;
        let copy = upstream.copy.as_mut()?;
        loop {
            let view = self.stack.view(flow);
            let Some((decoder, keep)) = &mut copy.body else {
                if view.readable == 0 {
                    return view.finished.then_some(false);
                }
                let limit = copy.limits.head;
                let buffer = self.stack.front(flow, limit, &mut self.spare.linear);
                match parse_response(buffer, copy.kind, &copy.limits, &mut self.index) {
                    Ok(Some(response)) if response.status != 101 => {
                        let final_one = !response.is_interim();
                        let decoder = BodyDecoder::new(response.framing);
                        copy.body = final_one.then_some((decoder, response.keep_alive));
                        let head_len = response.head_len;
                        self.stack.consume(flow, head_len);
                        continue;
                    }
                    Ok(None) if !view.finished => return None,
                    Ok(_) | Err(_) => return Some(false),
                }
            };
            let input = self.stack.peek(flow);
            let shown = input.len();
            let mut event = decoder.next(input).ok();
            if event == Some(BodyEvent::NeedMore) && view.readable > shown {
                // A size line or the trailers straddle the end of the receive ring.
                let whole = self
                    .stack
                    .front(flow, view.readable, &mut self.spare.linear);
                event = decoder.next(whole).ok();
            }
            let consumed = match event {
                None => return Some(false),
                Some(BodyEvent::Done) => 0,
                Some(BodyEvent::NeedMore) if !view.finished => return None,
                Some(BodyEvent::NeedMore) => {
                    copy.answered = decoder.on_eof().is_ok();
                    0
                }
                Some(BodyEvent::Data { len }) => {
                    decoder.take_data(len);
                    len
                }
                Some(
                    BodyEvent::ChunkStart { consumed, .. }
                    | BodyEvent::ChunkEnd { consumed }
                    | BodyEvent::Trailers { consumed, .. },
                ) => consumed,
            };
            self.stack.consume(flow, consumed);
            if decoder.is_done() {
                copy.answered = true;
                self.stats.events.count(EngineEvent::MirrorAnswered);
                let keep = *keep && !view.finished;
                return Some(keep && copy.is_sent());
            }
            if consumed == 0 {
                return Some(false);
            }
        }
    }

    /// A copy was not answered in time.
    pub(crate) fn copy_due(&mut self, number: u32, now: Instant) {
        let copy = self
            .ups
            .get(number as usize)
            .and_then(|up| up.copy.as_ref());
        match copy.map(|copy| copy.deadline) {
            Some(deadline) if now < deadline => self.up_timers.set(number, deadline),
            _ => self.close_upstream(number, true, now),
        }
    }
}
