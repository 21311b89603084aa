//! Which worker a port's flows belong to: decided by where the first frames of connections land, and
//! decided anew where they turn out to land elsewhere. Until it is known, and where nothing can be foreseen,
//! a key of ours decides, and workers hand over what arrives at the wrong one.

mod change;
mod load;
mod totals;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use sluice_engine::stack::crew::Firsts;
use sluice_engine::stack::steering::{
    Claim, Evidence, Family, First, Found, Steering, SteeringError, Verdict,
};
use sluice_port::{OpenedPort, Port, steering_key};

use crate::log;
use crate::shared::Shared;
use change::Changes;
use load::Loads;
pub(crate) use totals::{By, SteeringTotals, Why};

/// How often a random key is tried: one in which half of the bits that matter are zero is rare, and so is
/// one that leaves a worker without connections.
const KEYS: usize = 8;

/// One port's flows and what is known of its device.
pub(crate) struct PortSteering {
    name: Arc<str>,
    /// The device; none in tests.
    device: Option<Port>,
    workers: u16,
    /// That of new flows.
    current: Steering,
    /// By family; none where workers share queues, which is steered by nobody but us.
    evidence: Option<[Evidence; 2]>,
    totals: Arc<SteeringTotals>,
}

impl PortSteering {
    /// By the device's word to begin with, where it has a queue for each worker and says how it spreads
    /// flows over them; otherwise by a key of ours, in equal parts.
    ///
    /// # Errors
    /// There are no random numbers.
    pub(crate) fn of(name: &Arc<str>, opened: &OpenedPort, workers: u16) -> io::Result<Self> {
        let queues = opened.queue_pairs;
        let claimed = if queues < workers {
            log::info(format_args!(
                "port {name}: {queues} queue pair(s) for {workers} workers; the first carry the frames of the others"
            ));
            None
        } else if let Some(rss) = &opened.port.info().rss_by {
            match Steering::of_device(&rss.key, &rss.table, workers) {
                Ok(steering) => {
                    let places = rss.table.len();
                    log::info(format_args!(
                        "port {name}: the device says that it steers flows to their workers (RSS, {places} places); \
                         the first frames of connections will show"
                    ));
                    Some(steering)
                }
                Err(error) => {
                    log::warning(format_args!(
                        "port {name}: the device cannot steer flows to their workers, which hand them over: {error}"
                    ));
                    None
                }
            }
        } else {
            log::info(format_args!(
                "port {name}: the device does not say how it steers flows; what arrives at another worker is handed \
                 over, unless the first frames of connections show how it does"
            ));
            None
        };
        let by = claimed.as_ref().map_or(By::Software, |_| By::Claimed);
        let totals = Arc::new(SteeringTotals::default());
        for family in Family::ALL {
            totals.set_by(family, by);
        }
        Ok(PortSteering {
            name: name.clone(),
            device: Some(opened.port.clone()),
            workers,
            current: claimed.map_or_else(|| in_software(workers), Ok)?,
            evidence: (queues >= workers).then(|| Family::ALL.map(|_| Evidence::new(workers))),
            totals,
        })
    }

    /// How it begins.
    pub(crate) fn steering(&self) -> &Steering {
        &self.current
    }

    /// What is told of it.
    pub(crate) fn totals(&self) -> &Arc<SteeringTotals> {
        &self.totals
    }

    fn note(&mut self, first: First) {
        let Some(evidence) = &mut self.evidence else {
            return;
        };
        let family = first.key.family();
        let is_right = self.current.owner(&first.key) == first.worker;
        self.totals.count_first(family, is_right);
        evidence[family as usize].note(first);
    }

    /// What new flows are to be steered by instead, if the first frames say so.
    fn judge(&mut self) -> Option<Steering> {
        Family::ALL
            .into_iter()
            .find_map(|family| self.judge_family(family))
    }

