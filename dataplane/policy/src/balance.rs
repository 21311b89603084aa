//! Chooses an endpoint of a service.

use std::sync::Arc;

use crate::snapshot::{Service, ServiceId, Snapshot};

/// Round robin over the endpoints of each service that serve one lane. State of one worker.
#[derive(Debug, Default)]
pub struct Balancer {
    /// By service and group: index in the group of the endpoint whose turn it is, modulo their number.
    next: Vec<Box<[usize]>>,
    /// The turn of requests that go by older rules, whose service or lane the newest don't have.
    older: usize,
}

impl Balancer {
    /// Begins with the first endpoint of each service.
    pub fn new(snapshot: &Snapshot) -> Balancer {
        let services = snapshot.services.iter();
        Balancer {
            next: services
                .map(|service| vec![0; service.groups.len()].into())
                .collect(),
            older: 0,
        }
    }

    /// The index of the endpoint whose turn it is among those of a group; `None` if there is none. The
    /// service may be of older rules than those that this balancer was made for: a request that was held
    /// or is tried again goes by the rules it began with. Does not allocate.
    #[inline]
    pub fn pick(&mut self, id: ServiceId, service: &Service, group: usize) -> Option<usize> {
        let own = self.next.get_mut(id.0);
        let own = own.and_then(|own| own.get_mut(group));
        let next = own.unwrap_or(&mut self.older);
        let endpoints = &service.groups.get(group)?.endpoints;
        let index = next.checked_rem(endpoints.len())?;
        *next = index + 1;
        Some(endpoints.start + index)
    }

    /// Goes over from one snapshot to another: a service of the same name goes on where it was, lane by
    /// lane.
    pub fn adopt(&mut self, old: &Snapshot, new: &Snapshot) {
        let same = |(old, new): (&Arc<Service>, &Arc<Service>)| {
            Arc::ptr_eq(old, new) || (old.name == new.name && old.groups == new.groups)
        };
        // Mostly the services are what they were, each in its place.
        if old.lanes.as_ref().map(|lanes| &lanes.names)
            == new.lanes.as_ref().map(|lanes| &lanes.names)
            && old.services.len() == new.services.len()
            && old.services.iter().zip(&new.services).all(same)
        {
            return;
        }
        let next = new.services.iter().map(|service| {
            let was = old
                .services
                .binary_search_by(|old| old.name.cmp(&service.name))
                .ok();
            let turns = was.and_then(|was| Some((old.services.get(was)?, self.next.get(was)?)));
            let turn = |lane| {
                let (before, turns) = turns?;
                let groups = before.groups.iter();
                let group = groups
                    .map(|group| old.lane_name(group.lane))
                    .position(|name| name == new.lane_name(lane))?;
                turns.get(group).copied()
            };
            let groups = service.groups.iter();
            groups.map(|group| turn(group.lane).unwrap_or(0)).collect()
        });
        self.next = next.collect();
    }
}
