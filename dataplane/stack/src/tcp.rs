//! One TCP flow: the state machine of RFC 9293 over two halves, what the peer sends (`receive`) and
//! what it is sent (`send`, with its `scoreboard`, `recovery`, `congestion`, `rtt`).
//!
//! A segment comes in by `ingress`, which parses nothing twice and sends nothing; whatever is due then
//! goes out by `egress` at the end of the poll, so that an acknowledgement nearly always rides on
//! data. Memory for bytes is taken from the worker's `pool` when they come and given back when they
//! have gone: an idle flow has none.

mod congestion;
mod egress;
pub(crate) mod emit;
pub(crate) mod ingress;
mod model;
pub(crate) mod options;
pub(crate) mod pool;
pub(crate) mod reassembly;
mod receive;
mod recovery;
mod ring;
mod rtt;
pub(crate) mod scoreboard;
pub(crate) mod send;
pub(crate) mod seq;
mod timers;
pub(crate) mod wire;

use std::time::Duration;

use crate::half_open::Syn;
use crate::isn::Start;
use crate::meter::Meter;
use crate::stack::Buffers;
use crate::time::Instant;
use emit::{TCP_HEADER, ip_header};
use options::TIMESTAMPS_LENGTH;
use pool::Pool;
use receive::Receiver;
use send::{Sender, Shrunk};

pub use rtt::Rtt;
pub(crate) use timers::Patience;
pub use timers::TcpTimers;

pub(crate) use receive::scale;

/// What decides how fast a flow sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Losses mean that the path is full: CUBIC (RFC 9438).
    #[default]
    Cubic,
    /// What arrives, whether there are losses or not: BBR.
    Bbr,
}

/// What all flows of a stack have in common.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Terms {
    /// Bytes that a flow may hold each way where its path needs more than its buffers.
    pub(crate) window: u32,
    pub(crate) algorithm: Algorithm,
}

/// RFC 9293 3.3.2. LISTEN and half-open flows are no flows yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    SynSent,
    /// Both sides opened at once; a half-open flow is a record instead.
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
}

/// The state of one flow.
pub(crate) struct Tcp {
    state: State,
    /// A RST is to be sent.
    reset_due: bool,
    /// What both sides can do; before the peer's SYN, what we can.
    sack: bool,
    timestamps: bool,
    scaled: bool,
    ecn: bool,
    /// A mark of congestion is to be echoed (ECE), and a reduction to be told (CWR).
    marked: bool,
    reduced: bool,
    /// The segment size we announce.
    own_mss: u16,
    /// Added to the clock of timestamps.
    stamps_from: u32,
    /// TS.Recent, and when it came.
    recent: u32,
    recent_at: Instant,
    /// When a timer is due.
    alarm: Instant,
    /// When the peer was heard last.
    heard: Instant,
    pub(crate) receive: Receiver,
    pub(crate) send: Sender,
    meter: Meter,
}

impl Tcp {
    /// A flow in SYN-SENT. The SYN leaves with the next `egress`. Where the path needs more than `buffers`,
    /// `terms` say what it may have.
    pub(crate) fn connect(
        start: Start,
        buffers: Buffers,
        terms: Terms,
        v4: bool,
        mtu: u16,
        now: Instant,
    ) -> Self {
        let own_mss = own_mss(v4, mtu);
        Tcp {
            state: State::SynSent,
            reset_due: false,
            sack: true,
            timestamps: true,
            scaled: true,
            ecn: false,
            marked: false,
            reduced: false,
            own_mss,
            stamps_from: start.timestamps,
            recent: 0,
            recent_at: now,
            alarm: Instant::NEVER,
            heard: now,
            receive: Receiver::new(
                0,
                receive_limit(buffers, own_mss, terms.window),
                terms.window,
                true,
                own_mss,
                now,
            ),
            send: Sender::new(start.isn, buffers.send, terms, own_mss, now),
            meter: Meter::new(now),
        }
    }

