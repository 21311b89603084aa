//! What a host can send that no TCP does: pieces, overlaps, options of any length, addresses of others, and
//! what routers are said to say.

use sluice_stack::fate::FrameFate;
use sluice_stack::{Buffers, Limits, Phase};

use crate::peer::*;

fn bytes_at(seq: u32, payload: Vec<u8>) -> Segment {
    Segment {
        flags: ACK,
        seq,
        payload,
        ..Segment::default()
    }
}

#[test]
fn overlapping_segments_never_change_what_was_in_order() {
    let mut peer = Peer::open(WITH_SACK);
    peer.data(0, 100);
    peer.play(bytes_at(50, vec![0xee; 100]));
    assert_eq!(peer.view().readable, 150);
    peer.play(bytes_at(0, vec![0xdd; 150]));
    peer.play(bytes_at(200, vec![1; 50]));
    peer.play(bytes_at(180, vec![2; 40]));
    assert_eq!(peer.view().readable, 150, "ahead of a gap");
    peer.play(bytes_at(120, vec![3; 130]));
    let read = peer.read();
    let expected: Vec<u8> = (0..100).chain([0xee; 50]).chain([3; 100]).collect();
    assert_eq!(
        read, expected,
        "each byte once, the latest of those that waited"
    );
    assert_eq!(peer.view().phase, Phase::Open);
}

#[test]
fn what_is_out_of_the_window_is_answered_and_not_taken() {
    let mut peer = Peer::open(WITH_SACK);
    peer.data(0, 100);
    for seq in [0u32.wrapping_sub(500), 100_000, 10_000_000, 0x8000_0000] {
        let answer = peer.play(bytes_at(seq, vec![9; 100]));
        assert_eq!((answer.len(), answer[0].ack), (1, 100), "at {seq}");
        assert_eq!(peer.view().readable, 100, "at {seq}");
    }
    // One that begins inside and ends beyond is cut.
    peer.read();
    let window = 60_000;
    peer.play(bytes_at(100 + window, vec![9; 1_400]));
    assert_eq!(peer.view().readable, 0);
    assert_eq!(peer.view().phase, Phase::Open);
}

/// Whether an option of this kind may be so long (RFC 9293 3.1, RFC 7323, RFC 2018).
fn has_right_length(kind: u8, length: usize) -> bool {
    match kind {
        2 => length == 4,
        3 => length == 3,
        4 => length == 2,
        5 => length >= 10 && (length - 2).is_multiple_of(8),
        8 => length == 10,
        _ => length >= 2,
    }
}

#[test]
fn options_of_every_kind_and_length_are_taken_or_refused_whole() {
    let mut peer = Peer::open(WITH_SACK);
    for kind in 2..=255 {
        for length in 0..=44 {
            // As many bytes as the length says, or as fit.
            let mut options = vec![0; usize::clamp(length, 2, 40)];
            (options[0], options[1]) = (kind, length as u8);
            let right = length <= 40 && has_right_length(kind, length);
            let before = peer.fates();
            peer.play(Segment {
                flags: ACK,
                options: options.clone(),
                ..Segment::default()
            });
            let expected = if right {
                FrameFate::Flow
            } else {
                FrameFate::BadTcp
            };
            assert_eq!(peer.fates_since(&before), [(expected, 1)], "{options:?}");
        }
    }
    assert_eq!((peer.view().phase, peer.view().readable), (Phase::Open, 0));
    peer.data(0, 10);
    assert_eq!(peer.read().len(), 10);
}

#[test]
fn a_syn_with_malformed_options_leaves_nothing() {
    let mut peer = Peer::new(Limits::default(), Buffers::default());
    for options in [
        &[2, 3, 5, 0][..],
        &[3, 4, 7, 0],
        &[8, 2, 0, 0],
        &[5, 2, 0, 0],
        &[2, 0, 0, 0],
    ] {
        let answer = peer.play(Segment {
            flags: SYN,
            options: options.to_vec(),
            ..Segment::default()
        });
        assert_eq!(answer, [], "{options:?}");
    }
    assert_eq!(peer.stats.frames.get(FrameFate::BadTcp), 5);
    assert_eq!((peer.stats.half_open.get(), peer.stats.flows.get()), (0, 0));
}

#[test]
fn flags_that_exclude_each_other_and_headers_that_lie_are_dropped() {
    let mut peer = Peer::open(WITH_SACK);
    let before = peer.fates();
    for flags in [SYN | FIN, SYN | RST, FIN | RST, 0xff] {
        assert_eq!(
            peer.play(Segment {
                flags,
                ..Segment::default()
            }),
            []
        );
    }
    // A header of 16 bytes, and one that is longer than its packet.
    for offset in [0x40, 0xf0] {
        let ports = [&40_000u16.to_be_bytes()[..], &80u16.to_be_bytes()].concat();
        let tcp = [&ports[..], &[0; 8], &[offset, ACK, 1, 0, 0, 0, 0, 0]].concat();
        peer.send_ip(0, 6, &tcp);
    }
    peer.turn();
    assert_eq!(peer.fates_since(&before), [(FrameFate::BadTcp, 6)]);
    assert_eq!(peer.view().phase, Phase::Open);
}

#[test]
fn pieces_of_packets_are_dropped_and_counted() {
    let mut peer = Peer::open(WITH_SACK);
    let before = peer.fates();
    // The first, one in the middle, the last, and one whose end is beyond all packets.
    for place in [[0x20, 0], [0x20, 8], [0, 9], [0x1f, 0xff]] {
        peer.fragment = place;
        assert_eq!(peer.data(0, 64), []);
    }
    assert_eq!(peer.fates_since(&before), [(FrameFate::Fragment, 4)]);
    assert_eq!(peer.view().readable, 0);
}

