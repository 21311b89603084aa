//! The little of the Internet checksum (RFC 1071) that offloads leave to software.

use sluice_stack::io::L3;

/// TCP's IP protocol number.
const TCP: u32 = 6;

/// The ones' complement sum of the TCP pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1), not
/// inverted: what a device that fills in TCP checksums wants to find in the checksum field. `ip` is the
/// packet from its IP header on; `None` when it is shorter than that.
pub(crate) fn pseudo_header_sum(ip: &[u8], l3: L3, tcp_len: usize) -> Option<u16> {
    let addresses = match l3 {
        L3::V4 => ip.get(12..20)?,
        L3::V6 => ip.get(8..40)?,
        L3::None => return None,
    };
    let tcp_len = u32::try_from(tcp_len).ok()?;
    Some(fold(
        sum(addresses) + TCP + (tcp_len >> 16) + (tcp_len & 0xffff),
    ))
}

/// Whether the checksum of an IPv4 header is right; `ip` begins with it (RFC 791 section 3.1).
pub(crate) fn ipv4_header_is_good(ip: &[u8]) -> bool {
    let len = ip.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    len >= 20
        && ip
            .get(..len)
            .is_some_and(|header| fold(sum(header)) == 0xffff)
}

/// Sum of 16-bit words; `bytes` is short, so that 32 bits are plenty, and of even length.
fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks_exact(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum()
}

fn fold(sum: u32) -> u16 {
    let once = (sum >> 16) + (sum & 0xffff);
    ((once >> 16) + (once & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example that circulates for IPv4 headers; its checksum is b861.
    const HEADER: [u8; 20] = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00,
        0x01, 0xc0, 0xa8, 0x00, 0xc7,
    ];

    #[test]
    fn an_ipv4_header_is_verified() {
        assert!(ipv4_header_is_good(&HEADER));
        let mut wrong = HEADER;
        wrong[8] -= 1;
        assert!(!ipv4_header_is_good(&wrong));
        assert!(!ipv4_header_is_good(&HEADER[..19]));
        assert!(!ipv4_header_is_good(&[]));
    }

    #[test]
    fn the_pseudo_header_of_ipv4_is_summed_raw() {
        let packet = [&HEADER[..], &[0; 25]].concat();
        // c0a8 + 0001 + c0a8 + 00c7 + 6 + 25 = 18237, folded 8238
        assert_eq!(pseudo_header_sum(&packet, L3::V4, 25), Some(0x8238));
    }

    #[test]
    fn the_pseudo_header_of_ipv6_is_summed_raw() {
        let mut packet = [0; 60];
        packet[8..10].copy_from_slice(&[0xfd, 0x77]);
        packet[23] = 1;
        packet[24..26].copy_from_slice(&[0xfd, 0x77]);
        packet[39] = 2;
        // fd77 + 1 + fd77 + 2 + 6 + 20 = 1fb0b, folded fb0c
        assert_eq!(pseudo_header_sum(&packet, L3::V6, 20), Some(0xfb0c));
    }

    #[test]
    fn packets_without_room_for_their_headers_have_no_sum() {
        assert_eq!(pseudo_header_sum(&HEADER[..19], L3::V4, 20), None);
        assert_eq!(pseudo_header_sum(&HEADER, L3::V6, 20), None);
        assert_eq!(pseudo_header_sum(&HEADER, L3::None, 0), None);
    }
}
