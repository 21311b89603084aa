//! The meaning of some values.

use std::time::Duration;

use crate::thrift::MessageKind;

/// The kind of message that a value of key 22 names: a digit, as Kitex writes it, or the number itself
/// in one byte, as Volo does.
#[must_use]
pub fn message_kind(value: &[u8]) -> Option<MessageKind> {
    match *value {
        [digit @ b'0'..=b'9'] => MessageKind::from_number(digit - b'0'),
        [number] => MessageKind::from_number(number),
        _ => None,
    }
}

/// What a frame is to its stream, the values of key 27 (gopkg `protocol/ttheader/encode.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamFrame {
    /// About the connection.
    Meta,
    /// The first of a stream, in either direction: a stream is routed by its header.
    Header,
    /// A message.
    Data,
    /// The last, with an exception in its payload or a biz-status in its keys where the stream failed.
    Trailer,
    /// The stream is over, whatever is under way.
    Reset,
}

impl StreamFrame {
    /// What a value of key 27 says.
    #[must_use]
    pub fn from_value(value: &[u8]) -> Option<Self> {
        match value {
            b"1" => Some(Self::Meta),
            b"2" => Some(Self::Header),
            b"3" => Some(Self::Data),
            b"4" => Some(Self::Trailer),
            b"5" => Some(Self::Reset),
            _ => None,
        }
    }

    /// The value of key 27 for it.
    #[must_use]
    pub fn value(self) -> &'static [u8] {
        match self {
            Self::Meta => b"1",
            Self::Header => b"2",
            Self::Data => b"3",
            Self::Trailer => b"4",
            Self::Reset => b"5",
        }
    }
}

/// How long a caller waits, the value of key 12: at least one millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout {
    milliseconds: u32,
}

/// What is left of a [`Timeout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remaining {
    /// So much.
    Left(Timeout),
    /// Less than a millisecond: the work is not worth sending.
    Passed,
}

impl Timeout {
    /// Longest value in digits.
    pub const MAX_DIGITS: usize = 10;

    /// Of at least a millisecond, or `None`. Beyond 2^32 - 1 milliseconds it is that long.
    #[must_use]
    pub fn new(duration: Duration) -> Option<Self> {
        let milliseconds = u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        (milliseconds > 0).then_some(Self { milliseconds })
    }

    /// What a value of key 12 says: milliseconds in ASCII digits. `None` where it says nothing: it is
    /// empty, 0 (which peers take for no timeout) or no number.
    #[must_use]
    pub fn from_value(value: &[u8]) -> Option<Self> {
        // Longer than any number of 64 bits; not read.
        if value.is_empty() || value.len() > 20 {
            return None;
        }
        let mut milliseconds = 0u32;
        for &digit in value {
            let digit = (digit as char).to_digit(10)?;
            milliseconds = milliseconds.saturating_mul(10).saturating_add(digit);
        }
        (milliseconds > 0).then_some(Self { milliseconds })
    }

    /// As a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_millis(u64::from(self.milliseconds))
    }

    /// What is left of it when so much has been spent, in whole milliseconds.
    #[must_use]
    pub fn after(self, spent: Duration) -> Remaining {
        let left = self.duration().saturating_sub(spent);
        Self::new(left).map_or(Remaining::Passed, Remaining::Left)
    }

    /// The value of key 12 for it, written into `digits`.
    pub fn write(self, digits: &mut [u8; Self::MAX_DIGITS]) -> &[u8] {
        let mut rest = self.milliseconds;
        let mut at = digits.len();
        while rest > 0 && at > 0 {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        digits.get(at..).unwrap_or_default()
    }
}
