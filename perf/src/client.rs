//! An HTTP/1.1 client that keeps connections busy and checks what it gets.

use std::net::SocketAddr;
use std::time::Duration;

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, FlowId, Owner, Phase, Stack};
use sluice_wire::http1::{BodyDecoder, BodyEvent, HeadIndex, Limits, RequestKind, parse_response};

use crate::bytes;

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// Number of the request, given back with its outcome.
    pub id: u64,
    /// The whole request, body included.
    pub bytes: Vec<u8>,
    /// What the answer's framing depends on.
    pub kind: RequestKind,
    /// Close our half of the connection behind the request.
    pub half_close: bool,
    /// Reset the connection when so much of the answer's body has come.
    pub abandon_after: Option<u64>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Its number.
    pub id: u64,
    /// How it ended.
    pub end: End,
    /// From the first byte queued to the last byte read.
    pub took: Duration,
}

/// The end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A whole answer.
    Answered {
        /// Its status.
        status: u16,
        /// Bytes of its body.
        length: u64,
        /// Every byte of the body is the one that follows from the request's number.
        right: bool,
    },
    /// The connection ended before the answer was complete.
    Broken,
    /// The answer is not HTTP.
    Garbage,
    /// We reset it, as the request said.
    Abandoned,
    /// The connection could not be opened.
    Refused,
    /// We gave up waiting.
    TimedOut,
}

/// Where requests come from and outcomes go.
pub trait Workload {
    /// The next request of connection `slot`, at time `now`; `None` when that connection has
    /// nothing to ask now (it is asked again at the next poll).
    fn next(&mut self, slot: usize, now: Instant) -> Option<&Request>;
    /// A request has ended.
    fn ended(&mut self, slot: usize, outcome: Outcome);
}

struct Connection {
    flow: Option<FlowId>,
    request: Option<Sending>,
    /// Bytes of the request that are in the send queue.
    sent: usize,
    body: Option<Body>,
}

struct Sending {
    request: Request,
    began: Instant,
}

struct Body {
    decoder: BodyDecoder,
    status: u16,
    keep_alive: bool,
    length: u64,
    right: bool,
}

/// A client over its own stack.
pub struct Client<P: PacketIo> {
    stack: Stack<P>,
    target: SocketAddr,
    buffers: Buffers,
    connections: Vec<Connection>,
    limits: Limits,
    index: HeadIndex,
    scratch: Vec<u8>,
}

impl<P: PacketIo> Client<P> {
    /// A client with `connections` connections to `target`, opened by need through the stack's
    /// first port.
    pub fn new(stack: Stack<P>, target: SocketAddr, connections: usize, buffers: Buffers) -> Self {
        Client {
            stack,
            target,
            buffers,
            connections: (0..connections)
                .map(|_| Connection {
                    flow: None,
                    request: None,
                    sent: 0,
                    body: None,
                })
                .collect(),
            limits: Limits::default(),
            index: HeadIndex::new(),
            scratch: Vec::new(),
        }
    }

    /// One turn.
    pub fn poll_once(&mut self, workload: &mut impl Workload, now: Instant) -> usize {
        let frames = self.stack.receive(now);
        self.stack.expire(now);
        while let Some((flow, owner)) = self.stack.next_ready() {
            let Owner::User(slot) = owner else { continue };
            if self
                .connections
                .get(slot as usize)
                .is_some_and(|c| c.flow == Some(flow))
            {
                self.drive(slot as usize, workload, now);
            }
        }
        self.stack.flush(now);
        frames
    }

    /// Has every connection without a request look for one.
    pub fn kick(&mut self, workload: &mut impl Workload, now: Instant) {
        for slot in 0..self.connections.len() {
            if self.connections[slot].request.is_none() {
                self.drive(slot, workload, now);
            }
        }
        self.stack.flush(now);
    }

    /// Has one connection look for a request, if it has none. What it sends leaves with the next
    /// poll.
    pub fn kick_one(&mut self, slot: usize, workload: &mut impl Workload, now: Instant) {
        if self.connections[slot].request.is_none() {
            self.drive(slot, workload, now);
        }
    }

    /// Gives up requests that began longer ago than `patience`.
    pub fn give_up(&mut self, patience: Duration, workload: &mut impl Workload, now: Instant) {
        for slot in 0..self.connections.len() {
            let connection = &mut self.connections[slot];
            if connection
                .request
                .as_ref()
                .is_some_and(|r| now.since(r.began) > patience)
            {
                if let Some(flow) = connection.flow.take() {
                    self.stack.abort(flow, now);
                }
                self.finish(slot, End::TimedOut, false, workload, now);
            }
        }
    }

    /// Closes every connection.
    pub fn close_all(&mut self, now: Instant) {
        for connection in &mut self.connections {
            if let Some(flow) = connection.flow.take() {
                self.stack.close(flow, now);
            }
        }
        self.stack.flush(now);
    }

    /// When there is something to do, frames aside.
    pub fn next_wake(&self) -> Option<Instant> {
        self.stack.next_wake()
    }

    /// The stack.
    pub fn stack(&self) -> &Stack<P> {
        &self.stack
    }

    /// How many connections it has, open or not.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Requests that have not ended.
    pub fn under_way(&self) -> usize {
        self.connections
            .iter()
            .filter(|c| c.request.is_some())
            .count()
    }

