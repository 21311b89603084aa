//! Hosts, paths and conditions.

use std::collections::BTreeMap;

use sluice_wire::http1::{NewTarget, plain_path};

use super::report::Report;
use super::rpc;
use crate::matching::{
    Condition, Key, MAX_CAPTURES, PathMatch, PathRegex, Pattern, PatternError, Regex, RegexError,
    Regexes, Test, ValueTest, hash,
};
use crate::rules::{self, Cidr, OneOrMany, PathForm, Short, ValueForm, ValueMatch};
use crate::snapshot::HostMatch;
use crate::yaml::Path;

/// Longest host in a rule: a name in text (RFC 1035, 2.3.4, without the length bytes).
const MAX_HOST: usize = 253;
/// Longest path, in bytes.
const MAX_PATH: usize = 1024;
/// Most segments of a path: each can cost a request one look-up.
const MAX_SEGMENTS: usize = 32;
/// Longest value that is compared, in bytes.
const MAX_VALUE: usize = 1024;
/// Most conditions of one kind.
const MAX_CONDITIONS: usize = 32;
/// Deepest `not`.
const MAX_NOT: usize = 2;

pub(super) fn host(path: &Path, text: &str, report: &mut Report<'_>) -> Option<HostMatch> {
    if text == "*" {
        return Some(HostMatch::Any);
    }
    let lower = text.to_ascii_lowercase();
    let (below, host) = match lower.strip_prefix("*.") {
        Some(host) => (true, host),
        None => (false, lower.as_str()),
    };
    if let Err((message, mend)) = check_host(text, host, below) {
        report.refuse(path, message, mend);
        return None;
    }
    Some(if below {
        HostMatch::Below(host.into())
    } else {
        HostMatch::Exact(host.into())
    })
}

fn check_host(text: &str, host: &str, below: bool) -> Result<(), (String, Option<String>)> {
    let in_brackets = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    if let Some(address) = in_brackets.filter(|_| !below) {
        return match address.parse::<std::net::Ipv6Addr>() {
            Ok(_) => Ok(()),
            Err(_) => Err((format!("{text:?} is no IPv6 address"), None)),
        };
    }
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err((
            format!("{text:?} lacks brackets"),
            Some(format!("write \"[{text}]\"")),
        ));
    }
    if let Some((name, port)) = host.rsplit_once(':')
        && !name.is_empty()
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        let mend = text
            .rsplit_once(':')
            .map(|(name, _)| format!("write \"{name}\""));
        return Err((
            format!("{text:?} has a port, which is ignored in requests"),
            mend,
        ));
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(legal);
    if host.len() > MAX_HOST || !host.split('.').all(label) {
        let mend = "write a name, *.example.com for all names below one, or * for any".to_owned();
        return Err((format!("{text:?} is no host"), Some(mend)));
    }
    Ok(())
}

/// Whole segments: `/`, or segments without a slash at the end.
pub(super) fn prefix(path: &Path, text: &str, report: &mut Report<'_>) -> Option<Box<str>> {
    if text == "/" {
        return Some(text.into());
    }
    let trailing = || {
        let start = text.strip_suffix('/')?.trim_end_matches('/');
        let mend = format!("write \"{}\"", if start.is_empty() { "/" } else { start });
        let message = "ends with /, but matches whole segments anyway".to_owned();
        Some((message, Some(mend)))
    };
    let empty = || {
        let mut segments = text.split('/').skip(1);
        let found = segments.any(|segment| matches!(segment, "" | "." | ".."));
        found.then(|| (format!("{text:?} has an empty, `.` or `..` segment"), None))
    };
    match check_path(text).or_else(trailing).or_else(empty) {
        Some((message, mend)) => {
            report.refuse(path, message, mend);
            None
        }
        None => Some(text.into()),
    }
}

/// What is wrong with a path as it stands in a request, and what to do.
fn check_path(text: &str) -> Option<(String, Option<String>)> {
    if !text.starts_with('/') {
        Some((
            format!("{text:?} does not begin with /"),
            Some(format!("write \"/{text}\"")),
        ))
    } else if text.len() > MAX_PATH || text.matches('/').count() > MAX_SEGMENTS {
        let message = format!("is longer than {MAX_PATH} bytes or {MAX_SEGMENTS} segments");
        Some((message, None))
    } else if text.contains('?') || NewTarget::new(text.as_bytes()).is_none() {
        let mend = "write it as it stands in a request: no query, other characters as %20";
        Some((format!("{text:?} is no path"), Some(mend.to_owned())))
    } else {
        check_plain(text)
    }
}

