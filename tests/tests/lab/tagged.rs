//! Ports with a VLAN, and jumbo frames, with the Linux kernel and nginx at the other ends of both links.

use std::process::Output;

use sluice_tests::gateway::Gateway;
use sluice_tests::lab::{Lab, Server, printed};

/// The front is VLAN 7, the back VLAN 9.
fn config(mtu: u16) -> String {
    format!(
        r#"
node: {{ drain_timeout: 3s }}
ports:
  front: {{ interface: sluice-front, addresses: [10.77.1.1/24, "fd77:1::1/64"], vlan: 7, mtu: {mtu} }}
  back: {{ interface: sluice-back, addresses: [10.77.2.1/24, "fd77:2::1/64"], vlan: 9, mtu: {mtu} }}
listeners:
  http: {{ address: ["10.77.1.1:80", "[fd77:1::1]:80"] }}
services:
  nginx: {{ endpoints: ["10.77.2.2:8080"] }}
  nginx6: {{ endpoints: ["[fd77:2::2]:8080"] }}
routes:
  - {{ host: nginx.test, service: nginx }}
  - {{ host: nginx6.test, service: nginx6 }}
"#
    )
}

/// Carries frames between a link with tags and one without: kernels can be without VLANs.
const CARRY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/vlan.py");

/// Moves client and backend to VLANs, on links that carry packets of this size. Each is behind a program
/// that adds and takes the tags.
fn move_to_vlans(lab: &Lab, mtu: u16) -> [Server; 2] {
    let run = |output: Output| assert!(output.status.success(), "{}", printed(&output));
    let behind = |link: &str| {
        format!(
            "ip addr flush dev {link} scope global
            echo 1 >/proc/sys/net/ipv6/conf/{link}/disable_ipv6
            ip link set {link} mtu {mtu} arp off
            ip link add plain mtu {mtu} type veth peer name inside mtu {mtu}
            ethtool -K plain rx off tx off sg off tso off gso off gro off >/dev/null
            ethtool -K inside rx off tx off sg off tso off gso off gro off >/dev/null
            echo 1 >/proc/sys/net/ipv6/conf/inside/disable_ipv6
            ip link set inside arp off up
            ip link set plain up
            "
        )
    };
    let at_client = behind("front")
        + "ip addr add 10.77.1.2/24 dev plain
        ip addr add fd77:1::2/64 dev plain nodad";
    let at_backend = behind("back")
        + "ip addr add 10.77.2.2/24 dev plain
        ip addr add fd77:2::2/64 dev plain nodad
        ip route add default via 10.77.2.1
        ip route add default via fd77:2::1";
    let at_gateway = format!(
        "ip link set sluice-front mtu {mtu}
        ip link set sluice-back mtu {mtu}"
    );
    run(lab.client(&["sh", "-ec", &at_client]));
    run(lab.backend(&["sh", "-ec", &at_backend]));
    run(lab.at_gateway(&["sh", "-ec", &at_gateway]));
    [
        lab.serve_at_client(&["python3", CARRY, "front", "inside", "7"]),
        lab.serve(&["python3", CARRY, "back", "inside", "9"]),
    ]
}

/// A megabyte from nginx over IPv4 and IPv6, and half of one to it.
fn carries(lab: &Lab) {
    let expected = lab.direct("/1m");
    assert!(lab.curl(&["http://nginx.test/1m"]).body == expected);
    assert!(lab.curl6(&["http://nginx6.test/1m"]).body == expected);
    assert!(
        lab.curl6(&["http://nginx.test/1m"]).body == expected,
        "in by IPv6, on by IPv4"
    );
    let upload = "head -c 500000 /dev/zero | tr '\\0' x |
        curl -sS --max-time 30 --data-binary @- http://10.77.1.1/echo -H 'Host: nginx.test' | wc -c";
    let output = lab.client(&["sh", "-c", upload]);
    assert!(
        printed(&output).contains("\n500000\n"),
        "{}",
        printed(&output)
    );
}

fn pings(lab: &Lab, address: &str, size: u16) {
    let size = size.to_string();
    let ping = [
        "ping", "-q", "-c", "3", "-i", "0.05", "-W", "5", "-M", "do", "-s", &size, address,
    ];
    let output = lab.client(&ping);
    assert!(
        printed(&output).contains("3 received"),
        "{}",
        printed(&output)
    );
}

fn counter(gateway: &Gateway<'_>, name: &str) -> f64 {
    let metrics = gateway.metrics();
    *metrics
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in {metrics:#?}"))
}

fn fate(gateway: &Gateway<'_>, fate: &str) -> f64 {
    counter(
        gateway,
        &format!("sluice_frame_fates_total{{worker=\"0\",fate=\"{fate}\"}}"),
    )
}

#[test]
fn linux_vlans_and_jumbo_frames_carry_requests_to_nginx() {
    let lab = Lab::up();
    let _tagging = move_to_vlans(&lab, 9_000);
    let gateway = lab.gateway(&config(9_000));
    // The whole of the MTU, without fragments.
    pings(&lab, "10.77.1.1", 8_972);
    pings(&lab, "fd77:1::1", 8_952);
    let sent = "sluice_frames_total{worker=\"0\",port=\"front\",direction=\"tx\"}";
    let before = counter(&gateway, sent);
    assert_eq!(lab.curl(&["http://nginx.test/1m"]).body.len(), 1 << 20);
    let frames = counter(&gateway, sent) - before;
    // 118 of 8,948 bytes, and acknowledgements.
    assert!(frames < 300.0, "{frames} frames for a megabyte");
    carries(&lab);
    assert!(gateway.stop().success());
}

#[test]
fn linux_vlans_by_af_xdp_carry_requests_and_other_frames_are_counted() {
    let lab = Lab::up();
    let _tagging = move_to_vlans(&lab, 1_500);
    let gateway = lab.gateway(&config(1_500));
    pings(&lab, "10.77.1.1", 1_472);
    pings(&lab, "fd77:1::1", 1_452);
    carries(&lab);

    // Questions for its address on a VLAN that is not its own, on none, and on one in another.
    let (vlan, untagged) = (fate(&gateway, "vlan"), fate(&gateway, "untagged"));
    let double = fate(&gateway, "double_tagged");
    for tags in ["81000008", "", "8100000781000007"] {
        let output = lab.client(&["python3", CARRY, "front", "ask", tags]);
        assert!(output.status.success(), "{}", printed(&output));
    }
    crate::operation::until(&true, || {
        fate(&gateway, "vlan") > vlan
            && fate(&gateway, "untagged") > untagged
            && fate(&gateway, "double_tagged") > double
    });
    assert!(gateway.stop().success());
}
