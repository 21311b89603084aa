//! What becomes of a call: its lane, its service, answers and changes.

use sluice_policy::action::{Action, KeyEdit, RpcAnswer};
use sluice_policy::matching::RpcKey;
use sluice_policy::{RequestView, Snapshot, Values};
use sluice_wire::thrift::ExceptionKind;

use crate::{Call, NAMES, snapshot};

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
