//! The environment DPDK runs in: hugepages, devices' buses, threads. Started once per process.

use std::ffi::{CStr, CString, c_char, c_int};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dpdk_sys as ffi;

use crate::device::PciAddress;
use crate::error::{EalError, StillInUse, rte_errno, strerror};
use crate::{log, preconditions};

/// How EAL is to be started.
#[derive(Debug, Clone, Default)]
pub struct EalConfig {
    /// The CPUs on which the starting thread and EAL's own threads run; when empty, those on which the
    /// starting thread may run now. Pollers are threads of the caller, pinned where it wants them; see
    /// [`EalHandle::register_thread`].
    pub cpus: Vec<usize>,
    /// Hugepages taken at the start, MiB. More is taken on demand while there are any.
    pub memory_mib: u32,
    /// The PCI devices that may be used. When empty, PCI is not looked at.
    pub pci: Vec<PciAddress>,
    /// One file per hugepage area: vhost and virtio_user hand their memory to another process and
    /// allow 8 files.
    pub single_file_segments: bool,
    /// Shows DPDK's log on stderr, from `info` on; otherwise warnings and worse are kept for
    /// [`log_tail`](crate::log_tail) and error messages only.
    pub verbose: bool,
    /// Further EAL arguments, after the others.
    pub extra_args: Vec<String>,
}

/// Whether `rte_eal_init` was called. It cannot be called twice, not even after a failure.
static STARTED: AtomicBool = AtomicBool::new(false);

/// A started EAL. Stays on the thread that started it; [`EalHandle`]s go everywhere. Dropping it is
/// [`stop`](Self::stop) with the answer ignored.
#[derive(Debug)]
pub struct Eal {
    handle: EalHandle,
    stopped: bool,
    /// `rte_eal_cleanup` belongs to the thread that called `rte_eal_init`.
    _not_send: PhantomData<*const ()>,
}

/// Proof that EAL runs, for whoever makes pools, opens ports or polls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EalHandle(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The numbers of the open ports. Held while a device is opened, asked or closed: DPDK leaves it to
    /// the application that this does not happen to one port in parallel.
    ports: Mutex<Vec<u16>>,
    /// Every mempool ever made; none is freed before EAL is cleaned up.
    pools: Mutex<Vec<PoolPointer>>,
}

#[derive(Debug)]
struct PoolPointer {
    pool: NonNull<ffi::rte_mempool>,
    frames: u32,
}

// SAFETY: a mempool belongs to no thread; the pointer is only used to count its objects.
unsafe impl Send for PoolPointer {}

impl Eal {
    /// Starts EAL: checks what can be checked first, then calls `rte_eal_init`.
    ///
    /// The calling thread is bound to [`EalConfig::cpus`], and so are the threads it starts later
    /// unless they bind themselves.
    pub fn start(config: &EalConfig) -> Result<Self, EalError> {
        for address in &config.pci {
            preconditions::pci_usable(*address).map_err(|error| EalError::Pci(Box::new(error)))?;
        }
        preconditions::hugepages_free(config.memory_mib)?;
        let arguments = arguments(config)?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(EalError::AlreadyStarted);
        }
        log::capture(config.verbose);
        let mark = log::mark();
        if init(arguments) < 0 {
            let (reason, log) = (strerror(rte_errno()), log::since(mark));
            return Err(if preconditions::is_root() {
                EalError::Init { reason, log }
            } else {
                EalError::NotPermitted { reason, log }
            });
        }
        if !config.verbose {
            log::quieten_bpf();
        }
        let handle = EalHandle(Arc::new(Inner::default()));
        Ok(Self {
            handle,
            stopped: false,
            _not_send: PhantomData,
        })
    }

    /// The handle that pools, ports and threads are made with.
    pub fn handle(&self) -> &EalHandle {
        &self.handle
    }

    /// Unmaps EAL's memory if nothing can use it any more: every port closed, every handle, pool and
    /// registered thread gone, every mbuf back in its pool. Otherwise the memory stays mapped until the
    /// process ends, which is harmless: ports are closed by their own drop, and the kernel takes the
    /// hugepages back. It is also common: net_af_xdp keeps the buffers that wait to be filled when it is
    /// closed. Either way EAL cannot be started again in this process.
    pub fn stop(mut self) -> Result<(), StillInUse> {
        self.clean_up()
    }

    fn clean_up(&mut self) -> Result<(), StillInUse> {
        if self.stopped {
            return Ok(());
        }
        self.stopped = true;
        let handles = Arc::strong_count(&self.handle.0) - 1;
        // Exclusive access means that no pool, port, queue or registered thread exists, and synchronises
        // with the drop of the last. From here on buffers can only come back, never go out.
        let Some(inner) = Arc::get_mut(&mut self.handle.0) else {
            return Err(StillInUse {
                handles,
                buffers: 0,
            });
        };
        let pools = inner
            .pools
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let buffers = pools.iter().map(PoolPointer::buffers_out).sum();
        if buffers > 0 {
            return Err(StillInUse {
                handles: 0,
                buffers,
            });
        }
        // SAFETY: called once, by the thread that started EAL, with every mempool whole. A thread that
        // just returned the last buffer is not inside a mempool any more: registered threads (whose
        // caches count a buffer before it is written) are gone, and for the others the ring's count
        // changes with the last write.
        unsafe { ffi::rte_eal_cleanup() };
        Ok(())
    }
}

impl Drop for Eal {
    fn drop(&mut self) {
        // What remains is the kernel's to take back.
        let _ = self.clean_up();
    }
}

