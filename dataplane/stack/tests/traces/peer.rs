//! A peer played by hand, segment by segment, against a stack that listens.

mod packets;
mod segment;

pub(crate) use packets::checksum;
pub(crate) use segment::Segment;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sluice_stack::counters::Counted;
use sluice_stack::fate::{FrameFate, StackEvent};
use sluice_stack::io::{L3, PacketIo, RxBurst, RxFrame, TxFrame, TxMeta};
use sluice_stack::sim::{Faults, Net, SimPort};
use sluice_stack::{
    Buffers, FlowId, FlowView, Limits, Owner, PortSetup, Secrets, Stack, StackStats,
};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const ECE: u8 = 0x40;
pub(crate) const CWR: u8 = 0x80;

const MAC: [u8; 6] = [2, 9, 9, 9, 9, 9];
const OURS: [u8; 4] = [10, 0, 0, 1];
const PEER: [u8; 4] = [10, 0, 0, 2];
/// Of another port of ours, on which nothing comes.
pub(crate) const ELSEWHERE: [u8; 4] = [10, 0, 5, 1];
/// fd00::1 and fd00::2.
const OURS_V6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const PEER_V6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
/// Where the peer starts to count.
const ISN: u32 = 1_000;
/// Payload of a full segment without timestamps.
pub(crate) const MSS: u32 = 1460;
/// What the peer's SYN carries.
pub(crate) const WITH_SACK: &[u8] = &[2, 4, 0x05, 0xb4, 1, 1, 4, 2];
pub(crate) const WITHOUT_SACK: &[u8] = &[2, 4, 0x05, 0xb4];
/// The round trip the peer plays.
pub(crate) const RTT: u64 = 10;

pub(crate) struct Peer {
    /// What stands behind the addresses of each frame that the peer sends: tags.
    pub(crate) tags: Vec<u8>,
    /// The tag that each frame of ours has to carry.
    tag: Vec<u8>,
    pub(crate) net: Net,
    pub(crate) stack: Stack<SimPort>,
    pub(crate) stats: Arc<StackStats>,
    port: SimPort,
    /// It speaks IPv6.
    v6: bool,
    mac: [u8; 6],
    /// Our first byte's number.
    base: u32,
    ends: [u16; 2],
    /// The source of what the peer sends.
    pub(crate) from: [u8; 4],
    /// Options of IPv4 in what the peer sends, a multiple of four bytes.
    pub(crate) options: Vec<u8>,
    /// Extension headers of IPv6 in what the peer sends: the kind of each, and what it says behind the kind of the
    /// next.
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
    /// Flags and offset of a fragment, in what the peer sends.
    pub(crate) fragment: [u8; 2],
    /// The window field of what the peer says.
    pub(crate) window: u16,
    pub(crate) flow: Option<FlowId>,
    /// Behind the last byte the peer sent.
    next: u32,
}

impl Peer {
    pub(crate) fn new(limits: Limits, buffers: Buffers) -> Peer {
        Peer::on(None, limits, buffers)
    }

    /// On a VLAN.
    pub(crate) fn on(vlan: Option<u16>, limits: Limits, buffers: Buffers) -> Peer {
        Peer::between(false, vlan, limits, buffers)
    }

