//! A host whose every byte a test decides: it opens and accepts connections, writes what it is told
//! when it is told, and keeps what comes back.

use std::net::SocketAddr;

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, FlowId, Owner, Phase, Stack};

/// How the peer ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By FIN: everything it sent has come.
    Closed,
    /// By RST, or the connection was refused.
    Reset,
}

struct Connection {
    flow: FlowId,
    /// To be written as room allows.
    out: Vec<u8>,
    /// FIN is to follow what is to be written.
    finishing: bool,
    finished: bool,
    reading: bool,
    received: Vec<u8>,
    end: Option<End>,
    /// Given back to the stack.
    released: bool,
}

/// A host over its own stack. Its connections are numbered in the order in which they were opened
/// or accepted.
pub struct Host<P: PacketIo> {
    stack: Stack<P>,
    connections: Vec<Connection>,
}

impl<P: PacketIo> Host<P> {
    /// A host without connections.
    pub fn new(stack: Stack<P>) -> Self {
        Host {
            stack,
            connections: Vec::new(),
        }
    }

    /// Accepts connections to `address` from now on.
    pub fn listen(&mut self, address: SocketAddr, buffers: Buffers) {
        self.stack.listen(0, address, 0, buffers);
    }

    /// Refuses new connections from now on.
    pub fn unlisten(&mut self) {
        self.stack.unlisten_all();
    }

    /// Opens a connection; `None` when the stack can't.
    pub fn open(&mut self, to: SocketAddr, buffers: Buffers, now: Instant) -> Option<usize> {
        let number = self.connections.len();
        let flow = self
            .stack
            .connect(0, to, number as u32, buffers, now)
            .ok()?;
        self.connections.push(Connection::new(flow));
        self.stack.flush(now);
        Some(number)
    }

    /// Writes `bytes`, behind what could not be written yet.
    pub fn send(&mut self, connection: usize, bytes: &[u8], now: Instant) {
        self.connections[connection].out.extend_from_slice(bytes);
        self.drive(connection);
        self.stack.flush(now);
    }

    /// Sends FIN behind what is written; goes on reading.
    pub fn finish(&mut self, connection: usize, now: Instant) {
        self.connections[connection].finishing = true;
        self.drive(connection);
        self.stack.flush(now);
    }

    /// Resets the connection.
    pub fn reset(&mut self, connection: usize, now: Instant) {
        self.connections[connection].released = true;
        self.stack.abort(self.connections[connection].flow, now);
        self.stack.flush(now);
    }

    /// Closes every connection that is not over.
    pub fn close_all(&mut self, now: Instant) {
        for connection in &mut self.connections {
            if !std::mem::replace(&mut connection.released, true) {
                self.stack.close(connection.flow, now);
            }
        }
        self.stack.flush(now);
    }

    /// Leaves what comes unread, so that the window closes.
    pub fn pause(&mut self, connection: usize) {
        self.connections[connection].reading = false;
    }

    /// Reads again.
    pub fn resume(&mut self, connection: usize, now: Instant) {
        self.connections[connection].reading = true;
        self.drive(connection);
        self.stack.flush(now);
    }

    /// Reads at most `limit` bytes of what a paused connection has received.
    pub fn read(&mut self, connection: usize, limit: usize, now: Instant) {
        let state = &mut self.connections[connection];
        let mut scratch = Vec::new();
        let bytes = self.stack.front(state.flow, limit, &mut scratch).to_vec();
        self.stack.consume(state.flow, bytes.len());
        state.received.extend_from_slice(&bytes);
        self.stack.flush(now);
    }

    /// Everything received on a connection and not taken.
    pub fn received(&self, connection: usize) -> &[u8] {
        &self.connections[connection].received
    }

    /// Takes what was received on a connection.
    pub fn take(&mut self, connection: usize) -> Vec<u8> {
        std::mem::take(&mut self.connections[connection].received)
    }

    /// Bytes that could not be written yet.
    pub fn unsent(&self, connection: usize) -> usize {
        self.connections[connection].out.len()
    }

    /// How the peer ended a connection; `None` while it has not.
    pub fn end(&self, connection: usize) -> Option<End> {
        self.connections[connection].end
    }

    /// Our end of a connection; `None` once it is over.
    pub fn local(&self, connection: usize) -> Option<SocketAddr> {
        let flow = self.connections[connection].flow;
        self.stack.key(flow).map(|key| key.local())
    }

    /// How many connections were opened or accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// One turn; returns how many frames came.
    pub fn poll_once(&mut self, now: Instant) -> usize {
        let frames = self.stack.receive(now);
        self.stack.expire(now);
        while let Some((flow, owner)) = self.stack.next_ready() {
            let number = match owner {
                Owner::User(number) => number as usize,
                Owner::Listener(_) => {
                    let number = self.connections.len();
                    self.stack.adopt(flow, number as u32);
                    self.connections.push(Connection::new(flow));
                    number
                }
            };
            self.drive(number);
        }
        self.stack.flush(now);
        frames
    }

    /// Its stack.
    pub fn stack(&self) -> &Stack<P> {
        &self.stack
    }

    /// When there is something to do, frames aside.
    pub fn next_wake(&self) -> Option<Instant> {
        self.stack.next_wake()
    }

    fn drive(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        let flow = connection.flow;
        if connection.released {
            return;
        }
        if self.stack.view(flow).phase == Phase::Connecting {
            return;
        }
        if !connection.out.is_empty() {
            let sent = self.stack.write(flow, &connection.out);
            connection.out.drain(..sent);
        }
        if connection.finishing && connection.out.is_empty() && !connection.finished {
            connection.finished = true;
            self.stack.finish_sending(flow);
        }
        while connection.reading {
            let bytes = self.stack.peek(flow);
            if bytes.is_empty() {
                break;
            }
            connection.received.extend_from_slice(bytes);
            let len = bytes.len();
            self.stack.consume(flow, len);
        }
        let view = self.stack.view(flow);
        let reset = view.phase == Phase::Closed && !connection.finished;
        if reset || (view.phase == Phase::Closed && connection.end.is_none()) {
            connection.end = Some(End::Reset);
        } else if view.finished && view.readable == 0 {
            connection.end = Some(End::Closed);
        }
    }
}

impl Connection {
    fn new(flow: FlowId) -> Self {
        Connection {
            flow,
            out: Vec::new(),
            finishing: false,
            finished: false,
            reading: true,
            received: Vec::new(),
            end: None,
            released: false,
        }
    }
}
