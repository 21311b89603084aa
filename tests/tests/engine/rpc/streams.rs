//! Streams, against a service that a test drives by hand: its frames are what Kitex's `ttstream` writes
//! (flag 0x02, protocol 0x10, the kind of frame in key 27, the method in key 9).

mod hostile;
mod pressure;

use std::time::Duration;

use sluice_perf::raw::End;
use sluice_wire::ttheader::{Flags, Head, Limits, NewHead, integer};

use super::frames::{BY_FRAME, BY_MESSAGE, ONE, Sent, rules, world};
use crate::world::World;

const HEADER: &[u8] = b"2";
const DATA: &[u8] = b"3";
const TRAILER: &[u8] = b"4";
const RESET: &[u8] = b"5";

/// A frame of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    id: i32,
    kind: Vec<u8>,
    timeout: Option<Vec<u8>>,
    body: Vec<u8>,
    bytes: Vec<u8>,
}

impl Piece {
    fn is(&self, id: i32, kind: &[u8], body: &str) -> bool {
        self.id == id && self.kind == kind && self.body == body.as_bytes()
    }
}

fn piece(id: i32, kind: &[u8], body: impl AsRef<[u8]>) -> Vec<u8> {
    with_keys(id, &[(27, kind), (9, b"echo")], body.as_ref())
}

fn with_keys(id: i32, integers: &[(u16, &[u8])], body: &[u8]) -> Vec<u8> {
    let head = NewHead {
        flags: Flags::STREAMING,
        sequence: id,
        protocol_id: 0x10,
        integers,
        ..NewHead::default()
    };
    let mut out = Vec::new();
    head.write(&mut out, body.len()).expect("a small head");
    out.extend_from_slice(body);
    out
}

fn pieces(mut bytes: &[u8]) -> Vec<Piece> {
    let limits = Limits {
        frame: 1 << 30,
        ..Limits::default()
    };
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let head = Head::parse(bytes, &limits).expect("sound");
        let head = head.complete().expect("a whole head");
        assert!(head.flags().contains(Flags::STREAMING));
        let (own, rest) = bytes.split_at(head.frame_len());
        all.push(Piece {
            id: head.sequence(),
            kind: head.integer(27).unwrap_or_default().to_vec(),
            timeout: head.integer(integer::RPC_TIMEOUT).map(<[u8]>::to_vec),
            body: own[head.bytes().len()..].to_vec(),
            bytes: own.to_vec(),
        });
        bytes = rest;
    }
    all
}

impl World {
    fn at_service(&mut self, connection: usize) -> Vec<Piece> {
        pieces(&self.backend.take(connection))
    }

    fn at_caller(&mut self, client: usize) -> Vec<Piece> {
        pieces(&self.client.take(client))
    }

    /// Begins a stream; returns its id at the service.
    fn begin(&mut self, client: usize, id: i32, connection: usize) -> i32 {
        self.send(client, piece(id, HEADER, ""));
        let got = self.at_service(connection);
        assert_eq!(got.len(), 1, "{got:?}");
        assert_eq!(got[0].kind, HEADER);
        got[0].id
    }

    /// The one frame that a caller got, an exception in a trailer of this stream.
    fn told(&mut self, client: usize, id: i32) -> String {
        let got = self.at_caller(client);
        assert_eq!(got.len(), 1, "{got:?}");
        assert_eq!((got[0].id, &got[0].kind[..]), (id, TRAILER));
        String::from_utf8_lossy(&got[0].body).into_owned()
    }

    /// The one frame that the service got, which resets this stream.
    fn reset_told(&mut self, connection: usize, id: i32) {
        let got = self.at_service(connection);
        assert_eq!(got.len(), 1, "{got:?}");
        assert_eq!((got[0].id, &got[0].kind[..]), (id, RESET));
        assert!(got[0].body.starts_with(&[0x80, 1, 0, 3]), "an exception");
    }
}

