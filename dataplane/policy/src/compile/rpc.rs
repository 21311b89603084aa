//! Remote procedure calls: which ones, changes to their keys, answers to them.

use sluice_wire::thrift::ExceptionKind;
use sluice_wire::ttheader::{integer, string};

use super::headers::explain_template;
use super::matching::value_test;
use super::report::Report;
use crate::action::{KeyEdit, KeyEdits, RpcAnswer};
use crate::matching::{Condition, NameMatch, Regexes, RpcKey, Test, ValueTest};
use crate::rules::{self, ValueMatch};
use crate::template::{Place, Template};
use crate::yaml::Path;

/// Most names of services times most names of methods that one route can list: each pair is an entry
/// of the index.
const MAX_PAIRS: usize = 1024;
/// Most conditions on keys.
const MAX_KEYS: usize = 32;
/// Keys that one route may change in one direction.
const MAX_EDITS: usize = 32;
/// Longest value of a key, in bytes.
const MAX_VALUE: usize = 2048;
/// Longest text of an answer, in bytes.
const MAX_TEXT: usize = 1024;

/// Which calls a route takes: service, method, and conditions on keys.
pub(super) struct Calls {
    pub(super) service: NameMatch,
    pub(super) method: NameMatch,
    pub(super) conditions: Vec<Condition>,
}

impl Calls {
    /// All of it as conditions.
    pub(super) fn into_conditions(self) -> Vec<Condition> {
        let service = match self.service {
            NameMatch::Any => None,
            NameMatch::Exact(names) => Some(ValueTest {
                test: Test::Exact(names),
                not: false,
            }),
            NameMatch::Test(test) => Some(test),
        };
        let to = RpcKey::Integer(integer::TO_SERVICE);
        let service = service.map(|test| Condition::RpcKey(to, test));
        let method = Some(self.method).filter(|method| *method != NameMatch::Any);
        let names = service.into_iter().chain(method.map(Condition::RpcMethod));
        names.chain(self.conditions).collect()
    }
}

/// Which calls a rule takes; all of them without anything said.
pub(super) fn calls(
    at: &Path,
    own: Option<&rules::RpcMatch>,
    regexes: &mut Regexes,
    report: &mut Report<'_>,
) -> Calls {
    let mut calls = Calls {
        service: NameMatch::Any,
        method: NameMatch::Any,
        conditions: Vec::new(),
    };
    let Some(own) = own else {
        return calls;
    };
    let mut test = |key: &str, value: &Option<ValueMatch>, report: &mut Report<'_>| {
        value_test(&at.key(key), value.as_ref()?, 0, regexes, report)
    };
    calls.service = NameMatch::of(test("service", &own.service, report));
    calls.method = NameMatch::of(test("method", &own.method, report));
    let from = test("from", &own.from, report);
    let env = test("env", &own.env, report);
    let count = |names: &NameMatch| match names {
        NameMatch::Exact(names) => names.len(),
        NameMatch::Test(_) | NameMatch::Any => 1,
    };
    let pairs = count(&calls.service).saturating_mul(count(&calls.method));
    if pairs > MAX_PAIRS {
        let message =
            format!("lists {pairs} pairs of service and method; at most {MAX_PAIRS} can be listed");
        report.mend(at, message, "make it several routes");
        // They were to be gone through one by one.
        calls.service = NameMatch::Any;
    }
    let mut add = |key: u16, test: Option<ValueTest>| {
        let condition = |test| Condition::RpcKey(RpcKey::Integer(key), test);
        calls.conditions.extend(test.map(condition));
    };
    add(integer::FROM_SERVICE, from);
    add(integer::ENV, env);
    let at = at.key("keys");
    let service = match &calls.service {
        NameMatch::Exact(names) => Some(ValueTest {
            test: Test::Exact(names.clone()),
            not: false,
        }),
        NameMatch::Test(_) | NameMatch::Any => None,
    };
    if own.keys.len() > MAX_KEYS {
        report.wrong(&at, format!("has more than {MAX_KEYS} keys"));
    }
    for (name, value) in &own.keys {
        let at = at.key(name);
        let key = checked_key(&at, name, report);
        let test = value_test(&at, value, 0, regexes, report);
        let Some((key, test)) = key.zip(test) else {
            continue;
        };
        let stated = calls.conditions.iter().filter_map(|own| match own {
            Condition::RpcKey(own, stated) if *own == key => Some(stated),
            _ => None,
        });
        let service = service.iter();
        let service = service.filter(|_| key == RpcKey::Integer(integer::TO_SERVICE));
        if stated.chain(service).any(|stated| exclude(stated, &test)) {
            report.mend(
                &at,
                format!("no call can have this value of {key} and the other that is stated"),
                "state it once; for either of them write a list",
            );
        }
        calls.conditions.push(Condition::RpcKey(key, test));
    }
    calls
}

