//! Closed windows, silent peers, and peers that are gone.

use std::time::Duration;

use sluice_stack::fate::StackEvent;
use sluice_stack::{Buffers, Limits, Phase, TcpTimers};

use crate::peer::*;

fn no_window(ack: u32) -> Segment {
    Segment {
        flags: ACK,
        ack,
        ..Segment::default()
    }
}

#[test]
fn a_closed_window_is_probed_ever_more_rarely_until_it_opens() {
    let mut peer = Peer::open(WITH_SACK);
    assert_eq!(peer.write(1000).len(), 1);
    peer.wait(RTT);
    peer.window = 0;
    peer.play(no_window(1000));
    assert_eq!(peer.write(500), []);
    let begin = peer.watch(200 + 400 + 800 + 20);
    let times: Vec<u64> = begin.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [200, 600, 1_400]);
    for (_, probe) in &begin {
        // A number that was acknowledged already: whoever gets it has to answer.
        assert_eq!((probe.flags, probe.seq, probe.len()), (ACK, 999, 0));
    }
    peer.window = 100;
    assert_eq!(
        peer.play(no_window(1000))[0].len(),
        100,
        "a crumb, with nothing else under way"
    );
    peer.window = 200;
    assert_eq!(
        peer.play(no_window(1000)),
        [],
        "no second one before the first is acknowledged"
    );
    peer.window = 600;
    assert_eq!(peer.play(no_window(1100))[0].len(), 400);
    assert_eq!(peer.events(), "window_probe 3");
}

#[test]
fn a_peer_that_answers_probes_is_waited_for_however_long_it_takes() {
    let mut peer = Peer::open(WITH_SACK);
    peer.window = 0;
    peer.play(no_window(0));
    peer.write(500);
    let mut probes = 0;
    for _ in 0..60 {
        for (_, probe) in peer.watch(10_000) {
            assert_eq!(probe.len(), 0);
            peer.play(no_window(0));
            probes += 1;
        }
    }
    // 0.2 s, doubled up to a minute.
    assert!((15..=20).contains(&probes), "{probes} in ten minutes");
    assert_eq!(peer.view().phase, Phase::Open);
    peer.window = 1000;
    assert_eq!(peer.play(no_window(0))[0].len(), 500);
}

#[test]
fn a_peer_that_does_not_answer_probes_is_given_up() {
    let mut peer = Peer::open(WITH_SACK);
    peer.window = 0;
    peer.play(no_window(0));
    peer.write(500);
    peer.wait(300_000);
    assert_eq!(peer.view().phase, Phase::Closed);
    assert!(
        peer.events().starts_with("flow_timed_out, window_probe"),
        "{}",
        peer.events()
    );
}

#[test]
fn unanswered_retransmissions_end_a_flow_after_the_user_timeout() {
    let mut peer = Peer::new(patient_for(Duration::from_secs(5)), Buffers::default());
    peer.accept(WITHOUT_SACK);
    peer.write(100);
    let sent = peer.watch(4_000);
    assert_eq!(sent.len(), 4);
    assert_eq!(peer.view().phase, Phase::Open);
    let end = peer.wait(5_000);
    assert_eq!(end.last().map(|s| s.flags), Some(RST | ACK));
    assert_eq!(peer.view().phase, Phase::Closed);
    assert!(
        peer.events().starts_with("flow_timed_out"),
        "{}",
        peer.events()
    );
}

#[test]
fn timeouts_may_be_shorter_inside_a_data_center() {
    let limits = Limits {
        tcp: TcpTimers {
            min_timeout: Duration::from_millis(5),
            ..TcpTimers::default()
        },
        ..Limits::default()
    };
    let mut peer = Peer::new(limits, Buffers::default());
    peer.accept(WITHOUT_SACK);
    peer.write(100);
    let again = peer.watch(100);
    // 10 + 4 * 5, and twice that.
    assert_eq!(
        again.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        [30, 90]
    );
}

/// A stack that gives peers up after so long.
fn patient_for(user_timeout: Duration) -> Limits {
    Limits {
        tcp: TcpTimers {
            user_timeout,
            ..TcpTimers::default()
        },
        ..Limits::default()
    }
}

#[test]
fn a_silent_peer_is_asked_after_two_hours_and_given_up_after_nine_questions() {
    const HOURS: u64 = 2 * 3600 * 1000;
    let mut peer = Peer::new(patient_for(Duration::from_secs(3_600)), Buffers::default());
    peer.accept(WITH_SACK);
    assert_eq!(peer.wait(HOURS - 10_000), []);
    let asked = peer.wait(20_000);
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (asked[0].flags, asked[0].seq, asked[0].len()),
        (ACK, u32::MAX, 0)
    );
    peer.ack(0, &[]);
    assert_eq!(peer.wait(HOURS - 10_000), [], "it is there");
    assert_eq!(peer.wait(10_000 + 8 * 75_000 + 20_000).len(), 9);
    let end = peer.wait(75_000);
    assert_eq!(end.iter().map(|s| s.flags).collect::<Vec<_>>(), [RST | ACK]);
    assert_eq!(peer.view().phase, Phase::Closed);
    assert_eq!(peer.events(), "flow_timed_out, keep_alive_probe 10");
}

