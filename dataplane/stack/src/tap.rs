//! Copies of chosen frames for somebody who watches: the stack offers each frame that enters or
//! leaves a port to the port's [`Tap`], which copies what its filter chooses into a bounded queue.
//!
//! Without a tap this costs one comparison per burst received and per frame sent. With one, the worker
//! pays for the filter and for a copy; it never waits: a frame that finds no free buffer is counted as
//! lost to the capture, and goes its way.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

use crate::counters::Gauge;
use crate::fate::StackEvent;
use crate::frame::{ETHERNET, TAG, TCP, extensions};
use crate::stack::StackStats;
use crate::time::Instant;

/// Which way a frame goes, as the gateway sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// Which frames a tap copies: those that meet every condition that is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TapFilter {
    /// Sender or receiver of an IP packet, or of an ARP message.
    pub host: Option<IpAddr>,
    /// Source or destination port of a TCP segment; fragments behind the first have none.
    pub tcp_port: Option<u16>,
    /// Only this direction.
    pub direction: Option<Direction>,
}

impl TapFilter {
    /// Whether a frame is chosen. Total: of bytes that make no sense, conditions do not hold.
    pub fn chooses(&self, direction: Direction, frame: &[u8]) -> bool {
        if self.direction.is_some_and(|wanted| wanted != direction) {
            return false;
        }
        if self.host.is_none() && self.tcp_port.is_none() {
            return true;
        }
        let Some(ends) = Ends::of(frame) else {
            return false;
        };
        self.host.is_none_or(|host| ends.addresses.contains(&host))
            && self
                .tcp_port
                .is_none_or(|port| ends.tcp_ports.is_some_and(|ports| ports.contains(&port)))
    }
}

/// The two ends of a frame's payload.
pub(crate) struct Ends {
    /// Source and destination.
    pub(crate) addresses: [IpAddr; 2],
    pub(crate) tcp_ports: Option<[u16; 2]>,
}

impl Ends {
    pub(crate) fn of(frame: &[u8]) -> Option<Ends> {
        // Behind a tag or two (802.1Q, 802.1ad).
        let mut l2_len = ETHERNET;
        while let [0x81, 0x00] | [0x88, 0xa8] = frame.get(l2_len - 2..l2_len)?
            && l2_len < ETHERNET + 2 * TAG
        {
            l2_len += TAG;
        }
        let packet = frame.get(l2_len..)?;
        match frame.get(l2_len - 2..l2_len)? {
            [0x08, 0x00] => {
                let later_fragment = (u16_at(packet, 6)? & 0x1fff) != 0;
                let is_tcp = *packet.get(9)? == TCP && !later_fragment;
                let header = usize::from(packet.first()? & 0x0f) * 4;
                Some(Ends {
                    addresses: [v4_at(packet, 12)?, v4_at(packet, 16)?],
                    tcp_ports: is_tcp.then(|| ports_at(packet, header)).flatten(),
                })
            }
            [0x86, 0xdd] => {
                let behind = extensions::pass(*packet.get(6)?, packet.get(40..)?);
                let tcp = behind.ok().filter(|behind| behind.protocol == TCP);
                Some(Ends {
                    addresses: [v6_at(packet, 8)?, v6_at(packet, 24)?],
                    tcp_ports: tcp.and_then(|tcp| ports_at(tcp.body, 0)),
                })
            }
            // ARP: sender and target protocol address (RFC 826).
            [0x08, 0x06] => Some(Ends {
                addresses: [v4_at(packet, 14)?, v4_at(packet, 24)?],
                tcp_ports: None,
            }),
            _ => None,
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*field))
}

fn v4_at(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(IpAddr::from(*bytes.get(at..)?.first_chunk::<4>()?))
}

fn v6_at(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(IpAddr::from(*bytes.get(at..)?.first_chunk::<16>()?))
}

fn ports_at(bytes: &[u8], at: usize) -> Option<[u16; 2]> {
    Some([u16_at(bytes, at)?, u16_at(bytes, at + 2)?])
}

/// A frame's copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The poll in which the frame was received or queued for the device.
    pub at: Instant,
    /// Number of the port.
    pub port: u8,
    /// Which way it went.
    pub direction: Direction,
    /// Length of the frame.
    pub length: usize,
    /// Its beginning, at most the queue's `snaplen`.
    pub bytes: Vec<u8>,
}

