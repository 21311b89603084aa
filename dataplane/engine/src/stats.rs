//! What one worker counts, shared with whoever reports it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sluice_stack::StackStats;
use sluice_stack::counters::{Counters, Gauge};
use sluice_stack::io::IoStats;

pub use crate::rpc::refused::Refused;
use crate::traffic::Traffic;

sluice_stack::counters! {
    /// The one end of a request whose head was read (or refused).
    pub enum RequestFate {
        /// The service's answer was delivered whole.
        Answered => "answered",
        /// Refused with 400: malformed, or of two meanings.
        Malformed => "malformed",
        /// Refused with 414: the request line is longer than the limit.
        RequestLineTooLong => "request_line_too_long",
        /// Refused with 431: the head is larger than the limit, or has more fields.
        HeadTooLarge => "head_too_large",
        /// Refused with 501 or 505: a method, a transfer coding or a version that is not spoken.
        Unsupported => "unsupported",
        /// Refused with 417: it expects something else than 100-continue.
        Expectation => "expectation",
        /// Refused with 421: the listener does not take requests for this host, or none for https.
        Misdirected => "misdirected",
        /// Refused with 413, or cut off: the body is larger than the limit.
        BodyTooLarge => "body_too_large",
        /// Answered here with 200: an OPTIONS request with Max-Forwards 0.
        LastHop => "last_hop",
        /// Refused with 408: the head took too long.
        HeadTimeout => "head_timeout",
        /// Refused with 404: no route takes it.
        NoRoute => "no_route",
        /// Answered here as a route's `respond` says.
        Responded => "responded",
        /// Answered here with a redirect.
        Redirected => "redirected",
        /// Refused with 404: it has to name a service, and names none that is allowed.
        NoService => "no_service",
        /// Refused with 502: the service speaks another protocol than the request.
        WrongProtocol => "wrong_protocol",
        /// A fault for a drill: answered here, or its connection closed.
        Fault => "fault_injected",
        /// Refused with 503: the service has no endpoint, or no connection to one was allowed.
        Unavailable => "unavailable",
        /// Refused with 502: no endpoint accepted a connection.
        ConnectFailed => "connect_failed",
        /// Refused with 504: no endpoint accepted a connection in time.
        ConnectTimeout => "connect_timeout",
        /// Refused with 502: the service closed before it answered.
        ClosedEarly => "upstream_closed_early",
        /// Refused with 502: the service's answer breaks the protocol.
        BadResponse => "upstream_bad_response",
        /// Refused with 504: the service did not begin to answer in time.
        ResponseTimeout => "response_timeout",
        /// Refused with 504, or cut off: the request as a whole took too long.
        RequestTimeout => "request_timeout",
        /// Refused with 408, or cut off: the client sent the request's body too slowly.
        BodyTimeout => "body_timeout",
        /// Refused with 400, or cut off: the request's body is malformed or ends early.
        BadRequestBody => "bad_request_body",
        /// Cut off: the service's answer ended before its announced end.
        Truncated => "upstream_truncated",
        /// Cut off: the service neither took nor sent anything for the idle timeout while a body was
        /// under way.
        Stalled => "stalled",
        /// Cut off: the client took nothing of the answer for the idle timeout.
        ClientStalled => "client_stalled",
        /// A oneway RPC was sent to the service; no answer comes.
        Oneway => "oneway",
        /// A stream of RPC that its caller or its service reset.
        StreamReset => "stream_reset",
        /// An RPC that is none, or that the gateway can't answer: its connection was closed.
        NotARequest => "not_a_request",
        /// The connection changed to another protocol, and either side ended it.
        Tunnelled => "tunnelled",
        /// The connection changed to another protocol, and was silent both ways for too long.
        TunnelIdle => "tunnel_idle",
        /// The client was gone before the answer was delivered.
        ClientGone => "client_gone",
        /// Cut off: the gateway stopped and the drain deadline had passed.
        Drained => "drain_deadline",
        /// Cut off: it ran into a defect of the gateway.
        Panicked => "panicked",
    }
}

