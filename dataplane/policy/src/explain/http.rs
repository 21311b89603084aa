//! Reads a question about an HTTP request.

use sluice_wire::http1::{
    ForwardedField, HeadIndex, Limits, MethodKind, Request, client_address, parse_request,
};

use super::way::Way;
use super::{ExplainError, Explanation, Question, listener};
use crate::request::RequestView;
use crate::rules::ForwardedHeader;
use crate::rules::ListenerProtocol;
use crate::snapshot::{Listener, ListenerId, Snapshot};

pub(super) fn explain(
    snapshot: &Snapshot,
    question: &Question,
) -> Result<Explanation, ExplainError> {
    let no_request = || question.no_request();
    let (method, url) = question.request.split_once(' ').ok_or_else(no_request)?;
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .ok_or_else(no_request)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).ok_or_else(no_request)?;
    let slash = if target.starts_with('/') { "" } else { "/" };
    // One of https is refused by the form of its target.
    let target = match url.starts_with("https://") {
        true => url.to_owned(),
        false => format!("{slash}{target}"),
    };
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n");
    for field in &question.headers {
        head.push_str(field);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    let mut index = HeadIndex::new();
    let limits = Limits {
        request_line: 32 << 10,
        head: 63 << 10,
        headers: 128,
    };
    let request = match parse_request(head.as_bytes(), &limits, &mut index) {
        Ok(Some(request)) => request,
        Ok(None) => return Err(no_request()),
        Err(error) => return Err(ExplainError::Refused(error.status(), error.to_string())),
    };
    if request.method_kind() == MethodKind::Trace {
        return Err(ExplainError::Refused(501, "TRACE is not supported".into()));
    }
    let (id, listener) = find_listener(snapshot, question, authority)?;
    Ok(of_request(snapshot, (id, listener), &request, question))
}

fn of_request(
    snapshot: &Snapshot,
    (id, listener): (ListenerId, &Listener),
    request: &Request<'_>,
    question: &Question,
) -> Explanation {
    let peer = question.peer();
    let trusted = listener.trusts(peer);
    let mut client = peer;
    if trusted {
        let field = match listener.forwarded.header {
            ForwardedHeader::Forwarded => ForwardedField::Forwarded,
            ForwardedHeader::XForwarded | ForwardedHeader::Both => ForwardedField::XForwardedFor,
        };
        client = client_address(request, field, peer, |address| listener.trusts(address));
    }
    let mut scratch = Vec::new();
    let view = RequestView::of(request, (id, listener.port), client, 0, &mut scratch);
    let refused = if !listener.takes(request.host_name()) {
        Some("421: the listener does not take requests for this host")
    } else if request.is_for_https() && !trusted {
        Some("421: an https resource is not served on a connection without TLS")
    } else {
        None
    };
    let way = Way {
        snapshot,
        listener,
        trusted,
        authority: request.host(),
        live: false,
        wall: question.wall,
    };
    way.of(view, refused)
}

fn find_listener<'a>(
    snapshot: &'a Snapshot,
    question: &Question,
    authority: &str,
) -> Result<(ListenerId, &'a Listener), ExplainError> {
    let stated = authority
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse::<u16>().ok());
    let port = stated.unwrap_or(80);
    // Without one in the URL, a proxy in front may have its own.
    if let Some(port) = stated {
        is_listened_on(snapshot, question, port)?;
    }
    let host = authority.split(':').next().unwrap_or_default();
    listener(snapshot, question, ListenerProtocol::Http, |fits| {
        let here = |own: &Listener| {
            let mut addresses = own.addresses.iter();
            addresses.any(|address| address.ip().to_string() == host && address.port() == port)
        };
        if fits.iter().any(|(_, own)| here(own)) {
            fits.retain(|(_, own)| here(own));
        } else if fits.len() > 1 {
            let by_port = |own: &Listener| own.addresses.iter().any(|a| a.port() == port);
            fits.retain(|(_, own)| by_port(own) && own.takes(host.as_bytes()));
        }
    })
}

/// Whether a listener that may be meant has an address with this port.
fn is_listened_on(snapshot: &Snapshot, question: &Question, port: u16) -> Result<(), ExplainError> {
    let named = question.listener.as_deref();
    let meant = |own: &&Listener| named.is_none_or(|name| &*own.name == name);
    let meant: Vec<&Listener> = snapshot.listeners.iter().filter(meant).collect();
    let mut addresses = meant.iter().flat_map(|own| &own.addresses);
    // That there is none of this name is told elsewhere.
    if meant.is_empty() || addresses.any(|address| address.port() == port) {
        return Ok(());
    }
    let listeners = meant.iter().map(|own| {
        let addresses: Vec<String> = own.addresses.iter().map(ToString::to_string).collect();
        format!("{} ({})", own.name, addresses.join(", "))
    });
    Err(ExplainError::NoPort {
        port,
        listeners: listeners.collect::<Vec<_>>().join(", "),
    })
}
