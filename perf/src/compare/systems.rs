//! The systems that are compared, and how each is started.

use std::net::SocketAddr;
use std::path::Path;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PROXY_CORE;
use super::bed::{CORES, Place};
use super::error::CompareError;
use super::measure::Subject;
use super::process::{Running, output_of};
use super::results::Test;

/// What requests go through.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    ValueEnum,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Nothing: the generator's client asks the generator's backend over one wire.
    Direct,
    /// This program.
    Sluice,
    /// nginx.
    Nginx,
    /// HAProxy, which sleeps when there is nothing to do.
    Haproxy,
    /// HAProxy with `busy-polling`.
    HaproxyBusy,
    /// Envoy.
    Envoy,
}

/// How the generator is connected to a system.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    ValueEnum,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum Wire {
    /// A pair of virtual Ethernet links; DPDK has its ends by AF_XDP, a kernel proxy by the kernel's TCP.
    #[serde(rename = "veth-af_xdp")]
    #[value(name = "veth-af_xdp")]
    Veth,
    /// Shared memory between two processes, DPDK's `net_memif`.
    #[serde(rename = "memif")]
    #[value(name = "memif")]
    Memif,
}

/// Where the kernel does the receiving half of a virtual link for a proxy on its TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Receive {
    /// On the core of whoever sends, in its system call: the generator's.
    Sender,
    /// In threads of its own on the proxy's core (threaded NAPI).
    Threaded,
}

impl Receive {
    /// As it is typed and written.
    pub fn word(self) -> &'static str {
        match self {
            Receive::Sender => "sender",
            Receive::Threaded => "threaded",
        }
    }
}

/// What requests are, and how Sluice's service is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// TTHeader, calls together on shared connections.
    Shared,
    /// TTHeader, one call at a time on a connection.
    OneCall,
}

impl Speaks {
    pub(super) fn of(test: Test) -> Speaks {
        match test {
            Test::TtHeader => Speaks::Shared,
            Test::TtHeaderOneCall => Speaks::OneCall,
            _ => Speaks::Http1,
        }
    }

    /// What the service's rules say of it.
    fn rules(self) -> &'static str {
        match self {
            Speaks::Http1 => "",
            Speaks::Shared => ", protocol: ttheader, multiplex: message",
            Speaks::OneCall => ", protocol: ttheader",
        }
    }
}

impl Wire {
    /// As it is typed and written.
    pub fn word(self) -> &'static str {
        match self {
            Wire::Veth => "veth-af_xdp",
            Wire::Memif => "memif",
        }
    }
}

impl System {
    /// All, in the order they take turns.
    pub const ALL: [System; 6] = [
        System::Direct,
        System::Sluice,
        System::Nginx,
        System::Haproxy,
        System::HaproxyBusy,
        System::Envoy,
    ];

