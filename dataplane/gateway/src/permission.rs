//! Whether the process may do what its ports need, asked first: DPDK and the kernel answer late, and in
//! words that help nobody.

use rustix::thread::{CapabilitySet, capabilities};
use sluice_policy::{Attachment, Snapshot};

/// What opening an interface of the kernel takes at least; `CAP_SYS_ADMIN` and `CAP_IPC_LOCK` more for AF_XDP,
/// without which AF_PACKET is taken with a notice.
const INTERFACE: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW);

/// The process is neither root nor has the capabilities.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "ports.{port}: interface `{interface}` can be opened by root only, or with the capabilities \
     CAP_NET_ADMIN and CAP_NET_RAW (CAP_SYS_ADMIN and CAP_IPC_LOCK too for AF_XDP). Run it with sudo, or give \
     the service these as AmbientCapabilities="
)]
pub(crate) struct NotPermitted {
    port: String,
    interface: String,
}

/// Says so where a port cannot be opened for want of permission.
pub(crate) fn check(rules: &Snapshot) -> Result<(), NotPermitted> {
    // A kernel that does not tell lets the opening itself say what is wrong.
    match capabilities(None) {
        Ok(sets) => check_with(rules, sets.effective),
        Err(_) => Ok(()),
    }
}

fn check_with(rules: &Snapshot, effective: CapabilitySet) -> Result<(), NotPermitted> {
    if effective.contains(INTERFACE) {
        return Ok(());
    }
    let interface = rules.ports.iter().find_map(|port| match &port.attachment {
        Attachment::Interface(interface) => Some((port.name.to_string(), interface.to_string())),
        _ => None,
    });
    interface.map_or(Ok(()), |(port, interface)| {
        Err(NotPermitted { port, interface })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_need_two_capabilities() {
        let text = include_str!("../../../configs/quickstart.yaml");
        let rules = sluice_policy::parse(text, "quickstart.yaml").unwrap();
        let rules = sluice_policy::compile(&rules).unwrap();
        assert_eq!(check_with(&rules, CapabilitySet::all()), Ok(()));
        assert_eq!(check_with(&rules, INTERFACE), Ok(()));
        let error = check_with(&rules, CapabilitySet::NET_RAW)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("CAP_NET_ADMIN") && error.contains("sudo"),
            "{error}"
        );
    }
}
