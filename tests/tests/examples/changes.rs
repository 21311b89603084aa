//! What is changed on the way.

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_wire::http1::{HeadIndex, Limits, parse_request};

use crate::gateway::{Example, header};

#[test]
fn rewrite() {
    let mut example = Example::new("rewrite");
    for (path, line) in [
        ("/shop", "GET / HTTP/1.1"),
        ("/shop/cart?x=1", "GET /cart?x=1 HTTP/1.1"),
        ("/v1", "GET /api/1 HTTP/1.1"),
        ("/v1/", "GET /api/1/ HTTP/1.1"),
        ("/v1/a", "GET /api/1/a HTTP/1.1"),
        (
            "/users/7/avatar?s=2",
            "GET /images/avatars/7.png?s=2 HTTP/1.1",
        ),
        // Nothing is decoded on the way, so nothing can be smuggled in.
        (
            "/users/%0d%0ax/avatar",
            "GET /images/avatars/%0D%0Ax.png HTTP/1.1",
        ),
    ] {
        let head = example.head(&format!("GET {path}"));
        assert_eq!(head.lines().next(), Some(line), "{path}");
        assert_eq!(header(&head, "host").as_deref(), Some("sluice.test"));
    }
    let head = example.head("GET /2026/hello-world?q");
    let line = head.lines().next();
    assert_eq!(line, Some("GET /posts?year=2026&slug=hello-world HTTP/1.1"));
    assert_eq!(header(&head, "host").as_deref(), Some("blog.internal"));
    assert_eq!(
        header(&head, "x-forwarded-host").as_deref(),
        Some("sluice.test")
    );
}

#[test]
fn headers() {
    let mut example = Example::new("headers");
    let head = example.head(
        "GET /?team=a%0d%0ab\nX-Org: acme\nX-Org: other\nX-Client: forged\nX-Seen: a\nX-Path: one\n\
         X-Path: two\nX-Debug: 1",
    );
    for (name, value) in [
        ("x-client", "10.77.1.2"),
        ("x-route", "*/"),
        ("x-tenant", "acme/a%0d%0ab"),
        ("x-seen", "a | edge"),
        ("x-path", "one, two, gateway of one"),
    ] {
        assert_eq!(header(&head, name).as_deref(), Some(value), "{head}");
    }
    assert_eq!(header(&head, "x-debug"), None);
    // What a request lacks is empty.
    let head = example.head("GET /");
    assert_eq!(header(&head, "x-tenant").as_deref(), Some("/"));
    assert_eq!(header(&head, "x-path").as_deref(), Some("gateway of one"));

    let client = example.world.open();
    example
        .world
        .send(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let last = example.world.backend.connections() - 1;
    let answer =
        "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nX-Powered-By: x\r\nVary: origin\r\n\r\n";
    example.world.answer(last, answer);
    let got = example.world.got(client);
    assert_eq!(header(&got, "x-served-by").as_deref(), Some("one"), "{got}");
    assert_eq!(header(&got, "x-status").as_deref(), Some("201"));
    assert_eq!(header(&got, "vary").as_deref(), Some("origin, accept"));
    assert_eq!(header(&got, "x-powered-by"), None);
}

/// The names of the fields in a head, which has to be one that the gateway's own parser takes for a whole;
/// less the one that a route adds which gives the service another host.
fn names(head: &[u8]) -> Vec<String> {
    let mut index = HeadIndex::new();
    let request = parse_request(head, &Limits::default(), &mut index);
    let request = request.expect("it is valid").expect("it is whole");
    assert_eq!(request.head_len, head.len(), "something follows the head");
    let names = request.headers();
    let mut names: Vec<String> = names
        .map(|field| String::from_utf8_lossy(field.name).to_ascii_lowercase())
        .filter(|name| name != "x-forwarded-host")
        .collect();
    names.sort();
    names
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever a client writes where variables look, as it is or encoded: the service gets the fields that
    /// the rules say, or the request is refused.
    #[test]
    fn no_variable_adds_a_line_to_a_head(
        bytes in vec(prop_oneof![2 => any::<u8>(), 1 => prop::sample::select(&b"\r\n: \t%\0"[..])], 0..30),
    ) {
        // A whole line end would be the client's own.
        let mut raw = bytes.clone();
        raw.retain(|byte| *byte != b'\n');
        let encoded: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
        let value = String::from_utf8_lossy(&raw).into_owned();
        for (example, request, fields) in [
            ("headers", format!("GET /?team={encoded}"), true),
            ("rewrite", format!("GET /users/{encoded}/avatar"), false),
            ("rewrite", format!("GET /2026/{encoded}?{encoded}"), false),
        ] {
            let mut example = Example::new(example);
            let plain = names(example.head("GET /users/7/avatar\nX-Org: a\nX-Path: b").as_bytes());
            let mut head = format!("{request} HTTP/1.1\r\nHost: sluice.test\r\n");
            head.push_str(&format!("X-Org: {}\r\n", if fields { &*value } else { "a" }));
            head.push_str(&format!("X-Path: {}\r\n\r\n", if fields { &*value } else { "b" }));
            let client = example.world.open();
            example.world.send(client, head);
            let last = 0..example.world.backend.connections();
            let seen = last.map(|n| example.world.backend.take(n)).find(|seen| !seen.is_empty());
            match seen {
                Some(seen) => prop_assert_eq!(names(&seen), plain),
                None => {
                    let answer = example.world.got(client);
                    let refused = ["HTTP/1.1 400 ", "HTTP/1.1 404 ", "HTTP/1.1 431 "];
                    prop_assert!(refused.iter().any(|own| answer.starts_with(own)), "{}", answer);
                }
            }
        }
    }
}
