//! Segments are lost, late or marked, and what is sent again.

use crate::peer::*;

const fn at(segment: u32) -> u32 {
    segment * MSS
}

/// Ten full segments under way, a round trip ago.
fn ten(options: &[u8]) -> Peer {
    let mut peer = Peer::open(options);
    let sent = peer.write(at(10));
    assert_eq!(places(&sent), (0..10).collect::<Vec<_>>());
    assert!(sent.iter().all(|s| s.len() == MSS));
    peer.wait(RTT);
    peer
}

#[test]
fn a_loss_is_repaired_once_three_that_followed_have_arrived() {
    let mut peer = ten(WITH_SACK);
    assert_eq!(peer.ack(0, &[(at(1), at(2))]), []);
    assert_eq!(peer.ack(0, &[(at(1), at(3))]), []);
    let again = peer.ack(0, &[(at(1), at(4))]);
    assert_eq!(places(&again), [0]);
    for n in 5..=10 {
        assert_eq!(peer.ack(0, &[(at(1), at(n))]), [], "sent once only");
    }
    peer.wait(RTT);
    assert_eq!(peer.ack(at(10), &[]), []);
    assert_eq!(peer.view().unacknowledged, 0);
    assert_eq!(peer.wait(1_000), []);
    assert_eq!(peer.events(), "segment_retransmitted, fast_recovery");
}

#[test]
fn several_losses_in_one_window_are_repaired_in_one_round_trip() {
    let mut peer = ten(WITH_SACK);
    // 0, 3, 4 and 7 are lost.
    let mut again = Vec::new();
    for blocks in [
        &[(at(1), at(2))][..],
        &[(at(1), at(3))],
        &[(at(5), at(6)), (at(1), at(3))],
        &[(at(5), at(7)), (at(1), at(3))],
        &[(at(8), at(9)), (at(5), at(7)), (at(1), at(3))],
        &[(at(8), at(10)), (at(5), at(7)), (at(1), at(3))],
    ] {
        again.extend(peer.ack(0, blocks));
    }
    assert_eq!(places(&again), [0, 3, 4, 7]);
    peer.wait(RTT);
    assert_eq!(peer.ack(at(10), &[]), []);
    assert_eq!(peer.wait(1_000), []);
    assert_eq!(peer.events(), "segment_retransmitted 4, fast_recovery");
}

#[test]
fn without_sack_three_duplicates_and_partial_acknowledgements_tell() {
    let mut peer = ten(WITHOUT_SACK);
    // 0 and 5 are lost.
    assert_eq!(peer.ack(0, &[]), []);
    assert_eq!(peer.ack(0, &[]), []);
    assert_eq!(places(&peer.ack(0, &[])), [0]);
    for _ in 0..5 {
        assert_eq!(peer.ack(0, &[]), []);
    }
    peer.wait(RTT);
    assert_eq!(places(&peer.ack(at(5), &[])), [5]);
    peer.wait(RTT);
    peer.ack(at(10), &[]);
    assert_eq!(peer.view().unacknowledged, 0);
    assert_eq!(peer.wait(1_000), []);
    assert_eq!(peer.events(), "segment_retransmitted 2, fast_recovery");
}

#[test]
fn an_acknowledgement_that_got_lost_does_not_make_a_loss_look_like_reordering() {
    let mut peer = ten(WITH_SACK);
    // 4 is lost, and so is what said that 0 to 3 had come before what is behind it.
    assert_eq!(peer.ack(at(4), &[(at(5), at(6))]), []);
    assert_eq!(peer.ack(at(4), &[(at(5), at(7))]), []);
    assert_eq!(places(&peer.ack(at(4), &[(at(5), at(8))])), [4], "at once");
}

#[test]
fn what_overtakes_lets_new_data_out_before_anything_is_taken_for_lost() {
    let mut peer = Peer::open(WITH_SACK);
    assert_eq!(peer.write(at(20)).len(), 10, "the initial window");
    peer.wait(RTT);
    assert_eq!(places(&peer.ack(0, &[(at(1), at(2))])), [10]);
    assert_eq!(places(&peer.ack(0, &[(at(1), at(3))])), [11]);
    assert_eq!(peer.events(), "");
}

#[test]
fn what_is_only_late_is_not_sent_again() {
    let mut peer = ten(WITH_SACK);
    assert_eq!(peer.ack(0, &[(at(1), at(2))]), []);
    assert_eq!(peer.wait(1), []);
    // A quarter of the round trip has not passed.
    assert_eq!(peer.ack(at(2), &[]), []);
    peer.ack(at(10), &[]);
    assert_eq!(peer.wait(1_000), []);
    assert_eq!(peer.events(), "");
}

