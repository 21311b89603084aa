//! One connection between the driver and the other side.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, recvmsg, sendmsg, shutdown,
};

use super::Devices;
use super::lock;
use crate::gate::{Gate, PeerQueues};

/// A control message of memif 2.0 (`memif_msg_t`); another length is the driver's to refuse.
const MESSAGE: usize = 128;

/// How long the two sides may take to get to know each other.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// How long the driver may take to close its side. Without this one that can't be seen to have closed, as a
/// child of the process has its socket too, would be waited for without an end.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Between two looks at a connection whose time is over.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The kinds of message that matter here (`memif_msg_type_t`).
const HELLO: u16 = 2;
const INIT: u16 = 3;
const ADD_RING: u16 = 5;
const CONNECT: u16 = 6;
const CONNECTED: u16 = 7;
const DISCONNECT: u16 = 8;

/// Flag of an ADD_RING: frames go from client to server by it (`MEMIF_MSG_ADD_RING_FLAG_C2S`).
const TO_SERVER: u16 = 1;

/// A message, with the descriptor of a region or of a ring where it brings one.
pub(super) struct Message {
    bytes: [u8; MESSAGE],
    len: usize,
    file: Option<OwnedFd>,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The two get to know each other.
    Handshake,
    /// The other side has asked our driver, a server, for the last step. It is not read until that is
    /// done: what it might send would end the driver's connection before the gate is known to be open.
    Connecting,
    /// Our driver, a client, was told of the last step, and makes it.
    Finishing,
    /// Frames pass, and the gate is open.
    Open,
    /// The driver was told that the other side has gone, and ends the connection.
    Ending,
    /// Nothing is left of it.
    Over,
}

/// Both ends of a connection.
#[derive(Debug)]
pub(super) struct Link {
    /// The other side; gone from [`Stage::Ending`] on.
    pub(super) peer: Option<OwnedFd>,
    pub(super) driver: OwnedFd,
    pub(super) stage: Stage,
    /// When it came to be, or began to end.
    since: Instant,
    /// Of the device, once it is known: a client says which of a server's it means.
    pub(super) gate: Option<Arc<Gate>>,
    /// Rings that the client added.
    rings: Rings,
    /// Queues in each direction that a client's driver is to add at most.
    limit: Option<u16>,
    /// The number of the ring that it added last, where nothing has followed.
    adding: Option<u16>,
    /// The server would not have that one.
    refused: Option<u16>,
}

/// Rings by direction. A queue's number is that of its ring, and they come in order.
#[derive(Debug, Default)]
struct Rings {
    to_server: u16,
    to_client: u16,
}

impl Link {
    pub(super) fn new(peer: OwnedFd, driver: OwnedFd, gate: Option<Arc<Gate>>) -> Self {
        Self {
            peer: Some(peer),
            driver,
            stage: Stage::Handshake,
            since: Instant::now(),
            gate,
            rings: Rings::default(),
            limit: None,
            adding: None,
            refused: None,
        }
    }

    /// A client's, of at most so many queues in each direction.
    pub(super) fn limited(self, limit: Option<u16>) -> Self {
        Self { limit, ..self }
    }

    /// How many queues to try it with the next time: servers (that of DPDK among them) say that they have hundreds,
    /// and end the connection at the first that they have not.
    pub(super) fn refused(&self) -> Option<u16> {
        self.refused
    }

    /// Whether the other side is to be read.
    pub(super) fn reads_peer(&self) -> bool {
        matches!(self.stage, Stage::Handshake | Stage::Open)
    }

    /// The other side of a server's device has something to say; `devices` are the server's.
    pub(super) fn peer_of_server(&mut self, devices: &Devices) {
        let Some(message) = self.next_from_peer() else {
            return self.end();
        };
        match message.kind() {
            _ if self.stage != Stage::Handshake => return self.end(),
            INIT if self.gate.is_some() => return self.end(),
            INIT => {
                let devices = lock(devices);
                let mut known = devices.iter().filter(|(id, _)| *id == message.device());
                self.gate = known.next().map(|(_, gate)| gate.clone());
            }
            // A device that is not served yet, or no more; the driver knows which there are before we do.
            CONNECT if self.gate.is_none() => return self.end(),
            CONNECT => self.stage = Stage::Connecting,
            ADD_RING if !self.rings.add(&message) => return self.end(),
            _ => {}
        }
        if message.send(&self.driver).is_err() {
            self.end();
        }
    }

    /// The server's driver has something to say.
    pub(super) fn driver_of_server(&mut self) {
        let Some(message) = Message::receive(&self.driver) else {
            return self.over();
        };
        if message.kind() == CONNECTED && self.stage == Stage::Connecting {
            self.open(PeerQueues {
                receive: self.rings.to_server,
                transmit: self.rings.to_client,
            });
        }
        self.pass_to_peer(&message);
    }

