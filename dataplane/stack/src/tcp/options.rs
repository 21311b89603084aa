//! TCP options: reading what peers send, whatever it is, and writing ours.

use arrayvec::ArrayVec;

use super::reassembly::Range;

const END: u8 = 0;
const NOTHING: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// The largest window scale (RFC 7323 2.3).
const MAX_SCALE: u8 = 14;

/// The space options take at most (RFC 9293 3.1).
pub(crate) const MAX_LENGTH: usize = 40;
/// The space of the timestamps option with its padding.
pub(crate) const TIMESTAMPS_LENGTH: usize = 12;

/// Options whose lengths do not add up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What a segment says in its options; the first two are meant in a SYN only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    /// Value and echo reply (RFC 7323 3.2).
    pub(crate) timestamps: Option<(u32, u32)>,
    /// SACK blocks, empty ones left out.
    pub(crate) sack: ArrayVec<Range, 4>,
}

impl Options {
    /// Reads the options of a segment. Unknown ones are passed over.
    #[inline]
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        // What nearly every segment has, in the layout of RFC 7323 appendix A.
        match bytes {
            [] => Ok(()),
            [NOTHING, NOTHING, TIMESTAMPS, 10, data @ ..] if data.len() == 8 => {
                self.timestamps = pair(data);
                Ok(())
            }
            _ => self.walk(bytes),
        }
    }

    /// The same into new ones.
    pub(crate) fn read(bytes: &[u8]) -> Result<Options, Malformed> {
        let mut options = Options::default();
        options.take(bytes)?;
        Ok(options)
    }

    #[cold]
    fn walk(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        loop {
            bytes = match bytes {
                [] | [END, ..] => return Ok(()),
                [NOTHING, rest @ ..] => rest,
                [kind, length, rest @ ..] => {
                    let length = usize::from(*length).checked_sub(2).ok_or(Malformed)?;
                    let (data, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
                    self.option(*kind, data)?;
                    rest
                }
                [_] => return Err(Malformed),
            };
        }
    }

    fn option(&mut self, kind: u8, data: &[u8]) -> Result<(), Malformed> {
        match (kind, data) {
            (MSS, &[a, b]) => self.mss = Some(u16::from_be_bytes([a, b])),
            (WINDOW_SCALE, &[scale]) => self.window_scale = Some(scale.min(MAX_SCALE)),
            (SACK_PERMITTED, []) => self.sack_permitted = true,
            (TIMESTAMPS, _) if data.len() == 8 => self.timestamps = pair(data),
            (SACK, _) if data.len().is_multiple_of(8) && !data.is_empty() => {
                let blocks = data.chunks_exact(8).filter_map(pair);
                self.sack = blocks.filter(|(start, end)| start != end).take(4).collect();
            }
            (MSS | WINDOW_SCALE | SACK_PERMITTED | TIMESTAMPS | SACK, _) => return Err(Malformed),
            _ => {}
        }
        Ok(())
    }
}

fn pair(data: &[u8]) -> Option<(u32, u32)> {
    let (words, _) = data.as_chunks::<4>();
    match words {
        [a, b] => Some((u32::from_be_bytes(*a), u32::from_be_bytes(*b))),
        _ => None,
    }
}

/// Options to be sent, padded to whole words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OptionBytes {
    bytes: [u8; MAX_LENGTH],
    len: u8,
}

impl OptionBytes {
    pub(crate) const NONE: OptionBytes = OptionBytes {
        bytes: [0; MAX_LENGTH],
        len: 0,
    };

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    #[inline]
    fn push<const N: usize>(&mut self, bytes: [u8; N]) {
        let at = usize::from(self.len);
        if let Some(room) = self.bytes.get_mut(at..at + N) {
            room.copy_from_slice(&bytes);
            self.len += N as u8;
        }
    }

    /// The timestamps option.
    #[inline]
    pub(crate) fn timestamps(&mut self, value: u32, echo: u32) {
        let (v, e) = (value.to_be_bytes(), echo.to_be_bytes());
        let head = [NOTHING, NOTHING, TIMESTAMPS, 10];
        self.push([
            head[0], head[1], head[2], head[3], v[0], v[1], v[2], v[3], e[0], e[1], e[2], e[3],
        ]);
    }

    /// As many of the blocks as there is room for.
    pub(crate) fn sack(&mut self, blocks: impl Iterator<Item = Range>) {
        let room = (MAX_LENGTH - usize::from(self.len)).saturating_sub(4) / 8;
        let blocks: ArrayVec<Range, 4> = blocks.take(room.min(4)).collect();
        if blocks.is_empty() {
            return;
        }
        self.push([NOTHING, NOTHING, SACK, 2 + 8 * blocks.len() as u8]);
        for (start, end) in blocks {
            self.push(start.to_be_bytes());
            self.push(end.to_be_bytes());
        }
    }

    /// The options of a SYN or of the answer to one: in as few words as anybody could put them.
    pub(crate) fn syn(
        mss: Option<u16>,
        scale: Option<u8>,
        sack: bool,
        timestamps: Option<(u32, u32)>,
    ) -> Self {
        let mut options = OptionBytes::NONE;
        if let Some([high, low]) = mss.map(u16::to_be_bytes) {
            options.push([MSS, 4, high, low]);
        }
        if let Some(scale) = scale {
            options.push([NOTHING, WINDOW_SCALE, 3, scale]);
        }
        let at = options.as_slice().len();
        if let Some((value, echo)) = timestamps {
            options.timestamps(value, echo);
        }
        match (sack, timestamps) {
            // In place of what pads the timestamps.
            (true, Some(_)) => options.bytes[at..at + 2].copy_from_slice(&[SACK_PERMITTED, 2]),
            (true, None) => options.push([NOTHING, NOTHING, SACK_PERMITTED, 2]),
            (false, _) => {}
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let syn = OptionBytes::syn(Some(1460), Some(7), true, Some((5, 0)));
        let read = Options::read(syn.as_slice()).unwrap();
        let expected = Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some((5, 0)),
            sack: ArrayVec::new(),
        };
        assert_eq!(read, expected);
        let mut options = OptionBytes::NONE;
        options.timestamps(9, 8);
        options.sack([(1, 2), (3, 4), (5, 6), (7, 8)].into_iter());
        let read = Options::read(options.as_slice()).unwrap();
        assert_eq!(read.timestamps, Some((9, 8)));
        assert_eq!(
            read.sack[..],
            [(1, 2), (3, 4), (5, 6)],
            "three beside timestamps"
        );
    }

    #[test]
    fn lengths_that_do_not_add_up_are_malformed() {
        for bytes in [
            &[2, 1][..],
            &[2, 4, 5],
            &[2, 3, 5],
            &[8, 10, 0],
            &[5, 2],
            &[5, 6, 0, 0, 0, 0],
            &[99],
            &[4, 3, 0],
            &[3, 2],
            &[254, 0],
        ] {
            assert_eq!(Options::read(bytes), Err(Malformed), "{bytes:?}");
        }
        assert_eq!(
            Options::read(&[254, 4, 1, 1, 1, 0, 9]),
            Ok(Options::default())
        );
        assert_eq!(Options::read(&[3, 3, 200]).unwrap().window_scale, Some(14));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(0u8..12, 0..40)) {
            let _ = Options::read(&bytes);
        }
    }
}
