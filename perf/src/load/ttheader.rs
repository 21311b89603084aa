//! TTHeader on a connection: calls of a method that takes and gives one string of bytes,
//!
//! ```thrift
//! binary method(1: binary data)
//! ```
//!
//! many at a time, each answer found by its sequence and checked. [`encode`] writes them, [`frame`] reads
//! them for the client, which is here, and for the backend.

pub(super) mod encode;
pub(super) mod frame;

use sluice_stack::io::PacketIo;
use sluice_stack::{FlowId, Stack};
use sluice_wire::thrift::MessageKind;
use sluice_wire::ttheader::string;

use self::encode::RESULT;
use self::frame::{Begun, Data, Front};
use super::calls::Calls;
use super::codec::{Read, Reader, Wrong, ended};
use super::exceptions::Exceptions;
use super::fault::Fault;
use super::plan::Plan;

/// How far the payload of an answer is.
#[derive(Debug)]
pub(crate) struct Payload {
    data: Data,
    answer: Answer,
}

/// What is known of an answer by its head.
#[derive(Debug, Clone, Copy)]
struct Answer {
    place: u16,
    bytes: u64,
    keep_alive: bool,
    wrong: Option<Wrong>,
}

impl Answer {
    fn ends(self, data: &Data) -> Read {
        let fault = match self.wrong {
            Some(_) => Some(Fault::WrongStatus),
            None => (!data.is_right()).then_some(Fault::WrongBody),
        };
        Read::Answer {
            place: self.place,
            bytes: self.bytes,
            wrong: self.wrong,
            keep_alive: self.keep_alive,
            fault,
        }
    }
}

/// What reading takes, for all connections together.
#[derive(Debug, Default)]
pub(crate) struct Codec {
    scratch: Vec<u8>,
    exceptions: Exceptions,
}

impl Codec {
    pub(crate) fn exceptions(&self) -> &Exceptions {
        &self.exceptions
    }

    /// Reads what has come of the next answer, to whichever call it is.
    #[inline]
    pub(crate) fn read<P: PacketIo>(
        &mut self,
        reader: &mut Reader,
        calls: &Calls,
        plan: &Plan,
        stack: &mut Stack<P>,
        flow: FlowId,
    ) -> Read {
        if matches!(reader, Reader::Head) {
            let input = stack.front(flow, frame::FRONT, &mut self.scratch);
            let begun = match Begun::read(input, RESULT) {
                Front::Begun(begun) => begun,
                Front::Incomplete => {
                    return ended(&stack.view(flow)).map_or(Read::More, Read::Broken);
                }
                Front::Malformed => return Read::Broken(Fault::BadAnswer),
            };
            let begin = begun.data_at;
            let rest = input.get(begin..).unwrap_or_default();
            let known = judge(&begun, rest, calls, plan, &mut self.exceptions);
            let (mut data, answer) = match known {
                Ok(known) => known,
                Err(fault) => return Read::Broken(fault),
            };
            let taken = data.take(rest, &plan.pattern);
            stack.consume(flow, begin + taken);
            if data.is_whole() {
                return answer.ends(&data);
            }
            *reader = Reader::TtHeader(Payload { data, answer });
        }
        let Reader::TtHeader(Payload { data, answer }) = reader else {
            return Read::More;
        };
        // Each turn consumes bytes, or is the last one.
        while !data.is_whole() {
            let input = stack.peek(flow);
            if input.is_empty() {
                return ended(&stack.view(flow)).map_or(Read::More, Read::Broken);
            }
            let taken = data.take(input, &plan.pattern);
            stack.consume(flow, taken);
        }
        let read = answer.ends(data);
        *reader = Reader::Head;
        read
    }
}

/// Whose answer it is, what is wrong with its head, and what its data has to be. `rest` begins with the data,
/// or with an exception.
#[inline]
fn judge(
    begun: &Begun<'_>,
    rest: &[u8],
    calls: &Calls,
    plan: &Plan,
    exceptions: &mut Exceptions,
) -> Result<(Data, Answer), Fault> {
    let (head, message) = (&begun.head, &begun.message);
    let (place, call) = calls.find(head.sequence()).ok_or(Fault::Unexpected)?;
    let planned = plan.get(call.request).ok_or(Fault::BadAnswer)?;
    let names = message.sequence == call.sequence && message.method == &*planned.method;
    if !names || call.answered {
        return Err(Fault::BadAnswer);
    }
    let left = begun.left();
    let wrong = match message.kind {
        MessageKind::Reply => {
            let status = head.string(string::BIZ_STATUS);
            status.filter(|status| *status != b"0").map(|status| {
                let message = head.string(string::BIZ_MESSAGE).unwrap_or_default();
                exceptions.biz_status(status, message)
            })
        }
        MessageKind::Exception => {
            let length = usize::try_from(left).unwrap_or(usize::MAX);
            let body = rest.get(..length).unwrap_or(rest);
            Some(exceptions.exception(message.protocol, body))
        }
        MessageKind::Call | MessageKind::Oneway => return Err(Fault::BadAnswer),
    };
    let wrong = wrong.map(Wrong::Exception);
    let data = match (begun.data_len, wrong) {
        // Not what it should be: it is read to its end for the next answer's sake.
        (_, Some(_)) => Data::any(left, true),
        (Some(length), None) => {
            let right = planned.length.is_none_or(|expected| expected == length);
            Data::new(length, left, planned.phase, right)
        }
        // Another method than ours, whose answer is not known.
        (None, None) => Data::any(left, planned.length.is_none()),
    };
    let answer = Answer {
        place,
        bytes: head.frame_len() as u64,
        keep_alive: !head.closes(),
        wrong,
    };
    Ok((data, answer))
}
