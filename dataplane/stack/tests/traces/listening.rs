//! Multicast listener discovery (RFC 3810, RFC 2710): what switches that look are told.

use sluice_stack::fate::FrameFate;
use sluice_stack::{Buffers, Limits};

use crate::peer::*;

const QUERY: u8 = 130;
/// fe80::9, the router's.
const ROUTER: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
/// ff02::1:ff00:1, of fd00::1.
const OURS: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1];
const OTHERS: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2];
const ALERT: (u8, &[u8]) = (0, &[0, 5, 2, 0, 0, 1, 0]);
const PADDED: (u8, &[u8]) = (0, &[0, 1, 4, 0, 0, 0, 0]);

fn peer() -> Peer {
    Peer::between(true, None, Limits::default(), Buffers::default())
}

/// A question of a version for a group: what it says behind its checksum.
fn question(version: u8, group: [u8; 16]) -> Vec<u8> {
    let first = [&[3, 0xe8, 0, 0][..], &group].concat();
    match version {
        1 => first,
        _ => [&first[..], &[2, 125, 0, 0]].concat(),
    }
}

/// Asks; the fate of the question, and what comes back.
fn ask(
    peer: &mut Peer,
    (from, hops): ([u8; 16], u8),
    header: (u8, &[u8]),
    rest: &[u8],
) -> (FrameFate, Vec<Vec<u8>>) {
    peer.extensions = vec![(header.0, header.1.to_vec())];
    let before = peer.fates();
    peer.send_icmpv6_from(from, hops, QUERY, rest);
    peer.turn();
    let fates = peer.fates_since(&before);
    let &[(fate, 1)] = &fates[..] else {
        panic!("one fate, not {fates:?}");
    };
    (fate, peer.take_frames())
}

/// A report in full: from no address, by one hop, with an alert to routers and a checksum that is right.
fn report(to: [u8; 16], message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let length = [0, message.len() as u16, 0, 58].map(u16::to_be_bytes);
    let sum = checksum(&[&[0; 16][..], &to, length.as_flattened(), &message].concat());
    message[2..4].copy_from_slice(&sum);
    let mac = [&[0x33, 0x33], &to[12..]].concat();
    let ip = [
        &[0x60, 0, 0, 0, 0, 8 + message.len() as u8, 0, 1],
        &[0; 16][..],
        &to,
    ]
    .concat();
    let alert = [58, 0, 5, 2, 0, 0, 1, 0];
    [
        &mac[..],
        &[2, 0, 0, 0, 0, 1, 0x86, 0xdd],
        &ip,
        &alert,
        &message,
    ]
    .concat()
}

fn report_v2(kind: u8) -> Vec<u8> {
    let routers = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16];
    report(
        routers,
        &[&[143, 0, 0, 0, 0, 0, 0, 1, kind, 0, 0, 0], &OURS[..]].concat(),
    )
}

#[test]
fn a_port_says_which_groups_it_listens_to_when_it_comes_up() {
    let mut peer = peer();
    peer.stack.announce();
    let frames = peer.take_frames();
    assert_eq!(frames.len(), 2, "the report, and the advertisement");
    assert_eq!(frames[0], report_v2(4));
    // Nothing of IPv6, nothing to say.
    let mut plain = Peer::new(Limits::default(), Buffers::default());
    plain.stack.announce();
    assert_eq!(plain.take_frames().len(), 1, "ARP alone");
}

#[test]
fn questions_for_all_groups_and_for_ours_are_answered_in_their_version() {
    let mut peer = peer();
    for group in [[0; 16], OURS] {
        let (fate, answer) = ask(&mut peer, (ROUTER, 1), ALERT, &question(2, group));
        assert_eq!((fate, &answer[..]), (FrameFate::Mld, &[report_v2(2)][..]));
        let (fate, answer) = ask(&mut peer, (ROUTER, 1), ALERT, &question(1, group));
        let first = report(OURS, &[&[131, 0, 0, 0, 0, 0, 0, 0], &OURS[..]].concat());
        assert_eq!((fate, &answer[..]), (FrameFate::Mld, &[first][..]));
    }
    for version in [1, 2] {
        let (fate, answer) = ask(&mut peer, (ROUTER, 1), ALERT, &question(version, OTHERS));
        assert_eq!((fate, answer.len()), (FrameFate::NotForUs, 0));
    }
}

#[test]
fn questions_that_no_router_of_the_link_asks_are_not_answered() {
    let mut peer = peer();
    let far = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let all = question(2, [0; 16]);
    for (origin, header, rest, fate) in [
        ((far, 1), ALERT, &all[..], FrameFate::BadNeighbour),
        ((ROUTER, 255), ALERT, &all, FrameFate::BadNeighbour),
        ((ROUTER, 1), PADDED, &all, FrameFate::BadNeighbour),
        ((ROUTER, 1), ALERT, &all[..18], FrameFate::Truncated),
        ((ROUTER, 1), ALERT, &[], FrameFate::Truncated),
    ] {
        let (was, answer) = ask(&mut peer, origin, header, rest);
        assert_eq!((was, answer.len()), (fate, 0), "{origin:?} {rest:?}");
    }
}

#[test]
fn a_flood_of_questions_is_answered_a_thousand_times_a_second() {
    let mut peer = peer();
    let all = question(2, [0; 16]);
    let answers = (0..3_000).map(|_| ask(&mut peer, (ROUTER, 1), ALERT, &all).1.len());
    assert_eq!(answers.sum::<usize>(), 1_000);
    assert_eq!(peer.stats.frames.get(FrameFate::NoFlowSilent), 2_000);
}
