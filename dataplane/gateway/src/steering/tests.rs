use std::time::Duration;

use sluice_engine::stack::FlowKey;
use sluice_engine::stack::steering::First;

use super::*;

#[test]
fn a_random_key_spreads_flows_over_any_number_of_workers() {
    for workers in 1..=64 {
        in_software(workers).unwrap();
    }
}

/// A port of two workers with a queue each, whose device told a key and table.
fn port(by: By) -> PortSteering {
    let totals = Arc::new(SteeringTotals::default());
    totals.set_by(Family::V4, by);
    PortSteering {
        name: "front".into(),
        device: None,
        workers: 2,
        current: in_software(2).unwrap(),
        evidence: Some(Family::ALL.map(|_| Evidence::new(2))),
        totals,
    }
}

fn first(number: u16, worker: impl Fn(&FlowKey) -> u16) -> First {
    let remote = ([10, 0, (number >> 8) as u8, 2], 30_000 + number);
    let key = FlowKey::new(0, ([10, 0, 0, 1], 80).into(), remote.into());
    let worker = worker(&key);
    First { key, worker }
}

#[test]
fn first_frames_bear_the_devices_word_out_and_refute_it() {
    let mut port = port(By::Claimed);
    let claimed = port.current.clone();
    (0..64).for_each(|n| port.note(first(n, |key| claimed.owner(key))));
    assert!(port.judge().is_none());
    let totals = port.totals.clone();
    assert_eq!(totals.by(Family::V4), By::Confirmed);
    assert_eq!(totals.firsts(Family::V4, true), 64);
    // Now all of them come in at the first worker: IPv4 is steered by us, IPv6 as before.
    (0..128).for_each(|n| port.note(first(n, |_| 0)));
    let steering = port.judge().unwrap();
    assert_eq!(
        (totals.by(Family::V4), totals.changes(Why::Device)),
        (By::Software, 1)
    );
    let (right, wrong) = (
        totals.firsts(Family::V4, true),
        totals.firsts(Family::V4, false),
    );
    assert!(right + wrong == 192 && wrong > 30, "{right} {wrong}");
    let differs = |n| {
        let v4 = first(n, |_| 0).key;
        steering.owner(&v4) != claimed.owner(&v4)
    };
    assert!((0..100).any(differs));
    let v6 = |n: u16| {
        let local = ([0xfd00, 0, 0, 0, 0, 0, 0, 1], 80).into();
        FlowKey::new(0, local, ([0xfd00, 0, 0, 0, 0, 0, 1, n], 9).into())
    };
    assert!((0..100).all(|n| steering.owner(&v6(n)) == claimed.owner(&v6(n))));
    // Nothing better is known of the device, so that stays.
    (0..64).for_each(|n| port.note(first(n, |_| 0)));
    assert!(port.judge().is_none());
}

#[test]
fn connections_are_moved_from_a_busy_worker_only_where_we_steer() {
    let mut port = port(By::Confirmed);
    port.totals.set_by(Family::V6, By::Observed);
    assert!(port.shift((0, 1)).is_none());
    port.totals.set_by(Family::V4, By::Software);
    let before = port.current.clone();
    let shifted = port.shift((0, 1)).unwrap();
    let moved = (0..2_000).map(|n| first(n, |_| 0).key);
    let moved = moved.filter(|key| before.owner(key) != shifted.owner(key));
    let moved: Vec<_> = moved.collect();
    assert!((60..200).contains(&moved.len()), "{}", moved.len());
    assert!(moved.iter().all(|key| shifted.owner(key) == 1));
    assert_eq!(port.totals.changes(Why::Load), 1);
    assert_eq!(port.totals.changes(Why::Device), 0);
}

#[test]
fn workers_follow_step_by_step_and_one_change_waits_for_another() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/quickstart.yaml");
    let (_, rules) = sluice_control_client::file::FileSource::open(rules).unwrap();
    let workers = [Shared::new(&rules), Shared::new(&rules)];
    let mut changes = Changes::new(2, &workers);
    let now = Instant::now();
    assert!(changes.has_room(0) && !changes.has_room(2));
    changes.begin(1, in_software(2).unwrap(), now);
    let done = |worker: usize, orders| workers[worker].stats.stack.steering_orders.set(orders);
    done(0, 1);
    changes.go_on(now);
    assert!(!changes.has_room(0), "the second has not prepared yet");
    done(1, 1);
    changes.go_on(now);
    assert!(changes.has_room(0), "both are told to follow");
    // Their connections are looked at only when both follow, and a while after.
    changes.go_on(now + Duration::from_secs(300));
    assert!(!changes.is_counting());
    (0..2).for_each(|worker| done(worker, 2));
    changes.go_on(now + Duration::from_secs(1));
    assert!(!changes.is_counting());
    changes.go_on(now + Duration::from_secs(300));
    assert!(changes.is_counting());
    // Four steerings of a port are all that is remembered.
    for orders in [3, 5] {
        changes.begin(1, in_software(2).unwrap(), now);
        (0..2).for_each(|worker| done(worker, orders));
        changes.go_on(now);
        (0..2).for_each(|worker| done(worker, orders + 1));
        changes.go_on(now);
    }
    assert!(changes.has_room(0) && !changes.has_room(1));
}
