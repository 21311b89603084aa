//! The thread of a relay: waits for either side to say something.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dpdk_sys as ffi;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketAddrUnix, SocketFlags, accept_with, connect};

use super::address::Address;
use super::link::{Link, Stage};
use super::{Devices, seqpacket, way_to};
use crate::eal::EalHandle;
use crate::gate::Gate;

/// Connections of a server at a time; one more waits to be accepted.
const LINKS: usize = 64;

/// Between two attempts of a client to reach its server.
const AGAIN: Duration = Duration::from_millis(100);

/// Between two looks at whether the driver has made the last step of a client's connection.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Where connections come from.
#[derive(Debug)]
pub(super) enum Source {
    Client(Client),
    Server(Server),
}

/// A device that is a client: at most one connection.
#[derive(Debug)]
pub(super) struct Client {
    to: Address,
    /// Where the driver connects when the port is started.
    driver: OwnedFd,
    gate: Arc<Gate>,
    eal: EalHandle,
    port: u16,
    /// The driver has connected, and that connection is not used up yet.
    is_fresh: bool,
    try_at: Instant,
    /// Queues to try it with at most, where its server would not have as many.
    limit: Option<u16>,
    link: Option<Link>,
}

/// The devices that are servers on one socket.
#[derive(Debug)]
pub(super) struct Server {
    socket: OwnedFd,
    /// The driver's socket.
    driver: OwnedFd,
    devices: Devices,
    links: Vec<Link>,
}

/// Passes messages until it is told to stop; returns the sockets, still open.
pub(super) fn run(mut source: Source, stop: &OwnedFd) -> Source {
    loop {
        let wait = match &mut source {
            Source::Client(client) => client.proceed(),
            Source::Server(server) => server.proceed(),
        };
        let stopped = match &mut source {
            Source::Client(client) => client.wait(stop, wait),
            Source::Server(server) => server.wait(stop, wait),
        };
        if stopped {
            return source;
        }
    }
}

impl Client {
    pub(super) fn new(
        to: Address,
        driver: OwnedFd,
        gate: Arc<Gate>,
        eal: EalHandle,
        port: u16,
    ) -> Self {
        Self {
            to,
            driver,
            gate,
            eal,
            port,
            is_fresh: true,
            try_at: Instant::now(),
            limit: None,
            link: None,
        }
    }

    /// Does what is due; returns how long there is nothing to do unless somebody says something.
    fn proceed(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if let Some(link) = &mut self.link {
            match link.stage {
                Stage::Over => {
                    self.limit = link.refused();
                    self.link = None;
                    self.try_at = now + AGAIN;
                }
                Stage::Finishing if link_is_up(&self.eal, self.port) => {
                    link.open_client();
                    return None;
                }
                Stage::Finishing => return Some(LOOK_AGAIN),
                Stage::Handshake => return Some(link.time_out(now)),
                Stage::Ending if !link_is_up(&self.eal, self.port) => {
                    return Some(link.time_out(now));
                }
                Stage::Ending => return Some(AGAIN),
                Stage::Connecting | Stage::Open => return None,
            }
        }
        if now < self.try_at {
            return Some(self.try_at - now);
        }
        self.try_at = now + AGAIN;
        let Ok(peer) = self.to.connect() else {
            return Some(AGAIN);
        };
        if !self.is_fresh {
            start_again(&self.eal, self.port);
        }
        self.is_fresh = false;
        // The driver has connected within its start, so the connection is there.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(driver) = accept_with(&self.driver, flags) else {
            return Some(AGAIN);
        };
        let link = Link::new(peer, driver, Some(self.gate.clone())).limited(self.limit);
        let link = self.link.insert(link);
        Some(link.time_out(now))
    }

    /// Waits for something to be said and passes it on; true when it is told to stop.
    fn wait(&mut self, stop: &OwnedFd, timeout: Option<Duration>) -> bool {
        let mut files = vec![PollFd::new(stop, PollFlags::IN)];
        add(&mut files, self.link.as_ref());
        let ready = ready(&mut files, timeout);
        drop(files);
        if let (Some(link), [_, driver, peer]) = (&mut self.link, &ready[..]) {
            if *driver {
                link.driver_of_client();
            }
            if *peer && link.reads_peer() {
                link.peer_of_client();
            }
        }
        ready.first() == Some(&true)
    }
}

