//! What control threads may ask a worker about its traffic: copies of frames, its flows, and to find them
//! by another steering. The worker looks for a question once per poll, and one costs it no more than a few
//! connections do.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use sluice_stack::io::PacketIo;
use sluice_stack::steering::Order;
use sluice_stack::tap::{TapFilter, TapQueue};
use sluice_stack::time::Instant;
use sluice_stack::{FlowInfo, Owner};

use crate::worker::{Role, Worker};

/// Questions that may wait for a worker.
const QUESTIONS: usize = 8;

/// Places of the flow table that one poll looks at: some 20 us.
const PAGE: usize = 256;

/// The same where each is only counted or not.
const STRAYS_PAGE: usize = 1_024;

/// Where questions for one worker wait.
#[derive(Debug)]
pub struct Inspection {
    questions: ArrayQueue<Question>,
}

impl Default for Inspection {
    fn default() -> Self {
        Inspection {
            questions: ArrayQueue::new(QUESTIONS),
        }
    }
}

/// As many questions wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the worker is busy with other questions; try again")]
pub struct Busy;

#[derive(Debug)]
enum Question {
    Capture {
        port: Option<u8>,
        filter: TapFilter,
        queue: Arc<TapQueue>,
    },
    Flows {
        from: u32,
        page: FlowPage,
        reply: Arc<ArrayQueue<FlowPage>>,
    },
    Steer {
        port: u8,
        order: Order,
    },
    Strays {
        from: u32,
        reply: Arc<ArrayQueue<Strays>>,
    },
}

impl Inspection {
    /// Has the worker copy the frames that `filter` chooses, of one port or of all, to `queue` until
    /// that is closed. It ends a capture that is under way.
    pub fn capture(
        &self,
        port: Option<u8>,
        filter: TapFilter,
        queue: Arc<TapQueue>,
    ) -> Result<(), Busy> {
        self.ask(Question::Capture {
            port,
            filter,
            queue,
        })
    }

    /// Asks for the flows from a place of the flow table on, 0 at first.
    pub fn flows(&self, from: u32) -> Result<FlowReply, Busy> {
        let reply = Arc::new(ArrayQueue::new(1));
        let page = FlowPage {
            flows: Vec::with_capacity(PAGE),
            next: None,
        };
        self.ask(Question::Flows {
            from,
            page,
            reply: reply.clone(),
        })?;
        Ok(FlowReply(reply))
    }

    /// Changes how the worker finds flows of a port; `steering_orders` of its stack counts those carried out.
    pub fn steer(&self, port: u8, order: Order) -> Result<(), Busy> {
        self.ask(Question::Steer { port, order })
    }

    /// Asks for the number of flows that are found by an older steering than their port's newest, from a
    /// place of the flow table on, 0 at first.
    pub fn strays(&self, from: u32) -> Result<StraysReply, Busy> {
        let reply = Arc::new(ArrayQueue::new(1));
        self.ask(Question::Strays {
            from,
            reply: reply.clone(),
        })?;
        Ok(StraysReply(reply))
    }

    fn ask(&self, question: Question) -> Result<(), Busy> {
        self.questions.push(question).map_err(|_| Busy)
    }
}

/// Where the answer to [`Inspection::flows`] will be.
#[derive(Debug)]
pub struct FlowReply(Arc<ArrayQueue<FlowPage>>);

impl FlowReply {
    /// The answer, once the worker has given it: after a poll.
    pub fn take(&self) -> Option<FlowPage> {
        self.0.pop()
    }
}

/// Where the answer to [`Inspection::strays`] will be.
#[derive(Debug)]
pub struct StraysReply(Arc<ArrayQueue<Strays>>);

impl StraysReply {
    /// The answer, once the worker has given it: after a poll.
    pub fn take(&self) -> Option<Strays> {
        self.0.pop()
    }
}

/// Of some places of a worker's flow table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strays {
    /// Flows found by an older steering.
    pub flows: u32,
    /// Where to go on; `None` after the last place.
    pub next: Option<u32>,
}

/// Some of a worker's flows.
#[derive(Debug)]
pub struct FlowPage {
    /// In the order of their places in the flow table. Pages of one walk are taken one after the
    /// other, so flows may come and go between them.
    pub flows: Vec<FlowReport>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<u32>,
}

/// A flow and whose it is.
#[derive(Debug)]
pub struct FlowReport {
    /// What the stack knows.
    pub info: FlowInfo,
    /// What the engine knows.
    pub user: FlowUser,
}

/// Whose a flow is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowUser {
    /// A client's connection, by the name of the listener that took it.
    Listener(Arc<str>),
    /// A connection to an endpoint, by the name of the service.
    Service(Arc<str>),
    /// Nobody's any more: what was queued is delivered, then it is over.
    Nobody,
}

impl<P: PacketIo> Worker<P> {
    /// Answers one question if there is one.
    #[inline]
    pub(crate) fn answer_question(&mut self, now: Instant) {
        if !self.inspection.questions.is_empty() {
            self.answer(now);
        }
    }

    #[cold]
    fn answer(&mut self, now: Instant) {
        match self.inspection.questions.pop() {
            Some(Question::Capture {
                port,
                filter,
                queue,
            }) => self.stack.tap(port, filter, &queue),
            Some(Question::Flows {
                from,
                mut page,
                reply,
            }) => {
                let flows = self.stack.flows(from, PAGE, now);
                page.flows.extend(flows.map(|info| FlowReport {
                    user: self.user(info.owner),
                    info,
                }));
                let next = from.saturating_add(PAGE as u32);
                page.next = (next < self.stack.flow_slots()).then_some(next);
                // There is room for the one answer; nobody may be waiting for it any more.
                let _ = reply.push(page);
            }
            Some(Question::Steer { port, order }) => self.stack.steer(port, order),
            Some(Question::Strays { from, reply }) => {
                let flows = self.stack.strays(from, STRAYS_PAGE);
                let next = from.saturating_add(STRAYS_PAGE as u32);
                let next = (next < self.stack.flow_slots()).then_some(next);
                let _ = reply.push(Strays { flows, next });
            }
            None => {}
        }
    }

    fn user(&self, owner: Option<Owner>) -> FlowUser {
        let listener = |number| {
            let name = self.generations.listener_name(number);
            name.map(FlowUser::Listener)
        };
        let user = match owner {
            None => None,
            Some(Owner::Listener(number)) => listener(number),
            Some(Owner::User(number)) => match Role::of(number) {
                Role::Down(down) => {
                    let down = self.downs.get(down as usize);
                    down.and_then(|down| listener(down.listener))
                }
                Role::Up(up) => {
                    let pool = self.ups.get(up as usize).map(|up| up.pool);
                    let name = pool.and_then(|pool| self.pools.service_name(pool));
                    name.map(FlowUser::Service)
                }
                Role::Caller(caller) => {
                    let caller = self.rpc.callers.get(caller as usize);
                    caller.and_then(|caller| listener(caller.listener))
                }
                Role::Channel(channel) => {
                    let pool = self.rpc.channels.get(channel as usize).map(|ch| ch.pool);
                    let name = pool.and_then(|pool| self.pools.service_name(pool));
                    name.map(FlowUser::Service)
                }
            },
        };
        user.unwrap_or(FlowUser::Nobody)
    }
}
