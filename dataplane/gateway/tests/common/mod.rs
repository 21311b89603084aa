//! The built binary as a process, and its admin interface.

#![allow(dead_code, reason = "not every test file uses all of it")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longest a step may take: EAL clears its hugepages first, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// The built `sluice`.
pub(crate) fn sluice(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(arguments)
        .output()
        .unwrap()
}

/// Status and both outputs, for a failure's message.
pub(crate) fn printed(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

/// Rules on devices without a NIC: what `net_ring` sends comes back to it.
pub(crate) const RULES: &str = "
node: { drain_timeout: 1s }
workers: { memory: 64MiB, idle: adaptive }
admin: { address: ADMIN }
ports:
  front: { device: net_ring0, addresses: [10.99.1.1/24] }
listeners:
  web: { address: 10.99.1.1:80 }
services:
  hello: { endpoints: [10.99.1.2:8080] }
routes:
  - { service: hello }
";

/// A file of its own for a test, and the admin address in it.
pub(crate) struct Config {
    pub(crate) path: PathBuf,
    pub(crate) admin: SocketAddr,
}

impl Config {
    /// `ADMIN` in the rules becomes an address that is free.
    pub(crate) fn new(rules: &str) -> Config {
        let admin = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let config = Config {
            path: directory.join(format!("{}-{}.yaml", std::process::id(), admin.port())),
            admin,
        };
        config.write(rules);
        config
    }

    pub(crate) fn write(&self, rules: &str) {
        fs::write(&self.path, rules.replace("ADMIN", &self.admin.to_string())).unwrap();
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// `sluice run` to its end, for rules that do not run.
    pub(crate) fn run_to_end(&self) -> Output {
        sluice(&["run", "--config", self.path()])
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A running gateway; killed when dropped.
pub(crate) struct Gateway {
    process: Child,
    admin: SocketAddr,
    log: PathBuf,
}

impl Gateway {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(config: &Config) -> Gateway {
        let log = config.path.with_extension("log");
        let process = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(["run", "--config", config.path()])
            .stdin(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut gateway = Gateway {
            process,
            admin: config.admin,
            log,
        };
        until("the gateway is ready", || {
            let ended = gateway.process.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "the gateway ended early:\n{}",
                gateway.log()
            );
            gateway.get("/ready").is_ok_and(|reply| reply.status == 200)
        });
        gateway
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn get(&self, path: &str) -> io::Result<Reply> {
        self.ask("GET", path)
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> io::Result<Reply> {
        let mut connection = TcpStream::connect_timeout(&self.admin, PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        write!(connection, "{method} {path} HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        connection.read_to_string(&mut text)?;
        let (head, body) = text
            .split_once("\r\n\r\n")
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok(Reply {
            status: status.ok_or(io::ErrorKind::InvalidData)?,
            head: head.to_lowercase(),
            body: body.to_owned(),
        })
    }

    /// The value of one metric, named with its labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").unwrap().body;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .parse()
            .unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the gateway ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Both fail where it ended already, which is as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- the gateway printed ---\n{}---", self.log());
        }
        let _ = fs::remove_file(&self.log);
    }
}

/// An answer of the admin interface; the head in lower case.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Waits for something to come true, and fails where it takes too long.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(10));
    }
}
