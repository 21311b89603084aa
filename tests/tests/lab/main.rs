//! The real gateway between the Linux kernel's TCP and real programs, in a private lab per test.
//!
//! These need root and what `scripts/setup` installs.
#![forbid(unsafe_code)]

mod access_log;
mod bulk;
mod capture;
mod chromium;
mod curl;
mod interface;
mod lab_itself;
mod lifecycle;
mod linux;
mod operation;
mod refusals;
mod rules;
mod semantics;
mod service;
mod tagged;
mod workers;

/// The gateway's address that most tests connect to.
const GATEWAY: &str = "10.77.1.1:80";

/// The configuration of most tests. A host says which backend is meant:
///
/// - `nginx.test` both nginx addresses, `nginx6.test` nginx by IPv6
/// - `refused.test` an address where nothing listens, `absent.test` one that nobody has
/// - `own.test` 10.77.2.5:8080, where a test may listen itself, and `narrow.test` 10.77.2.6:8080,
///   to which one connection is allowed
/// - any other host has no route
const CONFIG: &str = r#"
node: { drain_timeout: 3s }
ports:
  front: { interface: sluice-front, addresses: [10.77.1.1/24, "fd77:1::1/64"] }
  back: { interface: sluice-back, addresses: [10.77.2.1/24, "fd77:2::1/64"] }
listeners:
  http: { address: ["10.77.1.1:80", "[fd77:1::1]:80"] }
services:
  nginx: { endpoints: ["10.77.2.2:8080", "10.77.2.3:8080"] }
  nginx6: { endpoints: ["[fd77:2::2]:8080"] }
  refused: { endpoints: ["10.77.2.4:8080"] }
  absent: { endpoints: ["10.77.2.99:8080"], connect_timeout: 500ms }
  own: { endpoints: ["10.77.2.5:8080"], response_timeout: 1s }
  narrow: { endpoints: ["10.77.2.6:8080"], response_timeout: 5s, max_connections: 1 }
routes:
  - { host: nginx.test, service: nginx }
  - { host: nginx6.test, service: nginx6 }
  - { host: refused.test, service: refused }
  - { host: absent.test, service: absent }
  - { host: own.test, service: own }
  - { host: narrow.test, service: narrow }
"#;

/// The request for a path of a host, as bytes.
fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}