#[test]
fn sources_that_cannot_be_answered_are_not() {
    let mut peer = Peer::new(Limits::default(), Buffers::default());
    let events = peer.events();
    for (from, fate) in [
        ([10, 0, 0, 1], FrameFate::BadSource), // ours
        (ELSEWHERE, FrameFate::NoRoute),       // ours, at another port
        ([0, 0, 0, 0], FrameFate::BadSource),
        ([127, 0, 0, 1], FrameFate::BadSource),
        ([224, 0, 0, 1], FrameFate::BadSource),
        ([240, 0, 0, 1], FrameFate::BadSource),
        ([255, 255, 255, 255], FrameFate::BadSource),
        ([10, 0, 0, 0], FrameFate::BadSource), // the subnet, and all in it
        ([10, 0, 0, 255], FrameFate::BadSource),
        ([10, 0, 1, 2], FrameFate::NoRoute),
        ([192, 0, 2, 1], FrameFate::NoRoute),
    ] {
        peer.from = from;
        for flags in [SYN, ACK] {
            let before = peer.fates();
            let answer = peer.play(Segment {
                flags,
                ..Segment::default()
            });
            assert_eq!(answer, [], "{from:?}");
            assert_eq!(peer.fates_since(&before), [(fate, 1)], "{from:?}");
            assert_eq!(peer.events(), events, "{from:?}");
            assert_eq!(
                (peer.stats.half_open.get(), peer.stats.flows.get()),
                (0, 0),
                "{from:?}"
            );
        }
    }
}

#[test]
fn packets_with_a_source_route_or_broken_options_are_dropped() {
    let mut peer = Peer::new(Limits::default(), Buffers::default());
    for (options, fate) in [
        (&[0x83, 7, 4, 192, 0, 2, 1, 0][..], FrameFate::BadIp),
        (&[0x89, 7, 4, 192, 0, 2, 1, 0], FrameFate::BadIp),
        (&[1, 0x83, 3, 4], FrameFate::BadIp),
        (&[0x94, 4, 0, 0, 0x83, 3, 4, 0], FrameFate::BadIp),
        (&[0x94, 1, 0, 0], FrameFate::BadIp),
        (&[0x94, 9, 0, 0], FrameFate::BadIp),
        (&[1, 1, 1, 0x94], FrameFate::BadIp),
        // Router alert, and what is behind the end.
        (&[0x94, 4, 0, 0], FrameFate::Syn),
        (&[1, 1, 0, 0x83], FrameFate::Syn),
    ] {
        peer.options = options.to_vec();
        let before = peer.fates();
        let answer = peer.play(Segment {
            flags: SYN,
            ..Segment::default()
        });
        assert_eq!(peer.fates_since(&before), [(fate, 1)], "{options:02x?}");
        let answered = fate == FrameFate::Syn;
        assert_eq!(!answer.is_empty(), answered, "{options:02x?}");
        assert_eq!(
            peer.stats.half_open.get(),
            u64::from(answered),
            "{options:02x?}"
        );
    }
}

#[test]
fn a_reset_of_a_connection_of_ours_has_to_acknowledge_its_syn() {
    let mut peer = Peer::new(Limits::default(), Buffers::default());
    peer.connect();
    for (flags, ack) in [(RST, 0), (RST | ACK, 1), (RST | ACK, 0u32.wrapping_sub(1))] {
        peer.play(Segment {
            flags,
            ack,
            ..Segment::default()
        });
        assert_eq!(peer.view().phase, Phase::Connecting, "{flags:x} {ack}");
    }
    peer.play(Segment {
        flags: RST | ACK,
        ..Segment::default()
    });
    assert_eq!(peer.view().phase, Phase::Closed);
}

/// An ICMP message about what is under way, with a right checksum.
fn icmp(peer: &mut Peer, kind: u8, code: u8, rest: [u8; 4]) {
    let quoted = peer.quoted(0);
    let mut message = [&[kind, code, 0, 0][..], &rest, &quoted].concat();
    let word = |w: &[u8]| u32::from(u16::from_be_bytes([w[0], w[1]]));
    let sum: u32 = message.chunks(2).map(word).sum();
    let sum = !(((sum >> 16) + (sum & 0xffff)) as u16);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    peer.send_ip(0, 1, &message);
    peer.turn();
}

#[test]
fn what_routers_are_said_to_say_ends_no_connection() {
    let mut peer = Peer::open(WITH_SACK);
    peer.write(MSS);
    let before = peer.fates();
    // Net, host, protocol and port unreachable, prohibited, source quench, redirect, time exceeded,
    // parameter problem (RFC 5927 6).
    let messages = [
        (3, 0),
        (3, 1),
        (3, 2),
        (3, 3),
        (3, 13),
        (4, 0),
        (5, 1),
        (11, 0),
        (12, 0),
    ];
    for (kind, code) in messages {
        icmp(&mut peer, kind, code, [0; 4]);
    }
    assert_eq!(peer.fates_since(&before), [(FrameFate::UnknownProtocol, 9)]);
    assert_eq!(
        (peer.view().phase, peer.view().unacknowledged),
        (Phase::Open, MSS as usize)
    );
    // Too large: what is not under way was not sent, and none of ours is smaller than 576 bytes can be.
    peer.too_big(5 * MSS, 600);
    peer.too_big(0u32.wrapping_sub(1), 600);
    peer.turn();
    assert_eq!(peer.events(), "");
}
