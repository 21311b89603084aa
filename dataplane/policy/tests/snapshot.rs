//! What a valid set of rules becomes.

use std::time::Duration;

use sluice_policy::action::HeaderEdits;
use sluice_policy::rules::Idle;
use sluice_policy::{
    Attachment, Endpoint, HttpView, ListenerId, Message, RequestView, ServiceId, Snapshot,
    WorkerCores, compatible, compile, parse,
};
use sluice_wire::http1::{FixedEdits, HeaderEdit};

const RULES: &str = r#"
ports:
  front:
    interface: eth1
    addresses: [10.0.1.1/24, "fd00:1::1/64"]
    routes: [{ to: 0.0.0.0/0, via: 10.0.1.254 }]
  back:
    device: net_memif0,role=client
    addresses: [10.0.2.1/24]
    routes: [{ to: 10.9.0.0/16, via: 10.0.2.254 }, { to: 10.9.9.0/24, via: 10.0.2.253 }]
listeners:
  web: { address: 10.0.1.1:80 }
  web6: { address: ["[fd00:1::1]:80", "[fd00:1::1]:8080"] }
services:
  api:
    endpoints: [10.0.2.9:80, 10.9.9.1:80, 203.0.113.5:80]
    response_timeout: 7s
  hello: { endpoints: [10.0.2.2:8080, 10.0.2.3:8080] }
routes:
  - { service: hello }
  - { host: "*.Example.com", service: hello, response_timeout: 3s }
  - { host: shop.example.com, path: /api, service: api }
  - { host: shop.example.com, service: hello, listener: web6 }
  - host: Shop.example.com
    path: /api/v2
    service: api
    request_headers:
      set: { X-Edge: one }
      add: { x-also: two }
      remove: [X-Secret]
"#;

fn snapshot(text: &str) -> Snapshot {
    compile(&parse(text, "test.yaml").unwrap()).unwrap()
}

fn route<'a>(snapshot: &'a Snapshot, listener: &str, host: &str, path: &str) -> Option<&'a str> {
    let listener = snapshot
        .listeners
        .iter()
        .position(|l| &*l.name == listener)
        .unwrap();
    let request = RequestView {
        listener: ListenerId(listener),
        port: snapshot.listeners[listener].port,
        source: "10.0.1.2".parse().unwrap(),
        message: Message::Http(HttpView {
            host: host.as_bytes(),
            path: path.as_bytes(),
            query: None,
            method: b"GET",
            headers: Default::default(),
        }),
        lane: None,
        draw: 0,
    };
    snapshot.route(&request).map(|route| &*route.name)
}

#[test]
fn a_snapshot_is_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    shared(&snapshot(RULES));
}

#[test]
fn workers_are_counted_on_a_numa_node() {
    let cores = |workers: &str| {
        snapshot(&format!("workers: {workers}\n{RULES}"))
            .workers
            .cores
    };
    let of_node = |count, node| WorkerCores::OfNode { count, node };
    assert_eq!(cores("{ count: 3, numa: 1 }"), of_node(3, 1));
    assert_eq!(cores("{ numa: 0 }"), of_node(1, 0));
    assert_eq!(cores("{ count: 3, numa: 1 }").count(), 3);
    assert_eq!(cores("{ count: 3 }"), WorkerCores::Last(3));
}

#[test]
fn defaults_are_those_of_the_model() {
    let snapshot = snapshot(RULES);
    assert_eq!(snapshot.generation, 0);
    assert_eq!(&*snapshot.node.name, "sluice");
    assert_eq!(snapshot.node.drain_timeout, Duration::from_secs(10));
    assert_eq!(snapshot.workers.cores, WorkerCores::Last(1));
    assert_eq!(snapshot.workers.idle, Idle::Poll);
    assert_eq!(snapshot.workers.memory, 256 << 20);
    assert_eq!(snapshot.tcp.window, 4 << 20);
    assert_eq!(snapshot.tcp.window_memory, 256 << 20);
    assert_eq!(snapshot.tcp.min_timeout, Duration::from_millis(200));
    assert_eq!(snapshot.admin, "127.0.0.1:9901".parse().unwrap());
    let web = &snapshot.listeners[0];
    assert_eq!(web.idle_timeout, Duration::from_secs(60));
    assert_eq!(web.head_timeout, Duration::from_secs(10));
    assert_eq!(web.max_connections, 16_384);
    assert_eq!(web.buffer, 65_536);
    let hello = snapshot.service(ServiceId(1)).unwrap();
    assert_eq!(hello.connect_timeout, Duration::from_secs(5));
    assert_eq!(hello.response_timeout, Duration::from_secs(30));
    assert_eq!(hello.idle_timeout, Duration::from_secs(30));
    assert_eq!((hello.max_connections, hello.max_idle), (16_384, 1024));
    assert_eq!(snapshot.ports[0].mtu, 1500);
}

