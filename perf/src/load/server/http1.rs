//! The backend in HTTP/1.1.

use rustc_hash::FxHashMap;
use sluice_stack::io::PacketIo;
use sluice_stack::{FlowId, Phase, Stack};
use sluice_wire::http1::{
    BodyDecoder, BodyEvent, BodyFraming, HeadIndex, Limits, MethodKind, Request, parse_request,
    reason_phrase,
};

use super::{Served, ServerSetup, Turn};
use crate::load::message::Message;
use crate::load::pattern::{Pattern, phase};
use crate::load::plan::RequestFile;
use crate::load::plan::http1::{NUMBER, path, shared_paths};

#[derive(Debug)]
struct Answer {
    keep: Message,
    close: Message,
    head_keep: Message,
    head_close: Message,
    /// The request's body is of the pattern, and begins here.
    body: Option<u32>,
}

/// How far a connection is.
#[derive(Debug, Default)]
pub(super) enum State {
    #[default]
    Head,
    /// Reads the request's body, then answers.
    Body {
        decoder: BodyDecoder,
        at: u64,
        right: bool,
        reply: Reply,
    },
    Answer {
        reply: Reply,
        sent: u64,
    },
}

/// Which answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply {
    /// Number in `answers`.
    answer: u32,
    /// To HEAD: without the body.
    head: bool,
    /// The last one on its connection.
    close: bool,
}

/// What is known of a target.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// Number in `answers` of the first request with it.
    first: u32,
    /// There are more: each says which it is.
    shared: bool,
}

/// What it answers, and what reading takes.
#[derive(Debug)]
pub(super) struct Codec {
    /// The first is that to any target of which no request speaks; then one for each, in the file's order.
    answers: Vec<Answer>,
    by_target: FxHashMap<Box<[u8]>, Known>,
    limits: Limits,
    index: HeadIndex,
    scratch: Vec<u8>,
}

impl Codec {
    pub(super) fn new(setup: &ServerSetup, file: &RequestFile, pattern: &Pattern) -> Self {
        // The answer to any other target: its body is the pattern's beginning.
        let mut answers = vec![answer(200, setup.body, b"", None, pattern)];
        let mut by_target = FxHashMap::default();
        let shared = shared_paths(file);
        for spec in &file.requests {
            let target = path(spec).as_bytes();
            let length = setup.answer_length(spec);
            let body = spec.body.map(|_| phase(target));
            let number = answers.len() as u32;
            answers.push(answer(
                spec.status.unwrap_or(200),
                length,
                target,
                body,
                pattern,
            ));
            by_target.entry(target.into()).or_insert(Known {
                first: number,
                shared: shared.contains(path(spec)),
            });
        }
        Codec {
            answers,
            by_target,
            limits: Limits::default(),
            index: HeadIndex::new(),
            scratch: Vec::new(),
        }
    }

    /// The next thing that is due on a connection.
    #[inline]
    pub(super) fn turn<P: PacketIo>(
        &mut self,
        state: &mut State,
        flow: FlowId,
        (pattern, served): (&Pattern, &mut Served),
        stack: &mut Stack<P>,
    ) -> Turn {
        match state {
            State::Head => self.read_head(state, flow, served, stack),
            State::Body { .. } => self.read_body(state, flow, (pattern, served), stack),
            State::Answer { reply, sent } => {
                let Some(answer) = self.answers.get(reply.answer as usize) else {
                    return Turn::Abort;
                };
                let message = match (reply.head, reply.close) {
                    (false, false) => &answer.keep,
                    (false, true) => &answer.close,
                    (true, false) => &answer.head_keep,
                    (true, true) => &answer.head_close,
                };
                let to = (&mut *stack, flow);
                if !message.write(sent, (0, 0), pattern, &mut self.scratch, to) {
                    return match stack.view(flow).phase {
                        Phase::Closed => Turn::Close,
                        _ => Turn::Wait,
                    };
                }
                served.requests += 1;
                let last = reply.close;
                *state = State::Head;
                if last { Turn::Close } else { Turn::GoOn }
            }
        }
    }

