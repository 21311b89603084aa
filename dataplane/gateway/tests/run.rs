//! The real gateway on real DPDK without a NIC. Needs root and hugepages (`scripts/setup`).

mod common;

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Config, Gateway, RULES, printed, sluice, until};
use rustix::process::Signal;

#[test]
fn it_serves_its_admin_pages_and_ends_on_sigterm() {
    let config = Config::new(RULES);
    let mut gateway = Gateway::start(&config);
    // The announcement of the port's address comes back through the ring.
    until("the announcement was received", || {
        gateway.metric("sluice_frames_total{worker=\"0\",port=\"front\",direction=\"rx\"}") > 0
    });
    let metrics = gateway.get("/metrics").unwrap();
    assert!(
        metrics.head.contains("text/plain; version=0.0.4"),
        "{}",
        metrics.head
    );
    let rules = gateway.get("/config").unwrap().body;
    assert!(
        rules.contains("\"generation\": 1") && rules.contains("10.99.1.1:80"),
        "{rules}"
    );
    let services = gateway.get("/services").unwrap().body;
    assert!(
        services.contains("\"hello\"") && services.contains("10.99.1.2:8080"),
        "{services}"
    );
    let missing = gateway.get("/metric").unwrap();
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("/metrics"), "{}", missing.body);
    assert_eq!(gateway.get("/drain").unwrap().status, 405);

    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
    let log = gateway.log();
    for line in [
        "port front: ",
        "listener web: ",
        "admin: http://",
        "ready",
        "SIGTERM",
        "stopped",
    ] {
        assert!(
            log.contains(&format!("sluice: {line}")),
            "no {line} in\n{log}"
        );
    }
}

#[test]
fn a_post_to_drain_ends_it_as_sigterm_does() {
    let config = Config::new(RULES);
    let mut gateway = Gateway::start(&config);
    assert_eq!(gateway.ask("POST", "/drain").unwrap().status, 202);
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
}

#[test]
fn a_crash_leaves_nothing_in_the_way_of_the_next_start() {
    let config = Config::new(RULES);
    for _ in 0..2 {
        let mut gateway = Gateway::start(&config);
        gateway.signal(Signal::KILL);
        gateway.wait();
    }
    let mut gateway = Gateway::start(&config);
    gateway.signal(Signal::INT);
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
}

#[test]
fn new_rules_are_adopted_whole_or_not_at_all() {
    let config = Config::new(RULES);
    let gateway = Gateway::start(&config);

    config.write(&RULES.replace("10.99.1.2:8080", "10.99.1.3:8080"));
    gateway.signal(Signal::HUP);
    until("the worker has the new rules", || {
        gateway.metric("sluice_worker_rules_generation{worker=\"0\"}") == 2
    });
    assert!(
        gateway
            .get("/services")
            .unwrap()
            .body
            .contains("10.99.1.3:8080")
    );
    assert!(
        gateway
            .get("/config")
            .unwrap()
            .body
            .contains("10.99.1.3:8080")
    );
    assert!(
        gateway.log().contains("rules: generation 2 adopted"),
        "{}",
        gateway.log()
    );

    config.write(&RULES.replace("service: hello }", "service: helo }"));
    gateway.signal(Signal::HUP);
    until("the typing error is refused", || {
        gateway.metric("sluice_rules_rejected_total") == 1
    });
    assert!(
        gateway.log().contains("did you mean \"hello\"?"),
        "{}",
        gateway.log()
    );
    assert_eq!(gateway.metric("sluice_rules_generation"), 2);
    gateway.signal(Signal::HUP);
    let still = "SIGHUP: the file is still refused, for one problem; generation 2 stays in force";
    until("it is said to be refused still", || {
        gateway.log().contains(still)
    });
    assert_eq!(gateway.log().matches("did you mean \"hello\"?").count(), 2);
    assert_eq!(gateway.metric("sluice_rules_rejected_total"), 1);

    // Without a signal: the file is looked at every second.
    config.write(&RULES.replace("10.99.1.1/24", "10.99.1.1/16"));
    until("the change of a port is refused", || {
        gateway.metric("sluice_rules_rejected_total") == 2
    });
    assert!(
        gateway.log().contains("restart the gateway"),
        "{}",
        gateway.log()
    );
    assert!(
        gateway
            .get("/config")
            .unwrap()
            .body
            .contains("10.99.1.1/24")
    );
    assert_eq!(gateway.get("/ready").unwrap().status, 200);
}

#[test]
fn a_pipe_in_the_place_of_the_rules_holds_up_nothing() {
    let config = Config::new(RULES);
    let mut gateway = Gateway::start(&config);
    // Nobody ever writes into it.
    let pipe = config.path.with_extension("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    fs::rename(&pipe, &config.path).unwrap();
    until("the pipe is refused", || {
        gateway.metric("sluice_rules_rejected_total") == 1
    });
    let log = gateway.log();
    assert!(log.contains("it is a pipe, no regular file"), "{log}");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
}

#[test]
fn only_the_worker_runs_on_its_core() {
    let config = Config::new(RULES);
    let gateway = Gateway::start(&config);
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", gateway.id())).unwrap() {
        let task = task.unwrap().path();
        let name = fs::read_to_string(task.join("comm")).unwrap();
        let status = fs::read_to_string(task.join("status")).unwrap();
        let cores = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        threads.push((name.trim().to_owned(), cores.unwrap().trim().to_owned()));
    }
    let (_, worker) = threads
        .iter()
        .find(|(name, _)| name == "worker-0")
        .unwrap()
        .clone();
    worker
        .parse::<usize>()
        .expect("the worker is bound to one core");
    let single = threads.iter().all(|(_, cores)| *cores == worker);
    let apart = threads.iter().filter(|(_, cores)| *cores == worker).count() == 1;
    assert!(apart || single, "{threads:?}");
}

