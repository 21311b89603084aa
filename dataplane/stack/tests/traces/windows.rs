//! Windows that grow to what the path takes.

use sluice_stack::{Buffers, Limits};

use crate::peer::*;

/// A segment size, and windows that are scaled by nothing on the peer's side.
const SCALED: &[u8] = &[2, 4, 0x05, 0xb4, 1, 3, 3, 0];
/// What our windows are scaled by, for 4 MiB.
const SCALE: u32 = 7;
/// What a connection with a buffer of 64 KiB takes at first.
const FIRST: u32 = 65_536 + MSS;

/// Sends so many segments of which each two are read at once, `every` milliseconds apart; the window that
/// was told last.
fn fill(peer: &mut Peer, from: u32, segments: u32, every: u64) -> u32 {
    let mut window = 0;
    for n in from..from + segments {
        let mut told = peer.data(n * MSS, MSS);
        peer.read();
        told.extend(peer.take());
        told.extend(peer.wait(every));
        if let Some(last) = told.last() {
            window = u32::from(last.window) << SCALE;
        }
    }
    window
}

#[test]
fn half_a_window_read_within_two_round_trips_doubles_it() {
    let mut peer = Peer::open(SCALED);
    let window = fill(&mut peer, 0, 20, 0);
    assert!((FIRST - 2 * MSS..=FIRST).contains(&window), "{window}");
    let window = fill(&mut peer, 20, 6, 0);
    assert!(window > 2 * FIRST - 4 * MSS, "{window}");
    // Up to the limit and no further.
    let window = fill(&mut peer, 26, 8_000, 0);
    assert!(
        ((4 << 20) - 4 * MSS..=4 << 20).contains(&window),
        "{window}"
    );
}

#[test]
fn what_waits_behind_a_gap_makes_the_window_grow_too() {
    let mut peer = Peer::open(SCALED);
    let told = (1..24).map(|n| peer.data(n * MSS, MSS)).last().unwrap();
    let window = u32::from(told[0].window) << SCALE;
    assert!(window > 2 * FIRST - 4 * MSS, "{window}");
    assert_eq!((told[0].ack, peer.view().readable), (0, 0));
    let told = peer.data(0, MSS);
    assert_eq!(
        (told[0].ack, peer.read().len() as u32),
        (24 * MSS, 24 * MSS)
    );
}

#[test]
fn a_window_that_does_not_hold_the_peer_back_stays() {
    let mut peer = Peer::open(SCALED);
    let window = fill(&mut peer, 0, 100, 2);
    assert!((FIRST - 2 * MSS..=FIRST).contains(&window), "{window}");
}

#[test]
fn a_window_that_is_not_read_does_not_grow() {
    let mut peer = Peer::open(SCALED);
    let mut window = 0;
    for n in 0..FIRST / MSS {
        if let Some(told) = peer.data(n * MSS, MSS).last() {
            window = u32::from(told.window) << SCALE;
        }
    }
    assert!(window < 3 * MSS, "{window}");
    assert_eq!(peer.stats.window_memory.get(), 0);
}

#[test]
fn crumbs_of_room_are_not_offered() {
    let buffers = Buffers {
        receive: 3 * MSS as usize,
        send: 4096,
    };
    let mut peer = Peer::new(Limits::default(), buffers);
    peer.accept(WITHOUT_SACK);
    for n in 0..4 {
        peer.data(n * MSS, MSS);
    }
    let flow = peer.flow.unwrap();
    peer.stack.consume(flow, 500);
    peer.turn();
    assert_eq!(peer.take(), [], "less than a segment");
    let told = peer.data(4 * MSS, 100);
    assert_eq!(told[0].window, 0);
    peer.stack.consume(flow, 1_000);
    peer.turn();
    assert_eq!(u32::from(peer.take()[0].window), 1_500);
}

/// Windows are told in steps, here of 128 and of 2,048 bytes, and rounded down: a reader that waits for all that
/// can come together has the bytes of the last step let in as well.
#[test]
fn all_that_can_come_together_is_let_in_by_a_window_told_in_steps() {
    for (receive, window, scale) in [(16_384, 4 << 20, 7), (20_000, 64 << 20, 11)] {
        let limits = Limits {
            window,
            ..Limits::default()
        };
        let send = 4_096;
        let mut peer = Peer::new(limits, Buffers { receive, send });
        let answer = peer.accept(SCALED);
        let flow = peer.flow.unwrap();
        let whole = peer.stack.receive_limit(flow) as u32;
        assert!(whole >= receive as u32, "{whole}");
        let (mut sent, mut edge) = (0, u32::from(answer.window));
        while sent < whole.min(edge) {
            let len = (edge - sent).min(MSS).min(whole - sent);
            let mut told = peer.data(sent, len);
            sent += len;
            peer.stack.expects(flow, whole as usize);
            peer.turn();
            told.extend(peer.take());
            told.extend(peer.wait(50));
            if let Some(last) = told.last() {
                edge = last.ack + (u32::from(last.window) << scale);
            }
        }
        assert_eq!((sent, peer.view().readable as u32), (whole, whole));
    }
}

#[test]
fn what_the_congestion_window_asks_for_can_be_written() {
    let mut peer = Peer::open(SCALED);
    let room = |peer: &Peer| peer.view().writable as u32;
    let mut acked = 0;
    assert_eq!(room(&peer), 65_536);
    // Each round trip everything is acknowledged but the last segment, and the buffer filled again.
    let mut most = 0;
    for _ in 0..4 {
        let len = room(&peer);
        peer.write(len);
        peer.wait(RTT);
        for _ in 0..400 {
            let view = peer.view();
            if view.unacknowledged as u32 <= MSS {
                break;
            }
            acked += MSS;
            peer.ack(acked, &[]);
            most = most.max(room(&peer) + peer.view().unacknowledged as u32);
        }
    }
    assert!(most > 65_536, "{most}");
    let left = peer.view().unacknowledged as u32;
    peer.ack(acked + left, &[]);
    assert_eq!(room(&peer), 65_536, "given back when all has arrived");
    assert_eq!(peer.stats.window_memory.get(), 0);
    // And is there again as soon as it is needed.
    let written = peer.stack.write(peer.flow.unwrap(), &[0; 1 << 18]);
    assert!(written > 65_536, "{written}");
}
