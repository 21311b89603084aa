//! A defect of ours that one connection runs into ends that connection and its request, and nothing
//! else: the worker serves its flows one by one, and knows which one it was at.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{FlowId, Owner};

use crate::reply::LocalReply;
use crate::stats::{EngineEvent, RequestFate};
use crate::worker::{Role, Worker};

/// What a worker does at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// Something happened to a flow.
    Flow(FlowId, Owner),
    /// The timer of a client's connection, or of one to an endpoint, has fired.
    DownDue(u32),
    /// See `DownDue`.
    UpDue(u32),
    /// A timer of RPCs has fired.
    RpcDue(u32),
}

impl<P: PacketIo> Worker<P> {
    /// Does one thing after the other; what panics is ended, and the next goes on.
    #[inline]
    pub(crate) fn each(&mut self, now: Instant, mut next: impl FnMut(&mut Self) -> Option<Work>) {
        let mut in_hand = None;
        while !catches(|| {
            while let Some(work) = next(self) {
                in_hand = Some(work);
                self.work(work, now);
            }
        }) {
            if let Some(work) = in_hand.take() {
                self.end_poisoned(work, now);
            }
        }
    }

    #[cold]
    fn end_poisoned(&mut self, work: Work, now: Instant) {
        self.stats.events.count(EngineEvent::Panicked);
        let role = match work {
            Work::Flow(flow, _) => match self.stack.owner(flow) {
                Some(Owner::User(number)) => Role::of(number),
                _ => return self.stack.abort(flow, now),
            },
            Work::DownDue(number) => Role::Down(number),
            Work::UpDue(number) => Role::Up(number),
            Work::RpcDue(key) => match self.rpc_role(key) {
                Some(role) => role,
                None => return,
            },
        };
        if !catches(|| self.end_role(&role, now)) {
            self.drop_poisoned(&role, now);
        }
        self.close_orphans(now);
    }

    /// Ends a connection as if it had broken, and what it was about with it.
    fn end_role(&mut self, role: &Role, now: Instant) {
        match *role {
            Role::Down(number) => self.abort_downstream(number, RequestFate::Panicked, now),
            Role::Up(number) => match self.client_of(number) {
                Some(down) => self.abort_downstream(down, RequestFate::Panicked, now),
                None => self.close_upstream(number, true, now),
            },
            Role::Caller(number) => self.abort_caller(number, RequestFate::Panicked, now),
            Role::Channel(number) => self.channel_lost(number, LocalReply::CLOSED_EARLY, now),
        }
    }

    /// The client's connection that one to an endpoint serves.
    fn client_of(&self, upstream: u32) -> Option<u32> {
        let exchange = self.ups.get(upstream as usize)?.exchange?;
        Some(self.exchanges.get(exchange as usize)?.down)
    }

    /// Even its regular end panics: only what others rely on is put right.
    fn drop_poisoned(&mut self, role: &Role, now: Instant) {
        let number = match *role {
            Role::Down(number) => number,
            Role::Up(number) => match self.client_of(number) {
                Some(down) => down,
                None => return,
            },
            // The flow is reset, and its user comes upon that.
            Role::Caller(_) | Role::Channel(_) => return,
        };
        let Some(down) = self.downs.get_mut(number as usize) else {
            return;
        };
        let flow = down.flow;
        if let Some(exchange) = down.exchange.take()
            && let Some(mut exchange) = self.exchanges.try_remove(exchange as usize)
        {
            self.stats.requests.count(RequestFate::Panicked);
            self.drop_copy(&mut exchange);
            self.generations.end(exchange.generation, &self.handoff);
        }
        self.stack.abort(flow, now);
        self.forget_downstream(number, now);
    }

    /// Closes connections to endpoints whose exchange is gone.
    fn close_orphans(&mut self, now: Instant) {
        let orphans: Vec<u32> = self
            .ups
            .iter()
            .filter(|(_, up)| {
                up.exchange
                    .is_some_and(|number| !self.exchanges.contains(number as usize))
            })
            .map(|(number, _)| number as u32)
            .collect();
        for number in orphans {
            self.close_upstream(number, true, now);
        }
    }
}

/// Whether it came to its end. What it was changing when it panicked is not used again, see
/// [`Worker::end_poisoned`].
#[inline]
fn catches(work: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_ok()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::reach;
