//! `/metrics`: everything that is counted, in one place. docs/metrics.md says what each means, and
//! a test keeps the two the same.

mod latency;

use std::sync::Arc;

use sluice_control_client::names::Totals;
use sluice_engine::WorkerStats;
use sluice_engine::stack::counters::{Counted, Counters};
use sluice_engine::stack::io::IoStats;
use sluice_port::PortStats;

use super::View;
use super::text::{Kind::Counter, Kind::Gauge, Text};
use crate::loop_stats::Split;

/// The one worker there is.
const WORKER: (&str, &str) = ("worker", "0");

/// All that is shown, read at about the same time.
#[derive(Debug)]
pub(super) struct Reading {
    ports: Vec<PortReading>,
    stats: Arc<WorkerStats>,
    cycles: Split,
    driver_cycles: u64,
    polls: Split,
    tsc_hz: u64,
    generation: u64,
    rejected: u64,
    draining: bool,
    access_log: LogReading,
    lookups: Totals,
    /// Endpoints by name: those whose last look-up was answered, and those whose was not.
    names: (usize, usize),
}

/// What became of the access log's lines.
#[derive(Debug, Clone, Copy)]
struct LogReading {
    written: u64,
    queue_full: u64,
    write_failed: u64,
}

#[derive(Debug)]
struct PortReading {
    name: Arc<str>,
    /// The worker's queue pair.
    io: IoStats,
    /// The device.
    device: PortStats,
    /// The kernel's interface behind it.
    interface_dropped: u64,
    link_up: bool,
    buffers_free: u64,
    buffers: u64,
}

impl Reading {
    pub(super) fn of(view: &View) -> Self {
        let port = |(index, port): (usize, &super::PortView)| PortReading {
            name: port.name.clone(),
            io: view
                .stats
                .ports
                .get(index)
                .map(|stats| stats.get())
                .unwrap_or_default(),
            device: port.port.stats(),
            interface_dropped: port
                .interface
                .as_ref()
                .map_or(0, |interface| interface.rx_dropped()),
            link_up: port.link.is_up(),
            buffers_free: port
                .pools
                .iter()
                .map(|pool| u64::from(pool.available()))
                .sum(),
            buffers: port
                .pools
                .iter()
                .map(|pool| u64::from(pool.capacity()))
                .sum(),
        };
        Reading {
            ports: view.ports.iter().enumerate().map(port).collect(),
            stats: view.stats.clone(),
            cycles: view.loop_stats.cycles(),
            driver_cycles: view.loop_stats.driver_cycles(),
            polls: view.loop_stats.polls(),
            tsc_hz: view.tsc_hz,
            generation: view.handoff.generation(),
            rejected: view.status.rejected(),
            draining: view.status.is_draining(),
            lookups: view.names.totals(),
            names: view.names.count(),
            access_log: LogReading {
                written: view.log_totals.written(),
                queue_full: view.handoff.access_log().dropped(),
                write_failed: view.log_totals.write_failed(),
            },
        }
    }
}

/// The text of a reading.
pub(super) fn render(reading: &Reading) -> String {
    let mut text = Text::default();
    gateway(&mut text, reading);
    work(&mut text, reading);
    ports(&mut text, &reading.ports);
    devices(&mut text, &reading.ports);
    stack(&mut text, &reading.stats);
    requests(&mut text, &reading.stats);
    latency::latency(&mut text, &reading.stats.traffic);
    latency::methods(&mut text, &reading.stats.traffic);
    names(&mut text, reading);
    access_log(&mut text, reading.access_log);
    text.finish()
}

fn gateway(text: &mut Text, reading: &Reading) {
    text.family(
        "sluice_build_info",
        Gauge,
        "Always 1; the labels say which sluice this is.",
    );
    text.sample(
        &[
            ("version", env!("CARGO_PKG_VERSION")),
            ("dpdk", sluice_port::version()),
        ],
        1,
    );
    text.family(
        "sluice_draining",
        Gauge,
        "1 while the gateway stops, otherwise 0.",
    );
    text.sample(&[], u8::from(reading.draining));
    text.family(
        "sluice_rules_generation",
        Gauge,
        "Generation of the rules accepted last.",
    );
    text.sample(&[], reading.generation);
    text.family(
        "sluice_rules_rejected_total",
        Counter,
        "Changes of the rules that were refused.",
    );
    text.sample(&[], reading.rejected);
    let help = "Generation of the rules that new requests meet.";
    text.family("sluice_worker_rules_generation", Gauge, help);
    text.sample(&[WORKER], reading.stats.generation.get());
}

/// Endpoints by name.
fn names(text: &mut Text, reading: &Reading) {
    let help =
        "Look-ups of the names of endpoints: answered, or failed, which leaves what was known.";
    text.family("sluice_dns_lookups_total", Counter, help);
    let Totals { answered, failed } = reading.lookups;
    for (result, total) in [("answered", answered), ("failed", failed)] {
        text.sample(&[("result", result)], total);
    }
    let help = "Names of endpoints whose last look-up was answered, or failed.";
    text.family("sluice_dns_names", Gauge, help);
    let (answered, failed) = reading.names;
    for (result, total) in [("answered", answered), ("failed", failed)] {
        text.sample(&[("result", result)], total);
    }
}