#[test]
fn frames_of_a_stream_go_both_ways_in_order_on_one_connection() {
    for service in [ONE, BY_MESSAGE, BY_FRAME] {
        let mut w = world(service);
        let c = w.open();
        let begun = [
            piece(-7, HEADER, ""),
            piece(-7, DATA, "one"),
            piece(-7, DATA, ""),
        ];
        w.send(c, begun.concat());
        let got = w.at_service(0);
        let id = got[0].id;
        assert!(got[0].is(id, HEADER, "") && got[1].is(id, DATA, "one") && got[2].is(id, DATA, ""));
        // Nothing but the id is changed.
        for (got, sent) in got.iter().zip(&begun) {
            assert_eq!(
                (&got.bytes[..8], &got.bytes[12..]),
                (&sent[..8], &sent[12..])
            );
        }
        w.answer(0, [piece(id, HEADER, ""), piece(id, DATA, "1")].concat());
        w.send(c, [piece(-7, DATA, "two"), piece(-7, TRAILER, "")].concat());
        let got = w.at_service(0);
        assert!(got[0].is(id, DATA, "two") && got[1].is(id, TRAILER, ""));
        w.answer(0, [piece(id, DATA, "2"), piece(id, TRAILER, "")].concat());
        let got = w.at_caller(c);
        let expected = [(HEADER, ""), (DATA, "1"), (DATA, "2"), (TRAILER, "")];
        assert_eq!(got.len(), expected.len());
        for (got, (kind, body)) in got.iter().zip(expected) {
            assert!(got.is(-7, kind, body), "{got:?}");
        }
        // The next takes the same connection, under another id.
        assert_ne!(w.begin(c, -7, 0), id);
        w.counts("downstream_opened, upstream_opened, answered");
        w.rpc_over();
    }
}

#[test]
fn callers_with_the_same_ids_share_a_connection() {
    let mut w = world(BY_FRAME);
    let (a, b) = (w.open(), w.open());
    let (to_a, to_b) = (w.begin(a, 1, 0), w.begin(b, 1, 0));
    assert_ne!(to_a, to_b);
    w.answer(0, [piece(to_b, DATA, "b"), piece(to_a, DATA, "a")].concat());
    assert!(w.at_caller(a)[0].is(1, DATA, "a"));
    assert!(w.at_caller(b)[0].is(1, DATA, "b"));
    w.send(b, piece(1, DATA, "from b"));
    assert!(w.at_service(0)[0].is(to_b, DATA, "from b"));
    assert_eq!(w.levels(), [2, 1, 0, 2]);
    w.rpc_counts("stream 2, waited");
    w.rpc_over();
}

/// Servers tell by the first frame of a connection whether it is for streams.
#[test]
fn calls_and_streams_of_one_caller_go_on_different_connections() {
    let mut w = world(BY_FRAME);
    let c = w.open();
    let id = w.begin(c, 1, 0);
    w.send(c, Sent::in_order(2).with("hi"));
    let asked = w.request(1);
    w.answer(1, asked.answer_by_frame("ho"));
    // The stream came first and is not over: it is beside the order of calls.
    assert_eq!(w.reply(c).frame, 2);
    w.answer(0, piece(id, TRAILER, ""));
    assert!(w.at_caller(c)[0].is(1, TRAILER, ""));
    w.counts("downstream_opened, upstream_opened 2, answered 2");
    w.rpc_over();
}

#[test]
fn a_stream_that_nobody_takes_is_answered_by_its_trailer() {
    let mut rules = rules("", ONE);
    rules.routes = "{ rpc: { method: other }, service: hello }".into();
    let mut w = World::with(&rules);
    let c = w.open();
    w.send(c, [piece(3, HEADER, ""), piece(3, DATA, "hi")].concat());
    assert!(
        w.told(c, 3)
            .contains("no route takes this service and method")
    );
    w.counts("downstream_opened, no_route");
    w.rpc_counts("stream, late_stream_frame");
    w.rpc_over();
}

#[test]
fn a_reset_of_either_side_ends_the_stream_at_the_other() {
    for service in [ONE, BY_FRAME] {
        let mut w = world(service);
        let c = w.open();
        let id = w.begin(c, 1, 0);
        w.send(c, piece(1, RESET, "why"));
        assert!(w.at_service(0)[0].is(id, RESET, "why"));
        let other = usize::from(service == ONE);
        let id = w.begin(c, 2, other);
        w.answer(other, piece(id, RESET, "because"));
        assert!(w.at_caller(c)[0].is(2, RESET, "because"));
        // Neither hears of it again.
        w.send(c, piece(2, DATA, "late"));
        assert_eq!(w.at_service(other), []);
        let closed = if service == ONE {
            ", upstream_closed"
        } else {
            ""
        };
        let opened = other + 1;
        w.counts(&format!(
            "downstream_opened, upstream_opened {opened}{closed}, stream_reset 2"
        ));
        assert_eq!(w.levels()[3], 0);
        w.rpc_over();
    }
}

