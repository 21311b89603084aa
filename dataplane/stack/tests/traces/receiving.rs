//! What the peer sends, and when and how it is acknowledged.

use sluice_stack::{Buffers, Limits};

use crate::peer::*;

/// What is said to segments of 100 bytes that come together.
fn burst(peer: &mut Peer, numbers: &[u32]) -> Vec<Segment> {
    for &seq in numbers {
        let payload = (seq..seq + 100).map(|i| i as u8).collect();
        peer.send(&Segment {
            flags: ACK,
            seq,
            payload,
            ..Segment::default()
        });
    }
    peer.turn();
    peer.take()
}

#[test]
fn options_are_answered_in_kind() {
    let ours = |options: &[u8]| {
        let mut peer = Peer::new(Limits::default(), Buffers::default());
        peer.accept(options).options
    };
    assert_eq!(ours(&[]), [], "no more than was asked");
    assert_eq!(ours(WITH_SACK), [2, 4, 0x05, 0xb4, 1, 1, 4, 2]);
    assert_eq!(
        ours(&[&[2, 4, 1, 0, 1, 3, 3, 9][..], &stamps(77, 0)].concat())[4..10],
        [1, 3, 3, 7, 1, 1]
    );
    let mut peer = Peer::new(Limits::default(), Buffers::default());
    let answer = peer.accept(&stamps(77, 0));
    assert_eq!(answer.stamps().map(|(_, echo)| echo), Some(77));
}

#[test]
fn the_peers_segment_size_and_window_scale_bound_what_is_sent() {
    let mut peer = Peer::new(Limits::default(), Buffers::default());
    peer.window = 4;
    // 1000 bytes a segment, windows in units of 1,024.
    peer.accept(&[2, 4, 0x03, 0xe8, 1, 3, 3, 10]);
    let sent = peer.write(10_000);
    let lengths: Vec<u32> = sent.iter().map(Segment::len).collect();
    assert_eq!(lengths, [1000; 4], "4,096 bytes fit, and no crumb");
}

#[test]
fn a_lone_segment_is_acknowledged_a_little_later_and_two_full_ones_at_once() {
    let mut peer = Peer::open(WITH_SACK);
    assert_eq!(peer.data(0, 100), []);
    let later = peer.watch(40);
    assert_eq!(later.len(), 1);
    assert_eq!((later[0].0, later[0].1.ack), (20, 100));
    assert_eq!(peer.data(100, MSS), []);
    let at_once = peer.data(100 + MSS, MSS);
    assert_eq!((at_once.len(), at_once[0].ack), (1, 100 + 2 * MSS));
    assert_eq!(peer.wait(100), []);
}

#[test]
fn an_acknowledgement_rides_on_data() {
    let mut peer = Peer::open(WITH_SACK);
    peer.data(0, 100);
    let answer = peer.write(50);
    assert_eq!(
        (answer.len(), answer[0].ack, answer[0].flags),
        (1, 100, ACK | PSH)
    );
    peer.ack(50, &[]);
    assert_eq!(peer.wait(100), []);
}

#[test]
fn what_comes_ahead_is_reported_at_once_and_read_in_order() {
    let mut peer = Peer::open(WITH_SACK);
    let told = peer.data(1000, 500);
    assert_eq!((told.len(), told[0].ack), (1, 0));
    assert_eq!(told[0].blocks(), [(1000, 1500)]);
    let told = peer.data(2000, 500);
    assert_eq!(
        told[0].blocks(),
        [(2000, 2500), (1000, 1500)],
        "the latest first"
    );
    let told = peer.data(0, 1000);
    assert_eq!((told[0].ack, told[0].blocks()), (1500, vec![(2000, 2500)]));
    let told = peer.data(1500, 500);
    assert_eq!((told[0].ack, told[0].blocks()), (2500, vec![]));
    let expected: Vec<u8> = (0..2500u32).map(|i| i as u8).collect();
    assert!(peer.read() == expected);
}

/// A sender that first heard of what it sent last would take what it sent before for lost.
#[test]
fn what_comes_in_one_burst_is_acknowledged_in_the_order_in_which_it_came() {
    let mut peer = Peer::open(WITH_SACK);
    // 100 and 300 are missing, 0 is sent again, and what follows 300 goes on.
    peer.data(200, 100);
    let told = burst(&mut peer, &[400, 500, 0, 600]);
    let edges: Vec<u32> = told.iter().map(|s| s.ack + u32::from(s.window)).collect();
    assert!(edges.is_sorted(), "a window that moved back: {edges:?}");
    let told: Vec<_> = told.iter().map(|s| (s.ack, s.blocks())).collect();
    let expected = [
        (0, vec![(400, 600), (200, 300)]),
        (100, vec![(400, 600), (200, 300)]),
        (100, vec![(400, 700), (200, 300)]),
    ];
    assert_eq!(told, expected);
    peer.data(100, 100);
    assert_eq!(peer.data(300, 100)[0].ack, 700);
    let expected: Vec<u8> = (0..700u32).map(|i| i as u8).collect();
    assert!(peer.read() == expected);
}

