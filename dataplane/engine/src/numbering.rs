//! The numbers that a worker goes by, and what changes for it from one set of rules to the next. Kept on
//! a control thread, so that taking rules up costs the worker what changed alone.

use std::collections::HashMap;
use std::sync::Arc;

use sluice_policy::{Listener, ListenerId, Service, Snapshot};

use crate::named::{Named, NamedListeners};
use crate::pool::{Pool, ServiceLoad};
use crate::traffic::{EndpointKey, EndpointStats, Traffic};

/// Holders of an endpoint's series when no worker has the endpoint any more: the series of all endpoints,
/// and the numbering.
const UNUSED: usize = 2;

/// The numbers of one worker. One name has one number in all sets of rules.
#[derive(Debug, Default)]
pub(crate) struct Numbering {
    /// Listeners that there are or were: a number stays while the gateway runs, so that connections
    /// outlive rules.
    listeners: HashMap<Arc<str>, u32>,
    /// Services that there are or were.
    services: HashMap<Arc<str>, Arc<ServiceLoad>>,
    pools: HashMap<EndpointKey, Numbered>,
    /// Numbers of pools given out so far, and those of them that are free again.
    given: u32,
    free: Vec<u32>,
    /// Endpoints that an older offer named, and the newest may not.
    left: Vec<EndpointKey>,
}

/// An endpoint with a number. The worker holds the series for as long as it has the pool.
#[derive(Debug)]
struct Numbered {
    number: u32,
    stats: Arc<EndpointStats>,
    service: Arc<ServiceLoad>,
    /// The newest offer names it.
    named: bool,
}

/// Rules with what a worker has for them.
pub(crate) type Rules<'a> = (&'a Snapshot, &'a Named);

/// What is to be done for a worker to get from one set of rules to the next.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// What comes first.
    pub(crate) steps: Vec<Step>,
    /// Pools that the new rules don't name any more.
    pub(crate) gone: Vec<u32>,
    /// Listeners are not what they were.
    pub(crate) listeners: bool,
}

/// A step towards new rules, which those before do not notice.
#[derive(Debug)]
pub(crate) enum Step {
    /// A pool is there from now on. The worker may still have it from older rules.
    Add(u32, Box<Pool>),
    /// What waits in a pool.
    Keep(u32, Keep),
}

/// How many connections may wait in a pool, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keep {
    pub(crate) max_idle: u32,
    pub(crate) idle_timeout: std::time::Duration,
}

impl Keep {
    fn of(service: &Service) -> Keep {
        Keep {
            max_idle: service.max_idle,
            idle_timeout: service.idle_timeout,
        }
    }
}

impl Numbering {
    /// Numbers listeners.
    pub(crate) fn listeners(&mut self, listeners: &[Listener]) -> NamedListeners {
        let numbers = listeners.iter().map(|listener| {
            let next = self.listeners.len() as u32;
            *self.listeners.entry(listener.name.clone()).or_insert(next)
        });
        let numbers: Box<[u32]> = numbers.collect();
        let mut places = vec![(Arc::default(), None); self.listeners.len()];
        for (name, &number) in &self.listeners {
            places[number as usize].0 = name.clone();
        }
        for (place, &number) in numbers.iter().enumerate() {
            places[number as usize].1 = Some(ListenerId(place));
        }
        NamedListeners {
            numbers,
            places: places.into(),
        }
    }

    /// The pools of a service's endpoints.
    pub(crate) fn pools(&mut self, service: &Service, traffic: &Traffic) -> Box<[u32]> {
        let numbers = service.endpoints.iter().map(|endpoint| {
            let key = EndpointKey {
                service: service.name.clone(),
                address: endpoint.address,
                port: endpoint.port,
            };
            if let Some(known) = self.pools.get_mut(&key) {
                known.named = true;
                return known.number;
            }
            let next = self.services.len();
            let load = self.services.entry(service.name.clone());
            let number = self.free.pop().unwrap_or_else(|| {
                self.given += 1;
                self.given - 1
            });
            let numbered = Numbered {
                number,
                stats: traffic.endpoints.of(&key),
                service: load
                    .or_insert_with(|| Arc::new(ServiceLoad::new(next)))
                    .clone(),
                named: true,
            };
            self.pools.insert(key, numbered);
            number
        });
        numbers.collect()
    }

