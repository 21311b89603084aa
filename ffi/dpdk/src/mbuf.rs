//! An owned frame.

use std::ptr::NonNull;

use dpdk_sys as ffi;

use crate::pool::Pool;

/// A frame (one segment, or several chained) in a buffer of a [`Pool`](crate::Pool), owned: dropping it
/// gives the buffer back. It may move to another thread; the crate's documentation says why it cannot
/// outlive its memory.
#[derive(Debug)]
#[repr(transparent)]
pub struct Mbuf(NonNull<ffi::rte_mbuf>);

// SAFETY: an mbuf and what it points at belong to no thread, and mempools take buffers from any thread.
unsafe impl Send for Mbuf {}

/// What a device says about one checksum of a received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumState {
    /// The device did not look.
    Unknown,
    /// It is right; or the field is not filled in, but the device vouches for the data (a virtual
    /// device whose frame never left the machine: `RTE_MBUF_F_RX_L4_CKSUM_NONE`).
    Good,
    /// It is wrong.
    Bad,
}

/// The IP header of a frame to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpOffload {
    /// IPv4.
    V4 {
        /// The device fills in the header checksum, which is zero in the frame.
        checksum: bool,
    },
    /// IPv6.
    V6,
}

/// What a device shall fill in when it sends a frame. Only what the port negotiated
/// ([`PortInfo::offloads`](crate::PortInfo)) has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxOffload {
    /// Bytes in front of the IP header, at most 127.
    pub l2_len: u8,
    /// Bytes of the IP header, at most 511.
    pub l3_len: u16,
    /// The IP header.
    pub ip: IpOffload,
    /// The device fills in the TCP checksum; in the frame stands the sum of the pseudo header.
    pub tcp_checksum: bool,
    /// The device cuts the frame into TCP segments; the sum of the pseudo header is then without a length.
    pub segmentation: Option<Segmentation>,
}

/// How a device cuts a frame into TCP segments (`RTE_MBUF_F_TX_TCP_SEG`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmentation {
    /// Bytes of the TCP header, options included: 20 to 60.
    pub l4_len: u8,
    /// Bytes of payload in each segment but the last.
    pub payload: u16,
}

impl Mbuf {
    /// Takes ownership.
    ///
    /// # Safety
    ///
    /// `mbuf` is a valid mbuf (its chain too) that nothing else will use, with a reference count of 1.
    #[inline]
    pub(crate) unsafe fn from_raw(mbuf: NonNull<ffi::rte_mbuf>) -> Self {
        Self(mbuf)
    }

