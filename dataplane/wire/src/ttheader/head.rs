//! The head of a frame, received and checked.

use super::error::HeadError;
use super::info::Infos;
use super::keys::{info, integer, string};
use super::{Limits, StreamFrame, Timeout, message_kind};
use crate::parsed::{Parsed, u16_at, u32_at};
use crate::thrift::MessageKind;

/// Bytes before the part that HEADER SIZE counts.
pub const FIXED: usize = 14;

/// Bytes of LENGTH, which does not count itself.
const LENGTH: usize = 4;

const MAGIC: u16 = 0x1000;

/// The FLAGS of a frame. Bits without a name are kept.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flags(pub u16);

impl Flags {
    /// Replies may come in another order.
    pub const OUT_OF_ORDER: Self = Self(0x01);
    /// The frame belongs to a stream, whose id is the sequence.
    pub const STREAMING: Self = Self(0x02);
    /// Calls in the other direction of the connection.
    pub const DUPLEX_REVERSE: Self = Self(0x08);
    /// Authentication of the connection.
    pub const SASL: Self = Self(0x10);

    /// Whether all bits of `flags` are set.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// These without `flags`.
    #[must_use]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }
}

/// A complete, valid head of a frame: a view of the received bytes.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    bytes: &'a [u8],
    frame_len: usize,
    index: Index,
}

/// Where things stand in a head, found by the pass that checks it. A place is where the two bytes of a
/// value's length are; 0 means that there is no such value.
#[derive(Debug, Clone, Copy)]
struct Index {
    /// Of the integer keys that are indexed; the first is of no meaning.
    integers: [u32; integer::PLACES],
    idl_service: u32,
    remote_address: u32,
    connection_reset: u32,
    crc32c: u32,
    acl_token: u32,
    validator: bool,
    /// Where the INFO blocks begin.
    infos: u32,
    /// Where the count of the first string map is.
    strings: u32,
    /// There is another one.
    more_strings: bool,
}

impl<'a> Head<'a> {
    /// Bytes of the head and of the whole frame at the front of `buf`, as they say themselves and as
    /// far as `limits` allow. LENGTH and magic are looked at as soon as they are there.
    ///
    /// # Errors
    /// [`HeadError::NegativeLength`] to [`HeadError::HeaderPastFrame`].
    #[inline]
    pub fn lengths(buf: &[u8], limits: &Limits) -> Result<Parsed<(usize, usize)>, HeadError> {
        let Some(length) = u32_at(buf, 0) else {
            return Ok(Parsed::Incomplete { need: FIXED });
        };
        if length > i32::MAX as u32 {
            return Err(HeadError::NegativeLength);
        }
        let frame_len = LENGTH + length as usize;
        if frame_len > limits.frame {
            return Err(HeadError::FrameTooLarge);
        }
        match u16_at(buf, 4) {
            Some(MAGIC) => {}
            None => return Ok(Parsed::Incomplete { need: FIXED }),
            Some(_) => return Err(HeadError::Magic),
        }
        let Some(size) = u16_at(buf, 12) else {
            return Ok(Parsed::Incomplete { need: FIXED });
        };
        if size == 0 {
            return Err(HeadError::HeaderEmpty);
        }
        let len = FIXED + usize::from(size) * 4;
        if len > frame_len {
            return Err(HeadError::HeaderPastFrame);
        }
        if len > limits.head {
            return Err(HeadError::HeaderTooLarge);
        }
        Ok(Parsed::Complete((len, frame_len)))
    }

    /// Reads the head of a frame at the front of `buf`. An error is final, whatever would follow. LENGTH
    /// and magic are looked at as soon as they are there, the rest once all of it is.
    ///
    /// # Errors
    /// The first reason found to refuse it, see [`HeadError`].
    #[inline]
    pub fn parse(buf: &'a [u8], limits: &Limits) -> Result<Parsed<Self>, HeadError> {
        let (len, frame_len) = match Self::lengths(buf, limits)? {
            Parsed::Complete(lengths) => lengths,
            Parsed::Incomplete { need } => return Ok(Parsed::Incomplete { need }),
        };
        let Some(bytes) = buf.get(..len) else {
            return Ok(Parsed::Incomplete { need: len });
        };
        let index = Index::of(bytes)?;
        Ok(Parsed::Complete(Self {
            bytes,
            frame_len,
            index,
        }))
    }

