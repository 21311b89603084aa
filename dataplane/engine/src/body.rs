//! Moving a body from one flow to another, as far as both allow.

use sluice_stack::io::PacketIo;
use sluice_stack::{FlowId, Phase, Stack};
use sluice_wire::http1::{
    BodyDecoder, BodyError, BodyEvent, BodyFraming, MAX_CHUNK_LINE, MAX_TRAILERS,
    write_chunk_header, write_last_chunk,
};

/// Room kept for a chunk's size line, or the end of a chunk or of the body.
const FRAMING_ROOM: usize = 24;

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

impl BodyPump {
    pub(crate) fn new(received: BodyFraming, sent: BodyFraming) -> Self {
        let decoder = BodyDecoder::new(received);
        BodyPump {
            // A body that is not there needs no end.
            finished: decoder.is_done(),
            decoder,
            chunked_in: received == BodyFraming::Chunked,
            chunked_out: sent == BodyFraming::Chunked,
        }
    }

    /// Whether all of it has been passed on.
    pub(crate) fn is_done(&self) -> bool {
        self.finished
    }

    /// Moves what can be moved now. `spare` is scratch space.
    pub(crate) fn pump<P: PacketIo>(
        &mut self,
        stack: &mut Stack<P>,
        from: FlowId,
        to: FlowId,
        spare: &mut Spare,
    ) -> Result<Pumped, BodyError> {
        let mut moved = false;
        while !self.finished {
            if !self.step(stack, from, to, spare)? {
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
        spare: &mut Spare,
    ) -> Result<bool, BodyError> {
        let room = stack.view(to).writable;
        if room == 0 || (self.chunked_out && room < FRAMING_ROOM) {
            return Ok(false);
        }
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
                return Err(BodyError::Truncated);
            }
            BodyEvent::NeedMore if source.finished => {
                self.decoder.on_eof()?;
                self.end(stack, to, spare);
            }
            BodyEvent::NeedMore => return Ok(false),
            BodyEvent::ChunkStart { consumed, size } => {
                stack.consume(from, consumed);
                if self.chunked_out {
                    spare.out.clear();
                    write_chunk_header(&mut spare.out, size);
                    stack.write(to, &spare.out);
                }
            }
            BodyEvent::Data { len } => return Ok(self.data(stack, from, to, len, room, spare)),
            BodyEvent::ChunkEnd { consumed } => {
                stack.consume(from, consumed);
                if self.chunked_out {
                    stack.write(to, b"\r\n");
                }
            }
            BodyEvent::Trailers { consumed, .. } => {
                stack.consume(from, consumed);
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
        let len = len.min(if wrap {
            room.saturating_sub(FRAMING_ROOM)
        } else {
            room
        });
        if len == 0 {
            return false;
        }
        if wrap {
            spare.out.clear();
            write_chunk_header(&mut spare.out, len as u64);
            stack.write(to, &spare.out);
        }
        let moved = stack.splice(from, to, len);
        self.decoder.take_data(moved);
        if wrap {
            stack.write(to, b"\r\n");
        }
        if self.decoder.is_done() {
            self.end(stack, to, spare);
        }
        moved > 0
    }

    fn end<P: PacketIo>(&mut self, stack: &mut Stack<P>, to: FlowId, spare: &mut Spare) {
        if self.chunked_out {
            spare.out.clear();
            write_last_chunk(&mut spare.out);
            stack.write(to, &spare.out);
        }
        self.finished = true;
    }
}

/// A worker's scratch space, kept for its capacity.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    /// Bytes that straddle the end of a ring, in one piece.
    pub(crate) linear: Vec<u8>,
    /// What is about to be sent.
    pub(crate) out: Vec<u8>,
}
