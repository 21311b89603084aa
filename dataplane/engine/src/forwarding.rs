//! What goes on with a request beyond what its client sent: who the client is, the names the request
//! travels under, and what the next hop is asked for.

use std::fmt::Write;
use std::net::IpAddr;

use arrayvec::{ArrayString, ArrayVec};
use sluice_policy::action::{Computed, ComputedEdit, NoTarget, captures};
use sluice_policy::rules::{Forwarded, ForwardedHeader, ForwardedMode};
use sluice_policy::{Lanes, Listener, RequestView, Route, Service, Values};
use sluice_stack::rng::Rng;
use sluice_wire::http1::{
    Authority, FieldEdits, FieldName, FieldValue, ForwardedField, HeaderKind, Headers, KeptValue,
    KindSet, MAX_HEAD, MAX_REQUEST_ID, MethodKind, NewTarget, Request, RequestEdits, Via,
    client_address, is_request_id, is_traceparent, request_id, traceparent,
    write_forwarded_element, write_request_head,
};

use crate::body::Made;
use crate::heads::no_body;
use crate::reply::LocalReply;

/// Bytes of the longest address as text.
const ADDRESS: usize = 45;
/// Bytes of an element of `Forwarded` with the longest address.
const ELEMENT: usize = 80;
/// Digits of the largest `Max-Forwards`.
const DIGITS: usize = 20;

/// What is found out about a request once and is the same when it is sent again.
#[derive(Debug, Clone)]
pub(crate) struct Provenance {
    /// The client's address as far as trusted proxies vouch for it.
    pub(crate) client: IpAddr,
    /// The peer is a trusted proxy.
    trusted: bool,
    /// The id that a trusted proxy gave it.
    received_id: Option<KeptValue<MAX_REQUEST_ID>>,
    /// For an id of our own, and for a trace that begins here.
    random: [u64; 2],
    parent: u64,
}

impl Provenance {
    /// Of a request that came from `peer`.
    #[inline]
    pub(crate) fn of(
        request: &Request<'_>,
        peer: IpAddr,
        listener: &Listener,
        rng: &mut Rng,
    ) -> Self {
        let trusted = listener.trusts(peer);
        let mut client = peer;
        if trusted {
            let field = read_field(listener.forwarded);
            client = client_address(request, field, peer, |address| listener.trusts(address));
        }
        Provenance {
            client,
            trusted,
            received_id: received_id(request).filter(|_| trusted),
            random: [rng.next_u64(), rng.next_u64()],
            parent: rng.next_u64(),
        }
    }

    /// Whether it came from a trusted proxy.
    #[inline]
    pub(crate) fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// A number by chance that is the same when the request is sent again.
    #[inline]
    pub(crate) fn draw(&self) -> u64 {
        self.random[0]
    }

    /// The name that the request travels under.
    #[inline]
    pub(crate) fn id(&self) -> RequestId<'_> {
        match &self.received_id {
            Some(id) => RequestId::Received(id),
            None => RequestId::Own(request_id(self.random)),
        }
    }
}

/// The name that a request travels under.
pub(crate) enum RequestId<'a> {
    /// As a trusted proxy gave it.
    Received(&'a KeptValue<MAX_REQUEST_ID>),
    Own(KeptValue<32>),
}

impl RequestId<'_> {
    #[inline]
    pub(crate) fn value(&self) -> FieldValue<'_> {
        match self {
            RequestId::Received(id) => id.value(),
            RequestId::Own(id) => id.value(),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            RequestId::Received(id) => id.as_bytes(),
            RequestId::Own(id) => id.as_bytes(),
        }
    }
}

/// The field that says who the client is.
fn read_field(forwarded: Forwarded) -> ForwardedField {
    match forwarded.header {
        ForwardedHeader::XForwarded | ForwardedHeader::Both => ForwardedField::XForwardedFor,
        ForwardedHeader::Forwarded => ForwardedField::Forwarded,
    }
}

