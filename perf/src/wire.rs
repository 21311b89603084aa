//! A wire between two ports that is as bad as it is told to be: a bridge that hands every frame on, or
//! loses it, late, twice or behind others. What netem does in the kernel, for two DPDK ports, and for
//! kernels without netem.
//!
//! The bridge works on one thread, by `poll_once(now)`, with what chance does following from a seed.
//! It looks at no frame: whatever comes in at one port goes out at the other.

use std::collections::VecDeque;
use std::time::Duration;

use sluice_stack::io::{L2_MAX, L3, PacketIo, RxBurst, RxFrame, TxFrame, TxMeta};
use sluice_stack::rng::Rng;
use sluice_stack::time::Instant;

/// How bad one direction is. The default is a good wire.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Badness {
    /// Share of the frames that vanish, 0.0 to 1.0.
    pub loss: f64,
    /// Share of the frames that arrive twice.
    pub duplicate: f64,
    /// Share of the frames that later ones overtake: they take [`OVERTAKEN`] longer.
    pub reorder: f64,
    /// How long every frame takes.
    pub delay: Duration,
    /// And up to how much longer; frames stay in order.
    pub jitter: Duration,
    /// Bits per second that go through, counted with Ethernet's header; `None` for as many as come.
    pub rate: Option<u64>,
}

/// How much longer a frame takes that is to be overtaken.
pub const OVERTAKEN: Duration = Duration::from_millis(3);

/// Frames on their way in one direction; what comes beyond is lost, as in a switch's queue.
pub const IN_FLIGHT: usize = 16_384;

/// Bursts taken from a port before the other one's turn.
const BURSTS: usize = 4;

/// What became of the frames of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Came in.
    pub received: u64,
    /// Went out, second copies among them.
    pub sent: u64,
    /// Vanished, as asked for.
    pub lost: u64,
    /// Came while [`IN_FLIGHT`] were on their way, or longer than the other port takes.
    pub overflowed: u64,
    /// The other port had no buffer for them.
    pub no_buffer: u64,
    /// Second copies that were made.
    pub doubled: u64,
    /// Frames that were held up to be overtaken.
    pub overtaken: u64,
}

/// Frames on their way in one direction.
struct Lane {
    badness: Badness,
    /// In the order in which they arrive.
    frames: VecDeque<(Instant, Vec<u8>)>,
    /// Buffers for the next ones.
    spare: Vec<Vec<u8>>,
    /// When the last frame in order arrives: jitter does not reorder.
    last: Instant,
    /// When the wire has taken in what came, at its rate.
    free_at: Instant,
    counts: Counts,
}

/// Two ports with a bad wire between them.
pub struct BadWire<P: PacketIo> {
    ports: [P; 2],
    lanes: [Lane; 2],
    rng: Rng,
    burst: RxBurst<P::Rx>,
}

impl<P: PacketIo> BadWire<P> {
    /// A wire whose first direction leads from the first port to the second.
    pub fn new(ports: [P; 2], badness: [Badness; 2], seed: u64) -> Self {
        BadWire {
            ports,
            lanes: badness.map(Lane::new),
            rng: Rng::new(seed),
            burst: RxBurst::new(),
        }
    }

    /// What became of the frames of each direction so far. Of each, `received + doubled` is `sent`, `lost`,
    /// `overflowed`, `no_buffer` and those [on their way](Self::in_flight) together.
    pub fn counts(&self) -> [Counts; 2] {
        [self.lanes[0].counts, self.lanes[1].counts]
    }

    /// Frames on their way in each direction.
    pub fn in_flight(&self) -> [usize; 2] {
        [self.lanes[0].frames.len(), self.lanes[1].frames.len()]
    }

    /// When the next frame arrives; `None` when none is on its way.
    pub fn next_arrival(&self) -> Option<Instant> {
        let arrivals = self.lanes.iter().filter_map(|lane| lane.frames.front());
        arrivals.map(|(at, _)| *at).min()
    }

    /// Takes in what has come and hands on what has arrived by `now`. Returns how many frames moved.
    pub fn poll_once(&mut self, now: Instant) -> usize {
        let [first, second] = &mut self.ports;
        let [there, back] = &mut self.lanes;
        let (rng, burst) = (&mut self.rng, &mut self.burst);
        there.take_in(first, second.caps().mtu, rng, burst, now)
            + back.take_in(second, first.caps().mtu, rng, burst, now)
            + there.hand_on(second, now)
            + back.hand_on(first, now)
    }
}

