//! The generator's own backend: answers what the plan says to each request target, and anything else
//! with a body of one length; reads request bodies to the byte.

use std::net::SocketAddr;

use rustc_hash::FxHashMap;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, FlowId, Phase, Stack};
use sluice_wire::http1::{
    BodyDecoder, BodyEvent, BodyFraming, HeadIndex, Limits, MethodKind, parse_request,
    reason_phrase,
};

use super::message::Message;
use super::pattern::{Pattern, phase};
use super::plan::RequestFile;

/// What the backend does.
#[derive(Debug, Clone)]
pub struct ServerSetup {
    /// Number of the stack's port that it listens on.
    pub port: u8,
    /// Where it listens, a socket address for each address of the port.
    pub addresses: Vec<SocketAddr>,
    /// Length of the body of answers that no request of the plan speaks of.
    pub body: u64,
    /// Of each connection.
    pub buffers: Buffers,
}

/// What the backend has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// Connections accepted.
    pub connections: u64,
    /// Whole requests read, and answered.
    pub requests: u64,
    /// Requests that are not HTTP: their connection was reset.
    pub malformed: u64,
    /// Request bodies other than the pattern's, where the plan sends that.
    pub wrong_bodies: u64,
}

/// Connections accepted at most; more are reset.
const MAX_CONNECTIONS: usize = 1 << 17;

#[derive(Debug)]
struct Answer {
    keep: Message,
    close: Message,
    head_keep: Message,
    head_close: Message,
    /// The request's body is of the pattern, and begins here.
    body: Option<u32>,
}

#[derive(Debug)]
enum State {
    Head,
    /// Reads the request's body, then answers.
    Body {
        decoder: BodyDecoder,
        at: u64,
        right: bool,
        reply: Reply,
    },
    Answer {
        reply: Reply,
        sent: u64,
    },
}

/// Which answer.
#[derive(Debug, Clone, Copy)]
struct Reply {
    /// Number in `answers`.
    answer: u32,
    /// To HEAD: without the body.
    head: bool,
    /// The last one on its connection.
    close: bool,
}

#[derive(Debug)]
struct Connection {
    flow: FlowId,
    state: State,
}

/// The backend's connections.
#[derive(Debug)]
pub(crate) struct Server {
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    answers: Vec<Answer>,
    by_target: FxHashMap<Box<[u8]>, u32>,
    pattern: Pattern,
    limits: Limits,
    index: HeadIndex,
    scratch: Vec<u8>,
    pub(crate) served: Served,
}

impl Server {
    /// Begins to listen.
    pub(crate) fn new<P: PacketIo>(
        setup: &ServerSetup,
        file: &RequestFile,
        stack: &mut Stack<P>,
    ) -> Self {
        let pattern = Pattern::default();
        // The answer to any other target: its body is the pattern's beginning.
        let mut answers = vec![answer(200, setup.body, b"", None, &pattern)];
        let mut by_target = FxHashMap::default();
        for spec in &file.requests {
            let target = spec.path.as_bytes();
            let length = spec.response.map_or(setup.body, |size| size.0);
            let body = spec.body.map(|_| phase(target));
            let number = answers.len() as u32;
            answers.push(answer(
                spec.status.unwrap_or(200),
                length,
                target,
                body,
                &pattern,
            ));
            by_target.entry(target.into()).or_insert(number);
        }
        for &address in &setup.addresses {
            stack.listen(setup.port, address, 0, setup.buffers);
        }
        Server {
            connections: Vec::new(),
            free: Vec::new(),
            answers,
            by_target,
            pattern,
            limits: Limits::default(),
            index: HeadIndex::new(),
            scratch: Vec::new(),
            served: Served::default(),
        }
    }

