use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_policy::{compile, parse};
use sluice_stack::io::PacketIo;
use sluice_stack::sim::{Faults, Net, SimPort};
use sluice_stack::{Buffers, FlowId, Limits, Owner, Phase, PortSetup, Secrets, Stack, StackStats};

use crate::rpc::MOST_UNTAKEN;
use crate::stats::{EngineEvent, RequestFate};
use crate::{Handoff, Inspection, Worker, WorkerSetup, WorkerStats};

/// A place in the code, and how often it is passed by before it panics.
type Defect = (&'static str, u32);

thread_local! {
    /// The defects that are still to come, in this order.
    static DEFECTS: RefCell<VecDeque<Defect>> = const { RefCell::new(VecDeque::new()) };
}

fn plant(defects: &[Defect]) {
    DEFECTS.with_borrow_mut(|to_come| to_come.extend(defects));
}

/// The code under test has come to `point`.
pub(crate) fn reach(point: &'static str) {
    let hit = DEFECTS.with_borrow_mut(|to_come| match to_come.front_mut() {
        Some((at, 0)) if *at == point => to_come.pop_front().is_some(),
        Some((at, more)) if *at == point => {
            *more -= 1;
            false
        }
        _ => false,
    });
    assert!(!hit, "a test's own defect, {point}");
}

fn all_reached() -> bool {
    DEFECTS.with_borrow(|to_come| to_come.is_empty())
}

const RULES: &str = r#"
ports:
  back: { device: "net_memory0", addresses: ["10.77.2.1/24"] }
  front: { device: "net_memory1", addresses: ["10.77.1.1/24"] }
listeners:
  web: { address: "10.77.1.1:80", idle_timeout: 5s, head_timeout: 5s }
services:
  hello: { endpoints: ["10.77.2.2:8080"], idle_timeout: 20s }
routes:
  - { path: /, service: hello }
"#;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// A call of 30 bytes: head, message and an empty struct.
fn call(sequence: u8) -> Vec<u8> {
    let mut frame = vec![
        0, 0, 0, 32, 0x10, 0, 0, 1, 0, 0, 0, sequence, 0, 1, 0, 0, 0, 0,
    ];
    frame.extend_from_slice(&[0x80, 1, 0, 1, 0, 0, 0, 4, b'e', b'c', b'h', b'o']);
    frame.extend_from_slice(&[0, 0, 0, sequence, 0, 0]);
    frame
}

/// The replies to these calls.
fn replies(calls: &[u8]) -> Vec<u8> {
    let mut all = calls.to_vec();
    for frame in all.chunks_mut(36) {
        frame[21] = 2;
    }
    all
}

/// The reply to a call, made so large.
fn large_reply(call: &[u8], size: usize) -> Vec<u8> {
    let mut reply = replies(call);
    reply.resize(size, 0);
    reply[..4].copy_from_slice(&(size as u32 - 4).to_be_bytes());
    reply
}

/// A frame of a stream: a header ('2'), data ('3') or a trailer ('4').
fn piece(id: u8, kind: u8) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 22, 0x10, 0, 0, 2, 0, 0, 0, id, 0, 3, 0x10, 0];
    frame.extend_from_slice(&[0x10, 0, 1, 0, 27, 0, 1, kind, 0, 0]);
    frame
}

struct World {
    net: Net,
    client: Stack<SimPort>,
    worker: Worker<SimPort>,
    backend: Stack<SimPort>,
    /// The backend does not even read.
    service_rests: bool,
    /// Bytes of each reply to a call; 0 where it is as long as its call.
    reply_size: usize,
    /// What the backend has still to send.
    owed: Vec<(FlowId, Vec<u8>)>,
    stats: Arc<WorkerStats>,
}

