//! What is counted of calls by service and method.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::pool::Pools;
use crate::traffic::{MethodKey, MethodStats, Outcome, Traffic};

/// Methods that one worker counts apart; the others of each service are counted together.
const MAX_METHODS: usize = 1024;

/// The series of methods, found without a lock once they are known.
#[derive(Default)]
pub(super) struct Methods {
    /// By the pools' number of the service.
    services: Vec<HashMap<Box<[u8]>, Arc<MethodStats>>>,
    known: usize,
}

impl Methods {
    /// Counts a call of a method to the service that a pool belongs to.
    #[inline]
    pub(super) fn count(
        &mut self,
        (pools, pool): (&Pools, u32),
        method: &[u8],
        (outcome, time): (Outcome, Duration),
        traffic: &Traffic,
    ) {
        let Some(number) = pools.get(pool).map(|pool| pool.service_number()) else {
            return;
        };
        let known = self.services.get(number);
        let known = known.and_then(|methods| methods.get(method));
        let stats = match known {
            Some(stats) => stats,
            None => match self.learn(pools, (pool, number), method, traffic) {
                Some(stats) => stats,
                None => return,
            },
        };
        stats.outcomes.count(outcome);
        stats.times.record(time);
    }

    #[cold]
    fn learn(
        &mut self,
        pools: &Pools,
        (pool, number): (u32, usize),
        method: &[u8],
        traffic: &Traffic,
    ) -> Option<&Arc<MethodStats>> {
        if self.services.len() <= number {
            self.services.resize_with(number + 1, HashMap::new);
        }
        let full = self.known >= MAX_METHODS;
        let methods = self.services.get_mut(number)?;
        // A method without a name stands for those that are not counted apart.
        let method = if full { &[] } else { method };
        if !methods.contains_key(method) {
            let key = MethodKey {
                service: pools.service_name(pool)?,
                method: String::from_utf8_lossy(method).into(),
            };
            methods.insert(method.into(), traffic.methods.of(&key));
            self.known += 1;
        }
        methods.get(method)
    }
}
