//! The head of a message: kind, method, sequence, and where they stand.

use arrayvec::ArrayVec;

use super::varint::{self, Varint};
use super::{Limits, MessageError, MessageKind, Protocol};
use crate::parsed::{Parsed, u16_at, u32_at};

/// Bytes of a frame's length.
const FRAME: usize = 4;

/// A complete, valid head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageHead<'a> {
    /// How the message is encoded.
    pub protocol: Protocol,
    /// Bytes that the frame around the message says it has, without these four bytes themselves;
    /// `None` where there is no frame.
    pub frame: Option<u32>,
    /// What the message is.
    pub kind: MessageKind,
    /// The method that is called or answered: any bytes, also none.
    pub method: &'a [u8],
    /// Sequence of the message, chosen by its caller.
    pub sequence: i32,
    /// Where the sequence stands, and how long it is (always 4 but for the compact protocol).
    sequence_at: usize,
    sequence_len: usize,
    bytes: &'a [u8],
}

/// Why parsing stops.
enum Stop {
    Incomplete(usize),
    Refused(MessageError),
}

impl From<MessageError> for Stop {
    fn from(error: MessageError) -> Self {
        Self::Refused(error)
    }
}

impl<'a> MessageHead<'a> {
    /// Reads the head of a message at the front of `buf`, with the length of its frame if it has one.
    /// An error is final, whatever would follow.
    ///
    /// # Errors
    /// The first reason found to refuse it, see [`MessageError`].
    #[inline]
    pub fn parse(buf: &'a [u8], limits: &Limits) -> Result<Parsed<Self>, MessageError> {
        match head(buf, limits) {
            Ok(head) => Ok(Parsed::Complete(head)),
            Err(Stop::Incomplete(need)) => Ok(Parsed::Incomplete { need }),
            Err(Stop::Refused(error)) => Err(error),
        }
    }

    /// The head as received, the frame's length included. Behind it is the message's struct.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of the message with its frame's length, where there is a frame to tell it.
    #[must_use]
    pub fn framed_len(&self) -> Option<usize> {
        self.frame.map(|frame| FRAME + frame as usize)
    }

    /// Whether it wants an answer.
    #[must_use]
    pub fn wants_answer(&self) -> bool {
        self.kind == MessageKind::Call
    }

    /// Appends this head with another sequence, everything else byte for byte. In the compact protocol
    /// its length may differ from that of [`Self::bytes`], and the frame's length with it.
    ///
    /// # Errors
    /// A frame that would be longer than 2^31 - 1 bytes; nothing is appended then.
    pub fn write_with_sequence(&self, out: &mut Vec<u8>, sequence: i32) -> Result<(), FrameFull> {
        self.write_changed(out, &self.with_sequence(sequence)?);
        Ok(())
    }

    /// The same head without the length of a frame; `None` of Kitex protobuf, which has to be in one.
    #[must_use]
    pub fn without_frame(&self) -> Option<Self> {
        let (at, bytes) = match (self.frame, self.protocol) {
            (None, _) => return Some(*self),
            (Some(_), Protocol::KitexProtobuf) => return None,
            (Some(_), _) => (
                self.sequence_at.checked_sub(FRAME)?,
                self.bytes.get(FRAME..)?,
            ),
        };
        Some(Self {
            frame: None,
            sequence_at: at,
            bytes,
            ..*self
        })
    }

    /// Appends this head, which is of a message without a frame and of `len` bytes, with another sequence
    /// and behind the length of a frame around all of it.
    ///
    /// # Errors
    /// A frame that would be longer than 2^31 - 1 bytes; nothing is appended then.
    pub fn write_in_frame(
        &self,
        out: &mut Vec<u8>,
        sequence: i32,
        len: usize,
    ) -> Result<(), FrameFull> {
        let changed = self.with_sequence(sequence)?;
        let frame = len.checked_add_signed(changed.growth());
        let frame = frame.and_then(|frame| i32::try_from(frame).ok());
        out.extend_from_slice(&frame.ok_or(FrameFull)?.to_be_bytes());
        self.write_changed(out, &changed);
        Ok(())
    }

