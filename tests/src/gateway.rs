//! The real `sluice` binary, running inside a lab.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::http::Reply;
use crate::lab::Lab;

/// Where the admin interface is where a configuration says nothing.
const ADMIN: &str = "127.0.0.1:9901";

/// Longest from start to ready: EAL reserves and clears hugepages first.
const START_WITHIN: Duration = Duration::from_secs(20);

/// Longest from SIGTERM to the end, for a gateway whose drain timeout is a few seconds, and from when a
/// worker hangs.
const STOP_WITHIN: Duration = Duration::from_secs(25);

/// A running gateway. Dropping it kills it; in a test that failed, its output is shown.
#[derive(Debug)]
pub struct Gateway<'lab> {
    lab: &'lab Lab,
    process: Child,
    log: PathBuf,
    /// Its admin address.
    admin: &'static str,
}

impl<'lab> Gateway<'lab> {
    /// `launcher` are options of setpriv(1), who the gateway is and what it may, or a command in front of it.
    pub(crate) fn start(lab: &'lab Lab, config: &str, launcher: &[&str]) -> Gateway<'lab> {
        Gateway::start_as(lab, ("gateway", ADMIN), config, launcher)
    }

    /// A gateway beside the first, with an admin address of its own in its configuration.
    pub(crate) fn start_second(lab: &'lab Lab, config: &str, admin: &'static str) -> Gateway<'lab> {
        Gateway::start_as(lab, ("second", admin), config, &[])
    }

    fn start_as(
        lab: &'lab Lab,
        (name, admin): (&str, &'static str),
        config: &str,
        launcher: &[&str],
    ) -> Gateway<'lab> {
        let config = write_config(lab, name, config);
        let log = lab.directory().join(format!("{name}.log"));
        let log_file = File::create(&log).expect("cannot make the gateway's log");
        let process = Command::new("ip")
            .args(["netns", "exec", &lab.namespace("gateway")])
            // Each of these becomes the next, so the process is the gateway; it dies with the test.
            .args(["setpriv", "--pdeathsig", "KILL"])
            .args(launcher)
            .arg(binary_for_all(lab))
            .args(["run", "--config", &config])
            .stdin(Stdio::null())
            .stdout(
                log_file
                    .try_clone()
                    .expect("cannot share the gateway's log"),
            )
            .stderr(log_file)
            .spawn()
            .expect("ip netns exec did not start; run scripts/setup");
        let mut gateway = Gateway {
            lab,
            process,
            log,
            admin,
        };
        gateway.wait_until_ready();
        gateway
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + START_WITHIN;
        while !self.admin("/ready").is_ok_and(|reply| reply.status == 200) {
            if let Some(status) = self
                .process
                .try_wait()
                .expect("the gateway is not our child")
            {
                panic!("the gateway ended before it was ready: {status}");
            }
            assert!(
                Instant::now() < deadline,
                "the gateway is not ready after {START_WITHIN:?}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs another command of the same binary where the gateway is, to its end. A `launcher` comes in
    /// front of it, such as timeout(1) with its options.
    pub fn sluice(&self, launcher: &[&str], arguments: &[&str]) -> Output {
        sluice_at_gateway(self.lab, launcher, arguments)
    }

    /// Asks the admin interface for a path.
    pub fn admin(&self, path: &str) -> io::Result<Reply> {
        self.ask_admin("GET", path)
    }

    /// Asks the admin interface with a method other than GET.
    pub fn ask_admin(&self, method: &str, path: &str) -> io::Result<Reply> {
        let mut connection = self.lab.connect_in("gateway", self.admin)?;
        connection.send(format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"
        ))?;
        connection.read_reply()
    }

    /// All metrics: the value of each `name` or `name{label="value"}`, as `/metrics` writes it.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let reply = self
            .admin("/metrics")
            .expect("the admin interface does not answer");
        assert_eq!(reply.status, 200, "{}", reply.text());
        parse_metrics(&reply.text())
    }

    /// The gateway's resident memory in bytes, hugepages aside.
    pub fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(path).expect("the gateway has ended");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("the kernel says VmRSS in kB") * 1024
    }