fn received_id(request: &Request<'_>) -> Option<KeptValue<MAX_REQUEST_ID>> {
    let id = request.only(HeaderKind::XRequestId)?;
    if !is_request_id(id) {
        return None;
    }
    KeptValue::new(id)
}

/// How many more hops an OPTIONS request may take (RFC 9110 section 7.6.2); `None` where it does not
/// say, or says nothing that could be counted.
pub(crate) fn max_forwards(request: &Request<'_>) -> Option<u64> {
    if request.method_kind() != MethodKind::Options {
        return None;
    }
    let digits = request.only(HeaderKind::MaxForwards)?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The first protocol that the client would change to and the service allows, as the client wrote it.
pub(crate) fn protocol<'a>(request: &Request<'a>, service: &Service) -> Option<&'a [u8]> {
    if !request.upgrade || service.upgrade.is_empty() {
        return None;
    }
    request
        .protocols()
        .find(|protocol| allows(service, protocol))
}

/// Whether a service may have a client's connection changed to this protocol.
pub(crate) fn allows(service: &Service, protocol: &[u8]) -> bool {
    let mut allowed = service.upgrade.iter();
    allowed.any(|own| own.as_bytes().eq_ignore_ascii_case(protocol))
}

/// What the head of a forwarded request depends on beside the request.
pub(crate) struct Sender<'a> {
    pub(crate) via: &'a Via,
    pub(crate) listener: &'a Listener,
    pub(crate) service: &'a Service,
    pub(crate) route: &'a Route,
    pub(crate) lanes: Option<&'a Lanes>,
    /// What the rules see of the request.
    pub(crate) view: &'a RequestView<'a>,
    pub(crate) peer: IpAddr,
    /// The same as text.
    pub(crate) peer_text: &'a AddressText,
    pub(crate) provenance: &'a Provenance,
}

/// The forwarded headers of a peer that do not go on.
fn unbelieved(trusted: bool, mode: ForwardedMode) -> KindSet {
    const ALL: KindSet = KindSet::of(&[
        HeaderKind::XForwardedFor,
        HeaderKind::XForwardedProto,
        HeaderKind::XForwardedHost,
        HeaderKind::Forwarded,
    ]);
    // Protocol and host are as the first proxy saw them: nothing here knows better.
    const ADDRESSES: KindSet = KindSet::of(&[HeaderKind::XForwardedFor, HeaderKind::Forwarded]);
    let unbelieved = match mode {
        _ if !trusted => ALL,
        ForwardedMode::Replace => ADDRESSES,
        ForwardedMode::Append | ForwardedMode::Off => KindSet::EMPTY,
    };
    // What a client asks of this gateway no other one behind it is to answer.
    unbelieved.union(KindSet::of(&[HeaderKind::XSluiceExplain]))
}