    #[inline]
    fn read_head<P: PacketIo>(
        &mut self,
        state: &mut State,
        flow: FlowId,
        served: &mut Served,
        stack: &mut Stack<P>,
    ) -> Turn {
        let input = stack.front(flow, self.limits.head, &mut self.scratch);
        if input.is_empty() {
            return if stack.view(flow).finished {
                Turn::Close
            } else {
                Turn::Wait
            };
        }
        let request = match parse_request(input, &self.limits, &mut self.index) {
            Ok(Some(request)) => request,
            Ok(None) => {
                if !stack.view(flow).finished {
                    return Turn::Wait;
                }
                served.malformed += 1;
                return Turn::Abort;
            }
            Err(_) => {
                served.malformed += 1;
                return Turn::Abort;
            }
        };
        let answer = match self.by_target.get(request.target()) {
            None => 0,
            Some(known) if known.shared => {
                number(&request, self.answers.len()).unwrap_or(known.first)
            }
            Some(known) => known.first,
        };
        let reply = Reply {
            answer,
            head: request.method_kind() == MethodKind::Head,
            close: !request.keep_alive,
        };
        let (framing, length) = (request.framing, request.head_len);
        stack.consume(flow, length);
        *state = match framing {
            BodyFraming::None | BodyFraming::Length(0) => State::Answer { reply, sent: 0 },
            framing => State::Body {
                decoder: BodyDecoder::new(framing),
                at: 0,
                right: true,
                reply,
            },
        };
        Turn::GoOn
    }

    fn read_body<P: PacketIo>(
        &mut self,
        state: &mut State,
        flow: FlowId,
        (pattern, served): (&Pattern, &mut Served),
        stack: &mut Stack<P>,
    ) -> Turn {
        let State::Body {
            decoder,
            at,
            right,
            reply,
        } = state
        else {
            return Turn::GoOn;
        };
        let reply = *reply;
        let phase = self
            .answers
            .get(reply.answer as usize)
            .and_then(|answer| answer.body);
        while !decoder.is_done() {
            let input = stack.front(flow, 64 * 1024, &mut self.scratch);
            let consumed = match decoder.next(input) {
                Ok(BodyEvent::Data { len }) => {
                    let data = input.get(..len).unwrap_or_default();
                    *right = *right && phase.is_none_or(|phase| pattern.matches(data, phase, *at));
                    *at += len as u64;
                    decoder.take_data(len);
                    len
                }
                Ok(
                    BodyEvent::ChunkStart { consumed, .. }
                    | BodyEvent::ChunkEnd { consumed }
                    | BodyEvent::Trailers { consumed, .. },
                ) => consumed,
                Ok(BodyEvent::Done) => break,
                Ok(BodyEvent::NeedMore) if stack.view(flow).finished => return Turn::Abort,
                Ok(BodyEvent::NeedMore) => return Turn::Wait,
                Err(_) => {
                    served.malformed += 1;
                    return Turn::Abort;
                }
            };
            stack.consume(flow, consumed);
        }
        served.wrong_bodies += u64::from(!*right);
        *state = State::Answer { reply, sent: 0 };
        Turn::GoOn
    }
}

/// Which request of the file it says that it is, where there are so many answers.
fn number(request: &Request<'_>, answers: usize) -> Option<u32> {
    let value = request.headers().named(NUMBER.as_bytes()).next()?;
    let number: u32 = str::from_utf8(value).ok()?.parse().ok()?;
    ((number as usize) < answers).then_some(number)
}

fn answer(status: u16, length: u64, target: &[u8], body: Option<u32>, pattern: &Pattern) -> Answer {
    let bodiless = matches!(status, 204 | 304);
    let head = |more: &str| {
        let reason = reason_phrase(status);
        let mut head = format!("HTTP/1.1 {status} {reason}\r\nServer: sluice-bench\r\n");
        head.push_str("Content-Type: application/octet-stream\r\n");
        if !bodiless {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str(more);
        head.push_str("\r\n");
        head.into_bytes()
    };
    let length_sent = if bodiless { 0 } else { length };
    let message = |head, length| Message::new(head, length, phase(target), pattern);
    Answer {
        keep: message(head(""), length_sent),
        close: message(head("Connection: close\r\n"), length_sent),
        head_keep: message(head(""), 0),
        head_close: message(head("Connection: close\r\n"), 0),
        body,
    }
}
