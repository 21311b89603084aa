//! Which route of the new rules is which of the old ones. Routes without a name that are for the same listener,
//! host and path are told apart by a number; which number one has changes with what stands before it, so
//! it is what they say that counts.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde_json::{Map, Value};

use super::{compare, show};

/// What of a route does not say which requests it takes.
const NOT_MATCHING: [&str; 17] = [
    "service",
    "split",
    "sticky",
    "service_by",
    "respond",
    "redirect",
    "rewrite",
    "mirror",
    "fault",
    "request_timeout",
    "response_timeout",
    "max_body",
    "access_log",
    "request_headers",
    "response_headers",
    "request_keys",
    "response_keys",
];

/// A route, and the name that the gateway has for it.
struct Named<'a> {
    name: String,
    route: &'a Value,
}

/// A route that is in one of the rules or in both, by its place there.
struct Pair {
    old: Option<usize>,
    new: Option<usize>,
}

/// Says what becomes of routes: those that changed, are new or are taken away by name, then whether the
/// others stand in another order.
pub(super) fn diff(old: &[Value], new: &[Value], said: &mut Vec<String>) {
    let (old, new) = (named(old), named(new));
    let pairs = pair(&old, &new);
    let known: BTreeSet<&str> = new.iter().map(|own| own.name.as_str()).collect();
    let mut changes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for pair in &pairs {
        let (old, new) = (
            pair.old.and_then(|at| old.get(at)),
            pair.new.and_then(|at| new.get(at)),
        );
        let (name, words) = match (old, new) {
            (Some(old), Some(new)) => {
                let mut words = Vec::new();
                let before = match old.name == new.name {
                    true => String::new(),
                    false => format!(" ({} before)", old.name),
                };
                let place = format!("route {}{before}", new.name);
                compare(&place, old.route, new.route, &mut words);
                (&new.name, words)
            }
            (Some(old), None) => {
                // Another may be called that now.
                let known = known.contains(&*old.name);
                let before = if known { " as it was before" } else { "" };
                let words = format!("route {}{before}: taken away", old.name);
                (&old.name, vec![words])
            }
            (None, Some(new)) => {
                let words = format!("route {}: new: {}", new.name, show(new.route));
                (&new.name, vec![words])
            }
            (None, None) => continue,
        };
        changes.entry(name).or_default().extend(words);
    }
    said.extend(changes.into_values().flatten());
    said.extend(another_order(&pairs, &new));
}

/// That routes which are in both stand in another order.
fn another_order(pairs: &[Pair], new: &[Named<'_>]) -> Option<String> {
    let both = pairs.iter().filter_map(|pair| pair.old.zip(pair.new));
    let mut before: Vec<(usize, usize)> = both.collect();
    let mut after: Vec<usize> = before.iter().map(|(_, new)| *new).collect();
    before.sort_unstable();
    after.sort_unstable();
    let mut places = before.iter().map(|(_, new)| *new).zip(after);
    let (was, is) = places.find(|(was, is)| was != is)?;
    Some(format!(
        "routes: {} stands before {} now, which matters where both are equally specific",
        new.get(is)?.name,
        new.get(was)?.name
    ))
}

/// Finds for each route the same one in the other rules: of those with one name the one that says the same,
/// otherwise one that takes the same requests, otherwise the next that is left.
fn pair(old: &[Named<'_>], new: &[Named<'_>]) -> Vec<Pair> {
    let mut left: (Vec<usize>, Vec<usize>) = ((0..old.len()).collect(), (0..new.len()).collect());
    let mut pairs = Vec::new();
    let keys: [fn(&Value) -> String; 3] = [Value::to_string, matching, base];
    for key in keys {
        let of = |list: &[Named<'_>], at: usize| {
            let route = list.get(at).map(|own| own.route);
            route.map(|route| (base(route), key(route)))
        };
        let mut there: HashMap<_, VecDeque<usize>> = HashMap::new();
        for at in &left.0 {
            there.entry(of(old, *at)).or_default().push_back(*at);
        }
        left.1.retain(|at| {
            let same = there.get_mut(&of(new, *at));
            let Some(same) = same.and_then(VecDeque::pop_front) else {
                return true;
            };
            pairs.push(Pair {
                old: Some(same),
                new: Some(*at),
            });
            false
        });
        left.0 = there.into_values().flatten().collect();
        left.0.sort_unstable();
    }
    let gone = left.0.into_iter().map(|at| Pair {
        old: Some(at),
        new: None,
    });
    let added = left.1.into_iter().map(|at| Pair {
        old: None,
        new: Some(at),
    });
    pairs.extend(gone);
    pairs.extend(added);
    pairs
}

/// What says which requests a route takes.
fn matching(route: &Value) -> String {
    let fields = route.as_object().into_iter().flatten();
    let own = fields.filter(|(key, _)| !NOT_MATCHING.contains(&key.as_str()));
    let own: Map<String, Value> = own
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Value::Object(own).to_string()
}

/// Routes by the names that the gateway has for them.
fn named(routes: &[Value]) -> Vec<Named<'_>> {
    let mut taken = BTreeSet::new();
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let names = routes.iter().map(|route| {
        let base = base(route);
        let number = numbers.entry(base.clone()).or_insert(0);
        let name = loop {
            *number += 1;
            let name = match *number {
                1 => base.clone(),
                number => format!("{base}#{number}"),
            };
            if taken.insert(name.clone()) {
                break name;
            }
        };
        Named { name, route }
    });
    names.collect()
}

/// A route's name as given, or made of listener, host and path.
fn base(route: &Value) -> String {
    let text = |key: &str| route.get(key).and_then(Value::as_str).unwrap_or_default();
    match (route.get("name"), route.get("rpc")) {
        (Some(Value::String(name)), _) => name.clone(),
        (_, Some(rpc)) => format!("rpc {}", show(rpc)),
        (_, None) => {
            let listener = text("listener");
            let colon = if listener.is_empty() { "" } else { ":" };
            let path = route.get("path").map(path).unwrap_or_default();
            let host = text("host").to_ascii_lowercase();
            format!("{listener}{colon}{host}{path}")
        }
    }
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
