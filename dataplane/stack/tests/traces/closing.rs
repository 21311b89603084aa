//! Flows begin and end, in the usual order and in others.

use sluice_stack::{Buffers, Limits, Phase};

use crate::peer::*;

fn bare(flags: u8, seq: u32, ack: u32) -> Segment {
    Segment {
        flags,
        seq,
        ack,
        ..Segment::default()
    }
}

#[test]
fn both_sides_open_at_once() {
    let mut peer = Peer::new(Limits::default(), Buffers::default());
    peer.connect();
    let answer = peer.play(bare(SYN, u32::MAX, 0));
    assert_eq!((answer.len(), answer[0].flags), (1, SYN | ACK));
    assert_eq!((answer[0].seq, answer[0].ack), (u32::MAX, 0));
    assert_eq!(peer.view().phase, Phase::Connecting);
    peer.play(bare(SYN | ACK, u32::MAX, 0));
    peer.play(bare(ACK, 0, 0));
    assert_eq!(peer.view().phase, Phase::Open);
    assert_eq!(peer.write(10)[0].len(), 10);
}

#[test]
fn an_answer_to_another_syn_is_reset_and_ours_goes_on() {
    let mut peer = Peer::new(Limits::default(), Buffers::default());
    peer.connect();
    let answer = peer.play(bare(SYN | ACK, 77, 500));
    assert_eq!(
        (answer.len(), answer[0].flags, answer[0].seq),
        (1, RST, 500)
    );
    assert_eq!(
        peer.play(bare(RST | ACK, 0, 500)),
        [],
        "nor is a reset of another believed"
    );
    assert_eq!(peer.view().phase, Phase::Connecting);
    peer.play(bare(RST | ACK, 0, 0));
    assert_eq!(peer.view().phase, Phase::Closed);
    assert_eq!(peer.events(), "flow_reset");
}

#[test]
fn both_sides_close_at_once() {
    let mut peer = Peer::open(WITH_SACK);
    let fin = peer.close();
    assert_eq!(
        (fin.len(), fin[0].flags, fin[0].seq),
        (1, FIN | ACK | PSH, 0)
    );
    let answer = peer.play(bare(FIN | ACK, 0, 0));
    assert_eq!((answer.len(), answer[0].flags, answer[0].ack), (1, ACK, 1));
    assert_eq!(peer.stats.time_wait.get(), 0);
    peer.play(bare(ACK, 1, 1));
    assert_eq!((peer.stats.flows.get(), peer.stats.time_wait.get()), (0, 1));
    assert_eq!(peer.events(), "flow_closed");
}

#[test]
fn a_half_closed_peer_still_gets_its_answer() {
    let mut peer = Peer::open(WITH_SACK);
    let flags = FIN | ACK;
    let told = peer.play(Segment {
        flags,
        payload: b"question".to_vec(),
        ..Segment::default()
    });
    assert_eq!((told[0].flags, told[0].ack), (ACK, 9));
    assert!(peer.view().finished);
    assert_eq!(peer.read(), b"question");
    let answer = peer.write(100);
    assert_eq!((answer[0].len(), answer[0].ack), (100, 9));
    let fin = peer.close();
    assert_eq!((fin[0].flags, fin[0].seq), (FIN | ACK | PSH, 100));
    peer.play(bare(ACK, 9, 101));
    assert_eq!((peer.stats.flows.get(), peer.stats.time_wait.get()), (0, 0));
    assert_eq!(peer.events(), "flow_closed");
}

#[test]
fn our_end_goes_with_the_last_data_and_is_sent_again_with_it() {
    let mut peer = Peer::open(WITHOUT_SACK);
    let flow = peer.flow.unwrap();
    peer.stack.write(flow, &[1; 2000]);
    let sent = peer.close();
    assert_eq!(
        (sent.len(), sent[1].flags, sent[1].len()),
        (2, FIN | ACK | PSH, 540)
    );
    let again = peer.wait(210);
    assert_eq!(again[0].seq, 0);
    let again = peer.ack(MSS, &[]);
    assert_eq!(
        (again[0].seq, again[0].len(), again[0].flags & FIN),
        (MSS, 540, FIN)
    );
    peer.ack(2001, &[]);
    assert_eq!(peer.wait(1_000), []);
}

#[test]
fn an_end_that_comes_ahead_waits_for_what_is_missing() {
    let mut peer = Peer::open(WITH_SACK);
    peer.play(Segment {
        flags: FIN | ACK,
        seq: 100,
        payload: vec![2; 50],
        ..Segment::default()
    });
    assert!(!peer.view().finished);
    let told = peer.data(0, 100);
    assert_eq!(told[0].ack, 151);
    assert!(peer.view().finished);
    assert_eq!(peer.read().len(), 150);
    let again = peer.play(Segment {
        flags: FIN | ACK,
        seq: 150,
        ..Segment::default()
    });
    assert_eq!((again.len(), again[0].ack), (1, 151), "told again");
}

#[test]
fn what_comes_behind_the_end_is_not_taken() {
    let mut peer = Peer::open(WITH_SACK);
    peer.play(bare(FIN | ACK, 0, 0));
    peer.data(1, 100);
    assert_eq!(peer.view().readable, 0);
}

#[test]
fn what_a_flow_has_done_is_told() {
    let mut peer = Peer::open(WITH_SACK);
    for n in 0..50 {
        peer.data(n * 1000, 1000);
        peer.read();
        peer.write(1000);
        peer.ack((n + 1) * 1000, &[]);
    }
    let info = peer.stack.flows(0, 10, peer.net.now()).next().unwrap();
    assert_eq!(
        (info.received, info.sent, info.retransmitted),
        (50_000, 50_000, 0)
    );
    assert_eq!(
        (info.receive_queue, info.send_queue, info.state),
        (0, 0, "ESTABLISHED")
    );
}
