//! One request as a line of JSON. docs/access-log.md says what each field means, and a test keeps the
//! two the same.

use std::io::Write;
use std::net::SocketAddr;

use humantime::format_rfc3339_micros;
use sluice_engine::HttpVersion;
use sluice_engine::access::{Protocol, Record};
use sluice_engine::stack::counters::Counted;
use sluice_engine::stack::time::Instant;

use crate::wall::Reading;

/// Adds the line of a request, its end included.
pub(super) fn write(out: &mut Vec<u8>, record: &Record, clock: &Reading) {
    // Writing to a vector cannot fail.
    let time = clock.time(record.begun);
    let _ = write!(out, "{{\"time\":\"{}\"", format_rfc3339_micros(time));
    text(out, "listener", &record.listener);
    let client = record.client;
    display(out, "client", client.map(|client| client.ip()));
    number(
        out,
        "client_port",
        client.map(|client| client.port().into()),
    );
    text(out, "method", &record.method);
    text(out, "host", &record.host);
    text(out, "path", &record.target);
    let protocol = record.protocol.map(|protocol| match protocol {
        Protocol::Http(HttpVersion::Http10) => "HTTP/1.0",
        Protocol::Http(HttpVersion::Http11) => "HTTP/1.1",
        Protocol::TtHeader => "TTHeader",
        Protocol::Thrift => "Thrift",
        Protocol::MeshHeader => "MeshHeader",
    });
    display(out, "protocol", protocol);
    let status = (record.status != 0).then_some(record.status);
    number(out, "status", status.map(u64::from));
    display(out, "fate", Some(record.fate.name()));
    text(out, "route", &record.route);
    text(out, "service", &record.service);
    display::<SocketAddr>(out, "endpoint", record.endpoint);
    let _ = write!(out, ",\"upstream_reused\":{}", record.upstream_reused);
    number(out, "attempts", Some(record.attempts.into()));
    for (name, at) in [
        ("head_us", record.head),
        ("connect_us", record.connected),
        ("send_us", record.sent),
        ("first_byte_us", record.first_byte),
        ("total_us", record.ended),
    ] {
        let reached = at != Instant::NEVER;
        number(out, name, reached.then(|| micros(record.begun, at)));
    }
    for (name, bytes) in [
        ("bytes_in", record.bytes_in),
        ("bytes_out", record.bytes_out),
        ("upstream_bytes_in", record.upstream_bytes_in),
        ("upstream_bytes_out", record.upstream_bytes_out),
    ] {
        number(out, name, Some(bytes));
    }
    text(out, "request_id", &record.request_id);
    text(out, "user_agent", &record.user_agent);
    text(out, "from_service", &record.from_service);
    text(out, "to_service", &record.to_service);
    let _ = match record.exception {
        Some(exception) => write!(out, ",\"exception\":{exception}"),
        None => write!(out, ",\"exception\":null"),
    };
    text(out, "biz_status", &record.biz_status);
    out.extend_from_slice(b"}\n");
}

fn micros(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.since(from).as_micros()).unwrap_or(u64::MAX)
}

fn number(out: &mut Vec<u8>, name: &str, value: Option<u64>) {
    let _ = match value {
        Some(value) => write!(out, ",\"{name}\":{value}"),
        None => write!(out, ",\"{name}\":null"),
    };
}

/// What needs no escaping.
fn display<T: std::fmt::Display>(out: &mut Vec<u8>, name: &str, value: Option<T>) {
    let _ = match value {
        Some(value) => write!(out, ",\"{name}\":\"{value}\""),
        None => write!(out, ",\"{name}\":null"),
    };
}

/// Whatever a client sent; null if it is empty.
fn text(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    if value.is_empty() {
        return number(out, name, None);
    }
    let _ = write!(out, ",\"{name}\":\"");
    for chunk in value.utf8_chunks() {
        chunk.valid().chars().for_each(|c| escaped(out, c));
        // A byte that is no text becomes the character of its number.
        chunk.invalid().iter().for_each(|&byte| {
            let _ = write!(out, "\\u{byte:04x}");
        });
    }
    out.push(b'"');
}

