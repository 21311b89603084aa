//! What one set of rules changes in another, in words.

mod routes;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::rules::Rules;

/// Longest value that is shown, in characters.
const MAX_SHOWN: usize = 120;

/// What `new` changes in `old`, a sentence for each thing: nothing for rules that say the same.
pub fn diff(old: &Rules, new: &Rules) -> Vec<String> {
    let (old, new) = (document(old), document(new));
    let mut said = Vec::new();
    let sections: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for section in sections {
        let nothing = Value::Object(Map::new());
        let (old, new) = (
            old.get(section).unwrap_or(&nothing),
            new.get(section).unwrap_or(&nothing),
        );
        let one = match section.as_str() {
            "ports" => "port",
            "listeners" => "listener",
            "services" => "service",
            "routes" => {
                let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
                routes::diff(&list(old), &list(new), &mut said);
                continue;
            }
            _ => {
                compare(section, old, new, &mut said);
                continue;
            }
        };
        let (Value::Object(old), Value::Object(new)) = (old, new) else {
            continue;
        };
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            match (old.get(name), new.get(name)) {
                (Some(_), None) => said.push(format!("{one} {name}: taken away")),
                (None, Some(added)) => said.push(format!("{one} {name}: new: {}", show(added))),
                (Some(old), Some(new)) => {
                    compare(&format!("{one} {name}"), old, new, &mut said);
                }
                (None, None) => {}
            }
        }
    }
    said
}

/// The rules section by section.
fn document(rules: &Rules) -> Map<String, Value> {
    match serde_json::to_value(rules) {
        Ok(Value::Object(document)) => document,
        _ => Map::new(),
    }
}

fn compare(place: &str, old: &Value, new: &Value, said: &mut Vec<String>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let place = format!("{place}: {key}");
                match (old.get(key), new.get(key)) {
                    (Some(old), Some(new)) => compare(&place, old, new, said),
                    (Some(old), None) => said.push(format!("{place}: no more (was {})", show(old))),
                    (None, Some(new)) => said.push(format!("{place}: now {}", show(new))),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            let added = after.iter().filter(|value| !before.contains(value));
            let added: Vec<String> = added
                .map(|value| format!("{} added", show(value)))
                .collect();
            let gone = before.iter().filter(|value| !after.contains(value));
            let gone: Vec<String> = gone
                .map(|value| format!("{} taken away", show(value)))
                .collect();
            let times = |list: &[Value], value| list.iter().filter(|other| *other == value).count();
            let words = if !added.is_empty() || !gone.is_empty() {
                [added, gone].concat().join(", ")
            } else if before
                .iter()
                .all(|value| times(before, value) == times(after, value))
            {
                "in another order".to_owned()
            } else {
                // Of some there are more or fewer, such as a core that is to have several workers.
                format!("from {} to {}", show(old), show(new))
            };
            said.push(format!("{place}: {words}"));
        }
        _ => said.push(format!("{place}: from {} to {}", show(old), show(new))),
    }
}

/// A value on one line, empty parts left out.
fn show(value: &Value) -> String {
    let text = match value {
        // On one line, whatever it has.
        Value::String(text) => text
            .chars()
            .flat_map(|c| {
                let escaped = c.is_control().then(|| c.escape_default());
                let plain = escaped.is_none().then_some(c);
                escaped.into_iter().flatten().chain(plain)
            })
            .collect(),
        Value::Object(map) => {
            let parts = map.iter().filter(|(_, value)| !is_empty(value));
            let parts = parts.map(|(key, value)| format!("{key} {}", show(value)));
            format!("{{ {} }}", parts.collect::<Vec<_>>().join(", "))
        }
        Value::Array(list) => {
            let parts: Vec<String> = list.iter().map(show).collect();
            format!("[{}]", parts.join(", "))
        }
        other => other.to_string(),
    };
    if text.chars().count() <= MAX_SHOWN {
        return text;
    }
    let start: String = text.chars().take(MAX_SHOWN).collect();
    format!("{start}...")
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
        _ => false,
    }
}
