//! A call and the rules: where it goes and how long it may take, or what becomes of it instead.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sluice_policy::action::{Action, RpcAnswer};
use sluice_policy::{ListenerId, RequestView, Route, RpcView};
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::ttheader::{Ended, Head, string};

use super::Dialect;
use super::call::Call;
use super::due::{Due, LOOK_EVERY};
use super::front::Frame;
use super::send::Source;
use crate::access::{CallSeen, Protocol};
use crate::chain::{self, CallPassage, Verdict};
use crate::reply::LocalReply;
use crate::stats::{EngineEvent, RequestFate};
use crate::worker::Worker;

/// Where a call comes from, as far as it is believed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    /// The caller proper: what a trusted peer says, or the peer.
    pub(super) client: IpAddr,
    pub(super) trusted: bool,
    /// A number by chance.
    pub(super) draw: u64,
    /// The listener and its port, in the rules that the call began under.
    pub(super) listener: (ListenerId, usize),
}

impl Origin {
    /// What rules see of a call.
    #[inline]
    pub(super) fn view<'f>(&self, rpc: RpcView<'f>) -> RequestView<'f> {
        RequestView::of_rpc(rpc, self.listener, self.client, self.draw)
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Then {
    /// It is sent on.
    Forward,
    /// It is answered here.
    Reply(LocalReply),
    /// It is answered as its route says.
    Respond,
    /// It is answered as its route's fault says.
    Fault,
    /// Its caller's connection is closed.
    Close(RequestFate),
}

impl<P: PacketIo> Worker<P> {
    /// Puts a call to the rules. With what becomes of it comes how long it is held before.
    #[inline]
    pub(super) fn judge(&mut self, call: &mut Call, frame: &Frame<'_>) -> (Then, Option<Duration>) {
        let caller = self.rpc.callers.get(call.caller as usize);
        let found = caller.zip(self.generations.get(call.generation));
        let Some((caller, rules)) = found else {
            return (Then::Reply(LocalReply::NO_ROUTE), None);
        };
        let own = rules.listener(caller.listener);
        let Some((id, own)) = own.zip(rules.listener_rules(caller.listener)) else {
            return (Then::Reply(LocalReply::NO_ROUTE), None);
        };
        let peer = caller.peer;
        let trusted = own.trusts(peer.ip());
        let head = frame.head.as_ref();
        let told = head.filter(|_| trusted).and_then(told_address);
        call.origin = Origin {
            client: told.unwrap_or(peer.ip()),
            trusted,
            draw: self.rng.next_u64(),
            listener: (id, own.port),
        };
        let rpc = view(frame);
        let view = call.origin.view(rpc);
        let mut passage = CallPassage::of_call(&rules.snapshot, own, view, trusted);
        passage.wall = self.date.seconds();
        let streaming = call.stream.is_some();
        let leaving = streaming && self.is_leaving(caller.listener);
        let then = match chain::on_call(&mut passage) {
            _ if leaving => Then::Reply(LocalReply::LEAVING),
            Verdict::Forward => Then::Forward,
            Verdict::Reply(reply) => Then::Reply(reply),
            Verdict::RuleReply(_) => Then::Respond,
            Verdict::Fault => Then::Fault,
            Verdict::Close(fate) => Then::Close(fate),
        };
        call.route = passage.route.map(|route| route.id);
        call.service = passage.service;
        call.lane = passage.lane();
        call.notes.record = self.recorder.of_call(
            self.handoff.access_log(),
            &rules.snapshot,
            (Some(id), peer),
            &CallSeen {
                protocol: match call.dialect {
                    Dialect::TtHeader => Protocol::TtHeader,
                    Dialect::Thrift => Protocol::Thrift,
                    Dialect::MeshHeader => Protocol::MeshHeader,
                },
                rpc: &rpc,
            },
            (passage.route, passage.service),
        );
        // What ends soon holds nothing.
        let hold = passage.hold.filter(|_| !self.draining);
        if let Some((route, service, id)) = passage.destination() {
            call.notes.taken = Some((call.generation, route.id, id));
            let whole = route.request_timeout.unwrap_or(service.request_timeout);
            let own = call.timeout.map(|timeout| timeout.duration());
            let whole = own.map_or(whole, |own| own.min(whole));
            call.end = match own {
                // A stream lasts as long as its caller says, or as it moves.
                None if streaming => Instant::NEVER,
                Some(own) if streaming => call.notes.begun + own,
                _ => call.notes.begun + whole,
            };
            let response = route.response_timeout.unwrap_or(service.response_timeout);
            // Until it is sent.
            let wait = service.connect_timeout + response + hold.unwrap_or_default();
            call.deadline = call.end.min(call.notes.begun + wait);
        }
        (then, hold)
    }

