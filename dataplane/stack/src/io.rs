//! The door between the stack and whatever carries its frames: a DPDK queue pair, the simulator, or a
//! bench harness. One `PacketIo` belongs to one worker; nothing here is shared between threads.

use arrayvec::ArrayVec;

/// The most frames one `rx_burst` hands over.
pub const BURST: usize = 32;

/// Frames received together, oldest first.
pub type RxBurst<F> = ArrayVec<F, BURST>;

/// What the device says about the checksums of a received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RxChecksum {
    /// The device did not look: the stack verifies in software.
    Unknown,
    /// IP header and L4 checksum were verified and are right.
    Good,
    /// The device found one of them wrong: the stack drops the frame and counts it.
    Bad,
}

/// A received Ethernet frame without its frame check sequence; dropping it gives the buffer back.
pub trait RxFrame {
    /// The frame, destination MAC first.
    fn bytes(&self) -> &[u8];
    /// What the device knows of the checksums.
    fn checksum(&self) -> RxChecksum;
}

/// A buffer for one frame to be sent; dropping it unsent gives the buffer back.
pub trait TxFrame {
    /// Makes the frame `len` bytes long and returns them, contents unspecified.
    ///
    /// `len` never exceeds the port's `mtu` plus [`L2_MAX`]; of a large buffer
    /// ([`PacketIo::alloc_large`]), `tx_segmentation` plus that.
    fn fill(&mut self, len: usize) -> &mut [u8];
}

/// Room a device must leave in front of the IP packet: Ethernet and one VLAN tag.
pub const L2_MAX: usize = 18;

/// Which IP version a frame to be sent carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum L3 {
    /// IPv4, TCP or not.
    V4,
    /// IPv6.
    V6,
    /// ARP and other frames without an IP header: no checksum work for the device.
    None,
}

/// What a device needs to know to fill in checksums that the stack left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxMeta {
    /// Bytes in front of the IP header.
    pub l2_len: u8,
    /// Bytes of the IP header (options and extension headers included).
    pub l3_len: u8,
    /// The IP version.
    pub l3: L3,
    /// Whether the payload is TCP. Only TCP checksums are ever left to a device; those of ICMP and
    /// NDP are always in the frame.
    pub tcp: bool,
    /// Bytes of TCP payload in each of the packets that the device is to cut the frame into, the last excepted;
    /// 0: it goes as it is. The frame is in a large buffer then.
    pub segment: u16,
}

/// What a port is and can do; constant while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortCaps {
    /// The port's own MAC address.
    pub mac: [u8; 6],
    /// Largest IP packet in bytes (1500 on plain Ethernet), at most 9216.
    pub mtu: u16,
    /// The device fills in the IPv4 header checksum; the stack then leaves it zero.
    pub tx_ipv4_checksum: bool,
    /// The device fills in TCP checksums, IPv4 and IPv6; the stack then leaves them zero and the
    /// `PacketIo` writes the sum of the pseudo header where its device asks for one.
    pub tx_tcp_checksum: bool,
    /// The largest IP packet that the device cuts into segments (TCP segmentation offload); 0: it cuts none.
    /// Where it does, it fills in TCP checksums too.
    pub tx_segmentation: u16,
}

/// Totals of a port's queue pair since start; monotonic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IoStats {
    /// Frames handed to the stack, and their bytes.
    pub rx_frames: u64,
    /// Bytes of those frames.
    pub rx_bytes: u64,
    /// Frames the device took, and their bytes.
    pub tx_frames: u64,
    /// Bytes of those frames.
    pub tx_bytes: u64,
    /// Frames lost because the device's transmit queue stayed full.
    pub tx_full: u64,
    /// Times no transmit buffer was to be had.
    pub tx_no_buffer: u64,
    /// Large frames queued for the device to cut them into segments; each counts once in `tx_frames`.
    pub tx_large: u64,
    /// Times no large buffer was to be had, and ordinary segments were sent.
    pub tx_no_large: u64,
    /// Received frames longer than the MTU, which hold several segments of their sender.
    pub rx_large: u64,
    /// Received frames that could not be handed over: longer than what was agreed, or no buffer was to be had
    /// to copy their parts into.
    pub rx_unusable: u64,
    /// Received frames that came in several segments and were copied into one.
    pub rx_linearised: u64,
    /// Cycles (or simulated nanoseconds) spent inside the driver.
    pub driver_cycles: u64,
}

/// A queue pair that carries Ethernet frames. Never blocks, never allocates in steady state.
pub trait PacketIo {
    /// A received frame.
    type Rx: RxFrame;
    /// A buffer for a frame to be sent.
    type Tx: TxFrame;

    /// What the port is and can do.
    fn caps(&self) -> PortCaps;

    /// Whether it has a queue to send by now. Asked where another worker can send instead, for each frame.
    fn sends(&self) -> bool {
        true
    }

    /// Appends up to the free room of `into` received frames; returns how many.
    fn rx_burst(&mut self, into: &mut RxBurst<Self::Rx>) -> usize;

    /// A buffer to send from, or `None` when the pool is empty (counted as `tx_no_buffer`).
    fn alloc(&mut self) -> Option<Self::Tx>;

    /// A buffer for a frame that the device is to cut into segments, or `None` when none is to be had (counted as
    /// `tx_no_large`). Only asked for where `tx_segmentation` is not 0.
    fn alloc_large(&mut self) -> Option<Self::Tx> {
        None
    }

    /// Queues a filled frame behind those queued before. When the batch is full it is handed to the
    /// device; what the device refuses then is lost and counted as `tx_full`.
    fn send(&mut self, frame: Self::Tx, meta: TxMeta);

    /// Hands every queued frame to the device now. The worker calls it at the end of each poll, so
    /// that a lone packet is never held back.
    fn flush(&mut self);

    /// Totals so far.
    fn stats(&self) -> IoStats;
}
