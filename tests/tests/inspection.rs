//! What a worker tells about its traffic when it is asked: copies of frames, and its flows. In memory
//! and virtual time.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_engine::stack::counters::Counters;
use sluice_engine::stack::fate::StackEvent;
use sluice_engine::stack::sim::Faults;
use sluice_engine::stack::tap::{Captured, Direction, TapFilter, TapQueue};
use sluice_engine::{FlowReport, FlowUser};
use sluice_perf::memory::{Setup, rules};
use sluice_perf::scripted::Scripted;

/// The rules keep ports in the order of their names.
const BACK: u8 = 0;
const FRONT: u8 = 1;

const GET: &str = "GET /secret HTTP/1.1\r\nHost: sluice.test\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn world(setup: &Setup) -> Scripted {
    Scripted::new(setup, &rules(setup)).expect("the rules compile")
}

/// Opens a connection, and lets it take as long as the link takes.
fn open(world: &mut Scripted) -> usize {
    let (to, buffers, now) = (world.target, world.buffers, world.now());
    let client = world.client.open(to, buffers, now);
    world.pass(Duration::from_millis(50));
    client.expect("the client has a source port")
}

/// A request and its answer, with the backend's connection of that number; the endpoints take turns.
fn exchange(world: &mut Scripted, client: usize, backend: usize) {
    world.client.send(client, GET.as_bytes(), world.net.now());
    world.pass(Duration::from_millis(50));
    world.backend.send(backend, OK.as_bytes(), world.net.now());
    world.pass(Duration::from_millis(50));
    assert!(world.client.take(client).ends_with(b"\r\n\r\nok"));
}

fn taken(queue: &TapQueue) -> Vec<Captured> {
    std::iter::from_fn(|| queue.take()).collect()
}

fn holds(frame: &Captured, text: &str) -> bool {
    let mut places = frame.bytes.windows(text.len());
    places.any(|bytes| bytes == text.as_bytes())
}

fn ends(filter: TapFilter, port: Option<u8>) -> Vec<(u8, Direction)> {
    let mut world = world(&Setup::default());
    let queue = Arc::new(TapQueue::new(1000, 1518, 1000, 2));
    let asked = world.inspection.capture(port, filter, queue.clone());
    assert_eq!(asked, Ok(()));
    let client = open(&mut world);
    exchange(&mut world, client, 0);
    let mut ends: Vec<(u8, Direction)> = Vec::new();
    for frame in taken(&queue) {
        if holds(&frame, "/secret") || holds(&frame, "200 OK") {
            ends.push((frame.port, frame.direction));
        }
    }
    ends
}

#[test]
fn a_request_and_its_answer_are_seen_on_both_sides_in_order() {
    let all = ends(TapFilter::default(), None);
    let way = [
        (FRONT, Direction::In),
        (BACK, Direction::Out),
        (BACK, Direction::In),
        (FRONT, Direction::Out),
    ];
    assert_eq!(all, way);
}

#[test]
fn conditions_choose_among_them() {
    let none = TapFilter::default();
    let host = |text: &str| TapFilter {
        host: Some(text.parse::<IpAddr>().expect("an address")),
        ..none
    };
    let front = [(FRONT, Direction::In), (FRONT, Direction::Out)];
    let back = [(BACK, Direction::Out), (BACK, Direction::In)];
    assert_eq!(ends(none, Some(FRONT)), front);
    assert_eq!(ends(host("10.77.1.2"), None), front);
    assert_eq!(ends(host("10.77.2.2"), None), back);
    let tcp_port = Some(8080);
    assert_eq!(ends(TapFilter { tcp_port, ..none }, None), back);
    let direction = Some(Direction::Out);
    let out = [(BACK, Direction::Out), (FRONT, Direction::Out)];
    assert_eq!(ends(TapFilter { direction, ..none }, None), out);
    assert_eq!(ends(host("10.77.9.9"), None), []);
}

#[test]
fn without_a_filter_every_frame_is_copied_with_the_time_of_its_poll() {
    let mut world = world(&Setup::default());
    let queue = Arc::new(TapQueue::new(1000, 1518, 1000, 2));
    let totals = |world: &Scripted| {
        world.worker.publish_ports();
        let ports = world.stats.ports.iter().map(|port| port.get());
        let sums = ports.map(|io| (io.rx_frames + io.tx_frames, io.rx_bytes + io.tx_bytes));
        sums.fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    };
    world.settle();
    let before = totals(&world);
    assert_eq!(
        world
            .inspection
            .capture(None, TapFilter::default(), queue.clone()),
        Ok(())
    );
    let client = open(&mut world);
    exchange(&mut world, client, 0);
    let after = totals(&world);
    let frames = taken(&queue);
    let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
    assert_eq!(frames.len() as u64, after.0 - before.0);
    assert_eq!(bytes as u64, after.1 - before.1);
    assert!(frames.is_sorted_by_key(|frame| frame.at));
    assert!(frames.iter().all(|frame| frame.at <= world.now()));
    let events: &Counters<StackEvent> = &world.stats.stack.events;
    assert_eq!(events.get(StackEvent::Captured), frames.len() as u64);
    assert_eq!(events.get(StackEvent::CaptureLost), 0);
}

