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
    cores: &Cores,
) -> Result<OpenedPort, OpenError> {
    let memory = rules.workers.memory;
    let workers = rules.workers.cores.count();
    let config = PortConfig {
        queues: port.queues,
        offload: port.offload,
        nodes: cores.nodes(),
        ..port_config(device(port), port.mtu, memory, (rules.ports.len(), workers))
    };
    open(eal, &config)
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
        vlan: port.vlan,
    }
}
