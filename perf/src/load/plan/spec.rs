//! What a file of requests can say, and what is wrong with one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_policy::rules::{Period, Size};
use sluice_wire::ttheader::EncodeError;

use crate::load::ttheader::encode::Encoding;

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
    /// The method; without it `GET`, or `call` of TTHeader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Path and query; without it `/`. HTTP only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The service that is called; without it `bench`. One that is empty is left out of the head with
    /// everything else that the generator puts there, so that only the message tells what is called.
    /// TTHeader only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Keys of the head; a number is an integer key. TTHeader only.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, String>,
    /// Wants no answer. TTHeader only.
    #[serde(skip_serializing_if = "is_false")]
    pub oneway: bool,
    /// The answer's body must be the request's own.
    #[serde(skip_serializing_if = "is_false")]
    pub echo: bool,
    /// The Host field; without it, that of the command line. HTTP only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Further fields. HTTP only.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Length of a body of pseudo-random bytes, which the generator's own backend checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Size>,
    /// A body word for word. Either this or `body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The status that must come back; without it any below 400. The generator's own backend answers
    /// with it. HTTP only.
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
            method: None,
            path: None,
            service: None,
            keys: BTreeMap::new(),
            oneway: false,
            echo: false,
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

fn is_false(value: &bool) -> bool {
    !value
}

/// What is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// TTHeader, with messages in this encoding.
    TtHeader(Encoding),
}

impl Protocol {
    /// Its name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Http1 => "http1",
            Protocol::TtHeader(_) => "ttheader",
        }
    }

    /// Who closes a connection for one request: the target, which is told so, or the client behind the
    /// answer.
    pub(crate) fn client_closes(self) -> bool {
        matches!(self, Protocol::TtHeader(_))
    }
}

/// What all requests have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// What is spoken.
    pub protocol: Protocol,
    /// The Host field of requests that name none.
    pub host: String,
    /// Calls at a time on a connection; with more than one TTHeader requests allow answers in another order.
    pub calls: u16,
    /// One request per connection: the target is told so, where the protocol can.
    pub close: bool,
    /// The backend is ours: it answers with bodies of this length where the request does not say, and
    /// every byte is checked.
    pub backend: Option<u64>,
    /// How long a connection rests behind an answer where the request does not say.
    pub think: Duration,
    /// How long an answer may take, for requests that say so.
    pub timeout: Duration,
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
    /// Not of this protocol.
    #[error("request {number} has `{key}`, which {protocol} does not have; leave it out")]
    Foreign {
        /// Counted from 1.
        number: usize,
        /// In the file.
        key: &'static str,
        /// The protocol's name.
        protocol: &'static str,
    },
    /// A oneway request whose answer is spoken of.
    #[error("request {0} is oneway and has no answer; leave `response` and `echo` out")]
    NoAnswer(usize),
    /// Two answers, or one that the generator does not have.
    #[error(
        "request {0} has `echo`, which goes with neither `response` nor `text`; leave one of them out"
    )]
    TwoAnswers(usize),
    /// Nothing that could come back.
    #[error(
        "request {0} has `echo` and no `body` that could come back; give it one, or leave `echo` out"
    )]
    NoEcho(usize),
    /// A body of an answer that can't have one.
    #[error(
        "request {number} expects a body with the status {status}, which never has one; leave `response` and `echo` out"
    )]
    Bodiless {
        /// Counted from 1.
        number: usize,
        /// 204 or 304.
        status: u16,
    },
    /// No integer key.
    #[error("request {number}: {key} is no integer key; those are numbers up to 65535")]
    Key {
        /// Counted from 1.
        number: usize,
        /// As it stands in the file.
        key: String,
    },
    /// Too large.
    #[error("request {number} cannot be encoded ({error}); look at its keys, method and body")]
    Encode {
        /// Counted from 1.
        number: usize,
        /// The codec's words.
        error: EncodeError,
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