impl World {
    fn new() -> World {
        let mut net = Net::new(1);
        let (client, front) = net.link(1500, [Faults::default(); 2]);
        let (backend, back) = net.link(1500, [Faults::default(); 2]);
        let rules = parse(RULES, "rules.yaml").expect("the rules parse");
        let snapshot = Arc::new(compile(&rules).expect("the rules compile"));
        let stats = Arc::new(WorkerStats::new(2));
        let port = |address: [u8; 4]| PortSetup {
            addresses: vec![(address.into(), 24)],
            ..PortSetup::default()
        };
        let host = |io, address, seed| {
            let ports = vec![(io, port(address))];
            let stats = Arc::new(StackStats::default());
            Stack::new(ports, Limits::default(), Secrets::from_seed(seed), stats)
        };
        let setup = WorkerSetup {
            ports: vec![(back, port([10, 77, 2, 1])), (front, port([10, 77, 1, 1]))],
            limits: Limits::default(),
            secrets: Secrets::from_seed(3),
            inspection: Arc::new(Inspection::default()),
            seat: None,
        };
        let mut backend = host(backend, [10, 77, 2, 2], 2);
        let address = SocketAddr::from(([10, 77, 2, 2], 8080));
        backend.listen(0, address, 0, Buffers::default());
        World {
            client: host(client, [10, 77, 1, 2], 1),
            worker: Worker::new(setup, Arc::new(Handoff::new(snapshot)), stats.clone()),
            backend,
            service_rests: false,
            reply_size: 0,
            owed: Vec::new(),
            net,
            stats,
        }
    }

    /// So many milliseconds pass; the backend answers whatever comes.
    fn pass(&mut self, millis: u32) {
        for _ in 0..millis {
            let now = self.net.now();
            for _ in 0..8 {
                self.client.receive(now);
                self.client.expire(now);
                self.client.flush(now);
                self.worker.poll_once(now);
                self.backend.receive(now);
                self.backend.expire(now);
                while let Some((flow, owner)) = self.backend.next_ready() {
                    if matches!(owner, Owner::Listener(_)) {
                        self.backend.adopt(flow, 0);
                    }
                    let asked = self.backend.peek(flow).to_vec();
                    if self.service_rests {
                        continue;
                    } else if !asked.is_empty() {
                        self.backend.consume(flow, asked.len());
                        if self.reply_size > 0 {
                            self.owed.push((flow, large_reply(&asked, self.reply_size)));
                            continue;
                        }
                        let answer = match asked.first() {
                            // The frames of streams come back as they are.
                            Some(0) if asked.get(7) == Some(&2) => asked,
                            Some(0) => replies(&asked),
                            _ => ANSWER.to_vec(),
                        };
                        self.backend.write(flow, &answer);
                    } else if self.backend.view(flow).finished {
                        self.backend.close(flow, now);
                    }
                }
                self.owed.retain_mut(|(flow, bytes)| {
                    let written = self.backend.write(*flow, bytes);
                    bytes.drain(..written);
                    !bytes.is_empty()
                });
                self.backend.flush(now);
            }
            self.net.advance_to(now + Duration::from_millis(1));
        }
        while self.client.next_ready().is_some() {}
        let ports = self.worker.stack.ports();
        let received: u64 = ports.map(|port| port.stats().rx_frames).sum();
        assert_eq!(received, self.stats.stack.frames.sum());
    }

    fn open(&mut self) -> FlowId {
        let to = SocketAddr::from(([10, 77, 1, 1], 80));
        let opened = self
            .client
            .connect(0, to, 0, Buffers::default(), self.net.now());
        self.pass(2);
        opened.expect("there is room")
    }

