//! The pcapng format as far as a capture of Ethernet frames needs it
//! (draft-ietf-opsawg-pcapng, sections 4.1 to 4.3 and 4.6). Numbers are little-endian throughout.

use sluice_engine::stack::tap::{Captured, Direction};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

const LINKTYPE_ETHERNET: u16 = 1;
/// `if_tsresol`: 10^-9 seconds.
const NANOSECONDS: u8 = 9;
const END_OF_OPTIONS: u16 = 0;

/// Bytes that [`packet`] adds to a frame at most: header, padding, the direction, the length again.
const PACKET_OVERHEAD: usize = 28 + 3 + 12 + 4;

/// Bytes that a packet block with `captured` bytes of a frame takes at most.
pub(super) fn packet_len(captured: usize) -> usize {
    captured + PACKET_OVERHEAD
}

/// What begins a file: who wrote it, and an interface per port, in their order.
pub(super) fn header(out: &mut Vec<u8>, program: &str, ports: &[&str], snaplen: u32) {
    block(out, SECTION_HEADER, |out| {
        out.extend(0x1a2b_3c4d_u32.to_le_bytes()); // byte-order magic
        out.extend([1, 0, 0, 0]); // version 1.0
        out.extend(u64::MAX.to_le_bytes()); // length of the section: not given
        option(out, 4, program.as_bytes()); // shb_userappl
        option(out, END_OF_OPTIONS, &[]);
    });
    for port in ports {
        block(out, INTERFACE_DESCRIPTION, |out| {
            out.extend(LINKTYPE_ETHERNET.to_le_bytes());
            out.extend([0, 0]);
            out.extend(snaplen.to_le_bytes());
            option(out, 2, port.as_bytes()); // if_name
            option(out, 9, &[NANOSECONDS]); // if_tsresol
            option(out, END_OF_OPTIONS, &[]);
        });
    }
}

/// A frame, seen `nanos` nanoseconds after 1970.
pub(super) fn packet(out: &mut Vec<u8>, frame: &Captured, nanos: u64) {
    block(out, ENHANCED_PACKET, |out| {
        out.extend(u32::from(frame.port).to_le_bytes());
        timestamp(out, nanos);
        out.extend((frame.bytes.len() as u32).to_le_bytes());
        out.extend((frame.length as u32).to_le_bytes());
        out.extend_from_slice(&frame.bytes);
        pad(out, frame.bytes.len());
        let flags: u32 = match frame.direction {
            Direction::In => 1,
            Direction::Out => 2,
        };
        option(out, 2, &flags.to_le_bytes()); // epb_flags
        option(out, END_OF_OPTIONS, &[]);
    });
}

/// What became of the frames of a port that the filter chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Statistics {
    /// Number of the port.
    pub(super) port: u32,
    /// In the file.
    pub(super) written: u64,
    /// Lost for want of a free buffer.
    pub(super) lost: u64,
    /// Beginning and end of the capture, nanoseconds after 1970.
    pub(super) time: (u64, u64),
}

/// What ends a file, for each port.
pub(super) fn statistics(out: &mut Vec<u8>, of: &Statistics) {
    block(out, INTERFACE_STATISTICS, |out| {
        let (began, ended) = of.time;
        out.extend(of.port.to_le_bytes());
        timestamp(out, ended);
        let words = |nanos: u64| nanos.rotate_left(32).to_le_bytes();
        option(out, 2, &words(began)); // isb_starttime
        option(out, 3, &words(ended)); // isb_endtime
        option(out, 5, &of.lost.to_le_bytes()); // isb_ifdrop
        option(out, 6, &(of.written + of.lost).to_le_bytes()); // isb_filteraccept
        option(out, 8, &of.written.to_le_bytes()); // isb_usrdeliv
        option(out, END_OF_OPTIONS, &[]);
    });
}

/// Type, length, body, and the length once more.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let length = ((out.len() - start + 4) as u32).to_le_bytes();
    out.extend(length);
    if let Some(place) = out.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&length);
    }
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}

/// Zeros up to a whole number of 32-bit words.
fn pad(out: &mut Vec<u8>, length: usize) {
    out.extend(std::iter::repeat_n(0, length.next_multiple_of(4) - length));
}

/// The upper half comes first.
fn timestamp(out: &mut Vec<u8>, nanos: u64) {
    out.extend(((nanos >> 32) as u32).to_le_bytes());
    out.extend((nanos as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use pcap_parser::pcapng::{Block, PcapNGOption};
    use pcap_parser::traits::PcapNGPacketBlock;
    use pcap_parser::{Linktype, OptionCode, parse_block_le};
    use sluice_engine::stack::time::Instant;

    use super::*;

    fn frame(length: usize, kept: usize, direction: Direction) -> Captured {
        Captured {
            at: Instant::ZERO,
            port: 1,
            direction,
            length,
            bytes: (0..kept).map(|i| i as u8).collect(),
        }
    }

    fn value<'a>(options: &'a [PcapNGOption<'_>], code: u16) -> &'a [u8] {
        let option = options.iter().find(|o| o.code == OptionCode(code));
        option.unwrap().as_bytes().unwrap()
    }

    #[test]
    fn another_parser_reads_what_was_written() {
        const NOW: u64 = 1_700_000_000_123_456_789;
        let frames = [
            frame(60, 60, Direction::In),
            frame(1514, 97, Direction::Out),
        ];
        let mut file = Vec::new();
        header(&mut file, "sluice 1", &["back", "front"], 1518);
        for (frame, later) in frames.iter().zip(0..) {
            let before = file.len();
            packet(&mut file, frame, NOW + later);
            assert!(file.len() - before <= packet_len(frame.bytes.len()));
        }
        let counts = Statistics {
            port: 1,
            written: 2,
            lost: 3,
            time: (NOW, NOW + 5),
        };
        statistics(&mut file, &counts);

        let mut rest = &file[..];
        let mut next = || {
            let (after, block) = parse_block_le(rest).unwrap();
            rest = after;
            block
        };
        assert!(matches!(next(), Block::SectionHeader(_)));
        for name in ["back", "front"] {
            let Block::InterfaceDescription(interface) = next() else {
                panic!("no interface");
            };
            assert_eq!(interface.linktype, Linktype::ETHERNET);
            assert_eq!(interface.snaplen, 1518);
            assert_eq!(interface.ts_resolution(), Some(1_000_000_000));
            assert_eq!(value(&interface.options, 2), name.as_bytes());
        }
        for (frame, (later, flag)) in frames.iter().zip([(0, 1), (1, 2)]) {
            let Block::EnhancedPacket(packet) = next() else {
                panic!("no packet");
            };
            let time = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            assert_eq!((packet.if_id, time), (1, NOW + later));
            assert_eq!(packet.origlen as usize, frame.length);
            assert_eq!(packet.packet_data(), frame.bytes);
            assert_eq!(value(&packet.options, 2), [flag, 0, 0, 0]);
        }
        let Block::InterfaceStatistics(counted) = next() else {
            panic!("no statistics");
        };
        assert_eq!(counted.if_id, 1);
        assert_eq!(value(&counted.options, 5), 3_u64.to_le_bytes());
        assert_eq!(value(&counted.options, 6), 5_u64.to_le_bytes());
        assert_eq!(value(&counted.options, 8), 2_u64.to_le_bytes());
        assert!(rest.is_empty());
    }
}
