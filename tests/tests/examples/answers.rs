//! Answers of the gateway's own.

use crate::gateway::{Example, header};

#[test]
fn respond() {
    let mut example = Example::new("respond");
    let answer = example.answer("GET /robots.txt");
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\nDate: Fri, 15 Jan 2027 08:00:00 GMT\r\nServer: sluice\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: 26\r\n\r\n\
         User-agent: *\nDisallow: /\n"
    );
    let answer = example.answer("HEAD /robots.txt");
    assert!(answer.contains("Content-Length: 26\r\n") && answer.ends_with("\r\n\r\n"));
    let answer = example.answer("GET /old-api/x");
    assert!(
        answer.starts_with("HTTP/1.1 410 Gone\r\n") && answer.ends_with("{\"error\":\"gone\"}")
    );
    assert_eq!(
        header(&answer, "content-type").as_deref(),
        Some("application/json")
    );
    assert_eq!(
        header(&answer, "cache-control").as_deref(),
        Some("max-age=60")
    );
    assert_eq!(header(&answer, "x-request-id").map(|id| id.len()), Some(32));
    let answer = example.answer("GET /health");
    assert!(answer.starts_with("HTTP/1.1 204 No Content\r\n"));
    assert_eq!(header(&answer, "content-length"), None);
    example
        .world
        .counts("downstream_opened 4, responded 4, 200 2, 204, 410");
    // A body that is not read ends the connection.
    let answer = example.answer("POST /health\nContent-Length: 5");
    assert_eq!(header(&answer, "connection").as_deref(), Some("close"));
}

#[test]
fn redirect() {
    let mut example = Example::new("redirect");
    for (request, status, location) in [
        ("GET /login?a=b", 308, "https://sluice.test/login?a=b"),
        (
            "GET /login\nHost: sluice.test:8000",
            308,
            "https://sluice.test/login",
        ),
        ("GET /x\nHost: old.example.com", 301, "//www.example.com/x"),
        ("GET /docs", 302, "//sluice.test/manual"),
        ("GET /docs/a?b", 302, "//sluice.test/manual/a?b"),
        // A path that looks like a host stays a path.
        (
            "GET //evil.example\nHost: old.example.com",
            301,
            "//www.example.com//evil.example",
        ),
        ("GET /u/ann?x", 303, "//sluice.test/users?name=ann"),
    ] {
        let answer = example.answer(request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert_eq!(
            header(&answer, "location").as_deref(),
            Some(location),
            "{request}"
        );
        assert_eq!(header(&answer, "content-length").as_deref(), Some("0"));
    }
    // A client without a host is sent to a path that cannot be taken for a host.
    let client = example.world.open();
    let request = "GET /login HTTP/1.0\r\n\r\n";
    example.world.send(client, request);
    let answer = example.world.got(client);
    assert_eq!(header(&answer, "location").as_deref(), Some("/./login"));
    example
        .world
        .counts("downstream_opened 8, downstream_closed, redirected 8, 301 2, 302 2, 303, 308 3");
}
