//! Steering that changes while requests are under way: workers hear of it one by one, as the control thread
//! tells them, and the device follows before, after or never.

use sluice_perf::memory::{Memory, Workers};
use sluice_stack::rng::Rng;
use sluice_stack::sim::Spread;
use sluice_stack::steering::{Order, Steering, WAYS};

/// Links of the gateway, and so its ports.
const PORTS: u8 = 2;

/// A change under way, and the chance by which there are more.
pub(super) struct SteeringChanges {
    rng: Rng,
    workers: u16,
    /// What each worker is still to be told, the next one last.
    orders: Vec<(usize, u8, Order)>,
    /// Changes that can still be made before older connections have to be gone.
    left: usize,
}

impl SteeringChanges {
    pub(super) fn new(seed: u64, workers: &Workers) -> Self {
        SteeringChanges {
            rng: Rng::new(seed ^ 0x7374_6565),
            workers: workers.count,
            orders: Vec::new(),
            left: WAYS - 1,
        }
    }

    /// Now and then begins a change, or goes on with it by telling one worker.
    pub(super) fn step(&mut self, memory: &mut Memory) {
        if self.workers < 2 || !self.rng.chance(0.2) {
            return;
        }
        let Some((worker, port, order)) = self.orders.pop() else {
            if self.left > 0 {
                self.left -= 1;
                self.begin();
            }
            return;
        };
        if let Order::Prepare(steering) = &order
            && self.rng.chance(0.3)
        {
            let spread = match self.rng.chance(0.5) {
                true => Spread::Flow(steering.clone()),
                false => Spread::Random,
            };
            memory.net.set_spread(port.into(), spread);
        }
        // Polls answer faster than questions come, so there is room.
        if let Some(inspection) = memory.inspections().nth(worker) {
            let told = inspection.steer(port, order);
            assert!(told.is_ok(), "a worker answers no questions");
        }
    }

    /// Every worker prepares, in some order, before the first follows.
    fn begin(&mut self) {
        let key: [u8; 40] = std::array::from_fn(|_| self.rng.next_u64() as u8);
        let Ok(steering) = Steering::in_software(&key, self.workers) else {
            return;
        };
        for port in 0..PORTS {
            let first = self.rng.below(self.workers.into()) as usize;
            let workers = usize::from(self.workers);
            let round = (0..workers).map(|n| (first + n) % workers);
            let told = |order: Order| {
                round
                    .clone()
                    .map(move |worker| (worker, port, order.clone()))
            };
            self.orders.extend(told(Order::Follow));
            self.orders.extend(told(Order::Prepare(steering.clone())));
        }
    }
}
