//! The room for connections, which a worker makes once, at its start.

use sluice_engine::limits;
use sluice_policy::Snapshot;

use crate::check::beyond_machine;

/// How many connections a worker has room for, those to services included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room(usize);

impl Room {
    /// What workers have that start with these rules.
    pub(crate) fn of(rules: &Snapshot) -> Self {
        Room(limits(rules).flows)
    }

    /// What to say where newer rules allow more connections than there is room for.
    pub(crate) fn exceeded(self, rules: &Snapshot) -> Option<String> {
        let Room(wanted) = Room::of(rules);
        (wanted > self.0).then(|| {
            format!(
                "`max_connections` of the listeners asks for room for {wanted} connections in each worker, those to \
                 services included; made at the start was room for {}. Clients beyond that are not let in \
                 (event `flows_full`) until the gateway is restarted",
                self.0
            )
        })
    }
}

/// What to say where newer rules may take more memory than the machine has, and those before did not.
pub(crate) fn now_beyond_machine(before: Option<&Snapshot>, rules: &Snapshot) -> Option<String> {
    beyond_machine(rules).filter(|_| before.and_then(beyond_machine).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(connections: u32) -> Snapshot {
        let text = format!(
            "workers: {{ count: 2 }}
ports: {{ front: {{ device: net_ring0, addresses: [10.99.1.1/24] }} }}
listeners: {{ web: {{ address: 10.99.1.1:80, max_connections: {connections} }} }}
services: {{ hello: {{ endpoints: [10.99.1.2:8080] }} }}
routes: [{{ service: hello }}]
"
        );
        let rules = sluice_policy::parse(&text, "g.yaml").expect("rules that can be read");
        sluice_policy::compile(&rules).expect("rules that fit")
    }

    #[test]
    fn rules_that_allow_more_connections_than_there_is_room_for_are_told_with_the_figures() {
        let room = Room::of(&rules(1_000));
        for fits in [1, 16_384, 131_072] {
            assert_eq!(room.exceeded(&rules(fits)), None, "{fits}");
        }
        let said = room.exceeded(&rules(1_000_000)).expect("too many");
        for part in [
            "room for 1000000 connections",
            "room for 131072",
            "restarted",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
}
