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