    /// The flow of a half-open record whose ACK has come, which has to be fed to it next. `answered`
    /// is when our SYN-ACK was sent, if that was once.
    pub(crate) fn accept(
        syn: &Syn,
        buffers: Buffers,
        terms: Terms,
        v4: bool,
        mtu: u16,
        answered: Option<Instant>,
        now: Instant,
    ) -> Self {
        let mut tcp = Tcp::connect(syn.start, buffers, terms, v4, mtu, now);
        tcp.state = State::Established;
        tcp.sack = syn.sack;
        tcp.timestamps = syn.timestamp.is_some();
        tcp.scaled = syn.window_scale.is_some();
        tcp.ecn = syn.ecn;
        tcp.recent = syn.timestamp.unwrap_or(0);
        let limit = receive_limit(buffers, tcp.own_mss, terms.window);
        let next = syn.seq.wrapping_add(1);
        tcp.receive = Receiver::new(next, limit, terms.window, tcp.scaled, tcp.own_mss, now);
        tcp.send.una = syn.start.isn.wrapping_add(1);
        tcp.send.next = tcp.send.una;
        tcp.send
            .meet(syn.mss, syn.window_scale.unwrap_or(0), tcp.overhead());
        tcp.send.window = u32::from(syn.window);
        tcp.send.most_window = tcp.send.window;
        tcp.send.window_at = syn.seq;
        if let Some(at) = answered {
            tcp.send
                .rtt
                .sample(now.as_nanos().saturating_sub(at.as_nanos()));
        }
        tcp
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// What the flow has done so far.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// How long acknowledgements take.
    pub(crate) fn rtt(&self) -> Option<Rtt> {
        self.send.rtt.rtt()
    }

    /// Our next and the peer's next sequence number.
    pub(crate) fn next_numbers(&self) -> (u32, u32) {
        (self.send.next, self.receive.next)
    }

    /// How far both directions are: received in order, and acknowledged.
    #[inline]
    pub(crate) fn progress(&self) -> (u32, u32) {
        (self.receive.next, self.send.una)
    }

    /// Whether a RST waits to be sent.
    pub(crate) fn is_reset_due(&self) -> bool {
        self.reset_due
    }

    /// Whether our end of the stream, or something before it, is on its way.
    pub(crate) fn is_delivering(&self) -> bool {
        let closing = matches!(
            self.state,
            State::FinWait1 | State::Closing | State::LastAck
        );
        self.send.queued() > 0 || closing
    }

    /// Whether the user may write.
    #[inline]
    pub(crate) fn may_send(&self) -> bool {
        matches!(self.state, State::Established | State::CloseWait)
    }

    #[inline]
    fn is_synchronized(&self) -> bool {
        !matches!(
            self.state,
            State::SynSent | State::SynReceived | State::Closed
        )
    }

    /// Queues bytes; returns how many there was room for.
    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8], pool: &mut Pool) -> usize {
        if !self.may_send() {
            return 0;
        }
        self.send.write(bytes, pool)
    }

    /// Forgets the first `len` unread bytes; returns how many there were.
    #[inline]
    pub(crate) fn consume(&mut self, len: usize) -> usize {
        let consumed = self.receive.ring.consume(len);
        if self.is_synchronized() {
            self.receive.was_read();
        }
        consumed
    }

    /// The user has nothing more to send: FIN follows what is queued.
    pub(crate) fn close(&mut self) {
        self.state = match self.state {
            State::SynSent => State::Closed,
            State::Established => State::FinWait1,
            State::CloseWait => State::LastAck,
            other => other,
        };
        self.send.fin = true;
    }

    /// Ends it at once, with a RST unless the peer knows nothing of the flow or has ended it.
    pub(crate) fn abort(&mut self) {
        self.reset_due |= !matches!(self.state, State::Closed | State::SynSent | State::TimeWait);
        self.state = State::Closed;
    }

    /// What is left of a flow whose state can't be relied on: its numbers, and a RST to send, unless it
    /// was closed already.
    #[cold]
    pub(crate) fn remains(&self, now: Instant) -> Self {
        let start = Start {
            isn: self.send.next,
            timestamps: self.stamps_from,
        };
        let buffers = Buffers {
            receive: 0,
            send: 0,
        };
        let mut remains = Tcp::connect(start, buffers, Terms::default(), true, self.own_mss, now);
        remains.reset_due = !matches!(self.state, State::Closed | State::SynSent);
        remains.state = State::Closed;
        remains.receive = Receiver::new(self.receive.next, 0, 0, false, self.own_mss, now);
        remains.meter = self.meter;
        remains
    }

    /// Packets to this host are to be no larger than `mtu`, as was learnt before.
    pub(crate) fn keep_below(&mut self, mtu: u16, v4: bool) {
        // Before the peer's SYN what options take is not known, and still to be taken off.
        let options = match self.state {
            State::SynSent => 0,
            _ => self.overhead(),
        };
        let segment = own_mss(v4, mtu).saturating_sub(options).max(1);
        self.send.segment = self.send.segment.min(segment);
    }

    /// The largest packets that pass, where that is less than was thought and is known for sure: by a
    /// router's word, or since smaller ones were acknowledged where larger ones never were. Told once.
    #[inline]
    pub(crate) fn take_lesson(&mut self, v4: bool) -> Option<u16> {
        if self.send.shrunk != Shrunk::Surely {
            return None;
        }
        self.send.shrunk = Shrunk::No;
        let headers = (ip_header(v4) + TCP_HEADER) as u16;
        Some(self.send.segment + self.overhead() + headers)
    }

    /// A router says that packets of ours are too large. It is believed if it quotes something that is
    /// under way (RFC 5927 7.2), within reason. Returns whether segments get smaller.
    pub(crate) fn path_mtu(&mut self, seq: u32, mtu: u32, v4: bool) -> bool {
        let under_way = seq::at_most(self.send.una, seq) && seq::before(seq, self.send.next);
        // RFC 8200 5; the least that Linux believes for IPv4.
        let least = if v4 { 552 } else { 1280 };
        let mtu = mtu.clamp(least, u32::from(u16::MAX)) as u16;
        let segment = own_mss(v4, mtu).saturating_sub(self.overhead());
        if !under_way || !self.is_synchronized() || segment >= self.send.segment {
            return false;
        }
        self.send.segment = segment;
        self.send.shrunk = Shrunk::Surely;
        self.send.board.lose_longer_than(u32::from(segment));
        true
    }

    /// Reads something of every line of memory that a flow takes, so that all of them are in the cache.
    #[inline]
    pub(crate) fn touch(&self) -> u64 {
        self.receive.touch() ^ self.send.touch() ^ self.recent_at.as_nanos() ^ self.meter.sent
    }

    /// Gives all memory back.
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        self.send.release(pool);
        self.receive.give_back(pool);
    }

    /// Checks what must hold whenever nothing is being done to the flow.
    #[cfg(debug_assertions)]
    pub(crate) fn check(&self) {
        self.receive.check();
        if self.state != State::Closed {
            self.send.check();
        }
    }

    /// What options take of each segment.
    fn overhead(&self) -> u16 {
        if self.timestamps {
            TIMESTAMPS_LENGTH as u16
        } else {
            0
        }
    }

    /// The clock of timestamps: milliseconds (RFC 7323 4.1).
    #[inline]
    fn stamp(&self, now: Instant) -> u32 {
        stamp(now, self.stamps_from)
    }
}

