//! Writing a head from nothing: for answers, and for messages that come without one.

use super::MAX_WRITTEN;
use super::error::EncodeError;
use super::head::{FIXED, Flags};
use super::keys::info;

/// A head to be put before a payload: it lifts a plain Thrift message into TTHeader. (To lower a frame to
/// plain Thrift, leave its head away: its payload is that message.)
#[derive(Debug, Default, Clone, Copy)]
pub struct NewHead<'a> {
    /// The flags.
    pub flags: Flags,
    /// The sequence. Servers answer with the sequence of the message itself; multiplexing clients reserve
    /// 0.
    pub sequence: i32,
    /// The protocol id. 0 for every kind of message: Kitex refuses 2, though it is right for compact, and
    /// readers look at the payload.
    pub protocol_id: u8,
    /// The ACL token.
    pub acl_token: Option<&'a [u8]>,
    /// String keys and their values.
    pub strings: &'a [(&'a [u8], &'a [u8])],
    /// Integer keys and their values.
    pub integers: &'a [(u16, &'a [u8])],
}

impl NewHead<'_> {
    /// Appends the head, for a payload of `payload_len` bytes that is to follow.
    ///
    /// # Errors
    /// It can't be encoded, see [`EncodeError`]; nothing is appended then.
    pub fn write(&self, out: &mut Vec<u8>, payload_len: usize) -> Result<(), EncodeError> {
        let start = out.len();
        let written = self.encode(out, payload_len);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn encode(&self, out: &mut Vec<u8>, payload_len: usize) -> Result<(), EncodeError> {
        let mut writer = Writer::begin(out, self.flags, self.sequence, self.protocol_id, &[]);
        if let Some(token) = self.acl_token {
            writer.acl_token(token)?;
        }
        writer.strings(self.strings.iter().copied())?;
        writer.integers(self.integers.iter().copied())?;
        writer.end(payload_len)
    }
}

/// Appends a head part by part.
pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
}

impl<'o> Writer<'o> {
    pub(super) fn begin(
        out: &'o mut Vec<u8>,
        Flags(flags): Flags,
        sequence: i32,
        protocol_id: u8,
        transforms: &[u8],
    ) -> Self {
        let start = out.len();
        // LENGTH and HEADER SIZE are known at the end.
        out.extend_from_slice(&[0, 0, 0, 0, 0x10, 0x00]);
        out.extend_from_slice(&flags.to_be_bytes());
        out.extend_from_slice(&sequence.to_be_bytes());
        // A received head has at most 255.
        let transforms = transforms.get(..255).unwrap_or(transforms);
        out.extend_from_slice(&[0, 0, protocol_id, transforms.len() as u8]);
        out.extend_from_slice(transforms);
        Self { out, start }
    }

    pub(super) fn acl_token(&mut self, token: &[u8]) -> Result<(), EncodeError> {
        self.out.push(info::ACL_TOKEN);
        self.string(token)
    }

    /// One map of all pairs; nothing where there are none.
    pub(super) fn strings<'p>(
        &mut self,
        pairs: impl Iterator<Item = (&'p [u8], &'p [u8])>,
    ) -> Result<(), EncodeError> {
        self.map(info::STRINGS, pairs, |writer, (key, value)| {
            writer.string(key)?;
            writer.string(value)
        })
    }

    /// One map of all pairs; nothing where there are none.
    pub(super) fn integers<'p>(
        &mut self,
        pairs: impl Iterator<Item = (u16, &'p [u8])>,
    ) -> Result<(), EncodeError> {
        self.map(info::INTEGERS, pairs, |writer, (key, value)| {
            writer.out.extend_from_slice(&key.to_be_bytes());
            writer.string(value)
        })
    }

    /// Pads the header and fills in its size and the frame's length.
    pub(super) fn end(self, payload_len: usize) -> Result<(), EncodeError> {
        let size = self.size().next_multiple_of(4);
        if size > MAX_WRITTEN {
            return Err(EncodeError::HeaderTooLarge);
        }
        self.out.resize(self.start + FIXED + size, 0);
        let size_at = self.start + FIXED - 2;
        if let Some(place) = self.out.get_mut(size_at..size_at + 2) {
            place.copy_from_slice(&((size / 4) as u16).to_be_bytes());
        }
        put_length(self.out, self.start, payload_len)
    }

    /// Bytes behind the fixed part so far.
    fn size(&self) -> usize {
        self.out.len() - self.start - FIXED
    }

    fn map<P>(
        &mut self,
        kind: u8,
        pairs: impl Iterator<Item = P>,
        mut pair: impl FnMut(&mut Self, P) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let start = self.out.len();
        self.out.extend_from_slice(&[kind, 0, 0]);
        let mut count = 0u16;
        for each in pairs {
            pair(self, each)?;
            // So that no more is written than can be sent; that bounds the count as well.
            if self.size() > MAX_WRITTEN {
                return Err(EncodeError::HeaderTooLarge);
            }
            count += 1;
        }
        if count == 0 {
            self.out.truncate(start);
        } else if let Some(place) = self.out.get_mut(start + 1..start + 3) {
            place.copy_from_slice(&count.to_be_bytes());
        }
        Ok(())
    }

    fn string(&mut self, string: &[u8]) -> Result<(), EncodeError> {
        let length = u16::try_from(string.len()).map_err(|_| EncodeError::StringTooLong)?;
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(string);
        Ok(())
    }
}

/// Fills in LENGTH of the head that `out` ends with since `start`.
pub(super) fn put_length(
    out: &mut [u8],
    start: usize,
    payload_len: usize,
) -> Result<(), EncodeError> {
    let head = out.get_mut(start..).unwrap_or_default();
    let length = (head.len() - 4).saturating_add(payload_len);
    let length = i32::try_from(length).map_err(|_| EncodeError::FrameTooLarge)?;
    if let Some(place) = head.first_chunk_mut() {
        *place = length.to_be_bytes();
    }
    Ok(())
}
