//! How the flows of ports come to their workers.

use sluice_engine::stack::steering::Family;

use super::PortReading;
use crate::admin::text::{Kind::Counter, Kind::Gauge, Text};
use crate::steering::{By, Why};

/// Nothing where there is one worker.
pub(super) fn steering(text: &mut Text, ports: &[PortReading]) {
    let families = || {
        let ports = ports.iter();
        let steered = ports.filter_map(|port| Some((&*port.name, port.steering.as_deref()?)));
        steered.flat_map(|(port, totals)| Family::ALL.map(|family| (port, family, totals)))
    };
    let help = "1 for what new connections are steered to their workers by, otherwise 0.";
    text.family("sluice_steering", Gauge, help);
    for (port, family, totals) in families() {
        for by in By::ALL {
            let labels = [("port", port), ("family", name(family)), ("by", by.name())];
            text.sample(&labels, u8::from(totals.by(family) == by));
        }
    }
    let help = "First frames of connections by whether they landed at the worker that they were steered to.";
    text.family("sluice_steering_first_frames_total", Counter, help);
    for (port, family, totals) in families() {
        for (landed, as_steered) in [("as_steered", true), ("elsewhere", false)] {
            let labels = [("port", port), ("family", name(family)), ("landed", landed)];
            text.sample(&labels, totals.firsts(family, as_steered));
        }
    }
    let help = "Times it was decided anew how a port's new connections are steered.";
    text.family("sluice_steering_changes_total", Counter, help);
    for port in ports {
        if let Some(totals) = &port.steering {
            for (reason, why) in [("device", Why::Device), ("load", Why::Load)] {
                let labels = [("port", &*port.name), ("reason", reason)];
                text.sample(&labels, totals.changes(why));
            }
        }
    }
}

fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}