sluice_stack::counters! {
    /// What else happens in the engine and is counted.
    pub enum EngineEvent {
        /// A client's connection was taken.
        DownstreamOpened => "downstream_opened",
        /// A client's connection is over.
        DownstreamClosed => "downstream_closed",
        /// A client's connection was refused: the listener's limit, or its rules are gone.
        DownstreamRefused => "downstream_refused",
        /// A client's connection was refused: only trusted proxies may connect to the listener.
        DownstreamUntrusted => "downstream_untrusted",
        /// A client's connection was closed: it did not begin with a valid PROXY header.
        BadProxyHeader => "downstream_bad_proxy_header",
        /// A client's connection had as many requests as are allowed on one.
        DownstreamSpent => "downstream_requests_spent",
        /// A client's connection was refused: its address has as many as are allowed to one.
        ClientConnections => "downstream_refused_client_connections",
        /// A client's connection was refused: its address opened as many of late as are allowed to one.
        ClientRate => "downstream_refused_client_rate",
        /// A client's connection took requests for as long as is allowed to one.
        DownstreamAged => "downstream_lifetime_over",
        /// A client's connection was closed after being idle for too long.
        DownstreamIdle => "downstream_idle_timeout",
        /// A connection to an endpoint was begun.
        UpstreamOpened => "upstream_opened",
        /// A connection to an endpoint is over.
        UpstreamClosed => "upstream_closed",
        /// A request went out on a connection that had served before.
        UpstreamReused => "upstream_reused",
        /// A pooled connection was closed after being idle for too long.
        UpstreamIdle => "upstream_idle_timeout",
        /// Bytes nobody asked for came on a pooled connection; it was closed.
        UpstreamUnsolicited => "upstream_unsolicited_bytes",
        /// Another endpoint was tried after one did not accept a connection.
        RetriedConnect => "retried_connect",
        /// An endpoint accepted no connection and is passed over for some seconds.
        EndpointSuspected => "endpoint_suspected",
        /// A request was sent again because its pooled connection had died unnoticed.
        RetriedStale => "retried_stale_connection",
        /// A request went to the fallback of its service.
        Fallback => "fallback_taken",
        /// A request was held for a drill.
        Delayed => "fault_delayed",
        /// A request had its bodies slowed down for a drill.
        Slowed => "fault_slowed",
        /// A copy of a request was begun.
        Mirrored => "mirror_begun",
        /// A copy was answered, whatever the answer.
        MirrorAnswered => "mirror_answered",
        /// A copy was not answered in time, or not well.
        MirrorFailed => "mirror_failed",
        /// No copy was made: the request's body is too large or did not come to its end, it changes
        /// protocols, there was no connection to be had, or too many copies are under way.
        MirrorSkipped => "mirror_skipped",
        /// A defect of the gateway that a connection ran into and that ended it; the message is on the
        /// standard error output.
        Panicked => "panicked",
        /// A client was told what the rules made of its request.
        Explained => "explained",
        /// New rules were adopted.
        RulesAdopted => "rules_adopted",
        /// New rules have to wait: too many older generations still serve requests.
        RulesDeferred => "rules_deferred",
    }
}

sluice_stack::counters! {
    /// What a client's connection was found to speak.
    pub enum ConnectionProtocol {
        /// HTTP/1, or what is refused as HTTP is.
        Http => "http",
        /// TTHeader.
        TtHeader => "ttheader",
        /// Thrift in frames or without.
        Thrift => "thrift",
        /// Thrift behind a MeshHeader.
        MeshHeader => "meshheader",
    }
}

sluice_stack::counters! {
    /// What happens to RPCs and their connections.
    pub enum RpcEvent {
        /// A frame of a caller was refused, and its connection closed.
        BadFrame => "bad_frame",
        /// The message in a frame of a caller was refused; the connection goes on.
        BadMessage => "bad_message",
        /// A frame that a service sent was refused, and its connection closed.
        BadReply => "bad_reply",
        /// A reply came to a call that had ended before, and was dropped.
        LateReply => "late_reply",
        /// A reply came to no call that ever was: the connection to the endpoint was closed.
        Stranger => "stranger",
        /// A reply was too large for its caller's listener, and was dropped.
        LargeReply => "large_reply",
        /// A call waited for a connection.
        Waited => "waited",
        /// A call did not share a connection though its service is multiplexed: its frame is large, or
        /// its sequence can't be changed.
        OwnConnection => "own_connection",
        /// A reply waited for those of earlier calls of its connection.
        InOrder => "in_order",
        /// A service asked for its connection to be closed after a reply (`crrst`).
        ServiceLeaves => "service_leaves",
        /// A service took calls on a shared connection and answered none: it gets no further ones on that.
        ServiceSilent => "service_silent",
        /// A stream was begun.
        Stream => "stream",
        /// A frame came to a stream that is over or never was, and was dropped.
        LateStreamFrame => "late_stream_frame",
        /// A stream that shares its connection to the service was reset: its caller took too little of it.
        StreamOverflow => "stream_overflow",
        /// A stream was reset: its service took nothing, which held up its caller's other calls.
        StreamHeldUp => "stream_held_up",
        /// A call's exception was answered by the service.
        Exception => "exception",
        /// A call was answered by the service with a biz-status other than 0.
        BizStatus => "biz_status",
    }
}

/// Requests by the status of their answer; 0 stands for none (the client never got one).
pub struct Statuses(Box<Totals>);

/// Statuses have three digits.
#[repr(align(128))]
struct Totals([AtomicU64; 1000]);

impl RequestFate {
    /// The fate of a request that the parser refused with this status.
    pub(crate) fn of_refusal(status: u16) -> Self {
        match status {
            414 => RequestFate::RequestLineTooLong,
            431 => RequestFate::HeadTooLarge,
            501 | 505 => RequestFate::Unsupported,
            _ => RequestFate::Malformed,
        }
    }
}

