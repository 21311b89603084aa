//! The packets of a peer: TCP by IPv4 and IPv6, how it is found, and what routers say.

use super::{ISN, MAC, OURS, OURS_V6, PEER, PEER_V6, Peer, Segment};

impl Peer {
    /// Asks for the stack, which so learns where the peer is.
    pub(super) fn say_where(&mut self) {
        if self.v6 {
            // A neighbour solicitation with the source's link-layer address (RFC 4861 4.3).
            let asked = [&[0; 4][..], &OURS_V6, &[1, 1], &MAC].concat();
            return self.send_icmpv6(135, &asked);
        }
        let mut arp = vec![0xff; 6];
        arp.extend(MAC);
        arp.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        arp.extend(MAC);
        arp.extend(PEER);
        arp.extend([0; 6]);
        arp.extend(OURS);
        self.put(&arp);
    }

    /// Queues an IPv4 packet.
    pub(crate) fn send_ip(&mut self, ecn: u8, protocol: u8, body: &[u8]) {
        if self.v6 {
            return self.send_ipv6(ecn, protocol, body);
        }
        let mut frame = self.mac.to_vec();
        frame.extend(MAC);
        let header = 20 + self.options.len();
        frame.extend([8, 0, 0x40 | (header / 4) as u8, ecn]);
        frame.extend(((header + body.len()) as u16).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(self.fragment);
        frame.extend([64, protocol, 0, 0]);
        frame.extend(self.from);
        frame.extend(OURS);
        frame.extend(&self.options);
        frame.extend(body);
        self.put(&frame);
    }

    fn send_ipv6(&mut self, ecn: u8, protocol: u8, body: &[u8]) {
        self.send_ipv6_from(PEER_V6, (ecn, 255), protocol, body);
    }

    fn send_ipv6_from(&mut self, from: [u8; 16], (ecn, hops): (u8, u8), protocol: u8, body: &[u8]) {
        let (mut first, mut behind) = (protocol, body.to_vec());
        for (kind, rest) in self.extensions.iter().rev() {
            behind = [&[first], &rest[..], &behind].concat();
            first = *kind;
        }
        let mut frame = self.mac.to_vec();
        frame.extend(MAC);
        frame.extend([0x86, 0xdd, 0x60, ecn << 4, 0, 0]);
        frame.extend((behind.len() as u16).to_be_bytes());
        frame.extend([first, hops]);
        frame.extend(from);
        frame.extend(OURS_V6);
        frame.extend(behind);
        self.put(&frame);
    }

    /// Queues an ICMPv6 message, `rest` behind its checksum.
    fn send_icmpv6(&mut self, kind: u8, rest: &[u8]) {
        self.send_icmpv6_from(PEER_V6, 255, kind, rest);
    }

    /// The same from any address, with so many hops to go.
    pub(crate) fn send_icmpv6_from(&mut self, from: [u8; 16], hops: u8, kind: u8, rest: &[u8]) {
        let mut message = [&[kind, 0, 0, 0][..], rest].concat();
        let length = [0, message.len() as u16, 0, 58].map(u16::to_be_bytes);
        let pseudo = [&from[..], &OURS_V6, length.as_flattened()].concat();
        let sum = checksum(&[&pseudo[..], &message].concat());
        message[2..4].copy_from_slice(&sum);
        self.send_ipv6_from(from, (0, hops), 58, &message);
    }

    /// A router says that the packet with our segment at `seq` was too large (RFC 4443 3.2), and quotes it.
    pub(crate) fn too_big_v6(&mut self, seq: u32, mtu: u32) {
        let mut quoted = vec![0x60, 0, 0, 0, 5, 180, 6, 64];
        quoted.extend(OURS_V6);
        quoted.extend(PEER_V6);
        quoted.extend(&self.quoted(seq)[20..]);
        self.send_icmpv6(2, &[&mtu.to_be_bytes()[..], &quoted].concat());
    }

    /// What a router quotes of our segment at `seq`.
    pub(crate) fn quoted(&self, seq: u32) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 5, 220, 0, 0, 0x40, 0, 64, 6, 0, 0];
        packet.extend(OURS);
        packet.extend(PEER);
        packet.extend(self.ends[1].to_be_bytes());
        packet.extend(self.ends[0].to_be_bytes());
        packet.extend(self.base.wrapping_add(seq).to_be_bytes());
        packet
    }

    /// A router says that the segment at `seq` was too large.
    pub(crate) fn too_big(&mut self, seq: u32, mtu: u16) {
        let mut icmp = vec![3, 4, 0, 0, 0, 0];
        icmp.extend(mtu.to_be_bytes());
        icmp.extend(self.quoted(seq));
        let sum = checksum(&icmp);
        icmp[2..4].copy_from_slice(&sum);
        self.send_ip(0, 1, &icmp);
    }

    pub(super) fn parse(&self, frame: &[u8]) -> Option<Segment> {
        let ip = &frame[14..];
        let (tcp, ecn) = match (self.v6, [frame[12], frame[13]]) {
            (false, [8, 0]) if ip[9] == 6 => {
                let end = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
                (&ip[20..end], ip[1] & 3)
            }
            (true, [0x86, 0xdd]) if ip[6] == 6 => {
                let end = 40 + usize::from(u16::from_be_bytes([ip[4], ip[5]]));
                (&ip[40..end], ip[1] >> 4 & 3)
            }
            _ => return None,
        };
        let word = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
        let header = usize::from(tcp[12] >> 4) * 4;
        Some(Segment {
            flags: tcp[13],
            seq: word(4).wrapping_sub(self.base),
            ack: word(8).wrapping_sub(ISN + 1),
            window: u16::from_be_bytes([tcp[14], tcp[15]]),
            ecn,
            options: tcp[20..header].to_vec(),
            payload: tcp[header..].to_vec(),
        })
    }
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2);
    let sum: u32 = words
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    let folded = (sum >> 16) + (sum & 0xffff);
    (!(((folded >> 16) + folded) as u16)).to_be_bytes()
}
