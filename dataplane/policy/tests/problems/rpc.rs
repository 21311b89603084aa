//! Remote procedure calls.

use super::{check, with_routes, with_tail};

#[test]
fn protocols() {
    check(
        with_routes,
        &[
            ("  - { rpc: {}, service: hello }\n", &[]),
            (
                "  - { rpc: { service: a }, host: a.org, headers: { x: y }, service: hello }\n",
                &[
                    "g.yaml:9:7: routes[0].rpc: stands beside `host`, which only HTTP has; make it two, one for each protocol",
                ],
            ),
            (
                "  - { rpc: {}, service: hello, fault: { bandwidth: { rate: 1MiB }, until: \"2026-01-01T00:00:00Z\" } }\n",
                &[
                    "g.yaml:9:41: routes[0].fault.bandwidth: is of HTTP, and the route takes RPC only: replies on shared connections can't be slowed down one by one; write delay or abort, or give HTTP a route of its own",
                ],
            ),
            (
                "  - { rpc: {}, redirect: { host: a } }\n",
                &[
                    "g.yaml:9:7: routes[0].rpc: stands beside `redirect`, which only HTTP has; make it two, one for each protocol",
                ],
            ),
            (
                "  - { rpc: {}, respond: { status: 403 } }\n",
                &[
                    "g.yaml:9:16: routes[0].respond: is not for RPC, which the route takes; write exception or biz_status, and not status",
                ],
            ),
            (
                "  - { path: /a, respond: { exception: { message: no } } }\n",
                &[
                    "g.yaml:9:17: routes[0].respond: is not for HTTP, which the route takes; write status, and not exception or biz_status",
                ],
            ),
            (
                "  - { respond: { body: x } }\n",
                &[
                    "g.yaml:9:7: routes[0].respond: is for no protocol; add status for HTTP, exception or biz_status for RPC, or both",
                    "g.yaml:9:24: routes[0].respond.body: is for HTTP, and there is no status; add status, or write a message",
                ],
            ),
            (
                "  - { service_by: { allowed: [hello] } }\n",
                &[
                    "g.yaml:9:7: routes[0].service_by: is for no protocol; add header for HTTP, key for RPC, or both",
                ],
            ),
            (
                "  - { host: a, service: hello, request_keys: { set: { env: a } } }\n",
                &[
                    "g.yaml:9:32: routes[0].request_keys: has no effect: the route takes HTTP only; take it out",
                ],
            ),
            (
                "  - { rpc: {}, service: hello, request_headers: { remove: [a] }, mirror: { service: hello } }\n",
                &[
                    "g.yaml:9:32: routes[0].request_headers: has no effect: the route takes RPC only; take it out",
                ],
            ),
            (
                "  - { rpc: { service: a }, service: hello }\n  - { rpc: { service: a }, service: hello }\n",
                &[
                    "g.yaml:10:5: routes[1]: takes the same requests as routes[0] (line 9); keep one, or give it another host or path",
                ],
            ),
        ],
    );
}