/// A path is compared in one way of writing it: another would take no request.
fn check_plain(text: &str) -> Option<(String, Option<String>)> {
    let mut scratch = Vec::new();
    let plain = plain_path(text.as_bytes(), &mut scratch);
    (plain != text.as_bytes()).then(|| {
        let message = format!("{text:?} is not written as paths are compared");
        let mend = format!("write \"{}\"", String::from_utf8_lossy(plain));
        (message, Some(mend))
    })
}

/// A segment for which every request is refused: the path would take none.
fn check_segments(text: &str) -> Option<(String, Option<String>)> {
    let target = NewTarget::new(text.as_bytes());
    let found = target.is_some_and(|target| target.has_dot_segment());
    found.then(|| {
        let message = format!("{text:?} has a `.` or `..` segment, for which requests are refused");
        (message, None)
    })
}

/// A path in any of its forms.
pub(super) fn path(
    at: &Path,
    own: &rules::PathMatch,
    regexes: &mut Regexes,
    report: &mut Report<'_>,
) -> Option<PathMatch> {
    let plain = |at: &Path, text: &str, report: &mut Report<'_>| {
        let wrong = check_path(text).or_else(|| check_segments(text));
        if let Some((message, mend)) = &wrong {
            report.refuse(at, message.clone(), mend.clone());
        }
        wrong.is_none()
    };
    match own {
        Short::Short(text) => prefix(at, text, report).map(PathMatch::Prefix),
        Short::Full(PathForm::Prefix(text)) => {
            prefix(&at.key("prefix"), text, report).map(PathMatch::Prefix)
        }
        Short::Full(PathForm::Exact(text)) => {
            plain(&at.key("exact"), text, report).then(|| PathMatch::Exact(text.as_str().into()))
        }
        Short::Full(PathForm::Pattern(text)) => {
            let at = at.key("pattern");
            if !plain(&at, text, report) {
                return None;
            }
            match Pattern::parse(text) {
                Ok(pattern) => Some(PathMatch::Pattern(pattern)),
                Err(error) => {
                    let (message, mend) = explain_pattern(error);
                    report.refuse(&at, message, mend);
                    None
                }
            }
        }
        Short::Full(PathForm::Regex(text)) => {
            let at = at.key("regex");
            let path = PathRegex::new(regex(&at, text, regexes, report)?);
            if path.is_none() {
                report.wrong(&at, format!("has more than {MAX_CAPTURES} named groups"));
            }
            path.map(PathMatch::Regex)
        }
    }
}

fn explain_pattern(error: PatternError) -> (String, Option<String>) {
    match error {
        PatternError::Segment(segment) => (
            format!("the segment {segment:?} is neither text nor one {{name}}"),
            Some("write a regex for parts of segments".into()),
        ),
        PatternError::Name(name) => (
            format!("{name:?} is no name"),
            Some("write letters, digits, - and _, such as {id}, or {rest...} at the end".into()),
        ),
        PatternError::NotLast(_) => ("{name...} is not at the end".into(), None),
        PatternError::Twice(name) => (format!("{{{name}}} stands there twice"), None),
        PatternError::TooMany => (format!("has more than {MAX_CAPTURES} names"), None),
    }
}

fn regex(at: &Path, text: &str, regexes: &mut Regexes, report: &mut Report<'_>) -> Option<Regex> {
    match regexes.get(text) {
        Ok(regex) => Some(regex),
        Err(RegexError::TooLong) => {
            report.refuse(at, "is longer than 1024 bytes", None);
            None
        }
        Err(RegexError::Invalid(why)) => {
            report.refuse(at, format!("is no regular expression: {why}"), None);
            None
        }
        Err(RegexError::TooLarge) => {
            let mend = "repeat less, or look at less of it".to_owned();
            report.refuse(at, "would take too much memory to match", mend);
            None
        }
        Err(RegexError::TooMany) => {
            let mend = "use fewer, or prefixes";
            report.mend(at, "together with all others takes too much memory", mend);
            None
        }
    }
}