#[test]
fn ports_listeners_and_endpoints_are_resolved() {
    let snapshot = snapshot(RULES);
    let names: Vec<&str> = snapshot.ports.iter().map(|port| &*port.name).collect();
    assert_eq!(names, ["back", "front"]);
    assert_eq!(
        snapshot.ports[0].attachment,
        Attachment::Vdev("net_memif0,role=client".into())
    );
    assert_eq!(
        snapshot.ports[1].attachment,
        Attachment::Interface("eth1".into())
    );
    assert_eq!(
        snapshot.ports[0].routes[0].to.prefix(),
        24,
        "longest prefix first"
    );
    assert!(snapshot.listeners.iter().all(|listener| listener.port == 1));
    assert_eq!(snapshot.listeners[1].addresses.len(), 2);
    let endpoint = |address: &str, port| Endpoint {
        address: address.parse().unwrap(),
        port,
    };
    assert_eq!(
        snapshot.services[0].endpoints,
        [
            endpoint("10.0.2.9:80", 0),
            endpoint("10.9.9.1:80", 0),
            endpoint("203.0.113.5:80", 1)
        ]
    );
}

#[test]
fn routes_are_sorted_by_specificity() {
    let snapshot = snapshot(RULES);
    let names: Vec<&str> = snapshot.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(
        names,
        [
            "shop.example.com/api/v2",
            "shop.example.com/api",
            "web6:shop.example.com/",
            "*.example.com/",
            "*/",
        ]
    );
    assert!(
        snapshot
            .routes
            .iter()
            .enumerate()
            .all(|(index, route)| route.id.0 == index)
    );
    let timeouts = snapshot.routes.iter().map(|route| route.response_timeout);
    let own = Some(Duration::from_secs(3));
    assert!(timeouts.eq([None, None, None, own, None]));
}

#[test]
fn header_edits_are_set_then_added_then_removed() {
    let snapshot = snapshot(RULES);
    let edits = &snapshot.routes[0].request_headers;
    let expected = [
        HeaderEdit::set(b"X-Edge", b"one"),
        HeaderEdit::add(b"x-also", b"two"),
        HeaderEdit::remove(b"X-Secret"),
    ];
    assert_eq!(edits.fixed, FixedEdits::new(&expected.map(Result::unwrap)));
    assert!(edits.computed.is_empty());
    assert_eq!(snapshot.routes[0].response_headers, HeaderEdits::default());
}

#[test]
fn requests_find_the_most_specific_route() {
    let snapshot = snapshot(RULES);
    for (listener, host, path, name) in [
        (
            "web",
            "shop.example.com",
            "/api/v2/x",
            "shop.example.com/api/v2",
        ),
        ("web", "SHOP.Example.Com", "/api", "shop.example.com/api"),
        ("web", "shop.example.com.", "/api/", "shop.example.com/api"),
        (
            "web",
            "shop.example.com",
            "/api/v22",
            "shop.example.com/api",
        ),
        // The exact host has no route for this path on this listener: the wildcard takes it.
        ("web", "shop.example.com", "/apix", "*.example.com/"),
        (
            "web6",
            "shop.example.com",
            "/apix",
            "web6:shop.example.com/",
        ),
        ("web", "a.b.example.com", "/", "*.example.com/"),
        ("web", "example.com", "/", "*/"),
        ("web", ".example.com", "/", "*/"),
        ("web", "", "*", "*/"),
        ("web", "shop.example.com", "/API", "*.example.com/"),
        // As sent: nothing is decoded or resolved.
        (
            "web",
            "shop.example.com",
            "/api/../admin",
            "shop.example.com/api",
        ),
        ("web", "shop.example.com", "/%61pi", "*.example.com/"),
        ("web", "shop.example.com", "//api", "*.example.com/"),
    ] {
        assert_eq!(
            route(&snapshot, listener, host, path),
            Some(name),
            "{listener} {host} {path}"
        );
    }
    let long = "a".repeat(256);
    assert_eq!(route(&snapshot, "web", &long, "/"), None);
    assert_eq!(route(&snapshot, "web", &long[1..], "/"), Some("*/"));
}

