//! Putting a request into a channel's send queue: under a sequence of its own, as the endpoint speaks.

use std::time::Duration;

use sluice_policy::Values;
use sluice_policy::action::Captures;
use sluice_stack::FlowId;
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;
use sluice_wire::Parsed;
use sluice_wire::thrift::{MessageHead, MessageKind};
use sluice_wire::ttheader::{
    Edit, Edits, EncodeError, Ended, Flags, Limits, MeshHeader, NewHead, Remaining, RewriteError,
    Sequences, Timeout, integer,
};

use super::call::Call;
use super::channels::Kind;
use super::front::{Bounds, Frame, FrameError, look};
use super::judge::view;
use super::keys::{Changes, NewKeys, TooLarge, by_lanes, by_route};
use super::{Dialect, SHARED_FRAME};
use crate::generations::Generation;
use crate::reply::LocalReply;
use crate::stats::Refused;
use crate::worker::Worker;

/// Where a request is taken from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// The beginning of its frame, or all of it.
    pub(super) front: &'a [u8],
    /// What `front` says, where that is known already.
    pub(super) frame: Option<&'a Frame<'a>>,
    /// Bytes of the whole frame.
    pub(super) len: usize,
    /// The flow whose receive ring begins with it; `None` where `front` is all of it.
    pub(super) ring: Option<FlowId>,
}

/// What became of sending a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sent {
    /// It is on its way; only of a large one there is more to come.
    Yes,
    /// The channel has no room for it now; nothing was sent. The pool, and the kind of channel it
    /// needs.
    NoRoom(u32, Kind),
    /// It can't share a channel after all.
    Alone,
    /// It can't be sent.
    No(LocalReply),
}

impl<P: PacketIo> Worker<P> {
    /// Sends a request on an open channel that has a place for it.
    #[inline]
    pub(super) fn transmit(
        &mut self,
        number: u32,
        channel_number: u32,
        source: &Source<'_>,
        now: Instant,
    ) -> Sent {
        let name = match self.encode_call(number, channel_number, source, now) {
            Ok(name) => name,
            Err(sent) => return sent,
        };
        let (Some(call), Some(channel)) = (
            self.rpc.calls.get_mut(number as usize),
            self.rpc.channels.get_mut(channel_number as usize),
        ) else {
            return Sent::No(LocalReply::NO_ENDPOINT);
        };
        let client = call.caller;
        let large = call.large > 0;
        if let Some(version) = channel.greets
            && channel.client.is_none()
            && self.write_proxy_header(client, version).is_none()
        {
            self.unsend(channel_number, name);
            return Sent::No(LocalReply::NO_ENDPOINT);
        }
        let (Some(call), Some(channel)) = (
            self.rpc.calls.get_mut(number as usize),
            self.rpc.channels.get_mut(channel_number as usize),
        ) else {
            return Sent::No(LocalReply::NO_ENDPOINT);
        };
        let rest = source.len - source.front.len();
        let wanted = self.spare.out.len() + if large { 0 } else { rest };
        let flow = channel.flow;
        if self.stack.view(flow).writable < wanted || channel.has_backlog() {
            channel.table.end(name, Ended::Oneway);
            return Sent::NoRoom(channel.pool, channel.kind());
        }
        if channel.greets.is_some() && channel.client.is_none() {
            let stamp = self.rpc.callers.get(client as usize).map(|c| c.stamp);
            channel.client = stamp.map(|stamp| (client, stamp));
        }
        call.channel = Some((channel_number, name));
        call.notes.connected = now;
        call.notes.reused = channel.reused;
        channel.reused = true;
        let mut written = self.stack.write(flow, &self.spare.out);
        if let Some(ring) = source.ring {
            self.stack.consume(ring, source.front.len());
            if !large && rest > 0 {
                written += self.stack.splice(ring, flow, rest);
            }
        }
        call.notes.upstream_bytes_out += written as u64;
        if let Some(pool) = self.pools.get(channel.pool) {
            pool.stats.sent();
        }
        self.await_reply(number, now);
        if written < wanted {
            // Half a frame is of no use to anyone.
            self.channel_lost(channel_number, LocalReply::CLOSED_EARLY, now);
        } else if large {
            self.upload_begun(number, channel_number, rest, now);
        } else {
            self.call_sent(number, now);
        }
        Sent::Yes
    }