#[test]
fn what_stays_missing_for_a_quarter_of_the_round_trip_is_lost() {
    let mut peer = ten(WITH_SACK);
    assert_eq!(peer.ack(0, &[(at(1), at(2))]), []);
    let again = peer.watch(5);
    assert_eq!(again.len(), 1);
    assert!((3..=4).contains(&again[0].0), "after {} ms", again[0].0);
    assert_eq!(again[0].1.seq, 0);
    assert_eq!(peer.events(), "segment_retransmitted, fast_recovery");
}

#[test]
fn a_repair_that_is_lost_too_is_repaired_again_without_a_timeout() {
    let mut peer = Peer::open(WITH_SACK);
    peer.write(at(20));
    peer.wait(RTT);
    let sent = peer.ack(0, &[(at(1), at(9))]);
    assert_eq!(
        places(&sent)[0],
        0,
        "the first goes first: {:?}",
        places(&sent)
    );
    let new = sent.iter().map(|s| s.seq).max().unwrap();
    assert!(new >= at(10), "and new data");
    peer.wait(RTT);
    // The new data arrives, the repair does not.
    let again = peer.ack(0, &[(at(10), new + MSS), (at(1), at(9))]);
    let again = [again, peer.wait(RTT)].concat();
    assert!(places(&again).contains(&0), "{:?}", places(&again));
    assert!(!peer.events().contains("timeout"), "{}", peer.events());
}

#[test]
fn a_lost_tail_is_probed_and_repaired_without_a_timeout() {
    let mut peer = Peer::open(WITH_SACK);
    peer.write(at(4));
    let probe = peer.watch(2 * RTT + 2);
    assert_eq!(probe.len(), 1, "{probe:?}");
    let (when, probe) = &probe[0];
    assert_eq!((probe.seq, probe.len()), (at(3), MSS), "the last one");
    assert!((2 * RTT..=2 * RTT + 1).contains(when), "after {when} ms");
    peer.wait(RTT);
    let again = peer.ack(0, &[(at(3), at(4))]);
    let again = [again, peer.wait(4)].concat();
    assert_eq!(places(&again)[0], 0);
    peer.wait(RTT);
    peer.ack(at(3), &[]);
    peer.ack(at(4), &[]);
    assert_eq!(peer.view().unacknowledged, 0);
    let events = peer.events();
    assert!(
        events.contains("tail_loss_probe") && !events.contains("timeout"),
        "{events}"
    );
}

#[test]
fn a_probe_takes_new_data_where_there_is_some() {
    let mut peer = Peer::open(WITH_SACK);
    peer.write(at(12));
    let probe = peer.wait(2 * RTT + 2);
    assert_eq!(places(&probe), [10]);
    assert_eq!(peer.events(), "tail_loss_probe");
}

#[test]
fn timeouts_double_from_two_hundred_milliseconds() {
    let mut peer = Peer::open(WITHOUT_SACK);
    for _ in 0..3 {
        peer.write(1000);
    }
    let again = peer.watch(200 + 400 + 800 + 1_600 + 10);
    let times: Vec<u64> = again.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [200, 600, 1_400, 3_000]);
    assert!(
        again.iter().all(|(_, s)| s.seq == 0),
        "the first, one at a time"
    );
    assert_eq!(
        peer.events(),
        "segment_retransmitted 4, retransmission_timeout 4"
    );
    // Slow start: what was acknowledged and one more.
    assert_eq!(numbers(&peer.ack(1000, &[])), [1000, 2000]);
}

#[test]
fn a_timeout_that_was_not_needed_is_taken_back() {
    let mut peer = Peer::open(&[WITH_SACK, &stamps(1, 0)[..]].concat());
    let sent = peer.write(10_000);
    let first = sent[0].stamps().unwrap().0;
    let again = peer.wait(500);
    let late = again.last().unwrap().stamps().unwrap().0;
    assert!(late > first);
    // The acknowledgement of what was sent first comes late.
    let answer = peer.play(Segment {
        flags: ACK,
        ack: sent[0].len(),
        options: stamps(3, first),
        ..Segment::default()
    });
    assert_eq!(answer, [], "nothing more is sent again");
    assert!(
        peer.events().contains("recovery_undone"),
        "{}",
        peer.events()
    );
    let next = peer.write(10_000);
    assert_eq!(next.len(), 4, "ten are under way, as before: {next:?}");
}

