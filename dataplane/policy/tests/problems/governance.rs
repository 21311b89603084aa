//! Matching, destinations, changes, lanes and faults.

use super::{check, with_routes, with_services, with_tail};

#[test]
fn routes() {
    check(
        with_routes,
        &[
            (
                "  - { host: a.org }\n",
                &["g.yaml:9:5: routes[0]: leads nowhere; add `service`"],
            ),
            (
                "  - { service: hello, respond: { status: 200 } }\n",
                &["g.yaml:9:23: routes[0].respond: stands beside `service`; keep one of them"],
            ),
            (
                "  - { service: helo, mirror: { service: helo } }\n",
                &[
                    "g.yaml:9:16: routes[0].service: no service is called \"helo\"; did you mean \"hello\"?",
                    "g.yaml:9:41: routes[0].mirror.service: no service is called \"helo\"; did you mean \"hello\"?",
                ],
            ),
            (
                "  - { split: [], service_by: { header: x, allowed: [hello] } }\n  - { split: [] }\n",
                &[
                    "g.yaml:9:7: routes[0].split: the weights add up to 0; give at least one service a weight",
                    "g.yaml:9:18: routes[0].service_by: stands beside `split`; keep one of them",
                    "g.yaml:10:7: routes[1].split: the weights add up to 0; give at least one service a weight",
                ],
            ),
            (
                "  - { split: [{ service: hello, weight: 0 }] }\n",
                &[
                    "g.yaml:9:7: routes[0].split: the weights add up to 0; give at least one service a weight",
                ],
            ),
            (
                "  - { split: [{ service: hello, weight: 1 }, { service: hello, weight: 2000000 }, { service: x, weight: 1 }] }\n",
                &[
                    "g.yaml:9:57: routes[0].split[1].service: \"hello\" is listed twice; keep one",
                    "g.yaml:9:72: routes[0].split[1].weight: 2000000 is outside 0 to 1000000",
                    "g.yaml:9:94: routes[0].split[2].service: no service is called \"x\"",
                ],
            ),
            (
                "  - { service: hello, sticky: source }\n",
                &[
                    "g.yaml:9:31: routes[0].sticky: there is nothing to choose from; add `split`, or take it out",
                ],
            ),
            (
                "  - { service_by: { header: \"x y\", allowed: [] } }\n",
                &[
                    "g.yaml:9:29: routes[0].service_by.header: \"x y\" is no header name",
                    "g.yaml:9:36: routes[0].service_by.allowed: allows no service; list those that may be named",
                ],
            ),
            (
                "  - { service_by: { header: host, allowed: [helo], otherwise: nobody } }\n",
                &[
                    "g.yaml:9:29: routes[0].service_by.header: the host is matched without its port, by `host`; use `host` of the route",
                    "g.yaml:9:45: routes[0].service_by.allowed[0]: no service is called \"helo\"; did you mean \"hello\"?",
                    "g.yaml:9:63: routes[0].service_by.otherwise: no service is called \"nobody\"",
                ],
            ),
            (
                "  - { respond: { status: 100, content_type: \"\" }, rewrite: { host: a }, mirror: { service: hello } }\n",
                &[
                    "g.yaml:9:26: routes[0].respond.status: 100 is outside 200 to 599",
                    "g.yaml:9:45: routes[0].respond.content_type: is no media type; write one such as application/json",
                    "g.yaml:9:51: routes[0].rewrite: has no effect: the gateway itself answers; take it out",
                    "g.yaml:9:73: routes[0].mirror: has no effect: the gateway itself answers; take it out",
                ],
            ),
            (
                "  - { respond: { status: 204, body: x } }\n",
                &["g.yaml:9:37: routes[0].respond.body: 204 has no body; take it out"],
            ),
            (
                "  - { redirect: {} }\n",
                &[
                    "g.yaml:9:7: routes[0].redirect: leads to where the request was made; add scheme, host, path or prefix",
                ],
            ),
            (
                "  - { redirect: { status: 200, scheme: ftp, host: \"a b\", path: x, prefix: /y } }\n",
                &[
                    "g.yaml:9:27: routes[0].redirect.status: 200 is no status of a redirect; write 301, 302, 303, 307 or 308",
                    "g.yaml:9:40: routes[0].redirect.scheme: \"ftp\" is no scheme here; write http or https",
                    "g.yaml:9:51: routes[0].redirect.host: \"a b\" is no host; write a name or an address, with a port or without",
                    "g.yaml:9:64: routes[0].redirect.path: does not begin with /; write \"/x\"",
                    "g.yaml:9:75: routes[0].redirect.prefix: stands beside `path`; keep one of them",
                ],
            ),
            (
                "  - { service: hello, rewrite: {} }\n",
                &["g.yaml:9:23: routes[0].rewrite: changes nothing; add path, prefix or host"],
            ),
            (
                "  - { service: hello, rewrite: { path: \"//evil\" } }\n",
                &[
                    "g.yaml:9:40: routes[0].rewrite.path: begins with //, which some take for a host",
                ],
            ),
            (
                "  - { service: hello, rewrite: { path: \"/a b\" } }\n",
                &[
                    "g.yaml:9:40: routes[0].rewrite.path: \"/a b\" is no path; write it as it stands in a request: other characters as %20",
                ],
            ),
            (
                "  - { service: hello, rewrite: { path: \"/${capture.id}\" } }\n",
                &[
                    "g.yaml:9:40: routes[0].rewrite.path: ${capture.id} is not known here; known are host, path, query, method, lane",
                ],
            ),
            (
                "  - { service: hello, rewrite: { path: \"/${header.x}\" } }\n",
                &[
                    "g.yaml:9:40: routes[0].rewrite.path: ${header.x} is not known here; known are host, path, query, method, lane",
                ],
            ),
            (
                "  - { service: hello, rewrite: { path: \"/${path\" } }\n",
                &["g.yaml:9:40: routes[0].rewrite.path: ${ is not closed by }"],
            ),
            (
                "  - { service: hello, path: { exact: /a }, rewrite: { prefix: /b/ } }\n",
                &[
                    "g.yaml:9:63: routes[0].rewrite.prefix: ends with /, but matches whole segments anyway; write \"/b\"",
                    "g.yaml:9:63: routes[0].rewrite.prefix: the route does not match a prefix; write `path`, or match a prefix",
                ],
            ),
            (
                "  - { service: hello, path: { exact: a } }\n",
                &["g.yaml:9:38: routes[0].path.exact: \"a\" does not begin with /; write \"/a\""],
            ),
            (
                "  - { service: hello, path: { exat: /a } }\n",
                &[
                    "g.yaml:9:31: routes[0].path.exat: `exat` is not known here; did you mean \"exact\"?",
                ],
            ),
            (
                "  - { service: hello, path: { pattern: \"/a/v{n}\" } }\n",
                &[
                    "g.yaml:9:40: routes[0].path.pattern: the segment \"v{n}\" is neither text nor one {name}; write a regex for parts of segments",
                ],
            ),
            (
                "  - { service: hello, path: { pattern: \"/{a...}/b\" } }\n",
                &["g.yaml:9:40: routes[0].path.pattern: {name...} is not at the end"],
            ),
            (
                "  - { service: hello, path: { pattern: \"/{a}/{a}\" } }\n",
                &["g.yaml:9:40: routes[0].path.pattern: {a} stands there twice"],
            ),
            (
                "  - { service: hello, path: { pattern: \"/{a b}\" } }\n",
                &[
                    "g.yaml:9:40: routes[0].path.pattern: \"/{a b}\" is no path; write it as it stands in a request: no query, other characters as %20",
                ],
            ),
            (
                "  - { service: hello, path: { regex: \"/(a\" } }\n",
                &["g.yaml:9:38: routes[0].path.regex: is no regular expression: unclosed group"],
            ),
            (
                "  - { service: hello, path: { regex: \"(a{1000}){1000}\" } }\n",
                &[
                    "g.yaml:9:38: routes[0].path.regex: would take too much memory to match; repeat less, or look at less of it",
                ],
            ),
            (
                "  - { service: hello, path: { regex: \"(.*)*x(.{0,100}y){20}\" } }\n",
                &[
                    "g.yaml:9:38: routes[0].path.regex: would take too much memory to match; repeat less, or look at less of it",
                ],
            ),
            (
                "  - { service: hello, method: get }\n",
                &["g.yaml:9:31: routes[0].method: methods are upper case; write GET"],
            ),
            (
                "  - { service: hello, method: [] }\n",
                &[
                    "g.yaml:9:23: routes[0].method: lists no method; add one, such as GET, or take it out",
                ],
            ),
            (
                "  - { service: hello, headers: { host: a } }\n",
                &[
                    "g.yaml:9:34: routes[0].headers.host: the host is matched without its port, by `host`; use `host` of the route",
                ],
            ),
            (
                "  - { service: hello, headers: { \"x y\": a } }\n",
                &["g.yaml:9:34: routes[0].headers[\"x y\"]: \"x y\" is no header name"],
            ),
            (
                "  - { service: hello, headers: { x: { prefix: \"\" } } }\n",
                &[
                    "g.yaml:9:47: routes[0].headers.x.prefix: is empty, which every value fits; write `present: true`",
                ],
            ),
            (
                "  - { service: hello, headers: { x: { range: { from: 5, to: 5 } } } }\n",
                &[
                    "g.yaml:9:39: routes[0].headers.x.range: is empty: `to` is one more than the largest; make `to` larger than `from`",
                ],
            ),
            (
                "  - { service: hello, headers: { x: { not: { not: { not: { not: a } } } } } }\n",
                &["g.yaml:9:53: routes[0].headers.x.not.not.not: is not, not, not: say it in one"],
            ),
            (
                "  - { service: hello, headers: { x: [] } }\n",
                &["g.yaml:9:34: routes[0].headers.x: lists no value; add one"],
            ),
            (
                "  - { service: hello, headers: { x: 1.0 } }\n",
                &["g.yaml:9:37: routes[0].headers.x: should stand in quotes"],
            ),
            (
                "  - { service: hello, query: { \"\": a } }\n",
                &["g.yaml:9:32: routes[0].query[\"\"]: a name has 1 to 1024 bytes"],
            ),
            (
                "  - { service: hello, source: 10.0.0.1 }\n",
                &[
                    "g.yaml:9:31: routes[0].source: `10.0.0.1` is not an address with a prefix length; write 10.0.0.1/24 or \"fd00::1/64\"",
                ],
            ),
            (
                "  - { service: hello, port: fornt }\n",
                &[
                    "g.yaml:9:29: routes[0].port: no port is called \"fornt\"; did you mean \"front\"?",
                ],
            ),
            (
                "  - { service: hello, lane: a }\n",
                &["g.yaml:9:29: routes[0].lane: there are no lanes; add a section `lanes`"],
            ),
            (
                "  - { service: hello, sample: 0% }\n",
                &[
                    "g.yaml:9:31: routes[0].sample: takes no request at all; write more than 0%, or take the rule out",
                ],
            ),
            (
                "  - { service: hello, sample: { share: 1%, by: { heder: x } } }\n",
                &[
                    "g.yaml:9:50: routes[0].sample.by.heder: `heder` is not known here; did you mean \"header\"?",
                ],
            ),
            (
                "  - { service: hello, fault: { until: soon } }\n",
                &[
                    "g.yaml:9:23: routes[0].fault: does nothing; add delay, bandwidth or abort",
                    "g.yaml:9:39: routes[0].fault.until: \"soon\" is no time; write one in UTC, such as 2026-12-24T18:00:00Z",
                ],
            ),
            (
                "  - { service: hello, fault: { delay: { time: 61m }, until: \"2026-01-01T00:00:00Z\" } }\n",
                &["g.yaml:9:47: routes[0].fault.delay.time: 61m is longer than 1h"],
            ),
            (
                "  - { service: hello, fault: { delay: { time: 25h }, until: \"2026-01-01T00:00:00Z\" } }\n",
                &["g.yaml:9:47: routes[0].fault.delay.time: 25h is longer than 24h"],
            ),
            (
                "  - { service: hello, fault: { delay: { time: 0s }, abort: { status: 200 }, until: \"2026-01-01T00:00:00Z\" } }\n",
                &[
                    "g.yaml:9:47: routes[0].fault.delay.time: must be more than 0; write a duration such as 10s",
                    "g.yaml:9:70: routes[0].fault.abort.status: 200 is outside 400 to 599",
                ],
            ),
            (
                "  - { service: hello, mirror: { service: hello, body: 2MiB }, fault: { bandwidth: { rate: 1B }, until: \"2026-01-01T00:00:00Z\" } }\n",
                &[
                    "g.yaml:9:55: routes[0].mirror.body: 2MiB is outside 0B to 1MiB",
                    "g.yaml:9:91: routes[0].fault.bandwidth.rate: 1B is outside 64B to 1GiB",
                ],
            ),
            (
                "  - { service: hello, fault: { abort: {} } }\n",
                &["g.yaml:9:23: routes[0].fault: `until` is missing; add `until`"],
            ),
            (
                "  - { service: hello, request_headers: { set: { x: \"${nobody}\" } } }\n",
                &[
                    "g.yaml:9:52: routes[0].request_headers.set.x: ${nobody} is not known here; known are host, path, query, method, lane, client_ip, request_id, route, service, header.NAME, cookie.NAME, query.NAME",
                ],
            ),
            (
                "  - { service: hello, request_headers: { append: { via: a } } }\n",
                &[
                    "g.yaml:9:52: routes[0].request_headers.append.via: `via` cannot be appended to; use `set`",
                ],
            ),
            (
                "  - { service: hello, response_headers: { set: { x: \"${header.a}\" } } }\n",
                &[
                    "g.yaml:9:53: routes[0].response_headers.set.x: ${header.a} is not known here; known are lane, status, client_ip, request_id, route, service",
                ],
            ),
            (
                "  - { service: hello, request_headers: { set: { x: \"a\\r\\nb: ${host}\" } } }\n",
                &["g.yaml:9:52: routes[0].request_headers.set.x: the value has control characters"],
            ),
            (
                "  - { service: hello, headers: { x: a } }\n  - { service: hello, headers: { X: a } }\n",
                &[
                    "g.yaml:10:5: routes[1]: takes the same requests as routes[0] (line 9); keep one, or give it another host or path",
                ],
            ),
        ],
    );
}

