//! The test bed: namespaces, links between them, and their end.
//!
//! ```text
//!   generator                    kernel proxies            Sluice
//!   front   10.77.1.2  ========  kf<id>  10.77.1.1
//!   back    10.77.2.2  ========  kb<id>  10.77.2.1
//!   sfront  10.77.1.2  ==================================  sluice-front  10.77.1.1
//!   sback   10.77.2.2  ==================================  sluice-back   10.77.2.1
//!                                                          sluice-near   10.77.3.1  ==  sluice-far  10.77.3.2
//!   direct0 10.77.9.2  ==  direct1 10.77.9.3
//! ```
//!
//! Ends that DPDK opens have no address in the kernel. Of two proxies in a row the first reaches the second
//! over `sluice-near`, a memif, or the kernel's loopback (127.0.0.2). Where the kernel does the receive
//! work of the kernel proxies' ends is [`Receive`]'s to say.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::error::CompareError;
use super::process::{Running, output_of};
use super::systems::{Receive, Speaks, System, Wire};
use super::{GENERATOR_CORE, PROXY_CORE};

/// A directory for each bed, named by the process that made it.
const STATE: &str = "/run/sluice-bench";
/// Longest from a system's start to its first answer.
const START_WITHIN: Duration = Duration::from_secs(30);
/// Longest an answer of an admin interface takes.
const ADMIN_WITHIN: Duration = Duration::from_secs(2);

/// A namespace of the bed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Client and backend.
    Load,
    /// Proxies on the kernel's TCP.
    Kernel,
    /// Sluice.
    Sluice,
}

const PLACES: [(Place, &str); 3] = [
    (Place::Load, "load"),
    (Place::Kernel, "kernel"),
    (Place::Sluice, "sluice"),
];

/// The bed of one comparison. Dropping it ends what runs in it and takes it away.
#[derive(Debug)]
pub(super) struct Bed<'a> {
    id: u32,
    directory: PathBuf,
    sluice: String,
    stop: &'a AtomicBool,
}

impl<'a> Bed<'a> {
    /// Makes namespaces and links, after taking away those of processes that are gone.
    ///
    /// # Errors
    ///
    /// Another comparison is under way, or a command failed; nothing is left then.
    pub(super) fn up(stop: &'a AtomicBool) -> Result<Bed<'a>, CompareError> {
        sweep()?;
        let id = std::process::id();
        let directory = Path::new(STATE).join(id.to_string());
        let file = |error| CompareError::File(directory.clone(), error);
        fs::create_dir_all(&directory).map_err(file)?;
        let sluice = std::env::current_exe().map_err(file)?;
        // From here on, dropping it takes it away.
        let bed = Bed {
            id,
            sluice: sluice.display().to_string(),
            directory,
            stop,
        };
        bed.add(Place::Load)?;
        bed.add(Place::Sluice)?;
        bed.link("sfront", Place::Sluice, "sluice-front")?;
        bed.link("sback", Place::Sluice, "sluice-back")?;
        bed.link("direct0", Place::Load, "direct1")?;
        bed.pair(
            (Place::Sluice, "sluice-near"),
            (Place::Sluice, "sluice-far"),
        )?;
        Ok(bed)
    }

    /// Makes the kernel proxies' namespace and links anew. The kernel keeps what it knew of a peer's
    /// connections after the peer, a process with a stack of its own, is gone: the next one would run
    /// into them.
    pub(super) fn renew_kernel(&self, receive: Receive) -> Result<(), CompareError> {
        let (front, back) = self.kernel_links();
        let (load, namespace) = (self.namespace(Place::Load), self.namespace(Place::Kernel));
        if Path::new("/run/netns").join(&namespace).exists() {
            // Removing one end removes both, at once; removing a namespace takes the kernel a while.
            for end in ["front", "back"] {
                let _ = output_of(&["ip", "-n", &load, "link", "del", end]);
            }
            remove(&namespace);
        }
        self.add(Place::Kernel)?;
        self.link("front", Place::Kernel, &front)?;
        self.link("back", Place::Kernel, &back)?;
        for setting in [
            "net.core.somaxconn=8192",
            "net.ipv4.tcp_max_syn_backlog=8192",
        ] {
            self.inside(Place::Kernel, &["sysctl", "-qw", setting])?;
        }
        self.give_to_kernel(&front, "10.77.1.1/24", receive)?;
        self.give_to_kernel(&back, "10.77.2.1/24", receive)
    }

    fn add(&self, place: Place) -> Result<(), CompareError> {
        output_of(&["ip", "netns", "add", &self.namespace(place)])?;
        self.inside(
            place,
            &["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"],
        )?;
        self.inside(place, &["ip", "link", "set", "lo", "up"])?;
        Ok(())
    }

    /// Where the bed's files are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The path of this program.
    pub(super) fn sluice(&self) -> String {
        self.sluice.clone()
    }

    /// Writes a file of the bed and returns its path.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf, CompareError> {
        let path = self.directory.join(name);
        fs::write(&path, text).map_err(|error| CompareError::File(path.clone(), error))?;
        Ok(path)
    }

