//! YAML itself, types, and the document as a whole.

use super::{LISTENERS, PORTS, SERVICES, check, said, with_tail};

/// What is said about a document beside that it has no listener, no port and the like.
fn said_of_what_is_there(text: &str) -> Vec<String> {
    let mut said = said(text);
    said.retain(|line| !line.contains(": there is no "));
    said
}

#[test]
fn a_document_without_anything() {
    let nothing: &[&str] = &[
        "g.yaml:1:1: listeners: there is no listener; add one, such as web: { address: 10.0.0.1:80 }",
        "g.yaml:1:1: ports: there is no port; add one, such as front: { interface: eth1, ... }",
    ];
    check(said, &[("", nothing)]);
}

#[test]
fn what_is_no_yaml_or_of_the_wrong_type() {
    check(
        said_of_what_is_there,
        &[
            ("- 1\n", &["g.yaml:1:1: should be a mapping (`key: value`)"]),
            ("ports: [a\n", &["g.yaml:1:8: unclosed bracket '['"]),
            ("ports: *x\n", &["g.yaml:1:8: reference to unknown value"]),
            (
                "a: \"\\q\"\n",
                &["g.yaml:1:4: while parsing a quoted scalar, found unknown escape character"],
            ),
            (
                "ports: {}\nports: {}\n",
                &["g.yaml:2:1: `ports` stands here twice; keep one"],
            ),
            (
                "---\nports: {}\n---\nports: {}\n",
                &["g.yaml:4:1: a second document begins here; keep one document"],
            ),
            (
                "port: {}\n",
                &["g.yaml:1:1: port: `port` is not known here; did you mean \"ports\"?"],
            ),
            (
                "nonsense: {}\n",
                &[
                    "g.yaml:1:1: nonsense: `nonsense` is not known here; known are node, ports, workers, tcp, admin, dns, access_log, listeners, services, lanes, routes",
                ],
            ),
            (
                "ports: 5\n",
                &["g.yaml:1:8: ports: should be a mapping (`key: value`)"],
            ),
            (
                "routes: {}\n",
                &["g.yaml:1:9: routes: should be a list (`[a, b]`)"],
            ),
            (
                "routes: [{ redirect: { host: a }, mirror: { share: 1% } }]\n",
                &["g.yaml:1:35: routes[0].mirror: `service` is missing; add `service`"],
            ),
            (
                "routes: [{ mirror: { service: } }]\n",
                &["g.yaml:1:29: routes[0].mirror.service: has no value"],
            ),
            (
                "routes: [{ service: [a] }]\n",
                &["g.yaml:1:21: routes[0].service: should be a single value"],
            ),
            (
                "routes: [{ path: [/a, /b] }]\n",
                &["g.yaml:1:18: routes[0].path: should be a single value"],
            ),
            (
                "routes: [{ path: { exact: /a, regex: b } }]\n",
                &[
                    "g.yaml:1:31: routes[0].path.regex: stands beside another key, where one can stand; keep one of them",
                ],
            ),
            (
                "routes: [{ headers: { a: {} } }]\n",
                &[
                    "g.yaml:1:26: routes[0].headers.a: is an empty mapping, where one key has to stand",
                ],
            ),
            (
                "routes: [{ sample: { share: 1%, by: {} } }]\n",
                &[
                    "g.yaml:1:37: routes[0].sample.by: is an empty mapping, where one key has to stand",
                ],
            ),
            (
                "routes: [{ headers: { a: { present: maybe } } }]\n",
                &["g.yaml:1:37: routes[0].headers.a.present: is not true or false"],
            ),
            (
                "routes: [{ order: 1.5 }]\n",
                &[
                    "g.yaml:1:19: routes[0].order: is not a whole number from -2147483648 to 2147483647",
                ],
            ),
            (
                "routes: [{ headers: { a: { range: { from: 1.5, to: 2 } } } }]\n",
                &["g.yaml:1:43: routes[0].headers.a.range.from: is not a whole number"],
            ),
            (
                "ports: { a: { mtu: 99999 } }\n",
                &["g.yaml:1:20: ports.a.mtu: is not a whole number from 0 to 65535"],
            ),
            (
                "ports: { a: { mtu: big } }\n",
                &["g.yaml:1:20: ports.a.mtu: is not a whole number from 0 to 65535"],
            ),
            (
                "ports: { a: { adresses: [] } }\n",
                &[
                    "g.yaml:1:15: ports.a.adresses: `adresses` is not known here; did you mean \"addresses\"?",
                ],
            ),
            (
                "ports: { a: { addresses: [10.0.0.1] } }\n",
                &[
                    "g.yaml:1:27: ports.a.addresses[0]: `10.0.0.1` is not an address with a prefix length; write 10.0.0.1/24 or \"fd00::1/64\"",
                ],
            ),
            (
                "workers: { idle: pol }\n",
                &["g.yaml:1:18: workers.idle: `pol` is not known here; did you mean \"poll\"?"],
            ),
            (
                "workers: { idle: never }\n",
                &[
                    "g.yaml:1:18: workers.idle: `never` is not known here; known are poll, adaptive, share",
                ],
            ),
            (
                "workers: { memory: 256MB }\n",
                &[
                    "g.yaml:1:20: workers.memory: `256MB` is not a size; write a whole number and a unit, such as 0B, 64KiB or 1MiB",
                ],
            ),
            (
                "listeners: { web: { address: 10.0.0.1 } }\n",
                &[
                    "g.yaml:1:30: listeners.web.address: `10.0.0.1` is not an address with a port; write 10.0.0.1:80 or \"[fd00::1]:80\"",
                ],
            ),
            (
                "listeners: { web: { address: [10.0.0.1:80, x] } }\n",
                &[
                    "g.yaml:1:44: listeners.web.address[1]: `x` is not an address with a port; write 10.0.0.1:80 or \"[fd00::1]:80\"",
                ],
            ),
            (
                "listeners: { web: { address: { a: 1 } } }\n",
                &[
                    "g.yaml:1:30: listeners.web.address: invalid type: map, expected one value or a list of them",
                ],
            ),
            (
                "listeners: { web: { address: 80 } }\n",
                &[
                    "g.yaml:1:30: listeners.web.address: `80` is not an address with a port; write 10.0.0.1:80 or \"[fd00::1]:80\"",
                ],
            ),
            (
                "listeners: { web: { address: true } }\n",
                &[
                    "g.yaml:1:30: listeners.web.address: invalid type: boolean `true`, expected one value or a list of them",
                ],
            ),
            (
                "routes:\n  - split:\n      - weight: 1\n",
                &["g.yaml:3:9: routes[0].split[0]: `service` is missing; add `service`"],
            ),
            (
                "listeners:\n  web:\n    buffer: 64KiB\n",
                &["g.yaml:2:3: listeners.web: `address` is missing; add `address`"],
            ),
            (
                "listeners: { web: {} }\n",
                &["g.yaml:1:14: listeners.web: `address` is missing; add `address`"],
            ),
            (
                "listeners: { \"a.b\": { address: 1.1.1.1:80, idle_timeout: 60 } }\n",
                &[
                    "g.yaml:1:32: listeners[\"a.b\"].address: 1.1.1.1 is not an address of any port",
                    "g.yaml:1:58: listeners[\"a.b\"].idle_timeout: `60` is not a duration; write a whole number and a unit, such as 250ms, 10s or 1m",
                ],
            ),
            (
                "services: { a: { connect_timeout: 1 s } }\n",
                &[
                    "g.yaml:1:35: services.a.connect_timeout: `1 s` is not a duration; write a whole number and a unit, such as 250ms, 10s or 1m",
                ],
            ),
            (
                "x: &a { b: [*a] }\n",
                &["g.yaml:1:13: Recursive reference not allowed here"],
            ),
            (
                "services: { a: &s { max_idle: x }, b: *s }\n",
                &["g.yaml:1:31: services.a.max_idle: is not a whole number from 0 to 4294967295"],
            ),
            (
                "services: { a: &s { max_idle: 1 }, b: { max_idle: *s } }\n",
                &[
                    "g.yaml:1:13: services.a.endpoints: has no endpoint; add one, such as [10.0.0.2:8080]",
                    "g.yaml:1:51: services.b.max_idle: should be a single value",
                ],
            ),
            (
                "a: \u{fffe}\n",
                &["g.yaml:1:4: unexpected character: `\\u{fffe}'"],
            ),
            (
                "workers: { two\n\n lines: a }\n",
                &[
                    "g.yaml:1:12: workers[\"two\\nlines\"]: `two\\nlines` is not known here; known are count, numa, cores, idle, memory",
                ],
            ),
            (
                "ports: { a: { mtu: \"\\e[0m\" } }\n",
                &["g.yaml:1:20: ports.a.mtu: is not a whole number from 0 to 65535"],
            ),
            (
                "workers: { idle: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx }\n",
                &[
                    "g.yaml:1:18: workers.idle: `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...; known are poll, adaptive, share",
                ],
            ),
            (
                "\tports: {}\n ports: {}\n",
                &["g.yaml:2:2: `ports` stands here twice; keep one"],
            ),
            (
                "ports:\n  a: 1\n b: 2\n",
                &["g.yaml:3:2: while parsing a block mapping, did not find expected key"],
            ),
        ],
    );
}

