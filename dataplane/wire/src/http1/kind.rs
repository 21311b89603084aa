//! Which headers mean something to a gateway, and how their names are recognised.

use super::scan::Scan;

/// The headers that a gateway itself acts on, recognised once, while parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "each variant is the header of the same name")]
pub enum HeaderKind {
    Host,
    Connection,
    ContentLength,
    TransferEncoding,
    Te,
    Trailer,
    Upgrade,
    KeepAlive,
    ProxyConnection,
    Expect,
    Via,
    Forwarded,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XRequestId,
    Traceparent,
    Tracestate,
    MaxForwards,
    XSluiceExplain,
    Date,
    Server,
    /// One of the above, but with underscores for dashes. Programs that get their headers as
    /// variables (RFC 3875 section 4.1.18) can't tell it from the real one.
    Lookalike,
    /// Any other header.
    Other,
}

impl HeaderKind {
    /// The kind of the header `name`, in any case.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        if Scan::new(name, 0).other(0) == name.len() {
            Self::of_plain(name)
        } else {
            Self::Other
        }
    }

    /// The same of a name of letters, digits and dashes.
    #[inline(always)]
    pub(super) fn of_plain(name: &[u8]) -> Self {
        let (first, last) = ends(name);
        let known = SLOTS[slot(first, name.len())];
        let same = known.first == first && known.last == last && known.name.len() == name.len();
        // Longer ones have bytes between their ends.
        if same && (name.len() <= 16 || name.eq_ignore_ascii_case(known.name)) {
            known.kind
        } else {
            Self::Other
        }
    }
}

/// The first and the last eight bytes of a name of letters, digits and dashes, which overlap where it is
/// shorter than sixteen, as a number in which case makes no difference: the bit is set that letters in
/// lower case have, and digits and dashes.
#[inline(always)]
const fn ends(name: &[u8]) -> (u64, u64) {
    const LOWER: u64 = u64::from_ne_bytes([0x20; 8]);
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        (first | LOWER, last | LOWER)
    } else if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        (first as u64 | LOWER, last as u64 | LOWER)
    } else {
        let mut word = 0;
        let mut rest = name;
        while let [byte, tail @ ..] = rest {
            word = word << 8 | *byte as u64;
            rest = tail;
        }
        (word | LOWER, 0)
    }
}

/// A name that has a kind.
#[derive(Clone, Copy)]
struct Known {
    name: &'static [u8],
    /// See [`ends`].
    first: u64,
    last: u64,
    kind: HeaderKind,
}

impl Known {
    /// `name` is in lower case.
    const fn new(name: &'static [u8], kind: HeaderKind) -> Self {
        let (first, last) = ends(name);
        Self {
            name,
            first,
            last,
            kind,
        }
    }
}

/// The names that have a kind.
const KNOWN: [Known; 22] = [
    Known::new(b"te", HeaderKind::Te),
    Known::new(b"via", HeaderKind::Via),
    Known::new(b"host", HeaderKind::Host),
    Known::new(b"date", HeaderKind::Date),
    Known::new(b"expect", HeaderKind::Expect),
    Known::new(b"server", HeaderKind::Server),
    Known::new(b"trailer", HeaderKind::Trailer),
    Known::new(b"upgrade", HeaderKind::Upgrade),
    Known::new(b"forwarded", HeaderKind::Forwarded),
    Known::new(b"connection", HeaderKind::Connection),
    Known::new(b"keep-alive", HeaderKind::KeepAlive),
    Known::new(b"tracestate", HeaderKind::Tracestate),
    Known::new(b"traceparent", HeaderKind::Traceparent),
    Known::new(b"x-request-id", HeaderKind::XRequestId),
    Known::new(b"max-forwards", HeaderKind::MaxForwards),
    Known::new(b"content-length", HeaderKind::ContentLength),
    Known::new(b"x-forwarded-for", HeaderKind::XForwardedFor),
    Known::new(b"x-forwarded-host", HeaderKind::XForwardedHost),
    Known::new(b"proxy-connection", HeaderKind::ProxyConnection),
    Known::new(b"x-sluice-explain", HeaderKind::XSluiceExplain),
    Known::new(b"transfer-encoding", HeaderKind::TransferEncoding),
    Known::new(b"x-forwarded-proto", HeaderKind::XForwardedProto),
];

