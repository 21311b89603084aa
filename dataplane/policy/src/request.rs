//! What the rules see of a request, of either protocol.

use std::net::IpAddr;

use sluice_wire::http1::{Headers, Request};
use sluice_wire::ttheader::{Head, integer};

use crate::snapshot::{LaneId, ListenerId};

/// What matching sees of a request.
#[derive(Debug, Clone)]
pub struct RequestView<'a> {
    /// The listener that accepted it.
    pub listener: ListenerId,
    /// Index in the snapshot's ports of the port that it came in by.
    pub port: usize,
    /// The client, as far as trusted proxies vouch for it.
    pub source: IpAddr,
    /// What its protocol says of it.
    pub message: Message<'a>,
    /// The lane that it is in.
    pub lane: Option<LaneId>,
    /// A number of its own by chance: decides what is left to chance.
    pub draw: u64,
}

/// What a protocol says of a request. A condition over what the one protocol has never holds for a
/// request of the other, however it is put.
#[derive(Debug, Clone)]
pub enum Message<'a> {
    /// An HTTP request.
    Http(HttpView<'a>),
    /// A remote procedure call: TTHeader, or a Thrift message without a head.
    Rpc(RpcView<'a>),
}

/// What is to be seen of an HTTP request.
///
/// The path is compared as it is given here: `.` and `..` segments, empty segments and percent-encoded
/// bytes have no meaning to rules. [`RequestView::of`] gives it as servers take it.
#[derive(Debug, Clone)]
pub struct HttpView<'a> {
    /// Host without the port, in any case; empty if the request has none.
    pub host: &'a [u8],
    /// Path without the query.
    pub path: &'a [u8],
    /// What follows the first `?`.
    pub query: Option<&'a [u8]>,
    /// Method.
    pub method: &'a [u8],
    /// Header fields.
    pub headers: Headers<'a>,
}

/// What is to be seen of a remote procedure call.
#[derive(Debug, Clone, Copy)]
pub struct RpcView<'a> {
    /// The head with its keys; a plain Thrift message has none.
    pub head: Option<&'a Head<'a>>,
    /// The method; empty where nothing names one.
    pub method: &'a [u8],
}

impl<'a> RequestView<'a> {
    /// Of an HTTP request that `source` sent to a listener of a port, in no lane yet. `scratch` is used
    /// where the path has to be decoded, see [`Request::plain_path`].
    #[inline]
    pub fn of(
        request: &Request<'a>,
        (listener, port): (ListenerId, usize),
        source: IpAddr,
        draw: u64,
        scratch: &'a mut Vec<u8>,
    ) -> Self {
        RequestView {
            listener,
            port,
            source,
            message: Message::Http(HttpView {
                host: request.host_name(),
                path: request.plain_path(scratch),
                query: request.query(),
                method: request.method(),
                headers: request.headers(),
            }),
            lane: None,
            draw,
        }
    }

    /// Of a remote procedure call that `source` sent to a listener of a port, in no lane yet.
    #[inline]
    pub fn of_rpc(
        rpc: RpcView<'a>,
        (listener, port): (ListenerId, usize),
        source: IpAddr,
        draw: u64,
    ) -> Self {
        RequestView {
            listener,
            port,
            source,
            message: Message::Rpc(rpc),
            lane: None,
            draw,
        }
    }

    /// What is to be seen of it if it is an HTTP request.
    #[inline]
    pub fn http(&self) -> Option<&HttpView<'a>> {
        match &self.message {
            Message::Http(http) => Some(http),
            Message::Rpc(_) => None,
        }
    }

    /// What is to be seen of it if it is a remote procedure call.
    #[inline]
    pub fn rpc(&self) -> Option<RpcView<'a>> {
        match &self.message {
            Message::Http(_) => None,
            Message::Rpc(rpc) => Some(*rpc),
        }
    }
}

impl<'a> RpcView<'a> {
    /// Of a call with this head. `message` is the method that the Thrift message itself names, where the
    /// payload is one: servers go by that, so rules do too, whatever key 9 says.
    #[inline]
    pub fn of(head: &'a Head<'a>, message: Option<&'a [u8]>) -> Self {
        let method = message.or_else(|| head.integer(integer::TO_METHOD));
        RpcView {
            head: Some(head),
            method: method.unwrap_or_default(),
        }
    }

    /// The service that the caller names, key 6.
    #[inline]
    pub fn to_service(&self) -> Option<&'a [u8]> {
        self.head?.integer(integer::TO_SERVICE)
    }
}
