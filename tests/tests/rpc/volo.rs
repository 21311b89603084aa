//! volo-thrift through one gateway.

use sluice_tests::lab::Lab;

use super::{SERVER, call, serve};

/// A gateway to one server, which multiplexes in this way.
pub(super) fn config(multiplex: &str) -> String {
    format!(
        "workers: {{ memory: 64MiB, idle: adaptive }}
ports:
  front: {{ interface: sluice-front, addresses: [10.77.1.1/24] }}
  back: {{ interface: sluice-back, addresses: [10.77.2.1/24] }}
listeners:
  rpc: {{ address: 10.77.1.1:8888 }}
services:
  echo:
    endpoints: [{SERVER}]
    protocol: ttheader
    multiplex: {multiplex}
    shared_connections: 1
    response_timeout: 20s
routes:
  - {{ rpc: {{}}, service: echo }}
"
    )
}

/// Connections to the server that are open now.
fn connections(lab: &Lab) -> usize {
    let ss = ["ss", "-Htn", "state", "established", "sport", "=", ":9000"];
    let output = lab.backend(&ss);
    String::from_utf8_lossy(&output.stdout).lines().count()
}

#[test]
fn volo_calls_through_the_gateway_in_every_transport() {
    let lab = Lab::up();
    let _server = serve(&lab, "--multiplex");
    let _gateway = lab.gateway(&config("message"));
    for transport in ["ttheader-framed", "ttheader", "framed", "buffered"] {
        for encoding in ["", "--compact"] {
            let options =
                format!("--transport {transport} {encoding} --clients 8 --tasks 2 --calls 5");
            assert_eq!(call(&lab, &options).outcomes(), "80 ok", "{options}");
        }
    }
    assert_eq!(connections(&lab), 1);
}

#[test]
fn volo_multiplexed_callers_with_the_same_sequences_share_a_connection() {
    let lab = Lab::up();
    let _server = serve(&lab, "--multiplex");
    let _gateway = lab.gateway(&config("message"));
    // Each client is a connection and counts from 0 on; each task has a call under way.
    let many = "--multiplex --clients 8 --tasks 16 --calls 5";
    assert_eq!(call(&lab, many).outcomes(), "640 ok");
    // Larger than a segment.
    let large = "--multiplex --clients 4 --tasks 4 --size 20000";
    assert_eq!(call(&lab, large).outcomes(), "16 ok");
    // Those that wait do not hold up those that don't.
    let slow = "--multiplex --tasks 4 --act wait:300";
    assert_eq!(call(&lab, slow).outcomes(), "4 ok");
    assert_eq!(connections(&lab), 1);
    // Larger than what goes along with others.
    let large = "--multiplex --clients 2 --tasks 2 --size 600000";
    assert_eq!(call(&lab, large).outcomes(), "4 ok");
}

#[test]
fn volo_servers_that_do_not_multiplex_get_one_call_at_a_time() {
    let lab = Lab::up();
    let _server = serve(&lab, "");
    let _gateway = lab.gateway(&config("none"));
    let many = "--clients 4 --tasks 8 --calls 5";
    for mode in ["--multiplex", "--transport ttheader"] {
        let ends = call(&lab, &format!("{mode} {many}"));
        assert_eq!(ends.outcomes(), "160 ok", "{mode}");
    }
}