    /// Takes a call from its channel that was not sent after all.
    #[cold]
    fn unsend(&mut self, channel: u32, name: i32) {
        if let Some(channel) = self.rpc.channels.get_mut(channel as usize) {
            channel.table.end(name, Ended::Oneway);
        }
    }

    /// Gives a call a place on a channel, and writes the beginning of its frame as it is sent there to
    /// the scratch buffer. Returns its name on the channel.
    #[inline]
    fn encode_call(
        &mut self,
        number: u32,
        channel_number: u32,
        source: &Source<'_>,
        now: Instant,
    ) -> Result<i32, Sent> {
        let rpc = &mut self.rpc;
        let (Some(call), Some(channel)) = (
            rpc.calls.get_mut(number as usize),
            rpc.channels.get_mut(channel_number as usize),
        ) else {
            return Err(Sent::No(LocalReply::NO_ENDPOINT));
        };
        let bounds = Bounds {
            whole: SHARED_FRAME,
            frame: call.max_frame,
        };
        let parsed;
        let frame = match source.frame {
            Some(frame) => frame,
            None => {
                // What has a MeshHeader is kept behind a TTHeader.
                let dialect = match call.dialect {
                    Dialect::MeshHeader => Dialect::TtHeader,
                    other => other,
                };
                parsed = Frame::parse(dialect, source.front, &bounds);
                let bad = |(error, _): &(FrameError, _)| {
                    Sent::No(LocalReply::bad_message((*error).into()))
                };
                parsed.as_ref().map_err(bad)?
            }
        };
        let spent = now.since(call.notes.begun);
        let left = match call.timeout.map(|timeout| timeout.after(spent)) {
            Some(Remaining::Passed) => return Err(Sent::No(LocalReply::REQUEST_TIMEOUT)),
            Some(Remaining::Left(left)) if spent >= Duration::from_millis(1) => Some(left),
            _ => None,
        };
        let Some((name, sequences)) = channel.table.begin(number, frame.sequences()) else {
            return Err(Sent::NoRoom(channel.pool, channel.kind()));
        };
        let going = Going {
            dialect: channel.dialect,
            shared: channel.shared && !channel.streams,
            sequences,
            mesh: &call.mesh,
        };
        self.spare.out.clear();
        let (out, text) = (&mut self.spare.out, &mut self.spare.made.text);
        let mut digits = [0; Timeout::MAX_DIGITS];
        let mut changes = Changes::new();
        let rules = self.generations.get(call.generation);
        let changed = by_rules(&mut changes, rules, call, frame, text);
        if let Some(left) = left {
            let left = Edit::SetInteger(integer::RPC_TIMEOUT, left.write(&mut digits));
            // There is room: no route changes as much.
            let _ = changes.try_push(left);
        }
        let encoded = changed
            .map_err(|_| Unsent::Changed)
            .and_then(|()| going.encode(out, frame, source.len, &changes));
        match encoded {
            Ok(passed) => {
                out.extend_from_slice(source.front.get(passed..).unwrap_or_default());
                Ok(name)
            }
            Err(unsent) => {
                channel.table.end(name, Ended::Oneway);
                Err(match unsent {
                    Unsent::Rewrite if channel.shared => {
                        // It goes alone.
                        call.rewritable = false;
                        Sent::Alone
                    }
                    Unsent::Rewrite | Unsent::Changed => Sent::No(LocalReply::REWRITTEN_TOO_LARGE),
                    Unsent::NoMessage => Sent::No(LocalReply::NO_MESSAGE),
                })
            }
        }
    }

