//! What the rules make of one request, and why: for people.

mod http;
mod live;
mod rpc;
mod way;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;
use thiserror::Error;

use crate::problem::did_you_mean;
use crate::rules::ListenerProtocol;
use crate::snapshot::{Listener, ListenerId, Snapshot};
pub use live::{Underway, explain_underway};

/// A request that somebody wants explained.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// Method and URL, `GET http://host/path`; or a call with a head, `ttheader://service/method`, or
    /// without one, `thrift:///method`.
    pub request: String,
    /// Header fields, `name: value`; keys of a call, `name=value`.
    pub headers: Vec<String>,
    /// Name of the listener; without it, the one that the URL leads to.
    pub listener: Option<String>,
    /// Who connects; 192.0.2.1, which is nobody, without it.
    pub from: Option<IpAddr>,
    /// When it is made, in seconds after 1970-01-01 UTC: drills may be over by then. Without it they are not.
    pub wall: Option<u64>,
}

/// Why a question cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExplainError {
    /// It is neither `METHOD URL` nor a call.
    #[error(
        "{0:?} is no request; write one such as 'GET http://host/path' or 'ttheader://service/method'"
    )]
    NoRequest(String),
    /// The gateway would refuse it as it reads it.
    #[error("the gateway refuses such a request with {0}: {1}")]
    Refused(u16, String),
    /// This is no key of a call.
    #[error("{0:?} is no key of a call; write one such as 'env=test' or 'RPC_PERSIST_user=alice'")]
    NoKey(String),
    /// Such a call cannot be sent.
    #[error("such a call cannot be sent: {0}")]
    NoCall(String),
    /// The listener that was named takes no such requests; what its connections speak.
    #[error(
        "the connections of listener {name:?} speak {speaks}, and this is no request of that; name another \
         with --listener, or none"
    )]
    OtherProtocol {
        /// The listener.
        name: String,
        /// As rules write it.
        speaks: &'static str,
    },
    /// No listener that could take it has an address with the port of its URL.
    #[error(
        "nothing listens on port {port}, so such a request is refused a connection; listeners: {listeners}"
    )]
    NoPort {
        /// The port.
        port: u16,
        /// The listeners, each with its addresses.
        listeners: String,
    },
    /// No listener is called so; what to do.
    #[error("no listener is called {0:?}; {1}")]
    Unknown(String, String),
    /// There is no such listener; those there are.
    #[error("no listener fits; name one with --listener: {0}")]
    NoListener(String),
}

/// What the rules make of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Name of the listener.
    pub listener: String,
    /// The client, as far as trusted proxies vouch for it.
    pub client: IpAddr,
    /// The lane, and where it comes from.
    pub lane: Option<Because>,
    /// The tag that it came with, where that is not believed, and why not.
    pub ignored: Option<String>,
    /// The route that takes it, and what its conditions say.
    pub route: Option<Because>,
    /// What becomes of it, one thing after the other.
    pub becomes: Vec<String>,
    /// The service that answers, unless chance decides or the gateway itself answers.
    pub service: Option<String>,
    /// Endpoints of that service that take such requests in turn.
    pub endpoints: Vec<String>,
    /// Why there are none, where a service is to answer, and what becomes of the request then.
    pub no_endpoint: Option<String>,
    /// Routes that are tried before and come near, and why they do not take it.
    pub near_misses: Vec<Because>,
    /// Near misses beyond those that are listed.
    pub more_near_misses: usize,
    /// Routes that would take it, were it not taken before.
    pub later: Vec<String>,
}

impl Explanation {
    /// Of a request to this listener, of which nothing else is known yet.
    fn of(listener: &Listener, client: IpAddr) -> Explanation {
        Explanation {
            listener: listener.name.to_string(),
            client,
            lane: None,
            ignored: None,
            route: None,
            becomes: Vec::new(),
            service: None,
            endpoints: Vec::new(),
            no_endpoint: None,
            near_misses: Vec::new(),
            more_near_misses: 0,
            later: Vec::new(),
        }
    }
}

/// Something by its name, and reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Because {
    /// Its name.
    pub name: String,
    /// Why.
    pub because: Vec<String>,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.because.join(", "))
    }
}

/// What the rules of a snapshot make of a request.
///
/// # Errors
/// See [`ExplainError`].
pub fn explain(snapshot: &Snapshot, question: &Question) -> Result<Explanation, ExplainError> {
    match question.request.split_once("://") {
        Some(("ttheader", call)) => rpc::explain(snapshot, question, call, true),
        Some(("thrift", call)) => rpc::explain(snapshot, question, call, false),
        _ => http::explain(snapshot, question),
    }
}

impl Question {
    fn peer(&self) -> IpAddr {
        self.from.unwrap_or(Ipv4Addr::new(192, 0, 2, 1).into())
    }

    fn no_request(&self) -> ExplainError {
        ExplainError::NoRequest(self.request.clone())
    }
}

/// The only listener that is left of those that take this protocol and fit, or the first of them.
fn listener<'a>(
    snapshot: &'a Snapshot,
    question: &Question,
    protocol: ListenerProtocol,
    retain: impl Fn(&mut Vec<(usize, &'a Listener)>),
) -> Result<(ListenerId, &'a Listener), ExplainError> {
    let mut fits: Vec<_> = snapshot.listeners.iter().enumerate().collect();
    let takes = |own: &Listener| [protocol, ListenerProtocol::Auto].contains(&own.protocol);
    match &question.listener {
        Some(name) => {
            fits.retain(|(_, own)| &*own.name == name.as_str());
            if let Some((_, own)) = fits.first().filter(|(_, own)| !takes(own)) {
                return Err(ExplainError::OtherProtocol {
                    name: name.clone(),
                    speaks: match own.protocol {
                        ListenerProtocol::Auto => "anything",
                        ListenerProtocol::Http => "http",
                        ListenerProtocol::TtHeader => "ttheader",
                        ListenerProtocol::Thrift => "thrift",
                    },
                });
            }
        }
        None => {
            fits.retain(|(_, own)| takes(own));
            retain(&mut fits);
        }
    }
    match fits.first() {
        Some((index, listener)) => Ok((ListenerId(*index), listener)),
        None => {
            let names = || snapshot.listeners.iter().map(|own| &*own.name);
            let all = names().collect::<Vec<_>>().join(", ");
            Err(match &question.listener {
                None => ExplainError::NoListener(all),
                Some(name) => {
                    let mend = did_you_mean(name, names());
                    let mend = mend.unwrap_or_else(|| format!("there are {all}"));
                    ExplainError::Unknown(name.clone(), mend)
                }
            })
        }
    }
}
