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
use crate::load::plan::http1::is_sendable;
use crate::load::plan::{RequestFile, RequestSpec};

/// What a line of the access log is read for.
#[derive(Debug, Deserialize)]
struct Line {
    method: Option<String>,
    host: Option<String>,
    path: Option<String>,
    status: Option<u16>,
}

/// What makes requests the same.
type Key = (String, Option<String>, String, Option<u16>);

/// What was read of a log.
#[derive(Debug, Default)]
struct Tally {
    counts: HashMap<Key, u64>,
    lines: u64,
    unusable: u64,
}

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
            Some(key) => *tally.counts.entry(key).or_default() += 1,
            None => tally.unusable += 1,
        }
    }
    Ok(tally)
}

/// What can be sent again: a method without a body that a log would lack, and a whole path.
fn key(line: &[u8]) -> Option<Key> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let (method, path) = (line.method?, line.path?);
    let sendable = matches!(&*method, "GET" | "HEAD" | "OPTIONS" | "DELETE" | "TRACE")
        && path.starts_with('/')
        && path.len() < WHOLE_PATH
        && path.bytes().all(|byte| byte.is_ascii_graphic());
    // A status below 200 or none: nothing can be said about the answer.
    let status = line.status.filter(|status| (200..600).contains(status));
    let spec = RequestSpec {
        method: Some(method.clone()),
        host: line.host.clone(),
        path: Some(path.clone()),
        ..RequestSpec::default()
    };
    (sendable && is_sendable(&spec)).then_some((method, line.host, path, status))
}

/// The most frequent first.
fn requests(tally: &Tally, limit: usize) -> RequestFile {
    let mut counted: Vec<(&Key, u64)> = tally.counts.iter().map(|(key, n)| (key, *n)).collect();
    counted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let requests = counted
        .into_iter()
        .take(limit)
        .map(|((method, host, path, status), weight)| RequestSpec {
            weight,
            method: Some(method.clone()),
            host: host.clone(),
            path: Some(path.clone()),
            status: *status,
            response: None::<Size>,
            ..RequestSpec::default()
        });
    RequestFile {
        requests: requests.collect(),
    }
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
        r#"{"time":"x","method":null,"host":null,"path":null,"status":400}"#,
        "\n",
        "not json\n",
    );

    #[test]
    fn requests_are_weighted_by_how_often_they_were_asked() {
        let tally = tally(LOG.as_bytes()).unwrap();
        assert_eq!((tally.lines, tally.unusable), (6, 3));
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
                (1, Some("HEAD"), Some("/2?q='1'"), Some(404))
            ]
        );
        assert_eq!(requests(&tally, 1).requests.len(), 1);
    }
}