    /// The bytes of the first segment: the whole frame when [`segments`](Self::segments) is 1.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: this is the first segment of a chain that `self` owns.
        unsafe { segment_bytes(self.0) }
    }

    /// The bytes of each segment in order.
    pub fn segment_iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut next = Some(self.0);
        std::iter::from_fn(move || {
            let segment = next?;
            // SAFETY: `segment` is part of the chain that `self` owns and the iterator borrows.
            next = NonNull::new(unsafe {
                field::<*mut ffi::rte_mbuf>(segment, ffi::SLUICE_MBUF_NEXT).read()
            });
            // SAFETY: likewise.
            Some(unsafe { segment_bytes(segment) })
        })
    }

    /// Bytes of the whole frame.
    #[inline]
    #[expect(
        clippy::len_without_is_empty,
        reason = "nobody asks whether a frame is empty"
    )]
    pub fn len(&self) -> usize {
        // SAFETY: `pkt_len` is a `uint32_t` of the mbuf.
        unsafe { field::<u32>(self.0, ffi::SLUICE_MBUF_PKT_LEN).read() as usize }
    }

    /// Number of segments, at least 1.
    #[inline]
    pub fn segments(&self) -> u16 {
        // SAFETY: `nb_segs` is a `uint16_t` of the mbuf.
        unsafe { field::<u16>(self.0, ffi::SLUICE_MBUF_NB_SEGS).read() }
    }

    /// Makes the frame `len` bytes long and hands them out to be written, contents unspecified; `None`
    /// when the buffer is shorter or the frame has several segments.
    #[inline]
    pub fn resize(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.segments() != 1 || len > self.capacity() {
            return None;
        }
        let short = u16::try_from(len).ok()?;
        // SAFETY: the fields are of the mbuf, with these types. `len` bytes from `data_off` on lie
        // within the buffer (`capacity`), which is initialised memory (mapped zeroed), exclusively ours.
        unsafe {
            field::<u16>(self.0, ffi::SLUICE_MBUF_DATA_LEN).write(short);
            field::<u32>(self.0, ffi::SLUICE_MBUF_PKT_LEN).write(u32::from(short));
            Some(std::slice::from_raw_parts_mut(data(self.0), len))
        }
    }

    /// The bytes of the first segment, to be changed in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the borrow is exclusive.
        unsafe {
            let len = field::<u16>(self.0, ffi::SLUICE_MBUF_DATA_LEN).read();
            std::slice::from_raw_parts_mut(data(self.0), usize::from(len))
        }
    }

    /// The most bytes [`resize`](Self::resize) can give.
    #[inline]
    pub fn capacity(&self) -> usize {
        // SAFETY: both are `uint16_t` fields of the mbuf.
        let (buffer, offset) = unsafe {
            (
                field::<u16>(self.0, ffi::SLUICE_MBUF_BUF_LEN).read(),
                field::<u16>(self.0, ffi::SLUICE_MBUF_DATA_OFF).read(),
            )
        };
        usize::from(buffer.saturating_sub(offset))
    }

    /// Puts the segments of `tail` behind those of this frame; gives `tail` back when there would be too
    /// many.
    pub fn chain(&mut self, tail: Mbuf) -> Result<(), Mbuf> {
        // SAFETY: both chains are valid and owned; on success the second belongs to the first.
        if unsafe { ffi::rte_pktmbuf_chain(self.0.as_ptr(), tail.0.as_ptr()) } < 0 {
            return Err(tail);
        }
        std::mem::forget(tail);
        Ok(())
    }

    /// The frame in one segment, in a buffer of `pool`, with what the receiving device said about it;
    /// `None` (and the frame is lost) when it is too long for a buffer or there is none.
    pub fn linearise(self, pool: &Pool) -> Option<Mbuf> {
        let mut whole = pool.alloc()?;
        let mut rest = whole.resize(self.len())?;
        for segment in self.segment_iter() {
            let (here, behind) = rest.split_at_mut_checked(segment.len())?;
            here.copy_from_slice(segment);
            rest = behind;
        }
        let said = ffi::SLUICE_MBUF_RX_IP_CKSUM_MASK | ffi::SLUICE_MBUF_RX_L4_CKSUM_MASK;
        // SAFETY: `ol_flags` is a `uint64_t` of the mbuf, zero in a fresh one.
        unsafe { field::<u64>(whole.0, ffi::SLUICE_MBUF_OL_FLAGS).write(self.flags() & said) };
        Some(whole)
    }

    /// What the receiving device says about the IPv4 header checksum.
    #[inline]
    pub fn ip_checksum(&self) -> ChecksumState {
        match self.flags() & ffi::SLUICE_MBUF_RX_IP_CKSUM_MASK {
            ffi::SLUICE_MBUF_RX_IP_CKSUM_BAD => ChecksumState::Bad,
            0 => ChecksumState::Unknown,
            _ => ChecksumState::Good,
        }
    }

    /// What the receiving device says about the TCP or UDP checksum.
    #[inline]
    pub fn l4_checksum(&self) -> ChecksumState {
        match self.flags() & ffi::SLUICE_MBUF_RX_L4_CKSUM_MASK {
            ffi::SLUICE_MBUF_RX_L4_CKSUM_BAD => ChecksumState::Bad,
            0 => ChecksumState::Unknown,
            _ => ChecksumState::Good,
        }
    }

    /// Says what the device shall fill in when it sends the frame; `None`: nothing. Forgets what the
    /// device that received the frame said about it.
    #[inline]
    pub fn set_tx_offload(&mut self, offload: Option<TxOffload>) {
        let mut flags = self.flags() & ffi::SLUICE_MBUF_ATTACHED;
        let mut lengths = 0;
        if let Some(offload) = offload {
            flags |= match offload.ip {
                IpOffload::V4 { checksum: true } => {
                    ffi::SLUICE_MBUF_TX_IPV4 | ffi::SLUICE_MBUF_TX_IP_CKSUM
                }
                IpOffload::V4 { checksum: false } => ffi::SLUICE_MBUF_TX_IPV4,
                IpOffload::V6 => ffi::SLUICE_MBUF_TX_IPV6,
            };
            if offload.tcp_checksum {
                flags |= ffi::SLUICE_MBUF_TX_TCP_CKSUM;
            }
            lengths = u64::from(offload.l2_len & 0x7f) << ffi::SLUICE_MBUF_L2_LEN_SHIFT
                | u64::from(offload.l3_len & 0x1ff) << ffi::SLUICE_MBUF_L3_LEN_SHIFT;
            if let Some(Segmentation { l4_len, payload }) = offload.segmentation {
                flags |= ffi::SLUICE_MBUF_TX_TCP_SEG;
                lengths |= u64::from(l4_len) << ffi::SLUICE_MBUF_L4_LEN_SHIFT
                    | u64::from(payload) << ffi::SLUICE_MBUF_TSO_SEGSZ_SHIFT;
            }
        }
        // SAFETY: both are `uint64_t` fields of the mbuf; the flags that say who owns the buffer are kept.
        unsafe {
            field::<u64>(self.0, ffi::SLUICE_MBUF_OL_FLAGS).write(flags);
            field::<u64>(self.0, ffi::SLUICE_MBUF_TX_OFFLOAD).write(lengths);
        }
    }

    #[inline]
    fn flags(&self) -> u64 {
        // SAFETY: `ol_flags` is a `uint64_t` of the mbuf.
        unsafe { field::<u64>(self.0, ffi::SLUICE_MBUF_OL_FLAGS).read() }
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: owned, so nothing uses it after.
        unsafe { ffi::rte_pktmbuf_free(self.0.as_ptr()) };
    }
}

