//! Requests that are held for a drill, and what lets go of them before their time.

use std::time::Duration;

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;

use super::Exchange;
use crate::chain::Verdict;
use crate::downstream::Step;
use crate::reply::LocalReply;
use crate::stats::RequestFate;
use crate::worker::Worker;

/// A request that is held for a while.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(super) until: Instant,
    /// Its client has closed its side, so that it has a turn before its time.
    hurried: bool,
    /// What becomes of it then, if it does not go on.
    then: Option<Then>,
}

/// What becomes of a request that does not go on.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// It is answered here.
    Reply(LocalReply),
    /// Its connection is closed.
    Close(RequestFate),
}

/// How soon one request after another is let go before its time: a thousand a second.
const APART: Duration = Duration::from_millis(1);

/// The turns of requests and calls whose clients have closed their side. Such a client may still read an
/// answer, or be gone with thousands of others, which only an answer finds out: so they go one after another.
#[derive(Debug, Default)]
pub(crate) struct Early {
    next: Instant,
}

impl Early {
    /// The next turn: now, if none was given away in the last millisecond.
    pub(crate) fn turn(&mut self, now: Instant) -> Instant {
        let turn = self.next.max(now);
        self.next = turn + APART;
        turn
    }
}

impl Exchange {
    /// Has it wait before whatever the chain decided takes effect.
    pub(crate) fn hold(&mut self, verdict: Verdict<'_>, time: Option<Duration>, now: Instant) {
        let then = match verdict {
            Verdict::Reply(reply) => Some(Then::Reply(reply)),
            Verdict::Close(fate) => Some(Then::Close(fate)),
            Verdict::Forward | Verdict::RuleReply(_) | Verdict::Fault => None,
        };
        self.held = time.map(|time| Held {
            until: now + time,
            hurried: false,
            then,
        });
    }

    /// Whether it is sent to a service, now or later.
    pub(crate) fn goes_on(&self) -> bool {
        self.held.is_none_or(|held| held.then.is_none())
    }

    /// Until when it is held, if it is.
    pub(crate) fn held_until(&self) -> Option<Instant> {
        Some(self.held?.until)
    }
}

impl<P: PacketIo> Worker<P> {
    /// Goes on with an exchange that was held.
    pub(crate) fn let_go(&mut self, number: u32, now: Instant) {
        let Some(exchange) = self.exchanges.get_mut(number as usize) else {
            return;
        };
        let down = exchange.down;
        match exchange.held.take().and_then(|held| held.then) {
            None => {
                self.attach(number, now);
            }
            Some(Then::Reply(reply)) => {
                self.fail(number, reply, now);
            }
            Some(Then::Close(fate)) => {
                self.drop_exchange(number, fate, now);
                self.exchange_over(down, now);
                self.close_downstream(down, now);
            }
        }
    }

    /// Gives a request that is held a turn before its time if its client has closed its side.
    pub(super) fn hurry(&mut self, number: u32, now: Instant) {
        let Some(exchange) = self.exchanges.get_mut(number as usize) else {
            return;
        };
        let down = self.downs.get(exchange.down as usize);
        let finished = down.is_some_and(|down| self.stack.view(down.flow).finished);
        if let Some(held) = &mut exchange.held
            && finished
            && !held.hurried
        {
            held.hurried = true;
            // One whose time comes sooner takes no turn.
            if held.until > now {
                held.until = held.until.min(self.early.turn(now));
            }
        }
    }

    /// Goes on with an exchange that has no connection to an endpoint: what is held for a drill is held no
    /// longer once the gateway drains, or soon where its client has closed its side.
    pub(super) fn drive_held(&mut self, number: u32, now: Instant) -> Step {
        self.hurry(number, now);
        let exchange = self.exchanges.get(number as usize);
        let Some(until) = exchange.and_then(Exchange::held_until) else {
            return Step::Wait;
        };
        if now < until && !self.draining {
            return Step::Wait;
        }
        self.let_go(number, now);
        // Whatever comes of it arms the connection itself, or wakes it.
        Step::Again
    }

    /// Lets go of all that is held, so that it has its answer before the gateway ends.
    pub(crate) fn let_all_go(&mut self, now: Instant) {
        let exchanges = self.exchanges.iter();
        let held = exchanges.filter(|(_, exchange)| exchange.held.is_some());
        let held: Vec<u32> = held.map(|(_, exchange)| exchange.down).collect();
        for down in held {
            self.drive_downstream(down, now);
        }
        self.let_all_calls_go(now);
    }
}
