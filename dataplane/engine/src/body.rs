//! Moving a body from one flow to another, as far as both allow.

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_stack::{FlowId, Phase, Stack};
use sluice_wire::http1::{
    BodyDecoder, BodyError, BodyEvent, BodyFraming, FixedEdits, MAX_CHUNK_LINE, MAX_TRAILERS,
    write_chunk_header, write_last_chunk, write_trailers,
};

use crate::mirror::Copying;
use crate::pace::Pace;

/// Room kept for a chunk's size line, or the end of a chunk or of the body.
pub(crate) const FRAMING_ROOM: usize = 24;

/// One body on its way.
#[derive(Debug)]
pub(crate) struct BodyPump {
    decoder: BodyDecoder,
    /// Chunks are received.
    chunked_in: bool,
    /// Chunks are sent. Received chunks keep their size; what is not chunked is sent in chunks of
    /// what is there.
    chunked_out: bool,
    /// The end of the outgoing body is written.
    finished: bool,
    /// Payload that may still come.
    allowed: u64,
    /// Trailers go on where chunks are sent.
    trailers: bool,
    /// It goes on slowly.
    pub(crate) pace: Option<Box<Pace>>,
    /// It is copied, as it is sent.
    pub(crate) copy: Option<Box<Copying>>,
    /// Bytes taken from the source so far, framing included.
    pub(crate) taken: u64,
    /// Bytes given to the sink so far, framing included.
    pub(crate) given: u64,
}

/// How far a body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// All of it is in the send queue. Said again when asked again.
    Done,
    /// Bytes moved, and more are to come.
    Moved,
    /// Nothing moved: the source has no more, or the sink no room.
    Stuck,
}

/// Why a body can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PumpError {
    /// It is malformed or ends early.
    Body(BodyError),
    /// It is larger than allowed. Nothing beyond the limit has gone on.
    TooLarge,
}

impl From<BodyError> for PumpError {
    fn from(error: BodyError) -> Self {
        PumpError::Body(error)
    }
}

impl BodyPump {
    /// A body of any size, its trailers left out unless `trailers`.
    pub(crate) fn new(received: BodyFraming, sent: BodyFraming, trailers: bool) -> Self {
        let decoder = BodyDecoder::new(received);
        BodyPump {
            // A body that is not there needs no end.
            finished: decoder.is_done(),
            decoder,
            chunked_in: received == BodyFraming::Chunked,
            chunked_out: sent == BodyFraming::Chunked,
            allowed: u64::MAX,
            trailers,
            pace: None,
            copy: None,
            taken: 0,
            given: 0,
        }
    }

    /// A body whose payload may have so many bytes.
    pub(crate) fn limited(mut self, bytes: u64) -> Self {
        self.allowed = bytes;
        self
    }

    /// Has it go on slowly.
    pub(crate) fn paced(mut self, pace: Option<Box<Pace>>) -> Self {
        self.pace = pace;
        self
    }

    /// When it goes on, if it rests.
    #[inline]
    pub(crate) fn resumes(&self) -> Option<Instant> {
        let pace = self.pace.as_ref().filter(|_| !self.finished)?;
        pace.resumes()
    }

    /// Whether all of it has been passed on.
    pub(crate) fn is_done(&self) -> bool {
        self.finished
    }

    /// Moves what can be moved now. Of its trailers what `rules` say of the head does not go on.
    /// `spare` is scratch space.
    pub(crate) fn pump<P: PacketIo>(
        &mut self,
        stack: &mut Stack<P>,
        from: FlowId,
        to: FlowId,
        rules: &FixedEdits,
        spare: &mut Spare,
    ) -> Result<Pumped, PumpError> {
        let mut moved = false;
        while !self.finished {
            if !self.step(stack, from, to, rules, spare)? {
                return Ok(if moved { Pumped::Moved } else { Pumped::Stuck });
            }
            moved = true;
        }
        Ok(Pumped::Done)
    }

