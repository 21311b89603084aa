//! Frames that are too large to come together, from ring to ring as they come: requests on a channel
//! of their own, and replies from such a channel.

use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::ttheader::Ended;

use super::channel::{Incoming, Way};
use super::due::Due;
use super::replies::call_bytes_out;
use crate::downstream::Step;
use crate::reply::LocalReply;
use crate::stats::RequestFate;
use crate::worker::Worker;

/// A large request on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upload {
    /// Its call; `None` when that is over, and the rest of the frame is thrown away.
    pub(super) call: Option<u32>,
    /// The channel that it goes to, once there is one.
    pub(super) channel: Option<u32>,
    /// Bytes of the frame that are still to come.
    pub(super) left: usize,
    /// It comes together in its stream before any of it is sent.
    pub(super) together: bool,
    /// When some last moved.
    pub(super) progress: Instant,
}

impl<P: PacketIo> Worker<P> {
    /// Has the frame at the front of a caller's receive ring be that of a large request.
    pub(super) fn begin_upload(&mut self, number: u32, call: u32, len: usize, now: Instant) {
        if let Some(caller) = self.rpc.callers.get_mut(number as usize) {
            caller.upload = Some(Upload {
                call: Some(call),
                channel: None,
                left: len,
                together: false,
                progress: now,
            });
        }
    }

    /// The beginning of a large request is in its channel's send queue; `rest` is to follow.
    pub(super) fn upload_begun(&mut self, call: u32, number: u32, rest: usize, now: Instant) {
        let number_of_call = call;
        let (Some(call), Some(channel)) = (
            self.rpc.calls.get_mut(call as usize),
            self.rpc.channels.get_mut(number as usize),
        ) else {
            return;
        };
        channel.upload = Some(call.caller);
        if let Some(caller) = self.rpc.callers.get_mut(call.caller as usize)
            && let Some(upload) = &mut caller.upload
        {
            call.notes.bytes_in += (upload.left - rest) as u64;
            upload.channel = Some(number);
            upload.left = rest;
            upload.progress = now;
            self.stack.wake(caller.flow);
        }
        self.await_rest(number_of_call, now);
    }

    /// Until when the caller of a large request has time to send more of it; `None` where it is not the
    /// caller that is waited for.
    pub(super) fn waits_for_rest(&self, number: u32) -> Option<Instant> {
        let call = self.rpc.calls.get(number as usize)?;
        let caller = self.rpc.callers.get(call.caller as usize)?;
        let upload = caller.upload.filter(|upload| upload.call == Some(number))?;
        let waits = upload.channel.is_some() && upload.left > 0;
        if !waits || self.stack.view(caller.flow).readable > 0 {
            return None;
        }
        let rules = self.generations.current().listener_rules(caller.listener)?;
        Some(upload.progress + rules.body_timeout)
    }

    /// Has a call be looked at when its caller has sent no more of it for too long.
    fn await_rest(&mut self, number: u32, now: Instant) {
        if let Some(until) = self.waits_for_rest(number) {
            self.rest_is_due(number, until, now);
        }
    }

    /// The caller of a large request has to have sent more of it by `until`. When it has not, it is told, and
    /// its connection ends: behind half a frame nothing can be found.
    pub(super) fn rest_is_due(&mut self, number: u32, until: Instant, now: Instant) {
        let Some(call) = self.rpc.calls.get_mut(number as usize) else {
            return;
        };
        if now < until {
            call.deadline = call.end.min(until);
            let deadline = call.deadline;
            return self.rpc.timers.set(Due::Call(number).key(), deadline);
        }
        let caller = call.caller;
        self.leave_channel(number, Ended::Cancelled, now);
        if let Some(caller) = self.rpc.callers.get_mut(caller as usize) {
            caller.upload = None;
            caller.closing = true;
            self.stack.wake(caller.flow);
        }
        self.fail_call(number, LocalReply::BODY_TIMEOUT, now);
    }