    pub(crate) fn between(v6: bool, vlan: Option<u16>, limits: Limits, buffers: Buffers) -> Peer {
        let ours_at: IpAddr = if v6 { OURS_V6.into() } else { OURS.into() };
        let mut net = Net::new(1);
        let (ours, port) = net.link(1500, [Faults::default(); 2]);
        net.vouch_for_checksums();
        let stats = Arc::new(StackStats::default());
        let mac = ours.caps().mac;
        let link = PortSetup {
            addresses: vec![(ours_at, if v6 { 64 } else { 24 })],
            vlan,
            ..PortSetup::default()
        };
        let (beside, _) = net.link(1500, [Faults::default(); 2]);
        let elsewhere = PortSetup {
            addresses: vec![(ELSEWHERE.into(), 24)],
            ..PortSetup::default()
        };
        let mut stack = Stack::new(
            vec![(ours, link), (beside, elsewhere)],
            limits,
            Secrets::from_seed(1),
            stats.clone(),
        );
        stack.listen(0, SocketAddr::new(ours_at, 80), 7, buffers);
        let tag = vlan.map(|vlan| [&[0x81, 0][..], &vlan.to_be_bytes()].concat());
        let tag = tag.unwrap_or_default();
        let mut peer = Peer {
            tags: tag.clone(),
            tag,
            net,
            stack,
            stats,
            port,
            v6,
            mac,
            base: 0,
            ends: [40_000, 80],
            from: PEER,
            options: vec![],
            extensions: vec![],
            fragment: [0x40, 0],
            window: 0xffff,
            flow: None,
            next: 0,
        };
        peer.say_where();
        peer.turn();
        let mut burst = RxBurst::new();
        peer.port.rx_burst(&mut burst);
        peer
    }

    /// An open flow, its handshake done in [`RTT`], with default limits.
    pub(crate) fn open(options: &[u8]) -> Peer {
        let mut peer = Peer::new(Limits::default(), Buffers::default());
        peer.accept(options);
        peer
    }

    /// The same by IPv6.
    pub(crate) fn open_v6(options: &[u8]) -> Peer {
        let mut peer = Peer::between(true, None, Limits::default(), Buffers::default());
        peer.accept(options);
        peer
    }

    /// The handshake; returns the SYN-ACK.
    pub(crate) fn accept(&mut self, options: &[u8]) -> Segment {
        let answer = self.syn(SYN, options);
        self.wait(RTT);
        let options = match answer.stamps() {
            Some((value, _)) => stamps(2, value),
            None => vec![],
        };
        self.play(Segment {
            flags: ACK,
            options,
            ..Segment::default()
        });
        self.own();
        answer
    }

    /// A SYN of the peer's and its answer.
    pub(crate) fn syn(&mut self, flags: u8, options: &[u8]) -> Segment {
        let seq = 0u32.wrapping_sub(1);
        let answer = self.play(Segment {
            flags,
            seq,
            options: options.to_vec(),
            ..Segment::default()
        });
        let [syn_ack] = &answer[..] else {
            panic!("one answer, not {answer:?}");
        };
        assert_eq!(syn_ack.flags & (SYN | ACK), SYN | ACK);
        self.base = self.base.wrapping_add(syn_ack.seq).wrapping_add(1);
        syn_ack.clone()
    }

    /// A SYN from another port, whose answer is of no interest.
    pub(crate) fn flood(&mut self, n: u16) {
        let ours = std::mem::replace(&mut self.ends[0], 10_000 + n);
        self.play(Segment {
            flags: SYN,
            ..Segment::default()
        });
        self.ends[0] = ours;
    }

    /// Goes on from another port.
    pub(crate) fn ends_at(&mut self, port: u16) {
        self.ends[0] = port;
    }

    /// The stack's connection is over; the next is the peer's again.
    pub(crate) fn listens_no_more(&mut self) {
        self.ends = [40_000, 80];
    }

    /// Takes the flow that is there.
    pub(crate) fn own(&mut self) -> FlowId {
        let (flow, owner) = self.stack.next_ready().expect("a flow");
        if let Owner::Listener(_) = owner {
            self.stack.adopt(flow, 1);
        }
        self.flow = Some(flow);
        flow
    }

    /// Our own connection to the peer; its SYN.
    pub(crate) fn connect(&mut self) -> Segment {
        let now = self.net.now();
        let to = SocketAddr::from((PEER, 9000));
        let flow = self
            .stack
            .connect(0, to, 1, Buffers::default(), now)
            .unwrap();
        self.flow = Some(flow);
        self.ends = [9000, self.stack.key(flow).unwrap().local().port()];
        self.turn();
        let syn = self.take();
        assert_eq!((syn.len(), syn[0].flags), (1, SYN));
        self.base = self.base.wrapping_add(syn[0].seq).wrapping_add(1);
        syn[0].clone()
    }

