//! Segments that may be forged, and numbers that make no sense.

use proptest::prelude::*;
use sluice_stack::fate::FrameFate;
use sluice_stack::{Limits, Phase};

use crate::peer::*;

fn bare(flags: u8, seq: u32, ack: u32) -> Segment {
    Segment {
        flags,
        seq,
        ack,
        ..Segment::default()
    }
}

/// The one answer says where we are.
fn is_challenge(answer: &[Segment], seq: u32, ack: u32) -> bool {
    matches!(answer, [s] if (s.flags, s.seq, s.ack, s.len()) == (ACK, seq, ack, 0))
}

#[test]
fn only_a_reset_with_the_very_next_number_ends_a_flow() {
    let mut peer = Peer::open(WITH_SACK);
    peer.data(0, 100);
    assert!(
        is_challenge(&peer.play(bare(RST, 101, 0)), 0, 100),
        "in the window"
    );
    assert_eq!(peer.play(bare(RST, 99, 0)), [], "before it");
    assert_eq!(peer.play(bare(RST, 1_000_000, 0)), [], "beyond it");
    assert_eq!(peer.view().phase, Phase::Open);
    assert_eq!(peer.play(bare(RST, 100, 0)), []);
    assert_eq!(peer.view().phase, Phase::Closed);
    assert_eq!(peer.view().readable, 100, "what came before can be read");
    assert_eq!(peer.events(), "flow_reset, challenge_ack");
}

#[test]
fn a_syn_in_or_out_of_the_window_is_challenged() {
    let mut peer = Peer::open(WITH_SACK);
    for seq in [0, 10, 0x8000_0000, u32::MAX] {
        assert!(
            is_challenge(&peer.play(bare(SYN, seq, 0)), 0, 0),
            "SYN at {seq}"
        );
        assert!(is_challenge(&peer.play(bare(SYN | ACK, seq, 0)), 0, 0));
    }
    assert_eq!(peer.view().phase, Phase::Open);
    assert_eq!(peer.events(), "challenge_ack 8");
}

#[test]
fn data_with_an_acknowledgement_that_cannot_be_true_is_not_taken() {
    let mut peer = Peer::open(WITH_SACK);
    peer.write(100);
    let data = |ack| Segment {
        flags: ACK,
        ack,
        payload: b"forged".to_vec(),
        ..Segment::default()
    };
    for ack in [101, 0x4000_0000, 0u32.wrapping_sub(70_000)] {
        assert!(is_challenge(&peer.play(data(ack)), 100, 0), "ACK of {ack}");
    }
    assert_eq!((peer.view().readable, peer.view().unacknowledged), (0, 100));
    peer.play(data(0u32.wrapping_sub(60_000)));
    assert_eq!(
        peer.view().readable,
        6,
        "an old one within the window is true"
    );
    peer.play(Segment {
        flags: 0,
        seq: 6,
        payload: b"no ACK".to_vec(),
        ..Segment::default()
    });
    assert_eq!(peer.view().readable, 6);
}

#[test]
fn challenges_of_all_flows_are_bounded() {
    let mut peer = Peer::open(WITH_SACK);
    let mut answers = 0;
    for _ in 0..5_000 {
        answers += peer.play(bare(SYN, 10, 0)).len();
    }
    assert!((500..=1_500).contains(&answers), "{answers} in one second");
    peer.wait(1_100);
    assert_eq!(peer.play(bare(SYN, 10, 0)).len(), 1);
}

#[test]
fn an_old_timestamp_drops_a_segment() {
    let mut peer = Peer::open(&[WITH_SACK, &stamps(100, 0)[..]].concat());
    let data = |seq, value| Segment {
        flags: ACK,
        seq,
        options: stamps(value, 0),
        payload: vec![1; 10],
        ..Segment::default()
    };
    // The handshake's ACK had 2: far behind 100.
    peer.play(data(0, 100));
    assert_eq!(peer.view().readable, 10);
    let answer = peer.play(data(10, 99));
    assert_eq!((answer.len(), answer[0].ack), (1, 10));
    assert_eq!(
        answer[0].stamps().unwrap().1,
        100,
        "the last good one is echoed"
    );
    assert_eq!(peer.view().readable, 10);
    peer.play(data(10, 100));
    peer.play(Segment {
        options: vec![],
        ..data(20, 0)
    });
    assert_eq!(
        peer.view().readable,
        30,
        "one that lost its timestamp is taken"
    );
    // Timestamps wrap.
    peer.wait(30);
    peer.play(data(30, 0x7000_0000));
    peer.wait(30);
    peer.play(data(40, 0xe000_0000));
    peer.wait(30);
    peer.play(data(50, 5));
    assert_eq!(peer.view().readable, 60);
}

#[test]
fn malformed_options_leave_the_flow_alone() {
    let mut peer = Peer::open(WITH_SACK);
    for options in [
        &[5, 3, 0, 0][..],
        &[8, 0, 0, 0],
        &[2, 200, 0, 0],
        &[5, 6, 0, 0, 0, 0, 0, 0],
    ] {
        let answer = peer.play(Segment {
            flags: ACK,
            options: options.to_vec(),
            payload: vec![1],
            ..Segment::default()
        });
        assert_eq!(answer, [], "{options:?}");
    }
    assert_eq!(peer.stats.frames.get(FrameFate::BadTcp), 4);
    assert_eq!((peer.view().readable, peer.view().phase), (0, Phase::Open));
}

