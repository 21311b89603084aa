//! The heads a gateway sends: requests to a service, responses to a client.
//!
//! Fields that go on are copied byte for byte, neighbours in one piece. The framing is always
//! stated anew from what was parsed, so that no output can carry two framings or an odd one. What
//! the caller adds comes as checked names and values, so that no value can end a line.

use super::edits::{FieldEdits, FieldName, FieldValue, RESERVED, RequestEdits};
use super::field::{Entry, HeadIndex, span};
use super::kind::{HeaderKind, KindSet};
use super::request::Request;
use super::response::Response;
use super::{BodyFraming, Version};

/// What a response has to be fitted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientSide {
    /// The version of the request.
    pub version: Version,
    /// Whether the gateway would keep the client's connection.
    pub keep_alive: bool,
    /// Whether trailers go on: the client has said that it understands them.
    pub trailers: bool,
}

/// What a response head has committed the gateway to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentHead {
    /// How the body must be sent. [`BodyFraming::UntilClose`]: as it is, then close.
    pub framing: BodyFraming,
    /// Whether the client's connection stays open after the body.
    pub keep_alive: bool,
}

/// Appends the head of `request` for a service that speaks HTTP/1.1: request line, Host, the
/// fields that go on in the order received, framing, additions. A body is sent in
/// [`Request::framing`].
pub fn write_request_head(out: &mut Vec<u8>, request: &Request<'_>, edits: &RequestEdits<'_>) {
    out.reserve(request.head_len + 128);
    out.extend_from_slice(request.method());
    out.push(b' ');
    if request.target().first() == Some(&b'?') && edits.target.is_none() {
        out.push(b'/');
    }
    out.extend_from_slice(edits.target.map_or(request.target(), |target| target.0));
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(edits.host.map_or(request.host(), |host| host.as_bytes()));
    out.extend_from_slice(b"\r\n");

    let mut own = RESERVED.union(KindSet::of(&[HeaderKind::Lookalike]));
    if edits.forwarded_for.is_some() {
        own = own.union(KindSet::of(&[HeaderKind::XForwardedFor]));
    }
    if edits.forwarded.is_some() {
        own = own.union(KindSet::of(&[HeaderKind::Forwarded]));
    }
    if request.framing == BodyFraming::Chunked {
        // Trailers go on, and so does their announcement.
        own = own.without(HeaderKind::Trailer);
    }
    if request.version == Version::Http10 {
        // HTTP/1.0 knows no expectations; passed on in HTTP/1.1, one would take effect.
        own = own.union(KindSet::of(&[HeaderKind::Expect]));
    }
    copy_fields(out, request.buf, request.index, own, &edits.fields);
    write_framing(out, request.framing);
    write_hop_options(out, request, edits.upgrade);
    let dropped = edits.fields.drop;
    if let Some(address) = edits.forwarded_for
        && !edits.fields.rules.replaces(b"x-forwarded-for")
    {
        let kind = HeaderKind::XForwardedFor;
        write_merged(out, b"X-Forwarded-For: ", request, kind, dropped, address);
    }
    if let Some(element) = edits.forwarded
        && !edits.fields.rules.replaces(b"forwarded")
    {
        let kind = HeaderKind::Forwarded;
        write_merged(out, b"Forwarded: ", request, kind, dropped, element);
    }
    write_additions(out, &edits.fields);
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of `response` for a client, fitted to its version: chunks become a body that
/// ends with the connection for HTTP/1.0, and the reverse for HTTP/1.1.
///
/// An interim response must not be written for an HTTP/1.0 client (RFC 9110 section 15.2).
pub fn write_response_head(
    out: &mut Vec<u8>,
    response: &Response<'_>,
    client: ClientSide,
    edits: &FieldEdits<'_>,
) -> SentHead {
    out.reserve(response.head_len + 128);
    write_status_line(out, response.status, response.reason());
    let sent = fit(response, client);
    let mut own = RESERVED_IN_RESPONSES;
    if client.trailers && sent.framing == BodyFraming::Chunked {
        own = own.without(HeaderKind::Trailer);
    }
    copy_fields(out, response.buf, response.index, own, edits);
    if sent.framing != BodyFraming::None {
        write_framing(out, sent.framing);
    } else if response.states_metadata {
        write_metadata_framing(out, response.declared, client.version);
    }
    if response.status >= 200 {
        write_connection(out, client.version, sent.keep_alive);
    }
    write_additions(out, edits);
    out.extend_from_slice(b"\r\n");
    sent
}

/// Appends the head of a 101 response, behind which the connection belongs to `protocol`.
pub fn write_switching_head(
    out: &mut Vec<u8>,
    response: &Response<'_>,
    FieldValue(protocol): FieldValue<'_>,
    edits: &FieldEdits<'_>,
) {
    write_status_line(out, response.status, response.reason());
    let own = RESERVED_IN_RESPONSES;
    copy_fields(out, response.buf, response.index, own, edits);
    write_field(out, b"Upgrade", protocol);
    out.extend_from_slice(b"Connection: Upgrade\r\n");
    write_additions(out, edits);
    out.extend_from_slice(b"\r\n");
}

/// Adds fields to the head that `message` begins with, behind all others. A message whose head has no end
/// stays as it is.
pub fn add_fields<'a>(
    message: &mut Vec<u8>,
    FieldName(name): FieldName<'_>,
    values: impl Iterator<Item = FieldValue<'a>>,
) {
    let Some(end) = memchr::memmem::find(message, b"\r\n\r\n") else {
        return;
    };
    let behind_fields = end + 2;
    let mut fields = Vec::new();
    for FieldValue(value) in values {
        write_field(&mut fields, name, value);
    }
    message.splice(behind_fields..behind_fields, fields);
}