    /// The head as received, from LENGTH to the payload.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of the whole frame, this head and its payload.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        self.frame_len
    }

    /// Bytes of the payload behind this head.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.frame_len - self.bytes.len()
    }

    /// The flags.
    #[must_use]
    pub fn flags(&self) -> Flags {
        Flags(u16_at(self.bytes, 6).unwrap_or_default())
    }

    /// The sequence; the id of the stream in a streaming frame. Any number; multiplexing peers reserve 0.
    #[must_use]
    pub fn sequence(&self) -> i32 {
        u32_at(self.bytes, 8).unwrap_or_default() as i32
    }

    /// What the peer says of the payload: 0 Thrift binary, 2 compact, 3 compact version 2, 4 Kitex
    /// protobuf, 0x10 and 0x11 the structs of streams. Not to be trusted.
    #[must_use]
    pub fn protocol_id(&self) -> u8 {
        self.bytes.get(14).copied().unwrap_or_default()
    }

    /// The ids of the transforms, which nobody applies.
    #[must_use]
    pub fn transforms(&self) -> &'a [u8] {
        self.bytes
            .get(16..self.index.infos as usize)
            .unwrap_or_default()
    }

    /// The value of an integer key, without a search for the keys that routes, deadlines and
    /// logs go by.
    #[inline]
    #[must_use]
    pub fn integer(&self, key: u16) -> Option<&'a [u8]> {
        Some(self.integer_place(key)?.1)
    }

    /// The value of a string key, found by a search but for `isn`, `rip`, `crrst` and `crc32c`. The ACL
    /// token goes by its name as well.
    #[inline]
    #[must_use]
    pub fn string(&self, key: &[u8]) -> Option<&'a [u8]> {
        Some(self.string_place(key)?.1)
    }

    /// The ACL token, in a block of its own or as a string.
    #[must_use]
    pub fn acl_token(&self) -> Option<&'a [u8]> {
        self.value(self.index.acl_token)
    }

    /// Everything the INFO blocks hold, in the order received.
    #[must_use]
    pub fn infos(&self) -> Infos<'a> {
        Infos::new(self.bytes, self.index.infos as usize)
    }

    /// What key 22 says the message is; `None` where it says nothing, or nothing that is known.
    #[must_use]
    pub fn message_kind(&self) -> Option<MessageKind> {
        message_kind(self.integer(integer::MSG_TYPE)?)
    }

    /// What this frame is to its stream, in a streaming frame that says so in a way that is known.
    #[must_use]
    pub fn stream_frame(&self) -> Option<StreamFrame> {
        if !self.flags().contains(Flags::STREAMING) {
            return None;
        }
        StreamFrame::from_value(self.integer(integer::FRAME_TYPE)?)
    }

    /// How long the caller waits; `None` where it does not say.
    #[must_use]
    pub fn timeout(&self) -> Option<Timeout> {
        Timeout::from_value(self.integer(integer::RPC_TIMEOUT)?)
    }

    /// Whether this connection shall be closed after this reply.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.value(self.index.connection_reset)
            .is_some_and(|value| !value.is_empty())
    }

    /// Whether the payload has a checksum that only the peers can compute.
    #[must_use]
    pub fn has_validator(&self) -> bool {
        self.index.validator
    }

    /// Offset of the value of an integer key and the value.
    #[inline]
    pub(super) fn integer_place(&self, key: u16) -> Option<(usize, &'a [u8])> {
        match integer::place(key) {
            0 => self.infos().integer_place(key),
            place => {
                let at = *self.index.integers.get(place)?;
                Some((at as usize + 2, self.value(at)?))
            }
        }
    }

    /// Offset of the value of a string key and the value.
    #[inline]
    pub(super) fn string_place(&self, key: &[u8]) -> Option<(usize, &'a [u8])> {
        match self.index.place_of(key) {
            Some(at) => Some((at as usize + 2, self.value(at)?)),
            None if self.index.more_strings => self.infos().string_place(key),
            None => self.in_one_map(key),
        }
    }

    /// As [`Self::string_place`], where there is one string map at most: that of nearly every head.
    #[inline]
    fn in_one_map(&self, wanted: &[u8]) -> Option<(usize, &'a [u8])> {
        if self.index.strings == 0 {
            return None;
        }
        let map = self.bytes.get(self.index.strings as usize..)?;
        let (count, mut rest) = map.split_first_chunk::<2>()?;
        let mut found = None;
        for _ in 0..u16::from_be_bytes(*count) {
            let (key, behind) = split_string(rest)?;
            let (value, behind) = split_string(behind)?;
            if key == wanted {
                found = Some((self.bytes.len() - behind.len() - value.len(), value));
            }
            rest = behind;
        }
        found
    }

    #[inline]
    fn value(&self, at: u32) -> Option<&'a [u8]> {
        if at == 0 {
            return None;
        }
        Some(split_string(self.bytes.get(at as usize..)?)?.0)
    }
}