impl Lane {
    fn new(badness: Badness) -> Self {
        Lane {
            badness,
            frames: VecDeque::new(),
            spare: Vec::new(),
            last: Instant::ZERO,
            free_at: Instant::ZERO,
            counts: Counts::default(),
        }
    }

    fn take_in<P: PacketIo>(
        &mut self,
        from: &mut P,
        mtu: u16,
        rng: &mut Rng,
        burst: &mut RxBurst<P::Rx>,
        now: Instant,
    ) -> usize {
        let mut moved = 0;
        for _ in 0..BURSTS {
            let received = from.rx_burst(burst);
            if received == 0 {
                break;
            }
            moved += received;
            for frame in burst.drain(..) {
                self.counts.received += 1;
                self.admit(frame.bytes(), mtu, rng, now);
            }
        }
        moved
    }

    /// Decides what becomes of a frame.
    fn admit(&mut self, frame: &[u8], mtu: u16, rng: &mut Rng, now: Instant) {
        let Badness {
            loss,
            duplicate,
            reorder,
            delay,
            jitter,
            rate,
        } = self.badness;
        if rng.chance(loss) {
            self.counts.lost += 1;
            return;
        }
        if self.frames.len() >= IN_FLIGHT || frame.len() > usize::from(mtu) + L2_MAX {
            self.counts.overflowed += 1;
            return;
        }
        if let Some(rate) = rate {
            let bits = frame.len() as u64 * 8;
            let takes = Duration::from_nanos(bits * 1_000_000_000 / rate.max(1));
            self.free_at = self.free_at.max(now) + takes;
        }
        let jitter = Duration::from_nanos(rng.below(jitter.as_nanos() as u64 + 1));
        let mut at = self.free_at.max(now) + delay + jitter;
        if rng.chance(reorder) {
            self.counts.overtaken += 1;
            at = at + OVERTAKEN;
        } else {
            at = at.max(self.last);
            self.last = at;
        }
        if rng.chance(duplicate) && self.frames.len() + 1 < IN_FLIGHT {
            self.counts.doubled += 1;
            self.put(frame, at);
        }
        self.put(frame, at);
    }

    fn put(&mut self, frame: &[u8], at: Instant) {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(frame);
        let place = match self.frames.back() {
            Some((last, _)) if *last > at => self.frames.partition_point(|(t, _)| *t <= at),
            _ => self.frames.len(),
        };
        self.frames.insert(place, (at, buffer));
    }

    fn hand_on<P: PacketIo>(&mut self, to: &mut P, now: Instant) -> usize {
        let mut moved = 0;
        while self.frames.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, frame)) = self.frames.pop_front() else {
                break;
            };
            moved += 1;
            if let Some(mut buffer) = to.alloc() {
                buffer.fill(frame.len()).copy_from_slice(&frame);
                to.send(buffer, AS_IT_IS);
                self.counts.sent += 1;
            } else {
                self.counts.no_buffer += 1;
            }
            self.spare.push(frame);
        }
        to.flush();
        moved
    }
}

/// Nothing for the device to fill in: the frame is complete.
const AS_IT_IS: TxMeta = TxMeta {
    l2_len: 14,
    l3_len: 0,
    l3: L3::None,
    tcp: false,
    segment: 0,
};

#[cfg(test)]
mod tests {
    use sluice_stack::sim::{Faults, Net, SimPort};

    use super::*;

    /// Two hosts' ends of the wire, the wire, and the clock.
    struct World {
        net: Net,
        hosts: [SimPort; 2],
        wire: BadWire<SimPort>,
    }

    fn world(badness: [Badness; 2]) -> World {
        let mut net = Net::new(1);
        let (left, left_end) = net.link(1500, [Faults::default(); 2]);
        let (right, right_end) = net.link(1500, [Faults::default(); 2]);
        World {
            net,
            hosts: [left, right],
            wire: BadWire::new([left_end, right_end], badness, 7),
        }
    }

    impl World {
        fn send(&mut self, host: usize, bytes: &[u8]) {
            let port = &mut self.hosts[host];
            let mut frame = port.alloc().unwrap();
            frame.fill(bytes.len()).copy_from_slice(bytes);
            port.send(frame, AS_IT_IS);
        }

