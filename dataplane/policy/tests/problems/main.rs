//! What a user reads for each kind of mistake, word for word.

mod document;
mod governance;
mod network;
mod routes;
mod rpc;

use sluice_policy::{compile, parse};

/// What is said about a document; nothing if it is right.
fn said(text: &str) -> Vec<String> {
    let outcome = parse(text, "g.yaml").and_then(|rules| compile(&rules).map(drop));
    outcome
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

const PORTS: &str = "\
ports:
  front: { interface: eth1, addresses: [10.0.1.1/24, \"fd00:1::1/64\"] }
  back: { interface: eth2, addresses: [10.0.2.1/24] }
";
const LISTENERS: &str = "listeners:\n  web: { address: 10.0.1.1:80 }\n";
const SERVICES: &str = "services:\n  hello: { endpoints: [10.0.2.2:80] }\n";

/// A document that is right but for `tail`, whose first line is line 8.
fn with_tail(tail: &str) -> Vec<String> {
    said(&format!("{PORTS}{LISTENERS}{SERVICES}{tail}"))
}

/// A document with these ports, beginning at line 2.
fn with_ports(ports: &str) -> Vec<String> {
    let listener = "listeners:\n  web: { address: 10.0.1.1:80 }\n";
    said(&format!("ports:\n{ports}{listener}"))
}

/// A document with these listeners, beginning at line 5.
fn with_listeners(listeners: &str) -> Vec<String> {
    said(&format!("{PORTS}listeners:\n{listeners}"))
}

/// A document with these services, beginning at line 7.
fn with_services(services: &str) -> Vec<String> {
    said(&format!("{PORTS}{LISTENERS}services:\n{services}"))
}

/// A document with these routes, beginning at line 9.
fn with_routes(routes: &str) -> Vec<String> {
    with_tail(&format!("routes:\n{routes}"))
}

fn check(run: fn(&str) -> Vec<String>, cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        let said = run(text);
        assert_eq!(said, *expected, "\n{text}\nsaid:\n{}\n", said.join("\n"));
    }
}
