//! Requests in TTHeader.

use sluice_wire::http1::RequestKind;
use sluice_wire::thrift::MessageKind;
use sluice_wire::ttheader::{Flags, NewHead, integer};

use super::{Common, PlanError, Planned, RequestSpec};
use crate::load::pattern::{Pattern, phase};
use crate::load::ttheader::encode::{ARGUMENT, Encoding, OneString};

/// The calling service.
const CALLER: &[u8] = b"sluice-bench";

/// What tells one kind of request from another, to the backend too: the service and the method.
pub(crate) fn target(service: &[u8], method: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(service);
    out.push(b'.');
    out.extend_from_slice(method);
}

/// [`target`] of a request of a file.
pub(crate) fn target_of(spec: &RequestSpec) -> Vec<u8> {
    let mut out = Vec::new();
    target(service(spec).as_bytes(), method(spec).as_bytes(), &mut out);
    out
}

fn service(spec: &RequestSpec) -> &str {
    spec.service.as_deref().unwrap_or("bench")
}

pub(crate) fn method(spec: &RequestSpec) -> &str {
    spec.method.as_deref().unwrap_or("call")
}

pub(super) fn planned(
    spec: &RequestSpec,
    number: usize,
    common: &Common,
    encoding: Encoding,
    pattern: &Pattern,
) -> Result<Planned, PlanError> {
    let foreign = [
        ("path", spec.path.is_some()),
        ("host", spec.host.is_some()),
        ("headers", !spec.headers.is_empty()),
        ("status", spec.status.is_some()),
    ];
    if let Some((key, _)) = foreign.into_iter().find(|(_, given)| *given) {
        return Err(PlanError::Foreign {
            number,
            key,
            protocol: "TTHeader",
        });
    }
    if spec.oneway && (spec.echo || spec.response.is_some()) {
        return Err(PlanError::NoAnswer(number));
    }
    let phase = phase(&target_of(spec));
    let length = spec.body.map_or(0, |size| size.0);
    let string = OneString {
        kind: if spec.oneway {
            MessageKind::Oneway
        } else {
            MessageKind::Call
        },
        method: method(spec).as_bytes(),
        field: ARGUMENT,
        text: spec.text.as_deref().unwrap_or_default().as_bytes(),
        length,
        phase,
    };
    let message = message(spec, number, common, &string, encoding, pattern)?;
    let ours = common.backend.is_some();
    let answer = if spec.echo {
        Some(length)
    } else {
        spec.response.map(|size| size.0).or(common.backend)
    };
    Ok(Planned {
        message,
        kind: RequestKind::Other,
        method: string.method.into(),
        oneway: spec.oneway,
        status: None,
        length: answer,
        phase: (ours || spec.echo).then_some(phase),
        think: spec.think.map_or(common.think, |period| period.0),
    })
}

fn message(
    spec: &RequestSpec,
    number: usize,
    common: &Common,
    string: &OneString<'_>,
    encoding: Encoding,
    pattern: &Pattern,
) -> Result<crate::load::message::Message, PlanError> {
    let timeout = common.timeout.as_millis().to_string();
    let service = service(spec).as_bytes();
    let kind = [b'0' + string.kind as u8];
    let mut integers: Vec<(u16, &[u8])> = Vec::new();
    if !service.is_empty() {
        integers.extend([
            (integer::FROM_SERVICE, CALLER),
            (integer::TO_SERVICE, service),
            (integer::TO_METHOD, string.method),
            (integer::RPC_TIMEOUT, timeout.as_bytes()),
            (integer::MSG_TYPE, &kind[..]),
        ]);
    }
    let mut strings: Vec<(&[u8], &[u8])> = Vec::new();
    for (key, value) in &spec.keys {
        if !key.bytes().all(|byte| byte.is_ascii_digit()) {
            strings.push((key.as_bytes(), value.as_bytes()));
            continue;
        }
        let key = key.parse().map_err(|_| PlanError::Key {
            number,
            key: key.clone(),
        })?;
        integers.retain(|(own, _)| *own != key);
        integers.push((key, value.as_bytes()));
    }
    let head = NewHead {
        flags: if common.calls > 1 {
            Flags::OUT_OF_ORDER
        } else {
            Flags::default()
        },
        strings: &strings,
        integers: &integers,
        ..NewHead::default()
    };
    let encoded = string.frame(&head, encoding, pattern);
    encoded.map_err(|error| PlanError::Encode { number, error })
}