#[test]
fn node_workers_tcp_and_admin() {
    check(
        with_tail,
        &[
            (
                "node: { name: Edge 1, drain_timeout: 0s }\n",
                &[
                    "g.yaml:8:15: node.name: \"Edge 1\" is no name: names are of a-z, 0-9, `-`, `_` and `.`",
                    "g.yaml:8:38: node.drain_timeout: must be more than 0; write a duration such as 10s",
                ],
            ),
            (
                "workers: { cores: [1, 2], count: 2, memory: 1MiB }\n",
                &[
                    "g.yaml:8:34: workers.count: `count` and `cores` both say how many workers there are; keep one of them",
                    "g.yaml:8:45: workers.memory: 1MiB is outside 64MiB to 64GiB",
                ],
            ),
            (
                "workers: { cores: [1, 2], numa: 0 }\n",
                &[
                    "g.yaml:8:33: workers.numa: `cores` says which cores the workers are on already; keep one of them",
                ],
            ),
            (
                "workers: { cores: [] }\n",
                &[
                    "g.yaml:8:12: workers.cores: no cores are given; name a core for each worker, or leave it out for one worker on the last core",
                ],
            ),
            (
                "workers: { count: 65 }\n",
                &["g.yaml:8:19: workers.count: 65 is outside 1 to 64"],
            ),
            (
                "workers: { memory: 67108865B }\n",
                &[
                    "g.yaml:8:20: workers.memory: 67108865B is not a whole number of MiB; write 64MiB",
                ],
            ),
            (
                "tcp: { window: 1KiB, window_memory: 1024GiB, min_timeout: 2s, user_timeout: 0s, keep_alive: 48h }\n",
                &[
                    "g.yaml:8:16: tcp.window: 1KiB is outside 64KiB to 64MiB",
                    "g.yaml:8:37: tcp.window_memory: 1024GiB is outside 0B to 64GiB",
                    "g.yaml:8:59: tcp.min_timeout: 2s is outside 1ms to 1s",
                    "g.yaml:8:77: tcp.user_timeout: 0ms is outside 1s to 24h",
                    "g.yaml:8:93: tcp.keep_alive: 48h is outside 1s to 24h",
                ],
            ),
            (
                "tcp: { user_timeout: 1ms, keep_alive: 999ms }\n",
                &[
                    "g.yaml:8:22: tcp.user_timeout: 1ms is outside 1s to 24h",
                    "g.yaml:8:39: tcp.keep_alive: 999ms is outside 1s to 24h",
                ],
            ),
            (
                "tcp: { congestion: reno }\n",
                &["g.yaml:8:20: tcp.congestion: `reno` is not known here; known are cubic, bbr"],
            ),
        ],
    );
}

