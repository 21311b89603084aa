//! What a flow does when nothing comes: retransmission (RFC 6298), tail loss probes (RFC 8985), window
//! probes (RFC 9293 3.8.6.1), keep-alive (3.8.4), and giving up (3.8.3).

use std::time::Duration;

use super::recovery::Phase;
use super::send::{Next, Shrunk};
use super::{State, Tcp};
use crate::counters::Counters;
use crate::fate::StackEvent;
use crate::time::Instant;

/// How patient flows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpTimers {
    /// The retransmission timeout is no shorter. Not below 1 ms, the granularity of timers.
    pub min_timeout: Duration,
    /// A flow is given up when its peer has acknowledged nothing of what waits for so long, or answered none
    /// of the probes that were sent meanwhile.
    pub user_timeout: Duration,
    /// A peer that was silent for so long is asked whether it is still there (RFC 9293 3.8.4 wants two
    /// hours or more by default).
    pub keep_alive: Duration,
}

/// The same in nanoseconds, for the data path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(super) min_timeout: u64,
    user_timeout: u64,
    keep_alive: u64,
}

impl From<TcpTimers> for Patience {
    fn from(timers: TcpTimers) -> Self {
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        Patience {
            min_timeout: nanos(timers.min_timeout).max(LEAST_TIMEOUT),
            user_timeout: nanos(timers.user_timeout),
            keep_alive: nanos(timers.keep_alive),
        }
    }
}

impl Patience {
    /// How long keep-alive probes may go unanswered.
    fn asking(&self) -> u64 {
        self.user_timeout
            .min(KEEP_ALIVE_PROBES * KEEP_ALIVE_INTERVAL)
    }

    /// The longest between probes that go unanswered.
    fn probe_interval(&self) -> u64 {
        self.user_timeout / LEAST_PROBES
    }
}

impl Default for TcpTimers {
    fn default() -> Self {
        TcpTimers {
            min_timeout: Duration::from_millis(200),
            user_timeout: Duration::from_secs(120),
            keep_alive: Duration::from_secs(7_200),
        }
    }
}

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
/// Between keep-alive probes, and how many may go unanswered (Linux's defaults), where the user timeout
/// does not end it sooner.
const KEEP_ALIVE_INTERVAL: u64 = 75 * SECOND;
const KEEP_ALIVE_PROBES: u64 = 9;
/// So many unanswered probes at least, of keep-alive or of a closed window, go before a peer is given up:
/// one that is lost does not tell.
const LEAST_PROBES: u64 = 4;
/// How long a peer may delay the acknowledgement of a lone segment (TLP.max_ack_delay).
const PEER_ACK_DELAY: u64 = 50 * MILLISECOND;
/// The least time to a tail loss probe.
const LEAST_PROBE: u64 = 2 * MILLISECOND;
/// The granularity of timers.
const LEAST_TIMEOUT: u64 = MILLISECOND;
/// Timeouts in a row after which full segments are suspected not to pass, and the sizes that are
/// tried then: what IPv6 guarantees, and the least (RFC 8899 5.1.2 in spirit).
const SUSPICIOUS: u8 = 3;
const SMALLER: [u16; 2] = [1200, 536];

/// What an alarm asks to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    /// Nothing beyond what is due anyhow.
    None,
    /// A tail loss probe.
    TailLoss(Next),
    /// An empty segment that has to be answered.
    Ask,
}

impl Tcp {
    /// When [`Self::on_alarm`] has something to do.
    #[inline]
    pub(super) fn next_alarm(&self, timers: &Patience) -> Instant {
        if self.send.outstanding() > 0 {
            let timeout = self.timeout_at(timers);
            return self
                .probe_at()
                .min(timeout)
                .min(self.send.recovery.look_again);
        }
        if self.has_unsent() {
            return self.window_probe_at(timers);
        }
        self.keep_alive_at(timers)
    }

    #[inline]
    fn timeout_at(&self, timers: &Patience) -> Instant {
        let wait = self.send.rtt.timeout(timers.min_timeout, self.send.backoff);
        self.send.timer_from.plus_nanos(wait)
    }

    /// RFC 8985 7.2.
    #[inline]
    fn probe_at(&self) -> Instant {
        let send = &self.send;
        let may = send.recovery.may_probe() && self.is_synchronized() && send.backoff == 0;
        let Some(rtt) = send.rtt.smoothed().filter(|_| may && self.sack) else {
            return Instant::NEVER;
        };
        let delay = if send.board.len() == 1 {
            PEER_ACK_DELAY
        } else {
            0
        };
        let from = send.sent_at.max(send.timer_from);
        from.plus_nanos((2 * rtt + delay).max(LEAST_PROBE))
    }

    /// When the next keep-alive probe goes, or the flow ends for want of an answer.
    #[inline]
    fn keep_alive_at(&self, timers: &Patience) -> Instant {
        if self.state == State::TimeWait {
            return Instant::NEVER;
        }
        if self.send.probes == 0 {
            return self.heard.plus_nanos(timers.keep_alive);
        }
        let interval = KEEP_ALIVE_INTERVAL.min(timers.probe_interval());
        self.send
            .timer_from
            .plus_nanos(interval)
            .min(self.send.progress.plus_nanos(timers.asking()))
    }

