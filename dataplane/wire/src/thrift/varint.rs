//! Variable-length integers of the compact protocol: seven bits to a byte, the lowest first.

/// What reading a varint comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Varint {
    /// The value, and its length in bytes. It need not be the shortest form.
    Value(u64, usize),
    /// More bytes are needed.
    Incomplete,
    /// More bits than allowed.
    Overflow,
}

/// Reads a varint of at most `bits` bits, 64 at most.
#[inline]
pub(super) fn read(bytes: &[u8], bits: u32) -> Varint {
    let longest = bits.div_ceil(7) as usize;
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().take(longest).enumerate() {
        let shift = 7 * index as u32;
        let low = u64::from(byte & 0x7f);
        // In the last byte there may be fewer than seven bits to come.
        if bits - shift < 7 && low >> (bits - shift) != 0 {
            return Varint::Overflow;
        }
        value |= low << shift;
        if byte < 0x80 {
            return Varint::Value(value, index + 1);
        }
    }
    if bytes.len() < longest {
        Varint::Incomplete
    } else {
        Varint::Overflow
    }
}

/// Appends the shortest form.
pub(super) fn write(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes of the shortest form.
pub(super) fn len(value: u32) -> usize {
    (32 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// How the compact protocol writes signed numbers: small ones, of either sign, are short.
pub(super) fn zigzag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}
