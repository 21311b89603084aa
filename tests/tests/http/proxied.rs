//! The PROXY protocol on both sides.

use sluice_perf::raw::End;
use sluice_wire::proxy_protocol::{self, Version};

use crate::world::{OK, Rules, World, forwarded, get};

const LINE: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n";

/// How a request with this address of the client reaches the backend.
fn from(address: &str) -> String {
    forwarded("GET /", "").replace("10.77.1.2", address)
}

fn listener(settings: &str) -> World {
    World::with(&Rules::listener(&format!(
        "proxy_protocol: true, {settings}"
    )))
}

#[test]
fn the_client_is_who_the_header_says() {
    let mut binary = Vec::new();
    proxy_protocol::write(
        &mut binary,
        Version::V2,
        "192.0.2.7:4711".parse().unwrap(),
        "198.51.100.1:80".parse().unwrap(),
    );
    let local = *b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";
    for (header, address) in [
        (LINE.as_bytes(), "192.0.2.7"),
        (&binary, "192.0.2.7"),
        (b"PROXY UNKNOWN\r\n", "10.77.1.2"),
        (&local, "10.77.1.2"),
    ] {
        for cut in 0..=header.len() {
            let mut w = listener("");
            let c = w.open();
            w.send(c, &header[..cut]);
            w.send(c, &header[cut..]);
            // Once for the connection, not for each request.
            for _ in 0..2 {
                w.send(c, get("/"));
                assert_eq!(w.asked(0), from(address), "{header:?} cut at {cut}");
                w.answer(0, OK);
                assert_eq!(w.got(c), OK);
            }
            w.counts("downstream_opened, upstream_opened, upstream_reused, answered 2, 200 2");
            w.over();
        }
    }
}

#[test]
fn a_connection_without_a_header_is_closed() {
    for bytes in [
        get("/"),
        "PROXY TCP4 1.2.3.4\r\n".to_owned(),
        format!("PROXY UNKNOWN {}", "x".repeat(200)),
    ] {
        let mut w = listener("");
        let c = w.open();
        w.send(c, &bytes);
        assert_eq!(
            (w.got(c), w.client.end(c)),
            (String::new(), Some(End::Closed))
        );
        w.counts("downstream_opened, downstream_closed, downstream_bad_proxy_header");
        w.over();
    }
    let mut w = listener("head_timeout: 5s");
    let c = w.open();
    w.send(c, "PROXY ");
    w.seconds(6);
    assert_eq!(w.client.end(c), Some(End::Closed));
    w.counts("downstream_opened, downstream_closed, downstream_idle_timeout");
    w.over();
}

#[test]
fn only_trusted_proxies_may_connect_where_some_are_named() {
    let mut w = listener("trust: [\"10.77.1.2/32\"]");
    let c = w.open();
    w.send(c, LINE.to_owned() + &get("/"));
    assert_eq!(w.asked(0), from("192.0.2.7"));
    w.over();
    let mut w = listener("trust: [\"10.77.1.3/32\"]");
    let c = w.open();
    assert_eq!(w.client.end(c), Some(End::Reset));
    w.counts("downstream_untrusted");
    w.over();
}

#[test]
fn a_header_where_none_is_expected_is_no_request() {
    let mut w = World::new();
    let c = w.open();
    w.send(c, LINE.to_owned() + &get("/"));
    assert!(w.got(c).starts_with("HTTP/1.1 400 Bad Request\r\n"));
    w.over();
}

/// What the backend is sent first on each connection.
fn outgoing(version: Version, client: &str) -> String {
    let mut header = Vec::new();
    let client = client.parse().expect("an address");
    proxy_protocol::write(
        &mut header,
        version,
        client,
        "10.77.1.1:80".parse().unwrap(),
    );
    String::from_utf8_lossy(&header).into_owned()
}

#[test]
fn each_client_connection_has_an_endpoint_connection_of_its_own() {
    for (name, version) in [("v1", Version::V1), ("v2", Version::V2)] {
        let rules = Rules::service(&format!("proxy_protocol: {name}")).endpoints(Rules::BOTH);
        let mut w = World::with(&rules);
        let clients = [w.open(), w.open()];
        for (n, &c) in clients.iter().enumerate() {
            let address = w.client.local(c).unwrap().to_string();
            w.send(c, get("/"));
            let expected = outgoing(version, &address) + &forwarded("GET /", "");
            assert_eq!(w.asked(n), expected);
            w.answer(n, OK);
            assert_eq!(w.got(c), OK);
        }
        // Each goes on where it was, the other's connection waiting beside it.
        for (n, &c) in clients.iter().enumerate().rev() {
            w.exchange(c, n, "/again");
        }
        assert_eq!(w.levels(), [2, 2, 2, 0]);
        w.finish(clients[0]);
        assert_eq!(w.backend.end(0), Some(End::Closed));
        assert_eq!(w.backend.end(1), None);
        w.exchange(clients[1], 1, "/still");
        w.counts(
            "downstream_opened 2, downstream_closed, upstream_opened 2, upstream_closed, \
             upstream_reused 3, answered 5, 200 5",
        );
        w.over();
    }
}

#[test]
fn an_endpoint_connection_that_ended_is_opened_anew_with_a_header() {
    let mut w = World::with(&Rules::service("proxy_protocol: v1, idle_timeout: 5s"));
    let c = w.open();
    let address = w.client.local(c).unwrap().to_string();
    let expected = outgoing(Version::V1, &address) + &forwarded("GET /", "");
    w.send(c, get("/"));
    assert_eq!(w.asked(0), expected);
    w.answer(0, OK);
    w.seconds(6);
    assert_eq!(w.backend.end(0), Some(End::Closed));
    w.send(c, get("/"));
    assert_eq!(w.asked(1), expected);
    w.answer(1, OK);
    w.finish_backend(1);
    w.send(c, get("/"));
    assert_eq!(w.asked(2), expected);
    w.answer(2, OK);
    w.counts(
        "downstream_opened, upstream_opened 3, upstream_closed 2, upstream_idle_timeout, \
         answered 3, 200 3",
    );
    w.over();
}