/// Writes the head to be forwarded behind what stands in `out`; `made` is scratch space.
///
/// # Errors
/// The answer to a request that the rules would make too large.
#[inline]
pub(crate) fn encode(
    out: &mut Vec<u8>,
    made: &mut Made,
    request: &Request<'_>,
    sender: &Sender<'_>,
) -> Result<(), LocalReply> {
    let (listener, provenance) = (sender.listener, sender.provenance);
    let Forwarded { header, mode } = listener.forwarded;
    let mut dropped = unbelieved(provenance.trusted, mode);
    // What is added borrows these.
    let id = listener.request_id.then(|| provenance.id());
    let traced = request
        .only(HeaderKind::Traceparent)
        .is_some_and(is_traceparent);
    let trace = (listener.traceparent && !traced)
        .then(|| traceparent(provenance.random, provenance.parent));
    let mut hops = ArrayString::<DIGITS>::new();
    let mut additions = Additions::default();
    additions.add(FieldName::VIA, sender.via.of(request.version));

    let tells = mode != ForwardedMode::Off;
    let in_x = tells && header != ForwardedHeader::Forwarded;
    let in_forwarded = tells && header != ForwardedHeader::XForwarded;
    let believed = request.has(HeaderKind::XForwardedProto) && provenance.trusted;
    if in_x && !believed {
        dropped = dropped.union(KindSet::of(&[HeaderKind::XForwardedProto]));
        additions.add(FieldName::X_FORWARDED_PROTO, FieldValue::HTTP);
    }
    let told = match mode {
        ForwardedMode::Replace => provenance.client,
        ForwardedMode::Append | ForwardedMode::Off => sender.peer,
    };
    let other = (told != sender.peer).then(|| as_text(told));
    let address = other.as_ref().unwrap_or(sender.peer_text);
    let mut element = ArrayString::<ELEMENT>::new();
    if in_forwarded {
        let proto = request
            .only(HeaderKind::XForwardedProto)
            .filter(|_| believed);
        let https = proto.is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"));
        write_forwarded_element(&mut element, told, if https { "https" } else { "http" });
    }

    if let Some(id) = &id {
        dropped = dropped.union(KindSet::of(&[HeaderKind::XRequestId]));
        additions.add(FieldName::X_REQUEST_ID, id.value());
    }
    if trace.is_some() || (!traced && request.has(HeaderKind::Traceparent)) {
        // The state of a trace that nobody can read belongs to none (W3C, section 3.3).
        dropped = dropped.union(KindSet::of(&[
            HeaderKind::Traceparent,
            HeaderKind::Tracestate,
        ]));
    }
    if let Some(trace) = &trace {
        additions.add(FieldName::TRACEPARENT, trace.value());
    }
    let rewrite = &sender.route.rewrite;
    let told_host = request.has(HeaderKind::XForwardedHost) && provenance.trusted;
    if rewrite.host.is_some() && in_x && !told_host {
        dropped = dropped.union(KindSet::of(&[HeaderKind::XForwardedHost]));
        additions.add_checked(FieldName::X_FORWARDED_HOST, request.host());
    }
    if let Some(left) = max_forwards(request) {
        let _ = write!(hops, "{}", left.saturating_sub(1));
        dropped = dropped.union(KindSet::of(&[HeaderKind::MaxForwards]));
        additions.add_checked(FieldName::MAX_FORWARDS, hops.as_bytes());
    }

    let mut changed = Changed::default();
    if sender.needs_values() {
        let id = id.as_ref().map(RequestId::as_bytes);
        sender.compute(id.unwrap_or_default(), made, &mut changed)?;
    }
    let edits = RequestEdits {
        target: changed.target,
        // An HTTP/1.0 client need not say whom it wants; the service is told its own name.
        host: match &rewrite.host {
            Some(host) => Authority::parse(host.as_bytes()),
            None => Authority::parse(sender.service.name.as_bytes())
                .filter(|_| request.host().is_empty()),
        },
        forwarded_for: in_x.then(|| address.value()),
        forwarded: in_forwarded
            .then(|| FieldValue::new(element.as_bytes()).ok())
            .flatten(),
        upgrade: protocol(request, sender.service)
            .filter(|_| no_body(request))
            .and_then(|p| FieldValue::new(p).ok()),
        fields: FieldEdits {
            drop: dropped,
            append: &additions.0,
            rules: &sender.route.request_headers.fixed,
            computed: &changed.fields,
        },
    };
    write_request_head(out, request, &edits);
    Ok(())
}

/// What the rules make of a request by what it says itself.
#[derive(Default)]
struct Changed<'a> {
    target: Option<NewTarget<'a>>,
    fields: Computed<'a>,
}

