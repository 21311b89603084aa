//! Eight bytes at once, in a `u64`.

/// 1 in each byte.
pub(super) const ONES: u64 = u64::from_ne_bytes([1; 8]);
/// The top bit of each byte.
pub(super) const HIGH: u64 = ONES << 7;

/// The eight bytes of `buf` from `pos` on, the first one lowest; zeros behind its end.
#[inline]
pub(super) fn at(buf: &[u8], pos: usize) -> u64 {
    match buf.get(pos..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => last(buf, pos),
    }
}

/// The same where fewer than eight bytes are left.
#[inline]
fn last(buf: &[u8], pos: usize) -> u64 {
    let left = buf.len().saturating_sub(pos);
    match buf.last_chunk::<8>() {
        Some(bytes) => u64::from_le_bytes(*bytes)
            .checked_shr(64 - 8 * left as u32)
            .unwrap_or(0),
        None => short(buf, pos),
    }
}

#[cold]
fn short(buf: &[u8], pos: usize) -> u64 {
    let rest = buf.get(pos..).unwrap_or_default();
    rest.iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Flags, as in [`HIGH`], the bytes below 0x20 or equal to 0x7f. Only the lowest flag is exact: a
/// borrow can raise a false one above it.
#[inline]
pub(super) const fn controls(word: u64) -> u64 {
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let not_delete = word ^ (ONES * 0x7f);
    let delete = not_delete.wrapping_sub(ONES) & !not_delete;
    (below_space | delete) & HIGH
}

/// Flags, as in [`HIGH`], the bytes from `low` to `high`, both below 0x80, in a word without [`HIGH`] bits.
/// No sum leaves its byte, so every flag is exact.
#[inline]
const fn within(word: u64, low: u8, high: u8) -> u64 {
    let from_low = word + ONES * (0x80 - low as u64);
    let beyond_high = word + ONES * (0x7f - high as u64);
    from_low & !beyond_high & HIGH
}

/// Flags, as in [`HIGH`], the bytes that are neither ASCII letters nor digits nor dashes.
#[inline]
pub(super) const fn others(word: u64) -> u64 {
    let low = word & !HIGH;
    let letters = within(low | (ONES * 0x20), b'a', b'z');
    let digits = within(low, b'0', b'9');
    let dashes = within(low, b'-', b'-');
    ((letters | digits | dashes) & !word) ^ HIGH | (word & HIGH)
}

/// ASCII letters in lower case, all other bytes as they are.
#[inline]
pub(super) const fn lower(word: u64) -> u64 {
    let upper = within(word & !HIGH, b'A', b'Z') & !word;
    word | (upper >> 2)
}

/// The first and the last eight bytes of `name` in lower case, which overlap where it is shorter than
/// sixteen, and are padded where it is shorter than eight. For names of one length up to sixteen they
/// are equal only where the names are, but for case.
#[inline]
pub(super) const fn ends(name: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        (lower(first), lower(last))
    } else if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        (lower(first as u64 | (last as u64) << 32), 0)
    } else {
        let mut word = 0;
        let mut rest = name;
        while let [byte, tail @ ..] = rest {
            word = word << 8 | *byte as u64;
            rest = tail;
        }
        (lower(word), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_padded_with_zeros() {
        for length in 0..20u8 {
            let buf: Vec<u8> = (1..=length).collect();
            for pos in 0..=buf.len() {
                let mut bytes = [0; 8];
                let rest = &buf[pos..buf.len().min(pos + 8)];
                bytes[..rest.len()].copy_from_slice(rest);
                assert_eq!(at(&buf, pos), u64::from_le_bytes(bytes), "{length} {pos}");
            }
            assert_eq!(at(&buf, buf.len() + 1), 0);
        }
    }

    #[test]
    fn bytes_are_told_apart_in_every_place() {
        for byte in 0..=255u8 {
            let plain = byte.is_ascii_alphanumeric() || byte == b'-';
            for place in 0..8 {
                let mut bytes = *b"aZ09-x-Q";
                bytes[place] = byte;
                let word = u64::from_le_bytes(bytes);
                let flag = 0x80 << (8 * place);
                assert_eq!(others(word), if plain { 0 } else { flag }, "{bytes:?}");
                let expected = u64::from_le_bytes(bytes.map(|b| b.to_ascii_lowercase()));
                assert_eq!(lower(word), expected, "{bytes:?}");
            }
        }
    }

    #[test]
    fn ends_differ_for_different_names_of_one_length() {
        for length in 0..=16usize {
            let name: Vec<u8> = (0..length).map(|at| b'a' + at as u8).collect();
            assert_eq!(ends(&name), ends(&name.to_ascii_uppercase()));
            for place in 0..length {
                let mut other = name.clone();
                other[place] = b'-';
                assert_ne!(ends(&name), ends(&other), "{other:?}");
            }
        }
    }
}
