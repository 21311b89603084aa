//! What the simulations of calls and of streams have in common: the rules, how long is waited, and what must
//! hold when all is over.

use std::time::Duration;

use sluice_perf::memory::Setup;
use sluice_perf::scripted::Scripted;
use sluice_stack::time::Instant;

use crate::sim::Report;

/// Virtual time after which a caller gives up, where resets may get lost.
const CALLER_PATIENCE: Duration = Duration::from_secs(200);
/// Virtual time in which everything must have its outcome once nothing more is begun.
const PATIENCE: Duration = Duration::from_secs(900);
/// Virtual time after which nothing may be left of what was under way.
const QUIET: Duration = Duration::from_secs(150);

/// Rules with one listener and one service of two endpoints, of these settings.
pub(crate) fn rules(setup: &Setup, service: &str) -> String {
    let vlan = setup
        .vlan
        .map_or(String::new(), |vlan| format!(", vlan: {vlan}"));
    let link = format!("mtu: {}{vlan}", setup.mtu);
    let buffer = setup.buffer;
    format!(
        r#"
ports:
  front: {{ device: "net_memory0", addresses: ["10.77.1.1/24"], {link} }}
  back: {{ device: "net_memory1", addresses: ["10.77.2.1/24"], {link} }}
listeners:
  rpc: {{ address: "10.77.1.1:80", buffer: {buffer}B, idle_timeout: 20s }}
services:
  echo: {{ endpoints: ["10.77.2.2:8080", "10.77.2.3:8080"], max_idle: 3, idle_timeout: 20s, {service} }}
routes:
  - {{ rpc: {{}}, service: echo }}
"#
    )
}

/// How long the end of what is under way has been waited for.
#[derive(Default)]
pub(crate) struct Waiting {
    since: Option<Instant>,
}

/// What is to be done about it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Time has to pass.
    Wait,
    /// Callers end their connections: a reset that got lost is not sent again, and only its receiver's own
    /// patience ends such a connection.
    GiveUp,
    /// Something will never end.
    Over,
}

impl Waiting {
    /// Nothing more is begun. `rough`: resets may get lost.
    pub(crate) fn on(&mut self, now: Instant, rough: bool) -> Patience {
        let waited = now.since(*self.since.get_or_insert(now));
        if waited > PATIENCE {
            Patience::Over
        } else if rough && waited > CALLER_PATIENCE {
            Patience::GiveUp
        } else {
            Patience::Wait
        }
    }
}

/// Ends all connections: nothing may be left of anything, and each request has one fate.
pub(crate) fn over(world: &mut Scripted, rough: bool, report: &mut Report) {
    let now = world.now();
    world.client.close_all(now);
    world.backend.close_all(now);
    world.pass(QUIET);
    let held = world.worker.held().into_iter();
    let left: Vec<_> = held.filter(|(_, n)| *n > 0).collect();
    if !left.is_empty() {
        let text = format!("held at the end: {left:?}");
        report.violations.push(text);
    }
    let stats = &world.stats;
    let levels = [
        &stats.downstream,
        &stats.upstream,
        &stats.exchanges,
        &stats.stack.flows,
    ];
    let levels = levels.map(|gauge| gauge.get());
    if levels != [0; 4] {
        let text = format!("left at the end: {levels:?} {stats:?}");
        report.violations.push(text);
    }
    if !rough && stats.requests.sum() != report.requests {
        let text = format!("not one fate for each request: {:?}", stats.requests);
        report.violations.push(text);
    }
    report.faults = world.net.faults_done();
}
