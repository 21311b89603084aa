//! What can go wrong, in words that say what to do.

use std::ffi::CStr;

use dpdk_sys as ffi;

use crate::device::{DeviceError, PciAddress};

/// EAL did not start, or a thread could not be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EalError {
    /// DPDK can be started once per process, whether that succeeded or not.
    #[error("EAL was started before in this process, and DPDK allows it once; start a new process")]
    AlreadyStarted,
    /// Too few free hugepages.
    #[error(
        "{needed_mib} MiB of hugepages are needed, {free_mib} MiB are free. Reserve them as root: \
         echo {reserve} > /sys/kernel/mm/hugepages/hugepages-{page_kib}kB/nr_hugepages"
    )]
    Hugepages {
        /// Asked for, MiB.
        needed_mib: u64,
        /// Free now in all page sizes, MiB.
        free_mib: u64,
        /// The smallest page size, KiB.
        page_kib: u64,
        /// Total of such pages that would be enough.
        reserve: u64,
    },
    /// The kernel knows no hugepages.
    #[error(
        "this kernel has no hugepages (/sys/kernel/mm/hugepages is empty), and DPDK needs them; \
         run a kernel with CONFIG_HUGETLBFS"
    )]
    NoHugepageSupport,
    /// The process is not root, and EAL failed.
    #[error(
        "EAL did not start ({reason}), and this process is not root. Run it with sudo, or as the service \
         of docs/systemd.md{log}"
    )]
    NotPermitted {
        /// What `rte_errno` says.
        reason: String,
        /// What DPDK logged.
        log: String,
    },
    /// A PCI device that EAL shall use is not usable.
    #[error(transparent)]
    Pci(Box<PortError>),
    /// An argument with a NUL byte, or a CPU this process may not run on.
    #[error("EAL argument `{0}` is not valid")]
    Argument(String),
    /// `rte_eal_init` failed otherwise.
    #[error("EAL did not start: {reason}{log}")]
    Init {
        /// What `rte_errno` says.
        reason: String,
        /// What DPDK logged.
        log: String,
    },
    /// All of DPDK's lcore ids (128 as packaged) are taken.
    #[error("the thread could not be registered with EAL: {0}")]
    Register(String),
}

/// A pool could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// No room for it.
    #[error(
        "a pool of {frames} frames of {frame_size} bytes could not be made: {reason}. It takes about \
         {mib} MiB: make it smaller, or give EAL more memory and reserve the hugepages for it \
         (echo N > /proc/sys/vm/nr_hugepages){log}"
    )]
    Create {
        /// Frames asked for.
        frames: u32,
        /// Bytes of a frame.
        frame_size: u16,
        /// Estimated size of the pool, MiB.
        mib: u64,
        /// What `rte_errno` says.
        reason: String,
        /// What DPDK logged.
        log: String,
    },
    /// A size DPDK cannot make.
    #[error("a pool needs 1 or more frames of 64 to 16384 bytes, not {frames} of {frame_size}")]
    Size {
        /// Frames asked for.
        frames: u32,
        /// Bytes of a frame.
        frame_size: u16,
    },
}

/// A port could not be opened or asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The string names no device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// No PCI device has this address.
    #[error(
        "there is no PCI device {0}. List the network devices with: dpdk-devbind.py --status-dev net"
    )]
    PciMissing(PciAddress),
    /// A kernel driver holds the device.
    #[error(
        "PCI device {address} is bound to the kernel driver `{driver}`, which DPDK cannot share. Give \
         it to user space with: modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci {address}"
    )]
    PciDriver {
        /// The device.
        address: PciAddress,
        /// Its driver now, or `none`.
        driver: String,
    },
    /// EAL was started without this PCI device on its list.
    #[error(
        "PCI device {0} was not among the devices EAL was started with; restart with it configured"
    )]
    PciNotAllowed(PciAddress),
    /// No network interface has this name.
    #[error("there is no network interface `{0}` here. List them with: ip link")]
    InterfaceMissing(String),
    /// No driver takes the device.
    #[error(
        "no DPDK driver takes `{device}`: the name is wrong, or its plugin is missing. Install all \
         drivers with: apt-get install libdpdk-dev{log}"
    )]
    NoDriver {
        /// The device.
        device: String,
        /// What DPDK logged.
        log: String,
    },
    /// The device is in use by this process.
    #[error("`{0}` is open already; close it first, or give the second one another name")]
    AlreadyOpen(String),
    /// Refused, and the process is not root.
    #[error(
        "`{device}`: {step} was refused, and this process is not root. Run it with sudo, or with the \
         capabilities of docs/systemd.md{log}"
    )]
    NotPermitted {
        /// The device.
        device: String,
        /// What was being done.
        step: &'static str,
        /// What DPDK logged.
        log: String,
    },
    /// More queue pairs than the device has, or none.
    #[error("`{device}` has {max} queue pairs, {asked} were asked for; ask for 1 to {max}")]
    Queues {
        /// The device.
        device: String,
        /// Queue pairs asked for.
        asked: usize,
        /// Queue pairs the device has.
        max: u16,
    },
    /// The MTU is out of the device's range.
    #[error("`{device}` carries an MTU of {min} to {max} bytes, {asked} was asked for")]
    Mtu {
        /// The device.
        device: String,
        /// Bytes asked for.
        asked: u16,
        /// Least the device allows.
        min: u16,
        /// Most the device (or a frame of the pool) allows.
        max: u16,
    },
    /// The pool could not even fill the queues.
    #[error(
        "`{device}`: a pool of {frames} frames is too small for {descriptors} descriptors; make it \
         larger than that"
    )]
    PoolTooSmall {
        /// The device.
        device: String,
        /// Frames of the pool.
        frames: u32,
        /// Receive and transmit descriptors of a queue pair.
        descriptors: u32,
    },
    /// The socket of a memif device.
    #[error("`{device}`: {step} failed: {reason}")]
    Memif {
        /// The device.
        device: String,
        /// What was being done.
        step: String,
        /// The kernel's answer.
        reason: String,
    },
    /// DPDK or the driver failed.
    #[error("`{device}`: {step} failed: {reason}{log}")]
    Failed {
        /// The device.
        device: String,
        /// What was being done.
        step: &'static str,
        /// What the error number says.
        reason: String,
        /// What DPDK logged.
        log: String,
    },
}

/// EAL's memory stays mapped until the process ends, since something may still use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "EAL's memory is left to the end of the process: {handles} handles (ports, pools, threads) and \
     {buffers} buffers are still out"
)]
pub struct StillInUse {
    /// Ports, queues, pools, handles and registered threads that exist.
    pub handles: usize,
    /// Mbufs that are not back in their pool: held by the program, or lost in a driver's rings.
    pub buffers: usize,
}

/// The words for an error number, positive or negative.
pub(crate) fn strerror(errno: i32) -> String {
    // SAFETY: returns a C string that lives until the thread's next call; it is copied at once.
    let text = unsafe { CStr::from_ptr(ffi::rte_strerror(errno.saturating_abs())) };
    text.to_string_lossy().into_owned()
}

/// The thread's `rte_errno`.
pub(crate) fn rte_errno() -> i32 {
    // SAFETY: reads a thread-local variable.
    unsafe { ffi::sluice_errno() }
}
