//! What becomes of a request that a route took.

use std::time::Duration;

use arrayvec::ArrayVec;
use sluice_wire::http1::{
    FieldName, FieldValue, FixedEdits, Headers, KeptName, MAX_HEAD, NewTarget,
};
use sluice_wire::thrift::ExceptionKind;

pub use crate::matching::Captures;
use crate::matching::{Key, PathMatch, RpcKey, behind_prefix, below, falls_into, mix};
use crate::request::{HttpView, Message, RequestView};
use crate::snapshot::ServiceId;
use crate::template::{Template, Values};

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A service answers it.
    Forward(Destination),
    /// The gateway answers it.
    Respond(Respond),
    /// Its client is sent elsewhere.
    Redirect(Redirect),
}

/// Which service answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// This one.
    One(ServiceId),
    /// One of these, each its share.
    Split {
        /// Services with the sum of the weights up to and with their own; at least one, the last sum
        /// more than 0.
        shares: Box<[(u32, ServiceId)]>,
        /// What keeps requests with one of them.
        sticky: Option<Key>,
    },
    /// The one that the request names.
    By {
        /// The header with the name, in HTTP.
        header: Option<Box<[u8]>>,
        /// The key with the name, in remote procedure calls.
        key: Option<RpcKey>,
        /// Those that may be named.
        allowed: Box<[(Box<[u8]>, ServiceId)]>,
        /// The one for requests that name none of them.
        otherwise: Option<ServiceId>,
    },
}

impl Destination {
    /// The service for a request; `None` where it names none that is allowed. Does not allocate.
    #[inline]
    pub fn choose(&self, request: &RequestView<'_>) -> Option<ServiceId> {
        match self {
            Destination::One(service) => Some(*service),
            Destination::Split { shares, sticky } => {
                let key = sticky.as_ref().and_then(|key| key.hash(request));
                // Another number than the one that shares of requests are drawn by.
                let bits = key.unwrap_or_else(|| mix(request.draw ^ 0x5b11));
                let (sum, _) = shares.last()?;
                let point = below(bits, *sum);
                let at = shares.partition_point(|(upto, _)| *upto <= point);
                shares.get(at).map(|(_, service)| *service)
            }
            Destination::By {
                header,
                key,
                allowed,
                otherwise,
            } => {
                let name = match &request.message {
                    Message::Http(http) => header.as_deref().and_then(|own| only(http, own)),
                    Message::Rpc(rpc) => key.as_ref().and_then(|own| own.value(rpc)),
                };
                let chosen = name
                    .and_then(|name| allowed.iter().find(|(own, _)| **own == *name))
                    .map(|(_, service)| *service);
                chosen.or(*otherwise)
            }
        }
    }

    /// Every service that it can lead to.
    pub fn services(&self) -> Vec<ServiceId> {
        match self {
            Destination::One(service) => vec![*service],
            Destination::Split { shares, .. } => shares.iter().map(|(_, id)| *id).collect(),
            Destination::By {
                allowed, otherwise, ..
            } => {
                let allowed = allowed.iter().map(|(_, id)| *id);
                allowed.chain(*otherwise).collect()
            }
        }
    }
}

/// The value of a header that is there once: two names are none.
fn only<'a>(http: &HttpView<'a>, name: &[u8]) -> Option<&'a [u8]> {
    let mut named = http.headers.named(name);
    named.next().filter(|_| named.next().is_none())
}

/// An answer of the gateway's own: at least one, and one for each protocol that the route takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// To HTTP requests.
    pub http: Option<HttpAnswer>,
    /// To remote procedure calls.
    pub rpc: Option<RpcAnswer>,
}

/// What a remote procedure call is answered with. Texts are at most 1 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RpcAnswer {
    /// An exception.
    Exception {
        /// Its type.
        kind: ExceptionKind,
        /// What it says.
        message: Box<str>,
    },
    /// A reply without a result.
    BizStatus {
        /// Not 0.
        status: i32,
        /// What it says.
        message: Box<str>,
        /// A JSON object of strings.
        extra: Option<Box<str>>,
    },
}

impl RpcAnswer {
    /// The answer of a drill that states only a status.
    pub(crate) fn fault(status: u16) -> RpcAnswer {
        RpcAnswer::Exception {
            kind: ExceptionKind::Internal,
            message: format!("a fault injected for a drill ({status})").into(),
        }
    }
}

