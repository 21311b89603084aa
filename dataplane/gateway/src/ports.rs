//! From the rules' ports to open devices.

use sluice_engine::stack::PortSetup;
use sluice_policy::{Attachment, Port, Snapshot};
use sluice_port::{
    Cores, Device, DeviceError, EalConfig, EalHandle, OpenError, OpenedPort, PortConfig,
    eal_config, more_memory, open, port_config,
};

/// The buffers of all workers would take more memory than was given for them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "workers.memory: {has} MiB are too little: {pools} pools of packet buffers, one of each port for each worker, \
     take {needed} MiB together. Write memory: {needed}MiB, or ask for fewer workers"
)]
pub(crate) struct TooLittleMemory {
    has: u64,
    needed: u64,
    pools: usize,
}

/// Whether the packet buffers keep to the memory that the rules have for them.
pub(crate) fn check_memory(rules: &Snapshot) -> Result<(), TooLittleMemory> {
    let (memory, workers) = (rules.workers.memory, rules.workers.cores.count());
    let ports = rules.ports.iter().map(|port| (device(port), port.mtu));
    let ports: Vec<(Device, u16)> = ports.collect();
    match more_memory(&ports, memory, workers) {
        None => Ok(()),
        Some(needed) => Err(TooLittleMemory {
            has: memory >> 20,
            needed: needed >> 20,
            pools: ports.len() * usize::from(workers),
        }),
    }
}

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