    /// How long the reply to a call may take.
    #[inline]
    pub(super) fn response_timeout_of(&self, number: u32) -> Option<Duration> {
        let call = self.rpc.calls.get(number as usize)?;
        let generation = self.generations.get(call.generation)?;
        let route = generation.snapshot.route_of(call.route?)?;
        let service = generation.snapshot.service(call.service?)?;
        Some(route.response_timeout.unwrap_or(service.response_timeout))
    }

    /// Sets the time that a reply may take.
    pub(super) fn await_reply(&mut self, number: u32, now: Instant) {
        let wait = self.response_timeout_of(number);
        let Some((call, wait)) = self.rpc.calls.get_mut(number as usize).zip(wait) else {
            return;
        };
        if call.stream.is_some() {
            return self.arm_stream(number, now);
        }
        call.deadline = call.end.min(now + wait);
        let due = super::due::Due::Call(number).key();
        self.rpc.timers.set(due, call.deadline);
    }

    /// Sends a large request, whose beginning is at the front of its caller's receive ring.
    pub(super) fn send_large(&mut self, number: u32, channel: u32, now: Instant) {
        let Some(call) = self.rpc.calls.get(number as usize) else {
            return;
        };
        let (caller, max_frame) = (call.caller, call.max_frame);
        let Some(caller) = self.rpc.callers.get_mut(caller as usize) else {
            return;
        };
        let bounds = Bounds {
            whole: caller.whole,
            frame: max_frame,
        };
        let flow = caller.flow;
        let mut front = self.rpc.buffers.take();
        let looked = look(
            &mut self.stack,
            (flow, caller.dialect),
            &bounds,
            &mut caller.skipping,
            &mut front,
            &mut self.spare.linear,
        );
        let sent = match looked {
            Ok(Parsed::Complete(len)) => {
                let source = Source {
                    front: &front,
                    frame: None,
                    len,
                    ring: Some(flow),
                };
                self.transmit(number, channel, &source, now)
            }
            Ok(Parsed::Incomplete { .. }) => Sent::No(LocalReply::bad_message(Refused::Truncated)),
            Err(error) => Sent::No(LocalReply::bad_message(error.into())),
        };
        self.rpc.buffers.give_back(front);
        match sent {
            Sent::Yes => {}
            Sent::NoRoom(..) | Sent::Alone => {
                self.close_channel(channel, true, now);
                self.fail_call(number, LocalReply::NO_ENDPOINT, now);
            }
            Sent::No(reply) => self.fail_call(number, reply, now),
        }
    }
}

/// Adds what the rules change of a call's keys.
#[inline]
fn by_rules<'e>(
    changes: &mut Changes<'e>,
    rules: Option<&'e Generation>,
    call: &Call,
    frame: &'e Frame<'e>,
    text: &'e mut Vec<u8>,
) -> Result<(), TooLarge> {
    let Some(rules) = rules.map(|rules| &*rules.snapshot) else {
        return Ok(());
    };
    let Some(route) = call.route.and_then(|route| rules.routes.get(route.0)) else {
        return Ok(());
    };
    if rules.lanes.is_none() && route.request_keys.0.is_empty() {
        return Ok(());
    }
    let mut view = call.origin.view(view(frame));
    view.lane = call.lane;
    let service = call.service.and_then(|service| rules.service(service));
    let lanes = rules.lanes.as_ref();
    let values = Values {
        client: call.origin.client,
        lane: lanes.and_then(|lanes| lanes.name(call.lane?)),
        request_id: b"",
        route: &route.name,
        service: service.map_or("", |service| &service.name),
        status: 0,
        request: Some((&view, &Captures::new())),
    };
    by_route(
        changes,
        &route.request_keys,
        &values,
        frame.head.as_ref(),
        text,
    )?;
    if let Some(lanes) = lanes {
        by_lanes(changes, lanes, &view, call.origin.trusted);
    }
    Ok(())
}

