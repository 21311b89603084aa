//! The backend in TTHeader: takes calls as they come, and replies to all that have come at once.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use sluice_stack::io::PacketIo;
use sluice_stack::{FlowId, Phase, Stack};
use sluice_wire::thrift::MessageKind;
use sluice_wire::ttheader::{NewHead, integer};

use super::{Replies, Served, ServerSetup, Turn};
use crate::load::message::{Message, Sequences};
use crate::load::pattern::{Pattern, phase};
use crate::load::plan::RequestFile;
use crate::load::plan::ttheader::{method, target, target_of};
use crate::load::ttheader::encode::{ARGUMENT, Encoding, OneString, RESULT};
use crate::load::ttheader::frame::{Begun, Data, FRONT, Front};

/// Calls that are taken before their replies are sent.
const AT_ONCE: usize = 64;

/// What is replied to a kind of call, in each encoding.
#[derive(Debug)]
struct Answer {
    messages: [Message; 4],
    /// The call's data is of the pattern, and begins here.
    data: Option<u32>,
}

/// Which reply, and how much of it was sent.
#[derive(Debug, Clone, Copy)]
struct Reply {
    /// Number in `answers`.
    answer: u32,
    /// Number of the encoding.
    encoding: usize,
    sequences: Sequences,
    oneway: bool,
    sent: u64,
}

/// A connection.
#[derive(Debug)]
pub(super) struct State {
    /// The call whose data is being read.
    reading: Option<(Data, Reply)>,
    /// What is to be replied, the next one in front.
    due: VecDeque<Reply>,
    /// No more calls come.
    ended: bool,
}

/// What it replies, and what reading takes.
#[derive(Debug)]
pub(super) struct Codec {
    replies: Replies,
    answers: Vec<Answer>,
    /// By method: the reply to a call that names no kind of the file's has the method all the same.
    unknown: Answers,
    body: u64,
    by_target: FxHashMap<Box<[u8]>, u32>,
    scratch: Vec<u8>,
    name: Vec<u8>,
    /// Room for connections to come.
    spare: Vec<VecDeque<Reply>>,
}

/// Numbers of answers.
type Answers = FxHashMap<Box<[u8]>, u32>;

/// Methods that the file does not name and that are answered; more are malformed.
const MAX_UNKNOWN: usize = 1024;

