//! Checks a whole set of rules and resolves it into a snapshot, or says everything that is wrong.

mod access_log;
mod headers;
mod listeners;
mod ports;
mod report;
mod routes;
mod services;

use crate::Problem;
use crate::rules::Rules;
use crate::snapshot::{Node, Snapshot, Workers};
use crate::yaml::Path;
use report::Report;

/// Hugepage memory that a worker can begin with, and the most that is taken for a typing error.
const MEMORY: std::ops::RangeInclusive<u64> = 64 << 20..=64 << 30;

/// Checks and resolves rules. The snapshot's generation is 0 until its owner sets it.
///
/// # Errors
///
/// Every problem of the set, in the order of their places.
pub fn compile(rules: &Rules) -> Result<Snapshot, Vec<Problem>> {
    let mut report = Report::new(&rules.places);
    let node = node(rules, &mut report);
    let workers = workers(rules, &mut report);
    let ports = ports::compile(&rules.ports, &mut report);
    let access_log = access_log::compile(rules, &mut report);
    let listeners = listeners::compile(&rules.listeners, &ports, &mut report);
    let services = services::compile(&rules.services, &ports, &mut report);
    let (routes, router) = routes::compile(rules, &mut report);
    report.finish()?;
    Ok(Snapshot {
        generation: 0,
        node,
        ports,
        workers,
        admin: rules.admin.address.0,
        access_log,
        listeners,
        services,
        routes,
        router,
    })
}

fn node(rules: &Rules, report: &mut Report<'_>) -> Node {
    let path = Path::section("node");
    report.name(&path.key("name"), &rules.node.name);
    let drain_timeout = report.period(&path.key("drain_timeout"), rules.node.drain_timeout);
    Node {
        name: rules.node.name.as_str().into(),
        drain_timeout,
    }
}

fn workers(rules: &Rules, report: &mut Report<'_>) -> Workers {
    let path = Path::section("workers");
    let workers = &rules.workers;
    if workers.cores.len() > 1 {
        report.mend(
            &path.key("cores"),
            format!(
                "{} cores are given, but only one worker is supported",
                workers.cores.len()
            ),
            "keep one core",
        );
    }
    let memory = report.size(&path.key("memory"), workers.memory, MEMORY);
    if !memory.is_multiple_of(1 << 20) {
        report.mend(
            &path.key("memory"),
            format!("{} is not a whole number of MiB", workers.memory),
            format!("write {}MiB", memory >> 20),
        );
    }
    Workers {
        core: workers.cores.first().copied(),
        idle: workers.idle,
        memory,
    }
}