#[test]
fn a_caller_that_dies_has_its_streams_reset_and_no_others() {
    let mut w = world(BY_FRAME);
    let (a, b) = (w.open(), w.open());
    let (to_a, to_b) = (w.begin(a, 1, 0), w.begin(b, 1, 0));
    w.reset(a);
    w.reset_told(0, to_a);
    w.answer(
        0,
        [piece(to_a, DATA, "late"), piece(to_b, DATA, "b")].concat(),
    );
    assert!(w.at_caller(b)[0].is(1, DATA, "b"));
    w.counts("downstream_opened 2, downstream_closed, upstream_opened, client_gone");
    w.rpc_counts("late_stream_frame, stream 2, waited");
    w.rpc_over();
}

#[test]
fn a_caller_that_closes_gets_what_it_waits_for_of_streams_it_has_ended() {
    let mut w = world(BY_FRAME);
    let c = w.open();
    let (ended, open) = (w.begin(c, 1, 0), w.begin(c, 2, 0));
    w.send(c, piece(1, TRAILER, ""));
    w.at_service(0);
    w.finish(c);
    w.reset_told(0, open);
    assert!(w.told(c, 2).contains("closed its connection"));
    w.answer(
        0,
        [piece(ended, DATA, "1"), piece(ended, TRAILER, "")].concat(),
    );
    let got = w.at_caller(c);
    assert!(got[0].is(1, DATA, "1") && got[1].is(1, TRAILER, ""));
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.counts("downstream_opened, downstream_closed, upstream_opened, client_gone, answered");
    w.rpc_over();
}

/// However far a stream has come, and however its connection ends: what its caller reads is true.
#[test]
fn a_service_that_dies_ends_its_streams_and_callers_keep_their_connections() {
    const TEXT: &str = "the connection to the service ended before this stream did";
    for service in [ONE, BY_FRAME] {
        let mut w = world(service);
        let c = w.open();
        for (died, came) in [&[][..], &[HEADER], &[HEADER, DATA]].iter().enumerate() {
            for closes in [false, true] {
                let connection = 2 * died + usize::from(closes);
                let own = connection as i32 + 1;
                let id = w.begin(c, own, connection);
                for kind in *came {
                    w.answer(connection, piece(id, kind, ""));
                    assert!(w.at_caller(c)[0].is(own, kind, ""));
                }
                match closes {
                    true => w.finish_backend(connection),
                    false => w.reset_backend(connection),
                }
                let told = w.told(c, own);
                assert!(told.contains(TEXT), "{told}");
            }
        }
        w.begin(c, 7, 6);
        w.counts(
            "downstream_opened, upstream_opened 7, upstream_closed 6, upstream_closed_early 6",
        );
        w.rpc_over();
    }
}

#[test]
fn a_stream_lasts_as_long_as_its_caller_says() {
    let mut w = World::with(&rules(
        "",
        &format!("{BY_FRAME}, request_timeout: 1s, response_timeout: 1s"),
    ));
    let c = w.open();
    let keys: &[(u16, &[u8])] = &[(27, HEADER), (9, b"echo"), (integer::RPC_TIMEOUT, b"5000")];
    w.send(c, with_keys(1, keys, b""));
    let begun = w.at_service(0);
    assert_eq!(begun[0].timeout.as_deref(), Some(&b"5000"[..]));
    let id = begun[0].id;
    // Longer than any call may take.
    w.seconds(4);
    w.answer(0, piece(id, DATA, "1"));
    assert!(w.at_caller(c)[0].is(1, DATA, "1"));
    w.seconds(2);
    assert!(w.told(c, 1).contains("took too long"));
    w.reset_told(0, id);
    w.counts("downstream_opened, upstream_opened, request_timeout");
    w.rpc_over();
}

#[test]
fn a_stream_that_is_silent_is_ended_and_one_that_moves_is_not() {
    let mut w = World::with(&rules("idle_timeout: 10s", BY_FRAME));
    let (a, b) = (w.open(), w.open());
    let (silent, moves) = (w.begin(a, 1, 0), w.begin(b, 1, 0));
    for turn in 0..6 {
        w.seconds(3);
        if turn % 2 == 0 {
            w.send(b, piece(1, DATA, "up"));
        } else {
            w.answer(0, piece(moves, DATA, "down"));
        }
    }
    assert!(w.told(a, 1).contains("nothing has come of this stream"));
    let reset = w
        .at_service(0)
        .into_iter()
        .filter(|piece| piece.id == silent);
    assert_eq!(reset.map(|piece| piece.kind).collect::<Vec<_>>(), [RESET]);
    assert_eq!(w.at_caller(b).len(), 3);
    w.counts("downstream_opened 2, upstream_opened, stalled");
    w.rpc_over();
}

