//! MeshHeader version 1, what meshes used before TTHeader: string pairs before a Thrift message.

use super::edit::Edit;
use super::error::{EncodeError, HeadError};
use super::head::Flags;
use super::info::{Info, Infos};
use super::keys::integer;
use super::new::Writer;
use super::{Limits, NewHead};
use crate::parsed::{Parsed, u16_at};
use crate::thrift::{MessageHead, MessageKind};

const MAGIC: u16 = 0xffaf;

/// Bytes of magic, size and count.
const PAIRS: usize = 6;

/// A complete, valid MeshHeader: u16 magic 0xFFAF, u16 size in bytes of what follows it, u16 count,
/// and so many pairs of a key and a value with their u16 lengths.
#[derive(Debug, Clone)]
pub struct MeshHeader<'a> {
    bytes: &'a [u8],
    pairs: Infos<'a>,
}

impl<'a> MeshHeader<'a> {
    /// Reads the header at the front of `buf`. An error is final, whatever would follow.
    ///
    /// # Errors
    /// The first reason found to refuse it: [`HeadError::Magic`], [`HeadError::HeaderEmpty`] (no
    /// room for the count), [`HeadError::HeaderTooLarge`] or [`HeadError::InfoPastHeader`].
    pub fn parse(buf: &'a [u8], limits: &Limits) -> Result<Parsed<Self>, HeadError> {
        let len = match Self::length(buf, limits)? {
            Parsed::Complete(len) => len,
            Parsed::Incomplete { need } => return Ok(Parsed::Incomplete { need }),
        };
        let Some(bytes) = buf.get(..len) else {
            return Ok(Parsed::Incomplete { need: len });
        };
        let count = u16_at(bytes, 4).unwrap_or_default();
        let pairs = Infos::of_pairs(bytes, PAIRS, count);
        // As many as it says, or one reaches behind its end. What is left over is padding.
        if pairs.clone().take(usize::from(count)).count() < usize::from(count) {
            return Err(HeadError::InfoPastHeader);
        }
        Ok(Parsed::Complete(Self { bytes, pairs }))
    }

    /// Bytes of the header at the front of `buf`, as it says itself and as far as `limits` allow.
    ///
    /// # Errors
    /// [`HeadError::Magic`], [`HeadError::HeaderEmpty`] or [`HeadError::HeaderTooLarge`].
    pub fn length(buf: &[u8], limits: &Limits) -> Result<Parsed<usize>, HeadError> {
        match u16_at(buf, 0) {
            Some(MAGIC) => {}
            Some(_) => return Err(HeadError::Magic),
            None => return Ok(Parsed::Incomplete { need: PAIRS }),
        }
        let Some(size) = u16_at(buf, 2) else {
            return Ok(Parsed::Incomplete { need: PAIRS });
        };
        if size < 2 {
            return Err(HeadError::HeaderEmpty);
        }
        let len = 4 + usize::from(size);
        if len > limits.head {
            return Err(HeadError::HeaderTooLarge);
        }
        Ok(Parsed::Complete(len))
    }

    /// The header as received; behind it is the message.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The pairs in the order received; of a key given twice the later value counts.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let count = u16_at(self.bytes, 4).unwrap_or_default();
        let pairs = self.pairs.clone().take(usize::from(count));
        pairs.filter_map(|info| match info {
            Info::String(key, value) => Some((key, value)),
            Info::Integer(..) | Info::AclToken(_) => None,
        })
    }

    /// The value of a key.
    #[must_use]
    pub fn string(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        let values = self.pairs().filter(|(key, _)| *key == wanted);
        Some(values.last()?.1)
    }

    /// Appends a head of TTHeader with the same pairs, for a payload of `payload_len` bytes that begins with
    /// `message`: its sequence, its method and its kind stand in the head as well.
    ///
    /// # Errors
    /// It can't be encoded, see [`EncodeError`].
    pub fn lift(
        &self,
        out: &mut Vec<u8>,
        message: &MessageHead<'_>,
        payload_len: usize,
    ) -> Result<(), EncodeError> {
        let kind: &[u8] = match message.kind {
            MessageKind::Call => b"1",
            MessageKind::Reply => b"2",
            MessageKind::Exception => b"3",
            MessageKind::Oneway => b"4",
        };
        let none = NewHead::default();
        let mut writer = Writer::begin(
            out,
            Flags::default(),
            message.sequence,
            none.protocol_id,
            &[],
        );
        writer.strings(self.pairs())?;
        let integers = [
            (integer::TO_METHOD, message.method),
            (integer::MSG_TYPE, kind),
        ];
        writer.integers(integers.into_iter())?;
        writer.end(payload_len)
    }

    /// Appends the header with changes to its pairs; those to integer keys, which it has none of, are passed
    /// over. Without changes it is byte for byte what was received.
    ///
    /// # Errors
    /// It would be longer than its size can say; nothing is appended then.
    pub fn write(&self, out: &mut Vec<u8>, edits: &[Edit<'_>]) -> Result<(), EncodeError> {
        if edits.is_empty() {
            out.extend_from_slice(self.bytes);
            return Ok(());
        }
        let start = out.len();
        let written = self.encode(out, edits);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn encode(&self, out: &mut Vec<u8>, edits: &[Edit<'_>]) -> Result<(), EncodeError> {
        let start = out.len();
        out.extend_from_slice(&MAGIC.to_be_bytes());
        out.extend_from_slice(&[0; PAIRS - 2]);
        let kept = self.pairs().filter(|(key, _)| {
            edits.iter().all(|edit| match edit {
                Edit::SetString(own, _) | Edit::RemoveString(own) => own != key,
                Edit::RemovePrefix(prefix) => !key.starts_with(prefix),
                Edit::SetInteger(..) | Edit::RemoveInteger(_) => true,
            })
        });
        let set = edits.iter().filter_map(|edit| match *edit {
            Edit::SetString(key, value) => Some((key, value)),
            _ => None,
        });
        let mut count = 0u16;
        for (key, value) in kept.chain(set) {
            for text in [key, value] {
                let length = u16::try_from(text.len()).map_err(|_| EncodeError::StringTooLong)?;
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(text);
            }
            // So that no more is written than can be sent.
            if out.len() - start > usize::from(u16::MAX) {
                return Err(EncodeError::HeaderTooLarge);
            }
            count += 1;
        }
        let size = u16::try_from(out.len() - start - 4);
        let size = size.map_err(|_| EncodeError::HeaderTooLarge)?;
        if let Some(place) = out.get_mut(start + 2..start + PAIRS) {
            place[..2].copy_from_slice(&size.to_be_bytes());
            place[2..].copy_from_slice(&count.to_be_bytes());
        }
        Ok(())
    }
}
