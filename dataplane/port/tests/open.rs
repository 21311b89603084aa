//! Opening ports from their configuration, up to a frame exchanged with the kernel over a veth pair.
//! EAL starts once per process: run with `cargo nextest run`, as root.

use std::process::Command;
use std::time::{Duration, Instant};

use sluice_port::{Device, Eal, EalConfig, OpenError, OpenedPort, PortConfig, open};
use sluice_stack::io::{L3, PacketIo, RxBurst, RxFrame, TxFrame, TxMeta};

fn eal() -> Eal {
    let config = EalConfig {
        memory_mib: 64,
        ..EalConfig::default()
    };
    Eal::start(&config).unwrap_or_else(|error| panic!("{error}"))
}

fn config(device: Device) -> PortConfig {
    PortConfig {
        device,
        mtu: 1500,
        workers: 1,
        nodes: Vec::new(),
        queues: 1,
        descriptors: 512,
        pool_size: 8191,
        large_frames: 31,
        offload: true,
    }
}

#[test]
fn a_port_describes_itself_and_has_an_io_per_queue() {
    let eal = eal();
    let device = Device::Vdev("net_ring0".to_owned());
    let two = PortConfig {
        workers: 2,
        queues: 2,
        pool_size: 2047,
        ..config(device)
    };
    let opened = open(eal.handle(), &two).unwrap();
    assert_eq!((opened.ios.len(), opened.pools.len()), (2, 2));
    let text = opened.description;
    assert!(
        text.starts_with("net_ring0 (net_ring), MAC 00:00:00:00:00:00, MTU 1500, 2 x"),
        "{text}"
    );
    assert!(text.ends_with("offloads: none"), "{text}");
    assert_eq!(opened.notice, None);
    let caps = opened.ios[0].caps();
    assert_eq!(
        (caps.mtu, caps.tx_ipv4_checksum, caps.tx_tcp_checksum),
        (1500, false, false)
    );
}

#[test]
fn what_cannot_be_opened_is_refused_in_words() {
    let eal = eal();
    let error = |config: PortConfig| open(eal.handle(), &config).unwrap_err().to_string();
    let small = |device| PortConfig {
        pool_size: 2047,
        ..config(device)
    };
    let text = error(config(Device::Interface("sluice-none".to_owned())));
    assert!(
        text.contains("there is no network interface `sluice-none`"),
        "{text}"
    );
    let text = error(small(Device::Interface("lo".to_owned())));
    assert!(
        text.contains("needs a pool of more than 3072 frames"),
        "{text}"
    );
    let text = error(small(Device::Interface("lo,queue_count=9".to_owned())));
    assert!(
        text.contains("is not the name of a network interface"),
        "{text}"
    );
    let text = error(small(Device::Pci("nonsense".to_owned())));
    assert!(
        text.contains("`nonsense` is neither a PCI address"),
        "{text}"
    );
    let ring = || Device::Vdev("net_ring0".to_owned());
    assert!(
        error(PortConfig {
            mtu: 9217,
            ..small(ring())
        })
        .contains("choose 576 to 9216")
    );
    assert!(
        error(PortConfig {
            workers: 0,
            queues: 0,
            ..small(ring())
        })
        .contains("0 were asked for")
    );
    let none = PortConfig {
        pool_size: 0,
        ..small(ring())
    };
    assert!(matches!(open(eal.handle(), &none), Err(OpenError::Pool(_))));
}

/// A veth pair: `near` in this network namespace without an address, its peer in one of its own, where
/// the kernel answers for 192.0.2.2. Taken down on drop.
struct Veth {
    near: String,
    namespace: String,
}

impl Veth {
    fn up() -> Self {
        let id = std::process::id();
        let veth = Self {
            near: format!("slp{id}"),
            namespace: format!("sluice-port-{id}"),
        };
        let Self { near, namespace } = &veth;
        let far = format!("slf{id}");
        ip(&format!("netns add {namespace}"));
        ip(&format!(
            "link add {near} type veth peer name {far} netns {namespace}"
        ));
        ip(&format!("link set {near} addrgenmode none"));
        ip(&format!("link set {near} arp off up"));
        ip(&format!("-n {namespace} addr add 192.0.2.2/24 dev {far}"));
        ip(&format!("-n {namespace} link set {far} up"));
        veth
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        // Each may be missing if `up` failed half way.
        for what in [
            ["link", "del", &self.near],
            ["netns", "del", &self.namespace],
        ] {
            let _ = Command::new("ip").args(what).output();
        }
    }
}

#[track_caller]
fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("ip runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "ip {arguments} (as root?): {complaint}"
    );
}