    fn ask(&mut self, flow: FlowId) {
        self.client
            .write(flow, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }

    fn is_answered(&mut self, flow: FlowId) -> bool {
        let got = self.client.peek(flow);
        let right = got.starts_with(b"HTTP/1.1 200 ") && got.ends_with(b"hello");
        let length = got.len();
        self.client.consume(flow, length);
        right
    }

    /// What a client got since last asked.
    fn taken(&mut self, flow: FlowId) -> Vec<u8> {
        let got = self.client.peek(flow).to_vec();
        self.client.consume(flow, got.len());
        got
    }

    fn is_gone(&self, flow: FlowId) -> bool {
        self.client.view(flow).phase == Phase::Closed
    }

    /// Nothing is left of anything, and what was begun has ended.
    fn is_clean(&mut self) {
        self.pass(40_000);
        let worker = &self.worker;
        assert!(worker.downs.is_empty() && worker.ups.is_empty() && worker.exchanges.is_empty());
        let rpc = &worker.rpc;
        assert!(rpc.callers.is_empty() && rpc.calls.is_empty() && rpc.channels.is_empty());
        assert_eq!(worker.connections, [0]);
        assert_eq!(
            (worker.upstream_idle, worker.stack.is_delivered()),
            (0, true)
        );
        let events = &self.stats.events;
        for [begun, over] in [
            [EngineEvent::DownstreamOpened, EngineEvent::DownstreamClosed],
            [EngineEvent::UpstreamOpened, EngineEvent::UpstreamClosed],
        ] {
            assert_eq!(events.get(begun), events.get(over));
        }
        assert_eq!(self.stats.stack.flows.get(), 0);
    }
}

/// Three clients ask at once; the second one's request runs into a defect at `point`, which it comes to
/// after `pass` others.
fn one_of_three(point: &'static str, pass: u32) {
    let mut w = World::new();
    let clients = [w.open(), w.open(), w.open()];
    for client in clients {
        w.ask(client);
    }
    plant(&[(point, pass)]);
    w.pass(10);
    assert!(all_reached(), "{point}");
    let gone = clients.map(|client| w.is_gone(client));
    let answered = clients.map(|client| w.is_answered(client));
    assert_eq!(
        (gone, answered),
        ([false, true, false], [true, false, true])
    );
    let fates = [RequestFate::Panicked, RequestFate::Answered].map(|f| w.stats.requests.get(f));
    assert_eq!(
        (w.stats.events.get(EngineEvent::Panicked), fates[1]),
        (1, 2)
    );
    assert!(fates[0] <= 1 && w.stats.requests.sum() == 2 + fates[0]);
    // The others go on, and so do new ones.
    let newcomer = w.open();
    for client in [clients[0], clients[2], newcomer] {
        w.ask(client);
        w.pass(10);
        assert!(w.is_answered(client));
    }
    w.is_clean();
}

#[test]
fn a_defect_at_a_request_head_ends_that_connection_alone() {
    one_of_three("head", 1);
}

#[test]
fn a_defect_while_an_answer_is_forwarded_ends_that_request_alone() {
    one_of_three("forward", 1);
}

#[test]
fn a_defect_at_a_timer_ends_that_connection_alone() {
    let mut w = World::new();
    let [first, second] = [w.open(), w.open()];
    for client in [first, second] {
        w.ask(client);
    }
    w.pass(10);
    assert!(w.is_answered(first) && w.is_answered(second));
    plant(&[("due", 0)]);
    w.pass(6_000);
    assert_eq!(w.stats.events.get(EngineEvent::Panicked), 1);
    assert!(w.is_gone(first) && w.client.view(second).finished);
    assert_eq!(w.stats.events.get(EngineEvent::DownstreamIdle), 1);
    w.is_clean();
}

#[test]
fn a_defect_on_the_way_out_of_another_one_is_contained_too() {
    let mut w = World::new();
    let [first, second] = [w.open(), w.open()];
    w.ask(first);
    plant(&[("forward", 0), ("end", 0)]);
    w.pass(10);
    assert!(all_reached() && w.is_gone(first));
    assert_eq!(w.stats.events.get(EngineEvent::Panicked), 1);
    w.ask(second);
    w.pass(10);
    assert!(w.is_answered(second));
    w.is_clean();
}

/// Three callers at once; what the second one's call runs into at `point` ends that connection, or that call,
/// alone.
fn one_of_three_callers(point: &'static str, gone: bool) {
    let mut w = World::new();
    let callers = [w.open(), w.open(), w.open()];
    for caller in callers {
        w.client.write(caller, &call(1));
    }
    plant(&[(point, 1)]);
    w.pass(10);
    assert!(all_reached(), "{point}");
    let ended = callers.map(|caller| w.is_gone(caller));
    assert_eq!(ended, [false, gone, false]);
    let mut answered = 0;
    let mut told = 0;
    for caller in callers {
        let got = w.taken(caller);
        match got.get(21) {
            Some(2) => answered += 1,
            _ => told += usize::from(!got.is_empty()),
        }
    }
    assert_eq!((answered, told), (2, usize::from(!gone)), "{point}");
    assert_eq!(w.stats.events.get(EngineEvent::Panicked), 1);
    // The others go on, and so do new ones.
    let newcomer = w.open();
    for caller in [callers[0], callers[2], newcomer] {
        w.client.write(caller, &call(2));
        w.pass(10);
        assert_eq!(w.taken(caller), replies(&call(2)));
    }
    w.is_clean();
}

#[test]
fn a_defect_at_a_call_ends_that_caller_alone() {
    one_of_three_callers("call", true);
}

#[test]
fn a_defect_at_a_reply_ends_that_connection_to_the_service_and_its_call_alone() {
    one_of_three_callers("reply", false);
}

#[test]
fn a_defect_at_the_end_of_a_call_is_contained_too() {
    let mut w = World::new();
    let [first, second] = [w.open(), w.open()];
    w.client.write(first, &call(1));
    plant(&[("reply", 0), ("end", 0)]);
    w.pass(10);
    assert!(all_reached());
    assert_eq!(w.stats.events.get(EngineEvent::Panicked), 1);
    w.client.write(second, &call(1));
    w.pass(10);
    assert_eq!(w.client.peek(second), replies(&call(1)));
    w.is_clean();
}

/// Three callers with a stream each: what the second one's next frame runs into at `point` ends that connection,
/// or that stream, alone.
fn one_of_three_streams(point: &'static str, gone: bool) {
    let mut w = World::new();
    let callers = [w.open(), w.open(), w.open()];
    for caller in callers {
        w.client.write(caller, &piece(1, b'2'));
    }
    w.pass(10);
    for caller in callers {
        assert_eq!(w.taken(caller), piece(1, b'2'));
        w.client.write(caller, &piece(1, b'3'));
    }
    plant(&[(point, 1)]);
    w.pass(10);
    assert!(all_reached(), "{point}");
    assert_eq!(w.stats.events.get(EngineEvent::Panicked), 1);
    let ended = callers.map(|caller| w.is_gone(caller));
    assert_eq!(ended, [false, gone, false]);
    // Of the one whose connection goes on the end is told, by a trailer with an exception.
    let told = w.taken(callers[1]);
    let told = String::from_utf8_lossy(&told);
    assert_eq!(
        told.contains("the connection to the service ended before this stream did"),
        !gone,
        "{told}"
    );
    let newcomer = w.open();
    w.client.write(newcomer, &piece(1, b'2'));
    w.pass(10);
    assert_eq!(w.taken(newcomer), piece(1, b'2'));
    for caller in [callers[0], callers[2]] {
        assert_eq!(w.taken(caller), piece(1, b'3'));
        w.client.write(caller, &piece(1, b'4'));
        w.pass(10);
        assert_eq!(w.taken(caller), piece(1, b'4'));
    }
    let answered = w.stats.requests.get(RequestFate::Answered);
    assert_eq!((answered, w.worker.rpc.calls.len()), (2, 1));
    w.is_clean();
}

#[test]
fn a_defect_at_a_frame_of_a_caller_ends_that_caller_and_its_streams_alone() {
    one_of_three_streams("stream up", true);
}

#[test]
fn a_defect_at_a_frame_of_a_service_ends_that_connection_and_its_streams_alone() {
    one_of_three_streams("stream down", false);
}

/// Frames of streams whose service reads nothing wait in memory, of all callers together up to a bound.
#[test]
fn frames_of_streams_that_wait_are_bounded_for_all_callers_together() {
    const SIZE: usize = 700_000;
    let mut w = World::new();
    let callers = [w.open(), w.open(), w.open()];
    for caller in callers {
        w.client.write(caller, &piece(1, b'2'));
    }
    w.pass(10);
    w.service_rests = true;
    let mut large = piece(1, b'3');
    large.resize(SIZE, 0);
    large[..4].copy_from_slice(&(SIZE as u32 - 4).to_be_bytes());
    for caller in callers {
        assert_eq!(w.taken(caller), piece(1, b'2'));
    }
    let mut told = [const { Vec::new() }; 3];
    // All at once: each finds room when it begins.
    let mut sent = [0; 3];
    for _ in 0..1_000 {
        for (caller, sent) in callers.iter().zip(&mut sent) {
            *sent += w.client.write(*caller, &large[*sent..]);
        }
        w.pass(1);
        assert!(w.worker.rpc.held() <= crate::rpc::MOST_WAITING);
        for (told, caller) in told.iter_mut().zip(callers) {
            told.append(&mut w.taken(caller));
        }
        if sent == [SIZE; 3] {
            break;
        }
    }
    assert_eq!(sent, [SIZE; 3]);
    let words: Vec<_> = told
        .iter()
        .map(|told| String::from_utf8_lossy(told))
        .collect();
    assert!(
        words
            .iter()
            .any(|words| words.contains("holds as much as it may")),
        "{words:?}"
    );
    for caller in callers {
        w.client.abort(caller, w.net.now());
    }
    w.pass(10);
    assert_eq!(w.worker.rpc.held(), 0);
    w.service_rests = false;
    w.is_clean();
}

/// Replies that nobody takes wait in memory, of all callers together up to a bound: who adds to what is too much
/// is ended, and nobody else.
#[test]
fn replies_that_wait_for_callers_are_bounded_for_all_of_them_together() {
    const SIZE: usize = 40_000;
    const CALLS: u8 = 20;
    let mut w = World::new();
    w.reply_size = SIZE;
    let callers = [(); 4].map(|()| w.open());
    let reader = w.open();
    for caller in callers {
        let calls: Vec<u8> = (1..=CALLS).flat_map(call).collect();
        w.client.write(caller, &calls);
    }
    let (mut highest, mut read) = (0, 0);
    for turn in 0..200 {
        if turn % 10 == 0 {
            w.client.write(reader, &call(1));
        }
        w.pass(1);
        read += w.taken(reader).len();
        highest = highest.max(w.worker.rpc.held());
    }
    assert!(
        highest <= MOST_UNTAKEN && highest > MOST_UNTAKEN / 2,
        "{highest}"
    );
    // One after the other, until what is left has room.
    let gone = callers.map(|caller| w.is_gone(caller));
    let ended = gone.iter().filter(|gone| **gone).count();
    assert!((1..callers.len()).contains(&ended), "{gone:?}");
    assert_eq!(read, 20 * SIZE);
    let stalled = w.stats.requests.get(RequestFate::ClientStalled);
    assert!(
        stalled >= ended as u64,
        "{stalled} calls of {ended} callers"
    );
    // The others lose nothing.
    for caller in (0..callers.len()).filter(|caller| !gone[*caller]) {
        let mut got = 0;
        for _ in 0..200 {
            got += w.taken(callers[caller]).len();
            w.pass(1);
        }
        assert_eq!(got, usize::from(CALLS) * SIZE);
    }
    let answered = (callers.len() - ended) as u64 * u64::from(CALLS) + 20;
    assert!(w.stats.requests.get(RequestFate::Answered) >= answered);
    assert_eq!(w.stats.requests.sum(), 20 * (callers.len() as u64 + 1));
    assert_eq!(w.worker.rpc.held(), 0);
    w.is_clean();
}
