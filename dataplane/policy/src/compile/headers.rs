//! Header edits: valid names and values, and nothing that frames a message.

use std::collections::BTreeMap;

use sluice_wire::http1::{EditError, FieldName, FixedEdits, HeaderEdit, HeaderKind, KeptName};

use super::report::Report;
use crate::action::{ComputedEdit, HeaderEdits};
use crate::rules;
use crate::template::{Place, Template, TemplateError};
use crate::yaml::Path;

/// Headers that one route may change in one direction.
const MAX_EDITS: usize = 32;
/// Longest name, in bytes.
const MAX_NAME: usize = 128;
/// Longest value, in bytes.
const MAX_VALUE: usize = 2048;

/// Which head is changed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Direction<'a> {
    Request {
        /// Names of the route's captures.
        captures: &'a [Box<str>],
        /// The header that the gateway itself states.
        lane_header: Option<&'a str>,
    },
    Response,
}

pub(super) fn compile(
    path: &Path,
    edits: &rules::HeaderEdits,
    direction: Direction<'_>,
    report: &mut Report<'_>,
) -> HeaderEdits {
    let mut seen: BTreeMap<String, &'static str> = BTreeMap::new();
    let (mut fixed, mut computed) = (Vec::new(), Vec::new());
    let count = edits.set.len() + edits.add.len() + edits.append.len() + edits.remove.len();
    if count > MAX_EDITS {
        report.wrong(
            path,
            format!("changes {count} headers; at most {MAX_EDITS} can be changed"),
        );
    }
    let lists = [
        ("set", &edits.set),
        ("add", &edits.add),
        ("append", &edits.append),
    ];
    for (list, values) in lists {
        for (name, value) in values {
            let path = path.key(list).key(name);
            let lower = key(&path, name, list, &mut seen, report);
            check_lane(&path, &lower, direction, report);
            check_value(&path, value, report);
            if list == "append" {
                check_append(&path, &lower, report);
            }
            if let Some(value) = template(&path, value, direction, report) {
                add(&mut fixed, &mut computed, list, name, value);
            }
        }
    }
    for (index, name) in edits.remove.iter().enumerate() {
        let path = path.key("remove").index(index);
        if let Err((message, mend)) = check_name(name) {
            report.refuse(&path, message, mend);
        }
        let lower = name.to_ascii_lowercase();
        if let Some(other) = seen.insert(lower.clone(), "remove") {
            report.mend(
                &path,
                format!("`{lower}` stands under `{other}` as well"),
                "keep one",
            );
        }
        check_lane(&path, &lower, direction, report);
        fixed.extend(HeaderEdit::remove(name.as_bytes()));
    }
    if let Direction::Request {
        lane_header: Some(header),
        ..
    } = direction
    {
        // The gateway states it anew.
        fixed.extend(HeaderEdit::remove(header.as_bytes()));
    }
    HeaderEdits {
        fixed: FixedEdits::new(&fixed),
        computed,
    }
}

/// Adds one change; what can't be made has been reported.
fn add(
    fixed: &mut Vec<HeaderEdit>,
    computed: &mut Vec<ComputedEdit>,
    list: &str,
    name: &str,
    value: Result<String, Template>,
) {
    let (name, value) = match (list, value) {
        ("set", Ok(value)) => {
            return fixed.extend(HeaderEdit::set(name.as_bytes(), value.as_bytes()));
        }
        ("add", Ok(value)) => {
            return fixed.extend(HeaderEdit::add(name.as_bytes(), value.as_bytes()));
        }
        (_, Ok(value)) => (name, Template::constant(&value)),
        (_, Err(template)) => (name, template),
    };
    if list != "add" {
        fixed.extend(HeaderEdit::remove(name.as_bytes()));
    }
    computed.extend(KeptName::new(name.as_bytes()).map(|name| ComputedEdit {
        name,
        value,
        appends: list == "append",
    }));
}

/// The value as it is, or what it is made from.
fn template(
    path: &Path,
    value: &str,
    direction: Direction<'_>,
    report: &mut Report<'_>,
) -> Option<Result<String, Template>> {
    let place = match direction {
        Direction::Request { captures, .. } => Place::RequestHeader(captures),
        Direction::Response => Place::ResponseHeader,
    };
    match Template::parse(value, place) {
        Ok(template) if template.is_constant() => Some(Ok(value.to_owned())),
        Ok(template) => Some(Err(template)),
        Err(error) => {
            let (message, mend) = explain_template(error);
            report.suggest(path, message, mend);
            None
        }
    }
}

/// What a reader is told about a value with variables.
pub(super) fn explain_template(error: TemplateError) -> (String, Option<String>) {
    match error {
        TemplateError::Unclosed => ("${ is not closed by }".into(), None),
        TemplateError::Unknown(name, known) => (
            format!("${{{name}}} is not known here"),
            Some(format!("known are {known}")),
        ),
        TemplateError::TooMany => ("has more than 16 variables".into(), None),
    }
}

fn check_lane(path: &Path, lower: &str, direction: Direction<'_>, report: &mut Report<'_>) {
    if let Direction::Request {
        lane_header: Some(header),
        ..
    } = direction
        && header == lower
    {
        let mend = "take it out, or give `lanes` another header".to_owned();
        report.wrong_key(path, format!("`{lower}` carries the lane"), Some(mend));
    }
}

/// What the gateway itself puts behind the values of a header would be lost.
fn check_append(path: &Path, lower: &str, report: &mut Report<'_>) {
    let kind = HeaderKind::of(lower.as_bytes());
    if !matches!(kind, HeaderKind::Other | HeaderKind::Server) {
        let message = format!("`{lower}` cannot be appended to");
        report.wrong_key(path, message, Some("use `set`".into()));
    }
}

/// Checks a header that is a key, and gives its name in lower case.
fn key(
    path: &Path,
    name: &str,
    list: &'static str,
    seen: &mut BTreeMap<String, &'static str>,
    report: &mut Report<'_>,
) -> String {
    if let Err((message, mend)) = check_name(name) {
        report.refuse_key(path, message, mend);
    }
    let lower = name.to_ascii_lowercase();
    if let Some(other) = seen.insert(lower.clone(), list) {
        let message = format!("`{lower}` stands under `{other}` as well");
        report.wrong_key(path, message, Some("keep one".into()));
    }
    lower
}

fn check_name(name: &str) -> Result<(), (String, Option<String>)> {
    if name.len() > MAX_NAME {
        return Err((format!("{name:?} is longer than {MAX_NAME} bytes"), None));
    }
    // Expect belongs to the exchange like the fields of one connection do.
    let reserved = name.eq_ignore_ascii_case("expect");
    match FieldName::new(name.as_bytes()) {
        Err(EditError::Reserved) => Err(unchangeable(name)),
        Err(_) => Err((format!("{name:?} is no header name"), None)),
        Ok(_) if reserved => Err(unchangeable(name)),
        Ok(_) => Ok(()),
    }
}

fn unchangeable(name: &str) -> (String, Option<String>) {
    let mend = "take it out: the gateway itself answers for it".to_owned();
    (format!("`{name}` cannot be changed"), Some(mend))
}

fn check_value(path: &Path, value: &str, report: &mut Report<'_>) {
    if value.len() > MAX_VALUE {
        let message = format!("the value is longer than {MAX_VALUE} bytes");
        report.refuse(path, message, None);
    }
    // RFC 9110, 5.5: field-value has no control bytes but tabs, and no space around it.
    if value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
        report.refuse(path, "the value has control characters", None);
    } else if value.trim_matches([' ', '\t']) != value {
        report.refuse(path, "the value begins or ends with a space", None);
    }
}
