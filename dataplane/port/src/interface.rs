//! A network interface of the kernel that a port is made of: held for one port alone, and asked what
//! DPDK's drivers for such interfaces do not tell.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use dpdk::PortError;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use crate::open::OpenError;

/// A process that was killed keeps what it had until its memory is given back.
const LOCK_WITHIN: Duration = Duration::from_secs(2);

/// Where the kernel tells about its interfaces.
const SYSFS: &str = "/sys/class/net";

/// The kernel's counters of frames that came to the interface and did not get further: the ring of the
/// port was full (AF_XDP), or the card was not read in time.
const RX_DROPPED: [&str; 2] = ["rx_dropped", "rx_missed_errors"];

/// An interface that no other sluice can open until this is dropped.
#[derive(Debug)]
pub struct Interface {
    /// Its directory in sysfs; `None` where sysfs is that of another network namespace.
    directory: Option<PathBuf>,
    /// What was dropped before.
    dropped_before: u64,
    /// Receive queues that are read, where the driver leaves the others alone; 0 where it reads all.
    read: AtomicU16,
    /// Bound to the abstract name that is the lock; the kernel frees it with the process.
    _lock: OwnedFd,
}

impl Interface {
    /// Takes the interface `name` of this network namespace.
    pub(crate) fn hold(name: &str) -> Result<Self, OpenError> {
        let failed = |errno: Errno| OpenError::InterfaceLock {
            name: name.to_owned(),
            reason: errno.to_string(),
        };
        let (index, lock) = lock(name)
            .map_err(failed)?
            .ok_or_else(|| PortError::InterfaceMissing(name.to_owned()))?;
        let Some(lock) = lock else {
            return Err(OpenError::InterfaceInUse {
                name: name.to_owned(),
                by: holder(index)
                    .map(|pid| format!(", process {pid}"))
                    .unwrap_or_default(),
            });
        };
        let directory = Path::new(SYSFS).join(name);
        let directory =
            (number(&directory.join("ifindex")) == Some(index.into())).then_some(directory);
        let dropped_before = directory.as_deref().map_or(0, dropped);
        Ok(Self {
            directory,
            dropped_before,
            read: AtomicU16::new(0),
            _lock: lock,
        })
    }

    /// Its receive queues, at least one; one where the kernel does not tell.
    pub(crate) fn queues(&self) -> u16 {
        let queues = self.directory.as_ref().map(|directory| {
            let names = fs::read_dir(directory.join("queues")).into_iter().flatten();
            let receives = |name: &OsString| name.as_encoded_bytes().starts_with(b"rx-");
            names
                .flatten()
                .filter(|entry| receives(&entry.file_name()))
                .count()
        });
        u16::try_from(queues.unwrap_or(1))
            .unwrap_or(u16::MAX)
            .max(1)
    }

    /// Its driver reads the first of its receive queues alone, so many.
    pub(crate) fn reads_only(&self, queues: u16) {
        self.read.store(queues, Ordering::Relaxed);
    }

    /// Receive queues that are not read: what comes to them is the kernel's, and lost for the port. Somebody
    /// has given the interface more than it had.
    pub fn unread_queues(&self) -> u16 {
        match self.read.load(Ordering::Relaxed) {
            0 => 0,
            read => self.queues().saturating_sub(read),
        }
    }

    /// Its MTU; `None` where the kernel does not tell.
    pub(crate) fn mtu(&self) -> Option<u16> {
        let mtu = number(&self.directory.as_ref()?.join("mtu"))?;
        Some(u16::try_from(mtu).unwrap_or(u16::MAX))
    }

    /// Received frames that the interface dropped since the port was opened.
    pub fn rx_dropped(&self) -> u64 {
        let now = self.directory.as_deref().map_or(0, dropped);
        now.saturating_sub(self.dropped_before)
    }

    /// Whether the interface is up and has a carrier; `None` where the kernel does not tell.
    pub fn link_up(&self) -> Option<bool> {
        // An interface that is down has no answer, and neither has one that is gone.
        let carrier = |directory: &PathBuf| number(&directory.join("carrier")) == Some(1);
        self.directory.as_ref().map(carrier)
    }
}

/// The interface's number, and the lock unless another has it; `None` where there is no interface.
fn lock(name: &str) -> Result<Option<(u32, Option<OwnedFd>)>, Errno> {
    let socket = unix_socket()?;
    let index = match name_to_index(&socket, name) {
        Err(Errno::NODEV) => return Ok(None),
        index => index?,
    };
    let give_up_at = Instant::now() + LOCK_WITHIN;
    loop {
        match bind(&socket, &lock_address(index)?) {
            Ok(()) => break,
            Err(Errno::ADDRINUSE) if Instant::now() >= give_up_at => {
                return Ok(Some((index, None)));
            }
            Err(Errno::ADDRINUSE) => sleep(Duration::from_millis(20)),
            Err(error) => return Err(error),
        }
    }
    // So that who comes second can ask whose it is. Nothing is ever accepted.
    listen(&socket, 1)?;
    Ok(Some((index, Some(socket))))
}

/// Abstract names belong to the network namespace, as interfaces' numbers do.
fn lock_address(index: u32) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new_abstract_name(format!("sluice-port-{index}").as_bytes())
}

/// Does not wait: a queue of connections that nobody accepts may be full.
fn unix_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// The process that has the lock, if it can be seen from here.
fn holder(index: u32) -> Option<i32> {
    let socket = unix_socket().ok()?;
    connect(&socket, &lock_address(index).ok()?).ok()?;
    Some(socket_peercred(&socket).ok()?.pid.as_raw_pid())
}

fn dropped(directory: &Path) -> u64 {
    RX_DROPPED
        .iter()
        .filter_map(|counter| number(&directory.join("statistics").join(counter)))
        .sum()
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_the_sum_of_the_kernels_counters() {
        let directory =
            std::env::temp_dir().join(format!("sluice-interface-{}", std::process::id()));
        let statistics = directory.join("statistics");
        fs::create_dir_all(&statistics).unwrap();
        fs::write(statistics.join("rx_dropped"), "7\n").unwrap();
        fs::write(statistics.join("rx_missed_errors"), "2\n").unwrap();
        fs::write(statistics.join("rx_errors"), "100\n").unwrap();
        assert_eq!(dropped(&directory), 9);
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(dropped(&directory), 0);
    }
}
