//! Values with variables: `${client_ip}`, `${capture.id}`.
//!
//! What a variable stands for is taken as it was sent or, for paths, as rules compare it; no control
//! byte is ever decoded, so that it is as
//! free of line ends as the head that it came from. Whoever sends the result checks it all the same.

use std::io::Write;
use std::net::IpAddr;

use arrayvec::ArrayVec;

use crate::matching::{Captures, Key, RpcKey};
use crate::request::{HttpView, Message, RequestView};

/// Most variables of one value: bounds what a request can make of it.
const MAX_VARIABLES: usize = 16;

/// A text with variables in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Box<[Piece]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<[u8]>),
    Variable(Variable),
}

/// What can stand in a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Variable {
    ClientIp,
    Host,
    Path,
    Query,
    Method,
    Of(Key),
    Capture(usize),
    Lane,
    RequestId,
    Route,
    Service,
    Status,
}

/// Where a value stands, which decides about what may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// A header of a request to a service; with the names of the route's captures.
    RequestHeader(&'a [Box<str>]),
    /// A path: only what is made of the characters of one.
    Path(&'a [Box<str>]),
    /// A header of a response.
    ResponseHeader,
    /// A key of a remote procedure call.
    RequestKey,
    /// A key of its reply.
    ResponseKey,
}

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TemplateError {
    /// `${` without `}`.
    Unclosed,
    /// There is no such variable here; those there are.
    Unknown(String, String),
    /// More than [`MAX_VARIABLES`].
    TooMany,
}

/// What variables stand for. A response's head knows less than a request's.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    /// The client, as far as trusted proxies vouch for it.
    pub client: IpAddr,
    /// Name of the lane, if it is in one.
    pub lane: Option<&'a str>,
    /// The id that the request travels under.
    pub request_id: &'a [u8],
    /// Name of the route.
    pub route: &'a str,
    /// Name of the service.
    pub service: &'a str,
    /// Status of the response; 0 before there is one.
    pub status: u16,
    /// The request and what parts of its path stood for.
    pub request: Option<(&'a RequestView<'a>, &'a Captures<'a>)>,
}

impl<'a> Values<'a> {
    /// The request where it is one of HTTP, and what parts of its path stood for.
    pub(crate) fn http(&self) -> Option<(&'a HttpView<'a>, &'a Captures<'a>)> {
        let (request, captures) = self.request?;
        Some((request.http()?, captures))
    }
}

impl Template {
    /// Reads a value. `$` stands for itself unless `{` follows.
    pub(crate) fn parse(text: &str, place: Place<'_>) -> Result<Template, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("${") {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.as_bytes().into()));
            }
            let (name, behind) = behind.split_once('}').ok_or(TemplateError::Unclosed)?;
            let variable = variable(name, place)
                .ok_or_else(|| TemplateError::Unknown(name.to_owned(), known(place)))?;
            pieces.push(Piece::Variable(variable));
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.as_bytes().into()));
        }
        if pieces.len() > 2 * MAX_VARIABLES {
            return Err(TemplateError::TooMany);
        }
        Ok(Template {
            pieces: pieces.into(),
        })
    }

    /// Without variables.
    pub(crate) fn constant(text: &str) -> Template {
        Template {
            pieces: [Piece::Text(text.as_bytes().into())].into(),
        }
    }

    /// Whether it is the same for every request.
    pub(crate) fn is_constant(&self) -> bool {
        let mut pieces = self.pieces.iter();
        pieces.all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// Writes the value behind what stands in `out`. What a request lacks is empty.
    pub fn render(&self, values: &Values<'_>, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Variable(variable) => variable.render(values, out),
            }
        }
    }
}

impl Variable {
    fn render(&self, values: &Values<'_>, out: &mut Vec<u8>) {
        let of_http = |what: fn(&HttpView<'_>, &mut Vec<u8>), out: &mut Vec<u8>| {
            if let Some((http, _)) = values.http() {
                what(http, out);
            }
        };
        match self {
            // Writing to memory cannot fail.
            Variable::ClientIp => write_address(values.client, out),
            Variable::Status => drop(write!(out, "{}", values.status)),
            Variable::Lane => out.extend_from_slice(values.lane.unwrap_or_default().as_bytes()),
            Variable::RequestId => out.extend_from_slice(values.request_id),
            Variable::Route => out.extend_from_slice(values.route.as_bytes()),
            Variable::Service => out.extend_from_slice(values.service.as_bytes()),
            Variable::Host => of_http(|http, out| out.extend_from_slice(http.host), out),
            Variable::Path => of_http(|http, out| out.extend_from_slice(http.path), out),
            Variable::Method => {
                if let Some((request, _)) = values.request {
                    out.extend_from_slice(match &request.message {
                        Message::Http(http) => http.method,
                        Message::Rpc(rpc) => rpc.method,
                    });
                }
            }
            Variable::Query => of_http(
                |http, out| out.extend_from_slice(http.query.unwrap_or_default()),
                out,
            ),
            Variable::Of(key) => {
                if let Some((request, _)) = values.request {
                    out.extend_from_slice(key.value(request).unwrap_or_default());
                }
            }
            Variable::Capture(place) => {
                if let Some((_, captures)) = values.request {
                    out.extend_from_slice(captures.get(*place).copied().unwrap_or_default());
                }
            }
        }
    }
}

