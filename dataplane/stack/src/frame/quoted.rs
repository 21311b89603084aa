//! What routers quote of packets of ours.

use crate::fate::FrameFate;
use crate::key::FlowKey;

use super::Inbound;

/// What a router said of a packet of ours that was too large for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TooBig {
    pub(crate) key: FlowKey,
    /// The sequence number of the packet.
    pub(crate) seq: u32,
    /// Largest IP packet that passes.
    pub(crate) mtu: u32,
}

/// The flow whose segment, behind its IP header, is quoted.
pub(super) fn quoted_tcp<'a>(
    tcp: &[u8],
    from: Option<u128>,
    to: Option<u128>,
    mtu: u32,
    port: u8,
) -> Result<Inbound<'a>, FrameFate> {
    let fate = FrameFate::UnknownProtocol;
    let local = (from.ok_or(fate)?, u16_at(tcp, 0).ok_or(fate)?);
    let remote = (to.ok_or(fate)?, u16_at(tcp, 2).ok_or(fate)?);
    Ok(Inbound::TooBig(TooBig {
        key: FlowKey::from_bits(port, local, remote),
        seq: u32_at(tcp, 4).ok_or(fate)?,
        mtu,
    }))
}

pub(super) fn packet_code(icmp: &[u8]) -> u8 {
    icmp.get(1).copied().unwrap_or(0)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u128_at(bytes: &[u8], at: usize) -> Option<u128> {
    Some(u128::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
