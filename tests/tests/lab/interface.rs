//! A port that is an interface of the kernel: whose it is, and what the kernel tells about it.

use sluice_tests::gateway::run_to_end;
use sluice_tests::lab::{Lab, printed};

use crate::CONFIG;

#[test]
fn a_second_gateway_on_an_interface_is_refused_and_the_first_serves_on() {
    let lab = Lab::up();
    let gateway = lab.gateway(CONFIG);
    assert_eq!(lab.curl(&["http://nginx.test/"]).status, 200);

    let other_admin = format!("admin: {{ address: 127.0.0.1:9902 }}\n{CONFIG}");
    let output = run_to_end(&lab, &other_admin);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("is in use by another sluice, process "),
        "{text}"
    );

    // A new connection needs frames from both interfaces.
    assert_eq!(lab.curl(&["http://nginx.test/"]).status, 200);
    assert!(gateway.stop().success());
    let gateway = lab.gateway(CONFIG);
    assert_eq!(lab.curl(&["http://nginx.test/"]).status, 200);
    assert!(gateway.stop().success());
}

#[test]
fn a_link_that_goes_down_shows() {
    let lab = Lab::up();
    let gateway = lab.gateway(CONFIG);
    let is_up = |port: &str| gateway.metrics()[&format!("sluice_link_up{{port=\"{port}\"}}")];
    assert_eq!((is_up("front"), is_up("back")), (1.0, 1.0));
    let log = gateway.log();
    assert!(!log.contains("the link is"), "{log}");

    lab.client(&["ip", "link", "set", "front", "down"]);
    crate::operation::until(&(0.0, 1.0), || (is_up("front"), is_up("back")));
    crate::operation::until(&true, || {
        gateway.log().contains("port front: the link is down")
    });
    lab.client(&["ip", "link", "set", "front", "up"]);
    crate::operation::until(&1.0, || is_up("front"));
    crate::operation::until(&true, || {
        gateway.log().contains("port front: the link is up")
    });
}

#[test]
fn a_start_says_nothing_that_is_not_sluices_own() {
    let lab = Lab::up();
    let gateway = lab.gateway(CONFIG);
    let log = gateway.log();
    let foreign: Vec<&str> = log
        .lines()
        .filter(|line| !line.starts_with("sluice: "))
        .collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
    assert!(log.contains("idle: poll"), "{log}");
    // Where AF_XDP is to be had, both rings take what the kernel may fill.
    if log.contains("net_af_xdp") {
        assert!(log.contains("1 x 2048/2048 descriptors"), "{log}");
    }
}

#[test]
fn queues_that_no_worker_reads_lose_no_request_unseen() {
    let lab = Lab::up();
    let set_queues = |count: &str| {
        let command = ["ethtool", "-L", "sluice-front", "rx", count];
        let set = lab.at_gateway(&command);
        assert!(set.status.success(), "{}", printed(&set));
    };
    let other_end = lab.client(&["ethtool", "-L", "front", "tx", "2"]);
    assert!(other_end.status.success(), "{}", printed(&other_end));
    set_queues("2");
    let gateway = lab.gateway(CONFIG);
    let log = gateway.log();
    assert!(
        log.contains("interface `sluice-front` is used through AF_PACKET")
            && log.contains("ethtool -L sluice-front combined 1"),
        "{log}"
    );
    // Each by a connection of its own, and so by either queue.
    for _ in 0..10 {
        assert_eq!(lab.curl(&["http://nginx.test/"]).status, 200);
    }
    assert!(gateway.stop().success());

    set_queues("1");
    let gateway = lab.gateway(CONFIG);
    let unread = || gateway.metrics()["sluice_unread_queues{port=\"front\"}"];
    assert_eq!(unread(), 0.0);
    if gateway.log().contains("AF_PACKET") {
        return;
    }
    set_queues("2");
    crate::operation::until(&1.0, unread);
    crate::operation::until(&true, || {
        gateway
            .log()
            .contains("port front: the interface was given more receive queues")
    });
    set_queues("1");
    crate::operation::until(&0.0, unread);
    assert_eq!(lab.curl(&["http://nginx.test/"]).status, 200);
}
