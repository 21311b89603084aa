//! `/metrics`: everything that is counted, in one place. docs/metrics.md says what each means, and
//! a test keeps the two the same.

mod latency;
mod ports;
mod steering;

use std::sync::Arc;
use std::time::Duration;

use sluice_control_client::names::Totals;
use sluice_engine::WorkerStats;
use sluice_engine::stack::counters::{Counted, Counters};
use sluice_engine::stack::io::IoStats;
use sluice_engine::traffic::Traffic;
use sluice_port::{Gaps, PeerQueues, PortStats, cycles};

use super::View;
use super::text::{Kind::Counter, Kind::Gauge, Text};
use crate::loop_stats::Split;
use crate::shared::Shared;
use crate::steering::SteeringTotals;

/// All that is shown, read at about the same time.
#[derive(Debug)]
pub(super) struct Reading {
    ports: Vec<PortReading>,
    workers: Vec<WorkerReading>,
    tsc_hz: u64,
    generation: u64,
    rejected: u64,
    compiled_in: Duration,
    draining: bool,
    access_log: LogReading,
    lookups: Totals,
    /// Endpoints by name: those whose last look-up was answered, and those whose was not.
    names: (usize, usize),
}

#[derive(Debug)]
struct WorkerReading {
    /// Its number.
    name: String,
    stats: Arc<WorkerStats>,
    /// Its queue pair of each port, or what it has others send.
    io: Vec<IoStats>,
    cycles: Split,
    driver_cycles: u64,
    polls: Split,
    /// Since its last sign of life; `None` before the first.
    age: Option<Duration>,
    gaps: Gaps,
}

impl WorkerReading {
    fn of((number, worker): (usize, &Shared), now: u64, tsc_hz: u64) -> Self {
        WorkerReading {
            name: number.to_string(),
            stats: worker.stats.clone(),
            io: worker.stats.ports.iter().map(|stats| stats.get()).collect(),
            cycles: worker.loop_stats.cycles(),
            driver_cycles: worker.loop_stats.driver_cycles(),
            polls: worker.loop_stats.polls(),
            age: worker.loop_stats.age(now, tsc_hz),
            gaps: worker.loop_stats.gaps(),
        }
    }

    fn label(&self) -> (&str, &str) {
        ("worker", &self.name)
    }
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
    /// The device.
    device: PortStats,
    /// The kernel's interface behind it.
    interface_dropped: u64,
    link_up: bool,
    unread_queues: u16,
    queues: PeerQueues,
    buffers_free: u64,
    buffers: u64,
    steering: Option<Arc<SteeringTotals>>,
}

