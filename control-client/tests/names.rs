//! Endpoints by name, looked up from a real dnsmasq whose answers change.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sluice_control_client::Update;
use sluice_control_client::file::FileSource;
use sluice_policy::{Lookup, Snapshot};

/// A name server on loopback with a hosts file of its own, gone when the test ends.
struct Dnsmasq {
    folder: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Dnsmasq {
    fn new(test: &str) -> Dnsmasq {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("names-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        Dnsmasq {
            folder,
            port: free.local_addr().unwrap().port(),
            process: None,
        }
    }

    /// Answers from these lines of a hosts file from now on.
    fn serve(&mut self, hosts: &str) {
        self.stop();
        fs::write(self.folder.join("hosts"), hosts).unwrap();
        let process = Command::new("dnsmasq")
            .args([
                "--keep-in-foreground",
                "--no-resolv",
                "--no-hosts",
                "--user=root",
            ])
            .args([
                "--bind-interfaces",
                "--listen-address=127.0.0.1",
                "--local-ttl=1",
            ])
            .args(["--local=/test/", "--conf-file=/dev/null", "--pid-file="])
            .arg("--srv-host=_http._tcp.cart.test,first.test,8081,1,10")
            .arg("--srv-host=_http._tcp.cart.test,second.test,8082,1,0")
            .arg("--srv-host=_http._tcp.cart.test,later.test,8083,2,0")
            .arg(format!("--port={}", self.port))
            .arg(format!(
                "--addn-hosts={}",
                self.folder.join("hosts").display()
            ))
            .stderr(Stdio::null())
            .spawn()
            .expect("dnsmasq is there: scripts/setup installs dnsmasq-base");
        self.process = Some(process);
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// A gateway that asks this server, with a service of these endpoints.
    fn rules(&self, endpoints: &str) -> PathBuf {
        let file = self.folder.join("gateway.yaml");
        let text = format!(
            "ports:
  front: {{ interface: eth1, addresses: [10.0.1.1/24, \"fd00:1::1/64\"] }}
dns: {{ servers: [\"127.0.0.1:{}\"], timeout: 1s }}
listeners:
  web: {{ address: 10.0.1.1:80 }}
services:
  cart: {{ endpoints: [{endpoints}] }}
routes:
  - {{ service: cart }}
",
            self.port
        );
        fs::write(&file, text).unwrap();
        file
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn endpoints(snapshot: &Snapshot) -> Vec<String> {
    let own = snapshot.services[0].endpoints.iter();
    own.map(|endpoint| endpoint.address.to_string()).collect()
}

/// Polls until the source has something new.
fn next(source: &mut FileSource) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        match source.poll() {
            Some(Update::Accepted(snapshot)) => return endpoints(&snapshot),
            Some(Update::Rejected(problems)) => panic!("{}", problems[0]),
            Some(Update::Waiting(_) | Update::Unchanged) | None => {
                std::thread::sleep(Duration::from_millis(50))
            }
        }
    }
    panic!("nothing changed: {:?}", source.names().names());
}

/// Waits until a look-up of the first name has failed, or has not.
fn error(source: &FileSource, failed: bool) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let error = source.names().names()[0].error.clone();
        if error.is_some() == failed {
            return error.unwrap_or_default();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{:?}", source.names().names());
}

#[test]
fn addresses_of_dnsmasq_are_followed_and_the_last_good_ones_kept() {
    let mut dnsmasq = Dnsmasq::new("hosts");
    dnsmasq.serve("10.0.1.7 cart.test\n10.0.1.5 cart.test\nfd00:1::5 cart.test\n");
    let file = dnsmasq.rules("Cart.test:8080, 10.0.1.5:8080, 10.0.1.9:80");
    let (mut source, snapshot) = FileSource::open(&file).unwrap();
    // What is there twice is there once.
    let first = [
        "10.0.1.5:8080",
        "10.0.1.7:8080",
        "[fd00:1::5]:8080",
        "10.0.1.9:80",
    ];
    let mut found = endpoints(&snapshot);
    found.sort();
    let mut expected = first.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(snapshot.generation, 1);

    // Other addresses, one of which no port leads to.
    dnsmasq.serve("10.0.1.6 cart.test\n192.168.7.7 cart.test\n");
    assert_eq!(
        next(&mut source),
        ["10.0.1.6:8080", "10.0.1.5:8080", "10.0.1.9:80"]
    );

    // No server, then one that knows no such name: what was known stays.
    dnsmasq.stop();
    assert!(!error(&source, true).is_empty());
    dnsmasq.serve("10.0.1.6 other.test\n");
    let deadline = Instant::now() + Duration::from_secs(60);
    while error(&source, true) != "cart.test has no address" {
        assert!(Instant::now() < deadline, "{}", error(&source, true));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(source.poll().is_none());
    let names = source.names().names();
    assert_eq!(names[0].addresses, ["10.0.1.6", "192.168.7.7"]);
    assert_eq!(source.names().count(), (0, 1));
    let totals = source.names().totals();
    assert!(totals.failed >= 2 && totals.answered >= 2, "{totals:?}");

    // And back. The file is what it was, and so is the history.
    dnsmasq.serve("10.0.1.8 cart.test\n");
    assert_eq!(
        next(&mut source),
        ["10.0.1.8:8080", "10.0.1.5:8080", "10.0.1.9:80"]
    );
    assert_eq!(error(&source, false), "");
    let history: Vec<u64> = source.history().map(|own| own.generation).collect();
    assert_eq!(history, [1]);
    assert!(source.roll_back(None).is_err());
}

#[test]
fn srv_targets_of_dnsmasq_of_the_lowest_priority_are_taken() {
    let mut dnsmasq = Dnsmasq::new("srv");
    dnsmasq.serve("10.0.1.5 first.test\n10.0.1.6 second.test\n10.0.1.7 later.test\n");
    let file = dnsmasq.rules("{ srv: _http._tcp.cart.test }");
    let (mut source, snapshot) = FileSource::open(&file).unwrap();
    assert_eq!(endpoints(&snapshot), ["10.0.1.5:8081", "10.0.1.6:8082"]);
    dnsmasq.serve("10.0.1.5 first.test\n10.0.1.9 second.test\n");
    assert_eq!(next(&mut source), ["10.0.1.5:8081", "10.0.1.9:8082"]);
}

#[test]
fn rules_whose_names_nobody_knows_are_taken_up_without_them() {
    // Nobody listens there.
    let dnsmasq = Dnsmasq::new("nobody");
    let file = dnsmasq.rules("cart.test:8080, { srv: _x._tcp.cart.test }");
    let (source, snapshot) = FileSource::open(&file).unwrap();
    assert_eq!(endpoints(&snapshot), [""; 0]);
    let names = source.names().names();
    assert_eq!(
        (&*names[0].name, &*names[1].name),
        ("cart.test", "srv _x._tcp.cart.test")
    );
}

#[test]
fn a_name_of_dnsmasq_that_only_waiting_rules_have_makes_no_generation_of_those_in_force() {
    let mut dnsmasq = Dnsmasq::new("others");
    dnsmasq.serve("10.0.1.7 cart.test\n10.0.1.9 other.test\n");
    let file = dnsmasq.rules("cart.test:8080");
    let (mut source, _) = FileSource::open(&file).unwrap();
    let before = fs::read_to_string(&file).unwrap();
    dnsmasq.rules("cart.test:8080, other.test:80");
    assert!(matches!(source.reload(), Some(Update::Waiting(_))));
    let deadline = Instant::now() + Duration::from_secs(60);
    let found = |source: &FileSource| {
        let names = source.names().names();
        names.iter().all(|name| !name.addresses.is_empty()) && names.len() == 2
    };
    while !found(&source) {
        assert!(Instant::now() < deadline, "{:?}", source.names().names());
        std::thread::sleep(Duration::from_millis(20));
    }
    fs::write(&file, before).unwrap();
    assert!(matches!(source.reload(), Some(Update::Unchanged)));
    for _ in 0..3 {
        assert!(source.poll().is_none());
    }
    assert_eq!(source.generation(), 1);
}

#[test]
fn rules_with_new_names_wait_for_them_while_those_before_are_followed_on() {
    let mut dnsmasq = Dnsmasq::new("waiting");
    dnsmasq.serve("10.0.1.7 cart.test\n");
    let file = dnsmasq.rules("cart.test:8080");
    let (mut source, snapshot) = FileSource::open(&file).unwrap();
    assert_eq!(endpoints(&snapshot), ["10.0.1.7:8080"]);
    // Somebody listens, and does not answer.
    dnsmasq.stop();
    let silent = UdpSocket::bind(("127.0.0.1", dnsmasq.port)).unwrap();
    dnsmasq.rules("cart.test:8080, other.test:80");
    let Some(Update::Waiting(names)) = source.reload() else {
        panic!("it does not wait");
    };
    assert_eq!(names, [Lookup::Host("other.test".into())]);
    assert!(source.is_waiting());
    // What cannot be used does not take the place of what waits.
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replace("service: cart", "service: cat")).unwrap();
    assert!(matches!(source.reload(), Some(Update::Rejected(_))));
    assert!(source.is_waiting());
    assert_eq!(source.history().count(), 1, "they are not in force");
    // In the end they are taken up without.
    assert_eq!(next(&mut source), ["10.0.1.7:8080"]);
    assert!(!source.is_waiting());
    let history: Vec<u64> = source.history().map(|own| own.generation).collect();
    assert_eq!(history, [1, 2]);
    drop(silent);
    dnsmasq.serve("10.0.1.7 cart.test\n10.0.1.9 other.test\n");
    assert_eq!(next(&mut source), ["10.0.1.7:8080", "10.0.1.9:80"]);

    // Rules that take their place are those that count.
    dnsmasq.stop();
    let silent = UdpSocket::bind(("127.0.0.1", dnsmasq.port)).unwrap();
    dnsmasq.rules("third.test:80");
    assert!(matches!(source.reload(), Some(Update::Waiting(_))));
    dnsmasq.rules("10.0.1.2:80");
    let Some(Update::Accepted(snapshot)) = source.reload() else {
        panic!("nothing is to be looked up");
    };
    assert_eq!(endpoints(&snapshot), ["10.0.1.2:80"]);
    assert!(!source.is_waiting());

    // And so do those in force, by which those that wait are taken back.
    let in_force = fs::read_to_string(&file).unwrap();
    dnsmasq.rules("fourth.test:80");
    assert!(matches!(source.reload(), Some(Update::Waiting(_))));
    fs::write(&file, in_force).unwrap();
    let begun = source.begun();
    assert!(matches!(source.reload(), Some(Update::Unchanged)));
    assert!(!source.is_waiting() && source.begun() > begun);
    drop(silent);
}
