//! What curl and nginx see of rules: changed requests, answers of the gateway's own, a fallback, copies.

use sluice_tests::lab::Lab;

use crate::CONFIG;
use crate::operation::until;

/// More routes behind those of [`CONFIG`].
const ROUTES: &str = r#"
  - host: nginx.test
    path: { pattern: "/echo/{name}" }
    service: nginx
    rewrite: { path: /headers, host: inner.test }
    request_headers: { set: { x-name: "${capture.name}", x-client: "${client_ip}" } }
    response_headers: { set: { x-served-by: "${service} ${status}" } }
  - { host: nginx.test, path: /moved, redirect: { prefix: /1k } }
  - { host: nginx.test, path: /closed, method: POST, respond: { status: 403, body: "no\n" } }
  - { host: failing.test, service: failing }
  - { host: copied.test, service: nginx, mirror: { service: nginx } }
"#;

#[test]
fn curl_and_nginx_see_what_the_rules_say() {
    let lab = Lab::up();
    let failing = "services:\n  failing: { endpoints: [\"10.77.2.4:8080\"], fallback: nginx }\n";
    let config = CONFIG.replace("services:\n", failing);
    let gateway = lab.gateway(&format!("{}{ROUTES}", config.trim_end()));

    let reply = lab.curl(&["http://nginx.test/echo/ann?x=1"]);
    assert_eq!(reply.status, 200);
    let seen = String::from_utf8_lossy(&reply.body).to_ascii_lowercase();
    for line in [
        "host: inner.test",
        "x-name: ann",
        "x-client: 10.77.1.2",
        "x-forwarded-host: nginx.test",
    ] {
        assert!(seen.contains(line), "no {line} in\n{seen}");
    }
    assert!(
        reply.head.contains("x-served-by: nginx 200"),
        "{}",
        reply.head
    );

    // curl follows the redirect to the same host.
    let reply = lab.curl(&["-L", "http://nginx.test/moved"]);
    assert_eq!(reply.body.len(), 1024);
    let reply = lab.curl(&["-X", "POST", "http://nginx.test/closed"]);
    assert_eq!((reply.status, &reply.body[..]), (403, &b"no\n"[..]));
    assert_eq!(lab.curl(&["http://failing.test/"]).status, 200);
    assert_eq!(lab.curl(&["http://copied.test/"]).status, 200);
    until(&(1.0, 1.0), || {
        let metrics = gateway.metrics();
        let count = |event: &str| {
            metrics[&format!("sluice_events_total{{worker=\"0\",event=\"{event}\"}}")]
        };
        (count("fallback_taken"), count("mirror_answered"))
    });
}