        fn at(&mut self, micros: u64) -> [Vec<Vec<u8>>; 2] {
            self.net.advance_to(Instant::from_nanos(micros * 1_000));
            while self.wire.poll_once(self.net.now()) > 0 {}
            [0, 1].map(|host| {
                let mut burst = RxBurst::new();
                let mut frames = Vec::new();
                while self.hosts[host].rx_burst(&mut burst) > 0 {
                    frames.extend(burst.drain(..).map(|frame| frame.bytes().to_vec()));
                }
                frames
            })
        }

        fn books_balance(&self) {
            for (counts, flying) in self.wire.counts().iter().zip(self.wire.in_flight()) {
                let gone = counts.sent + counts.lost + counts.overflowed + counts.no_buffer;
                assert_eq!(counts.received + counts.doubled, gone + flying as u64);
            }
        }
    }

    fn frame(number: u16) -> Vec<u8> {
        let mut frame = vec![0x5a; 60];
        frame[58..].copy_from_slice(&number.to_be_bytes());
        frame
    }

    fn numbers(frames: &[Vec<u8>]) -> Vec<u16> {
        let number = |frame: &Vec<u8>| u16::from_be_bytes([frame[58], frame[59]]);
        frames.iter().map(number).collect()
    }

    #[test]
    fn a_good_wire_hands_on_at_once_in_order_both_ways() {
        let mut world = world([Badness::default(); 2]);
        for number in 0..100 {
            world.send(0, &frame(number));
            world.send(1, &frame(1000 + number));
        }
        let [left, right] = world.at(0);
        assert_eq!(numbers(&right), (0..100).collect::<Vec<_>>());
        assert_eq!(numbers(&left), (1000..1100).collect::<Vec<_>>());
        assert_eq!(right[3], frame(3));
        world.books_balance();
    }

    #[test]
    fn delay_and_jitter_hold_frames_up_and_keep_their_order() {
        let slow = Badness {
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(5),
            ..Badness::default()
        };
        let mut world = world([slow, Badness::default()]);
        for number in 0..100 {
            world.send(0, &frame(number));
        }
        assert!(world.at(0)[1].is_empty());
        assert_eq!(world.wire.in_flight(), [100, 0]);
        assert!(world.at(9_999)[1].is_empty());
        let mut arrived = numbers(&world.at(12_000)[1]);
        assert!(arrived.len() < 100, "jitter spreads them");
        arrived.extend(numbers(&world.at(15_000)[1]));
        assert_eq!(arrived, (0..100).collect::<Vec<_>>());
        world.books_balance();
    }

    #[test]
    fn frames_are_lost_doubled_and_overtaken_about_as_often_as_asked() {
        let bad = Badness {
            loss: 0.1,
            duplicate: 0.1,
            reorder: 0.1,
            ..Badness::default()
        };
        let mut world = world([bad, Badness::default()]);
        let mut arrived = Vec::new();
        for number in 0..2_000u16 {
            world.send(0, &frame(number));
            arrived.extend(numbers(&world.at(u64::from(number) * 100)[1]));
        }
        arrived.extend(numbers(&world.at(1_000_000)[1]));
        let counts = world.wire.counts()[0];
        for happened in [counts.lost, counts.doubled, counts.overtaken] {
            assert!((100..300).contains(&happened), "{counts:?}");
        }
        assert_eq!(arrived.len() as u64, 2_000 - counts.lost + counts.doubled);
        let overtaken = arrived.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!(overtaken > 50, "{overtaken}");
        world.books_balance();
    }

    #[test]
    fn a_rate_spaces_frames_and_its_queue_is_bounded() {
        // A frame of 60 bytes takes 480 us.
        let narrow = Badness {
            rate: Some(1_000_000),
            ..Badness::default()
        };
        let mut world = world([narrow, Badness::default()]);
        for number in 0..10 {
            world.send(0, &frame(number));
        }
        world.at(0);
        assert_eq!(numbers(&world.at(480)[1]), [0]);
        assert_eq!(numbers(&world.at(1_440)[1]), [1, 2]);
        for number in 10..20_000u16 {
            world.send(0, &frame(number));
            if number % 1_000 == 0 {
                world.at(1_440);
            }
        }
        world.at(1_440);
        assert_eq!(world.wire.in_flight(), [IN_FLIGHT, 0]);
        assert!(world.wire.counts()[0].overflowed > 3_000);
        world.books_balance();
    }
}