#[test]
fn a_gateway_that_drains_takes_no_new_streams_and_finishes_those_that_have_begun() {
    let mut w = world(BY_FRAME);
    let c = w.open();
    let id = w.begin(c, 1, 0);
    let now = w.now();
    w.worker.drain(now);
    w.settle();
    w.send(c, [piece(2, HEADER, ""), piece(1, DATA, "more")].concat());
    assert!(w.told(c, 2).contains("takes no further streams"));
    assert!(w.at_service(0)[0].is(id, DATA, "more"));
    w.answer(0, piece(id, TRAILER, ""));
    assert!(w.at_caller(c)[0].is(1, TRAILER, ""));
    assert_eq!(w.client.end(c), Some(End::Closed));
    assert!(w.worker.is_drained());
    w.rpc_over();
}

#[test]
fn frames_of_unknown_streams_are_dropped() {
    let mut w = world(BY_FRAME);
    let c = w.open();
    w.send(
        c,
        [
            piece(9, DATA, "who?"),
            piece(0, b"1", "about the connection"),
        ]
        .concat(),
    );
    let id = w.begin(c, 1, 0);
    w.send(
        c,
        [piece(1, TRAILER, ""), piece(1, DATA, "behind its end")].concat(),
    );
    assert_eq!(w.at_service(0).len(), 1);
    w.answer(0, piece(id, TRAILER, ""));
    w.answer(0, piece(id, DATA, "behind its end"));
    assert_eq!(w.at_caller(c).len(), 1);
    w.counts("downstream_opened, upstream_opened, answered");
    w.rpc_counts("stream, waited, late_stream_frame 4");
    w.rpc_over();
}

#[test]
fn an_id_that_is_used_twice_at_a_time_ends_its_connection() {
    let mut w = world(BY_FRAME);
    let c = w.open();
    let id = w.begin(c, 1, 0);
    w.send(c, piece(1, HEADER, ""));
    assert!(w.told(c, 1).contains("a frame on it was refused"));
    w.reset_told(0, id);
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.counts("downstream_opened, downstream_closed, upstream_opened, malformed, client_gone");
    w.refused("stream_id_in_use", "");
    w.rpc_over();
}

#[test]
fn a_service_that_names_streams_that_never_were_ends_its_connection_and_its_streams() {
    let mut w = world(BY_FRAME);
    let c = w.open();
    w.begin(c, 1, 0);
    w.answer(0, piece(77_777, DATA, "who?"));
    assert!(
        w.told(c, 1)
            .contains("something that is no frame of a stream")
    );
    assert_eq!(w.backend.end(0), Some(End::Reset));
    w.rpc_counts("stream, stranger, waited");
    w.rpc_over();
}

/// Streams whose frames come before there is a connection wait in their stream.
#[test]
fn streams_wait_for_their_connection_with_all_that_came() {
    let mut w = World::with(&rules("", &format!("{BY_FRAME}, connect_timeout: 2s")));
    let c = w.open();
    let frames: Vec<u8> = (1..=50)
        .flat_map(|id| {
            [
                piece(id, HEADER, ""),
                piece(id, DATA, "1"),
                piece(id, TRAILER, ""),
            ]
            .concat()
        })
        .collect();
    w.send(c, frames);
    w.pass(Duration::from_millis(100));
    let got = w.at_service(0);
    assert_eq!(got.len(), 150);
    let mut kinds = std::collections::BTreeMap::<i32, Vec<u8>>::new();
    for piece in got {
        kinds.entry(piece.id).or_default().extend(piece.kind);
    }
    assert!(kinds.values().all(|kinds| kinds == b"234"), "{kinds:?}");
    let answers: Vec<u8> = kinds
        .keys()
        .flat_map(|&id| piece(id, TRAILER, ""))
        .collect();
    w.answer(0, answers);
    assert_eq!(w.at_caller(c).len(), 50);
    w.counts("downstream_opened, upstream_opened, answered 50");
    w.rpc_over();
}
