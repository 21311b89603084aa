//! What curl and nginx see of rules: changed requests, answers of the gateway's own, a fallback, copies.

use sluice_tests::lab::{Lab, printed};

use crate::CONFIG;
use crate::operation::{until, within};

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

#[test]
fn curl_from_a_trusted_address_is_told_what_became_of_its_request() {
    let lab = Lab::up();
    let listener = "http: { address: [\"10.77.1.1:80\", \"[fd77:1::1]:80\"]";
    let asked = format!("{listener}, explain: [10.77.1.2/32]");
    let gateway = lab.gateway(&CONFIG.replace(listener, &asked));
    let ask = ["-H", "X-Sluice-Explain: 1", "http://nginx.test/headers"];
    let reply = lab.curl(&ask);
    let told = |head: &str| head.to_ascii_lowercase().contains("x-sluice-explain: ");
    for line in [
        "X-Sluice-Explain: listener http, client 10.77.1.2",
        "X-Sluice-Explain: route nginx.test/: path / fits",
        "X-Sluice-Explain: answered by service nginx, endpoint 10.77.2.",
    ] {
        assert!(reply.head.contains(line), "no {line} in\n{}", reply.head);
    }
    // nginx does not see the question, and who comes from elsewhere gets no answer to it.
    let seen = String::from_utf8_lossy(&reply.body).to_ascii_lowercase();
    assert!(!seen.contains("explain"), "{seen}");
    let reply = lab.curl6(&ask);
    assert!(reply.status == 200 && !told(&reply.head), "{}", reply.head);
    assert!(!told(&lab.curl(&["http://nginx.test/"]).head));
    until(
        &1.0,
        || gateway.metrics()["sluice_events_total{worker=\"0\",event=\"explained\"}"],
    );
}

#[test]
fn a_drill_ends_by_itself_while_the_gateway_runs() {
    let lab = Lab::up();
    let then = ["-u", "-d", "+10 seconds", "+%Y-%m-%dT%H:%M:%SZ"];
    let then = std::process::Command::new("date").args(then).output();
    let then = String::from_utf8_lossy(&then.expect("date(1) is there").stdout).into_owned();
    let until_then = then.trim();
    let route = format!(
        "  - {{ host: drill.test, service: nginx, fault: {{ abort: {{ status: 503 }}, until: \"{until_then}\" }} }}\n"
    );
    let _gateway = lab.gateway(&format!("{CONFIG}{route}"));
    let reply = lab.curl(&["http://drill.test/"]);
    let said = String::from_utf8_lossy(&reply.body).into_owned();
    assert_eq!(
        (reply.status, &*said),
        (503, "a fault injected for a drill\n")
    );
    within(30, &200, || lab.curl(&["http://drill.test/"]).status);
}

#[test]
fn endpoints_by_name_follow_dnsmasq_while_curl_is_served() {
    let lab = Lab::up();
    let hosts = lab.directory().join("hosts");
    let serve = |address: &str| {
        std::fs::write(&hosts, format!("{address} cart.test\n")).expect("no file");
        let hosts = format!("--addn-hosts={}", hosts.display());
        let mut command = vec![
            "dnsmasq",
            "--keep-in-foreground",
            "--no-resolv",
            "--no-hosts",
        ];
        command.extend([
            "--user=root",
            "--bind-interfaces",
            "--listen-address=127.0.0.1",
        ]);
        command.extend([
            "--port=5353",
            "--local-ttl=1",
            "--local=/test/",
            "--pid-file=",
        ]);
        command.extend(["--conf-file=/dev/null", "--log-facility=-", &hosts]);
        let mut server = lab.start_at_gateway(&command);
        server.wait_for("started");
        server
    };
    let nginx = serve("10.77.2.2");
    let config = CONFIG.replace(
        "services:\n",
        "dns: { servers: [127.0.0.1:5353], timeout: 1s }\nservices:\n  cart: { endpoints: [cart.test:8080] }\n",
    );
    let gateway = lab.gateway(&format!(
        "{config}  - {{ host: cart.test, service: cart }}\n"
    ));
    assert_eq!(lab.curl(&["http://cart.test/"]).status, 200);
    // Nothing listens at the new address, and then something does again.
    drop(nginx);
    let nobody = serve("10.77.2.4");
    within(60, &502, || lab.curl(&["http://cart.test/"]).status);
    drop(nobody);
    let _nginx = serve("10.77.2.3");
    within(60, &200, || lab.curl(&["http://cart.test/"]).status);
    let services = gateway.admin("/services").expect("no answer").text();
    assert!(services.contains("10.77.2.3:8080"), "{services}");
    assert_eq!(gateway.metrics()["sluice_rules_rejected_total"], 0.0);
}

/// Everything that a file can do wrong, and what is said of it.
fn wrong_files() -> Vec<(&'static str, String)> {
    let with = |tail: &str| format!("{CONFIG}{tail}");
    let services = |more: &str| CONFIG.replace("services:\n", &format!("services:\n{more}"));
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(8);
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let large = format!("{CONFIG}{}", "# padding\n".repeat(5 << 20));
    vec![
        (
            "no service is called \"ngnix\"",
            with("  - { host: a.test, service: ngnix }\n"),
        ),
        (
            "takes the same requests as routes[0]",
            with("  - { host: nginx.test, service: nginx6 }\n"),
        ),
        (
            "the weights add up to 0",
            with("  - { host: a.test, split: [{ service: nginx, weight: 0 }] }\n"),
        ),
        (
            "would take too much memory to match",
            with("  - { path: { regex: \"(a{1000}){1000}\" }, service: nginx }\n"),
        ),
        (
            "leads in a circle: one to two to one",
            services(
                "  one: { endpoints: [10.77.2.7:1], fallback: two }\n  two: { endpoints: [10.77.2.7:2], fallback: one }\n",
            ),
        ),
        (
            "the value has control characters",
            with(
                "  - { host: a.test, service: nginx, request_headers: { set: { x: \"a\\r\\nb: c\" } } }\n",
            ),
        ),
        ("", bomb),
        ("unclosed bracket", "routes: [\n".to_owned()),
        ("is larger than 16 MiB", large),
    ]
}

#[test]
fn no_wrong_file_touches_the_rules_that_run() {
    let lab = Lab::up();
    let gateway = lab.gateway(CONFIG);
    let file = lab.directory().join("gateway.yaml");
    let mut count = 0.0;
    for (what, text) in wrong_files() {
        std::fs::write(&file, &text).expect("no file");
        count += 1.0;
        let checked = gateway.sluice(&[], &["check", "--config", file.to_str().expect("text")]);
        let said = printed(&checked);
        let shown: String = said.chars().take(600).collect();
        assert_eq!(checked.status.code(), Some(1), "{what}: {shown}");
        assert!(
            said.contains("gateway.yaml") && said.contains(what),
            "{what}: {shown}"
        );
        within(
            60,
            &count,
            || gateway.metrics()["sluice_rules_rejected_total"],
        );
        assert!(gateway.log().contains(what));
        assert_eq!(gateway.metrics()["sluice_rules_generation"], 1.0);
        assert_eq!(lab.curl(&["http://nginx.test/"]).status, 200);
    }
    // And a right one is taken up as if nothing had been.
    let right = format!("{CONFIG}  - {{ host: new.test, service: nginx }}\n");
    std::fs::write(&file, right).expect("no file");
    within(60, &200, || lab.curl(&["http://new.test/"]).status);
}
