//! Streams whose one side is slow, and frames of any size.

use sluice_engine::stats::RpcEvent;

use super::{DATA, HEADER, TRAILER, piece};
use crate::rpc::frames::{BY_FRAME, ONE, rules, world};
use crate::world::{World, pattern};

/// Many bytes to a caller that does not read: they stay at the service, and none is lost.
#[test]
fn a_slow_caller_holds_back_the_service_of_a_stream_with_its_own_connection() {
    let mut w = world(ONE);
    let (slow, other) = (w.open(), w.open());
    let (to_slow, to_other) = (w.begin(slow, 1, 0), w.begin(other, 1, 1));
    w.client.pause(slow);
    let body = pattern(100_000);
    for _ in 0..60 {
        w.answer(0, piece(to_slow, DATA, &body));
    }
    w.seconds(5);
    assert!(w.backend.unsent(0) > 5_000_000, "{}", w.backend.unsent(0));
    w.answer(1, piece(to_other, DATA, "hi"));
    assert!(w.at_caller(other)[0].is(1, DATA, "hi"));
    let now = w.now();
    w.client.resume(slow, now);
    w.seconds(5);
    let got = w.at_caller(slow);
    assert_eq!(got.len(), 60);
    assert!(got.iter().all(|piece| piece.id == 1 && piece.body == body));
    w.rpc_counts("stream 2, waited 2");
    w.rpc_over();
}

/// What has no connection of its own can't be held back alone.
#[test]
fn a_slow_caller_loses_a_stream_that_shares_its_connection_and_others_go_on() {
    let mut w = world(BY_FRAME);
    let (slow, other) = (w.open(), w.open());
    let (to_slow, to_other) = (w.begin(slow, 1, 0), w.begin(other, 1, 0));
    w.client.pause(slow);
    let body = pattern(100_000);
    for _ in 0..60 {
        w.answer(0, piece(to_slow, DATA, &body));
    }
    w.seconds(1);
    w.reset_told(0, to_slow);
    w.answer(0, piece(to_other, DATA, "hi"));
    w.seconds(1);
    assert!(w.at_caller(other)[0].is(1, DATA, "hi"));
    let now = w.now();
    w.client.resume(slow, now);
    w.seconds(5);
    let got = w.at_caller(slow);
    let (last, before) = got.split_last().expect("frames");
    assert!(before.iter().all(|piece| piece.body == body));
    assert!((8..20).contains(&before.len()), "{}", before.len());
    assert_eq!(last.kind, TRAILER);
    // Its connection goes on.
    w.begin(slow, 2, 0);
    w.counts("downstream_opened 2, upstream_opened, client_stalled");
    w.rpc_over();
}

/// Bytes of a stream that its service does not take, and what becomes of its caller's other calls.
#[test]
fn a_slow_service_holds_back_the_caller_alone_or_loses_its_stream() {
    let mut w = World::with(&rules("idle_timeout: 30s", ONE));
    let (alone, busy) = (w.open(), w.open());
    let (first, second) = (w.begin(alone, 1, 0), w.begin(busy, 1, 1));
    for connection in [0, 1] {
        w.backend.pause(connection);
    }
    let body = pattern(10_000);
    for client in [alone, busy] {
        for _ in 0..200 {
            w.send(client, piece(1, DATA, &body));
        }
    }
    w.seconds(10);
    assert!(w.client.unsent(alone) > 500_000);
    // Another call of the same connection waits behind it, for a second.
    w.send(busy, piece(2, HEADER, ""));
    w.seconds(1);
    assert_eq!(w.client.end(busy), None);
    let now = w.now();
    for connection in [0, 1] {
        w.backend.resume(connection, now);
    }
    w.seconds(5);
    let got = w.at_service(0);
    assert_eq!(got.len(), 200);
    assert!(
        got.iter()
            .all(|piece| piece.id == first && piece.body == body)
    );
    assert_eq!(w.at_service(1).len(), 200);
    assert_eq!(w.at_service(2).len(), 1);
    // With another stream under way it is reset.
    w.backend.pause(1);
    for _ in 0..200 {
        w.send(busy, piece(1, DATA, &body));
    }
    w.send(busy, piece(2, DATA, "hi"));
    w.seconds(4);
    assert!(w.told(busy, 1).contains("the service took nothing"));
    assert_eq!(w.at_service(2).len(), 1);
    assert_ne!(second, 0);
    // What is left of it is thrown away.
    let late = w.stats.rpc.get(RpcEvent::LateStreamFrame);
    assert!((50..200).contains(&late), "{late}");
    let late = format!("late_stream_frame {late}");
    w.rpc_counts(&format!("stream 3, waited 3, stream_held_up, {late}"));
    w.rpc_over();
}

#[test]
fn frames_of_any_size_go_both_ways_whole() {
    for service in [ONE, BY_FRAME] {
        let mut w = world(service);
        let c = w.open();
        let id = w.begin(c, 1, 0);
        let large = pattern(1_500_000);
        w.send(
            c,
            [piece(1, DATA, &large), piece(1, DATA, "behind")].concat(),
        );
        w.seconds(1);
        let got = w.at_service(0);
        assert!(got[0].id == id && got[0].body == large);
        assert!(got[1].is(id, DATA, "behind"));
        w.answer(
            0,
            [piece(id, DATA, &large), piece(id, TRAILER, &large)].concat(),
        );
        w.seconds(1);
        let got = w.at_caller(c);
        assert_eq!(got.len(), 2);
        assert!(got.iter().all(|piece| piece.id == 1 && piece.body == large));
        w.counts("downstream_opened, upstream_opened, answered");
        w.begin(c, 2, 0);
        w.rpc_over();
    }
}

#[test]
fn a_frame_above_the_limit_ends_its_stream() {
    let mut w = World::with(&rules("limits: { frame: 100KiB }", BY_FRAME));
    let c = w.open();
    let id = w.begin(c, 1, 0);
    w.answer(0, piece(id, DATA, pattern(200_000)));
    assert!(w.told(c, 1).contains("larger than allowed"));
    w.reset_told(0, id);
    w.begin(c, 2, 0);
    w.rpc_counts("stream 2, large_reply, waited");
    w.rpc_over();
}
