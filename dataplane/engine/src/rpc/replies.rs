//! Replies from a channel: each finds its call and goes to its caller, under the caller's sequences.

use sluice_policy::Values;
use sluice_stack::Phase;
use sluice_stack::counters::Counters;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::Parsed;
use sluice_wire::thrift::{FrameFull, MessageKind, exception_type};
use sluice_wire::ttheader::{
    Call as Matched, Edit, Edits, EncodeError, Flags, Head, Match, NewHead, RewriteError,
    Sequences, integer, string,
};

use super::Dialect;
use super::call::{Call, NONE};
use super::channel::{Incoming, REPLIES, Way};
use super::front::{Frame, look};
use super::keys::{Changes, NewKeys, TooLarge, by_route};
use super::send::set_length;
use crate::downstream::Step;
use crate::generations::Generation;
use crate::reply::LocalReply;
use crate::stats::{EngineEvent, Refused, RequestFate, RpcEvent};
use crate::traffic::Outcome;
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
                if channel.incoming.is_some() || view.readable > 0 {
                    self.stats.refused_replies.count(Refused::Truncated);
                }
                self.channel_lost(number, LocalReply::CLOSED_EARLY, now);
                return Step::Over;
            }
            if view.readable > channel.came {
                self.reply_goes_on(number, view.readable, now);
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
        #[cfg(test)]
        crate::contained::reach("reply");
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
                self.stack.expects(channel.flow, need);
                let view = self.stack.view(channel.flow);
                if view.finished || view.phase == Phase::Closed {
                    self.stats.refused_replies.count(Refused::Truncated);
                    self.channel_lost(number, LocalReply::CLOSED_EARLY, now);
                    return Step::Over;
                }
                self.reply_goes_on(number, view.readable, now);
                return Step::Wait;
            }
            Err(error) => {
                self.stats.refused_replies.count(error.into());
                return self.bad_reply(number, RpcEvent::BadReply, now);
            }
        };
        channel.need = 0;
        let frame = match Frame::parse(channel.dialect, front, &REPLIES) {
            Ok(frame) if !frame.is_request() => frame,
            Ok(_) => {
                self.stats.refused_replies.count(Refused::NotAReply);
                return self.bad_reply(number, RpcEvent::BadReply, now);
            }
            Err((error, _)) => {
                self.stats.refused_replies.count(error.into());
                return self.bad_reply(number, RpcEvent::BadReply, now);
            }
        };
        if frame.head.as_ref().is_some_and(Head::closes) && !channel.leaving {
            channel.leaving = true;
            self.stats.rpc.count(RpcEvent::ServiceLeaves);
        }
        if channel.streams {
            return self.stream_reply(number, &frame, (front, len), now);
        }
        let streaming = |head: &Head<'_>| head.flags().contains(Flags::STREAMING);
        if frame.head.as_ref().is_some_and(streaming) {
            // Nothing on this connection is a stream.
            return self.bad_reply(number, RpcEvent::Stranger, now);
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
        let on_its_way = self.rpc.channels.get_mut(number as usize);
        if let Some(channel) = on_its_way.filter(|channel| channel.incoming.is_some()) {
            channel.partial = None;
            if channel
                .incoming
                .is_some_and(|incoming| !incoming.waits_for_caller())
            {
                self.reply_goes_on(number, 0, now);
            }
            self.stack.wake(flow);
            return Step::Again;
        }
        self.reply_taken(number, now)
    }

    /// Ends a channel that can't be trusted any more.
    pub(super) fn bad_reply(&mut self, number: u32, why: RpcEvent, now: Instant) -> Step {
        self.stats.rpc.count(why);
        self.channel_lost(number, LocalReply::BAD_REPLY, now);
        Step::Over
    }

    /// Throws a reply away that is at the front of a channel's receive ring.
    pub(super) fn skip_reply(&mut self, number: u32, len: usize) {
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
        let caller = self
            .rpc
            .calls
            .get(owner as usize)
            .map_or(NONE, |call| call.caller);
        let last = self.takes_no_more(caller, now);
        let (Some(call), Some(channel)) = (
            self.rpc.calls.get_mut(owner as usize),
            self.rpc.channels.get(number as usize),
        ) else {
            return self.skip_reply(number, len);
        };
        call.notes.first_byte = now;
        let flow = channel.flow;
        if caller == NONE {
            self.skip_reply(number, len);
            return self.end_call(owner, RequestFate::Answered, now);
        }
        note_outcome(&self.stats.rpc, call, frame, front);
        if len > call.max_frame {
            self.stats.rpc.count(RpcEvent::LargeReply);
            self.skip_reply(number, len);
            return self.fail_call(owner, LocalReply::LARGE_REPLY, now);
        }
        let coming = Coming {
            dialect: call.dialect,
            framed: call.answer.is_some_and(|answer| answer.framed()),
            sequences: matched.sequences,
            last,
        };
        self.spare.out.clear();
        let encoded = {
            let (out, text) = (&mut self.spare.out, &mut self.spare.made.text);
            let mut changes = Changes::new();
            let rules = self.generations.get(call.generation);
            by_rules(&mut changes, rules, call, frame, text)
                .map_err(|_| Unsent)
                .and_then(|()| coming.encode(out, frame, len, &mut changes))
        };
        let Ok(passed) = encoded else {
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
}

/// Takes note of what kind of reply it is.
pub(super) fn note_outcome(
    counters: &Counters<RpcEvent>,
    call: &mut Call,
    frame: &Frame<'_>,
    front: &[u8],
) {
    let message = frame.payload.message();
    if let Some(message) = message.filter(|message| message.kind == MessageKind::Exception) {
        counters.count(RpcEvent::Exception);
        call.outcome = Outcome::Exception;
        if let Some(record) = &mut call.notes.record {
            let head_len = frame.head_len();
            let body = front.get(head_len + message.bytes().len()..);
            record.exception = exception_type(message.protocol, body.unwrap_or_default());
            record.errs = true;
        }
    }
    let head = frame.head.as_ref();
    let status = head.and_then(|head| head.string(string::BIZ_STATUS));
    if let Some(status) = status.filter(|status| !status.is_empty() && *status != b"0") {
        counters.count(RpcEvent::BizStatus);
        call.outcome = Outcome::BizStatus;
        if let Some(record) = &mut call.notes.record {
            record.set_biz_status(status);
        }
    }
}

/// Adds what the rules change of a reply's keys.
#[inline]
pub(super) fn by_rules<'e>(
    changes: &mut Changes<'e>,
    rules: Option<&'e Generation>,
    call: &Call,
    frame: &Frame<'_>,
    text: &'e mut Vec<u8>,
) -> Result<(), TooLarge> {
    let Some(rules) = rules.map(|rules| &*rules.snapshot) else {
        return Ok(());
    };
    let route = call.route.and_then(|route| rules.routes.get(route.0));
    let Some(route) = route.filter(|route| !route.response_keys.0.is_empty()) else {
        return Ok(());
    };
    let service = call.service.and_then(|service| rules.service(service));
    let values = Values {
        client: call.origin.client,
        lane: rules
            .lanes
            .as_ref()
            .and_then(|lanes| lanes.name(call.lane?)),
        request_id: b"",
        route: &route.name,
        service: service.map_or("", |service| &service.name),
        status: 0,
        request: None,
    };
    by_route(
        changes,
        &route.response_keys,
        &values,
        frame.head.as_ref(),
        text,
    )
}