    /// What another sequence changes.
    pub(crate) fn with_sequence(&self, sequence: i32) -> Result<Changed<'a>, FrameFull> {
        let end = self.sequence_at + self.sequence_len;
        let mut changed = Changed {
            start: self.sequence_at,
            old: self.bytes.get(self.sequence_at..end).unwrap_or_default(),
            new: ArrayVec::new(),
        };
        if self.protocol != Protocol::Compact {
            changed.push(&sequence.to_be_bytes());
            return Ok(changed);
        }
        // From the frame's length on, which may change as well.
        changed.start = 0;
        changed.old = self.bytes.get(..end).unwrap_or_default();
        let growth = varint::len(sequence as u32) as i64 - self.sequence_len as i64;
        if let Some(frame) = self.frame {
            let frame = i32::try_from(i64::from(frame) + growth).map_err(|_| FrameFull)?;
            changed.push(&frame.to_be_bytes());
        }
        let kind = changed.new.len()..self.sequence_at;
        changed.push(self.bytes.get(kind).unwrap_or_default());
        varint::write(sequence as u32, |byte| changed.push(&[byte]));
        Ok(changed)
    }

    /// Appends this head with what has changed.
    pub(crate) fn write_changed(&self, out: &mut Vec<u8>, changed: &Changed<'_>) {
        out.extend_from_slice(self.bytes.get(..changed.start).unwrap_or_default());
        out.extend_from_slice(&changed.new);
        out.extend_from_slice(self.bytes.get(changed.end()..).unwrap_or_default());
    }
}

/// The part of a head that another sequence changes.
#[derive(Debug)]
pub(crate) struct Changed<'a> {
    start: usize,
    /// As received.
    pub(crate) old: &'a [u8],
    /// Instead of that: at most a frame's length, the two bytes of a compact message and five of a varint.
    pub(crate) new: ArrayVec<u8, 11>,
}

impl Changed<'_> {
    /// Offset of the byte behind it.
    pub(crate) fn end(&self) -> usize {
        self.start + self.old.len()
    }

    /// Bytes by which the head grows.
    pub(crate) fn growth(&self) -> isize {
        self.new.len() as isize - self.old.len() as isize
    }

    fn push(&mut self, bytes: &[u8]) {
        // There is room for all that is put in.
        let _ = self.new.try_extend_from_slice(bytes);
    }
}

/// A frame's length has no room for what the message would grow by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the frame would be longer than its length can say")]
pub struct FrameFull;

/// The head at the front of `buf`.
#[inline]
fn head<'a>(buf: &'a [u8], limits: &Limits) -> Result<MessageHead<'a>, Stop> {
    match buf.first() {
        None => Err(Stop::Incomplete(2)),
        Some(0x80) => binary(buf, 0, None, limits),
        Some(0x82) => compact(buf, 0, None, limits),
        Some(0x81..) => Err(MessageError::UnknownProtocol.into()),
        Some(_) => framed(buf, limits),
    }
}

/// A frame's length, and the head behind it.
#[inline]
fn framed<'a>(buf: &'a [u8], limits: &Limits) -> Result<MessageHead<'a>, Stop> {
    let frame = u32_at(buf, 0).ok_or(Stop::Incomplete(FRAME + 2))?;
    if frame > limits.message {
        return Err(MessageError::FrameTooLarge.into());
    }
    // No head is shorter than that of a compact message without a name.
    if frame < 4 {
        return Err(MessageError::FrameTooShort.into());
    }
    // What is behind the frame is another's.
    let end = FRAME + frame as usize;
    let buf = buf.get(..end).unwrap_or(buf);
    let head = match buf.get(FRAME) {
        None => Err(Stop::Incomplete(FRAME + 2)),
        Some(0x80 | 0x90) => binary(buf, FRAME, Some(frame), limits),
        Some(0x82) => compact(buf, FRAME, Some(frame), limits),
        Some(_) => Err(MessageError::UnknownProtocol.into()),
    };
    match head {
        Err(Stop::Incomplete(need)) if need > end => Err(MessageError::FrameTooShort.into()),
        head => head,
    }
}

