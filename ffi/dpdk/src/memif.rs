//! The control sockets of `net_memif`, relayed.
//!
//! The driver unmaps its rings in DPDK's interrupt thread as soon as the other side ends, whether a poller
//! is inside them or not (`memif_disconnect` of DPDK 22.11 to 24.11), and as a client it connects once. So
//! it never meets the other side: its control socket ends in a thread of ours, which has the real socket,
//! passes messages and file descriptors on, opens the port's [`Gate`] for the queues that both have, and shuts
//! it before the driver learns that the other side has gone. A client is started anew, and so connects again
//! for as long as it takes.
//!
//! The driver's own socket is a file that is removed once it is open, so that nobody else gets at it.

mod address;
mod link;
mod thread;

use std::fs::{self, DirBuilder};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

use crate::device::DeviceSpec;
use crate::eal::EalHandle;
use crate::gate::{Direction, Door, Gate, PeerQueues};
use address::{Address, Arguments, Role};
use thread::{Client, Server, Source};

/// Why a relay could not be made: what was tried, and the kernel's answer.
#[derive(Debug)]
pub(crate) struct RelayError {
    pub(crate) step: String,
    pub(crate) reason: Errno,
}

fn failed(step: impl Into<String>) -> impl FnOnce(Errno) -> RelayError {
    let step = step.into();
    move |reason| RelayError { step, reason }
}

/// What stands between a memif device and the other side.
#[derive(Debug)]
pub(crate) struct Relay {
    /// The device as the driver is to see it.
    spec: DeviceSpec,
    gate: Arc<Gate>,
    end: End,
}

#[derive(Debug)]
enum End {
    Client(Box<ClientEnd>),
    Server { id: u32, listener: Arc<Listener> },
}

#[derive(Debug)]
struct ClientEnd {
    to: Address,
    /// Where the driver connects, until the thread has it.
    driver: Option<OwnedFd>,
    /// Keeps the way to it, which the driver's socket names, open.
    _way: OwnedFd,
    running: Option<Running>,
}

/// A real socket and the thread behind it; several devices with an id each may share it.
#[derive(Debug)]
struct Listener {
    address: Address,
    /// The driver's socket before it was opened, as its arguments name it.
    driver: PathBuf,
    devices: Devices,
    running: Mutex<Option<Running>>,
}

/// The gates of the devices by their ids.
type Devices = Arc<Mutex<Vec<(u32, Arc<Gate>)>>>;

/// The listeners that exist. DPDK keys its sockets by name in the same way.
static LISTENERS: Mutex<Vec<Weak<Listener>>> = Mutex::new(Vec::new());

/// A thread, and how it is stopped.
#[derive(Debug)]
struct Running {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<Source>>,
    /// The sockets it had, once it has ended.
    remains: Option<Source>,
}

impl Relay {
    /// Makes what the driver needs to be there when it is probed; `None` for devices of other drivers, and
    /// for arguments that this driver will refuse.
    pub(crate) fn prepare(spec: &DeviceSpec) -> Result<Option<Self>, RelayError> {
        let DeviceSpec::Vdev { name, args } = spec else {
            return Ok(None);
        };
        let Some(arguments) = Arguments::parse(name, args) else {
            return Ok(None);
        };
        let gate = Gate::new().map_err(failed("membarrier, which needs Linux 4.14,"))?;
        let (end, socket) = match arguments.role {
            Role::Client => {
                arguments.address.check_directory()?;
                let (driver, way) = private_listener()?;
                let path = way_to(&way);
                let end = ClientEnd {
                    to: arguments.address.clone(),
                    driver: Some(driver),
                    _way: way,
                    running: None,
                };
                (End::Client(Box::new(end)), path)
            }
            Role::Server => {
                let listener = Listener::of(&arguments.address)?;
                let path = listener.driver.clone();
                let id = arguments.id;
                (End::Server { id, listener }, path)
            }
        };
        let spec = DeviceSpec::Vdev {
            name: name.clone(),
            args: arguments.with_socket(&socket),
        };
        Ok(Some(Self { spec, gate, end }))
    }

    /// The device with the driver's own socket.
    pub(crate) fn spec(&self) -> &DeviceSpec {
        &self.spec
    }

    /// A way into the bursts of a queue.
    pub(crate) fn door(&self, direction: Direction, queue: u16) -> Door {
        self.gate.door(direction, queue)
    }

    /// The queues that both sides have; none while there is no connection.
    pub(crate) fn queues(&self) -> PeerQueues {
        self.gate.queues()
    }

