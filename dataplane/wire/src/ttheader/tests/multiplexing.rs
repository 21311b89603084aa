use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn sent(frame: i32, message: i32) -> Sequences {
    Sequences {
        frame,
        message: Some(message),
    }
}

/// The call of a match.
fn owner(found: Match<u32>) -> Option<u32> {
    match found {
        Match::Call(call) => Some(call.owner),
        Match::Late | Match::Stranger => None,
    }
}

#[test]
fn callers_with_the_same_sequences_get_their_own_replies() {
    for mode in [Mode::FrameSequence, Mode::MessageSequence] {
        let mut table = Table::new(mode, 8);
        let begun = [1, 2, 3].map(|owner| table.begin(owner, sent(1, 1)).expect("there is room"));
        for (index, (name, out)) in begun.iter().enumerate().rev() {
            assert_eq!(out.frame, *name);
            let message = if mode == Mode::FrameSequence {
                1
            } else {
                *name
            };
            assert_eq!(out.message, Some(message));
            // Replies come in any order.
            let Match::Call(call) = table.reply(*out) else {
                panic!("it is a reply");
            };
            assert_eq!(call.owner, index as u32 + 1);
            assert_eq!(call.sequences, sent(1, 1));
        }
        let counts = Counts {
            begun: 3,
            answered: 3,
            ..Counts::default()
        };
        assert_eq!((table.counts(), table.in_use()), (counts, 0));
    }
}

#[test]
fn a_late_reply_goes_to_nobody() {
    let mut table = Table::new(Mode::FrameSequence, 1);
    let (first, out) = table.begin(1, sent(1, 1)).expect("there is room");
    assert_eq!(table.begin(9, sent(1, 1)), None);
    let ended = table.end(first, Ended::TimedOut).expect("it was under way");
    assert_eq!((ended.owner, table.end(first, Ended::Cancelled)), (1, None));
    // Its slot has another call by the time it comes.
    let (second, next) = table.begin(2, sent(1, 1)).expect("there is room again");
    assert_ne!(first, second);
    assert_eq!(table.reply(out), Match::Late);
    assert_eq!(table.get(second).map(|call| call.owner), Some(2));
    assert_eq!(owner(table.reply(next)), Some(2));
    // A second reply is no better.
    assert_eq!(table.reply(next), Match::Late);
    let counts = Counts {
        begun: 2,
        answered: 1,
        timed_out: 1,
        late: 2,
        ..Counts::default()
    };
    assert_eq!((table.counts(), table.in_use()), (counts, 0));
}

#[test]
fn a_reply_to_what_never_was_is_a_stranger() {
    let mut table = Table::new(Mode::MessageSequence, 6);
    let (name, _) = table.begin(1, sent(1, 1)).expect("there is room");
    // Of no use, no slot, a use that is still to come, and of two opinions.
    let none = [0, -1, i32::MIN, 7, 8 + 6, name + 8, i32::MAX];
    for frame in none {
        assert_eq!(table.reply(sent(frame, frame)), Match::Stranger, "{frame}");
    }
    assert_eq!(table.reply(sent(name, 1)), Match::Stranger);
    let unseen = Sequences {
        frame: name,
        message: None,
    };
    assert_eq!(owner(table.reply(unseen)), Some(1));
    let counts = Counts {
        begun: 1,
        answered: 1,
        strangers: none.len() as u64 + 1,
        ..Counts::default()
    };
    assert_eq!(table.counts(), counts);
}

#[test]
fn a_message_that_cannot_be_seen_is_not_sent_by_its_sequence() {
    let unseen = Sequences {
        frame: 1,
        message: None,
    };
    assert_eq!(Table::new(Mode::MessageSequence, 8).begin(1, unseen), None);
    assert!(
        Table::new(Mode::FrameSequence, 8)
            .begin(1, unseen)
            .is_some()
    );
    assert!(Table::new(Mode::PingPong, 8).begin(1, unseen).is_some());
}