    pub(crate) fn view(&self) -> FlowView {
        self.stack.view(self.flow.expect("a flow"))
    }

    /// Has the stack send so many bytes; returns the segments that come.
    pub(crate) fn write(&mut self, len: u32) -> Vec<Segment> {
        let bytes: Vec<u8> = (0..len).map(|i| (i / 7) as u8).collect();
        let written = self.stack.write(self.flow.unwrap(), &bytes);
        assert_eq!(written, len as usize, "room");
        self.turn();
        self.take()
    }

    /// Has the stack take everything that came.
    pub(crate) fn read(&mut self) -> Vec<u8> {
        let mut scratch = Vec::new();
        let flow = self.flow.unwrap();
        let bytes = self.stack.front(flow, usize::MAX, &mut scratch).to_vec();
        self.stack.consume(flow, bytes.len());
        self.turn();
        bytes
    }

    pub(crate) fn close(&mut self) -> Vec<Segment> {
        let now = self.net.now();
        self.stack.close(self.flow.unwrap(), now);
        self.turn();
        self.take()
    }

    /// Sends a segment and returns what comes back at once.
    pub(crate) fn play(&mut self, segment: Segment) -> Vec<Segment> {
        self.send(&segment);
        self.turn();
        self.take()
    }

    /// The option that tells of such ranges.
    pub(crate) fn sack(&self, blocks: &[(u32, u32)]) -> Vec<u8> {
        let mut option = vec![];
        if !blocks.is_empty() {
            option.extend([1, 1, 5, 2 + 8 * blocks.len() as u8]);
        }
        for end in blocks.iter().flat_map(|(start, end)| [start, end]) {
            option.extend(self.base.wrapping_add(*end).to_be_bytes());
        }
        option
    }

    /// A bare acknowledgement, with SACK blocks.
    pub(crate) fn ack(&mut self, ack: u32, blocks: &[(u32, u32)]) -> Vec<Segment> {
        let options = self.sack(blocks);
        let seq = self.next;
        self.play(Segment {
            flags: ACK,
            seq,
            ack,
            options,
            ..Segment::default()
        })
    }

    /// Data of the peer's.
    pub(crate) fn data(&mut self, seq: u32, len: u32) -> Vec<Segment> {
        let payload = (seq..seq + len).map(|i| i as u8).collect();
        self.next = self.next.max(seq + len);
        self.play(Segment {
            flags: ACK,
            seq,
            payload,
            ..Segment::default()
        })
    }