pub(super) fn call_bytes_out<P: PacketIo>(worker: &mut Worker<P>, call: u32, bytes: usize) {
    if let Some(call) = worker.rpc.calls.get_mut(call as usize) {
        call.notes.bytes_out += bytes as u64;
    }
}

/// How a reply goes to its caller.
pub(super) struct Coming {
    /// What the caller speaks.
    pub(super) dialect: Dialect,
    /// Its call stands in a Thrift frame: a caller without TTHeader reads replies that do, and no others.
    pub(super) framed: bool,
    /// The sequences that the caller chose.
    pub(super) sequences: Sequences,
    /// The caller is to close its connection behind it.
    pub(super) last: bool,
}

impl Coming {
    /// Appends the beginning of the frame as the caller gets it; returns how many bytes of the received
    /// one it stands for. `len` is the length of all of that.
    #[inline]
    pub(super) fn encode(
        &self,
        out: &mut Vec<u8>,
        frame: &Frame<'_>,
        len: usize,
        changes: &mut Changes<'_>,
    ) -> Result<usize, Unsent> {
        let message = frame.payload.message();
        let changed = message.zip(self.sequences.message);
        let changed = changed.filter(|(message, sequence)| message.sequence != *sequence);
        let head_len = frame.head_len();
        if self.dialect != Dialect::TtHeader {
            return self.plain(out, frame, len);
        }
        let reset = string::CONNECTION_RESET;
        let closes = frame.head.as_ref().is_some_and(Head::closes);
        let edit = match (closes, self.last) {
            (_, true) => Some(Edit::SetString(reset, b"1")),
            (true, false) => Some(Edit::RemoveString(reset)),
            (false, false) => None,
        };
        if let Some(edit) = edit {
            // There is room: no route changes as much.
            let _ = changes.try_push(edit);
        }
        let Some(head) = &frame.head else {
            self.lift(out, frame, len, changes)?;
            return Ok(0);
        };
        let edits = Edits {
            sequence: Some(self.sequences.of_reply()),
            flags: None,
            metadata: changes,
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

    /// Writes what a caller without TTHeader gets, in the framing of its call.
    #[inline]
    fn plain(&self, out: &mut Vec<u8>, frame: &Frame<'_>, len: usize) -> Result<usize, Unsent> {
        // Nothing else can be read there.
        let message = frame.payload.message().ok_or(Unsent)?;
        let head_len = frame.head_len();
        let sequence = self.sequences.message.unwrap_or(message.sequence);
        let framed = message.frame.is_some();
        if framed == self.framed && message.sequence == sequence {
            // A MeshHeader goes with it to those who speak it.
            return Ok(head_len - frame.mesh.len());
        }
        out.extend_from_slice(frame.mesh);
        match (framed, self.framed) {
            (true, false) => {
                let bare = message.without_frame().ok_or(Unsent)?;
                bare.write_with_sequence(out, sequence)?;
            }
            (false, true) => message.write_in_frame(out, sequence, len - head_len)?,
            (true, true) | (false, false) => message.write_with_sequence(out, sequence)?,
        }
        Ok(head_len + message.bytes().len())
    }

    /// Puts a TTHeader before a plain reply of `len` bytes.
    fn lift(
        &self,
        out: &mut Vec<u8>,
        frame: &Frame<'_>,
        len: usize,
        changes: &Changes<'_>,
    ) -> Result<(), Unsent> {
        let kind: &[u8] = match frame.payload.message().map(|message| message.kind) {
            Some(MessageKind::Exception) => b"3",
            _ => b"2",
        };
        let keys = NewKeys::of(&[(integer::MSG_TYPE, kind)], changes);
        let head = NewHead {
            sequence: self.sequences.of_reply(),
            ..keys.head()
        };
        head.write(out, 0)?;
        set_length(out, len)?;
        Ok(())
    }
}

/// A reply can't be given to its caller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unsent;

impl From<RewriteError> for Unsent {
    fn from(_: RewriteError) -> Self {
        Unsent
    }
}

impl From<FrameFull> for Unsent {
    fn from(_: FrameFull) -> Self {
        Unsent
    }
}

impl From<EncodeError> for Unsent {
    fn from(_: EncodeError) -> Self {
        Unsent
    }
}
