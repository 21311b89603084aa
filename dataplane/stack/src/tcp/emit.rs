//! A segment of ours as an IP packet, written straight into its frame.

use super::options::OptionBytes;
use crate::checksum;
use crate::io::PortCaps;
use crate::key::FlowKey;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const ECE: u8 = 0x40;
pub(crate) const CWR: u8 = 0x80;

/// Bytes of a TCP header without options.
pub(crate) const TCP_HEADER: usize = 20;
const TTL: u8 = 64;
const TCP: u8 = 6;

/// A segment to be sent.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) seq: u32,
    /// Meant if `flags` has `ACK`.
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// Routers may mark it instead of dropping it: ECT(0) (RFC 3168 5).
    pub(crate) markable: bool,
    pub(crate) options: OptionBytes,
    /// Two pieces, as they lie in a ring.
    pub(crate) payload: (&'a [u8], &'a [u8]),
}

impl Outgoing<'_> {
    /// One without payload or options, of a flow that is not there.
    pub(crate) fn bare(flags: u8, seq: u32, ack: u32) -> Self {
        Outgoing {
            seq,
            ack,
            flags,
            window: 0,
            markable: false,
            options: OptionBytes::NONE,
            payload: (&[], &[]),
        }
    }

    /// Length of the IP packet.
    #[inline]
    pub(crate) fn packet_len(&self, v4: bool) -> usize {
        let payload = self.payload.0.len() + self.payload.1.len();
        ip_header(v4) + TCP_HEADER + self.options.as_slice().len() + payload
    }

    /// Writes it as a packet of `key`'s flow into `packet`, which is exactly as long as it is.
    #[inline]
    pub(crate) fn write(&self, key: &FlowKey, caps: &PortCaps, packet: &mut [u8]) {
        let v4 = key.is_v4();
        let (ip, tcp) = packet.split_at_mut(ip_header(v4));
        let traffic_class = if self.markable { 2 } else { 0 };
        let addresses = if v4 {
            write_v4(ip, key, tcp.len(), traffic_class, caps.tx_ipv4_checksum)
        } else {
            write_v6(ip, key, tcp.len(), traffic_class);
            checksum::address(key.local_bits()) + checksum::address(key.remote_bits())
        };
        self.write_tcp(key, tcp);
        if !caps.tx_tcp_checksum {
            let pseudo = addresses + u32::from(TCP) + tcp.len() as u32;
            let sum = checksum::finish(pseudo + checksum::sum(tcp));
            tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        }
    }

    #[inline]
    fn write_tcp(&self, key: &FlowKey, tcp: &mut [u8]) {
        let (header, rest) = tcp.split_at_mut(TCP_HEADER);
        let options = self.options.as_slice();
        let [s0, s1, s2, s3] = self.seq.to_be_bytes();
        let [a0, a1, a2, a3] = self.ack.to_be_bytes();
        let [l0, l1] = key.local_port().to_be_bytes();
        let [r0, r1] = key.remote_port().to_be_bytes();
        let [w0, w1] = self.window.to_be_bytes();
        let words = ((TCP_HEADER + options.len()) / 4) as u8;
        header.copy_from_slice(&[
            l0,
            l1,
            r0,
            r1,
            s0,
            s1,
            s2,
            s3,
            a0,
            a1,
            a2,
            a3,
            words << 4,
            self.flags,
            w0,
            w1,
            0,
            0,
            0,
            0,
        ]);
        let (place, rest) = rest.split_at_mut(options.len());
        place.copy_from_slice(options);
        let (first, second) = self.payload;
        let (place, rest) = rest.split_at_mut(first.len());
        place.copy_from_slice(first);
        if !second.is_empty() {
            rest.copy_from_slice(second);
        }
    }
}

/// Bytes of an IP header without options or extensions.
#[inline]
pub(crate) fn ip_header(v4: bool) -> usize {
    if v4 { 20 } else { 40 }
}