#[test]
fn everything_is_said_at_once_in_the_order_of_places() {
    check(
        said,
        &[(
            "routes:\n  - { service: helo, path: x }\nservices:\n  hello: {}\nlisteners:\n  web: { address: 10.0.9.1:80 }\nports:\n  front: { interface: eth1, addresses: [10.0.1.1/24], mtu: 1 }\n",
            &[
                "g.yaml:2:16: routes[0].service: no service is called \"helo\"; did you mean \"hello\"?",
                "g.yaml:2:28: routes[0].path: \"x\" does not begin with /; write \"/x\"",
                "g.yaml:4:3: services.hello.endpoints: has no endpoint; add one, such as [10.0.0.2:8080]",
                "g.yaml:6:19: listeners.web.address: 10.0.9.1 is not an address of any port; did you mean \"10.0.1.1:80\"?",
                "g.yaml:8:60: ports.front.mtu: 1 is outside 576 to 9216",
            ],
        )],
    );
}

#[test]
fn a_document_that_blows_up_is_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(8);
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let deep = format!("routes: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
    for (text, told) in [(bomb, "stand for more than 100000 values"), (deep, "")] {
        let said = said(&text);
        assert_eq!(said.len(), 1);
        assert!(said[0].contains(told), "{said:?}");
        assert!(said[0].starts_with("g.yaml:"), "{said:?}");
    }
    let long = " ".repeat(sluice_policy::yaml::MAX_DOCUMENT + 1);
    assert_eq!(said(&long), ["g.yaml: is larger than 16 MiB"]);
}