    /// One event of the body; false when it can't go on.
    fn step<P: PacketIo>(
        &mut self,
        stack: &mut Stack<P>,
        from: FlowId,
        to: FlowId,
        rules: &FixedEdits,
        spare: &mut Spare,
    ) -> Result<bool, PumpError> {
        let room = stack.view(to).writable;
        if room == 0 || (self.chunked_out && room < FRAMING_ROOM) {
            return Ok(false);
        }
        // The event that ends a body is taken back where there is no room yet for its trailers.
        let before = self.decoder.clone();
        let input = stack.peek(from);
        let shown = input.len();
        let mut event = self.decoder.next(input)?;
        let source = stack.view(from);
        if event == BodyEvent::NeedMore && source.readable > shown {
            // A size line or the trailers straddle the end of the receive ring.
            let limit = MAX_CHUNK_LINE + MAX_TRAILERS + 1;
            event = self
                .decoder
                .next(stack.front(from, limit, &mut spare.linear))?;
        }
        match event {
            // A reset is not an end: what it cuts off was not all.
            BodyEvent::NeedMore if source.phase == Phase::Closed && !self.decoder.is_done() => {
                return Err(BodyError::Truncated.into());
            }
            BodyEvent::NeedMore if source.finished => {
                self.decoder.on_eof()?;
                self.end(stack, to, spare);
            }
            BodyEvent::NeedMore => return Ok(false),
            BodyEvent::ChunkStart { consumed, size } => {
                self.allowed = self.allowed.checked_sub(size).ok_or(PumpError::TooLarge)?;
                self.take(stack, from, consumed);
                if self.chunked_out {
                    spare.out.clear();
                    write_chunk_header(&mut spare.out, size);
                    self.give(stack, to, &spare.out);
                }
            }
            BodyEvent::Data { len } => return Ok(self.data(stack, from, to, len, room, spare)),
            BodyEvent::ChunkEnd { consumed } => {
                self.take(stack, from, consumed);
                if self.chunked_out {
                    self.give(stack, to, b"\r\n");
                }
            }
            BodyEvent::Trailers { consumed, fields } if self.chunked_out && self.trailers => {
                if room < consumed + FRAMING_ROOM {
                    self.decoder = before;
                    return Ok(false);
                }
                let whole = stack.front(from, consumed, &mut spare.linear);
                spare.out.clear();
                write_trailers(&mut spare.out, whole.get(fields).unwrap_or_default(), rules);
                self.give(stack, to, &spare.out);
                self.take(stack, from, consumed);
                self.finished = true;
            }
            BodyEvent::Trailers { consumed, .. } => {
                self.take(stack, from, consumed);
                self.end(stack, to, spare);
            }
            BodyEvent::Done => self.end(stack, to, spare),
        }
        Ok(true)
    }

    fn data<P: PacketIo>(
        &mut self,
        stack: &mut Stack<P>,
        from: FlowId,
        to: FlowId,
        len: usize,
        room: usize,
        spare: &mut Spare,
    ) -> bool {
        let wrap = self.chunked_out && !self.chunked_in;
        let mut len = len.min(if wrap {
            room.saturating_sub(FRAMING_ROOM)
        } else {
            room
        });
        if let Some(pace) = &self.pace {
            len = len.min(pace.allows());
        }
        if len == 0 {
            return false;
        }
        if wrap {
            spare.out.clear();
            write_chunk_header(&mut spare.out, len as u64);
            self.give(stack, to, &spare.out);
        }
        if let Some(copy) = &mut self.copy {
            copy.add(stack.peek(from).get(..len).unwrap_or_default());
        }
        let moved = stack.splice(from, to, len);
        if let Some(copy) = self.copy.as_mut().filter(|_| moved < len) {
            copy.give_up();
        }
        if let Some(pace) = &mut self.pace {
            pace.take(moved);
        }
        self.decoder.take_data(moved);
        self.taken += moved as u64;
        self.given += moved as u64;
        if wrap {
            self.give(stack, to, b"\r\n");
        }
        if self.decoder.is_done() {
            self.end(stack, to, spare);
        }
        moved > 0
    }

    fn take<P: PacketIo>(&mut self, stack: &mut Stack<P>, from: FlowId, len: usize) {
        stack.consume(from, len);
        self.taken += len as u64;
    }

    fn give<P: PacketIo>(&mut self, stack: &mut Stack<P>, to: FlowId, bytes: &[u8]) {
        if let Some(copy) = &mut self.copy {
            copy.add(bytes);
        }
        self.given += stack.write(to, bytes) as u64;
    }

    fn end<P: PacketIo>(&mut self, stack: &mut Stack<P>, to: FlowId, spare: &mut Spare) {
        if self.chunked_out {
            spare.out.clear();
            write_last_chunk(&mut spare.out);
            self.give(stack, to, &spare.out);
        }
        self.finished = true;
    }
}

/// What rules make of a head; scratch space, as [`Spare`].
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// Values of headers.
    pub(crate) text: Vec<u8>,
    /// A path, or a whole URL.
    pub(crate) target: Vec<u8>,
}

/// A worker's scratch space, kept for its capacity.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    /// Bytes that straddle the end of a ring, in one piece.
    pub(crate) linear: Vec<u8>,
    /// What is about to be sent.
    pub(crate) out: Vec<u8>,
    /// A request's path as rules compare it.
    pub(crate) path: Vec<u8>,
    /// What rules make of a head.
    pub(crate) made: Made,
}
