//! Frames of streams from their caller to their service.

use sluice_stack::FlowId;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::Parsed;
use sluice_wire::ttheader::{Edits, Ended, Head, StreamFrame};

use crate::downstream::Step;
use crate::rpc::KEPT_BUFFER;
use crate::rpc::front::Bounds;
use crate::rpc::transfer::Upload;
use crate::stats::{Refused, RequestFate, RpcEvent};
use crate::worker::Worker;

/// Bytes of frames that may wait in a stream; one frame may, whatever its size.
const MOST_PENDING: usize = 256 << 10;

impl<P: PacketIo> Worker<P> {
    /// Takes a frame of a stream, of `len` bytes, which is at the front of its caller's receive ring.
    /// `None` if it begins a stream, which is for others to do.
    pub(in crate::rpc) fn stream_frame(
        &mut self,
        number: u32,
        head: &Head<'_>,
        (front, len): (&[u8], usize),
        now: Instant,
    ) -> Option<Step> {
        let kind = head.stream_frame();
        let known = self.find_stream(number, head.sequence());
        #[cfg(test)]
        if known.is_some() {
            crate::contained::reach("stream up");
        }
        match (kind, known) {
            (Some(StreamFrame::Header), None) => None,
            (Some(StreamFrame::Header), Some(_)) => {
                Some(self.refuse_frame(number, Refused::StreamIdInUse, now))
            }
            (_, Some(call)) if self.takes_more(call, kind) => {
                Some(self.stream_up(number, call, (head, kind), (front, len), now))
            }
            _ => {
                self.stats.rpc.count(RpcEvent::LateStreamFrame);
                self.pass_over(number, len, None, now);
                Some(Step::Again)
            }
        }
    }

    /// Whether a caller may send a frame of this kind: after its trailer a reset only.
    fn takes_more(&self, call: u32, kind: Option<StreamFrame>) -> bool {
        let call = self.rpc.calls.get(call as usize);
        let done = call.is_none_or(|call| call.stream.as_ref().is_none_or(|s| s.caller_done));
        !done || kind == Some(StreamFrame::Reset)
    }