/// What conditions are made from, beside hosts and paths.
pub(super) struct Wanted<'a> {
    pub(super) method: Option<&'a OneOrMany<String>>,
    pub(super) headers: &'a BTreeMap<String, ValueMatch>,
    pub(super) query: &'a BTreeMap<String, ValueMatch>,
    pub(super) cookies: &'a BTreeMap<String, ValueMatch>,
    /// Conditions that calls have beside service and method.
    pub(super) rpc: Vec<Condition>,
    pub(super) source: Option<&'a OneOrMany<Cidr>>,
    pub(super) sample: Option<&'a rules::Sample>,
    /// Sets its share of requests apart from others.
    pub(super) salt: u64,
}

/// Conditions, what is cheap to ask first.
pub(super) fn conditions(
    at: &Path,
    wanted: Wanted<'_>,
    regexes: &mut Regexes,
    report: &mut Report<'_>,
) -> Vec<Condition> {
    let mut conditions = Vec::new();
    if let Some(methods) = wanted.method {
        conditions.push(Condition::Method(method(
            &at.key("method"),
            methods,
            report,
        )));
    }
    if let Some(source) = wanted.source {
        let networks: Box<[Cidr]> = source.values().into();
        if networks.is_empty() {
            report.mend(
                &at.key("source"),
                "lists no network",
                "add one, or take it out",
            );
        }
        conditions.push(Condition::Source(networks));
    }
    type Make = fn(Box<[u8]>, ValueTest) -> Condition;
    let kinds: [(&str, _, Make); 3] = [
        ("headers", wanted.headers, Condition::Header),
        ("query", wanted.query, Condition::Query),
        ("cookies", wanted.cookies, Condition::Cookie),
    ];
    for (kind, values, make) in kinds {
        let at = at.key(kind);
        if values.len() > MAX_CONDITIONS {
            report.wrong(&at, format!("has more than {MAX_CONDITIONS} names"));
        }
        for (name, value) in values {
            let at = at.key(name);
            let name = condition_name(&at, kind, name, report);
            let test = value_test(&at, value, 0, regexes, report);
            conditions.extend(test.map(|test| make(name, test)));
        }
    }
    conditions.extend(wanted.rpc);
    if let Some(sample) = wanted.sample {
        conditions.push(sampled(&at.key("sample"), sample, wanted.salt, report));
    }
    conditions
}

fn condition_name(at: &Path, kind: &str, name: &str, report: &mut Report<'_>) -> Box<[u8]> {
    match kind {
        "headers" => header_name(at, name, report, true),
        _ => {
            if name.is_empty() || name.len() > MAX_VALUE {
                report.wrong_key(at, format!("a name has 1 to {MAX_VALUE} bytes"), None);
            }
            name.as_bytes().into()
        }
    }
}

/// The name of a header in lower case.
pub(super) fn header_name(
    at: &Path,
    name: &str,
    report: &mut Report<'_>,
    is_key: bool,
) -> Box<[u8]> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(legal) {
        let message = format!("{name:?} is no header name");
        if is_key {
            report.refuse_key(at, message, None);
        } else {
            report.refuse(at, message, None);
        }
    } else if name.eq_ignore_ascii_case("host") {
        let mend = Some("use `host` of the route".to_owned());
        let message = "the host is matched without its port, by `host`";
        if is_key {
            report.refuse_key(at, message, mend);
        } else {
            report.refuse(at, message, mend);
        }
    }
    name.to_ascii_lowercase().into_bytes().into()
}

fn method(at: &Path, methods: &OneOrMany<String>, report: &mut Report<'_>) -> Box<[Box<[u8]>]> {
    if methods.values().is_empty() {
        report.mend(
            at,
            "lists no method",
            "add one, such as GET, or take it out",
        );
    }
    for (at, method) in methods.entries(at) {
        let upper = method.to_ascii_uppercase();
        if method.is_empty() || !method.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-') {
            let mend = "write one such as GET".to_owned();
            report.refuse(&at, format!("{method:?} is no method"), mend);
        } else if upper != *method {
            report.refuse(&at, "methods are upper case", format!("write {upper}"));
        }
    }
    let methods = methods.values().iter();
    methods.map(|method| method.as_bytes().into()).collect()
}