#[test]
fn ping_pong_has_one_call_and_keeps_its_sequences() {
    let mut table = Table::new(Mode::PingPong, 100);
    for (out, reply) in [
        (sent(0, 0), sent(0, 0)),
        (sent(5, 7), sent(5, 7)),
        // As servers answer: the message's sequence in the frame.
        (sent(5, 7), sent(7, 7)),
        // As some do: anything in the frame.
        (sent(5, 7), sent(0, 7)),
    ] {
        let (_, unchanged) = table.begin(1, out).expect("there is room");
        assert_eq!(unchanged, out);
        assert_eq!(table.begin(2, out), None);
        assert_eq!(owner(table.reply(reply)), Some(1));
    }
    assert_eq!(table.reply(sent(5, 7)), Match::Stranger);
    table.begin(1, sent(5, 7)).expect("there is room");
    assert_eq!(table.reply(sent(6, 8)), Match::Stranger);
    assert_eq!(table.in_use(), 1);
}

#[test]
fn ping_pong_waits_for_the_reply_of_a_call_that_has_ended() {
    for how in [Ended::Cancelled, Ended::TimedOut] {
        let mut table = Table::new(Mode::PingPong, 1);
        let (name, out) = table.begin(1, sent(5, 7)).expect("there is room");
        assert_eq!(table.end(name, how).map(|call| call.owner), Some(1));
        assert_eq!(
            (table.has_room(), table.in_use(), table.get(name)),
            (false, 1, None)
        );
        assert_eq!(table.begin(2, sent(6, 8)), None);
        assert_eq!(table.reply(sent(6, 8)), Match::Stranger);
        assert_eq!(table.reply(out), Match::Late);
        let (_, next) = table.begin(2, sent(6, 8)).expect("there is room again");
        assert_eq!(owner(table.reply(next)), Some(2));
        let counts = Counts {
            begun: 2,
            answered: 1,
            cancelled: u64::from(how == Ended::Cancelled),
            timed_out: u64::from(how == Ended::TimedOut),
            oneway: 0,
            late: 1,
            strangers: 1,
        };
        assert_eq!(table.counts(), counts);
    }
}

#[test]
fn nobody_waits_for_oneway() {
    for mode in [Mode::PingPong, Mode::FrameSequence, Mode::MessageSequence] {
        let mut table = Table::new(mode, 1);
        for _ in 0..3 {
            let (name, _) = table.begin(1, sent(1, 1)).expect("there is room");
            assert!(table.end(name, Ended::Oneway).is_some());
        }
        let counts = Counts {
            begun: 3,
            oneway: 3,
            ..Counts::default()
        };
        assert_eq!((table.counts(), table.has_room()), (counts, true));
    }
}

#[test]
fn a_connection_that_fails_gives_its_calls_back() {
    let mut table = Table::new(Mode::FrameSequence, 4);
    for owner in 1..=4 {
        table.begin(owner, sent(1, 1)).expect("there is room");
    }
    assert_eq!(table.get(4 + 2).map(|call| call.owner), Some(3));
    table
        .end(4 + 2, Ended::Cancelled)
        .expect("it was under way");
    let owners: Vec<u32> = table.into_calls().map(|call| call.owner).collect();
    assert_eq!(owners, [1, 2, 4]);
}

/// Names start again when there is no more room for how often a slot has been used: with the most
/// slots that is after 2047 times.
#[test]
fn names_are_positive_for_ever() {
    let mut table = Table::new(Mode::FrameSequence, u32::MAX);
    let mut seen = HashMap::new();
    // One slot at a time, all others taken.
    for owner in 0..(1 << 20) - 1 {
        table.begin(owner, sent(1, 1)).expect("there is room");
    }
    for use_ in 0..5000u32 {
        let (name, _) = table.begin(use_, sent(1, 1)).expect("there is room");
        assert!(name > 0);
        *seen.entry(name).or_insert(0) += 1;
        assert_eq!(owner(table.reply(sent(name, 1))), Some(use_));
        assert_eq!(table.reply(sent(name, 1)), Match::Late);
    }
    assert_eq!(seen.len(), 2047);
}

