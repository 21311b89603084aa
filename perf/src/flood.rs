//! Frames of hosts that mean harm: as many as are wanted, each from another address, all with right
//! checksums.

use std::net::SocketAddr;

use sluice_stack::rng::Rng;
use sluice_stack::time::Instant;
use sluice_wire::http1::RequestKind;

use crate::client::{End, Outcome, Request, Workload};
use crate::memory::{self, Setup};

/// Where frames of a flood seem to come from: what benchmarks may use (RFC 2544 C.2.2), and a network of
/// no one's.
const SOURCES_V4: u32 = u32::from_be_bytes([198, 18, 0, 0]);
const SOURCES_V6: u128 = 0xfd99 << 112;
/// Who sends them.
const MAC: [u8; 6] = [2, 0xf1, 0, 0, 0, 1];

const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What a flood is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Connections begun and never completed, with the options that clients send.
    Syn,
    /// The same without any options: the shortest.
    BareSyn,
    /// Acknowledgements of nothing.
    Ack,
    /// Resets of nothing.
    Rst,
    /// The end of nothing.
    Fin,
    /// Echo requests.
    Echo,
    /// Pieces of packets.
    Fragment,
    /// Datagrams.
    Udp,
}

impl Kind {
    /// All there are.
    pub const ALL: [Kind; 8] = [
        Kind::Syn,
        Kind::BareSyn,
        Kind::Ack,
        Kind::Rst,
        Kind::Fin,
        Kind::Echo,
        Kind::Fragment,
        Kind::Udp,
    ];

    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Syn => "syn",
            Kind::BareSyn => "bare_syn",
            Kind::Ack => "ack",
            Kind::Rst => "rst",
            Kind::Fin => "fin",
            Kind::Echo => "icmp_echo",
            Kind::Fragment => "fragment",
            Kind::Udp => "udp",
        }
    }
}

/// A flood against one address.
#[derive(Debug)]
pub struct Flood {
    kind: Kind,
    target: SocketAddr,
    rng: Rng,
    frame: Vec<u8>,
}

impl Flood {
    /// A flood that follows from a seed.
    pub fn new(kind: Kind, target: SocketAddr, seed: u64) -> Self {
        Flood {
            kind,
            target,
            rng: Rng::new(seed),
            frame: Vec::new(),
        }
    }

    /// The next frame; whoever sends it fills in the destination's MAC.
    pub fn frame(&mut self) -> &[u8] {
        let body = self.body();
        let protocol = match (self.kind, self.target.is_ipv4()) {
            (Kind::Echo, true) => 1,
            (Kind::Echo, false) => 58,
            (Kind::Udp, _) => UDP,
            _ => TCP,
        };
        self.frame.clear();
        self.frame.extend([0; 6]);
        self.frame.extend(MAC);
        let chance = self.rng.next_u64();
        match self.target {
            SocketAddr::V4(to) => {
                let from = SOURCES_V4 | (chance as u32 & 0x1_ffff).max(1);
                self.v4(from.to_be_bytes(), to.ip().octets(), protocol, &body);
            }
            SocketAddr::V6(to) => {
                let from = SOURCES_V6 | u128::from(chance.max(1));
                self.v6(from.to_be_bytes(), to.ip().octets(), protocol, &body);
            }
        }
        &self.frame
    }

    fn v4(&mut self, from: [u8; 4], to: [u8; 4], protocol: u8, body: &[u8]) {
        self.frame.extend([0x08, 0x00]);
        let mut ip = [0; 20];
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&(20 + body.len() as u16).to_be_bytes());
        // The first piece of several, or a whole packet.
        ip[6] = if self.kind == Kind::Fragment {
            0x20
        } else {
            0x40
        };
        (ip[8], ip[9]) = (64, protocol);
        ip[12..16].copy_from_slice(&from);
        ip[16..20].copy_from_slice(&to);
        let sum = checksum(0, &ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        self.frame.extend(ip);
        self.transport(&[&from[..], &to].concat(), protocol, body);
    }

    fn v6(&mut self, from: [u8; 16], to: [u8; 16], protocol: u8, body: &[u8]) {
        self.frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        let fragment = self.kind == Kind::Fragment;
        let length = body.len() as u16 + if fragment { 8 } else { 0 };
        self.frame.extend(length.to_be_bytes());
        self.frame
            .extend([if fragment { 44 } else { protocol }, 64]);
        self.frame.extend(from);
        self.frame.extend(to);
        if fragment {
            self.frame.extend([protocol, 0, 0, 1, 0, 0, 0, 7]);
        }
        self.transport(&[&from[..], &to].concat(), protocol, body);
    }

