//! The `crc32c` of a payload, and how it changes where only the payload's beginning does.
//!
//! The checksum is CRC-32C (Castagnoli, RFC 3720 appendix B.4) over every byte behind the TTHeader, as
//! eight lowercase hexadecimal digits. A CRC is linear: that of `A B` and that of `A' B` differ by the
//! difference of the CRCs of `A` and `A'`, multiplied by x^8 for each byte of `B`. So a changed
//! beginning needs no look at the rest, only its length.

/// The polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

static TABLE: [u32; 256] = table();

/// x to the power of 8 * 2^n, modulo the polynomial: what 2^n more bytes multiply by.
static POWERS: [u32; 32] = powers();

/// CRC-32C of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in bytes {
        let index = (crc as u8 ^ byte) as usize;
        crc = (crc >> 8) ^ TABLE[index];
    }
    !crc
}

/// The checksum of a payload whose beginning `old` has become `new`, with `behind` bytes after it.
pub(super) fn adjust(checksum: u32, old: &[u8], new: &[u8], behind: usize) -> u32 {
    // Of two beginnings of equal length only what differs counts.
    let same = if old.len() == new.len() {
        old.iter()
            .zip(new)
            .take_while(|(old, new)| old == new)
            .count()
    } else {
        0
    };
    let (old, new) = (
        old.get(same..).unwrap_or_default(),
        new.get(same..).unwrap_or_default(),
    );
    checksum ^ shift(crc32c(old) ^ crc32c(new), behind as u64)
}

/// The value of `crc32c`, if it is one.
pub(super) fn parse(value: &[u8]) -> Option<u32> {
    let digits: &[u8; 8] = value.try_into().ok()?;
    digits.iter().try_fold(0u32, |sum, &digit| {
        let digit = (digit as char).to_digit(16)?;
        Some(sum << 4 | digit)
    })
}

/// As the value of `crc32c` is written.
pub(super) fn digits(checksum: u32) -> [u8; 8] {
    std::array::from_fn(|index| {
        let nibble = checksum >> (28 - 4 * index as u32) & 0xf;
        b"0123456789abcdef"[nibble as usize]
    })
}

/// `crc` multiplied by x^8 for each of `bytes`.
fn shift(mut crc: u32, bytes: u64) -> u32 {
    // A few one by one, which is less work than a product.
    const FEW_BITS: usize = 5;
    for _ in 0..bytes % (1 << FEW_BITS) {
        crc = (crc >> 8) ^ TABLE[(crc & 0xff) as usize];
    }
    let powers = POWERS.iter().enumerate().skip(FEW_BITS);
    let set = powers.filter(|(bit, _)| bytes >> bit & 1 == 1);
    set.fold(crc, |crc, (_, power)| multiply(crc, *power))
}

/// The product of two polynomials modulo [`POLYNOMIAL`]; the highest bit is the lowest power.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 1 << 31;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = (b >> 1) ^ if b & 1 == 1 { POLYNOMIAL } else { 0 };
        bit >>= 1;
    }
    product
}

const fn powers() -> [u32; 32] {
    let mut powers = [0; 32];
    // x^8
    let mut power = 1 << 23;
    let mut bit = 0;
    while bit < 32 {
        powers[bit] = power;
        power = multiply(power, power);
        bit += 1;
    }
    powers
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn check_value() {
        // The check value of CRC-32C in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn reads_its_own_digits_and_nothing_else() {
        assert_eq!(&digits(0x0012_abcd), b"0012abcd");
        assert_eq!(parse(b"0012abcd"), Some(0x0012_abcd));
        assert_eq!(parse(b"0012ABCD"), Some(0x0012_abcd));
        for bad in [&b""[..], b"0", b"0012abcg", b"0012abcde", b"+012abcd"] {
            assert_eq!(parse(bad), None);
        }
    }

    proptest! {
        #[test]
        fn an_adjusted_checksum_is_that_of_the_changed_payload(
            old: Vec<u8>, new: Vec<u8>, rest: Vec<u8>, times in 1..20usize,
        ) {
            let rest = rest.repeat(times);
            let before = [&old[..], &rest].concat();
            let after = [&new[..], &rest].concat();
            prop_assert_eq!(adjust(crc32c(&before), &old, &new, rest.len()), crc32c(&after));
        }
    }
}