impl PoolPointer {
    fn buffers_out(&self) -> usize {
        // SAFETY: mempools live as long as EAL.
        let available = unsafe { ffi::rte_mempool_avail_count(self.pool.as_ptr()) };
        (self.frames as usize).saturating_sub(available as usize)
    }
}

impl EalHandle {
    /// Gives the calling thread an lcore id, and with it a cache in every pool, until the guard is
    /// dropped. Threads without one may do everything too, slower. No effect on a thread that has one.
    pub fn register_thread(&self) -> Result<RegisteredThread, EalError> {
        // SAFETY: reads a thread-local variable.
        let has_one = unsafe { ffi::sluice_lcore_id() } != ffi::LCORE_ID_ANY;
        // SAFETY: EAL runs, and this thread is not registered.
        if !has_one && unsafe { ffi::rte_thread_register() } < 0 {
            return Err(EalError::Register(strerror(rte_errno())));
        }
        Ok(RegisteredThread {
            registered: !has_one,
            _eal: self.clone(),
            _not_send: PhantomData,
        })
    }

    /// Ticks of [`cycles`] per second, as EAL measured them.
    pub fn tsc_hz(&self) -> u64 {
        // SAFETY: EAL runs, so it is measured.
        unsafe { ffi::rte_get_tsc_hz() }
    }

    /// The numbers of the open ports, locked: for as long as a device is opened, asked or closed.
    pub(crate) fn ports(&self) -> MutexGuard<'_, Vec<u16>> {
        self.0.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a new mempool.
    pub(crate) fn keep_pool(&self, pool: NonNull<ffi::rte_mempool>, frames: u32) {
        let mut pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.push(PoolPointer { pool, frames });
    }
}

/// The calling thread's lcore id; see [`EalHandle::register_thread`].
#[derive(Debug)]
pub struct RegisteredThread {
    registered: bool,
    _eal: EalHandle,
    /// It is this thread that is registered.
    _not_send: PhantomData<*const ()>,
}

impl Drop for RegisteredThread {
    fn drop(&mut self) {
        if self.registered {
            // SAFETY: this thread was registered by `register_thread`.
            unsafe { ffi::rte_thread_unregister() };
        }
    }
}

/// The time stamp counter: counts at [`EalHandle::tsc_hz`], costs some ten nanoseconds at most.
#[inline]
pub fn cycles() -> u64 {
    // SAFETY: reads a counter register.
    unsafe { ffi::rte_rdtsc() }
}

/// The DPDK that this program runs with, as `DPDK 22.11.11`.
pub fn version() -> &'static str {
    // SAFETY: returns a constant string that ends in a zero and lives as long as the program.
    let version = unsafe { CStr::from_ptr(ffi::rte_version()) };
    version.to_str().unwrap_or("DPDK of an unreadable version")
}

/// Calls `rte_eal_init`, which may keep pointers into its arguments: they are never freed.
fn init(arguments: Vec<CString>) -> c_int {
    let count = c_int::try_from(arguments.len()).unwrap_or(c_int::MAX);
    let mut argv: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).collect();
    argv.push(std::ptr::null_mut());
    // SAFETY: `argv` is a null-terminated array of `count` writable C strings that lives on.
    unsafe { ffi::rte_eal_init(count, argv.leak().as_mut_ptr()) }
}

fn arguments(config: &EalConfig) -> Result<Vec<CString>, EalError> {
    let level = if config.verbose { "info" } else { "warning" };
    let mut arguments = vec![
        "sluice".to_owned(),
        // Anonymous hugepages and no files shared with other processes: side by side and after a crash
        // nothing is in the way.
        "--in-memory".to_owned(),
        "--no-telemetry".to_owned(),
        format!("--log-level={level}"),
        // The name of an empty directory that EAL makes all the same; any number may share it.
        "--file-prefix=sluice".to_owned(),
        format!("--lcores=0@({})", cpu_list(&config.cpus)?),
        // `-m` wants a separate argument.
        "-m".to_owned(),
        config.memory_mib.to_string(),
    ];
    if config.pci.is_empty() {
        arguments.push("--no-pci".to_owned());
    }
    for address in &config.pci {
        arguments.extend(["-a".to_owned(), address.to_string()]);
    }
    if config.single_file_segments {
        arguments.push("--single-file-segments".to_owned());
    }
    arguments.extend(config.extra_args.iter().cloned());
    let c_string = |text: String| CString::new(text.clone()).map_err(|_| EalError::Argument(text));
    arguments.into_iter().map(c_string).collect()
}

/// `cpus`, or those the thread may run on, as `0,2,3`.
fn cpu_list(cpus: &[usize]) -> Result<String, EalError> {
    // SAFETY: a `cpu_set_t` is an array of integers, for which zero is valid.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes at most the given size into `allowed`. If it fails, the set stays empty.
    unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut allowed) };
    let is_allowed = |cpu: usize| {
        // SAFETY: `cpu` is within the set, which CPU_ISSET only reads.
        cpu < libc::CPU_SETSIZE as usize && unsafe { libc::CPU_ISSET(cpu, &allowed) }
    };
    if let Some(cpu) = cpus.iter().find(|cpu| !is_allowed(**cpu)) {
        return Err(EalError::Argument(format!("cpu {cpu}")));
    }
    let all = || {
        (0..libc::CPU_SETSIZE as usize)
            .filter(|cpu| is_allowed(*cpu))
            .collect()
    };
    let chosen: Vec<usize> = if cpus.is_empty() {
        all()
    } else {
        cpus.to_vec()
    };
    Ok(chosen
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join(","))
}