    /// Where one of a row of proxies has its ends, the row's length told behind its place.
    pub(super) fn ends(&self, system: System, wire: Wire, (hop, hops): (usize, usize)) -> Ends {
        let (first, last) = (hop == 0, hop + 1 == hops);
        let (front, back) = match wire {
            Wire::Veth => (
                format!("interface: sluice-{}", if first { "front" } else { "far" }),
                format!("interface: sluice-{}", if last { "back" } else { "near" }),
            ),
            Wire::Memif => {
                let front = self.memif(0, "server", if first { "front" } else { "middle" });
                let back = if last {
                    self.memif(1, "server", "back")
                } else {
                    self.memif(1, "client", "middle")
                };
                (
                    format!("device: \"{front}\""),
                    format!("device: \"{back}\""),
                )
            }
        };
        let middle = match system.place() {
            Place::Kernel => "127.0.0.2",
            Place::Load | Place::Sluice => "10.77.3.2",
        };
        Ends {
            front,
            back,
            here: if first { "10.77.1.1" } else { middle },
            out: if last { "10.77.2.1" } else { "10.77.3.1" },
            next: match (last, system.place()) {
                (true, _) => "10.77.2.2:8080",
                (false, Place::Kernel) => "127.0.0.2:80",
                (false, _) => "10.77.3.2:80",
            },
        }
    }