pub(super) fn value_test(
    at: &Path,
    value: &ValueMatch,
    depth: usize,
    regexes: &mut Regexes,
    report: &mut Report<'_>,
) -> Option<ValueTest> {
    let bytes = |at: &Path, text: &str, report: &mut Report<'_>| -> Box<[u8]> {
        if text.len() > MAX_VALUE {
            report.wrong(at, format!("is longer than {MAX_VALUE} bytes"));
        }
        text.as_bytes().into()
    };
    let exact = |at: &Path, values: &OneOrMany<String>, report: &mut Report<'_>| {
        if values.values().is_empty() {
            report.mend(at, "lists no value", "add one");
        }
        let values = values.entries(at);
        Test::Exact(values.map(|(at, text)| bytes(&at, text, report)).collect())
    };
    let part = |at: Path, text: &str, report: &mut Report<'_>| {
        if text.is_empty() {
            report.mend(
                &at,
                "is empty, which every value fits",
                "write `present: true`",
            );
        }
        bytes(&at, text, report)
    };
    let form = match value {
        Short::Short(values) => return Some(plain(exact(at, values, report))),
        Short::Full(form) => form,
    };
    Some(match form {
        ValueForm::Exact(values) => plain(exact(&at.key("exact"), values, report)),
        ValueForm::Prefix(text) => plain(Test::Prefix(part(at.key("prefix"), text, report))),
        ValueForm::Suffix(text) => plain(Test::Suffix(part(at.key("suffix"), text, report))),
        ValueForm::Regex(text) => {
            plain(Test::Regex(regex(&at.key("regex"), text, regexes, report)?))
        }
        ValueForm::Range(range) => {
            if range.from >= range.to {
                report.mend(
                    &at.key("range"),
                    "is empty: `to` is one more than the largest",
                    "make `to` larger than `from`",
                );
            }
            plain(Test::Range(range.from, range.to))
        }
        ValueForm::Present(present) => ValueTest {
            test: Test::Present,
            not: !present,
        },
        ValueForm::Not(inner) => {
            let at = at.key("not");
            if depth >= MAX_NOT {
                report.wrong(&at, "is not, not, not: say it in one");
                return None;
            }
            let test = value_test(&at, inner, depth + 1, regexes, report)?;
            ValueTest {
                not: !test.not,
                ..test
            }
        }
    })
}

fn plain(test: Test) -> ValueTest {
    ValueTest { test, not: false }
}

fn sampled(at: &Path, sample: &rules::Sample, salt: u64, report: &mut Report<'_>) -> Condition {
    let (share, by) = match sample {
        Short::Short(share) => (share, None),
        Short::Full(form) => (&form.share, Some(key(&at.key("by"), &form.by, report))),
    };
    if share.per_million() == 0 {
        report.mend(
            at,
            "takes no request at all",
            "write more than 0%, or take the rule out",
        );
    }
    Condition::Sample {
        share: share.per_million(),
        // By the same key the same requests, whatever the rule.
        salt: if by.is_some() { hash(b"key") } else { salt },
        by,
    }
}

/// What tells requests apart.
pub(super) fn key(at: &Path, own: &rules::Key, report: &mut Report<'_>) -> Key {
    let named = |kind: &str, name: &str, report: &mut Report<'_>| -> Box<[u8]> {
        if name.is_empty() || name.len() > MAX_VALUE {
            report.wrong(&at.key(kind), "is no name");
        }
        name.as_bytes().into()
    };
    match own {
        rules::Key::Header(name) => {
            Key::Header(header_name(&at.key("header"), name, report, false))
        }
        rules::Key::Cookie(name) => Key::Cookie(named("cookie", name, report)),
        rules::Key::Query(name) => Key::Query(named("query", name, report)),
        rules::Key::Key(name) => match rpc::key(&at.key("key"), name, report) {
            Some(key) => Key::Rpc(key),
            // Reported.
            None => Key::Source,
        },
        rules::Key::Source => Key::Source,
    }
}
