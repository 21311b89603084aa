//! Replies from a channel: each finds its call and goes to its caller, under the caller's sequences.

use sluice_stack::Phase;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::Parsed;
use sluice_wire::thrift::MessageKind;
use sluice_wire::ttheader::{
    Call as Matched, Edit, Edits, Head, Match, NewHead, RewriteError, Sequences, integer, string,
};

use super::Dialect;
use super::channel::{Incoming, REPLIES, Way};
use super::front::{Frame, look};
use super::send::set_length;
use crate::downstream::Step;
use crate::reply::LocalReply;
use crate::stats::{EngineEvent, RequestFate, RpcEvent};
use crate::worker::Worker;

impl<P: PacketIo> Worker<P> {
    /// Takes the next reply of an open channel, or more of one.
    pub(super) fn next_reply(&mut self, number: u32, now: Instant) -> Step {
        let Some(channel) = self.rpc.channels.get(number as usize) else {
            return Step::Over;
        };
        let view = self.stack.view(channel.flow);
        let ended = view.finished || view.phase == Phase::Closed;
        let short = if channel.incoming.is_some() {
            view.readable == 0
        } else {
            view.readable < channel.need.max(1)
        };
        if short {
            if ended {
                self.channel_lost(number, LocalReply::CLOSED_EARLY, now);
                return Step::Over;
            }
            return Step::Wait;
        }
        if channel.incoming.is_some() {
            return self.receive_large(number, now);
        }
        if !channel.shared && channel.table.in_use() == 0 {
            self.stats.events.count(EngineEvent::UpstreamUnsolicited);
            self.close_channel(number, true, now);
            return Step::Over;
        }
        let mut front = self.rpc.buffers.take();
        let step = self.take_reply(number, &mut front, now);
        self.rpc.buffers.give_back(front);
        step
    }

    fn take_reply(&mut self, number: u32, front: &mut Vec<u8>, now: Instant) -> Step {
        let Some(channel) = self.rpc.channels.get_mut(number as usize) else {
            return Step::Over;
        };
        let looked = look(
            &mut self.stack,
            (channel.flow, channel.dialect),
            &REPLIES,
            &mut channel.skipping,
            front,
            &mut self.spare.linear,
        );
        let len = match looked {
            Ok(Parsed::Complete(len)) => len,
            Ok(Parsed::Incomplete { need }) => {
                channel.need = need;
                let view = self.stack.view(channel.flow);
                if view.finished || view.phase == Phase::Closed {
                    self.channel_lost(number, LocalReply::CLOSED_EARLY, now);
                    return Step::Over;
                }
                return Step::Wait;
            }
            Err(_) => return self.bad_reply(number, RpcEvent::BadReply, now),
        };
        channel.need = 0;
        let Ok(frame) = Frame::parse(channel.dialect, front, &REPLIES) else {
            return self.bad_reply(number, RpcEvent::BadReply, now);
        };
        if frame.head.as_ref().is_some_and(Head::closes) && !channel.leaving {
            channel.leaving = true;
            self.stats.rpc.count(RpcEvent::ServiceLeaves);
        }
        let flow = channel.flow;
        match channel.table.reply(frame.sequences()) {
            Match::Call(matched) => {
                self.hand_over(number, &matched, &frame, (front, len), now);
            }
            Match::Late => {
                self.stats.rpc.count(RpcEvent::LateReply);
                self.skip_reply(number, len);
            }
            Match::Stranger => return self.bad_reply(number, RpcEvent::Stranger, now),
        }
        let on_its_way = self.rpc.channels.get(number as usize);
        if on_its_way.is_some_and(|channel| channel.incoming.is_some()) {
            self.stack.wake(flow);
            return Step::Again;
        }
        self.reply_taken(number, now)
    }

    /// Ends a channel that can't be trusted any more.
    fn bad_reply(&mut self, number: u32, why: RpcEvent, now: Instant) -> Step {
        self.stats.rpc.count(why);
        self.channel_lost(number, LocalReply::BAD_REPLY, now);
        Step::Over
    }

    /// Throws a reply away that is at the front of a channel's receive ring.
    fn skip_reply(&mut self, number: u32, len: usize) {
        let Some(channel) = self.rpc.channels.get_mut(number as usize) else {
            return;
        };
        let here = self.stack.view(channel.flow).readable.min(len);
        self.stack.consume(channel.flow, here);
        channel.incoming = (here < len).then_some(Incoming {
            way: Way::Nowhere,
            left: len - here,
        });
    }