#[test]
fn without_a_route_for_every_host_some_requests_have_none() {
    let text = RULES.replace("  - { service: hello }\n", "");
    let snapshot = snapshot(&text);
    assert_eq!(route(&snapshot, "web", "other.org", "/"), None);
}

#[test]
fn endpoints_stand_together_by_lane() {
    let text = RULES.replace(
        "[10.0.2.2:8080, 10.0.2.3:8080]",
        "[{ address: 10.0.2.4:8080, lane: two }, 10.0.2.2:8080, { address: 10.0.2.5:8080, lane: one }, 10.0.2.3:8080]",
    );
    let snapshot = snapshot(&format!("{text}lanes: {{}}\n"));
    let hello = &snapshot.services[1];
    let addresses: Vec<String> = hello
        .endpoints
        .iter()
        .map(|endpoint| endpoint.address.ip().to_string())
        .collect();
    assert_eq!(addresses, ["10.0.2.2", "10.0.2.3", "10.0.2.5", "10.0.2.4"]);
    let lanes = snapshot.lanes.as_ref().unwrap();
    let groups = ["", "one", "two", "none"].map(|lane| hello.group(lanes.find(lane.as_bytes())));
    assert_eq!(groups, [0, 1, 2, 0].map(Some));
}

#[test]
fn what_did_not_change_is_shared() {
    use std::sync::Arc;
    let text = RULES.replace(
        "routes:\n  - { service: hello }",
        "routes:\n  - { service: hello, path: { regex: \"/x[0-9]+\" } }",
    );
    let old_rules = parse(&text, "old.yaml").unwrap();
    let old = compile(&old_rules).unwrap();
    let next = |text: &str| {
        let rules = parse(text, "new.yaml").unwrap();
        sluice_policy::recompile(&rules, &Arc::default(), &old_rules, &old).unwrap()
    };
    let same = next(&text);
    assert!(Arc::ptr_eq(&same.routes, &old.routes));
    assert!(Arc::ptr_eq(&same.services[0], &old.services[0]));

    let slower = next(&text.replace("response_timeout: 7s", "response_timeout: 8s"));
    assert!(Arc::ptr_eq(&slower.routes, &old.routes));
    assert!(!Arc::ptr_eq(&slower.services[0], &old.services[0]));
    assert!(Arc::ptr_eq(&slower.services[1], &old.services[1]));
    assert_eq!(slower.services[0].response_timeout, Duration::from_secs(8));

    let moved = next(&text.replace("path: /api,", "path: /apis,"));
    assert!(!Arc::ptr_eq(&moved.routes, &old.routes));
    assert!(Arc::ptr_eq(&moved.services[0], &old.services[0]));

    // Another service moves the ids: nothing that has ids is kept.
    let more = next(&text.replace(
        "services:\n",
        "services:\n  a: { endpoints: [10.0.2.7:1] }\n",
    ));
    assert!(!Arc::ptr_eq(&more.routes, &old.routes));
    assert_eq!(
        route(&more, "web", "shop.example.com", "/api/x"),
        Some("shop.example.com/api")
    );
}

