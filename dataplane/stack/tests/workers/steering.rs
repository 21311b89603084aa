//! Steering that changes, and devices that don't do as they say.

use std::net::SocketAddr;
use std::time::Duration;

use sluice_stack::Buffers;
use sluice_stack::fate::{FrameFate, StackEvent};
use sluice_stack::sim::{Faults, Spread};
use sluice_stack::steering::{Claim, Evidence, Order, Steering, Verdict};

use crate::world::{KEY, World, world, world_of};

/// Another table for the same key, and another key.
fn other_steerings() -> [Steering; 2] {
    let table: Vec<u16> = (0..128).map(|place| place / 64).collect();
    let mut key = KEY;
    key.reverse();
    [
        Steering::of_device(&KEY, &table, 2).unwrap(),
        Steering::in_software(&key, 2).unwrap(),
    ]
}

#[test]
fn connections_live_on_when_steering_changes_step_by_step_whatever_the_device_does() {
    let before = Steering::in_software(&KEY, 2).unwrap();
    for v6 in [false, true] {
        for spread in [Spread::Random, Spread::Flow(before.clone())] {
            let mut world = world(2, &spread, v6);
            let mut flows = 0;
            let mut connect = |world: &mut World| {
                world.connect_all(40);
                flows += 40;
            };
            connect(&mut world);
            // Two changes, one worker always behind the other, and connections at every step.
            for steering in other_steerings() {
                for order in [Order::Prepare(steering.clone()), Order::Follow] {
                    world.order(0, &order);
                    connect(&mut world);
                    world.order(1, &order);
                    connect(&mut world);
                }
                world.net.set_spread(0, Spread::Flow(steering));
                connect(&mut world);
            }
            let strays: u32 = world.workers.iter().map(|w| w.stack.strays(0, 4096)).sum();
            assert!(strays > 0, "every connection went by the last steering");
            // Each of the peer's connections ends as it should: its FIN finds its flow.
            for flow in std::mem::take(&mut world.flows) {
                let now = world.net.now();
                world.peer.stack.close(flow, now);
            }
            for worker in &mut world.workers {
                worker.closes = true;
            }
            world.run(&[0, 1], Duration::from_secs(3));
            let closed = world.both(StackEvent::FlowClosed);
            assert_eq!(closed[0] + closed[1], flows);
            for worker in &world.workers {
                let (came, went) = worker.books();
                assert_eq!(came, went);
                for fate in [FrameFate::NoFlow, FrameFate::NoFlowSilent] {
                    assert_eq!(worker.stats.frames.get(fate), 0, "{fate:?}");
                }
                assert_eq!(worker.event(StackEvent::FlowReset), 0);
            }
            // Nobody needs the older ones any more.
            (0..2).for_each(|worker| world.order(worker, &Order::Forget));
            let over = world.both(StackEvent::HandedOver);
            world.connect_all(40);
            assert_eq!(world.both(StackEvent::HandedOver), over);
            let orders = world
                .workers
                .each_ref()
                .map(|w| w.stats.steering_orders.get());
            assert_eq!(orders, [5, 5]);
        }
    }
}

#[test]
fn half_open_connections_and_cookies_find_their_worker_when_steering_changes() {
    let [_, other] = other_steerings();
    let mut world = world_of(2, &Spread::Random, false, 40);
    // So few records that most SYNs are answered by cookies.
    world.connect(1);
    world.run(&[0, 1], Duration::from_millis(10));
    world.connect(200);
    let now = world.net.now();
    world.peer.poll(now);
    for worker in &mut world.workers {
        worker.poll(now);
        worker.poll(now);
    }
    let half_open: u64 = world.workers.iter().map(|w| w.stats.half_open.get()).sum();
    let cookies = world.both(StackEvent::SynCookie);
    assert!(
        half_open == 80 && cookies.iter().all(|n| *n > 10),
        "{half_open} {cookies:?}"
    );
    for order in [Order::Prepare(other), Order::Follow] {
        (0..2).for_each(|worker| world.order(worker, &order));
    }
    world.run(&[0, 1], Duration::from_secs(1));
    let accepted = world.both(StackEvent::FlowAccepted);
    assert_eq!(accepted[0] + accepted[1], 201);
    assert_eq!(world.peer.event(StackEvent::SegmentRetransmitted), 0);
}