#[test]
fn keys_and_names() {
    check(
        with_routes,
        &[
            (
                "  - { rpc: { services: a }, service: hello }\n",
                &[
                    "g.yaml:9:14: routes[0].rpc.services: `services` is not known here; did you mean \"service\"?",
                ],
            ),
            (
                "  - { rpc: { service: [], keys: { \"70000\": a, \"string:\": b, env: { regex: \"(\" } } }, service: hello }\n",
                &[
                    "g.yaml:9:14: routes[0].rpc.service: lists no value; add one",
                    "g.yaml:9:35: routes[0].rpc.keys.70000: \"70000\" is no key; write an integer key's name or number (0 to 65535), or a string key",
                    "g.yaml:9:47: routes[0].rpc.keys[\"string:\"]: \"string:\" is no key; write an integer key's name or number (0 to 65535), or a string key",
                    "g.yaml:9:75: routes[0].rpc.keys.env.regex: is no regular expression: unclosed group",
                ],
            ),
            (
                "  - { rpc: { env: canary, keys: { env: prod } }, service: hello }\n",
                &[
                    "g.yaml:9:40: routes[0].rpc.keys.env: no call can have this value of env and the other that is stated; state it once; for either of them write a list",
                ],
            ),
            (
                "  - { rpc: { service: a, keys: { to_service: b } }, service: hello }\n",
                &[
                    "g.yaml:9:46: routes[0].rpc.keys.to_service: no call can have this value of to_service and the other that is stated; state it once; for either of them write a list",
                ],
            ),
            (
                "  - { rpc: { env: [a, b], keys: { env: [b, c], \"10\": { not: b }, x: a } }, service: hello }\n",
                &[],
            ),
            (
                "  - { service_by: { key: \"\", allowed: [hello] } }\n",
                &[
                    "g.yaml:9:26: routes[0].service_by.key: \"\" is no key; write an integer key's name or number (0 to 65535), or a string key",
                ],
            ),
            (
                "  - { rpc: {}, service: hello, request_keys: { set: { msg_type: \"1\", PV_x: a, env: \"${header.x}\" }, add: { \"10\": b }, remove: [crc32c, \"*\", env] } }\n",
                &[
                    "g.yaml:9:55: routes[0].request_keys.set.msg_type: `msg_type` cannot be changed; take it out: the gateway itself answers for it",
                    "g.yaml:9:70: routes[0].request_keys.set.PV_x: `PV_x` cannot be changed; take it out: the gateway itself answers for it",
                    "g.yaml:9:84: routes[0].request_keys.set.env: ${header.x} is not known here; known are method, lane, client_ip, route, service, key.NAME",
                    "g.yaml:9:108: routes[0].request_keys.add.10: `env` is changed twice; keep one",
                    "g.yaml:9:128: routes[0].request_keys.remove[0]: `crc32c` cannot be changed; take it out: the gateway itself answers for it",
                    "g.yaml:9:136: routes[0].request_keys.remove[1]: would take out every key; write what they begin with",
                    "g.yaml:9:141: routes[0].request_keys.remove[2]: `env` is changed twice; keep one",
                ],
            ),
            (
                "  - { rpc: {}, service: hello, request_keys: { remove: [K_*, c*, PV_a*, P*, biz-s*] } }\n",
                &[
                    "g.yaml:9:62: routes[0].request_keys.remove[1]: would take out `crc32c`, which cannot be changed; write more of what the others begin with",
                    "g.yaml:9:66: routes[0].request_keys.remove[2]: would take out `PV_a`, which cannot be changed; write more of what the others begin with",
                    "g.yaml:9:73: routes[0].request_keys.remove[3]: would take out `PV_`, which cannot be changed; write more of what the others begin with",
                    "g.yaml:9:77: routes[0].request_keys.remove[4]: would take out `biz-status`, which cannot be changed; write more of what the others begin with",
                ],
            ),
            (
                "  - { rpc: {}, service: hello, response_keys: { set: { a: \"${key.b}\" } } }\n",
                &[
                    "g.yaml:9:59: routes[0].response_keys.set.a: ${key.b} is not known here; known are lane, client_ip, route, service",
                ],
            ),
        ],
    );
    let many: Vec<String> = (0..40).map(|n| format!("n{n}")).collect();
    let many = many.join(", ");
    assert_eq!(
        with_routes(&format!(
            "  - {{ rpc: {{ service: [{many}], method: [{many}] }}, service: hello }}\n"
        )),
        [
            "g.yaml:9:7: routes[0].rpc: lists 1600 pairs of service and method; at most 1024 can be listed; make it several routes"
        ]
    );
}

#[test]
fn answers() {
    let long = "x".repeat(1025);
    check(
        with_routes,
        &[
            (
                "  - { respond: { exception: { kind: teapot, message: no } } }\n",
                &[
                    "g.yaml:9:37: routes[0].respond.exception.kind: `teapot` is not known here; known are unknown, unknown_method, internal, protocol, unknown_service, no_service_name",
                ],
            ),
            (
                "  - { respond: { exception: { message: no }, biz_status: { status: 0, message: no } } }\n",
                &[
                    "g.yaml:9:46: routes[0].respond.biz_status: stands beside `exception`; keep one of them",
                ],
            ),
            (
                "  - { respond: { biz_status: { status: 0, message: no } } }\n",
                &[
                    "g.yaml:9:40: routes[0].respond.biz_status.status: 0 is no failure; write another number",
                ],
            ),
        ],
    );
    assert_eq!(
        with_routes(&format!(
            "  - {{ respond: {{ exception: {{ message: {long} }} }} }}\n"
        )),
        ["g.yaml:9:40: routes[0].respond.exception.message: is longer than 1KiB"]
    );
}

#[test]
fn lanes() {
    check(
        with_tail,
        &[
            (
                "lanes: { key: to_service }\nroutes: [{ service: hello }]\n",
                &[
                    "g.yaml:8:15: lanes.key: \"to_service\" does not travel from service to service; write RPC_PERSIST_LANE, env or stress_tag",
                ],
            ),
            (
                "lanes: { tags: [{ lane: a, rpc: {}, cookies: { a: b } }] }\nroutes: [{ service: hello }]\n",
                &[
                    "g.yaml:8:28: lanes.tags[0].rpc: stands beside `cookies`, which only HTTP has; make it two, one for each protocol",
                ],
            ),
            (
                "lanes: {}\nroutes: [{ rpc: {}, service: hello, request_keys: { remove: [RPC_TRANSIT_*, RPC_*] } }]\n",
                &[
                    "g.yaml:9:77: routes[0].request_keys.remove[1]: would take out `RPC_PERSIST_LANE`, which cannot be changed; write more of what the others begin with",
                ],
            ),
            (
                "lanes: { key: env }\nroutes: [{ rpc: {}, service: hello, request_keys: { remove: [\"10\"] } }]\n",
                &[
                    "g.yaml:9:62: routes[0].request_keys.remove[0]: `env` carries the lane; take it out, or give `lanes` another key",
                ],
            ),
        ],
    );
}