    /// Holds a call for a drill. Its frame is kept with it, but for a large one.
    #[cold]
    pub(super) fn hold_call(
        &mut self,
        number: u32,
        then: Then,
        (time, source): (Duration, Source<'_>),
        now: Instant,
    ) {
        self.stats.events.count(EngineEvent::Delayed);
        if !self.keep_frame(number, &source) {
            return self.fail_call(number, LocalReply::TOO_MUCH_HELD, now);
        }
        if let Some(call) = self.rpc.calls.get_mut(number as usize) {
            call.held = Some(then);
            call.deadline = call.end.min(now + time);
            let due = Due::Call(number).key();
            self.rpc
                .timers
                .set(due, call.deadline.min(now + LOOK_EVERY));
        }
    }

    /// Lets go of every call that is held, so that it has its answer before the gateway ends.
    pub(crate) fn let_all_calls_go(&mut self, now: Instant) {
        let calls = self.rpc.calls.iter();
        let held = calls.filter(|(_, call)| call.held.is_some());
        let held: Vec<u32> = held.map(|(number, _)| number as u32).collect();
        for number in held {
            let call = self.rpc.calls.get_mut(number as usize);
            if let Some(then) = call.and_then(|call| call.held.take()) {
                self.let_call_go(number, then, now);
            }
        }
    }

    /// Goes on with a call that was held.
    #[cold]
    pub(super) fn let_call_go(&mut self, number: u32, then: Then, now: Instant) {
        if let Some(call) = self.rpc.calls.get_mut(number as usize) {
            call.deadline = call.end;
        }
        match then {
            Then::Forward => self.dispatch_again(number, now),
            other => self.settle_call(number, other, now),
        }
    }

    /// Does with a call that is not sent on what was found for it.
    pub(super) fn settle_call(&mut self, number: u32, then: Then, now: Instant) {
        match then {
            Then::Forward => {}
            Then::Reply(reply) => self.fail_call(number, reply, now),
            Then::Respond | Then::Fault => self.answer_by_rule(number, then, now),
            Then::Close(fate) => {
                let caller = self.rpc.calls.get(number as usize).map(|call| call.caller);
                self.leave_channel(number, Ended::Cancelled, now);
                self.end_call(number, fate, now);
                if let Some(caller) = caller {
                    self.abort_caller(caller, RequestFate::Fault, now);
                }
            }
        }
    }
}

/// What rules see of a call.
pub(super) fn view<'f>(frame: &'f Frame<'f>) -> RpcView<'f> {
    let message = frame.payload.message().map(|message| message.method);
    match &frame.head {
        Some(head) => RpcView::of(head, message),
        None => RpcView {
            head: None,
            method: message.unwrap_or_default(),
        },
    }
}

/// The answer that a route gives.
pub(super) fn rule_answer(route: &Route, then: Then) -> Option<(&RpcAnswer, RequestFate)> {
    match then {
        Then::Fault => {
            let abort = route.fault.as_ref()?.abort.as_ref()?;
            Some((abort.rpc.as_ref()?, RequestFate::Fault))
        }
        _ => match &route.action {
            Action::Respond(own) => Some((own.rpc.as_ref()?, RequestFate::Responded)),
            Action::Forward(_) | Action::Redirect(_) => None,
        },
    }
}

/// The address of the caller proper that a head tells of, with a port or without.
fn told_address(head: &Head<'_>) -> Option<IpAddr> {
    let told = std::str::from_utf8(head.string(string::REMOTE_ADDRESS)?).ok()?;
    let address = told.parse::<IpAddr>();
    address
        .ok()
        .or_else(|| Some(told.parse::<SocketAddr>().ok()?.ip()))
}
