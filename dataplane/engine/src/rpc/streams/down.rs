//! Frames of streams from their service to their caller.

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::Parsed;
use sluice_wire::thrift::{self, MessageHead};
use sluice_wire::ttheader::{Flags, Match, Payload, Sequences, StreamFrame};

use crate::downstream::Step;
use crate::reply::LocalReply;
use crate::rpc::channel::{Incoming, REPLIES, Way};
use crate::rpc::front::Frame;
use crate::rpc::keys::Changes;
use crate::rpc::replies::{Coming, Unsent, by_rules, note_outcome};
use crate::stats::{RequestFate, RpcEvent};
use crate::worker::Worker;

/// Bytes that may wait for the caller of a stream whose channel others share, behind the frame that was the
/// first to wait: frames come whole, of any size.
const MOST_WAITING: usize = 1 << 20;

impl<P: PacketIo> Worker<P> {
    /// Takes the frame of `len` bytes at the front of the receive ring of a channel for streams.
    pub(in crate::rpc) fn stream_reply(
        &mut self,
        number: u32,
        frame: &Frame<'_>,
        (front, len): (&[u8], usize),
        now: Instant,
    ) -> Step {
        let Some(channel) = self.rpc.channels.get_mut(number as usize) else {
            return Step::Over;
        };
        channel.came = 0;
        channel.partial = None;
        #[cfg(test)]
        crate::contained::reach("stream down");
        let head = frame.head.as_ref();
        let Some(head) = head.filter(|head| head.flags().contains(Flags::STREAMING)) else {
            return self.bad_reply(number, RpcEvent::Stranger, now);
        };
        let kind = head.stream_frame();
        if head.sequence() == 0 && kind == Some(StreamFrame::Meta) {
            // About the connection, which is none of its callers' business.
            self.stats.rpc.count(RpcEvent::LateStreamFrame);
            return self.drop_stream_frame(number, len);
        }
        let (owner, sequences) = match channel.table.stream(head.sequence()) {
            Match::Call(call) => (*call.owner, call.sequences),
            Match::Late => {
                self.stats.rpc.count(RpcEvent::LateStreamFrame);
                return self.drop_stream_frame(number, len);
            }
            Match::Stranger => return self.bad_reply(number, RpcEvent::Stranger, now),
        };
        let Some(call) = self.rpc.calls.get_mut(owner as usize) else {
            return self.drop_stream_frame(number, len);
        };
        let Some(caller) = self.rpc.callers.get_mut(call.caller as usize) else {
            return self.drop_stream_frame(number, len);
        };
        if caller.waiting() > 0 {
            if !channel.shared {
                // Its connection fills up, and the service with it.
                if !std::mem::replace(&mut channel.held, true) {
                    caller.held_streams.push_back(number);
                }
                return Step::Wait;
            }
            if caller.waiting() > caller.room {
                self.stats.rpc.count(RpcEvent::StreamOverflow);
                let step = self.drop_stream_frame(number, len);
                self.fail_stream(owner, LocalReply::STREAM_SLOW, now);
                return step;
            }
        } else {
            caller.room = MOST_WAITING + len;
        }
        if len > call.max_frame {
            self.stats.rpc.count(RpcEvent::LargeReply);
            let step = self.drop_stream_frame(number, len);
            self.fail_stream(owner, LocalReply::STREAM_LARGE, now);
            return step;
        }
        if call.notes.first_byte == Instant::NEVER {
            call.notes.first_byte = now;
        }
        if let Some(stream) = call.stream.as_deref_mut() {
            stream.progress = now;
        }
        self.note_trailer(owner, frame, front);
        match self.encode_down(owner, frame, (kind, sequences), len, now) {
            Ok(passed) => {
                let behind = front.get(passed..).unwrap_or_default();
                self.spare.out.extend_from_slice(behind);
            }
            Err(Unsent) => {
                self.stats.rpc.count(RpcEvent::BadReply);
                let step = self.drop_stream_frame(number, len);
                self.fail_stream(owner, LocalReply::BAD_REPLY.of_stream(), now);
                return step;
            }
        }
        let last = ends(kind);
        self.deliver(number, (owner, last), (front.len(), len), now)
    }

    /// Writes the beginning of a frame as the caller of its stream gets it to the scratch buffer; returns how
    /// many bytes of the received one it stands for.
    fn encode_down(
        &mut self,
        owner: u32,
        frame: &Frame<'_>,
        (kind, sequences): (Option<StreamFrame>, Sequences),
        len: usize,
        now: Instant,
    ) -> Result<usize, Unsent> {
        let caller = self.rpc.calls.get(owner as usize).map(|call| call.caller);
        let leaving = self.takes_no_more(caller.ok_or(Unsent)?, now);
        let call = self.rpc.calls.get(owner as usize).ok_or(Unsent)?;
        let coming = Coming {
            dialect: call.dialect,
            framed: false,
            sequences,
            last: leaving && kind == Some(StreamFrame::Trailer),
        };
        self.spare.out.clear();
        let (out, text) = (&mut self.spare.out, &mut self.spare.made.text);
        let mut changes = Changes::new();
        if kind == Some(StreamFrame::Header) {
            let rules = self.generations.get(call.generation);
            by_rules(&mut changes, rules, call, frame, text).map_err(|_| Unsent)?;
        }
        coming.encode(out, frame, len, &mut changes)
    }