impl Reading {
    pub(super) fn of(view: &View) -> Self {
        let port = |port: &super::PortView| PortReading {
            name: port.name.clone(),
            device: port.port.stats(),
            interface_dropped: port
                .interface
                .as_ref()
                .map_or(0, |interface| interface.rx_dropped()),
            link_up: port.link.is_up(),
            unread_queues: port.link.unread_queues(),
            queues: port.link.queues(),
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
            steering: port.steering.clone(),
        };
        let now = cycles();
        Reading {
            ports: view.ports.iter().map(port).collect(),
            workers: view
                .workers
                .iter()
                .enumerate()
                .map(|worker| WorkerReading::of(worker, now, view.tsc_hz))
                .collect(),
            tsc_hz: view.tsc_hz,
            generation: view.rules().map_or(0, |rules| rules.generation),
            rejected: view.status.rejected(),
            compiled_in: view.status.compiled_in(),
            draining: view.status.is_draining(),
            lookups: view.names.totals(),
            names: view.names.count(),
            access_log: LogReading {
                written: view.log_totals.written(),
                queue_full: view
                    .workers
                    .iter()
                    .map(|worker| worker.handoff.access_log().dropped())
                    .sum(),
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
    ports::ports(&mut text, reading);
    ports::devices(&mut text, &reading.ports);
    steering::steering(&mut text, &reading.ports);
    stack(&mut text, &reading.workers);
    requests(&mut text, &reading.workers);
    let traffic = reading.workers.iter().map(|worker| &*worker.stats.traffic);
    let traffic = Traffic::sum(traffic);
    latency::latency(&mut text, &traffic);
    latency::methods(&mut text, &traffic);
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
    let help = "How long it took to read and compile the rules accepted last.";
    text.family("sluice_rules_compile_seconds", Gauge, help);
    text.sample(&[], reading.compiled_in.as_secs_f64());
    let help = "Generation of the rules that new requests meet.";
    text.family("sluice_worker_rules_generation", Gauge, help);
    for worker in &reading.workers {
        text.sample(&[worker.label()], worker.stats.generation.get());
    }
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
    for worker in &reading.workers {
        let driver = worker.driver_cycles;
        let Split { busy, idle } = worker.cycles;
        for (kind, cycles) in [("busy", busy), ("idle", idle), ("driver", driver)] {
            text.sample(&[worker.label(), ("kind", kind)], cycles);
        }
    }
    let help = "Seconds since the worker last polled; 0 before it first does.";
    text.family("sluice_worker_last_poll_age_seconds", Gauge, help);
    for worker in &reading.workers {
        let age = worker.age.unwrap_or_default();
        text.sample(&[worker.label()], format_args!("{:.3}", age.as_secs_f64()));
    }
    text.family(
        "sluice_polls_total",
        Counter,
        "Polls that found something (busy) or nothing (idle).",
    );
    for worker in &reading.workers {
        let Split { busy, idle } = worker.polls;
        for (kind, polls) in [("busy", busy), ("idle", idle)] {
            text.sample(&[worker.label(), ("kind", kind)], polls);
        }
    }
    gaps(text, reading);
}

/// When workers were without their cores.
fn gaps(text: &mut Text, reading: &Reading) {
    let seconds = |cycles: u64| cycles as f64 / reading.tsc_hz.max(1) as f64;
    let help = "Turns of a worker's loop that took longer than any turn takes by itself: something else had \
                its core.";
    text.family("sluice_gaps_total", Counter, help);
    for worker in &reading.workers {
        text.sample(&[worker.label()], worker.gaps.count);
    }
    let help = "Seconds of those turns.";
    text.family("sluice_gap_seconds_total", Counter, help);
    for worker in &reading.workers {
        text.sample(&[worker.label()], seconds(worker.gaps.cycles));
    }
    let help = "The longest of those turns since the start, seconds.";
    text.family("sluice_gap_longest_seconds", Gauge, help);
    for worker in &reading.workers {
        text.sample(&[worker.label()], seconds(worker.gaps.longest));
    }
}

fn stack(text: &mut Text, workers: &[WorkerReading]) {
    counters(
        text,
        "sluice_frame_fates_total",
        "Received frames by where they ended.",
        "fate",
        (workers, |stats| &stats.stack.frames),
    );
    counters(
        text,
        "sluice_stack_events_total",
        "What else happened in the stack.",
        "event",
        (workers, |stats| &stats.stack.events),
    );
    let levels: [Level; 4] = [
        (
            "sluice_flows",
            "TCP flows now, both sides, closing ones included.",
            |stats| &stats.stack.flows,
        ),
        (
            "sluice_half_open_flows",
            "Connections whose handshake is under way.",
            |stats| &stats.stack.half_open,
        ),
        (
            "sluice_time_wait_flows",
            "Records of closed flows (TIME-WAIT).",
            |stats| &stats.stack.time_wait,
        ),
        (
            "sluice_window_memory_bytes",
            "What connections hold beyond their buffers, of `tcp.window_memory`.",
            |stats| &stats.stack.window_memory,
        ),
    ];
    all_levels(text, workers, &levels);
}

fn requests(text: &mut Text, workers: &[WorkerReading]) {
    let help = "Answers by status; none where the client never got one. A status appears with its first answer.";
    text.family("sluice_requests_total", Counter, help);
    for worker in workers {
        for (status, total) in worker.stats.statuses.iter() {
            let status = match status {
                0 => "none".to_owned(),
                status => status.to_string(),
            };
            text.sample(&[worker.label(), ("status", &status)], total);
        }
    }
    counters(
        text,
        "sluice_request_fates_total",
        "Requests by how they ended.",
        "fate",
        (workers, |stats| &stats.requests),
    );
    counters(
        text,
        "sluice_events_total",
        "What else happened to connections and requests.",
        "event",
        (workers, |stats| &stats.events),
    );
    counters(
        text,
        "sluice_connection_protocols_total",
        "Client connections by what they were found to speak.",
        "protocol",
        (workers, |stats| &stats.protocols),
    );
    counters(
        text,
        "sluice_rpc_events_total",
        "What else happened to remote procedure calls and their connections.",
        "event",
        (workers, |stats| &stats.rpc),
    );
    counters(
        text,
        "sluice_rpc_refused_frames_total",
        "Frames of callers that were refused, by reason.",
        "reason",
        (workers, |stats| &stats.refused_frames),
    );
    counters(
        text,
        "sluice_rpc_refused_replies_total",
        "Frames of services that were refused, by reason.",
        "reason",
        (workers, |stats| &stats.refused_replies),
    );
    let levels: [Level; 4] = [
        (
            "sluice_downstream_connections",
            "Client connections now.",
            |stats| &stats.downstream,
        ),
        (
            "sluice_upstream_connections",
            "Connections to endpoints now.",
            |stats| &stats.upstream,
        ),
        (
            "sluice_upstream_idle_connections",
            "Those of them that wait in a pool.",
            |stats| &stats.upstream_idle,
        ),
        ("sluice_exchanges", "Requests under way now.", |stats| {
            &stats.exchanges
        }),
    ];
    all_levels(text, workers, &levels);
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

/// Where a worker has its counters of one kind.
type CountersOf<C> = fn(&WorkerStats) -> &Counters<C>;

/// All members, zeros too, so that a rate exists before the first event.
fn counters<C: Counted>(
    text: &mut Text,
    name: &'static str,
    help: &'static str,
    label: &str,
    (workers, of): (&[WorkerReading], CountersOf<C>),
) {
    text.family(name, Counter, help);
    for worker in workers {
        for (what, total) in of(&worker.stats).iter() {
            text.sample(&[worker.label(), (label, what.name())], total);
        }
    }
}

/// Name, help, and where a worker has the level.
type Level = (
    &'static str,
    &'static str,
    fn(&WorkerStats) -> &sluice_engine::stack::counters::Gauge,
);

fn all_levels(text: &mut Text, workers: &[WorkerReading], levels: &[Level]) {
    for (name, help, level) in levels {
        text.family(name, Gauge, help);
        for worker in workers {
            text.sample(&[worker.label()], level(&worker.stats).get());
        }
    }
}

#[cfg(test)]
mod tests;
