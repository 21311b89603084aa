//! Where names and values end, found for sixty-four bytes at once.

use wide::u8x16;

/// Bytes of a block.
const BLOCK: usize = 64;

/// A walk through a buffer, from its front to its end, that stops where names and values do. It looks at
/// each block once, and at none before it gets there.
pub(super) struct Scan<'a> {
    buf: &'a [u8],
    /// Where the block begins that the rest is about.
    base: usize,
    /// A bit for each of its bytes, the first one lowest, that is neither an ASCII letter nor a digit nor
    /// a dash. What lies behind the end of the buffer has its bit in both.
    others: u64,
    /// The same for control bytes other than HTAB.
    controls: u64,
}

impl<'a> Scan<'a> {
    /// A walk that begins at `pos`.
    #[inline]
    pub(super) fn new(buf: &'a [u8], pos: usize) -> Self {
        let mut scan = Scan {
            buf,
            base: 0,
            others: 0,
            controls: 0,
        };
        scan.load(pos);
        scan
    }

    /// The first byte from `pos` on that is neither an ASCII letter nor a digit nor a dash; the length of
    /// the buffer if there is none. `pos` is not before the block.
    #[inline(always)]
    pub(super) fn other(&mut self, mut pos: usize) -> usize {
        loop {
            if let Some(found) = self.within(self.others, pos) {
                return found;
            }
            pos = pos.max(self.base + BLOCK);
            self.load(pos);
        }
    }

    /// The first control byte other than HTAB from `pos` on; the length of the buffer if there is none.
    /// `pos` is not before the block.
    #[inline(always)]
    pub(super) fn control(&mut self, mut pos: usize) -> usize {
        loop {
            if let Some(found) = self.within(self.controls, pos) {
                return found;
            }
            pos = pos.max(self.base + BLOCK);
            self.load(pos);
        }
    }

    /// The first place from `pos` on that has its bit, if it is in the block.
    #[inline(always)]
    fn within(&self, bits: u64, pos: usize) -> Option<usize> {
        let bits = bits.checked_shr((pos - self.base) as u32)?;
        (bits != 0).then(|| pos + bits.trailing_zeros() as usize)
    }

    /// Goes on to the block at `base`. Out of line: the loops around it stay small.
    #[inline(never)]
    fn load(&mut self, base: usize) {
        let rest = self.buf.get(base..).unwrap_or_default();
        let (others, controls) = match rest.first_chunk() {
            Some(block) => classes(block),
            None => {
                let mut padded = [0; BLOCK];
                if let Some(place) = padded.get_mut(..rest.len()) {
                    place.copy_from_slice(rest);
                }
                classes(&padded)
            }
        };
        (self.base, self.others, self.controls) = (base, others, controls);
    }
}

/// The bits of a block, see [`Scan`].
#[inline(always)]
fn classes(block: &[u8; BLOCK]) -> (u64, u64) {
    let (mut plain, mut controls) = (0, 0);
    let (lanes, _) = block.as_chunks::<16>();
    for lane in lanes.iter().rev() {
        let bytes = u8x16::new(*lane);
        plain = plain << 16 | u64::from(is_plain(bytes).to_bitmask());
        controls = controls << 16 | u64::from(is_control(bytes).to_bitmask());
    }
    (!plain, controls)
}

#[inline(always)]
fn is_plain(bytes: u8x16) -> u8x16 {
    let letters = within(bytes | u8x16::splat(0x20), b'a', b'z');
    letters | within(bytes, b'0', b'9') | is(bytes, b'-')
}

#[inline(always)]
fn is_control(bytes: u8x16) -> u8x16 {
    within(bytes, 0, 0x1f) & !is(bytes, b'\t') | is(bytes, 0x7f)
}

/// All ones in the bytes from `low` to `high`.
#[inline(always)]
fn within(bytes: u8x16, low: u8, high: u8) -> u8x16 {
    let above_low = bytes - u8x16::splat(low);
    above_low.min(u8x16::splat(high - low)).simd_eq(above_low)
}

#[inline(always)]
fn is(bytes: u8x16, byte: u8) -> u8x16 {
    bytes.simd_eq(u8x16::splat(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_apart_in_every_place() {
        for byte in 0..=255u8 {
            let plain = byte.is_ascii_alphanumeric() || byte == b'-';
            let control = byte != b'\t' && byte.is_ascii_control();
            for place in 0..BLOCK {
                for neighbour in [b'a', b'-', b'Z', 0, 0x20, 0x80, 0xff, b'\t'] {
                    let mut block = [neighbour; BLOCK];
                    block[place] = byte;
                    let (others, controls) = classes(&block);
                    let bit = |bits: u64| bits >> place & 1 == 1;
                    assert_eq!((bit(others), bit(controls)), (!plain, control), "{block:?}");
                }
            }
        }
    }

    #[test]
    fn every_end_is_found_wherever_the_walk_begins() {
        for length in 0..200usize {
            let mut buf = vec![b'x'; length];
            for place in (0..length).step_by(7) {
                buf[place] = b'\r';
                for pos in 0..=place {
                    assert_eq!(Scan::new(&buf, pos).other(pos), place);
                    assert_eq!(Scan::new(&buf, 0).control(pos), place);
                }
                assert_eq!(Scan::new(&buf, 0).control(place + 1), length);
                buf[place] = b'x';
            }
            assert_eq!(Scan::new(&buf, length).other(length), length);
            assert_eq!(Scan::new(&buf, 0).control(length), length);
        }
    }
}
