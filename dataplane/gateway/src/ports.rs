//! From the rules' ports to open devices.

use sluice_engine::stack::PortSetup;
use sluice_policy::{Attachment, Port, Snapshot};
use sluice_port::{
    Cores, Device, DeviceError, EalConfig, EalHandle, OpenError, OpenedPort, PortConfig,
    eal_config, open, port_config,
};

/// How EAL starts for these rules.
pub(crate) fn eal_setup(
    rules: &Snapshot,
    cores: &Cores,
    verbose: bool,
) -> Result<EalConfig, DeviceError> {
    let devices: Vec<Device> = rules.ports.iter().map(device).collect();
    eal_config(
        &devices,
        cores.control.clone(),
        rules.workers.memory,
        verbose,
    )
}

/// Opens one of the ports, with a queue pair for each worker or as many as it has.
pub(crate) fn open_port(
    eal: &EalHandle,
    rules: &Snapshot,
    port: &Port,
) -> Result<OpenedPort, OpenError> {
    let memory = rules.workers.memory;
    let workers = rules.workers.cores.count();
    let config = PortConfig {
        queues: port.queues,
        ..port_config(device(port), port.mtu, memory, (rules.ports.len(), workers))
    };
    let mut opened = open(eal, &config)?;
    let notice = opened.notice.take();
    opened.notice = notice.or_else(|| memif_client(&config.device));
    Ok(opened)
}

/// What to know of a memif client: the driver connects it once, when the port starts.
fn memif_client(device: &Device) -> Option<String> {
    let Device::Vdev(device) = device else {
        return None;
    };
    let is_client =
        device.starts_with("net_memif") && !device.split(',').any(|arg| arg == "role=server");
    is_client.then(|| {
        "it is a memif client, which does not come back when the other side starts anew; write role=server here, \
         and role=client on the other side"
            .to_owned()
    })
}

fn device(port: &Port) -> Device {
    match &port.attachment {
        Attachment::Interface(name) => Device::Interface(name.to_string()),
        Attachment::Pci(address) => Device::Pci(address.to_string()),
        Attachment::Vdev(device) => Device::Vdev(device.to_string()),
    }
}

/// What the stack needs to know of a port.
pub(crate) fn stack_setup(port: &Port) -> PortSetup {
    PortSetup {
        addresses: port
            .addresses
            .iter()
            .map(|cidr| (cidr.address(), cidr.prefix()))
            .collect(),
        routes: port
            .routes
            .iter()
            .map(|route| ((route.to.address(), route.to.prefix()), route.via))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memif_client_is_warned_of() {
        let said = |device: &str| memif_client(&Device::Vdev(device.into()));
        for device in [
            "net_memif0",
            "net_memif0,role=client,id=0",
            "net_memif1,id=0",
        ] {
            assert!(
                said(device).is_some_and(|said| said.contains("write role=server")),
                "{device}"
            );
        }
        assert_eq!(said("net_memif0,id=0,role=server"), None);
        assert_eq!(said("net_ring0,role=client"), None);
        assert_eq!(memif_client(&Device::Interface("net_memif0".into())), None);
    }
}
