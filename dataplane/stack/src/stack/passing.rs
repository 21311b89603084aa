//! What workers pass to each other: frames that belong to another, and where neighbours are.

use super::Stack;
use super::arriving::Elsewhere;
use crate::crew::{PASSED_PER_POLL, Passed, Tried};
use crate::fate::{FrameFate, StackEvent};
use crate::frame::{self, Found, Segment};
use crate::io::{PacketIo, RxChecksum, RxFrame};
use crate::key::FlowKey;
use crate::tcp::emit::{ACK, SYN};
use crate::time::Instant;

impl<P: PacketIo> Stack<P> {
    /// Takes what other workers received and is this one's. A defect costs one frame: what it has taken
    /// from its ring does not come again.
    pub(super) fn take_over(&mut self, now: Instant) -> usize {
        let mut frames = 0;
        while !self.contained(now, |stack| stack.take_from_all(&mut frames, now)) {
            self.stats.frames.count(FrameFate::Panicked);
        }
        self.tried = Tried::NOBODY;
        frames
    }

    fn take_from_all(&mut self, frames: &mut usize, now: Instant) {
        for from in 0..usize::from(self.workers()).saturating_sub(1) {
            for _ in 0..PASSED_PER_POLL {
                let rings = self.seat.as_mut().map(|seat| &mut seat.from);
                let Some(Ok(passed)) = rings.and_then(|rings| Some(rings.get_mut(from)?.pop()))
                else {
                    break;
                };
                *frames += 1;
                match passed {
                    Passed::Frame {
                        port,
                        frame,
                        found,
                        tried,
                    } => {
                        self.tried = tried;
                        self.take_frame(port, frame, found, now);
                    }
                    Passed::Neighbour { port, lesson } => {
                        if let Some(link) = self.ports.get_mut(usize::from(port)) {
                            link.take_lesson(lesson, now);
                        }
                    }
                }
            }
        }
    }

    #[inline]
    fn take_frame(&mut self, port: u8, frame: P::Rx, found: Option<Found>, now: Instant) {
        let port = usize::from(port);
        self.stats.events.count(StackEvent::TakenOver);
        if port >= self.ports.len() {
            return self.stats.frames.count(FrameFate::NotForUs);
        }
        let bytes = frame.bytes();
        let place = match found.and_then(|found| found.within(bytes)) {
            Some((key, segment)) => self.segment(port, bytes, (key, &segment), now),
            None => self.receive_frame(port, &frame, RxChecksum::Good, now),
        };
        match place {
            Ok(fate) => self.stats.frames.count(fate),
            Err(to) => self.hand_over(to, port, frame, self.tried),
        }
    }

    /// Gives a frame to the worker that it belongs to.
    pub(super) fn hand_over(&mut self, to: Elsewhere, port: usize, frame: P::Rx, tried: Tried) {
        let (seat, Elsewhere { worker, found }) = (self.seat.as_mut(), to);
        if seat.is_some_and(|seat| seat.pass(worker, (port as u8, frame), found, tried)) {
            self.stats.events.count(StackEvent::HandedOver);
        } else {
            self.stats.frames.count(FrameFate::HandOverFull);
        }
    }

    /// Tells the other workers where a neighbour is, if one was heard of.
    pub(super) fn share_lesson(&mut self, port: usize) {
        let lesson = self.ports.get_mut(port).and_then(|link| link.lesson.take());
        if let (Some(seat), Some(lesson)) = (&mut self.seat, lesson) {
            let missed = seat.tell(port as u8, lesson);
            self.stats.events.add(StackEvent::LessonLost, missed);
        }
    }

    /// The worker that a new flow belongs to, if it is another one.
    #[inline]
    pub(super) fn elsewhere(&self, key: &FlowKey) -> Option<u16> {
        self.seat.as_ref()?.elsewhere(key)
    }

    /// The worker that is to look next at a segment of no flow here; `None` if it ends here. Where flows
    /// are found by more steerings than one, a new flow goes to the worker that the newest says, and what
    /// belongs to an older one to each in turn, until one knows it.
    #[inline]
    pub(super) fn owner_elsewhere(
        &mut self,
        bytes: &[u8],
        (key, segment): (&FlowKey, &Segment<'_>),
        now: Instant,
    ) -> Option<u16> {
        let seat = self.seat.as_mut()?;
        // Behind options and extension headers a device may not see the ports.
        let l2_len = self.ports.get(usize::from(key.port()))?.l2_len();
        let is_plain = || frame::hint(bytes, l2_len, key.port()).is_some();
        if segment.has(SYN) && self.tried == Tried::NOBODY && is_plain() {
            seat.note_first(key);
        }
        let (me, tried) = (seat.number, self.tried);
        let ways = seat.ways(key.port())?;
        let first = ways.newest(key);
        if ways.is_one() {
            return (first != me && !tried.has(first)).then_some(first);
        }
        let opens = segment.has(SYN) && !segment.has(ACK);
        let next = ways.owners(key).find(|&w| w != me && !tried.has(w));
        let is_here = (opens && first == me) || self.has_record(key, segment, now);
        next.filter(|_| !is_here)
    }

    /// The next worker that may have a flow that is not here.
    pub(super) fn next_to_look(&self, key: &FlowKey) -> Option<u16> {
        let seat = self.seat.as_ref()?;
        let mut owners = seat.ways(key.port())?.owners(key);
        owners.find(|&worker| worker != seat.number && !self.tried.has(worker))
    }

    /// Whether something less than a flow is known here of what a segment belongs to. Another worker may have
    /// answered an earlier SYN of the same client, so an ACK is that of our SYN-ACK or none of ours.
    #[cold]
    fn has_record(&self, key: &FlowKey, segment: &Segment<'_>, now: Instant) -> bool {
        let half_open = self.half_open.get(key).is_some_and(|half| {
            !segment.has(ACK) || segment.ack == half.syn.start.isn.wrapping_add(1)
        });
        half_open
            || self.time_wait.get(key).is_some()
            || (segment.has(ACK) && self.cookies.check(key, segment, now).is_some())
    }
}
