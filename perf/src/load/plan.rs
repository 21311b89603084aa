//! What is asked, and what must come back: requests of a file or of the command line, encoded once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_policy::rules::{Period, Size};
use sluice_stack::rng::Rng;
use sluice_wire::http1::{
    EditError, FieldName, FieldValue, HeadIndex, Limits, MethodKind, RequestKind, parse_request,
};

use super::message::Message;
use super::pattern::{Pattern, phase};

/// A file of weighted requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestFile {
    /// The requests; each is drawn as often as its weight says.
    pub requests: Vec<RequestSpec>,
}

/// A request, and the answer to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestSpec {
    /// How often it is sent, beside the weights of the others.
    pub weight: u64,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The Host field; without it, that of the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Further fields.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Length of a body of pseudo-random bytes, which the generator's own backend checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Size>,
    /// A body word for word. Either this or `body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The status that must come back; without it any below 400. The generator's own backend answers
    /// with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Length of the answer's body that must come back; without it any. The generator's own backend
    /// answers with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Size>,
    /// How long the connection rests behind the answer, in a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think: Option<Period>,
}

impl Default for RequestSpec {
    fn default() -> Self {
        RequestSpec {
            weight: 1,
            method: "GET".into(),
            path: "/".into(),
            host: None,
            headers: BTreeMap::new(),
            body: None,
            text: None,
            status: None,
            response: None,
            think: None,
        }
    }
}

/// What all requests have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// The Host field of requests that name none.
    pub host: String,
    /// One request per connection: the target is told so.
    pub close: bool,
    /// The backend is ours: it answers with bodies of this length where the request does not say, and
    /// every byte is checked.
    pub backend: Option<u64>,
    /// How long a connection rests behind an answer where the request does not say.
    pub think: Duration,
}

/// A request that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nothing to ask.
    #[error("there is no request; give at least one under `requests:`")]
    Empty,
    /// Not HTTP.
    #[error(
        "request {number} is not valid HTTP ({reason}); look at its method, path, host and headers"
    )]
    Invalid {
        /// Counted from 1.
        number: usize,
        /// The parser's words.
        reason: String,
    },
    /// Two bodies.
    #[error("request {0} has both `body` and `text`; keep one of them")]
    TwoBodies(usize),
    /// More than anybody waits for.
    #[error(
        "request {number} has a body, or expects one, of more than {}",
        Size(LARGEST_BODY)
    )]
    TooLarge {
        /// Counted from 1.
        number: usize,
    },
    /// Never drawn.
    #[error("request {0} has the weight 0; leave it out or give it a weight")]
    NoWeight(usize),
    /// Not a status.
    #[error("request {0}: a status is a number from 200 to 599")]
    Status(usize),
    /// No header field.
    #[error("request {number}: `{}` is no header field: a name is a token, and no value has line ends or other \
             control bytes", name.escape_debug())]
    Field {
        /// Counted from 1.
        number: usize,
        /// Its name.
        name: String,
    },
    /// A field that the generator sets.
    #[error("request {number} sets `{name}`, which the generator does by itself; leave it out")]
    OwnField {
        /// Counted from 1.
        number: usize,
        /// The field.
        name: String,
    },
}

/// Longest body of a request or an answer, bytes: more than any run carries.
pub const LARGEST_BODY: u64 = 1 << 40;

/// Fields that follow from the rest of the request.
const OWN_FIELDS: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];

/// Requests ready to be sent.
#[derive(Debug, Clone)]
pub struct Plan {
    requests: Box<[Planned]>,
    /// Sums of the weights up to each request.
    sums: Box<[u64]>,
    pub(crate) pattern: Arc<Pattern>,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) message: Message,
    pub(crate) kind: RequestKind,
    /// `None`: any below 400.
    pub(crate) status: Option<u16>,
    /// `None`: any.
    pub(crate) length: Option<u64>,
    /// Where in the pattern the answer's body begins; `None` where it is not ours.
    pub(crate) phase: Option<u32>,
    pub(crate) think: Duration,
}

impl Plan {
    /// Encodes requests.
    ///
    /// # Errors
    /// The first request that cannot be sent.
    pub fn new(file: &RequestFile, common: &Common) -> Result<Plan, PlanError> {
        if file.requests.is_empty() {
            return Err(PlanError::Empty);
        }
        let pattern = Arc::new(Pattern::default());
        let numbered = file.requests.iter().zip(1..);
        let requests = numbered
            .clone()
            .map(|(spec, number)| planned(spec, number, common, &pattern))
            .collect::<Result<Box<[_]>, _>>()?;
        let mut sum = 0u64;
        let sums = numbered
            .map(|(spec, _)| {
                sum = sum.saturating_add(spec.weight);
                sum
            })
            .collect();
        Ok(Plan {
            requests,
            sums,
            pattern,
        })
    }

    /// Draws a request.
    #[inline]
    pub(crate) fn draw(&self, rng: &mut Rng) -> u32 {
        let [.., total] = &*self.sums else { return 0 };
        if self.sums.len() == 1 {
            return 0;
        }
        let point = rng.below(*total);
        self.sums.partition_point(|sum| *sum <= point) as u32
    }

    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&Planned> {
        self.requests.get(number as usize)
    }

