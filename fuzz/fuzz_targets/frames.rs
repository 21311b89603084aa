//! Frames of any kind into a stack that listens and has a flow open. Nothing may panic, and every
//! frame has one fate.
#![no_main]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use sluice_stack::io::{L3, PacketIo, RxBurst, RxFrame, TxFrame, TxMeta};
use sluice_stack::sim::{Faults, Net, SimPort};
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, Limits, Owner, PortSetup, Secrets, Stack, StackStats};

const OURS: [u8; 4] = [10, 0, 0, 1];
const PEER: [u8; 4] = [10, 0, 0, 2];
const PEER_MAC: [u8; 6] = [2, 9, 9, 9, 9, 9];

/// An Ethernet and IPv4 header around a TCP segment or something that claims to be one.
fn wrap(mac: [u8; 6], segment: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(34 + segment.len());
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&PEER_MAC);
    frame.extend_from_slice(&[0x08, 0x00, 0x45, 0x00]);
    frame.extend_from_slice(&((20 + segment.len()) as u16).to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
    frame.extend_from_slice(&PEER);
    frame.extend_from_slice(&OURS);
    frame.extend_from_slice(segment);
    frame
}

/// A TCP header from the flow's client.
fn header(seq: u32, ack: u32, offset_and_flags: [u8; 2], window: u16) -> Vec<u8> {
    let mut header = Vec::from([0x9c, 0x40, 0, 80]);
    header.extend_from_slice(&seq.to_be_bytes());
    header.extend_from_slice(&ack.to_be_bytes());
    header.extend_from_slice(&offset_and_flags);
    header.extend_from_slice(&window.to_be_bytes());
    header.extend_from_slice(&[0, 0, 0, 0]);
    header
}

fn put(port: &mut SimPort, bytes: &[u8]) {
    if let Some(mut frame) = port.alloc() {
        frame.fill(bytes.len()).copy_from_slice(bytes);
        port.send(frame, TxMeta { l2_len: 14, l3_len: 0, l3: L3::None, tcp: false, segment: 0 });
    }
}

/// The last sequence number the stack sent, and takes what it sent off the wire.
fn drain(port: &mut SimPort, seq: &mut u32) {
    let mut burst = RxBurst::new();
    while port.rx_burst(&mut burst) > 0 {
        for frame in burst.drain(..) {
            if let Some(bytes) = frame.bytes().get(38..42) {
                *seq = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut net = Net::new(1);
    net.vouch_for_checksums();
    let (mut peer, port) = net.link(1500, [Faults::default(); 2]);
    let mac = port.caps().mac;
    let stats = Arc::new(StackStats::default());
    let setup = PortSetup {
        addresses: vec![(OURS.into(), 24), ("fd00::1".parse().unwrap(), 64)],
        ..PortSetup::default()
    };
    let limits = Limits { flows: 64, half_open: 16, time_wait: 16, ..Limits::default() };
    let mut stack = Stack::new(vec![(port, setup)], limits, Secrets::from_seed(1), stats.clone());
    let buffers = Buffers { receive: 16 * 1024, send: 16 * 1024 };
    stack.listen(0, SocketAddr::from((OURS, 80)), 0, buffers);

    let mut scratch = Vec::new();
    let mut turn = |stack: &mut Stack<SimPort>, now: Instant| {
        stack.receive(now);
        stack.expire(now);
        while let Some((flow, owner)) = stack.next_ready() {
            if let Owner::Listener(_) = owner {
                stack.adopt(flow, 1);
            }
            let bytes = stack.front(flow, 4096, &mut scratch).len();
            stack.consume(flow, bytes);
            stack.write(flow, &[7; 100]);
            if stack.view(flow).finished {
                stack.close(flow, now);
            }
        }
        stack.flush(now);
    };
    // A neighbour that is known, and an open flow: 10.0.0.2:40000 to port 80, our sequence 1000.
    let mut arp = Vec::from([0xff; 6]);
    arp.extend_from_slice(&PEER_MAC);
    arp.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend_from_slice(&PEER_MAC);
    arp.extend_from_slice(&PEER);
    arp.extend_from_slice(&[0; 6]);
    arp.extend_from_slice(&OURS);
    put(&mut peer, &arp);
    put(&mut peer, &wrap(mac, &header(1000, 0, [0x50, 0x02], 64_000)));
    turn(&mut stack, net.now());
    let mut their_seq = 0;
    drain(&mut peer, &mut their_seq);
    put(&mut peer, &wrap(mac, &header(1001, their_seq.wrapping_add(1), [0x50, 0x10], 64_000)));
    turn(&mut stack, net.now());

    let mut sent = 3;
    let mut rest = data;
    while let [kind, length, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        match kind % 4 {
            0 => put(&mut peer, bytes),
            1 => put(&mut peer, &wrap(mac, bytes)),
            2 => {
                let [seq, ack, flags, payload @ ..] = bytes else { continue };
                let seq = 1001u32.wrapping_add(u32::from(*seq)).wrapping_sub(64);
                let ack = their_seq.wrapping_add(u32::from(*ack)).wrapping_sub(64);
                let mut segment = header(seq, ack, [0x50, *flags], u16::from(*flags) << 8);
                segment.extend_from_slice(payload);
                put(&mut peer, &wrap(mac, &segment));
            }
            _ => {
                let later = net.now() + Duration::from_millis(u64::from(*length) * 20);
                net.advance_to(later);
                turn(&mut stack, later);
                continue;
            }
        }
        sent += 1;
        turn(&mut stack, net.now());
        drain(&mut peer, &mut their_seq);
    }
    turn(&mut stack, net.now());
    assert_eq!(stats.frames.sum(), sent, "{stats:?}");
});
