//! Header fields: where they stand in a head, and one line of them.

use super::MAX_HEADERS;
use super::chars::{self, Stop, TOKEN};
use super::error::HeadError;
use super::kind::{HeaderKind, KindSet, odd_kind};
use super::scan::Scan;
use super::semantics::Semantics;

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

impl<'a> Headers<'a> {
    /// The values of the fields of this name, in any case.
    #[inline]
    pub fn named<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let buf = self.buf;
        self.entries.clone().filter_map(move |entry| {
            // The length alone tells most of them.
            let same = usize::from(entry.colon - entry.start) == name.len()
                && span(buf, entry.start, entry.colon).eq_ignore_ascii_case(name);
            same.then(|| span(buf, entry.value_start, entry.value_end))
        })
    }
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