    /// Gives a caller the frame whose beginning, of `taken` bytes as received, stands in the scratch buffer.
    fn deliver(
        &mut self,
        number: u32,
        (owner, last): (u32, Option<RequestFate>),
        (taken, len): (usize, usize),
        now: Instant,
    ) -> Step {
        let (Some(channel), Some(call)) = (
            self.rpc.channels.get_mut(number as usize),
            self.rpc.calls.get_mut(owner as usize),
        ) else {
            return Step::Over;
        };
        let (flow, caller, rest) = (channel.flow, call.caller, len - taken);
        if len > REPLIES.whole {
            if !self.rpc.buffers.may_hold(len) {
                let step = self.drop_stream_frame(number, len);
                self.fail_stream(owner, LocalReply::TOO_MUCH_HELD, now);
                return step;
            }
            let mut reply = self.rpc.buffers.take();
            reply.extend_from_slice(&self.spare.out);
            self.rpc.buffers.held += reply.len();
            call.reply = reply;
            call.notes.upstream_bytes_in += taken as u64;
            if let Some(stream) = call.stream.as_deref_mut() {
                stream.last = last;
            }
            channel.incoming = Some(Incoming {
                way: Way::Together(owner),
                left: rest,
            });
            self.stack.consume(flow, taken);
            self.stack.wake(flow);
            return Step::Again;
        }
        call.notes.upstream_bytes_in += len as u64;
        call.notes.bytes_out += (self.spare.out.len() + rest) as u64;
        self.stack.consume(flow, taken);
        self.output(caller, now);
        if rest > 0 {
            self.put_from(caller, flow, rest, now);
        }
        self.frame_given(number, (owner, last), now)
    }

    /// A frame that was too large to come at once has come together in its call.
    pub(in crate::rpc) fn stream_frame_together(
        &mut self,
        number: u32,
        owner: u32,
        now: Instant,
    ) -> Step {
        let Some(call) = self.rpc.calls.get_mut(owner as usize) else {
            return Step::Again;
        };
        let caller = call.caller;
        let reply = std::mem::take(&mut call.reply);
        call.notes.bytes_out += reply.len() as u64;
        let last = call.stream.as_deref_mut().and_then(|s| s.last.take());
        self.rpc.buffers.held = self.rpc.buffers.held.saturating_sub(reply.len());
        self.put(caller, &reply, now);
        self.rpc.buffers.give_back(reply);
        self.frame_given(number, (owner, last), now)
    }

    /// A frame has gone to its caller, and ends its stream perhaps.
    fn frame_given(
        &mut self,
        number: u32,
        (owner, last): (u32, Option<RequestFate>),
        now: Instant,
    ) -> Step {
        if let Some(channel) = self.rpc.channels.get_mut(number as usize) {
            channel.came = 0;
            channel.partial = None;
        }
        // The caller may be over by now, and its streams with it.
        let Some(call) = self.rpc.calls.get_mut(owner as usize) else {
            return Step::Again;
        };
        let Some(fate) = last else {
            return Step::Again;
        };
        let caller = call.caller;
        let place = call.channel.take();
        if let Some((_, name)) = place
            && let Some(channel) = self.rpc.channels.get_mut(number as usize)
        {
            channel.table.reply(Sequences {
                frame: name,
                message: None,
            });
        }
        self.end_call(owner, fate, now);
        self.after_reply(caller, now);
        if self.rpc.channels.get(number as usize).is_none() {
            return Step::Over;
        }
        self.reply_taken(number, now)
    }

    /// Throws the frame away that is at the front of a channel's receive ring.
    fn drop_stream_frame(&mut self, number: u32, len: usize) -> Step {
        self.skip_reply(number, len);
        Step::Again
    }

    /// Takes note of how a stream ended, as its trailer says.
    fn note_trailer(&mut self, owner: u32, frame: &Frame<'_>, front: &[u8]) {
        let head = frame.head.as_ref();
        let Some(head) = head.filter(|head| ends(head.stream_frame()).is_some()) else {
            return;
        };
        let payload = front.get(head.bytes().len()..).unwrap_or_default();
        let payload = match MessageHead::parse(payload, &thrift::Limits::default()) {
            Ok(Parsed::Complete(message)) => Payload::Message(message),
            _ => Payload::Struct,
        };
        let frame = Frame {
            head: Some(*head),
            mesh: &[],
            payload,
        };
        if let Some(call) = self.rpc.calls.get_mut(owner as usize) {
            note_outcome(&self.stats.rpc, call, &frame, front);
        }
    }
}

/// How a frame of this kind from the service ends its stream, if it does.
fn ends(kind: Option<StreamFrame>) -> Option<RequestFate> {
    match kind {
        Some(StreamFrame::Trailer) => Some(RequestFate::Answered),
        Some(StreamFrame::Reset) => Some(RequestFate::StreamReset),
        _ => None,
    }
}
