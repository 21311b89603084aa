//! What parsing the front of a stream that may be incomplete comes to.

/// The outcome of parsing bytes of which more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<T> {
    /// All of it was there.
    Complete(T),
    /// All is well so far.
    Incomplete {
        /// Bytes from the start of the buffer that there must be at least before parsing it again can
        /// come to anything else. Always more than there were, never more than the caller's limits.
        need: usize,
    },
}

impl<T> Parsed<T> {
    /// The value, where all of it was there.
    pub fn complete(self) -> Option<T> {
        match self {
            Self::Complete(value) => Some(value),
            Self::Incomplete { .. } => None,
        }
    }
}

/// The two bytes at `at`, big-endian.
#[inline]
pub(crate) fn u16_at(buf: &[u8], at: usize) -> Option<u16> {
    buf.get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_be_bytes)
}

/// The four bytes at `at`, big-endian.
#[inline]
pub(crate) fn u32_at(buf: &[u8], at: usize) -> Option<u32> {
    buf.get(at..)?
        .first_chunk()
        .copied()
        .map(u32::from_be_bytes)
}
