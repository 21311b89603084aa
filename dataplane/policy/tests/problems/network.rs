//! Ports, listeners and services.

use super::{check, said, with_listeners, with_ports, with_services};

#[test]
fn ports() {
    check(
        with_ports,
        &[
            (
                "  front: { addresses: [10.0.1.1/24] }\n",
                &["g.yaml:2:3: ports.front: has no device; add `interface` or `device`"],
            ),
            (
                "  front: { interface: a, device: net_ring0, addresses: [10.0.1.1/24] }\n",
                &["g.yaml:2:3: ports.front: has both `interface` and `device`; keep one of them"],
            ),
            (
                "  front: { device: 01:00.0, addresses: [10.0.1.1/24] }\n",
                &[
                    "g.yaml:2:20: ports.front.device: \"01:00.0\" is neither a PCI address nor a DPDK virtual device; write device: \"0000:01:00.0\"",
                ],
            ),
            (
                "  front: { device: eth1, addresses: [10.0.1.1/24] }\n",
                &[
                    "g.yaml:2:20: ports.front.device: \"eth1\" is neither a PCI address nor a DPDK virtual device; write 0000:01:00.0 or net_memif0,role=client; a Linux interface goes under `interface`",
                ],
            ),
            (
                "  front: { interface: \"0000:01:00.0\", addresses: [10.0.1.1/24] }\n",
                &[
                    "g.yaml:2:23: ports.front.interface: \"0000:01:00.0\" is no name of a Linux interface; write device: \"0000:01:00.0\"",
                ],
            ),
            (
                "  front: { interface: way-too-long-name, addresses: [10.0.1.1/24] }\n",
                &[
                    "g.yaml:2:23: ports.front.interface: \"way-too-long-name\" is no name of a Linux interface",
                ],
            ),
            (
                "  Front: { interface: eth1, addresses: [10.0.1.1/24] }\n",
                &[
                    "g.yaml:2:3: ports.Front: \"Front\" is no name: names are of a-z, 0-9, `-`, `_` and `.`; write \"front\"",
                ],
            ),
            (
                "  \"fr nt\":\n    interface: eth1\n    addresses: [10.0.1.1/24]\n",
                &[
                    "g.yaml:2:3: ports[\"fr nt\"]: \"fr nt\" is no name: names are of a-z, 0-9, `-`, `_` and `.`",
                ],
            ),
            (
                "  front: { interface: eth1, addresses: [10.0.1.1/24] }\n  back: { interface: eth2 }\n",
                &[
                    "g.yaml:3:3: ports.back.addresses: has no address; add one, such as [10.0.0.1/24]",
                ],
            ),
            (
                "  front: { interface: eth1, addresses: [10.0.1.1/24, 10.0.3.0/24, 10.0.3.255/24, 127.0.0.1/8, 10.0.4.1/0, \"ff02::1/64\"] }\n",
                &[
                    "g.yaml:2:54: ports.front.addresses[1]: 10.0.3.0 is its network's own address",
                    "g.yaml:2:67: ports.front.addresses[2]: 10.0.3.255 is its network's broadcast address",
                    "g.yaml:2:82: ports.front.addresses[3]: 127.0.0.1 is not an address that a port can have",
                    "g.yaml:2:95: ports.front.addresses[4]: 10.0.4.1/0 puts every address on this port's own network",
                    "g.yaml:2:107: ports.front.addresses[5]: ff02::1 is not an address that a port can have",
                ],
            ),
            (
                "  front: { interface: eth1, addresses: [10.0.1.1/24], mtu: 500 }\n",
                &["g.yaml:2:60: ports.front.mtu: 500 is outside 576 to 9216"],
            ),
            (
                "  front: { interface: eth1, addresses: [10.0.1.1/24], mtu: 9217 }\n",
                &["g.yaml:2:60: ports.front.mtu: 9217 is outside 576 to 9216"],
            ),
            (
                "  front: { interface: eth1, addresses: [10.0.1.1/24], vlan: 4095 }\n",
                &[
                    "g.yaml:2:61: ports.front.vlan: no VLAN has this number; write 1 to 4094, or leave it out for frames without a tag",
                ],
            ),
            (
                "  front: { interface: eth1, addresses: [10.0.1.1/24, \"fd00::1/64\"], mtu: 1279 }\n",
                &["g.yaml:2:74: ports.front.mtu: 1279 is too small for IPv6, which needs 1280"],
            ),
            (
                "  front:\n    interface: eth1\n    addresses: [10.0.1.1/24]\n    routes:\n      - { to: 10.1.0.1/16, via: 10.0.1.2 }\n      - { to: 10.2.0.0/16, via: 10.0.2.1 }\n      - { to: 10.2.0.0/16, via: 10.0.1.1 }\n      - { to: \"::/0\", via: 10.0.1.9 }\n",
                &[
                    "g.yaml:6:15: ports.front.routes[0].to: 10.1.0.1/16 has bits set after its prefix; write 10.1.0.0/16",
                    "g.yaml:7:33: ports.front.routes[1].via: 10.0.2.1 is on none of this port's networks; give a router that the port can reach directly",
                    "g.yaml:8:15: ports.front.routes[2].to: 10.2.0.0/16 is routed above as well; keep one",
                    "g.yaml:8:33: ports.front.routes[2].via: 10.0.1.1 is this port's own address",
                    "g.yaml:9:28: ports.front.routes[3].via: 10.0.1.9 cannot be the router of ::/0",
                ],
            ),
            (
                "  front: { interface: eth1, addresses: [10.0.1.1/24] }\n  a: { interface: eth1, addresses: [10.0.1.1/25] }\n",
                &[
                    "g.yaml:2:23: ports.front.interface: eth1 is already the device of port \"a\"; give each port a device of its own",
                    "g.yaml:2:41: ports.front.addresses[0]: 10.0.1.1 is already an address of port \"a\" (line 3); give each port addresses of its own",
                ],
            ),
            (
                "  front: { device: \"net_ring0,x=1\", addresses: [10.0.1.1/24] }\n  other: { device: net_ring0, addresses: [10.0.5.1/24] }\n",
                &[
                    "g.yaml:3:20: ports.other.device: net_ring0 is already the device of port \"front\"; give each port a device of its own",
                ],
            ),
        ],
    );
}