/// What an HTTP request is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// 200 to 599.
    pub status: u16,
    /// At most 16 KiB.
    pub body: Box<[u8]>,
    /// What kind of body it is.
    pub content_type: Box<[u8]>,
}

/// Where a client is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    pub(crate) scheme: Option<Box<str>>,
    pub(crate) host: Option<Box<str>>,
    pub(crate) path: Option<NewPath>,
    pub(crate) strip_query: bool,
}

impl Redirect {
    /// Writes where a request's client is sent, a URL, behind what stands in `out`. `authority` is the
    /// request's host with its port.
    ///
    /// Without a scheme it begins with the host (RFC 3986 section 4.2), never with the path: one such
    /// as `//host` would lead to that host.
    pub fn write_location(
        &self,
        matches: &PathMatch,
        values: &Values<'_>,
        authority: &[u8],
        out: &mut Vec<u8>,
    ) {
        let Some((request, _)) = values.http() else {
            return;
        };
        let host = match (&self.host, &self.scheme) {
            (Some(host), _) => host.as_bytes(),
            (None, Some(_)) => request.host,
            (None, None) => authority,
        };
        if host.is_empty() {
            // An HTTP/1.0 client that says no host; RFC 3986 section 4.2 on what keeps a path one.
            out.extend_from_slice(b"/.");
        } else {
            if let Some(scheme) = &self.scheme {
                out.extend_from_slice(scheme.as_bytes());
                out.push(b':');
            }
            out.extend_from_slice(b"//");
            out.extend_from_slice(host);
        }
        let query = request.query.filter(|_| !self.strip_query);
        match &self.path {
            Some(path) => path.write(matches, values, query, out),
            None => write_target(own_path(request), query, out),
        }
    }
}

/// What the service gets to see instead of the request's path and host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    /// Path and query.
    pub path: Option<NewPath>,
    /// Host, with a port or without.
    pub host: Option<Box<str>>,
}

/// A path made of a request's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewPath {
    /// In place of the whole path; of the query too, if it has a `?`.
    Whole {
        /// The path.
        path: Template,
        /// It has a `?`.
        with_query: bool,
    },
    /// In place of the prefix that the route matched: segments without a slash at the end, empty for
    /// `/`.
    Prefix(Box<str>),
}

impl NewPath {
    /// Writes path and query behind what stands in `out`.
    fn write(
        &self,
        matches: &PathMatch,
        values: &Values<'_>,
        query: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) {
        let Some((request, _)) = values.http() else {
            return;
        };
        let start = out.len();
        match self {
            NewPath::Whole { path, with_query } => {
                path.render(values, out);
                if *with_query {
                    return;
                }
            }
            NewPath::Prefix(prefix) => {
                let rest = match matches {
                    PathMatch::Prefix(own) => behind_prefix(own, own_path(request)),
                    _ => None,
                };
                out.extend_from_slice(prefix.as_bytes());
                out.extend_from_slice(rest.unwrap_or(own_path(request)));
            }
        }
        if out.len() == start {
            out.push(b'/');
        }
        if let Some(query) = query {
            out.push(b'?');
            out.extend_from_slice(query);
        }
    }

    /// The target to be sent, written into `out`; `None` if it would be none, such as one that is too
    /// long.
    pub fn target<'o>(
        &self,
        matches: &PathMatch,
        values: &Values<'_>,
        out: &'o mut Vec<u8>,
    ) -> Result<NewTarget<'o>, NoTarget> {
        let query = values.http().and_then(|(request, _)| request.query);
        out.clear();
        self.write(matches, values, query, out);
        let why = match out.len() {
            ..=MAX_HEAD => NoTarget::Illegal,
            _ => NoTarget::TooLarge,
        };
        NewTarget::new(out).ok_or(why)
    }
}

/// Why the rules make no target of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoTarget {
    /// It would not fit into a head.
    TooLarge,
    /// It does not begin with `/`, or has bytes that no target may have: what stands in a query may not stand
    /// in a path.
    Illegal,
}

/// The path of a request; that of `OPTIONS *` is none.
fn own_path<'a>(request: &HttpView<'a>) -> &'a [u8] {
    if request.path.starts_with(b"/") {
        request.path
    } else {
        b"/"
    }
}

