//! The access log's way out of the data path: fixed-size records through a bounded queue.
//!
//! A worker fills a record while its request is under way and pushes it at the end; a thread outside
//! pops records, writes them wherever they go, and gives them back to be filled again. Nothing here
//! blocks: what finds the queue full is dropped and counted.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayVec;
use crossbeam::queue::ArrayQueue;
use sluice_policy::rules::Only;
use sluice_policy::{ListenerId, Route, RpcView, ServiceId, Snapshot};
use sluice_stack::rng::Rng;
use sluice_stack::time::Instant;
use sluice_wire::http1::{HeaderKind, Request, Version};
use sluice_wire::ttheader::integer;

use crate::ended::Notes;
use crate::forwarding::Provenance;
use crate::stats::RequestFate;

/// Bytes of a method that a record keeps.
pub const METHOD: usize = 64;
/// Bytes of a biz-status: those of the longest number.
pub const BIZ_STATUS: usize = 11;
/// Bytes of a listener's or service's name; rules allow no longer ones.
pub const NAME: usize = 63;
/// Bytes of a route's name; one that is made of host and path may be longer.
pub const ROUTE: usize = 128;
/// Bytes of a host with its port.
pub const HOST: usize = 128;
/// Bytes of path and query.
pub const TARGET: usize = 512;
/// Bytes of `X-Request-Id`.
pub const REQUEST_ID: usize = 64;
/// Bytes of `User-Agent`.
pub const USER_AGENT: usize = 128;

/// What a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A version of HTTP.
    Http(Version),
    /// TTHeader.
    TtHeader,
    /// Thrift without TTHeader.
    Thrift,
    /// Thrift behind a MeshHeader.
    MeshHeader,
}

/// A call whose frame was read.
pub(crate) struct CallSeen<'a> {
    pub(crate) protocol: Protocol,
    pub(crate) rpc: &'a RpcView<'a>,
}

/// One request as the access log tells it. Texts are as received, cut at the lengths above, and
/// empty where the request has none; instants that were not reached are [`Instant::NEVER`].
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "docs/access-log.md says what each field means")]
pub struct Record {
    pub begun: Instant,
    pub head: Instant,
    pub connected: Instant,
    pub sent: Instant,
    pub first_byte: Instant,
    pub ended: Instant,
    pub client: Option<SocketAddr>,
    pub listener: ArrayVec<u8, NAME>,
    pub protocol: Option<Protocol>,
    pub method: ArrayVec<u8, METHOD>,
    pub host: ArrayVec<u8, HOST>,
    pub target: ArrayVec<u8, TARGET>,
    pub user_agent: ArrayVec<u8, USER_AGENT>,
    pub request_id: ArrayVec<u8, REQUEST_ID>,
    pub from_service: ArrayVec<u8, NAME>,
    pub to_service: ArrayVec<u8, NAME>,
    pub exception: Option<i32>,
    pub biz_status: ArrayVec<u8, BIZ_STATUS>,
    pub route: ArrayVec<u8, ROUTE>,
    pub service: ArrayVec<u8, NAME>,
    pub endpoint: Option<SocketAddr>,
    pub upstream_reused: bool,
    pub attempts: u32,
    pub status: u16,
    pub fate: RequestFate,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub upstream_bytes_out: u64,
    pub upstream_bytes_in: u64,
    pub errors_only: bool,
    pub errs: bool,
}

impl Default for Record {
    fn default() -> Self {
        Record {
            begun: Instant::NEVER,
            head: Instant::NEVER,
            connected: Instant::NEVER,
            sent: Instant::NEVER,
            first_byte: Instant::NEVER,
            ended: Instant::NEVER,
            client: None,
            listener: ArrayVec::new(),
            protocol: None,
            method: ArrayVec::new(),
            host: ArrayVec::new(),
            target: ArrayVec::new(),
            user_agent: ArrayVec::new(),
            request_id: ArrayVec::new(),
            from_service: ArrayVec::new(),
            to_service: ArrayVec::new(),
            exception: None,
            biz_status: ArrayVec::new(),
            route: ArrayVec::new(),
            service: ArrayVec::new(),
            endpoint: None,
            upstream_reused: false,
            attempts: 0,
            status: 0,
            fate: RequestFate::Answered,
            bytes_in: 0,
            bytes_out: 0,
            upstream_bytes_out: 0,
            upstream_bytes_in: 0,
            errors_only: false,
            errs: false,
        }
    }
}

