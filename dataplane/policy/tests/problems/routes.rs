//! Routes, header edits and the access log.

use super::{check, with_routes, with_tail};

#[test]
fn routes() {
    check(
        with_routes,
        &[
            (
                "  - { service: helo }\n",
                &[
                    "g.yaml:9:16: routes[0].service: no service is called \"helo\"; did you mean \"hello\"?",
                ],
            ),
            (
                "  - { service: other }\n",
                &["g.yaml:9:16: routes[0].service: no service is called \"other\""],
            ),
            (
                "  - { service: hello, listener: wbe }\n",
                &[
                    "g.yaml:9:33: routes[0].listener: no listener is called \"wbe\"; did you mean \"web\"?",
                ],
            ),
            (
                "  - { service: hello }\n  - { service: hello, host: a.org }\n  - { service: hello, host: \"*\", path: / }\n",
                &[
                    "g.yaml:11:5: routes[2]: takes the same requests as routes[0] (line 9); keep one, or give it another host or path",
                ],
            ),
            (
                "  - { service: hello, host: A.org }\n  - { service: hello, host: a.ORG }\n",
                &[
                    "g.yaml:10:5: routes[1]: takes the same requests as routes[0] (line 9); keep one, or give it another host or path",
                ],
            ),
            (
                "  - { service: hello, method: [GET, PUT], source: [10.1.2.3/8], headers: { A: [b, c], d: e } }\n  \
                 - { service: hello, method: [PUT, GET], source: [10.0.0.0/8], headers: { D: e, a: [c, b] } }\n",
                &[
                    "g.yaml:10:5: routes[1]: takes the same requests as routes[0] (line 9); keep one, or give it another host or path",
                ],
            ),
            (
                "  - { service: hello, path: { pattern: \"/a/{x}\" } }\n  - { service: hello, path: { pattern: \"/a/{y}\" } }\n",
                &[
                    "g.yaml:10:5: routes[1]: takes the same requests as routes[0] (line 9); keep one, or give it another host or path",
                ],
            ),
            (
                "  - { service: hello, path: { pattern: \"/a/{x}\" } }\n  - { service: hello, path: { pattern: \"/a/{x...}\" } }\n",
                &[],
            ),
            (
                "  - { service: hello, path: /%61/x%2F }\n  - { service: hello, path: { exact: /%c3%a4 } }\n  \
                 - { service: hello, path: { pattern: \"/a%2Db/{x}\" } }\n  - { service: hello, path: /%C3%A4/100% }\n",
                &[
                    "g.yaml:9:29: routes[0].path: \"/%61/x%2F\" is not written as paths are compared; write \"/a/x/\"",
                    "g.yaml:10:38: routes[1].path.exact: \"/%c3%a4\" is not written as paths are compared; write \"/%C3%A4\"",
                    "g.yaml:11:40: routes[2].path.pattern: \"/a%2Db/{x}\" is not written as paths are compared; write \"/a-b/{x}\"",
                ],
            ),
            (
                "  - { service: hello, path: { exact: /x/../y } }\n  - { service: hello, path: { exact: /x/..;a } }\n  \
                 - { service: hello, path: { pattern: \"/{x}/./y\" } }\n  - { service: hello, path: { exact: '/x\\y' } }\n  \
                 - { service: hello, path: { exact: /x/..y } }\n",
                &[
                    "g.yaml:9:38: routes[0].path.exact: \"/x/../y\" has a `.` or `..` segment, for which requests are refused",
                    "g.yaml:10:38: routes[1].path.exact: \"/x/..;a\" has a `.` or `..` segment, for which requests are refused",
                    "g.yaml:11:40: routes[2].path.pattern: \"/{x}/./y\" has a `.` or `..` segment, for which requests are refused",
                    "g.yaml:12:38: routes[3].path.exact: \"/x\\\\y\" is no path; write it as it stands in a request: no query, other characters as %20",
                ],
            ),
            (
                "  - { service: hello, path: /a, rewrite: { prefix: /b/.. } }\n  \
                 - { service: hello, path: /b, rewrite: { path: \"/../${path}?a=/../\" } }\n  \
                 - { service: hello, path: /c, rewrite: { path: \"/c?a=/../\" } }\n",
                &[
                    "g.yaml:9:52: routes[0].rewrite.prefix: \"/b/..\" has an empty, `.` or `..` segment",
                    "g.yaml:10:50: routes[1].rewrite.path: \"/../${path}?a=/../\" has a `.` or `..` segment",
                ],
            ),
            (
                "  - { service: hello, host: a.org, name: x }\n  - { service: hello, host: b.org, name: x }\n",
                &[
                    "g.yaml:10:42: routes[1].name: routes[0] (line 9) is called \"x\" as well; give it another name",
                ],
            ),
            (
                "  - { service: hello, name: no way }\n",
                &[
                    "g.yaml:9:29: routes[0].name: \"no way\" is no name: names are of a-z, 0-9, `-`, `_` and `.`",
                ],
            ),
            (
                "  - { service: hello, host: \"a.org:80\" }\n",
                &[
                    "g.yaml:9:29: routes[0].host: \"a.org:80\" has a port, which is ignored in requests; write \"a.org\"",
                ],
            ),
            (
                "  - { service: hello, host: a..org }\n",
                &[
                    "g.yaml:9:29: routes[0].host: \"a..org\" is no host; write a name, *.example.com for all names below one, or * for any",
                ],
            ),
            (
                "  - { service: hello, host: \"a.*.org\" }\n",
                &[
                    "g.yaml:9:29: routes[0].host: \"a.*.org\" is no host; write a name, *.example.com for all names below one, or * for any",
                ],
            ),
            (
                "  - { service: hello, host: \"fd00::1\" }\n",
                &["g.yaml:9:29: routes[0].host: \"fd00::1\" lacks brackets; write \"[fd00::1]\""],
            ),
            (
                "  - { service: hello, host: \"[fd00::x]\" }\n",
                &["g.yaml:9:29: routes[0].host: \"[fd00::x]\" is no IPv6 address"],
            ),
            (
                "  - { service: hello, host: \"\" }\n",
                &[
                    "g.yaml:9:29: routes[0].host: \"\" is no host; write a name, *.example.com for all names below one, or * for any",
                ],
            ),
            (
                "  - { service: hello, path: api }\n",
                &["g.yaml:9:29: routes[0].path: \"api\" does not begin with /; write \"/api\""],
            ),
            (
                "  - { service: hello, path: /api/ }\n",
                &[
                    "g.yaml:9:29: routes[0].path: ends with /, but matches whole segments anyway; write \"/api\"",
                ],
            ),
            (
                "  - { service: hello, path: // }\n",
                &[
                    "g.yaml:9:29: routes[0].path: ends with /, but matches whole segments anyway; write \"/\"",
                ],
            ),
            (
                "  - { service: hello, path: /a//b }\n",
                &["g.yaml:9:29: routes[0].path: \"/a//b\" has an empty, `.` or `..` segment"],
            ),
            (
                "  - { service: hello, path: /a/../b }\n",
                &["g.yaml:9:29: routes[0].path: \"/a/../b\" has an empty, `.` or `..` segment"],
            ),
            (
                "  - { service: hello, path: /a?b }\n",
                &[
                    "g.yaml:9:29: routes[0].path: \"/a?b\" is no path; write it as it stands in a request: no query, other characters as %20",
                ],
            ),
            (
                "  - { service: hello, path: /a b }\n",
                &[
                    "g.yaml:9:29: routes[0].path: \"/a b\" is no path; write it as it stands in a request: no query, other characters as %20",
                ],
            ),
            (
                "  - { service: hello, path: /a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a }\n",
                &["g.yaml:9:29: routes[0].path: is longer than 1024 bytes or 32 segments"],
            ),
            (
                "  - { service: hello, response_timeout: 0s }\n",
                &[
                    "g.yaml:9:41: routes[0].response_timeout: must be more than 0; write a duration such as 10s",
                ],
            ),
        ],
    );
}

