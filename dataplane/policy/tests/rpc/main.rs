//! Remote procedure calls: the index gives what walking the sorted routes gives, and what is of one
//! protocol has nothing to do with the other.

mod decided;

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_policy::{
    HttpView, ListenerId, Message, Protocols, RequestView, RpcView, Snapshot, compile, parse,
};
use sluice_wire::Parsed;
use sluice_wire::ttheader::{Head, Limits, NewHead};

const HEAD: &str = "\
ports: { p: { interface: eth1, addresses: [10.0.0.1/24] } }
listeners: { one: { address: 10.0.0.1:1 } }
services: { s: { endpoints: [10.0.0.2:80] }, t: { endpoints: [10.0.0.3:80] } }
";

fn snapshot(tail: &str) -> Snapshot {
    let text = format!("{HEAD}{tail}");
    let said = |problems: Vec<sluice_policy::Problem>| -> Snapshot {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{text}\n{}", lines.join("\n"))
    };
    match parse(&text, "r.yaml").and_then(|rules| compile(&rules)) {
        Ok(snapshot) => snapshot,
        Err(problems) => said(problems),
    }
}

/// A call, with a head or without.
#[derive(Debug, Clone, Default)]
struct Call {
    headless: bool,
    service: Option<&'static str>,
    from: Option<&'static str>,
    env: Option<&'static str>,
    user: Option<&'static str>,
    method: &'static str,
}