    fn drive(&mut self, slot: usize, workload: &mut impl Workload, now: Instant) {
        // A request after the other while answers are there; bounded by what can be there.
        for _ in 0..64 {
            let connection = &mut self.connections[slot];
            if connection.request.is_none() {
                let Some(request) = workload.next(slot, now) else {
                    return;
                };
                let request = request.clone();
                connection.request = Some(Sending {
                    request,
                    began: now,
                });
                connection.sent = 0;
                connection.body = None;
            }
            let flow = match connection.flow {
                Some(flow) if self.stack.view(flow).phase != Phase::Closed => flow,
                Some(flow) if connection.sent == 0 => {
                    // It ended between two requests.
                    self.stack.close(flow, now);
                    connection.flow = None;
                    continue;
                }
                Some(_) => return self.finish(slot, End::Broken, false, workload, now),
                None => {
                    let user = slot as u32;
                    match self.stack.connect(0, self.target, user, self.buffers, now) {
                        Ok(flow) => connection.flow = Some(flow),
                        Err(_) => return self.finish(slot, End::Refused, false, workload, now),
                    }
                    return;
                }
            };
            if !self.exchange(slot, flow, workload, now) {
                return;
            }
        }
        if let Some(flow) = self.connections[slot].flow {
            self.stack.wake(flow);
        }
    }

    /// Sends and receives; true when the request ended and the connection may be used again.
    fn exchange(
        &mut self,
        slot: usize,
        flow: FlowId,
        workload: &mut impl Workload,
        now: Instant,
    ) -> bool {
        let connection = &mut self.connections[slot];
        let Some(sending) = &connection.request else {
            return false;
        };
        let request = &sending.request;
        if let Some(rest) = request.bytes.get(connection.sent..)
            && !rest.is_empty()
        {
            connection.sent += self.stack.write(flow, rest);
            if connection.sent == request.bytes.len() && request.half_close {
                self.stack.finish_sending(flow);
            }
        }
        loop {
            let view = self.stack.view(flow);
            let Some(body) = &mut connection.body else {
                let head = self.stack.front(flow, self.limits.head, &mut self.scratch);
                let parsed = parse_response(head, request.kind, &self.limits, &mut self.index);
                match parsed {
                    Ok(Some(response)) => {
                        let (status, length) = (response.status, response.head_len);
                        if !response.is_interim() {
                            connection.body = Some(Body {
                                decoder: BodyDecoder::new(response.framing),
                                status,
                                keep_alive: response.keep_alive,
                                length: 0,
                                right: true,
                            });
                        }
                        self.stack.consume(flow, length);
                        continue;
                    }
                    Ok(None) if view.finished && view.phase != Phase::Connecting => {
                        self.finish(slot, End::Broken, false, workload, now);
                    }
                    Ok(None) => {}
                    Err(_) => self.finish(slot, End::Garbage, false, workload, now),
                }
                return false;
            };
            let input = self.stack.front(flow, 64 * 1024, &mut self.scratch);
            let event = body.decoder.next(input);
            let consumed = match event {
                Ok(BodyEvent::Data { len }) => {
                    body.right &= bytes::are_right(&input[..len], request.id, body.length);
                    body.length += len as u64;
                    body.decoder.take_data(len);
                    len
                }
                Ok(BodyEvent::ChunkStart { consumed, .. } | BodyEvent::ChunkEnd { consumed }) => {
                    consumed
                }
                Ok(BodyEvent::Trailers { consumed, .. }) => consumed,
                Ok(BodyEvent::NeedMore) => {
                    let reset = view.phase == Phase::Closed;
                    if view.finished && (reset || body.decoder.on_eof().is_err()) {
                        self.finish(slot, End::Broken, false, workload, now);
                        return false;
                    }
                    if !view.finished {
                        return false;
                    }
                    0
                }
                Ok(BodyEvent::Done) => 0,
                Err(_) => {
                    self.finish(slot, End::Garbage, false, workload, now);
                    return false;
                }
            };
            self.stack.consume(flow, consumed);
            if request
                .abandon_after
                .is_some_and(|limit| body.length >= limit)
            {
                self.stack.abort(flow, now);
                connection.flow = None;
                self.finish(slot, End::Abandoned, true, workload, now);
                return true;
            }
            if body.decoder.is_done() {
                let Body {
                    status,
                    length,
                    right,
                    keep_alive,
                    ..
                } = *body;
                let whole = connection.sent == request.bytes.len();
                let keep = keep_alive && whole && !request.half_close;
                self.finish(
                    slot,
                    End::Answered {
                        status,
                        length,
                        right,
                    },
                    keep,
                    workload,
                    now,
                );
                return true;
            }
        }
    }

    fn finish(
        &mut self,
        slot: usize,
        end: End,
        keep: bool,
        workload: &mut impl Workload,
        now: Instant,
    ) {
        let connection = &mut self.connections[slot];
        connection.body = None;
        if !keep && let Some(flow) = connection.flow.take() {
            self.stack.close(flow, now);
        }
        if let Some(sending) = connection.request.take() {
            let took = now.since(sending.began);
            workload.ended(
                slot,
                Outcome {
                    id: sending.request.id,
                    end,
                    took,
                },
            );
        }
    }
}
