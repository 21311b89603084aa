//! A private lab: the namespaces, links and backends of `scripts/lab`, under a name of its own.
//!
//! Addresses are those of the default lab, see `scripts/lab --help`; labs do not see each other.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::gateway::Gateway;
use crate::http::{Connection, PEER_WITHIN, Reply};

/// Where labs keep their files, a directory each; `scripts/lab` removes it with the lab.
const STATE: &str = "/run/sluice-lab";

/// Longest a command in the lab may run, in seconds.
const COMMAND_SECONDS: &str = "40";

/// A lab that is up. Dropping it takes it down, with all that still runs in it.
#[derive(Debug)]
pub struct Lab {
    name: String,
}

impl Lab {
    /// Brings up a lab that no other test shares.
    pub fn up() -> Lab {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{count}", process::id());
        let output = script(&["up", "--name", &name]);
        assert!(
            output.status.success(),
            "scripts/lab up failed:\n{}",
            printed(&output)
        );
        Lab { name }
    }

    /// The name given to `scripts/lab`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lab's directory, which goes away with it.
    pub fn directory(&self) -> PathBuf {
        Path::new(STATE).join(&self.name)
    }

    /// Runs a command where the clients are. It is ended after 40 seconds.
    pub fn client(&self, command: &[&str]) -> Output {
        self.run("client", command)
    }

    /// Runs a command where the backends are. It is ended after 40 seconds.
    pub fn backend(&self, command: &[&str]) -> Output {
        self.run("backend", command)
    }

    /// Runs a command where the gateway is.
    pub fn at_gateway(&self, command: &[&str]) -> Output {
        self.run("gateway", command)
    }

    fn run(&self, place: &str, command: &[&str]) -> Output {
        Command::new("ip")
            .args(["netns", "exec", &self.namespace(place)])
            .args(["timeout", "--kill-after=1", COMMAND_SECONDS])
            .args(command)
            .output()
            .expect("ip netns exec did not start; run scripts/setup")
    }

    /// Starts a program where the backends are, which prints a line when it serves. It ends with what is
    /// returned.
    pub fn serve(&self, command: &[&str]) -> Server {
        let mut server = Server::start(&self.namespace("backend"), command);
        server.wait_for("");
        server
    }

    /// The same where the clients are.
    pub fn serve_at_client(&self, command: &[&str]) -> Server {
        let mut server = Server::start(&self.namespace("client"), command);
        server.wait_for("");
        server
    }

    /// Starts a program where the gateway would be. It ends with what is returned.
    pub fn start_at_gateway(&self, command: &[&str]) -> Server {
        let shell = ["sh", "-c", "exec \"$@\" 2>&1", "sh"];
        let command = [&shell[..], command].concat();
        Server::start(&self.namespace("gateway"), &command)
    }

    /// One curl from the client to the gateway's IPv4 address, whatever host the URL names.
    pub fn curl(&self, arguments: &[&str]) -> Reply {
        self.curl_to("10.77.1.1", arguments)
    }

    /// One curl from the client to the gateway's IPv6 address, whatever host the URL names.
    pub fn curl6(&self, arguments: &[&str]) -> Reply {
        self.curl_to("[fd77:1::1]", arguments)
    }

    fn curl_to(&self, gateway: &str, arguments: &[&str]) -> Reply {
        let to = format!("::{gateway}:80");
        // Heads go to stderr, bodies to stdout: they cannot be mixed up.
        let mut command = vec!["curl", "-sS", "--max-time", "30", "-D", "/dev/stderr"];
        command.extend(["--connect-to", &to]);
        command.extend(arguments);
        let output = self.client(&command);
        assert!(output.status.success(), "{command:?}: {}", printed(&output));
        Reply::from_curl(output)
    }

    /// What nginx answers on the direct link for a path: the body a client must also see.
    pub fn direct(&self, path: &str) -> Vec<u8> {
        let url = format!("http://10.77.9.3:8080{path}");
        let output = self.client(&["curl", "-sSf", &url]);
        assert!(output.status.success(), "curl {url}: {}", printed(&output));
        output.stdout
    }

