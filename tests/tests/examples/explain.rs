//! What a client is told about its request while it is under way.

use crate::gateway::{Example, header};
use crate::world::OK;

/// The answer to a request, and the head that the endpoint saw where one did.
fn told(example: &mut Example, to: &str, request: &str) -> (String, String) {
    let to = to.parse().unwrap();
    let (buffers, now) = (example.world.buffers, example.world.now());
    let client = example.world.client.open(to, buffers, now).expect("a port");
    example.world.settle();
    let (line, fields) = request.split_once('\n').unwrap_or((request, ""));
    let fields = fields.replace('\n', "\r\n");
    let end = if fields.is_empty() { "" } else { "\r\n" };
    let text = format!("{line} HTTP/1.1\r\nHost: sluice.test\r\n{fields}{end}\r\n");
    example.world.send(client, text);
    let mut seen = String::new();
    for backend in 0..example.world.backend.connections() {
        seen = example.world.asked(backend);
        if !seen.is_empty() {
            example.world.pass(std::time::Duration::from_millis(7));
            example.world.answer(backend, OK);
            break;
        }
    }
    (example.world.got(client), seen)
}

const WEB: &str = "10.77.1.1:80";
const ASK: &str = "X-Sluice-Explain: 1";

#[test]
fn explain() {
    let mut example = Example::new("explain");
    let (answer, seen) = told(
        &mut example,
        WEB,
        &format!("GET /cart\nX-User: alice\n{ASK}"),
    );
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"));
    let said = header(&answer, "x-sluice-explain").unwrap();
    let lines: Vec<&str> = said.split(" | ").collect();
    assert_eq!(
        lines,
        [
            "generation 1",
            "listener web, client 10.77.1.2",
            "lane alice: lanes.tags[0], header x-user equal to \"alice\"",
            "route */cart: path /cart fits",
            "service cart, its endpoints in lane alice",
            "the response has to begin within 30s, all has to be over within 3600s",
            "not beta: not cookie beta equal to \"yes\"",
            "answered by service cart, endpoint 10.77.2.3:8080, attempt 1, a new connection after 0us, \
             response after 7000us",
        ]
    );
    // The service does not get to see that somebody asked.
    assert_eq!(header(&seen, "x-sluice-explain"), None);

    // What was left to chance is decided.
    let (answer, _) = told(
        &mut example,
        WEB,
        &format!("GET /cart\nCookie: beta=yes\n{ASK}"),
    );
    let said = header(&answer, "x-sluice-explain").unwrap();
    assert!(
        said.contains("| route beta: path /cart fits, cookie beta equal to \"yes\" |"),
        "{said}"
    );
    assert!(
        said.contains("| chance decides by weight: cart 9, shop 1 | service "),
        "{said}"
    );

    // The gateway's own answers: of the rules, and where something is missing.
    let (answer, _) = told(&mut example, WEB, &format!("GET /old\n{ASK}"));
    let said = header(&answer, "x-sluice-explain").unwrap();
    assert!(
        said.ends_with(
            "| 301: redirect to //sluice.test/new | answered here with 301 (redirected)"
        )
    );
    let (answer, _) = told(&mut example, WEB, &format!("GET /gone\n{ASK}"));
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.ends_with("accepted a connection\n"));
    let said = header(&answer, "x-sluice-explain").unwrap();
    let last = "answered here with 502 (connect_failed), tried service gone, endpoint 10.77.2.2:9999, \
                attempt 1";
    assert!(said.ends_with(last), "{said}");
    let (answer, _) = told(&mut example, WEB, &format!("GET /secret\n{ASK}"));
    let said = header(&answer, "x-sluice-explain").unwrap();
    assert!(
        said.contains("| not */secret: not source in 192.0.2.0/24 |"),
        "{said}"
    );
    example.world.counts(
        "downstream_opened 5, upstream_opened 4, upstream_closed, explained 5, \
         endpoint_suspected, answered 3, redirected, connect_failed, 200 3, 301, 502",
    );
}

#[test]
fn nobody_else_is_told_anything() {
    let mut example = Example::new("explain");
    for (to, request) in [
        ("10.77.1.1:8080", format!("GET /cart\n{ASK}")),
        ("10.77.1.1:8080", format!("GET /old\n{ASK}")),
        (
            "10.77.1.1:8080",
            "GET /gone\nx_sluice_explain: 1".to_owned(),
        ),
        (WEB, "GET /cart".to_owned()),
    ] {
        let (answer, seen) = told(&mut example, to, &request);
        assert!(!answer.is_empty());
        for text in [answer, seen] {
            assert!(!text.to_ascii_lowercase().contains("explain"), "{text}");
        }
    }
    assert_eq!(
        example
            .world
            .stats
            .events
            .get(sluice_engine::stats::EngineEvent::Explained),
        0
    );
}
