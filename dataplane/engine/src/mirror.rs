//! Copies of requests for another service. A copy has a connection of its own; its answer is read and
//! thrown away, and nothing that becomes of it touches the request it was made of.

use sluice_policy::{LaneId, ServiceId, Snapshot};
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, Phase};
use sluice_wire::http1::{BodyDecoder, BodyEvent, Limits, RequestKind, parse_response};

use crate::pool::Upstream;
use crate::stats::EngineEvent;
use crate::worker::{Role, Worker};

/// Copies under way at a time, per worker.
const MAX_COPIES: u32 = 1024;
/// Bytes of a copy's connection in each direction: its request has to fit.
const BUFFER: usize = 64 << 10;

/// The copy of a request on its connection.
pub(crate) struct Copied {
    /// The whole request, until it is sent.
    head: Vec<u8>,
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
}

impl<P: PacketIo> Worker<P> {
    /// Sends a copy of the request whose head is ready to be sent to this service; it has no body.
    #[cold]
    pub(crate) fn copy_request(
        &mut self,
        rules: &Snapshot,
        (id, lane): (ServiceId, Option<LaneId>),
        kind: RequestKind,
        limits: Limits,
        now: Instant,
    ) {
        let event = match self.begin_copy(rules, (id, lane), kind, limits, now) {
            Some(number) => {
                self.drive_copy(number, now);
                EngineEvent::Mirrored
            }
            None => EngineEvent::MirrorSkipped,
        };
        self.stats.events.count(event);
    }

    fn begin_copy(
        &mut self,
        rules: &Snapshot,
        (id, lane): (ServiceId, Option<LaneId>),
        kind: RequestKind,
        limits: Limits,
        now: Instant,
    ) -> Option<u32> {
        let service = rules.service(id)?;
        if self.copies >= MAX_COPIES {
            return None;
        }
        let endpoint = self.balancer.pick(id, service, service.group(lane)?)?;
        let pool = self.generations.current().pool(id, endpoint)?;
        let copy = Box::new(Copied {
            head: self.spare.out.clone(),
            kind,
            limits,
            body: None,
            answered: false,
            deadline: now + service.connect_timeout + service.response_timeout,
        });
        let deadline = copy.deadline;
        let max_connections = self.share(service.max_connections);
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
        if !copy.head.is_empty() {
            let sent = self.stack.write(flow, &copy.head);
            copy.head.drain(..sent);
            if copy.head.is_empty()
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
                return Some(*keep && copy.head.is_empty() && !view.finished);
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
