//! Answers that a gateway gives by itself: a `TApplicationException`, or an empty reply.

use super::varint;
use super::{MessageHead, MessageKind, Protocol};

/// Longest text of an exception in bytes; what is longer is cut at a character.
pub const MAX_TEXT: usize = 1024;

/// The kind of a `TApplicationException`: those of Apache Thrift, and two that Kitex adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExceptionKind {
    /// 0
    Unknown = 0,
    /// 1: the method is not known.
    UnknownMethod = 1,
    /// 6: refused, overloaded, timed out or failed within.
    Internal = 6,
    /// 7: the request is malformed.
    Protocol = 7,
    /// 20: no route or no such service (Kitex).
    UnknownService = 20,
    /// 21: the request names no service (Kitex).
    NoServiceName = 21,
}

/// Why a request gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Its caller reads none.
    #[error("a oneway request is not answered")]
    Oneway,
    /// It is an answer itself.
    #[error("an answer is not answered")]
    NotARequest,
    /// Sequence 0 on a connection that may carry several requests: there it marks control frames.
    #[error("a request with the reserved sequence 0 is not answered")]
    ReservedSequence,
}

/// The request that is answered, as far as the answer repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerTo<'a> {
    /// How the answer is encoded.
    pub protocol: Protocol,
    /// Whether the length of a frame stands in front.
    pub framed: bool,
    /// The method that was called.
    pub method: &'a [u8],
    /// The request's own sequence: a ping-pong client of Volo rejects any other.
    pub sequence: i32,
}

impl<'a> AnswerTo<'a> {
    /// What answers this request.
    ///
    /// # Errors
    /// It wants no answer, see [`NoAnswer`].
    pub fn request(head: &MessageHead<'a>) -> Result<Self, NoAnswer> {
        match head.kind {
            MessageKind::Call => Ok(Self {
                protocol: head.protocol,
                framed: head.frame.is_some(),
                method: head.method,
                sequence: head.sequence,
            }),
            MessageKind::Oneway => Err(NoAnswer::Oneway),
            MessageKind::Reply | MessageKind::Exception => Err(NoAnswer::NotARequest),
        }
    }

    /// Appends an exception; its text is cut to [`MAX_TEXT`].
    pub fn write_exception(&self, out: &mut Vec<u8>, kind: ExceptionKind, text: &str) {
        let text = cut(text);
        self.message(out, MessageKind::Exception, |out| match self.protocol {
            Protocol::Binary => {
                out.extend_from_slice(&[0x0b, 0, 1]);
                out.extend_from_slice(&(text.len() as u32).to_be_bytes());
                out.extend_from_slice(text.as_bytes());
                out.extend_from_slice(&[0x08, 0, 2]);
                out.extend_from_slice(&(kind as i32).to_be_bytes());
                out.push(0);
            }
            Protocol::Compact => {
                out.push(0x18);
                varint::write(text.len() as u32, |byte| out.push(byte));
                out.extend_from_slice(text.as_bytes());
                out.push(0x15);
                varint::write(varint::zigzag(kind as i32), |byte| out.push(byte));
                out.push(0);
            }
            // `Error { int32 type_id = 1; string message = 2; }` of Kitex.
            Protocol::KitexProtobuf => {
                out.push(0x08);
                varint::write(kind as u32, |byte| out.push(byte));
                out.push(0x12);
                varint::write(text.len() as u32, |byte| out.push(byte));
                out.extend_from_slice(text.as_bytes());
            }
        });
    }

    /// Appends a reply without a result. A caller takes it for success: it is for answers whose meaning
    /// stands in a TTHeader.
    pub fn write_void_reply(&self, out: &mut Vec<u8>) {
        self.message(out, MessageKind::Reply, |out| match self.protocol {
            Protocol::Binary | Protocol::Compact => out.push(0),
            Protocol::KitexProtobuf => {}
        });
    }

    fn message(&self, out: &mut Vec<u8>, kind: MessageKind, body: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        if self.framed {
            out.extend_from_slice(&[0; 4]);
        }
        let message = out.len();
        match self.protocol {
            Protocol::Binary | Protocol::KitexProtobuf => {
                let magic = if self.protocol == Protocol::Binary {
                    0x80
                } else {
                    0x90
                };
                out.extend_from_slice(&[magic, 1, 0, kind as u8]);
                out.extend_from_slice(&(self.method.len() as u32).to_be_bytes());
                out.extend_from_slice(self.method);
                out.extend_from_slice(&self.sequence.to_be_bytes());
            }
            Protocol::Compact => {
                out.extend_from_slice(&[0x82, (kind as u8) << 5 | 1]);
                varint::write(self.sequence as u32, |byte| out.push(byte));
                varint::write(self.method.len() as u32, |byte| out.push(byte));
                out.extend_from_slice(self.method);
            }
        }
        body(out);
        if self.framed {
            let length = (out.len() - message) as u32;
            if let Some(frame) = out.get_mut(start..message) {
                frame.copy_from_slice(&length.to_be_bytes());
            }
        }
    }
}

/// The type that an exception in the binary protocol states, whose struct is `body`; `None` where it states
/// none, or is of another protocol or longer than what `body` has of it.
#[must_use]
pub fn exception_type(protocol: Protocol, body: &[u8]) -> Option<i32> {
    if protocol != Protocol::Binary {
        return None;
    }
    let mut rest = body;
    // It has two fields, in any order.
    for _ in 0..2 {
        match rest {
            [0x08, 0, 2, value @ ..] => {
                return value.first_chunk().copied().map(i32::from_be_bytes);
            }
            [0x0b, _, _, text @ ..] => {
                let (length, text) = text.split_first_chunk::<4>()?;
                rest = text.get(u32::from_be_bytes(*length) as usize..)?;
            }
            _ => return None,
        }
    }
    None
}

/// The text up to [`MAX_TEXT`] bytes, not cut within a character.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT))
        .unwrap_or(text)
}
