//! What a flow has done so far: bytes, times, retransmissions, and how long its peer takes to
//! acknowledge. smoltcp keeps these to itself, so they are read off the segments that pass.

use std::time::Duration;

use crate::frame::Segment;
use crate::time::Instant;

/// The account of one flow. A few nanoseconds per segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter {
    opened: Instant,
    active: Instant,
    received: u64,
    sent: u64,
    /// The sequence number behind the last one sent.
    next: u32,
    retransmitted: u32,
    /// The end of the segment whose acknowledgement is waited for, and when it was sent; `NEVER`
    /// while none is.
    timed_end: u32,
    timed_at: Instant,
    /// Nanoseconds; `least` is `u64::MAX` before the first sample.
    smoothed: u64,
    least: u64,
}

/// Time from a segment to its acknowledgement, delays of the peer's included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rtt {
    /// The smoothed value (RFC 6298 2.3, an eighth of each sample).
    pub smoothed: Duration,
    /// The least of all samples.
    pub least: Duration,
}

impl Meter {
    /// Of a flow whose next segment has sequence number `next`.
    pub(crate) fn new(next: u32, now: Instant) -> Self {
        Meter {
            opened: now,
            active: now,
            received: 0,
            sent: 0,
            next,
            retransmitted: 0,
            timed_end: next,
            timed_at: Instant::NEVER,
            smoothed: 0,
            least: u64::MAX,
        }
    }

    /// Takes the time of everything sent so far, which was sent at `at`.
    pub(crate) fn time_from(&mut self, at: Instant) {
        (self.timed_end, self.timed_at) = (self.next, at);
    }

    /// A segment of the peer's.
    #[inline]
    pub(crate) fn received(&mut self, segment: &Segment, now: Instant) {
        self.active = now;
        self.received += u64::from(segment.payload_len);
        if self.timed_at != Instant::NEVER && segment.has_ack {
            let covers = !is_before(segment.ack, self.timed_end);
            if covers && !is_before(self.next, segment.ack) {
                self.sample(now.as_nanos().saturating_sub(self.timed_at.as_nanos()));
                self.timed_at = Instant::NEVER;
            }
        }
    }

    /// A segment of ours: a TCP header, which begins `ip_header` bytes into `packet`, and what follows.
    #[inline]
    pub(crate) fn sent(&mut self, packet: &[u8], ip_header: usize, now: Instant) {
        self.active = now;
        let Some(tcp) = packet.get(ip_header..) else {
            return;
        };
        let Some(header) = tcp.first_chunk::<20>() else {
            return;
        };
        let payload = tcp.len().saturating_sub(usize::from(header[12] >> 4) * 4) as u32;
        // SYN and FIN take a number each (RFC 9293 3.4).
        let flags = header[13];
        let control = u32::from(flags & 1) + u32::from(flags >> 1 & 1);
        if payload + control == 0 {
            return;
        }
        let seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let end = seq.wrapping_add(payload + control);
        if is_before(seq, self.next) {
            self.retransmitted = self.retransmitted.saturating_add(1);
            // Which of the two is acknowledged next cannot be told (Karn's algorithm, RFC 6298 3).
            self.timed_at = Instant::NEVER;
        } else if self.timed_at == Instant::NEVER {
            (self.timed_end, self.timed_at) = (end, now);
        }
        if is_before(self.next, end) {
            let fresh = end.wrapping_sub(self.next);
            self.sent += u64::from(fresh.saturating_sub(control));
            self.next = end;
        }
    }

    #[inline]
    fn sample(&mut self, nanos: u64) {
        self.smoothed = if self.least == u64::MAX {
            nanos
        } else {
            self.smoothed - self.smoothed / 8 + nanos / 8
        };
        self.least = self.least.min(nanos);
    }

    /// Since the flow came about.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.since(self.opened)
    }

    /// Since the last segment, either way.
    pub(crate) fn idle(&self, now: Instant) -> Duration {
        now.since(self.active)
    }

    /// Bytes of payload received, those that came more than once included, and bytes sent, each
    /// counted once.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.received, self.sent)
    }

    /// Segments sent again.
    pub(crate) fn retransmitted(&self) -> u32 {
        self.retransmitted
    }

    /// How long acknowledgements take; `None` before the first.
    pub(crate) fn rtt(&self) -> Option<Rtt> {
        (self.least != u64::MAX).then(|| Rtt {
            smoothed: Duration::from_nanos(self.smoothed),
            least: Duration::from_nanos(self.least),
        })
    }
}