    fn stream_up(
        &mut self,
        number: u32,
        call_number: u32,
        (head, kind): (&Head<'_>, Option<StreamFrame>),
        (front, len): (&[u8], usize),
        now: Instant,
    ) -> Step {
        let (Some(caller), Some(call)) = (
            self.rpc.callers.get_mut(number as usize),
            self.rpc.calls.get_mut(call_number as usize),
        ) else {
            return Step::Over;
        };
        let stalled = caller.stalled.take();
        let large = len > caller.whole;
        let flow = caller.flow;
        let Some(stream) = call.stream.as_deref_mut() else {
            return Step::Wait;
        };
        if kind == Some(StreamFrame::Reset) {
            return self.reset_by_caller(number, call_number, head, (front, len), now);
        }
        let channel = call.channel;
        let channel =
            channel.and_then(|(c, name)| Some((self.rpc.channels.get(c as usize)?, c, name)));
        let direct = channel
            .filter(|(channel, ..)| !large && stream.waiting() == 0 && !channel.has_backlog());
        let fits = stream.waiting() == 0 || stream.waiting() + len <= MOST_PENDING;
        if direct.is_none() && !(fits && self.rpc.buffers.may_hold(len)) {
            let since = stalled.filter(|(other, _)| *other == call_number);
            caller.stalled = Some(since.unwrap_or((call_number, now)));
            caller.paused = true;
            return Step::Wait;
        }
        stream.progress = now;
        stream.caller_done |= kind == Some(StreamFrame::Trailer);
        if large {
            self.pass_over(number, len, Some(call_number), now);
            return Step::Again;
        }
        call.notes.bytes_in += len as u64;
        let Some((_, channel, name)) = direct else {
            self.gather(call_number, flow, len);
            self.flush_stream(call_number, now);
            return Step::Again;
        };
        call.notes.upstream_bytes_out += len as u64;
        if !write_renamed(&mut self.spare.out, head, name) {
            self.stack.consume(flow, len);
            return Step::Again;
        }
        let behind = front.get(head.bytes().len()..).unwrap_or_default();
        self.spare.out.extend_from_slice(behind);
        self.stack.consume(flow, front.len());
        let rest = len - front.len();
        let bytes = self.stack.front(flow, rest, &mut self.spare.linear);
        self.spare
            .out
            .extend_from_slice(bytes.get(..rest).unwrap_or_default());
        self.stack.consume(flow, rest);
        self.put_channel(channel, now);
        Step::Again
    }

    /// A caller has reset its stream.
    fn reset_by_caller(
        &mut self,
        number: u32,
        call: u32,
        head: &Head<'_>,
        (front, len): (&[u8], usize),
        now: Instant,
    ) -> Step {
        let channel = self.rpc.calls.get(call as usize).and_then(|c| c.channel);
        if let Some((channel, name)) = channel
            && front.len() == len
            && write_renamed(&mut self.spare.out, head, name)
        {
            let behind = front.get(head.bytes().len()..).unwrap_or_default();
            self.spare.out.extend_from_slice(behind);
            self.put_channel(channel, now);
            if let Some(stream) = self.stream_of(call) {
                stream.service_done = true;
            }
        }
        if let Some(call) = self.rpc.calls.get_mut(call as usize) {
            call.notes.bytes_in += len as u64;
        }
        self.pass_over(number, len, None, now);
        self.leave_channel(call, Ended::Cancelled, now);
        let downloads = self.rpc.callers.get(number as usize);
        debug_assert!(downloads.is_none_or(|caller| caller.download != Some(call)));
        self.end_call(call, RequestFate::StreamReset, now);
        self.after_reply(number, now);
        Step::Again
    }

    /// Has the frame at the front of a caller's receive ring come together in a stream, or be thrown away.
    fn pass_over(&mut self, number: u32, len: usize, call: Option<u32>, now: Instant) {
        if let Some(caller) = self.rpc.callers.get_mut(number as usize) {
            caller.upload = Some(Upload {
                call,
                channel: None,
                left: len,
                together: call.is_some(),
                progress: now,
            });
        }
    }

    /// Moves at most `most` bytes from a receive ring to the frames that wait in a stream; returns how many.
    pub(in crate::rpc) fn gather(&mut self, number: u32, from: FlowId, most: usize) -> usize {
        let call = self.rpc.calls.get_mut(number as usize);
        let Some(stream) = call.and_then(|call| call.stream.as_deref_mut()) else {
            return 0;
        };
        if stream.pending_sent > 0 {
            stream.pending.drain(..stream.pending_sent);
            self.rpc.buffers.held = self.rpc.buffers.held.saturating_sub(stream.pending_sent);
            stream.pending_sent = 0;
        }
        if stream.pending.capacity() == 0 {
            stream.pending = self.rpc.buffers.take();
        }
        let mut left = most;
        while left > 0 {
            let here = self.stack.peek(from);
            let here = here.get(..left).unwrap_or(here);
            if here.is_empty() {
                break;
            }
            let taken = here.len();
            stream.pending.extend_from_slice(here);
            self.stack.consume(from, taken);
            left -= taken;
        }
        self.rpc.buffers.held += most - left;
        most - left
    }

    /// Sends frames that wait in a stream, while its channel has room.
    pub(in crate::rpc) fn flush_stream(&mut self, number: u32, now: Instant) {
        loop {
            let Some(call) = self.rpc.calls.get_mut(number as usize) else {
                return;
            };
            let ticket = call.ticket(number);
            let (Some((channel_number, name)), Some(stream)) =
                (call.channel, call.stream.as_deref_mut())
            else {
                return;
            };
            let Some(channel) = self.rpc.channels.get_mut(channel_number as usize) else {
                return;
            };
            let waiting = stream
                .pending
                .get(stream.pending_sent..)
                .unwrap_or_default();
            // What waits was read before: it is sound, and may only be incomplete. The listener may allow more by
            // now than when the stream began.
            let bounds = Bounds {
                whole: usize::MAX,
                frame: u32::MAX as usize,
            };
            let Ok(Parsed::Complete(head)) = Head::parse(waiting, &bounds.head()) else {
                return;
            };
            let (head_len, len) = (head.bytes().len(), head.frame_len());
            let Some(payload) = waiting.get(head_len..len) else {
                return;
            };
            if channel.has_backlog() {
                if !std::mem::replace(&mut stream.blocked, true) {
                    channel.blocked.push_back(ticket);
                }
                return;
            }
            if write_renamed(&mut self.spare.out, &head, name) {
                self.spare.out.extend_from_slice(payload);
            }
            stream.pending_sent += len;
            stream.progress = now;
            call.notes.upstream_bytes_out += len as u64;
            if stream.waiting() == 0 {
                let pending = std::mem::take(&mut stream.pending);
                stream.pending_sent = 0;
                self.rpc.buffers.held = self.rpc.buffers.held.saturating_sub(pending.len());
                self.rpc.buffers.give_back(pending);
            }
            self.put_channel(channel_number, now);
        }
    }

    /// Sends a channel what stands in the scratch buffer, behind what waits already.
    pub(super) fn put_channel(&mut self, number: u32, now: Instant) {
        let Some(channel) = self.rpc.channels.get_mut(number as usize) else {
            return;
        };
        let out = &self.spare.out;
        let sent = if channel.has_backlog() {
            0
        } else {
            channel.progress = now;
            channel.out.clear();
            channel.out_sent = 0;
            self.stack.write(channel.flow, out)
        };
        let rest = out.get(sent..).unwrap_or_default();
        self.rpc.buffers.held += rest.len();
        channel.out.extend_from_slice(rest);
    }

    /// Goes on with what waits for a channel's send queue, and then with the streams that wait for that.
    pub(in crate::rpc) fn flush_channel(&mut self, number: u32, now: Instant) {
        let Some(channel) = self.rpc.channels.get_mut(number as usize) else {
            return;
        };
        let rest = channel.out.get(channel.out_sent..).unwrap_or_default();
        let sent = self.stack.write(channel.flow, rest);
        channel.out_sent += sent;
        if sent > 0 {
            channel.progress = now;
        }
        if channel.has_backlog() {
            return;
        }
        self.rpc.buffers.release(channel.out.len());
        channel.out_sent = 0;
        channel.out.clear();
        if channel.out.capacity() > KEPT_BUFFER {
            channel.out = Vec::new();
        }
        while let Some(channel) = self.rpc.channels.get_mut(number as usize)
            && !channel.has_backlog()
            && let Some(ticket) = channel.blocked.pop_front()
        {
            let Some(caller) = self.streaming(ticket).map(|call| call.caller) else {
                continue;
            };
            if let Some(stream) = self.stream_of(ticket.call) {
                stream.blocked = false;
            }
            self.flush_stream(ticket.call, now);
            if let Some(caller) = self.rpc.callers.get(caller as usize) {
                self.stack.wake(caller.flow);
            }
        }
    }
}

/// Writes the head of a frame with the id that its stream has on its channel. A head that was read can be
/// written so; false where it could not.
fn write_renamed(out: &mut Vec<u8>, head: &Head<'_>, name: i32) -> bool {
    out.clear();
    let edits = Edits {
        sequence: Some(name),
        flags: None,
        metadata: &[],
    };
    head.write(out, &edits, head.payload_len()).is_ok()
}
