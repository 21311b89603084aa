//! What the rules see of a request.

use std::net::IpAddr;

use sluice_wire::http1::{Headers, Request};

use crate::snapshot::{LaneId, ListenerId};

/// What matching sees of a request.
///
/// The path is compared as it is given here: `.` and `..` segments, empty segments and percent-encoded
/// bytes have no meaning to rules. [`RequestView::of`] gives it as servers take it.
#[derive(Debug, Clone)]
pub struct RequestView<'a> {
    /// The listener that accepted it.
    pub listener: ListenerId,
    /// Index in the snapshot's ports of the port that it came in by.
    pub port: usize,
    /// The client, as far as trusted proxies vouch for it.
    pub source: IpAddr,
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
    /// The lane that it is in.
    pub lane: Option<LaneId>,
    /// A number of its own by chance: decides what is left to chance.
    pub draw: u64,
}

impl<'a> RequestView<'a> {
    /// Of a request that `source` sent to a listener of a port, in no lane yet. `scratch` is used where
    /// the path has to be decoded, see [`Request::plain_path`].
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
            host: request.host_name(),
            path: request.plain_path(scratch),
            query: request.query(),
            method: request.method(),
            headers: request.headers(),
            lane: None,
            draw,
        }
    }
}