    /// The newest rules are others. Frees the numbers of pools that no worker has any more.
    pub(crate) fn offered(&mut self, old: Rules<'_>, new: Rules<'_>) {
        for_changed(old, new, |old, new| {
            let Some((service, pools)) = old else { return };
            let named = |number| new.is_some_and(|(_, pools)| pools.contains(&number));
            for (endpoint, number) in service.endpoints.iter().zip(pools) {
                let key = EndpointKey {
                    service: service.name.clone(),
                    address: endpoint.address,
                    port: endpoint.port,
                };
                if !named(*number)
                    && let Some(own) = self.pools.get_mut(&key)
                {
                    own.named = false;
                    self.left.push(key);
                }
            }
        });
        let (pools, free) = (&mut self.pools, &mut self.free);
        self.left.retain(|key| match pools.get(key) {
            Some(own) if own.named => false,
            Some(own) if Arc::strong_count(&own.stats) > UNUSED => true,
            Some(own) => {
                free.push(own.number);
                pools.remove(key);
                false
            }
            None => false,
        });
    }

    /// What gets a worker from the rules that it took up last, if any, to others.
    pub(crate) fn changes(&self, old: Option<Rules<'_>>, new: Rules<'_>) -> Changes {
        let mut changes = Changes {
            listeners: old.is_none_or(|(old, _)| old.listeners != new.0.listeners),
            ..Changes::default()
        };
        let mut changed = |old: Option<Place<'_>>, new: Option<Place<'_>>| {
            let had = |number| old.is_some_and(|(_, pools)| pools.contains(&number));
            let has = |number| new.is_some_and(|(_, pools)| pools.contains(&number));
            let keeps = |keep| old.is_some_and(|(old, _)| Keep::of(old) == keep);
            if let Some((service, pools)) = new {
                let keep = Keep::of(service);
                for (endpoint, &number) in service.endpoints.iter().zip(pools) {
                    let key = EndpointKey {
                        service: service.name.clone(),
                        address: endpoint.address,
                        port: endpoint.port,
                    };
                    match self.pools.get(&key) {
                        Some(own) if !had(number) => {
                            let ready = (own.stats.clone(), own.service.clone());
                            let pool = Box::new(Pool::new(key, ready, keep));
                            changes.steps.push(Step::Add(number, pool));
                        }
                        _ if !keeps(keep) => changes.steps.push(Step::Keep(number, keep)),
                        _ => {}
                    }
                }
            }
            let gone = old.map_or(&[][..], |(_, pools)| pools).iter();
            changes.gone.extend(gone.filter(|&&number| !has(number)));
        };
        match old {
            Some(old) => for_changed(old, new, changed),
            None => {
                let services = new.0.services.iter().zip(&new.1.services);
                services.for_each(|(service, named)| changed(None, Some((service, &named.pools))));
            }
        }
        // They are taken from the end on.
        changes.steps.reverse();
        changes
    }
}

/// A service with the pools of its endpoints.
type Place<'a> = (&'a Service, &'a [u32]);

/// Each service of which the worker has to do something else from now on, as it was and as it is. Both are in the order of
/// names.
fn for_changed<'a>(
    (old, old_named): Rules<'a>,
    (new, new_named): Rules<'a>,
    mut change: impl FnMut(Option<Place<'a>>, Option<Place<'a>>),
) {
    let mut olds = old.services.iter().zip(&old_named.services).peekable();
    let mut news = new.services.iter().zip(&new_named.services).peekable();
    loop {
        let order = match (olds.peek(), news.peek()) {
            (Some((old, _)), Some((new, _))) => old.name.cmp(&new.name),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return,
        };
        let old = if order.is_le() { olds.next() } else { None };
        let new = if order.is_ge() { news.next() } else { None };
        let same = matches!((old, new), (Some((was, old)), Some((is, new)))
            if Arc::ptr_eq(old, new) && Keep::of(was) == Keep::of(is));
        if !same {
            let [old, new] = [old, new].map(|place| {
                let (service, named) = place?;
                Some((&**service, &*named.pools))
            });
            change(old, new);
        }
    }
}

#[cfg(test)]
mod tests;