    /// As it is typed and written.
    pub fn word(self) -> &'static str {
        match self {
            System::Direct => "direct",
            System::Sluice => "sluice",
            System::Nginx => "nginx",
            System::Haproxy => "haproxy",
            System::HaproxyBusy => "haproxy-busy",
            System::Envoy => "envoy",
        }
    }

    /// The wires it can be reached by.
    pub fn wires(self) -> &'static [Wire] {
        match self {
            System::Direct | System::Sluice => &[Wire::Veth, Wire::Memif],
            _ => &[Wire::Veth],
        }
    }

    /// Whether it takes its whole core however little there is to do, and does not tell what of it
    /// was work.
    pub fn polls_blindly(self) -> bool {
        self == System::HaproxyBusy
    }

    /// Its configuration's file name, and the configuration with what depends on the bed left open.
    pub fn configuration(self) -> Option<(&'static str, &'static str)> {
        match self {
            System::Direct => None,
            System::Sluice => Some((
                "sluice.yaml",
                include_str!("../../peers/compare/sluice.yaml"),
            )),
            System::Nginx => Some(("nginx.conf", include_str!("../../peers/compare/nginx.conf"))),
            System::Haproxy | System::HaproxyBusy => Some((
                "haproxy.cfg",
                include_str!("../../peers/compare/haproxy.cfg"),
            )),
            System::Envoy => Some(("envoy.yaml", include_str!("../../peers/compare/envoy.yaml"))),
        }
    }

    /// Name and version, as it prints them.
    pub(super) fn version(self, envoy: Option<&Path>) -> Result<Option<String>, CompareError> {
        let printed = match self {
            System::Direct | System::Sluice => return Ok(None),
            System::Nginx => output_of(&["nginx", "-v"])?,
            System::Haproxy | System::HaproxyBusy => output_of(&["haproxy", "-v"])?,
            System::Envoy => output_of(&[&envoy_binary(envoy)?, "--version"])?,
        };
        let line = printed.lines().find(|line| !line.trim().is_empty());
        // `PATH  version: HASH/1.40.0/Clean/...` of Envoy names a path of this machine.
        let line = line.unwrap_or_default();
        let line = line.rsplit_once("version: ").map_or(line, |(_, rest)| rest);
        Ok(Some(line.trim().to_owned()))
    }

    /// Starts as many of it in a row as the subject says, the last one first, and waits until each takes
    /// connections. `Direct` has nothing to start.
    ///
    /// # Errors
    ///
    /// One did not start, or not in time.
    pub(super) fn start(self, subject: &Subject<'_>) -> Result<Vec<Running>, CompareError> {
        if self.place() == Place::Kernel {
            subject.bed.renew_kernel(subject.receive)?;
        }
        let mut row = Vec::new();
        if self != System::Direct {
            for hop in (0..subject.hops).rev() {
                row.push(self.start_one(subject, hop)?);
            }
        }
        row.reverse();
        Ok(row)
    }

    fn start_one(self, subject: &Subject<'_>, hop: usize) -> Result<Running, CompareError> {
        let (bed, number) = (subject.bed, hop.to_string());
        let (file, template) = self.configuration().unwrap_or_default();
        let ends = bed.ends(self, subject.wire, (hop, subject.hops));
        let busy = match self {
            System::HaproxyBusy => "busy-polling",
            _ => "",
        };
        // Two that poll have one core.
        let (idle, memory) = match subject.hops {
            1 => ("poll", "256MiB"),
            _ => ("share", "128MiB"),
        };
        let (next_host, next_port) = ends.next.rsplit_once(':').unwrap_or_default();
        let text = template
            .replace("@DIR@", &bed.directory().display().to_string())
            .replace("@HOP@", &number)
            .replace("@CORE@", &PROXY_CORE.to_string())
            .replace("@MASK@", &format!("{:b}", 1u64 << PROXY_CORE))
            .replace("@BUSY@", busy)
            .replace("@SPEAKS@", subject.speaks.rules())
            .replace("@IDLE@", idle)
            .replace("@MEMORY@", memory)
            .replace("@ADMIN@", &admin(hop).to_string())
            .replace("@FRONT@", &ends.front)
            .replace("@BACK@", &ends.back)
            .replace("@HERE@", ends.here)
            .replace("@OUT@", ends.out)
            .replace("@NEXT@", ends.next)
            .replace("@NEXT_HOST@", next_host)
            .replace("@NEXT_PORT@", next_port);
        let path = bed.write(&format!("{number}-{file}"), &text)?;
        let path = path.display().to_string();
        let sluice = bed.sluice();
        let binary = match self {
            System::Envoy => envoy_binary(subject.envoy)?,
            _ => String::new(),
        };
        let argv: Vec<&str> = match self {
            System::Direct | System::Sluice => vec![&sluice, "run", "--config", &path],
            System::Nginx => vec!["nginx", "-c", &path],
            System::Haproxy | System::HaproxyBusy => vec!["haproxy", "-db", "-f", &path],
            System::Envoy => {
                let options = [
                    "--concurrency",
                    "1",
                    "--disable-hot-restart",
                    "--log-level",
                    "error",
                ];
                [[&binary, "-c", path.as_str()].as_slice(), &options].concat()
            }
        };
        // Sluice pins its worker by itself; its other threads stay off that core.
        let cores: &[u32] = match self {
            System::Sluice => &CORES,
            _ => &[PROXY_CORE],
        };
        let mut running = bed.start(self.place(), cores, (self, hop), &argv)?;
        if self == System::Sluice {
            bed.wait_until_ready(&mut running, admin(hop))?;
        } else {
            bed.wait_for_listener(&mut running, ends.here)?;
        }
        Ok(running)
    }

    /// The namespace it runs in.
    pub(super) fn place(self) -> Place {
        match self {
            System::Sluice => Place::Sluice,
            _ => Place::Kernel,
        }
    }
}

/// Where the admin interface of a Sluice in the row listens.
pub(super) fn admin(hop: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9901 + hop as u16))
}

fn envoy_binary(path: Option<&Path>) -> Result<String, CompareError> {
    path.map(|path| path.display().to_string())
        .ok_or(CompareError::Missing("envoy", "python3-venv"))
}
