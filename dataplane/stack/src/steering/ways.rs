//! The steerings of a port that connections live by: that of new ones, and those before it.

use arrayvec::ArrayVec;

use super::Steering;
use crate::key::FlowKey;

/// Steerings of a port that may be remembered at a time.
pub const WAYS: usize = 4;

/// What a worker is told about the steering of a port. A change takes two steps, so that no worker
/// opens a connection by a steering that another does not know of: `Prepare` to all, and when all have
/// it, `Follow` to all.
#[derive(Debug, Clone)]
pub enum Order {
    /// Look for connections by this steering too, after those that are known.
    Prepare(Steering),
    /// New connections go by the steering that was prepared last.
    Follow,
    /// No connection goes by an older steering any more.
    Forget,
}

/// In the order in which a flow is looked for: first by the steering of new ones.
pub(crate) struct Ways(ArrayVec<Steering, WAYS>);

impl Ways {
    pub(crate) fn new(steering: Steering) -> Self {
        let mut ways = ArrayVec::new();
        ways.push(steering);
        Ways(ways)
    }

    /// The worker of a new flow.
    #[inline]
    pub(crate) fn newest(&self, key: &FlowKey) -> u16 {
        self.0.first().map_or(0, |steering| steering.owner(key))
    }

    /// Whether flows are where [`Self::newest`] says, all of them.
    #[inline]
    pub(crate) fn is_one(&self) -> bool {
        self.0.len() == 1
    }

    /// The workers that may have a flow, the likeliest first; one may come more than once.
    pub(crate) fn owners(&self, key: &FlowKey) -> impl Iterator<Item = u16> {
        self.0.iter().map(|steering| steering.owner(key))
    }

    /// Does as told. Of more steerings than [`WAYS`], the last is forgotten.
    #[cold]
    pub(crate) fn carry_out(&mut self, order: Order) {
        match order {
            Order::Prepare(steering) => {
                if self.0.is_full() {
                    self.0.pop();
                }
                self.0.push(steering);
            }
            Order::Follow => self.0.rotate_right(1),
            Order::Forget => self.0.truncate(1),
        }
    }
}
