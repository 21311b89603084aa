//! Names for a request that travel with it: `X-Request-Id`, and `traceparent` of W3C Trace Context.

use super::kept::KeptValue;

/// Longest request id that is taken from a peer.
pub const MAX_REQUEST_ID: usize = 64;

/// Bytes of a `traceparent` of version 00.
pub const TRACEPARENT_LEN: usize = 55;

/// Whether `id` can be passed on as a request id: 1 to 64 letters, digits and `-._~+/=:@`, which no
/// log or header takes for anything else.
#[must_use]
pub fn is_request_id(id: &[u8]) -> bool {
    let legal = |b: &u8| b.is_ascii_alphanumeric() || b"-._~+/=:@".contains(b);
    (1..=MAX_REQUEST_ID).contains(&id.len()) && id.iter().all(legal)
}

/// Whether `value` is a valid `traceparent` (W3C Trace Context level 1, section 3.2): `version -
/// trace-id - parent-id - flags` in lower-case hex, no id all zeros, not version ff. A later version
/// may say more behind a further `-`; version 00 says exactly this.
#[must_use]
pub fn is_traceparent(value: &[u8]) -> bool {
    let Some((start, rest)) = value.split_first_chunk::<TRACEPARENT_LEN>() else {
        return false;
    };
    let hex = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
    let part = |from: usize, to: usize| start.get(from..to).unwrap_or_default();
    let is_hex = |from: usize, to: usize| part(from, to).iter().all(hex);
    let is_zero = |from: usize, to: usize| part(from, to).iter().all(|&b| b == b'0');
    let dashes = [2, 35, 52].iter().all(|&at| start.get(at) == Some(&b'-'));
    let version = part(0, 2);
    dashes
        && is_hex(0, 2)
        && version != b"ff"
        && is_hex(3, 35)
        && !is_zero(3, 35)
        && is_hex(36, 52)
        && !is_zero(36, 52)
        && is_hex(53, 55)
        && (rest.is_empty() || (version != b"00" && rest.first() == Some(&b'-')))
}

/// A request id of 128 random bits: 32 lower-case hex digits.
#[must_use]
pub fn request_id(random: [u64; 2]) -> KeptValue<32> {
    let mut id = [0; 32];
    hex(&mut id, random);
    KeptValue::of_legal(id)
}

/// A `traceparent` that begins a trace, sampling left to others (flags 00), from random bits. An id
/// of zeros, which would be invalid, becomes one.
#[must_use]
pub fn traceparent(trace: [u64; 2], parent: u64) -> KeptValue<TRACEPARENT_LEN> {
    let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
    let [high, low] = trace;
    let low = if high == 0 { low.max(1) } else { low };
    if let Some(place) = value.get_mut(3..35) {
        hex(place, [high, low]);
    }
    if let Some(place) = value.get_mut(36..52) {
        hex(place, [parent.max(1)]);
    }
    KeptValue::of_legal(value)
}

fn hex<const N: usize>(place: &mut [u8], words: [u64; N]) {
    for (digits, word) in place.chunks_exact_mut(16).zip(words) {
        if let Some((high, low)) = digits.split_first_chunk_mut::<8>() {
            *high = eight_digits((word >> 32) as u32);
            low.copy_from_slice(&eight_digits(word as u32));
        }
    }
}

/// The digits of a word, all at once: no table, no branch.
fn eight_digits(word: u32) -> [u8; 8] {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // A nibble to each byte, the highest one to the highest.
    let mut nibbles = u64::from(word);
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = ((nibbles + ONES * 6) >> 4) & ONES;
    let digits = nibbles + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10);
    digits.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_that_pass() {
        for id in [
            "a",
            "550e8400-e29b-41d4-a716-446655440000",
            "A.b_c~d+e/f=:@1",
        ] {
            assert!(is_request_id(id.as_bytes()), "{id}");
        }
        let long = "x".repeat(65);
        for id in [
            "", " a", "a b", "a\"b", "a,b", "a;b", "\u{e4}", "<a>", &long,
        ] {
            assert!(!is_request_id(id.as_bytes()), "{id}");
        }
        assert!(is_request_id(&long.as_bytes()[1..]));
        assert_eq!(
            request_id([0x0123_4567_89ab_cdef, 1]).as_bytes(),
            b"0123456789abcdef0000000000000001"
        );
    }

    #[test]
    fn traceparents_of_the_specification() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(valid.as_bytes()));
        let later = valid.replacen("00", "cc", 1);
        for text in [later.clone(), format!("{later}-what-comes")] {
            assert!(is_traceparent(text.as_bytes()), "{text}");
        }
        for text in [
            String::new(),
            valid.to_uppercase(),
            format!("{valid}-more"),
            format!("{later}more"),
            valid.replacen("00", "ff", 1),
            valid.replace('-', "_"),
            valid.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            valid.replace("00f067aa0ba902b7", &"0".repeat(16)),
            valid[..54].into(),
            valid.replace("4bf9", "4bg9"),
        ] {
            assert!(!is_traceparent(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_trace_begun_is_valid_whatever_the_bits() {
        for (trace, parent) in [([0, 0], 0), ([0, 5], 7), ([u64::MAX; 2], u64::MAX)] {
            assert!(is_traceparent(traceparent(trace, parent).as_bytes()));
        }
        assert_eq!(
            traceparent(
                [0x4bf9_2f35_77b3_4da6, 0xa3ce_929d_0e0e_4736],
                0x00f0_67aa_0ba9_02b7
            )
            .as_bytes(),
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
        );
    }
}
