//! Streams with peers that do what they should not: memory stays bounded, and whoever keeps to the rules goes on.

use sluice_engine::stats::RpcEvent;
use sluice_perf::raw::End;

use super::{DATA, HEADER, Piece, RESET, TRAILER, piece, pieces};
use crate::rpc::frames::{BY_FRAME, BY_MESSAGE, ONE, Sent, rules, world};
use crate::world::{World, pattern};

/// As many streams as a connection may have under way.
const MOST: i32 = 1000;

impl World {
    /// Bytes that wait in calls and streams, and for callers.
    fn held(&self) -> u64 {
        let held = self.worker.held();
        let bytes = held.iter().find(|(name, _)| *name == "bytes of calls");
        bytes.expect("it is told").1
    }
}

fn meta(id: i32) -> Vec<u8> {
    piece(id, b"1", "")
}

#[test]
fn frames_before_their_header_are_dropped_and_those_behind_it_go_on() {
    let mut w = world(BY_FRAME);
    let c = w.open();
    for kind in [DATA, TRAILER, RESET, b"1", b"", b"9", b"twelve"] {
        w.send(c, piece(5, kind, "early"));
    }
    assert_eq!(w.client.end(c), None);
    let id = w.begin(c, 5, 0);
    // Of kinds that may come to be.
    w.send(
        c,
        [piece(5, b"9", "new"), meta(5), piece(5, b"", "none")].concat(),
    );
    let got = w.at_service(0);
    assert!(got[0].is(id, b"9", "new") && got[1].is(id, b"1", "") && got[2].is(id, b"", "none"));
    w.answer(0, piece(id, TRAILER, ""));
    assert!(w.at_caller(c)[0].is(5, TRAILER, ""));
    w.counts("downstream_opened, upstream_opened, answered");
    w.rpc_counts("stream, waited, late_stream_frame 7");
    w.rpc_over();
}

#[test]
fn any_id_but_0_is_one() {
    let mut w = world(BY_FRAME);
    let c = w.open();
    let ids = [i32::MIN, -1, 1, i32::MAX];
    let there: Vec<i32> = ids.iter().map(|&id| w.begin(c, id, 0)).collect();
    assert!(there.iter().all(|&id| id > 0));
    let answers: Vec<u8> = there
        .iter()
        .flat_map(|&id| piece(id, TRAILER, ""))
        .collect();
    w.answer(0, answers);
    let ended = w.at_caller(c).into_iter().map(|piece| piece.id);
    assert_eq!(ended.collect::<Vec<_>>(), ids);
    w.send(c, piece(0, HEADER, ""));
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.counts("downstream_opened, downstream_closed, upstream_opened, answered 4, not_a_request");
    w.refused("reserved_sequence", "");
    w.rpc_over();
}

/// A thousand streams that are begun and left: the next is told so, the others go on, a place that is given
/// back can be had, and the end of the connection ends them all.
#[test]
fn a_thousand_streams_that_are_never_ended_are_all_there_may_be() {
    let mut w = World::with(&rules(
        "limits: { requests: 100000 }",
        "protocol: ttheader, multiplex: frame, shared_connections: 4",
    ));
    let (c, other) = (w.open(), w.open());
    for first in (1..=MOST).step_by(100) {
        let headers = (first..first + 100).flat_map(|id| piece(id, HEADER, ""));
        w.send(c, headers.collect::<Vec<u8>>());
    }
    w.seconds(1);
    let there: usize = (0..w.backend.connections())
        .map(|n| w.at_service(n).len())
        .sum();
    assert_eq!(there, MOST as usize);
    for _ in 0..3 {
        w.send(c, piece(MOST + 1, HEADER, ""));
        let told = w.told(c, MOST + 1);
        assert!(told.contains("as many streams"), "{told}");
    }
    // Those that are under way are not held up, nor are others, nor calls beside them.
    w.send(c, piece(7, DATA, "goes on"));
    let got = the_one_that_came(&mut w);
    assert_eq!(got.body, b"goes on");
    w.send(other, piece(1, HEADER, ""));
    assert_eq!(the_one_that_came(&mut w).kind, HEADER);
    w.send(c, piece(7, RESET, ""));
    assert_eq!(the_one_that_came(&mut w).kind, RESET);
    w.send(c, piece(MOST + 1, HEADER, ""));
    assert_eq!(the_one_that_came(&mut w).kind, HEADER);
    w.reset(c);
    w.seconds(1);
    let resets: usize = (0..w.backend.connections())
        .map(|n| {
            let got = w.at_service(n);
            got.iter().filter(|piece| piece.kind == RESET).count()
        })
        .sum();
    assert_eq!(resets, MOST as usize);
    assert_eq!((w.levels()[3], w.held()), (1, 0));
    let connections = w.backend.connections();
    w.counts(&format!(
        "downstream_opened 2, downstream_closed, upstream_opened {connections}, \
         client_gone {MOST}, unavailable 3, stream_reset"
    ));
    w.rpc_over();
}

