//! Frames made by hand, for peers that do what no TCP does.

use std::net::SocketAddr;

use sluice_stack::io::{L3, PacketIo, RxBurst, RxFrame, TxFrame, TxMeta};
use sluice_stack::sim::SimPort;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// The MAC address of the peer played by hand.
pub(crate) const PEER: [u8; 6] = [2, 0xaa, 0, 0, 0, 1];

/// A TCP segment over IPv4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    /// The frame that carries it to `mac`. The network has to vouch for its checksums.
    pub(crate) fn frame(&self, mac: [u8; 6]) -> Vec<u8> {
        let (SocketAddr::V4(from), SocketAddr::V4(to)) = (self.from, self.to) else {
            panic!("an IPv4 segment");
        };
        let mut frame = Vec::new();
        frame.extend_from_slice(&mac);
        frame.extend_from_slice(&PEER);
        frame.extend_from_slice(&[0x08, 0x00]);
        let length = 40 + self.payload.len() as u16;
        frame.extend_from_slice(&[0x45, 0]);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
        frame.extend_from_slice(&from.ip().octets());
        frame.extend_from_slice(&to.ip().octets());
        frame.extend_from_slice(&from.port().to_be_bytes());
        frame.extend_from_slice(&to.port().to_be_bytes());
        frame.extend_from_slice(&self.seq.to_be_bytes());
        frame.extend_from_slice(&self.ack.to_be_bytes());
        frame.extend_from_slice(&[0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame.extend_from_slice(&self.payload);
        frame
    }

    /// The segment in a frame; `None` for anything else.
    pub(crate) fn parse(frame: &[u8]) -> Option<Segment> {
        if frame.get(12..14)? != [0x08, 0x00] || *frame.get(23)? != 6 {
            return None;
        }
        let ip = &frame[14..];
        let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        let tcp = &ip[20..length];
        let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
        let end = |address: &[u8], port: &[u8]| {
            let octets: [u8; 4] = address.try_into().expect("four bytes");
            SocketAddr::from((octets, u16::from_be_bytes([port[0], port[1]])))
        };
        Some(Segment {
            from: end(&ip[12..16], &tcp[0..2]),
            to: end(&ip[16..20], &tcp[2..4]),
            flags: tcp[13] & !0x08,
            seq: word(4),
            ack: word(8),
            payload: tcp[usize::from(tcp[12] >> 4) * 4..].to_vec(),
        })
    }
}

/// An ARP reply that says that `address` is at [`PEER`].
pub(crate) fn arp(address: [u8; 4], mac: [u8; 6], to: [u8; 4]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&PEER);
    frame.extend_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 2]);
    frame.extend_from_slice(&PEER);
    frame.extend_from_slice(&address);
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&to);
    frame
}

/// Sends a frame from a port.
pub(crate) fn send(port: &mut SimPort, bytes: &[u8]) {
    let mut frame = port.alloc().expect("a buffer");
    frame.fill(bytes.len()).copy_from_slice(bytes);
    let meta = TxMeta {
        l2_len: 14,
        l3_len: 20,
        l3: L3::V4,
        tcp: true,
        segment: 0,
    };
    port.send(frame, meta);
}

/// The TCP segments that have come to a port.
pub(crate) fn segments(port: &mut SimPort) -> Vec<Segment> {
    let mut all = Vec::new();
    loop {
        let mut burst = RxBurst::new();
        if port.rx_burst(&mut burst) == 0 {
            return all;
        }
        all.extend(
            burst
                .iter()
                .filter_map(|frame| Segment::parse(frame.bytes())),
        );
    }
}
