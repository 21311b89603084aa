//! Why there is no run.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use sluice_port::{CoreError, Device, DeviceError, EalError, OpenError};

use super::poller::PollerError;
use super::ports::LINK_WITHIN;
use super::refuse;
use crate::load::plan::PlanError;
use crate::report::command::ReportError;
use crate::report::latency::NoHistogram;

/// Why there is no run.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error("{0} is not for --protocol {1}; leave it out, or say --protocol {2}")]
    Foreign(&'static str, &'static str, &'static str),
    #[error("--requests {file}: {reason}")]
    File { file: String, reason: String },
    /// In the file of requests.
    #[error(transparent)]
    Plan(PlanError),
    /// In the options that describe the one request.
    #[error(transparent)]
    Typed(PlanError),
    #[error("--backend {0}: there is no client's port to share; give it a device and an address")]
    NoPort(String),
    #[error(
        "--target {target}: the client's port has no way there, only to {}; give it an address of the target's \
         network, or route={} via ROUTER", reach.join(", "), if target.is_ipv4() { "0.0.0.0/0" } else { "::/0" }
    )]
    NoWay {
        target: SocketAddr,
        reach: Vec<String>,
    },
    #[error("--target {0}: that is the client's own address; give the gateway's")]
    Itself(SocketAddr),
    #[error(
        "-c {connections}: the client's source ports allow for {most} connections to the target, with the number of its \
         addresses that lead there being {addresses}; add {missing} to --client in the same network \
         (address=ADDRESS/{prefix}, again for each), or say -c {most}"
    )]
    FewPorts {
        connections: u32,
        most: u32,
        addresses: u32,
        missing: u32,
        prefix: u8,
    },
    #[error("--core: {0}")]
    Core(#[from] CoreError),
    #[error(transparent)]
    Pci(#[from] DeviceError),
    #[error(transparent)]
    Eal(#[from] EalError),
    #[error("{which}: {error}{}", first(device))]
    Port {
        /// The option, or which end.
        which: String,
        device: Device,
        error: Box<OpenError>,
    },
    #[error(
        "--{which}: the link did not come up within {LINK_WITHIN:?}; {}",
        bring_up(device)
    )]
    NoLink { which: &'static str, device: Device },
    #[error(
        "{first} and {second} are the same device, which is opened once; name another{}",
        if *second == "--backend" { ", or none in --backend to share the client's port" } else { "" }
    )]
    Twice {
        first: &'static str,
        second: &'static str,
    },
    #[error("{what}: {error}")]
    System { what: String, error: io::Error },
    #[error(transparent)]
    Poller(#[from] PollerError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Histogram(#[from] NoHistogram),
    #[error(
        "the generator's thread ended unasked, which is a defect of sluice: please report what is above"
    )]
    Gone,
}

/// What to try where no link comes up.
fn bring_up(device: &Device) -> String {
    match device {
        Device::Interface(name) => {
            format!("bring the interface up, and what it is connected to: ip link set {name} up")
        }
        Device::Pci(address) => {
            format!("look at the cable of {address} and at what it is connected to")
        }
        Device::Vdev(_) => {
            "start the other end of the wire, with the same socket and the other role".to_owned()
        }
    }
}

/// What to try where a device does not open: these look for their other end when they start.
fn first(device: &Device) -> &'static str {
    match device {
        Device::Vdev(text) if text.starts_with("net_virtio_user") => {
            "\nIf nobody listens on the socket: start the other end first, a net_vhost with the same path"
        }
        _ => "",
    }
}

impl RunError {
    /// Says it; the exit code.
    pub(super) fn refuse(&self) -> ExitCode {
        let failed = refuse(self);
        match self.is_usage() {
            true => ExitCode::from(2),
            false => failed,
        }
    }

    /// Whether it is how the command was typed that is wrong.
    fn is_usage(&self) -> bool {
        matches!(
            self,
            RunError::Foreign(..)
                | RunError::Typed(_)
                | RunError::NoPort(_)
                | RunError::NoWay { .. }
                | RunError::Itself(_)
                | RunError::FewPorts { .. }
                | RunError::Twice { .. }
                | RunError::Core(_)
        ) || matches!(self, RunError::Report(error) if error.is_usage())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_stays_down_is_told_what_brings_up_its_kind() {
        let said = |device| {
            RunError::NoLink {
                which: "client",
                device,
            }
            .to_string()
        };
        let interface = said(Device::Interface("front".into()));
        assert!(interface.ends_with("ip link set front up"), "{interface}");
        let memif = said(Device::Vdev("net_memif0,role=client".into()));
        assert!(
            memif.ends_with("with the same socket and the other role"),
            "{memif}"
        );
        let card = said(Device::Pci("0000:01:00.0".into()));
        assert!(card.contains("the cable of 0000:01:00.0"), "{card}");
    }
}