    /// Takes a flow that was just accepted, for the user number that `user` makes of its slot; `None`
    /// where there are too many.
    pub(crate) fn accept<P: PacketIo>(
        &mut self,
        flow: FlowId,
        stack: &mut Stack<P>,
        user: impl FnOnce(u32) -> u32,
        now: Instant,
    ) -> Option<u32> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.connections.len() < MAX_CONNECTIONS => {
                self.connections.push(None);
                (self.connections.len() - 1) as u32
            }
            None => {
                stack.abort(flow, now);
                return None;
            }
        };
        self.served.connections += 1;
        stack.adopt(flow, user(slot));
        let state = State::Head;
        *self.connections.get_mut(slot as usize)? = Some(Connection { flow, state });
        Some(slot)
    }

    /// Something happened on a connection.
    pub(crate) fn drive<P: PacketIo>(&mut self, slot: u32, stack: &mut Stack<P>, now: Instant) {
        // Each turn reads or writes something, or is the last one.
        loop {
            let Some(Some(connection)) = self.connections.get_mut(slot as usize) else {
                return;
            };
            let flow = connection.flow;
            let go_on = match &mut connection.state {
                State::Head => self.read_head(slot, stack, now),
                State::Body { .. } => self.read_body(slot, stack, now),
                State::Answer { reply, sent } => {
                    let Some(answer) = self.answers.get(reply.answer as usize) else {
                        return;
                    };
                    let message = match (reply.head, reply.close) {
                        (false, false) => &answer.keep,
                        (false, true) => &answer.close,
                        (true, false) => &answer.head_keep,
                        (true, true) => &answer.head_close,
                    };
                    if message.write(sent, &self.pattern, stack, flow) {
                        self.served.requests += 1;
                        let last = reply.close;
                        connection.state = State::Head;
                        if last {
                            self.forget(slot, false, stack, now);
                        }
                        !last
                    } else {
                        if stack.view(flow).phase == Phase::Closed {
                            self.forget(slot, false, stack, now);
                        }
                        false
                    }
                }
            };
            if !go_on {
                return;
            }
        }
    }

    fn forget<P: PacketIo>(&mut self, slot: u32, abort: bool, stack: &mut Stack<P>, now: Instant) {
        let Some(connection) = self
            .connections
            .get_mut(slot as usize)
            .and_then(Option::take)
        else {
            return;
        };
        if abort {
            stack.abort(connection.flow, now);
        } else {
            stack.close(connection.flow, now);
        }
        self.free.push(slot);
    }

    #[inline]
    fn read_head<P: PacketIo>(&mut self, slot: u32, stack: &mut Stack<P>, now: Instant) -> bool {
        let Some(Some(connection)) = self.connections.get_mut(slot as usize) else {
            return false;
        };
        let flow = connection.flow;
        let input = stack.front(flow, self.limits.head, &mut self.scratch);
        if input.is_empty() {
            if stack.view(flow).finished {
                self.forget(slot, false, stack, now);
            }
            return false;
        }
        let request = match parse_request(input, &self.limits, &mut self.index) {
            Ok(Some(request)) => request,
            Ok(None) => {
                if stack.view(flow).finished {
                    self.served.malformed += 1;
                    self.forget(slot, true, stack, now);
                }
                return false;
            }
            Err(_) => {
                self.served.malformed += 1;
                self.forget(slot, true, stack, now);
                return false;
            }
        };
        let number = self.by_target.get(request.target()).copied();
        let reply = Reply {
            answer: number.unwrap_or(0),
            head: request.method_kind() == MethodKind::Head,
            close: !request.keep_alive,
        };
        let (framing, length) = (request.framing, request.head_len);
        stack.consume(flow, length);
        connection.state = match framing {
            BodyFraming::None | BodyFraming::Length(0) => State::Answer { reply, sent: 0 },
            framing => State::Body {
                decoder: BodyDecoder::new(framing),
                at: 0,
                right: true,
                reply,
            },
        };
        true
    }

    fn read_body<P: PacketIo>(&mut self, slot: u32, stack: &mut Stack<P>, now: Instant) -> bool {
        let Some(Some(Connection { flow, state })) = self.connections.get_mut(slot as usize) else {
            return false;
        };
        let State::Body {
            decoder,
            at,
            right,
            reply,
        } = state
        else {
            return false;
        };
        let (flow, reply) = (*flow, *reply);
        let phase = self
            .answers
            .get(reply.answer as usize)
            .and_then(|answer| answer.body);
        while !decoder.is_done() {
            let input = stack.front(flow, 64 * 1024, &mut self.scratch);
            let consumed = match decoder.next(input) {
                Ok(BodyEvent::Data { len }) => {
                    let data = input.get(..len).unwrap_or_default();
                    *right =
                        *right && phase.is_none_or(|phase| self.pattern.matches(data, phase, *at));
                    *at += len as u64;
                    decoder.take_data(len);
                    len
                }
                Ok(
                    BodyEvent::ChunkStart { consumed, .. }
                    | BodyEvent::ChunkEnd { consumed }
                    | BodyEvent::Trailers { consumed, .. },
                ) => consumed,
                Ok(BodyEvent::Done) => break,
                Ok(BodyEvent::NeedMore) => {
                    if stack.view(flow).finished {
                        self.forget(slot, true, stack, now);
                    }
                    return false;
                }
                Err(_) => {
                    self.served.malformed += 1;
                    self.forget(slot, true, stack, now);
                    return false;
                }
            };
            stack.consume(flow, consumed);
        }
        self.served.wrong_bodies += u64::from(!*right);
        *state = State::Answer { reply, sent: 0 };
        true
    }
}

fn answer(status: u16, length: u64, target: &[u8], body: Option<u32>, pattern: &Pattern) -> Answer {
    let bodiless = matches!(status, 204 | 304);
    let head = |more: &str| {
        let reason = reason_phrase(status);
        let mut head = format!("HTTP/1.1 {status} {reason}\r\nServer: sluice-bench\r\n");
        head.push_str("Content-Type: application/octet-stream\r\n");
        if !bodiless {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str(more);
        head.push_str("\r\n");
        head.into_bytes()
    };
    let length_sent = if bodiless { 0 } else { length };
    let message = |head, length| Message::new(head, length, phase(target), pattern);
    Answer {
        keep: message(head(""), length_sent),
        close: message(head("Connection: close\r\n"), length_sent),
        head_keep: message(head(""), 0),
        head_close: message(head("Connection: close\r\n"), 0),
        body,
    }
}