    /// Queues a segment for the stack.
    pub(crate) fn send(&mut self, segment: &Segment) {
        let mut options = segment.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let mut tcp = Vec::new();
        tcp.extend(self.ends[0].to_be_bytes());
        tcp.extend(self.ends[1].to_be_bytes());
        tcp.extend(segment.seq.wrapping_add(ISN + 1).to_be_bytes());
        tcp.extend(segment.ack.wrapping_add(self.base).to_be_bytes());
        let window = if segment.window == 0 {
            self.window
        } else {
            segment.window
        };
        tcp.extend([(5 + options.len() as u8 / 4) << 4, segment.flags]);
        tcp.extend(window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(options);
        tcp.extend(&segment.payload);
        self.send_ip(segment.ecn, 6, &tcp);
    }

    fn put(&mut self, bytes: &[u8]) {
        let (addresses, rest) = bytes.split_at(12);
        self.put_bytes(&[addresses, &self.tags, rest].concat());
    }

    /// Queues bytes that need not be a frame.
    pub(crate) fn put_bytes(&mut self, bytes: &[u8]) {
        let mut frame = self.port.alloc().expect("a buffer");
        frame.fill(bytes.len()).copy_from_slice(bytes);
        let meta = TxMeta {
            l2_len: 14,
            l3_len: 20,
            l3: L3::V4,
            tcp: true,
            segment: 0,
        };
        self.port.send(frame, meta);
    }

    pub(crate) fn turn(&mut self) {
        let now = self.net.now();
        while self.stack.receive(now) > 0 {}
        self.stack.expire(now);
        self.stack.flush(now);
    }

    /// What has come to the peer.
    pub(crate) fn take(&mut self) -> Vec<Segment> {
        let mut all = Vec::new();
        let mut burst = RxBurst::new();
        let mut asked = false;
        while self.port.rx_burst(&mut burst) > 0 {
            for frame in burst.drain(..) {
                // A question, not the answer to one of ours.
                let bytes = self.untagged(frame.bytes());
                asked |= bytes[12..14] == [8, 6] && bytes[21] == 1;
                all.extend(self.parse(&bytes));
            }
        }
        if asked {
            self.say_where();
            self.turn();
            all.extend(self.take());
        }
        all
    }

    /// The frame without the tag that it has to carry.
    fn untagged(&self, frame: &[u8]) -> Vec<u8> {
        let (addresses, rest) = frame.split_at(12);
        let rest = rest.strip_prefix(&self.tag[..]);
        [addresses, rest.expect("the tag of the VLAN")].concat()
    }

    /// Frames that have come to the peer, without their tags.
    pub(crate) fn take_frames(&mut self) -> Vec<Vec<u8>> {
        let mut burst = RxBurst::new();
        let mut all = Vec::new();
        while self.port.rx_burst(&mut burst) > 0 {
            all.extend(burst.drain(..).map(|frame| self.untagged(frame.bytes())));
        }
        all
    }

    /// Fates counted since these.
    pub(crate) fn fates_since(&self, before: &[(FrameFate, u64)]) -> Vec<(FrameFate, u64)> {
        let now = self.stats.frames.iter().zip(before);
        let since = now.map(|((fate, now), (_, before))| (fate, now - before));
        since.filter(|(_, n)| *n > 0).collect()
    }

    /// Fates counted so far.
    pub(crate) fn fates(&self) -> Vec<(FrameFate, u64)> {
        self.stats.frames.iter().collect()
    }

    /// Lets time pass; what comes meanwhile, each with the millisecond it came in.
    pub(crate) fn watch(&mut self, millis: u64) -> Vec<(u64, Segment)> {
        let begin = self.net.now();
        let mut all = Vec::new();
        let step = (millis / 20_000).max(1);
        for _ in 0..millis.div_ceil(step) {
            self.net
                .advance_to(self.net.now() + Duration::from_millis(step));
            self.turn();
            let at = (self.net.now() - begin).as_millis() as u64;
            all.extend(self.take().into_iter().map(|segment| (at, segment)));
        }
        all
    }

    /// The same without the times.
    pub(crate) fn wait(&mut self, millis: u64) -> Vec<Segment> {
        self.watch(millis)
            .into_iter()
            .map(|(_, segment)| segment)
            .collect()
    }

    /// Everything counted so far beside flows that come and go, as `name n, name`.
    pub(crate) fn events(&self) -> String {
        let shown = self.stats.events.iter().filter(|(what, n)| {
            *n > 0 && *what != StackEvent::FlowAccepted && *what != StackEvent::FlowConnecting
        });
        let shown: Vec<String> = shown
            .map(|(what, n)| match n {
                1 => what.name().to_string(),
                n => format!("{} {n}", what.name()),
            })
            .collect();
        shown.join(", ")
    }
}

/// A timestamps option.
pub(crate) fn stamps(value: u32, echo: u32) -> Vec<u8> {
    let mut option = vec![1, 1, 8, 10];
    option.extend(value.to_be_bytes());
    option.extend(echo.to_be_bytes());
    option
}

/// The numbers of segments with payload.
pub(crate) fn numbers(segments: &[Segment]) -> Vec<u32> {
    let with_payload = segments.iter().filter(|s| s.len() > 0);
    with_payload.map(|s| s.seq).collect()
}

/// The same in full segments.
pub(crate) fn places(segments: &[Segment]) -> Vec<u32> {
    numbers(segments).into_iter().map(|n| n / MSS).collect()
}