/// How a request goes on.
struct Going<'a> {
    /// What the endpoint speaks.
    dialect: Dialect,
    /// Callers share the channel: replies may come in any order.
    shared: bool,
    sequences: Sequences,
    /// Its MeshHeader as it was received; empty where it had none.
    mesh: &'a [u8],
}

/// Why a request can't be sent on.
enum Unsent {
    /// Its head or its sequence can't be changed.
    Rewrite,
    /// The rules would make its head too large.
    Changed,
    /// Its payload is no Thrift message, which is all that the endpoint speaks.
    NoMessage,
}

impl From<RewriteError> for Unsent {
    fn from(_: RewriteError) -> Self {
        Unsent::Rewrite
    }
}

impl From<EncodeError> for Unsent {
    fn from(_: EncodeError) -> Self {
        Unsent::Rewrite
    }
}

impl Going<'_> {
    /// Appends the beginning of the frame as it is sent; returns how many bytes of the received one it
    /// stands for. `len` is the length of all of that.
    #[inline]
    fn encode(
        &self,
        out: &mut Vec<u8>,
        frame: &Frame<'_>,
        len: usize,
        changes: &Changes<'_>,
    ) -> Result<usize, Unsent> {
        let message = frame.payload.message();
        let Some(head) = &frame.head else {
            let message = message.ok_or(Unsent::NoMessage)?;
            if self.dialect == Dialect::TtHeader {
                self.lift(out, message, len, changes)?;
                return Ok(message.bytes().len());
            }
            return Ok(0);
        };
        if self.dialect == Dialect::Thrift {
            return message.map(|_| head.bytes().len()).ok_or(Unsent::NoMessage);
        }
        if self.dialect == Dialect::MeshHeader {
            let bounds = Limits::default();
            let Ok(Parsed::Complete(mesh)) = MeshHeader::parse(self.mesh, &bounds) else {
                return Err(Unsent::NoMessage);
            };
            mesh.write(out, changes)?;
            return Ok(head.bytes().len());
        }
        let edits = Edits {
            sequence: Some(self.sequences.frame),
            flags: self.shared.then(|| head.flags().with(Flags::OUT_OF_ORDER)),
            metadata: changes,
        };
        match (message, self.sequences.message) {
            (Some(message), Some(sequence)) if message.sequence != sequence => {
                head.write_with_sequence(out, &edits, message, sequence)?;
                Ok(head.bytes().len() + message.bytes().len())
            }
            _ => {
                head.write(out, &edits, head.payload_len())?;
                Ok(head.bytes().len())
            }
        }
    }

    /// Puts a TTHeader before a plain message of `len` bytes, which says what the message says and what
    /// the rules add.
    fn lift(
        &self,
        out: &mut Vec<u8>,
        message: &MessageHead<'_>,
        len: usize,
        changes: &Changes<'_>,
    ) -> Result<(), EncodeError> {
        let kind: &[u8] = match message.kind {
            MessageKind::Oneway => b"4",
            _ => b"1",
        };
        let integers = [
            (integer::TO_METHOD, message.method),
            (integer::MSG_TYPE, kind),
        ];
        let keys = NewKeys::of(&integers, changes);
        let head = NewHead {
            flags: if self.shared {
                Flags::OUT_OF_ORDER
            } else {
                Flags::default()
            },
            sequence: self.sequences.frame,
            ..keys.head()
        };
        head.write(out, 0)?;
        let sequence = self.sequences.message.unwrap_or(message.sequence);
        let written = message.write_with_sequence(out, sequence);
        written.map_err(|_| EncodeError::FrameTooLarge)?;
        set_length(out, len - message.bytes().len())
    }
}

/// Has the frame that `out` begins with reach so far behind it.
pub(super) fn set_length(out: &mut [u8], behind: usize) -> Result<(), EncodeError> {
    let length = out.len().saturating_sub(4) + behind;
    let length = i32::try_from(length).map_err(|_| EncodeError::FrameTooLarge)?;
    if let Some(place) = out.first_chunk_mut() {
        *place = length.to_be_bytes();
    }
    Ok(())
}
