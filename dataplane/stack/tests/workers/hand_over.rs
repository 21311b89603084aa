//! Frames that come in at the queue of another worker, and full rings.

use std::net::SocketAddr;
use std::time::Duration;

use sluice_stack::crew::RING;
use sluice_stack::fate::{FrameFate, StackEvent};
use sluice_stack::sim::Spread;
use sluice_stack::steering::Steering;
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, Phase};

use crate::world::{KEY, world};

#[test]
fn a_device_that_steers_right_costs_no_hand_over() {
    let steering = Steering::in_software(&KEY, 2).unwrap();
    for v6 in [false, true] {
        let mut world = world(2, &Spread::Flow(steering.clone()), v6);
        world.connect(200);
        world.run(&[0, 1], Duration::from_secs(2));
        let accepted = world.both(StackEvent::FlowAccepted);
        assert_eq!(accepted[0] + accepted[1], 200);
        assert!(accepted.iter().all(|n| *n > 60), "{accepted:?}");
        assert_eq!(world.both(StackEvent::HandedOver), [0, 0]);
        assert_eq!(world.both(StackEvent::FrameRelayed), [0, 0]);
    }
}

#[test]
fn frames_steered_at_random_are_served_by_the_worker_that_owns_their_flow() {
    for v6 in [false, true] {
        let mut world = world(2, &Spread::Random, v6);
        world.connect(200);
        world.run(&[0, 1], Duration::from_secs(2));
        let accepted = world.both(StackEvent::FlowAccepted);
        assert_eq!(accepted[0] + accepted[1], 200);
        let (over, taken) = (
            world.both(StackEvent::HandedOver),
            world.both(StackEvent::TakenOver),
        );
        // A SYN and the ACK of a handshake, of which about half come in at the wrong queue.
        assert_eq!((over[0], over[1]), (taken[1], taken[0]));
        assert!((150..250).contains(&(over[0] + over[1])), "{over:?}");
        for worker in &world.workers {
            let (came, went) = worker.books();
            assert_eq!(came, went);
            assert_eq!(worker.stats.frames.get(FrameFate::NoFlow), 0);
            assert_eq!(worker.event(StackEvent::SegmentRetransmitted), 0);
        }
    }
}

#[test]
fn what_a_full_hand_over_ring_drops_is_counted_and_mended() {
    // All comes in at the first worker's queue, and the second does not poll.
    let mut world = world(1, &Spread::Random, false);
    // The peer learns where they are.
    world.connect(1);
    world.run(&[0], Duration::from_millis(10));
    let flows = 3 * RING;
    world.connect(flows - 1);
    world.run(&[0], Duration::from_millis(500));
    let first = &world.workers[0];
    let (over, full) = (
        first.event(StackEvent::HandedOver),
        first.stats.frames.get(FrameFate::HandOverFull),
    );
    assert!(full > 0 && over <= RING as u64, "{over} {full}");
    let (came, went) = first.books();
    assert_eq!(came, went);
    // Now it does: every connection comes about, because SYNs are sent again.
    world.run(&[0, 1], Duration::from_secs(30));
    let accepted = world.both(StackEvent::FlowAccepted);
    assert_eq!(accepted[0] + accepted[1], flows as u64);
    assert_eq!(world.workers[1].event(StackEvent::RelayFull), 0);
}

#[test]
fn what_a_full_relay_ring_drops_is_counted_and_mended() {
    let mut world = world(1, &Spread::Random, false);
    // Both learn where the peer is.
    world.connect(8);
    world.run(&[0, 1], Duration::from_secs(1));
    // The second opens connections while the first, which has the queue, does not poll.
    let peer = SocketAddr::new("10.0.0.1".parse().unwrap(), 80);
    world.peer.stack.listen(0, peer, 9, Buffers::default());
    let now = world.net.now();
    let flows: Vec<_> = (0..RING + 100)
        .map(|_| {
            let second = &mut world.workers[1].stack;
            second.connect(0, peer, 2, Buffers::default(), now).unwrap()
        })
        .collect();
    world.run(&[1], Duration::from_millis(10));
    assert!(world.workers[1].event(StackEvent::RelayFull) >= 100);
    world.run(&[0, 1], Duration::from_secs(30));
    let second = &world.workers[1];
    let open = |flow| second.stack.view(flow).phase == Phase::Open;
    assert!(flows.into_iter().all(open), "{:?}", second.stats);
    // The answers came to it, by the queue of the first.
    assert_eq!(second.event(StackEvent::HandedOver), 0);
    assert_eq!(world.workers[0].stats.frames.get(FrameFate::NoFlow), 0);
}

#[test]
fn connections_of_ours_come_back_to_the_worker_that_opened_them() {
    let steering = Steering::in_software(&KEY, 2).unwrap();
    let mut world = world(2, &Spread::Flow(steering), false);
    let peer = SocketAddr::new("10.0.0.1".parse().unwrap(), 80);
    world.peer.stack.listen(0, peer, 9, Buffers::default());
    for worker in &mut world.workers {
        for _ in 0..100 {
            let flow = worker
                .stack
                .connect(0, peer, 2, Buffers::default(), Instant::ZERO);
            flow.unwrap();
        }
    }
    world.run(&[0, 1], Duration::from_secs(3));
    assert_eq!(world.peer.event(StackEvent::FlowAccepted), 200);
    assert_eq!(world.both(StackEvent::HandedOver), [0, 0]);
    // One of them heard from the neighbour, and the other was told.
    assert_eq!(world.both(StackEvent::NeighbourLost), [0, 0]);
    assert_eq!(world.both(StackEvent::LessonLost), [0, 0]);
}