#[test]
fn header_edits() {
    check(
        with_routes,
        &[
            (
                "  - service: hello\n    request_headers:\n      set: { Host: a, \"x y\": b, x-ok: \"a\\nb\" }\n      add: { Content-Length: \"1\", x-sp: \" a\" }\n      remove: [connection, x-ok, \"\"]\n",
                &[
                    "g.yaml:11:14: routes[0].request_headers.set.Host: `Host` cannot be changed; take it out: the gateway itself answers for it",
                    "g.yaml:11:23: routes[0].request_headers.set[\"x y\"]: \"x y\" is no header name",
                    "g.yaml:11:39: routes[0].request_headers.set.x-ok: the value has control characters",
                    "g.yaml:12:14: routes[0].request_headers.add.Content-Length: `Content-Length` cannot be changed; take it out: the gateway itself answers for it",
                    "g.yaml:12:41: routes[0].request_headers.add.x-sp: the value begins or ends with a space",
                    "g.yaml:13:16: routes[0].request_headers.remove[0]: `connection` cannot be changed; take it out: the gateway itself answers for it",
                    "g.yaml:13:28: routes[0].request_headers.remove[1]: `x-ok` stands under `set` as well; keep one",
                    "g.yaml:13:34: routes[0].request_headers.remove[2]: \"\" is no header name",
                ],
            ),
            (
                "  - service: hello\n    response_headers: { set: { X-A: b, x-a: c } }\n",
                &[
                    "g.yaml:10:40: routes[0].response_headers.set.x-a: `x-a` stands under `set` as well; keep one",
                ],
            ),
            (
                "  - service: hello\n    response_headers: { set: { x-a: 1, x-b: true } }\n",
                &[],
            ),
            (
                "  - service: hello\n    response_headers: { remove: [x-0, x-1, x-2, x-3, x-4, x-5, x-6, x-7, x-8, x-9, x-10, x-11, x-12, x-13, x-14, x-15, x-16, x-17, x-18, x-19, x-20, x-21, x-22, x-23, x-24, x-25, x-26, x-27, x-28, x-29, x-30, x-31, x-32] }\n",
                &[
                    "g.yaml:10:5: routes[0].response_headers: changes 33 headers; at most 32 can be changed",
                ],
            ),
        ],
    );
}

#[test]
fn access_log() {
    check(
        with_tail,
        &[
            (
                "access_log: { file: \"\", buffer: 10, sample: 10 }\n",
                &[
                    "g.yaml:8:33: access_log.buffer: 10 is outside 64 to 1048576",
                    "g.yaml:8:45: access_log.sample: `10` is not a share; write a number from 0 to 100 with up to four decimals and %, such as 10% or 0.1%",
                ],
            ),
            (
                "access_log: { file: \"\", buffer: 10 }\n",
                &[
                    "g.yaml:8:21: access_log.file: \"\" is no name of a file; write a path such as /var/log/sluice/access.json, or \"-\" for standard output",
                    "g.yaml:8:33: access_log.buffer: 10 is outside 64 to 1048576",
                ],
            ),
            (
                "routes:\n  - { service: hello, access_log: { sample: 1% } }\n",
                &[
                    "g.yaml:9:23: routes[0].access_log: there is no access log; add one, such as access_log: { file: /var/log/sluice/access.json }",
                ],
            ),
            (
                "access_log: { file: \"-\", only: errors, sample: 0.5% }\nroutes:\n  - { service: hello, access_log: { sample: 1% } }\n",
                &[],
            ),
        ],
    );
}