/// A field of an mbuf by its offset.
///
/// # Safety
///
/// `mbuf` is valid and `offset` is that of a field of type `T`.
#[inline]
unsafe fn field<T>(mbuf: NonNull<ffi::rte_mbuf>, offset: usize) -> *mut T {
    // SAFETY: by the contract, within the mbuf. The struct is aligned to a cache line, its fields to
    // their size.
    unsafe { mbuf.as_ptr().byte_add(offset).cast() }
}

/// Where the data of a segment begins.
///
/// # Safety
///
/// `segment` is valid.
#[inline]
unsafe fn data(segment: NonNull<ffi::rte_mbuf>) -> *mut u8 {
    // SAFETY: `buf_addr` and `data_off` are fields of these types, and the sum lies within the buffer.
    unsafe {
        let offset = field::<u16>(segment, ffi::SLUICE_MBUF_DATA_OFF).read();
        field::<*mut u8>(segment, ffi::SLUICE_MBUF_BUF_ADDR)
            .read()
            .add(usize::from(offset))
    }
}

/// # Safety
///
/// `segment` is valid and not written to for `'a`.
#[inline]
unsafe fn segment_bytes<'a>(segment: NonNull<ffi::rte_mbuf>) -> &'a [u8] {
    // SAFETY: `data_len` bytes from `data` on are the segment's, initialised (mapped zeroed).
    unsafe {
        let len = field::<u16>(segment, ffi::SLUICE_MBUF_DATA_LEN).read();
        std::slice::from_raw_parts(data(segment), usize::from(len))
    }
}