/// What a test sends to have the flow that receives it, or the one that is to send it, panic.
#[cfg(test)]
pub(crate) const DEFECT_IN: &[u8] = b"a defect in ingress";
#[cfg(test)]
pub(crate) const DEFECT_OUT: &[u8] = b"a defect in egress";

/// The clock of timestamps, of a flow that starts it at `from`.
#[inline]
pub(crate) fn stamp(now: Instant, from: u32) -> u32 {
    const TICK: u64 = Duration::from_millis(1).as_nanos() as u64;
    ((now.as_nanos() / TICK) as u32).wrapping_add(from)
}

/// Bytes that may wait to be read, where that may become `window`: a segment more than the user asks for, and no
/// less than a window can't be told more exactly than by (RFC 7323 2.3). The last bytes of what the user wants to
/// see at once might otherwise never be let in.
pub(crate) fn receive_limit(buffers: Buffers, own_mss: u16, window: u32) -> u32 {
    let asked = buffers.receive.min(1 << 30) as u32;
    let step = 1 << scale(window.max(2 * asked));
    asked + u32::from(own_mss).max(step)
}

/// The largest payload of a segment without options (RFC 9293 3.7.1).
pub(crate) fn own_mss(v4: bool, mtu: u16) -> u16 {
    mtu.saturating_sub((ip_header(v4) + TCP_HEADER) as u16)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With its key, table places and timer a flow without bytes stays below 1 KiB.
    #[test]
    fn an_idle_flow_is_small() {
        let size = size_of::<Tcp>();
        assert!(size <= 640, "{size} bytes");
    }
}