#[test]
fn services() {
    check(
        with_services,
        &[
            (
                "  a: { endpoints: [10.0.2.2:80], fallback: b }\n  b: { endpoints: [10.0.2.3:80], fallback: a }\n",
                &[
                    "g.yaml:7:44: services.a.fallback: leads in a circle: a to b to a; take one of these fallbacks out",
                ],
            ),
            (
                "  a: { endpoints: [10.0.2.2:80], fallback: b, max_idle: many }\n  b: { endpoints: [10.0.2.3:80], fallback: a }\n",
                &[
                    "g.yaml:7:44: services.a.fallback: leads in a circle: a to b to a; take one of these fallbacks out",
                    "g.yaml:7:57: services.a.max_idle: is not a whole number from 0 to 4294967295",
                ],
            ),
            (
                "  a: { endpoints: [10.0.2.2:80], fallback: a }\n",
                &[
                    "g.yaml:7:44: services.a.fallback: leads in a circle: a to a; take one of these fallbacks out",
                ],
            ),
            (
                "  a: { endpoints: [10.0.2.2:80], fallback: nobody }\n",
                &["g.yaml:7:44: services.a.fallback: no service is called \"nobody\""],
            ),
            (
                "  a: { endpoints: [{ address: 10.0.2.2:80, lane: x }] }\n",
                &[
                    "g.yaml:7:50: services.a.endpoints[0].lane: there are no lanes; add a section `lanes`",
                ],
            ),
            (
                "  a: { endpoints: [{ adress: 10.0.2.2:80 }] }\n",
                &[
                    "g.yaml:7:22: services.a.endpoints[0].adress: `adress` is not known here; did you mean \"address\"?",
                ],
            ),
            (
                "  a: { endpoints: [10.0.2.2:80], proxy_protocol: v1 }\nroutes: [{ service: a, mirror: { service: a } }]\n",
                &[
                    "g.yaml:8:43: routes[0].mirror.service: wants a PROXY header, and copies have none; name a service without proxy_protocol",
                ],
            ),
        ],
    );
}