/// `8001 00 TT`, u32 length, method, i32 sequence.
#[inline]
fn binary<'a>(
    buf: &'a [u8],
    at: usize,
    frame: Option<u32>,
    limits: &Limits,
) -> Result<MessageHead<'a>, Stop> {
    let protocol = match u16_at(buf, at) {
        None => return Err(Stop::Incomplete(at + 2)),
        Some(0x8001) => Protocol::Binary,
        // Without a frame Kitex has no protobuf.
        Some(0x9001) if frame.is_some() => Protocol::KitexProtobuf,
        Some(_) => return Err(MessageError::UnknownProtocol.into()),
    };
    let version_and_kind = u16_at(buf, at + 2).ok_or(Stop::Incomplete(at + 4))?;
    let [version, kind] = version_and_kind.to_be_bytes();
    if version != 0 {
        return Err(MessageError::Version.into());
    }
    let kind = MessageKind::from_number(kind).ok_or(MessageError::Kind)?;
    let method_len = u32_at(buf, at + 4).ok_or(Stop::Incomplete(at + 8))?;
    if method_len > i32::MAX as u32 {
        return Err(MessageError::NegativeMethod.into());
    }
    if method_len > limits.method {
        return Err(MessageError::MethodTooLong.into());
    }
    let sequence_at = at + 8 + method_len as usize;
    let end = sequence_at + 4;
    let bytes = buf.get(..end).ok_or(Stop::Incomplete(end))?;
    let sequence = u32_at(bytes, sequence_at).unwrap_or_default();
    Ok(MessageHead {
        protocol,
        frame,
        kind,
        method: bytes.get(at + 8..sequence_at).unwrap_or_default(),
        sequence: sequence as i32,
        sequence_at,
        sequence_len: 4,
        bytes,
    })
}

/// `82`, `(TT << 5) | 1`, varint sequence, varint length, method.
#[inline]
fn compact<'a>(
    buf: &'a [u8],
    at: usize,
    frame: Option<u32>,
    limits: &Limits,
) -> Result<MessageHead<'a>, Stop> {
    let &kind_and_version = buf.get(at + 1).ok_or(Stop::Incomplete(at + 2))?;
    if kind_and_version & 0x1f != 1 {
        return Err(MessageError::UnknownProtocol.into());
    }
    let kind = MessageKind::from_number(kind_and_version >> 5).ok_or(MessageError::Kind)?;
    let sequence_at = at + 2;
    let (sequence, sequence_len) = number(buf, sequence_at)?;
    let method_len_at = sequence_at + sequence_len;
    let (method_len, method_len_len) = number(buf, method_len_at)?;
    if method_len > limits.method {
        return Err(MessageError::MethodTooLong.into());
    }
    let method_at = method_len_at + method_len_len;
    let end = method_at + method_len as usize;
    let bytes = buf.get(..end).ok_or(Stop::Incomplete(end))?;
    Ok(MessageHead {
        protocol: Protocol::Compact,
        frame,
        kind,
        method: bytes.get(method_at..).unwrap_or_default(),
        sequence: sequence as i32,
        sequence_at,
        sequence_len,
        bytes,
    })
}

/// The varint at `at` and its length.
#[inline]
fn number(buf: &[u8], at: usize) -> Result<(u32, usize), Stop> {
    let rest = buf.get(at..).unwrap_or_default();
    match varint::read(rest, 32) {
        Varint::Value(value, len) => Ok((value as u32, len)),
        Varint::Incomplete => Err(Stop::Incomplete(at + rest.len() + 1)),
        Varint::Overflow => Err(MessageError::Varint.into()),
    }
}