impl Call {
    fn see<T>(&self, see: impl FnOnce(&RequestView<'_>) -> T) -> T {
        let integers = [(6, self.service), (3, self.from), (10, self.env)];
        let integers = integers.into_iter();
        let integers: Vec<(u16, &[u8])> = integers
            .filter_map(|(key, value)| Some((key, value?.as_bytes())))
            .collect();
        let strings: Vec<(&[u8], &[u8])> = self
            .user
            .map(|user| (&b"RPC_PERSIST_USER"[..], user.as_bytes()))
            .into_iter()
            .collect();
        let mut bytes = Vec::new();
        let head = NewHead {
            strings: &strings,
            integers: &integers,
            ..NewHead::default()
        };
        head.write(&mut bytes, 0).unwrap();
        let Ok(Parsed::Complete(head)) = Head::parse(&bytes, &Limits::default()) else {
            panic!("it is whole");
        };
        let mut rpc = RpcView::of(&head, Some(self.method.as_bytes()));
        if self.headless {
            rpc.head = None;
        }
        let source = "10.0.0.9".parse().unwrap();
        see(&RequestView::of_rpc(rpc, (ListenerId(0), 0), source, 0))
    }

    fn route(&self, snapshot: &Snapshot) -> Option<String> {
        self.see(|view| Some(snapshot.route(view)?.name.to_string()))
    }
}

/// A rule as the reference understands it: what is stated has to be so.
#[derive(Debug, Clone)]
struct Rule {
    order: i32,
    service: Option<Name>,
    method: Option<Name>,
    from: Option<Name>,
    env: Option<Name>,
    user: Option<Name>,
}

#[derive(Debug, Clone)]
enum Name {
    OneOf(Vec<&'static str>),
    Prefix(&'static str),
    Suffix(&'static str),
    Ends(char),
    Range(i64, i64),
    Not(&'static str),
    Present(bool),
}

impl Name {
    fn fits(&self, value: Option<&str>) -> bool {
        match self {
            Name::OneOf(names) => value.is_some_and(|value| names.contains(&value)),
            Name::Prefix(start) => value.is_some_and(|value| value.starts_with(start)),
            Name::Suffix(end) => value.is_some_and(|value| value.ends_with(end)),
            Name::Ends(end) => value.is_some_and(|value| value.ends_with(*end)),
            Name::Range(from, to) => {
                let number = value.and_then(|value| value.parse::<i64>().ok());
                number.is_some_and(|number| (*from..*to).contains(&number))
            }
            Name::Not(name) => value != Some(name),
            Name::Present(present) => value.is_some() == *present,
        }
    }

    fn yaml(&self) -> String {
        match self {
            Name::OneOf(names) => format!("{names:?}"),
            Name::Prefix(start) => format!("{{ prefix: \"{start}\" }}"),
            Name::Suffix(end) => format!("{{ suffix: \"{end}\" }}"),
            Name::Ends(end) => format!("{{ regex: \".*{end}\" }}"),
            Name::Range(from, to) => format!("{{ range: {{ from: {from}, to: {to} }} }}"),
            Name::Not(name) => format!("{{ not: \"{name}\" }}"),
            Name::Present(present) => format!("{{ present: {present} }}"),
        }
    }
}

impl Rule {
    fn takes(&self, call: &Call) -> bool {
        let keys = !call.headless;
        let fits = |name: &Option<Name>, value: Option<&str>| {
            name.as_ref().is_none_or(|name| name.fits(value))
        };
        let key = |value: Option<&'static str>| value.filter(|_| keys);
        fits(&self.service, key(call.service))
            && fits(&self.method, Some(call.method))
            && fits(&self.from, key(call.from))
            && fits(&self.env, key(call.env))
            && fits(&self.user, key(call.user))
    }

    fn yaml(&self, name: usize) -> String {
        let conditions = [
            ("service", &self.service),
            ("method", &self.method),
            ("from", &self.from),
            ("env", &self.env),
        ];
        let mut said: Vec<String> = conditions
            .iter()
            .filter_map(|(key, name)| Some(format!("{key}: {}", name.as_ref()?.yaml())))
            .collect();
        if let Some(user) = &self.user {
            said.push(format!("keys: {{ RPC_PERSIST_USER: {} }}", user.yaml()));
        }
        let (order, said) = (self.order, said.join(", "));
        format!("  - {{ name: r{name}, order: {order}, service: s, rpc: {{ {said} }} }}\n")
    }
}

const NAMES: [&str; 6] = ["a", "ab", "b", "c", "7", "12"];

fn name() -> impl Strategy<Value = Option<Name>> {
    let one = || proptest::sample::select(&NAMES[..]);
    prop_oneof![
        3 => Just(None),
        4 => vec(one(), 1..3).prop_map(|names| Some(Name::OneOf(names))),
        1 => one().prop_map(|name| Some(Name::Prefix(name))),
        1 => one().prop_map(|name| Some(Name::Suffix(name))),
        1 => proptest::sample::select(&['a', 'b', '2'][..]).prop_map(|end| Some(Name::Ends(end))),
        1 => (0..10_i64, 1..20_i64).prop_map(|(from, more)| Some(Name::Range(from, from + more))),
        1 => one().prop_map(|name| Some(Name::Not(name))),
        1 => any::<bool>().prop_map(|present| Some(Name::Present(present))),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let rare = || prop_oneof![2 => Just(None), 1 => name()];
    (-1..2, name(), name(), rare(), rare(), rare()).prop_map(
        |(order, service, method, from, env, user)| Rule {
            order,
            service,
            method,
            from,
            env,
            user,
        },
    )
}

fn call() -> impl Strategy<Value = Call> {
    let value = || proptest::option::of(proptest::sample::select(&NAMES[..]));
    let method = proptest::sample::select(&["", "a", "ab", "b", "c", "d", "7"][..]);
    (any::<bool>(), value(), value(), value(), value(), method).prop_map(
        |(headless, service, from, env, user, method)| Call {
            headless,
            service,
            from,
            env,
            user,
            method,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_index_finds_what_a_walk_finds(
        rules in vec(rule(), 1..30),
        calls in vec(call(), 1..40),
    ) {
        // Of two rules that are alike only the first can be written.
        let mut seen = Vec::new();
        let mut text = String::from("routes:\n");
        for (number, rule) in rules.iter().enumerate() {
            let same = format!("{:?}", (&rule.service, &rule.method, &rule.from, &rule.env, &rule.user));
            if !seen.contains(&same) {
                seen.push(same);
                text.push_str(&rule.yaml(number));
            }
        }
        let snapshot = snapshot(&text);
        for call in &calls {
            let mut walk = snapshot.routes.iter().map(|route| &*route.name);
            let number = |name: &&str| name[1..].parse::<usize>().unwrap();
            let expected = walk.find(|name| rules[number(name)].takes(call));
            let found = call.route(&snapshot);
            prop_assert_eq!(found.as_deref(), expected, "{:?}", call);
        }
    }
}

/// docs/rules.md states the order; this is what it says, one step after the other.
#[test]
fn what_is_more_specific_is_tried_first() {
    let rules = [
        "order: -1, rpc: {}",
        "rpc: { service: a, method: m, env: e }",
        "rpc: { service: a, method: m }",
        "rpc: { service: a, method: { prefix: m }, env: e }",
        "rpc: { service: a, method: { prefix: m } }",
        "rpc: { service: a, env: e, from: f }",
        "rpc: { service: a, from: f }",
        "rpc: { service: a }",
        "rpc: { service: { prefix: a }, method: m }",
        "rpc: { service: { prefix: a } }",
        "rpc: { method: m }",
        "rpc: { method: { prefix: m } }",
        "rpc: { keys: { \"100\": x }, env: e }",
        "rpc: { env: e }",
        "rpc: {}",
        "order: 1, rpc: { service: b, method: m }",
    ];
    let expected: Vec<String> = (0..rules.len()).map(|n| format!("r{n}")).collect();
    for turn in 0..rules.len() {
        let mut text = String::from("routes:\n");
        for step in 0..rules.len() {
            let number = (turn + step * 7) % rules.len();
            let rule = rules[number].to_owned();
            // Of the first and the last but one only one could be written.
            let rule = rule.replace("-1, rpc: {}", "-1, rpc: { from: { present: true } }");
            text.push_str(&format!("  - {{ service: s, name: r{number}, {rule} }}\n"));
        }
        let snapshot = snapshot(&text);
        let names: Vec<&str> = snapshot.routes.iter().map(|route| &*route.name).collect();
        assert_eq!(names, expected);
    }
}

#[test]
fn what_one_protocol_alone_has_never_holds_for_the_other() {
    let snapshot = snapshot(
        "routes:
  - { name: absent-header, order: -2, headers: { x: { present: false } }, service: s }
  - { name: absent-cookie, order: -2, cookies: { x: { not: y } }, service: s }
  - { name: absent-query, order: -2, query: { x: { present: false } }, host: h, service: s }
  - { name: absent-key, order: -2, rpc: { keys: { env: { present: false } } }, service: s }
  - { name: answer, respond: { status: 200 } }
  - { name: exception, order: -1, respond: { exception: { message: no } } }
  - { name: by-key, order: -1, service_by: { key: to_service, allowed: [s] }, source: 10.9.0.0/16 }
  - { name: everybody, order: 1, service: s }
  - { name: rest, respond: { status: 404, exception: { message: no } }, order: 2, source: 0.0.0.0/0 }
",
    );
    let protocols = |name: &str| {
        let mut routes = snapshot.routes.iter();
        routes
            .find(|route| &*route.name == name)
            .unwrap()
            .matches
            .protocols
    };
    for (name, expected) in [
        ("absent-header", Protocols::Http),
        ("absent-cookie", Protocols::Http),
        ("absent-key", Protocols::Rpc),
        ("answer", Protocols::Http),
        ("exception", Protocols::Rpc),
        ("by-key", Protocols::Rpc),
        ("everybody", Protocols::All),
        ("rest", Protocols::All),
    ] {
        assert_eq!(protocols(name), expected, "{name}");
    }
    let call = Call {
        env: Some("e"),
        ..Call::default()
    };
    assert_eq!(call.route(&snapshot).as_deref(), Some("exception"));
    assert_eq!(
        Call::default().route(&snapshot).as_deref(),
        Some("absent-key")
    );
    // And as conditions of a tag.
    let http = RequestView {
        message: Message::Http(HttpView {
            host: b"h",
            path: b"/",
            query: None,
            method: b"GET",
            headers: Default::default(),
        }),
        ..call.see(|view| {
            RequestView::of_rpc(
                RpcView {
                    head: None,
                    method: b"",
                },
                (view.listener, view.port),
                view.source,
                0,
            )
        })
    };
    assert_eq!(&*snapshot.route(&http).unwrap().name, "absent-query");
    for route in snapshot.routes.iter() {
        for condition in &route.matches.conditions {
            let for_http = condition.holds(&http);
            let for_call = call.see(|view| condition.holds(view));
            assert!(
                !(for_http && for_call) || route.name.contains("rest"),
                "{condition:?}"
            );
        }
    }
}

#[test]
fn any_names_are_only_looked_up() {
    let snapshot = snapshot("routes:\n  - { rpc: { service: a, method: m }, service: s }\n");
    let long = "x".repeat(60_000);
    let names: [&'static str; 3] = ["", "a\0", Box::leak(long.into_boxed_str())];
    for service in names {
        for method in names {
            let call = Call {
                service: Some(service),
                method,
                ..Call::default()
            };
            assert_eq!(call.route(&snapshot), None);
        }
    }
}