#[test]
fn lanes() {
    check(
        with_tail,
        &[
            (
                "lanes: { header: content-length, tags: [{ lane: \"A b\" }, { lane: source }, { lane: { header: \"\" } }] }\n",
                &[
                    "g.yaml:8:18: lanes.header: \"content-length\" cannot carry the lane; write a header of your own, such as x-lane",
                    "g.yaml:8:49: lanes.tags[0].lane: \"A b\" is no name: names are of a-z, 0-9, `-`, `_` and `.`",
                    "g.yaml:8:94: lanes.tags[2].lane.header: \"\" is no header name",
                ],
            ),
            (
                "lanes: { header: content-length, key: to_service, tags: [{ lane: a, cookies: { z: null } }] }\nroutes: [{ service: hello }]\n",
                &[
                    "g.yaml:8:18: lanes.header: \"content-length\" cannot carry the lane; write a header of your own, such as x-lane",
                    "g.yaml:8:39: lanes.key: \"to_service\" does not travel from service to service; write RPC_PERSIST_LANE, env or stress_tag",
                    "g.yaml:8:83: lanes.tags[0].cookies.z: has no value",
                ],
            ),
            (
                "lanes: {}\nroutes:\n  - { service: hello, request_headers: { set: { X-Lane: a } } }\n",
                &[
                    "g.yaml:10:49: routes[0].request_headers.set.X-Lane: `x-lane` carries the lane; take it out, or give `lanes` another header",
                ],
            ),
        ],
    );
}

