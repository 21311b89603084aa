//! The gateway as packaging/sluice.service runs it: not as root, with these capabilities and no others.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use sluice_tests::lab::Lab;

use crate::CONFIG;

/// The value of a setting of the unit.
fn setting(name: &str) -> String {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/sluice.service");
    let unit = fs::read_to_string(unit).expect("the unit can be read");
    let found = unit
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    found
        .unwrap_or_else(|| panic!("the unit has no {name}="))
        .to_owned()
}

/// Options of setpriv(1): nobody, with these capabilities and no way to others.
fn with_capabilities(capabilities: &str) -> Vec<String> {
    let names = capabilities.split_whitespace();
    let list: String = names
        .map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_ascii_lowercase()))
        .collect();
    let mut options: Vec<String> = ["--reuid=65534", "--regid=65534", "--clear-groups"]
        .map(str::to_owned)
        .into();
    for set in ["bounding-set", "inh-caps", "ambient-caps"] {
        options.push(format!("--{set}=-all{list}"));
    }
    options.push("--no-new-privs".to_owned());
    options
}

fn curl_is_served_with(capabilities: &str) -> String {
    let lab = Lab::up();
    let options = with_capabilities(capabilities);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let gateway = lab.gateway_behind(CONFIG, &options);
    for path in ["/", "/64k"] {
        let reply = lab.curl(&[&format!("http://nginx.test{path}")]);
        assert_eq!(reply.status, 200, "{}", reply.head);
        assert!(reply.body == lab.direct(path), "{path}: another body");
    }
    let log = gateway.log();
    assert!(gateway.stop().success());
    log
}

#[test]
fn the_capabilities_of_the_unit_are_enough_for_af_xdp() {
    let capabilities = setting("AmbientCapabilities");
    assert_eq!(setting("CapabilityBoundingSet"), capabilities);
    let log = curl_is_served_with(&capabilities);
    assert!(!log.contains("AF_PACKET"), "{log}");
}

#[test]
fn those_that_af_packet_needs_are_enough_for_it() {
    let log = curl_is_served_with("CAP_NET_ADMIN CAP_NET_RAW");
    assert!(log.contains("used through AF_PACKET"), "{log}");
}

#[test]
fn systemd_is_told_that_it_runs_and_that_it_stops() {
    let lab = Lab::up();
    let path = lab.directory().join("notify");
    let socket = UnixDatagram::bind(&path).expect("no socket");
    let patience = Some(Duration::from_secs(20));
    socket.set_read_timeout(patience).expect("no timeout");
    let said = || {
        let mut message = [0; 200];
        let length = socket.recv(&mut message).expect("nothing was said");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let variable = format!("NOTIFY_SOCKET={}", path.display());
    let gateway = lab.gateway_behind(CONFIG, &["env", &variable]);
    assert_eq!(said(), "READY=1");
    assert!(gateway.stop().success());
    // The drain timeout of the rules, and what the worker may take after it.
    assert_eq!(said(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=8000000");
}
