//! What real clients make of refusals, expectations, upgrades and the PROXY protocol.

use std::fs::File;
use std::net::Shutdown;
use std::thread;

use sluice_tests::http::Connection;
use sluice_tests::lab::{Lab, printed};

use crate::{CONFIG, GATEWAY, get};

/// The configuration of [`CONFIG`] with more settings of its listener and of service `own`.
fn config(listener: &str, own: &str) -> String {
    let with = CONFIG
        .replace(
            "\"[fd77:1::1]:80\"] }",
            &format!("\"[fd77:1::1]:80\"], {listener} }}"),
        )
        .replace(
            "response_timeout: 1s }",
            &format!("response_timeout: 1s, {own} }}"),
        );
    assert_ne!(with, CONFIG);
    with
}

/// The status that curl printed, and its own exit code.
fn upload(lab: &Lab, arguments: &[&str]) -> (String, Option<i32>) {
    let path = lab.directory().join("large");
    let file = File::create(&path).expect("cannot make the upload");
    file.set_len(100 << 20)
        .expect("cannot make the upload large");
    let path = path.to_str().expect("a path of text").to_owned();
    let mut command = vec![
        "curl",
        "-sS",
        "--max-time",
        "30",
        "-T",
        &path,
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--connect-to",
        "::10.77.1.1:80",
        "-X",
        "POST",
    ];
    command.extend(arguments);
    let output = lab.client(&command);
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!status.is_empty(), "{}", printed(&output));
    (status, output.status.code())
}

#[test]
fn curl_reads_the_early_refusal_of_a_large_upload() {
    let lab = Lab::up();
    let _gateway = lab.gateway(&config("limits: { body: 1MiB }", ""));
    // Without Expect curl sends at once and learns of the refusal while it sends.
    for (url, status) in [("http://other.test/", "404"), ("http://nginx.test/", "413")] {
        for expect in ["Expect:", "Expect: 100-continue"] {
            let (answer, code) = upload(&lab, &["-H", expect, url]);
            assert_eq!((answer.as_str(), code), (status, Some(0)), "{url} {expect}");
        }
    }
    let chunked = [
        "-H",
        "Expect:",
        "-H",
        "Transfer-Encoding: chunked",
        "http://nginx.test/echo",
    ];
    let (answer, code) = upload(&lab, &chunked);
    assert_eq!((answer.as_str(), code), ("413", Some(0)));
}

#[test]
fn curl_is_told_to_continue_by_the_backend() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    let listener = lab.listen("10.77.2.5:8080");
    thread::scope(|scope| {
        let curl = scope.spawn(|| {
            lab.curl(&[
                "-H",
                "Expect: 100-continue",
                "-d",
                "hello",
                "http://own.test/",
            ])
        });
        let mut backend = Connection::accept(&listener).expect("the gateway does not connect");
        let head = backend.read_head().expect("no request came");
        assert!(
            head.to_lowercase().contains("expect: 100-continue"),
            "{head}"
        );
        backend
            .send("HTTP/1.1 100 Continue\r\n\r\n")
            .expect("cannot answer");
        assert_eq!(backend.read_exactly(5).expect("no body came"), b"hello");
        backend
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .expect("cannot answer");
        let reply = curl.join().expect("curl failed");
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
        assert!(
            reply
                .header("date")
                .is_some_and(|date| date.ends_with(" GMT")),
            "{}",
            reply.head
        );
    });
}

#[test]
fn linux_connections_become_a_tunnel_after_an_upgrade() {
    let lab = Lab::up();
    let gateway = lab.gateway(&config("idle_timeout: 60s", "upgrade: [websocket]"));
    let listener = lab.listen("10.77.2.5:8080");
    let mut client = lab.connect(GATEWAY).expect("the gateway does not accept");
    client
        .send(
            "GET /chat HTTP/1.1\r\nHost: own.test\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\n\r\n",
        )
        .expect("cannot send");
    let mut backend = Connection::accept(&listener).expect("the gateway does not connect");
    let head = backend.read_head().expect("no request came").to_lowercase();
    assert!(
        head.contains("\r\nupgrade: websocket\r\nconnection: upgrade"),
        "{head}"
    );
    backend
        .send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .expect("cannot answer");
    let head = client.read_head().expect("no answer");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let frame: Vec<u8> = (0..=255).collect();
    client.send(&frame).expect("cannot send");
    assert_eq!(backend.read_exactly(256).expect("no bytes came"), frame);
    backend.send(&frame).expect("cannot send");
    assert_eq!(client.read_exactly(256).expect("no bytes came"), frame);
    client
        .stream()
        .shutdown(Shutdown::Write)
        .expect("cannot end");
    assert_eq!(backend.read_to_end().expect("no end came"), b"");
    backend.send("bye").expect("cannot send");
    drop(backend);
    assert_eq!(client.read_to_end().expect("no end came"), b"bye");
    assert!(gateway.stop().success());
}

#[test]
fn curl_and_nginx_speak_the_proxy_protocol() {
    let lab = Lab::up();
    let _gateway = lab.gateway(&config(
        "proxy_protocol: true, trust: [10.77.1.2/32], request_id: false",
        "proxy_protocol: v1",
    ));
    // curl's header names the addresses of its own connection.
    let head = lab
        .curl(&["--haproxy-protocol", "http://nginx.test/headers"])
        .text()
        .to_lowercase();
    assert!(
        head.contains("\r\nx-forwarded-for: 10.77.1.2\r\n"),
        "{head}"
    );
    let listener = lab.listen("10.77.2.5:8080");
    let mut client = lab.connect(GATEWAY).expect("the gateway does not accept");
    let line = "PROXY TCP4 192.0.2.7 10.77.1.1 4711 80\r\n";
    client
        .send(line.to_owned() + &get("own.test", "/"))
        .expect("cannot send");
    let mut backend = Connection::accept(&listener).expect("the gateway does not connect");
    let head = backend.read_head().expect("no request came");
    assert!(
        head.starts_with(&format!("{line}GET / HTTP/1.1\r\n")),
        "{head}"
    );
    let mut stranger = lab.connect(GATEWAY).expect("the gateway does not accept");
    stranger.send(get("nginx.test", "/")).expect("cannot send");
    assert_eq!(
        stranger.read_to_end().unwrap_or_default(),
        b"",
        "no header, no answer"
    );
}