fn write_target(path: &[u8], query: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(path);
    if let Some(query) = query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
}

/// A copy of requests for another service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirror {
    /// Who gets it.
    pub service: ServiceId,
    /// How many, in parts per million.
    pub share: u32,
    /// Bytes of the largest body that is copied: 0 to 1 MiB.
    pub body: usize,
}

impl Mirror {
    /// Whether a request that drew this number is copied.
    pub fn takes(&self, draw: u64) -> bool {
        falls_into(mix(draw ^ 0x3122), self.share)
    }
}

/// Faults for a drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// How long how many are held, in parts per million.
    pub delay: Option<(Duration, u32)>,
    /// How many bytes per second each body of how many may have, in parts per million.
    pub bandwidth: Option<(u64, u32)>,
    /// How many are not sent on.
    pub abort: Option<Abort>,
    /// When the drill is over, in seconds after 1970-01-01 UTC.
    pub until: u64,
}

/// Requests that are not sent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abort {
    /// The status of the answer to HTTP requests; their connection is closed without one.
    pub status: Option<u16>,
    /// The answer to remote procedure calls; their connection is closed without one.
    pub rpc: Option<RpcAnswer>,
    /// How many, in parts per million.
    pub share: u32,
}

impl Fault {
    /// How long a request that drew this number is held.
    pub fn delay(&self, draw: u64) -> Option<Duration> {
        let (time, share) = self.delay?;
        falls_into(mix(draw ^ 0xde1a), share).then_some(time)
    }

    /// Bytes per second that each body of a request that drew this number may have.
    pub fn bandwidth(&self, draw: u64) -> Option<u64> {
        let (rate, share) = self.bandwidth?;
        falls_into(mix(draw ^ 0xba4d), share).then_some(rate)
    }

    /// How a request that drew this number is answered in place of being sent on, if it is.
    pub fn abort(&self, draw: u64) -> Option<&Abort> {
        let abort = self.abort.as_ref()?;
        falls_into(mix(draw ^ 0xab04), abort.share).then_some(abort)
    }
}

/// Most headers that a route changes in one direction, the lane's among them.
pub const MAX_EDITS: usize = 33;

/// Changes to headers: those that are the same for every message, and those that are not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdits {
    /// The same for every message.
    pub fixed: FixedEdits,
    /// Values that depend on the message: at most [`MAX_EDITS`] with what others add. What they
    /// replace is in `fixed`.
    pub computed: Vec<ComputedEdit>,
}

/// A header whose value depends on the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputedEdit {
    pub(crate) name: KeptName,
    pub(crate) value: Template,
    /// The values that the message has already stand before it.
    pub(crate) appends: bool,
}

impl ComputedEdit {
    /// The name.
    #[inline]
    pub fn name(&self) -> FieldName<'_> {
        self.name.name()
    }

    /// Writes the value behind what stands in `out`; `received` are the header fields of the message.
    pub fn render(&self, values: &Values<'_>, received: &Headers<'_>, out: &mut Vec<u8>) {
        if self.appends {
            let own = received.named(self.name.as_bytes());
            for value in own.filter(|value| !value.is_empty()) {
                out.extend_from_slice(value);
                out.extend_from_slice(b", ");
            }
        }
        self.value.render(values, out);
    }
}

/// Headers computed for one message: names and values.
pub type Computed<'a> = ArrayVec<(FieldName<'a>, FieldValue<'a>), MAX_EDITS>;

/// What named parts of a path stood for, if something needs to know.
pub fn captures<'p>(route: &crate::Route, request: &RequestView<'p>) -> Captures<'p> {
    match &request.message {
        Message::Http(http) if route.uses_captures => route.matches.path.captures(http.path),
        _ => Captures::new(),
    }
}

/// Changes to the keys of calls or replies: at most 33, in this order; of two that concern one key the later
/// counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyEdits(pub Vec<KeyEdit>);

/// One change to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyEdit {
    /// It gets this value, whatever it had.
    Set(RpcKey, Template),
    /// It gets this value if it has none.
    Add(RpcKey, Template),
    /// It is taken out.
    Remove(RpcKey),
    /// All string keys that begin so are taken out.
    RemovePrefix(Box<[u8]>),
}