impl Index {
    /// Checks everything behind the fixed part and notes where it stands. `bytes` is a whole head.
    // Called in one place; as a function of its own it would be copied there.
    #[inline(always)]
    fn of(bytes: &[u8]) -> Result<Self, HeadError> {
        let transforms = usize::from(bytes.get(15).copied().unwrap_or_default());
        let mut at = 16 + transforms;
        if at > bytes.len() {
            return Err(HeadError::Transforms);
        }
        let mut index = Self {
            integers: [0; integer::PLACES],
            idl_service: 0,
            remote_address: 0,
            connection_reset: 0,
            crc32c: 0,
            acl_token: 0,
            validator: false,
            infos: at as u32,
            strings: 0,
            more_strings: false,
        };
        while let Some(&kind) = bytes.get(at) {
            at += 1;
            at = match kind {
                info::PADDING => at,
                info::STRINGS => index.strings(bytes, at)?,
                info::INTEGERS => index.integers(bytes, at)?,
                info::ACL_TOKEN => {
                    index.note_token(at)?;
                    let token = bytes.get(at..).and_then(split_string);
                    let (_, behind) = token.ok_or(HeadError::InfoPastHeader)?;
                    bytes.len() - behind.len()
                }
                _ => return Err(HeadError::UnknownInfo),
            };
        }
        Ok(index)
    }

    /// The string map whose count is at `at`; returns where it ends.
    #[inline]
    fn strings(&mut self, bytes: &[u8], at: usize) -> Result<usize, HeadError> {
        self.more_strings = self.strings != 0;
        self.strings = if self.more_strings {
            self.strings
        } else {
            at as u32
        };
        let map = bytes.get(at..).and_then(|map| map.split_first_chunk::<2>());
        let (count, mut rest) = map.ok_or(HeadError::InfoPastHeader)?;
        for _ in 0..u16::from_be_bytes(*count) {
            let (key, behind) = split_string(rest).ok_or(HeadError::InfoPastHeader)?;
            self.note_string(key, bytes.len() - behind.len())?;
            let (_, behind) = split_string(behind).ok_or(HeadError::InfoPastHeader)?;
            rest = behind;
        }
        Ok(bytes.len() - rest.len())
    }

    /// The integer map whose count is at `at`; returns where it ends.
    #[inline]
    fn integers(&mut self, bytes: &[u8], at: usize) -> Result<usize, HeadError> {
        let map = bytes.get(at..).and_then(|map| map.split_first_chunk::<2>());
        let (count, mut rest) = map.ok_or(HeadError::InfoPastHeader)?;
        for _ in 0..u16::from_be_bytes(*count) {
            let pair = rest.split_first_chunk::<2>();
            let (key, value) = pair.ok_or(HeadError::InfoPastHeader)?;
            let key = u16::from_be_bytes(*key);
            if let Some(place) = self.integers.get_mut(integer::place(key)) {
                *place = (bytes.len() - value.len()) as u32;
            }
            let (_, behind) = split_string(value).ok_or(HeadError::InfoPastHeader)?;
            rest = behind;
        }
        Ok(bytes.len() - rest.len())
    }

    /// Keeps where the value of a key stands that is needed often, or forbids something.
    #[inline]
    fn note_string(&mut self, key: &[u8], at: usize) -> Result<(), HeadError> {
        match key {
            string::IDL_SERVICE => self.idl_service = at as u32,
            string::REMOTE_ADDRESS => self.remote_address = at as u32,
            string::CONNECTION_RESET => self.connection_reset = at as u32,
            string::CRC32C => self.crc32c = at as u32,
            string::ACL_TOKEN => self.note_token(at)?,
            _ => self.validator |= key.starts_with(string::VALIDATOR_PREFIX),
        }
        Ok(())
    }

    fn note_token(&mut self, at: usize) -> Result<(), HeadError> {
        if self.acl_token != 0 {
            return Err(HeadError::RepeatedAclToken);
        }
        self.acl_token = at as u32;
        Ok(())
    }

    /// Where the value of this key is, or would be, noted.
    #[inline]
    fn place_of(&self, key: &[u8]) -> Option<u32> {
        match key {
            string::IDL_SERVICE => Some(self.idl_service),
            string::REMOTE_ADDRESS => Some(self.remote_address),
            string::CONNECTION_RESET => Some(self.connection_reset),
            string::CRC32C => Some(self.crc32c),
            string::ACL_TOKEN => Some(self.acl_token),
            _ => None,
        }
    }
}

/// A string behind its length, and what follows it.
#[inline]
fn split_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