    /// Moves what has come of a large request.
    pub(super) fn upload(&mut self, number: u32, now: Instant) -> Step {
        let Some(caller) = self.rpc.callers.get_mut(number as usize) else {
            return Step::Over;
        };
        let Some(upload) = &mut caller.upload else {
            return Step::Again;
        };
        let flow = caller.flow;
        let view = self.stack.view(flow);
        let moved = match (upload.call, upload.channel) {
            (None, _) => {
                let thrown = view.readable.min(upload.left);
                self.stack.consume(flow, thrown);
                thrown
            }
            (Some(call), None) if upload.together => {
                let left = upload.left;
                if !self.rpc.buffers.may_hold(view.readable.min(left)) {
                    // What is left of it is thrown away.
                    self.fail_stream(call, LocalReply::TOO_MUCH_HELD, now);
                    return Step::Again;
                }
                self.gather(call, flow, left)
            }
            (Some(_), None) => return Step::Wait,
            (Some(_), Some(channel)) => match self.rpc.channels.get(channel as usize) {
                Some(channel) => self.stack.splice(flow, channel.flow, upload.left),
                None => 0,
            },
        };
        let caller = self.rpc.callers.get_mut(number as usize);
        let Some(upload) = caller.and_then(|caller| caller.upload.as_mut()) else {
            return Step::Again;
        };
        upload.left = upload.left.saturating_sub(moved);
        if moved > 0 {
            upload.progress = now;
        }
        let upload = *upload;
        if let Some(number) = upload.call
            && moved > 0
            && let Some(call) = self.rpc.calls.get_mut(number as usize)
        {
            call.notes.bytes_in += moved as u64;
            if upload.together {
                // Nothing of it has been sent yet.
                if let Some(stream) = call.stream.as_deref_mut() {
                    stream.moved(now);
                }
            } else if call.notes.first_byte == Instant::NEVER {
                call.notes.upstream_bytes_out += moved as u64;
                // The service has time to reply from the end of the request on.
                self.await_reply(number, now);
                self.await_rest(number, now);
            } else {
                call.notes.upstream_bytes_out += moved as u64;
            }
        }
        if upload.left == 0 {
            return self.uploaded(number, upload, now);
        }
        if view.finished && view.readable == moved {
            // The rest will never come.
            self.abort_caller(number, RequestFate::ClientGone, now);
            return Step::Over;
        }
        Step::Wait
    }

    fn uploaded(&mut self, number: u32, upload: Upload, now: Instant) -> Step {
        if let Some(caller) = self.rpc.callers.get_mut(number as usize) {
            caller.upload = None;
        }
        let channel = upload.channel;
        if let Some(channel) = channel.and_then(|c| self.rpc.channels.get_mut(c as usize)) {
            channel.upload = None;
        }
        if let Some(number) = upload.call
            && upload.together
        {
            self.flush_stream(number, now);
        } else if let Some(number) = upload.call {
            self.call_sent(number, now);
        }
        Step::Again
    }

    /// All of a request is in its channel's send queue.
    pub(super) fn call_sent(&mut self, number: u32, now: Instant) {
        let Some(call) = self.rpc.calls.get_mut(number as usize) else {
            return;
        };
        call.notes.sent = now;
        if call.stream.is_some() {
            self.stream_opened(number, now);
        } else if call.oneway {
            self.leave_channel(number, Ended::Oneway, now);
            self.end_call(number, RequestFate::Oneway, now);
        }
    }

