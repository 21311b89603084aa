//! What may change while the gateway runs.

use std::collections::BTreeMap;

use crate::Problem;
use crate::problem;
use crate::rules::{ACCESS_LOG_BUFFER, Rules};
use crate::yaml::Path;

/// Whether a gateway that runs `old` can go over to `new`. Devices, worker threads and the admin
/// socket are taken once, at the start: `ports`, `workers`, `tcp` and `admin` stay as they are, and so does
/// the access log's buffer.
///
/// # Errors
///
/// Every change that needs a restart, at its place in `new`.
pub fn compatible(old: &Rules, new: &Rules) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    let mut refuse = |path: &Path, what: &str| {
        let message = format!("{what} while the gateway runs");
        let mend = "restart the gateway, or undo the change".to_owned();
        problems.push(new.places.problem(path, message, Some(mend)));
    };
    for (name, old, new) in by_name(&old.ports, &new.ports) {
        let path = Path::section("ports").key(name);
        match (old, new) {
            (Some(old), Some(new)) if old == new => {}
            (Some(_), Some(_)) => refuse(&path, "a port cannot change"),
            (None, _) => refuse(&path, "a port cannot be added"),
            (_, None) => refuse(&path, "a port cannot be taken away"),
        }
    }
    if old.workers != new.workers {
        refuse(&Path::section("workers"), "workers cannot change");
    }
    if old.tcp != new.tcp {
        refuse(&Path::section("tcp"), "tcp cannot change");
    }
    if old.admin != new.admin {
        refuse(&Path::section("admin"), "the admin address cannot change");
    }
    if log_buffer(old) != log_buffer(new) {
        let path = Path::section("access_log").key("buffer");
        refuse(&path, "the buffer of the access log cannot change");
    }
    if problems.is_empty() {
        return Ok(());
    }
    problem::sort(&mut problems);
    Err(problems)
}

/// The access log's buffer, which is there even while there is no log.
fn log_buffer(rules: &Rules) -> u32 {
    let log = rules.access_log.as_ref();
    log.map_or(ACCESS_LOG_BUFFER, |log| log.buffer)
}

/// Everything that stands in either map, once.
fn by_name<'a, T>(
    old: &'a BTreeMap<String, T>,
    new: &'a BTreeMap<String, T>,
) -> impl Iterator<Item = (&'a str, Option<&'a T>, Option<&'a T>)> {
    let added = new.keys().filter(|name| !old.contains_key(*name));
    old.keys()
        .chain(added)
        .map(|name| (name.as_str(), old.get(name), new.get(name)))
}
