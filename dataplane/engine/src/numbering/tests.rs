use std::sync::Arc;

use sluice_policy::{ServiceId, Snapshot, compile, parse};

use super::{Changes, Step};
use crate::handoff::{Handoff, Taken};
use crate::stats::WorkerStats;

/// Rules with these services.
fn rules(generation: u64, services: &str) -> Arc<Snapshot> {
    let text = format!(
        "ports:\n  p: {{ device: net_null0, addresses: [10.0.0.1/16] }}\n\
         listeners: {{ web: {{ address: \"10.0.0.1:80\" }} }}\n\
         lanes: {{ tags: [{{ lane: one, headers: {{ x: one }} }}] }}\n\
         services: {{ {services} }}\nroutes: [{{ service: b }}]\n"
    );
    let rules = parse(&text, "rules.yaml").unwrap();
    let mut snapshot = compile(&rules).unwrap();
    snapshot.generation = generation;
    Arc::new(snapshot)
}

/// The numbers of what is added and kept, and of what is gone.
fn numbers(changes: &Changes) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let (mut added, mut kept) = (Vec::new(), Vec::new());
    for step in changes.steps.iter().rev() {
        match step {
            Step::Add(number, _) => added.push(*number),
            Step::Keep(number, _) => kept.push(*number),
        }
    }
    (added, kept, changes.gone.clone())
}

fn begun(services: &str) -> (Handoff, Taken) {
    let handoff = Handoff::new(rules(1, services));
    let stats = WorkerStats::new(1);
    let taken = handoff.begin(&stats.traffic);
    (handoff, taken)
}

fn next(taken: &Taken, service: &str, lane: &str) -> Option<u32> {
    let (snapshot, named) = &taken.rules;
    let at = snapshot
        .services
        .iter()
        .position(|own| &*own.name == service)?;
    let lanes = snapshot.lanes.as_ref()?;
    let own = &snapshot.services[at];
    named.next_pool(ServiceId(at), own, own.group(lanes.find(lane.as_bytes()))?)
}

#[test]
fn endpoints_have_their_turns_lane_by_lane_and_go_on_with_new_rules() {
    let of_b = "b: { endpoints: [10.0.2.1:1, { address: 10.0.2.2:1, lane: one }, 10.0.2.3:1] }";
    let (handoff, first) = begun(of_b);
    let (added, kept, gone) = numbers(&first.changes);
    assert_eq!((added.len(), kept.len(), gone.len()), (3, 0, 0));
    // Those of no lane come first.
    let picks: Vec<_> = ["", "one", "", "", "one"]
        .map(|lane| next(&first, "b", lane).unwrap())
        .into();
    assert_eq!(picks, [added[0], added[2], added[1], added[0], added[2]]);

    // A service that comes first in the new set moves the other's index; its lanes change their order.
    handoff.offer(rules(
        2,
        "a: { endpoints: [10.0.2.1:1] }, b: { max_idle: 3, endpoints: [10.0.2.1:1, 10.0.2.3:1, \
         { address: 10.0.2.4:1, lane: early }, { address: 10.0.2.2:1, lane: one }] }",
    ));
    let second = handoff.take().unwrap();
    assert_eq!(next(&second, "b", ""), Some(added[1]), "where it was");
    assert_eq!(next(&second, "b", "one"), Some(added[2]));
    let early = next(&second, "b", "early").unwrap();
    assert!(!added.contains(&early), "an endpoint that is new");
    let own = next(&second, "a", "").unwrap();
    assert!(
        !added.contains(&own),
        "the same address, but of another service"
    );
    let (snapshot, named) = &second.rules;
    let b = &snapshot.services[1];
    assert_eq!(named.next_pool(ServiceId(9), b, 0), None);
    assert_eq!(named.next_pool(ServiceId(1), b, 9), None);
}

#[test]
fn a_worker_is_told_the_difference_to_the_rules_that_it_has() {
    let (handoff, first) =
        begun("b: { endpoints: [10.0.2.1:1, 10.0.2.2:1] }, c: { endpoints: [10.0.2.3:1] }");
    let (added, ..) = numbers(&first.changes);
    assert!(handoff.take().is_none(), "there is nothing new");

    // It sees neither of these two.
    handoff.offer(rules(2, "b: { endpoints: [10.0.2.9:1] }"));
    handoff.offer(rules(
        3,
        "b: { endpoints: [10.0.2.2:1] }, c: { endpoints: [10.0.2.8:1] }",
    ));
    handoff.offer(rules(
        4,
        "b: { endpoints: [10.0.2.2:1, 10.0.2.7:1] }, c: { endpoints: [10.0.2.3:1] }",
    ));
    let taken = handoff.take().unwrap();
    assert_eq!(taken.rules.0.generation, 4);
    let (new, kept, gone) = numbers(&taken.changes);
    assert_eq!((new.len(), kept, gone), (1, vec![], vec![added[0]]));
    assert!(!added.contains(&new[0]));
    assert!(!taken.changes.listeners);
    assert!(handoff.take().is_none());

    let service = |keep: &str| {
        format!(
            "b: {{ {keep} endpoints: [10.0.2.2:1, 10.0.2.7:1] }}, c: {{ endpoints: [10.0.2.3:1] }}"
        )
    };
    handoff.offer(rules(5, &service("max_idle: 7,")));
    let keeps = handoff.take().unwrap();
    assert_eq!(
        numbers(&keeps.changes),
        (vec![], vec![added[1], new[0]], vec![])
    );

    // What is the same is no change, nor told to be one.
    handoff.offer(rules(6, &service("max_idle: 7,")));
    assert_eq!(
        numbers(&handoff.take().unwrap().changes),
        (vec![], vec![], vec![])
    );
}

#[test]
fn a_number_is_given_again_when_no_worker_has_its_pool() {
    let (handoff, first) = begun("b: { endpoints: [10.0.2.1:1, 10.0.2.2:1] }");
    let (added, ..) = numbers(&first.changes);
    handoff.offer(rules(2, "b: { endpoints: [10.0.2.2:1] }"));
    let second = handoff.take().unwrap();
    assert_eq!(numbers(&second.changes).2, [added[0]]);

    // The worker still has the pool, in use by older rules.
    handoff.offer(rules(3, "b: { endpoints: [10.0.2.2:1, 10.0.2.3:1] }"));
    let third = handoff.take().unwrap();
    let (third_added, ..) = numbers(&third.changes);
    assert_eq!(third_added, [2], "a new number");

    drop(first);
    handoff.offer(rules(4, "b: { endpoints: [10.0.2.2:1, 10.0.2.3:1] }"));
    handoff.offer(rules(
        5,
        "b: { endpoints: [10.0.2.2:1, 10.0.2.3:1, 10.0.2.4:1] }",
    ));
    let last = handoff.take().unwrap();
    assert_eq!(numbers(&last.changes).0, [added[0]], "the one that is free");

    // An endpoint that comes back before its pool has gone is what it was.
    handoff.offer(rules(6, "b: { endpoints: [10.0.2.2:1, 10.0.2.3:1] }"));
    handoff.offer(rules(
        7,
        "b: { endpoints: [10.0.2.2:1, 10.0.2.3:1, 10.0.2.4:1] }",
    ));
    let back = handoff.take().unwrap();
    assert_eq!(numbers(&back.changes), (vec![], vec![], vec![]));
}
