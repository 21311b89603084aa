//! Who is asked for, who is known, and who gives way.

use super::*;

#[test]
fn a_link_full_of_neighbours_costs_a_newcomer_a_bounded_look() {
    let address = |n: usize| IpAddr::from((0x0a00_0000 + n as u32).to_be_bytes());
    let (mut neighbours, now) = (Neighbours::default(), Instant::ZERO);
    let used: Vec<_> = (0..MAX_NEIGHBOURS)
        .map(|n| {
            neighbours
                .acquire(address(n), Reason::Theirs, now)
                .expect("room")
        })
        .collect();
    let newcomer = address(MAX_NEIGHBOURS);
    assert_eq!(neighbours.acquire(newcomer, Reason::Theirs, now), None);
    assert_eq!(neighbours.hand, LOOKED_AT, "so many were looked at");
    // One that is free is found, once the look comes by.
    neighbours.release(used[3_000]);
    let looks = (0..MAX_NEIGHBOURS)
        .position(|_| neighbours.acquire(newcomer, Reason::Theirs, now).is_some());
    assert_eq!(looks, Some((3_000 - LOOKED_AT) / LOOKED_AT));
    assert_eq!(neighbours.users(), MAX_NEIGHBOURS as u64);
}

/// As a SYN from an address does whose owner is not known.
fn answer(neighbours: &mut Neighbours, address: IpAddr, now: Instant) -> bool {
    let Some(record) = neighbours.acquire(address, Reason::Theirs, now) else {
        return false;
    };
    if neighbours.lookup(record, now).0 == Lookup::Unknown {
        let meta = TxMeta {
            l2_len: 14,
            l3_len: 20,
            l3: crate::io::L3::V4,
            tcp: true,
            segment: 0,
        };
        let packet = vec![0; 44];
        neighbours.hold(record, Held { packet, meta });
    }
    neighbours.release(record);
    true
}

#[test]
fn strangers_that_never_answer_take_no_place_of_those_who_do() {
    let at = |millis| Instant::ZERO + Duration::from_millis(millis);
    let address = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
    let mut neighbours = Neighbours::default();
    for n in 1..=1_000 {
        neighbours.learn(address(n), [2; 6], true, at(0));
    }
    // 20,000 a second, for ten seconds.
    let (mut asked, mut lost) = (0, 0);
    for tick in 0..10_000 {
        let now = at(tick);
        for n in 0..20 {
            let stranger = address(0x1_0000 + tick as u32 * 20 + n);
            asked += u64::from(answer(&mut neighbours, stranger, now));
        }
        if neighbours.next_retry().is_some_and(|at| at <= now) {
            lost += neighbours.retry(now).lost as u64;
        }
        if tick % 100 == 0 {
            // Who announces itself is known at once, and so is who was asked for because of us.
            let newcomer = address(2_000 + tick as u32 / 100);
            neighbours.learn(newcomer, [3; 6], true, now);
            assert!(answer(&mut neighbours, newcomer, now));
            let service = address(3_000 + tick as u32 / 100);
            let record = neighbours.acquire(service, Reason::Ours, now);
            let record = record.expect("room");
            assert!(neighbours.lookup(record, now).1);
            neighbours.learn(service, [4; 6], false, now);
            assert!(neighbours.is_known(record));
            neighbours.release(record);
        }
    }
    let known = |n: u32| {
        let record = neighbours.by_address.get(&address(n));
        record.is_some_and(|&record| neighbours.is_known(record))
    };
    assert!((1..=1_000).all(known));
    assert!((2_000..2_100).chain(3_000..3_100).all(known));
    // At first as many as there is room for, then so many a second, and in the places of services that answered.
    let most = MAX_ASKING as u64 + 10 * u64::from(STRANGERS_PER_SECOND) + 100;
    assert!((most * 9 / 10..=most).contains(&asked), "{asked}");
    assert_eq!(
        lost + neighbours.waiting() as u64 + neighbours.displaced as u64,
        asked
    );
    assert!(neighbours.waiting() <= MAX_ASKING);
}

#[test]
fn one_that_is_suspected_is_asked_for_once_a_second_at_most_and_serves_meanwhile() {
    let at = |millis| Instant::ZERO + Duration::from_millis(millis);
    let address = [10, 0, 0, 1].into();
    let mut neighbours = Neighbours::default();
    let one = neighbours.acquire(address, Reason::Ours, at(0));
    let one = one.expect("room");
    neighbours.learn(address, [2; 6], false, at(5_000));
    assert!(!neighbours.suspect(one, at(5_999)));
    assert!(neighbours.suspect(one, at(6_000)));
    assert!(!neighbours.suspect(one, at(6_100)), "the answer is due");
    let known = (Lookup::Mac([2; 6]), false);
    assert_eq!(neighbours.lookup(one, at(6_100)), known);
    neighbours.learn(address, [3; 6], false, at(6_200));
    assert!(!neighbours.suspect(one, at(6_300)));
    let known = (Lookup::Mac([3; 6]), false);
    assert_eq!(neighbours.lookup(one, at(6_300)), known);
    // Without an answer it counts as gone.
    assert!(neighbours.suspect(one, at(7_200)));
    for asked in [8_200, 9_200] {
        assert_eq!(neighbours.retry(at(asked)).ask, [address]);
    }
    assert_eq!(neighbours.retry(at(10_200)).failed, 1);
    assert_eq!(neighbours.lookup(one, at(10_300)).0, Lookup::Unknown);
}

#[test]
fn questions_are_due_a_second_after_they_were_asked() {
    let at = |millis| Instant::ZERO + Duration::from_millis(millis);
    let mut neighbours = Neighbours::default();
    let both = [1, 2].map(|n| {
        let one = neighbours.acquire([10, 0, 0, n].into(), Reason::Ours, at(0));
        one.expect("room")
    });
    assert_eq!(neighbours.next_retry(), None);
    neighbours.lookup(both[0], at(0));
    neighbours.lookup(both[1], at(300));
    assert_eq!(neighbours.next_retry(), Some(at(1_000)));
    assert_eq!(neighbours.retry(at(1_000)).ask.len(), 1);
    assert_eq!(neighbours.next_retry(), Some(at(1_300)));
    assert_eq!(neighbours.retry(at(1_300)).ask.len(), 1);
    assert_eq!(neighbours.next_retry(), Some(at(2_000)));
    neighbours.learn([10, 0, 0, 1].into(), [2; 6], false, at(1_400));
    neighbours.learn([10, 0, 0, 2].into(), [2; 6], false, at(1_400));
    assert_eq!(neighbours.next_retry(), None);
    // Asked again much later, it is due a second after that.
    neighbours.lookup(both[0], at(100_000));
    assert!(neighbours.next_retry() <= Some(at(101_000)));
    assert_eq!(neighbours.retry(at(100_500)).ask.len(), 0);
    assert_eq!(neighbours.next_retry(), Some(at(101_000)));
}
