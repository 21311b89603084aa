//! What one set of rules changes in another, in words.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::rules::Rules;

/// Longest value that is shown, in characters.
const MAX_SHOWN: usize = 120;

/// What `new` changes in `old`, a sentence for each thing: nothing for rules that say the same.
pub fn diff(old: &Rules, new: &Rules) -> Vec<String> {
    let ((old, old_order), (new, new_order)) = (document(old), document(new));
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
            "routes" => "route",
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
        if one == "route" {
            said.extend(another_order(&old_order, &new_order));
        }
    }
    said
}

/// That routes which are in both stand in another order.
fn another_order(old: &[String], new: &[String]) -> Option<String> {
    let (in_old, in_new): (BTreeSet<_>, BTreeSet<_>) = (old.iter().collect(), new.iter().collect());
    let mut before = old.iter().filter(|name| in_new.contains(name));
    let mut after = new.iter().filter(|name| in_old.contains(name));
    let (was, is) = before.by_ref().zip(after.by_ref()).find(|(a, b)| a != b)?;
    Some(format!(
        "routes: {is} stands before {was} now, which matters where both are equally specific"
    ))
}

/// The rules with every section by name, routes too, and the names of these as they are written.
fn document(rules: &Rules) -> (Map<String, Value>, Vec<String>) {
    let mut document = match serde_json::to_value(rules) {
        Ok(Value::Object(document)) => document,
        _ => Map::new(),
    };
    let mut routes = Map::new();
    let mut order = Vec::new();
    if let Some(Value::Array(list)) = document.remove("routes") {
        for route in list {
            let text = |key: &str| route.get(key).and_then(Value::as_str).unwrap_or_default();
            let name = match route.get("name") {
                Some(Value::String(name)) => name.clone(),
                _ => match route.get("rpc") {
                    Some(rpc) => format!("rpc {}", show(rpc)),
                    None => {
                        let listener = text("listener");
                        let colon = if listener.is_empty() { "" } else { ":" };
                        let path = route.get("path").map(path).unwrap_or_default();
                        let host = text("host").to_ascii_lowercase();
                        format!("{listener}{colon}{host}{path}")
                    }
                },
            };
            let mut own = name.clone();
            let mut number = 1;
            while routes.contains_key(&own) {
                number += 1;
                own = format!("{name}#{number}");
            }
            order.push(own.clone());
            routes.insert(own, route);
        }
    }
    document.insert("routes".into(), Value::Object(routes));
    (document, order)
}

/// A path as names of routes have it.
fn path(written: &Value) -> String {
    let (mark, text) = match written {
        Value::Object(form) => match form.iter().next() {
            Some((form, text)) if form == "exact" => ("=", text),
            Some((form, text)) if form == "regex" => ("~", text),
            Some((_, text)) => ("", text),
            None => ("", written),
        },
        text => ("", text),
    };
    format!("{mark}{}", text.as_str().unwrap_or_default())
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
