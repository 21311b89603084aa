//! Multicast listener discovery (RFC 3810, RFC 2710): says which groups the port listens to, so that switches that
//! look (snooping, RFC 4541) let through what neighbours ask. The groups are the solicited-node addresses
//! (RFC 4291 2.7.1) of the port's own.
//!
//! Said once at the start, and at once whenever somebody asks.

use std::net::{IpAddr, Ipv6Addr};

use super::{Link, NO_IP};
use crate::checksum;
use crate::counters::Counters;
use crate::fate::{FrameFate, StackEvent};
use crate::io::PacketIo;
use crate::neighbour::Mac;
use crate::time::Instant;

/// Length of a question of the first version (RFC 2710 3); those of the second are longer (RFC 3810 8.1).
const QUERY_V1: usize = 24;
const REPORT_V1: u8 = 131;
const REPORT_V2: u8 = 143;
/// A report in front of its records, and a record without sources (RFC 3810 5.2).
const HEADER: usize = 8;
const RECORD: usize = 20;
/// The group listens to all sources, and does so from now on (RFC 3810 5.2.12).
const IS_EXCLUDE: u8 = 2;
const TO_EXCLUDE: u8 = 4;
/// Every MLDv2-capable router (RFC 3810 5.2.14).
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// Options for routers on the way: alert them to MLD (RFC 2711), and pad.
const ROUTER_ALERT: [u8; 8] = [ICMPV6, 0, 5, 2, 0, 0, 1, 0];
const ICMPV6: u8 = 58;
const IP: usize = 40;

/// The group that an address' solicitations go to.
pub(super) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let prefix = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).to_bits();
    Ipv6Addr::from_bits(prefix | address.to_bits() & 0xff_ffff)
}

/// Where frames to a group go (RFC 2464 7).
pub(super) fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// The groups of a port with these addresses, each once.
pub(super) fn groups(addresses: impl Iterator<Item = IpAddr>) -> Vec<Ipv6Addr> {
    let mut groups: Vec<Ipv6Addr> = addresses
        .filter_map(|address| match address {
            IpAddr::V6(address) => Some(solicited_node(address)),
            IpAddr::V4(_) => None,
        })
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

impl<P: PacketIo> Link<P> {
    /// Says that the port listens to its groups from now on. Without a buffer that is lost like any frame; the
    /// next question brings it again.
    pub(super) fn announce_groups(&mut self) {
        let _ = self.report(None, TO_EXCLUDE);
    }

    /// Answers a question for groups: for all, or for one. It is answered in the version that it is of.
    pub(super) fn listener_query(
        &mut self,
        message: &[u8],
        now: Instant,
        events: &Counters<StackEvent>,
    ) -> FrameFate {
        let group = message.get(8..).and_then(|rest| rest.first_chunk::<16>());
        let Some(group) = group.map(|octets| Ipv6Addr::from(*octets)) else {
            return FrameFate::Truncated;
        };
        let group = Some(group).filter(|group| !group.is_unspecified());
        let of_ours = group.is_none_or(|group| self.groups.contains(&group));
        if !of_ours || self.groups.is_empty() {
            return FrameFate::NotForUs;
        }
        if !self.may_answer_stranger(now) {
            return FrameFate::NoFlowSilent;
        }
        let sent = if message.len() == QUERY_V1 {
            self.report_each(group)
        } else {
            self.report(group, IS_EXCLUDE)
        };
        if sent.is_none() {
            events.count(StackEvent::NoTxBuffer);
        }
        FrameFate::Mld
    }

    /// Reports of the second version: as many groups in one as the link's packets hold. `None` if no buffer was to
    /// be had.
    fn report(&mut self, group: Option<Ipv6Addr>, kind: u8) -> Option<()> {
        let room = usize::from(self.caps.mtu).saturating_sub(IP + ROUTER_ALERT.len() + HEADER);
        let groups = std::mem::take(&mut self.groups);
        let chosen = group.as_ref().map_or(&groups[..], std::slice::from_ref);
        let sent = chosen.chunks((room / RECORD).max(1)).try_for_each(|part| {
            self.send_report(ROUTERS, HEADER + part.len() * RECORD, |report| {
                report[0] = REPORT_V2;
                report[6..HEADER].copy_from_slice(&(part.len() as u16).to_be_bytes());
                let records = report[HEADER..].as_chunks_mut::<RECORD>().0;
                for (record, group) in records.iter_mut().zip(part) {
                    record[0] = kind;
                    record[4..].copy_from_slice(&group.octets());
                }
            })
        });
        self.groups = groups;
        sent
    }

    /// Reports of the first version, one for each group and to the group itself (RFC 2710 4).
    fn report_each(&mut self, group: Option<Ipv6Addr>) -> Option<()> {
        (0..self.groups.len()).try_for_each(|at| {
            let own = *self.groups.get(at)?;
            if group.is_some_and(|group| group != own) {
                return Some(());
            }
            self.send_report(own, QUERY_V1, |report| {
                report[0] = REPORT_V1;
                report[HEADER..].copy_from_slice(&own.octets());
            })
        })
    }

    /// Sends a report of `len` bytes, zeros where `write` leaves them, from the port's link-local address, or from
    /// none if it has none: that is what switches go by (RFC 3590).
    fn send_report(
        &mut self,
        to: Ipv6Addr,
        len: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Option<()> {
        let from = self.addresses.iter().find_map(|address| match address {
            IpAddr::V6(address) if address.is_unicast_link_local() => Some(*address),
            _ => None,
        });
        let from = from.unwrap_or(Ipv6Addr::UNSPECIFIED);
        let behind = ROUTER_ALERT.len() + len;
        // The checksum is ours to fill in, so it is nothing to a device that this is IP.
        let sent = self.send_to(group_mac(to), 0x86dd, IP + behind, NO_IP, |packet| {
            packet.fill(0);
            let (ip, rest) = packet.split_at_mut(IP);
            let (alert, report) = rest.split_at_mut(ROUTER_ALERT.len());
            alert.copy_from_slice(&ROUTER_ALERT);
            write(report);
            ip[0] = 0x60;
            ip[4..6].copy_from_slice(&(behind as u16).to_be_bytes());
            // Options come next, and no router passes it on.
            ip[7] = 1;
            ip[8..24].copy_from_slice(&from.octets());
            ip[24..].copy_from_slice(&to.octets());
            let pseudo = checksum::sum(&ip[8..]) + u32::from(ICMPV6) + len as u32;
            let sum = checksum::finish(pseudo + checksum::sum(report));
            report[2..4].copy_from_slice(&sum.to_be_bytes());
        });
        sent.ok()
    }
}