    /// Connects from where the clients are. Reads and writes fail after 20 seconds.
    pub fn connect(&self, to: &str) -> io::Result<Connection> {
        self.connect_in("client", to)
    }

    pub(crate) fn connect_in(&self, place: &str, to: &str) -> io::Result<Connection> {
        let to: SocketAddr = to.parse().expect("an address with a port");
        let stream = self.inside(place, || TcpStream::connect_timeout(&to, PEER_WITHIN))?;
        stream.set_read_timeout(Some(PEER_WITHIN))?;
        stream.set_write_timeout(Some(PEER_WITHIN))?;
        Ok(Connection::new(stream))
    }

    /// Listens where the backends are, on one of 10.77.2.2 to 10.77.2.9.
    pub fn listen(&self, on: &str) -> TcpListener {
        let on: SocketAddr = on.parse().expect("an address with a port");
        self.inside("backend", || TcpListener::bind(on))
            .expect("cannot listen in the backend")
    }

    /// Starts the gateway with a configuration, and waits until it is ready.
    pub fn gateway(&self, config: &str) -> Gateway<'_> {
        Gateway::start(self, config, &[])
    }

    /// Starts a gateway beside the first; its configuration gives it this admin address.
    pub fn second_gateway(&self, config: &str, admin: &'static str) -> Gateway<'_> {
        Gateway::start_second(self, config, admin)
    }

    /// Starts the gateway with options of setpriv(1), who it is and what it may, or behind a command.
    pub fn gateway_behind(&self, config: &str, launcher: &[&str]) -> Gateway<'_> {
        Gateway::start(self, config, launcher)
    }

    /// A socket belongs to the namespace it was made in, whoever uses it later; a thread of its
    /// own goes there to make it, so that this one stays where it is.
    fn inside<T: Send>(&self, place: &str, make: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(Path::new("/run/netns").join(self.namespace(place)))
            .expect("the lab's namespace is gone");
        let made = thread::scope(|scope| {
            let enter = || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("cannot enter the lab's namespace; tests run as root");
                make()
            };
            scope.spawn(enter).join()
        });
        made.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    pub(crate) fn namespace(&self, place: &str) -> String {
        format!("{}-{place}", self.name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let output = script(&["down", "--name", &self.name]);
        if !output.status.success() {
            eprintln!("scripts/lab down failed:\n{}", printed(&output));
        }
    }
}

/// A program that serves in a lab, until this is dropped.
#[derive(Debug)]
pub struct Server {
    process: Child,
    output: Option<BufReader<ChildStdout>>,
}

impl Server {
    fn start(namespace: &str, command: &[&str]) -> Server {
        let mut process = Command::new("ip")
            .args(["netns", "exec", namespace])
            // It becomes the program, and dies with the test.
            .args(["setpriv", "--pdeathsig", "KILL"])
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ip netns exec did not start; run scripts/setup");
        let output = process.stdout.take().map(BufReader::new);
        Server { process, output }
    }

    /// Waits for a line that contains this. What is said later is of no interest.
    pub fn wait_for(&mut self, ready: &str) {
        let Some(mut output) = self.output.take() else {
            return;
        };
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let read = output.read_line(&mut line).expect("it prints text");
            said.push_str(&line);
            assert!(read > 0, "it ended before it served:\n{said}");
            if line.contains(ready) {
                break;
            }
        }
        // It must not stop it either.
        thread::spawn(move || io::copy(&mut output, &mut io::sink()));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail where it has ended already, which is as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Takes down the labs of test processes that were killed before they could.
fn sweep() {
    let Ok(labs) = Path::new(STATE).read_dir() else {
        return;
    };
    for lab in labs.flatten() {
        let name = lab.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix('t').and_then(|rest| rest.split_once('-'));
        if let Some((pid, _)) = owner
            && pid.parse::<u32>().is_ok()
            && !Path::new("/proc").join(pid).exists()
        {
            script(&["down", "--name", &name]);
        }
    }
}

/// Runs `scripts/lab` with these arguments.
pub fn script(arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/lab");
    Command::new(script)
        .args(arguments)
        .output()
        .expect("scripts/lab did not start")
}

/// Status and both outputs of a command, for a failure's message.
pub fn printed(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