#[test]
fn a_silent_peer_is_given_up_when_questions_went_unanswered_for_the_user_timeout() {
    let limits = Limits {
        tcp: TcpTimers {
            user_timeout: Duration::from_secs(8),
            keep_alive: Duration::from_secs(60),
            ..TcpTimers::default()
        },
        ..Limits::default()
    };
    let mut peer = Peer::new(limits, Buffers::default());
    peer.accept(WITH_SACK);
    let at = |seen: Vec<(u64, Segment)>| -> Vec<(u64, u8)> {
        let near = |at: u64| (at + 50) / 100 * 100;
        seen.into_iter()
            .map(|(at, s)| (near(at), s.flags))
            .collect()
    };
    assert_eq!(
        at(peer.watch(63_500)),
        [(60_000, ACK), (62_000, ACK)],
        "a quarter of the user timeout apart"
    );
    peer.ack(0, &[]);
    assert_eq!(
        at(peer.watch(69_000)),
        [
            (60_000, ACK),
            (62_000, ACK),
            (64_000, ACK),
            (66_000, ACK),
            (68_000, RST | ACK)
        ],
        "an answer begins it anew"
    );
    assert_eq!(peer.view().phase, Phase::Closed);
    assert_eq!(peer.events(), "flow_timed_out, keep_alive_probe 6");
}

#[test]
fn a_closed_window_whose_probes_go_unanswered_ends_a_flow_after_the_user_timeout() {
    let mut peer = Peer::new(patient_for(Duration::from_secs(20)), Buffers::default());
    peer.accept(WITH_SACK);
    peer.window = 0;
    peer.play(no_window(0));
    peer.write(500);
    // Answered for so long that probes are a minute apart.
    for _ in 0..600 {
        for _ in peer.watch(1_000) {
            peer.play(no_window(0));
        }
    }
    let probes = peer.stats.events.get(StackEvent::WindowProbe);
    let seen: Vec<(u64, u8)> = peer
        .watch(90_000)
        .into_iter()
        .map(|(at, s)| (at, s.flags))
        .collect();
    let first = seen[0].0;
    let after = seen
        .iter()
        .map(|(at, flags)| ((at - first + 50) / 100 * 100, *flags));
    assert_eq!(
        after.collect::<Vec<_>>(),
        [
            (0, ACK),
            (5_000, ACK),
            (10_000, ACK),
            (15_000, ACK),
            (20_000, RST | ACK)
        ]
    );
    assert_eq!(peer.view().phase, Phase::Closed);
    assert_eq!(
        peer.events(),
        format!("flow_timed_out, window_probe {}", probes + 4)
    );
}

#[test]
fn the_peers_keep_alive_probes_are_answered() {
    let mut peer = Peer::open(WITH_SACK);
    peer.data(0, 10);
    peer.wait(100);
    let answer = peer.play(Segment {
        flags: ACK,
        seq: 9,
        ..Segment::default()
    });
    assert_eq!((answer.len(), answer[0].ack), (1, 10));
    let answer = peer.play(Segment {
        flags: ACK,
        seq: 9,
        payload: vec![0],
        ..Segment::default()
    });
    assert_eq!(
        (answer.len(), answer[0].ack),
        (1, 10),
        "with a byte of rubbish, as BSD did"
    );
    assert_eq!(peer.read().len(), 10);
}

#[test]
fn a_syn_of_ours_is_sent_again_after_a_second_and_twice_that() {
    let mut peer = Peer::new(Limits::default(), Buffers::default());
    let syn = peer.connect();
    assert_eq!(syn.options[..4], [2, 4, 0x05, 0xb4]);
    let again = peer.watch(3_100);
    assert_eq!(
        again.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        [1_000, 3_000]
    );
    assert!(
        again
            .iter()
            .all(|(_, s)| s.flags == SYN && s.seq == u32::MAX)
    );
    let answer = peer.play(Segment {
        flags: SYN | ACK,
        seq: u32::MAX,
        options: WITH_SACK.to_vec(),
        ..Segment::default()
    });
    assert_eq!((answer.len(), answer[0].flags, answer[0].ack), (1, ACK, 0));
    assert_eq!(peer.view().phase, Phase::Open);
}
