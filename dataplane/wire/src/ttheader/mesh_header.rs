//! MeshHeader version 1, what meshes used before TTHeader: string pairs before a Thrift message.

use super::Limits;
use super::error::HeadError;
use super::info::{Info, Infos};
use crate::parsed::{Parsed, u16_at};

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
}