#[test]
fn listeners() {
    check(
        with_listeners,
        &[
            (
                "  {}\n",
                &[
                    "g.yaml:4:1: listeners: there is no listener; add one, such as web: { address: 10.0.0.1:80 }",
                ],
            ),
            (
                "  web: { address: 10.0.1.1:80, buffer: 16KiB, limits: { head: 32KiB, headers: 129, requests: 0, body_rate: 2MiB, request_line: 1B } }\n",
                &[
                    "g.yaml:5:63: listeners.web.limits.head: 32KiB does not fit into a buffer of 16KiB; write less, or make the listener's buffer larger",
                    "g.yaml:5:79: listeners.web.limits.headers: 129 is outside 1 to 128",
                    "g.yaml:5:94: listeners.web.limits.requests: 0 is outside 1 to 1000000000",
                    "g.yaml:5:108: listeners.web.limits.body_rate: 2MiB is outside 0B to 1MiB",
                    "g.yaml:5:128: listeners.web.limits.request_line: 1B is outside 64B to 32KiB",
                ],
            ),
            (
                "  web: { address: 10.0.1.1:80, hosts: [a.test, \"b.test:80\"], trust: [10.0.0.1], forwarded: { mode: append } }\n",
                &[
                    "g.yaml:5:48: listeners.web.hosts[1]: \"b.test:80\" has a port, which is ignored in requests; write \"b.test\"",
                    "g.yaml:5:70: listeners.web.trust[0]: `10.0.0.1` is not an address with a prefix length; write 10.0.0.1/24 or \"fd00::1/64\"",
                ],
            ),
            (
                "  web: { address: 10.0.1.1:80, hosts: [a.test, \"b.test:80\"] }\n",
                &[
                    "g.yaml:5:48: listeners.web.hosts[1]: \"b.test:80\" has a port, which is ignored in requests; write \"b.test\"",
                ],
            ),
            (
                "  web: { address: 10.0.1.2:80 }\n",
                &[
                    "g.yaml:5:19: listeners.web.address: 10.0.1.2 is not an address of any port; did you mean \"10.0.1.1:80\"?",
                ],
            ),
            (
                "  web: { address: 192.168.7.7:80 }\n",
                &[
                    "g.yaml:5:19: listeners.web.address: 192.168.7.7 is not an address of any port; ports have 10.0.2.1:80, 10.0.1.1:80",
                ],
            ),
            (
                "  web: { address: \"[fd00:1::2]:80\" }\n",
                &[
                    "g.yaml:5:19: listeners.web.address: fd00:1::2 is not an address of any port; did you mean \"[fd00:1::1]:80\"?",
                ],
            ),
            (
                "  web: { address: 0.0.0.0:80 }\n",
                &[
                    "g.yaml:5:19: listeners.web.address: 0.0.0.0 is not an address of any port; ports have 10.0.2.1:80, 10.0.1.1:80",
                ],
            ),
            (
                "  web: { address: [10.0.1.1:80, 10.0.2.1:80] }\n",
                &[
                    "g.yaml:5:33: listeners.web.address[1]: 10.0.2.1 is on port \"back\", not \"front\"; make a listener for each port",
                ],
            ),
            (
                "  web: { address: [] }\n",
                &[
                    "g.yaml:5:10: listeners.web.address: has no address; write one, such as 10.0.0.1:80",
                ],
            ),
            (
                "  web: { address: 10.0.1.1:0 }\n",
                &[
                    "g.yaml:5:19: listeners.web.address: port 0 cannot be listened on; write a port from 1 to 65535",
                ],
            ),
            (
                "  web: { address: 10.0.1.1:80 }\n  also:\n    address: [10.0.2.1:80, 10.0.1.1:80]\n",
                &[
                    "g.yaml:5:19: listeners.web.address: 10.0.1.1:80 is already an address of listener \"also\" (line 7); give each listener addresses of its own",
                    "g.yaml:7:28: listeners.also.address[1]: 10.0.1.1 is on port \"front\", not \"back\"; make a listener for each port",
                ],
            ),
            (
                "  a: { address: 10.0.1.1:80 }\n  b: { address: [10.0.1.1:80] }\n",
                &[
                    "g.yaml:6:18: listeners.b.address[0]: 10.0.1.1:80 is already an address of listener \"a\" (line 5); give each listener addresses of its own",
                ],
            ),
            (
                "  web: { address: 10.0.1.1:80, idle_timeout: 0s, head_timeout: 25h, max_connections: 0, buffer: 8KiB }\n",
                &[
                    "g.yaml:5:46: listeners.web.idle_timeout: must be more than 0; write a duration such as 10s",
                    "g.yaml:5:64: listeners.web.head_timeout: 25h is longer than 24h",
                    "g.yaml:5:86: listeners.web.max_connections: 0 is outside 1 to 1000000",
                    "g.yaml:5:97: listeners.web.buffer: 8KiB is outside 16KiB to 16MiB",
                ],
            ),
            (
                "  web: { address: 10.0.1.1:80, max_connections: 1000001, buffer: 17MiB }\n",
                &[
                    "g.yaml:5:49: listeners.web.max_connections: 1000001 is outside 1 to 1000000",
                    "g.yaml:5:66: listeners.web.buffer: 17MiB is outside 16KiB to 16MiB",
                ],
            ),
            (
                "  We b: { address: 10.0.1.1:80 }\n",
                &[
                    "g.yaml:5:3: listeners[\"We b\"]: \"We b\" is no name: names are of a-z, 0-9, `-`, `_` and `.`",
                ],
            ),
        ],
    );
}

