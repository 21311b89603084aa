//! What a device does to a frame that it is to fill checksums into, and to cut into segments.

use crate::checksum;
use crate::io::{L3, TxMeta};
use crate::tcp::emit::{CWR, FIN, PSH};

const TCP: u32 = 6;

/// The frames that go on the wire for one that was handed down with `meta`.
pub(super) fn cut(frame: &mut Vec<u8>, meta: TxMeta) -> Vec<Vec<u8>> {
    let ip = usize::from(meta.l2_len);
    let tcp = ip + usize::from(meta.l3_len);
    if !meta.tcp {
        if meta.l3 == L3::V4 {
            finish_header(&mut frame[ip..tcp]);
        }
        return vec![std::mem::take(frame)];
    }
    let head = tcp + usize::from(frame[tcp + 12] >> 4) * 4;
    let payload = frame.len() - head;
    let each = match usize::from(meta.segment) {
        0 => payload.max(1),
        each => each,
    };
    let count = payload.div_ceil(each).max(1);
    let segment = |number: usize| {
        let (from, to) = (number * each, (number * each + each).min(payload));
        let mut bytes = [&frame[..head], &frame[head + from..head + to]].concat();
        let seq = u32_at(&bytes, tcp + 4).wrapping_add(from as u32);
        bytes[tcp + 4..tcp + 8].copy_from_slice(&seq.to_be_bytes());
        if number > 0 {
            bytes[tcp + 13] &= !CWR;
        }
        if number + 1 < count {
            bytes[tcp + 13] &= !(FIN | PSH);
        }
        finish(&mut bytes, ip, tcp, meta.l3);
        bytes
    };
    (0..count).map(segment).collect()
}

/// Lengths and checksums.
fn finish(bytes: &mut [u8], ip: usize, tcp: usize, l3: L3) {
    let (packet, body) = ((bytes.len() - ip) as u16, (bytes.len() - tcp) as u16);
    let addresses = match l3 {
        L3::V4 => {
            bytes[ip + 2..ip + 4].copy_from_slice(&packet.to_be_bytes());
            finish_header(&mut bytes[ip..tcp]);
            ip + 12..ip + 20
        }
        _ => {
            bytes[ip + 4..ip + 6].copy_from_slice(&body.to_be_bytes());
            ip + 8..ip + 40
        }
    };
    let pseudo = checksum::sum(&bytes[addresses]) + TCP + u32::from(body);
    bytes[tcp + 16..tcp + 18].fill(0);
    let sum = checksum::finish(pseudo + checksum::sum(&bytes[tcp..]));
    bytes[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
}

fn finish_header(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum::finish(checksum::sum(header));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |four| u32::from_be_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::PortCaps;
    use crate::key::FlowKey;
    use crate::tcp::emit::{ACK, Outgoing, ip_header};
    use crate::tcp::options::OptionBytes;

    const NOTHING: PortCaps = PortCaps {
        mac: [0; 6],
        mtu: 1_500,
        tx_ipv4_checksum: false,
        tx_tcp_checksum: false,
        tx_segmentation: 0,
    };

    /// A frame as the stack hands it to a port: a packet behind `l2_len` bytes.
    fn frame(out: &Outgoing<'_>, key: &FlowKey, caps: &PortCaps, l2_len: usize) -> Vec<u8> {
        let mut frame = vec![7; l2_len + out.packet_len(key.is_v4())];
        out.write(key, caps, &mut frame[l2_len..]);
        frame
    }

    /// A large packet is cut into just the packets that the stack would have made one by one: IPv4 and IPv6,
    /// behind an Ethernet header and behind a VLAN's tag.
    #[test]
    fn what_is_cut_is_what_would_have_been_sent_by_itself() {
        let data: Vec<u8> = (0..60_000u32).map(|i| (i * 31 + i / 251) as u8).collect();
        let mut options = OptionBytes::NONE;
        options.timestamps(7, 8);
        let cutting = PortCaps {
            tx_ipv4_checksum: true,
            tx_tcp_checksum: true,
            tx_segmentation: 65_000,
            ..NOTHING
        };
        for (local, remote) in [
            ("10.0.0.1:80", "192.168.250.9:40000"),
            ("[fd00::1]:80", "[fe80:1:2:3:4:5:6:7]:50000"),
        ] {
            let key = FlowKey::new(0, local.parse().unwrap(), remote.parse().unwrap());
            for (l2_len, segment, len) in [
                (14, 1_448, 60_000),
                (18, 1_448, 1_448 * 41),
                (18, 1_428, 1_429),
                (14, 536, 1),
            ] {
                let all = Outgoing {
                    seq: 0xffff_f000,
                    ack: 5,
                    flags: ACK | PSH | FIN,
                    window: 1_000,
                    markable: true,
                    options,
                    payload: (&data[..len / 3], &data[len / 3..len]),
                };
                let meta = TxMeta {
                    l2_len: l2_len as u8,
                    l3_len: ip_header(key.is_v4()) as u8,
                    l3: if key.is_v4() { L3::V4 } else { L3::V6 },
                    tcp: true,
                    segment: segment as u16,
                };
                let cut = cut(&mut frame(&all, &key, &cutting, l2_len), meta);
                let (parts, count) = (data[..len].chunks(segment), len.div_ceil(segment));
                assert_eq!(cut.len(), count);
                for (number, (payload, cut)) in parts.zip(cut).enumerate() {
                    let last = number + 1 == count;
                    let one = Outgoing {
                        seq: all.seq.wrapping_add((number * segment) as u32),
                        flags: if last { all.flags } else { ACK },
                        payload: (payload, &[]),
                        ..all
                    };
                    assert!(cut == frame(&one, &key, &NOTHING, l2_len), "{number}");
                }
            }
        }
    }
}
