//! Going over to new rules, in pieces that are small however many rules there are: steps towards them,
//! which the rules before do not notice, then all at once, then what is left of the rules before.

use arrayvec::ArrayVec;
use slab::Slab;
use sluice_stack::Buffers;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;

use crate::handoff::Taken;
use crate::numbering::Step;
use crate::pool::Left;
use crate::stats::EngineEvent;
use crate::worker::Worker;

/// Steps of one poll, and connections to endpoints that it closes.
const STEPS: usize = 32;
/// Connections of clients that one poll goes on with since they are to take no further requests.
const CLOSED: usize = 16;
/// Connections of clients that one poll looks at for that.
const LOOKED_AT: usize = 256;
/// Waiting connections that are passed over to take one out cost as much as a step.
const PASSED_PER_STEP: usize = 64;

/// How far the worker is.
#[derive(Default)]
pub(crate) struct Adopting {
    /// Rules whose steps are not all done.
    coming: Option<Taken>,
    /// The last generation that was counted as deferred.
    deferred: u64,
    /// Where the look for connections goes on that are to take no further requests: of clients that
    /// speak HTTP, and of callers.
    downs: Option<usize>,
    callers: Option<usize>,
    /// The next poll has something to do for it.
    pub(crate) is_under_way: bool,
}

impl<P: PacketIo> Worker<P> {
    /// Goes on towards new rules if there are any.
    #[inline]
    pub(crate) fn adopt_rules(&mut self, now: Instant) {
        let news = self.handoff.generation() != self.generation;
        if (news && !self.draining) || self.adopting.is_under_way {
            self.adopt(now);
        }
    }

    #[cold]
    fn adopt(&mut self, now: Instant) {
        let mut left = STEPS;
        if !self.draining {
            self.take_rules();
            self.go_over(&mut left);
        }
        self.drop_old(&mut left, now);
        self.close_some(now);
        let adopting = &self.adopting;
        self.adopting.is_under_way = (adopting.coming.is_some() && !self.draining)
            || adopting.downs.is_some()
            || adopting.callers.is_some()
            || self.pools.is_unseen()
            || !self.generations.spent().gone.is_empty();
    }

    /// Takes rules that are on offer, once all is done that those before asked for.
    fn take_rules(&mut self) {
        let handoff = &self.handoff;
        let waiting = handoff.generation();
        if waiting == self.generation
            || self.adopting.coming.is_some()
            || !self.generations.spent().gone.is_empty()
        {
            return;
        }
        if self.generations.is_full() {
            // Counted once for each set of rules, however many polls they wait.
            if std::mem::replace(&mut self.adopting.deferred, waiting) != waiting {
                self.stats.events.count(EngineEvent::RulesDeferred);
            }
            return;
        }
        self.adopting.coming = handoff.take();
    }

    /// Does what comes before new rules, and goes over to them when all of it is done.
    fn go_over(&mut self, left: &mut usize) {
        let Some(mut coming) = self.adopting.coming.take() else {
            return;
        };
        while *left > 0
            && let Some(step) = coming.changes.steps.pop()
        {
            *left -= 1;
            self.step(step);
        }
        if !coming.changes.steps.is_empty() {
            self.adopting.coming = Some(coming);
            return;
        }
        let listeners = coming.changes.listeners;
        self.generation = coming.rules.0.generation;
        // From here on the old rules may be freed, on another thread.
        self.generations
            .adopt(coming.rules, coming.changes, &self.handoff);
        if listeners {
            self.stack.unlisten_all();
            self.listen();
            self.adopting.downs = Some(0);
            self.adopting.callers = Some(0);
        }
        if self.generations.spent().gone.is_empty() {
            self.pools.look_again();
        }
        self.stats.events.count(EngineEvent::RulesAdopted);
    }

    /// A step towards new rules.
    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Add(number, pool) => {
                if let Some(pool) = self.pools.add(number, pool) {
                    self.handoff.retire_pool(pool);
                }
            }
            Step::Keep(number, keep) => self.pools.keep(number, keep),
        }
    }

    /// Accepts connections as the rules say.
    pub(crate) fn listen(&mut self) {
        for (number, listener) in self.generations.current().listeners() {
            if self.connections.len() <= number as usize {
                self.connections.resize(number as usize + 1, 0);
            }
            let buffers = Buffers {
                receive: listener.buffer,
                send: listener.buffer,
            };
            for &address in &listener.addresses {
                self.stack
                    .listen(listener.port as u8, address, number, buffers);
            }
        }
    }

    /// Lets go of pools that the newest rules don't name.
    fn drop_old(&mut self, left: &mut usize, now: Instant) {
        let (newest, oldest) = self.generations.orders();
        let spent = self.generations.spent();
        while *left > 0
            && let Some(number) = spent.gone.pop()
        {
            *left -= 1;
            self.pools.unname(number, newest);
            if spent.gone.is_empty() {
                self.pools.look_again();
            }
        }
        while *left > 0
            && let Some(number) = self.pools.next_leaving()
        {
            if !self.close_waiting_in(number, left, now) {
                return;
            }
            *left = left.saturating_sub(1);
            if let Left::Over(pool) = self.pools.looked_at(oldest) {
                self.handoff.retire_pool(pool);
            }
        }
    }

    /// Closes what waits in a pool that the newest rules don't name; false if there is more.
    fn close_waiting_in(&mut self, number: u32, left: &mut usize, now: Instant) -> bool {
        while let Some(pool) = self.pools.get_mut(number).filter(|pool| !pool.is_named()) {
            if let Some(&upstream) = pool.idle.front() {
                if !self.ups.contains(upstream as usize) {
                    pool.idle.pop_front();
                }
                self.close_upstream(upstream, false, now);
                *left = left.saturating_sub(1);
            } else if let Some((channel, passed)) = pool.pop_idle_channel() {
                self.close_channel(channel, false, now);
                *left = left.saturating_sub(1 + passed / PASSED_PER_STEP);
            } else {
                for streams in [false, true] {
                    self.leave_shared_channels(number, streams, now);
                }
                return true;
            }
            if *left == 0 {
                return false;
            }
        }
        true
    }

    /// Goes on with connections of clients that are to take no further requests and have none under way:
    /// with some of them.
    fn close_some(&mut self, now: Instant) {
        if let Some(from) = self.adopting.downs {
            let (waiting, next) = some(&self.downs, from, |down| {
                down.exchange.is_none() && self.is_leaving(down.listener)
            });
            self.adopting.downs = next;
            for number in waiting {
                self.drive_downstream(number, now);
            }
        }
        if let Some(from) = self.adopting.callers {
            let (waiting, next) = some(&self.rpc.callers, from, |caller| {
                caller.calls == 0 && self.is_leaving(caller.listener)
            });
            self.adopting.callers = next;
            for number in waiting {
                self.drive_caller(number, now);
            }
        }
    }
}

/// The numbers of some records of a kind, from this place on, and where to go on if there are more.
fn some<T>(
    records: &Slab<T>,
    from: usize,
    wanted: impl Fn(&T) -> bool,
) -> (ArrayVec<u32, CLOSED>, Option<usize>) {
    let mut found = ArrayVec::new();
    for at in from..records.capacity().min(from + LOOKED_AT) {
        if records.get(at).is_some_and(&wanted) {
            found.push(at as u32);
            if found.is_full() {
                return (found, Some(at + 1));
            }
        }
    }
    let next = from + LOOKED_AT;
    (found, (next < records.capacity()).then_some(next))
}
