//! What is changed on the way.

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
            "GET /images/avatars/%0d%0ax.png HTTP/1.1",
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
