//! Requests that succeed: curl and wrk as clients, nginx as the service.

use std::fs;

use sluice_tests::lab::{Lab, printed};

use crate::{CONFIG, GATEWAY, get};

#[test]
fn curl_gets_bodies_of_nginx_unchanged() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    for path in ["/", "/1k", "/64k", "/1m"] {
        let reply = lab.curl(&[&format!("http://nginx.test{path}")]);
        assert_eq!(reply.status, 200, "{path}: {}", reply.head);
        assert!(
            reply.head.starts_with("HTTP/1.1 200 OK\r\n"),
            "{}",
            reply.head
        );
        let direct = lab.direct(path);
        assert_eq!(
            reply.header("content-length"),
            Some(direct.len().to_string().as_str())
        );
        assert!(
            reply.body == direct,
            "{path}: the body differs from the direct one"
        );
    }
}

#[test]
fn curl_reaches_nginx_over_ipv6_on_either_side() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    let both = lab.curl6(&["http://nginx6.test/backend"]);
    assert_eq!((both.status, both.text().as_str()), (200, "fd77:2::2\n"));
    let front = lab.curl6(&["http://nginx.test/backend"]);
    assert_eq!(
        (front.status, front.text().starts_with("10.77.2.")),
        (200, true)
    );
    let back = lab.curl(&["http://nginx6.test/backend"]);
    assert_eq!((back.status, back.text().as_str()), (200, "fd77:2::2\n"));
    let large = lab.curl6(&["http://nginx6.test/1m"]);
    assert!(
        large.body == lab.direct("/1m"),
        "the body differs from the direct one"
    );
}

#[test]
fn curl_posts_10_mib_and_nginx_echoes_them() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    let upload = lab.directory().join("upload");
    let body: Vec<u8> = (0..655_360_u32)
        .flat_map(|n| format!("{n:015}\n").into_bytes())
        .collect();
    assert_eq!(body.len(), 10 << 20);
    fs::write(&upload, &body).expect("cannot write the upload");
    let upload = format!("@{}", upload.display());

    let url = "http://nginx.test/echo";
    let sized = lab.curl(&["--data-binary", &upload, url]);
    assert_eq!(sized.status, 200);
    assert!(
        sized.body == body,
        "with Content-Length: {} bytes came back",
        sized.body.len()
    );
    let chunked = lab.curl(&[
        "-H",
        "Transfer-Encoding: chunked",
        "--data-binary",
        &upload,
        url,
    ]);
    assert_eq!(chunked.status, 200);
    assert!(
        chunked.body == body,
        "chunked: {} bytes came back",
        chunked.body.len()
    );
}

#[test]
fn curl_head_gets_nginx_length_and_no_body() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    // Two on one connection: a body read by mistake would swallow the second head.
    let reply = lab.curl(&["--head", "http://nginx.test/1k", "http://nginx.test/1m"]);
    assert_eq!(
        (reply.status, reply.header("content-length")),
        (200, Some("1048576"))
    );
}

#[test]
fn curl_reuses_its_connection_to_nginx() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    let reply = lab.curl(&[
        "-w",
        "[%{num_connects} %{http_code}]",
        "http://nginx.test/backend",
        "http://nginx.test/backend",
    ]);
    let text = reply.text();
    assert!(
        text.contains("[1 200]") && text.ends_with("[0 200]"),
        "{text}"
    );
}

#[test]
fn nginx_answers_pipelined_requests_in_order() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    let mut connection = lab.connect(GATEWAY).expect("the gateway does not accept");
    let paths = ["/1k", "/", "/64k", "/backend", "/1k"];
    let requests: String = paths.iter().map(|path| get("nginx.test", path)).collect();
    connection.send(requests).expect("cannot send");
    for path in paths {
        let reply = connection.read_reply().expect(path);
        assert_eq!(reply.status, 200, "{path}");
        if path == "/backend" {
            assert!(reply.text().starts_with("10.77.2."), "{}", reply.text());
        } else {
            assert!(
                reply.body == lab.direct(path),
                "{path}: the body differs from the direct one"
            );
        }
    }
}

#[test]
fn requests_go_to_both_nginx_addresses_in_turn() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    let reply = lab.curl(&["http://nginx.test/backend?[1-6]"]);
    let text = reply.text();
    let asked: Vec<&str> = text.lines().collect();
    assert_eq!(asked.len(), 6, "{text}");
    for pair in asked.windows(2) {
        assert_ne!(pair[0], pair[1], "the same endpoint twice in a row: {text}");
    }
}

#[test]
fn nginx_sees_the_head_that_curl_sent_less_what_was_for_the_gateway() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    let fields = ["X-Mine: 1", "Connection: X-Hop", "X-Hop: secret"];
    let mut arguments: Vec<&str> = fields.iter().flat_map(|field| ["-H", field]).collect();
    arguments.push("http://nginx.test/headers?a=%2F");
    let seen = lab.curl(&arguments).text().to_lowercase();
    assert!(
        seen.starts_with("get /headers?a=%2f http/1.1\r\n"),
        "{seen}"
    );
    for line in [
        "host: nginx.test",
        "x-mine: 1",
        "x-forwarded-for: 10.77.1.2",
    ] {
        assert!(
            seen.contains(&format!("\r\n{line}\r\n")),
            "{line} is missing: {seen}"
        );
    }
    assert!(seen.contains("\r\nvia: 1.1 "), "{seen}");
    assert!(
        !seen.contains("x-hop"),
        "a field named by Connection went on: {seen}"
    );
}

#[test]
fn wrk_with_64_connections_to_nginx_has_no_errors() {
    let lab = Lab::up();
    let gateway = lab.gateway(CONFIG);
    let url = format!("http://{GATEWAY}/");
    let run = ["wrk", "-t1", "-c64", "-d2s", "-H", "Host: nginx.test", &url];
    let output = lab.client(&run);
    let text = printed(&output);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains(" requests in ") && !text.contains("\n  0 requests in "),
        "{text}"
    );
    for error in ["Socket errors", "Non-2xx"] {
        assert!(!text.contains(error), "{text}");
    }
    assert!(gateway.stop().success());
}