#[test]
fn a_capture_that_is_closed_or_slow_is_in_nobodys_way() {
    let mut world = world(&Setup::default());
    let queue = Arc::new(TapQueue::new(2, 1518, 1000, 2));
    let asked = world
        .inspection
        .capture(None, TapFilter::default(), queue.clone());
    assert_eq!(asked, Ok(()));
    let client = open(&mut world);
    exchange(&mut world, client, 0); // nobody takes a frame
    let lost = queue.counts(0).1 + queue.counts(1).1;
    assert_eq!(queue.counts(0).0 + queue.counts(1).0, 2);
    assert!(lost > 4, "{lost} frames lost");
    assert_eq!(world.stats.stack.events.get(StackEvent::CaptureLost), lost);
    queue.close();
    world.settle();
    assert_eq!(Arc::strong_count(&queue), 1, "the worker has let go");
    exchange(&mut world, client, 1);
    assert_eq!(queue.counts(0).1 + queue.counts(1).1, lost);
}

/// All flows, page by page.
fn flows(world: &mut Scripted) -> Vec<FlowReport> {
    let (mut flows, mut from) = (Vec::new(), Some(0));
    while let Some(place) = from {
        let reply = world.inspection.flows(place).expect("the worker is free");
        assert!(reply.take().is_none(), "before the worker's next poll");
        let now = world.now();
        world.worker.poll_once(now);
        let page = reply.take().expect("one poll is enough");
        flows.extend(page.flows);
        from = page.next;
    }
    flows
}

#[test]
fn flows_tell_whose_they_are_and_what_they_did() {
    let delay = Faults {
        delay: Duration::from_millis(4),
        ..Faults::default()
    };
    let none = Faults::default();
    let mut world = world(&Setup {
        faults: [[delay, delay], [none, none]],
        ..Setup::default()
    });
    assert!(flows(&mut world).is_empty());
    let client = open(&mut world);
    exchange(&mut world, client, 0);
    world.pass(Duration::from_secs(1));
    let flows = flows(&mut world);
    let [down, up] = &flows[..] else {
        panic!("{flows:#?}");
    };
    assert_eq!(down.user, FlowUser::Listener("web".into()));
    assert_eq!(up.user, FlowUser::Service("hello".into()));
    assert_eq!((down.info.key.port(), up.info.key.port()), (FRONT, BACK));
    assert_eq!(down.info.key.local(), world.target);
    assert_eq!(up.info.key.remote().port(), 8080);
    for flow in [down, up] {
        assert_eq!(flow.info.state, "ESTABLISHED");
        assert_eq!(flow.info.retransmitted, 0);
        assert_eq!((flow.info.receive_queue, flow.info.send_queue), (0, 0));
        assert!(flow.info.age > Duration::from_secs(1));
        assert!(flow.info.idle >= Duration::from_millis(900));
        assert!(flow.info.idle < flow.info.age);
    }
    assert_eq!(down.info.received, GET.len() as u64);
    assert_eq!(up.info.received, OK.len() as u64);
    assert!(up.info.sent > GET.len() as u64, "fields were added");
    // The handshake: there and back by the client's link. The backend's takes no time.
    let least = |flow: &FlowReport| flow.info.rtt.expect("it has acknowledged").least;
    let rtt = least(down);
    assert!(
        (Duration::from_millis(8)..Duration::from_millis(9)).contains(&rtt),
        "{rtt:?}"
    );
    assert!(least(up) < Duration::from_millis(1), "{:?}", least(up));
}

#[test]
fn what_is_lost_shows_as_retransmissions_and_in_the_send_queue() {
    let mut world = world(&Setup::default());
    let client = open(&mut world);
    exchange(&mut world, client, 0);
    // From here on nothing reaches the client.
    let lost = Faults {
        loss: 1.0,
        ..Faults::default()
    };
    world.net.set_faults(0, [Faults::default(), lost]);
    world.client.send(client, GET.as_bytes(), world.net.now());
    world.pass(Duration::from_millis(50));
    world.backend.send(1, OK.as_bytes(), world.net.now());
    world.pass(Duration::from_secs(5));
    let flows = flows(&mut world);
    let down = &flows[0].info;
    assert!(down.retransmitted >= 2, "{down:?}");
    assert_eq!(down.send_queue, OK.len());
    assert_eq!(down.sent, 2 * OK.len() as u64, "each byte counts once");
}

#[test]
fn a_flow_that_only_remains_to_be_closed_is_nobodys() {
    let mut world = world(&Setup::default());
    let client = open(&mut world);
    let request = GET.replace("Host", "Connection: close\r\nHost");
    world
        .client
        .send(client, request.as_bytes(), world.net.now());
    world.pass(Duration::from_millis(50));
    world.backend.send(0, OK.as_bytes(), world.net.now());
    world.pass(Duration::from_millis(50));
    // The client has the gateway's FIN, and takes its time.
    let flows = flows(&mut world);
    let down = &flows[0];
    assert_eq!(down.user, FlowUser::Nobody);
    assert_eq!(down.info.state, "FIN-WAIT-2");
}

#[test]
fn many_flows_come_in_pages() {
    let mut world = world(&Setup {
        buffer: 16 * 1024,
        ..Setup::default()
    });
    const MANY: usize = 600;
    for _ in 0..MANY {
        let (to, buffers, now) = (world.target, world.buffers, world.now());
        world.client.open(to, buffers, now).expect("a source port");
        world.settle();
    }
    let flows = flows(&mut world);
    let slots: Vec<u32> = flows.iter().map(|flow| flow.info.slot).collect();
    assert_eq!(slots, (0..MANY as u32).collect::<Vec<_>>());
}
