//! Reading frames: the head, the message's head and the beginning of its struct at once, the data in
//! pieces as it comes.

use sluice_wire::Parsed;
use sluice_wire::thrift::{self, MessageHead, Protocol};
use sluice_wire::ttheader::{FIXED, Head, Limits, Payload};

use super::encode::{COMPACT_STRING, RESULT, STRING};
use crate::load::pattern::Pattern;

/// Bytes that are looked at for the beginning of a frame, which must be in them.
pub(crate) const FRONT: usize = 64 * 1024;

/// Frames up to this length are read when all of it has come.
const AT_ONCE: usize = 4096;

/// How large frames may be: whatever was asked for.
const LIMITS: Limits = Limits {
    head: FRONT - 4096,
    frame: i32::MAX as usize,
};

const MESSAGE: thrift::Limits = thrift::Limits {
    message: i32::MAX as u32,
    method: 512,
};

/// The beginning of a frame.
pub(crate) struct Begun<'a> {
    pub(crate) head: Head<'a>,
    pub(crate) message: MessageHead<'a>,
    /// Offset of the data in the frame.
    pub(crate) data_at: usize,
    /// Length of the data; `None` where the struct does not begin with a string in the field that was looked
    /// for. The whole struct is at `data_at` then.
    pub(crate) data_len: Option<u64>,
}

/// What is at the front of what has come.
pub(crate) enum Front<'a> {
    Begun(Begun<'a>),
    Incomplete,
    /// No frame, or one without a Thrift message.
    Malformed,
}

impl<'a> Begun<'a> {
    /// Reads the beginning of a frame whose data is expected in this field.
    #[inline]
    pub(crate) fn read(input: &'a [u8], field: u8) -> Front<'a> {
        if input.len() < FIXED {
            return Front::Incomplete;
        }
        let head = match Head::parse(input, &LIMITS) {
            Ok(Parsed::Complete(head)) => head,
            Ok(Parsed::Incomplete { .. }) => return Front::Incomplete,
            Err(_) => return Front::Malformed,
        };
        let frame_len = head.frame_len();
        if frame_len <= AT_ONCE && input.len() < frame_len {
            return Front::Incomplete;
        }
        let payload_at = head.bytes().len();
        let payload = input.get(payload_at..).unwrap_or_default();
        let message = match head.payload(payload, &MESSAGE) {
            Ok(Parsed::Complete(Payload::Message(message))) => message,
            Ok(Parsed::Incomplete { .. }) => return Front::Incomplete,
            Ok(Parsed::Complete(_)) | Err(_) => return Front::Malformed,
        };
        let struct_at = payload_at + message.bytes().len();
        let begin = input.get(struct_at..frame_len.min(input.len()));
        let string = match message.protocol {
            Protocol::Binary => binary(begin.unwrap_or_default(), field),
            Protocol::Compact => compact(begin.unwrap_or_default(), field),
            Protocol::KitexProtobuf => Some(None),
        };
        let (prefix, data_len) = match string {
            Some(Some((prefix, length))) => (prefix, Some(length)),
            Some(None) => (0, None),
            None if input.len() >= frame_len => return Front::Malformed,
            None => return Front::Incomplete,
        };
        Front::Begun(Begun {
            head,
            message,
            data_at: struct_at + prefix,
            data_len,
        })
    }

    /// Bytes of the frame from the data on.
    pub(crate) fn left(&self) -> u64 {
        (self.head.frame_len() - self.data_at) as u64
    }
}

/// Bytes in front of the data and the data's length; `None`: more is needed, `Some(None)`: something else.
fn binary(bytes: &[u8], field: u8) -> Option<Option<(usize, u64)>> {
    let &kind = bytes.first()?;
    if kind != STRING {
        return Some(None);
    }
    let (begin, rest) = bytes.split_first_chunk::<3>()?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    Some((begin[1..] == [0, field]).then_some((7, u64::from(u32::from_be_bytes(*length)))))
}

fn compact(bytes: &[u8], field: u8) -> Option<Option<(usize, u64)>> {
    let begin: &[u8] = match field {
        RESULT => &[COMPACT_STRING, 0],
        step => &[step << 4 | COMPACT_STRING],
    };
    if bytes.len() < begin.len() && begin.starts_with(bytes) {
        return None;
    }
    let Some(rest) = bytes.strip_prefix(begin) else {
        return Some(None);
    };
    let mut length = 0u64;
    for (at, byte) in rest.iter().enumerate().take(5) {
        length |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(Some((begin.len() + at + 1, length)));
        }
    }
    if rest.len() < 5 { None } else { Some(None) }
}

/// The data of a frame and what follows it, as far as it has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Data {
    /// Bytes that are data.
    length: u64,
    /// Where in the pattern it begins; `None` where it is not ours.
    phase: Option<u32>,
    /// Bytes that have come of the frame, from the data on, and how many there are.
    at: u64,
    all: u64,
    right: bool,
}

impl Data {
    /// Data of a length, behind which only the struct's end belongs.
    pub(crate) fn new(length: u64, left: u64, phase: Option<u32>, right: bool) -> Self {
        Data {
            length,
            phase,
            at: 0,
            all: left,
            right: right && left == length.saturating_add(1),
        }
    }

    /// Something else, of which only the length is known.
    pub(crate) fn any(left: u64, right: bool) -> Self {
        Data {
            length: left,
            phase: None,
            at: 0,
            all: left,
            right,
        }
    }

    /// Looks at what has come; returns how many bytes of it belong to the frame.
    #[inline]
    pub(crate) fn take(&mut self, bytes: &[u8], pattern: &Pattern) -> usize {
        let taken = (self.all - self.at).min(bytes.len() as u64) as usize;
        let bytes = bytes.get(..taken).unwrap_or_default();
        let data = self.length.saturating_sub(self.at).min(taken as u64) as usize;
        let (data, behind) = bytes.split_at_checked(data).unwrap_or_default();
        if let Some(phase) = self.phase {
            self.right = self.right && pattern.matches(data, phase, self.at);
        }
        self.right = self.right && behind.iter().all(|byte| *byte == 0);
        self.at += taken as u64;
        taken
    }

    #[inline]
    pub(crate) fn is_whole(&self) -> bool {
        self.at >= self.all
    }

    /// Whether all that has come is as it should be.
    #[inline]
    pub(crate) fn is_right(&self) -> bool {
        self.right
    }
}