/// Order of sequence numbers (RFC 9293 3.4).
fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: u8 = 2;
    const FIN: u8 = 1;

    fn at(micros: u64) -> Instant {
        Instant::from_nanos(micros * 1_000)
    }

    fn packet(seq: u32, flags: u8, payload: usize) -> Vec<u8> {
        let mut packet = vec![0; 20 + 20 + payload];
        packet[24..28].copy_from_slice(&seq.to_be_bytes());
        packet[32] = 5 << 4;
        packet[33] = flags;
        packet
    }

    fn ack(ack: u32, payload_len: u32) -> Segment {
        Segment {
            seq: 0,
            ack,
            has_ack: true,
            syn: false,
            fin: false,
            rst: false,
            payload_len,
        }
    }

    fn micros(meter: &Meter) -> Option<(u64, u64)> {
        let rtt = meter.rtt()?;
        Some((
            rtt.smoothed.as_micros() as u64,
            rtt.least.as_micros() as u64,
        ))
    }

    #[test]
    fn the_handshake_is_the_first_sample_and_sequence_numbers_wrap() {
        let mut meter = Meter::new(u32::MAX, at(0));
        meter.sent(&packet(u32::MAX, SYN, 0), 20, at(0));
        meter.received(&ack(0, 0), at(800));
        assert_eq!(micros(&meter), Some((800, 800)));
        meter.sent(&packet(0, 0, 1000), 20, at(1_000));
        meter.received(&ack(1000, 7), at(1_400));
        assert_eq!(micros(&meter), Some((750, 400)));
        assert_eq!(meter.bytes(), (7, 1000));
        assert_eq!(meter.retransmitted(), 0);
        assert_eq!(meter.age(at(2_000)), Duration::from_micros(2_000));
        assert_eq!(meter.idle(at(2_000)), Duration::from_micros(600));
    }

    #[test]
    fn what_is_sent_again_is_counted_and_takes_no_time() {
        let mut meter = Meter::new(100, at(0));
        meter.sent(&packet(100, 0, 50), 20, at(0));
        meter.sent(&packet(150, FIN, 50), 20, at(0));
        meter.sent(&packet(100, 0, 50), 20, at(1_000));
        meter.received(&ack(201, 0), at(1_100));
        assert_eq!(
            micros(&meter),
            None,
            "of which of the two was it the answer?"
        );
        assert_eq!(meter.retransmitted(), 1);
        assert_eq!(meter.bytes(), (0, 100));
    }

    #[test]
    fn a_segment_that_repeats_and_goes_on_counts_what_is_new() {
        let mut meter = Meter::new(100, at(0));
        meter.sent(&packet(100, 0, 50), 20, at(0));
        meter.sent(&packet(100, 0, 80), 20, at(0));
        assert_eq!((meter.retransmitted(), meter.bytes()), (1, (0, 80)));
    }

    #[test]
    fn acknowledgements_of_what_was_not_sent_are_no_samples() {
        let mut meter = Meter::new(100, at(0));
        meter.sent(&packet(100, 0, 50), 20, at(0));
        meter.received(&ack(100, 0), at(10));
        meter.received(&ack(151, 0), at(20));
        assert_eq!(micros(&meter), None);
        meter.received(&ack(150, 0), at(30));
        assert_eq!(micros(&meter), Some((30, 30)));
    }

    #[test]
    fn bare_acknowledgements_only_show_that_the_flow_lives() {
        let mut meter = Meter::new(100, at(0));
        meter.sent(&packet(100, 0, 0), 20, at(5));
        assert_eq!(meter.idle(at(6)), Duration::from_micros(1));
        assert_eq!((meter.bytes(), meter.retransmitted()), ((0, 0), 0));
        meter.sent(&[0; 30], 20, at(7));
        assert_eq!(meter.bytes(), (0, 0), "too short to be a segment");
    }
}