impl Codec {
    pub(super) fn new(setup: &ServerSetup, file: &RequestFile, pattern: &Pattern) -> Self {
        let mut answers = Vec::new();
        let mut by_target = FxHashMap::default();
        for spec in &file.requests {
            let target = target_of(spec);
            let length = setup.answer_length(spec);
            let data = spec.text.is_none().then(|| phase(&target));
            let number = answers.len() as u32;
            let method = method(spec).as_bytes();
            if let Some(answer) = answer(method, &target, length, data, pattern) {
                answers.push(answer);
                by_target.entry(target.into_boxed_slice()).or_insert(number);
            }
        }
        Codec {
            replies: setup.replies,
            answers,
            unknown: FxHashMap::default(),
            body: setup.body,
            by_target,
            scratch: Vec::new(),
            name: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// A new connection.
    pub(super) fn begin(&mut self) -> State {
        let spare = self.spare.pop();
        State {
            reading: None,
            due: spare.unwrap_or_else(|| VecDeque::with_capacity(AT_ONCE)),
            ended: false,
        }
    }

    /// The end of one.
    pub(super) fn end(&mut self, mut state: State) {
        state.due.clear();
        self.spare.push(state.due);
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
        if !self.reply(state, flow, (pattern, served), stack) {
            return match stack.view(flow).phase {
                Phase::Closed => Turn::Abort,
                _ => Turn::Wait,
            };
        }
        if state.ended {
            return Turn::Close;
        }
        while state.due.len() < AT_ONCE {
            match self.read(state, flow, (pattern, served), stack) {
                Turn::GoOn => {}
                Turn::Abort => return Turn::Abort,
                end => {
                    state.ended = end == Turn::Close;
                    break;
                }
            }
        }
        if state.due.is_empty() {
            return if state.ended { Turn::Close } else { Turn::Wait };
        }
        match self.replies {
            // Nobody waits for the answer to a oneway call.
            Replies::Ordered => {
                let mut calls = state.due.iter().skip_while(|reply| reply.oneway);
                calls.next();
                served.early += calls.count() as u64;
            }
            Replies::Frame | Replies::Message => state.due.make_contiguous().reverse(),
        }
        Turn::GoOn
    }

    /// Sends what there is room for of the replies that are due. True once all are sent.
    fn reply<P: PacketIo>(
        &mut self,
        state: &mut State,
        flow: FlowId,
        (pattern, served): (&Pattern, &mut Served),
        stack: &mut Stack<P>,
    ) -> bool {
        while let Some(reply) = state.due.front_mut() {
            let answer = self.answers.get(reply.answer as usize);
            let message = answer.and_then(|answer| answer.messages.get(reply.encoding));
            let to = (&mut *stack, flow);
            if !reply.oneway
                && let Some(message) = message
            {
                let (sent, scratch) = (&mut reply.sent, &mut self.scratch);
                if !message.write(sent, reply.sequences, pattern, scratch, to) {
                    return false;
                }
            }
            served.requests += 1;
            state.due.pop_front();
        }
        true
    }

    /// Reads a call, or goes on with the one that is being read.
    fn read<P: PacketIo>(
        &mut self,
        state: &mut State,
        flow: FlowId,
        (pattern, served): (&Pattern, &mut Served),
        stack: &mut Stack<P>,
    ) -> Turn {
        if state.reading.is_none() {
            // What is read may stand in it.
            let mut scratch = std::mem::take(&mut self.scratch);
            let begun = self.read_head(&mut scratch, flow, (pattern, served), stack);
            self.scratch = scratch;
            match begun {
                Ok(begun) => state.reading = Some(begun),
                Err(turn) => return turn,
            }
        }
        let Some((data, reply)) = &mut state.reading else {
            return Turn::GoOn;
        };
        while !data.is_whole() {
            let input = stack.peek(flow);
            if input.is_empty() {
                return match stack.view(flow).finished {
                    true => Turn::Abort,
                    false => Turn::Wait,
                };
            }
            let taken = data.take(input, pattern);
            stack.consume(flow, taken);
        }
        served.wrong_bodies += u64::from(!data.is_right());
        state.due.push_back(*reply);
        state.reading = None;
        Turn::GoOn
    }

    fn read_head<P: PacketIo>(
        &mut self,
        scratch: &mut Vec<u8>,
        flow: FlowId,
        (pattern, served): (&Pattern, &mut Served),
        stack: &mut Stack<P>,
    ) -> Result<(Data, Reply), Turn> {
        let input = stack.front(flow, FRONT, scratch);
        let call = match Begun::read(input, ARGUMENT) {
            Front::Begun(begun) => self
                .replies_to(&begun, pattern)
                .map(|(data, reply)| (data, reply, begun.data_at)),
            Front::Incomplete => {
                let empty = input.is_empty();
                return Err(match stack.view(flow).finished {
                    false => Turn::Wait,
                    true if empty => Turn::Close,
                    true => {
                        served.malformed += 1;
                        Turn::Abort
                    }
                });
            }
            Front::Malformed => None,
        };
        let Some((mut data, reply, begin)) = call else {
            served.malformed += 1;
            return Err(Turn::Abort);
        };
        let taken = data.take(input.get(begin..).unwrap_or_default(), pattern);
        stack.consume(flow, begin + taken);
        Ok((data, reply))
    }

    /// What the call's data has to be, and what is replied to it; `None`: it is no call.
    fn replies_to(&mut self, begun: &Begun<'_>, pattern: &Pattern) -> Option<(Data, Reply)> {
        let (head, message) = (&begun.head, &begun.message);
        let oneway = match message.kind {
            MessageKind::Call => false,
            MessageKind::Oneway => true,
            MessageKind::Reply | MessageKind::Exception => return None,
        };
        let service = head.integer(integer::TO_SERVICE).unwrap_or_default();
        target(service, message.method, &mut self.name);
        let known = self.by_target.get(&*self.name).copied();
        let number = match known {
            Some(number) => number,
            None => self.unknown_method(message.method, pattern)?,
        };
        let phase = self.answers.get(number as usize)?.data;
        let left = begun.left();
        let data = match begun.data_len {
            Some(length) => Data::new(length, left, phase, true),
            // Something else than a string: right where nothing is known of the call.
            None => Data::any(left, known.is_none()),
        };
        let own = message.sequence;
        let sequences = match self.replies {
            Replies::Frame => (head.sequence(), own),
            Replies::Message | Replies::Ordered => (own, own),
        };
        let reply = Reply {
            answer: number,
            encoding: Encoding::place(message.protocol, message.frame.is_some()),
            sequences,
            oneway,
            sent: 0,
        };
        Some((data, reply))
    }

    /// The answer to a method that the file does not name.
    #[cold]
    fn unknown_method(&mut self, method: &[u8], pattern: &Pattern) -> Option<u32> {
        if let Some(number) = self.unknown.get(method) {
            return Some(*number);
        }
        if self.unknown.len() >= MAX_UNKNOWN {
            return None;
        }
        let number = self.answers.len() as u32;
        let answer = answer(method, b"", self.body, None, pattern)?;
        self.answers.push(answer);
        self.unknown.insert(method.into(), number);
        Some(number)
    }
}

/// `None` where it can't be encoded, which takes a body of 2 GiB.
fn answer(
    method: &[u8],
    target: &[u8],
    length: u64,
    data: Option<u32>,
    pattern: &Pattern,
) -> Option<Answer> {
    let string = OneString {
        kind: MessageKind::Reply,
        method,
        field: RESULT,
        text: b"",
        length,
        phase: phase(target),
    };
    let head = NewHead {
        integers: &[(integer::MSG_TYPE, b"2")],
        ..NewHead::default()
    };
    let [first, second, third, fourth] =
        Encoding::ALL.map(|encoding| string.frame(&head, encoding, pattern).ok());
    Some(Answer {
        messages: [first?, second?, third?, fourth?],
        data,
    })
}