impl Record {
    /// Begins anew for a request of this client; what a request need not have is emptied. All else
    /// is written at the end.
    fn begin(&mut self, rules: &Snapshot, listener: Option<ListenerId>, client: SocketAddr) {
        self.client = Some(client);
        let listener = listener.and_then(|id| rules.listeners.get(id.0));
        put(
            &mut self.listener,
            listener.map_or(b"", |l| l.name.as_bytes()),
        );
        self.errors_only = rules
            .access_log
            .as_ref()
            .is_some_and(|log| log.only == Only::Errors);
        self.protocol = None;
        self.from_service.clear();
        self.to_service.clear();
        self.exception = None;
        self.errs = false;
        self.biz_status.clear();
        self.method.clear();
        self.host.clear();
        self.target.clear();
        self.user_agent.clear();
        self.request_id.clear();
        self.route.clear();
        self.service.clear();
    }

    /// Takes over what the head says, and whose it is.
    fn head(
        &mut self,
        rules: &Snapshot,
        request: &Request<'_>,
        (route, service): (Option<&Route>, Option<ServiceId>),
    ) {
        self.protocol = Some(Protocol::Http(request.version));
        put(&mut self.method, request.method());
        put(&mut self.host, request.host());
        put(&mut self.target, request.target());
        if let Some(id) = request.only(HeaderKind::XRequestId) {
            put(&mut self.request_id, id);
        }
        let mut fields = request.headers();
        if let Some(agent) = fields.find(|field| is_user_agent(field.name)) {
            put(&mut self.user_agent, agent.value);
        }
        if let Some(route) = route {
            put(&mut self.route, route.name.as_bytes());
        }
        if let Some(service) = service.and_then(|service| rules.service(service)) {
            self.set_service(&service.name);
        }
    }

    /// Takes over what a call says.
    fn call(
        &mut self,
        rules: &Snapshot,
        seen: &CallSeen<'_>,
        (route, service): (Option<&Route>, Option<ServiceId>),
    ) {
        self.protocol = Some(seen.protocol);
        put(&mut self.method, seen.rpc.method);
        let key = |key| seen.rpc.head.and_then(|head| head.integer(key));
        put(
            &mut self.from_service,
            key(integer::FROM_SERVICE).unwrap_or_default(),
        );
        put(
            &mut self.to_service,
            key(integer::TO_SERVICE).unwrap_or_default(),
        );
        put(
            &mut self.request_id,
            key(integer::LOG_ID).unwrap_or_default(),
        );
        if let Some(route) = route {
            put(&mut self.route, route.name.as_bytes());
        }
        if let Some(service) = service.and_then(|service| rules.service(service)) {
            self.set_service(&service.name);
        }
    }

    /// The service answered with this biz-status.
    pub(crate) fn set_biz_status(&mut self, status: &[u8]) {
        put(&mut self.biz_status, status);
        self.errs = true;
    }

    /// The call is answered here with this biz-status.
    pub(crate) fn set_biz_number(&mut self, status: i32) {
        self.biz_status.clear();
        // There is room for every number.
        let _ = write!(self.biz_status, "{status}");
    }

    /// Replaces the service: a fallback answers.
    pub(crate) fn set_service(&mut self, name: &str) {
        put(&mut self.service, name.as_bytes());
    }

    /// Whether it is to be written: all are, or it tells of an error.
    fn is_wanted(&self) -> bool {
        let fine = matches!(
            self.fate,
            RequestFate::Answered
                | RequestFate::Responded
                | RequestFate::Redirected
                | RequestFate::Tunnelled
                | RequestFate::Oneway
        );
        !self.errors_only || !fine || self.status >= 400 || self.errs
    }
}

#[inline]
fn is_user_agent(name: &[u8]) -> bool {
    name.len() == 10 && name.eq_ignore_ascii_case(b"user-agent")
}

/// The beginning of `bytes`, as much as there is room for.
#[inline]
fn put<const N: usize>(to: &mut ArrayVec<u8, N>, bytes: &[u8]) {
    to.clear();
    let start = bytes.get(..N).unwrap_or(bytes);
    // It fits, by the line above.
    let _ = to.try_extend_from_slice(start);
}

/// The queue between the workers and the thread that writes, and the one back.
#[derive(Debug)]
pub struct AccessLog {
    waiting: ArrayQueue<Box<Record>>,
    free: ArrayQueue<Box<Record>>,
    dropped: AtomicU64,
}

