//! One body much larger than all the buffers it passes through.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use sluice_tests::gateway::Gateway;
use sluice_tests::http::Connection;
use sluice_tests::lab::Lab;

use crate::{CONFIG, GATEWAY, get};

/// Bytes of the body: an eighth of a gibibyte, and a whole one where there is time for it, as in `scripts/test --all`.
fn length() -> u64 {
    if std::env::var_os("SLUICE_TEST_ALL").is_some() {
        1 << 30
    } else {
        1 << 27
    }
}

/// The body is zeros, but for the number of each mebibyte at its start.
const PIECE: usize = 1 << 20;

/// What the gateway's memory may grow by while the body passes, in bytes: many times its four
/// buffers, and next to nothing beside the body.
const GROWTH: u64 = 4 << 20;

/// Longest that the body may stand still.
const STALL: Duration = Duration::from_secs(20);

/// The configuration of most tests, with 64 KiB for each buffer, and a limit that the body keeps.
fn config() -> String {
    let config = CONFIG.replace(
        "\"[fd77:1::1]:80\"] }",
        "\"[fd77:1::1]:80\"], buffer: 64KiB, limits: { body: 1GiB } }",
    );
    assert_ne!(config, CONFIG);
    // Buffers that stay as small as they begin.
    config + "\ntcp: { window: 64KiB }\n"
}

fn piece(number: u64) -> Vec<u8> {
    let mut piece = vec![0; PIECE];
    piece[..8].copy_from_slice(&number.to_be_bytes());
    piece
}

/// Reads the whole body and compares it; returns the largest memory of the gateway meanwhile.
fn read_body(connection: &mut Connection, gateway: &Gateway<'_>) -> u64 {
    let mut most = 0;
    for number in 0..length() / PIECE as u64 {
        let got = connection.read_exactly(PIECE).expect("the body ends early");
        assert!(
            got == piece(number),
            "mebibyte {number} is not what was sent"
        );
        if number % 16 == 0 {
            most = most.max(gateway.resident());
        }
    }
    most
}

fn write_body(mut stream: &TcpStream) {
    for number in 0..length() / PIECE as u64 {
        stream.write_all(&piece(number)).expect("cannot send");
    }
}

#[test]
fn nginx_sends_one_long_body_through_small_buffers() {
    let lab = Lab::up();
    let file = std::fs::File::create(lab.directory().join("www/1g")).expect("cannot make the body");
    file.set_len(length())
        .expect("cannot make the body that long");
    for number in 0..length() / PIECE as u64 {
        let at = number * PIECE as u64;
        file.write_all_at(&number.to_be_bytes(), at)
            .expect("cannot write the body");
    }
    let gateway = lab.gateway(&config());
    let mut client = lab.connect(GATEWAY).expect("the gateway does not accept");
    client.send(get("nginx.test", "/1m")).expect("cannot send");
    client.read_reply().expect("no answer");
    let before = gateway.resident();
    client.send(get("nginx.test", "/1g")).expect("cannot send");
    let head = client.read_head().expect("no answer");
    let stated = format!("\r\nContent-Length: {}", length());
    assert!(head.contains(&stated), "{head}");
    let most = read_body(&mut client, &gateway);
    println!("resident: {before} bytes before, at most {most} meanwhile");
    assert!(
        most <= before + GROWTH,
        "{before} bytes of memory became {most}"
    );
    // The connection is in step: the next answer is read from where the body ended.
    client.send(get("nginx.test", "/")).expect("cannot send");
    assert_eq!(client.read_reply().expect("no answer").body.len(), 100);
    let metrics = gateway.metrics();
    assert_eq!(
        metrics[r#"sluice_request_fates_total{worker="0",fate="answered"}"#],
        3.0
    );
}

#[test]
fn linux_takes_one_long_body_through_small_buffers() {
    let lab = Lab::up();
    let gateway = lab.gateway(&config());
    let listener = lab.listen("10.77.2.5:8080");
    let mut client = lab.connect(GATEWAY).expect("the gateway does not accept");
    client
        .stream()
        .set_write_timeout(Some(STALL))
        .expect("cannot bound the wait");
    let head = format!(
        "PUT / HTTP/1.1\r\nHost: own.test\r\nContent-Length: {}\r\n\r\n",
        length()
    );
    client.send(head).expect("cannot send");
    let mut backend = Connection::accept(&listener).expect("the gateway does not connect");
    let head = backend.read_head().expect("no request came");
    let stated = format!("\r\nContent-Length: {}", length());
    assert!(head.contains(&stated), "{head}");
    let before = gateway.resident();
    let most = thread::scope(|scope| {
        let sender = scope.spawn(|| write_body(client.stream()));
        let most = read_body(&mut backend, &gateway);
        sender.join().expect("the body was not taken");
        most
    });
    println!("resident: {before} bytes before, at most {most} meanwhile");
    assert!(
        most <= before + GROWTH,
        "{before} bytes of memory became {most}"
    );
    backend
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .expect("cannot answer");
    assert_eq!(client.read_reply().expect("no answer").text(), "ok");
    // Nothing came behind the body.
    backend
        .stream()
        .set_nonblocking(true)
        .expect("cannot look without waiting");
    let more = backend.stream().read(&mut [0; 1]);
    assert!(more.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    let metrics = gateway.metrics();
    assert_eq!(
        metrics[r#"sluice_request_fates_total{worker="0",fate="answered"}"#],
        1.0
    );
}
