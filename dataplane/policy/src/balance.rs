//! Chooses an endpoint of a service.

use crate::snapshot::{Service, ServiceId, Snapshot};

/// Round robin over the endpoints of each service. State of one worker.
#[derive(Debug, Default)]
pub struct Balancer {
    /// By service: index of the endpoint whose turn it is, modulo their number.
    next: Vec<usize>,
}

impl Balancer {
    /// Begins with the first endpoint of each service.
    pub fn new(snapshot: &Snapshot) -> Balancer {
        Balancer {
            next: vec![0; snapshot.services.len()],
        }
    }

    /// The index of the endpoint whose turn it is; `None` if the service has none or is not of the
    /// snapshot that this balancer was made for. Does not allocate.
    pub fn pick(&mut self, id: ServiceId, service: &Service) -> Option<usize> {
        let next = self.next.get_mut(id.0)?;
        let index = next.checked_rem(service.endpoints.len())?;
        *next = index + 1;
        Some(index)
    }

    /// Goes over from one snapshot to another: a service of the same name goes on where it was.
    pub fn adopt(&mut self, old: &Snapshot, new: &Snapshot) {
        let turn = |service: &Service| {
            let was = old
                .services
                .binary_search_by(|old| old.name.cmp(&service.name))
                .ok()?;
            self.next.get(was).copied()
        };
        self.next = new
            .services
            .iter()
            .map(|service| turn(service).unwrap_or(0))
            .collect();
    }
}