/// RFC 8259 section 7.
fn escaped(out: &mut Vec<u8>, c: char) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        c if c < ' ' || c == '\x7f' => {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use serde_json::Value;
    use sluice_engine::stats::RequestFate;

    use super::*;
    use crate::wall::Wall;

    fn line(record: &Record) -> (String, Value) {
        let mut out = Vec::new();
        write(&mut out, record, &Wall::new(0, 1_000_000_000).read());
        let line = String::from_utf8(out).unwrap();
        let value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        (line, value)
    }

    fn at(micros: u64) -> Instant {
        Instant::from_nanos(micros * 1_000)
    }

    #[test]
    fn a_request_is_told_whole() {
        let mut record = Record {
            begun: at(100),
            head: at(110),
            connected: at(120),
            sent: at(125),
            first_byte: at(1_100),
            ended: at(1_100),
            client: Some("[fd77:1::2]:4711".parse().unwrap()),
            protocol: Some(Protocol::Http(HttpVersion::Http11)),
            endpoint: Some("10.77.2.2:8080".parse().unwrap()),
            upstream_reused: true,
            attempts: 1,
            status: 200,
            fate: RequestFate::Answered,
            bytes_in: 80,
            bytes_out: 300,
            upstream_bytes_in: 301,
            upstream_bytes_out: 120,
            ..Record::default()
        };
        record.listener.extend(*b"web");
        record.method.extend(*b"GET");
        record.host.extend(*b"shop.test");
        record.target.extend(*b"/a?b=c");
        record.route.extend(*b"shop");
        record.service.extend(*b"s");
        record.request_id.extend(*b"id-1");
        record.user_agent.extend(*b"curl");
        let (line, value) = line(&record);
        let time = value["time"].as_str().unwrap();
        assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
        assert_eq!(
            line.split_once(",\"listener").unwrap().1,
            "\":\"web\",\"client\":\"fd77:1::2\",\"client_port\":4711,\"method\":\"GET\",\
             \"host\":\"shop.test\",\"path\":\"/a?b=c\",\"protocol\":\"HTTP/1.1\",\"status\":200,\
             \"fate\":\"answered\",\"route\":\"shop\",\"service\":\"s\",\
             \"endpoint\":\"10.77.2.2:8080\",\"upstream_reused\":true,\"attempts\":1,\
             \"head_us\":10,\"connect_us\":20,\"send_us\":25,\"first_byte_us\":1000,\
             \"total_us\":1000,\"bytes_in\":80,\"bytes_out\":300,\"upstream_bytes_in\":301,\
             \"upstream_bytes_out\":120,\"request_id\":\"id-1\",\"user_agent\":\"curl\",\
             \"from_service\":null,\"to_service\":null,\"exception\":null,\"biz_status\":null}\n"
        );
    }

    #[test]
    fn what_is_not_known_is_null() {
        let (_, value) = line(&Record {
            begun: at(0),
            ended: at(3),
            fate: RequestFate::Malformed,
            ..Record::default()
        });
        for name in [
            "method",
            "path",
            "status",
            "endpoint",
            "head_us",
            "connect_us",
        ] {
            assert_eq!(value[name], Value::Null, "{name}");
        }
        assert_eq!(
            (&value["total_us"], &value["attempts"]),
            (&3.into(), &0.into())
        );
    }

    #[test]
    fn arbitrary_bytes_stay_one_valid_line() {
        let mut record = Record::default();
        record
            .target
            .extend(*b"/\"\\\n\r\t\0\x7f\xff\xc3\xa4\xe2\x82");
        record.user_agent.extend((0..=127).map(|n| n + 128));
        let (line, value) = line(&record);
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(value["path"], "/\"\\\n\r\t\0\x7f\u{ff}\u{e4}\u{e2}\u{82}");
        assert_eq!(value["user_agent"].as_str().unwrap().chars().count(), 128);
    }

    #[test]
    fn the_documented_fields_are_those_written() {
        let doc = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/access-log.md");
        let doc = fs::read_to_string(doc).unwrap();
        let documented: Vec<&str> = doc
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(name, _)| name)
            .collect();
        let (line, value) = line(&Record::default());
        let names: BTreeSet<&str> = documented.iter().copied().collect();
        let written: BTreeSet<&str> = value.as_object().unwrap().keys().map(|k| &**k).collect();
        assert_eq!(names, written);
        // In the same order, too.
        let places: Vec<Option<usize>> = documented
            .iter()
            .map(|name| line.find(&format!("\"{name}\":")))
            .collect();
        assert!(places.is_sorted(), "{documented:?}");
    }
}
