//! How a request ends that has no answer of its service, or not all of it.

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::http1::RequestKind;

use super::Begun;
use crate::downstream::Step;
use crate::reply::{LocalReply, ReplyForm};
use crate::stats::{EngineEvent, RequestFate};
use crate::worker::Worker;

impl<P: PacketIo> Worker<P> {
    /// Ends an exchange whose answer has not begun with an answer of our own.
    pub(crate) fn fail(&mut self, number: u32, reply: LocalReply, now: Instant) -> Step {
        let Some(mut exchange) = self.exchanges.try_remove(number as usize) else {
            return Step::Over;
        };
        exchange.note_bodies();
        self.drop_copy(&mut exchange);
        if let Some(up) = exchange.up {
            self.close_upstream(up, true, now);
        }
        let number = exchange.down;
        self.exchange_over(number, now);
        if let Some(down) = self.downs.get(number as usize) {
            self.stack.consume(down.flow, exchange.head_len);
        }
        let leaving = self
            .downs
            .get(number as usize)
            .is_none_or(|down| self.is_leaving(down.listener));
        // Behind a body that was not read the next request can't be found.
        let keep = exchange.keep_alive && exchange.request.is_done() && !leaving;
        let form = ReplyForm {
            head_only: exchange.kind == RequestKind::Head,
            keep,
            version: exchange.version,
        };
        let step = self.reply(number, reply, form, exchange.notes, now);
        self.generations.end(exchange.generation, &self.handoff);
        step
    }

    /// The endpoint closed before its answer began: the request is sent again if its connection had
    /// merely died in the pool and it can do no harm, else the client is told.
    pub(crate) fn closed_early(&mut self, number: u32, now: Instant) -> Step {
        let Some(exchange) = self.exchanges.get_mut(number as usize) else {
            return Step::Over;
        };
        let reused = exchange
            .up
            .and_then(|up| self.ups.get(up as usize))
            .is_some_and(|up| up.reused);
        let untouched = exchange
            .up
            .and_then(|up| self.ups.get(up as usize))
            .is_some_and(|up| self.stack.view(up.flow).readable == 0);
        let repeatable = exchange.bodiless && exchange.idempotent && exchange.head_len > 0;
        if !(reused && untouched && repeatable && !exchange.retried) {
            return self.fail(number, LocalReply::CLOSED_EARLY, now);
        }
        exchange.retried = true;
        exchange.sent = false;
        self.stats.events.count(EngineEvent::RetriedStale);
        if let Some(up) = exchange.up.take() {
            self.close_upstream(up, true, now);
        }
        match self.attach(number, now) {
            Begun::Ready(_) => Step::Again,
            other => other.step(),
        }
    }

    /// Ends an exchange because of its request's body: with `reply`, or by cutting off the answer
    /// that has begun.
    pub(crate) fn refuse_body(
        &mut self,
        number: u32,
        reply: LocalReply,
        fate: RequestFate,
        now: Instant,
    ) -> Step {
        let answered = self
            .exchanges
            .get(number as usize)
            .is_some_and(|e| e.response.is_some());
        if answered {
            return self.cut_off(number, fate, now);
        }
        self.fail(number, reply, now)
    }

    /// Ends an exchange whose answer has begun and can't be completed. The client must not take what
    /// it got for the whole: a close tells it, since the announced end is missing, and reaches it
    /// whatever gets lost; where the close would be the end, only a reset does.
    pub(crate) fn cut_off(&mut self, number: u32, fate: RequestFate, now: Instant) -> Step {
        let Some(exchange) = self.exchanges.get(number as usize) else {
            return Step::Over;
        };
        let down = exchange.down;
        if exchange
            .response
            .as_ref()
            .is_none_or(|response| response.ends_by_close)
            || matches!(fate, RequestFate::Stalled | RequestFate::ClientStalled)
        {
            self.abort_downstream(down, fate, now);
        } else {
            self.drop_exchange(number, fate, now);
            self.exchange_over(down, now);
            self.close_downstream(down, now);
        }
        Step::Over
    }

    /// Forgets an exchange whose client is gone.
    pub(crate) fn drop_exchange(&mut self, number: u32, fate: RequestFate, now: Instant) {
        let Some(mut exchange) = self.exchanges.try_remove(number as usize) else {
            return;
        };
        exchange.note_bodies();
        self.drop_copy(&mut exchange);
        let status = exchange.status();
        self.request_ended(exchange.notes, fate, status, now);
        self.generations.end(exchange.generation, &self.handoff);
        if let Some(up) = exchange.up {
            self.close_upstream(up, true, now);
        }
    }
}