/// An acknowledgement that answers the segment that was stamped so.
fn stamped(peer: &mut Peer, number: u32, blocks: &[(u32, u32)], echo: u32) -> Vec<Segment> {
    let options = [stamps(3, echo), peer.sack(blocks)].concat();
    peer.play(Segment {
        flags: ACK,
        ack: number,
        options,
        ..Segment::default()
    })
}

#[test]
fn the_answer_to_an_older_repair_takes_nothing_back() {
    let mut peer = Peer::open(&[WITH_SACK, &stamps(1, 0)[..]].concat());
    let sent = peer.write(40_000);
    let full = sent[0].len();
    let at = |n: u32| n * full;
    let stamp = |sent: &[Segment]| sent[0].stamps().unwrap().0;
    let first = stamp(&sent);
    peer.wait(RTT);
    // 0 is lost. Of what goes out meanwhile so is 11, which is found before 0 is acknowledged.
    let again = stamped(&mut peer, 0, &[(at(1), at(10))], first);
    assert_eq!(again[0].seq, 0);
    let new = again.last().unwrap().seq / full;
    assert!(new >= 14, "{again:?}");
    peer.wait(RTT);
    let again = stamped(
        &mut peer,
        0,
        &[(at(12), at(15)), (at(1), at(11))],
        stamp(&again),
    );
    let older = again.iter().find(|s| s.seq == at(11)).expect("11 again");
    let older = older.stamps().unwrap().0;
    peer.wait(2);
    // What was under way at first is there: that recovery is over, and 11 not yet. 15 is found lost next.
    stamped(&mut peer, at(11), &[(at(12), at(15))], older - 2);
    let blocks = [(at(16), at(19)), (at(12), at(15))];
    let again = stamped(&mut peer, at(11), &blocks, older - 2);
    let newer = again.iter().find(|s| s.seq == at(15)).expect("15 again");
    assert!(newer.stamps().unwrap().0 > older);
    peer.wait(RTT);
    // 11 has come, twice even.
    let blocks = [(at(11), at(12)), (at(16), at(19))];
    let answer = stamped(&mut peer, at(15), &blocks, older);
    assert!(answer.iter().all(|s| s.seq > at(15)), "{answer:?}");
    assert!(
        !peer.events().contains("recovery_undone"),
        "{}",
        peer.events()
    );
}

/// Ten under way, ten more to send, a timeout, and the first of all is acknowledged.
fn after_a_timeout(options: &[u8]) -> Peer {
    let mut peer = Peer::open(options);
    assert_eq!(peer.write(at(20)).len(), 10);
    let again = peer.wait(400);
    assert_eq!(*places(&again).last().unwrap(), 0, "{:?}", places(&again));
    assert!(peer.events().contains("retransmission_timeout"));
    // Whether that came late or was lost is not known: what is new goes out, and nothing else again.
    let asked = places(&peer.ack(at(1), &[]));
    assert!(asked.len() == 2 && asked[0] >= 10, "{asked:?}");
    peer
}

#[test]
fn without_timestamps_new_data_finds_out_that_a_timeout_was_not_needed() {
    for options in [WITHOUT_SACK, WITH_SACK] {
        let mut peer = after_a_timeout(options);
        // The acknowledgement of the second comes late, too.
        let next = places(&peer.ack(at(2), &[]));
        assert!(next.iter().all(|&place| place >= 12), "as before: {next:?}");
        assert!(
            peer.events().contains("recovery_undone"),
            "{}",
            peer.events()
        );
        let more = places(&peer.ack(at(10), &[]));
        assert!(more.iter().all(|&place| place >= 12), "{more:?}");
        let sent = 13 + next.len() + more.len();
        assert!(sent >= 20, "the window of before: {next:?} {more:?}");
    }
}

#[test]
fn without_timestamps_a_gap_behind_new_data_shows_that_a_timeout_was_needed() {
    let mut peer = after_a_timeout(WITHOUT_SACK);
    assert_eq!(places(&peer.ack(at(1), &[])), [1], "two are under way");
    assert_eq!(places(&peer.ack(at(2), &[]))[..2], [2, 3], "slow start");
    assert!(!peer.events().contains("recovery_undone"));
    // So it does where only what is new, 11 behind the probe, is said to have arrived.
    let mut peer = after_a_timeout(WITH_SACK);
    let again = places(&peer.ack(at(1), &[(at(11), at(12))]));
    assert_eq!(again[0], 1, "{again:?}");
    assert!(!peer.events().contains("recovery_undone"));
}