/// Whether no value passes both tests, as far as that is plain.
fn exclude(one: &ValueTest, other: &ValueTest) -> bool {
    match (&one.test, &other.test) {
        (Test::Exact(one_of), Test::Exact(other_of)) if !one.not && !other.not => {
            !one_of.iter().any(|value| other_of.contains(value))
        }
        _ => false,
    }
}

fn checked_key(at: &Path, name: &str, report: &mut Report<'_>) -> Option<RpcKey> {
    let key = RpcKey::parse(name);
    if key.is_none() {
        report.wrong_key(at, format!("{name:?} is no key"), Some(HOW.into()));
    }
    key
}

/// How a key is written.
const HOW: &str = "write an integer key's name or number (0 to 65535), or a string key";

/// A key that is a value.
pub(super) fn key(at: &Path, name: &str, report: &mut Report<'_>) -> Option<RpcKey> {
    let key = RpcKey::parse(name);
    if key.is_none() {
        report.mend(at, format!("{name:?} is no key"), HOW);
    }
    key
}

/// Changes to keys. `lane` is the key that the gateway itself states.
pub(super) fn edits(
    at: &Path,
    own: &rules::KeyEdits,
    place: Place<'_>,
    lane: Option<&RpcKey>,
    report: &mut Report<'_>,
) -> KeyEdits {
    let count = own.set.len() + own.add.len() + own.remove.len();
    if count > MAX_EDITS {
        let message = format!("changes {count} keys; at most {MAX_EDITS} can be changed");
        report.wrong(at, message);
    }
    let mut edits = Vec::new();
    let mut seen = Vec::new();
    type Make = fn(RpcKey, Template) -> KeyEdit;
    let lists: [(&str, _, Make); 2] = [
        ("set", &own.set, KeyEdit::Set),
        ("add", &own.add, KeyEdit::Add),
    ];
    for (list, values, make) in lists {
        for (name, value) in values {
            let at = at.key(list).key(name);
            let key = checked_key(&at, name, report);
            if let Some((message, mend)) = key.as_ref().and_then(|key| forbidden(key, lane)) {
                report.wrong_key(&at, message, Some(mend));
            }
            if value.len() > MAX_VALUE {
                report.wrong(&at, format!("the value is longer than {MAX_VALUE} bytes"));
            }
            let template = match Template::parse(value, place) {
                Ok(template) => Some(template),
                Err(error) => {
                    let (message, mend) = explain_template(error);
                    report.suggest(&at, message, mend);
                    None
                }
            };
            if let Some(key) = &key {
                if seen.contains(key) {
                    report.wrong_key(
                        &at,
                        format!("`{key}` is changed twice"),
                        Some("keep one".into()),
                    );
                }
                seen.push(key.clone());
            }
            edits.extend(key.zip(template).map(|(key, value)| make(key, value)));
        }
    }
    for (index, name) in own.remove.iter().enumerate() {
        let at = at.key("remove").index(index);
        if let Some(prefix) = name.strip_suffix('*') {
            if prefix.is_empty() {
                report.mend(
                    &at,
                    "would take out every key",
                    "write what they begin with",
                );
            } else if let Some(fixed) = fixed_under(prefix, lane) {
                let mend = "write more of what the others begin with";
                report.mend(
                    &at,
                    format!("would take out `{fixed}`, which cannot be changed"),
                    mend,
                );
            }
            edits.push(KeyEdit::RemovePrefix(prefix.as_bytes().into()));
            continue;
        }
        let Some(key) = key(&at, name, report) else {
            continue;
        };
        if let Some((message, mend)) = forbidden(&key, lane) {
            report.mend(&at, message, mend);
        } else if seen.contains(&key) {
            report.mend(&at, format!("`{key}` is changed twice"), "keep one");
        }
        seen.push(key.clone());
        edits.push(KeyEdit::Remove(key));
    }
    KeyEdits(edits)
}

