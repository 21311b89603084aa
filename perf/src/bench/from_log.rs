//! `sluice bench requests`: weighted requests from what clients asked a gateway for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;

use serde::Deserialize;
use sluice_policy::rules::Size;

use super::args::RequestsArgs;
use super::{refuse, say};
use crate::load::plan::http1::head_length;
use crate::load::plan::{RequestFile, RequestSpec};

/// What a line of the access log is read for.
#[derive(Debug, Deserialize)]
struct Line {
    method: Option<String>,
    host: Option<String>,
    path: Option<String>,
    status: Option<u16>,
    bytes_in: Option<u64>,
}

/// What makes requests the same.
type Key = (String, Option<String>, String, Option<u16>);

/// What was read of a log.
#[derive(Debug, Default)]
struct Tally {
    counts: HashMap<Key, Seen>,
    lines: u64,
    unusable: u64,
}

/// How often a request was asked, and how many bytes of it came in all.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    count: u64,
    bytes: u64,
}

/// Longest body that is made: one absurd line of a log is not to keep a connection busy for hours.
const LONGEST_BODY: u64 = 1 << 30;

/// Longest path that a log has whole, in bytes: longer ones are cut there.
const WHOLE_PATH: usize = 512;

pub(super) fn command(args: &RequestsArgs) -> ExitCode {
    let tally = match read(&args.from) {
        Ok(tally) => tally,
        Err(error) => {
            return refuse(format_args!(
                "{} cannot be read: {error}",
                args.from.display()
            ));
        }
    };
    if tally.counts.is_empty() {
        return refuse(format_args!(
            "{}: none of {} lines is a request that can be sent; see docs/access-log.md for their form",
            args.from.display(),
            tally.lines
        ));
    }
    let file = requests(&tally, args.limit as usize);
    let kept: u64 = file.requests.iter().map(|spec| spec.weight).sum();
    say(format_args!(
        "{} lines: {} different requests from {} of them; {} cannot be sent again, {} are beyond --limit",
        tally.lines,
        file.requests.len(),
        kept,
        tally.unusable,
        tally.lines - tally.unusable - kept,
    ));
    if let Some(sizes) = body_sizes(&file) {
        say(sizes);
    }
    let text = match serde_saphyr::to_string(&file) {
        Ok(text) => text,
        Err(error) => return refuse(error),
    };
    match stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(format_args!("stdout takes no output: {error}")),
    }
}

fn read(path: &Path) -> io::Result<Tally> {
    if path == Path::new("-") {
        return tally(stdin().lock());
    }
    tally(BufReader::new(File::open(path)?))
}

fn tally(log: impl BufRead) -> io::Result<Tally> {
    let mut tally = Tally::default();
    for line in log.split(b'\n') {
        let line = line?;
        if line.is_empty() {
            continue;
        }
        tally.lines += 1;
        match key(&line) {
            Some((key, bytes)) => {
                let seen = tally.counts.entry(key).or_default();
                seen.count += 1;
                seen.bytes = seen.bytes.saturating_add(bytes);
            }
            None => tally.unusable += 1,
        }
    }
    Ok(tally)
}

/// What can be sent again, and how many bytes it had: a method that the generator may repeat, and a whole path.
fn key(line: &[u8]) -> Option<(Key, u64)> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let (method, path) = (line.method?, line.path?);
    let bodiless = matches!(&*method, "GET" | "HEAD" | "OPTIONS" | "DELETE" | "TRACE");
    let sendable = (bodiless || (has_body(&method) && line.bytes_in.is_some()))
        && path.starts_with('/')
        && path.len() < WHOLE_PATH
        && path.bytes().all(|byte| byte.is_ascii_graphic());
    // A status below 200 or none: nothing can be said about the answer.
    let status = line.status.filter(|status| (200..600).contains(status));
    let key = (method, line.host, path, status);
    let valid = sendable && head_length(&spec(&key)).is_some();
    valid.then_some((key, line.bytes_in.unwrap_or(0)))
}

fn has_body(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH")
}

fn spec(key: &Key) -> RequestSpec {
    let (method, host, path, status) = key;
    RequestSpec {
        method: Some(method.clone()),
        host: host.clone(),
        path: Some(path.clone()),
        status: *status,
        // The digits of its length are part of the head.
        body: has_body(method).then_some(Size(1_000)),
        ..RequestSpec::default()
    }
}