    /// The generator's ports against a system, and the target: options of `sluice bench run`.
    pub(super) fn load_options(&self, system: System, wire: Wire, speaks: Speaks) -> Vec<String> {
        let (front, back) = match (system, wire) {
            (System::Direct, Wire::Veth) => {
                ("interface=direct0".into(), "interface=direct1".into())
            }
            (System::Sluice, Wire::Veth) => ("interface=sfront".into(), "interface=sback".into()),
            (_, Wire::Veth) => ("interface=front".into(), "interface=back".into()),
            // One process at both ends of one link; the second spelling keeps DPDK from taking the
            // socket for one it has already.
            (System::Direct, Wire::Memif) => (
                format!("device={}", self.memif(0, "server", "direct")),
                format!("device={}", self.memif(1, "client", "./direct")),
            ),
            (_, Wire::Memif) => (
                format!("device={}", self.memif(0, "client", "front")),
                format!("device={}", self.memif(1, "client", "back")),
            ),
        };
        let (target, client, backend) = match system {
            System::Direct => ("10.77.9.3:8080", "10.77.9.2/24", "10.77.9.3/24"),
            _ => ("10.77.1.1:80", "10.77.1.2/24", "10.77.2.2/24"),
        };
        let client = format!("{front};address={client}");
        // A server of TTHeader replies as Kitex and Volo do.
        let (more, protocol) = match speaks {
            Speaks::Http1 => ("", "http1"),
            Speaks::Shared | Speaks::OneCall => (";replies=message", "ttheader"),
        };
        let backend = format!("{back};address={backend};listen=8080;body=100{more}");
        [
            "--protocol",
            protocol,
            "--target",
            target,
            "--client",
            &client,
            "--backend",
            &backend,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn memif(&self, number: u32, role: &str, socket: &str) -> String {
        format!(
            "net_memif{number},role={role},id=0,socket-abstract=no,socket={}/{socket}.sock",
            self.directory.display()
        )
    }

    /// A command line that runs in a namespace, on a core where one is given.
    pub(super) fn argv(&self, place: Place, cores: &[u32], argv: &[&str]) -> Vec<String> {
        let cores: Vec<String> = cores.iter().map(u32::to_string).collect();
        let namespace = self.namespace(place);
        let mut all: Vec<String> = ["ip", "netns", "exec", &namespace, "taskset", "-c"]
            .map(str::to_owned)
            .to_vec();
        all.push(cores.join(","));
        all.extend(argv.iter().map(|&word| word.to_owned()));
        all
    }

    /// Starts a system in a namespace.
    pub(super) fn start(
        &self,
        place: Place,
        cores: &[u32],
        (system, hop): (System, usize),
        argv: &[&str],
    ) -> Result<Running, CompareError> {
        // A connection needs two descriptors in a proxy; the usual limit would end it early.
        let argv: Vec<&str> = ["sh", "-c", "ulimit -Sn $(ulimit -Hn) && exec \"$@\"", "sh"]
            .into_iter()
            .chain(argv.iter().copied())
            .collect();
        let all = self.argv(place, cores, &argv);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let log = self.directory.join(format!("{}-{hop}.log", system.word()));
        Running::start(system, &all, log)
    }

    /// Waits until a kernel proxy takes connections.
    pub(super) fn wait_for_listener(
        &self,
        running: &mut Running,
        address: &str,
    ) -> Result<(), CompareError> {
        let address: Option<IpAddr> = address.parse().ok();
        self.wait_until(running, || {
            address.is_some_and(|ip| self.connect(Place::Kernel, (ip, 80).into()).is_some())
        })
    }

    /// Waits until Sluice says that it is ready.
    pub(super) fn wait_until_ready(
        &self,
        running: &mut Running,
        admin: SocketAddr,
    ) -> Result<(), CompareError> {
        self.wait_until(running, || {
            let answer = self.admin(admin, "/ready");
            answer.is_some_and(|answer| {
                answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200")
            })
        })
    }

    fn wait_until(
        &self,
        running: &mut Running,
        mut ready: impl FnMut() -> bool,
    ) -> Result<(), CompareError> {
        let deadline = Instant::now() + START_WITHIN;
        while !ready() {
            running.check()?;
            self.go_on()?;
            if Instant::now() >= deadline {
                let what = format!("took no connection within {START_WITHIN:?}");
                return Err(running.failed(&what));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Fails once this process was told to stop.
    pub(super) fn go_on(&self) -> Result<(), CompareError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(CompareError::Stopped);
        }
        Ok(())
    }

    /// What an admin interface of Sluice answers for a path, head and body.
    pub(super) fn admin(&self, admin: SocketAddr, path: &str) -> Option<String> {
        let mut stream = self.connect(Place::Sluice, admin)?;
        stream.set_read_timeout(Some(ADMIN_WITHIN)).ok()?;
        stream.set_write_timeout(Some(ADMIN_WITHIN)).ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        // Bounded, whatever answers there.
        stream.take(4 << 20).read_to_end(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    }

    /// A socket belongs to the namespace it was made in; a thread of its own goes there to make it.
    fn connect(&self, place: Place, to: SocketAddr) -> Option<TcpStream> {
        let namespace = File::open(Path::new("/run/netns").join(self.namespace(place))).ok()?;
        let enter = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).ok()?;
            TcpStream::connect_timeout(&to, ADMIN_WITHIN).ok()
        };
        thread::scope(|scope| scope.spawn(enter).join().ok().flatten())
    }

    fn namespace(&self, place: Place) -> String {
        let name = PLACES.iter().find(|(other, _)| *other == place);
        namespace(self.id, name.map_or("", |(_, name)| name))
    }

    fn inside(&self, place: Place, argv: &[&str]) -> Result<String, CompareError> {
        let all = self.argv(place, &[GENERATOR_CORE], argv);
        output_of(&all.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Names that kernel threads can be found by; theirs are cut off after 15 bytes.
    fn kernel_links(&self) -> (String, String) {
        let id = self.id % 1_000_000;
        (format!("kf{id}"), format!("kb{id}"))
    }

    /// A link from the generator to a place.
    fn link(&self, near: &str, place: Place, far: &str) -> Result<(), CompareError> {
        self.pair((Place::Load, near), (place, far))
    }

    /// A link between two places. No end leaves anything to hardware that is not there.
    fn pair(&self, near: (Place, &str), far: (Place, &str)) -> Result<(), CompareError> {
        let (one, other) = (self.namespace(near.0), self.namespace(far.0));
        output_of(&[
            "ip", "-n", &one, "link", "add", near.1, "type", "veth", "peer", "name", far.1,
            "netns", &other,
        ])?;
        for (place, end) in [near, far] {
            let off = [
                "ethtool", "-K", end, "tx", "off", "tso", "off", "gso", "off", "gro", "off",
            ];
            self.inside(place, &off)?;
            self.inside(place, &["ip", "link", "set", end, "arp", "off", "up"])?;
        }
        Ok(())
    }

    fn give_to_kernel(
        &self,
        end: &str,
        address: &str,
        receive: Receive,
    ) -> Result<(), CompareError> {
        let place = Place::Kernel;
        self.inside(place, &["ip", "link", "set", end, "arp", "on"])?;
        self.inside(place, &["ip", "addr", "add", address, "dev", end])?;
        if receive == Receive::Sender {
            return Ok(());
        }
        // A virtual link polls only where it may merge.
        self.inside(place, &["ethtool", "-K", end, "gro", "on"])?;
        let threaded = format!("echo 1 >/sys/class/net/{end}/threaded");
        if self.inside(place, &["sh", "-c", &threaded]).is_err() {
            eprintln!(
                "compare: this kernel has no threaded NAPI; receive work of kernel proxies on the generator's \
                 core is counted there"
            );
            return Ok(());
        }
        let prefix = format!("napi/{end}");
        for thread in threads_named(&prefix) {
            output_of(&[
                "taskset",
                "-c",
                "-p",
                &PROXY_CORE.to_string(),
                &thread.to_string(),
            ])?;
        }
        Ok(())
    }
}

impl Drop for Bed<'_> {
    fn drop(&mut self) {
        take_away(self.id);
    }
}

/// Where a proxy in a row has its ends: ports of Sluice as a key and a value of the rules, and addresses.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) front: String,
    pub(super) back: String,
    /// Where it listens, on port 80.
    pub(super) here: &'static str,
    /// From where it asks.
    pub(super) out: &'static str,
    /// Whom it asks, with the port.
    pub(super) next: &'static str,
}

/// Cores that measurements use.
pub(super) const CORES: [u32; 2] = [GENERATOR_CORE, PROXY_CORE];

fn namespace(id: u32, place: &str) -> String {
    format!("sluice-bench-{id}-{place}")
}

/// Takes away the beds of processes that are gone.
fn sweep() -> Result<(), CompareError> {
    let Ok(entries) = fs::read_dir(STATE) else {
        return Ok(());
    };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    for id in ids.filter(|id| *id != std::process::id()) {
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        if name.trim() == "sluice" {
            return Err(CompareError::UnderWay(id));
        }
        take_away(id);
    }
    Ok(())
}

fn take_away(id: u32) {
    for (_, place) in PLACES {
        let namespace = namespace(id, place);
        if Path::new("/run/netns").join(&namespace).exists() {
            remove(&namespace);
        }
    }
    let _ = fs::remove_dir_all(Path::new(STATE).join(id.to_string()));
    // The last one out.
    let _ = fs::remove_dir(STATE);
}

fn remove(namespace: &str) {
    // A process keeps its namespace alive. All that runs in one of ours belongs to the bed.
    let inside = output_of(&["ip", "netns", "pids", namespace]).unwrap_or_default();
    for process in inside.split_whitespace() {
        let _ = output_of(&["kill", "-KILL", process]);
    }
    let _ = output_of(&["ip", "netns", "del", namespace]);
}

/// Processes, kernel threads among them, whose name begins so, as far as the kernel keeps names.
fn threads_named(prefix: &str) -> Vec<u32> {
    let prefix = &prefix[..prefix.len().min(15)];
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let id = entry.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            name.starts_with(prefix).then_some(id)
        })
        .collect()
}
