//! Requests behind a MeshHeader: to services that speak it, TTHeader or plain Thrift.

use sluice_perf::raw::End;
use sluice_wire::thrift::MessageKind;
use sluice_wire::ttheader::integer;

use super::frames::{BY_MESSAGE, ONE, message, rules, text, world};
use crate::world::World;

const AUTO: &str = "max_idle: 4";

fn behind(pairs: &[(&str, &str)], padding: usize, message: &[u8]) -> Vec<u8> {
    let mut out = (pairs.len() as u16).to_be_bytes().to_vec();
    for text in pairs.iter().flat_map(|(key, value)| [key, value]) {
        out.extend_from_slice(&(text.len() as u16).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out.resize(out.len() + padding, 0);
    let mut all = vec![0xff, 0xaf];
    all.extend_from_slice(&(out.len() as u16).to_be_bytes());
    all.append(&mut out);
    all.extend_from_slice(message);
    all
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes(), message].concat()
}

fn as_it_is(message: &[u8]) -> Vec<u8> {
    message.to_vec()
}

fn call(sequence: i32) -> Vec<u8> {
    message(MessageKind::Call, "echo", sequence, &text("hi"))
}

fn reply(sequence: i32) -> Vec<u8> {
    message(MessageKind::Reply, "echo", sequence, &text("ho"))
}

const PAIRS: &[(&str, &str)] = &[("user", "ann"), ("RPC_PERSIST_lane", "blue")];

#[test]
fn a_service_that_speaks_it_gets_it_untouched_and_replies_come_as_they_are() {
    for wrap in [framed, as_it_is] {
        let mut w = world(AUTO);
        let c = w.open();
        // A service may answer with a header or without.
        for (sequence, header) in [(1, true), (2, false), (3, true)] {
            let request = behind(PAIRS, 5, &wrap(&call(sequence)));
            w.send(c, &request);
            assert_eq!(w.backend.take(0), request);
            let answer = match header {
                true => behind(&[("ok", "yes")], 1, &wrap(&reply(sequence))),
                false => wrap(&reply(sequence)),
            };
            w.answer(0, &answer);
            assert_eq!(w.client.take(c), answer);
        }
        w.counts("downstream_opened, upstream_opened, answered 3");
        w.rpc_over();
    }
}

#[test]
fn a_service_of_ttheader_gets_a_head_with_the_pairs_and_its_reply_comes_back_without() {
    for (service, wrap) in [
        (ONE, as_it_is as fn(&[u8]) -> Vec<u8>),
        (BY_MESSAGE, framed),
    ] {
        let mut w = world(service);
        let c = w.open();
        let requests = [5, 6].map(|n| behind(PAIRS, 0, &wrap(&call(n))));
        w.send(c, requests.concat());
        let asked = if service == ONE {
            vec![w.request(0), w.request(1)]
        } else {
            w.requests(0)
        };
        for (turn, asked) in asked.iter().enumerate() {
            let head = asked.head();
            assert_eq!(head.string(b"user"), Some(&b"ann"[..]));
            assert_eq!(head.string(b"RPC_PERSIST_lane"), Some(&b"blue"[..]));
            assert_eq!(head.integer(integer::TO_METHOD), Some(&b"echo"[..]));
            assert_eq!((asked.kind, &asked.body), (MessageKind::Call, &text("hi")));
            let connection = if service == ONE { turn } else { 0 };
            w.answer(connection, asked.answer("ho"));
        }
        let own = [reply(5), reply(6)].map(|reply| wrap(&reply));
        assert_eq!(w.client.take(c), own.concat());
        w.rpc_over();
    }
}

#[test]
fn a_service_of_plain_thrift_gets_the_message_alone() {
    let mut w = world("protocol: thrift, max_idle: 4");
    let c = w.open();
    w.send(c, behind(PAIRS, 0, &framed(&call(1))));
    assert_eq!(w.backend.take(0), framed(&call(1)));
    w.answer(0, framed(&reply(1)));
    assert_eq!(w.client.take(c), framed(&reply(1)));
    w.rpc_over();
}

/// A client that reads messages without frames can't read one with a frame, nor the other way round.
#[test]
fn replies_come_in_the_framing_of_their_calls() {
    type Wrap = fn(&[u8]) -> Vec<u8>;
    let ways: [(Wrap, Wrap); 2] = [(framed, as_it_is), (as_it_is, framed)];
    for (own, of_service) in ways {
        let mut w = world(AUTO);
        let c = w.open();
        for pairs in [&[("ok", "yes")][..], &[]] {
            w.send(c, behind(PAIRS, 0, &own(&call(1))));
            w.backend.take(0);
            w.answer(0, behind(pairs, 1, &of_service(&reply(1))));
            assert_eq!(w.client.take(c), behind(pairs, 1, &own(&reply(1))));
        }
        w.send(c, behind(PAIRS, 0, &own(&call(2))));
        w.backend.take(0);
        w.answer(0, of_service(&reply(2)));
        assert_eq!(w.client.take(c), own(&reply(2)));
        w.rpc_over();
    }
}

#[test]
fn pairs_are_routed_on_and_changed_as_the_rules_say() {
    let mut rules = rules("", AUTO);
    rules.routes = "{ rpc: { keys: { user: ann } }, service: hello, \
                    request_keys: { set: { seen: \"${key.user}\" }, remove: [RPC_PERSIST_lane] } }"
        .into();
    let mut w = World::with(&rules);
    let c = w.open();
    w.send(c, behind(PAIRS, 0, &call(1)));
    let changed = behind(&[("user", "ann"), ("seen", "ann")], 0, &call(1));
    assert_eq!(w.backend.take(0), changed);
    w.answer(0, reply(1));
    assert_eq!(w.client.take(c), reply(1));
    // Nobody takes others, and they are told in plain Thrift.
    w.send(c, behind(&[("user", "bob")], 0, &call(2)));
    let told = w.client.take(c);
    assert!(told.starts_with(&[0x80, 1, 0, 3]), "an exception");
    assert!(String::from_utf8_lossy(&told).contains("no route takes this service and method"));
    w.counts("downstream_opened, upstream_opened, answered, no_route");
    w.rpc_over();
}

#[test]
fn oneway_calls_are_sent_and_not_answered() {
    let mut w = world(ONE);
    let c = w.open();
    let oneway = message(MessageKind::Oneway, "echo", 1, &text("hi"));
    w.send(
        c,
        [behind(PAIRS, 0, &oneway), behind(PAIRS, 0, &call(2))].concat(),
    );
    let asked = w.requests(0);
    assert_eq!(asked[0].kind, MessageKind::Oneway);
    w.answer(0, asked[1].answer("ho"));
    assert_eq!(w.client.take(c), reply(2));
    w.counts("downstream_opened, upstream_opened 2, oneway, answered");
    w.rpc_over();
}

#[test]
fn it_comes_in_pieces_as_well() {
    for wrap in [framed, as_it_is] {
        let mut w = world(AUTO);
        let c = w.open();
        let request = behind(PAIRS, 3, &wrap(&call(1)));
        for byte in &request {
            w.send(c, [*byte]);
        }
        assert_eq!(w.backend.take(0), request);
        let answer = behind(&[], 0, &wrap(&reply(1)));
        for byte in &answer {
            w.answer(0, [*byte]);
        }
        assert_eq!(w.client.take(c), answer);
        w.rpc_over();
    }
}

#[test]
fn a_malformed_one_ends_its_connection() {
    let fine = behind(PAIRS, 0, &call(1));
    let broken = |change: fn(&mut Vec<u8>)| {
        let mut frame = fine.clone();
        change(&mut frame);
        frame
    };
    let long = message(MessageKind::Call, "echo", 1, &text(&"x".repeat(20_000)));
    let cases: [(&str, Vec<u8>); 7] = [
        ("header_empty", broken(|f| f[2..4].copy_from_slice(&[0, 1]))),
        ("header_too_large", broken(|f| f[2..4].fill(0xff))),
        ("info_past_header", broken(|f| f[5] = 3)),
        ("info_past_header", broken(|f| f[6..8].fill(0xff))),
        ("unknown_protocol", behind(PAIRS, 0, &[0x99; 30])),
        (
            "version",
            behind(PAIRS, 0, &[0x80, 1, 1, 1, 0, 0, 0, 1, b'a', 0, 0, 0, 0]),
        ),
        // What is larger than the ring has to be known to end.
        ("frame_too_large", behind(PAIRS, 0, &framed(&long))),
    ];
    for (reason, frame) in cases {
        let mut w = world(AUTO);
        let c = w.open();
        w.send(c, &frame);
        assert_eq!(w.client.end(c), Some(End::Closed), "{reason}");
        assert_eq!(w.client.take(c), b"", "{reason}");
        w.counts("downstream_opened, downstream_closed, malformed");
        w.rpc_counts("bad_frame");
        w.refused(reason, "");
        w.rpc_over();
    }
}

/// Every request of a connection has one.
#[test]
fn a_request_without_one_behind_others_that_had_one_ends_its_connection() {
    let mut w = world(AUTO);
    let c = w.open();
    w.send(c, [behind(PAIRS, 0, &call(1)), call(2)].concat());
    w.answer(0, reply(1));
    assert_eq!(w.client.take(c), reply(1));
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.refused("magic", "");
    w.rpc_over();
}

/// Listeners that were told what their callers speak take nothing else.
#[test]
fn a_listener_for_something_else_refuses_it_by_its_first_bytes() {
    for (protocol, reason) in [
        ("ttheader", "negative_length"),
        ("thrift", "unknown_protocol"),
    ] {
        let mut w = World::with(&rules(&format!("protocol: {protocol}"), AUTO));
        let c = w.open();
        w.send(c, behind(PAIRS, 0, &framed(&call(1))));
        assert_eq!(w.client.end(c), Some(End::Closed), "{protocol}");
        assert_eq!((w.client.take(c), w.backend.connections()), (vec![], 0));
        w.counts("downstream_opened, downstream_closed, malformed");
        w.refused(reason, "");
        w.rpc_over();
    }
}

/// One that is cut at any place, by a caller that closes there and by one that stops.
#[test]
fn one_that_is_cut_short_is_counted_and_nothing_of_it_is_sent_on() {
    let whole = behind(PAIRS, 3, &framed(&call(1)));
    for cut in [3, 4, 5, 7, 20, whole.len() - 30, whole.len() - 1] {
        for stops in [true, false] {
            let mut w = world(AUTO);
            let c = w.open();
            w.send(c, &whole[..cut]);
            if stops {
                w.seconds(40);
            } else {
                w.finish(c);
            }
            assert!(w.client.end(c).is_some(), "{cut}");
            assert_eq!(w.backend.connections(), 0, "{cut}");
            if cut >= 8 {
                let fate = if stops { "head_timeout" } else { "client_gone" };
                w.counts(&format!("downstream_opened, downstream_closed, {fate}"));
                w.refused("truncated", "");
            }
            w.rpc_over();
        }
    }
}

/// A header behind a header, and what else is not a message where one has to be.
#[test]
fn a_header_behind_a_header_is_no_message() {
    let twice = behind(PAIRS, 0, &behind(PAIRS, 0, &framed(&call(1))));
    let mut w = world(AUTO);
    let c = w.open();
    w.send(c, &twice);
    assert_eq!(w.client.end(c), Some(End::Closed));
    assert_eq!(w.backend.connections(), 0);
    w.counts("downstream_opened, downstream_closed, malformed");
    w.refused("unknown_protocol", "");
    w.rpc_over();
}

/// Names that come again: the later value counts where rules look, and what is sent on is what was received.
#[test]
fn a_name_that_comes_twice_goes_by_its_later_value() {
    let mut rules = rules("", AUTO);
    rules.routes =
        "{ rpc: { keys: { user: eve } }, respond: { exception: { kind: unknown_method, message: not eve } } }
  - { rpc: {}, service: hello }"
            .into();
    let mut w = World::with(&rules);
    let c = w.open();
    let request = behind(&[("user", "eve"), ("user", "ann")], 0, &framed(&call(1)));
    w.send(c, &request);
    assert_eq!(w.backend.take(0), request);
    w.answer(0, framed(&reply(1)));
    w.client.take(c);
    w.send(
        c,
        behind(&[("user", "ann"), ("user", "eve")], 0, &framed(&call(2))),
    );
    let told = w.client.take(c);
    assert!(String::from_utf8_lossy(&told).contains("not eve"));
    w.rpc_over();
}