/// The one frame that came to the service, on whichever connection.
fn the_one_that_came(w: &mut World) -> Piece {
    let all = (0..w.backend.connections()).flat_map(|n| pieces(&w.backend.take(n)));
    let mut all: Vec<Piece> = all.collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// Calls of a caller that has as many under way as may be wait, and streams beside them go on.
#[test]
fn calls_that_wait_for_places_do_not_hold_up_streams_for_good() {
    let mut w = World::with(&rules("limits: { requests: 100000 }", BY_FRAME));
    let c = w.open();
    let id = w.begin(c, 1, 0);
    for first in (2..1100).step_by(100) {
        let calls = (first..first + 100).flat_map(|n| Sent::call(n).with("hi"));
        w.send(c, calls.collect::<Vec<u8>>());
    }
    w.send(c, piece(1, DATA, "behind"));
    w.seconds(1);
    let asked = w.requests(1);
    assert_eq!(asked.len(), 1023);
    assert_eq!(w.at_service(0), []);
    let answers: Vec<u8> = asked
        .iter()
        .flat_map(|asked| asked.answer_by_frame("ho"))
        .collect();
    w.answer(1, answers);
    w.seconds(1);
    assert!(w.at_service(0)[0].is(id, DATA, "behind"));
    w.rpc_over();
}

/// Streams that were given up before there was a connection leave no one in its place.
#[test]
fn streams_that_are_begun_and_reset_take_no_places_of_those_that_wait() {
    let mut w = World::with(&rules(
        "limits: { requests: 100000 }",
        "protocol: ttheader, max_connections: 1, max_idle: 1",
    ));
    let (first, hostile, last) = (w.open(), w.open(), w.open());
    let id = w.begin(first, 1, 0);
    let turns = 17_000;
    for _ in 0..turns / 500 {
        let pair = [piece(9, HEADER, ""), piece(9, RESET, "")].concat();
        w.send(hostile, pair.repeat(500));
        w.seconds(0);
    }
    w.seconds(1);
    assert_eq!(w.client.take(hostile), b"");
    w.send(last, piece(2, HEADER, ""));
    assert_eq!(w.client.take(last), b"");
    w.answer(0, piece(id, TRAILER, ""));
    assert_eq!(w.at_service(0).len(), 1);
    w.counts(&format!(
        "downstream_opened 3, upstream_opened, answered, stream_reset {turns}"
    ));
    w.rpc_over();
}

/// Nothing comes between the pieces of a header that is too large to come together.
#[test]
fn a_large_header_has_a_connection_of_its_own() {
    for service in [ONE, BY_MESSAGE, BY_FRAME] {
        let mut w = world(service);
        let (slow, other) = (w.open(), w.open());
        let there = w.begin(other, 1, 0);
        let header = piece(1, HEADER, pattern(60_000));
        w.send(slow, &header[..20_000]);
        w.send(other, piece(1, DATA, "between"));
        assert!(w.at_service(0)[0].is(there, DATA, "between"));
        w.send(slow, &header[20_000..]);
        w.send(slow, piece(1, DATA, "behind"));
        let got = w.at_service(1);
        assert_eq!(got[0].body, pattern(60_000));
        let id = got[0].id;
        assert!(got[1].is(id, DATA, "behind"));
        w.answer(
            1,
            [piece(id, DATA, "back"), piece(id, TRAILER, "")].concat(),
        );
        let got = w.at_caller(slow);
        assert!(got[0].is(1, DATA, "back") && got[1].is(1, TRAILER, ""));
        w.counts("downstream_opened 2, upstream_opened 2, answered");
        w.rpc_over();
    }
}

/// A caller that stops within a frame, and one whose connection ends there.
#[test]
fn a_frame_that_is_cut_ends_the_streams_of_its_connection_alone() {
    let mut w = world(BY_FRAME);
    let (stops, dies, other) = (w.open(), w.open(), w.open());
    let there = [stops, dies, other].map(|c| w.begin(c, 1, 0));
    let data = piece(1, DATA, "all of it");
    w.send(stops, &data[..30]);
    w.send(dies, &data[..data.len() - 1]);
    w.finish(dies);
    w.reset_told(0, there[1]);
    assert!(w.told(dies, 1).contains("nothing more is read"));
    w.seconds(40);
    w.reset_told(0, there[0]);
    assert!(w.told(stops, 1).contains("nothing more is read"));
    assert!(w.client.end(stops).is_some());
    w.send(other, &data);
    assert!(w.at_service(0)[0].is(there[2], DATA, "all of it"));
    w.refused("truncated 2", "");
    w.rpc_over();
}

#[test]
fn a_service_that_goes_on_behind_its_trailer_is_not_heard() {
    for (service, ended) in [(BY_FRAME, None), (ONE, Some(End::Reset))] {
        let mut w = world(service);
        let c = w.open();
        let id = w.begin(c, 1, 0);
        let all = [
            meta(0),
            piece(id, DATA, "before its header"),
            piece(id, HEADER, ""),
            piece(id, HEADER, "twice"),
            piece(id, TRAILER, ""),
            piece(id, TRAILER, "twice"),
            piece(id, DATA, "late"),
            piece(id, RESET, ""),
        ];
        w.answer(0, all.concat());
        let kinds: Vec<Vec<u8>> = w.at_caller(c).into_iter().map(|piece| piece.kind).collect();
        assert_eq!(kinds, [DATA, HEADER, HEADER, TRAILER]);
        // One stream after the other on a connection: what is behind its end is nobody's.
        assert_eq!(w.backend.end(0), ended);
        let late = w.stats.rpc.get(RpcEvent::LateStreamFrame);
        assert_eq!(late, if ended.is_none() { 4 } else { 1 });
        w.begin(c, 2, usize::from(ended.is_some()));
        w.rpc_over();
    }
}

/// Servers tell by its first frame what a connection is for, and so does the gateway.
#[test]
fn a_call_is_not_answered_by_a_stream_nor_a_stream_by_a_reply() {
    for service in [ONE, BY_MESSAGE, BY_FRAME] {
        let mut w = world(service);
        let c = w.open();
        w.send(c, Sent::call(5).with("hi"));
        let asked = w.request(0);
        w.answer(0, piece(asked.frame, DATA, ""));
        let (_, told) = w.reply(c).exception();
        assert!(told.contains("something that is no reply"), "{told}");
        let id = w.begin(c, 6, 1);
        w.answer(1, Sent::call(id).with("hi"));
        assert!(
            w.told(c, 6)
                .contains("something that is no frame of a stream")
        );
        w.counts(
            "downstream_opened, upstream_opened 2, upstream_closed 2, upstream_bad_response 2",
        );
        w.refused("", "not_a_reply");
        w.rpc_over();
    }
}

/// The limit of frames is raised while a stream is under way.
#[test]
fn a_stream_goes_by_the_limits_that_hold_when_its_frames_come() {
    let wide = "limits: { frame: 1MiB }";
    let mut w = World::with(&rules("limits: { frame: 100KiB }", BY_FRAME));
    let c = w.open();
    let id = w.begin(c, 1, 0);
    w.reload(&rules(wide, BY_FRAME).text()).expect("rules");
    w.settle();
    let body = pattern(200_000);
    w.send(c, [piece(1, DATA, &body), piece(1, TRAILER, "")].concat());
    w.seconds(1);
    let got = w.at_service(0);
    assert!(got[0].id == id && got[0].body == body);
    assert!(got[1].is(id, TRAILER, ""));
    w.rpc_over();
}

/// Streams of one caller whose services send without end: each of them gets its turn.
#[test]
fn streams_that_wait_for_their_caller_take_turns() {
    let mut w = world(ONE);
    let c = w.open();
    let there: Vec<i32> = (0..4).map(|n| w.begin(c, n as i32 + 1, n)).collect();
    w.client.pause(c);
    let body = pattern(6_000);
    for (n, &id) in there.iter().enumerate() {
        for _ in 0..100 {
            w.answer(n, piece(id, DATA, &body));
        }
    }
    for _ in 0..80 {
        let now = w.now();
        w.client.read(c, 6_000, now);
        w.settle();
    }
    let received = w.client.received(c);
    let mut came = [0; 4];
    let mut at = 0;
    while let Some(length) = received.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().expect("four")) as usize;
        let Some(frame) = received.get(at..at + 4 + length) else {
            break;
        };
        came[pieces(frame)[0].id as usize - 1] += 1;
        at += 4 + length;
    }
    assert!(came.iter().all(|&frames| frames >= 15), "{came:?}");
    w.rpc_over();
}

/// A frame that takes longer than a stream may be silent, and moves all the time.
#[test]
fn a_large_frame_that_comes_slowly_is_not_silence() {
    let mut w = World::with(&rules("idle_timeout: 10s", BY_FRAME));
    let c = w.open();
    let id = w.begin(c, 1, 0);
    let (up, down) = (
        piece(1, DATA, pattern(400_000)),
        piece(id, DATA, pattern(400_000)),
    );
    for part in up.chunks(60_000) {
        w.seconds(4);
        w.send(c, part);
    }
    assert_eq!(w.at_service(0)[0].body, pattern(400_000));
    for part in down.chunks(60_000) {
        w.seconds(4);
        w.answer(0, part);
    }
    assert_eq!(w.at_caller(c)[0].body, pattern(400_000));
    w.counts("downstream_opened, upstream_opened");
    w.rpc_over();
}
