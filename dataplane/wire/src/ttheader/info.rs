//! What the INFO blocks of a checked head hold.

use super::keys::info;
use crate::parsed::u16_at;

/// One thing that an INFO block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Info<'a> {
    /// A string key and its value.
    String(&'a [u8], &'a [u8]),
    /// An integer key and its value.
    Integer(u16, &'a [u8]),
    /// The ACL token in its own block.
    AclToken(&'a [u8]),
}

/// Goes through INFO blocks, see [`super::Head::infos`].
#[derive(Debug, Clone)]
pub struct Infos<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Pairs to come of the map that is being read, and which map it is.
    left: u16,
    strings: bool,
}

impl<'a> Infos<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            left: 0,
            strings: false,
        }
    }

    /// So many string pairs, which begin at `at`.
    pub(super) fn of_pairs(bytes: &'a [u8], at: usize, left: u16) -> Self {
        Self {
            bytes,
            at,
            left,
            strings: true,
        }
    }

    /// Offset of the last value of an integer key and the value.
    pub(super) fn integer_place(self, wanted: u16) -> Option<(usize, &'a [u8])> {
        self.last(|info| match info {
            Info::Integer(key, value) if key == wanted => Some(value),
            _ => None,
        })
    }

    /// Offset of the last value of a string key and the value.
    pub(super) fn string_place(self, wanted: &[u8]) -> Option<(usize, &'a [u8])> {
        self.last(|info| match info {
            Info::String(key, value) if key == wanted => Some(value),
            _ => None,
        })
    }

    #[inline]
    fn last(mut self, wanted: impl Fn(Info<'a>) -> Option<&'a [u8]>) -> Option<(usize, &'a [u8])> {
        let mut found = None;
        while let Some(info) = self.next() {
            if let Some(value) = wanted(info) {
                found = Some((self.at - value.len(), value));
            }
        }
        found
    }

    #[inline]
    fn u16(&mut self) -> Option<u16> {
        let number = u16_at(self.bytes, self.at)?;
        self.at += 2;
        Some(number)
    }

    #[inline]
    fn value(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        let value = self.bytes.get(self.at..self.at + length)?;
        self.at += length;
        Some(value)
    }
}

impl<'a> Iterator for Infos<'a> {
    type Item = Info<'a>;

    #[inline]
    fn next(&mut self) -> Option<Info<'a>> {
        while self.left == 0 {
            let kind = *self.bytes.get(self.at)?;
            self.at += 1;
            match kind {
                info::STRINGS | info::INTEGERS => {
                    self.left = self.u16()?;
                    self.strings = kind == info::STRINGS;
                }
                info::ACL_TOKEN => return self.value().map(Info::AclToken),
                // Padding: a checked head has nothing else.
                _ => {}
            }
        }
        self.left -= 1;
        if self.strings {
            let key = self.value()?;
            Some(Info::String(key, self.value()?))
        } else {
            let key = self.u16()?;
            Some(Info::Integer(key, self.value()?))
        }
    }
}