#[test]
fn without_sack_each_that_comes_ahead_gets_a_duplicate() {
    let mut peer = Peer::open(WITHOUT_SACK);
    let duplicates = burst(&mut peer, &[100, 200, 300]);
    assert_eq!(duplicates.len(), 3, "for one burst: {duplicates:?}");
    assert!(duplicates.iter().all(|s| s.ack == 0 && s.len() == 0));
}

#[test]
fn what_comes_twice_is_reported_once() {
    let mut peer = Peer::open(WITH_SACK);
    peer.data(0, 100);
    let told = peer.data(0, 100);
    assert_eq!((told[0].ack, told[0].blocks()), (100, vec![(0, 100)]));
    // Half old, half new.
    let told = peer.data(50, 100);
    assert_eq!((told[0].ack, told[0].blocks()), (150, vec![(50, 100)]));
    let told = peer.data(200, 50);
    assert_eq!(told[0].blocks(), [(200, 250)]);
    assert_eq!(peer.read().len(), 150);
}

#[test]
fn what_comes_twice_ahead_of_its_turn_is_reported_with_the_range_it_is_part_of() {
    let mut peer = Peer::open(WITH_SACK);
    for seq in [200, 400, 600] {
        peer.data(seq, 100);
    }
    let told = peer.data(200, 100);
    let expected = [(200, 300), (200, 300), (600, 700), (400, 500)];
    assert_eq!(told[0].blocks(), expected);
    // In one burst with what came once: that first.
    let told = burst(&mut peer, &[800, 1000, 1000]);
    let told: Vec<_> = told.iter().map(Segment::blocks).collect();
    assert_eq!(told[0][0], (800, 900));
    assert_eq!(told[1][..2], [(1000, 1100), (1000, 1100)]);
    assert_eq!(told.len(), 2);
}

#[test]
fn the_window_closes_with_what_is_not_read_and_opens_when_it_is() {
    let buffers = Buffers {
        receive: 3 * 1460,
        send: 4096,
    };
    let mut peer = Peer::new(Limits::default(), buffers);
    peer.accept(WITHOUT_SACK);
    let mut window = 0;
    for n in 0..4 {
        if let Some(ack) = peer.data(n * MSS, MSS).last() {
            window = ack.window;
        }
    }
    assert_eq!(window, 0);
    // What does not fit is dropped, and what came before is said again.
    let told = peer.data(4 * MSS, 100);
    assert_eq!((told[0].ack, told[0].window), (4 * MSS, 0));
    peer.read();
    let update = peer.take();
    assert_eq!(
        (update.len(), update[0].ack, u32::from(update[0].window)),
        (1, 4 * MSS, 4 * MSS)
    );
    peer.data(4 * MSS, 100);
    assert_eq!(peer.read().len(), 100);
}

#[test]
fn with_a_closed_window_acknowledgements_still_count() {
    let buffers = Buffers {
        receive: 0,
        send: 4096,
    };
    let mut peer = Peer::new(Limits::default(), buffers);
    peer.accept(WITHOUT_SACK);
    peer.write(1000);
    peer.data(0, MSS);
    peer.play(Segment {
        flags: ACK,
        seq: MSS,
        ack: 1000,
        payload: vec![1; 10],
        ..Segment::default()
    });
    assert_eq!(
        (peer.view().unacknowledged, peer.view().readable),
        (0, 1460)
    );
}

#[test]
fn a_mark_of_congestion_is_echoed_until_it_is_answered() {
    let mut peer = Peer::new(Limits::default(), Buffers::default());
    peer.syn(SYN | ECE | CWR, WITH_SACK);
    peer.play(Segment {
        flags: ACK,
        ..Segment::default()
    });
    peer.own();
    let data = |flags, seq, ecn| Segment {
        flags,
        seq,
        ecn,
        payload: vec![0; MSS as usize],
        ..Segment::default()
    };
    peer.send(&data(ACK, 0, 3));
    let told = peer.play(data(ACK, MSS, 2));
    assert_eq!(told[0].flags, ACK | ECE);
    peer.send(&data(ACK, 2 * MSS, 2));
    let told = peer.play(data(ACK, 3 * MSS, 2));
    assert_eq!(told[0].flags, ACK | ECE, "until it is answered");
    peer.send(&data(ACK | CWR, 4 * MSS, 2));
    let told = peer.play(data(ACK, 5 * MSS, 2));
    assert_eq!(told[0].flags, ACK);
}

#[test]
fn marks_mean_nothing_where_they_were_not_agreed_on() {
    let mut peer = Peer::open(WITH_SACK);
    peer.send(&Segment {
        flags: ACK,
        ecn: 3,
        payload: vec![0; MSS as usize],
        ..Segment::default()
    });
    let told = peer.data(MSS, MSS);
    assert_eq!(told[0].flags, ACK);
    assert!(peer.write(100).iter().all(|s| s.ecn == 0));
}