    fn judge_family(&mut self, family: Family) -> Option<Steering> {
        let evidence = &mut self.evidence.as_mut()?[family as usize];
        if !evidence.is_fresh() {
            return None;
        }
        let by = self.totals.by(family);
        let current = (by != By::Software).then_some(&self.current);
        // Asked anew, because it may have changed.
        let device = self.device.as_ref();
        let told = device.and_then(Port::rss);
        let asked = device.and_then(|device| device.info().rss_key.as_deref());
        let told = told.iter().map(|rss| Claim {
            key: &rss.key,
            table: &rss.table,
        });
        let asked = asked.iter().map(|key| Claim { key, table: &[] });
        let claims: Vec<Claim<'_>> = told.chain(asked).collect();
        let name = &self.name;
        let (steering, by) = match evidence.judge(current, &claims) {
            Verdict::Open => return None,
            Verdict::Right => {
                if by == By::Claimed {
                    log::info(format_args!(
                        "port {name}, {family}: first frames land where the device says"
                    ));
                    self.totals.set_by(family, By::Confirmed);
                }
                return None;
            }
            Verdict::By(steering, Found::Claimed) => (steering, By::Confirmed),
            Verdict::By(steering, Found::Learned) => (steering, By::Observed),
            Verdict::Unforeseen if by == By::Software => return None,
            Verdict::Unforeseen => match in_software(self.workers) {
                Ok(steering) => (steering, By::Software),
                Err(error) => {
                    log::warning(format_args!("port {name}: {error}"));
                    return None;
                }
            },
        };
        log::info(format_args!("port {name}, {family}: {}", by.decision()));
        self.totals.set_by(family, by);
        self.totals.count_change(Why::Device);
        self.current = self.current.with(family, &steering);
        Some(self.current.clone())
    }

    /// What new flows are to be steered by so that a busy worker gets fewer of them and another more, where
    /// it is not the device that steers.
    fn shift(&mut self, (from, to): (u16, u16)) -> Option<Steering> {
        let before = self.totals.changes(Why::Load);
        for family in Family::ALL {
            if self.totals.by(family) == By::Software
                && let Some(shifted) = self.current.shifted(family, from, to, self.workers)
            {
                self.current = shifted;
                self.totals.count_change(Why::Load);
            }
        }
        (self.totals.changes(Why::Load) > before).then(|| {
            log::info(format_args!(
                "port {}: worker {from} is much busier than worker {to}, which gets more of the new connections",
                self.name
            ));
            self.current.clone()
        })
    }
}

/// All ports, and the workers that are told.
#[derive(Default)]
pub(crate) struct Steerings {
    ports: Vec<PortSteering>,
    /// By worker.
    firsts: Vec<Firsts>,
    loads: Loads,
    changes: Changes,
}

impl Steerings {
    /// For workers that tell of first frames.
    pub(crate) fn new(ports: Vec<PortSteering>, firsts: Vec<Firsts>, workers: &[Shared]) -> Self {
        let changes = Changes::new(ports.len(), workers);
        let loads = Loads::new(workers.iter().map(|worker| worker.loop_stats.clone()));
        Steerings {
            ports,
            firsts,
            loads,
            changes,
        }
    }

    /// Takes note of first frames, decides, and has the workers follow. One change at a time: what is
    /// found meanwhile is found again. `serves` says of which ports clients connect to.
    pub(crate) fn look(&mut self, now: Instant, serves: impl Fn(usize) -> bool) {
        for firsts in &mut self.firsts {
            while let Some(first) = firsts.take() {
                if let Some(port) = self.ports.get_mut(usize::from(first.key.port())) {
                    port.note(first);
                }
            }
        }
        for (number, port) in self.ports.iter_mut().enumerate() {
            if self.changes.has_room(number)
                && let Some(steering) = port.judge()
            {
                self.changes.begin(number, steering, now);
            }
        }
        if let Some(apart) = self.loads.look() {
            for (number, port) in self.ports.iter_mut().enumerate() {
                // One way is kept for what the device may do next.
                if self.changes.has_room_to_spare(number)
                    && serves(number)
                    && let Some(steering) = port.shift(apart)
                {
                    self.changes.begin(number, steering, now);
                }
            }
        }
        self.changes.go_on(now);
    }
}

fn in_software(workers: u16) -> io::Result<Steering> {
    let mut last = SteeringError::Uneven(0);
    for _ in 0..KEYS {
        match Steering::in_software(&steering_key()?, workers) {
            Ok(steering) => return Ok(steering),
            Err(error) => last = error,
        }
    }
    Err(io::Error::other(last))
}

#[cfg(test)]
mod tests;