/// How many frames of a port a capture chose.
#[derive(Debug, Default)]
struct PortCount {
    copied: Gauge,
    lost: Gauge,
}

/// Where a worker leaves copies of frames and another thread takes them. Bounded; every buffer is
/// made at the beginning and used again.
#[derive(Debug)]
pub struct TapQueue {
    snaplen: usize,
    full: ArrayQueue<Captured>,
    empty: ArrayQueue<Captured>,
    /// Frames that may still be chosen; written by the worker only.
    left: AtomicU64,
    counts: Vec<PortCount>,
    closed: AtomicBool,
}

impl TapQueue {
    /// Room for `frames` copies (one at least) of at most `snaplen` bytes, from a worker with `ports`
    /// ports. After `packets` copies the worker makes no more.
    pub fn new(frames: usize, snaplen: usize, packets: u64, ports: usize) -> Self {
        let frames = frames.max(1);
        let empty = ArrayQueue::new(frames);
        for _ in 0..frames {
            // Never refused: there is room for exactly so many.
            let _ = empty.push(Captured {
                at: Instant::ZERO,
                port: 0,
                direction: Direction::In,
                length: 0,
                bytes: Vec::with_capacity(snaplen),
            });
        }
        TapQueue {
            snaplen,
            full: ArrayQueue::new(frames),
            empty,
            left: AtomicU64::new(packets),
            counts: (0..ports).map(|_| PortCount::default()).collect(),
            closed: AtomicBool::new(false),
        }
    }

    /// The oldest copy that nobody has taken yet.
    pub fn take(&self) -> Option<Captured> {
        self.full.pop()
    }

    /// Gives a copy's buffer back, for the next frame.
    pub fn give_back(&self, captured: Captured) {
        // Never refused: it came from here.
        let _ = self.empty.push(captured);
    }

    /// Frames of a port that were copied, and that were chosen but lost for want of a free buffer.
    pub fn counts(&self, port: usize) -> (u64, u64) {
        self.counts
            .get(port)
            .map_or((0, 0), |count| (count.copied.get(), count.lost.get()))
    }

    /// Whether as many frames were copied as were asked for; all of them are there to be taken then.
    pub fn is_complete(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0
    }

    /// Ends the capture: the worker lets go of its tap with its next poll.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether the capture was ended.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// A port's end of a capture; see [`Stack::tap`](crate::Stack::tap).
#[derive(Debug)]
pub(crate) struct Tap {
    port: u8,
    filter: TapFilter,
    queue: Arc<TapQueue>,
    stats: Arc<StackStats>,
    now: Instant,
}

impl Tap {
    pub(crate) fn new(
        port: u8,
        filter: TapFilter,
        queue: Arc<TapQueue>,
        stats: Arc<StackStats>,
    ) -> Self {
        Tap {
            port,
            filter,
            queue,
            stats,
            now: Instant::ZERO,
        }
    }

    /// A poll begins; false when the capture is over.
    pub(crate) fn begin_poll(&mut self, now: Instant) -> bool {
        self.now = now;
        !self.queue.is_closed()
    }

    /// Copies a frame if it is chosen.
    #[cold]
    pub(crate) fn offer(&self, direction: Direction, frame: &[u8]) {
        let left = self.queue.left.load(Ordering::Relaxed);
        if left == 0 || !self.filter.chooses(direction, frame) {
            return;
        }
        let Some(count) = self.queue.counts.get(usize::from(self.port)) else {
            return;
        };
        let Some(mut copy) = self.queue.empty.pop() else {
            count.lost.set(count.lost.get() + 1);
            self.stats.events.count(StackEvent::CaptureLost);
            return;
        };
        copy.at = self.now;
        copy.port = self.port;
        copy.direction = direction;
        copy.length = frame.len();
        copy.bytes.clear();
        let kept = frame.len().min(self.queue.snaplen);
        copy.bytes.extend_from_slice(&frame[..kept]);
        // Never refused: there are no more buffers than places.
        let _ = self.queue.full.push(copy);
        self.queue.left.store(left - 1, Ordering::Release);
        count.copied.set(count.copied.get() + 1);
        self.stats.events.count(StackEvent::Captured);
    }
}

#[cfg(test)]
mod tests;