#[test]
fn endpoints_by_name() {
    check(
        with_services,
        &[
            (
                "  a: { endpoints: [cart.internal:80, { address: cart:81 }, { srv: _http._tcp.cart }] }\n",
                &[],
            ),
            (
                "  a: { endpoints: [10.0.2.256:80] }\n",
                &[
                    "g.yaml:7:20: services.a.endpoints[0]: `10.0.2.256:80` is not an address or a name with a port; write 10.0.0.1:80, \"[fd00::1]:80\" or cart.internal:80",
                ],
            ),
            (
                "  a: { endpoints: [cart.internal] }\n",
                &[
                    "g.yaml:7:20: services.a.endpoints[0]: `cart.internal` is not an address or a name with a port; write 10.0.0.1:80, \"[fd00::1]:80\" or cart.internal:80",
                ],
            ),
            (
                "  a: { endpoints: [{ srv: \"a b\" }, { address: a:1, srv: b }, { lane: x }, cart:0, cart:0] }\n",
                &[
                    "g.yaml:7:27: services.a.endpoints[0].srv: \"a b\" is no name; write one such as _http._tcp.cart.internal",
                    "g.yaml:7:57: services.a.endpoints[1].srv: stands beside `address`; keep one of them",
                    "g.yaml:7:62: services.a.endpoints[2]: `address` is missing; add `address` or `srv`",
                    "g.yaml:7:70: services.a.endpoints[2].lane: there are no lanes; add a section `lanes`",
                    "g.yaml:7:75: services.a.endpoints[3]: port 0 cannot be connected to; write a port from 1 to 65535",
                    "g.yaml:7:83: services.a.endpoints[4]: cart:0 is listed twice (line 7); keep one",
                    "g.yaml:7:83: services.a.endpoints[4]: port 0 cannot be connected to; write a port from 1 to 65535",
                ],
            ),
        ],
    );
}
