//! The protocol on the client's connections: what has come of answers, and to which calls.
//!
//! This is the place where a protocol plugs in. The client knows connections, calls and times; what it asks
//! of a protocol is a [`Message`](super::message::Message) for each request, and [`Codec::read`], which
//! turns what has come into an answer or a [`Fault`].

use sluice_stack::io::PacketIo;
use sluice_stack::{FlowId, FlowView, Phase, Stack};

use super::calls::Calls;
use super::exceptions::Exceptions;
use super::fault::Fault;
use super::plan::{Plan, Protocol};
use super::{http1, ttheader};

/// How far a connection is with an answer.
#[derive(Debug)]
pub(crate) enum Reader {
    /// Nothing of it, or not the whole head, has come.
    Head,
    /// Within the body of an HTTP answer.
    Http1(http1::Body),
    /// Within the payload of a frame.
    TtHeader(ttheader::Payload),
}

/// An answer that is not the one expected by what it says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Another status of HTTP.
    Status(u16),
    /// An exception or a status of TTHeader, by its place among the [`Exceptions`].
    Exception(u16),
}

/// The end of reading for now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// The rest has not come yet.
    More,
    /// A whole answer.
    Answer {
        /// The place of the call that it belongs to.
        place: u16,
        /// Its bytes; of chunks those of the data alone.
        bytes: u64,
        /// What it was, where something else was expected.
        wrong: Option<Wrong>,
        /// The connection can carry another request.
        keep_alive: bool,
        /// What is wrong with it, if anything is.
        fault: Option<Fault>,
    },
    /// There is no answer, and the connection is of no use.
    Broken(Fault),
}

/// What reading takes, for all connections together.
#[derive(Debug)]
pub(crate) enum Codec {
    Http1(Box<http1::Codec>),
    TtHeader(ttheader::Codec),
}

impl Codec {
    pub(crate) fn new(plan: &Plan) -> Self {
        match plan.protocol() {
            Protocol::Http1 => Codec::Http1(Box::new(http1::Codec::new(plan.len()))),
            Protocol::TtHeader(_) => Codec::TtHeader(ttheader::Codec::default()),
        }
    }

    /// The exceptions that have come so far.
    pub(crate) fn exceptions(&self) -> Option<&Exceptions> {
        match self {
            Codec::Http1(_) => None,
            Codec::TtHeader(codec) => Some(codec.exceptions()),
        }
    }

    /// Reads what has come of the next answer on a connection with these calls.
    #[inline]
    pub(crate) fn read<P: PacketIo>(
        &mut self,
        reader: &mut Reader,
        calls: &Calls,
        plan: &Plan,
        stack: &mut Stack<P>,
        flow: FlowId,
    ) -> Read {
        match self {
            Codec::Http1(codec) => codec.read(reader, calls, plan, stack, flow),
            Codec::TtHeader(codec) => codec.read(reader, calls, plan, stack, flow),
        }
    }
}

/// How a connection has ended on which nothing more can be read.
pub(super) fn ended(view: &FlowView) -> Option<Fault> {
    match view.phase {
        Phase::Closed => Some(Fault::Reset),
        _ if view.finished => Some(Fault::ClosedEarly),
        _ => None,
    }
}
