//! Extension headers of IPv6 (RFC 8200 4) in front of TCP: passed over where a host may, dropped otherwise.

use sluice_stack::fate::FrameFate;
use sluice_stack::{Buffers, Limits};

use crate::peer::*;

const HOPS: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;
const FRAGMENT: u8 = 44;
/// Length in eights beyond the first, and options: padding alone, and some that may be skipped.
const PADDED: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
const ALERT: &[u8] = &[0, 5, 2, 0, 0, 0, 0];
const UNKNOWN: &[u8] = &[1, 0x1e, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0];
/// Of type 2 and 253, no segment left.
const ARRIVED: &[u8] = &[0, 253, 0, 0, 0, 0, 0];
const ARRIVED_HOME: &[u8] = &[
    2, 2, 0, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
];

fn peer() -> Peer {
    Peer::between(true, None, Limits::default(), Buffers::default())
}

/// What becomes of a SYN behind these headers: its fate, and whether it is answered.
fn syn_behind(peer: &mut Peer, headers: &[(u8, &[u8])]) -> (FrameFate, bool) {
    peer.extensions = headers
        .iter()
        .map(|&(k, rest)| (k, rest.to_vec()))
        .collect();
    let before = peer.fates();
    let answer = peer.play(Segment {
        flags: SYN,
        seq: u32::MAX,
        ..Segment::default()
    });
    let fates = peer.fates_since(&before);
    let &[(fate, 1)] = &fates[..] else {
        panic!("one fate, not {fates:?}");
    };
    (fate, !answer.is_empty())
}

#[test]
fn a_connection_lives_behind_extension_headers() {
    let mut peer = peer();
    peer.extensions = vec![
        (HOPS, ALERT.to_vec()),
        (DESTINATION, UNKNOWN.to_vec()),
        (ROUTING, ARRIVED.to_vec()),
        (DESTINATION, PADDED.to_vec()),
    ];
    peer.accept(WITH_SACK);
    assert_eq!(peer.write(100).len(), 1);
    peer.ack(100, &[]);
    peer.data(0, 1_000);
    let expected: Vec<u8> = (0..1_000u32).map(|i| i as u8).collect();
    assert_eq!(peer.read(), expected);
    // Each packet has a path of its own.
    peer.extensions = vec![];
    peer.data(1_000, 10);
    assert_eq!(peer.read().len(), 10);
    assert_eq!(peer.events(), "");
}

#[test]
fn headers_that_may_be_passed_over_are() {
    let long = [&[30, 1, 244][..], &[0; 244]].concat();
    for headers in [
        &[(HOPS, PADDED)][..],
        &[(HOPS, UNKNOWN)],
        &[(DESTINATION, UNKNOWN)],
        &[(ROUTING, ARRIVED)],
        &[(ROUTING, ARRIVED_HOME)],
        &[
            (HOPS, PADDED),
            (DESTINATION, PADDED),
            (ROUTING, ARRIVED),
            (DESTINATION, PADDED),
        ],
        &[(DESTINATION, PADDED); 4],
        &[(DESTINATION, &long), (ROUTING, ARRIVED)],
    ] {
        let mut peer = peer();
        let fate = syn_behind(&mut peer, headers);
        assert_eq!(fate, (FrameFate::Syn, true), "{headers:02x?}");
    }
}

#[test]
fn extension_headers_that_no_host_may_pass_over_are_dropped_and_counted() {
    let mut peer = peer();
    let (stop, broken) = (FrameFate::ExtensionHeader, FrameFate::BadIp);
    let long = [&[31, 1, 252][..], &[0; 252]].concat();
    let endless = [255; 7];
    for (headers, fate) in [
        // Options that say: drop, drop and tell, drop and tell unless it was for many.
        (&[(HOPS, &[0, 0x41, 4, 0, 0, 0, 0][..])][..], stop),
        (&[(HOPS, &[0, 0x81, 4, 0, 0, 0, 0])], stop),
        (&[(DESTINATION, &[0, 0xc9, 4, 0, 0, 0, 0])], stop),
        (&[(DESTINATION, &[0, 0, 0, 0, 0, 0, 0xc2])], stop),
        // A route that goes on, source routes.
        (&[(ROUTING, &[0, 253, 1, 0, 0, 0, 0])], stop),
        (&[(ROUTING, &[0, 0, 0, 0, 0, 0, 0])], stop),
        (&[(ROUTING, &[0, 0, 1, 0, 0, 0, 0])], stop),
        // More of them than anybody needs.
        (&[(DESTINATION, PADDED); 5], stop),
        (&[(DESTINATION, &long), (DESTINATION, PADDED)], stop),
        (&[(DESTINATION, &endless)], stop),
        // What can't be read.
        (&[(DESTINATION, PADDED), (HOPS, PADDED)], broken),
        (&[(HOPS, PADDED), (HOPS, PADDED)], broken),
        (&[(HOPS, &[0, 1, 5, 0, 0, 0, 0])], broken),
        (&[(HOPS, &[0, 0, 0, 0, 0, 0, 1])], broken),
        (&[(ROUTING, &[20, 253, 0, 0, 0, 0, 0])], broken),
        (
            &[(HOPS, PADDED), (FRAGMENT, &[0, 0, 1, 0, 0, 0, 1])],
            FrameFate::Fragment,
        ),
        (&[(FRAGMENT, &[0, 0, 0, 0, 0, 0, 1])], FrameFate::Fragment),
        // Encrypted or authenticated.
        (&[(50, PADDED)], FrameFate::UnknownProtocol),
        (&[(51, PADDED)], FrameFate::UnknownProtocol),
        (&[(HOPS, PADDED), (59, PADDED)], FrameFate::UnknownProtocol),
    ] {
        assert_eq!(
            syn_behind(&mut peer, headers),
            (fate, false),
            "{headers:02x?}"
        );
    }
    assert_eq!((peer.stats.half_open.get(), peer.stats.flows.get()), (0, 0));
    assert_eq!(syn_behind(&mut peer, &[]), (FrameFate::Syn, true));
}

#[test]
fn a_chain_that_ends_before_its_packet_is_dropped() {
    let mut peer = peer();
    for (protocol, body) in [
        (HOPS, &[][..]),
        (HOPS, &[6, 0, 1]),
        (DESTINATION, &[6, 0, 1, 4, 0, 0, 0]),
        (ROUTING, &[DESTINATION, 0, 253, 0, 0, 0, 0, 0]),
    ] {
        let before = peer.fates();
        peer.send_ip(0, protocol, body);
        peer.turn();
        assert_eq!(
            peer.fates_since(&before),
            [(FrameFate::BadIp, 1)],
            "{body:?}"
        );
    }
}
