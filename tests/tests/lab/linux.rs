//! The Linux kernel as the peer: what it does when programs behave badly, or less than well.

use std::net::Shutdown;

use sluice_tests::http::Connection;
use sluice_tests::lab::{Lab, printed};

use crate::{CONFIG, GATEWAY, get};

#[test]
fn linux_pings_the_gateway() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    for address in ["10.77.1.1", "fd77:1::1"] {
        // The larger one fills the MTU over either protocol.
        for size in ["56", "1452"] {
            let ping = [
                "ping", "-q", "-c", "3", "-i", "0.05", "-W", "2", "-s", size, address,
            ];
            let output = lab.client(&ping);
            assert!(
                printed(&output).contains("3 received"),
                "{}",
                printed(&output)
            );
        }
    }
}

#[test]
fn linux_half_close_still_gets_the_answer_of_nginx() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    let mut connection = lab.connect(GATEWAY).expect("the gateway does not accept");
    connection
        .send(get("nginx.test", "/1m"))
        .expect("cannot send");
    connection
        .stream()
        .shutdown(Shutdown::Write)
        .expect("cannot half-close");
    let reply = connection.read_reply().expect("no whole answer");
    assert!(
        reply.body == lab.direct("/1m"),
        "the body differs from the direct one"
    );
    assert_eq!(connection.read_to_end().expect("no end of the stream"), b"");
}

#[test]
fn linux_resets_mid_download_leave_the_gateway_well() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    for _ in 0..50 {
        let mut connection = lab.connect(GATEWAY).expect("the gateway does not accept");
        connection
            .send(get("nginx.test", "/1m"))
            .expect("cannot send");
        connection
            .read_exactly(10_000)
            .expect("the download does not begin");
        // Dropped with unread data: the kernel sends RST.
    }
    assert!(lab.curl(&["http://nginx.test/1m"]).body == lab.direct("/1m"));
}

#[test]
fn backend_that_ends_early_gives_curl_a_cut_body_and_no_false_end() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    let listener = lab.listen("10.77.2.5:8080");
    let lengths = [
        "Content-Length: 1000\r\n\r\n0123456789",
        "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n",
    ];
    for rest in lengths {
        let mut client = lab.connect(GATEWAY).expect("the gateway does not accept");
        client.send(get("own.test", "/")).expect("cannot send");
        let mut backend = Connection::accept(&listener).expect("the gateway does not connect");
        backend.read_head().expect("no request came");
        backend
            .send(format!("HTTP/1.1 200 OK\r\n{rest}"))
            .expect("cannot answer");
        drop(backend);
        let head = client.read_head().expect("no head came");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        // A reset is a fair way to say it, too.
        let body = client.read_to_end().unwrap_or_default();
        let body = String::from_utf8_lossy(&body);
        assert!(
            !body.ends_with("0\r\n\r\n"),
            "a cut body was given an end: {body}"
        );
    }
    assert_eq!(lab.curl(&["http://nginx.test/"]).status, 200);
}

#[test]
fn linux_refuses_nothing_else_for_the_gateway() {
    let lab = Lab::up();
    let _gateway = lab.gateway(CONFIG);
    // Where nothing listens, the gateway answers a SYN with RST, and does so at once.
    let error = lab
        .connect("10.77.1.1:81")
        .expect_err("nothing listens on port 81");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}
