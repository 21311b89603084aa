//! What kind of channel a call needs, as the rules of its service say.

use std::time::Duration;

use sluice_policy::Service;
use sluice_policy::rules::{Multiplex, ProxyProtocol, ServiceProtocol};
use sluice_wire::ttheader::Mode;

use super::Dialect;
use super::call::Call;
use super::channel::Channel;
use super::channels::Kind;

/// What a service's rules say of its channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) dialect: Dialect,
    multiplex: Multiplex,
    /// For streams, which need channels that carry nothing else.
    pub(super) streams: bool,
    pub(super) shared_connections: usize,
    pub(super) max_connections: u32,
    pub(super) connect_timeout: Duration,
    pub(super) proxy_protocol: Option<ProxyProtocol>,
}

impl Terms {
    /// For a call; `None` where the service does not speak RPC, or a stream can't go there.
    #[inline]
    pub(super) fn of(service: &Service, call: &Call) -> Option<Self> {
        let streams = call.stream.is_some();
        let dialect = match service.protocol {
            ServiceProtocol::Auto => call.dialect,
            ServiceProtocol::TtHeader => Dialect::TtHeader,
            ServiceProtocol::Thrift => Dialect::Thrift,
            ServiceProtocol::Http => return None,
        };
        if streams && dialect != Dialect::TtHeader {
            return None;
        }
        Some(Terms {
            dialect,
            multiplex: service.multiplex,
            streams,
            shared_connections: service.shared_connections as usize,
            max_connections: service.max_connections,
            connect_timeout: service.connect_timeout,
            proxy_protocol: service.proxy_protocol,
        })
    }

    /// Whether callers share channels at all.
    pub(super) fn shares(&self) -> bool {
        self.multiplex != Multiplex::None
    }

    /// What kind of channel a call needs.
    pub(super) fn kind(&self, call: &Call) -> Kind {
        let unnamed = self.multiplex == Multiplex::Message && !call.rewritable;
        // Nothing may come between the pieces of a large frame, be it that of a stream's header.
        let alone = call.large > 0 || (unnamed && !self.streams);
        Kind {
            streams: self.streams,
            own: !self.shares() || self.proxy_protocol.is_some() || alone,
        }
    }

    /// Whether a channel, for one call at a time (`own`) or for many, still is as they say.
    pub(super) fn fit(&self, channel: &Channel, own: bool) -> bool {
        channel.dialect == self.dialect && channel.table.mode() == self.mode(own)
    }

    pub(super) fn mode(&self, own: bool) -> Mode {
        match self.multiplex {
            // A stream goes by its id, which is the sequence of its frames, everywhere.
            _ if self.streams => Mode::FrameSequence,
            _ if own => Mode::PingPong,
            Multiplex::None => Mode::PingPong,
            Multiplex::Frame => Mode::FrameSequence,
            Multiplex::Message => Mode::MessageSequence,
        }
    }
}