fn work(text: &mut Text, reading: &Reading) {
    text.family(
        "sluice_tsc_hz",
        Gauge,
        "Cycles of the time stamp counter per second.",
    );
    text.sample(&[], reading.tsc_hz);
    let help = "Cycles of polls that found something, in Sluice's own code (busy) or in DPDK's \
                drivers (driver), and of polls that found nothing (idle).";
    text.family("sluice_cycles_total", Counter, help);
    let driver = reading.driver_cycles;
    let Split { busy, idle } = reading.cycles;
    for (kind, cycles) in [("busy", busy), ("idle", idle), ("driver", driver)] {
        text.sample(&[WORKER, ("kind", kind)], cycles);
    }
    text.family(
        "sluice_polls_total",
        Counter,
        "Polls that found something (busy) or nothing (idle).",
    );
    let Split { busy, idle } = reading.polls;
    for (kind, polls) in [("busy", busy), ("idle", idle)] {
        text.sample(&[WORKER, ("kind", kind)], polls);
    }
}

/// What went through the worker's queue pairs.
fn ports(text: &mut Text, ports: &[PortReading]) {
    let mut each = |name, help, of: fn(&IoStats) -> [(&'static str, &'static str, u64); 2]| {
        text.family(name, Counter, help);
        for port in ports {
            for (label, value, total) in of(&port.io) {
                text.sample(&[WORKER, ("port", &port.name), (label, value)], total);
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
    text.family(
        "sluice_rx_dropped_total",
        Counter,
        "Received frames that the stack could not be given.",
    );
    for port in ports {
        let labels = [WORKER, ("port", &port.name), ("reason", "unusable")];
        text.sample(&labels, port.io.rx_unusable);
    }
    let help = "Received frames that came in several segments and were copied into one.";
    text.family("sluice_rx_linearised_total", Counter, help);
    for port in ports {
        text.sample(&[WORKER, ("port", &port.name)], port.io.rx_linearised);
    }
}

/// What the devices say, whichever queue it was.
fn devices(text: &mut Text, ports: &[PortReading]) {
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
    let help = "Packet buffers of the port: free in its pool, or used in queues and rings.";
    text.family("sluice_pool_buffers", Gauge, help);
    for port in ports {
        let used = port.buffers.saturating_sub(port.buffers_free);
        for (state, buffers) in [("free", port.buffers_free), ("used", used)] {
            text.sample(&[("port", &port.name), ("state", state)], buffers);
        }
    }
}

fn stack(text: &mut Text, stats: &WorkerStats) {
    let stack = &stats.stack;
    counters(
        text,
        "sluice_frame_fates_total",
        "Received frames by where they ended.",
        "fate",
        &stack.frames,
    );
    counters(
        text,
        "sluice_stack_events_total",
        "What else happened in the stack.",
        "event",
        &stack.events,
    );
    let levels = [
        (
            "sluice_flows",
            "TCP flows now, both sides, closing ones included.",
            &stack.flows,
        ),
        (
            "sluice_half_open_flows",
            "Connections whose handshake is under way.",
            &stack.half_open,
        ),
        (
            "sluice_time_wait_flows",
            "Records of closed flows (TIME-WAIT).",
            &stack.time_wait,
        ),
    ];
    for (name, help, level) in levels {
        text.family(name, Gauge, help);
        text.sample(&[WORKER], level.get());
    }
}

fn requests(text: &mut Text, stats: &WorkerStats) {
    let help = "Answers by status; none where the client never got one. A status appears with its first answer.";
    text.family("sluice_requests_total", Counter, help);
    for (status, total) in stats.statuses.iter() {
        let status = if status == 0 {
            "none".to_owned()
        } else {
            status.to_string()
        };
        text.sample(&[WORKER, ("status", &status)], total);
    }
    counters(
        text,
        "sluice_request_fates_total",
        "Requests by how they ended.",
        "fate",
        &stats.requests,
    );
    counters(
        text,
        "sluice_events_total",
        "What else happened to connections and requests.",
        "event",
        &stats.events,
    );
    counters(
        text,
        "sluice_connection_protocols_total",
        "Client connections by what they were found to speak.",
        "protocol",
        &stats.protocols,
    );
    counters(
        text,
        "sluice_rpc_events_total",
        "What else happened to remote procedure calls and their connections.",
        "event",
        &stats.rpc,
    );
    let levels = [
        (
            "sluice_downstream_connections",
            "Client connections now.",
            &stats.downstream,
        ),
        (
            "sluice_upstream_connections",
            "Connections to endpoints now.",
            &stats.upstream,
        ),
        (
            "sluice_upstream_idle_connections",
            "Those of them that wait in a pool.",
            &stats.upstream_idle,
        ),
        (
            "sluice_exchanges",
            "Requests under way now.",
            &stats.exchanges,
        ),
    ];
    for (name, help, level) in levels {
        text.family(name, Gauge, help);
        text.sample(&[WORKER], level.get());
    }
}

fn access_log(text: &mut Text, log: LogReading) {
    text.family(
        "sluice_access_log_lines_total",
        Counter,
        "Lines written to the access log.",
    );
    text.sample(&[], log.written);
    let help = "Requests that were to be in the access log and are not: the queue was full, or the \
                file could not be written.";
    text.family("sluice_access_log_dropped_total", Counter, help);
    for (reason, total) in [
        ("queue_full", log.queue_full),
        ("write_failed", log.write_failed),
    ] {
        text.sample(&[("reason", reason)], total);
    }
}

/// All members, zeros too, so that a rate exists before the first event.
fn counters<C: Counted>(
    text: &mut Text,
    name: &'static str,
    help: &'static str,
    label: &str,
    counters: &Counters<C>,
) {
    text.family(name, Counter, help);
    for (what, total) in counters.iter() {
        text.sample(&[WORKER, (label, what.name())], total);
    }
}

#[cfg(test)]
mod tests;
