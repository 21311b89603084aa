//! Echo requests and their answers (RFC 792, RFC 4443 4).

use std::net::{Ipv4Addr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpProtocol, IpRepr, Ipv4Repr,
};

use super::{Link, meta};
use crate::counters::Counters;
use crate::fate::{FrameFate, StackEvent};
use crate::io::PacketIo;
use crate::neighbour::Mac;

impl<P: PacketIo> Link<P> {
    pub(super) fn echo_v4(
        &mut self,
        from: Ipv4Addr,
        to: Ipv4Addr,
        from_mac: Mac,
        message: &[u8],
        events: &Counters<StackEvent>,
    ) -> FrameFate {
        let ignored = ChecksumCapabilities::ignored();
        let Ok(Icmpv4Repr::EchoRequest {
            ident,
            seq_no,
            data,
        }) = Icmpv4Repr::parse(&Icmpv4Packet::new_unchecked(message), &ignored)
        else {
            return FrameFate::UnknownProtocol;
        };
        let icmp = Icmpv4Repr::EchoReply {
            ident,
            seq_no,
            data,
        };
        let ip = Ipv4Repr {
            src_addr: to,
            dst_addr: from,
            next_header: IpProtocol::Icmp,
            payload_len: icmp.buffer_len(),
            hop_limit: 64,
        };
        let repr = IpRepr::Ipv4(ip);
        let len = ip.buffer_len() + icmp.buffer_len();
        if len > usize::from(self.caps.mtu) {
            return FrameFate::Truncated;
        }
        let sent = self.send_to(from_mac, 0x0800, len, meta(&repr, false), |packet| {
            let all = ChecksumCapabilities::default();
            repr.emit(&mut *packet, &all);
            icmp.emit(
                &mut Icmpv4Packet::new_unchecked(&mut packet[ip.buffer_len()..]),
                &all,
            );
        });
        if sent.is_err() {
            events.count(StackEvent::NoTxBuffer);
        }
        FrameFate::Echo
    }

    pub(super) fn echo_v6(
        &mut self,
        from: Ipv6Addr,
        to: Ipv6Addr,
        from_mac: Mac,
        message: &[u8],
        events: &Counters<StackEvent>,
    ) -> FrameFate {
        let ignored = ChecksumCapabilities::ignored();
        let packet = Icmpv6Packet::new_unchecked(message);
        let Ok(Icmpv6Repr::EchoRequest {
            ident,
            seq_no,
            data,
        }) = Icmpv6Repr::parse(&from, &to, &packet, &ignored)
        else {
            return FrameFate::UnknownProtocol;
        };
        let icmp = Icmpv6Repr::EchoReply {
            ident,
            seq_no,
            data,
        };
        if icmp.buffer_len() + 40 > usize::from(self.caps.mtu) {
            return FrameFate::Truncated;
        }
        if !self.send_icmpv6(&icmp, to, from, from_mac, 64) {
            events.count(StackEvent::NoTxBuffer);
        }
        FrameFate::Echo
    }
}