/// Returns the sum of the addresses.
#[inline]
fn write_v4(
    ip: &mut [u8],
    key: &FlowKey,
    payload: usize,
    traffic_class: u8,
    offloaded: bool,
) -> u32 {
    let total = (20 + payload) as u16;
    let (from, to) = (key.local_bits() as u32, key.remote_bits() as u32);
    let addresses = checksum::address_v4(from) + checksum::address_v4(to);
    // Don't fragment, and so no identification is needed (RFC 6864 4.1).
    let words = u32::from_be_bytes([0, 0, 0x45, traffic_class])
        + u32::from(total)
        + 0x4000
        + u32::from_be_bytes([0, 0, TTL, TCP]);
    let sum = if offloaded {
        0
    } else {
        checksum::finish(words + addresses)
    };
    let [t0, t1] = total.to_be_bytes();
    let [c0, c1] = sum.to_be_bytes();
    let [f0, f1, f2, f3] = from.to_be_bytes();
    let [d0, d1, d2, d3] = to.to_be_bytes();
    ip.copy_from_slice(&[
        0x45,
        traffic_class,
        t0,
        t1,
        0,
        0,
        0x40,
        0,
        TTL,
        TCP,
        c0,
        c1,
        f0,
        f1,
        f2,
        f3,
        d0,
        d1,
        d2,
        d3,
    ]);
    addresses
}

#[inline]
fn write_v6(ip: &mut [u8], key: &FlowKey, payload: usize, traffic_class: u8) {
    let [l0, l1] = (payload as u16).to_be_bytes();
    ip[..8].copy_from_slice(&[0x60, traffic_class << 4, 0, 0, l0, l1, TCP, TTL]);
    ip[8..24].copy_from_slice(&key.local_bits().to_be_bytes());
    ip[24..40].copy_from_slice(&key.remote_bits().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{IpAddress, Ipv4Packet, Ipv6Packet, TcpControl, TcpPacket, TcpRepr};

    use super::*;

    const CAPS: PortCaps = PortCaps {
        mac: [0; 6],
        mtu: 1500,
        tx_ipv4_checksum: false,
        tx_tcp_checksum: false,
        tx_segmentation: 0,
    };

    fn key(local: &str, remote: &str) -> FlowKey {
        FlowKey::new(0, local.parse().unwrap(), remote.parse().unwrap())
    }

    /// As smoltcp reads it, checksums verified.
    #[test]
    fn what_is_written_is_what_others_read() {
        let mut options = OptionBytes::NONE;
        options.timestamps(7, 8);
        let out = Outgoing {
            seq: 0xfffffff0,
            ack: 5,
            flags: ACK | PSH,
            window: 1000,
            markable: true,
            options,
            payload: (b"hel", b"lo"),
        };
        for (local, remote) in [
            ("10.0.0.1:80", "192.168.250.9:40000"),
            ("[fd00::1]:80", "[fe80:1:2:3:4:5:6:7]:50000"),
        ] {
            let key = key(local, remote);
            let v4 = key.is_v4();
            let mut packet = vec![0xaa; out.packet_len(v4)];
            out.write(&key, &CAPS, &mut packet);
            if v4 {
                let ip = Ipv4Packet::new_checked(&packet[..]).unwrap();
                assert!(ip.verify_checksum() && ip.dont_frag());
                assert_eq!((ip.ecn(), ip.dscp(), ip.hop_limit()), (2, 0, 64));
            } else {
                let ip = Ipv6Packet::new_checked(&packet[..]).unwrap();
                assert_eq!((ip.traffic_class(), ip.hop_limit()), (2, 64));
                assert_eq!(ip.src_addr(), key.local().ip());
            }
            let tcp = TcpPacket::new_checked(&packet[ip_header(v4)..]).unwrap();
            let (from, to): (IpAddress, IpAddress) =
                (key.local().ip().into(), key.remote().ip().into());
            let repr = TcpRepr::parse(&tcp, &from, &to, &ChecksumCapabilities::default()).unwrap();
            assert_eq!(
                (repr.src_port, repr.dst_port),
                (key.local().port(), key.remote().port())
            );
            assert_eq!(
                (repr.seq_number.0 as u32, repr.window_len),
                (0xfffffff0, 1000)
            );
            assert_eq!(
                (repr.control, repr.payload),
                (TcpControl::Psh, &b"hello"[..])
            );
            assert_eq!(repr.timestamp.map(|t| (t.tsval, t.tsecr)), Some((7, 8)));
        }
    }

    #[test]
    fn a_device_that_fills_in_checksums_finds_them_zero() {
        let caps = PortCaps {
            tx_ipv4_checksum: true,
            tx_tcp_checksum: true,
            ..CAPS
        };
        let out = Outgoing::bare(RST, 1, 0);
        let mut packet = vec![0xaa; 40];
        out.write(&key("10.0.0.1:80", "10.0.0.2:81"), &caps, &mut packet);
        assert_eq!(
            (&packet[10..12], &packet[36..38]),
            (&[0, 0][..], &[0, 0][..])
        );
    }
}