impl Server {
    pub(super) fn new(socket: OwnedFd, driver: OwnedFd, devices: Devices) -> Self {
        Self {
            socket,
            driver,
            devices,
            links: Vec::new(),
        }
    }

    /// Ends what takes too long; returns how long there is nothing to do unless somebody says something.
    fn proceed(&mut self) -> Option<Duration> {
        let now = Instant::now();
        self.links.retain(|link| link.stage != Stage::Over);
        let bounded = self.links.iter_mut();
        bounded
            .filter(|link| link.stage != Stage::Open)
            .map(|link| link.time_out(now))
            .min()
    }

    /// Waits for something to be said and passes it on; true when it is told to stop.
    fn wait(&mut self, stop: &OwnedFd, timeout: Option<Duration>) -> bool {
        let accepts = self.links.len() < LINKS;
        let wanted = if accepts {
            PollFlags::IN
        } else {
            PollFlags::empty()
        };
        let mut files = vec![
            PollFd::new(stop, PollFlags::IN),
            PollFd::new(&self.socket, wanted),
        ];
        for link in &self.links {
            add(&mut files, Some(link));
        }
        let ready = ready(&mut files, timeout);
        drop(files);
        let (own, both) = ready.split_at_checked(2).unwrap_or_default();
        for (link, ready) in self.links.iter_mut().zip(both.chunks(2)) {
            if ready.first() == Some(&true) {
                link.driver_of_server();
            }
            if ready.get(1) == Some(&true) && link.reads_peer() {
                link.peer_of_server(&self.devices);
            }
        }
        if own.get(1) == Some(&true) {
            self.accept();
        }
        own.first() == Some(&true)
    }

    /// A new connection of the other side's, and one of ours to the driver to go with it.
    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(peer) = accept_with(&self.socket, flags) else {
            return;
        };
        let driver = SocketAddrUnix::new(way_to(&self.driver)).and_then(|address| {
            let socket = seqpacket()?;
            connect(&socket, &address)?;
            Ok(socket)
        });
        // Where the driver's backlog is full the other side is turned away, and may come again.
        if let Ok(driver) = driver {
            self.links.push(Link::new(peer, driver, None));
        }
    }
}

/// What to wait for of a connection: always two files, of which the second may be the first again.
fn add<'a>(files: &mut Vec<PollFd<'a>>, link: Option<&'a Link>) {
    let Some(link) = link else {
        return;
    };
    files.push(PollFd::new(&link.driver, PollFlags::IN));
    files.push(match &link.peer {
        Some(peer) if link.reads_peer() => PollFd::new(peer, PollFlags::IN),
        _ => PollFd::from_borrowed_fd(link.driver.as_fd(), PollFlags::empty()),
    });
}

/// Which of the files have something to say, or have ended.
fn ready(files: &mut [PollFd<'_>], timeout: Option<Duration>) -> Vec<bool> {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    // Interrupted by a signal is nothing to say.
    let _ = poll(files, timeout.as_ref());
    files
        .iter()
        .map(|file| !file.revents().is_empty())
        .collect()
}

fn link_is_up(eal: &EalHandle, port: u16) -> bool {
    let (mut speed, mut up) = (0, 0);
    let _ports = eal.ports();
    // SAFETY: the port is open, since it is closed behind the end of this thread only, and both variables
    // live for the call.
    let result = unsafe { ffi::sluice_link_get(port, &mut speed, &mut up) };
    result == 0 && up != 0
}

/// Starts the port anew, which is how the driver connects another time.
fn start_again(eal: &EalHandle, port: u16) {
    let _ports = eal.ports();
    // SAFETY: the port is open, since it is closed behind the end of this thread only. It has no connection,
    // so its gate is shut and nobody is inside a burst of it. Where the start fails, there is no new
    // connection of the driver's, and it is tried again.
    unsafe {
        ffi::rte_eth_dev_stop(port);
        ffi::rte_eth_dev_start(port);
    }
}
