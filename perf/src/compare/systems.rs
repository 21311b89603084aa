//! The systems that are compared, and how each is started.

use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::PROXY_CORE;
use super::bed::{Bed, Place};
use super::error::CompareError;
use super::process::{Running, output_of};

/// What requests go through.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
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
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
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

    /// Starts it and waits until it takes connections. `Direct` has nothing to start.
    ///
    /// # Errors
    ///
    /// It did not start, or not in time.
    pub(super) fn start(
        self,
        wire: Wire,
        bed: &Bed,
        envoy: Option<&Path>,
    ) -> Result<Option<Running>, CompareError> {
        let Some((file, template)) = self.configuration() else {
            return Ok(None);
        };
        if self.place() == Place::Kernel {
            bed.renew_kernel()?;
        }
        let (front, back) = bed.gateway_ports(wire);
        let busy = match self {
            System::HaproxyBusy => "busy-polling",
            _ => "",
        };
        let text = template
            .replace("@DIR@", &bed.directory().display().to_string())
            .replace("@CORE@", &PROXY_CORE.to_string())
            .replace("@MASK@", &format!("{:b}", 1u64 << PROXY_CORE))
            .replace("@BUSY@", busy)
            .replace("@FRONT@", &front)
            .replace("@BACK@", &back);
        let path = bed.write(file, &text)?;
        let path = path.display().to_string();
        let sluice = bed.sluice();
        let binary = match self {
            System::Envoy => envoy_binary(envoy)?,
            _ => String::new(),
        };
        let argv: Vec<&str> = match self {
            System::Direct => return Ok(None),
            System::Sluice => vec![&sluice, "run", "--config", &path],
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
        let place = self.place();
        // Sluice pins its worker by itself; its control threads stay off both cores' schedules.
        let core = (self != System::Sluice).then_some(PROXY_CORE);
        let mut running = bed.start(place, core, self, &argv)?;
        if self == System::Sluice {
            bed.wait_until_ready(&mut running)?;
        } else {
            bed.wait_for_listener(&mut running)?;
        }
        Ok(Some(running))
    }

    /// The namespace it runs in.
    pub(super) fn place(self) -> Place {
        match self {
            System::Sluice => Place::Sluice,
            _ => Place::Kernel,
        }
    }
}

fn envoy_binary(path: Option<&Path>) -> Result<String, CompareError> {
    path.map(|path| path.display().to_string())
        .ok_or(CompareError::Missing("envoy", "python3-venv"))
}
