use proptest::prelude::*;

use super::*;

fn ethernet(ethertype: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend(ethertype);
    frame.extend(payload);
    frame
}

/// 10.0.0.1:1024 to 10.0.0.2:80, with an IP header of `words` 32-bit words.
fn tcp4(words: u8, fragment: u16) -> Vec<u8> {
    let mut packet = vec![0; usize::from(words) * 4];
    packet[0] = 0x40 | words;
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet[9] = 6;
    packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
    packet[16..20].copy_from_slice(&[10, 0, 0, 2]);
    packet.extend([4, 0, 0, 80]);
    packet.extend([0; 16]);
    ethernet([8, 0], &packet)
}

fn tcp6() -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x60;
    packet[6] = 6;
    packet[23] = 1;
    packet[39] = 2;
    packet.extend([4, 0, 0, 80]);
    ethernet([0x86, 0xdd], &packet)
}

fn filter(host: &str, tcp_port: u16) -> TapFilter {
    TapFilter {
        host: host.parse().ok(),
        tcp_port: (tcp_port != 0).then_some(tcp_port),
        direction: None,
    }
}

fn chosen(filter: &TapFilter, frame: &[u8]) -> bool {
    filter.chooses(Direction::In, frame)
}

#[test]
fn a_host_or_a_tcp_port_may_be_at_either_end() {
    for frame in [tcp4(5, 0), tcp4(15, 0)] {
        for (wanted, host, port) in [
            (true, "", 0),
            (true, "10.0.0.1", 0),
            (true, "10.0.0.2", 80),
            (true, "10.0.0.2", 1024),
            (true, "", 80),
            (false, "10.0.0.3", 0),
            (false, "10.0.0.1", 81),
            (false, "::1", 0),
        ] {
            assert_eq!(chosen(&filter(host, port), &frame), wanted, "{host} {port}");
        }
    }
    assert!(chosen(&filter("::1", 80), &tcp6()));
    assert!(chosen(&filter("::2", 1024), &tcp6()));
    assert!(!chosen(&filter("::3", 0), &tcp6()));
    assert!(!chosen(&filter("", 81), &tcp6()));
}

#[test]
fn a_direction_is_a_condition_as_well() {
    let out = TapFilter {
        direction: Some(Direction::Out),
        ..filter("10.0.0.1", 80)
    };
    assert!(out.chooses(Direction::Out, &tcp4(5, 0)));
    assert!(!out.chooses(Direction::In, &tcp4(5, 0)));
}

#[test]
fn what_is_no_tcp_segment_has_no_tcp_port() {
    let later_fragment = tcp4(5, 0x2001);
    assert!(chosen(&filter("10.0.0.1", 0), &later_fragment));
    assert!(!chosen(&filter("10.0.0.1", 80), &later_fragment));
    let first_fragment = tcp4(5, 0x2000);
    assert!(chosen(&filter("", 80), &first_fragment));
    let mut udp = tcp4(5, 0);
    udp[14 + 9] = 17;
    assert!(!chosen(&filter("", 80), &udp));
}

#[test]
fn arp_is_chosen_by_its_addresses() {
    let mut message = vec![0; 28];
    message[14..18].copy_from_slice(&[10, 0, 0, 1]);
    message[24..28].copy_from_slice(&[10, 0, 0, 2]);
    let frame = ethernet([8, 6], &message);
    assert!(chosen(&filter("10.0.0.1", 0), &frame));
    assert!(chosen(&filter("10.0.0.2", 0), &frame));
    assert!(!chosen(&filter("10.0.0.3", 0), &frame));
    assert!(!chosen(&filter("10.0.0.1", 80), &frame));
}

proptest! {
    /// Frames come from anybody.
    #[test]
    fn any_bytes_can_be_judged(mut frame in prop::collection::vec(any::<u8>(), 0..80), kind in 0..4usize) {
        let ethertypes = [[8, 0], [0x86, 0xdd], [8, 6], [9, 9]];
        if let Some(place) = frame.get_mut(12..14) {
            place.copy_from_slice(&ethertypes[kind]);
        }
        let _ = chosen(&filter("10.0.0.1", 80), &frame);
        let _ = chosen(&filter("::1", 80), &frame);
        prop_assert!(chosen(&TapFilter::default(), &frame));
    }
}

fn tap(queue: TapQueue) -> Tap {
    Tap::new(
        1,
        TapFilter::default(),
        Arc::new(queue),
        Arc::new(StackStats::default()),
    )
}

#[test]
fn copies_are_cut_to_length_and_buffers_are_used_again() {
    let mut tap = tap(TapQueue::new(2, 10, 100, 2));
    let at = Instant::from_nanos(7);
    assert!(tap.begin_poll(at));
    for round in 0..5 {
        tap.offer(Direction::Out, &[round; 20]);
        let copy = tap.queue.take().unwrap();
        assert_eq!(copy.bytes, [round; 10]);
        assert_eq!((copy.at, copy.port, copy.length), (at, 1, 20));
        assert_eq!(copy.bytes.capacity(), 10);
        tap.queue.give_back(copy);
    }
    assert_eq!(tap.queue.take(), None);
    assert_eq!(tap.queue.counts(1), (5, 0));
    assert_eq!(tap.queue.counts(0), (0, 0));
}

#[test]
fn a_full_queue_loses_frames_and_says_so() {
    let tap = tap(TapQueue::new(2, 10, 100, 2));
    for _ in 0..5 {
        tap.offer(Direction::In, &[1; 20]);
    }
    assert_eq!(tap.queue.counts(1), (2, 3));
    let event = |event| tap.stats.events.get(event);
    assert_eq!(event(StackEvent::Captured), 2);
    assert_eq!(event(StackEvent::CaptureLost), 3);
}

#[test]
fn enough_is_enough_and_loses_nothing() {
    let tap = tap(TapQueue::new(8, 10, 3, 2));
    assert!(!tap.queue.is_complete());
    for _ in 0..5 {
        tap.offer(Direction::In, &[1; 20]);
    }
    assert!(tap.queue.is_complete());
    assert_eq!(tap.queue.counts(1), (3, 0));
}

#[test]
fn a_closed_capture_is_noticed_at_the_next_poll() {
    let mut tap = tap(TapQueue::new(1, 10, 3, 2));
    assert!(tap.begin_poll(Instant::ZERO));
    tap.queue.close();
    assert!(!tap.begin_poll(Instant::ZERO));
}