/// Bytes of the longest of [`KNOWN`].
const LONGEST_KNOWN: usize = 17;

/// Where each of [`KNOWN`] is found at once; what no name of them has is in no slot.
static SLOTS: [Known; 1 << SLOT_BITS] = match slots(MULTIPLIER) {
    Some(slots) => slots,
    None => panic!("two names in one slot"),
};

const SLOT_BITS: u32 = 6;

/// Found by trying; see [`slots`].
const MULTIPLIER: u64 = {
    let mut multiplier = 0x9e37_79b9_7f4a_7c15;
    while slots(multiplier).is_none() {
        multiplier += 2;
    }
    multiplier
};

/// The slot of a name of this length that begins so.
#[inline(always)]
const fn slot(first: u64, length: usize) -> usize {
    slot_by(MULTIPLIER, first, length)
}

#[inline(always)]
const fn slot_by(multiplier: u64, first: u64, length: usize) -> usize {
    ((first ^ length as u64).wrapping_mul(multiplier) >> (64 - SLOT_BITS)) as usize
}

/// [`KNOWN`] in its slots, if this multiplier gives each of them its own.
const fn slots(multiplier: u64) -> Option<[Known; 1 << SLOT_BITS]> {
    let mut slots = [Known::new(b"", HeaderKind::Other); 1 << SLOT_BITS];
    let mut at = 0;
    while at < KNOWN.len() {
        let known = KNOWN[at];
        let slot = slot_by(multiplier, known.first, known.name.len());
        if !slots[slot].name.is_empty() {
            return None;
        }
        slots[slot] = known;
        at += 1;
    }
    Some(slots)
}

/// A set of [`HeaderKind`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KindSet(pub(super) u32);

impl KindSet {
    /// No kind at all.
    pub const EMPTY: Self = Self(0);

    /// The fields that belong to one connection (RFC 9110 section 7.6.1), and `Trailer`, which goes
    /// on only where trailers do.
    pub const HOP_BY_HOP: Self = Self::of(&[
        HeaderKind::Connection,
        HeaderKind::TransferEncoding,
        HeaderKind::Te,
        HeaderKind::Trailer,
        HeaderKind::Upgrade,
        HeaderKind::KeepAlive,
        HeaderKind::ProxyConnection,
    ]);

    /// The set of these kinds.
    #[must_use]
    pub const fn of(kinds: &[HeaderKind]) -> Self {
        let mut set = 0;
        let mut rest = kinds;
        while let [kind, tail @ ..] = rest {
            set |= 1 << *kind as u8;
            rest = tail;
        }
        Self(set)
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set less one kind.
    #[must_use]
    pub const fn without(self, kind: HeaderKind) -> Self {
        Self(self.0 & !(1 << kind as u8))
    }

    /// Whether `kind` is in the set.
    #[must_use]
    pub const fn contains(self, kind: HeaderKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }
}

/// The kind of a name that has other characters than letters, digits and dashes, which no name of a
/// kind of its own has.
#[cold]
pub(super) fn odd_kind(name: &[u8]) -> HeaderKind {
    let mut dashed = [0; LONGEST_KNOWN];
    let Some(dashed) = dashed.get_mut(..name.len()) else {
        return HeaderKind::Other;
    };
    for (to, &from) in dashed.iter_mut().zip(name) {
        *to = if from == b'_' { b'-' } else { from };
    }
    match HeaderKind::of(dashed) {
        HeaderKind::Other => HeaderKind::Other,
        _ => HeaderKind::Lookalike,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_recognised_in_any_case_and_no_others() {
        for known in &KNOWN {
            assert_eq!(HeaderKind::of(known.name), known.kind);
            let upper = known.name.to_ascii_uppercase();
            assert_eq!(HeaderKind::of(&upper), known.kind);
            for place in 0..known.name.len() {
                for other in [b'_', b'\r', known.name[place] ^ 0x80] {
                    let mut name = upper.clone();
                    name[place] = other;
                    assert_eq!(HeaderKind::of(&name), HeaderKind::Other, "{name:?}");
                }
            }
            assert_eq!(HeaderKind::of(&upper[1..]), HeaderKind::Other);
        }
    }
}
