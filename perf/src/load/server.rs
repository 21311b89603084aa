//! The generator's own backend: answers what the plan says to each kind of request, and anything else
//! with a body of one length; reads request bodies to the byte.

mod http1;
mod ttheader;

use std::net::SocketAddr;

use clap::ValueEnum;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, FlowId, Stack};

use super::pattern::Pattern;
use super::plan::{Protocol, RequestFile, RequestSpec};

/// What the backend does.
#[derive(Debug, Clone)]
pub struct ServerSetup {
    /// What it speaks.
    pub protocol: Protocol,
    /// How it replies; of TTHeader.
    pub replies: Replies,
    /// Number of the stack's port that it listens on.
    pub port: u8,
    /// Where it listens, a socket address for each address of the port.
    pub addresses: Vec<SocketAddr>,
    /// Length of the body of answers that no request of the plan speaks of.
    pub body: u64,
    /// Of each connection.
    pub buffers: Buffers,
}

impl ServerSetup {
    /// Length of the body of the answer to a request of the plan.
    fn answer_length(&self, spec: &RequestSpec) -> u64 {
        let echoed = spec.echo.then_some(spec.body).flatten();
        spec.response.or(echoed).map_or(self.body, |size| size.0)
    }
}

/// How a backend replies that gets several calls of one connection. In its reply the sequence of the
/// message is always that of the call's message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ValueEnum)]
pub enum Replies {
    /// With the sequence of the frame, as a gateway does; the last that came first.
    #[default]
    Frame,
    /// With the sequence of the message, as Kitex and Volo do; the last that came first.
    Message,
    /// With the sequence of the message, in the order in which calls came; calls that came before the one
    /// in front of them was answered are counted.
    Ordered,
}

/// What the backend has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// Connections accepted.
    pub connections: u64,
    /// Whole requests read, and answered.
    pub requests: u64,
    /// Requests that are not of the protocol: their connection was reset.
    pub malformed: u64,
    /// Request bodies other than the pattern's, where the plan sends that.
    pub wrong_bodies: u64,
    /// Requests that came before the one in front of them was answered, to [`Replies::Ordered`].
    pub early: u64,
}

/// Connections accepted at most; more are reset.
const MAX_CONNECTIONS: usize = 1 << 17;

#[derive(Debug)]
enum State {
    Http1(http1::State),
    TtHeader(ttheader::State),
}

#[derive(Debug)]
struct Connection {
    flow: FlowId,
    state: State,
}

/// What reads requests and writes answers, for all connections together.
#[derive(Debug)]
enum Codec {
    Http1(Box<http1::Codec>),
    TtHeader(Box<ttheader::Codec>),
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There may be more to do.
    GoOn,
    /// Something must happen on the flow first.
    Wait,
    /// It is over, by a close.
    Close,
    /// It is over, by a reset.
    Abort,
}

/// The backend's connections.
#[derive(Debug)]
pub(crate) struct Server {
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    codec: Codec,
    pattern: Pattern,
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
        for &address in &setup.addresses {
            stack.listen(setup.port, address, 0, setup.buffers);
        }
        Server {
            connections: Vec::new(),
            free: Vec::new(),
            codec: match setup.protocol {
                Protocol::Http1 => Codec::Http1(Box::new(http1::Codec::new(setup, file, &pattern))),
                Protocol::TtHeader(_) => {
                    Codec::TtHeader(Box::new(ttheader::Codec::new(setup, file, &pattern)))
                }
            },
            pattern,
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
        let state = match &mut self.codec {
            Codec::Http1(_) => State::Http1(http1::State::default()),
            Codec::TtHeader(codec) => State::TtHeader(codec.begin()),
        };
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
            let (pattern, served) = (&self.pattern, &mut self.served);
            let turn = match (&mut connection.state, &mut self.codec) {
                (State::Http1(state), Codec::Http1(codec)) => {
                    codec.turn(state, flow, (pattern, served), stack)
                }
                (State::TtHeader(state), Codec::TtHeader(codec)) => {
                    codec.turn(state, flow, (pattern, served), stack)
                }
                _ => Turn::Abort,
            };
            match turn {
                Turn::GoOn => {}
                Turn::Wait => return,
                Turn::Close | Turn::Abort => return self.forget(slot, turn, stack, now),
            }
        }
    }

    /// Resets every connection.
    pub(crate) fn close_all<P: PacketIo>(&mut self, stack: &mut Stack<P>, now: Instant) {
        for slot in 0..self.connections.len() {
            self.forget(slot as u32, Turn::Abort, stack, now);
        }
    }

    fn forget<P: PacketIo>(&mut self, slot: u32, how: Turn, stack: &mut Stack<P>, now: Instant) {
        let place = self.connections.get_mut(slot as usize);
        let Some(connection) = place.and_then(Option::take) else {
            return;
        };
        if how == Turn::Abort {
            stack.abort(connection.flow, now);
        } else {
            stack.close(connection.flow, now);
        }
        if let (State::TtHeader(state), Codec::TtHeader(codec)) =
            (connection.state, &mut self.codec)
        {
            codec.end(state);
        }
        self.free.push(slot);
    }
}
