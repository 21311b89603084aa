//! Order of sequence numbers, which wrap (RFC 9293 3.4).

/// Whether `a` comes before `b`.
#[inline]
pub(crate) fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Whether `a` comes before `b` or is it.
#[inline]
pub(crate) fn at_most(a: u32, b: u32) -> bool {
    !before(b, a)
}

/// The later of the two.
#[inline]
pub(crate) fn later(a: u32, b: u32) -> u32 {
    if before(a, b) { b } else { a }
}