#[test]
fn without_timestamps_what_arrives_late_behind_a_loss_is_seen() {
    let mut peer = after_a_timeout(WITH_SACK);
    // The second is lost, what was sent behind it was only late.
    let again = places(&peer.ack(at(1), &[(at(2), at(10))]));
    assert!(
        peer.events().contains("recovery_undone"),
        "{}",
        peer.events()
    );
    let repairs: Vec<_> = again.iter().filter(|&&place| place < 10).collect();
    assert_eq!(repairs, [&1], "{again:?}");
}

#[test]
fn what_arrived_twice_was_not_lost_and_the_window_comes_back() {
    let mut peer = ten(WITH_SACK);
    assert_eq!(places(&peer.ack(0, &[(at(1), at(4))])), [0]);
    // The first was only late; what was sent again is reported as not needed.
    peer.ack(at(4), &[]);
    peer.ack(at(10), &[(0, at(1))]);
    assert_eq!(
        peer.events(),
        "segment_retransmitted, fast_recovery, recovery_undone"
    );
}

#[test]
fn an_initial_window_of_ten_grows_by_what_is_acknowledged() {
    let mut peer = Peer::open(WITH_SACK);
    peer.write(at(40));
    peer.wait(RTT);
    assert_eq!(
        places(&peer.ack(at(4), &[])).len(),
        8,
        "four more than arrived"
    );
}

#[test]
fn after_a_pause_it_starts_again_from_ten() {
    let mut peer = Peer::open(WITH_SACK);
    peer.write(at(30));
    peer.ack(at(10), &[]);
    peer.ack(at(30), &[]);
    peer.wait(1_000);
    assert_eq!(peer.write(at(20)).len(), 10);
}

#[test]
fn congestion_marks_halve_the_window_once_and_are_answered() {
    let mut peer = Peer::new(Default::default(), Default::default());
    let answer = peer.syn(SYN | ECE | CWR, WITH_SACK);
    assert_eq!(answer.flags, SYN | ACK | ECE);
    peer.wait(RTT);
    peer.play(Segment {
        flags: ACK,
        ..Segment::default()
    });
    peer.own();
    let sent = peer.write(at(20));
    assert!(sent.iter().all(|s| s.ecn == 2), "ECT(0)");
    peer.wait(RTT);
    let marked = |ack| Segment {
        flags: ACK | ECE,
        ack,
        ..Segment::default()
    };
    let next = peer.play(marked(at(5)));
    // Seven segments instead of ten; five are under way.
    assert_eq!(places(&next), [10, 11]);
    assert_eq!(next[0].flags & CWR, CWR);
    assert_eq!(next[1].flags & CWR, 0, "said once");
    assert_eq!(
        places(&peer.play(marked(at(6)))).len(),
        1,
        "not halved again"
    );
}

#[test]
fn of_four_under_way_the_first_is_repaired_without_a_timeout() {
    let mut peer = Peer::open(WITH_SACK);
    peer.write(at(4));
    peer.wait(RTT);
    assert_eq!(peer.ack(0, &[(at(1), at(2))]), []);
    assert_eq!(peer.ack(0, &[(at(1), at(3))]), []);
    assert_eq!(places(&peer.ack(0, &[(at(1), at(4))])), [0]);
    peer.wait(RTT);
    peer.ack(at(4), &[]);
    assert_eq!(peer.wait(1_000), []);
    assert_eq!(peer.events(), "segment_retransmitted, fast_recovery");
}

/// Sends ten segments of which the first is late; how many milliseconds it is waited for. Then it comes,
/// and is told to have come twice.
fn late(peer: &mut Peer, from: u32) -> u64 {
    let at = |n| from + at(n);
    peer.write(10 * MSS);
    peer.wait(RTT);
    assert_eq!(peer.ack(from, &[(at(1), at(2))]), []);
    let waited = (1..=20).find(|_| places(&peer.wait(1)) == [from / MSS]);
    peer.ack(at(10), &[(from, at(1))]);
    waited.expect("a repair")
}

#[test]
fn a_path_that_reorders_is_given_more_time_with_each_needless_repair() {
    let mut peer = Peer::open(WITH_SACK);
    let waited: Vec<u64> = (0..4).map(|n| late(&mut peer, n * at(10))).collect();
    assert!(waited.windows(2).all(|w| w[0] < w[1]), "{waited:?}");
    assert!(waited[3] <= 11, "no more than a round trip: {waited:?}");
    assert!(!peer.events().contains("timeout"), "{}", peer.events());
}
