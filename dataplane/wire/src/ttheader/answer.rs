//! Answers that a gateway gives by itself, in the form that Kitex and Volo clients understand.

use super::StreamFrame;
use super::error::EncodeError;
use super::head::{Flags, Head};
use super::keys::{integer, string};
use super::multiplex::Sequences;
use super::new::{NewHead, put_length};
use super::payload::Payload;
use crate::thrift::{AnswerTo, ExceptionKind, MessageKind, NoAnswer, Protocol};

/// The protocol id of a stream's frames.
const STRUCT: u8 = 0x10;

/// An answer to one request, or to a stream, which it ends.
///
/// It repeats what its caller goes by: the frame's sequence, the message's, the method and whether there is
/// a Thrift frame. A caller that sends sequence 0 gets the message's: to a multiplexing client of Kitex a
/// reply with sequence 0 is a control frame. Only where both are 0, as a ping-pong client of
/// Volo has them, the answer has 0, as servers answer it.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    sequence: i32,
    protocol_id: u8,
    stream: bool,
    to: AnswerTo<'a>,
    last: bool,
}

impl<'a> Answer<'a> {
    /// An answer to the frame with this head and what its payload is. Where that is no message
    /// (malformed, or another protocol), the answer is a binary one that names the method of key 9.
    ///
    /// # Errors
    /// The frame wants no answer, see [`NoAnswer`].
    pub fn to(head: &Head<'a>, payload: &Payload<'a>) -> Result<Self, NoAnswer> {
        match head.message_kind() {
            Some(MessageKind::Oneway) => return Err(NoAnswer::Oneway),
            Some(MessageKind::Reply | MessageKind::Exception) => return Err(NoAnswer::NotARequest),
            Some(MessageKind::Call) | None => {}
        }
        let stream = head.flags().contains(Flags::STREAMING);
        let to = match payload {
            Payload::Message(message) => AnswerTo::request(message)?,
            Payload::Empty | Payload::Struct | Payload::Other => AnswerTo {
                protocol: Protocol::Binary,
                framed: false,
                method: head.integer(integer::TO_METHOD).unwrap_or_default(),
                sequence: head.sequence(),
            },
        };
        let sequences = Sequences {
            frame: head.sequence(),
            message: Some(to.sequence),
        };
        let sequence = sequences.of_reply();
        if sequence == 0 && (stream || head.flags().contains(Flags::OUT_OF_ORDER)) {
            return Err(NoAnswer::ReservedSequence);
        }
        Ok(Self {
            sequence,
            protocol_id: head.protocol_id(),
            stream,
            to,
            last: false,
        })
    }

    /// The same, asking the caller to close its connection behind it (`crrst`): for draining only.
    #[must_use]
    pub fn last(self) -> Self {
        Self { last: true, ..self }
    }

    /// What is needed to give this answer later, when the request is gone; its method aside.
    #[must_use]
    pub fn kept(&self) -> KeptAnswer {
        KeptAnswer {
            sequence: self.sequence,
            protocol_id: self.protocol_id,
            stream: self.stream,
            protocol: self.to.protocol,
            framed: self.to.framed,
            message: self.to.sequence,
        }
    }

    /// Appends an exception. A client of Kitex closes a long connection that is not multiplexed
    /// after any exception; [`Self::write_biz_status`] spares it. Ends a stream by its trailer.
    ///
    /// # Errors
    /// The frame can't be encoded, which takes a method near 64 KiB; nothing is appended then.
    pub fn write_exception(
        &self,
        out: &mut Vec<u8>,
        kind: ExceptionKind,
        text: &str,
    ) -> Result<(), EncodeError> {
        self.write(out, b"3", &[], |out| {
            self.to.write_exception(out, kind, text)
        })
    }

