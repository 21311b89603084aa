//! What went through the ports, their devices and their buffers.

use sluice_engine::stack::io::IoStats;

use super::super::text::{Kind, Kind::Counter, Kind::Gauge, Text};
use super::{PortReading, Reading};

/// Metrics of one name, which each `T` has some values of.
struct Family<T> {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    /// The label that tells values of the same `T` apart; none where there is one value.
    label: Option<&'static str>,
    /// The values, each with that label's.
    of: fn(&T) -> Vec<(&'static str, u64)>,
}

impl<T> Family<T> {
    /// The values of all of these, which are told apart by such labels.
    fn write<'a, const N: usize>(
        &self,
        text: &mut Text,
        all: impl Iterator<Item = ([(&'a str, &'a str); N], &'a T)>,
    ) where
        T: 'a,
    {
        text.family(self.name, self.kind, self.help);
        for (labels, one) in all {
            for (value, total) in (self.of)(one) {
                let own = self.label.map(|label| (label, value));
                let labels: Vec<_> = labels.into_iter().chain(own).collect();
                text.sample(&labels, total);
            }
        }
    }
}

/// By worker and port.
const QUEUE_PAIRS: [Family<IoStats>; 7] = [
    Family {
        name: "sluice_frames_total",
        kind: Counter,
        help: "Frames handed to the stack (rx) or taken by the device (tx).",
        label: Some("direction"),
        of: |io| vec![("rx", io.rx_frames), ("tx", io.tx_frames)],
    },
    Family {
        name: "sluice_bytes_total",
        kind: Counter,
        help: "Bytes of those frames, from the Ethernet header on.",
        label: Some("direction"),
        of: |io| vec![("rx", io.rx_bytes), ("tx", io.tx_bytes)],
    },
    Family {
        name: "sluice_tx_dropped_total",
        kind: Counter,
        help: "Frames not sent: the device's queue stayed full, or no buffer was free.",
        label: Some("reason"),
        of: |io| vec![("queue_full", io.tx_full), ("no_buffer", io.tx_no_buffer)],
    },
    Family {
        name: "sluice_large_frames_total",
        kind: Counter,
        help: "Frames longer than the MTU: received (rx), or given to the device to be cut into segments (tx).",
        label: Some("direction"),
        of: |io| vec![("rx", io.rx_large), ("tx", io.tx_large)],
    },
    Family {
        name: "sluice_rx_dropped_total",
        kind: Counter,
        help: "Received frames that the stack could not be given.",
        label: Some("reason"),
        of: |io| vec![("unusable", io.rx_unusable)],
    },
    Family {
        name: "sluice_large_frames_missed_total",
        kind: Counter,
        help: "Times ordinary segments were sent, since no buffer for a large frame was free.",
        label: None,
        of: |io| vec![("", io.tx_no_large)],
    },
    Family {
        name: "sluice_rx_linearised_total",
        kind: Counter,
        help: "Received frames that came in several segments and were copied into one.",
        label: None,
        of: |io| vec![("", io.rx_linearised)],
    },
];

/// By port.
const DEVICES: [Family<PortReading>; 5] = [
    Family {
        name: "sluice_device_dropped_total",
        kind: Counter,
        help: "Frames the device itself dropped or failed to send.",
        label: Some("reason"),
        of: |port| {
            vec![
                ("rx_missed", port.device.rx_missed),
                ("rx_interface", port.interface_dropped),
                ("rx_no_buffer", port.device.rx_no_buffer),
                ("rx_error", port.device.rx_errors),
                ("tx_error", port.device.tx_errors),
            ]
        },
    },
    Family {
        name: "sluice_link_up",
        kind: Gauge,
        help: "1 while the port's link is up, otherwise 0.",
        label: None,
        of: |port| vec![("", port.link_up.into())],
    },
    Family {
        name: "sluice_unread_queues",
        kind: Gauge,
        help: "Receive queues that the port's interface was given since the start: what comes to them is lost.",
        label: None,
        of: |port| vec![("", port.unread_queues.into())],
    },
    Family {
        name: "sluice_queues",
        kind: Gauge,
        help: "Queues by which frames come from the port's peer (rx) or can be sent to it (tx).",
        label: Some("direction"),
        of: |port| {
            let queues = &port.queues;
            vec![
                ("rx", queues.receive.into()),
                ("tx", queues.transmit.into()),
            ]
        },
    },
    Family {
        name: "sluice_pool_buffers",
        kind: Gauge,
        help: "Packet buffers of the port: free in its pool, or used in queues and rings.",
        label: Some("state"),
        of: |port| {
            let used = port.buffers.saturating_sub(port.buffers_free);
            vec![("free", port.buffers_free), ("used", used)]
        },
    },
];

/// What went through the workers' queue pairs.
pub(super) fn ports(text: &mut Text, reading: &Reading) {
    for family in &QUEUE_PAIRS {
        let pairs = reading.workers.iter().flat_map(|worker| {
            let ports = reading.ports.iter().zip(&worker.io);
            ports.map(|(port, io)| ([worker.label(), ("port", &*port.name)], io))
        });
        family.write(text, pairs);
    }
}

/// What the devices say, whichever queue it was.
pub(super) fn devices(text: &mut Text, ports: &[PortReading]) {
    for family in &DEVICES {
        let all = ports.iter().map(|port| ([("port", &*port.name)], port));
        family.write(text, all);
    }
}
