//! Whole answers of the gateway's own.

use super::edits::{FieldEdits, FieldValue};
use super::write::{
    write_additions, write_connection, write_field, write_framing, write_status_line,
};
use super::{BodyFraming, Version};

/// Appends a whole answer of the gateway's own: `text` and a line feed as plain text, the body left
/// out for HEAD. `status` is one that has a body. `version` is the client's; `date` is left out where
/// the time is not known.
pub fn write_local_reply(
    out: &mut Vec<u8>,
    status: u16,
    text: &str,
    head_only: bool,
    close: bool,
    version: Version,
    date: Option<FieldValue<'_>>,
) {
    write_status_line(out, status, reason_phrase(status).as_bytes());
    if let Some(FieldValue(date)) = date {
        write_field(out, b"Date", date);
    }
    out.extend_from_slice(b"Server: sluice\r\nContent-Type: text/plain; charset=utf-8\r\n");
    write_framing(out, BodyFraming::Length(text.len() as u64 + 1));
    write_connection(out, version, !close);
    out.extend_from_slice(b"\r\n");
    if !head_only {
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    }
}

/// An answer that the rules give in the service's place.
#[derive(Debug, Clone, Copy)]
pub struct RuleReply<'a> {
    /// 200 to 599.
    pub status: u16,
    /// What kind of body it is, and the body; without it, there is none.
    pub body: Option<(FieldValue<'a>, &'a [u8])>,
    /// Where a redirect leads.
    pub location: Option<FieldValue<'a>>,
    /// The operator's changes to the head.
    pub fields: FieldEdits<'a>,
}

/// Appends a whole answer of the rules, the body left out for HEAD. `version` is the client's; `date`
/// is left out where the time is not known.
pub fn write_rule_reply(
    out: &mut Vec<u8>,
    reply: &RuleReply<'_>,
    head_only: bool,
    close: bool,
    version: Version,
    date: Option<FieldValue<'_>>,
) {
    write_status_line(out, reply.status, reason_phrase(reply.status).as_bytes());
    if let Some(FieldValue(date)) = date {
        write_field(out, b"Date", date);
    }
    write_field(out, b"Server", b"sluice");
    if let Some(FieldValue(location)) = reply.location {
        write_field(out, b"Location", location);
    }
    let body = match reply.body {
        Some((FieldValue(kind), body)) => {
            write_field(out, b"Content-Type", kind);
            body
        }
        None => b"",
    };
    // RFC 9110 sections 8.6 and 15.3.5, 15.4.5: these never have a body, nor say how long it is.
    let bodiless = matches!(reply.status, 204 | 304);
    if !bodiless {
        write_framing(out, BodyFraming::Length(body.len() as u64));
    }
    write_connection(out, version, !close);
    write_additions(out, &reply.fields);
    out.extend_from_slice(b"\r\n");
    if !head_only && !bodiless {
        out.extend_from_slice(body);
    }
}

/// The reason phrase of a status (RFC 9110 section 15 and the registry); empty for unknown ones.
#[must_use]
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
