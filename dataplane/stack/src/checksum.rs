//! The Internet checksum (RFC 1071), eight bytes at a time.

/// The one's complement sum of the bytes as big-endian 16-bit words; an odd last byte counts as if a
/// zero followed. Sums of even-length parts may be added up before [`finish`].
#[inline]
pub(crate) fn sum(bytes: &[u8]) -> u32 {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut total = 0u64;
    for block in blocks {
        for word in block.as_chunks::<8>().0 {
            total = carry(total, u64::from_ne_bytes(*word));
        }
    }
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        total = carry(total, u64::from_ne_bytes(*word));
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        total = carry(total, u64::from_ne_bytes(last));
    }
    // Order of bytes does not matter to the sum until the end (RFC 1071 2(B)).
    let folded = (total >> 32) + (total & 0xffff_ffff);
    let folded = fold((folded >> 32) as u32 + fold(folded as u32));
    u32::from(u16::from_be(fold(folded) as u16))
}

#[inline]
fn carry(total: u64, word: u64) -> u64 {
    let (sum, over) = total.overflowing_add(word);
    sum + u64::from(over)
}

#[inline]
fn fold(sum: u32) -> u32 {
    (sum >> 16) + (sum & 0xffff)
}

/// The checksum field of a packet whose words, that field left out, have this sum.
#[inline]
pub(crate) fn finish(sum: u32) -> u16 {
    !(fold(fold(sum)) as u16)
}

/// Whether the words of a packet, its checksum field included, add up to a valid checksum.
#[inline]
pub(crate) fn is_valid(sum: u32) -> bool {
    fold(fold(sum)) == 0xffff
}

/// The sum of an IPv4 address's words.
#[inline]
pub(crate) fn address_v4(bits: u32) -> u32 {
    (bits >> 16) + (bits & 0xffff)
}

/// The sum of an IPv6 address's words.
#[inline]
pub(crate) fn address(bits: u128) -> u32 {
    let half = (bits >> 64) as u64;
    let words = |n: u64| (n >> 48) + (n >> 32 & 0xffff) + (n >> 16 & 0xffff) + (n & 0xffff);
    (words(half) + words(bits as u64)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(finish(sum(&bytes)), !0xddf2);
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_the_definition(bytes in proptest::collection::vec(0u8.., 0..200)) {
            let mut plain = 0u32;
            for pair in bytes.chunks(2) {
                plain += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            }
            proptest::prop_assert_eq!(finish(sum(&bytes)), finish(plain));
            let mut whole = bytes.clone();
            if whole.len() % 2 == 1 {
                whole.push(0);
            }
            whole.extend(finish(sum(&bytes)).to_be_bytes());
            proptest::prop_assert!(is_valid(sum(&whole)));
        }
    }
}
