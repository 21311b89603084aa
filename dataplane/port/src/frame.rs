//! Frames as the stack sees them, in mbufs of a single segment.

use dpdk::{ChecksumState, IpOffload, Mbuf, Segmentation, TxOffload};
use sluice_stack::io::{L3, PortCaps, RxChecksum, RxFrame, TxFrame, TxMeta};

use crate::checksum;

/// Shortest Ethernet frame without its check sequence (IEEE 802.3 section 3.2.8).
const FRAME_MIN: usize = 60;

const ETHERTYPE_VLAN: [u8; 2] = [0x81, 0x00];
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

/// Where the checksum stands in an IPv4 and in a TCP header.
const IPV4_CHECKSUM: usize = 10;
const TCP_CHECKSUM: usize = 16;

/// Where a TCP header says how long it is.
const TCP_OFFSET: usize = 12;

/// A received frame.
#[derive(Debug)]
pub struct DpdkRx(pub(crate) Mbuf);

/// A buffer for a frame to be sent.
#[derive(Debug)]
pub struct DpdkTx(pub(crate) Mbuf);

impl RxFrame for DpdkRx {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    #[inline]
    fn checksum(&self) -> RxChecksum {
        match (self.0.ip_checksum(), self.0.l4_checksum()) {
            (ChecksumState::Bad, _) | (_, ChecksumState::Bad) => RxChecksum::Bad,
            (_, ChecksumState::Unknown) => RxChecksum::Unknown,
            (ChecksumState::Good, ChecksumState::Good) => RxChecksum::Good,
            (ChecksumState::Unknown, ChecksumState::Good) => header_checksum(self.0.bytes()),
        }
    }
}

/// The answer for a frame whose L4 checksum the device vouches for while it says nothing about IP: that
/// is all there is to say of IPv6, and the way of virtio with IPv4. The header is verified here, because
/// the L4 checksum of such a frame may not be filled in: the stack must not verify it.
fn header_checksum(frame: &[u8]) -> RxChecksum {
    let l2_len = if frame.get(12..14) == Some(&ETHERTYPE_VLAN) {
        18
    } else {
        14
    };
    match frame
        .get(l2_len - 2..)
        .and_then(|rest| rest.split_first_chunk())
    {
        Some((&ETHERTYPE_IPV6, _)) => RxChecksum::Good,
        Some((&ETHERTYPE_IPV4, ip)) if checksum::ipv4_header_is_good(ip) => RxChecksum::Good,
        Some((&ETHERTYPE_IPV4, _)) => RxChecksum::Bad,
        _ => RxChecksum::Unknown,
    }
}

impl TxFrame for DpdkTx {
    /// Pools are made for the port's MTU, so the frame always has the room; were it not so, an empty
    /// slice is better than a panic.
    #[inline]
    fn fill(&mut self, len: usize) -> &mut [u8] {
        self.0.resize(len).unwrap_or_default()
    }
}

impl DpdkTx {
    /// Makes the frame ready for a device with these capabilities: says what it shall fill in, and pads
    /// a runt, which virtual devices do not do.
    #[inline]
    pub(crate) fn finish(mut self, meta: TxMeta, caps: &PortCaps) -> Mbuf {
        let ip_checksum = meta.l3 == L3::V4 && caps.tx_ipv4_checksum;
        let tcp_checksum = meta.tcp && caps.tx_tcp_checksum;
        if ip_checksum || tcp_checksum {
            let offload = request(self.0.bytes_mut(), meta, ip_checksum, tcp_checksum);
            self.0.set_tx_offload(offload);
        }
        let len = self.0.len();
        if len < FRAME_MIN
            && let Some(padding) = self.0.resize(FRAME_MIN).and_then(|all| all.get_mut(len..))
        {
            padding.fill(0);
        }
        self.0
    }
}

/// Prepares the checksum fields as devices want them (`rte_mbuf_core.h`): the IPv4 one zero, the TCP one
/// the sum of the pseudo header, without its length where it is to be cut into segments. Returns what to ask the device for, `None` for a frame shorter than
/// its headers.
fn request(
    frame: &mut [u8],
    meta: TxMeta,
    ip_checksum: bool,
    tcp_checksum: bool,
) -> Option<TxOffload> {
    let l3_len = usize::from(meta.l3_len);
    let ip = frame.get_mut(usize::from(meta.l2_len)..)?;
    let segmentation = segmentation(ip, l3_len, meta.segment)?;
    if tcp_checksum {
        let tcp_len = match segmentation {
            None => ip.len().checked_sub(l3_len)?,
            Some(_) => 0,
        };
        let sum = checksum::pseudo_header_sum(ip, meta.l3, tcp_len)?;
        let field = ip
            .get_mut(l3_len + TCP_CHECKSUM..)?
            .first_chunk_mut::<2>()?;
        *field = sum.to_be_bytes();
    }
    if ip_checksum {
        *ip.get_mut(IPV4_CHECKSUM..)?.first_chunk_mut::<2>()? = [0; 2];
    }
    let ip = match meta.l3 {
        L3::V4 => IpOffload::V4 {
            checksum: ip_checksum,
        },
        L3::V6 => IpOffload::V6,
        L3::None => return None,
    };
    let (l2_len, l3_len) = (meta.l2_len, u16::from(meta.l3_len));
    Some(TxOffload {
        l2_len,
        l3_len,
        ip,
        tcp_checksum,
        segmentation,
    })
}

