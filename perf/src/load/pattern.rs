//! The bytes of bodies: a run of pseudo-random bytes that begins at a place given by the path, so that
//! a body that is cut, shifted or another request's shows.

use sluice_stack::rng::Rng;

/// Bytes after which the pattern repeats: a prime, so that no power of two maps it onto itself.
pub const PERIOD: usize = 65_521;

/// The pattern, twice in a row: every run of up to [`PERIOD`] bytes is one slice.
#[derive(Debug, Clone)]
pub struct Pattern(Box<[u8]>);

impl Default for Pattern {
    fn default() -> Self {
        let mut rng = Rng::new(0x51_05ce);
        let mut bytes: Vec<u8> = (0..PERIOD).map(|_| rng.next_u64() as u8).collect();
        bytes.extend_from_within(..);
        Pattern(bytes.into())
    }
}

impl Pattern {
    /// Bytes of a body from position `at` on: at most `max`, and at most [`PERIOD`].
    #[inline]
    pub fn run(&self, phase: u32, at: u64, max: u64) -> &[u8] {
        let start = ((u64::from(phase) + at) % PERIOD as u64) as usize;
        let length = max.min(PERIOD as u64) as usize;
        self.0.get(start..start + length).unwrap_or_default()
    }

    /// Whether `bytes` stand at position `at` of the body.
    #[inline]
    pub fn matches(&self, bytes: &[u8], phase: u32, at: u64) -> bool {
        let mut at = at;
        bytes.chunks(PERIOD).all(|piece| {
            let expected = self.run(phase, at, piece.len() as u64);
            at += piece.len() as u64;
            piece == expected
        })
    }
}

/// Where in the pattern the body that belongs to a request target begins (FNV-1a).
#[inline]
pub fn phase(target: &[u8]) -> u32 {
    let hash = target
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    (hash % PERIOD as u64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_its_own_and_no_part_of_it_another() {
        let pattern = Pattern::default();
        let (a, b) = (phase(b"/a"), phase(b"/b"));
        assert_ne!(a, b);
        let mut body = Vec::new();
        while body.len() < 200_000 {
            body.extend_from_slice(pattern.run(a, body.len() as u64, 1_000));
        }
        assert!(pattern.matches(&body, a, 0));
        assert!(pattern.matches(&body[70_001..], a, 70_001));
        assert!(!pattern.matches(&body[70_001..], a, 70_000));
        assert!(!pattern.matches(&body, b, 0));
        body[150_000] ^= 1;
        assert!(!pattern.matches(&body, a, 0));
    }
}
