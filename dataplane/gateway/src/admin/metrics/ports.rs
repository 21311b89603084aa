//! What went through the ports, their devices and their buffers.

use sluice_engine::stack::io::IoStats;

use super::super::text::{Kind::Counter, Kind::Gauge, Text};
use super::{PortReading, Reading};

/// What went through the workers' queue pairs.
pub(super) fn ports(text: &mut Text, reading: &Reading) {
    let pairs = || {
        let workers = reading.workers.iter();
        workers.flat_map(|worker| {
            let ports = reading.ports.iter().zip(&worker.io);
            ports.map(move |(port, io)| ([worker.label(), ("port", &*port.name)], io))
        })
    };
    let mut each = |name, help, of: fn(&IoStats) -> [(&'static str, &'static str, u64); 2]| {
        text.family(name, Counter, help);
        for ([worker, port], io) in pairs() {
            for (label, value, total) in of(io) {
                text.sample(&[worker, port, (label, value)], total);
            }
        }
    };
    each(
        "sluice_frames_total",
        "Frames handed to the stack (rx) or taken by the device (tx).",
        |io| {
            [
                ("direction", "rx", io.rx_frames),
                ("direction", "tx", io.tx_frames),
            ]
        },
    );
    each(
        "sluice_bytes_total",
        "Bytes of those frames, from the Ethernet header on.",
        |io| {
            [
                ("direction", "rx", io.rx_bytes),
                ("direction", "tx", io.tx_bytes),
            ]
        },
    );
    each(
        "sluice_tx_dropped_total",
        "Frames not sent: the device's queue stayed full, or no buffer was free.",
        |io| {
            [
                ("reason", "queue_full", io.tx_full),
                ("reason", "no_buffer", io.tx_no_buffer),
            ]
        },
    );
    each(
        "sluice_large_frames_total",
        "Frames longer than the MTU: received (rx), or given to the device to be cut into segments (tx).",
        |io| {
            [
                ("direction", "rx", io.rx_large),
                ("direction", "tx", io.tx_large),
            ]
        },
    );
    text.family(
        "sluice_rx_dropped_total",
        Counter,
        "Received frames that the stack could not be given.",
    );
    for ([worker, port], io) in pairs() {
        text.sample(&[worker, port, ("reason", "unusable")], io.rx_unusable);
    }
    let help = "Times ordinary segments were sent, since no buffer for a large frame was free.";
    text.family("sluice_large_frames_missed_total", Counter, help);
    for (labels, io) in pairs() {
        text.sample(&labels, io.tx_no_large);
    }
    let help = "Received frames that came in several segments and were copied into one.";
    text.family("sluice_rx_linearised_total", Counter, help);
    for (labels, io) in pairs() {
        text.sample(&labels, io.rx_linearised);
    }
}

/// What the devices say, whichever queue it was.
pub(super) fn devices(text: &mut Text, ports: &[PortReading]) {
    let help = "Frames the device itself dropped or failed to send.";
    text.family("sluice_device_dropped_total", Counter, help);
    for port in ports {
        let reasons = [
            ("rx_missed", port.device.rx_missed),
            ("rx_interface", port.interface_dropped),
            ("rx_no_buffer", port.device.rx_no_buffer),
            ("rx_error", port.device.rx_errors),
            ("tx_error", port.device.tx_errors),
        ];
        for (reason, total) in reasons {
            text.sample(&[("port", &port.name), ("reason", reason)], total);
        }
    }
    text.family(
        "sluice_link_up",
        Gauge,
        "1 while the port's link is up, otherwise 0.",
    );
    for port in ports {
        text.sample(&[("port", &port.name)], u8::from(port.link_up));
    }
    let help = "Receive queues that the port's interface was given since the start: what comes to them is lost.";
    text.family("sluice_unread_queues", Gauge, help);
    for port in ports {
        text.sample(&[("port", &port.name)], port.unread_queues);
    }
    let help = "Queues by which frames come from the port's peer (rx) or can be sent to it (tx).";
    text.family("sluice_queues", Gauge, help);
    for port in ports {
        let (rx, tx) = (port.queues.receive, port.queues.transmit);
        for (direction, queues) in [("rx", rx), ("tx", tx)] {
            text.sample(&[("port", &port.name), ("direction", direction)], queues);
        }
    }
    let help = "Packet buffers of the port: free in its pool, or used in queues and rings.";
    text.family("sluice_pool_buffers", Gauge, help);
    for port in ports {
        let used = port.buffers.saturating_sub(port.buffers_free);
        for (state, buffers) in [("free", port.buffers_free), ("used", used)] {
            text.sample(&[("port", &port.name), ("state", state)], buffers);
        }
    }
}
