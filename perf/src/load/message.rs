//! Bytes to be sent that are known beforehand, but for the sequences in them.

use sluice_stack::io::PacketIo;
use sluice_stack::{FlowId, Stack};

use super::pattern::Pattern;

/// Bodies up to this length are kept ready behind their head; longer ones come from the pattern.
const INLINE: u64 = 16 * 1024;

/// The same where the head is copied each time, for its sequences.
const INLINE_NUMBERED: u64 = 1024;

/// A head, a body of the pattern, and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The head, and all the rest where the body is short.
    ready: Box<[u8]>,
    /// Length of the body that is not in `ready`.
    rest: u64,
    phase: u32,
    /// Behind that body.
    tail: &'static [u8],
    marks: Option<Marks>,
}

/// Where sequences stand in a TTHeader frame that was encoded with sequence 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Offset of the sequence of the Thrift message.
    pub(crate) message: usize,
    /// Whether that is a varint (of one byte so far), which changes lengths.
    pub(crate) compact: bool,
    /// Offset of the length of the Thrift frame.
    pub(crate) frame: Option<usize>,
}

/// The sequences of a frame and of the message in it.
pub(crate) type Sequences = (i32, i32);

/// Offset of the sequence of a TTHeader frame.
const FRAME_SEQUENCE: usize = 8;

impl Message {
    pub(crate) fn new(mut head: Vec<u8>, body: u64, phase: u32, pattern: &Pattern) -> Self {
        let inline = body <= INLINE;
        if inline {
            head.extend_from_slice(pattern.run(phase, 0, body));
        }
        Message {
            ready: head.into(),
            rest: if inline { 0 } else { body },
            phase,
            tail: &[],
            marks: None,
        }
    }

    /// One that gets its sequences when it is sent.
    pub(crate) fn numbered(
        mut head: Vec<u8>,
        marks: Marks,
        (body, phase): (u64, u32),
        tail: &'static [u8],
        pattern: &Pattern,
    ) -> Self {
        let inline = body <= INLINE_NUMBERED;
        if inline {
            head.extend_from_slice(pattern.run(phase, 0, body));
            head.extend_from_slice(tail);
        }
        Message {
            ready: head.into(),
            rest: if inline { 0 } else { body },
            phase,
            tail: if inline { &[] } else { tail },
            marks: Some(marks),
        }
    }

    /// Bytes in all; with compact sequences at least so many.
    #[inline]
    pub(crate) fn len(&self) -> u64 {
        self.ready.len() as u64 + self.rest + self.tail.len() as u64
    }

    /// Queues what there is room for behind the first `sent` bytes, and counts it. True once all of it
    /// is queued. `scratch` is overwritten.
    #[inline]
    pub(crate) fn write<P: PacketIo>(
        &self,
        sent: &mut u64,
        sequences: Sequences,
        pattern: &Pattern,
        scratch: &mut Vec<u8>,
        (stack, flow): (&mut Stack<P>, FlowId),
    ) -> bool {
        let ready = match &self.marks {
            None => &*self.ready,
            Some(marks) => {
                marks.number(&self.ready, sequences, scratch);
                scratch
            }
        };
        if !queue(ready, 0, sent, stack, flow) {
            return false;
        }
        let begin = ready.len() as u64;
        // Each turn queues something, or it is the last one.
        while *sent < begin + self.rest {
            let at = *sent - begin;
            let piece = pattern.run(self.phase, at, self.rest - at);
            let written = stack.write(flow, piece);
            *sent += written as u64;
            if written < piece.len() {
                return false;
            }
        }
        queue(self.tail, begin + self.rest, sent, stack, flow)
    }
}

/// Queues what is left of a part that begins at `begin`.
#[inline]
fn queue<P: PacketIo>(
    part: &[u8],
    begin: u64,
    sent: &mut u64,
    stack: &mut Stack<P>,
    flow: FlowId,
) -> bool {
    let Some(left) = part.get((*sent - begin) as usize..) else {
        return true;
    };
    if left.is_empty() {
        return true;
    }
    let written = stack.write(flow, left);
    *sent += written as u64;
    written == left.len()
}

impl Marks {
    /// A copy of `ready` with these sequences.
    #[inline]
    fn number(&self, ready: &[u8], (frame, message): Sequences, out: &mut Vec<u8>) {
        out.clear();
        if self.compact {
            self.number_compact(ready, message, out);
        } else {
            out.extend_from_slice(ready);
            put(out, self.message, message as u32);
        }
        put(out, FRAME_SEQUENCE, frame as u32);
    }

    fn number_compact(&self, ready: &[u8], message: i32, out: &mut Vec<u8>) {
        out.extend_from_slice(ready.get(..self.message).unwrap_or_default());
        let mut rest = message as u32;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
        out.extend_from_slice(ready.get(self.message + 1..).unwrap_or_default());
        let growth = (out.len() - ready.len()) as u32;
        for at in [Some(0), self.frame].into_iter().flatten() {
            let length = ready.get(at..).and_then(|bytes| bytes.first_chunk());
            let length = u32::from_be_bytes(*length.unwrap_or(&[0; 4]));
            put(out, at, length + growth);
        }
    }
}

#[inline]
fn put(bytes: &mut [u8], at: usize, number: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&number.to_be_bytes());
    }
}
