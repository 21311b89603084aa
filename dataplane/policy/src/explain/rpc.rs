//! Reads a question about a remote procedure call.

use sluice_wire::Parsed;
use sluice_wire::ttheader::{Head, Limits, NewHead, integer};

use super::way::Way;
use super::{ExplainError, Explanation, Question, listener};
use crate::matching::RpcKey;
use crate::request::{RequestView, RpcView};
use crate::rules::ListenerProtocol;
use crate::snapshot::Snapshot;

/// `call` is `service/method`; with a `head` or without one.
pub(super) fn explain(
    snapshot: &Snapshot,
    question: &Question,
    call: &str,
    head: bool,
) -> Result<Explanation, ExplainError> {
    let (service, method) = call.split_once('/').ok_or_else(|| question.no_request())?;
    // Without a head there is nothing that could name a service.
    if !head && !service.is_empty() {
        return Err(ExplainError::NoCall(format!(
            "plain Thrift has nothing that names a service; write thrift:///{method}"
        )));
    }
    if let Some(at) = call.find(['?', '#']) {
        return Err(ExplainError::NoCall(format!(
            "it can't have {:?}; keys are given with -H NAME=VALUE",
            call.get(at..).unwrap_or_default()
        )));
    }
    if let Some(key) = question.headers.first().filter(|_| !head) {
        return Err(ExplainError::NoCall(format!(
            "without a head it has no key {key:?}"
        )));
    }
    let protocol = if head {
        ListenerProtocol::TtHeader
    } else {
        ListenerProtocol::Thrift
    };
    let (id, listener) = listener(snapshot, question, protocol, |_| {})?;
    let bytes = encode(service, method, &question.headers)?;
    let parsed = Head::parse(&bytes, &Limits::default());
    let Ok(Parsed::Complete(parsed)) = parsed else {
        return Err(ExplainError::NoCall("its head is too large".into()));
    };
    let method = Some(method.as_bytes()).filter(|method| !method.is_empty());
    let mut rpc = RpcView::of(&parsed, method);
    if !head {
        rpc.head = None;
    }
    let client = question.peer();
    let way = Way {
        snapshot,
        listener,
        trusted: listener.trusts(client),
        authority: b"",
        live: false,
        wall: question.wall,
    };
    let view = RequestView::of_rpc(rpc, (id, listener.port), client, 0);
    Ok(way.of(view, None))
}

/// A head with these keys, as callers send it.
fn encode(service: &str, method: &str, keys: &[String]) -> Result<Vec<u8>, ExplainError> {
    let (mut strings, mut integers) = (Vec::new(), Vec::new());
    for (key, value) in [(integer::TO_SERVICE, service), (integer::TO_METHOD, method)] {
        if !value.is_empty() {
            integers.push((key, value.as_bytes()));
        }
    }
    let mut names = Vec::new();
    for key in keys {
        let (name, value) = key
            .split_once('=')
            .ok_or_else(|| ExplainError::NoKey(key.clone()))?;
        match RpcKey::parse(name.trim()) {
            Some(RpcKey::Integer(number)) => integers.push((number, value.as_bytes())),
            Some(RpcKey::String(name)) => names.push((name, value.as_bytes())),
            None => return Err(ExplainError::NoKey(key.clone())),
        }
    }
    strings.extend(names.iter().map(|(name, value)| (&**name, *value)));
    let head = NewHead {
        strings: &strings,
        integers: &integers,
        ..NewHead::default()
    };
    let mut bytes = Vec::new();
    let written = head.write(&mut bytes, 0);
    written.map_err(|error| ExplainError::NoCall(error.to_string()))?;
    Ok(bytes)
}
