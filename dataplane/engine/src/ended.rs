//! The one end of a request: every request that has begun comes here once, and here alone its fate,
//! status and times are counted and its line of the access log is written.

use sluice_policy::{RouteId, ServiceId};
use sluice_stack::io::PacketIo;
use sluice_stack::time::Instant;

use crate::access::Record;
use crate::explained::Told;
use crate::stats::RequestFate;
use crate::traffic::EndpointFailure;
use crate::worker::Worker;

/// What is noted of a request on its way. Instants are [`Instant::NEVER`] until they are reached.
pub(crate) struct Notes {
    /// The first byte of its head was seen.
    pub(crate) begun: Instant,
    /// Its head was complete.
    pub(crate) head: Instant,
    /// It had an open connection to an endpoint.
    pub(crate) connected: Instant,
    /// All of it was in the send queue to the endpoint.
    pub(crate) sent: Instant,
    /// The head of the answer was there; interim ones (1xx) do not count.
    pub(crate) first_byte: Instant,
    /// It was over: the answer was in the send queue to the client, or it was given up.
    pub(crate) ended: Instant,
    /// The rules' number, route and service, where a route took it.
    pub(crate) taken: Option<(usize, RouteId, ServiceId)>,
    /// Pool of the endpoint that was tried last.
    pub(crate) pool: Option<u32>,
    /// That endpoint's connection had served another request before.
    pub(crate) reused: bool,
    /// Connections it was given, the retries among them.
    pub(crate) attempts: u32,
    /// Status of the answer that the client got or was to get; 0 for none.
    pub(crate) status: u16,
    pub(crate) fate: RequestFate,
    /// Bytes of head and body from the client, as received.
    pub(crate) bytes_in: u64,
    /// Bytes of heads and body to the client, as sent.
    pub(crate) bytes_out: u64,
    /// Bytes of heads and body to endpoints, all attempts together.
    pub(crate) upstream_bytes_out: u64,
    /// Bytes of heads and body from endpoints.
    pub(crate) upstream_bytes_in: u64,
    /// What its client is told about it, if it may ask and did.
    pub(crate) explain: Option<Box<Told>>,
    /// Its line of the access log, if it is to have one.
    pub(crate) record: Option<Box<Record>>,
}

impl Notes {
    /// Of a request whose head began at `begun`, of which `bytes_in` are there by `now`.
    #[inline]
    pub(crate) fn new(begun: Instant, bytes_in: usize) -> Self {
        Notes {
            begun,
            head: Instant::NEVER,
            connected: Instant::NEVER,
            sent: Instant::NEVER,
            first_byte: Instant::NEVER,
            ended: Instant::NEVER,
            taken: None,
            pool: None,
            reused: false,
            attempts: 0,
            status: 0,
            fate: RequestFate::Answered,
            bytes_in: bytes_in as u64,
            bytes_out: 0,
            upstream_bytes_out: 0,
            upstream_bytes_in: 0,
            explain: None,
            record: None,
        }
    }

    /// Of a request whose head began at `begun` and is complete now.
    #[inline]
    pub(crate) fn of_head(begun: Instant, head_len: usize, now: Instant) -> Self {
        Notes {
            head: now,
            ..Notes::new(begun, head_len)
        }
    }

    /// The request is given a connection to an endpoint, not for the first time perhaps.
    #[inline]
    pub(crate) fn attempt(&mut self, pool: u32) {
        self.pool = Some(pool);
        self.attempts += 1;
        self.reused = false;
        self.connected = Instant::NEVER;
        self.sent = Instant::NEVER;
    }
}

impl<P: PacketIo> Worker<P> {
    /// Notes of a request whose head is not complete or can't be read. What
    /// is there of it counts as received.
    #[cold]
    pub(crate) fn notes_of_unread(&mut self, number: u32, now: Instant) -> Notes {
        let Some(down) = self.downs.get(number as usize) else {
            return Notes::new(now, 0);
        };
        let bytes_in = self.stack.view(down.flow).readable;
        let mut notes = Notes::new(down.head_begun(now), bytes_in);
        let rules = self.generations.current();
        let whose = (rules.listener(down.listener), down.peer);
        notes.record = self
            .recorder
            .of_unread(self.handoff.access_log(), &rules.snapshot, whose);
        notes
    }

    /// Ends a request, with `status` as the client got it or 0. To be called once for each, before
    /// the rules it began under are let go.
    #[inline]
    pub(crate) fn request_ended(
        &mut self,
        notes: Notes,
        fate: RequestFate,
        status: u16,
        now: Instant,
    ) {
        self.stats.statuses.count(status);
        self.ended(notes, fate, status, now);
    }

    /// As [`Self::request_ended`], where the answer has no status of HTTP.
    #[inline]
    pub(crate) fn ended(&mut self, mut notes: Notes, fate: RequestFate, status: u16, now: Instant) {
        #[cfg(test)]
        crate::contained::reach("end");
        self.stats.requests.count(fate);
        notes.fate = fate;
        notes.status = status;
        notes.ended = now;
        if let Some((generation, route, service)) = notes.taken
            && let Some(generation) = self.generations.get(generation)
        {
            if let Some(series) = generation.route_series(route, service) {
                series.record(now.since(notes.begun));
            }
            if notes.first_byte != Instant::NEVER
                && let Some(series) = generation.service_series(service)
            {
                series.record(notes.first_byte.since(notes.head));
            }
        }
        let pool = notes.pool.and_then(|pool| self.pools.get(pool));
        if let Some(pool) = pool
            && let Some(failure) = EndpointFailure::of(fate, status)
        {
            pool.stats.failed(failure, now);
        }
        if let Some(record) = notes.record.take() {
            let endpoint = pool.map(|pool| pool.address);
            let log = self.handoff.access_log();
            self.recorder.write(log, record, &notes, endpoint);
        }
    }
}
