//! Header edits: valid names and values, and nothing that frames a message.

use std::collections::BTreeMap;

use sluice_wire::http1::{EditError, FieldName, HeaderEdit};

use super::report::Report;
use crate::rules;
use crate::yaml::Path;

/// Headers that one route may change in one direction.
const MAX_EDITS: usize = 32;
/// Longest name, in bytes.
const MAX_NAME: usize = 128;
/// Longest value, in bytes.
const MAX_VALUE: usize = 2048;

pub(super) fn compile(
    path: &Path,
    edits: &rules::HeaderEdits,
    report: &mut Report<'_>,
) -> Vec<HeaderEdit> {
    let mut seen: BTreeMap<String, &'static str> = BTreeMap::new();
    let mut compiled = Vec::new();
    let count = edits.set.len() + edits.add.len() + edits.remove.len();
    if count > MAX_EDITS {
        report.wrong(
            path,
            format!("changes {count} headers; at most {MAX_EDITS} can be changed"),
        );
    }
    for (name, value) in &edits.set {
        let path = path.key("set").key(name);
        key(&path, name, "set", &mut seen, report);
        check_value(&path, value, report);
        // What can't be made has been reported.
        compiled.extend(HeaderEdit::set(name.as_bytes(), value.as_bytes()));
    }
    for (name, value) in &edits.add {
        let path = path.key("add").key(name);
        key(&path, name, "add", &mut seen, report);
        check_value(&path, value, report);
        compiled.extend(HeaderEdit::add(name.as_bytes(), value.as_bytes()));
    }
    for (index, name) in edits.remove.iter().enumerate() {
        let path = path.key("remove").index(index);
        if let Err((message, mend)) = check_name(name) {
            report.suggest(&path, message, mend);
        }
        let lower = name.to_ascii_lowercase();
        if let Some(other) = seen.insert(lower.clone(), "remove") {
            report.mend(
                &path,
                format!("`{lower}` stands under `{other}` as well"),
                "keep one",
            );
        }
        compiled.extend(HeaderEdit::remove(name.as_bytes()));
    }
    compiled
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
        report.wrong_key(path, message, mend);
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
        Err(EditError::Reserved) => Err(fixed(name)),
        Err(_) => Err((format!("{name:?} is no header name"), None)),
        Ok(_) if reserved => Err(fixed(name)),
        Ok(_) => Ok(()),
    }
}

fn fixed(name: &str) -> (String, Option<String>) {
    let mend = "take it out: the gateway itself answers for it".to_owned();
    (format!("`{name}` cannot be changed"), Some(mend))
}

fn check_value(path: &Path, value: &str, report: &mut Report<'_>) {
    if value.len() > MAX_VALUE {
        report.wrong(path, format!("the value is longer than {MAX_VALUE} bytes"));
    }
    // RFC 9110, 5.5: field-value has no control bytes but tabs, and no space around it.
    if value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
        report.wrong(path, "the value has control characters");
    } else if value.trim_matches([' ', '\t']) != value {
        report.wrong(path, "the value begins or ends with a space");
    }
}