    /// Appends a reply without a result that says in its metadata why there is none. `extra` is a JSON
    /// object of strings. Ends a stream by its trailer.
    ///
    /// # Errors
    /// The frame can't be encoded, see [`EncodeError`]; nothing is appended then.
    pub fn write_biz_status(
        &self,
        out: &mut Vec<u8>,
        status: i32,
        message: &str,
        extra: Option<&str>,
    ) -> Result<(), EncodeError> {
        let mut digits = [0; 11];
        let strings = [
            (string::BIZ_STATUS, decimal(status, &mut digits)),
            (string::BIZ_MESSAGE, message.as_bytes()),
            (string::BIZ_EXTRA, extra.unwrap_or_default().as_bytes()),
        ];
        let count = strings.len() - usize::from(extra.is_none());
        let strings = strings.get(..count).unwrap_or_default();
        self.write(out, b"2", strings, |out| {
            if !self.stream {
                self.to.write_void_reply(out);
            }
        })
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        kind: &[u8],
        strings: &[(&[u8], &[u8])],
        payload: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), EncodeError> {
        let start = out.len();
        let reset: (&[u8], &[u8]) = (string::CONNECTION_RESET, b"1");
        let mut all = [reset; 4];
        let count = strings.len().min(all.len() - 1);
        for (place, pair) in all.iter_mut().zip(strings) {
            *place = *pair;
        }
        let unary: &[(u16, &[u8])] = &[(integer::MSG_TYPE, kind)];
        let trailer: &[(u16, &[u8])] = &[
            (integer::FRAME_TYPE, StreamFrame::Trailer.value()),
            (integer::TO_METHOD, self.to.method),
        ];
        let head = NewHead {
            flags: if self.stream {
                Flags::STREAMING
            } else {
                Flags::default()
            },
            sequence: self.sequence,
            protocol_id: self.protocol_id,
            acl_token: None,
            strings: all
                .get(..count + usize::from(self.last))
                .unwrap_or_default(),
            integers: if self.stream { trailer } else { unary },
        };
        head.write(out, 0)?;
        payload(out);
        // What has been appended is the whole frame.
        put_length(out, start, 0)
    }
}

/// Appends a frame that ends the stream of this id at once, and says why in an exception.
///
/// # Errors
/// The frame can't be encoded, which takes a method near 64 KiB; nothing is appended then.
pub fn write_stream_reset(
    out: &mut Vec<u8>,
    id: i32,
    method: &[u8],
    kind: ExceptionKind,
    text: &str,
) -> Result<(), EncodeError> {
    let start = out.len();
    let head = NewHead {
        flags: Flags::STREAMING,
        sequence: id,
        protocol_id: STRUCT,
        integers: &[
            (integer::FRAME_TYPE, StreamFrame::Reset.value()),
            (integer::TO_METHOD, method),
        ],
        ..NewHead::default()
    };
    head.write(out, 0)?;
    let exception = AnswerTo {
        protocol: Protocol::Binary,
        framed: false,
        method,
        sequence: id,
    };
    exception.write_exception(out, kind, text);
    put_length(out, start, 0)
}

/// An [`Answer`] that may be given later. It borrows nothing of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptAnswer {
    sequence: i32,
    protocol_id: u8,
    stream: bool,
    protocol: Protocol,
    framed: bool,
    message: i32,
}

impl KeptAnswer {
    /// The answer to a plain Thrift message.
    #[must_use]
    pub fn plain(to: &AnswerTo<'_>) -> Self {
        Self {
            sequence: to.sequence,
            protocol_id: 0,
            stream: false,
            protocol: to.protocol,
            framed: to.framed,
            message: to.sequence,
        }
    }

    /// Whether its message stands in a Thrift frame, as that of the request.
    #[must_use]
    pub fn framed(&self) -> bool {
        self.framed
    }

    /// The message of the answer alone, to a request for `method`.
    #[must_use]
    pub fn message<'a>(&self, method: &'a [u8]) -> AnswerTo<'a> {
        AnswerTo {
            protocol: self.protocol,
            framed: self.framed,
            method,
            sequence: self.message,
        }
    }

    /// The answer, to a request for `method`.
    #[must_use]
    pub fn to<'a>(&self, method: &'a [u8]) -> Answer<'a> {
        Answer {
            sequence: self.sequence,
            protocol_id: self.protocol_id,
            stream: self.stream,
            to: AnswerTo {
                protocol: self.protocol,
                framed: self.framed,
                method,
                sequence: self.message,
            },
            last: false,
        }
    }
}

/// `number` in decimal digits.
fn decimal(number: i32, digits: &mut [u8; 11]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    digits.get(at..).unwrap_or_default()
}
