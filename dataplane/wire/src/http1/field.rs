//! Header fields: what kinds there are, where they stand in a head, and one line of them.

use super::MAX_HEADERS;
use super::chars::{self, Stop, TOKEN};
use super::error::HeadError;
use super::scan::Scan;
use super::semantics::Semantics;

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
    fn of_plain(name: &[u8]) -> Self {
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
const KNOWN: [Known; 21] = [
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
pub struct KindSet(u32);

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

/// One header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name as received: a token.
    pub name: &'a [u8],
    /// The value as received, without the spaces and tabs around it: no control byte but HTAB.
    pub value: &'a [u8],
    /// What the name says, in any case.
    pub kind: HeaderKind,
    /// Belongs to this connection, by its kind or because `Connection` names it; not forwarded.
    pub hop_by_hop: bool,
}

/// Where one field stands: offsets into the parsed buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// First byte of the name.
    pub(super) start: u16,
    /// The colon.
    pub(super) colon: u16,
    pub(super) value_start: u16,
    pub(super) value_end: u16,
    /// Behind the CRLF: where the next line begins.
    pub(super) end: u16,
    pub(super) kind: HeaderKind,
    /// `Connection` names this field.
    pub(super) nominated: bool,
}

/// Where the fields of one head stand in the buffer that was parsed. It holds no borrow, so a
/// worker makes one and uses it for every head.
#[derive(Debug, Clone)]
pub struct HeadIndex {
    entries: [Entry; MAX_HEADERS],
    count: usize,
    seen: KindSet,
}

impl HeadIndex {
    /// An empty index, about 1.5 KiB, no heap.
    #[must_use]
    pub fn new() -> Self {
        let empty = Entry {
            start: 0,
            colon: 0,
            value_start: 0,
            value_end: 0,
            end: 0,
            kind: HeaderKind::Other,
            nominated: false,
        };
        Self {
            entries: [empty; MAX_HEADERS],
            count: 0,
            seen: KindSet::EMPTY,
        }
    }

    pub(super) fn entries(&self) -> &[Entry] {
        self.entries.get(..self.count).unwrap_or_default()
    }

    pub(super) fn entries_mut(&mut self) -> &mut [Entry] {
        self.entries.get_mut(..self.count).unwrap_or_default()
    }

    pub(super) fn seen(&self) -> KindSet {
        self.seen
    }

    /// Parses the field lines from `pos` to the empty line, and gives the position behind that. The walk has
    /// not gone beyond `pos`; `buf` is at most [`super::MAX_HEAD`] bytes, so that positions fit.
    pub(super) fn parse(
        &mut self,
        buf: &[u8],
        scan: &mut Scan<'_>,
        mut pos: usize,
        max_headers: usize,
        semantics: &mut Semantics,
    ) -> Result<usize, Stop<HeadError>> {
        let mut seen = KindSet::EMPTY;
        let mut count = 0;
        let mut slots = self.entries.iter_mut().take(max_headers);
        loop {
            let entry = match field_line(buf, scan, pos)? {
                FieldLine::Field(entry) => entry,
                FieldLine::End(end) => {
                    (self.seen, self.count) = (seen, count);
                    return Ok(end);
                }
            };
            let slot = slots.next().ok_or(HeadError::TooManyHeaders)?;
            if entry.kind != HeaderKind::Other {
                seen.0 |= 1 << entry.kind as u8;
                semantics.note(&entry, span(buf, entry.value_start, entry.value_end))?;
            }
            pos = entry.end as usize;
            *slot = entry;
            count += 1;
        }
    }
}

impl Default for HeadIndex {
    fn default() -> Self {
        Self::new()
    }
}

/// One line of a field section.
pub(super) enum FieldLine {
    /// The empty line; the position behind it.
    End(usize),
    /// A field.
    Field(Entry),
}

/// Parses the line at `pos` (RFC 9112 section 5): a field or the empty line. The walk has not gone
/// beyond `pos`.
#[inline(always)]
pub(super) fn field_line(
    buf: &[u8],
    scan: &mut Scan<'_>,
    pos: usize,
) -> Result<FieldLine, Stop<HeadError>> {
    let mut colon = scan.other(pos);
    let mut plain = true;
    let mut value_start;
    match buf.get(colon..).and_then(|rest| rest.first_chunk()) {
        // As it is written nearly always.
        Some([b':', b' ', first]) if *first > b' ' && colon > pos => value_start = colon + 2,
        _ => {
            if buf.get(colon) != Some(&b':') {
                colon = chars::skip_by(buf, scan, colon, TOKEN);
                plain = false;
            }
            match buf.get(colon) {
                Some(b':') if colon > pos => {}
                None => return Err(Stop::Partial),
                Some(b'\r') if colon == pos => {
                    return chars::line_end(buf, pos).map(FieldLine::End);
                }
                Some(&byte) => return Err(Stop::Refused(bad_name(byte, colon > pos))),
            }
            value_start = colon + 1;
            while let Some(b' ' | b'\t') = buf.get(value_start) {
                value_start += 1;
            }
        }
    }
    let mut value_end = scan.control(value_start);
    let end = chars::line_end(buf, value_end)?;
    while value_end > value_start && matches!(buf.get(value_end - 1), Some(b' ' | b'\t')) {
        value_end -= 1;
    }
    let name = buf.get(pos..colon).unwrap_or_default();
    Ok(FieldLine::Field(Entry {
        start: pos as u16,
        colon: colon as u16,
        value_start: value_start as u16,
        value_end: value_end as u16,
        end: end as u16,
        kind: if plain {
            HeaderKind::of_plain(name)
        } else {
            odd_kind(name)
        },
        nominated: false,
    }))
}

/// The kind of a name that has other characters than letters, digits and dashes, which no name of a
/// kind of its own has.
#[cold]
fn odd_kind(name: &[u8]) -> HeaderKind {
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

/// The most telling error for a byte that ended a name and is no colon.
#[cold]
fn bad_name(byte: u8, after_name: bool) -> HeadError {
    match byte {
        b' ' | b'\t' if after_name => HeadError::SpaceBeforeColon,
        b' ' | b'\t' => HeadError::FoldedLine,
        b'\n' => HeadError::BareLf,
        b'\r' => HeadError::MissingColon,
        0..0x20 | 0x7f => HeadError::ControlByte,
        _ => HeadError::InvalidHeaderName,
    }
}

/// The bytes between two offsets of an index; empty for offsets of another buffer.
#[inline]
pub(super) fn span(buf: &[u8], start: u16, end: u16) -> &[u8] {
    buf.get(start as usize..end as usize).unwrap_or_default()
}

/// The fields of a head in the order received; the default has none.
#[derive(Debug, Clone, Default)]
pub struct Headers<'a> {
    pub(super) buf: &'a [u8],
    pub(super) entries: std::slice::Iter<'a, Entry>,
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    #[inline]
    fn next(&mut self) -> Option<Header<'a>> {
        let entry = self.entries.next()?;
        Some(header(self.buf, entry))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl DoubleEndedIterator for Headers<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next_back()?;
        Some(header(self.buf, entry))
    }
}

#[inline]
fn header<'a>(buf: &'a [u8], entry: &Entry) -> Header<'a> {
    Header {
        name: span(buf, entry.start, entry.colon),
        value: span(buf, entry.value_start, entry.value_end),
        kind: entry.kind,
        hop_by_hop: entry.nominated || KindSet::HOP_BY_HOP.contains(entry.kind),
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
