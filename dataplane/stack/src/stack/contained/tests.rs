use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::fate::{FrameFate, StackEvent};
use crate::io::PacketIo;
use crate::sim::{Faults, Net, SimPort};
use crate::tcp::{DEFECT_IN, DEFECT_OUT};
use crate::{Buffers, FlowId, Limits, Owner, Phase, PortSetup, Secrets, Stack, StackStats};

struct Pair {
    net: Net,
    client: Stack<SimPort>,
    server: Stack<SimPort>,
    stats: Arc<StackStats>,
    /// The flows of both ends, in the order in which they were opened.
    flows: Vec<(FlowId, FlowId)>,
}

impl Pair {
    fn new(flows: usize) -> Pair {
        let mut net = Net::new(1);
        let (near, far) = net.link(1500, [Faults::default(); 2]);
        let stats = Arc::new(StackStats::default());
        let stack = |io, host: u8, stats: &Arc<StackStats>| {
            let setup = PortSetup {
                addresses: vec![([10, 0, 0, host].into(), 24)],
                ..PortSetup::default()
            };
            let secrets = Secrets::from_seed(host.into());
            Stack::new(vec![(io, setup)], Limits::default(), secrets, stats.clone())
        };
        let mut pair = Pair {
            client: stack(near, 2, &Arc::default()),
            server: stack(far, 1, &stats),
            net,
            stats,
            flows: vec![],
        };
        let to = SocketAddr::from(([10, 0, 0, 1], 80));
        pair.server.listen(0, to, 0, Buffers::default());
        for n in 0..flows {
            let now = pair.net.now();
            let opened = pair
                .client
                .connect(0, to, n as u32, Buffers::default(), now);
            pair.turn();
            let accepted = std::iter::from_fn(|| pair.server.next_ready())
                .find(|(_, owner)| *owner == Owner::Listener(0));
            let accepted = accepted.expect("it was accepted").0;
            pair.server.adopt(accepted, n as u32);
            pair.flows.push((opened.expect("there is room"), accepted));
        }
        pair
    }

    fn turn(&mut self) {
        for _ in 0..100 {
            let now = self.net.now();
            for stack in [&mut self.client, &mut self.server] {
                stack.receive(now);
                stack.expire(now);
                stack.flush(now);
            }
            self.net.advance_to(now + Duration::from_millis(1));
        }
        let received: u64 = self.server.ports().map(|port| port.stats().rx_frames).sum();
        assert_eq!(received, self.stats.frames.sum());
    }

    /// Whether bytes pass in both directions.
    fn works(&mut self, n: usize) -> bool {
        let (near, far) = self.flows[n];
        self.client.write(near, b"there");
        self.server.write(far, b"and back");
        self.turn();
        let passed = self.server.peek(far) == b"there" && self.client.peek(near) == b"and back";
        self.server.consume(far, 5);
        self.client.consume(near, 8);
        passed
    }

    fn phases(&self, n: usize) -> [Phase; 2] {
        let (near, far) = self.flows[n];
        [self.client.view(near).phase, self.server.view(far).phase]
    }

    fn panics(&self) -> [u64; 2] {
        let frames = self.stats.frames.get(FrameFate::Panicked);
        [self.stats.events.get(StackEvent::Panicked), frames]
    }
}

#[test]
fn a_defect_in_ingress_resets_its_flow_and_no_other() {
    let mut pair = Pair::new(3);
    let (near, far) = pair.flows[1];
    while pair.server.next_ready().is_some() {}
    pair.client.write(near, DEFECT_IN);
    // In the same burst as those of its neighbours.
    pair.client.write(pair.flows[0].0, b"before");
    pair.client.write(pair.flows[2].0, b"behind");
    pair.turn();
    assert_eq!(pair.panics(), [1, 1]);
    assert_eq!(pair.phases(1), [Phase::Closed, Phase::Closed]);
    let ready: Vec<_> = std::iter::from_fn(|| pair.server.next_ready()).collect();
    assert!(ready.contains(&(far, Owner::User(1))), "its user is told");
    assert_eq!(pair.server.peek(pair.flows[0].1), b"before");
    assert_eq!(pair.server.peek(pair.flows[2].1), b"behind");
    pair.server.consume(pair.flows[0].1, 6);
    pair.server.consume(pair.flows[2].1, 6);
    assert!(pair.works(0) && pair.works(2));
    let now = pair.net.now();
    pair.server.close(far, now);
    pair.turn();
    assert_eq!(pair.stats.flows.get(), 2, "its place is free");
}

#[test]
fn a_defect_in_egress_resets_its_flow_and_no_other() {
    let mut pair = Pair::new(3);
    let (_, far) = pair.flows[0];
    pair.server.write(far, DEFECT_OUT);
    pair.server.write(pair.flows[1].1, b"behind");
    pair.turn();
    assert_eq!(pair.panics(), [1, 0]);
    assert_eq!(pair.phases(0), [Phase::Closed, Phase::Closed]);
    assert_eq!(pair.client.peek(pair.flows[1].0), b"behind");
    pair.client.consume(pair.flows[1].0, 6);
    assert!(pair.works(1) && pair.works(2));
}

#[test]
fn a_defect_in_a_flow_that_was_given_back_frees_its_place() {
    let mut pair = Pair::new(2);
    let (_, far) = pair.flows[0];
    let now = pair.net.now();
    pair.server.write(far, DEFECT_OUT);
    pair.server.close(far, now);
    pair.turn();
    assert_eq!(pair.panics(), [1, 0]);
    assert_eq!(pair.stats.flows.get(), 1);
    assert_eq!(pair.phases(0)[0], Phase::Closed, "its peer got a RST");
    assert!(pair.works(1));
}
