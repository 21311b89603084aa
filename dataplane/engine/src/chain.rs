//! Governance of a request, in the order it happens. This is the one place that states the order.

use std::net::IpAddr;

use sluice_policy::{ListenerId, RequestView, Route, Snapshot};
use sluice_wire::http1::{BodyFraming, MethodKind, Request};

use crate::forwarding::max_forwards;
use crate::reply::LocalReply;

/// What is to be done with a request.
#[derive(Debug)]
pub(crate) enum Verdict<'a> {
    /// Send it to this route's service, if its body has no more bytes than that.
    Forward(&'a Route, u64),
    /// Answer it here.
    Reply(LocalReply),
}

impl<'a> Verdict<'a> {
    /// The route that takes the request.
    #[inline]
    pub(crate) fn route(&self) -> Option<&'a Route> {
        match self {
            Verdict::Forward(route, _) => Some(route),
            Verdict::Reply(_) => None,
        }
    }
}

/// Takes a request of `peer` through the chain.
#[inline]
pub(crate) fn on_request<'a>(
    rules: &'a Snapshot,
    listener: ListenerId,
    request: &Request<'_>,
    peer: IpAddr,
    scratch: &mut Vec<u8>,
) -> Verdict<'a> {
    let Some(own) = rules.listeners.get(listener.0) else {
        return Verdict::Reply(LocalReply::NO_ROUTE);
    };
    if request.method_kind() == MethodKind::Trace {
        return Verdict::Reply(LocalReply::TRACE);
    }
    if request.expect_other {
        return Verdict::Reply(LocalReply::EXPECTATION);
    }
    if !own.takes(request.host_name()) {
        return Verdict::Reply(LocalReply::MISDIRECTED);
    }
    // RFC 9110 section 7.4: only whom a trusted proxy's TLS vouches for may ask for that.
    if request.is_for_https() && !own.trusts(peer) {
        return Verdict::Reply(LocalReply::INSECURE);
    }
    let view = RequestView {
        host: request.host_name(),
        path: request.plain_path(scratch),
        method: request.method(),
    };
    let Some(route) = rules.route(listener, &view) else {
        return Verdict::Reply(LocalReply::NO_ROUTE);
    };
    if max_forwards(request) == Some(0) {
        return Verdict::Reply(LocalReply::LAST_HOP);
    }
    let most = route.max_body.unwrap_or(own.max_body);
    if matches!(request.framing, BodyFraming::Length(length) if length > most) {
        return Verdict::Reply(LocalReply::BODY_TOO_LARGE);
    }
    Verdict::Forward(route, most)
}