/// String keys that cannot be changed, validators aside.
const FIXED: [&[u8]; 5] = [
    string::CRC32C,
    string::CONNECTION_RESET,
    string::BIZ_STATUS,
    string::BIZ_MESSAGE,
    string::BIZ_EXTRA,
];

/// A key that cannot be changed and begins with `prefix`.
fn fixed_under(prefix: &str, lane: Option<&RpcKey>) -> Option<String> {
    let prefix = prefix.as_bytes();
    let lane = lane.and_then(|key| match key {
        RpcKey::String(name) => Some(&**name),
        RpcKey::Integer(_) => None,
    });
    let validators = string::VALIDATOR_PREFIX;
    let mut fixed = FIXED.into_iter().chain(lane).chain([validators]);
    let found = fixed.find(|name| name.starts_with(prefix));
    let found = found.or_else(|| prefix.starts_with(validators).then_some(prefix));
    found.map(|name| String::from_utf8_lossy(name).into_owned())
}

/// Why a key cannot be changed: it says what the payload is, or the gateway itself answers for it.
fn forbidden(key: &RpcKey, lane: Option<&RpcKey>) -> Option<(String, String)> {
    if lane == Some(key) {
        let mend = "take it out, or give `lanes` another key";
        return Some((format!("`{key}` carries the lane"), mend.to_owned()));
    }
    let fixed = match key {
        RpcKey::Integer(number) => matches!(
            *number,
            integer::MSG_TYPE
                | integer::FRAME_TYPE
                | integer::WITH_MESH_HEADER
                | integer::RPC_TIMEOUT
        ),
        RpcKey::String(name) => {
            FIXED.contains(&&**name) || name.starts_with(string::VALIDATOR_PREFIX)
        }
    };
    let mend = "take it out: the gateway itself answers for it".to_owned();
    fixed.then(|| (format!("`{key}` cannot be changed"), mend))
}

/// What calls are answered with; `None` where nothing is said.
pub(super) fn answer(
    at: &Path,
    exception: Option<&rules::Exception>,
    biz_status: Option<&rules::BizStatus>,
    report: &mut Report<'_>,
) -> Option<RpcAnswer> {
    if exception.is_some() && biz_status.is_some() {
        report.mend(
            &at.key("biz_status"),
            "stands beside `exception`",
            "keep one of them",
        );
    }
    if let Some(own) = exception {
        return Some(RpcAnswer::Exception {
            kind: kind(own.kind),
            message: text(&at.key("exception").key("message"), &own.message, report),
        });
    }
    let own = biz_status?;
    let at = at.key("biz_status");
    if own.status == 0 {
        report.mend(&at.key("status"), "0 is no failure", "write another number");
    }
    let extra = (!own.extra.is_empty()).then(|| {
        let json = serde_json::to_string(&own.extra).unwrap_or_default();
        text(&at.key("extra"), &json, report)
    });
    Some(RpcAnswer::BizStatus {
        status: own.status,
        message: text(&at.key("message"), &own.message, report),
        extra,
    })
}

fn text(at: &Path, own: &str, report: &mut Report<'_>) -> Box<str> {
    if own.len() > MAX_TEXT {
        report.wrong(at, "is longer than 1KiB");
    }
    own.into()
}

fn kind(own: rules::ExceptionKind) -> ExceptionKind {
    match own {
        rules::ExceptionKind::Unknown => ExceptionKind::Unknown,
        rules::ExceptionKind::UnknownMethod => ExceptionKind::UnknownMethod,
        rules::ExceptionKind::Internal => ExceptionKind::Internal,
        rules::ExceptionKind::Protocol => ExceptionKind::Protocol,
        rules::ExceptionKind::UnknownService => ExceptionKind::UnknownService,
        rules::ExceptionKind::NoServiceName => ExceptionKind::NoServiceName,
    }
}
