//! Where frames get their buffers from.

use std::ffi::{CString, c_int};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use arrayvec::ArrayVec;
use dpdk_sys as ffi;

use crate::eal::EalHandle;
use crate::error::{PoolError, rte_errno, strerror};
use crate::log;
use crate::mbuf::Mbuf;

/// The size of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    /// Number of frames. They come out even with a power of two less one (`rte_mempool_create`).
    pub frames: u32,
    /// Bytes of a frame, 64 to [`FRAME_MAX`]; DPDK's headroom of 128 is added. Many NICs want 2048 at least.
    pub frame_size: u16,
}

/// The longest frame that a buffer can be made for: with DPDK's headroom, its length is a `uint16_t`.
pub const FRAME_MAX: u16 = u16::MAX - ffi::RTE_PKTMBUF_HEADROOM as u16;

/// A pool of equal buffers, for any number of threads. Each registered thread has a cache of its own
/// inside it, of at most 256 frames or an eighth of the pool. Its memory lives as long as EAL does;
/// clones are handles to the same pool.
#[derive(Debug, Clone)]
pub struct Pool {
    pool: NonNull<ffi::rte_mempool>,
    config: PoolConfig,
    eal: EalHandle,
}

// SAFETY: mempools are made for concurrent use: a shared ring, and caches by lcore id, which only the
// thread registered under that id touches.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

/// Frames a thread's cache holds at most before half as many more make it flush.
const CACHE: u32 = 256;

/// Numbers the pools: DPDK wants names that are unique in the process.
static NEXT_NAME: AtomicU32 = AtomicU32::new(0);

/// Memory near any CPU (`SOCKET_ID_ANY`).
const ANY_SOCKET: c_int = -1;

impl Pool {
    /// Makes a pool.
    pub fn new(eal: &EalHandle, config: PoolConfig) -> Result<Self, PoolError> {
        Pool::on_socket(eal, config, ANY_SOCKET)
    }

    /// Makes a pool in the memory of a NUMA node, or of any where that has not enough.
    pub fn on_node(
        eal: &EalHandle,
        config: PoolConfig,
        node: Option<u16>,
    ) -> Result<Self, PoolError> {
        let near = node.and_then(|node| Pool::on_socket(eal, config, node.into()).ok());
        near.map_or_else(|| Pool::new(eal, config), Ok)
    }

    fn on_socket(eal: &EalHandle, config: PoolConfig, socket: c_int) -> Result<Self, PoolError> {
        let PoolConfig { frames, frame_size } = config;
        if frames == 0 || !(64..=FRAME_MAX).contains(&frame_size) {
            return Err(PoolError::Size { frames, frame_size });
        }
        let name = format!("sluice{}", NEXT_NAME.fetch_add(1, Ordering::Relaxed));
        let name = CString::new(name).unwrap_or_default();
        // At most `FRAME_MAX`, so that this cannot overflow.
        let room = frame_size + ffi::RTE_PKTMBUF_HEADROOM as u16;
        let cache = CACHE.min(frames / 8);
        let mark = log::mark();
        // SAFETY: EAL runs; the name is a C string that DPDK copies.
        let pool =
            unsafe { ffi::rte_pktmbuf_pool_create(name.as_ptr(), frames, cache, 0, room, socket) };
        let pool = NonNull::new(pool).ok_or_else(|| PoolError::Create {
            frames,
            frame_size,
            mib: (u64::from(frames) * (u64::from(room) + 256)).div_ceil(1 << 20),
            reason: strerror(rte_errno()),
            log: log::since(mark),
        })?;
        eal.keep_pool(pool, frames);
        Ok(Self {
            pool,
            config,
            eal: eal.clone(),
        })
    }

    /// A frame of length zero, or `None` when the pool is empty or what is left sits in the caches of
    /// other threads.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool lives; an mbuf it gives is initialised, and ours alone.
        unsafe {
            Some(Mbuf::from_raw(NonNull::new(ffi::rte_pktmbuf_alloc(
                self.as_ptr(),
            ))?))
        }
    }

    /// Fills `into` with frames of length zero: all its free room, or nothing when the pool has not that
    /// many. Returns whether it did.
    #[inline]
    pub fn alloc_bulk<const N: usize>(&self, into: &mut ArrayVec<Mbuf, N>) -> bool {
        let room = into.remaining_capacity();
        let Ok(count) = u32::try_from(room) else {
            return false;
        };
        // SAFETY: behind the elements there is room for `count` pointers, and an `Mbuf` is one. The
        // call writes all or none; what it writes is initialised, and ours alone.
        unsafe {
            let free = into.as_mut_ptr().add(into.len()).cast();
            if ffi::rte_pktmbuf_alloc_bulk(self.as_ptr(), free, count) != 0 {
                return false;
            }
            into.set_len(N);
        }
        true
    }

    /// Frames in the pool now, those in threads' caches included. Not exact while others use the pool.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool lives; the count may be read at any time.
        unsafe { ffi::rte_mempool_avail_count(self.as_ptr()) }
    }

    /// Frames the pool was made with.
    pub fn capacity(&self) -> u32 {
        self.config.frames
    }

    /// Bytes a frame can hold.
    pub fn frame_size(&self) -> u16 {
        self.config.frame_size
    }

    /// The EAL it lives in.
    pub fn eal(&self) -> &EalHandle {
        &self.eal
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut ffi::rte_mempool {
        self.pool.as_ptr()
    }
}
