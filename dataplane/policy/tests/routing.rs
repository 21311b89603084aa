//! The route index gives what walking the sorted routes gives.

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_policy::{
    HostMatch, ListenerId, RequestView, Route, RouteMatch, Snapshot, compile, parse,
};

const LISTENERS: [&str; 3] = ["one", "three", "two"];

/// The oracle: walks the routes in their order.
fn first_match<'a>(
    snapshot: &'a Snapshot,
    listener: ListenerId,
    request: &RequestView<'_>,
) -> Option<&'a Route> {
    let host = std::str::from_utf8(request.host)
        .unwrap()
        .to_ascii_lowercase();
    let path = std::str::from_utf8(request.path).unwrap();
    snapshot
        .routes
        .iter()
        .find(|route| takes(&route.matches, listener, &host, path))
}

fn takes(matches: &RouteMatch, listener: ListenerId, host: &str, path: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let on_listener = matches.listener.is_none_or(|only| only == listener);
    let for_host = match &matches.host {
        HostMatch::Any => true,
        HostMatch::Exact(exact) => host == &**exact,
        HostMatch::Below(parent) => host
            .strip_suffix(&**parent)
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
    };
    let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
    let for_path = &*matches.path == "/" || path.strip_prefix(&*matches.path).is_some_and(below);
    on_listener && for_host && for_path
}

/// Few different words, so that rules and requests meet often.
fn host() -> impl Strategy<Value = String> {
    vec(
        prop::sample::select(vec!["a", "b", "shop", "example"]),
        1..4,
    )
    .prop_map(|labels| labels.join("."))
}

fn host_rule() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => host(),
        2 => host().prop_map(|host| format!("*.{host}")),
        1 => Just("*".to_owned()),
    ]
}

fn path() -> impl Strategy<Value = String> {
    vec(prop::sample::select(vec!["a", "b", "api", "apix"]), 0..4)
        .prop_map(|segments| format!("/{}", segments.join("/")))
}

/// Also what no rule can say.
fn request_host() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => host(),
        1 => host().prop_map(|host| host.to_ascii_uppercase()),
        1 => host().prop_map(|host| format!("{host}.")),
        1 => "[.ab]{0,8}",
    ]
}

fn request_path() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => path(),
        1 => path().prop_map(|path| format!("{path}/")),
        1 => "[/ab*.]{0,12}",
    ]
}

fn listener_rule() -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(prop::sample::select(LISTENERS.to_vec()))
}

fn snapshot(routes: &[(String, String, Option<&str>)]) -> Snapshot {
    let mut text = String::from(
        "ports: { p: { interface: eth1, addresses: [10.0.0.1/24] } }\n\
         listeners:\n  one: { address: 10.0.0.1:1 }\n  two: { address: 10.0.0.1:2 }\n  \
         three: { address: 10.0.0.1:3 }\n\
         services: { s: { endpoints: [10.0.0.2:80] } }\nroutes:\n",
    );
    let mut seen = std::collections::BTreeSet::new();
    for (host, path, listener) in routes {
        if !seen.insert((host, path, listener)) {
            continue;
        }
        let only = listener
            .map(|name| format!(", listener: {name}"))
            .unwrap_or_default();
        text.push_str(&format!(
            "  - {{ service: s, host: \"{host}\", path: {path}{only} }}\n"
        ));
    }
    compile(&parse(&text, "random.yaml").unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_index_finds_what_a_walk_finds(
        routes in vec((host_rule(), path(), listener_rule()), 1..40),
        requests in vec((request_host(), request_path(), 0..LISTENERS.len()), 1..40),
    ) {
        let snapshot = snapshot(&routes);
        for (host, path, listener) in &requests {
            let request =
                RequestView { host: host.as_bytes(), path: path.as_bytes(), method: b"GET" };
            let listener = ListenerId(*listener);
            let found = snapshot.route(listener, &request).map(|route| &route.name);
            let expected = first_match(&snapshot, listener, &request).map(|route| &route.name);
            prop_assert_eq!(found, expected, "{:?} {:?} {:?}", listener, host, path);
        }
    }

    #[test]
    fn any_bytes_are_only_looked_up(
        host in vec(any::<u8>(), 0..300),
        path in vec(any::<u8>(), 0..300),
    ) {
        let rule = |host: &str, path: &str| (host.to_owned(), path.to_owned(), None);
        let snapshot = snapshot(&[rule("*.a", "/a/b"), rule("a", "/"), rule("*", "/")]);
        let request = RequestView { host: &host, path: &path, method: b"GET" };
        let length = host.strip_suffix(b".").unwrap_or(&host).len();
        prop_assert_eq!(snapshot.route(ListenerId(0), &request).is_some(), length <= 255);
    }
}
