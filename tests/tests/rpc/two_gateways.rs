//! volo-thrift through two gateways in a row, as between two nodes: many callers, few connections between
//! the gateways, whose sequences both of them know.

use sluice_tests::lab::Lab;

use super::{METADATA, METADATA_SEEN, OUTCOMES, SERVER, call, serve};

fn configs(lab: &Lab) -> [String; 2] {
    let socket = lab.directory().join("between.sock");
    let between = |role: &str, address: &str| {
        let socket = socket.display();
        format!(
            "  between:\n    device: \"net_memif0,role={role},id=0,socket-abstract=no,socket={socket}\"\n    \
             addresses: [{address}/24]\n"
        )
    };
    let near = format!(
        "workers: {{ memory: 64MiB, idle: adaptive, cores: [1] }}
ports:
  front: {{ interface: sluice-front, addresses: [10.77.1.1/24] }}
{}listeners:
  rpc: {{ address: 10.77.1.1:8888 }}
services:
  far: {{ endpoints: [10.77.3.2:8888], protocol: ttheader, multiplex: frame, shared_connections: 2,
    response_timeout: 20s }}
routes:
  - {{ rpc: {{}}, service: far }}
",
        between("server", "10.77.3.1")
    );
    let far = format!(
        "workers: {{ memory: 64MiB, idle: adaptive, cores: [0] }}
admin: {{ address: 127.0.0.1:9902 }}
ports:
  back: {{ interface: sluice-back, addresses: [10.77.2.1/24] }}
{}listeners:
  rpc: {{ address: 10.77.3.2:8888 }}
services:
  echo: {{ endpoints: [{SERVER}], protocol: ttheader, multiplex: message, shared_connections: 2,
    response_timeout: 20s }}
routes:
  - {{ rpc: {{}}, service: echo }}
",
        between("client", "10.77.3.2")
    );
    [near, far]
}

#[test]
fn volo_calls_through_two_gateways() {
    let lab = Lab::up();
    let _server = serve(&lab, "--multiplex");
    let [near, far] = configs(&lab);
    let _near = lab.gateway(&near);
    let _far = lab.second_gateway(&far, "127.0.0.1:9902");
    for transport in ["ttheader-framed", "ttheader", "buffered", "framed"] {
        for encoding in ["", "--compact"] {
            let options =
                format!("--transport {transport} {encoding} --clients 8 --tasks 2 --calls 5");
            assert_eq!(call(&lab, &options).outcomes(), "80 ok", "{options}");
        }
    }
    let many = "--multiplex --clients 8 --tasks 8 --calls 5";
    assert_eq!(call(&lab, many).outcomes(), "320 ok");
    let large = "--multiplex --clients 2 --tasks 2 --size 600000";
    assert_eq!(call(&lab, large).outcomes(), "4 ok");
    for (act, expected) in OUTCOMES {
        assert_eq!(call(&lab, &format!("--act {act}")).outcomes(), expected);
    }
    let ends = call(&lab, METADATA);
    for line in METADATA_SEEN {
        assert_eq!(ends.count(line), 1, "{line}: {ends:?}");
    }
}
