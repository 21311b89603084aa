//! How large packets may be, and what is remembered of that.

use crate::peer::*;

/// A new connection from another port of the same host; its first segments' payload.
fn again(peer: &mut Peer, port: u16) -> u32 {
    while peer.stack.next_ready().is_some() {}
    peer.ends_at(port);
    peer.accept(WITHOUT_SACK);
    let sent = peer.write(5_000);
    sent[0].len()
}

fn reset(peer: &mut Peer) {
    peer.play(Segment {
        flags: RST,
        ..Segment::default()
    });
}

#[test]
fn a_router_that_wants_smaller_packets_is_believed_if_it_quotes_what_is_under_way() {
    let mut peer = Peer::open(WITH_SACK);
    peer.write(10 * MSS);
    peer.wait(RTT);
    peer.too_big(11 * MSS, 1_000);
    peer.turn();
    assert_eq!(peer.take(), [], "nothing of the kind is under way");
    peer.too_big(0, 1_000);
    peer.turn();
    let again = peer.take();
    assert_eq!((again[0].seq, again[0].len()), (0, 960));
    assert_eq!((again[1].seq, again[1].len()), (960, 500));
    assert_eq!(
        peer.stats
            .frames
            .get(sluice_stack::fate::FrameFate::PathMtu),
        2
    );
    assert!(
        peer.events().contains("path_mtu_lowered"),
        "{}",
        peer.events()
    );
    peer.ack(10 * MSS, &[]);
    assert_eq!(peer.write(2_000)[0].len(), 960);
}

#[test]
fn by_ipv6_a_router_is_believed_in_the_same_way_but_not_below_1280_bytes() {
    // The peer's segment size is that of IPv4, 20 bytes more than IPv6 leaves of a packet of 1,500.
    let mut peer = Peer::open_v6(WITH_SACK);
    let sent = peer.write(10 * (MSS - 20));
    assert!(sent.len() == 10 && sent.iter().all(|s| s.len() == MSS - 20));
    peer.wait(RTT);
    for seq in [11 * MSS, 0u32.wrapping_sub(1)] {
        peer.too_big_v6(seq, 1_400);
    }
    peer.turn();
    assert_eq!(peer.take(), [], "nothing of the kind is under way");
    peer.too_big_v6(0, 1_400);
    peer.turn();
    let repairs = peer.take();
    assert_eq!((repairs[0].seq, repairs[0].len()), (0, 1_340));
    assert_eq!((repairs[1].seq, repairs[1].len()), (1_340, 100));
    // RFC 8200 5: every link takes 1,280.
    peer.too_big_v6(0, 600);
    peer.turn();
    peer.take();
    peer.ack(10 * (MSS - 20), &[]);
    assert_eq!(peer.write(2_000)[0].len(), 1_220);
    let told = sluice_stack::fate::FrameFate::PathMtu;
    assert_eq!(peer.stats.frames.get(told), 4);
    assert!(
        peer.events().contains("path_mtu_lowered 2"),
        "{}",
        peer.events()
    );
    // And what it takes is remembered for the host.
    reset(&mut peer);
    assert_eq!(again(&mut peer, 40_001), 1_220);
}

#[test]
fn the_next_connections_to_a_host_begin_with_what_a_router_said_for_ten_minutes() {
    let mut peer = Peer::open(WITHOUT_SACK);
    peer.write(2 * MSS);
    peer.too_big(0, 1_000);
    peer.turn();
    peer.take();
    reset(&mut peer);
    assert_eq!(again(&mut peer, 40_001), 960);
    reset(&mut peer);
    // Our own as well.
    peer.connect();
    peer.play(Segment {
        flags: SYN | ACK,
        seq: u32::MAX,
        options: WITHOUT_SACK.to_vec(),
        ..Segment::default()
    });
    assert_eq!(peer.write(5_000)[0].len(), 960);
    reset(&mut peer);
    peer.wait(600_000);
    assert_eq!(again_after(&mut peer), MSS);
}

/// As [`again`], for a peer whose ends were turned round.
fn again_after(peer: &mut Peer) -> u32 {
    peer.listens_no_more();
    again(peer, 40_002)
}

#[test]
fn full_segments_that_never_arrive_get_smaller() {
    let mut peer = Peer::open(WITHOUT_SACK);
    peer.write(2 * MSS);
    let sent = peer.wait(200 + 400 + 800 + 10);
    let lengths: Vec<u32> = sent.iter().map(Segment::len).collect();
    assert_eq!(lengths, [MSS, MSS, 1200]);
    assert!(peer.events().contains("path_mtu_lowered"));
    let rest = peer.ack(1200, &[]);
    assert_eq!(rest[0].seq, 1200);
    // Smaller ones arrive, so that it was their size.
    reset(&mut peer);
    assert_eq!(again(&mut peer, 40_001), 1200);
}

#[test]
fn a_host_that_acknowledges_nothing_at_all_teaches_nothing() {
    let mut peer = Peer::open(WITHOUT_SACK);
    peer.write(2 * MSS);
    peer.wait(200 + 400 + 800 + 1_600 + 10);
    assert!(peer.events().contains("path_mtu_lowered"));
    reset(&mut peer);
    assert_eq!(again(&mut peer, 40_001), MSS);
}
