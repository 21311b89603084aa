//! HTTP/1.1 on a connection of the client: one request at a time, its answer read to the end and checked.

use sluice_stack::io::PacketIo;
use sluice_stack::{FlowId, Stack};
use sluice_wire::http1::{
    BodyDecoder, BodyEvent, BodyFraming, HeadIndex, Limits, Response, parse_response,
};

use super::calls::Calls;
use super::codec::{Read, Reader, Wrong, ended};
use super::fault::Fault;
use super::pattern::Pattern;
use super::plan::{Plan, Planned};

/// Longest head of an answer that is remembered to be known again, in bytes.
const KNOWN: usize = 1024;

/// How far the body of an answer is.
#[derive(Debug)]
pub(crate) struct Body {
    head: Head,
    decoder: BodyDecoder,
    length: u64,
    right: bool,
}

/// What the body of an answer depends on.
#[derive(Debug, Clone, Copy)]
struct Head {
    status: u16,
    framing: BodyFraming,
    keep_alive: bool,
    length: usize,
}

/// What reading takes, for all connections together.
#[derive(Debug)]
pub(crate) struct Codec {
    limits: Limits,
    index: HeadIndex,
    scratch: Vec<u8>,
    /// By request: the bytes of the last head of an answer to it. The same bytes mean the same again,
    /// so that only a head that differs is parsed.
    known: Box<[Known]>,
}

#[derive(Debug)]
struct Known {
    bytes: Vec<u8>,
    head: Head,
}

impl Codec {
    /// For a number of different requests.
    pub(crate) fn new(requests: usize) -> Self {
        let head = Head {
            status: 0,
            framing: BodyFraming::None,
            keep_alive: false,
            length: 0,
        };
        let known = (0..requests).map(|_| Known {
            bytes: Vec::with_capacity(KNOWN),
            head,
        });
        Codec {
            limits: Limits::default(),
            index: HeadIndex::new(),
            scratch: Vec::new(),
            known: known.collect(),
        }
    }

    /// Reads what has come of the answer to the one call under way.
    pub(crate) fn read<P: PacketIo>(
        &mut self,
        reader: &mut Reader,
        calls: &Calls,
        plan: &Plan,
        stack: &mut Stack<P>,
        flow: FlowId,
    ) -> Read {
        let number = calls.get(0).map_or(0, |call| call.request);
        let Some(planned) = plan.get(number) else {
            return Read::More;
        };
        let pattern = &plan.pattern;
        if matches!(reader, Reader::Head) {
            match self.read_head(reader, (number, planned), pattern, stack, flow) {
                Some(read) => return read,
                None if matches!(reader, Reader::Head) => return Read::More,
                None => {}
            }
        }
        self.read_body(reader, planned, pattern, stack, flow)
    }

    /// The head, and the body with it where both are there whole. `None`: on with the body, or nothing
    /// more to do for now.
    fn read_head<P: PacketIo>(
        &mut self,
        reader: &mut Reader,
        (number, planned): (u32, &Planned),
        pattern: &Pattern,
        stack: &mut Stack<P>,
        flow: FlowId,
    ) -> Option<Read> {
        // One interim answer after the other; each consumes bytes.
        loop {
            let input = stack.front(flow, self.limits.head, &mut self.scratch);
            if input.is_empty() {
                return ended(&stack.view(flow)).map(Read::Broken);
            }
            let known = self.known.get_mut(number as usize)?;
            let head = if !known.bytes.is_empty() && input.starts_with(&known.bytes) {
                known.head
            } else {
                match parse_response(input, planned.kind, &self.limits, &mut self.index) {
                    Err(_) => return Some(Read::Broken(Fault::BadAnswer)),
                    Ok(None) => return ended(&stack.view(flow)).map(Read::Broken),
                    Ok(Some(response)) if response.is_interim() => {
                        let length = response.head_len;
                        stack.consume(flow, length);
                        continue;
                    }
                    Ok(Some(response)) => known.note(&response, input),
                }
            };
            let body = match head.framing {
                BodyFraming::None => Some(0),
                BodyFraming::Length(length) => Some(length),
                BodyFraming::Chunked | BodyFraming::UntilClose => None,
            };
            let whole = body.and_then(|length| {
                let end = head.length.checked_add(usize::try_from(length).ok()?)?;
                input.get(head.length..end)
            });
            if let Some(body) = whole {
                let right = planned.is_right(pattern, body, 0);
                let length = body.len();
                stack.consume(flow, head.length + length);
                return Some(judge(&head, length as u64, right, planned));
            }
            stack.consume(flow, head.length);
            *reader = Reader::Http1(Body {
                head,
                decoder: BodyDecoder::new(head.framing),
                length: 0,
                right: true,
            });
            return None;
        }
    }