    /// The other side of a client's device has something to say.
    pub(super) fn peer_of_client(&mut self) {
        let Some(mut message) = self.next_from_peer() else {
            return self.end();
        };
        if self.stage != Stage::Handshake {
            return self.end();
        }
        match message.kind() {
            HELLO => self
                .limit
                .into_iter()
                .for_each(|most| message.limit_rings(most)),
            CONNECTED => self.stage = Stage::Finishing,
            DISCONNECT => self.refused = self.adding.filter(|ring| *ring > 0),
            _ => {}
        }
        if message.send(&self.driver).is_err() {
            self.end();
        }
    }

    /// The client's driver has something to say.
    pub(super) fn driver_of_client(&mut self) {
        match Message::receive(&self.driver) {
            Some(message) => {
                let adds = message.kind() == ADD_RING;
                if adds && !self.rings.add(&message) {
                    return self.end();
                }
                self.adding = adds.then(|| message.ring().1);
                self.pass_to_peer(&message);
            }
            None => self.over(),
        }
    }

    /// The client's driver has its rings.
    pub(super) fn open_client(&mut self) {
        self.open(PeerQueues {
            receive: self.rings.to_client,
            transmit: self.rings.to_server,
        });
    }

    fn open(&mut self, queues: PeerQueues) {
        self.stage = Stage::Open;
        if let Some(gate) = &self.gate {
            gate.open(queues);
        }
    }

    /// The other side has gone or says what it must not say, which in an open connection is anything: a
    /// message that it goes is the end as well. Once nobody is inside the rings the driver is told, and
    /// ends the connection on its side.
    pub(super) fn end(&mut self) {
        self.shut();
        self.peer = None;
        self.stage = Stage::Ending;
        self.since = Instant::now();
        if shutdown(&self.driver, Shutdown::Write).is_err() {
            self.stage = Stage::Over;
        }
    }

    /// Ends what takes too long to be made, or to end; otherwise how long it still may.
    pub(super) fn time_out(&mut self, now: Instant) -> Duration {
        let within = match self.stage {
            Stage::Ending => END_WITHIN,
            _ => HANDSHAKE_WITHIN,
        };
        let left = within.saturating_sub(now.saturating_duration_since(self.since));
        match self.stage {
            _ if !left.is_zero() => {}
            Stage::Ending => self.stage = Stage::Over,
            _ => self.end(),
        }
        left.max(LOOK_AGAIN)
    }

    /// The driver has ended the connection.
    fn over(&mut self) {
        self.shut();
        self.stage = Stage::Over;
    }

    /// A gate belongs to the connection that opened it: others to the same device are refused by the driver.
    fn shut(&mut self) {
        if self.stage == Stage::Open
            && let Some(gate) = &self.gate
        {
            gate.shut();
        }
    }

    fn next_from_peer(&self) -> Option<Message> {
        Message::receive(self.peer.as_ref()?)
    }

    fn pass_to_peer(&mut self, message: &Message) {
        if let Some(peer) = &self.peer
            && message.send(peer).is_err()
        {
            self.end();
        }
    }
}

impl Rings {
    /// False for one out of order: the driver would count it, and then poll as many queues from the first on.
    fn add(&mut self, message: &Message) -> bool {
        let (flags, index) = message.ring();
        let known = match flags & TO_SERVER {
            0 => &mut self.to_client,
            _ => &mut self.to_server,
        };
        let next = known.checked_add(1).filter(|_| index == *known);
        *known = next.unwrap_or(*known);
        next.is_some()
    }
}

impl Message {
    /// The next one; `None` at the end, and for what is no message.
    fn receive(from: impl AsFd) -> Option<Self> {
        let mut bytes = [0; MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let len = recvmsg(from, &mut parts, &mut control, flags).ok()?.bytes;
        let mut file = None;
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = part {
                file = files.last();
            }
        }
        (len != 0).then_some(Self { bytes, len, file })
    }

    fn send(&self, to: impl AsFd) -> rustix::io::Result<()> {
        let files = self.file.as_ref().map(|file| [file.as_fd()]);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if let Some(files) = &files {
            control.push(SendAncillaryMessage::ScmRights(files));
        }
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(to, &[IoSlice::new(bytes)], &mut control, flags).map(|_| ())
    }

    /// Its type, in the order of the machine as everything in memif.
    fn kind(&self) -> u16 {
        let [low, high, ..] = self.bytes;
        u16::from_ne_bytes([low, high])
    }

    /// Which device an INIT is for; it follows the type and a version.
    fn device(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = self.bytes;
        u32::from_ne_bytes([a, b, c, d])
    }
    /// Has a HELLO offer rings for `most` queues in each direction, where it offers more. It has the highest
    /// numbers, behind a name and three numbers more.
    fn limit_rings(&mut self, most: u16) {
        for at in [40, 42] {
            let last = self.bytes.get_mut(at..at + 2);
            if let Some(last) = last.and_then(|last| last.first_chunk_mut::<2>()) {
                *last = u16::from_ne_bytes(*last)
                    .min(most.saturating_sub(1))
                    .to_ne_bytes();
            }
        }
    }

    /// Flags and number of an ADD_RING's ring.
    fn ring(&self) -> (u16, u16) {
        let [_, _, a, b, c, d, ..] = self.bytes;
        (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]))
    }
}