#[test]
fn first_frames_of_connections_are_told_with_the_worker_they_came_to() {
    let steering = Steering::in_software(&KEY, 2).unwrap();
    for (spread, right) in [
        (Spread::Flow(steering.clone()), true),
        (Spread::Random, false),
    ] {
        let mut world = world(2, &spread, false);
        let peer = SocketAddr::new("10.0.0.1".parse().unwrap(), 80);
        world.peer.stack.listen(0, peer, 9, Buffers::default());
        world.connect_all(50);
        for worker in &mut world.workers {
            for _ in 0..25 {
                let now = world.net.now();
                worker
                    .stack
                    .connect(0, peer, 2, Buffers::default(), now)
                    .unwrap();
            }
        }
        world.run(&[0, 1], Duration::from_secs(1));
        let mut firsts = Vec::new();
        for seen in &mut world.firsts {
            firsts.extend(std::iter::from_fn(|| seen.take()));
        }
        let as_steered = firsts.iter().filter(|f| steering.owner(&f.key) == f.worker);
        let as_steered = as_steered.count();
        assert_eq!(firsts.len(), 100, "one for each connection");
        assert_eq!(as_steered == 100, right, "{as_steered}");
    }
}

/// What the control thread does: judges by the first frames of connections, and tells both workers.
fn decide(world: &mut World, evidence: &mut Evidence, current: &mut Steering, claim: Claim<'_>) {
    for firsts in &mut world.firsts {
        std::iter::from_fn(|| firsts.take()).for_each(|first| evidence.note(first));
    }
    if let Verdict::By(steering, _) = evidence.judge(Some(current), &[claim]) {
        *current = steering;
        for order in [Order::Prepare(current.clone()), Order::Follow] {
            (0..2).for_each(|worker| world.order(worker, &order));
        }
    }
}

#[test]
fn a_device_that_changes_its_table_while_its_link_is_down_is_followed() {
    let told: Vec<u16> = (0..128).map(|place| place % 2).collect();
    let [changed, _] = other_steerings();
    for v6 in [false, true] {
        let mut current = Steering::of_device(&KEY, &told, 2).unwrap();
        let mut evidence = Evidence::new(2);
        let claim = Claim {
            key: &KEY,
            table: &told,
        };
        let mut world = world(2, &Spread::Flow(current.clone()), v6);
        world.connect_all(100);
        decide(&mut world, &mut evidence, &mut current, claim);
        assert_eq!(world.both(StackEvent::HandedOver), [0, 0]);

        let down = Faults {
            loss: 1.0,
            ..Faults::default()
        };
        world.net.set_faults(0, [down; 2]);
        world.connect(100);
        world.run(&[0, 1], Duration::from_millis(300));
        world.net.set_spread(0, Spread::Flow(changed.clone()));
        world.net.set_faults(0, [Faults::default(); 2]);
        world.run(&[0, 1], Duration::from_secs(10));
        let accepted = world.both(StackEvent::FlowAccepted);
        assert_eq!(accepted[0] + accepted[1], 200);

        // It says the old table still. Before long no new connection needs a hand-over any more.
        let mut rounds = 0;
        loop {
            decide(&mut world, &mut evidence, &mut current, claim);
            let over = world.both(StackEvent::HandedOver);
            world.connect(100);
            world.run(&[0, 1], Duration::from_secs(1));
            if world.both(StackEvent::HandedOver) == over {
                break;
            }
            rounds += 1;
            assert!(rounds < 20, "{:?}", world.both(StackEvent::HandedOver));
        }
        assert!(rounds > 0, "nothing was handed over after the change");
        for worker in &world.workers {
            let (came, went) = worker.books();
            assert_eq!(came, went);
            assert_eq!(worker.stats.frames.get(FrameFate::NoFlow), 0);
        }
    }
}

#[test]
fn a_device_with_a_key_of_zeros_delivers_to_one_worker_and_both_serve() {
    // All hashes are zero, and the first place is the first worker's.
    let zeros = Steering::of_device(&[0; 40], &[0, 1], 1).unwrap();
    let mut world = world(2, &Spread::Flow(zeros), false);
    world.connect_all(200);
    let accepted = world.both(StackEvent::FlowAccepted);
    assert!(accepted.iter().all(|n| *n > 60), "{accepted:?}");
    let (over, taken) = (
        world.both(StackEvent::HandedOver),
        world.both(StackEvent::TakenOver),
    );
    // The SYN and the ACK of each connection of the second.
    assert_eq!((over, taken), ([accepted[1] * 2, 0], [0, accepted[1] * 2]));
    let mut evidence = Evidence::new(2);
    while let Some(first) = world.firsts[0].take() {
        evidence.note(first);
    }
    let claim = Claim {
        key: &[0; 40],
        table: &[0, 1],
    };
    let verdict = evidence.judge(None, &[claim]);
    assert!(matches!(verdict, Verdict::Unforeseen), "{verdict:?}");
}