#[test]
fn routes_that_did_not_change_are_shared_one_by_one_and_the_rest_is_as_if_compiled_alone() {
    use std::sync::Arc;
    let text = |routes: &[&str]| {
        let (before, _) = RULES.split_once("routes:\n").unwrap();
        format!("{before}routes:\n  - {}\n", routes.join("\n  - "))
    };
    let a = "{ host: a.org, service: api }";
    let b = "{ host: b.org, service: api }";
    let c = "{ host: c.org, service: hello, path: { regex: \"/c[0-9]+\" } }";
    let d = "{ host: d.org, service: hello }";
    let twice = "{ host: b.org, headers: { x: one }, service: hello }";
    let old_rules = parse(&text(&[a, b, c, d]), "old.yaml").unwrap();
    let old = compile(&old_rules).unwrap();
    // What becomes of them, and how many are shared: none that has an expression, nor one whose place or
    // name is another.
    let cases: &[(&[&str], usize)] = &[
        (&[a, b, c, "{ host: d.org, service: api }"], 2),
        (&[a, "{ host: b.org, service: hello }", c, d], 2),
        (&[a, b, c, d, "{ host: e.org, service: api }"], 3),
        (&["{ host: 0.org, service: api }", a, b, c, d], 0),
        (&[a, c, d], 1),
        (&[d, c, b, a], 0),
        (&[a, twice, b, c, d], 0),
    ];
    for (routes, shared) in cases {
        let rules = parse(&text(routes), "new.yaml").unwrap();
        let alone = compile(&rules).unwrap();
        let new = sluice_policy::recompile(&rules, &Arc::default(), &old_rules, &old).unwrap();
        assert_eq!(new.routes, alone.routes, "{routes:?}");
        let pairs = old.routes.iter().zip(new.routes.iter());
        let same = pairs.filter(|(old, new)| Arc::ptr_eq(old, new)).count();
        assert_eq!(same, *shared, "{routes:?}");
        for host in ["a.org", "b.org", "c.org", "d.org", "e.org", "0.org"] {
            let [alone, new] = [&alone, &new].map(|own| route(own, "web", host, "/c1"));
            assert_eq!(alone, new, "{routes:?} {host}");
        }
    }
    let twice = text(&[a, b, c, d, "{ host: b.org, service: hello }"]);
    let rules = parse(&twice, "new.yaml").unwrap();
    let problems = sluice_policy::recompile(&rules, &Arc::default(), &old_rules, &old).unwrap_err();
    assert!(
        problems[0]
            .to_string()
            .contains("takes the same requests as routes[1]"),
        "{problems:?}"
    );
}

#[test]
fn only_what_needs_a_restart_is_incompatible() {
    let old = parse(RULES, "test.yaml").unwrap();
    let refused = |text: &str| -> Vec<String> {
        let new = parse(text, "new.yaml").unwrap();
        compatible(&old, &new)
            .err()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let mend = "while the gateway runs; restart the gateway, or undo the change";
    assert_eq!(refused(RULES), [""; 0]);
    assert_eq!(
        refused(&RULES.replace("service: hello", "service: api")),
        [""; 0]
    );
    assert_eq!(
        refused(&format!("{RULES}node: {{ name: other }}\n")),
        [""; 0]
    );
    assert_eq!(
        refused(&format!(
            "{RULES}workers: {{ cores: [3] }}\nadmin: {{ address: 127.0.0.1:1 }}\ntcp: {{ window: 1MiB }}\n"
        )),
        [
            format!("new.yaml:31:1: workers: workers cannot change {mend}"),
            format!("new.yaml:32:1: admin: the admin address cannot change {mend}"),
            format!("new.yaml:33:1: tcp: tcp cannot change {mend}"),
        ]
    );
    assert_eq!(
        refused(&format!("{RULES}access_log: {{ file: a }}\n")),
        [""; 0]
    );
    assert_eq!(
        refused(&format!("{RULES}access_log: {{ file: a, buffer: 64 }}\n")),
        [format!(
            "new.yaml:31:32: access_log.buffer: the buffer of the access log cannot change {mend}"
        )]
    );
    assert_eq!(
        refused(
            &RULES
                .replace("10.0.1.1/24", "10.0.1.1/25")
                .replace("  back:", "  rear:")
        ),
        [
            format!("new.yaml:2:1: ports.back: a port cannot be taken away {mend}"),
            format!("new.yaml:3:3: ports.front: a port cannot change {mend}"),
            format!("new.yaml:7:3: ports.rear: a port cannot be added {mend}"),
        ]
    );
}
