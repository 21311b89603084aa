//! Governance of a request, in the order it happens. This is the one place that states the order.

use sluice_policy::{ListenerId, RequestView, Route, Snapshot};

use crate::reply::LocalReply;

/// What is to be done with a request.
#[derive(Debug)]
pub(crate) enum Verdict<'a> {
    /// Send it to this route's service.
    Forward(&'a Route),
    /// Answer it here.
    Reply(LocalReply),
}

/// Takes a request through the chain.
#[inline]
pub(crate) fn on_request<'a>(
    rules: &'a Snapshot,
    listener: ListenerId,
    request: &RequestView<'_>,
) -> Verdict<'a> {
    match rules.route(listener, request) {
        Some(route) => Verdict::Forward(route),
        None => Verdict::Reply(LocalReply::NO_ROUTE),
    }
}