/// An address as text; one of IPv4, as nearly all are, by hand, in a tenth of the instructions.
fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    let IpAddr::V4(address) = address else {
        // Writing to memory cannot fail.
        return drop(write!(out, "{address}"));
    };
    let mut text = ArrayVec::<u8, 16>::new();
    for octet in address.octets() {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let zeros = if octet < 10 {
            2
        } else {
            usize::from(octet < 100)
        };
        text.extend(digits.into_iter().skip(zeros).map(|digit| b'0' + digit));
        text.push(b'.');
    }
    text.pop();
    out.extend_from_slice(&text);
}

fn variable(name: &str, place: Place<'_>) -> Option<Variable> {
    let names = match place {
        Place::RequestHeader(names) | Place::Path(names) => names,
        Place::ResponseHeader | Place::RequestKey | Place::ResponseKey => &[],
    };
    if let Some(capture) = name.strip_prefix("capture.") {
        let at = names.iter().position(|own| **own == *capture)?;
        return Some(Variable::Capture(at));
    }
    if let Place::RequestHeader(_) = place {
        let lower = |name: &str| name.to_ascii_lowercase().into_bytes().into_boxed_slice();
        let key = |kind: &str| name.strip_prefix(kind).filter(|name| !name.is_empty());
        if let Some(header) = key("header.") {
            return Some(Variable::Of(Key::Header(lower(header))));
        }
        if let Some(cookie) = key("cookie.") {
            return Some(Variable::Of(Key::Cookie(cookie.as_bytes().into())));
        }
        if let Some(parameter) = key("query.") {
            return Some(Variable::Of(Key::Query(parameter.as_bytes().into())));
        }
    }
    if let (Place::RequestKey, Some(key)) = (place, name.strip_prefix("key.")) {
        return RpcKey::parse(key).map(|key| Variable::Of(Key::Rpc(key)));
    }
    let (_, variable) = plain(place).into_iter().find(|(own, _)| *own == name)?;
    Some(variable)
}

/// The variables of a place that are one word.
fn plain(place: Place<'_>) -> Vec<(&'static str, Variable)> {
    let of_request = [
        ("host", Variable::Host),
        ("path", Variable::Path),
        ("query", Variable::Query),
        ("method", Variable::Method),
        ("lane", Variable::Lane),
    ];
    let of_both = [
        ("client_ip", Variable::ClientIp),
        ("request_id", Variable::RequestId),
        ("route", Variable::Route),
        ("service", Variable::Service),
    ];
    match place {
        Place::Path(_) => of_request.into(),
        Place::RequestHeader(_) => of_request.into_iter().chain(of_both).collect(),
        Place::ResponseHeader => {
            let own = [("lane", Variable::Lane), ("status", Variable::Status)];
            own.into_iter().chain(of_both).collect()
        }
        Place::RequestKey | Place::ResponseKey => {
            let method = (place == Place::RequestKey).then_some(("method", Variable::Method));
            let of_all = [
                ("lane", Variable::Lane),
                ("client_ip", Variable::ClientIp),
                ("route", Variable::Route),
                ("service", Variable::Service),
            ];
            method.into_iter().chain(of_all).collect()
        }
    }
}

/// What can be written at a place.
fn known(place: Place<'_>) -> String {
    let mut known: Vec<String> = plain(place)
        .into_iter()
        .map(|(name, _)| name.to_owned())
        .collect();
    match place {
        Place::RequestHeader(names) | Place::Path(names) => {
            known.extend(names.iter().map(|name| format!("capture.{name}")));
        }
        Place::RequestKey => known.push("key.NAME".to_owned()),
        Place::ResponseHeader | Place::ResponseKey => {}
    }
    if let Place::RequestHeader(_) = place {
        known.extend(["header.NAME", "cookie.NAME", "query.NAME"].map(str::to_owned));
    }
    known.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_everywhere() {
        let octets = 0..=255_u8;
        let v4 = octets.map(|octet| IpAddr::from([octet, 9, 99, 255 - octet]));
        let v6 = [IpAddr::from([0_u16, 0, 0, 0, 0, 0, 0, 1])];
        for address in v4.chain(v6) {
            let mut out = b"x".to_vec();
            write_address(address, &mut out);
            assert_eq!(out, format!("x{address}").as_bytes());
        }
    }
}
