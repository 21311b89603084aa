//! Remote procedure calls: the index gives what walking the sorted routes gives, and what is of one
//! protocol has nothing to do with the other.

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_policy::action::{Action, KeyEdit, RpcAnswer};
use sluice_policy::matching::RpcKey;
use sluice_policy::{
    HttpView, ListenerId, Message, Protocols, RequestView, RpcView, Snapshot, Values, compile,
    parse,
};
use sluice_wire::Parsed;
use sluice_wire::thrift::ExceptionKind;
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
    Not(&'static str),
    Present(bool),
}

impl Name {
    fn fits(&self, value: Option<&str>) -> bool {
        match self {
            Name::OneOf(names) => value.is_some_and(|value| names.contains(&value)),
            Name::Prefix(start) => value.is_some_and(|value| value.starts_with(start)),
            Name::Not(name) => value != Some(name),
            Name::Present(present) => value.is_some() == *present,
        }
    }

    fn yaml(&self) -> String {
        match self {
            Name::OneOf(names) => format!("[{}]", names.join(", ")),
            Name::Prefix(start) => format!("{{ prefix: {start} }}"),
            Name::Not(name) => format!("{{ not: {name} }}"),
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

const NAMES: [&str; 4] = ["a", "ab", "b", "c"];

fn name() -> impl Strategy<Value = Option<Name>> {
    let one = || proptest::sample::select(&NAMES[..]);
    prop_oneof![
        3 => Just(None),
        4 => vec(one(), 1..3).prop_map(|names| Some(Name::OneOf(names))),
        1 => one().prop_map(|name| Some(Name::Prefix(name))),
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
    let method = proptest::sample::select(&["", "a", "ab", "b", "c", "d"][..]);
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
    #![proptest_config(ProptestConfig::with_cases(512))]

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
fn a_lane_travels_in_its_key_and_tags_fit_their_protocol() {
    let rules = |key: &str| {
        snapshot(&format!(
            "lanes:
  key: {key}
  tags:
    - {{ lane: web, headers: {{ x: {{ present: false }} }} }}
    - {{ lane: alice, rpc: {{ service: a, method: {{ prefix: m }}, keys: {{ RPC_PERSIST_USER: alice }} }} }}
    - {{ lane: {{ key: from_service }} }}
    - {{ lane: rest }}
routes:
  - {{ name: in-lane, lane: alice, service: t }}
  - {{ name: base, service: s }}
"
        ))
    };
    let lane = |snapshot: &Snapshot, call: &Call, trusted| {
        call.see(|view| {
            let lanes = snapshot.lanes.as_ref().unwrap();
            let lane = lanes.lane_of(view, trusted)?;
            let mut view = view.clone();
            view.lane = Some(lane);
            let route = snapshot.route(&view).unwrap().name.to_string();
            Some((lanes.name(lane)?.to_owned(), route))
        })
    };
    let said = |lane: &str, route: &str| Some((lane.to_owned(), route.to_owned()));
    let env = rules("env");
    let mut call = Call {
        service: Some("a"),
        method: "mm",
        user: Some("alice"),
        ..Call::default()
    };
    assert_eq!(lane(&env, &call, false), said("alice", "in-lane"));
    call.service = None;
    assert_eq!(lane(&env, &call, false), said("rest", "base"));
    call.from = Some("web");
    assert_eq!(lane(&env, &call, false), said("web", "base"));
    call.env = Some("alice");
    assert_eq!(lane(&env, &call, false), said("web", "base"));
    assert_eq!(lane(&env, &call, true), said("alice", "in-lane"));
    call.env = Some("nowhere");
    assert_eq!(lane(&env, &call, true), None);
    let persist = rules("RPC_PERSIST_USER");
    assert_eq!(lane(&persist, &call, true), said("alice", "in-lane"));
}

#[test]
fn a_service_is_named_by_a_key_and_a_share_kept_by_one() {
    let snapshot = snapshot(
        "routes:
  - name: by
    rpc: { method: by }
    service_by: { key: to_service, header: x-service, allowed: [s, t], otherwise: s }
  - name: split
    rpc: { method: split }
    split: [{ service: s, weight: 1 }, { service: t, weight: 1 }]
    sticky: { key: RPC_PERSIST_USER }
"
        .replace("header: x-service, ", "")
        .as_str(),
    );
    let chosen = |call: &Call, draw: u64| {
        call.see(|view| {
            let view = RequestView {
                draw,
                ..view.clone()
            };
            let Action::Forward(destination) = &snapshot.route(&view).unwrap().action else {
                panic!("it goes on");
            };
            destination.choose(&view).unwrap().0
        })
    };
    let by = |service| Call {
        service,
        method: "by",
        ..Call::default()
    };
    assert_eq!(chosen(&by(Some("t")), 0), 1);
    assert_eq!(chosen(&by(Some("x")), 0), 0);
    assert_eq!(chosen(&by(None), 0), 0);
    let split = |user| Call {
        user,
        method: "split",
        ..Call::default()
    };
    for user in NAMES {
        let first = chosen(&split(Some(user)), 0);
        assert!((1..100).all(|draw| chosen(&split(Some(user)), draw << 57) == first));
    }
    let by_chance: usize = (0..100).map(|draw| chosen(&split(None), draw)).sum();
    assert!((20..80).contains(&by_chance), "{by_chance} of 100");
}

#[test]
fn answers_and_edits_are_resolved() {
    let snapshot = snapshot(
        "routes:
  - name: edits
    rpc: {}
    service: s
    request_keys:
      set: { to_cluster: blue, RPC_TRANSIT_CALLER: \"${key.from_service}@${client_ip}/${method}\" }
      add: { \"string:env\": \"${lane}\" }
      remove: [log_id, INTERNAL_*]
    fault: { abort: { status: 503 }, until: 2030-01-01T00:00:00Z }
  - name: no
    rpc: { service: no }
    respond: { biz_status: { status: -3, message: m, extra: { k: v } } }
  - name: drill
    rpc: { service: drill }
    service: s
    fault: { abort: { exception: { kind: protocol, message: m } }, until: 2030-01-01T00:00:00Z }
",
    );
    let route = |name: &str| {
        let mut routes = snapshot.routes.iter();
        routes.find(|route| &*route.name == name).unwrap()
    };
    let string = |name: &str| RpcKey::String(name.as_bytes().into());
    let edits = &route("edits").request_keys.0;
    let call = Call {
        from: Some("web"),
        method: "M",
        ..Call::default()
    };
    let made: Vec<(RpcKey, Option<String>)> = call.see(|view| {
        let none = Default::default();
        let values = Values {
            client: view.source,
            lane: Some("alice"),
            request_id: b"",
            route: "",
            service: "s",
            status: 0,
            request: Some((view, &none)),
        };
        let made = edits.iter().map(|edit| match edit {
            KeyEdit::Set(key, value) | KeyEdit::Add(key, value) => {
                let mut out = Vec::new();
                value.render(&values, &mut out);
                (key.clone(), Some(String::from_utf8(out).unwrap()))
            }
            KeyEdit::Remove(key) => (key.clone(), None),
            KeyEdit::RemovePrefix(prefix) => (RpcKey::String(prefix.clone()), None),
        });
        made.collect()
    });
    assert_eq!(
        made,
        [
            (string("RPC_TRANSIT_CALLER"), Some("web@10.0.0.9/M".into())),
            (RpcKey::Integer(7), Some("blue".into())),
            (string("env"), Some("alice".into())),
            (RpcKey::Integer(2), None),
            (string("INTERNAL_"), None),
        ]
    );
    assert!(route("edits").response_keys.0.is_empty());
    let Action::Respond(own) = &route("no").action else {
        panic!("it answers");
    };
    let biz = RpcAnswer::BizStatus {
        status: -3,
        message: "m".into(),
        extra: Some("{\"k\":\"v\"}".into()),
    };
    assert_eq!((&own.http, own.rpc.as_ref()), (&None, Some(&biz)));
    let abort = |name: &str| {
        route(name)
            .fault
            .as_ref()
            .unwrap()
            .abort(0)
            .unwrap()
            .clone()
    };
    let exception = |kind, message: &str| RpcAnswer::Exception {
        kind,
        message: message.into(),
    };
    let plain = exception(
        ExceptionKind::Internal,
        "a fault injected for a drill (503)",
    );
    assert_eq!(abort("edits").rpc, Some(plain));
    assert_eq!(
        abort("drill").rpc,
        Some(exception(ExceptionKind::Protocol, "m"))
    );
    assert_eq!(abort("drill").status, None);
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