/// What happens to a table.
#[derive(Debug, Clone)]
enum Step {
    Begin,
    /// The call that is so far from the first under way.
    Reply(usize),
    End(usize, bool),
    /// A reply to a call that has ended.
    Late(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Begin),
        2 => (0..100usize).prop_map(Step::Reply),
        1 => (0..100usize, any::<bool>()).prop_map(|(which, timeout)| Step::End(which, timeout)),
        1 => (0..100usize).prop_map(Step::Late),
    ]
}

proptest! {
    /// Against a plain list of what is under way and what has ended.
    #[test]
    fn no_reply_ever_reaches_another_call(
        by_message: bool, capacity in 1..10u32, steps in vec(step(), 0..200),
    ) {
        let mode = if by_message { Mode::MessageSequence } else { Mode::FrameSequence };
        let mut table = Table::new(mode, capacity);
        let mut under_way: Vec<(i32, Sequences, u32)> = Vec::new();
        let mut ended = Vec::new();
        let mut counts = Counts::default();
        let mut next = 0u32;
        for step in steps {
            match step {
                Step::Begin => {
                    let begun = table.begin(next, sent(1, 1));
                    prop_assert_eq!(begun.is_some(), under_way.len() < capacity as usize);
                    if let Some((name, out)) = begun {
                        prop_assert!(name > 0);
                        prop_assert!(under_way.iter().all(|(other, ..)| *other != name));
                        prop_assert!(!ended.contains(&(name, out)));
                        under_way.push((name, out, next));
                        counts.begun += 1;
                    }
                    next += 1;
                }
                Step::Reply(which) if !under_way.is_empty() => {
                    let (name, out, who) = under_way.remove(which % under_way.len());
                    prop_assert_eq!(owner(table.reply(out)), Some(who));
                    counts.answered += 1;
                    ended.push((name, out));
                }
                Step::End(which, timeout) if !under_way.is_empty() => {
                    let (name, out, who) = under_way.remove(which % under_way.len());
                    let how = if timeout { Ended::TimedOut } else { Ended::Cancelled };
                    prop_assert_eq!(table.end(name, how).map(|call| call.owner), Some(who));
                    counts.timed_out += u64::from(timeout);
                    counts.cancelled += u64::from(!timeout);
                    ended.push((name, out));
                }
                Step::Late(which) if !ended.is_empty() => {
                    let (name, out) = ended[which % ended.len()];
                    prop_assert_eq!(table.reply(out), Match::Late);
                    prop_assert_eq!(table.end(name, Ended::Cancelled), None);
                    counts.late += 1;
                }
                Step::Reply(_) | Step::End(..) | Step::Late(_) => {}
            }
            prop_assert_eq!(table.in_use(), under_way.len());
            prop_assert_eq!(table.counts(), counts);
        }
        let mut left: Vec<u32> = table.into_calls().map(|call| call.owner).collect();
        left.sort_unstable();
        let mut expected: Vec<u32> = under_way.iter().map(|(.., who)| *who).collect();
        expected.sort_unstable();
        prop_assert_eq!(left, expected);
    }

    #[test]
    fn any_sequence_of_a_reply_is_taken(
        mode in prop::sample::select(vec![Mode::PingPong, Mode::FrameSequence, Mode::MessageSequence]),
        capacity: u32, replies in vec((any::<i32>(), any::<Option<i32>>()), 0..50),
    ) {
        let mut table = Table::new(mode, capacity % 1000);
        table.begin(1, sent(1, 1));
        for (frame, message) in replies {
            table.reply(Sequences { frame, message });
            table.end(frame, Ended::Cancelled);
        }
        prop_assert!(table.in_use() <= 1);
    }
}