/// How a packet is to be cut into segments of so many bytes of payload, if it is; `None` for one shorter
/// than its headers.
#[inline]
fn segmentation(ip: &[u8], l3_len: usize, payload: u16) -> Option<Option<Segmentation>> {
    if payload == 0 {
        return Some(None);
    }
    let l4_len = (ip.get(l3_len + TCP_OFFSET)? >> 4) * 4;
    Some(Some(Segmentation { l4_len, payload }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethernet, IPv4 with a wrong checksum, TCP without payload.
    fn tcp_v4() -> Vec<u8> {
        let mut frame = vec![0; 14 + 20 + 20];
        frame[12..14].copy_from_slice(&ETHERTYPE_IPV4);
        frame[14..34].copy_from_slice(&[
            0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0x12, 0x34, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        frame
    }

    const META: TxMeta = TxMeta {
        l2_len: 14,
        l3_len: 20,
        l3: L3::V4,
        tcp: true,
        segment: 0,
    };

    #[test]
    fn a_tcp_frame_gets_the_pseudo_header_sum_and_a_zero_ip_checksum() {
        let mut frame = tcp_v4();
        let offload = request(&mut frame, META, true, true);
        let ip = IpOffload::V4 { checksum: true };
        let expected = TxOffload {
            l2_len: 14,
            l3_len: 20,
            ip,
            tcp_checksum: true,
            segmentation: None,
        };
        assert_eq!(offload, Some(expected));
        assert_eq!(frame[24..26], [0, 0]);
        // 0a00 + 0001 + 0a00 + 0002 + 6 + 20 = 141d
        assert_eq!(frame[50..52], [0x14, 0x1d]);
    }

    #[test]
    fn a_frame_to_be_cut_gets_a_pseudo_header_sum_without_a_length() {
        let mut frame = tcp_v4();
        frame[46] = 0x80;
        let meta = TxMeta {
            segment: 1_448,
            ..META
        };
        let offload = request(&mut frame, meta, true, true).unwrap();
        let (l4_len, payload) = (32, 1_448);
        assert_eq!(offload.segmentation, Some(Segmentation { l4_len, payload }));
        // 0a00 + 0001 + 0a00 + 0002 + 6
        assert_eq!(frame[50..52], [0x14, 0x09]);
        // Behind a VLAN tag, IPv6: fd77 + 1 + fd77 + 2 + 6, folded.
        let mut frame = vec![0; 18 + 40 + 20 + 9_000];
        frame[26..28].copy_from_slice(&[0xfd, 0x77]);
        frame[41] = 1;
        frame[42..44].copy_from_slice(&[0xfd, 0x77]);
        frame[57] = 2;
        frame[70] = 0x50;
        let meta = TxMeta {
            l2_len: 18,
            l3_len: 40,
            l3: L3::V6,
            ..meta
        };
        let offload = request(&mut frame, meta, false, true).unwrap();
        let l4_len = 20;
        assert_eq!(offload.segmentation, Some(Segmentation { l4_len, payload }));
        assert_eq!((offload.l2_len, offload.l3_len), (18, 40));
        assert_eq!(frame[74..76], [0xfa, 0xf8]);
    }

    #[test]
    fn only_what_the_device_does_is_asked_for() {
        let mut frame = tcp_v4();
        let offload = request(&mut frame, META, false, true).unwrap();
        assert_eq!(offload.ip, IpOffload::V4 { checksum: false });
        assert_eq!(
            frame[24..26],
            [0x12, 0x34],
            "the stack's own IP checksum stays"
        );
        let mut frame = tcp_v4();
        let offload = request(&mut frame, TxMeta { tcp: false, ..META }, true, false).unwrap();
        assert!(!offload.tcp_checksum);
        assert_eq!(frame[50..52], [0, 0]);
    }

    #[test]
    fn a_frame_shorter_than_its_headers_asks_for_nothing() {
        for len in 0..tcp_v4().len() - 2 {
            let mut frame = tcp_v4();
            frame.truncate(len);
            let offload = request(&mut frame, META, false, true);
            assert!(offload.is_none() || len >= 52, "{len}");
        }
    }

    #[test]
    fn a_frame_with_a_good_l4_checksum_has_its_ip_header_verified() {
        let mut frame = tcp_v4();
        assert_eq!(header_checksum(&frame), RxChecksum::Bad);
        frame[24..26].copy_from_slice(&[0x26, 0xce]);
        assert_eq!(header_checksum(&frame), RxChecksum::Good);
        let tagged = [&frame[..12], &ETHERTYPE_VLAN, &[0, 5], &frame[12..]].concat();
        assert_eq!(header_checksum(&tagged), RxChecksum::Good);
        frame[12..14].copy_from_slice(&ETHERTYPE_IPV6);
        assert_eq!(header_checksum(&frame), RxChecksum::Good);
        frame[12..14].copy_from_slice(&[0x08, 0x06]);
        assert_eq!(header_checksum(&frame), RxChecksum::Unknown);
        assert_eq!(header_checksum(&[]), RxChecksum::Unknown);
    }
}