/// The most frequent first. A log has no bodies: one is as long as the whole request was on average, less the head
/// that is sent now.
fn requests(tally: &Tally, limit: usize) -> RequestFile {
    let mut counted: Vec<(&Key, Seen)> = tally.counts.iter().map(|(key, n)| (key, *n)).collect();
    counted.sort_by(|a, b| b.1.count.cmp(&a.1.count).then_with(|| a.0.cmp(b.0)));
    let requests = counted.into_iter().take(limit).map(|(key, seen)| {
        let spec = spec(key);
        let head = head_length(&spec).unwrap_or(0);
        let body = (seen.bytes / seen.count.max(1)).saturating_sub(head);
        RequestSpec {
            weight: seen.count,
            body: spec.body.map(|_| Size(body.min(LONGEST_BODY))),
            ..spec
        }
    });
    RequestFile {
        requests: requests.collect(),
    }
}

/// Which sizes bodies were given.
fn body_sizes(file: &RequestFile) -> Option<String> {
    let sizes = || file.requests.iter().filter_map(|spec| Some(spec.body?.0));
    let (least, most) = (sizes().min()?, sizes().max()?);
    let cut = match sizes().filter(|size| *size == LONGEST_BODY).count() {
        0 => String::new(),
        count => format!(
            "; {count} came longer than {}, and have that",
            Size(LONGEST_BODY)
        ),
    };
    Some(format!(
        "{} of them are POST, PUT or PATCH and have a body of pseudo-random bytes, {least} to {most} bytes long: a log \
         has no bodies, so each request is made about as long as it came (bytes_in); give them a `text` where the \
         service reads it{cut}",
        sizes().count()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = concat!(
        r#"{"time":"x","method":"GET","host":"a.test","path":"/1","status":200,"fate":"ok"}"#,
        "\n",
        r#"{"time":"x","method":"GET","host":"a.test","path":"/1","status":200}"#,
        "\n",
        r#"{"time":"x","method":"HEAD","host":"b.test","path":"/2?q='1'","status":404}"#,
        "\n",
        r#"{"time":"x","method":"POST","host":"b.test","path":"/3","status":200}"#,
        "\n",
        r#"{"time":"x","method":"POST","host":"b.test","path":"/3","status":201,"bytes_in":5000}"#,
        "\n",
        r#"{"time":"x","method":"POST","host":"b.test","path":"/3","status":201,"bytes_in":7000}"#,
        "\n",
        r#"{"time":"x","method":null,"host":null,"path":null,"status":400}"#,
        "\n",
        "not json\n",
    );

    #[test]
    fn requests_are_weighted_by_how_often_they_were_asked() {
        let tally = tally(LOG.as_bytes()).unwrap();
        assert_eq!((tally.lines, tally.unusable), (8, 3));
        let file = requests(&tally, 10);
        let text = serde_saphyr::to_string(&file).unwrap();
        let back: RequestFile = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, file);
        let shown: Vec<_> = file
            .requests
            .iter()
            .map(|r| (r.weight, r.method.as_deref(), r.path.as_deref(), r.status))
            .collect();
        assert_eq!(
            shown,
            [
                (2, Some("GET"), Some("/1"), Some(200)),
                (2, Some("POST"), Some("/3"), Some(201)),
                (1, Some("HEAD"), Some("/2?q='1'"), Some(404))
            ]
        );
        // In all as long as they were on average.
        let head = "POST /3 HTTP/1.1\r\nHost: b.test\r\nUser-Agent: sluice-bench\r\nContent-Length: 5900\r\n\r\n";
        let whole = file.requests[1]
            .body
            .map(|size| size.0 as usize + head.len());
        assert_eq!(whole, Some(6_000));
        let said = body_sizes(&file).unwrap();
        assert!(said.starts_with("1 of them are POST"), "{said}");
        assert_eq!(requests(&tally, 1).requests.len(), 1);
        assert_eq!(body_sizes(&requests(&tally, 1)), None);
    }

    #[test]
    fn a_body_is_no_longer_than_a_gibibyte_whatever_the_log_says() {
        let line = |bytes: u64| {
            format!(
                r#"{{"method":"PUT","host":"a.test","path":"/1","status":200,"bytes_in":{bytes}}}"#
            )
        };
        for (bytes, cut) in [(u64::MAX, true), (5 << 30, true), (1 << 20, false)] {
            let file = requests(&tally(line(bytes).as_bytes()).unwrap(), 10);
            let body = file.requests[0].body.unwrap().0;
            assert_eq!(body == 1 << 30, cut, "{bytes}: {body}");
            let said = body_sizes(&file).unwrap();
            assert_eq!(
                said.contains("1 came longer than 1GiB, and have that"),
                cut,
                "{said}"
            );
        }
    }
}