#[test]
fn line_ends_and_byte_order_mark_of_other_editors_are_read() {
    let text = format!("{PORTS}{LISTENERS}{SERVICES}routes:\n  - {{ service: hello }}\n");
    assert_eq!(said(&text.replace('\n', "\r\n")), [""; 0]);
    assert_eq!(said(&format!("\u{feff}{text}")), [""; 0]);
}

#[test]
fn mistakes_of_every_kind_are_said_at_once() {
    check(
        said,
        &[
            (
                "\
ports:
  front: { interface: eth1, addresses: [10.0.1.1/24] }
listeners:
  web: { address: 10.0.1.1:80 }
services:
  a: { endpoints: [10.0.1.2:80], max_idle: many, idle_timeout: soon }
  b: { endpoints: [10.0.1.3:80] }
routes:
  - { path: /a, servce: a, order: x }
  - { path: /b, service: c }
  - { path: /c, split: [{ service: a, weight: 0 }, { service: b, weight: 0 }] }
  - { path: { regex: \"(\" }, service: a }
  - { path: /d, split: [{ service: a, weight: x }, { service: b, weight: -1 }] }
  - 5
  - { path: /e, service: b, response_timeout: 48h }
nonsense: 1
tcp: { window: big, keep_alive: never }
",
                &[
                    "g.yaml:6:44: services.a.max_idle: is not a whole number from 0 to 4294967295",
                    "g.yaml:6:64: services.a.idle_timeout: `soon` is not a duration; write a whole number and a unit, such as 250ms, 10s or 1m",
                    "g.yaml:9:17: routes[0].servce: `servce` is not known here; did you mean \"service\"?",
                    "g.yaml:9:35: routes[0].order: is not a whole number from -2147483648 to 2147483647",
                    "g.yaml:10:26: routes[1].service: no service is called \"c\"; did you mean \"a\"?",
                    "g.yaml:11:17: routes[2].split: the weights add up to 0; give at least one service a weight",
                    "g.yaml:12:22: routes[3].path.regex: is no regular expression: unclosed group",
                    "g.yaml:13:47: routes[4].split[0].weight: is not a whole number from 0 to 4294967295",
                    "g.yaml:13:74: routes[4].split[1].weight: is not a whole number from 0 to 4294967295",
                    "g.yaml:14:5: routes[5]: should be a mapping (`key: value`)",
                    "g.yaml:15:47: routes[6].response_timeout: 48h is longer than 24h",
                    "g.yaml:16:1: nonsense: `nonsense` is not known here; known are node, ports, workers, tcp, admin, dns, access_log, listeners, services, lanes, routes",
                    "g.yaml:17:16: tcp.window: `big` is not a size; write a whole number and a unit, such as 0B, 64KiB or 1MiB",
                    "g.yaml:17:33: tcp.keep_alive: `never` is not a duration; write a whole number and a unit, such as 250ms, 10s or 1m",
                ],
            ),
            // What only seems wrong because something else is, is not said.
            (
                "\
ports:
  front: { interface: eth1, adresses: [10.0.1.1/24] }
listeners:
  web: { address: 10.0.1.1:80 }
  rpc: { adress: 10.0.1.1:81 }
services:
  a: { endpoints: [10.0.1.2:80, { address: 10.0.1.3:80, lane: blue }], x: 1 }
  b: 7
routes:
  - { path: /a, service: a, listener: rpc, lane: blue, access_log: { sample: 1% } }
  - { path: /b, service: b, listener: web }
lanes: { header: [x] }
access_log: { fil: x }
",
                &[
                    "g.yaml:2:29: ports.front.adresses: `adresses` is not known here; did you mean \"addresses\"?",
                    "g.yaml:5:10: listeners.rpc.adress: `adress` is not known here; did you mean \"address\"?",
                    "g.yaml:7:72: services.a.x: `x` is not known here; known are endpoints, protocol, multiplex, shared_connections, fallback, connect_timeout, response_timeout, request_timeout, max_connections, max_idle, idle_timeout, proxy_protocol, upgrade, tunnel_timeout",
                    "g.yaml:8:6: services.b: should be a mapping (`key: value`)",
                    "g.yaml:12:18: lanes.header: should be a single value",
                    "g.yaml:13:15: access_log.fil: `fil` is not known here; did you mean \"file\"?",
                ],
            ),
            (
                "\
ports: { front: { interface: eth1, addresses: [10.0.1.1/24] } }
listeners: { web: { address: 10.0.1.1:80 } }
services: [a]
routes:
  - { service: a }
  - { service: b, path: x }
",
                &[
                    "g.yaml:3:11: services: should be a mapping (`key: value`)",
                    "g.yaml:6:25: routes[1].path: \"x\" does not begin with /; write \"/x\"",
                ],
            ),
            (
                "[a, b]\n",
                &["g.yaml:1:1: should be a mapping (`key: value`)"],
            ),
        ],
    );
}

/// What is wrong by itself, whatever stands beside it, is said of what has other mistakes, too.
#[test]
fn a_mistake_does_not_hide_those_beside_it() {
    check(
        said,
        &[(
            "\
ports:
  front: { interface: eth1, addresses: [10.0.1.1/24] }
listeners:
  web: { address: 10.0.9.1:80, idle_timeout: 48h, max_connections: x }
services:
  a: { endpoints: [10.0.1.2:80, 10.9.9.9:80], fallback: z, max_idle: many }
routes:
  - { path: a, service: c, order: x, listener: wbe, response_timeout: 0s }
  - { host: \"a b\", method: get, headers: { x: { rgex: a }, y: { regex: \"(\" } }, service: a }
  - { path: /c, split: [{ service: a, weight: x }, { service: d, weight: 1 }], request_headers: { set: { \"a b\": 1 } } }
  - { path: /d, split: [5, { service: d, weight: 1 }, { service: e, weight: 0 }], mirror: { service: f } }
  - { path: { pattern: 5, x: 6 }, service: a, rewrite: { path: \"/${capture.id}\" }, fault: { abort: { status: 1 }, until: soon } }
  - { servce: a, sticky: source }
",
            &[
                "g.yaml:4:19: listeners.web.address: 10.0.9.1 is not an address of any port; did you mean \"10.0.1.1:80\"?",
                "g.yaml:4:46: listeners.web.idle_timeout: 48h is longer than 24h",
                "g.yaml:4:68: listeners.web.max_connections: is not a whole number from 0 to 4294967295",
                "g.yaml:6:33: services.a.endpoints[1]: 10.9.9.9 is on no port's network and behind no port's route; add an address on its network, or a route to it, to a port",
                "g.yaml:6:57: services.a.fallback: no service is called \"z\"; did you mean \"a\"?",
                "g.yaml:6:70: services.a.max_idle: is not a whole number from 0 to 4294967295",
                "g.yaml:8:13: routes[0].path: \"a\" does not begin with /; write \"/a\"",
                "g.yaml:8:25: routes[0].service: no service is called \"c\"; did you mean \"a\"?",
                "g.yaml:8:35: routes[0].order: is not a whole number from -2147483648 to 2147483647",
                "g.yaml:8:48: routes[0].listener: no listener is called \"wbe\"; did you mean \"web\"?",
                "g.yaml:8:71: routes[0].response_timeout: must be more than 0; write a duration such as 10s",
                "g.yaml:9:13: routes[1].host: \"a b\" is no host; write a name, *.example.com for all names below one, or * for any",
                "g.yaml:9:28: routes[1].method: methods are upper case; write GET",
                "g.yaml:9:49: routes[1].headers.x.rgex: `rgex` is not known here; did you mean \"regex\"?",
                "g.yaml:9:72: routes[1].headers.y.regex: is no regular expression: unclosed group",
                "g.yaml:10:47: routes[2].split[0].weight: is not a whole number from 0 to 4294967295",
                "g.yaml:10:106: routes[2].request_headers.set[\"a b\"]: \"a b\" is no header name",
                "g.yaml:11:25: routes[3].split[0]: should be a mapping (`key: value`)",
                "g.yaml:11:102: routes[3].mirror.service: no service is called \"f\"; did you mean \"a\"?",
                "g.yaml:12:24: routes[4].path.pattern: \"5\" does not begin with /; write \"/5\"",
                "g.yaml:12:27: routes[4].path.x: stands beside another key, where one can stand; keep one of them",
                "g.yaml:12:110: routes[4].fault.abort.status: 1 is outside 400 to 599",
                "g.yaml:12:122: routes[4].fault.until: \"soon\" is no time; write one in UTC, such as 2026-12-24T18:00:00Z",
                "g.yaml:13:7: routes[5].servce: `servce` is not known here; did you mean \"service\"?",
            ],
        )],
    );
}

#[test]
fn keys_that_stand_twice_are_said_beside_all_else() {
    check(
        said,
        &[
            (
                "\
ports:
  front: { interface: eth1, addresses: [10.0.1.1/24] }
listeners:
  web: { address: 10.0.1.1:80, address: 10.0.1.1:81 }
services:
  a: { endpoints: [10.0.1.2:80] }
  a: { endpoints: [10.0.1.3:80] }
routes:
  - { path: /a, path: /b, service: c }
  - { path: b, service: a }
",
                &[
                    "g.yaml:4:32: `address` stands here twice; keep one",
                    "g.yaml:7:3: `a` stands here twice; keep one",
                    "g.yaml:9:17: `path` stands here twice; keep one",
                    "g.yaml:9:36: routes[0].service: no service is called \"c\"; did you mean \"a\"?",
                    "g.yaml:10:13: routes[1].path: \"b\" does not begin with /; write \"/b\"",
                ],
            ),
            // What only the second one has is not said to be missing.
            (
                "\
ports:
  front: { interface: eth1, addresses: [10.0.1.1/24] }
listeners:
  web: { address: 10.0.1.1:80 }
services: { a: { endpoints: [10.0.1.2:80] } }
services: { b: { endpoints: [10.0.1.2:80] } }
routes:
  - { path: /a, service: a, order: x }
  - { path: /b, service: b }
",
                &[
                    "g.yaml:6:1: `services` stands here twice; keep one",
                    "g.yaml:8:36: routes[0].order: is not a whole number from -2147483648 to 2147483647",
                ],
            ),
        ],
    );
}

#[test]
fn of_an_alias_with_a_mistake_it_is_told_where_it_is_defined_and_once() {
    check(
        said_of_what_is_there,
        &[(
            "routes: [&r { order: x }, *r, *r]\n",
            &["g.yaml:1:22: routes[0].order: is not a whole number from -2147483648 to 2147483647"],
        )],
    );
}

#[test]
fn a_document_in_which_everything_is_wrong_is_told_of_within_bounds() {
    let routes = "  - { path: 1, servce: a, order: x, split: [{ weight: y }, { weight: z }, 3, 4, 5, 6, 7, 8, 9] }\n";
    let all = said(&format!(
        "{PORTS}{LISTENERS}routes:\n{}",
        routes.repeat(160)
    ));
    assert_eq!(all.len(), 1000);
    // Of one route, the first ones.
    let one = said(&format!("{PORTS}{LISTENERS}routes:\n{routes}"));
    assert_eq!(one.len(), 7, "{one:#?}");
    assert!(
        one.iter().all(|line| line.starts_with("g.yaml:7:")),
        "{one:#?}"
    );
}
