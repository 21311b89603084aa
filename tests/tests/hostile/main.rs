//! Input that is meant to do harm, and what comes of it: the corpus of requests is played through
//! Sluice, nginx and HAProxy, a bad backend answers, and slowhttptest is slow. docs/hostile-input.md
//! shows the tables.
//!
//! These need root and what `scripts/setup` installs.
#![forbid(unsafe_code)]

mod backend;
mod counted;
mod differential;
mod documented;
mod proxies;
mod requests;
mod responses;
mod slow;

/// The gateway's address.
const GATEWAY: &str = "10.77.1.1:80";

/// Where a test's own backend listens.
const BACKEND: &str = "10.77.2.5:8080";

/// Sluice before the test's own backend, whatever the host.
const CONFIG: &str = r#"
node: { drain_timeout: 1s }
ports:
  front: { interface: sluice-front, addresses: [10.77.1.1/24] }
  back: { interface: sluice-back, addresses: [10.77.2.1/24] }
listeners:
  http:
    address: "10.77.1.1:80"
    head_timeout: 3s
services:
  own: { endpoints: ["10.77.2.5:8080"], response_timeout: 5s }
routes:
  - { service: own }
"#;
