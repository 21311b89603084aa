//! An HTTP/1.1 server that answers what the path asks for (see [`crate::bytes`]), and anything else
//! with 100 bytes.

use std::net::SocketAddr;

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, FlowId, Owner, Phase, Stack};
use sluice_wire::http1::{
    BodyDecoder, BodyEvent, HeadIndex, Limits, MethodKind, parse_request, write_chunk_header,
    write_last_chunk,
};

use crate::bytes::{self, Ask, Form};

/// Bytes of an answer prepared ahead of the send queue.
const PREPARED: usize = 16 * 1024;

/// What a backend has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Connections accepted.
    pub connections: u64,
    /// Request heads read.
    pub requests: u64,
    /// Whole answers written.
    pub answers: u64,
    /// Requests that are not valid HTTP: none may ever reach a backend through the gateway.
    pub malformed: u64,
    /// Request bodies with a wrong byte or length: the same.
    pub wrong_bodies: u64,
}

/// The answer to any request that asks for nothing else.
const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\nServer: backend\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

enum State {
    Head,
    /// Reads the request's body, checks it, then answers.
    Body {
        ask: Ask,
        head_only: bool,
        decoder: BodyDecoder,
        position: u64,
        keep: bool,
    },
    Answer {
        ask: Ask,
        position: u64,
        end: u64,
        keep: bool,
    },
    /// Never says anything again.
    Silent,
}

struct Connection {
    flow: FlowId,
    state: State,
    out: Vec<u8>,
    written: usize,
    closing: bool,
}

/// A server over its own stack.
pub struct Backend<P: PacketIo> {
    stack: Stack<P>,
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    limits: Limits,
    index: HeadIndex,
    scratch: Vec<u8>,
    /// What it has seen.
    pub seen: Seen,
    /// The numbers of the requests that it is to remember, each with the address that it came to.
    pub log: Option<Vec<(u64, SocketAddr)>>,
}

impl<P: PacketIo> Backend<P> {
    /// A server that listens on these addresses of the stack's first port.
    pub fn new(mut stack: Stack<P>, addresses: &[SocketAddr], buffers: Buffers) -> Self {
        for &address in addresses {
            stack.listen(0, address, 0, buffers);
        }
        Backend {
            stack,
            connections: Vec::new(),
            free: Vec::new(),
            limits: Limits::default(),
            index: HeadIndex::new(),
            scratch: Vec::new(),
            seen: Seen::default(),
            log: None,
        }
    }

    /// Listens on one more address of the stack's first port.
    pub fn listen(&mut self, address: SocketAddr, buffers: Buffers) {
        self.stack.listen(0, address, 0, buffers);
    }

    /// One turn.
    pub fn poll_once(&mut self, now: Instant) -> usize {
        let frames = self.stack.receive(now);
        self.stack.expire(now);
        while let Some((flow, owner)) = self.stack.next_ready() {
            let slot = match owner {
                Owner::User(slot) => slot,
                Owner::Listener(_) => self.accept(flow),
            };
            self.drive(slot as usize, now);
        }
        self.stack.flush(now);
        frames
    }

    /// When there is something to do, frames aside.
    pub fn next_wake(&self) -> Option<Instant> {
        self.stack.next_wake()
    }

    /// The stack.
    pub fn stack(&self) -> &Stack<P> {
        &self.stack
    }

    /// Ends every connection at once, as a server that restarts does.
    pub fn restart(&mut self, now: Instant) {
        for slot in 0..self.connections.len() {
            self.forget(slot, true, now);
        }
        self.stack.flush(now);
    }

