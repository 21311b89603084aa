//! Writing calls and replies.

use clap::ValueEnum;
use sluice_wire::thrift::{MessageKind, Protocol};
use sluice_wire::ttheader::{EncodeError, NewHead};

use crate::load::message::{Marks, Message};
use crate::load::pattern::Pattern;

/// How the Thrift message in a frame is encoded, and whether a Thrift frame is around it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ValueEnum)]
pub enum Encoding {
    /// Binary protocol, without a Thrift frame.
    Binary,
    /// Compact protocol, without a Thrift frame.
    Compact,
    /// Binary protocol within a Thrift frame.
    #[default]
    FramedBinary,
    /// Compact protocol within a Thrift frame.
    FramedCompact,
}

impl Encoding {
    /// All of them.
    pub(crate) const ALL: [Encoding; 4] = [
        Encoding::Binary,
        Encoding::Compact,
        Encoding::FramedBinary,
        Encoding::FramedCompact,
    ];

    fn is_compact(self) -> bool {
        matches!(self, Encoding::Compact | Encoding::FramedCompact)
    }

    fn is_framed(self) -> bool {
        matches!(self, Encoding::FramedBinary | Encoding::FramedCompact)
    }

    /// The number of a message's encoding in [`Encoding::ALL`].
    pub(crate) fn place(protocol: Protocol, framed: bool) -> usize {
        usize::from(protocol == Protocol::Compact) + 2 * usize::from(framed)
    }
}

/// The field that a call's data is in: the first argument.
pub(crate) const ARGUMENT: u8 = 1;

/// The field that a reply's data is in: the result.
pub(crate) const RESULT: u8 = 0;

/// Type of a string field, in the binary protocol and in the compact one.
pub(super) const STRING: u8 = 0x0b;
pub(super) const COMPACT_STRING: u8 = 0x08;

/// The end of a struct.
const STOP: &[u8] = &[0];

/// A message with one string of bytes.
pub(crate) struct OneString<'a> {
    pub(crate) kind: MessageKind,
    pub(crate) method: &'a [u8],
    /// [`ARGUMENT`] or [`RESULT`].
    pub(crate) field: u8,
    /// Bytes word for word, in front of `length` bytes of the pattern.
    pub(crate) text: &'a [u8],
    pub(crate) length: u64,
    pub(crate) phase: u32,
}

impl OneString<'_> {
    /// A frame with this head, and a message in this encoding.
    ///
    /// # Errors
    /// The head is too large, or the frame.
    pub(crate) fn frame(
        &self,
        head: &NewHead<'_>,
        encoding: Encoding,
        pattern: &Pattern,
    ) -> Result<Message, EncodeError> {
        let mut message = Vec::new();
        let mark = if encoding.is_compact() {
            self.compact(&mut message)
        } else {
            self.binary(&mut message)
        };
        message.extend_from_slice(self.text);
        let behind = self.length + STOP.len() as u64;
        let payload = message.len() as u64 + behind;
        let framing = if encoding.is_framed() { 4 } else { 0 };
        let too_large = |_| EncodeError::FrameTooLarge;
        let whole = usize::try_from(payload + framing).map_err(too_large)?;
        let mut ready = Vec::new();
        head.write(&mut ready, whole)?;
        let frame = encoding.is_framed().then_some(ready.len());
        if frame.is_some() {
            let length = u32::try_from(payload).map_err(too_large)?;
            ready.extend_from_slice(&length.to_be_bytes());
        }
        let marks = Marks {
            message: ready.len() + mark,
            compact: encoding.is_compact(),
            frame,
        };
        ready.extend_from_slice(&message);
        let body = (self.length, self.phase);
        Ok(Message::numbered(ready, marks, body, STOP, pattern))
    }

    fn data_len(&self) -> u64 {
        self.text.len() as u64 + self.length
    }

    /// Everything in front of the data; returns where the sequence is.
    fn binary(&self, out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(&[0x80, 0x01, 0, self.kind as u8]);
        out.extend_from_slice(&(self.method.len() as u32).to_be_bytes());
        out.extend_from_slice(self.method);
        let sequence = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&[STRING, 0, self.field]);
        out.extend_from_slice(&(self.data_len() as u32).to_be_bytes());
        sequence
    }

    fn compact(&self, out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(&[0x82, (self.kind as u8) << 5 | 1]);
        let sequence = out.len();
        out.push(0);
        varint(self.method.len() as u32, out);
        out.extend_from_slice(self.method);
        match self.field {
            // A step of 0 has no short form: the number follows.
            RESULT => out.extend_from_slice(&[COMPACT_STRING, 0]),
            step => out.push(step << 4 | COMPACT_STRING),
        }
        varint(self.data_len() as u32, out);
        sequence
    }
}

fn varint(mut number: u32, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
