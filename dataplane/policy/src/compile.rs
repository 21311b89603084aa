//! Checks a whole set of rules and resolves it into a snapshot, or says everything that is wrong.

mod access_log;
mod actions;
mod headers;
mod known;
mod lanes;
mod listeners;
mod matching;
mod ports;
mod protocols;
mod report;
mod routes;
mod rpc;
mod services;
mod tcp;

use std::sync::Arc;

use sluice_wire::http1::Via;

use crate::Problem;
use crate::matching::Regexes;
use crate::names::{self, Resolved};
use crate::rules::Rules;
use crate::snapshot::{Node, Snapshot, WorkerCores, Workers};
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
    compile_resolved(rules, &Arc::default())
}

/// As [`compile()`], with what the names of endpoints stand for.
///
/// # Errors
///
/// Every problem of the set, in the order of their places.
pub fn compile_resolved(rules: &Rules, resolved: &Arc<Resolved>) -> Result<Snapshot, Vec<Problem>> {
    compile_after(rules, resolved, None)
}

/// As [`compile()`], for rules that follow on others: what did not change is not compiled again, but
/// shared with the snapshot of those: each service, each route and regular expression, the index of routes.
///
/// # Errors
///
/// Every problem of the set, in the order of their places.
pub fn recompile(
    rules: &Rules,
    resolved: &Arc<Resolved>,
    before: &Rules,
    snapshot: &Snapshot,
) -> Result<Snapshot, Vec<Problem>> {
    compile_after(rules, resolved, Some((before, snapshot)))
}

fn compile_after(
    rules: &Rules,
    resolved: &Arc<Resolved>,
    before: Option<(&Rules, &Snapshot)>,
) -> Result<Snapshot, Vec<Problem>> {
    let mut report = Report::new(rules);
    let node = node(rules, &mut report);
    let workers = workers(rules, &mut report);
    let tcp = tcp::compile(&rules.tcp, &mut report);
    let ports = ports::compile(&rules.ports, workers.cores.count(), &mut report);
    report.period(&Path::section("dns").key("timeout"), rules.dns.timeout);
    let access_log = access_log::compile(rules, &mut report);
    let listeners = listeners::compile(&rules.listeners, &ports, &mut report);
    let mut regexes = before.map_or_else(Regexes::default, |(_, old)| Regexes::after(&old.regexes));
    let lanes = lanes::compile(rules, &mut regexes, &mut report);
    // Ids are places in the order of names, so the same names are the same ids.
    let same = before.filter(|(old, snapshot)| {
        old.ports == rules.ports
            && old.listeners.keys().eq(rules.listeners.keys())
            && services::are_called_alike(&old.services, &rules.services)
            && snapshot.lanes == lanes
    });
    let services = services::compile(
        &rules.services,
        &services::Around {
            ports: &ports,
            lanes: lanes.as_ref(),
            resolved,
        },
        |name, service| {
            let (_, snapshot) = same.filter(|(old, _)| old.services.get(name) == Some(service))?;
            if !names::of_service(service).all(|name| snapshot.resolved.agree(resolved, &name)) {
                return None;
            }
            let services = &snapshot.services;
            let at = services.binary_search_by(|own| (*own.name).cmp(name));
            services.get(at.ok()?).cloned()
        },
        &mut report,
    );
    let same = same.filter(|(old, _)| old.access_log == rules.access_log);
    let (routes, router) = match same.filter(|(old, _)| old.routes == rules.routes) {
        Some((_, snapshot)) => {
            regexes = Regexes::clone(&snapshot.regexes);
            (snapshot.routes.clone(), snapshot.router.clone())
        }
        None => routes::compile(rules, lanes.as_ref(), same, &mut regexes, &mut report),
    };
    report.finish()?;
    regexes.settle();
    Ok(Snapshot {
        generation: 0,
        node,
        ports,
        workers,
        tcp,
        admin: rules.admin.address.0,
        access_log,
        listeners,
        services,
        lanes,
        routes,
        router,
        regexes: Arc::new(regexes),
        resolved: resolved.clone(),
    })
}

fn node(rules: &Rules, report: &mut Report<'_>) -> Node {
    let path = Path::section("node");
    report.name(&path.key("name"), &rules.node.name);
    let drain_timeout = report.period(&path.key("drain_timeout"), rules.node.drain_timeout);
    Node {
        name: rules.node.name.as_str().into(),
        // A name that is not fit for it is among the problems.
        via: Via::new(&rules.node.name).unwrap_or_default(),
        drain_timeout,
    }
}

/// How many workers there can be.
const WORKERS: std::ops::RangeInclusive<u32> = 1..=64;

fn workers(rules: &Rules, report: &mut Report<'_>) -> Workers {
    let path = Path::section("workers");
    let workers = &rules.workers;
    let cores = match (workers.count, &workers.cores) {
        (Some(_), Some(_)) => {
            let both = "`count` and `cores` both say how many workers there are";
            report.mend(&path.key("count"), both, "keep one of them");
            WorkerCores::Last(1)
        }
        (Some(count), None) => {
            report.number(&path.key("count"), count.into(), WORKERS);
            WorkerCores::Last(count)
        }
        (None, None) => WorkerCores::Last(1),
        (None, Some(cores)) if cores.is_empty() => {
            let mend =
                "name a core for each worker, or leave it out for one worker on the last core";
            report.mend(&path.key("cores"), "no cores are given", mend);
            WorkerCores::Last(1)
        }
        (None, Some(cores)) => {
            let count = u32::try_from(cores.len()).unwrap_or(u32::MAX);
            if !WORKERS.contains(&count) {
                let most = WORKERS.end();
                let message = format!("{count} cores are given; there are {most} workers at most");
                report.wrong(&path.key("cores"), message);
            }
            WorkerCores::These(cores.clone())
        }
    };
    let cores = match (cores, workers.numa) {
        (WorkerCores::Last(count), Some(node)) => WorkerCores::OfNode { count, node },
        (cores, None) => cores,
        (cores, Some(_)) => {
            let both = "`cores` says which cores the workers are on already";
            report.mend(&path.key("numa"), both, "keep one of them");
            cores
        }
    };
    let memory = report.size(&path.key("memory"), workers.memory, MEMORY);
    if !memory.is_multiple_of(1 << 20) {
        report.mend(
            &path.key("memory"),
            format!("{} is not a whole number of MiB", workers.memory),
            format!("write {}MiB", memory >> 20),
        );
    }
    Workers {
        cores,
        idle: workers.idle,
        memory,
    }
}