    fn read_body<P: PacketIo>(
        &mut self,
        reader: &mut Reader,
        planned: &Planned,
        pattern: &Pattern,
        stack: &mut Stack<P>,
        flow: FlowId,
    ) -> Read {
        let Reader::Http1(Body {
            head,
            decoder,
            length,
            right,
        }) = reader
        else {
            return Read::More;
        };
        // Each turn consumes bytes, or is the last one.
        while !decoder.is_done() {
            // In place: what straddles the ring's end comes in two runs.
            let input = stack.peek(flow);
            let consumed = match decoder.next(input) {
                Ok(BodyEvent::Data { len }) => {
                    let data = input.get(..len).unwrap_or_default();
                    *right = *right && planned.is_right(pattern, data, *length);
                    *length += len as u64;
                    decoder.take_data(len);
                    len
                }
                Ok(
                    BodyEvent::ChunkStart { consumed, .. }
                    | BodyEvent::ChunkEnd { consumed }
                    | BodyEvent::Trailers { consumed, .. },
                ) => consumed,
                Ok(BodyEvent::Done) => break,
                Ok(BodyEvent::NeedMore) => {
                    // Perhaps a line that straddles the ring's end.
                    let shown = input.len();
                    if shown > 0 && stack.view(flow).readable > shown {
                        match self.straddling(decoder, stack, flow) {
                            Some(Ok(consumed)) => {
                                stack.consume(flow, consumed);
                                continue;
                            }
                            Some(Err(fault)) => return Read::Broken(fault),
                            None => {}
                        }
                    }
                    match ended(&stack.view(flow)) {
                        Some(Fault::ClosedEarly) if decoder.on_eof().is_ok() => break,
                        Some(fault) => return Read::Broken(fault),
                        None => return Read::More,
                    }
                }
                Err(_) => return Read::Broken(Fault::BadAnswer),
            };
            stack.consume(flow, consumed);
        }
        let read = judge(head, *length, *right, planned);
        *reader = Reader::Head;
        read
    }

    /// A line of the body's framing, put together from both ends of the ring.
    #[cold]
    fn straddling<P: PacketIo>(
        &mut self,
        decoder: &mut BodyDecoder,
        stack: &mut Stack<P>,
        flow: FlowId,
    ) -> Option<Result<usize, Fault>> {
        let input = stack.front(flow, self.limits.head, &mut self.scratch);
        match decoder.next(input) {
            Ok(
                BodyEvent::ChunkStart { consumed, .. }
                | BodyEvent::ChunkEnd { consumed }
                | BodyEvent::Trailers { consumed, .. },
            ) => Some(Ok(consumed)),
            Ok(_) => None,
            Err(_) => Some(Err(Fault::BadAnswer)),
        }
    }
}

impl Known {
    fn note(&mut self, response: &Response<'_>, input: &[u8]) -> Head {
        let head = Head {
            status: response.status,
            framing: response.framing,
            keep_alive: response.keep_alive && !response.upgrade,
            length: response.head_len,
        };
        self.bytes.clear();
        if let Some(bytes) = input.get(..head.length)
            && bytes.len() <= KNOWN
        {
            self.bytes.extend_from_slice(bytes);
            self.head = head;
        }
        head
    }
}

impl Planned {
    /// Whether these bytes stand at position `at` of the answer's body, where that is known.
    #[inline]
    fn is_right(&self, pattern: &Pattern, bytes: &[u8], at: u64) -> bool {
        self.phase
            .is_none_or(|phase| pattern.matches(bytes, phase, at))
    }
}

#[inline]
fn judge(head: &Head, length: u64, right: bool, planned: &Planned) -> Read {
    let status = match planned.status {
        Some(status) => head.status == status,
        None => head.status < 400,
    };
    let fault = if !status {
        Some(Fault::WrongStatus)
    } else if !right || planned.length.is_some_and(|expected| expected != length) {
        Some(Fault::WrongBody)
    } else {
        None
    };
    Read::Answer {
        place: 0,
        bytes: head.length as u64 + length,
        wrong: (!status).then_some(Wrong::Status(head.status)),
        keep_alive: head.keep_alive,
        fault,
    }
}