    /// When the next probe of a closed window goes, or the flow ends for want of an answer.
    #[inline]
    fn window_probe_at(&self, timers: &Patience) -> Instant {
        let timeout = self.timeout_at(timers);
        if self.send.probes == 0 {
            return timeout;
        }
        let sooner = self.send.timer_from.plus_nanos(timers.probe_interval());
        let end = self.send.progress.plus_nanos(timers.user_timeout);
        timeout.min(sooner).min(end)
    }

    /// Something waits to be sent, data or our FIN.
    #[inline]
    fn has_unsent(&self) -> bool {
        self.send.unsent() > 0 || (self.send.fin && !self.send.fin_sent)
    }

    /// Acts on whatever is due.
    #[cold]
    pub(super) fn on_alarm(
        &mut self,
        timers: &Patience,
        now: Instant,
        events: &Counters<StackEvent>,
    ) -> Alarm {
        if self.send.outstanding() == 0 {
            if self.has_unsent() {
                return self.on_window_probe(timers, now, events);
            }
            return self.on_keep_alive(timers, now, events);
        }
        if self.send.recovery.look_again <= now {
            let lost = self.send.find_lost(self.sack, false, now);
            if lost && self.send.recovery.phase == Phase::Open {
                events.count(StackEvent::FastRecovery);
                self.send.begin(Phase::Fast);
                if self.send.model.is_none() {
                    let segment = u32::from(self.send.segment);
                    self.send.congestion.window = self.send.pipe() + segment;
                }
            }
        }
        if self.timeout_at(timers) <= now {
            self.on_timeout(timers, now, events);
        } else if self.probe_at() <= now {
            return self.tail_loss_probe(events);
        }
        Alarm::None
    }

    fn on_timeout(&mut self, timers: &Patience, now: Instant, events: &Counters<StackEvent>) {
        if now.nanos_since(self.send.progress) >= timers.user_timeout {
            return self.give_up(events);
        }
        events.count(StackEvent::RetransmissionTimeout);
        let send = &mut self.send;
        send.backoff = send.backoff.saturating_add(1);
        send.timer_from = now;
        send.board.lose_all();
        if !self.is_synchronized() {
            return;
        }
        let send = &mut self.send;
        let first = send.recovery.phase != Phase::Timeout;
        send.begin(Phase::Timeout);
        // With timestamps, the acknowledgement of the first repair tells.
        if first && !self.timestamps {
            send.recovery.doubt();
        }
        let full = send
            .board
            .next_lost()
            .is_some_and(|(_, s)| s.len >= u32::from(send.segment));
        let smaller = SMALLER.into_iter().find(|&size| size < send.segment);
        if let Some(smaller) = smaller.filter(|_| full && send.backoff >= SUSPICIOUS) {
            events.count(StackEvent::PathMtuLowered);
            send.segment = smaller;
            send.shrunk = Shrunk::Perhaps;
            send.congestion.window = u32::from(smaller);
        }
    }

    fn tail_loss_probe(&mut self, events: &Counters<StackEvent>) -> Alarm {
        let send = &mut self.send;
        let unsent = send.unsent();
        let len = unsent.min(u32::from(send.segment)).min(send.usable());
        let next = if len > 0 {
            let last = len == send.unsent();
            let fin = send.fin && last;
            Next::New { len, fin, last }
        } else if let Some((place, sent)) = send.board.last() {
            let (len, fin) = send.again(&sent);
            let seq = sent.seq;
            Next::Again {
                place,
                seq,
                len,
                fin,
            }
        } else {
            return Alarm::None;
        };
        events.count(StackEvent::TailLossProbe);
        Alarm::TailLoss(next)
    }

    fn on_window_probe(
        &mut self,
        timers: &Patience,
        now: Instant,
        events: &Counters<StackEvent>,
    ) -> Alarm {
        if self.window_probe_at(timers) > now {
            return Alarm::None;
        }
        if self.is_unanswered_for(timers.user_timeout, now) {
            self.give_up(events);
            return Alarm::None;
        }
        self.ask(now);
        // Until the window opens; answers that say it is closed don't make probes more frequent.
        self.send.backoff = self.send.backoff.saturating_add(1);
        events.count(StackEvent::WindowProbe);
        Alarm::Ask
    }

    fn on_keep_alive(
        &mut self,
        timers: &Patience,
        now: Instant,
        events: &Counters<StackEvent>,
    ) -> Alarm {
        if self.keep_alive_at(timers) > now {
            return Alarm::None;
        }
        if self.is_unanswered_for(timers.asking(), now) {
            self.give_up(events);
            return Alarm::None;
        }
        self.ask(now);
        events.count(StackEvent::KeepAliveProbe);
        Alarm::Ask
    }

    /// Whether the first of the probes that went unanswered was sent so long ago.
    fn is_unanswered_for(&self, nanos: u64, now: Instant) -> bool {
        self.send.probes > 0 && now.nanos_since(self.send.progress) >= nanos
    }

    /// Nothing is under way, so what the peer owes from now on is an answer.
    fn ask(&mut self, now: Instant) {
        if self.send.probes == 0 {
            self.send.progress = now;
        }
        self.send.probes = self.send.probes.saturating_add(1);
        self.send.timer_from = now;
    }

    fn give_up(&mut self, events: &Counters<StackEvent>) {
        events.count(StackEvent::FlowTimedOut);
        self.reset_due = self.is_synchronized();
        self.state = State::Closed;
    }
}