/// In a response, Host means nothing and is passed on like any other field.
const RESERVED_IN_RESPONSES: KindSet =
    KindSet::HOP_BY_HOP.union(KindSet::of(&[HeaderKind::ContentLength]));

fn fit(response: &Response<'_>, client: ClientSide) -> SentHead {
    let framing = match (response.framing, client.version) {
        (BodyFraming::Chunked, Version::Http10) => BodyFraming::UntilClose,
        (BodyFraming::UntilClose, Version::Http11) => BodyFraming::Chunked,
        (framing, _) => framing,
    };
    SentHead {
        framing,
        keep_alive: client.keep_alive && framing != BodyFraming::UntilClose,
    }
}

/// Appends the size line of a chunk. `size` 0 would end the body: see [`write_last_chunk`].
pub fn write_chunk_header(out: &mut Vec<u8>, size: u64) {
    let digits = (16 - size.leading_zeros() / 4).max(1);
    for place in (0..digits).rev() {
        let digit = (size >> (place * 4)) as u8 & 0xf;
        out.push(if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        });
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a chunked body without trailers.
pub fn write_last_chunk(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n\r\n");
}

pub(super) fn write_status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    let digit = |value: u16| b'0' + (value % 10) as u8;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status), b' ']);
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// Appends the received fields that go on; neighbours are copied in one piece.
fn copy_fields(
    out: &mut Vec<u8>,
    buf: &[u8],
    index: &HeadIndex,
    own: KindSet,
    edits: &FieldEdits<'_>,
) {
    let left_out = own.union(edits.drop);
    let goes_on = |entry: &Entry| {
        !left_out.contains(entry.kind)
            && !entry.nominated
            && !edits.rules.replaces(span(buf, entry.start, entry.colon))
    };
    let (mut run_start, mut run_end) = (0, 0);
    for entry in index.entries() {
        if goes_on(entry) {
            if run_end != entry.start {
                out.extend_from_slice(span(buf, run_start, run_end));
                run_start = entry.start;
            }
            run_end = entry.end;
        }
    }
    out.extend_from_slice(span(buf, run_start, run_end));
}

pub(super) fn write_additions(out: &mut Vec<u8>, edits: &FieldEdits<'_>) {
    for (FieldName(name), FieldValue(value)) in edits.append {
        if !edits.rules.replaces(name) {
            write_field(out, name, value);
        }
    }
    out.extend_from_slice(edits.rules.lines());
    for (FieldName(name), FieldValue(value)) in edits.computed {
        write_field(out, name, value);
    }
}

pub(super) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// What the gateway itself asks of the next hop (RFC 9110 sections 7.6.1, 7.8 and 10.1.4).
fn write_hop_options(out: &mut Vec<u8>, request: &Request<'_>, upgrade: Option<FieldValue<'_>>) {
    if request.te_trailers {
        out.extend_from_slice(b"TE: trailers\r\n");
    }
    if let Some(FieldValue(protocol)) = upgrade {
        write_field(out, b"Upgrade", protocol);
    }
    match (request.te_trailers, upgrade.is_some()) {
        (false, false) => {}
        (true, false) => out.extend_from_slice(b"Connection: TE\r\n"),
        (false, true) => out.extend_from_slice(b"Connection: Upgrade\r\n"),
        (true, true) => out.extend_from_slice(b"Connection: TE, Upgrade\r\n"),
    }
}

/// One field with what the received ones of this kind say, unless they are dropped, and `last`.
fn write_merged(
    out: &mut Vec<u8>,
    name: &[u8],
    request: &Request<'_>,
    kind: HeaderKind,
    dropped: KindSet,
    FieldValue(last): FieldValue<'_>,
) {
    out.extend_from_slice(name);
    if request.has(kind) && !dropped.contains(kind) {
        for header in request.headers() {
            if header.kind == kind && !header.value.is_empty() {
                out.extend_from_slice(header.value);
                out.extend_from_slice(b", ");
            }
        }
    }
    out.extend_from_slice(last);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn write_framing(out: &mut Vec<u8>, framing: BodyFraming) {
    match framing {
        BodyFraming::None | BodyFraming::UntilClose => {}
        BodyFraming::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            write_decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        BodyFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

/// The answer to HEAD, and 304, say how a body would have been framed.
fn write_metadata_framing(out: &mut Vec<u8>, declared: BodyFraming, version: Version) {
    if declared != BodyFraming::Chunked || version == Version::Http11 {
        write_framing(out, declared);
    }
}

pub(super) fn write_connection(out: &mut Vec<u8>, version: Version, keep_alive: bool) {
    match (version, keep_alive) {
        (_, false) => out.extend_from_slice(b"Connection: close\r\n"),
        (Version::Http10, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (Version::Http11, true) => {}
    }
}

fn write_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}
