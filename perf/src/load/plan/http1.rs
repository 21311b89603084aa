//! Requests in HTTP/1.1.

use std::collections::HashSet;
use std::time::Duration;

use sluice_wire::http1::{
    EditError, FieldName, FieldValue, HeadIndex, Limits, MethodKind, RequestKind, parse_request,
};

use super::{Common, PlanError, Planned, Protocol, RequestFile, RequestSpec};
use crate::load::message::Message;
use crate::load::pattern::{Pattern, phase};

/// Fields that follow from the rest of the request.
const OWN_FIELDS: [&str; 5] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    NUMBER,
];

/// The field that tells the generator's own backend which request of the file this is, where several have one path.
pub(crate) const NUMBER: &str = "sluice-bench-request";

/// The paths that several requests of a file have.
pub(crate) fn shared_paths(file: &RequestFile) -> HashSet<&str> {
    let mut seen = HashSet::new();
    let paths = file.requests.iter().map(path);
    paths.filter(|path| !seen.insert(*path)).collect()
}

/// Length of the request's head, where it is valid HTTP as it is written.
pub(crate) fn head_length(spec: &RequestSpec) -> Option<u64> {
    let common = Common {
        protocol: Protocol::Http1,
        host: "-".into(),
        calls: 1,
        close: false,
        backend: None,
        think: Duration::ZERO,
        timeout: Duration::ZERO,
    };
    let head = head(spec, &common, None);
    check(head.as_bytes(), 0).ok().map(|_| head.len() as u64)
}

pub(super) fn planned(
    spec: &RequestSpec,
    number: usize,
    common: &Common,
    shared: &HashSet<&str>,
    pattern: &Pattern,
) -> Result<Planned, PlanError> {
    let foreign = [
        ("service", spec.service.is_some()),
        ("keys", !spec.keys.is_empty()),
        ("oneway", spec.oneway),
    ];
    if let Some((key, _)) = foreign.into_iter().find(|(_, given)| *given) {
        return Err(PlanError::Foreign {
            number,
            key,
            protocol: "HTTP",
        });
    }
    if spec
        .status
        .is_some_and(|status| !(200..600).contains(&status))
    {
        return Err(PlanError::Status(number));
    }
    let expects_body = spec.echo || spec.response.is_some_and(|size| size.0 > 0);
    if let Some(status @ (204 | 304)) = spec.status
        && expects_body
    {
        return Err(PlanError::Bodiless { number, status });
    }
    let odd = spec.headers.iter().find(|(name, value)| {
        // Reserved names are dealt with below.
        matches!(FieldName::new(name.as_bytes()), Err(EditError::InvalidName))
            || FieldValue::new(value.as_bytes()).is_err()
    });
    if let Some((name, _)) = odd {
        return Err(PlanError::Field {
            number,
            name: name.clone(),
        });
    }
    let own = |name: &&String| OWN_FIELDS.iter().any(|own| name.eq_ignore_ascii_case(own));
    if let Some(name) = spec.headers.keys().find(own) {
        return Err(PlanError::OwnField {
            number,
            name: name.clone(),
        });
    }
    let body = spec.body.map_or(0, |size| size.0);
    let phase = phase(path(spec).as_bytes());
    let ours = common.backend.is_some();
    let told = (ours && shared.contains(path(spec))).then_some(number);
    let mut bytes = head(spec, common, told).into_bytes();
    let kind = check(&bytes, number)?;
    bytes.extend_from_slice(spec.text.as_deref().unwrap_or_default().as_bytes());
    let bodiless = kind == RequestKind::Head || matches!(spec.status, Some(204 | 304));
    let length = if bodiless {
        Some(0)
    } else if spec.echo {
        Some(body)
    } else {
        spec.response.map(|size| size.0).or(common.backend)
    };
    Ok(Planned {
        message: Message::new(bytes, body, phase, pattern),
        kind,
        method: [].into(),
        oneway: false,
        status: spec.status.or(ours.then_some(200)),
        length,
        phase: (ours || spec.echo).then_some(phase),
        think: spec.think.map_or(common.think, |period| period.0),
    })
}

/// The method of a request.
fn method(spec: &RequestSpec) -> &str {
    spec.method.as_deref().unwrap_or("GET")
}

/// Path and query of a request.
pub(crate) fn path(spec: &RequestSpec) -> &str {
    spec.path.as_deref().unwrap_or("/")
}

fn head(spec: &RequestSpec, common: &Common, told: Option<usize>) -> String {
    let host = spec.host.as_deref().unwrap_or(&common.host);
    let (method, path) = (method(spec), path(spec));
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    let has = |name: &str| {
        spec.headers
            .keys()
            .any(|key| key.eq_ignore_ascii_case(name))
    };
    if !has("user-agent") {
        head.push_str("User-Agent: sluice-bench\r\n");
    }
    for (name, value) in &spec.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(number) = told {
        head.push_str(&format!("{NUMBER}: {number}\r\n"));
    }
    let length = spec
        .body
        .map(|size| size.0)
        .or(spec.text.as_ref().map(|text| text.len() as u64));
    if let Some(length) = length {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    if common.close {
        head.push_str("Connection: close\r\n");
    }
    head.push_str("\r\n");
    head
}

/// The gateway's own strict parser says whether it is HTTP, and all of it is the head.
fn check(head: &[u8], number: usize) -> Result<RequestKind, PlanError> {
    let invalid = |reason: String| PlanError::Invalid { number, reason };
    let mut index = HeadIndex::new();
    match parse_request(head, &Limits::default(), &mut index) {
        Ok(Some(request)) if request.head_len == head.len() => Ok(match request.method_kind() {
            MethodKind::Head => RequestKind::Head,
            MethodKind::Connect => RequestKind::Connect,
            _ => RequestKind::Other,
        }),
        Ok(_) => Err(invalid("a line end within a field".into())),
        Err(error) => Err(invalid(error.to_string())),
    }
}