    /// The body with its checksum, which every protocol here has after the pseudo header but ICMP of IPv4.
    fn transport(&mut self, addresses: &[u8], protocol: u8, body: &[u8]) {
        let at = self.frame.len();
        self.frame.extend(body);
        let pseudo = match protocol {
            1 => 0,
            _ => words(addresses) + u32::from(protocol) + body.len() as u32,
        };
        let place = match protocol {
            TCP => 16,
            UDP => 6,
            _ => 2,
        };
        let sum = checksum(pseudo, body);
        self.frame[at + place..at + place + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// What is behind the IP header, its checksum zero.
    fn body(&mut self) -> Vec<u8> {
        let numbers = self.rng.next_u64();
        match self.kind {
            Kind::Echo => {
                let kind = if self.target.is_ipv4() { 8 } else { 128 };
                [&[kind, 0, 0, 0, 0, 1, 0, 1][..], &[7; 56]].concat()
            }
            Kind::Udp => {
                let to = self.target.port().to_be_bytes();
                [&[0x04, 0x01, to[0], to[1], 0, 40, 0, 0][..], &[7; 32]].concat()
            }
            Kind::Syn => {
                // As Linux: segment size, SACK, timestamps, window scale.
                let options = [
                    2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7,
                ];
                self.tcp(SYN, numbers, &options)
            }
            Kind::BareSyn | Kind::Fragment => self.tcp(SYN, numbers, &[]),
            Kind::Ack => self.tcp(ACK, numbers, &[]),
            Kind::Rst => self.tcp(RST, numbers, &[]),
            Kind::Fin => self.tcp(FIN | ACK, numbers, &[]),
        }
    }

    fn tcp(&mut self, flags: u8, numbers: u64, options: &[u8]) -> Vec<u8> {
        let port = 1_024 + self.rng.below(64_000) as u16;
        let mut tcp = Vec::with_capacity(40);
        tcp.extend(port.to_be_bytes());
        tcp.extend(self.target.port().to_be_bytes());
        // A SYN acknowledges nothing.
        let ack = if flags & ACK == 0 { 0 } else { numbers as u32 };
        tcp.extend(((numbers >> 32) as u32).to_be_bytes());
        tcp.extend(ack.to_be_bytes());
        tcp.extend([
            (5 + options.len() as u8 / 4) << 4,
            flags,
            0xff,
            0xff,
            0,
            0,
            0,
            0,
        ]);
        tcp.extend(options);
        tcp
    }
}

/// Sum of 16-bit words; of a few hundred bytes.
fn words(bytes: &[u8]) -> u32 {
    let word = |word: &[u8]| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low));
    bytes.chunks(2).map(word).sum()
}

/// The Internet checksum (RFC 1071) of bytes behind so much of a pseudo header.
fn checksum(pseudo: u32, bytes: &[u8]) -> u16 {
    let sum = pseudo + words(bytes);
    let once = (sum >> 16) + (sum & 0xffff);
    !((once >> 16) + (once & 0xffff)) as u16
}

/// The rules of [`memory::rules`], with a router in front behind which everybody is: the client.
pub fn rules(setup: &Setup) -> String {
    let route = if setup.v6 {
        r#"{ to: "::/0", via: "fd77:1::2" }"#
    } else {
        "{ to: 0.0.0.0/0, via: 10.77.1.2 }"
    };
    let device = r#"device: "net_memory0""#;
    memory::rules(setup).replace(device, &format!("{device}, routes: [{route}]"))
}

/// Clients that ask for 100 bytes all the time; each third request ends its connection, so that they come
/// back with a new one.
#[derive(Debug)]
pub struct Clients {
    request: Request,
    asked: u64,
    /// Requests that may still be made.
    pub left: u64,
    /// Whole and right answers.
    pub answered: u64,
    /// Everything else.
    pub failed: Vec<Outcome>,
}

impl Clients {
    /// Clients that make so many requests.
    pub fn new(requests: u64) -> Self {
        Clients {
            request: Request {
                id: 7,
                bytes: Vec::new(),
                kind: RequestKind::Other,
                half_close: false,
                abandon_after: None,
            },
            asked: 0,
            left: requests,
            answered: 0,
            failed: Vec::new(),
        }
    }
}

impl Workload for Clients {
    fn next(&mut self, _slot: usize, _now: Instant) -> Option<&Request> {
        self.left = self.left.checked_sub(1)?;
        self.asked += 1;
        let last = if self.asked.is_multiple_of(3) {
            "Connection: close\r\n"
        } else {
            ""
        };
        self.request.bytes =
            format!("GET /t/7/100/length HTTP/1.1\r\nHost: sluice.test\r\n{last}\r\n").into_bytes();
        Some(&self.request)
    }

    fn ended(&mut self, _slot: usize, outcome: Outcome) {
        let right = matches!(
            outcome.end,
            End::Answered {
                status: 200,
                length: 100,
                right: true
            }
        );
        if right {
            self.answered += 1;
        } else {
            self.failed.push(outcome);
        }
    }
}