    fn accept(&mut self, flow: FlowId) -> u32 {
        self.seen.connections += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            (self.connections.len() - 1) as u32
        });
        self.stack.adopt(flow, slot);
        self.connections[slot as usize] = Some(Connection {
            flow,
            state: State::Head,
            out: Vec::new(),
            written: 0,
            closing: false,
        });
        slot
    }

    fn forget(&mut self, slot: usize, abort: bool, now: Instant) {
        if let Some(connection) = self.connections[slot].take() {
            if abort {
                self.stack.abort(connection.flow, now);
            } else {
                self.stack.close(connection.flow, now);
            }
            self.free.push(slot as u32);
        }
    }

    fn drive(&mut self, slot: usize, now: Instant) {
        loop {
            let Some(Some(connection)) = self.connections.get_mut(slot) else {
                return;
            };
            let flow = connection.flow;
            let view = self.stack.view(flow);
            if view.phase == Phase::Closed {
                return self.forget(slot, false, now);
            }
            if connection.written < connection.out.len() {
                let rest = &connection.out[connection.written..];
                connection.written += self.stack.write(flow, rest);
                if connection.written < connection.out.len() {
                    return;
                }
                connection.out.clear();
                connection.written = 0;
            }
            if connection.closing {
                return self.forget(slot, false, now);
            }
            let go_on = match connection.state {
                State::Head => self.head(slot, now),
                State::Body { .. } => self.body(slot, now),
                State::Answer { .. } => {
                    Self::answer(connection, &mut self.seen);
                    true
                }
                State::Silent => false,
            };
            if !go_on {
                return;
            }
        }
    }

    fn head(&mut self, slot: usize, now: Instant) -> bool {
        let Some(Some(connection)) = self.connections.get_mut(slot) else {
            return false;
        };
        let view = self.stack.view(connection.flow);
        let local = self.stack.key(connection.flow).map(|key| key.local());
        let buffer = self
            .stack
            .front(connection.flow, self.limits.head, &mut self.scratch);
        let request = match parse_request(buffer, &self.limits, &mut self.index) {
            Ok(Some(request)) => request,
            Ok(None) => {
                if view.finished {
                    self.seen.malformed += u64::from(view.readable > 0);
                    self.forget(slot, false, now);
                }
                return false;
            }
            Err(_) => {
                self.seen.malformed += 1;
                self.forget(slot, true, now);
                return false;
            }
        };
        self.seen.requests += 1;
        match Ask::parse(request.path()) {
            None => {
                connection.out.extend_from_slice(PLAIN);
                self.seen.answers += 1;
            }
            Some(ask) => {
                if let (Some(log), Some(local)) = (&mut self.log, local) {
                    log.push((ask.id, local));
                }
                connection.state = State::Body {
                    ask,
                    head_only: request.method_kind() == MethodKind::Head,
                    decoder: BodyDecoder::new(request.framing),
                    position: 0,
                    keep: request.keep_alive,
                };
            }
        }
        let head_len = request.head_len;
        self.stack.consume(connection.flow, head_len);
        true
    }

    fn body(&mut self, slot: usize, now: Instant) -> bool {
        let Some(Some(connection)) = self.connections.get_mut(slot) else {
            return false;
        };
        let flow = connection.flow;
        let State::Body {
            ask,
            head_only,
            decoder,
            position,
            keep,
        } = &mut connection.state
        else {
            return false;
        };
        while !decoder.is_done() {
            let input = self.stack.front(flow, 64 * 1024, &mut self.scratch);
            let consumed = match decoder.next(input) {
                Ok(BodyEvent::Data { len }) => {
                    if !bytes::are_right(&input[..len], ask.id, *position) {
                        self.seen.wrong_bodies += 1;
                    }
                    *position += len as u64;
                    decoder.take_data(len);
                    len
                }
                Ok(BodyEvent::ChunkStart { consumed, .. } | BodyEvent::ChunkEnd { consumed }) => {
                    consumed
                }
                Ok(BodyEvent::Trailers { consumed, .. }) => consumed,
                Ok(BodyEvent::NeedMore) => {
                    if self.stack.view(flow).finished {
                        // The gateway gave up on a request: its client is gone.
                        self.forget(slot, true, now);
                    }
                    return false;
                }
                Ok(BodyEvent::Done) => break,
                Err(_) => {
                    self.seen.malformed += 1;
                    self.forget(slot, true, now);
                    return false;
                }
            };
            self.stack.consume(flow, consumed);
        }
        let (ask, keep, head_only) = (*ask, *keep, *head_only);
        match ask.form {
            Form::CloseEarly => self.forget(slot, false, now),
            Form::Reset => self.forget(slot, true, now),
            Form::Stall => connection.state = State::Silent,
            _ => {
                begin_answer(&mut connection.out, &ask);
                let end = match ask.form {
                    _ if head_only => 0,
                    Form::Truncate => ask.length / 2,
                    _ => ask.length,
                };
                connection.state = State::Answer {
                    ask,
                    position: 0,
                    end,
                    keep,
                };
                if ask.form == Form::Garbage {
                    connection.closing = true;
                }
                if head_only {
                    connection.state = State::Head;
                    self.seen.answers += 1;
                    connection.closing |= matches!(ask.form, Form::UntilClose | Form::Truncate);
                }
                return true;
            }
        }
        false
    }

    /// Prepares the next piece of an answer.
    fn answer(connection: &mut Connection, seen: &mut Seen) {
        let State::Answer {
            ask,
            position,
            end,
            keep,
        } = &mut connection.state
        else {
            return;
        };
        let out = &mut connection.out;
        while *position < *end && out.len() < PREPARED {
            match ask.form {
                Form::Chunked(size) => {
                    let next = (*position + u64::from(size.max(1))).min(*end);
                    write_chunk_header(out, next - *position);
                    bytes::append(out, ask.id, *position, next);
                    out.extend_from_slice(b"\r\n");
                    *position = next;
                }
                _ => {
                    let next = (*position + PREPARED as u64).min(*end);
                    bytes::append(out, ask.id, *position, next);
                    *position = next;
                }
            }
        }
        if *position < *end {
            return;
        }
        if let Form::Chunked(_) = ask.form {
            write_last_chunk(out);
        }
        connection.closing = !*keep || matches!(ask.form, Form::UntilClose | Form::Truncate);
        seen.answers += u64::from(ask.form != Form::Truncate);
        connection.state = State::Head;
    }
}

fn begin_answer(out: &mut Vec<u8>, ask: &Ask) {
    match ask.form {
        Form::Garbage => {
            out.extend_from_slice(b"SSH-2.0-OpenSSH_9.2\r\n\r\n");
            return;
        }
        Form::Interim => out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"),
        _ => {}
    }
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\nServer: backend\r\n");
    match ask.form {
        Form::Chunked(_) => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n"),
        Form::UntilClose => out.extend_from_slice(b"Connection: close\r\n\r\n"),
        form => {
            let length = ask.length - u64::from(form == Form::Excess && ask.length > 0);
            out.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
        }
    }
}
