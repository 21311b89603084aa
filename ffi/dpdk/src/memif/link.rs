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
use crate::gate::Gate;

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
const INIT: u16 = 3;
const CONNECT: u16 = 6;
const CONNECTED: u16 = 7;

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
}

impl Link {
    pub(super) fn new(peer: OwnedFd, driver: OwnedFd, gate: Option<Arc<Gate>>) -> Self {
        Self {
            peer: Some(peer),
            driver,
            stage: Stage::Handshake,
            since: Instant::now(),
            gate,
        }
    }

    /// Whether the other side is to be read.
    pub(super) fn reads_peer(&self) -> bool {
        matches!(self.stage, Stage::Handshake | Stage::Open)
    }

    /// The other side of a server's device has something to say; `devices` are the server's.
    pub(super) fn peer_of_server(&mut self, devices: &Devices) {
        let Some(message) = self.heard() else {
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
            self.open();
        }
        self.pass_on(&message);
    }

    /// The other side of a client's device has something to say.
    pub(super) fn peer_of_client(&mut self) {
        let Some(message) = self.heard() else {
            return self.end();
        };
        if self.stage != Stage::Handshake {
            return self.end();
        }
        if message.kind() == CONNECTED {
            self.stage = Stage::Finishing;
        }
        if message.send(&self.driver).is_err() {
            self.end();
        }
    }

    /// The client's driver has something to say.
    pub(super) fn driver_of_client(&mut self) {
        match Message::receive(&self.driver) {
            Some(message) => self.pass_on(&message),
            None => self.over(),
        }
    }

    /// The driver has its rings.
    pub(super) fn open(&mut self) {
        self.stage = Stage::Open;
        if let Some(gate) = &self.gate {
            gate.open();
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

    fn heard(&self) -> Option<Message> {
        Message::receive(self.peer.as_ref()?)
    }

    fn pass_on(&mut self, message: &Message) {
        if let Some(peer) = &self.peer
            && message.send(peer).is_err()
        {
            self.end();
        }
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
}