    /// How many different requests there are.
    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Bytes of a request with its head, by weight.
    pub(crate) fn mean_bytes(&self) -> u64 {
        let total = self.sums.last().copied().unwrap_or(0).max(1);
        let mut before = 0;
        let bytes: u128 = self
            .requests
            .iter()
            .zip(&self.sums)
            .map(|(request, sum)| {
                let weight = sum - std::mem::replace(&mut before, *sum);
                u128::from(weight) * u128::from(request.message.len())
            })
            .sum();
        (bytes / u128::from(total)) as u64
    }
}

/// Whether the request's head is valid HTTP as it is written.
pub(crate) fn is_sendable(spec: &RequestSpec) -> bool {
    let common = Common {
        host: "-".into(),
        close: false,
        backend: None,
        think: Duration::ZERO,
    };
    check(head(spec, &common).as_bytes(), 0).is_ok()
}

fn planned(
    spec: &RequestSpec,
    number: usize,
    common: &Common,
    pattern: &Pattern,
) -> Result<Planned, PlanError> {
    if spec.weight == 0 {
        return Err(PlanError::NoWeight(number));
    }
    if spec.body.is_some() && spec.text.is_some() {
        return Err(PlanError::TwoBodies(number));
    }
    let sizes = [spec.body, spec.response];
    if sizes.iter().flatten().any(|size| size.0 > LARGEST_BODY) {
        return Err(PlanError::TooLarge { number });
    }
    if spec
        .status
        .is_some_and(|status| !(200..600).contains(&status))
    {
        return Err(PlanError::Status(number));
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
    let mut bytes = head(spec, common).into_bytes();
    let kind = check(&bytes, number)?;
    bytes.extend_from_slice(spec.text.as_deref().unwrap_or_default().as_bytes());
    let ours = common.backend.is_some();
    let bodiless = kind == RequestKind::Head || matches!(spec.status, Some(204 | 304));
    let length = if bodiless {
        Some(0)
    } else {
        spec.response.map(|size| size.0).or(common.backend)
    };
    Ok(Planned {
        message: Message::new(bytes, body, phase(spec.path.as_bytes()), pattern),
        kind,
        status: spec.status.or(ours.then_some(200)),
        length,
        phase: ours.then(|| phase(spec.path.as_bytes())),
        think: spec.think.map_or(common.think, |period| period.0),
    })
}

fn head(spec: &RequestSpec, common: &Common) -> String {
    let host = spec.host.as_deref().unwrap_or(&common.host);
    let mut head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", spec.method, spec.path);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn common() -> Common {
        Common {
            host: "lab.test".into(),
            close: false,
            backend: Some(100),
            think: Duration::ZERO,
        }
    }

    fn plan(yaml: &str) -> Result<Plan, PlanError> {
        let file: RequestFile = serde_saphyr::from_str(yaml).unwrap();
        Plan::new(&file, &common())
    }

    #[test]
    fn requests_are_drawn_by_weight() {
        let plan =
            plan("requests: [{weight: 7, path: /a}, {weight: 2, path: /b}, {path: /c}]").unwrap();
        let mut rng = Rng::new(1);
        let mut drawn = [0u32; 3];
        (0..100_000).for_each(|_| drawn[plan.draw(&mut rng) as usize] += 1);
        for (count, expected) in drawn.into_iter().zip([70_000u32, 20_000, 10_000]) {
            assert!(count.abs_diff(expected) < 1_000, "{drawn:?}");
        }
    }

    #[test]
    fn a_request_is_encoded_with_what_follows_from_it() {
        let spec = "requests: [{method: POST, path: '/x?y=1', headers: {A: b}, text: hello, \
                    status: 201, response: 2KiB, think: 5ms}]";
        let plan = plan(spec).unwrap();
        let planned = plan.get(0).unwrap();
        let text = "POST /x?y=1 HTTP/1.1\r\nHost: lab.test\r\nUser-Agent: sluice-bench\r\nA: b\r\n\
                    Content-Length: 5\r\n\r\nhello";
        assert_eq!(
            planned.message,
            Message::new(text.into(), 0, phase(b"/x?y=1"), &Pattern::default())
        );
        assert_eq!(
            (planned.status, planned.length, planned.phase, planned.think),
            (
                Some(201),
                Some(2048),
                Some(phase(b"/x?y=1")),
                Duration::from_millis(5)
            )
        );
    }

    #[test]
    fn what_cannot_be_sent_is_refused_by_number() {
        for (yaml, words) in [
            ("requests: []", "no request"),
            ("requests: [{path: 'x y'}]", "request 1 is not valid HTTP"),
            (
                "requests: [{}, {headers: {A: \"b\\r\\n\\r\\nGET / HTTP/1.1\"}}]",
                "request 2: `A` is no header field",
            ),
            (
                "requests: [{headers: {\"A\\r\\nTransfer-Encoding\": chunked}}]",
                "is no header field",
            ),
            ("requests: [{headers: {Host: a}}]", "sets `Host`"),
            ("requests: [{body: 1B, text: a}]", "both `body` and `text`"),
            ("requests: [{weight: 0}]", "weight 0"),
            ("requests: [{status: 100}]", "200 to 599"),
        ] {
            let error = plan(yaml).unwrap_err().to_string();
            assert!(error.contains(words), "{yaml}: {error}");
        }
    }
}