    /// Keeps one of its threads from running until the hold is dropped, as a hang would.
    pub fn hold(&self, thread: &str) -> Hold {
        let tasks = format!("/proc/{}/task", self.process.id());
        let tasks = fs::read_dir(tasks).expect("the gateway has ended");
        let is_named = |task: &Path| {
            let name = fs::read_to_string(task.join("comm"));
            name.is_ok_and(|name| name.trim() == thread)
        };
        let mut tasks = tasks.flatten().map(|task| task.path());
        let task = tasks.find(|task| is_named(task));
        let task = task.expect("there is no such thread");
        let mut process = Command::new("python3")
            .args(["-c", HOLD])
            .arg(task.file_name().expect("a task has a number"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 did not start; run scripts/setup");
        let mut said = String::new();
        let held = process.stdout.take().map(BufReader::new);
        let held = held.map(|mut held| held.read_line(&mut said));
        assert!(held.is_some() && said == "held\n", "cannot hold {thread}");
        Hold(process)
    }

    /// Sends SIGTERM and returns at once.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).expect("the gateway has ended");
    }

    /// Sends SIGUSR1: the access log is to be opened anew.
    pub fn reopen_log(&self) {
        kill_process(Pid::from_child(&self.process), Signal::USR1).expect("the gateway has ended");
    }

    /// Waits until a gateway that was told to stop has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + STOP_WITHIN;
        loop {
            if let Some(status) = self
                .process
                .try_wait()
                .expect("the gateway is not our child")
            {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "the gateway still runs after {STOP_WITHIN:?}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(mut self) -> ExitStatus {
        self.terminate();
        self.wait()
    }

    /// Ends the gateway as a crash would.
    pub fn kill(mut self) {
        self.process.kill().expect("cannot kill the gateway");
        self.process.wait().expect("the gateway is not our child");
    }

    /// What the gateway has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// Stops a thread (ptrace(2)) as long as somebody is at the other end of its input.
const HOLD: &str = "
import ctypes, os, select, sys
SEIZE, INTERRUPT = 0x4206, 0x4207
ptrace = ctypes.CDLL(None).ptrace
ptrace.argtypes = [ctypes.c_long] * 4
task = int(sys.argv[1])
assert ptrace(SEIZE, task, 0, 0) == 0 and ptrace(INTERRUPT, task, 0, 0) == 0
print('held', flush=True)
# A task that ends is gone only when whoever traces it has seen that.
while not select.select([sys.stdin], [], [], 0.05)[0]:
    found, status = os.waitpid(task, os.WNOHANG | 0x40000000)
    if found and not os.WIFSTOPPED(status):
        break
";

/// A thread that does not run; it goes on when this is dropped.
#[derive(Debug)]
pub struct Hold(Child);

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Drop for Gateway<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the gateway printed ---\n{}---", self.log());
        }
        // Both fail where the gateway has ended already, which is as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a command of the binary where the gateway would be, to its end. A `launcher` comes in front of it,
/// such as timeout(1) with its options.
pub fn sluice_at_gateway(lab: &Lab, launcher: &[&str], arguments: &[&str]) -> Output {
    let binary = binary();
    let binary = binary.to_str().expect("the path of the binary is text");
    lab.at_gateway(&[launcher, &[binary], arguments].concat())
}

/// Runs `sluice run` with a configuration that it should refuse, to its end.
pub fn run_to_end(lab: &Lab, config: &str) -> Output {
    let config = write_config(lab, "gateway", config);
    let binary = binary();
    let binary = binary.to_str().expect("the path of the binary is text");
    lab.at_gateway(&[binary, "run", "--config", &config])
}

fn write_config(lab: &Lab, name: &str, config: &str) -> String {
    let path = lab.directory().join(format!("{name}.yaml"));
    fs::write(&path, config).expect("cannot write the gateway's configuration");
    path.into_os_string()
        .into_string()
        .expect("the lab's path is text")
}

/// A copy of the binary that any user can run, wherever it was built.
fn binary_for_all(lab: &Lab) -> PathBuf {
    let copy = lab.directory().join("sluice");
    // A gateway of before may still run it, so it is replaced and not overwritten.
    let _ = fs::remove_file(&copy);
    fs::copy(binary(), &copy).expect("cannot copy the gateway's binary");
    copy
}

/// `SLUICE_BIN`, or what cargo built last beside this test.
pub fn binary() -> PathBuf {
    if let Some(binary) = std::env::var_os("SLUICE_BIN") {
        return binary.into();
    }
    // A test stands in target/PROFILE/deps.
    let test = std::env::current_exe().expect("no path of this test");
    let target = test
        .ancestors()
        .nth(3)
        .expect("a test stands three levels below target");
    let built = ["release/sluice", "debug/sluice"].map(|name| target.join(name));
    let newest = built
        .into_iter()
        .max_by_key(|path| path.metadata().and_then(|m| m.modified()).ok());
    newest.filter(|path| path.exists()).unwrap_or_else(|| {
        panic!(
            "no gateway in {}; build it: cargo build --release -p sluice-gateway --bin sluice",
            target.display()
        )
    })
}

/// Prometheus text to values by name and labels.
fn parse_metrics(text: &str) -> BTreeMap<String, f64> {
    let samples = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parse = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    samples
        .map(|line| parse(line).unwrap_or_else(|| panic!("not a metric: {line:?}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_with_their_labels() {
        let metrics = parse_metrics("# TYPE a counter\na{b=\"c d\"} 3\n\nx 0.5\n");
        assert_eq!(metrics["a{b=\"c d\"}"], 3.0);
        assert_eq!(metrics["x"], 0.5);
        assert_eq!(metrics.len(), 2);
    }
}