    /// Lets the other side in; the port is started.
    pub(crate) fn start(&mut self, eal: &EalHandle, port: u16) -> Result<(), RelayError> {
        match &mut self.end {
            End::Client(end) => {
                if let Some(driver) = end.driver.take() {
                    let client =
                        Client::new(end.to.clone(), driver, self.gate.clone(), eal.clone(), port);
                    end.running = Some(Running::start(Source::Client(client))?);
                }
                Ok(())
            }
            End::Server { id, listener } => listener.serve(*id, self.gate.clone()),
        }
    }

    /// Is done with the port, which is then to be closed before this is dropped: its sockets stay open
    /// until then, so that the driver does not end its connection twice.
    pub(crate) fn halt(&mut self) {
        match &mut self.end {
            End::Client(end) => {
                if let Some(running) = &mut end.running {
                    running.stop();
                }
            }
            // The thread goes on for the others. It asks nothing of a port.
            End::Server { .. } => {}
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let End::Server { id, listener } = &self.end {
            let mut devices = lock(&listener.devices);
            devices.retain(|(other, _)| other != id);
        }
    }
}

impl Listener {
    /// The one at this address, or a new one, whose driver's socket is yet to be made by the driver.
    fn of(address: &Address) -> Result<Arc<Self>, RelayError> {
        let mut listeners = lock(&LISTENERS);
        listeners.retain(|listener| listener.strong_count() > 0);
        let known = listeners.iter().filter_map(Weak::upgrade);
        if let Some(listener) = known
            .into_iter()
            .find(|listener| listener.address == *address)
        {
            return Ok(listener);
        }
        let listener = Arc::new(Self {
            address: address.clone(),
            driver: private_directory()?.join("driver"),
            devices: Devices::default(),
            running: Mutex::new(None),
        });
        listeners.push(Arc::downgrade(&listener));
        Ok(listener)
    }

    /// Takes connections for one more device; the driver listens.
    fn serve(&self, id: u32, gate: Arc<Gate>) -> Result<(), RelayError> {
        let mut running = lock(&self.running);
        lock(&self.devices).push((id, gate));
        if running.is_none() {
            let driver = open(
                &self.driver,
                OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
                Mode::empty(),
            )
            .map_err(failed("opening the driver's socket"))?;
            self.remove_driver_socket();
            let socket = self.address.listen()?;
            let server = Server::new(socket, driver, self.devices.clone());
            *running = Some(Running::start(Source::Server(server))?);
        }
        Ok(())
    }

    fn remove_driver_socket(&self) {
        let _ = fs::remove_file(&self.driver);
        if let Some(directory) = self.driver.parent() {
            let _ = fs::remove_dir(directory);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let running = self.running.get_mut();
        let mut running = running.unwrap_or_else(PoisonError::into_inner).take();
        match &mut running {
            Some(running) => {
                running.stop();
                self.address.remove();
            }
            // A device that did not get as far.
            None => self.remove_driver_socket(),
        }
    }
}

impl Running {
    fn start(source: Source) -> Result<Self, RelayError> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC).map_err(failed("an eventfd"))?;
        let stop = Arc::new(stop);
        let told = stop.clone();
        let thread = std::thread::Builder::new()
            .name("memif".to_owned())
            .spawn(move || thread::run(source, &told))
            .map_err(|error| RelayError {
                step: "a thread".to_owned(),
                reason: Errno::from_io_error(&error).unwrap_or(Errno::AGAIN),
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
            remains: None,
        })
    }

    /// Returns when the thread has ended; keeps its sockets.
    fn stop(&mut self) {
        // A counter of 64 bits that is never near its end: it cannot fail.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            self.remains = thread.join().ok();
        }
    }
}

/// A new directory that nobody else can enter.
fn private_directory() -> Result<PathBuf, RelayError> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // One left behind by a process that was killed, and had our number, is passed over.
    let mut tries = 64;
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sluice-memif-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && tries > 0 => {
                tries -= 1;
            }
            Err(error) => {
                return Err(RelayError {
                    step: format!("making the directory {}", path.display()),
                    reason: Errno::from_io_error(&error).unwrap_or(Errno::ACCESS),
                });
            }
        }
    }
}

/// A socket for a driver to connect to, and the way to it, whose name is gone.
fn private_listener() -> Result<(OwnedFd, OwnedFd), RelayError> {
    let directory = private_directory()?;
    let path = directory.join("driver");
    let step = "making the driver's socket";
    let made = SocketAddrUnix::new(&path).and_then(|address| {
        let socket = seqpacket()?;
        bind(&socket, &address)?;
        listen(&socket, 1)?;
        let way = open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok((socket, way))
    });
    let _ = fs::remove_file(&path);
    let _ = fs::remove_dir(&directory);
    made.map_err(failed(step))
}

/// The name under which the kernel finds what a descriptor of this process stands for.
fn way_to(file: impl AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).into()
}

/// The kind of socket that memif's control messages go over; it does not block.
fn seqpacket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
