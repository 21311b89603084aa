//! Which route takes a request.

use crate::gateway::{Example, Seen, header};

#[test]
fn paths() {
    let mut example = Example::new("paths");
    for (path, endpoint) in [
        ("/", 2),
        ("/apix", 2),
        ("/api", 2),
        ("/api/x", 3),
        ("/api?x=/y", 2),
        ("/users/7/files", 2),
        ("/v/x", 2),
    ] {
        assert_eq!(example.reaches(&format!("GET {path}")), endpoint, "{path}");
    }
    let head = example.head("GET /users/7/files/a/b.txt");
    assert_eq!(header(&head, "x-user").as_deref(), Some("7"));
    assert_eq!(header(&head, "x-file").as_deref(), Some("a/b.txt"));
    let head = example.head("GET /v12/x");
    assert_eq!(header(&head, "x-version").as_deref(), Some("12"));
}

#[test]
fn conditions() {
    let mut example = Example::new("conditions");
    for (request, endpoint) in [
        ("GET /orders", 2),
        ("PUT /orders\nContent-Length: 0", 3),
        ("GET /h", 2),
        ("GET /h\nX-User: alice", 3),
        ("GET /h\nX-User: Alice", 2),
        ("GET /h\nX-User: dave\nX-User: carol", 3),
        ("GET /h\nUser-Agent: curl/8", 3),
        ("GET /h\nUser-Agent: wget curl/8", 2),
        ("GET /h\nAccept: application/json", 3),
        ("GET /h\nX-Build: 100", 3),
        ("GET /h\nX-Build: 200", 2),
        ("GET /h\nX-Build: 1e2", 2),
        ("GET /h\nX-Trace: 0123abcd", 3),
        ("GET /h\nX-Trace: 0123abcde", 2),
        ("GET /key", 3),
        ("GET /key\nAuthorization: x", 2),
        ("GET /not", 3),
        ("GET /not\nX-Tenant: other", 3),
        ("GET /not\nX-Tenant: internal", 2),
        ("GET /q?version=2", 3),
        ("GET /q?a&version=%32", 3),
        ("GET /q?version=22", 2),
        ("GET /c\nCookie: alpha=yes; beta=yes", 3),
        ("GET /c\nCookie: alpha=beta=yes", 2),
        ("GET /net", 3),
    ] {
        assert_eq!(example.reaches(request), endpoint, "{request}");
    }
}

#[test]
fn order() {
    let mut example = Example::new("order");
    assert_eq!(example.reaches("GET /shop/cart"), 2);
    assert_eq!(example.reaches("GET /shop/cart\nX-Tester: me"), 3);
}

#[test]
fn listeners() {
    let mut example = Example::new("listeners");
    // The client can reach those of the front port.
    let at = |address: &str| address.parse().unwrap();
    let (public, admin) = (at("10.77.1.1:80"), at("10.77.1.1:8443"));
    let mut ask = |to, request| example.ask_at(to, request).0;
    assert!(matches!(ask(public, "GET /"), Seen::At(2, _)));
    assert!(matches!(ask(admin, "GET /admin"), Seen::At(3, _)));
    let Seen::Answered(refused) = ask(public, "GET /admin/x") else {
        panic!("the public gets in");
    };
    assert!(
        refused.starts_with("HTTP/1.1 403 Forbidden\r\n")
            && refused.ends_with("\r\n\r\nnot here\n")
    );
    let Seen::Answered(refused) = ask(admin, "GET /internal") else {
        panic!("the front port gets in");
    };
    assert!(
        refused.starts_with("HTTP/1.1 404 Not Found\r\n"),
        "{refused}"
    );
    example
        .world
        .counts("downstream_opened 4, upstream_opened 2, answered 2, responded 2, 200 2, 403, 404");
}