impl fmt::Debug for Statuses {
    /// Those that occurred.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Default for Statuses {
    fn default() -> Self {
        Statuses(Box::new(Totals(std::array::from_fn(|_| AtomicU64::new(0)))))
    }
}

impl Statuses {
    /// Counts an answer. Only the owning worker may call it.
    pub fn count(&self, status: u16) {
        if let Some(total) = self.0.0.get(usize::from(status)) {
            total.store(
                total.load(Ordering::Relaxed).wrapping_add(1),
                Ordering::Relaxed,
            );
        }
    }

    /// Answers of this status so far.
    pub fn get(&self, status: u16) -> u64 {
        self.0
            .0
            .get(usize::from(status))
            .map_or(0, |total| total.load(Ordering::Relaxed))
    }

    /// Every status that occurred, with its total.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        (0..1000)
            .map(|status| (status, self.get(status)))
            .filter(|(_, n)| *n > 0)
    }
}

/// A port's [`IoStats`], readable by other threads.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct PortStats {
    fields: [Gauge; 12],
}

impl PortStats {
    fn set(&self, stats: IoStats) {
        let levels = [
            stats.rx_frames,
            stats.rx_bytes,
            stats.tx_frames,
            stats.tx_bytes,
            stats.tx_full,
            stats.tx_no_buffer,
            stats.tx_large,
            stats.tx_no_large,
            stats.rx_large,
            stats.rx_unusable,
            stats.rx_linearised,
            stats.driver_cycles,
        ];
        for (gauge, level) in self.fields.iter().zip(levels) {
            gauge.set(level);
        }
    }

    /// The totals last published.
    pub fn get(&self) -> IoStats {
        let [
            rx_frames,
            rx_bytes,
            tx_frames,
            tx_bytes,
            tx_full,
            tx_no_buffer,
            tx_large,
            tx_no_large,
            rx_large,
            rx_unusable,
            rx_linearised,
            driver_cycles,
        ] = std::array::from_fn(|i| self.fields[i].get());
        IoStats {
            rx_frames,
            rx_bytes,
            tx_frames,
            tx_bytes,
            tx_full,
            tx_no_buffer,
            tx_large,
            tx_no_large,
            rx_large,
            rx_unusable,
            rx_linearised,
            driver_cycles,
        }
    }
}

/// Everything one worker counts, on cache lines that no other worker writes to.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerStats {
    /// The stack's part.
    pub stack: Arc<StackStats>,
    /// The fate of each request.
    pub requests: Counters<RequestFate>,
    /// Answers by status.
    pub statuses: Statuses,
    /// The same requests by route, service and endpoint.
    pub traffic: Arc<Traffic>,
    /// Everything else.
    pub events: Counters<EngineEvent>,
    /// What clients' connections were found to speak.
    pub protocols: Counters<ConnectionProtocol>,
    /// What happens to RPCs besides.
    pub rpc: Counters<RpcEvent>,
    /// Why frames of callers were refused.
    pub refused_frames: Counters<Refused>,
    /// Why frames of services were refused.
    pub refused_replies: Counters<Refused>,
    /// Client connections now.
    pub downstream: Gauge,
    /// Connections to endpoints now.
    pub upstream: Gauge,
    /// Those of them that wait in a pool.
    pub upstream_idle: Gauge,
    /// Requests under way now.
    pub exchanges: Gauge,
    /// The generation of rules that new requests meet.
    pub generation: Gauge,
    /// Each port's totals, as of the last publication.
    pub ports: Vec<PortStats>,
}

impl WorkerStats {
    /// Counters at zero, for a worker over `ports` ports.
    pub fn new(ports: usize) -> Self {
        WorkerStats {
            ports: (0..ports).map(|_| PortStats::default()).collect(),
            ..WorkerStats::default()
        }
    }

    pub(crate) fn publish_ports(&self, stats: impl Iterator<Item = IoStats>) {
        for (port, stats) in self.ports.iter().zip(stats) {
            port.set(stats);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::Handoff;
    use crate::inspection::Inspection;
    use crate::traffic::{EndpointStats, Histogram};

    /// What workers write while they serve requests is not on a cache line with what another writes,
    /// wherever the allocator puts it.
    #[test]
    fn what_a_worker_writes_is_on_cache_lines_of_its_own() {
        fn own<T>() {
            let layout = (align_of::<T>() % 128, size_of::<T>() % 128);
            assert_eq!(layout, (0, 0), "{}", std::any::type_name::<T>());
        }
        own::<WorkerStats>();
        own::<StackStats>();
        own::<PortStats>();
        own::<Totals>();
        own::<Histogram>();
        own::<EndpointStats>();
        own::<Handoff>();
        own::<Inspection>();
    }
}