#[test]
fn an_adaptive_worker_naps_while_nothing_happens() {
    let config = Config::new(RULES);
    let gateway = Gateway::start(&config);
    let idle_polls = || gateway.metric("sluice_polls_total{worker=\"0\",kind=\"idle\"}");
    // A nap is 1 ms, once the announcement is 1 s past. Polling would be thousands of times that.
    until("it naps", || {
        let (begun, before) = (Instant::now(), idle_polls());
        std::thread::sleep(Duration::from_millis(50));
        let polls = idle_polls() - before;
        u128::from(polls) <= begun.elapsed().as_millis() + 40
    });
}

#[test]
fn an_unknown_device_is_one_readable_error() {
    let config = Config::new(&RULES.replace("net_ring0", "net_nosuchdriver0"));
    let output = config.run_to_end();
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("ports.front: ") && said.contains("net_nosuchdriver0"),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn an_admin_address_in_use_is_one_readable_error() {
    let config = Config::new(RULES);
    let _other = TcpListener::bind(config.admin).unwrap();
    let output = config.run_to_end();
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&config.admin.to_string()) && said.contains("ss -ltnp"),
        "{said}"
    );
}

#[test]
fn an_interface_without_root_is_one_readable_error() {
    let config = Config::new(&RULES.replace("device: net_ring0", "interface: lo"));
    // Root without capabilities: it can still read everything of its own.
    let output = Command::new("setpriv")
        .args(["--inh-caps=-all", "--bounding-set=-all"])
        .arg(env!("CARGO_BIN_EXE_sluice"))
        .args(["run", "--config", config.path()])
        .output()
        .unwrap();
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("ports.front: ") && said.contains("CAP_NET_ADMIN"),
        "{said}"
    );
    assert_eq!(said.matches("error").count(), 1, "{said}");
}

#[test]
fn a_core_that_is_not_there_is_one_readable_error() {
    let config = Config::new(&RULES.replace("workers: {", "workers: { cores: [1023],"));
    let output = config.run_to_end();
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("workers: core 1023") && said.contains("Choose one of these"),
        "{said}"
    );
}

#[test]
fn a_numa_node_that_is_not_there_is_one_readable_error() {
    let config = Config::new(&RULES.replace("workers: {", "workers: { numa: 1023,"));
    let output = config.run_to_end();
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("workers: ")
            && said.contains("no NUMA node 1023; those of this machine are: 0"),
        "{said}"
    );
}

#[test]
fn too_few_hugepages_are_said_with_the_command_that_reserves_them() {
    let config = Config::new(&RULES.replace("64MiB", "64GiB"));
    let output = config.run_to_end();
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("hugepages") && said.contains("echo "),
        "{said}"
    );
}

#[test]
fn rules_are_rolled_back_on_request() {
    let config = Config::new(RULES);
    let gateway = Gateway::start(&config);
    let admin = config.admin.to_string();
    let rollback =
        |arguments: &[&str]| sluice(&[&["rollback", "--admin", &admin], arguments].concat());
    let output = rollback(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    assert!(printed(&output).contains("there are no rules before these"));

    config.write(&RULES.replace("10.99.1.2:8080", "10.99.1.3:8080"));
    gateway.signal(Signal::HUP);
    let generation = || gateway.metric("sluice_worker_rules_generation{worker=\"0\"}");
    until("the worker has the new rules", || generation() == 2);
    let output = rollback(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        said,
        "rolled back to the rules of generation 1, as generation 3\n"
    );
    until("the worker has the old rules", || generation() == 3);
    let rules = gateway.get("/config").unwrap().body;
    assert!(rules.contains("10.99.1.2:8080"), "{rules}");

    let output = rollback(&["--list"]);
    let said = String::from_utf8(output.stdout).unwrap();
    let said: String = said.split_whitespace().collect();
    assert_eq!(
        said,
        "{\"accepted_as\":3,\"in_force\":3,\"kept\":[1,2,3],\"rolled_back_to\":{\"3\":1}}"
    );
    let output = rollback(&["--to", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    until("the worker has the second rules", || generation() == 4);
    // Nothing changes where the rules are those in force already, and that is said.
    config.write(&format!("# Said again.\n{RULES}"));
    gateway.signal(Signal::HUP);
    until("the worker has the first rules again", || generation() == 5);
    let output = rollback(&["--to", "1"]);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    let said =
        "nothing changed: generation 5, which is in force, has the same rules as generation 1";
    assert!(printed(&output).contains(said), "{}", printed(&output));
    config.write(&format!("# And again.\n{RULES}"));
    gateway.signal(Signal::HUP);
    until("it is said that the file says nothing new", || {
        gateway.log().contains("generation 5 stays in force")
    });
    assert_eq!(gateway.metric("sluice_rules_generation"), 5);
    assert_eq!(gateway.ask("POST", "/rollback?to=x").unwrap().status, 400);
    assert_eq!(gateway.ask("POST", "/rollback?to=99").unwrap().status, 409);
}
