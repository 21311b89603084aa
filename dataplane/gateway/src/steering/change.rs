//! Has all workers follow another steering, step by step, and forget the older ones when no connection
//! needs them any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_engine::stack::steering::{Order, Steering, WAYS};
use sluice_engine::{Inspection, StraysReply, WorkerStats};

use crate::shared::Shared;

/// How long after a change records of half-open and closed connections may still go by an older steering:
/// the longer of their lifetimes, twice.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// The steerings that workers know of each port, and orders on their way to them.
#[derive(Default)]
pub(super) struct Changes {
    workers: Vec<Told>,
    /// Steerings of each port that connections go by.
    ways: Vec<usize>,
    /// The port whose new steering workers are told of, until all follow it.
    preparing: Option<usize>,
    last: Option<Instant>,
    count: Option<Count>,
}

/// What one worker was told.
struct Told {
    inspection: Arc<Inspection>,
    stats: Arc<WorkerStats>,
    /// Orders that it had no room for.
    waiting: VecDeque<(u8, Order)>,
    sent: u64,
}

/// How far the workers' connections have been looked at for those that need an older steering.
struct Count {
    worker: usize,
    from: u32,
    reply: Option<StraysReply>,
}

impl Changes {
    pub(super) fn new(ports: usize, workers: &[Shared]) -> Self {
        let workers = workers.iter().map(|worker| Told {
            inspection: worker.inspection.clone(),
            stats: worker.stats.clone(),
            waiting: VecDeque::new(),
            sent: 0,
        });
        Changes {
            workers: workers.collect(),
            ways: vec![1; ports],
            ..Changes::default()
        }
    }

    /// Whether a change of this port can begin now.
    pub(super) fn has_room(&self, port: usize) -> bool {
        self.preparing.is_none() && self.ways.get(port).is_some_and(|ways| *ways < WAYS)
    }

    /// Whether one more could begin after it, whatever connections still need.
    pub(super) fn has_room_to_spare(&self, port: usize) -> bool {
        self.has_room(port) && self.ways.get(port).is_some_and(|ways| ways + 1 < WAYS)
    }

    /// Begins one; there has to be room.
    pub(super) fn begin(&mut self, port: usize, steering: Steering, now: Instant) {
        self.preparing = Some(port);
        self.count = None;
        self.last = Some(now);
        if let Some(ways) = self.ways.get_mut(port) {
            *ways += 1;
        }
        self.tell(port, &Order::Prepare(steering));
    }

    /// The next step, if the last is done.
    pub(super) fn go_on(&mut self, now: Instant) {
        let told = self.workers.iter_mut().map(Told::is_done);
        if !told.fold(true, |all, done| all & done) {
            return;
        }
        if let Some(port) = self.preparing.take() {
            return self.tell(port, &Order::Follow);
        }
        let is_settled = self.last.is_some_and(|last| now >= last + SETTLED_AFTER);
        if is_settled && self.ways.iter().any(|ways| *ways > 1) {
            self.count(now);
        }
    }

    /// Goes through the workers' flows a page at a time; forgets what none of them needs.
    fn count(&mut self, now: Instant) {
        let count = self.count.get_or_insert(Count {
            worker: 0,
            from: 0,
            reply: None,
        });
        let Some(told) = self.workers.get(count.worker) else {
            self.count = None;
            for port in 0..self.ways.len() {
                if std::mem::replace(&mut self.ways[port], 1) > 1 {
                    self.tell(port, &Order::Forget);
                }
            }
            return;
        };
        match &count.reply {
            // It is asked again with the next look where it has other questions to answer.
            None => count.reply = told.inspection.strays(count.from).ok(),
            Some(reply) => match reply.take() {
                None => {}
                Some(strays) if strays.flows > 0 => {
                    self.count = None;
                    self.last = Some(now);
                }
                Some(strays) => {
                    count.reply = None;
                    match strays.next {
                        Some(next) => count.from = next,
                        None => (count.worker, count.from) = (count.worker + 1, 0),
                    }
                }
            },
        }
    }

    #[cfg(test)]
    pub(super) fn is_counting(&self) -> bool {
        self.count.is_some()
    }

    fn tell(&mut self, port: usize, order: &Order) {
        for worker in &mut self.workers {
            worker.waiting.push_back((port as u8, order.clone()));
            worker.send();
        }
    }
}

impl Told {
    fn send(&mut self) {
        while let Some((port, order)) = self.waiting.front() {
            if self.inspection.steer(*port, order.clone()).is_err() {
                return;
            }
            self.sent += 1;
            self.waiting.pop_front();
        }
    }

    /// Whether it has done all that it was told; sends what it had no room for.
    fn is_done(&mut self) -> bool {
        self.send();
        self.waiting.is_empty() && self.stats.stack.steering_orders.get() == self.sent
    }
}