#[test]
fn blocks_of_what_was_never_sent_are_ignored() {
    let mut peer = Peer::open(WITH_SACK);
    peer.write(5 * MSS);
    for blocks in [
        &[(6 * MSS, 7 * MSS)][..],
        &[(0x8000_0000, 0x8000_1000)],
        &[(3 * MSS, 2 * MSS)],
        &[(10, 20), (0u32.wrapping_sub(500), 5 * MSS)],
    ] {
        assert_eq!(peer.ack(0, blocks), [], "{blocks:?}");
    }
    peer.ack(5 * MSS, &[]);
    assert_eq!(peer.view().unacknowledged, 0);
    assert_eq!(peer.wait(500), []);
}

#[test]
fn a_peer_that_takes_everything_back_gets_it_again() {
    let mut peer = Peer::open(WITH_SACK);
    peer.write(5 * MSS);
    peer.wait(RTT);
    let repair = peer.ack(0, &[(MSS, 5 * MSS)]);
    assert_eq!(places(&repair), [0]);
    peer.wait(RTT);
    // It acknowledges the repair alone: what it had reported is gone.
    peer.ack(MSS, &[]);
    let again = peer.wait(5_000);
    assert!(places(&again).contains(&1), "{:?}", places(&again));
}

#[test]
fn while_as_many_flows_as_allowed_are_half_open_cookies_let_clients_in() {
    let limits = Limits {
        half_open: 4,
        ..Limits::default()
    };
    let mut peer = Peer::new(limits, Default::default());
    for n in 0..10 {
        peer.flood(n);
    }
    assert_eq!(peer.stats.half_open.get(), 4);
    let answer = peer.accept(&[WITH_SACK, &[1, 3, 3, 7]].concat());
    assert_eq!(
        answer.options,
        [2, 4, 0x05, 0xb4],
        "what a cookie has no room for is not offered"
    );
    assert_eq!((peer.stats.flows.get(), peer.stats.half_open.get()), (1, 4));
    assert_eq!(peer.write(3_000)[0].len(), MSS);
    peer.data(0, 100);
    assert_eq!(peer.read().len(), 100);
    assert_eq!(peer.events(), "syn_cookie 7, syn_cookie_accepted");
    // Forgeries are refused.
    let before = peer.stats.flows.get();
    peer.ends_at(41_000);
    let answer = peer.play(bare(ACK, 0, 12_345));
    assert_eq!(answer.iter().map(|s| s.flags).collect::<Vec<_>>(), [RST]);
    assert_eq!(peer.stats.flows.get(), before);
}

/// Anything a peer could say, near the numbers that matter.
fn anything() -> impl Strategy<Value = (Segment, u8)> {
    let near = prop_oneof![
        0u32..3000,
        (0u32..70_000).prop_map(|n| 0u32.wrapping_sub(n)),
        any::<u32>(),
    ];
    let options = prop_oneof![
        Just(vec![]),
        (0u32..100, 0u32..100).prop_map(|(a, b)| stamps(a, b)),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    let payload = prop_oneof![Just(0usize), 0usize..1400].prop_map(|n| vec![7; n]);
    let flags = prop_oneof![4 => Just(ACK), 1 => any::<u8>()];
    (
        flags,
        near.clone(),
        near,
        any::<u16>(),
        0u8..4,
        options,
        payload,
        any::<u8>(),
    )
        .prop_map(|(flags, seq, ack, window, ecn, options, payload, act)| {
            (
                Segment {
                    flags,
                    seq,
                    ack,
                    window,
                    ecn,
                    options,
                    payload,
                },
                act,
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Nothing panics, the invariants hold (a debug build checks them after each poll), every frame
    /// has its fate, and nothing is left when the flow is gone.
    #[test]
    fn no_segments_harm_the_stack(
        stamped in any::<bool>(),
        steps in proptest::collection::vec(anything(), 1..60),
    ) {
        let mut options = WITH_SACK.to_vec();
        if stamped {
            options.extend(stamps(50, 0));
        }
        let mut peer = Peer::new(Limits::default(), sluice_stack::Buffers { receive: 8_000, send: 8_000 });
        peer.accept(&options);
        let flow = peer.flow.unwrap();
        for (segment, act) in steps {
            peer.play(segment);
            match act % 8 {
                0 => { peer.stack.write(flow, &[3; 3000]); }
                1 => { peer.read(); }
                2 => { peer.wait(u64::from(act)); }
                3 if act > 250 => { peer.stack.finish_sending(flow); }
                4 => peer.too_big(u32::from(act), u16::from(act) * 7),
                _ => {}
            }
            peer.turn();
            peer.take();
        }
        let received = {
            use sluice_stack::io::PacketIo;
            peer.stack.ports().next().unwrap().stats().rx_frames
        };
        prop_assert_eq!(peer.stats.frames.sum(), received);
        let now = peer.net.now();
        peer.stack.abort(flow, now);
        peer.turn();
        prop_assert_eq!(peer.stats.flows.get(), 0);
    }
}
