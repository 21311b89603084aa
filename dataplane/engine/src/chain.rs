//! Governance of a request, in the order it happens. This is the one place that states the order.
//!
//! A filter is a function in a file of its own (`filters/`). It looks at a [`Passage`], may add to it,
//! and says how to go on. docs/rules.md shows how one is added.

use std::ops::ControlFlow;
use std::time::Duration;

use sluice_policy::{
    LaneId, Listener, ListenerId, RequestView, Route, Service, ServiceId, Snapshot,
};
use sluice_wire::http1::Request;

use crate::filters::{body, destination, fault, hops, lanes, refusals, routing};
use crate::forwarding::Provenance;
use crate::reply::LocalReply;
use crate::stats::RequestFate;

/// A request on its way through the chain, and what has been found out about it. `R` is what filters of
/// its protocol alone look at.
pub(crate) struct Passage<'a, 'r, R> {
    pub(crate) rules: &'a Snapshot,
    pub(crate) listener: &'a Listener,
    pub(crate) request: R,
    /// What rules see of it; its lane once it is known.
    pub(crate) view: RequestView<'r>,
    /// It came from a trusted proxy.
    pub(crate) trusted: bool,
    /// Seconds after 1970-01-01 UTC, where they are known.
    pub(crate) wall: Option<u64>,
    /// The route that took it.
    pub(crate) route: Option<&'a Route>,
    /// The service that is to answer it.
    pub(crate) service: Option<ServiceId>,
    /// Most bytes of its body.
    pub(crate) most: u64,
    /// How long it is held before whatever becomes of it.
    pub(crate) hold: Option<Duration>,
    /// How slowly its bodies go on.
    pub(crate) slow: Option<Slow>,
}

/// How slowly bodies go on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slow {
    /// Bytes per second.
    pub(crate) rate: u64,
    /// For how long.
    pub(crate) lasts: Duration,
}

/// An HTTP request on its way.
pub(crate) type HttpPassage<'a, 'r> = Passage<'a, 'r, &'r Request<'r>>;

/// A call on its way: rules see all there is of it.
pub(crate) type CallPassage<'a, 'r> = Passage<'a, 'r, ()>;

/// How a request goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// To the next filter.
    Continue,
    /// To the next filter; whatever comes of it takes effect after this time.
    Wait(Duration),
    /// It is answered here.
    Reply(LocalReply),
    /// It is answered here as its route says.
    RuleReply,
    /// It is a call, and answered here as its route's fault says.
    Fault,
    /// Its connection is closed without an answer.
    Close(RequestFate),
}

/// What is to be done with a request.
#[derive(Debug)]
pub(crate) enum Verdict<'a> {
    /// Send it on by the route and to the service that were found.
    Forward,
    /// Answer it here.
    Reply(LocalReply),
    /// Answer it as this route says.
    RuleReply(&'a Route),
    /// Answer a call as this route's fault says.
    Fault,
    /// Close its connection.
    Close(RequestFate),
}

/// Takes a request through the chain.
#[inline]
pub(crate) fn on_request<'a>(passage: &mut HttpPassage<'a, '_>) -> Verdict<'a> {
    match order(passage) {
        ControlFlow::Break(verdict) => verdict,
        ControlFlow::Continue(()) => Verdict::Forward,
    }
}

/// Takes a call through the chain.
#[inline]
pub(crate) fn on_call<'a>(passage: &mut CallPassage<'a, '_>) -> Verdict<'a> {
    match order_of_calls(passage) {
        ControlFlow::Break(verdict) => verdict,
        ControlFlow::Continue(()) => Verdict::Forward,
    }
}

/// The order of the filters that a call goes through: those that are not of HTTP alone.
#[inline]
fn order_of_calls<'a>(passage: &mut CallPassage<'a, '_>) -> ControlFlow<Verdict<'a>> {
    passage.through(lanes::filter)?;
    passage.through(routing::filter)?;
    passage.through(destination::filter)?;
    passage.through(fault::delay)?;
    passage.through(fault::abort_call)
}

/// The order of the filters.
#[inline]
fn order<'a>(passage: &mut HttpPassage<'a, '_>) -> ControlFlow<Verdict<'a>> {
    passage.through(refusals::filter)?;
    passage.through(lanes::filter)?;
    passage.through(routing::filter)?;
    passage.through(hops::filter)?;
    passage.through(body::filter)?;
    passage.through(destination::filter)?;
    passage.through(fault::delay)?;
    passage.through(fault::bandwidth)?;
    passage.through(fault::abort)
}

impl<'a, 'r> CallPassage<'a, 'r> {
    /// Of a call to a listener; nothing is found out yet.
    #[inline]
    pub(crate) fn of_call(
        rules: &'a Snapshot,
        listener: &'a Listener,
        view: RequestView<'r>,
        trusted: bool,
    ) -> Self {
        Passage {
            rules,
            listener,
            request: (),
            view,
            trusted,
            wall: None,
            route: None,
            service: None,
            most: 0,
            hold: None,
            slow: None,
        }
    }
}

impl<'a, 'r> HttpPassage<'a, 'r> {
    /// Of a request to a listener; nothing is found out yet. `scratch` is for its path.
    #[inline]
    pub(crate) fn of(
        rules: &'a Snapshot,
        (id, listener): (ListenerId, &'a Listener),
        request: &'r Request<'r>,
        provenance: &Provenance,
        scratch: &'r mut Vec<u8>,
    ) -> Self {
        let (client, draw) = (provenance.client, provenance.draw());
        Passage {
            rules,
            listener,
            request,
            view: RequestView::of(request, (id, listener.port), client, draw, scratch),
            trusted: provenance.is_trusted(),
            wall: None,
            route: None,
            service: None,
            most: 0,
            hold: None,
            slow: None,
        }
    }
}

impl<'a, R> Passage<'a, '_, R> {
    /// The route and the service that were found.
    #[inline]
    pub(crate) fn destination(&self) -> Option<(&'a Route, &'a Service, ServiceId)> {
        let id = self.service?;
        Some((self.route?, self.rules.service(id)?, id))
    }

    #[inline]
    fn through(&mut self, filter: impl FnOnce(&mut Self) -> Answer) -> ControlFlow<Verdict<'a>> {
        ControlFlow::Break(match filter(self) {
            Answer::Continue => return ControlFlow::Continue(()),
            Answer::Wait(time) => {
                self.hold = Some(self.hold.map_or(time, |held| held + time));
                return ControlFlow::Continue(());
            }
            Answer::Reply(reply) => Verdict::Reply(reply),
            Answer::RuleReply => match self.route {
                Some(route) => Verdict::RuleReply(route),
                None => Verdict::Reply(LocalReply::NO_ROUTE),
            },
            Answer::Fault => Verdict::Fault,
            Answer::Close(fate) => Verdict::Close(fate),
        })
    }

    /// The lane of the request.
    pub(crate) fn lane(&self) -> Option<LaneId> {
        self.view.lane
    }
}