impl AccessLog {
    /// Room for this many records that wait to be written (at least one).
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        AccessLog {
            waiting: ArrayQueue::new(capacity),
            free: ArrayQueue::new(capacity),
            dropped: AtomicU64::new(0),
        }
    }

    /// Makes the records that the workers will fill, off the data path; to be called when a log is
    /// turned on. Without it workers make them one by one.
    pub fn fill(&self) {
        while self.free.push(Box::default()).is_ok() {}
    }

    /// Has a record written; `Err` with the record, which is counted as dropped, if too many wait.
    ///
    /// # Errors
    /// As many records wait as may.
    pub fn push(&self, record: Box<Record>) -> Result<(), Box<Record>> {
        self.waiting.push(record).inspect_err(|_| {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Records that may wait to be written.
    pub fn capacity(&self) -> usize {
        self.waiting.capacity()
    }

    /// The oldest record that waits. To be given back with [`Self::give_back`].
    pub fn pop(&self) -> Option<Box<Record>> {
        self.waiting.pop()
    }

    /// Has a record used again.
    pub fn give_back(&self, record: Box<Record>) {
        // With enough of them waiting for use, it is freed.
        drop(self.free.push(record));
    }

    /// Records dropped so far because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Records taken back for each one that is needed: more than one, so that none stay in the queue.
const RETURNS_PER_REQUEST: usize = 64;

/// A worker's side of the access log.
pub(crate) struct Recorder {
    rng: Rng,
    /// Records at hand, the one used last on top: as few as are needed go round, and stay in the
    /// cache. Others lie below, as many as ever waited or were under way at a time.
    #[expect(
        clippy::vec_box,
        reason = "they come from the queue and go there boxed"
    )]
    spare: Vec<Box<Record>>,
}

impl Recorder {
    pub(crate) fn new(seed: u64) -> Self {
        Recorder {
            rng: Rng::new(seed),
            spare: Vec::new(),
        }
    }

    /// A record for a request whose head was read, if it is to be noted. `named` gives it
    /// the id that it goes on under.
    #[inline]
    pub(crate) fn of_head(
        &mut self,
        log: &AccessLog,
        rules: &Snapshot,
        (listener, client, named): (Option<ListenerId>, SocketAddr, Option<&Provenance>),
        request: &Request<'_>,
        taken: (Option<&Route>, Option<ServiceId>),
    ) -> Option<Box<Record>> {
        let sample = match taken.0 {
            Some(route) => route.sample,
            None => rules.access_log.as_ref()?.sample,
        };
        if !self.takes(sample) {
            return None;
        }
        let mut record = self.record(log);
        record.begin(rules, listener, client);
        record.head(rules, request, taken);
        if let Some(provenance) = named {
            put(&mut record.request_id, provenance.id().as_bytes());
        }
        Some(record)
    }

    /// A record for a call, if it is to be noted.
    #[inline]
    pub(crate) fn of_call(
        &mut self,
        log: &AccessLog,
        rules: &Snapshot,
        (listener, client): (Option<ListenerId>, SocketAddr),
        seen: &CallSeen<'_>,
        taken: (Option<&Route>, Option<ServiceId>),
    ) -> Option<Box<Record>> {
        let sample = match taken.0 {
            Some(route) => route.sample,
            None => rules.access_log.as_ref()?.sample,
        };
        if !self.takes(sample) {
            return None;
        }
        let mut record = self.record(log);
        record.begin(rules, listener, client);
        record.call(rules, seen, taken);
        Some(record)
    }

    /// A record for a request whose head could not be read, if it is to be noted.
    #[cold]
    pub(crate) fn of_unread(
        &mut self,
        log: &AccessLog,
        rules: &Snapshot,
        (listener, client): (Option<ListenerId>, SocketAddr),
    ) -> Option<Box<Record>> {
        if !self.takes(rules.access_log.as_ref()?.sample) {
            return None;
        }
        let mut record = self.record(log);
        record.begin(rules, listener, client);
        Some(record)
    }

    #[inline]
    fn takes(&mut self, per_million: u32) -> bool {
        match per_million {
            0 => false,
            1_000_000.. => true,
            some => self.rng.below(1_000_000) < u64::from(some),
        }
    }

    fn record(&mut self, log: &AccessLog) -> Box<Record> {
        for _ in 0..RETURNS_PER_REQUEST {
            match log.free.pop() {
                Some(record) => self.spare.push(record),
                None => break,
            }
        }
        // Only while more requests are under way, or wait to be written, than ever before.
        self.spare.pop().unwrap_or_default()
    }

    /// Completes a request's record and hands it over, or keeps it for another.
    pub(crate) fn write(
        &mut self,
        log: &AccessLog,
        mut record: Box<Record>,
        notes: &Notes,
        endpoint: Option<SocketAddr>,
    ) {
        record.begun = notes.begun;
        record.head = notes.head;
        record.connected = notes.connected;
        record.sent = notes.sent;
        record.first_byte = notes.first_byte;
        record.ended = notes.ended;
        record.endpoint = endpoint;
        record.upstream_reused = notes.reused;
        record.attempts = notes.attempts;
        record.status = notes.status;
        record.fate = notes.fate;
        record.bytes_in = notes.bytes_in;
        record.bytes_out = notes.bytes_out;
        record.upstream_bytes_out = notes.upstream_bytes_out;
        record.upstream_bytes_in = notes.upstream_bytes_in;
        if !record.is_wanted() {
            self.spare.push(record);
        } else if let Err(record) = log.push(record) {
            self.spare.push(record);
        }
    }
}