    /// Moves what has come of a large reply.
    pub(super) fn receive_large(&mut self, number: u32, now: Instant) -> Step {
        let Some(channel) = self.rpc.channels.get_mut(number as usize) else {
            return Step::Over;
        };
        let Some(incoming) = &mut channel.incoming else {
            return Step::Again;
        };
        let flow = channel.flow;
        let here = self.stack.view(flow).readable.min(incoming.left);
        let moved = match incoming.way {
            Way::Nowhere => {
                self.stack.consume(flow, here);
                here
            }
            Way::Together(call) if !self.rpc.buffers.may_hold(here) => {
                incoming.way = Way::Nowhere;
                if channel.streams {
                    self.fail_stream(call, LocalReply::TOO_MUCH_HELD, now);
                } else {
                    // Its place in the channel is given back already.
                    self.fail_call(call, LocalReply::TOO_MUCH_HELD, now);
                }
                return Step::Again;
            }
            Way::Together(call) => match self.rpc.calls.get_mut(call as usize) {
                Some(call) => {
                    let taken = self.stack.peek(flow);
                    let taken = taken.get(..here).unwrap_or(taken);
                    call.reply.extend_from_slice(taken);
                    call.notes.upstream_bytes_in += taken.len() as u64;
                    let taken = taken.len();
                    if let Some(stream) = call.stream.as_deref_mut() {
                        stream.moved(now);
                    }
                    self.rpc.buffers.held += taken;
                    self.stack.consume(flow, taken);
                    taken
                }
                None => 0,
            },
            Way::Through(call) => {
                let call = self.rpc.calls.get_mut(call as usize);
                let caller = call.as_ref().map(|call| call.caller);
                let caller = caller.and_then(|c| self.rpc.callers.get_mut(c as usize));
                match (caller, call) {
                    (Some(caller), Some(call)) if !caller.has_backlog() => {
                        let moved = self.stack.splice(flow, caller.flow, here);
                        if moved > 0 {
                            caller.progress = now;
                        }
                        call.notes.bytes_out += moved as u64;
                        call.notes.upstream_bytes_in += moved as u64;
                        moved
                    }
                    _ => 0,
                }
            }
        };
        incoming.left = incoming.left.saturating_sub(moved);
        if incoming.left > 0 {
            // What straddles the end of the ring comes in two pieces.
            let more = moved > 0 && moved < here;
            if moved > 0 && !incoming.waits_for_caller() {
                self.reply_goes_on(number, 0, now);
            }
            return if more { Step::Again } else { Step::Wait };
        }
        let way = incoming.way;
        channel.incoming = None;
        if let Way::Together(call) = way
            && channel.streams
        {
            return self.stream_frame_together(number, call, now);
        }
        self.received_large(way, now);
        self.reply_taken(number, now)
    }

    fn received_large(&mut self, way: Way, now: Instant) {
        match way {
            Way::Nowhere => {}
            Way::Together(call) => self.reply_together(call, RequestFate::Answered, now),
            Way::Through(call) => {
                let Some(caller) = self.rpc.calls.get(call as usize).map(|c| c.caller) else {
                    return;
                };
                if let Some(caller) = self.rpc.callers.get_mut(caller as usize) {
                    caller.download = None;
                }
                self.end_call(call, RequestFate::Answered, now);
                self.after_reply(caller, now);
            }
        }
    }

    /// Begins to take a reply that is too large to come together, whose beginning stands in the
    /// scratch buffer as its caller gets it; `left` bytes are still in the channel's ring or to come.
    pub(super) fn begin_large(&mut self, number: u32, call: u32, left: usize, now: Instant) {
        if let Some(call) = self.rpc.calls.get_mut(call as usize) {
            // It has begun to reply in time. From here on the reply has to go on coming, and its caller to
            // go on taking it.
            call.deadline = call.end;
        }
        let way = match self.rpc.calls.get(call as usize) {
            None => Way::Nowhere,
            Some(state) => {
                let caller = self.rpc.callers.get(state.caller as usize);
                let shared = self.rpc.channels.get(number as usize);
                let alone = shared.is_some_and(|channel| !channel.shared);
                let free = caller.is_some_and(|caller| {
                    caller.download.is_none() && (!state.ordered || caller.first == call)
                });
                if alone && free {
                    Way::Through(call)
                } else {
                    Way::Together(call)
                }
            }
        };
        let way = match way {
            Way::Together(call) if !self.rpc.buffers.may_hold(left) => {
                // Its place in the channel is given back already.
                self.fail_call(call, LocalReply::TOO_MUCH_HELD, now);
                Way::Nowhere
            }
            Way::Together(call) => {
                let mut reply = self.rpc.buffers.take();
                reply.extend_from_slice(&self.spare.out);
                self.rpc.buffers.held += reply.len();
                if let Some(call) = self.rpc.calls.get_mut(call as usize) {
                    call.reply = reply;
                }
                way
            }
            Way::Through(call) => {
                let caller = self.rpc.calls.get(call as usize).map(|call| call.caller);
                if let Some(caller) = caller {
                    call_bytes_out(self, call, self.spare.out.len());
                    self.output(caller, now);
                    if let Some(caller) = self.rpc.callers.get_mut(caller as usize) {
                        caller.download = Some(call);
                        caller.progress = now;
                    }
                }
                way
            }
            Way::Nowhere => way,
        };
        if let Some(channel) = self.rpc.channels.get_mut(number as usize) {
            channel.incoming = Some(Incoming { way, left });
        }
    }
}
