//! The rules of a gateway in memory, as text and compiled.

use std::net::SocketAddr;
use std::sync::Arc;

use sluice_policy::{Snapshot, compile, parse};
use sluice_stack::PortSetup;

use super::{Setup, Side};

/// The two endpoints of the backend.
pub(crate) fn endpoints(v6: bool) -> [SocketAddr; 2] {
    ["2", "3"].map(|host| {
        let text = if v6 {
            format!("[fd77:2::{host}]:8080")
        } else {
            format!("10.77.2.{host}:8080")
        };
        text.parse()
            .unwrap_or_else(|_| SocketAddr::from(([10, 77, 2, 2], 8080)))
    })
}

/// The rules of the gateway, as text.
pub fn rules(setup: &Setup) -> String {
    let [first, second] = endpoints(setup.sides()[1].v6);
    let (ports, listen) = ports(setup);
    format!(
        r#"
{ports}
listeners:
  web: {{ address: "{listen}", buffer: {buffer}B, max_connections: 1000000 }}
services:
  hello:
    endpoints: ["{first}", "{second}"]
    max_connections: 1000000
    max_idle: 100000
    response_timeout: 20s
routes:
  - {{ host: sluice.test, path: /, service: hello, request_headers: {{ set: {{ x-edge: "1" }} }} }}
"#,
        buffer = setup.buffer,
    )
}

/// As [`rules`], for calls: a service that multiplexes in this way over so many connections to its one
/// endpoint.
pub fn rpc_rules(setup: &Setup, multiplex: &str, shared_connections: u32) -> String {
    let [endpoint, _] = endpoints(setup.sides()[1].v6);
    let (ports, listen) = ports(setup);
    format!(
        r#"
{ports}
listeners:
  rpc: {{ address: "{listen}", buffer: {buffer}B, max_connections: 100000 }}
services:
  bench:
    endpoints: ["{endpoint}"]
    protocol: ttheader
    multiplex: {multiplex}
    shared_connections: {shared_connections}
    max_connections: 100000
    max_idle: 100000
    response_timeout: 20s
routes:
  - {{ rpc: {{}}, service: bench }}
"#,
        buffer = setup.buffer,
    )
}

/// The gateway's ports as rules, and the address of its listener.
fn ports(setup: &Setup) -> (String, &'static str) {
    let [front, back] = setup.sides();
    let port = |side: Side, number: u8| {
        let address = match side.v6 {
            true => format!("fd77:{}::1/64", number + 1),
            false => format!("10.77.{}.1/24", number + 1),
        };
        let vlan = side
            .vlan
            .map_or(String::new(), |vlan| format!(", vlan: {vlan}"));
        format!(
            "{{ device: \"net_memory{number}\", addresses: [\"{address}\"], mtu: {}{vlan} }}",
            side.mtu
        )
    };
    let text = format!(
        "ports:\n  front: {}\n  back: {}",
        port(front, 0),
        port(back, 1)
    );
    let listen = if front.v6 {
        "[fd77:1::1]:80"
    } else {
        "10.77.1.1:80"
    };
    (text, listen)
}

/// Compiles the rules of [`rules`], or of a test of its own.
///
/// # Errors
/// Every problem, a line each.
pub fn compiled(text: &str, generation: u64) -> Result<Arc<Snapshot>, String> {
    let lines = |problems: Vec<sluice_policy::Problem>| {
        problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let rules = parse(text, "memory.yaml").map_err(lines)?;
    let mut snapshot = compile(&rules).map_err(lines)?;
    snapshot.generation = generation;
    Ok(Arc::new(snapshot))
}

/// The port setup of each port of compiled rules, in their order.
pub fn port_setups(snapshot: &Snapshot) -> Vec<PortSetup> {
    snapshot
        .ports
        .iter()
        .map(|port| PortSetup {
            addresses: port
                .addresses
                .iter()
                .map(|a| (a.address(), a.prefix()))
                .collect(),
            routes: port
                .routes
                .iter()
                .map(|route| ((route.to.network(), route.to.prefix()), route.via))
                .collect(),
            vlan: port.vlan,
        })
        .collect()
}
