//! Ports: what they report, and the errors of opening them.

mod common;

use arrayvec::ArrayVec;
use common::{CONFIG, eal, open, pool};
use dpdk::{Eal, EalConfig, Offloads, Port, PortConfig, PortError};

fn message(result: Result<impl Sized, PortError>) -> String {
    match result {
        Ok(_) => panic!("the port opened"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_port_reports_itself() {
    let eal = eal();
    let pool = pool(&eal, 1023);
    let opened = open("net_ring0", std::slice::from_ref(&pool)).unwrap();
    let info = opened.port.info();
    assert_eq!(
        (info.device.as_str(), info.driver.as_str()),
        ("net_ring0", "net_ring")
    );
    assert_eq!(info.mtu, 1500);
    let none = Offloads {
        tx_multi_segment: true,
        ..Offloads::default()
    };
    assert!(
        info.offloads == none || info.offloads == Offloads::default(),
        "{:?}",
        info.offloads
    );
    assert!(!info.rss);
    assert!(opened.port.link().up);
}

#[test]
fn a_device_with_fewer_queues_than_pools_is_refused_or_taken_with_those_it_has() {
    let eal = eal();
    let pools = vec![pool(&eal, 1023); 17];
    let fewer = PortConfig {
        fewer_queues: true,
        ..CONFIG
    };
    let device = "net_ring0".parse().unwrap();
    let opened = Port::open(&device, &fewer, &pools).unwrap();
    assert_eq!(opened.queues.len(), 16);
}

/// net_null spreads nothing, but answers like a device that does. It keeps its own key, Microsoft's.
#[test]
fn a_device_that_spreads_flows_tells_its_key_and_table() {
    let eal = eal();
    let pools = [pool(&eal, 1023), pool(&eal, 1023)];
    let info = open("net_null0", &pools).unwrap().port.info().clone();
    let rss = info.rss_by.unwrap_or_else(|| panic!("rss: {}", info.rss));
    assert_eq!(
        (rss.key.len(), &rss.key[..4]),
        (40, &[0x6d, 0x5a, 0x56, 0xda][..])
    );
    assert_eq!(rss.table.len(), 128);
    let one = open("net_null0", &pools[..1]).unwrap();
    assert_eq!(one.port.info().rss_by, None, "nothing to spread over");
}

#[test]
fn a_closed_port_opens_again() {
    let eal = eal();
    let pool = pool(&eal, 1023);
    for _ in 0..3 {
        let opened = open("net_ring0", std::slice::from_ref(&pool)).unwrap();
        let busy = message(open("net_ring0", std::slice::from_ref(&pool)));
        assert!(busy.contains("`net_ring0` is open already"), "{busy}");
        let (port, queues) = (opened.port, opened.queues);
        drop(port);
        assert!(
            open("net_ring0", std::slice::from_ref(&pool)).is_err(),
            "its queues hold it open"
        );
        drop(queues);
    }
    assert_eq!(pool.available(), pool.capacity());
}

#[test]
fn a_port_that_failed_to_open_leaves_nothing_behind() {
    let eal = eal();
    let pool = pool(&eal, 1023);
    let pools = vec![pool; 17];
    let error = message(open("net_ring0", &pools));
    assert!(
        error.contains("has 16 queue pairs, 17 were asked for"),
        "{error}"
    );
    open("net_ring0", &pools[..1]).unwrap();
}

/// A device that EAL itself plugged in at its start, as it does with PCI devices, is opened, and not
/// taken away from under its queues by a second attempt.
#[test]
fn a_device_plugged_in_by_eal_is_opened_once() {
    let extra_args = vec!["--vdev=net_null7".to_owned()];
    let eal = Eal::start(&EalConfig {
        memory_mib: 32,
        extra_args,
        ..EalConfig::default()
    })
    .unwrap();
    let pool = pool(&eal, 1023);
    let mut opened = open("net_null7", std::slice::from_ref(&pool)).unwrap();
    let busy = message(open("net_null7", std::slice::from_ref(&pool)));
    assert!(busy.contains("`net_null7` is open already"), "{busy}");
    let mut frames: ArrayVec<_, 4> = ArrayVec::new();
    assert_eq!(opened.queues[0].0.receive(&mut frames, 4), 4);
}

#[test]
fn unknown_drivers_and_devices_are_named() {
    let eal = eal();
    let pools = [pool(&eal, 1023)];
    let error = message(open("net_nonsense0", &pools));
    assert!(
        error.contains("no DPDK driver takes `net_nonsense0`"),
        "{error}"
    );
    assert!(error.contains("apt-get install"), "{error}");
    let error = message(open("eth0", &pools));
    assert!(error.contains("`eth0` is neither a PCI address"), "{error}");
    let error = message(open("ffff:ff:1f.7", &pools));
    assert!(
        error.contains("there is no PCI device ffff:ff:1f.7"),
        "{error}"
    );
    let error = message(open("net_af_packet0,iface=sluice-none", &pools));
    assert!(
        error.contains("there is no network interface `sluice-none`"),
        "{error}"
    );
}

#[test]
fn bad_arguments_of_a_driver_come_with_what_dpdk_said() {
    let eal = eal();
    let error = message(open("net_memif0,role=nonsense", &[pool(&eal, 1023)]));
    assert!(
        error.contains("`net_memif0,role=nonsense`: probing failed"),
        "{error}"
    );
    assert!(
        error.contains("\nDPDK said: ") && error.contains("Unknown role"),
        "{error}"
    );
}

#[test]
fn an_mtu_that_does_not_fit_is_refused_with_the_range() {
    let eal = eal();
    let pools = [pool(&eal, 1023)];
    let config = PortConfig {
        mtu: 9000,
        ..CONFIG
    };
    let error = message(Port::open(&"net_ring0".parse().unwrap(), &config, &pools));
    assert!(
        error.contains("to 2026 bytes, 9000 was asked for"),
        "{error}"
    );
}

#[test]
fn a_pool_that_cannot_fill_the_queues_is_refused() {
    let eal = eal();
    let error = message(open("net_ring0", &[pool(&eal, 512)]));
    assert!(
        error.contains("a pool of 512 frames is too small for 512 descriptors"),
        "{error}"
    );
    let error = message(open("net_ring0", &[]));
    assert!(error.contains("ask for 1"), "{error}");
}