/// Asks the kernel on the other end for its MAC, and expects its answer (RFC 826).
fn arp_exchange(opened: &mut OpenedPort) {
    const ARP: TxMeta = TxMeta {
        l2_len: 14,
        l3_len: 0,
        l3: L3::None,
        tcp: false,
        segment: 0,
    };
    let mac = opened.ios[0].caps().mac;
    let ours = [192, 0, 2, 1];
    let theirs = [192, 0, 2, 2];
    let request = [
        &[0xff; 6][..],
        &mac,
        &[0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1],
        &mac,
        &ours,
        &[0; 6],
        &theirs,
    ]
    .concat();
    let is_answer = |frame: &[u8]| {
        frame.len() >= 42
            && frame[..6] == mac
            && frame[12..14] == [0x08, 0x06]
            && frame[20..22] == [0, 2]
            && frame[28..32] == theirs
    };
    let start = Instant::now();
    let mut burst = RxBurst::new();
    while start.elapsed() < Duration::from_secs(10) {
        let io = &mut opened.ios[0];
        let mut frame = io.alloc().unwrap();
        frame.fill(request.len()).copy_from_slice(&request);
        io.send(frame, ARP);
        io.flush();
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_millis(200) {
            for io in &mut opened.ios {
                io.rx_burst(&mut burst);
                if burst.drain(..).any(|frame| is_answer(frame.bytes())) {
                    return;
                }
            }
        }
    }
    panic!(
        "no answer in 10 s; {}, {:?}",
        opened.description,
        opened.ios[0].stats()
    );
}

#[test]
fn an_interface_exchanges_frames_with_the_kernel() {
    let veth = Veth::up();
    let eal = eal();
    let interface = Device::Interface(veth.near.clone());
    let mut opened = open(eal.handle(), &config(interface)).unwrap();
    let xdp = opened.description.contains("(net_af_xdp)");
    assert_eq!(
        xdp,
        opened.notice.is_none(),
        "{} {:?}",
        opened.description,
        opened.notice
    );
    assert!(opened.port.link().up);
    arp_exchange(&mut opened);
}

/// A veth has one queue, and AF_XDP takes no more than there are.
#[test]
fn an_interface_with_fewer_queues_than_workers_is_opened_with_those_it_has() {
    let veth = Veth::up();
    let eal = eal();
    let interface = Device::Interface(veth.near.clone());
    let three = PortConfig {
        workers: 3,
        queues: 3,
        ..config(interface)
    };
    let mut opened = open(eal.handle(), &three).unwrap();
    assert!(
        opened.description.contains(", 1 x 512/512 descriptors"),
        "{}",
        opened.description
    );
    assert_eq!(
        (opened.ios.len(), opened.queue_pairs, opened.pools.len()),
        (3, 1, 3)
    );
    arp_exchange(&mut opened);
    // The others have buffers, and nothing comes by them.
    let other = &mut opened.ios[1];
    assert_eq!(other.rx_burst(&mut RxBurst::new()), 0);
    assert!(other.alloc().is_some());
}

/// The kernel takes no XDP program where the other end may send more than a page.
#[test]
fn an_interface_that_af_xdp_cannot_have_is_opened_by_af_packet_with_a_notice() {
    let veth = Veth::up();
    let far = format!("slf{}", std::process::id());
    ip(&format!("-n {} link set {far} mtu 9000", veth.namespace));
    let eal = eal();
    let interface = Device::Interface(veth.near.clone());
    let two = PortConfig {
        workers: 2,
        queues: 2,
        ..config(interface)
    };
    let mut opened = open(eal.handle(), &two).unwrap();
    assert!(
        opened.description.contains("(net_af_packet)"),
        "{}",
        opened.description
    );
    let notice = opened.notice.take().unwrap();
    assert!(
        notice.contains("AF_PACKET") && notice.contains(&veth.near),
        "{notice}"
    );
    arp_exchange(&mut opened);
}

#[test]
fn jumbo_frames_are_for_interfaces_that_have_the_mtu() {
    let veth = Veth::up();
    let eal = eal();
    let interface = Device::Interface(veth.near.clone());
    let large = PortConfig {
        mtu: 9000,
        pool_size: 4095,
        ..config(interface)
    };
    let text = open(eal.handle(), &large).unwrap_err().to_string();
    let mend = format!("ip link set dev {} mtu 9000", veth.near);
    assert!(
        text.contains("has an MTU of 1500 bytes, 9000 was asked for") && text.contains(&mend),
        "{text}"
    );
    let far = format!("slf{}", std::process::id());
    ip(&format!("-n {} link set {far} mtu 9000", veth.namespace));
    ip(&format!("link set {} mtu 9000", veth.near));
    let mut opened = open(eal.handle(), &large).unwrap();
    assert!(
        opened.description.contains("(net_af_packet), ")
            && opened.description.contains(", MTU 9000, "),
        "{}",
        opened.description
    );
    arp_exchange(&mut opened);
    assert_eq!(opened.ios[0].caps().mtu, 9000);
}

#[test]
fn af_packet_opens_again_after_a_close() {
    let veth = Veth::up();
    let eal = eal();
    for _ in 0..2 {
        let device = Device::Vdev(format!("net_af_packet0,iface={}", veth.near));
        let small = PortConfig {
            pool_size: 2047,
            ..config(device)
        };
        let mut opened = open(eal.handle(), &small).unwrap();
        arp_exchange(&mut opened);
    }
}