#[test]
fn services() {
    check(
        with_services,
        &[
            (
                "  hello:\n",
                &[
                    "g.yaml:7:3: services.hello.endpoints: has no endpoint; add one, such as [10.0.0.2:8080]",
                ],
            ),
            (
                "  hello: { endpoints: [10.0.2.2:80], upgrade: [websocket, \"a b\", h2c] }\n",
                &[
                    "g.yaml:7:59: services.hello.upgrade[1]: \"a b\" is no name of a protocol; write one such as websocket",
                    "g.yaml:7:66: services.hello.upgrade[2]: a change to h2c is not supported",
                ],
            ),
            (
                "  hello: { endpoints: [] }\n",
                &[
                    "g.yaml:7:12: services.hello.endpoints: has no endpoint; add one, such as [10.0.0.2:8080]",
                ],
            ),
            (
                "  hello: { endpoints: [10.0.3.1:80] }\n",
                &[
                    "g.yaml:7:24: services.hello.endpoints[0]: 10.0.3.1 is on no port's network and behind no port's route; add an address on its network, or a route to it, to a port",
                ],
            ),
            (
                "  hello: { endpoints: [10.0.2.1:80] }\n",
                &[
                    "g.yaml:7:24: services.hello.endpoints[0]: 10.0.2.1 is the gateway's own address on port \"back\"; give the address of a backend",
                ],
            ),
            (
                "  hello: { endpoints: [10.0.2.2:80, 10.0.2.2:80] }\n",
                &[
                    "g.yaml:7:37: services.hello.endpoints[1]: 10.0.2.2:80 is listed twice (line 7); keep one",
                ],
            ),
            (
                "  hello:\n    endpoints:\n      - 10.0.2.2:0\n      - 224.0.0.1:80\n",
                &[
                    "g.yaml:9:9: services.hello.endpoints[0]: port 0 cannot be connected to; write a port from 1 to 65535",
                    "g.yaml:10:9: services.hello.endpoints[1]: 224.0.0.1 is not an address that a host can have",
                ],
            ),
            (
                "  hello: { endpoints: [10.0.2.2:80], connect_timeout: 0s, response_timeout: 0ms, idle_timeout: 48h, max_connections: 0, max_idle: 2000000 }\n",
                &[
                    "g.yaml:7:55: services.hello.connect_timeout: must be more than 0; write a duration such as 10s",
                    "g.yaml:7:77: services.hello.response_timeout: must be more than 0; write a duration such as 10s",
                    "g.yaml:7:96: services.hello.idle_timeout: 48h is longer than 24h",
                    "g.yaml:7:118: services.hello.max_connections: 0 is outside 1 to 1000000",
                    "g.yaml:7:131: services.hello.max_idle: 2000000 is outside 0 to 1000000",
                ],
            ),
        ],
    );
}

#[test]
fn an_endpoint_that_two_ports_reach_alike() {
    check(
        said,
        &[(
            "ports:\n  a: { interface: eth1, addresses: [10.0.1.1/24] }\n  b: { interface: eth2, addresses: [10.0.1.2/24] }\nlisteners:\n  web: { address: 10.0.1.1:80 }\nservices:\n  hello: { endpoints: [10.0.1.3:80] }\n",
            &[
                "g.yaml:7:24: services.hello.endpoints[0]: 10.0.1.3 can be reached by ports \"a\" and \"b\" alike; add a longer route to one of them",
            ],
        )],
    );
}