    /// Gives a call the reply of `len` bytes at the front of a channel's receive ring, which begins
    /// with `front`.
    fn hand_over(
        &mut self,
        number: u32,
        matched: &Matched<u32>,
        frame: &Frame<'_>,
        (front, len): (&[u8], usize),
        now: Instant,
    ) {
        let owner = matched.owner;
        let (Some(call), Some(channel)) = (
            self.rpc.calls.get_mut(owner as usize),
            self.rpc.channels.get(number as usize),
        ) else {
            return self.skip_reply(number, len);
        };
        call.notes.first_byte = now;
        let (caller, flow) = (call.caller, channel.flow);
        let listener = self.rpc.callers.get(caller as usize).map(|c| c.listener);
        let last = listener.is_some_and(|listener| {
            self.draining || self.generations.current().listener(listener).is_none()
        });
        self.note_outcome(frame);
        let Some(call) = self.rpc.calls.get_mut(owner as usize) else {
            return;
        };
        if len > call.max_frame {
            self.stats.rpc.count(RpcEvent::LargeReply);
            self.skip_reply(number, len);
            return self.fail_call(owner, LocalReply::LARGE_REPLY, now);
        }
        let coming = Coming {
            dialect: call.dialect,
            sequences: matched.sequences,
            last,
        };
        self.spare.out.clear();
        let Ok(passed) = coming.encode(&mut self.spare.out, frame, len) else {
            self.stats.rpc.count(RpcEvent::BadReply);
            self.skip_reply(number, len);
            return self.fail_call(owner, LocalReply::BAD_REPLY, now);
        };
        let behind = front.get(passed..).unwrap_or_default();
        self.spare.out.extend_from_slice(behind);
        self.stack.consume(flow, front.len());
        let rest = len - front.len();
        if len > REPLIES.whole {
            call.notes.upstream_bytes_in += front.len() as u64;
            return self.begin_large(number, owner, rest, now);
        }
        call.notes.upstream_bytes_in += len as u64;
        if rest == 0 {
            return self.give_reply(owner, RequestFate::Answered, now);
        }
        if self.waits_its_turn(owner) {
            let mut reply = self.rpc.buffers.take();
            reply.extend_from_slice(&self.spare.out);
            let bytes = self.stack.front(flow, rest, &mut self.spare.linear);
            reply.extend_from_slice(bytes);
            self.stack.consume(flow, rest);
            return self.keep_reply(owner, reply, RequestFate::Answered);
        }
        call_bytes_out(self, owner, self.spare.out.len() + rest);
        self.output(caller, now);
        self.put_from(caller, flow, rest, now);
        self.end_call(owner, RequestFate::Answered, now);
        self.after_reply(caller, now);
    }

    /// Counts what kind of reply it is.
    fn note_outcome(&mut self, frame: &Frame<'_>) {
        let message = frame.payload.message();
        if message.is_some_and(|message| message.kind == MessageKind::Exception) {
            self.stats.rpc.count(RpcEvent::Exception);
        }
        let status = frame
            .head
            .as_ref()
            .and_then(|head| head.string(string::BIZ_STATUS));
        if status.is_some_and(|status| status != b"0" && !status.is_empty()) {
            self.stats.rpc.count(RpcEvent::BizStatus);
        }
    }
}

fn call_bytes_out<P: PacketIo>(worker: &mut Worker<P>, call: u32, bytes: usize) {
    if let Some(call) = worker.rpc.calls.get_mut(call as usize) {
        call.notes.bytes_out += bytes as u64;
    }
}

/// How a reply goes to its caller.
struct Coming {
    /// What the caller speaks.
    dialect: Dialect,
    /// The sequences that the caller chose.
    sequences: Sequences,
    /// The caller is to close its connection behind it.
    last: bool,
}

impl Coming {
    /// Appends the beginning of the frame as the caller gets it; returns how many bytes of the received
    /// one it stands for. `len` is the length of all of that.
    #[inline]
    fn encode(
        &self,
        out: &mut Vec<u8>,
        frame: &Frame<'_>,
        len: usize,
    ) -> Result<usize, RewriteError> {
        let message = frame.payload.message();
        let changed = message.zip(self.sequences.message);
        let changed = changed.filter(|(message, sequence)| message.sequence != *sequence);
        let head_len = frame.head.as_ref().map_or(0, |head| head.bytes().len());
        if self.dialect == Dialect::Thrift {
            let Some((message, sequence)) = changed else {
                return Ok(head_len);
            };
            let written = message.write_with_sequence(out, sequence);
            written.map_err(|_| sluice_wire::ttheader::EncodeError::FrameTooLarge)?;
            return Ok(head_len + message.bytes().len());
        }
        let Some(head) = &frame.head else {
            self.lift(out, frame, len)?;
            return Ok(0);
        };
        let edit = match (head.closes(), self.last) {
            (_, true) => Some([Edit::SetString(string::CONNECTION_RESET, b"1")]),
            (true, false) => Some([Edit::RemoveString(string::CONNECTION_RESET)]),
            (false, false) => None,
        };
        let edits = Edits {
            sequence: Some(self.sequences.of_reply()),
            flags: None,
            metadata: edit.as_ref().map_or(&[], |edits| edits.as_slice()),
        };
        match changed {
            Some((message, sequence)) => {
                head.write_with_sequence(out, &edits, message, sequence)?;
                Ok(head_len + message.bytes().len())
            }
            None => {
                head.write(out, &edits, head.payload_len())?;
                Ok(head_len)
            }
        }
    }

    /// Puts a TTHeader before a plain reply of `len` bytes.
    fn lift(&self, out: &mut Vec<u8>, frame: &Frame<'_>, len: usize) -> Result<(), RewriteError> {
        let kind: &[u8] = match frame.payload.message().map(|message| message.kind) {
            Some(MessageKind::Exception) => b"3",
            _ => b"2",
        };
        let integers = [(integer::MSG_TYPE, kind)];
        let strings: [(&[u8], &[u8]); 1] = [(string::CONNECTION_RESET, b"1")];
        let head = NewHead {
            sequence: self.sequences.of_reply(),
            strings: strings.get(..usize::from(self.last)).unwrap_or_default(),
            integers: &integers,
            ..NewHead::default()
        };
        head.write(out, 0)?;
        set_length(out, len)?;
        Ok(())
    }
}