impl Sender<'_> {
    /// Whether the rules change something by what the request says itself.
    #[inline]
    fn needs_values(&self) -> bool {
        let route = self.route;
        self.lanes.is_some()
            || route.rewrite.path.is_some()
            || !route.request_headers.computed.is_empty()
    }

    #[cold]
    fn compute<'s>(
        &'s self,
        request_id: &[u8],
        made: &'s mut Made,
        changed: &mut Changed<'s>,
    ) -> Result<(), LocalReply> {
        let Made { text, target } = made;
        let (route, view) = (self.route, self.view);
        let stood_for = captures(route, view);
        let lane = self.lanes.and_then(|lanes| lanes.name(view.lane?));
        let values = Values {
            client: self.provenance.client,
            lane,
            request_id,
            route: &route.name,
            service: &self.service.name,
            status: 0,
            request: Some((view, &stood_for)),
        };
        // There is no path in `OPTIONS *`.
        if let Some(path) = &route.rewrite.path
            && view.http().is_some_and(|http| http.path.starts_with(b"/"))
        {
            let target = path.target(&route.matches.path, &values, target);
            let target = target.map_err(|why| match why {
                NoTarget::TooLarge => LocalReply::REWRITTEN_TOO_LARGE,
                NoTarget::Illegal => LocalReply::REWRITTEN_ILLEGAL,
            })?;
            // A part of a segment that a regular expression took may be one by itself.
            if target.has_dot_segment() {
                return Err(LocalReply::REWRITTEN_DOT_SEGMENT);
            }
            changed.target = Some(target);
        }
        if let Some(lanes) = self.lanes {
            // One that nothing here knows may mean something to those behind.
            let unknown = || {
                let received = lanes.received(view).filter(|_| self.provenance.trusted)?;
                lanes.find(received).is_none().then_some(received)
            };
            let lane = lane.map(str::as_bytes).or_else(unknown);
            let field = lane.and_then(|lane| {
                let name = FieldName::new(lanes.header.as_bytes()).ok()?;
                Some((name, FieldValue::new(lane).ok()?))
            });
            changed.fields.extend(field);
        }
        let edits = &route.request_headers.computed;
        match view.http() {
            Some(http) if !edits.is_empty() => {
                computed(edits, &values, &http.headers, text, &mut changed.fields)
            }
            _ => Ok(()),
        }
    }
}

/// Computes headers for a message of these fields; `text` keeps the values.
///
/// # Errors
/// The answer to a request that would become too large.
pub(crate) fn computed<'a>(
    edits: &'a [ComputedEdit],
    values: &Values<'_>,
    received: &Headers<'_>,
    text: &'a mut Vec<u8>,
    fields: &mut Computed<'a>,
) -> Result<(), LocalReply> {
    text.clear();
    let mut ends = ArrayVec::<usize, { sluice_policy::action::MAX_EDITS }>::new();
    for edit in edits {
        edit.render(values, received, text);
        if text.len() > MAX_HEAD || ends.try_push(text.len()).is_err() {
            return Err(LocalReply::REWRITTEN_TOO_LARGE);
        }
    }
    let mut start = 0;
    for (edit, end) in edits.iter().zip(ends) {
        let value = text.get(start..end).unwrap_or_default();
        start = end;
        let Ok(value) = FieldValue::new(value) else {
            // No value can end a line: what variables stand for are parts of heads.
            return Err(LocalReply::REWRITTEN_TOO_LARGE);
        };
        // There is room: no route changes more.
        let _ = fields.try_push((edit.name(), value));
    }
    Ok(())
}

/// An address as text.
pub(crate) type AddressText = KeptValue<ADDRESS>;

/// Writes an address as text.
pub(crate) fn as_text(address: IpAddr) -> AddressText {
    let mut text = ArrayString::<ADDRESS>::new();
    // There is room for the longest.
    let _ = write!(text, "{address}");
    KeptValue::new(text.as_bytes()).unwrap_or_default()
}

/// Fields that the gateway adds to a head.
#[derive(Default)]
struct Additions<'a>(ArrayVec<(FieldName<'a>, FieldValue<'a>), 6>);

impl<'a> Additions<'a> {
    /// Adds one; there is room for every one that [`encode`] knows.
    #[inline]
    fn add(&mut self, name: FieldName<'a>, value: FieldValue<'a>) {
        let _ = self.0.try_push((name, value));
    }

    #[cold]
    fn add_checked(&mut self, name: FieldName<'a>, value: &'a [u8]) {
        if let Ok(value) = FieldValue::new(value) {
            self.add(name, value);
        }
    }
}
